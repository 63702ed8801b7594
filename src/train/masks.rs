//! How much each place of a picture counts in the loss: from its opacity, or from mask files beside it.

use std::path::Path;

use super::data::Entry;
use super::error::TrainError;
use crate::digest::Sha256Digest;
use crate::pixels::{self, Channel, Fit, Limits};

/// Where the masks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The pictures' own opacity.
    Alpha,
    /// A folder with a PNG for each picture, of the name of its file up to the last dot.
    Folder(&'a Path),
}

/// The masks of pictures, each `[side, side]` with `size / side` pixels averaged, where any of them has one; those of
/// sets without masks count everywhere.
///
/// # Errors
/// The first mask that cannot be read.
pub fn load(entries: &[Entry], size: usize, side: usize, fit: Fit) -> Result<Option<Vec<Vec<f32>>>, TrainError> {
    if entries.iter().all(|entry| entry.subset.masks().is_none()) {
        return Ok(None);
    }
    let limits = Limits::default();
    let one = |entry: &Entry| {
        let path = &entry.path;
        let (path, channel) = match entry.subset.masks() {
            None => return Ok(vec![1.0; side * side]),
            Some(Source::Alpha) => (path.clone(), Channel::Alpha),
            Some(Source::Folder(folder)) => {
                let mut name = path.file_stem().unwrap_or_default().to_owned();
                name.push(".png");
                (folder.join(name), Channel::Red)
            }
        };
        let whole = pixels::load_mask(&path, channel, size as u32, fit, &limits);
        let whole = whole.map_err(|source| TrainError::Mask { path, source })?;
        Ok(averaged(&whole, size, side))
    };
    entries.iter().map(one).collect::<Result<_, _>>().map(Some)
}

/// Means over squares: `[size, size]` → `[side, side]`, as PyTorch's `interpolate` does it with `mode="area"`.
#[must_use]
pub fn averaged(whole: &[f32], size: usize, side: usize) -> Vec<f32> {
    let block = size / side.max(1);
    let mean = |y: usize, x: usize| {
        let rows = (y * block..(y + 1) * block).map(|row| &whole[row * size + x * block..][..block]);
        (rows.flatten().map(|&v| f64::from(v)).sum::<f64>() / (block * block) as f64) as f32
    };
    (0..side).flat_map(|y| (0..side).map(move |x| mean(y, x))).collect()
}

/// What a run's identity says of its masks.
#[must_use]
pub fn digest(masks: &[Vec<f32>]) -> Sha256Digest {
    let bytes: Vec<u8> = masks.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    Sha256Digest::of_bytes(&bytes)
}
