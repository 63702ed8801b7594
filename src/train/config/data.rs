//! The pictures and captions.

use serde::{Deserialize, Serialize};

use super::{positive, share};

/// How pictures that are not square become square.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// White beside it: for drawings.
    #[default]
    PadWhite,
    /// The middle: for photographs.
    CropCentre,
}

impl From<Fit> for crate::pixels::Fit {
    fn from(fit: Fit) -> Self {
        match fit {
            Fit::PadWhite => Self::PadWhite,
            Fit::CropCentre => Self::CropCentre,
        }
    }
}

/// The section of the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Data {
    /// Height and width of the pictures; a multiple of what the model divides by.
    pub resolution: usize,
    /// How pictures become square.
    #[serde(default)]
    pub fit: Fit,
    /// Train on pictures without a caption too.
    #[serde(default)]
    pub allow_empty_captions: bool,
    /// Pictures in a micro-batch.
    #[serde(default = "one")]
    pub train_batch_size: usize,
    /// Share of captions replaced by the empty one, 0 to 1.
    #[serde(default)]
    pub caption_dropout_rate: f64,
    /// Share of the snapshot's pictures that is held out and only measured, 0 to below 1.
    #[serde(default)]
    pub validation_split: f64,
}

fn one() -> usize {
    1
}

impl Data {
    pub(super) fn check(&self) -> Result<(), String> {
        share("caption_dropout_rate", self.caption_dropout_rate, false)?;
        share("validation_split", self.validation_split, true)?;
        positive("resolution", self.resolution as f64)?;
        positive("train_batch_size", self.train_batch_size as f64)
    }
}
