//! A whole Stable Diffusion from a diffusers folder: tokenizer, text encoder, U-Net, VAE and noise schedule.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use super::scheduler::{NoiseSchedule, ScheduleConfig, ScheduleError};
use super::text::TextEncoder;
use super::tokenizer::{Tokenizer, TokenizerError};
use super::unet::UNet;
use super::vae::Vae;
use super::weights::LoadError;

/// Why a folder is not a model that can be used.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Weights or a configuration.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The noise schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
}

/// A Stable Diffusion 1.x or 2.x.
#[derive(Clone)]
pub struct Pipeline {
    /// Text → token ids.
    pub tokenizer: Arc<Tokenizer>,
    /// Token ids → embedding.
    pub text: TextEncoder,
    /// Predicts the noise.
    pub unet: UNet,
    /// Pictures ↔ latents.
    pub vae: Vae,
    /// `scheduler/scheduler_config.json`.
    pub schedule_config: ScheduleConfig,
    /// What follows from it.
    pub schedule: NoiseSchedule,
}

impl Pipeline {
    /// Reads `tokenizer/`, `text_encoder/`, `unet/`, `vae/` and `scheduler/`.
    ///
    /// # Errors
    /// The first part that cannot be read or does not fit its configuration.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, PipelineError> {
        let text = TextEncoder::load(&folder.join("text_encoder"), device)?;
        let unet = UNet::load(&folder.join("unet"), device)?;
        let vae = Vae::load(&folder.join("vae"), device)?;
        Self::assemble(folder, text, unet, vae)
    }

    /// Joins networks with the tokenizer and the schedule of a folder.
    ///
    /// # Errors
    /// If the tokenizer or the schedule cannot be read.
    pub fn assemble(folder: &Path, text: TextEncoder, unet: UNet, vae: Vae) -> Result<Self, PipelineError> {
        let schedule_config = ScheduleConfig::from_folder(&folder.join("scheduler"))?;
        let tokenizer = Arc::new(Tokenizer::from_folder(&folder.join("tokenizer"))?);
        let schedule = NoiseSchedule::new(&schedule_config);
        Ok(Self {
            tokenizer,
            text,
            unet,
            vae,
            schedule_config,
            schedule,
        })
    }

    /// The token ids of a caption, cut and padded to the encoder's length.
    #[must_use]
    pub fn tokens(&self, caption: &str) -> Vec<u32> {
        self.tokenizer
            .encode_padded(caption, self.text.config().max_position_embeddings)
    }

    /// The embeddings of captions.
    ///
    /// # Shapes
    /// `n` captions → `[n, 77, width]`
    #[must_use]
    pub fn embed(&self, captions: &[&str], device: &Device) -> Tensor<3> {
        let rows: Vec<Vec<u32>> = captions.iter().map(|c| self.tokens(c)).collect();
        self.text.forward(&rows, device).last
    }
}
