//! How the weights get where the objective wants them.

use serde::{Deserialize, Serialize};

use super::positive;
use crate::train::optimizer::{AdamWConfig, Schedule};

/// The optimizers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OptimizerType {
    /// Adam with decoupled weight decay.
    #[default]
    AdamW,
}

/// The section of the optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimisation {
    /// The optimizer.
    #[serde(default)]
    pub optimizer_type: OptimizerType,
    /// Decoupled weight decay.
    #[serde(default = "weight_decay")]
    pub weight_decay: f64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Its course.
    #[serde(default = "cosine")]
    pub lr_scheduler: Schedule,
    /// Updates of warm-up.
    #[serde(default)]
    pub lr_warmup_steps: u64,
    /// Updates.
    pub max_train_steps: u64,
    /// Micro-batches of an update; they run side by side.
    #[serde(default = "one_step")]
    pub gradient_accumulation_steps: u64,
    /// Largest norm of the gradient; 0 for any.
    #[serde(default = "one_norm")]
    pub max_grad_norm: f64,
}

fn weight_decay() -> f64 {
    1e-2
}
fn cosine() -> Schedule {
    Schedule::Cosine
}
fn one_step() -> u64 {
    1
}
fn one_norm() -> f64 {
    1.0
}

impl Optimisation {
    pub(super) fn check(&self) -> Result<(), String> {
        positive("learning_rate", self.learning_rate)?;
        positive("gradient_accumulation_steps", self.gradient_accumulation_steps as f64)?;
        positive("max_train_steps", self.max_train_steps as f64)
    }

    /// The optimizer's settings.
    #[must_use]
    pub fn adamw(&self) -> AdamWConfig {
        let OptimizerType::AdamW = self.optimizer_type;
        AdamWConfig {
            weight_decay: self.weight_decay,
            ..AdamWConfig::default()
        }
    }
}
