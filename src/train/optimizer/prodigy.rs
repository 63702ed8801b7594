//! Prodigy (Mishchenko and Defazio 2023, arXiv:2306.06101) with the arithmetic of `prodigyopt`: Adam with the distance to
//! the solution, estimated during the run, for a step size.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gradients::sum;
use super::{CHUNK, Gradients, Memory, Slot};

/// The settings of `prodigyopt.Prodigy`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProdigyConfig {
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Decay of the estimate's own averages; the root of the second beta where it is not given.
    pub beta3: Option<f64>,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Weight decay acts on the weights, not on the gradients.
    pub decouple: bool,
    /// Adam's correction of the moments' beginnings.
    pub use_bias_correction: bool,
    /// The learning rate is left out of the estimate's denominator, for a warm-up.
    pub safeguard_warmup: bool,
    /// First estimate.
    pub d0: f64,
    /// Factor on the estimate.
    pub d_coef: f64,
    /// Greatest growth of the estimate in an update.
    pub growth_rate: f64,
}

impl Default for ProdigyConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            beta3: None,
            eps: 1e-8,
            weight_decay: 0.0,
            decouple: true,
            use_bias_correction: false,
            safeguard_warmup: false,
            d0: 1e-6,
            d_coef: 1.0,
            growth_rate: f64::INFINITY,
        }
    }
}

/// `shared`: the estimate, the greatest so far, and its running numerator.
pub(super) fn update(
    config: &ProdigyConfig,
    step: u64,
    shared: &mut [f64; 3],
    slots: &mut BTreeMap<String, Slot>,
    gradients: &Gradients,
    lr: f64,
) -> f64 {
    let [beta1, beta2] = config.betas;
    let beta3 = config.beta3.unwrap_or(beta2.sqrt());
    let [mut d, mut d_max, numerator] = *shared;
    let t = step as f64;
    let correction = if config.use_bias_correction {
        (1.0 - beta2.powf(t)).sqrt() / (1.0 - beta1.powf(t))
    } else {
        1.0
    };
    let dlr = d * lr * correction;
    if lr <= 0.0 {
        return dlr;
    }
    let coupled = if config.decouple {
        0.0
    } else {
        config.weight_decay as f32
    };
    let grow = (d / config.d0) * if config.safeguard_warmup { d } else { dlr };
    let (mut more, mut denominator) = (0.0, 0.0);
    for (name, slot) in slots.iter_mut() {
        let Some(gradient) = gradients.get(name) else { continue };
        let Memory::Prodigy { m, v, s, start } = &mut slot.memory else {
            continue;
        };
        let p = &slot.value;
        let toward = |i: usize| f64::from(gradient[i] + coupled * p[i]) * f64::from(start[i] - p[i]);
        more += (d / config.d0) * dlr * sum(p.len(), |at| at.map(toward).sum());
        let (b1, new1) = (beta1 as f32, (d * (1.0 - beta1)) as f32);
        let (b2, new2) = (beta2 as f32, (d * d * (1.0 - beta2)) as f32);
        let (b3, new3) = (beta3 as f32, grow as f32);
        let states = m
            .par_chunks_mut(CHUNK)
            .zip(v.par_chunks_mut(CHUNK))
            .zip(s.par_chunks_mut(CHUNK));
        let given = p.par_chunks(CHUNK).zip(gradient.par_chunks(CHUNK));
        states.zip(given).for_each(|(((m, v), s), (p, g))| {
            for i in 0..p.len() {
                let g = g[i] + coupled * p[i];
                m[i] = m[i] * b1 + g * new1;
                v[i] = v[i] * b2 + g * g * new2;
                s[i] = s[i] * b3 + g * new3;
            }
        });
        denominator += sum(s.len(), |at| s[at].iter().map(|s| f64::from(s.abs())).sum());
    }
    // Gradients of nothing but zeros say nothing.
    if denominator == 0.0 {
        return dlr;
    }
    let numerator = numerator * beta3 + more;
    let estimate = config.d_coef * numerator / denominator;
    if d == config.d0 {
        d = d.max(estimate);
    }
    d_max = d_max.max(estimate);
    d = d_max.min(d * config.growth_rate);
    *shared = [d, d_max, numerator];

    for (name, slot) in slots {
        if !gradients.contains_key(name) {
            continue;
        }
        let Memory::Prodigy { m, v, .. } = &slot.memory else {
            continue;
        };
        let by = (dlr * slot.rate) as f32;
        let keep = if config.decouple {
            (1.0 - config.weight_decay * dlr * slot.rate) as f32
        } else {
            1.0
        };
        let eps = (d * config.eps) as f32;
        let moments = m.par_chunks(CHUNK).zip(v.par_chunks(CHUNK));
        slot.value.par_chunks_mut(CHUNK).zip(moments).for_each(|(p, (m, v))| {
            for i in 0..p.len() {
                p[i] = p[i] * keep - by * (m[i] / (v[i].sqrt() + eps));
            }
        });
    }
    dlr
}
