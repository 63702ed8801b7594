//! Samplers: from noise to clean latents.
//!
//! A sampler is a table of plain numbers, made once: at which timestep the network is asked, and which weights the
//! tensors at hand then get. It knows no network, draws no random number and runs no loop; the loop is
//!
//! ```text
//! latents = unit noise × sampler.init_noise_sigma()
//! for index, timestep in sampler.timesteps():
//!     output = network(sampler.scale_input(index, latents), timestep)
//!     noise = unit noise if sampler.wants_noise(index)
//!     latents = sampler.step(index, output, latents, noise)
//! ```
//!
//! and is written once, in [`crate::generate`]. The numbers are those of the scheduler of diffusers that
//! [`SamplerKind::peer`] names.

mod names;
mod solvers;
mod tables;

use burn::tensor::Tensor;

pub use names::{SamplerChoice, SamplerKind, Spread};

use super::scheduler::{PredictionType, ScheduleConfig, ScheduleError};

/// Two weights: `sample · of_sample + output · of_output`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mix {
    of_sample: f64,
    of_output: f64,
}

/// The weights of what is at hand when the network has answered. A weight of 0 costs nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Sum {
    /// The sample that the network saw; behind a correction, the corrected one.
    sample: f64,
    /// The network's output.
    output: f64,
    /// The clean sample that the output stands for.
    clean: f64,
    /// The clean samples of the evaluation before this one and of the one before that.
    past: [f64; 2],
    /// The sample that was kept.
    kept: f64,
    /// Fresh unit noise.
    noise: f64,
    /// The unit noise of the evaluation before this one.
    last_noise: f64,
}

/// One evaluation of the network and what follows from it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    timestep: f32,
    /// What the sample is multiplied by for the network.
    scale: f64,
    /// The weights of picture and noise in a picture that is noised to this place: signal and noise.
    noised: [f64; 2],
    /// The clean sample that the output stands for.
    clean: Mix,
    /// The sample is replaced by this first.
    correct: Option<Sum>,
    next: Sum,
    /// Whether the sample is kept for later evaluations.
    keep: bool,
}

/// A sampler at work on one batch of latents.
#[derive(Debug, Clone)]
pub struct Sampler {
    timesteps: Vec<f32>,
    sigmas: Vec<f32>,
    init_noise_sigma: f64,
    steps: Vec<Step>,
    clip: Option<f32>,
    turn: usize,
    kept: Option<Tensor<4>>,
    past: [Option<Tensor<4>>; 2],
    noise: Option<Tensor<4>>,
}

impl Sampler {
    /// A sampler of so many steps, without the first `skipped` of them (a picture is noised to where they would end).
    ///
    /// # Errors
    /// If the configuration cannot be followed, or there are not so many steps.
    pub fn new(
        choice: SamplerChoice,
        config: &ScheduleConfig,
        steps: usize,
        skipped: usize,
    ) -> Result<Self, ScheduleError> {
        config.check_sampling()?;
        Self::behind(choice, config, &tables::grid(choice, config, steps)?, skipped)
    }

