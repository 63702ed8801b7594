//! The noise schedule: how much noise each timestep stands for, as training needs it.
//!
//! Made from a diffusers `scheduler_config.json` and from nothing else: it does not know the network whose input it
//! noises. The sampling steps that go the other way are in [`super::samplers`].

mod config;

use std::path::PathBuf;

use burn::tensor::{Tensor, TensorData};

pub use config::{PredictionType, Refusal, ScheduleConfig, TimestepSpacing};

/// Why a schedule could not be made or asked.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// The file could not be read.
    #[error("cannot read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not a scheduler's JSON.
    #[error("`{path}` is not a scheduler's configuration: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// A key has a value that this version does not compute.
    #[error(transparent)]
    Unsupported(#[from] Refusal),
    /// More steps than there are timesteps, or none.
    #[error("cannot sample in {found} steps, expected 1 to {most}")]
    Steps {
        /// The steps asked for.
        found: usize,
        /// The most that the configuration allows.
        most: usize,
    },
    /// A timestep that the model was never trained at.
    #[error("timestep {found} is out of range, expected less than {limit}")]
    Timestep {
        /// The timestep.
        found: usize,
        /// The number of timesteps.
        limit: usize,
    },
    /// A step was asked for out of order.
    #[error("step {found} of a sampler of {steps} steps, expected {expected}")]
    Order {
        /// The step asked for.
        found: usize,
        /// The step whose turn it is.
        expected: usize,
        /// How many there are.
        steps: usize,
    },
    /// A step that adds noise was given none.
    #[error("step {step} of this sampler needs noise")]
    Noise {
        /// The step.
        step: usize,
    },
    /// A sampler's name that is not known.
    #[error("`{found}` is no sampler; expected one of {known}, with one of {spreads} behind it or not")]
    Sampler {
        /// The name.
        found: String,
        /// The names there are.
        known: String,
        /// The spreads of the sigmas there are.
        spreads: String,
    },
    /// A name of a spread of sigmas that is not known.
    #[error("`{found}` is no scheduler; expected one of {known}")]
    Spread {
        /// The name.
        found: String,
        /// The names there are.
        known: String,
    },
    /// As many timesteps as samples are needed.
    #[error("{timesteps} timesteps for a batch of {batch}")]
    Batch {
        /// How many timesteps were given.
        timesteps: usize,
        /// How many samples.
        batch: usize,
    },
}

/// Forward diffusion: `x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε`.
#[derive(Debug, Clone)]
pub struct NoiseSchedule {
    alphas_cumprod: Vec<f32>,
    prediction: PredictionType,
}

impl NoiseSchedule {
    /// Computes the schedule that a configuration describes.
    #[must_use]
    pub fn new(config: &ScheduleConfig) -> Self {
        Self {
            alphas_cumprod: alphas_cumprod(config),
            prediction: config.prediction_type,
        }
    }

    /// `ᾱ` of each timestep: the share of the signal's variance that is left, falling from almost 1 to almost 0.
    #[must_use]
    pub fn alphas_cumprod(&self) -> &[f32] {
        &self.alphas_cumprod
    }

