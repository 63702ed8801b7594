//! Pictures that a drawing starts from: image to image, and inpainting.

use burn::tensor::{Device, Tensor, TensorData};

use super::{GenerateError, tiles};
use crate::model::samplers::{Sampler, SamplerChoice};
use crate::model::scheduler::ScheduleConfig;
use crate::model::vae::Vae;

/// A picture to start from.
#[derive(Debug, Clone, PartialEq)]
pub struct Start {
    /// Width and height in pixels: those of the drawing.
    pub size: [usize; 2],
    /// `[3, height, width]` in [-1, 1].
    pub planes: Vec<f32>,
    /// Rows of `width`: true where something new is drawn. Without it, everywhere.
    pub mask: Option<Vec<bool>>,
    /// The part of the steps that is taken, above 0 and up to 1. With 1 nothing is left of the picture but what the
    /// mask keeps.
    pub strength: f64,
    /// Whether the steps that are asked for are those that are taken, of a run that is longer by the strength, as
    /// ComfyUI counts them.
    pub all_steps: bool,
}

impl Start {
    /// Whether it can be drawn from.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, size: [usize; 2], factor: usize) -> Result<(), GenerateError> {
        if !(self.strength > 0.0 && self.strength <= 1.0) {
            return Err(GenerateError::Strength { found: self.strength });
        }
        let area = size[0] * size[1];
        if self.size != size || self.planes.len() != 3 * area {
            return Err(GenerateError::StartSize {
                what: "picture",
                found: self.size,
                expected: size,
            });
        }
        if self.mask.as_ref().is_some_and(|mask| mask.len() != area) {
            return Err(GenerateError::StartSize {
                what: "mask",
                found: self.size,
                expected: size,
            });
        }
        if let Some(mask) = &self.mask
            && !self.fields(mask, factor).any(|drawn| drawn)
        {
            return Err(GenerateError::Mask { factor });
        }
        Ok(())
    }

    /// The mask at the latents' size, row by row.
    fn fields<'a>(&self, mask: &'a [bool], factor: usize) -> impl Iterator<Item = bool> + use<'a> {
        let [width, height] = self.size;
        let rows = (0..height / factor).map(move |y| y * factor * width);
        rows.flat_map(move |row| (0..width / factor).map(move |x| mask[row + x * factor]))
    }

    /// The sampler of the steps that are taken, and whether they begin at the top.
    ///
    /// # Errors
    /// If none would be left, or there are not so many.
    pub fn sampler(
        &self,
        choice: SamplerChoice,
        config: &ScheduleConfig,
        steps: usize,
    ) -> Result<(Sampler, bool), GenerateError> {
        if self.all_steps {
            // At least as many, also where the division rounds down.
            let whole = ((steps as f64 / self.strength) as usize).max(steps);
            return Ok((Sampler::last(choice, config, whole, steps)?, whole == steps));
        }
        match (steps as f64 * self.strength) as usize {
            0 => Err(GenerateError::NoStep {
                strength: self.strength,
                steps,
            }),
            taken => {
                let skipped = steps.saturating_sub(taken);
                Ok((Sampler::new(choice, config, steps, skipped)?, skipped == 0))
            }
        }
    }

    /// The picture, `[1, 3, H, W]`; `blank` makes what is drawn anew grey, as inpainting networks have it.
    #[must_use]
    pub fn picture(&self, blank: bool, device: &Device) -> Tensor<4> {
        let [width, height] = self.size;
        let mut planes = self.planes.clone();
        if let (true, Some(mask)) = (blank, &self.mask) {
            for (i, value) in planes.iter_mut().enumerate() {
                if mask[i % mask.len()] {
                    *value = 0.0;
                }
            }
        }
        Tensor::from_data(TensorData::new(planes, [1, 3, height, width]), device)
    }

    /// The mask at the latents' size, `[1, 1, H/f, W/f]`: the value of each field's first pixel, as diffusers has it.
    #[must_use]
    pub fn latent_mask(&self, factor: usize, device: &Device) -> Option<Tensor<4>> {
        let mask = self.mask.as_ref()?;
        let [width, height] = self.size;
        let values = self.fields(mask, factor).map(|drawn| if drawn { 1.0 } else { 0.0 });
        let values: Vec<f32> = values.collect();
        let shape = [1, 1, height / factor, width / factor];
        Some(Tensor::from_data(TensorData::new(values, shape), device))
    }
}

/// A picture's latents as the U-Net has them, drawn from the distribution that the VAE gives, with the `noise` for it.
///
/// # Shapes
/// - picture: `[1, 3, H, W]`
/// - noise: `[n, latent, H/f, W/f]`, and the same comes out
#[must_use]
pub fn latents(vae: &Vae, picture: Tensor<4>, noise: Tensor<4>, tile: Option<usize>) -> Tensor<4> {
    let (mean, log_variance) = tiles::encode(vae, picture, tile);
    (mean + log_variance.mul_scalar(0.5).exp() * noise).mul_scalar(vae.scaling_factor())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::params::to_vec;

    #[test]
    fn a_thin_mask_counts_where_it_meets_a_fields_first_pixel() {
        let start = |line: usize| Start {
            size: [24, 16],
            planes: vec![0.0; 3 * 24 * 16],
            mask: Some((0..24 * 16).map(|i| i % 24 == line).collect()),
            strength: 1.0,
            all_steps: false,
        };
        for line in 0..24 {
            let checked = start(line).check([24, 16], 8);
            let fields = to_vec(start(line).latent_mask(8, &Device::flex()).unwrap());
            let met = |x: usize| if line == 8 * x { 1.0 } else { 0.0 };
            assert_eq!(fields, [0, 1, 2, 0, 1, 2].map(met), "{line}");
            assert_eq!(checked.is_ok(), line % 8 == 0, "{line}");
        }
    }
}
