//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with PyTorch's arithmetic, and with the 8-bit states of Dettmers,
//! Lewis, Shleifer and Zettlemoyer 2022 (arXiv:2110.02861) with that of bitsandbytes.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::blockwise::{BLOCK, Blockwise};
use super::{CHUNK, Gradients, Memory, Slot};

/// The settings of `torch.optim.AdamW`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamWConfig {
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

/// The settings of `bitsandbytes.optim.AdamW8bit`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdamW8bitConfig {
    /// Decay of the first and of the second moment.
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Parameters with fewer values keep states of 32 bits.
    pub min_8bit_size: usize,
}

impl Default for AdamW8bitConfig {
    fn default() -> Self {
        let AdamWConfig {
            betas,
            eps,
            weight_decay,
        } = AdamWConfig::default();
        Self {
            betas,
            eps,
            weight_decay,
            min_8bit_size: 4096,
        }
    }
}

impl AdamW8bitConfig {
    /// The settings of the arithmetic.
    pub(super) fn adamw(&self) -> AdamWConfig {
        AdamWConfig {
            betas: self.betas,
            eps: self.eps,
            weight_decay: self.weight_decay,
        }
    }
}

/// The numbers of one update.
#[derive(Clone, Copy)]
struct Numbers {
    step_size: f32,
    root_correction: f32,
    keep: f32,
    b1: f32,
    b2: f32,
    eps: f32,
}

impl Numbers {
    /// Moves the weights `p` and their moments by the gradients `g`.
    fn advance(&self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        for i in 0..p.len() {
            m[i] += (g[i] - m[i]) * (1.0 - self.b1);
            v[i] = v[i] * self.b2 + g[i] * g[i] * (1.0 - self.b2);
            p[i] = p[i] * self.keep - self.step_size * (m[i] / (v[i].sqrt() / self.root_correction + self.eps));
        }
    }
}

pub(super) fn update(
    config: &AdamWConfig,
    step: u64,
    slots: &mut BTreeMap<String, Slot>,
    gradients: &Gradients,
    lr: f64,
) -> f64 {
    let [beta1, beta2] = config.betas;
    let t = step as f64;
    for (name, slot) in slots {
        let Some(gradient) = gradients.get(name) else { continue };
        let rate = lr * slot.rate;
        let numbers = Numbers {
            step_size: (rate / (1.0 - beta1.powf(t))) as f32,
            root_correction: (1.0 - beta2.powf(t)).sqrt() as f32,
            keep: (1.0 - rate * config.weight_decay) as f32,
            b1: beta1 as f32,
            b2: beta2 as f32,
            eps: config.eps as f32,
        };
        let values = slot.value.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
        match &mut slot.memory {
            Memory::Adam { m, v } => {
                let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
                values
                    .zip(moments)
                    .for_each(|((p, g), (m, v))| numbers.advance(p, m, v, g));
            }
            Memory::Adam8bit { m, v } => {
                let (m_codes, v_codes) = (Blockwise::codes(true), Blockwise::codes(false));
                values
                    .zip(m.pieces(CHUNK).zip(v.pieces(CHUNK)))
                    .for_each(|((p, g), (mut m, mut v))| {
                        let (mut wide_m, mut wide_v) = ([0.0; BLOCK], [0.0; BLOCK]);
                        for (b, (p, g)) in p.chunks_mut(BLOCK).zip(g.chunks(BLOCK)).enumerate() {
                            let (wide_m, wide_v) = (&mut wide_m[..p.len()], &mut wide_v[..p.len()]);
                            m.read(b, m_codes, wide_m);
                            v.read(b, v_codes, wide_v);
                            numbers.advance(p, wide_m, wide_v, g);
                            m.write(b, m_codes, wide_m);
                            v.write(b, v_codes, wide_v);
                        }
                    });
            }
            _ => {}
        }
    }
    lr
}
