//! The pictures of a verified snapshot and their captions, the order in which they are trained on, and what is drawn for
//! a step.

mod buckets;
pub mod cache;
mod captions;
mod entry;
mod order;
mod placed;

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

pub use buckets::{BucketCount, Buckets, Spot, size_ids};
pub use captions::{Moment, caption, names_a_side, silent};
pub use entry::Entry;
pub use order::{Order, Turn, batch_at, split};
pub use placed::{Placed, counts, groups};

use super::error::TrainError;
use crate::pixels::{self, Fit, Placing};
use crate::snapshot::VerifiedSnapshot;

/// Square pictures and their captions in memory.
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
    /// The first picture that cannot be read or has no caption.
    pub fn load(snapshot: &VerifiedSnapshot, size: usize, fit: Fit) -> Result<Self, TrainError> {
        let entries = Entry::of(snapshot, &Arc::default())?;
        let placing = Placing::Fit {
            fit,
            size: [size as u32; 2],
        };
        let pixels = entries
            .par_iter()
            .map(|entry| Ok(pixels::planes(&entry.decode()?, &placing)))
            .collect::<Result<Vec<_>, TrainError>>()?;
        Ok(Self {
            ids: entries.iter().map(|entry| entry.image.to_string()).collect(),
            captions: entries.into_iter().map(|entry| entry.caption).collect(),
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
