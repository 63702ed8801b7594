//! How the weights get where the objective wants them.

use serde::{Deserialize, Serialize};

use super::optimizer::{Arguments, OptimizerType, method};
use super::{positive, share};
use crate::train::optimizer::{AdafactorConfig, Method};
use crate::train::schedule::{Course, POLYNOMIAL_END, Schedule};
use crate::train::stopping::EarlyStopping;

/// The section of the optimisation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Optimisation {
    /// The optimizer.
    #[serde(default)]
    pub optimizer_type: OptimizerType,
    /// Its arguments, under the names of the Python class.
    #[serde(default)]
    pub optimizer_args: Arguments,
    /// Weight decay; without it what the class has.
    #[serde(default)]
    pub weight_decay: Option<f64>,
    /// Peak learning rate. Prodigy takes 1 without it; Adafactor takes none where it finds its own.
    #[serde(default)]
    pub learning_rate: Option<f64>,
    /// Its course; without it half a cosine, or constant where the optimizer needs no course.
    #[serde(default)]
    pub lr_scheduler: Option<Schedule>,
    /// Updates of warm-up, or below 1 the share of all.
    #[serde(default)]
    pub lr_warmup_steps: f64,
    /// How often `cosine_with_restarts` starts.
    #[serde(default = "one")]
    pub lr_scheduler_num_cycles: u64,
    /// The power of `polynomial`.
    #[serde(default = "one_power")]
    pub lr_scheduler_power: f64,
    /// Updates.
    pub max_train_steps: u64,
    /// Micro-batches of an update; they run side by side.
    #[serde(default = "one")]
    pub gradient_accumulation_steps: u64,
    /// Keep only what goes into each block of the networks, and compute the rest of it again in the backward pass: less
    /// memory for more time, and the same gradients.
    #[serde(default)]
    pub gradient_checkpointing: bool,
    /// Largest norm of the gradient; 0 for any.
    #[serde(default = "one_power")]
    pub max_grad_norm: f64,
    /// Largest Frobenius norm of a module's update with its scale; after each update longer ones are scaled down to it.
    #[serde(default)]
    pub scale_weight_norms: Option<f64>,
    /// Decay of a running average of the weights, which is then what is measured and kept.
    #[serde(default)]
    pub ema_decay: Option<f64>,
    /// Validations without a better loss on the held-out pictures after which the run ends; the best weights are kept.
    #[serde(default)]
    pub early_stopping_patience: Option<u64>,
    /// A loss is better when it is lower by more than this.
    #[serde(default)]
    pub early_stopping_threshold: f64,
}

fn one() -> u64 {
    1
}
fn one_power() -> f64 {
    1.0
}

