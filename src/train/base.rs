//! Training a small Stable Diffusion from scratch, all its parameters: first the autoencoder, then the U-Net together with
//! the text encoder on the autoencoder's latents.
//!
//! The folder it writes is a diffusers folder. Both parts save their state and continue from it exactly.

mod diffusion;
mod vae;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::data::Pictures;
use super::engine::{Finish, Plan};
use super::error::TrainError;
use super::optimizer::{AdamWConfig, Method};
use super::schedule::{Course, Schedule};
use super::watch::Stage;
use crate::digest::{Sha256Digest, write_atomic};
use crate::model::weights::LoadError;

/// Settings of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Updates.
    pub max_train_steps: u64,
    /// Pictures in a batch.
    pub train_batch_size: usize,
    /// Micro-batches, each of `train_batch_size`, summed for an update.
    pub gradient_accumulation_steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Updates of warm-up.
    pub lr_warmup_steps: u64,
    /// Largest norm of the gradient.
    #[serde(default = "one")]
    pub max_grad_norm: f64,
    /// Decay of the weights' average, which is what is saved.
    #[serde(default = "ema")]
    pub ema_decay: f64,
    /// Share of captions replaced by the empty one.
    #[serde(default)]
    pub caption_dropout_rate: f64,
}

fn one() -> f64 {
    1.0
}

fn ema() -> f64 {
    0.999
}

/// `configs/base.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// Name of the snapshot to train on.
    pub snapshot: String,
    /// A diffusers folder with the configurations and the tokenizer; weights in it are not read.
    pub model: PathBuf,
    /// Height and width of the pictures.
    pub resolution: usize,
    /// Decides everything that is random.
    pub seed: u64,
    /// Share of the pictures that is held out.
    pub validation_split: f64,
    /// Updates between two saved states.
    pub save_every_n_steps: u64,
    /// Updates between two validations.
    pub validate_every_n_steps: u64,
    /// Updates between two sheets of samples.
    pub sample_every_n_steps: u64,
    /// What the samples show.
    pub sample_prompts: Vec<String>,
    /// Weight of the latents' divergence from the standard normal distribution.
    pub kl_weight: f64,
    /// The autoencoder.
    pub vae: Part,
    /// The U-Net and the text encoder.
    pub unet: Part,
}

/// What is loaded before either part begins.
pub struct BaseRun<'a> {
    /// The settings.
    pub config: &'a BaseConfig,
    /// The pictures of the snapshot.
    pub pictures: &'a Pictures,
    /// The snapshot's root, which a resumed run must share.
    pub root: Sha256Digest,
    /// Where to compute, without autodiff.
    pub device: &'a Device,
    /// Continue from saved states.
    pub resume: bool,
}

/// Trains the base, or continues training it, into `stage.out`: a diffusers folder when it is complete.
///
/// # Errors
/// If files cannot be read or written, settings do not fit, or the loss is no longer a number.
pub fn train_base(run: &BaseRun<'_>, stage: &mut Stage<'_>) -> Result<Finish, TrainError> {
    copy_template(&run.config.model, stage.out)?;
    let vae = vae::train(run, stage)?;
    if !vae.complete {
        return Ok(vae);
    }
    let mut unet = diffusion::train(run, stage)?;
    unet.losses.extend(vae.losses);
    Ok(unet)
}

/// Files of the template that are taken as they are.
const TEMPLATE: &[&str] = &[
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
];

fn copy_template(from: &Path, to: &Path) -> Result<(), TrainError> {
    for name in TEMPLATE {
        let (source, target) = (from.join(name), to.join(name));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        }
        if *name == "vae/config.json" && target.exists() {
            // It holds the scaling factor that was measured once the autoencoder was trained.
            continue;
        }
        let bytes = fs::read(&source).map_err(TrainError::io(&source))?;
        write_atomic(&target, &bytes).map_err(TrainError::io(&target))?;
    }
    Ok(())
}

fn plan(run: &BaseRun<'_>, name: &str, part: &Part) -> Result<Plan, TrainError> {
    let c = run.config;
    // Each part continues whatever becomes of the settings of the other.
    let settings = (
        &c.snapshot,
        c.resolution,
        c.seed,
        c.validation_split,
        c.kl_weight,
        part,
        run.root,
    );
    let text = serde_json::to_vec(&settings).map_err(|e| TrainError::Setting(e.to_string()))?;
    Ok(Plan {
        name: name.to_owned(),
        metrics: format!("metrics-{name}.jsonl"),
        identity: Sha256Digest::of_bytes(&text).to_string(),
        course: Course {
            schedule: Schedule::Cosine,
            warmup: part.lr_warmup_steps,
            total: part.max_train_steps,
            cycles: 1,
            power: 1.0,
            peak: part.learning_rate,
        },
        gradient_accumulation_steps: part.gradient_accumulation_steps,
        side_by_side: rayon::current_num_threads(),
        gradient_checkpointing: false,
        max_grad_norm: part.max_grad_norm,
        scale_weight_norms: None,
        method: Method::AdamW(AdamWConfig::default()),
        ema_decay: Some(part.ema_decay),
        early_stopping: None,
        save_every_n_steps: c.save_every_n_steps,
        validate_every_n_steps: c.validate_every_n_steps,
        sample_every_n_steps: c.sample_every_n_steps,
    })
}

fn unsupported(path: PathBuf) -> impl Fn(String) -> TrainError {
    move |message| {
        TrainError::Load(LoadError::Config {
            path: path.clone(),
            message,
        })
    }
}
