//! The training objective, and the loss on held-out pictures that does not depend on chance.

use burn::tensor::{Device, Tensor, TensorData};

use super::data::stack;
use crate::model::params::to_vec;
use crate::model::pipeline::{Conditions, Pipeline};
use crate::model::scheduler::{NoiseSchedule, ScheduleError};
use crate::model::unet::{Added, UNet};
use crate::model::weights::Draws;

/// What goes into one loss.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Scaled latents `[B, C, H, W]`.
    pub latents: Tensor<4>,
    /// Standard normal noise of the same shape.
    pub noise: Tensor<4>,
    /// `B` timesteps.
    pub timesteps: Vec<usize>,
    /// Text embeddings `[B, N, D]`.
    pub context: Tensor<3>,
    /// What SDXL takes besides.
    pub added: Option<Added>,
}

/// The loss of diffusers' `train_text_to_image_lora.py`: the mean squared error of the predicted noise (or velocity), each
/// sample weighted by min-SNR-γ (Hang et al. 2023, arXiv:2303.09556) where γ is given.
///
/// # Shapes
/// The weighted mean `[1]`, and the unweighted loss of each sample `[B]`.
///
/// # Errors
/// If a timestep is outside the schedule.
pub fn diffusion_loss(
    unet: &UNet,
    schedule: &NoiseSchedule,
    batch: &Batch,
    min_snr_gamma: Option<f32>,
) -> Result<(Tensor<1>, Tensor<1>), ScheduleError> {
    let Batch {
        latents,
        noise,
        timesteps,
        context,
        added,
    } = batch;
    let noisy = schedule.add_noise(latents.clone(), noise.clone(), timesteps)?;
    let target = schedule.target(latents.clone(), noise.clone(), timesteps)?;
    let steps: Vec<f32> = timesteps.iter().map(|&t| t as f32).collect();
    let prediction = unet.forward(noisy, &steps, context, added.as_ref());
    let n = timesteps.len();
    let per_sample = (prediction - target)
        .square()
        .reshape([n as i32, -1])
        .mean_dim(1)
        .reshape([n]); // [B]
    let loss = match min_snr_gamma {
        None => per_sample.clone().mean(),
        Some(gamma) => {
            let weights = timesteps
                .iter()
                .map(|&t| schedule.min_snr_weight(t, gamma))
                .collect::<Result<Vec<f32>, _>>()?;
            (per_sample.clone() * Tensor::from_data(TensorData::new(weights, [n]), &per_sample.device())).mean()
        }
    };
    Ok((loss, per_sample))
}

/// Held-out pictures as latents with the embeddings of their captions.
#[derive(Debug, Clone, Default)]
pub struct HeldOut {
    /// Name of the set.
    pub name: String,
    /// SHA-256 of each picture, which decides its noises.
    pub ids: Vec<String>,
    /// Scaled latents, `shape` each.
    pub latents: Vec<Vec<f32>>,
    /// `[C, H, W]`
    pub shape: [usize; 3],
    /// Width and height of the pictures in pixels.
    pub size: [usize; 2],
    /// The caption of each.
    pub captions: Vec<Caption>,
}

/// A caption as plain values.
#[derive(Debug, Clone, Default)]
pub struct Caption {
    /// `[77 · D]`
    pub context: Vec<f32>,
    /// SDXL: `[P]`; else empty.
    pub pooled: Vec<f32>,
}

impl From<Conditions> for Caption {
    /// Of one caption.
    fn from(conditions: Conditions) -> Self {
        Self {
            context: to_vec(conditions.context),
            pooled: conditions.pooled.map(to_vec).unwrap_or_default(),
        }
    }
}

/// Timesteps at which every held-out picture is measured: the middles of this many equal parts of the schedule.
pub const VALIDATION_TIMESTEPS: usize = 8;

/// The mean loss over all held-out pictures at fixed timesteps with fixed noises, so that two models (or two moments of one)
/// are compared on exactly the same question. `unet` is out of autodiff.
///
/// # Errors
/// If the schedule is too short.
pub fn validate(
    unet: &UNet,
    schedule: &NoiseSchedule,
    set: &HeldOut,
    batch: usize,
    device: &Device,
) -> Result<f64, ScheduleError> {
    let per_part = schedule.len() as f64 / VALIDATION_TIMESTEPS as f64;
    let questions: Vec<(usize, usize)> = (0..set.ids.len())
        .flat_map(|i| (0..VALIDATION_TIMESTEPS).map(move |k| (i, ((k as f64 + 0.5) * per_part) as usize)))
        .collect();
    let mut total = 0.0;
    for part in questions.chunks(batch.max(1)) {
        let noises: Vec<Vec<f32>> = part
            .iter()
            .map(|(i, t)| Draws::new(0, &format!("validation/{}/{t}", set.ids[*i])).normals(set.shape.iter().product()))
            .collect();
        let captions = part.iter().map(|(i, _)| &set.captions[*i]);
        let (context, added) = conditions(captions, unet, set.size, device);
        let inputs = Batch {
            latents: stack(part.iter().map(|(i, _)| set.latents[*i].as_slice()), set.shape, device),
            noise: stack(noises.iter().map(Vec::as_slice), set.shape, device),
            timesteps: part.iter().map(|(_, t)| *t).collect(),
            context,
            added,
        };
        let (_, losses) = diffusion_loss(unet, schedule, &inputs, None)?;
        total += to_vec(losses).iter().map(|&l| f64::from(l)).sum::<f64>();
    }
    Ok(total / questions.len().max(1) as f64)
}

/// Captions as the U-Net takes them: context `[B, N, D]`, and for SDXL what is added for pictures of this size (width,
/// height).
pub fn conditions<'a>(
    captions: impl Iterator<Item = &'a Caption>,
    unet: &UNet,
    size: [usize; 2],
    device: &Device,
) -> (Tensor<3>, Option<Added>) {
    let width = unet.config().cross_attention_dim;
    let (mut values, mut pooled) = (Vec::new(), Vec::new());
    let (mut n, mut tokens) = (0, 0);
    for caption in captions {
        values.extend_from_slice(&caption.context);
        pooled.extend_from_slice(&caption.pooled);
        tokens = caption.context.len() / width;
        n += 1;
    }
    let context = Tensor::from_data(TensorData::new(values, [n, tokens, width]), device);
    let across = pooled.len() / n.max(1);
    let pooled = (across > 0).then(|| Tensor::from_data(TensorData::new(pooled, [n, across]), device));
    (context, Pipeline::added(pooled, size))
}
