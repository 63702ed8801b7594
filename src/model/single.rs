//! A whole model in one file, in the layout of the original code (LDM for Stable Diffusion 1.x and 2.x, SGM for SDXL),
//! recognised by its keys.

mod shapes;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;

use super::base::{Encoder, Family, Network};
use super::config::{self, TextConfig, UNetConfig, VaeConfig};
use super::pipeline::PipelineError;
use super::scheduler::{PredictionType, ScheduleConfig, TimestepSpacing};
use super::text::TextEncoder;
use super::unet::UNet;
use super::vae::Vae;
use super::weights::{Checkpoint, LoadError, Precision, Weights};
use crate::names::{self, Key};

const UNET: &str = "model.diffusion_model.";
const VAE: &str = "first_stage_model.";
const CLIP_1: &str = "cond_stage_model.transformer.";
const OPEN_CLIP_2: &str = "cond_stage_model.model.";
const CLIP_XL: &str = "conditioner.embedders.0.transformer.";
const OPEN_CLIP_XL: &str = "conditioner.embedders.1.model.";

/// What training leaves in a checkpoint and nobody needs: averaged weights, discriminators.
const LEFTOVERS: &[&str] = &["model_ema.", "first_stage_model.loss.", "denoiser."];
/// The same, as whole keys: the noise schedule, which follows from its configuration, and counters.
const TABLES: &[&str] = &[
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "betas",
    "cond_stage_model.logit_scale",
    "global_step",
    "log_one_minus_alphas_cumprod",
    "logvar",
    "lvlb_weights",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "posterior_variance",
    "scale_factor",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    V_PREDICTION,
];
/// A key that some SDXL checkpoints carry to say that they predict velocity.
const V_PREDICTION: &str = "v_pred";
/// A key that some SDXL checkpoints carry to say that their schedule ends at no signal at all.
const ZERO_TERMINAL: &str = "ztsnr";

/// How many wrong keys a refusal shows.
const SHOWN: usize = 5;

/// A single file and what it holds.
pub(super) struct Single {
    checkpoint: Arc<Checkpoint>,
    family: Family,
    unet: UNetConfig,
    vae: VaeConfig,
    texts: Vec<TextConfig>,
    schedule: ScheduleConfig,
}

