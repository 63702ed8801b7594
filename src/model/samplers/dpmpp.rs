//! DPM-Solver++(2M): the clean sample is extrapolated over `λ = ln(√ᾱ / √(1 − ᾱ))` from this step's estimate and
//! the last one's.

use burn::tensor::Tensor;

use super::tables::{self, Sigmas};
use super::{Mix, Sampler, at};
use crate::model::scheduler::{PredictionType, ScheduleConfig, ScheduleError, TimestepSpacing};

/// The numbers of one step: `sample · of_sample + clean · of_clean + last clean · of_last`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DpmStep {
    /// The clean sample that the output stands for.
    pub clean: Mix,
    /// The weight of the sample before the step.
    pub of_sample: f32,
    /// The weight of this step's clean sample.
    pub of_clean: f32,
    /// The weight of the last step's clean sample; 0 where the step is of first order.
    pub of_last: f32,
}

/// A DPM-Solver++ sampler of second order.
#[derive(Debug, Clone)]
pub struct DpmPp2m {
    table: Sigmas,
    steps: Vec<DpmStep>,
    /// The next step, and the clean sample that the last one saw.
    turn: usize,
    last: Option<Tensor<4>>,
}

/// A point of the path: the weights of signal and noise, and λ.
#[derive(Clone, Copy)]
struct Point {
    signal: f64,
    sigma: f64,
    lambda: f64,
}

impl Point {
    /// From the ratio of noise to signal. No noise at all lies at λ = ∞.
    fn new(ratio: f32) -> Self {
        let ratio = f64::from(ratio);
        let signal = 1.0 / (ratio * ratio + 1.0).sqrt();
        Self {
            signal,
            sigma: ratio * signal,
            lambda: -ratio.ln(),
        }
    }
}

impl DpmPp2m {
    /// A sampler of so many steps. A configuration without `timestep_spacing` means linspace.
    pub fn new(config: &ScheduleConfig, steps: usize) -> Result<Self, ScheduleError> {
        config.check_sampling()?;
        let spacing = config.timestep_spacing.unwrap_or(TimestepSpacing::Linspace);
        let timesteps = tables::whole_timesteps_but_first(config, spacing, steps)?;
        let table = if config.use_karras_sigmas {
            Sigmas::karras(config, tables::sigma_range(config), steps, true)
        } else {
            Sigmas::at(config, timesteps.iter().map(|t| *t as f64).collect())
        };
        let points: Vec<Point> = table.sigmas.iter().map(|sigma| Point::new(*sigma)).collect();
        let count = table.timesteps.len();
        let step = |i: usize| {
            let is_last = i + 1 == count;
            let first_order_end = config.euler_at_final || (config.lower_order_final && count < 15);
            let low = i == 0 || (is_last && (first_order_end || !config.final_sigma_min));
            let before = (!low).then(|| points[i - 1]);
            update(config.prediction_type, before, points[i], points[i + 1])
        };
        Ok(Self {
            steps: (0..count).map(step).collect(),
            table,
            turn: 0,
            last: None,
        })
    }

    /// The numbers of each step.
    #[must_use]
    pub fn coefficients(&self) -> &[DpmStep] {
        &self.steps
    }
}

fn update(prediction: PredictionType, before: Option<Point>, here: Point, next: Point) -> DpmStep {
    let clean = match prediction {
        PredictionType::Epsilon => Mix::new(1.0 / here.signal, -here.sigma / here.signal),
        PredictionType::Velocity => Mix::new(here.signal, -here.sigma),
    };
    let length = next.lambda - here.lambda;
    let reach = -next.signal * (-length).exp_m1();
    // How far the line through the two estimates is followed: half a step.
    let slope = before.map_or(0.0, |before| 0.5 * length / (here.lambda - before.lambda));
    DpmStep {
        clean,
        of_sample: (next.sigma / here.sigma) as f32,
        of_clean: (reach * (1.0 + slope)) as f32,
        of_last: (-reach * slope) as f32,
    }
}

impl Sampler for DpmPp2m {
    fn timesteps(&self) -> &[f32] {
        &self.table.timesteps
    }

    fn init_noise_sigma(&self) -> f32 {
        1.0
    }

    fn sigmas(&self) -> Option<&[f32]> {
        Some(&self.table.sigmas)
    }

    fn scale_input(&self, _index: usize, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        Ok(sample)
    }

    fn step(&mut self, index: usize, output: Tensor<4>, sample: Tensor<4>) -> Result<Tensor<4>, ScheduleError> {
        let step = at(&self.steps, index)?;
        // Step 0 begins a new picture; any other one needs what the step before it saw.
        if index != 0 && index != self.turn {
            return Err(ScheduleError::Order {
                found: index,
                expected: self.turn,
                steps: self.steps.len(),
            });
        }
        let clean = step.clean.apply(sample.clone(), output);
        let mut next = clean.clone().mul_scalar(step.of_clean);
        if step.of_sample != 0.0 {
            next = next + sample.mul_scalar(step.of_sample);
        }
        if let Some(last) = self.last.take().filter(|_| step.of_last != 0.0) {
            next = next + last.mul_scalar(step.of_last);
        }
        self.last = Some(clean);
        self.turn = index + 1;
        Ok(next)
    }
}
