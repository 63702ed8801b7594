//! Euler's method: the sample carries noise of standard deviation σ on top of a clean sample of weight 1, and a step
//! follows the line from here to the clean sample down to the next σ.

use burn::tensor::Tensor;

use super::tables::{self, Sigmas};
use super::{Mix, Sampler, at};
use crate::model::scheduler::{PredictionType, ScheduleConfig, ScheduleError, TimestepSpacing};

/// An Euler sampler.
#[derive(Debug, Clone)]
pub struct Euler {
    table: Sigmas,
    init_noise_sigma: f32,
    steps: Vec<Mix>,
}

impl Euler {
    /// A sampler of so many steps. A configuration without `timestep_spacing` means linspace.
    pub fn new(config: &ScheduleConfig, steps: usize) -> Result<Self, ScheduleError> {
        config.check_sampling()?;
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
        let timesteps = match spacing {
            TimestepSpacing::Linspace => tables::even_timesteps(config, steps)?,
            other => tables::whole_timesteps(config, other, steps)?
                .iter()
                .map(|t| *t as f64)
                .collect(),
        };
        let mut table = Sigmas::at(config, timesteps);
        if config.use_karras_sigmas {
            // Between the ends that the spacing chose.
            let ends = [table.sigmas[0], table.sigmas[steps - 1]].map(f64::from);
            table = Sigmas::karras(config, ends, steps, false);
        }
        let most = f64::from(table.sigmas.iter().copied().fold(0.0, f32::max));
        let init_noise_sigma = match spacing {
            TimestepSpacing::Leading => (most * most + 1.0).sqrt(),
            _ => most,
        };
        let table_steps = table
            .sigmas
            .windows(2)
            .map(|pair| step(config.prediction_type, pair[0], pair[1]))
            .collect();
        Ok(Self {
            table,
            init_noise_sigma: init_noise_sigma as f32,
            steps: table_steps,
        })
    }

    /// The numbers of each step.
    #[must_use]
    pub fn coefficients(&self) -> &[Mix] {
        &self.steps
    }
}

/// `x + (x − clean) / σ · (next − σ)`, with the clean sample that the output stands for.
fn step(prediction: PredictionType, sigma: f32, next: f32) -> Mix {
    let (sigma, next) = (f64::from(sigma), f64::from(next));
    match prediction {
        PredictionType::Epsilon => Mix::new(1.0, next - sigma),
        PredictionType::Velocity => {
            let (one, by) = (sigma * sigma + 1.0, (next - sigma) / sigma);
            Mix::new(1.0 + by * (1.0 - 1.0 / one), by * sigma / one.sqrt())
        }
    }
}

impl Sampler for Euler {
    fn timesteps(&self) -> &[f32] {
        &self.table.timesteps
    }

    fn init_noise_sigma(&self) -> f32 {
        self.init_noise_sigma
    }

    fn sigmas(&self) -> Option<&[f32]> {
        Some(&self.table.sigmas)
    }

    fn scale_input(&self, index: usize, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        let sigma = f64::from(at(&self.table.sigmas[..self.steps.len()], index)?);
        Ok(sample.mul_scalar((1.0 / (sigma * sigma + 1.0).sqrt()) as f32))
    }

    fn step(&mut self, index: usize, output: Tensor<4>, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        Ok(at(&self.steps, index)?.apply(sample, output))
    }
}
