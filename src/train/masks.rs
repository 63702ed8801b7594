//! How much each place of a picture counts in the loss: from its opacity, or from mask files beside it.

use std::path::Path;

use super::data::Entry;
use super::error::TrainError;
use crate::digest::Sha256Digest;
use crate::pixels::{self, Channel, Limits, Placing};

/// Where the masks are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source<'a> {
    /// The pictures' own opacity.
    Alpha,
    /// A folder with a PNG for each picture, of the name of its file up to the last dot.
    Folder(&'a Path),
}

/// The mask of a picture that is placed like this: `[height / factor, width / factor]`.
///
/// # Errors
/// If it cannot be read.
pub fn load(entry: &Entry, source: Source<'_>, placing: &Placing, factor: usize) -> Result<Vec<f32>, TrainError> {
    let (path, channel) = match source {
        Source::Alpha => (entry.path.clone(), Channel::Alpha),
        Source::Folder(folder) => {
            let mut name = entry.path.file_stem().unwrap_or_default().to_owned();
            name.push(".png");
            (folder.join(name), Channel::Red)
        }
    };
    let whole = pixels::load_mask(&path, channel, placing, &Limits::default());
    let whole = whole.map_err(|source| TrainError::Mask { path, source })?;
    Ok(averaged(&whole, placing.size()[0] as usize, factor))
}

/// Means over squares of `factor` places a side: `[height, width]` → `[height / factor, width / factor]`, as PyTorch's
/// `interpolate` does it with `mode="area"`.
#[must_use]
pub fn averaged(whole: &[f32], width: usize, factor: usize) -> Vec<f32> {
    let factor = factor.max(1);
    let (columns, rows) = (width / factor, whole.len() / width.max(1) / factor);
    let mean = |y: usize, x: usize| {
        let rows = (y * factor..(y + 1) * factor).map(|row| &whole[row * width + x * factor..][..factor]);
        (rows.flatten().map(|&v| f64::from(v)).sum::<f64>() / (factor * factor) as f64) as f32
    };
    (0..rows).flat_map(|y| (0..columns).map(move |x| mean(y, x))).collect()
}

/// What a run's identity says of its masks.
#[must_use]
pub fn digest(masks: &[Vec<f32>]) -> Sha256Digest {
    let bytes: Vec<u8> = masks.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    Sha256Digest::of_bytes(&bytes)
}
