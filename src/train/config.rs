//! The configuration of an adapter's training: TOML with kohya's option names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::optimizer::{AdamWConfig, Schedule};
use crate::adapter::Dtype;
use crate::consent::Use;
use crate::digest::Sha256Digest;

/// The optimizers there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerType {
    /// Adam with decoupled weight decay.
    AdamW,
}

/// How pictures that are not square become square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// White beside it: for drawings.
    PadWhite,
    /// The middle: for photographs.
    CropCentre,
}

/// How the adapter's file keeps its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// As they were trained.
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

impl From<Fit> for crate::pixels::Fit {
    fn from(fit: Fit) -> Self {
        match fit {
            Fit::PadWhite => Self::PadWhite,
            Fit::CropCentre => Self::CropCentre,
        }
    }
}

/// `assent train CONFIG.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// The adapter's title.
    #[serde(default = "title")]
    pub output_name: String,
    /// A diffusers folder, or a checkpoint in one safetensors file; relative to the configuration's own folder.
    pub pretrained_model_name_or_path: PathBuf,
    /// Name of the snapshot to train on.
    pub snapshot: String,
    /// Name of a snapshot that is only measured, for comparison.
    #[serde(default)]
    pub validation_snapshot: Option<String>,
    /// Height and width of the pictures; a multiple of what the model divides by.
    pub resolution: usize,
    /// How pictures become square.
    #[serde(default = "pad_white")]
    pub fit: Fit,
    /// Train on pictures without a caption too.
    #[serde(default)]
    pub allow_empty_captions: bool,
    /// Words that call the style, for the header.
    #[serde(default)]
    pub trigger_phrase: Option<String>,
    /// Rank.
    pub network_dim: usize,
    /// Alpha; the update is scaled by alpha / rank.
    pub network_alpha: f64,
    /// What the adapter is made for; `commercial` is refused on pictures that oblige to no commercial use.
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    pub usage: Option<Use>,
    /// The optimizer.
    #[serde(default = "adamw")]
    pub optimizer_type: OptimizerType,
    /// Decoupled weight decay.
    #[serde(default = "weight_decay")]
    pub weight_decay: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Its course.
    #[serde(default = "cosine")]
    pub lr_scheduler: Schedule,
    /// Updates of warm-up.
    #[serde(default)]
    pub lr_warmup_steps: u64,
    /// Updates.
    pub max_train_steps: u64,
    /// Pictures in a micro-batch.
    #[serde(default = "one")]
    pub train_batch_size: usize,
    /// Micro-batches of an update; they run side by side.
    #[serde(default = "one_step")]
    pub gradient_accumulation_steps: u64,
    /// Largest norm of the gradient; 0 for any.
    #[serde(default = "one_norm")]
    pub max_grad_norm: f64,
    /// Share of captions replaced by the empty one, 0 to 1.
    #[serde(default)]
    pub caption_dropout_rate: f64,
    /// γ of min-SNR weighting.
    #[serde(default)]
    pub min_snr_gamma: Option<f32>,
    /// Decides everything that is random.
    #[serde(default)]
    pub seed: u64,
    /// Share of the snapshot's pictures that is held out and only measured, 0 to below 1.
    #[serde(default)]
    pub validation_split: f64,
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
    /// How the file keeps its numbers.
    #[serde(default = "float")]
    pub save_precision: Precision,
}

fn title() -> String {
    "adapter".to_owned()
}
fn pad_white() -> Fit {
    Fit::PadWhite
}
fn adamw() -> OptimizerType {
    OptimizerType::AdamW
}
fn weight_decay() -> f64 {
    1e-2
}
fn cosine() -> Schedule {
    Schedule::Cosine
}
fn one() -> usize {
    1
}
fn one_step() -> u64 {
    1
}
fn one_norm() -> f64 {
    1.0
}
fn float() -> Precision {
    Precision::Float
}

impl AdapterConfig {
    /// Reads a configuration; the base's path becomes relative to the current folder. Also gives the digest of its text.
    ///
    /// # Errors
    /// If it cannot be read, does not parse, or a value is outside its range.
    pub fn read(path: &Path) -> Result<(Self, Sha256Digest), TrainError> {
        let text = std::fs::read_to_string(path).map_err(TrainError::io(path))?;
        let config = |message: String| TrainError::Config {
            path: path.to_owned(),
            message,
        };
        let mut parsed: Self = toml::from_str(&text).map_err(|e| config(e.to_string()))?;
        parsed.check().map_err(config)?;
        let beside = path.parent().unwrap_or(Path::new("."));
        parsed.pretrained_model_name_or_path = beside.join(&parsed.pretrained_model_name_or_path);
        Ok((parsed, Sha256Digest::of_bytes(text.as_bytes())))
    }

    fn check(&self) -> Result<(), String> {
        let share = |name: &str, value: f64, below_one: bool| {
            let within = (0.0..=1.0).contains(&value) && !(below_one && value >= 1.0);
            if within {
                Ok(())
            } else {
                Err(format!("{name}: expected a share from 0 to 1, found {value}"))
            }
        };
        let positive = |name: &str, value: f64| {
            if value > 0.0 && value.is_finite() {
                Ok(())
            } else {
                Err(format!("{name}: expected a number above 0, found {value}"))
            }
        };
        share("caption_dropout_rate", self.caption_dropout_rate, false)?;
        share("validation_split", self.validation_split, true)?;
        positive("learning_rate", self.learning_rate)?;
        positive("network_dim", self.network_dim as f64)?;
        positive("network_alpha", self.network_alpha)?;
        positive("resolution", self.resolution as f64)?;
        positive("train_batch_size", self.train_batch_size as f64)?;
        positive("gradient_accumulation_steps", self.gradient_accumulation_steps as f64)?;
        positive("max_train_steps", self.max_train_steps as f64)
    }

    /// The optimizer's settings.
    #[must_use]
    pub fn adamw(&self) -> AdamWConfig {
        let OptimizerType::AdamW = self.optimizer_type;
        AdamWConfig {
            weight_decay: self.weight_decay,
            ..AdamWConfig::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "pretrained_model_name_or_path = \"b\"\nsnapshot = \"s\"\nresolution = 64\nnetwork_dim = 4\n\
                         network_alpha = 4\nlearning_rate = 1e-4\nmax_train_steps = 10\n";

    #[test]
    fn refuses_what_it_does_not_know_and_what_is_out_of_range() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        for (more, wrong) in [
            ("", None),
            ("learnin_rate = 1\n", Some("learnin_rate")),
            ("validation_split = 1.0\n", Some("validation_split")),
            ("caption_dropout_rate = -0.1\n", Some("caption_dropout_rate")),
            ("optimizer_type = \"Lion\"\n", Some("Lion")),
            ("use = \"commercial\"\n", None),
            ("use = \"fun\"\n", Some("fun")),
        ] {
            std::fs::write(&path, format!("{LEAST}{more}")).unwrap();
            match (AdapterConfig::read(&path), wrong) {
                (Ok((c, _)), None) => assert_eq!(c.pretrained_model_name_or_path, folder.path().join("b")),
                (Err(e), Some(word)) => assert!(e.to_string().contains(word), "{e}"),
                (other, _) => panic!("{more}: {other:?}"),
            }
        }
    }
}
