//! What is asked of the model.

use serde::{Deserialize, Serialize};

use super::{needs, positive, share};
use crate::model::scheduler::{NoiseSchedule, PredictionType, ScheduleConfig};
use crate::train::aim::{Aim, HuberSchedule, LossType, Weighting};
use crate::train::timesteps::{Sampling, Timesteps};

/// What the network is to predict (`prediction_type`), under diffusers' names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise.
    Epsilon,
    /// The velocity.
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The clean latents.
    Sample,
}

impl From<Prediction> for PredictionType {
    fn from(prediction: Prediction) -> Self {
        match prediction {
            Prediction::Epsilon => Self::Epsilon,
            Prediction::Velocity => Self::Velocity,
            Prediction::Sample => Self::Sample,
        }
    }
}

/// The section of the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// What the network is to predict, where it is not what the base predicts.
    #[serde(default)]
    pub prediction_type: Option<Prediction>,
    /// The same as `prediction_type = "v_prediction"`.
    #[serde(default)]
    pub v_parameterization: bool,
    /// Stretch the noise schedule so that its end is noise alone.
    #[serde(default)]
    pub zero_terminal_snr: bool,
    /// γ of min-SNR weighting.
    #[serde(default)]
    pub min_snr_gamma: Option<f32>,
    /// How much the loss of a regularization picture counts.
    #[serde(default = "whole")]
    pub prior_loss_weight: f64,
    /// Weigh by the root of noise over signal.
    #[serde(default)]
    pub debiased_estimation_loss: bool,
    /// γ of P2 weighting.
    #[serde(default)]
    pub p2_gamma: Option<f64>,
    /// k of P2 weighting; without it 1.
    #[serde(default)]
    pub p2_k: Option<f64>,
    /// Weigh a loss on the velocity as one on the noise would weigh.
    #[serde(default)]
    pub scale_v_pred_loss_like_noise_pred: bool,
    /// Add that many times the loss that the velocity would have to one on the noise.
    #[serde(default)]
    pub v_pred_like_loss: Option<f64>,
    /// The measure of an error.
    #[serde(default)]
    pub loss_type: LossType,
    /// The course of the threshold of `huber` and `smooth_l1`; without it `snr`.
    #[serde(default)]
    pub huber_schedule: Option<HuberSchedule>,
    /// Its least value; without it 0.1.
    #[serde(default)]
    pub huber_c: Option<f64>,
    /// Factor on it under `constant` and `exponential`; without it 1.
    #[serde(default)]
    pub huber_scale: Option<f64>,
    /// Strength of a shift of each channel's noise as a whole.
    #[serde(default)]
    pub noise_offset: Option<f64>,
    /// The strength is drawn anew for each micro-batch, from 0 to `noise_offset`.
    #[serde(default)]
    pub noise_offset_random_strength: bool,
    /// Strength that a channel's absolute mean adds.
    #[serde(default)]
    pub adaptive_noise_scale: Option<f64>,
    /// Coarser noises that are added, at most.
    #[serde(default)]
    pub multires_noise_iterations: usize,
    /// How much each counts of the one before; without it 0.3.
    #[serde(default)]
    pub multires_noise_discount: Option<f64>,
    /// Strength of noise that is in the input and not in the target.
    #[serde(default)]
    pub ip_noise_gamma: Option<f64>,
    /// The strength is drawn anew for each micro-batch, from 0 to `ip_noise_gamma`.
    #[serde(default)]
    pub ip_noise_gamma_random_strength: bool,
    /// First timestep.
    #[serde(default)]
    pub min_timestep: Option<usize>,
    /// The one after the last timestep.
    #[serde(default)]
    pub max_timestep: Option<usize>,
    /// How timesteps are drawn.
    #[serde(default)]
    pub timestep_sampling: Sampling,
    /// Stretches the normal values of `sigmoid`; without it 1.
    #[serde(default)]
    pub sigmoid_scale: Option<f64>,
}

/// Most coarser noises: more than there are powers of two in the largest side.
const MOST_ITERATIONS: usize = 32;

fn whole() -> f64 {
    1.0
}

