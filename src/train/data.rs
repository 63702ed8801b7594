//! The pictures of a verified snapshot and their captions, the order in which they are trained on, and what is drawn for
//! a step.

mod captions;
mod order;

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

pub use captions::{Moment, caption, names_a_side, silent};
pub use order::{Order, Turn, batch_at, split};

use super::config::Subset;
use super::error::TrainError;
use crate::digest::Sha256Digest;
use crate::pixels::{self, Decoded, Fit, Limits};
use crate::snapshot::VerifiedSnapshot;

/// A picture to train on, not yet read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// SHA-256 of its file.
    pub image: Sha256Digest,
    /// Its file.
    pub path: PathBuf,
    /// Its caption as it was frozen.
    pub caption: String,
    /// How it is drawn.
    pub subset: Arc<Subset>,
}

impl Entry {
    /// The members of a snapshot, in its order.
    ///
    /// # Errors
    /// The first picture without a caption, unless the subset allows it.
    pub fn of(snapshot: &VerifiedSnapshot, subset: &Arc<Subset>) -> Result<Vec<Self>, TrainError> {
        let entry = |member: &crate::snapshot::Member| {
            let own = member.caption.as_deref().map(str::trim).filter(|text| !text.is_empty());
            match own.or(subset.class_tokens.as_deref()) {
                None if !subset.allow_empty_captions => Err(TrainError::NoCaption {
                    path: member.path.clone(),
                }),
                text => Ok(Self {
                    image: member.image,
                    path: member.path.clone(),
                    caption: text.unwrap_or_default().to_owned(),
                    subset: subset.clone(),
                }),
            }
        };
        snapshot.members().iter().map(entry).collect()
    }

    /// Reads and decodes the picture.
    ///
    /// # Errors
    /// If it cannot be read, or is another than the one that was verified.
    pub fn decode(&self) -> Result<Decoded, TrainError> {
        let limits = Limits::default();
        let unread = |source| TrainError::Picture {
            path: self.path.clone(),
            source,
        };
        let bytes = pixels::read_file(&self.path, &limits).map_err(unread)?;
        let found = Sha256Digest::of_bytes(&bytes);
        if found != self.image {
            return Err(TrainError::Changed {
                path: self.path.clone(),
                expected: self.image.to_string(),
                found: found.to_string(),
            });
        }
        pixels::decode(&bytes, &limits).map_err(unread)
    }
}

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
        let pixels = entries
            .par_iter()
            .map(|entry| Ok(pixels::square(&entry.decode()?, size as u32, fit)))
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
