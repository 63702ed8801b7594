//! AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) with PyTorch's arithmetic, gradient clipping, and an average of
//! the weights.
//!
//! The state lies on the host as plain values in a fixed order: that makes a checkpoint a copy, and two runs equal.

use std::collections::BTreeMap;

use rayon::prelude::*;

/// The settings that stay the same during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 1e-2,
        }
    }
}

/// One parameter and its moments.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Slot {
    /// The weight.
    pub value: Vec<f32>,
    /// First moment.
    pub m: Vec<f32>,
    /// Second moment.
    pub v: Vec<f32>,
    /// Running average of the weight, where one is kept.
    pub ema: Option<Vec<f32>>,
}

/// The optimizer with the weights it moves, by name.
#[derive(Debug, Clone)]
pub struct AdamW {
    config: AdamWConfig,
    /// Updates done.
    pub step: u64,
    /// All parameters.
    pub slots: BTreeMap<String, Slot>,
    ema_decay: Option<f64>,
}

/// Values per piece of work; a fixed size, so that sums do not depend on the number of threads.
const CHUNK: usize = 1 << 15;

impl AdamW {
    /// An optimizer without parameters; see [`AdamW::add`].
    #[must_use]
    pub fn new(config: AdamWConfig, ema_decay: Option<f64>) -> Self {
        Self {
            config,
            step: 0,
            slots: BTreeMap::new(),
            ema_decay,
        }
    }

    /// Adds a parameter.
    pub fn add(&mut self, name: &str, value: Vec<f32>) {
        let n = value.len();
        let ema = self.ema_decay.map(|_| value.clone());
        self.slots.insert(
            name.to_owned(),
            Slot {
                value,
                m: vec![0.0; n],
                v: vec![0.0; n],
                ema,
            },
        );
    }

    /// One update with learning rate `lr`. A parameter without a gradient stays as it is, as in PyTorch.
    pub fn update(&mut self, gradients: &BTreeMap<String, Vec<f32>>, lr: f64) {
        self.step += 1;
        let AdamWConfig {
            beta1,
            beta2,
            eps,
            weight_decay,
        } = self.config;
        let t = self.step as f64;
        let step_size = (lr / (1.0 - beta1.powf(t))) as f32;
        let root_correction = (1.0 - beta2.powf(t)).sqrt() as f32;
        let keep = (1.0 - lr * weight_decay) as f32;
        let (b1, b2, eps) = (beta1 as f32, beta2 as f32, eps as f32);
        // Early in a run the average follows faster, as in diffusers' EMAModel.
        let follow = self
            .ema_decay
            .map(|decay| 1.0 - decay.min((1.0 + t) / (10.0 + t)) as f32);
        for (name, slot) in &mut self.slots {
            let Some(gradient) = gradients.get(name) else { continue };
            let moments = slot.m.par_chunks_mut(CHUNK).zip(slot.v.par_chunks_mut(CHUNK));
            slot.value
                .par_chunks_mut(CHUNK)
                .zip(moments)
                .zip(gradient.par_chunks(CHUNK))
                .for_each(|((p, (m, v)), g)| {
                    for i in 0..p.len() {
                        m[i] += (g[i] - m[i]) * (1.0 - b1);
                        v[i] = v[i] * b2 + g[i] * g[i] * (1.0 - b2);
                        p[i] = p[i] * keep - step_size * (m[i] / (v[i].sqrt() / root_correction + eps));
                    }
                });
            if let (Some(ema), Some(follow)) = (&mut slot.ema, follow) {
                ema.par_chunks_mut(CHUNK)
                    .zip(slot.value.par_chunks(CHUNK))
                    .for_each(|(e, p)| {
                        for i in 0..e.len() {
                            e[i] += (p[i] - e[i]) * follow;
                        }
                    });
            }
        }
    }
}