impl Single {
    /// Opens a file, and finds out what it holds. `folder` holds its configurations where its shapes do not tell them.
    pub(super) fn open(path: &Path, folder: Option<&Path>) -> Result<Self, PipelineError> {
        let checkpoint = Checkpoint::open(path)?;
        let refuse = |message: String| LoadError::Unknown {
            path: path.to_owned(),
            message,
        };
        let family = recognise(&checkpoint).map_err(refuse)?;
        known_keys(&checkpoint, family)?;
        if let Some(folder) = folder {
            let mut texts = vec![config::read(&folder.join("text_encoder/config.json"))?];
            if family == Family::Xl {
                texts.push(config::read(&folder.join("text_encoder_2/config.json"))?);
            }
            return Ok(Self {
                checkpoint: Arc::new(checkpoint),
                family,
                unet: config::read(&folder.join("unet/config.json"))?,
                vae: config::read(&folder.join("vae/config.json"))?,
                texts,
                schedule: ScheduleConfig::from_folder(&folder.join("scheduler"))?,
            });
        }
        let prediction = prediction(&checkpoint, family).map_err(refuse)?;
        let mut unet = shapes::unet(&checkpoint, family).map_err(refuse)?;
        if family == Family::Sd2 && prediction == PredictionType::Velocity {
            unet.sample_size = 96;
        }
        Ok(Self {
            unet,
            vae: shapes::vae(&checkpoint, family).map_err(refuse)?,
            texts: shapes::texts(&checkpoint, family).map_err(refuse)?,
            schedule: schedule(family, prediction),
            checkpoint: Arc::new(checkpoint),
            family,
        })
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    pub(super) fn schedule(&self) -> &ScheduleConfig {
        &self.schedule
    }

    /// Builds one part of the tensors whose keys begin with `prefix`.
    fn part<T>(
        &self,
        (name, prefix): (&'static str, &str),
        (device, precision): (&Device, Precision),
        meaning: &dyn Fn(&str) -> Option<Key>,
        build: impl FnOnce(&mut Weights) -> Result<T, String>,
    ) -> Result<T, LoadError> {
        let meaning = |key: &str| match key.strip_prefix(prefix) {
            None => Key::Unneeded,
            // A key without a meaning keeps its own name, under which it is then refused.
            Some(rest) => meaning(rest).unwrap_or_else(|| Key::Tensor(key.to_owned())),
        };
        let mut weights = Weights::of_part(&self.checkpoint, Some(name), device, &meaning).stored_as(precision);
        let part = build(&mut weights).or_else(|message| config::refuse(self.checkpoint.path(), message))?;
        weights.finish()?;
        Ok(part)
    }

    pub(super) fn unet(&self, device: &Device, precision: Precision) -> Result<UNet, LoadError> {
        let meaning = |key: &str| {
            let (path, end) = key.rsplit_once('.')?;
            Some(Key::Tensor(format!("{}.{end}", names::unet_path(path)?)))
        };
        self.part(("U-Net", UNET), (device, precision), &meaning, |w| {
            UNet::build(&self.unet, w)
        })
    }

    /// What a key holds, where it is of the U-Net or a text encoder.
    pub(super) fn meaning(&self, key: &str) -> Option<(Network, Key)> {
        if let Some(rest) = key.strip_prefix(UNET) {
            let (path, end) = rest.rsplit_once('.')?;
            let name = format!("{}.{end}", names::unet_path(path)?);
            return Some((Network::UNet, Key::Tensor(name)));
        }
        let (texts, open) = match self.family {
            Family::Sd1 => ([CLIP_1].as_slice(), None),
            Family::Sd2 => ([].as_slice(), Some((OPEN_CLIP_2, Network::Text))),
            Family::Xl => ([CLIP_XL].as_slice(), Some((OPEN_CLIP_XL, Network::Text2))),
        };
        let clip = texts.iter().find_map(|prefix| key.strip_prefix(prefix));
        let clip = clip.map(|rest| (Network::Text, names::clip(rest)));
        clip.or_else(|| {
            let (prefix, network) = open?;
            Some((network, names::open_clip(key.strip_prefix(prefix)?)?))
        })
    }

    pub(super) fn vae(&self, device: &Device, precision: Precision) -> Result<Vae, LoadError> {
        let levels = self.vae.block_out_channels.len();
        let meaning = |key: &str| {
            if key.starts_with("loss.") {
                return Some(Key::Unneeded);
            }
            let (path, end) = key.rsplit_once('.')?;
            Some(Key::Tensor(format!("{}.{end}", names::vae_path(path, levels)?)))
        };
        self.part(("VAE", VAE), (device, precision), &meaning, |w| {
            Vae::build(&self.vae, w)
        })
    }

    pub(super) fn text(&self, which: Encoder, device: &Device, precision: Precision) -> Result<TextEncoder, LoadError> {
        let none = || LoadError::Unknown {
            path: self.checkpoint.path().to_owned(),
            message: "it has no second text encoder".to_owned(),
        };
        let config = self.texts.get(which as usize).ok_or_else(none)?;
        let projects = config.projects();
        // Stable Diffusion 2 takes what the last block but one gives, so its last block is left out.
        let last = format!("text_model.encoder.layers.{}.", config.num_hidden_layers);
        let unneeded = |name: &str| {
            (name.starts_with("text_projection") && !projects)
                || (self.family == Family::Sd2 && name.starts_with(&last))
                || name == "text_model.logit_scale"
        };
        let wanted = |key: Key| match &key {
            Key::Tensor(name) | Key::Transposed(name) | Key::Fused([name, ..]) if unneeded(name) => Key::Unneeded,
            _ => key,
        };
        let clip = |key: &str| Some(wanted(names::clip(key)));
        let open_clip = |key: &str| names::open_clip(key).map(wanted);
        let part = match (self.family, which) {
            (Family::Sd1, _) => ("text encoder", CLIP_1),
            (Family::Sd2, _) => ("text encoder", OPEN_CLIP_2),
            (Family::Xl, Encoder::First) => ("first text encoder", CLIP_XL),
            (Family::Xl, Encoder::Second) => ("second text encoder", OPEN_CLIP_XL),
        };
        let meaning: &dyn Fn(&str) -> Option<Key> = match part.1 {
            CLIP_1 | CLIP_XL => &clip,
            _ => &open_clip,
        };
        self.part(part, (device, precision), meaning, |w| TextEncoder::build(config, w))
    }
}

/// Which kind of model the keys belong to, or what they are instead.
fn recognise(checkpoint: &Checkpoint) -> Result<Family, String> {
    let has = |prefix: &str| checkpoint.has_prefix(prefix);
    if has("lora_") || checkpoint.keys().any(|k| k.contains(".lora_")) {
        return Err("it is an adapter; hint: give it with --adapter, beside a base".to_owned());
    }
    if !has("model.diffusion_model.input_blocks.") {
        let other = [
            ("model.diffusion_model.joint_blocks.", "Stable Diffusion 3"),
            ("joint_blocks.", "Stable Diffusion 3"),
            ("model.diffusion_model.double_blocks.", "Flux"),
            ("double_blocks.", "Flux"),
            ("down_blocks.", "a U-Net alone, as in `unet/` of a diffusers folder"),
            ("encoder.down", "a VAE alone"),
            ("first_stage_model.", "a VAE alone"),
            ("text_model.", "a text encoder alone"),
        ];
        if let Some((_, what)) = other.iter().find(|(prefix, _)| has(prefix)) {
            return Err(format!(
                "it is {what}; hint: name a checkpoint of Stable Diffusion 1.x, 2.x or SDXL, or a whole diffusers folder"
            ));
        }
        let first: Vec<String> = checkpoint.keys().take(SHOWN).map(|k| format!("`{k}`")).collect();
        return Err(format!(
            "expected keys such as `model.diffusion_model.input_blocks.0.0.weight`, found {}",
            if first.is_empty() {
                "no tensors".to_owned()
            } else {
                first.join(", ")
            }
        ));
    }
    match () {
        () if has(OPEN_CLIP_XL) && has(CLIP_XL) => Ok(Family::Xl),
        () if has("conditioner.embedders.0.model.") => Err("it is SDXL's refiner; hint: name SDXL's base".to_owned()),
        () if has(OPEN_CLIP_2) => Ok(Family::Sd2),
        () if has(CLIP_1) => Ok(Family::Sd1),
        () => Err(format!(
            "it has a U-Net and no text encoder: expected keys that begin with `{CLIP_1}`, `{OPEN_CLIP_2}` or \
             `{OPEN_CLIP_XL}`"
        )),
    }
}

/// Refuses keys that belong to no part of such a model.
fn known_keys(checkpoint: &Checkpoint, family: Family) -> Result<(), LoadError> {
    let texts: &[&str] = match family {
        Family::Sd1 => &[CLIP_1],
        Family::Sd2 => &[OPEN_CLIP_2],
        Family::Xl => &[CLIP_XL, OPEN_CLIP_XL],
    };
    let parts = [UNET, VAE].iter().chain(texts).chain(LEFTOVERS);
    let parts: Vec<&&str> = parts.collect();
    let strange: Vec<&str> = checkpoint
        .keys()
        .filter(|key| !TABLES.contains(key) && !parts.iter().any(|prefix| key.starts_with(**prefix)))
        .collect();
    if strange.is_empty() {
        return Ok(());
    }
    let more = if strange.len() > SHOWN { ", …" } else { "" };
    let shown = strange.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    Err(LoadError::Unknown {
        path: checkpoint.path().to_owned(),
        message: format!(
            "it looks like {family}, with {} keys that are no part of it: {shown}{more}",
            strange.len()
        ),
    })
}

/// What the network predicts: as the header says, or a marker among the keys, or for Stable Diffusion 2 as ComfyUI
/// tells its two kinds apart: by a bias that only the velocity model has grown large.
fn prediction(checkpoint: &Checkpoint, family: Family) -> Result<PredictionType, String> {
    if checkpoint.shape(ZERO_TERMINAL).is_some() {
        return Err(format!(
            "its key `{ZERO_TERMINAL}` asks for a schedule that ends at no signal, which is not supported"
        ));
    }
    match checkpoint.metadata("modelspec.prediction_type") {
        Some("epsilon") => return Ok(PredictionType::Epsilon),
        Some("v" | "v_prediction") => return Ok(PredictionType::Velocity),
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            return Err(format!("its prediction type is `{other}`, expected `epsilon` or `v`"));
        }
        None => {}
    }
    if checkpoint.shape(V_PREDICTION).is_some() {
        return Ok(PredictionType::Velocity);
    }
    if family != Family::Sd2 {
        return Ok(PredictionType::Epsilon);
    }
    let key = format!("{UNET}output_blocks.11.1.transformer_blocks.0.norm1.bias");
    let values = checkpoint.values(&key).ok_or_else(|| format!("it has no `{key}`"))?;
    let values = values.map_err(|why| format!("`{key}` {why}"))?;
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let variance = values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
    Ok(if variance.sqrt() > 0.09 {
        PredictionType::Velocity
    } else {
        PredictionType::Epsilon
    })
}

/// The schedule that all these models were trained with, as their published configurations state it.
fn schedule(family: Family, prediction_type: PredictionType) -> ScheduleConfig {
    ScheduleConfig {
        beta_start: 0.00085,
        beta_end: 0.012,
        scaled: true,
        prediction_type,
        timestep_spacing: (family == Family::Xl).then_some(TimestepSpacing::Leading),
        steps_offset: 1,
        set_alpha_to_one: false,
        clip_sample: Some(false),
        ..ScheduleConfig::default()
    }
}
