//! The pictures of a verified snapshot as arrays, the order in which they are trained on, and what is drawn for a step.
//!
//! Everything random is drawn from the seed and the number of the step alone, so that a resumed run sees what an
//! unbroken one sees.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use super::error::TrainError;
use crate::model::weights::Draws;
use crate::pixels::{self, Fit, Limits};
use crate::snapshot::VerifiedSnapshot;

/// Pictures and captions in memory.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// SHA-256 of each file, in hexadecimal.
    pub ids: Vec<String>,
    /// One for each.
    pub captions: Vec<String>,
    /// `[3, size, size]` in [-1, 1] for each.
    pub pixels: Vec<Vec<f32>>,
    /// Height and width.
    pub size: usize,
}

impl Pictures {
    /// Reads the members of a snapshot, in its order.
    ///
    /// # Errors
    /// The first picture that cannot be read or has no caption (unless `empty_captions`).
    pub fn load(snapshot: &VerifiedSnapshot, size: usize, fit: Fit, empty_captions: bool) -> Result<Self, TrainError> {
        let members = snapshot.members();
        let limits = Limits::default();
        let read = |path: &std::path::Path, id: &str| {
            pixels::load_square(path, size as u32, fit, &limits).map_err(|source| TrainError::Picture {
                id: id.to_owned(),
                source,
            })
        };
        let ids: Vec<String> = members.iter().map(|m| m.image.to_string()).collect();
        let mut captions = Vec::with_capacity(members.len());
        for (member, id) in members.iter().zip(&ids) {
            match member.caption.as_deref().map(str::trim) {
                Some(text) if !text.is_empty() => captions.push(text.to_owned()),
                _ if empty_captions => captions.push(String::new()),
                _ => return Err(TrainError::NoCaption { id: id.clone() }),
            }
        }
        let pixels = members
            .par_iter()
            .zip(&ids)
            .map(|(m, id)| read(&m.path, id))
            .collect::<Result<Vec<_>, TrainError>>()?;
        Ok(Self {
            ids,
            captions,
            pixels,
            size,
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// `[B, 3, size, size]`
    #[must_use]
    pub fn batch(&self, indices: &[usize], device: &Device) -> Tensor<4> {
        stack(
            indices.iter().map(|&i| self.pixels[i].as_slice()),
            [3, self.size, self.size],
            device,
        )
    }
}

/// Rows of equal length as one tensor `[B, …shape]`.
pub fn stack<'a>(rows: impl Iterator<Item = &'a [f32]>, shape: [usize; 3], device: &Device) -> Tensor<4> {
    let mut n = 0;
    let mut values = Vec::new();
    for row in rows {
        values.extend_from_slice(row);
        n += 1;
    }
    Tensor::from_data(TensorData::new(values, [n, shape[0], shape[1], shape[2]]), device)
}

/// Divides `n` pictures into those trained on and those held out: by a shuffle that depends on the seed alone. At least
/// one picture is held out where `share` is above zero, and at least one is trained on.
#[must_use]
pub fn split(n: usize, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let order = permutation(n, seed, "split");
    let held = if share > 0.0 {
        ((n as f64 * share).round() as usize).max(1).min(n.saturating_sub(1))
    } else {
        0
    };
    let mut validation = order[..held].to_vec();
    let mut training = order[held..].to_vec();
    validation.sort_unstable();
    training.sort_unstable();
    (training, validation)
}

/// The places in the training list of micro-batch `index`: epoch after epoch, each in an order of its own.
#[must_use]
pub fn batch_at(n: usize, size: usize, index: u64, seed: u64) -> Vec<usize> {
    let mut out = Vec::with_capacity(size);
    let mut order: Option<(u64, Vec<usize>)> = None;
    for k in 0..size as u64 {
        let place = index * size as u64 + k;
        let epoch = place / n as u64;
        if order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            order = Some((epoch, permutation(n, seed, &format!("epoch/{epoch}"))));
        }
        if let Some((_, order)) = &order {
            out.push(order[(place % n as u64) as usize]);
        }
    }
    out
}

/// 0..n in an order that depends on the seed and the label alone (Fisher and Yates).
fn permutation(n: usize, seed: u64, label: &str) -> Vec<usize> {
    let mut draws = Draws::new(seed, label);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        order.swap(i, draws.below(i + 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_picture_once() {
        let mut seen: Vec<usize> = (0..5).flat_map(|i| batch_at(10, 2, i, 7)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_ne!(batch_at(10, 10, 0, 7), batch_at(10, 10, 1, 7));
        assert_eq!(batch_at(3, 8, 4, 7), batch_at(3, 8, 4, 7));
    }

    #[test]
    fn a_split_is_whole_and_disjoint() {
        let (train, held) = split(24, 0.2, 3);
        assert_eq!((train.len(), held.len()), (19, 5));
        let mut all = [train, held].concat();
        all.sort_unstable();
        assert_eq!(all, (0..24).collect::<Vec<_>>());
        assert_eq!(split(1, 0.5, 3).0.len(), 1);
        assert_eq!(split(5, 0.0, 3).1.len(), 0);
    }
}
