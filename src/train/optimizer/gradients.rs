//! Gradients by name: their norm, clipping, adding up.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::CHUNK;

/// Gradients by the names of the parameters.
pub type Gradients = BTreeMap<String, Vec<f32>>;

/// A sum in f64 over pieces of a fixed size, in their order, so that it does not depend on the number of threads.
pub(in crate::train) fn sum(n: usize, piece: impl Fn(std::ops::Range<usize>) -> f64 + Sync) -> f64 {
    let pieces: Vec<f64> = (0..n.div_ceil(CHUNK))
        .into_par_iter()
        .map(|i| piece(i * CHUNK..((i + 1) * CHUNK).min(n)))
        .collect();
    pieces.iter().sum()
}

/// The Euclidean norm over all gradients, summed in f64 in the order of the names.
#[must_use]
pub fn norm(gradients: &Gradients) -> f64 {
    let squares = |g: &Vec<f32>| sum(g.len(), |at| g[at].iter().map(|&g| f64::from(g) * f64::from(g)).sum());
    gradients.values().map(squares).sum::<f64>().sqrt()
}

/// Scales all gradients down so that their norm is at most `max_norm`, as PyTorch's `clip_grad_norm_`. Returns the norm
/// before.
pub fn clip(gradients: &mut Gradients, max_norm: f64) -> f64 {
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
pub fn accumulate(sum: &mut Gradients, more: Gradients, weight: f32) {
    for (name, gradient) in more {
        match sum.get_mut(&name) {
            None => {
                sum.insert(name, gradient.into_iter().map(|g| g * weight).collect());
            }
            Some(total) => total.iter_mut().zip(gradient).for_each(|(t, g)| *t += g * weight),
        }
    }
}
