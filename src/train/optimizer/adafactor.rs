//! Adafactor (Shazeer and Stern 2018, arXiv:1804.04235) with the arithmetic of transformers' class.

use std::collections::BTreeMap;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Gradients, Memory, Slot};

/// The settings of `transformers.optimization.Adafactor`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdafactorConfig {
    /// Added to the squared gradient; least scale of a parameter.
    pub eps: [f64; 2],
    /// Root mean square of an update above which it is scaled down.
    pub clip_threshold: f64,
    /// The second moment's decay at update t is `1 − t^decay_rate`.
    pub decay_rate: f64,
    /// Decay of the first moment, where one is kept.
    pub beta1: Option<f64>,
    /// Weight decay, times the learning rate.
    pub weight_decay: f64,
    /// The learning rate is times the root mean square of the parameter.
    pub scale_parameter: bool,
    /// The learning rate follows from the number of the update.
    pub relative_step: bool,
    /// It begins at 10⁻⁶ times that number.
    pub warmup_init: bool,
}

impl Default for AdafactorConfig {
    fn default() -> Self {
        Self {
            eps: [1e-30, 1e-3],
            clip_threshold: 1.0,
            decay_rate: -0.8,
            beta1: None,
            weight_decay: 0.0,
            scale_parameter: true,
            relative_step: true,
            warmup_init: false,
        }
    }
}

/// The second moments: of each value, or of each row and column of the last two dimensions.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum SecondMoment {
    Whole(Vec<f32>),
    Factored { rows: Vec<f32>, columns: Vec<f32> },
}

impl SecondMoment {
    pub(super) fn zeros(shape: &[usize]) -> Self {
        match shape {
            [outer @ .., rows, columns] => {
                let matrices: usize = outer.iter().product();
                Self::Factored {
                    rows: vec![0.0; matrices * rows],
                    columns: vec![0.0; matrices * columns],
                }
            }
            _ => Self::Whole(vec![0.0; shape.iter().product()]),
        }
    }
}

pub(super) fn update(
    config: &AdafactorConfig,
    step: u64,
    slots: &mut BTreeMap<String, Slot>,
    gradients: &Gradients,
    lr: f64,
) -> f64 {
    let t = step as f64;
    let used = if config.relative_step {
        let most = if config.warmup_init { 1e-6 * t } else { 1e-2 };
        most.min(1.0 / t.sqrt())
    } else {
        lr
    };
    slots.par_iter_mut().for_each(|(name, slot)| {
        if let Some(gradient) = gradients.get(name) {
            one(config, t, slot, gradient, used);
        }
    });
    used
}

fn one(config: &AdafactorConfig, t: f64, slot: &mut Slot, gradient: &[f32], used: f64) {
    let Memory::Adafactor { v, m } = &mut slot.memory else {
        return;
    };
    let scale = if config.scale_parameter {
        config.eps[1].max(rms(&slot.value))
    } else {
        1.0
    };
    let rate = scale * used * slot.rate;
    let keep = 1.0 - t.powf(config.decay_rate);
    let mut change = match v {
        SecondMoment::Whole(v) => {
            let (keep, new, eps) = (keep as f32, (1.0 - keep) as f32, config.eps[0] as f32);
            let along = |(v, &g): (&mut f32, &f32)| {
                *v = *v * keep + (g * g + eps) * new;
                g / v.sqrt()
            };
            v.iter_mut().zip(gradient).map(along).collect()
        }
        SecondMoment::Factored { rows, columns } => {
            factored(gradient, &slot.shape, (rows, columns), config.eps[0], keep)
        }
    };
    let over = (rms(&change) / config.clip_threshold).max(1.0) as f32;
    let rate32 = rate as f32;
    change.iter_mut().for_each(|c| *c = *c / over * rate32);
    if let (Some(m), Some(beta1)) = (m, config.beta1) {
        let (keep, new) = (beta1 as f32, (1.0 - beta1) as f32);
        for (m, c) in m.iter_mut().zip(&mut change) {
            *m = *m * keep + *c * new;
            *c = *m;
        }
    }
    let decay = (config.weight_decay * rate) as f32;
    for (p, c) in slot.value.iter_mut().zip(&change) {
        *p = *p - *p * decay - c;
    }
}

/// The gradient over the root of its second moment, which is taken for the product of a row's and a column's over the
/// mean of the rows'.
fn factored(
    gradient: &[f32],
    shape: &[usize],
    (rows, columns): (&mut [f32], &mut [f32]),
    eps: f64,
    keep: f64,
) -> Vec<f32> {
    let [.., height, width] = *shape else { return Vec::new() };
    let (keep32, new) = (keep as f32, (1.0 - keep) as f32);
    let mut change = Vec::with_capacity(gradient.len());
    let matrices = gradient
        .chunks(height * width)
        .zip(rows.chunks_mut(height).zip(columns.chunks_mut(width)));
    for (matrix, (rows, columns)) in matrices {
        let mut across = vec![0.0f64; width];
        let mut mean = 0.0;
        for (line, row) in matrix.chunks(width).zip(rows.iter_mut()) {
            let mut sum = 0.0;
            for (&g, column) in line.iter().zip(&mut across) {
                let square = f64::from(g * g) + eps;
                sum += square;
                *column += square;
            }
            *row = *row * keep32 + (sum / width as f64) as f32 * new;
            mean += f64::from(*row) / height as f64;
        }
        for (column, sum) in columns.iter_mut().zip(across) {
            *column = *column * keep32 + (sum / height as f64) as f32 * new;
        }
        for (line, row) in matrix.chunks(width).zip(rows.iter()) {
            let by_row = 1.0 / (row / mean as f32).sqrt();
            change.extend(
                line.iter()
                    .zip(columns.iter())
                    .map(|(&g, &column)| by_row / column.sqrt() * g),
            );
        }
    }
    change
}

/// Root of the mean square.
fn rms(values: &[f32]) -> f64 {
    let squares: f64 = values.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
    (squares / values.len().max(1) as f64).sqrt()
}
