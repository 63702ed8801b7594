//! What a loss is: the measure of an error, and how much each timestep counts. Numbers in, numbers out.
//!
//! The weights are those that sd-scripts gives a loss on the noise or the velocity; where a paper states them for the noise
//! alone, they are carried over by how large the errors are: `‖Δε‖² = snr · ‖Δx₀‖² = snr / (snr + 1) · ‖Δv‖²`.

use serde::{Deserialize, Serialize};

use crate::model::scheduler::{NoiseSchedule, PredictionType, ScheduleError};

/// The measure of an error `d` (`loss_type`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossType {
    /// `d²`
    #[default]
    L2,
    /// `|d|`
    L1,
    /// `2c · (√(d² + c²) − c)`: as l2 below the threshold c, as l1 above (Charbonnier et al. 1994).
    Huber,
    /// The same over c.
    SmoothL1,
}

/// How the threshold c follows the timestep (`huber_schedule`; Khrapov et al. 2024, arXiv:2403.16728).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HuberSchedule {
    /// `huber_c` times `huber_scale` throughout.
    Constant,
    /// From `huber_scale` at no noise down to `huber_c` of it at the most.
    Exponential,
    /// From 1 at no noise down to `huber_c` at the most, with the share of the signal.
    #[default]
    Snr,
}

/// How much a timestep counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Weighting {
    /// All the same.
    #[default]
    Even,
    /// At most γ of signal over noise (Hang et al. 2023, arXiv:2303.09556).
    MinSnr(f32),
    /// The less noise, the less, but for the very least (Yu et al. 2023, arXiv:2310.08442).
    Debiased,
    /// `1 / (k + snr)^γ` on the noise (Choi et al. 2022, arXiv:2204.00227).
    P2 {
        /// γ
        gamma: f32,
        /// k
        k: f32,
    },
}

/// Largest signal-to-noise ratio that counts, where a formula would divide by nothing at timestep 0; sd-scripts' value.
const MOST_SNR: f32 = 1000.0;

/// The whole of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Aim {
    /// The measure.
    pub loss: LossType,
    /// The course of the threshold.
    pub huber_schedule: HuberSchedule,
    /// Its least value.
    pub huber_c: f64,
    /// Factor on it, but under [`HuberSchedule::Snr`].
    pub huber_scale: f64,
    /// The timesteps' weights.
    pub weighting: Weighting,
    /// A loss on the velocity counts as one on the noise would: times `snr / (snr + 1)`.
    pub scale_v: bool,
    /// That many times a loss on the velocity is added to one on the noise: times `1 + like_v · (snr + 1) / snr`.
    pub like_v: Option<f32>,
}

impl Aim {
    /// The weight of a timestep's loss.
    ///
    /// # Errors
    /// If it is outside the schedule.
    pub fn weight(&self, schedule: &NoiseSchedule, timestep: usize) -> Result<f32, ScheduleError> {
        let snr = schedule.snr(timestep)?;
        let prediction = schedule.prediction_type();
        let near = snr.min(MOST_SNR);
        let weight = match self.weighting {
            Weighting::Even => 1.0,
            Weighting::MinSnr(gamma) => schedule.min_snr_weight(timestep, gamma)?,
            Weighting::Debiased => match prediction {
                PredictionType::Epsilon => 1.0 / near.sqrt(),
                PredictionType::Velocity => 1.0 / (near + 1.0),
                PredictionType::Sample => near.sqrt(),
            },
            Weighting::P2 { gamma, k } => {
                let of_noise = match prediction {
                    PredictionType::Epsilon => 1.0,
                    PredictionType::Velocity => snr / (snr + 1.0),
                    PredictionType::Sample => snr,
                };
                of_noise / (k + snr).powf(gamma)
            }
        };
        let of_velocity = near / (near + 1.0);
        let scaled = if self.scale_v { weight * of_velocity } else { weight };
        Ok(self.like_v.map_or(scaled, |like| scaled + scaled / of_velocity * like))
    }

    /// Whether all timesteps count the same.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.weighting == Weighting::Even && !self.scale_v && self.like_v.is_none()
    }

    /// The threshold c of a timestep.
    ///
    /// # Errors
    /// If it is outside the schedule.
    pub fn threshold(&self, schedule: &NoiseSchedule, timestep: usize) -> Result<f32, ScheduleError> {
        let (signal, noise) = schedule.weights(timestep)?;
        let c = match self.huber_schedule {
            HuberSchedule::Constant => self.huber_c * self.huber_scale,
            HuberSchedule::Exponential => {
                let course = self.huber_c.ln() * timestep as f64 / schedule.len() as f64;
                course.exp() * self.huber_scale
            }
            HuberSchedule::Snr => {
                let sigma = f64::from(noise) / f64::from(signal);
                (1.0 - self.huber_c) / (1.0 + sigma).powi(2) + self.huber_c
            }
        };
        Ok(c as f32)
    }
}
