//! The course of the learning rate over a run.

use serde::{Deserialize, Serialize};

/// What the learning rate ends at under [`Schedule::Polynomial`], as in diffusers.
pub const POLYNOMIAL_END: f64 = 1e-7;

/// The shapes there are, under kohya's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// The same throughout.
    Constant,
    /// Up during the warm-up, then the same.
    ConstantWithWarmup,
    /// Up during the warm-up, then down along a line to zero.
    Linear,
    /// Up during the warm-up, then down along half a cosine to zero.
    Cosine,
    /// The same, several times: each time from the top again.
    CosineWithRestarts,
    /// Up during the warm-up, then down along a power of what is left, to [`POLYNOMIAL_END`].
    Polynomial,
    /// Up during the warm-up, then down, late and steeply (Chen, Wolfe, Kyrillidis 2021, arXiv:2107.04197).
    Rex,
}

/// A course with its numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Course {
    /// Its shape.
    pub schedule: Schedule,
    /// Updates of warm-up.
    pub warmup: u64,
    /// Updates in all.
    pub total: u64,
    /// How often [`Schedule::CosineWithRestarts`] starts.
    pub cycles: u64,
    /// The power of [`Schedule::Polynomial`].
    pub power: f64,
    /// The peak, which [`Schedule::Polynomial`] must know.
    pub peak: f64,
}

impl Course {
    /// The factor on the peak at update `step` (from 0); but for REX as in diffusers' `optimization.py`.
    #[must_use]
    pub fn factor(&self, step: u64) -> f64 {
        if self.schedule == Schedule::Constant {
            return 1.0;
        }
        if step < self.warmup {
            return step as f64 / self.warmup as f64;
        }
        let progress = (step - self.warmup) as f64 / self.total.saturating_sub(self.warmup).max(1) as f64;
        let progress = progress.min(1.0);
        let half_cosine = |along: f64| (0.5 * (1.0 + (std::f64::consts::PI * along).cos())).max(0.0);
        match self.schedule {
            Schedule::Constant | Schedule::ConstantWithWarmup => 1.0,
            Schedule::Linear => 1.0 - progress,
            Schedule::Cosine => half_cosine(progress),
            Schedule::CosineWithRestarts if progress >= 1.0 => 0.0,
            Schedule::CosineWithRestarts => half_cosine((self.cycles as f64 * progress) % 1.0),
            Schedule::Polynomial => {
                let end = POLYNOMIAL_END / self.peak;
                (1.0 - end) * (1.0 - progress).powf(self.power) + end
            }
            Schedule::Rex => (1.0 - progress) / (0.5 + 0.5 * (1.0 - progress)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_courses_are_those_of_diffusers() {
        // Written by `scripts/parity/make_optimizers.py`.
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/fixtures/optimizers/schedules.json")).unwrap();
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() >= 9);
        for case in cases {
            let number = |key: &str| case[key].as_f64().unwrap();
            let course = Course {
                schedule: serde_json::from_value(case["name"].clone()).unwrap(),
                warmup: number("warmup") as u64,
                total: number("total") as u64,
                cycles: number("cycles") as u64,
                power: number("power"),
                peak: number("peak"),
            };
            for (step, expected) in case["rates"].as_array().unwrap().iter().enumerate() {
                let (found, expected) = (course.peak * course.factor(step as u64), expected.as_f64().unwrap());
                assert!(
                    (found - expected).abs() <= 1e-12,
                    "{course:?} at {step}: {found}, expected {expected}"
                );
            }
        }
    }
}
