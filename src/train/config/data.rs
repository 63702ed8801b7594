//! The pictures and captions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{positive, share};
use crate::train::masks::Source;

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
    /// Each place of a picture counts as much as it is opaque.
    #[serde(default)]
    pub alpha_mask: bool,
    /// Each place of a picture counts as much as its mask says.
    #[serde(default)]
    pub masked_loss: bool,
    /// The masks: a PNG for each picture, named as its file, whose red values count; relative to the configuration's own
    /// folder.
    #[serde(default)]
    pub conditioning_data_dir: Option<PathBuf>,
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
        positive("train_batch_size", self.train_batch_size as f64)?;
        match (self.masked_loss, self.alpha_mask, &self.conditioning_data_dir) {
            (true, false, None) => Err(
                "masked_loss: there are no masks; hint: set conditioning_data_dir, or alpha_mask for the pictures' own \
                 opacity"
                    .to_owned(),
            ),
            (_, true, Some(_)) => {
                Err("alpha_mask and conditioning_data_dir both say where masks are; hint: leave one out".to_owned())
            }
            (false, _, Some(_)) => Err("conditioning_data_dir: hint: set masked_loss = true".to_owned()),
            _ => Ok(()),
        }
    }

    /// Where masks come from, if they count.
    #[must_use]
    pub fn masks(&self) -> Option<Source<'_>> {
        match &self.conditioning_data_dir {
            Some(folder) => Some(Source::Folder(folder)),
            None => self.alpha_mask.then_some(Source::Alpha),
        }
    }
}