impl Optimisation {
    pub(super) fn check(&self) -> Result<(), String> {
        let method = self.method()?;
        positive("gradient_accumulation_steps", self.gradient_accumulation_steps as f64)?;
        positive("max_train_steps", self.max_train_steps as f64)?;
        positive("lr_scheduler_num_cycles", self.lr_scheduler_num_cycles as f64)?;
        positive("lr_scheduler_power", self.lr_scheduler_power)?;
        let finds_its_own = matches!(
            method,
            Method::Adafactor(AdafactorConfig {
                relative_step: true,
                ..
            })
        );
        match (self.learning_rate, method) {
            (Some(_), _) if finds_its_own => {
                return Err(
                    "learning_rate: Adafactor finds its own with relative_step; hint: leave learning_rate out, or set \
                     optimizer_args = [\"relative_step=False\"]"
                        .to_owned(),
                );
            }
            (Some(rate), _) => positive("learning_rate", rate)?,
            (None, Method::Prodigy(_)) => {}
            (None, _) if finds_its_own => {}
            (None, _) => return Err("learning_rate: expected a number above 0, found none".to_owned()),
        }
        let needs_none = finds_its_own || matches!(method, Method::ScheduleFree(_));
        if needs_none && !matches!(self.lr_scheduler, None | Some(Schedule::Constant)) {
            return Err(format!(
                "lr_scheduler: {:?} needs no course of the learning rate; hint: leave lr_scheduler out",
                self.optimizer_type
            ));
        }
        if self.schedule() == Schedule::Constant && self.lr_warmup_steps != 0.0 {
            let hint = match method {
                Method::ScheduleFree(_) => "set optimizer_args = [\"warmup_steps=…\"]",
                Method::Adafactor(_) if finds_its_own => "set optimizer_args = [\"warmup_init=True\"]",
                _ => "set lr_scheduler = \"constant_with_warmup\"",
            };
            return Err(format!(
                "lr_warmup_steps: a constant course has no warm-up; hint: {hint}"
            ));
        }
        let warmup = self.lr_warmup_steps;
        if !(0.0..1.0).contains(&warmup) && (warmup.fract() != 0.0 || !(1.0..=1e15).contains(&warmup)) {
            return Err(format!(
                "lr_warmup_steps: expected a whole number or a share below 1, found {warmup}"
            ));
        }
        if self.schedule() == Schedule::Polynomial && self.peak() <= POLYNOMIAL_END {
            return Err(format!(
                "learning_rate: expected more than the end of a polynomial course, {POLYNOMIAL_END:e}, found {:e}",
                self.peak()
            ));
        }
        if self.lr_scheduler_num_cycles != 1 && self.schedule() != Schedule::CosineWithRestarts {
            return Err("lr_scheduler_num_cycles: hint: set lr_scheduler = \"cosine_with_restarts\"".to_owned());
        }
        if self.lr_scheduler_power != 1.0 && self.schedule() != Schedule::Polynomial {
            return Err("lr_scheduler_power: hint: set lr_scheduler = \"polynomial\"".to_owned());
        }
        if !(self.max_grad_norm >= 0.0 && self.max_grad_norm.is_finite()) {
            return Err(format!(
                "max_grad_norm: expected 0 or a number above, found {}",
                self.max_grad_norm
            ));
        }
        positive("scale_weight_norms", self.scale_weight_norms.unwrap_or(1.0))?;
        let averages = self.ema_decay.is_some() || matches!(method, Method::ScheduleFree(_));
        if self.scale_weight_norms.is_some() && averages {
            return Err(
                "scale_weight_norms: it holds the weights under training, and an average of them can be longer; hint: \
                 leave it, ema_decay and AdamWScheduleFree out"
                    .to_owned(),
            );
        }
        if let Some(decay) = self.ema_decay {
            share("ema_decay", decay, true)?;
            if matches!(method, Method::ScheduleFree(_)) {
                return Err(
                    "ema_decay: AdamWScheduleFree keeps an average already; hint: leave ema_decay out".to_owned(),
                );
            }
        }
        match self.early_stopping_patience {
            Some(0) => Err("early_stopping_patience: expected a number above 0, found 0".to_owned()),
            None if self.early_stopping_threshold != 0.0 => {
                Err("early_stopping_threshold: hint: set early_stopping_patience too".to_owned())
            }
            _ if !(self.early_stopping_threshold >= 0.0 && self.early_stopping_threshold.is_finite()) => Err(format!(
                "early_stopping_threshold: expected 0 or a number above, found {}",
                self.early_stopping_threshold
            )),
            _ => Ok(()),
        }
    }

    /// The optimizer with its settings.
    ///
    /// # Errors
    /// Never for a configuration that was read.
    pub fn method(&self) -> Result<Method, String> {
        method(self.optimizer_type, &self.optimizer_args, self.weight_decay)
    }

    /// The shape of the learning rate's course.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        self.lr_scheduler.unwrap_or(match self.optimizer_type {
            OptimizerType::AdamWScheduleFree => Schedule::Constant,
            OptimizerType::Adafactor if self.learning_rate.is_none() => Schedule::Constant,
            _ => Schedule::Cosine,
        })
    }

    /// Peak learning rate.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.learning_rate.unwrap_or(1.0)
    }

    /// Updates of warm-up.
    #[must_use]
    pub fn warmup(&self) -> u64 {
        if self.lr_warmup_steps < 1.0 {
            (self.lr_warmup_steps * self.max_train_steps as f64) as u64
        } else {
            self.lr_warmup_steps as u64
        }
    }

    /// The learning rate over the run.
    #[must_use]
    pub fn course(&self) -> Course {
        Course {
            schedule: self.schedule(),
            warmup: self.warmup(),
            total: self.max_train_steps,
            cycles: self.lr_scheduler_num_cycles,
            power: self.lr_scheduler_power,
            peak: self.peak(),
        }
    }

    /// Whether the weights that are kept may be others than the last ones.
    #[must_use]
    pub fn keeps_others(&self) -> bool {
        let averaged = self.ema_decay.is_some() || self.optimizer_type == OptimizerType::AdamWScheduleFree;
        averaged || self.early_stopping_patience.is_some()
    }

    /// When to end early.
    #[must_use]
    pub fn early_stopping(&self) -> Option<EarlyStopping> {
        self.early_stopping_patience.map(|patience| EarlyStopping {
            patience,
            threshold: self.early_stopping_threshold,
        })
    }
}
