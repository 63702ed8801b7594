//! Lion (Chen et al. 2023, arXiv:2302.06675) with the arithmetic of `lion-pytorch`.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{CHUNK, Gradients, Memory, Slot};

/// The settings of `lion_pytorch.Lion`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LionConfig {
    /// Share of the momentum in the direction, and decay of the momentum.
    pub betas: [f64; 2],
    /// Weight decay, times the learning rate.
    pub weight_decay: f64,
}

impl Default for LionConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.99],
            weight_decay: 0.0,
        }
    }
}

pub(super) fn update(config: &LionConfig, slots: &mut BTreeMap<String, Slot>, gradients: &Gradients, lr: f64) -> f64 {
    let [beta1, beta2] = config.betas;
    let (b1, new1) = (beta1 as f32, (1.0 - beta1) as f32);
    let (b2, new2) = (beta2 as f32, (1.0 - beta2) as f32);
    for (name, slot) in slots {
        let Some(gradient) = gradients.get(name) else { continue };
        let Memory::Lion { m } = &mut slot.memory else { continue };
        let rate = lr * slot.rate;
        let (keep, by) = ((1.0 - rate * config.weight_decay) as f32, rate as f32);
        let moments = m.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        slot.value.par_chunks_mut(CHUNK).zip(moments).for_each(|(p, (m, g))| {
            for i in 0..p.len() {
                let direction = m[i] * b1 + g[i] * new1;
                // `signum` of zero is one; here it is zero.
                let sign = if direction == 0.0 { 0.0 } else { direction.signum() };
                p[i] = p[i] * keep - by * sign;
                m[i] = m[i] * b2 + g[i] * new2;
            }
        });
    }
    lr
}
