//! The sampling loop with guidance: the only one there is.

use burn::tensor::Tensor;

use super::GenerateError;
use crate::model::params::to_vec;
use crate::model::samplers::Sampler;
use crate::model::unet::{Added, UNet};

/// What leads a batch of `n` latents.
#[derive(Clone)]
pub struct Guide {
    /// The encoded prompts: `[n, N, D]`, or `[2·n, N, D]` with the negative ones first where there is guidance.
    pub context: Tensor<3>,
    /// SDXL: what goes with them, in the same order.
    pub added: Option<Added>,
    /// Classifier-free guidance (Ho and Salimans 2022); 1 is none.
    pub cfg: f64,
    /// How far the guided output's deviation is pulled back to the unguided one's (Lin et al. 2023, 3.4), 0 to 1.
    pub rescale: f64,
    /// Inpainting networks: mask and latents of the masked picture, `[n, 1 + latent, h, w]`.
    pub extra: Option<Tensor<4>>,
    /// Inpainting with an ordinary network: what is put back after each step.
    pub restore: Option<Restore>,
}

/// The part of a picture that stays.
#[derive(Clone)]
pub struct Restore {
    /// `[1, 1, h, w]`: 1 where something new is drawn, 0 where the picture stays.
    pub mask: Tensor<4>,
    /// The picture's latents, `[n, latent, h, w]`.
    pub picture: Tensor<4>,
    /// The noise that they are noised with, the same at each step.
    pub noise: Tensor<4>,
}

/// Follows a sampler from its first evaluation to its last.
///
/// `noise` makes the unit noise behind an evaluation that adds some; `seen` is shown the sampler and the latents after
/// each evaluation, with its number from 0.
///
/// # Shapes
/// - latents: `[n, latent, h, w]`, and the same comes out
///
/// # Errors
/// If the latents are no longer finite, or `seen` says so.
pub fn denoise(
    unet: &UNet,
    sampler: &mut Sampler,
    mut latents: Tensor<4>,
    guide: &Guide,
    noise: &dyn Fn(usize) -> Tensor<4>,
    seen: &mut dyn FnMut(usize, &Sampler, &Tensor<4>) -> Result<(), GenerateError>,
) -> Result<Tensor<4>, GenerateError> {
    let timesteps = sampler.timesteps().to_vec();
    for (step, &t) in timesteps.iter().enumerate() {
        let mut input = sampler.scale_input(step, latents.clone())?;
        if let Some(extra) = &guide.extra {
            input = Tensor::cat(vec![input, extra.clone()], 1);
        }
        let output = guided(unet, input, t, guide);
        let fresh = sampler.wants_noise(step)?.then(|| noise(step));
        latents = sampler.step(step, output, latents, fresh)?;
        if let Some(Restore { mask, picture, noise }) = &guide.restore {
            let stays = if step + 1 < timesteps.len() {
                sampler.noised(step + 1, picture.clone(), noise.clone())?
            } else {
                picture.clone()
            };
            latents = stays.clone() + (latents - stays) * mask.clone();
        }
        if !to_vec(latents.clone()).iter().all(|v| v.is_finite()) {
            return Err(GenerateError::NotFinite { step });
        }
        seen(step, sampler, &latents)?;
    }
    Ok(latents)
}

/// The network's output with guidance.
fn guided(unet: &UNet, input: Tensor<4>, timestep: f32, guide: &Guide) -> Tensor<4> {
    if guide.cfg == 1.0 {
        return unet.forward(input, &[timestep], &guide.context, guide.added.as_ref());
    }
    let n = input.dims()[0];
    let twice = Tensor::cat(vec![input.clone(), input], 0);
    let both = unet.forward(twice, &[timestep], &guide.context, guide.added.as_ref());
    let (without, with) = (both.clone().narrow(0, 0, n), both.narrow(0, n, n));
    let out = without.clone() + (with.clone() - without).mul_scalar(guide.cfg);
    if guide.rescale == 0.0 {
        out
    } else {
        rescaled(out, with, guide.rescale)
    }
}

/// Pulls the deviation of each guided output towards that of the output with the prompt alone.
fn rescaled(out: Tensor<4>, with: Tensor<4>, share: f64) -> Tensor<4> {
    let [n, c, h, w] = out.dims();
    let deviation = |x: &Tensor<4>| x.clone().reshape([n, c * h * w]).var(1).sqrt().reshape([n, 1, 1, 1]);
    let whole = out.clone() * (deviation(&with) / deviation(&out));
    whole.mul_scalar(share) + out.mul_scalar(1.0 - share)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use serde_json::Value;

    use super::*;

    #[test]
    fn guidance_is_rescaled_as_diffusers_does() {
        let golden: Value = serde_json::from_str(include_str!("../../tests/fixtures/samplers/cases.json")).unwrap();
        let golden = &golden["guidance"];
        let values = |key: &str| -> Vec<f32> { serde_json::from_value(golden[key].clone()).unwrap() };
        let tensor = |key: &str| Tensor::<4>::from_data(TensorData::new(values(key), [1, 1, 1, 2]), &Device::flex());
        let share = golden["rescale"].as_f64().unwrap();
        let out = to_vec(rescaled(tensor("guided"), tensor("with_text"), share));
        for (a, b) in out.iter().zip(values("out")) {
            assert!((a - b).abs() < 1e-6, "{a} is not {b}");
        }
    }
}
