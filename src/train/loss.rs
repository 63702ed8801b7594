//! The training objective, and the loss on held-out pictures that does not depend on chance.

use burn::tensor::{Device, Tensor, TensorData};

use super::data::stack;
use crate::model::params::to_vec;
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
    /// `[77 · D]` each.
    pub contexts: Vec<Vec<f32>>,
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
        let inputs = Batch {
            latents: stack(part.iter().map(|(i, _)| set.latents[*i].as_slice()), set.shape, device),
            noise: stack(noises.iter().map(Vec::as_slice), set.shape, device),
            timesteps: part.iter().map(|(_, t)| *t).collect(),
            context: contexts(part.iter().map(|(i, _)| set.contexts[*i].as_slice()), unet, device),
            added: None,
        };
        let (_, losses) = diffusion_loss(unet, schedule, &inputs, None)?;
        total += to_vec(losses).iter().map(|&l| f64::from(l)).sum::<f64>();
    }
    Ok(total / questions.len().max(1) as f64)
}

/// Embeddings kept as plain values, as one tensor `[B, N, D]`.
pub fn contexts<'a>(rows: impl Iterator<Item = &'a [f32]>, unet: &UNet, device: &Device) -> Tensor<3> {
    let width = unet.config().cross_attention_dim;
    let mut values = Vec::new();
    let (mut n, mut tokens) = (0, 0);
    for row in rows {
        values.extend_from_slice(row);
        tokens = row.len() / width;
        n += 1;
    }
    Tensor::from_data(TensorData::new(values, [n, tokens, width]), device)
}
