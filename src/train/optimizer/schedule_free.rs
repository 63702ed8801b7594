//! Schedule-free AdamW (Defazio et al. 2024, arXiv:2405.15682) with the arithmetic of `schedulefree`.
//!
//! The weights under training are `y`, between the fast `z` and the average `x`; `x` is what is measured and kept.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CHUNK, Gradients, Memory, Slot};

/// The settings of `schedulefree.AdamWScheduleFree`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScheduleFreeConfig {
    /// Share of the average in `y`, and decay of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Weight decay at `y`.
    pub weight_decay: f64,
    /// Updates of warm-up.
    pub warmup_steps: u64,
    /// The average weighs update t by `t^r`.
    pub r: f64,
    /// And by the greatest learning rate so far to this power.
    pub weight_lr_power: f64,
}

impl Default for ScheduleFreeConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 0.0,
            warmup_steps: 0,
            r: 0.0,
            weight_lr_power: 2.0,
        }
    }
}

/// `shared`: the greatest learning rate so far and the sum of the weights.
pub(super) fn update(
    config: &ScheduleFreeConfig,
    step: u64,
    shared: &mut [f64; 3],
    slots: &mut BTreeMap<String, Slot>,
    gradients: &Gradients,
    lr: f64,
) -> f64 {
    let [beta1, beta2] = config.betas;
    let t = step as f64;
    let lr = if step <= config.warmup_steps {
        lr * t / config.warmup_steps as f64
    } else {
        lr
    };
    shared[0] = shared[0].max(lr);
    let weight = t.powf(config.r) * shared[0].powf(config.weight_lr_power);
    shared[1] += weight;
    let share = if shared[1] > 0.0 { weight / shared[1] } else { 0.0 };
    let (b2, new2) = (beta2 as f32, (1.0 - beta2) as f32);
    let correction = (1.0 - beta2.powf(t)) as f32;
    let (eps, decay) = (config.eps as f32, config.weight_decay as f32);
    for (name, slot) in slots {
        let Some(gradient) = gradients.get(name) else { continue };
        let Memory::ScheduleFree { v, z } = &mut slot.memory else {
            continue;
        };
        let rate = lr * slot.rate;
        let (by, beside) = (rate as f32, (rate * (beta1 * (1.0 - share) - 1.0)) as f32);
        let states = v.par_chunks_mut(CHUNK).zip(z.par_chunks_mut(CHUNK));
        let values = slot.value.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        values.zip(states).for_each(|((y, g), (v, z))| {
            for i in 0..y.len() {
                v[i] = v[i] * b2 + g[i] * g[i] * new2;
                let direction = g[i] / ((v[i] / correction).sqrt() + eps) + y[i] * decay;
                y[i] = between(y[i], z[i], share) + direction * beside;
                z[i] -= direction * by;
            }
        });
    }
    lr
}

/// The average, from `y` and `z`.
pub(super) fn averaged(config: &ScheduleFreeConfig, y: &[f32], z: &[f32]) -> Vec<f32> {
    let share = 1.0 - 1.0 / config.betas[0];
    y.iter().zip(z).map(|(&y, &z)| between(y, z, share)).collect()
}

/// From `a` so far towards `b`; from the nearer end, as PyTorch's `lerp`.
fn between(a: f32, b: f32, share: f64) -> f32 {
    let share = share as f32;
    if share.abs() < 0.5 {
        a + share * (b - a)
    } else {
        b - (b - a) * (1.0 - share)
    }
}
