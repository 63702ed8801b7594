//! What is trained on what, and what is left behind.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::positive;

use crate::adapter::Dtype;
use crate::consent::Use;
use crate::model::weights;
use crate::receipt::MOST_SHARDS;

/// How the adapter's file keeps its numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As they were trained.
    #[default]
    Float,
    /// Half the size.
    Fp16,
    /// Half the size, the range of f32.
    Bf16,
}

impl From<Precision> for Dtype {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Float => Dtype::F32,
            Precision::Fp16 => Dtype::F16,
            Precision::Bf16 => Dtype::Bf16,
        }
    }
}

/// How the base's numbers lie in memory while an adapter is trained beside them; the arithmetic is f32.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BasePrecision {
    /// Four bytes each.
    #[default]
    Float,
    /// Two bytes each; numbers with more digits than f16 holds are rounded.
    Fp16,
    /// One byte each and a scale for each output channel, for the linear layers and convolutions of the U-Net and the text
    /// encoders; the rest stays f32.
    Int8,
}

impl From<BasePrecision> for weights::Precision {
    fn from(precision: BasePrecision) -> Self {
        match precision {
            BasePrecision::Float => Self::F32,
            BasePrecision::Fp16 => Self::F16,
            BasePrecision::Int8 => Self::Int8,
        }
    }
}

/// Who reads the events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogWith {
    /// TensorBoard.
    Tensorboard,
}

/// The section of the run itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The adapter's title.
    #[serde(default = "title")]
    pub output_name: String,
    /// A diffusers folder, or a checkpoint in one safetensors file; relative to the configuration's own folder.
    pub pretrained_model_name_or_path: PathBuf,
    /// How the base lies in memory.
    #[serde(default)]
    pub base_precision: BasePrecision,
    /// Name of a snapshot that is only measured, for comparison.
    #[serde(default)]
    pub validation_snapshot: Option<String>,
    /// Words that call the style, for the header.
    #[serde(default)]
    pub trigger_phrase: Option<String>,
    /// What the adapter is made for; `commercial` is refused on pictures that oblige to no commercial use.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Use>,
    /// Decides everything that is random.
    #[serde(default)]
    pub seed: u64,
    /// Updates between two validations; 0 for the first and last only.
    #[serde(default)]
    pub validate_every_n_steps: u64,
    /// Updates between two saved states; 0 for the last one only.
    #[serde(default)]
    pub save_every_n_steps: u64,
    /// Updates between two sample pictures; 0 for none.
    #[serde(default)]
    pub sample_every_n_steps: u64,
    /// What the samples show.
    #[serde(default)]
    pub sample_prompts: Vec<String>,
    /// Whether the last weights are written too, into `adapter-last.safetensors`, where others are kept: an average, or
    /// those of the best validation.
    #[serde(default)]
    pub save_last_weights: bool,
    /// Where TensorBoard's event files go, each run in a folder of its own; relative to the configuration's own folder.
    #[serde(default)]
    pub logging_dir: Option<PathBuf>,
    /// What they are for; `logging_dir` alone means this too.
    #[serde(default)]
    pub log_with: Option<LogWith>,
    /// What the names of those folders begin with; the time of the start follows.
    #[serde(default)]
    pub log_prefix: String,
    /// How the file keeps its numbers.
    #[serde(default)]
    pub save_precision: Precision,
    /// Into how many shards artists are divided: an adapter is trained for each, and one is forgotten by dropping it.
    #[serde(default)]
    pub shards: Option<u32>,
    /// How strong each is when all are used together; without it 1 / `shards`, so that all together are their mean. It
    /// must not depend on how many there are left.
    #[serde(default)]
    pub shard_weight: Option<f64>,
}

impl Run {
    /// The weight of a shard's adapter among the others.
    #[must_use]
    pub fn weight_of_shard(&self) -> f64 {
        let mean = 1.0 / f64::from(self.shards.unwrap_or(1).max(1));
        self.shard_weight.unwrap_or(mean)
    }

    /// Whether the sets can be divided: only one can, since each of several may hold pictures by the same artists, and a
    /// shard of them all may lack one.
    pub(super) fn check_shards(&self, one_set: bool) -> Result<(), String> {
        match (self.shards, self.shard_weight) {
            (Some(shards), _) if !(2..=MOST_SHARDS).contains(&shards) => {
                Err(format!("shards: expected 2 to {MOST_SHARDS}, found {shards}"))
            }
            (Some(_), _) if !one_set => Err(
                "shards: expected one set, found several; hint: freeze one snapshot of all and name it with `snapshot`"
                    .to_owned(),
            ),
            (Some(_), Some(weight)) => positive("shard_weight", weight),
            (None, Some(_)) => Err("shard_weight: it has no effect alone; hint: set shards".to_owned()),
            _ => Ok(()),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let hint = "hint: set logging_dir, the folder that TensorBoard's event files go to";
        match (&self.logging_dir, self.log_with, self.log_prefix.as_str()) {
            (None, Some(_), _) => Err(format!("log_with: there is no place for the events; {hint}")),
            (None, None, prefix) if !prefix.is_empty() => Err(format!("log_prefix: nothing is logged; {hint}")),
            (_, _, prefix) if prefix.contains(['/', '\\']) || prefix.contains("..") => Err(format!(
                "log_prefix: expected the beginning of a name, found `{prefix}`; hint: folders belong into logging_dir"
            )),
            _ => Ok(()),
        }
    }
}

fn title() -> String {
    "adapter".to_owned()
}
