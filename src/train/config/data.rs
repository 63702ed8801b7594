//! The pictures and captions.

use serde::{Deserialize, Serialize};

use super::{Source, positive, share};
use crate::train::masks::Source as Masks;

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
    /// Pictures in a micro-batch.
    #[serde(default = "one")]
    pub train_batch_size: usize,
    /// Each place of a picture counts as much as its mask says.
    #[serde(default)]
    pub masked_loss: bool,
    /// Share of the pictures to be learned that is held out and only measured, 0 to below 1.
    #[serde(default)]
    pub validation_split: f64,
}

fn one() -> usize {
    1
}

impl Data {
    pub(super) fn check(&self, sources: &[Source]) -> Result<(), String> {
        share("validation_split", self.validation_split, true)?;
        positive("resolution", self.resolution as f64)?;
        positive("train_batch_size", self.train_batch_size as f64)?;
        let mut masks = sources.iter().filter_map(|source| source.options.masks());
        match (self.masked_loss, masks.clone().next()) {
            (true, None) => Err(
                "masked_loss: there are no masks; hint: set conditioning_data_dir, or alpha_mask for the pictures' own \
                 opacity"
                    .to_owned(),
            ),
            (false, _) if masks.any(|masks| matches!(masks, Masks::Folder(_))) => {
                Err("conditioning_data_dir: hint: set masked_loss = true".to_owned())
            }
            _ => Ok(()),
        }
    }
}