/// The Euclidean norm over all gradients, summed in f64 in the order of the names.
#[must_use]
pub fn norm(gradients: &BTreeMap<String, Vec<f32>>) -> f64 {
    let squares = |chunk: &[f32]| chunk.iter().map(|&g| f64::from(g) * f64::from(g)).sum::<f64>();
    gradients
        .values()
        .map(|g| {
            g.par_chunks(CHUNK)
                .map(squares)
                .collect::<Vec<f64>>()
                .iter()
                .sum::<f64>()
        })
        .sum::<f64>()
        .sqrt()
}

/// Scales all gradients down so that their norm is at most `max_norm`, as PyTorch's `clip_grad_norm_`. Returns the norm
/// before.
pub fn clip(gradients: &mut BTreeMap<String, Vec<f32>>, max_norm: f64) -> f64 {
    let before = norm(gradients);
    let factor = max_norm / (before + 1e-6);
    if max_norm > 0.0 && factor < 1.0 {
        for gradient in gradients.values_mut() {
            gradient
                .par_chunks_mut(CHUNK)
                .for_each(|g| g.iter_mut().for_each(|g| *g *= factor as f32));
        }
    }
    before
}

/// Adds `more`, times `weight`, to a running sum of gradients.
pub fn accumulate(sum: &mut BTreeMap<String, Vec<f32>>, more: BTreeMap<String, Vec<f32>>, weight: f32) {
    for (name, gradient) in more {
        match sum.get_mut(&name) {
            None => {
                sum.insert(name, gradient.into_iter().map(|g| g * weight).collect());
            }
            Some(total) => total.iter_mut().zip(gradient).for_each(|(t, g)| *t += g * weight),
        }
    }
}

/// How the learning rate changes over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same throughout.
    Constant,
    /// Up during the warm-up, then the same.
    ConstantWithWarmup,
    /// Up during the warm-up, then down along half a cosine to zero.
    Cosine,
}

impl Schedule {
    /// The factor on the learning rate at update `step` (from 0) of `total`, with `warmup` updates of warm-up; as in
    /// diffusers' `optimization.py`.
    #[must_use]
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        let rise = step as f64 / warmup.max(1) as f64;
        match self {
            Self::Constant => 1.0,
            Self::ConstantWithWarmup | Self::Cosine if step < warmup => rise,
            Self::ConstantWithWarmup => 1.0,
            Self::Cosine => {
                let progress = (step - warmup) as f64 / total.saturating_sub(warmup).max(1) as f64;
                (0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos())).max(0.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_update_is_the_learning_rate() {
        let mut adam = AdamW::new(
            AdamWConfig {
                weight_decay: 0.0,
                ..AdamWConfig::default()
            },
            None,
        );
        adam.add("w", vec![1.0, 1.0]);
        adam.update(&BTreeMap::from([("w".to_owned(), vec![0.5, -3.0])]), 0.1);
        let w = &adam.slots["w"].value;
        assert!((w[0] - 0.9).abs() < 1e-6 && (w[1] - 1.1).abs() < 1e-6, "{w:?}");
    }

    #[test]
    fn clips_to_the_norm_and_leaves_small_ones() {
        let mut g = BTreeMap::from([("a".to_owned(), vec![3.0]), ("b".to_owned(), vec![4.0])]);
        assert!((clip(&mut g, 1.0) - 5.0).abs() < 1e-9);
        assert!((norm(&g) - 1.0).abs() < 1e-5);
        assert!((clip(&mut g, 10.0) - 1.0).abs() < 1e-5);
        assert!((norm(&g) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn schedules_start_and_end_where_diffusers_has_them() {
        for (schedule, step, expected) in [
            (Schedule::Cosine, 0, 0.0),
            (Schedule::Cosine, 5, 0.5),
            (Schedule::Cosine, 10, 1.0),
            (Schedule::Cosine, 60, 0.5),
            (Schedule::Cosine, 110, 0.0),
            (Schedule::ConstantWithWarmup, 5, 0.5),
            (Schedule::ConstantWithWarmup, 99, 1.0),
            (Schedule::Constant, 0, 1.0),
        ] {
            assert!(
                (schedule.factor(step, 10, 110) - expected).abs() < 1e-12,
                "{schedule:?} {step}"
            );
        }
    }
}