    /// The number of timesteps; training draws from `0..len()`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.alphas_cumprod.len()
    }

    /// Never true: a configuration has at least one timestep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.alphas_cumprod.is_empty()
    }

    /// What the network is trained to predict.
    #[must_use]
    pub fn prediction_type(&self) -> PredictionType {
        self.prediction
    }

    /// The same noise for a network that predicts something else.
    #[must_use]
    pub fn predicting(self, prediction: PredictionType) -> Self {
        Self { prediction, ..self }
    }

    /// The same course, stretched so that nothing of the signal is left at the last timestep (Lin et al. 2023,
    /// arXiv:2305.08891).
    #[must_use]
    pub fn zero_terminal_snr(mut self) -> Self {
        let root = |alpha: &f32| f64::from(*alpha).sqrt();
        let (first, last) = (
            self.alphas_cumprod.first().map_or(1.0, root),
            self.alphas_cumprod.last().map_or(0.0, root),
        );
        for alpha in &mut self.alphas_cumprod {
            let shifted = (root(alpha) - last) * first / (first - last);
            *alpha = (shifted * shifted) as f32;
        }
        self
    }

    /// `√ᾱ` and `√(1 − ᾱ)` of a timestep: the weights of the signal and of the noise.
    pub fn weights(&self, timestep: usize) -> Result<(f32, f32), ScheduleError> {
        let alpha = f64::from(self.alpha(timestep)?);
        Ok((alpha.sqrt() as f32, (1.0 - alpha).sqrt() as f32))
    }

    /// Signal-to-noise ratio `ᾱ / (1 − ᾱ)` of a timestep.
    pub fn snr(&self, timestep: usize) -> Result<f32, ScheduleError> {
        let alpha = f64::from(self.alpha(timestep)?);
        Ok((alpha / (1.0 - alpha)) as f32)
    }

    /// The weight of a sample's loss under min-SNR-γ: `min(snr, γ) / snr`, over `snr + 1` for velocity, over 1 for
    /// the clean sample.
    pub fn min_snr_weight(&self, timestep: usize, gamma: f32) -> Result<f32, ScheduleError> {
        let snr = self.snr(timestep)?;
        let clamped = snr.min(gamma);
        Ok(match self.prediction {
            PredictionType::Epsilon => clamped / snr,
            PredictionType::Velocity => clamped / (snr + 1.0),
            // A loss on the clean sample is one on the noise times the ratio.
            PredictionType::Sample => clamped,
        })
    }

    /// Noises clean latents, each sample to its own timestep.
    ///
    /// # Shapes
    /// - sample, noise: `[batch, channels, height, width]`
    /// - timesteps: `batch` of them
    /// - output: as the sample
    pub fn add_noise(
        &self,
        sample: Tensor<4>,
        noise: Tensor<4>,
        timesteps: &[usize],
    ) -> Result<Tensor<4>, ScheduleError> {
        let (signal, sigma) = self.columns(&sample, timesteps)?;
        Ok(sample * signal + noise * sigma)
    }

    /// The velocity `√ᾱ · ε − √(1 − ᾱ) · x_0`, which a `v_prediction` model predicts.
    ///
    /// # Shapes
    /// As [`Self::add_noise`].
    pub fn velocity(
        &self,
        sample: Tensor<4>,
        noise: Tensor<4>,
        timesteps: &[usize],
    ) -> Result<Tensor<4>, ScheduleError> {
        let (signal, sigma) = self.columns(&sample, timesteps)?;
        Ok(noise * signal - sample * sigma)
    }

    /// What the network should predict of a noised sample: the noise, the velocity, or the clean sample.
    ///
    /// # Shapes
    /// As [`Self::add_noise`].
    pub fn target(&self, sample: Tensor<4>, noise: Tensor<4>, timesteps: &[usize]) -> Result<Tensor<4>, ScheduleError> {
        match self.prediction {
            PredictionType::Epsilon => Ok(noise),
            PredictionType::Velocity => self.velocity(sample, noise, timesteps),
            PredictionType::Sample => Ok(sample),
        }
    }

    /// The weights of signal and noise, each `[batch, 1, 1, 1]`.
    fn columns(&self, like: &Tensor<4>, timesteps: &[usize]) -> Result<(Tensor<4>, Tensor<4>), ScheduleError> {
        let batch = like.dims()[0];
        if timesteps.len() != batch {
            return Err(ScheduleError::Batch {
                timesteps: timesteps.len(),
                batch,
            });
        }
        let weights = timesteps
            .iter()
            .map(|t| self.weights(*t))
            .collect::<Result<Vec<_>, _>>()?;
        let (signal, sigma): (Vec<f32>, Vec<f32>) = weights.into_iter().unzip();
        let column = |values| Tensor::from_data(TensorData::new(values, [batch, 1, 1, 1]), &like.device());
        Ok((column(signal), column(sigma)))
    }

    fn alpha(&self, timestep: usize) -> Result<f32, ScheduleError> {
        let limit = self.alphas_cumprod.len();
        self.alphas_cumprod
            .get(timestep)
            .copied()
            .ok_or(ScheduleError::Timestep { found: timestep, limit })
    }
}

/// `ᾱ` as diffusers has it: betas and alphas in f32, their product kept in f64 and rounded at each timestep.
///
/// Near timestep 0, `1 − ᾱ` is so small that an exact `ᾱ` would give other sigmas in the fifth digit.
fn alphas_cumprod(config: &ScheduleConfig) -> Vec<f32> {
    let ends = [config.beta_start, config.beta_end];
    let [start, end] = if config.scaled { ends.map(f64::sqrt) } else { ends };
    let (start, end) = (start as f32, end as f32);
    let count = config.num_train_timesteps;
    let step = if count > 1 {
        (end - start) / (count - 1) as f32
    } else {
        0.0
    };
    let mut product = 1.0f64;
    (0..count)
        .map(|i| {
            // From the nearer end, so that the last beta is exact.
            let at = if i < count / 2 {
                step.mul_add(i as f32, start)
            } else {
                end - step * (count - 1 - i) as f32
            };
            let beta = if config.scaled { at * at } else { at };
            product *= f64::from(1.0 - beta);
            product as f32
        })
        .collect()
}

#[cfg(test)]
mod tests;