impl Target {
    pub(super) fn check(&self) -> Result<(), String> {
        if !(self.prior_loss_weight >= 0.0 && self.prior_loss_weight.is_finite()) {
            return Err(format!(
                "prior_loss_weight: expected a number from 0, found {}",
                self.prior_loss_weight
            ));
        }
        if self.v_parameterization && self.prediction_type.is_some_and(|p| p != Prediction::Velocity) {
            return Err(
                "v_parameterization: prediction_type says something else; hint: leave one of them out".to_owned(),
            );
        }
        let weights = [
            ("min_snr_gamma", self.min_snr_gamma.is_some()),
            ("debiased_estimation_loss", self.debiased_estimation_loss),
            ("p2_gamma", self.p2_gamma.is_some()),
        ];
        let given: Vec<&str> = weights
            .iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| *key)
            .collect();
        if let [first, second, ..] = given[..] {
            return Err(format!(
                "{first} and {second} both say how much a timestep counts; hint: leave one of them out"
            ));
        }
        let huber = matches!(self.loss_type, LossType::Huber | LossType::SmoothL1);
        let of_huber = "set loss_type = \"huber\" or \"smooth_l1\"";
        needs(self.huber_schedule.is_some(), "huber_schedule", huber, of_huber)?;
        needs(self.huber_c.is_some(), "huber_c", huber, of_huber)?;
        let scaled = huber && self.huber_schedule.is_some_and(|s| s != HuberSchedule::Snr);
        needs(
            self.huber_scale.is_some(),
            "huber_scale",
            scaled,
            "set huber_schedule = \"constant\" or \"exponential\"",
        )?;
        needs(self.p2_k.is_some(), "p2_k", self.p2_gamma.is_some(), "set p2_gamma")?;
        let offset = self.noise_offset.is_some();
        let of_offset = "set noise_offset";
        needs(
            self.noise_offset_random_strength,
            "noise_offset_random_strength",
            offset,
            of_offset,
        )?;
        needs(
            self.adaptive_noise_scale.is_some(),
            "adaptive_noise_scale",
            offset,
            of_offset,
        )?;
        needs(
            self.multires_noise_discount.is_some(),
            "multires_noise_discount",
            self.multires_noise_iterations > 0,
            "set multires_noise_iterations",
        )?;
        needs(
            self.ip_noise_gamma_random_strength,
            "ip_noise_gamma_random_strength",
            self.ip_noise_gamma.is_some(),
            "set ip_noise_gamma",
        )?;
        needs(
            self.sigmoid_scale.is_some(),
            "sigmoid_scale",
            self.timestep_sampling == Sampling::Sigmoid,
            "set timestep_sampling = \"sigmoid\"",
        )?;
        for (key, value) in [
            ("min_snr_gamma", self.min_snr_gamma.map(f64::from)),
            ("p2_gamma", self.p2_gamma),
            ("p2_k", self.p2_k),
            ("v_pred_like_loss", self.v_pred_like_loss),
            ("huber_c", self.huber_c),
            ("huber_scale", self.huber_scale),
            ("noise_offset", self.noise_offset),
            ("ip_noise_gamma", self.ip_noise_gamma),
            ("sigmoid_scale", self.sigmoid_scale),
        ] {
            value.map_or(Ok(()), |value| positive(key, value))?;
        }
        if let Some(scale) = self.adaptive_noise_scale.filter(|scale| !scale.is_finite()) {
            return Err(format!("adaptive_noise_scale: expected a number, found {scale}"));
        }
        self.huber_c.map_or(Ok(()), |c| share("huber_c", c, false))?;
        self.multires_noise_discount
            .map_or(Ok(()), |discount| share("multires_noise_discount", discount, false))?;
        if self.multires_noise_iterations > MOST_ITERATIONS {
            return Err(format!(
                "multires_noise_iterations: expected 0 to {MOST_ITERATIONS}, found {}",
                self.multires_noise_iterations
            ));
        }
        Ok(())
    }

    /// The noise schedule of the training and what the network is to predict.
    ///
    /// # Errors
    /// If options do not fit the base's schedule.
    pub fn schedule(&self, base: &ScheduleConfig) -> Result<NoiseSchedule, String> {
        let prediction = if self.v_parameterization {
            PredictionType::Velocity
        } else {
            self.prediction_type.map_or(base.prediction_type, PredictionType::from)
        };
        let schedule = NoiseSchedule::new(base).predicting(prediction);
        let velocity = prediction == PredictionType::Velocity;
        let on_velocity = "set v_parameterization = true, or leave it out";
        if self.zero_terminal_snr && prediction == PredictionType::Epsilon {
            return Err(format!(
                "zero_terminal_snr: from noise alone nobody can tell the noise from the picture; hint: {on_velocity}"
            ));
        }
        if self.scale_v_pred_loss_like_noise_pred && !velocity {
            return Err(format!(
                "scale_v_pred_loss_like_noise_pred: the network predicts no velocity; hint: {on_velocity}"
            ));
        }
        if self.v_pred_like_loss.is_some() && prediction != PredictionType::Epsilon {
            return Err("v_pred_like_loss: the network predicts no noise; hint: leave it out".to_owned());
        }
        self.range(schedule.len())?;
        Ok(if self.zero_terminal_snr {
            schedule.zero_terminal_snr()
        } else {
            schedule
        })
    }

    /// The timesteps of a schedule of so many.
    fn range(&self, len: usize) -> Result<[usize; 2], String> {
        let range = [self.min_timestep.unwrap_or(0), self.max_timestep.unwrap_or(len)];
        if range[0] < range[1] && range[1] <= len {
            Ok(range)
        } else {
            Err(format!(
                "min_timestep and max_timestep: expected 0 to {len}, the first below the second, found {} and {}",
                range[0], range[1]
            ))
        }
    }

    /// How timesteps of a schedule of so many are drawn.
    ///
    /// # Errors
    /// If the range does not fit.
    pub fn timesteps(&self, len: usize) -> Result<Timesteps, String> {
        let scale = self.sigmoid_scale.unwrap_or(1.0);
        Ok(Timesteps::new(self.range(len)?, self.timestep_sampling, scale))
    }

    /// What the loss is.
    #[must_use]
    pub fn aim(&self) -> Aim {
        let weighting = match (self.min_snr_gamma, self.p2_gamma) {
            (Some(gamma), _) => Weighting::MinSnr(gamma),
            (None, Some(gamma)) => Weighting::P2 {
                gamma: gamma as f32,
                k: self.p2_k.unwrap_or(1.0) as f32,
            },
            (None, None) if self.debiased_estimation_loss => Weighting::Debiased,
            (None, None) => Weighting::Even,
        };
        Aim {
            loss: self.loss_type,
            huber_schedule: self.huber_schedule.unwrap_or_default(),
            huber_c: self.huber_c.unwrap_or(0.1),
            huber_scale: self.huber_scale.unwrap_or(1.0),
            weighting,
            scale_v: self.scale_v_pred_loss_like_noise_pred,
            like_v: self.v_pred_like_loss.map(|like| like as f32),
        }
    }
}
