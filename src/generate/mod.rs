//! Pictures from prompts: the sampling loop.
//!
//! Tensors and prompts in, pixels out; reads no clock and writes no file.

pub mod label;

use burn::tensor::{Device, Tensor};

use crate::model::params::to_vec;
use crate::model::pipeline::{Conditions, Pipeline, PipelineError};
use crate::model::samplers::SamplerKind;
use crate::model::scheduler::ScheduleError;
use crate::model::unet::UNet;
use crate::model::weights::Draws;

/// How to draw.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Width and height in pixels; multiples of the VAE's factor times the U-Net's.
    pub size: [usize; 2],
    /// Steps of the sampler.
    pub steps: usize,
    /// Classifier-free guidance (Ho and Salimans 2022); 1 is none.
    pub cfg: f64,
    /// The sampler.
    pub sampler: SamplerKind,
    /// Decides the noise that picture `i` starts from, together with `i`.
    pub seed: u64,
    /// What the picture should not be. SDXL tells none from an empty one.
    pub negative_prompt: Option<String>,
    /// Which of the text encoder's layers is taken, counted from the last, which is 1.
    pub clip_skip: Option<usize>,
}

/// A picture: `[3, height, width]` in [-1, 1].
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Width and height in pixels.
    pub size: [usize; 2],
    /// Planes of red, green and blue.
    pub planes: Vec<f32>,
}

impl Picture {
    /// Rows of red, green and blue bytes.
    #[must_use]
    pub fn rgb(&self) -> Vec<u8> {
        let n = self.size[0] * self.size[1];
        let byte = |v: f32| ((v.clamp(-1.0, 1.0) + 1.0) * 127.5).round() as u8;
        (0..n)
            .flat_map(|i| (0..3).map(move |c| (c, i)))
            .map(|(c, i)| byte(self.planes[c * n + i]))
            .collect()
    }
}

/// Why nothing was drawn.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A size that the model cannot draw.
    #[error("expected width and height to be multiples of {multiple}, found {width}×{height}")]
    Size {
        /// What they must be multiples of.
        multiple: usize,
        /// Width asked for.
        width: usize,
        /// Height asked for.
        height: usize,
    },
    /// The sampler.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// The prompt.
    #[error(transparent)]
    Prompt(#[from] PipelineError),
    /// The PNG encoder refused.
    #[error("cannot encode the picture as PNG: {0}")]
    Encode(String),
    /// The network gave NaN or infinity.
    #[error("the model's output at step {step} is not finite; hint: are the adapter and the base of one family?")]
    NotFinite {
        /// The step, from 0.
        step: usize,
    },
}

/// Draws one picture for each prompt, all in one batch, with `unet` in the place of the pipeline's own (an adapter may
/// lie on it). `progress` is called after each step.
///
/// # Errors
/// If the size does not fit the model or its output is not finite.
pub fn draw(
    pipeline: &Pipeline,
    unet: &UNet,
    prompts: &[&str],
    settings: &Settings,
    device: &Device,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<Picture>, GenerateError> {
    let [width, height] = settings.size;
    let factor = pipeline.vae.factor();
    if width == 0 || height == 0 || !width.is_multiple_of(factor) || !height.is_multiple_of(factor) {
        return Err(GenerateError::Size {
            multiple: factor,
            width,
            height,
        });
    }
    let n = prompts.len();
    if n == 0 {
        return Ok(Vec::new());
    }
    let channels = unet.config().in_channels;
    let shape = [channels, height / factor, width / factor];
    let guided = settings.cfg != 1.0;
    let mut texts: Vec<Option<&str>> = Vec::new();
    if guided {
        texts.resize(n, settings.negative_prompt.as_deref());
    }
    texts.extend(prompts.iter().map(|p| Some(*p)));
    let Conditions { context, pooled } = pipeline.encode(&texts, settings.clip_skip, device)?;
    let added = Pipeline::added(pooled, settings.size);

    let mut sampler = settings.sampler.build(&pipeline.schedule_config, settings.steps)?;
    let mut noise = Vec::new();
    for i in 0..n {
        noise.extend(Draws::new(settings.seed, &format!("picture/{i}")).normals(shape.iter().product()));
    }
    let noise = burn::tensor::TensorData::new(noise, [n, shape[0], shape[1], shape[2]]);
    let mut latents = Tensor::<4>::from_data(noise, device).mul_scalar(sampler.init_noise_sigma());
    let timesteps = sampler.timesteps().to_vec();
    for (step, &t) in timesteps.iter().enumerate() {
        let input = sampler.scale_input(step, latents.clone())?;
        let output = if guided {
            let both = unet.forward(
                Tensor::cat(vec![input.clone(), input], 0),
                &[t],
                &context,
                added.as_ref(),
            );
            let (without, with) = (both.clone().narrow(0, 0, n), both.narrow(0, n, n));
            without.clone() + (with - without).mul_scalar(settings.cfg)
        } else {
            unet.forward(input, &[t], &context, added.as_ref())
        };
        latents = sampler.step(step, output, latents)?;
        if !to_vec(latents.clone()).iter().all(|v| v.is_finite()) {
            return Err(GenerateError::NotFinite { step });
        }
        progress(step + 1);
    }
    let planes = to_vec(pipeline.vae.decode(latents.div_scalar(pipeline.vae.scaling_factor())));
    Ok(planes
        .chunks(3 * width * height)
        .map(|p| Picture {
            size: [width, height],
            planes: p.to_vec(),
        })
        .collect())
}
