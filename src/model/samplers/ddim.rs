//! DDIM without added noise (eta 0): from the network's output at one timestep, the clean sample and the noise, and
//! from those the sample at the next.

use burn::tensor::Tensor;

use super::{Mix, Sampler, at, tables};
use crate::model::scheduler::{NoiseSchedule, PredictionType, ScheduleConfig, ScheduleError, TimestepSpacing};

/// The numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DdimStep {
    /// The clean sample that the output stands for.
    pub clean: Mix,
    /// The noise that the output stands for.
    pub noise: Mix,
    /// `√ᾱ` after the step: the weight of the clean sample.
    pub signal: f32,
    /// `√(1 − ᾱ)` after the step: the weight of the noise.
    pub sigma: f32,
}

/// A DDIM sampler.
#[derive(Debug, Clone)]
pub struct Ddim {
    timesteps: Vec<f32>,
    steps: Vec<DdimStep>,
    clip: Option<f32>,
}

impl Ddim {
    /// A sampler of so many steps. A configuration without `timestep_spacing` means leading.
    pub fn new(config: &ScheduleConfig, steps: usize) -> Result<Self, ScheduleError> {
        config.check_sampling()?;
        let schedule = NoiseSchedule::new(config);
        let alphas = schedule.alphas_cumprod();
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Leading);
        let timesteps = tables::whole_timesteps(config, spacing, steps)?;
        let final_alpha = if config.set_alpha_to_one {
            1.0
        } else {
            f64::from(alphas[0])
        };
        let stride = config.num_train_timesteps / steps;
        let table = timesteps.iter().map(|t| {
            let alpha = f64::from(alphas[*t]);
            // The step ends a stride further on, which need not be where the next one begins.
            let after = t.checked_sub(stride).map_or(final_alpha, |t| f64::from(alphas[t]));
            DdimStep {
                clean: clean(schedule.prediction_type(), alpha),
                noise: noise(schedule.prediction_type(), alpha),
                signal: after.sqrt() as f32,
                sigma: (1.0 - after).sqrt() as f32,
            }
        });
        Ok(Self {
            steps: table.collect(),
            timesteps: timesteps.iter().map(|t| *t as f32).collect(),
            clip: config.clip_sample,
        })
    }

    /// The numbers of each step.
    #[must_use]
    pub fn coefficients(&self) -> &[DdimStep] {
        &self.steps
    }
}

fn clean(prediction: PredictionType, alpha: f64) -> Mix {
    match prediction {
        PredictionType::Epsilon => Mix::new(1.0 / alpha.sqrt(), -((1.0 - alpha) / alpha).sqrt()),
        PredictionType::Velocity => Mix::new(alpha.sqrt(), -(1.0 - alpha).sqrt()),
    }
}

fn noise(prediction: PredictionType, alpha: f64) -> Mix {
    match prediction {
        PredictionType::Epsilon => Mix::new(0.0, 1.0),
        PredictionType::Velocity => Mix::new((1.0 - alpha).sqrt(), alpha.sqrt()),
    }
}

impl Sampler for Ddim {
    fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    fn init_noise_sigma(&self) -> f32 {
        1.0
    }

    fn sigmas(&self) -> Option<&[f32]> {
        None
    }

    fn scale_input(&self, _index: usize, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        Ok(sample)
    }

    fn step(&mut self, index: usize, output: Tensor<4>, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        let step = at(&self.steps, index)?;
        let mut clean = step.clean.apply(sample.clone(), output.clone());
        if let Some(range) = self.clip {
            clean = clean.clamp(-range, range);
        }
        let noise = step.noise.apply(sample, output);
        Ok(clean.mul_scalar(step.signal) + noise.mul_scalar(step.sigma))
    }
}
