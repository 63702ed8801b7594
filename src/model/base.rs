//! A base model as people have it: a diffusers folder, or a single file in the original layout. Parts are loaded one by
//! one, each onto the device it is wanted on.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Deserialize;

use super::config::{self, UNetConfig};
use super::pipeline::PipelineError;
use super::scheduler::ScheduleConfig;
use super::single::Single;
use super::text::TextEncoder;
use super::tokenizer::{Padding, Tokenizer};
use super::unet::UNet;
use super::vae::Vae;
use super::weights::{LoadError, Precision};
use crate::names::Key;

/// The kinds of Stable Diffusion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// 1.x: one CLIP-L.
    Sd1,
    /// 2.x: one OpenCLIP-H.
    Sd2,
    /// SDXL: CLIP-L and OpenCLIP-bigG, and a pooled vector.
    Xl,
}

impl Family {
    /// What a U-Net of this configuration belongs to.
    #[must_use]
    pub fn of(config: &UNetConfig) -> Self {
        match (&config.addition_embed_type, config.use_linear_projection) {
            (Some(_), _) => Self::Xl,
            (None, true) => Self::Sd2,
            (None, false) => Self::Sd1,
        }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sd1 => "Stable Diffusion 1.x",
            Self::Sd2 => "Stable Diffusion 2.x",
            Self::Xl => "SDXL",
        })
    }
}

/// One of the text encoders of a base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// `text_encoder`.
    First,
    /// `text_encoder_2`, which SDXL has.
    Second,
}

/// A network of a base that adapters change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Network {
    /// The noise predictor.
    UNet,
    /// The text encoder, of SDXL the first.
    Text,
    /// SDXL's second text encoder.
    Text2,
}

/// Where a base's parts are.
pub struct Base {
    path: PathBuf,
    single: Option<Single>,
    family: Family,
    zero_empty: bool,
    precision: Precision,
}

/// The one key of `model_index.json` that counts.
#[derive(Deserialize)]
struct Index {
    force_zeros_for_empty_prompt: Option<bool>,
}

impl Base {
    /// Opens a folder or a file. `config` is a diffusers folder whose configurations describe a single file; without
    /// it they follow from the shapes of the file's tensors, which works for models of the published kinds.
    ///
    /// # Errors
    /// If it is neither, or of a kind that is not known here.
    pub fn open(path: &Path, config: Option<&Path>) -> Result<Self, PipelineError> {
        if path.is_dir() {
            if let Some(config) = config {
                return config::refuse(
                    config,
                    format!(
                        "expected no other configuration: `{}` is a folder with its own",
                        path.display()
                    ),
                )
                .map_err(PipelineError::from);
            }
            let unet: UNetConfig = config::read(&path.join("unet/config.json"))?;
            let index = path.join("model_index.json");
            let index: Option<Index> = index.exists().then(|| config::read(&index)).transpose()?;
            return Ok(Self {
                path: path.to_owned(),
                single: None,
                family: Family::of(&unet),
                zero_empty: index.and_then(|i| i.force_zeros_for_empty_prompt).unwrap_or(true),
                precision: Precision::F32,
            });
        }
        let single = Single::open(path, config)?;
        Ok(Self {
            path: path.to_owned(),
            family: single.family(),
            single: Some(single),
            zero_empty: true,
            precision: Precision::F32,
        })
    }

    /// The same base, with its weights in memory as `precision` says.
    #[must_use]
    pub fn stored_as(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// How its weights lie in memory.
    #[must_use]
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// What a key of a single file holds, where it is of a network that adapters change.
    pub(super) fn meaning(&self, key: &str) -> Option<(Network, Key)> {
        self.single.as_ref()?.meaning(key)
    }

    /// The folder or the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What kind it is.
    #[must_use]
    pub fn family(&self) -> Family {
        self.family
    }

    /// Whether SDXL takes zeros in the place of a negative prompt that is not given.
    #[must_use]
    pub fn zero_empty(&self) -> bool {
        self.zero_empty
    }

    /// The noise predictor.
    ///
    /// # Errors
    /// If it cannot be read or does not fit its configuration.
    pub fn unet(&self, device: &Device) -> Result<UNet, LoadError> {
        match &self.single {
            Some(single) => single.unet(device, self.precision),
            None => UNet::load(&self.path.join("unet"), device, self.precision),
        }
    }

    /// The autoencoder.
    ///
    /// # Errors
    /// As [`Base::unet`].
    pub fn vae(&self, device: &Device) -> Result<Vae, LoadError> {
        match &self.single {
            Some(single) => single.vae(device, self.precision),
            None => Vae::load(&self.path.join("vae"), device, self.precision),
        }
    }

    /// A text encoder.
    ///
    /// # Errors
    /// As [`Base::unet`].
    pub fn text(&self, which: Encoder, device: &Device) -> Result<TextEncoder, LoadError> {
        let folder = match which {
            Encoder::First => "text_encoder",
            Encoder::Second => "text_encoder_2",
        };
        match &self.single {
            Some(single) => single.text(which, device, self.precision),
            None => TextEncoder::load(&self.path.join(folder), device, self.precision),
        }
    }

    /// The tokenizer of a text encoder: the folder's own, or for a single file the one that all have.
    ///
    /// # Errors
    /// If its files cannot be read.
    pub fn tokenizer(&self, which: Encoder) -> Result<Tokenizer, PipelineError> {
        if self.single.is_some() {
            return Ok(Tokenizer::clip(match (self.family, which) {
                (Family::Sd1, _) | (Family::Xl, Encoder::First) => Padding::End,
                (Family::Sd2, _) | (Family::Xl, Encoder::Second) => Padding::Zero,
            })?);
        }
        let folder = match which {
            Encoder::First => "tokenizer",
            Encoder::Second => "tokenizer_2",
        };
        Ok(Tokenizer::from_folder(&self.path.join(folder))?)
    }

    /// The noise schedule.
    ///
    /// # Errors
    /// If its file cannot be read.
    pub fn schedule(&self) -> Result<ScheduleConfig, PipelineError> {
        match &self.single {
            Some(single) => Ok(single.schedule().clone()),
            None => Ok(ScheduleConfig::from_folder(&self.path.join("scheduler"))?),
        }
    }
}