    /// The last steps of a run of `whole` steps, or of as many as there are, as ComfyUI takes them.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn last(
        choice: SamplerChoice,
        config: &ScheduleConfig,
        whole: usize,
        steps: usize,
    ) -> Result<Self, ScheduleError> {
        config.check_sampling()?;
        let grid = tables::grid(choice, config, whole)?;
        let skipped = grid.timesteps.len().saturating_sub(steps);
        Self::behind(choice, config, &grid, skipped)
    }

    /// The steps of a table behind the first ones.
    fn behind(
        choice: SamplerChoice,
        config: &ScheduleConfig,
        grid: &tables::Grid,
        skipped: usize,
    ) -> Result<Self, ScheduleError> {
        let count = grid.timesteps.len();
        if skipped >= count {
            return Err(ScheduleError::Order {
                found: skipped,
                expected: count - 1,
                steps: count,
            });
        }
        let steps = solvers::steps(choice.kind, config, grid, skipped);
        Ok(Self {
            timesteps: steps.iter().map(|s| s.timestep).collect(),
            sigmas: grid.sigmas[skipped..].to_vec(),
            init_noise_sigma: grid.init_noise_sigma,
            steps,
            clip: choice.kind.clip(config),
            turn: 0,
            kept: None,
            past: [None, None],
            noise: None,
        })
    }

    /// The timestep of each evaluation of the network, from noisy to clean. It may lie between two timesteps of the
    /// training. Heun and DPM++ SDE evaluate twice a step, but for the last step.
    #[must_use]
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// The standard deviation of the noise that sampling starts from.
    #[must_use]
    pub fn init_noise_sigma(&self) -> f32 {
        self.init_noise_sigma as f32
    }

    /// The ratio of noise to signal at the beginning of each step and behind the last one.
    #[must_use]
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// A picture's latents, noised to where an evaluation begins.
    ///
    /// # Shapes
    /// All the same.
    pub fn noised(&self, index: usize, clean: Tensor<4>, noise: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        let [signal, sigma] = self.at(index)?.noised;
        Ok(scaled(clean, signal) + scaled(noise, sigma))
    }

    /// The latents as the network takes them.
    pub fn scale_input(&self, index: usize, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        Ok(scaled(sample, self.at(index)?.scale))
    }

    /// Whether the step behind this evaluation adds noise.
    pub fn wants_noise(&self, index: usize) -> Result<bool, ScheduleError> {
        Ok(self.at(index)?.next.noise != 0.0)
    }

    /// The clean sample that the last output stood for, once there is one.
    #[must_use]
    pub fn clean(&self) -> Option<&Tensor<4>> {
        self.past[0].as_ref()
    }

    /// The latents after an evaluation, from what the network made of those before it. Evaluations come in order;
    /// number 0 begins a new batch.
    ///
    /// # Shapes
    /// - output, sample, noise: `[batch, channels, height, width]`, and the same comes out
    ///
    /// # Errors
    /// If it is another one's turn, or noise is wanted and there is none.
    pub fn step(
        &mut self,
        index: usize,
        output: Tensor<4>,
        sample: Tensor<4>,
        noise: Option<Tensor<4>>,
    ) -> Result<Tensor<4>, ScheduleError> {
        let step = self.at(index)?;
        if index == 0 {
            (self.kept, self.past, self.noise) = (None, [None, None], None);
        } else if index != self.turn {
            return Err(ScheduleError::Order {
                found: index,
                expected: self.turn,
                steps: self.steps.len(),
            });
        }
        if step.next.noise != 0.0 && noise.is_none() {
            return Err(ScheduleError::Noise { step: index });
        }
        let mut clean = scaled(sample.clone(), step.clean.of_sample) + scaled(output.clone(), step.clean.of_output);
        if let Some(range) = self.clip {
            clean = clean.clamp(-range, range);
        }
        let sum = |weights: &Sum, sample: &Tensor<4>| {
            let terms = [
                (weights.sample, Some(sample)),
                (weights.output, Some(&output)),
                (weights.clean, Some(&clean)),
                (weights.past[0], self.past[0].as_ref()),
                (weights.past[1], self.past[1].as_ref()),
                (weights.kept, self.kept.as_ref()),
                (weights.noise, noise.as_ref()),
                (weights.last_noise, self.noise.as_ref()),
            ];
            terms
                .into_iter()
                .filter(|(weight, _)| *weight != 0.0)
                .filter_map(|(weight, tensor)| Some(scaled(tensor?.clone(), weight)))
                .reduce(|a, b| a + b)
                .unwrap_or_else(|| sample.zeros_like())
        };
        let sample = step
            .correct
            .as_ref()
            .map_or_else(|| sample.clone(), |c| sum(c, &sample));
        let next = sum(&step.next, &sample);
        if step.keep {
            self.kept = Some(sample);
        }
        self.past[1] = self.past[0].replace(clean);
        self.noise = noise;
        self.turn = index + 1;
        Ok(next)
    }

    fn at(&self, index: usize) -> Result<Step, ScheduleError> {
        let steps = self.steps.len();
        self.steps.get(index).copied().ok_or(ScheduleError::Order {
            found: index,
            expected: steps.saturating_sub(1),
            steps,
        })
    }
}

/// A factor of 0 or 1 takes no pass over the memory, as far as it can be helped.
fn scaled(x: Tensor<4>, by: f64) -> Tensor<4> {
    if by == 1.0 { x } else { x.mul_scalar(by as f32) }
}

#[cfg(test)]
mod tests;
