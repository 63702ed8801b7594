//! Samplers: from noise to clean latents, one network evaluation a step.
//!
//! Each is a table of timesteps and plain numbers, made once, and a step that is a few scaled sums of tensors. None
//! knows the network or runs a loop; the loop is:
//!
//! ```text
//! latents = unit noise × sampler.init_noise_sigma()
//! for index, timestep in sampler.timesteps():
//!     output = network(sampler.scale_input(index, latents), timestep)
//!     latents = sampler.step(index, output, latents)
//! ```

mod ddim;
mod dpmpp;
mod euler;
mod tables;

use std::fmt;
use std::str::FromStr;

use burn::tensor::Tensor;

pub use ddim::Ddim;
pub use dpmpp::DpmPp2m;
pub use euler::Euler;

use super::scheduler::{ScheduleConfig, ScheduleError};

/// What every sampler can do.
pub trait Sampler {
    /// The timestep of each step, from noisy to clean. Euler's may lie between two timesteps of the training.
    fn timesteps(&self) -> &[f32];

    /// The standard deviation of the noise that sampling starts from.
    fn init_noise_sigma(&self) -> f32;

    /// The noise level at each step and behind the last one, where the sampler has such a table.
    fn sigmas(&self) -> Option<&[f32]>;

    /// The latents as the network takes them.
    ///
    /// # Shapes
    /// Any, and the same comes out.
    fn scale_input(&self, index: usize, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError>;

    /// The latents after a step, from what the network made of those before it. Steps come in order, from 0 on.
    ///
    /// # Shapes
    /// - output, sample: `[batch, channels, height, width]`, and the same comes out
    fn step(&mut self, index: usize, output: Tensor<4>, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError>;
}

/// The samplers there are, by the name that a user gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// Deterministic DDIM (eta 0).
    Ddim,
    /// Euler's method on the sigmas.
    Euler,
    /// DPM-Solver++ of second order.
    DpmPp2m,
    /// The same with Karras' sigmas.
    DpmPp2mKarras,
}

impl SamplerKind {
    /// All of them, the default first.
    pub const ALL: [Self; 4] = [Self::Ddim, Self::Euler, Self::DpmPp2m, Self::DpmPp2mKarras];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::DpmPp2m => "dpmpp_2m",
            Self::DpmPp2mKarras => "dpmpp_2m_karras",
        }
    }

    /// A sampler of so many steps. The name decides whether DPM++ takes Karras' sigmas, and not the configuration.
    pub fn build(self, config: &ScheduleConfig, steps: usize) -> Result<Box<dyn Sampler>, ScheduleError> {
        let dpm = |use_karras_sigmas| {
            DpmPp2m::new(
                &ScheduleConfig {
                    use_karras_sigmas,
                    ..config.clone()
                },
                steps,
            )
        };
        Ok(match self {
            Self::Ddim => Box::new(Ddim::new(config, steps)?),
            Self::Euler => Box::new(Euler::new(config, steps)?),
            Self::DpmPp2m => Box::new(dpm(false)?),
            Self::DpmPp2mKarras => Box::new(dpm(true)?),
        })
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SamplerKind {
    type Err = ScheduleError;

    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| ScheduleError::Sampler {
                found: name.to_owned(),
                known: Self::ALL.map(Self::as_str).join(", "),
            })
    }
}

/// Two weights: `x · of_sample + output · of_output`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mix {
    /// The weight of the sample.
    pub of_sample: f32,
    /// The weight of the network's output.
    pub of_output: f32,
}

impl Mix {
    fn new(of_sample: f64, of_output: f64) -> Self {
        Self {
            of_sample: of_sample as f32,
            of_output: of_output as f32,
        }
    }

    /// # Shapes
    /// All the same.
    fn apply(self, sample: Tensor<4>, output: Tensor<4>) -> Tensor<4> {
        // A weight of 0 or 1 takes no pass over the memory.
        let scaled = |x: Tensor<4>, by: f32| if by == 1.0 { x } else { x.mul_scalar(by) };
        match (self.of_sample, self.of_output) {
            (0.0, by) => scaled(output, by),
            (by, 0.0) => scaled(sample, by),
            (a, b) => scaled(sample, a) + scaled(output, b),
        }
    }
}

/// The entry of a table for a step, or the error that there is no such step.
fn at<T: Copy>(table: &[T], index: usize) -> Result<T, ScheduleError> {
    let steps = table.len();
    table.get(index).copied().ok_or(ScheduleError::Order {
        found: index,
        expected: steps.saturating_sub(1),
        steps,
    })
}

#[cfg(test)]
mod tests;
