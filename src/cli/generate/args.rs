//! The options of `assent generate`.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, bail};

use super::{label, workflow};
use crate::cli::device::DeviceArgs;
use crate::generate::Rng;
use crate::model::samplers::{SamplerChoice, Spread};
use crate::model::weights::Precision;

/// The types that weights can have in memory.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Stored {
    /// Four bytes a number
    F32,
    /// Half the memory, a little slower; numbers are rounded where the file has more digits
    F16,
    /// A quarter of the memory for the U-Net and the text encoders: their weights are rounded to a byte with a scale for
    /// each output channel
    Int8,
}

impl From<Stored> for Precision {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::F32 => Self::F32,
            Stored::F16 => Self::F16,
            Stored::Int8 => Self::Int8,
        }
    }
}

/// What to draw, with what, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The base model: a diffusers folder, or a checkpoint in one .safetensors file (Stable Diffusion 1.x, 2.x, SDXL)
    #[arg(long, value_name = "DIR|FILE", required_unless_present = "workflow")]
    pub base: Option<PathBuf>,
    /// A diffusers folder whose configurations describe a checkpoint that has other heads or groups than the published
    /// models
    #[arg(long, value_name = "DIR")]
    pub base_config: Option<PathBuf>,
    /// A VAE in the place of the base's own, in one .safetensors file
    #[arg(long, value_name = "FILE")]
    pub vae: Option<PathBuf>,
    /// An adapter, with its strength behind a colon (1 unless given), and that on the text encoders behind another one
    /// (the same unless given); may be repeated
    #[arg(long, value_name = "FILE[:WEIGHT[:CLIP]]")]
    pub adapter: Vec<OsString>,
    /// What the picture should show; each prompt is a picture of its own
    #[arg(long, value_name = "TEXT", required_unless_present = "workflow")]
    pub prompt: Vec<String>,
    /// What it should not show
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Which layer of the text encoder is taken, counted from the last, which is 1 [default: 1, for SDXL 2]
    #[arg(long, value_name = "N")]
    pub clip_skip: Option<usize>,
    /// Decides all noise of a prompt's first picture; the next ones count on from here [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Whose random numbers: own, cpu (PyTorch's, as A1111 draws them with its setting CPU) or comfyui (PyTorch's, as
    /// ComfyUI draws them) [default: own, for a workflow comfyui]
    #[arg(long, value_name = "NAME")]
    pub rng: Option<Rng>,
    /// Pictures a prompt [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub num_images: Option<u64>,
    /// Pictures that are drawn together: faster, and takes more memory. A seed is the same picture in any batch, up to
    /// rounding
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub batch_size: u64,
    /// Steps of the sampler [default: 20]
    #[arg(long)]
    pub steps: Option<usize>,
    /// Guidance: how closely it follows the prompt; 1 is none [default: 4]
    #[arg(long)]
    pub cfg: Option<f64>,
    /// How far the contrast that guidance adds is taken back, 0 to 1 (for v-prediction about 0.7)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub guidance_rescale: f64,
    /// ddim, euler, euler_ancestral, heun, dpmpp_2m, dpmpp_2m_sde, dpmpp_sde, uni_pc or lcm; also as A1111 ("DPM++ 2M
    /// Karras") and diffusers name them [default: ddim]
    #[arg(long, value_name = "NAME")]
    pub sampler: Option<String>,
    /// How the noise levels are spread, as ComfyUI does: normal, karras, exponential, sgm_uniform, simple, ddim_uniform,
    /// beta, linear_quadratic or kl_optimal [default: what the base says]
    #[arg(long, value_name = "NAME")]
    pub scheduler: Option<String>,
    /// Width in pixels [default: what the base was trained at, or the initial picture's]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels [default: what the base was trained at, or the initial picture's]
    #[arg(long)]
    pub height: Option<usize>,
    /// A picture to start from, of the size of what is drawn
    #[arg(long, value_name = "FILE")]
    pub init_image: Option<PathBuf>,
    /// The part of the steps that is drawn over it, above 0 and up to 1, as A1111 and diffusers count [default: 0.8, with
    /// a mask 1]
    #[arg(long, value_name = "SHARE", conflicts_with = "denoise")]
    pub strength: Option<f64>,
    /// The same as ComfyUI counts: all steps are taken, of a run that is longer by so much
    #[arg(long, value_name = "SHARE")]
    pub denoise: Option<f64>,
    /// Where it is drawn over: white pixels; what is black stays
    #[arg(long, value_name = "FILE", requires = "init_image")]
    pub mask: Option<PathBuf>,
    /// Decode in overlapping tiles of so many latent pixels on a side (64 unless given): less memory for large pictures
    #[arg(long, value_name = "LATENTS", num_args = 0..=1, require_equals = true, default_missing_value = "64")]
    pub vae_tiling: Option<usize>,
    /// How the weights lie in memory; the arithmetic is f32 whatever they are
    #[arg(long, value_enum, default_value_t = Stored::F32)]
    pub weights: Stored,
    /// Write what can be seen so far every N steps, with -preview-STEP before the extension
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub preview_every: Option<u64>,
    /// Add the adapters to the base's weights before drawing, in the place of computing them beside each layer: quicker
    /// steps, the same pictures up to rounding
    #[arg(long, requires = "adapter")]
    pub merge: bool,
    /// A contact sheet in the place of pictures: a row a prompt; columns without an adapter, with each, and with all
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "num_images", "preview_every"])]
    pub sheet: Option<PathBuf>,
    /// The picture: .png, .jpg or .webp; where there are several, -1, -2, … stand before the extension
    #[arg(short, long, value_name = "FILE", required_unless_present = "sheet")]
    pub output: Option<PathBuf>,
    /// What to draw, from a file
    #[command(flatten)]
    pub workflow: workflow::WorkflowArgs,
    /// What is said of them
    #[command(flatten)]
    pub label: label::LabelArgs,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

impl Args {
    /// The sampler and how its noise levels are spread.
    pub fn sampler(&self) -> Result<SamplerChoice> {
        let name = self.sampler.as_deref().unwrap_or("ddim");
        let choice: SamplerChoice = name.parse()?;
        let Some(scheduler) = &self.scheduler else {
            return Ok(choice);
        };
        let spread: Spread = scheduler.parse()?;
        if choice.spread.is_some_and(|named| named != spread) {
            bail!("--sampler `{name}` and --scheduler `{scheduler}` contradict each other");
        }
        Ok(SamplerChoice {
            spread: Some(spread),
            ..choice
        })
    }
}
