//! The weights of each evaluation, for every kind of sampler. Numbers only, in f64.

use super::tables::Grid;
use super::{Mix, PredictionType, SamplerKind, ScheduleConfig, Step, Sum};
use crate::model::scheduler::NoiseSchedule;

/// A place on the way: the weights of signal and noise in latents of variance 1, their ratio, and λ = ln(signal/noise).
#[derive(Debug, Clone, Copy)]
struct Point {
    signal: f64,
    noise: f64,
    ratio: f64,
    lambda: f64,
}

impl Point {
    /// From the ratio of noise to signal. No noise at all lies at λ = ∞.
    fn of_ratio(ratio: f64) -> Self {
        let signal = 1.0 / (ratio * ratio + 1.0).sqrt();
        Self {
            signal,
            noise: ratio * signal,
            ratio,
            lambda: -ratio.ln(),
        }
    }

    fn of_alpha(alpha: f64) -> Self {
        let (signal, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        Self {
            signal,
            noise,
            ratio: noise / signal,
            lambda: (signal / noise).ln(),
        }
    }

    /// The clean sample that an output stands for, given latents of variance 1.
    fn clean(self, prediction: PredictionType) -> Mix {
        let (of_sample, of_output) = match prediction {
            PredictionType::Epsilon => (1.0 / self.signal, -self.noise / self.signal),
            PredictionType::Velocity => (self.signal, -self.noise),
            PredictionType::Sample => (0.0, 1.0),
        };
        Mix { of_sample, of_output }
    }

    /// The same, given latents whose clean part has weight 1.
    fn clean_of_exploding(self, prediction: PredictionType) -> Mix {
        let mix = self.clean(prediction);
        Mix {
            of_sample: mix.of_sample * self.signal,
            ..mix
        }
    }
}

/// The evaluations from step `first` on.
pub(super) fn steps(kind: SamplerKind, config: &ScheduleConfig, grid: &Grid, first: usize) -> Vec<Step> {
    let points: Vec<Point> = grid.sigmas.iter().map(|s| Point::of_ratio(f64::from(*s))).collect();
    let range = first..grid.timesteps.len();
    match kind {
        SamplerKind::Ddim | SamplerKind::Lcm => {
            let schedule = NoiseSchedule::new(config);
            let table = range.map(|i| direct(kind, config, grid, &schedule, i));
            table.collect()
        }
        SamplerKind::UniPc => range.map(|i| unipc(config, grid, &points, first, i)).collect(),
        SamplerKind::DpmPp2m | SamplerKind::DpmPp2mSde => range
            .map(|i| multistep(kind, config, grid, &points, first, i))
            .collect(),
        _ => range.flat_map(|i| exploding(kind, config, grid, &points, i)).collect(),
    }
}

/// An evaluation on latents of variance 1.
fn preserving(config: &ScheduleConfig, grid: &Grid, i: usize, here: Point, next: Sum) -> Step {
    Step {
        timestep: grid.timesteps[i],
        scale: 1.0,
        noised: [here.signal, here.noise],
        clean: here.clean(config.prediction_type),
        correct: None,
        next,
        keep: false,
    }
}

/// DDIM and LCM: from the clean sample and the noise at one place to those at the next.
fn direct(kind: SamplerKind, config: &ScheduleConfig, grid: &Grid, schedule: &NoiseSchedule, i: usize) -> Step {
    let alphas = schedule.alphas_cumprod();
    // Whole timesteps unless the sigmas were spread otherwise.
    let known = |t: f32| Point::of_alpha(f64::from(alphas[(t as usize).min(alphas.len() - 1)]));
    let of_sigma = |i: usize| Point::of_ratio(f64::from(grid.sigmas[i]));
    let is_last = i + 1 == grid.timesteps.len();
    let here = if grid.spread {
        of_sigma(i)
    } else {
        known(grid.timesteps[i])
    };
    let timestep = f64::from(grid.timesteps[i]);
    if kind == SamplerKind::Lcm {
        // The boundary condition: at timestep 0 the function gives back its sample. Data of deviation 0.5.
        let scaled = timestep * LCM_SCALING;
        let root = (scaled * scaled + 0.25).sqrt();
        let (skip, out) = (0.25 / (root * root), scaled / root);
        let (signal, noise) = match is_last {
            true => (1.0, 0.0),
            false if grid.spread => (of_sigma(i + 1).signal, of_sigma(i + 1).noise),
            false => {
                let after = known(grid.timesteps[i + 1]);
                (after.signal, after.noise)
            }
        };
        let next = Sum {
            sample: signal * skip,
            clean: signal * out,
            noise,
            ..Sum::default()
        };
        return preserving(config, grid, i, here, next);
    }
    let after = if grid.spread {
        of_sigma(i + 1)
    } else {
        // The step ends a stride further on, which need not be where the next one begins.
        let stride = (config.num_train_timesteps / grid.timesteps.len()) as f32;
        match timestep as f32 - stride {
            t if t >= 0.0 => known(t),
            _ if config.set_alpha_to_one => Point::of_alpha(1.0),
            _ => known(0.0),
        }
    };
    let (sample, output) = match config.prediction_type {
        PredictionType::Epsilon => (0.0, 1.0),
        PredictionType::Velocity => (here.noise, here.signal),
        PredictionType::Sample => (1.0 / here.noise, -here.signal / here.noise),
    };
    let next = Sum {
        sample: after.noise * sample,
        output: after.noise * output,
        clean: after.signal,
        ..Sum::default()
    };
    preserving(config, grid, i, here, next)
}

/// diffusers' `timestep_scaling`.
const LCM_SCALING: f64 = 10.0;

/// DPM-Solver++(2M): the clean sample is extrapolated over λ from this evaluation's estimate and the last one's.
fn multistep(
    kind: SamplerKind,
    config: &ScheduleConfig,
    grid: &Grid,
    points: &[Point],
    first: usize,
    i: usize,
) -> Step {
    let count = grid.timesteps.len();
    let (here, after) = (points[i], points[i + 1]);
    let is_last = i + 1 == count;
    let low_end = config.euler_at_final || (config.lower_order_final && count < 15) || after.ratio == 0.0;
    let length = after.lambda - here.lambda;
    // How far the line through the two estimates is followed: half a step.
    let slope = if i == first || (is_last && low_end) {
        0.0
    } else {
        0.5 * length / (here.lambda - points[i - 1].lambda)
    };
    let (decay, reach, noise) = if kind == SamplerKind::DpmPp2mSde {
        let gone = -(-2.0 * length).exp_m1();
        ((-length).exp(), after.signal * gone, after.noise * gone.sqrt())
    } else {
        (1.0, -after.signal * (-length).exp_m1(), 0.0)
    };
    let next = Sum {
        sample: after.noise / here.noise * decay,
        clean: reach * (1.0 + slope),
        past: [-reach * slope, 0.0],
        noise,
        ..Sum::default()
    };
    preserving(config, grid, i, here, next)
}

/// UniPC: the sample is corrected with what the network says of it, and the next one predicted from the corrected.
fn unipc(config: &ScheduleConfig, grid: &Grid, points: &[Point], first: usize, i: usize) -> Step {
    let count = grid.timesteps.len();
    // Estimates there are, and steps that are left.
    let order = |i: usize| {
        let second = i > first && !(config.lower_order_final && i + 1 == count) && points[i + 1].ratio != 0.0;
        if second { 2 } else { 1 }
    };
    let (here, after) = (points[i], points[i + 1]);
    let reach = -after.signal * (here.lambda - after.lambda).exp_m1();
    let slope = match order(i) {
        // Half of the difference over the distance.
        2 => 0.5 * (after.lambda - here.lambda) / (points[i - 1].lambda - here.lambda),
        _ => 0.0,
    };
    let next = Sum {
        sample: after.noise / here.noise,
        clean: reach * (1.0 - slope),
        past: [reach * slope, 0.0],
        ..Sum::default()
    };
    let correct = (i > first).then(|| {
        let before = points[i - 1];
        let hh = before.lambda - here.lambda;
        let grown = hh.exp_m1();
        let reach = -here.signal * grown;
        // The weights of the differences to the estimate before: of the one before that, and of this one.
        let (older, newer) = match order(i - 1) {
            2 => {
                let ratio = (points[i - 2].lambda - before.lambda) / (here.lambda - before.lambda);
                let phi = grown / hh - 1.0;
                let (b1, b2) = (phi / grown, (phi / hh - 0.5) * 2.0 / grown);
                // older + newer = b1, ratio · older + newer = b2; the older difference is divided by the ratio.
                let older = (b2 - b1) / (ratio - 1.0);
                (older / ratio, b1 - older)
            }
            _ => (0.0, 0.5),
        };
        Sum {
            kept: here.noise / before.noise,
            clean: reach * newer,
            past: [reach * (1.0 - older - newer), reach * older],
            ..Sum::default()
        }
    });
    Step {
        correct,
        keep: true,
        ..preserving(config, grid, i, here, next)
    }
}

/// Noise that an ancestral step adds, and the sigma it goes down to before.
fn ancestral(from: f64, to: f64) -> (f64, f64) {
    let up = (to * to * (from * from - to * to) / (from * from))
        .max(0.0)
        .sqrt()
        .min(to);
    (up, (to * to - up * up).max(0.0).sqrt())
}

/// Euler, Euler ancestral, Heun and DPM++ SDE: the sample carries noise of deviation sigma on a clean part of weight 1.
fn exploding(kind: SamplerKind, config: &ScheduleConfig, grid: &Grid, points: &[Point], i: usize) -> Vec<Step> {
    let (here, after) = (points[i], points[i + 1]);
    let (from, to) = (here.ratio, after.ratio);
    let evaluation = |point: Point, timestep: f32, next: Sum| Step {
        timestep,
        scale: point.signal,
        noised: [1.0, point.ratio],
        clean: point.clean_of_exploding(config.prediction_type),
        correct: None,
        next,
        keep: false,
    };
    // Along the line from the sample to the clean one.
    let down = |to: f64| Sum {
        sample: to / from,
        clean: 1.0 - to / from,
        ..Sum::default()
    };
    match kind {
        SamplerKind::EulerAncestral => {
            let (noise, low) = ancestral(from, to);
            vec![evaluation(here, grid.timesteps[i], Sum { noise, ..down(low) })]
        }
        SamplerKind::Heun if to > 0.0 => {
            // The mean of the slopes at both ends.
            let half = (to - from) / 2.0;
            let next = Sum {
                kept: 1.0 + half / from,
                past: [-half / from, 0.0],
                sample: half / to,
                clean: -half / to,
                ..Sum::default()
            };
            let first = Step {
                keep: true,
                ..evaluation(here, grid.timesteps[i], down(to))
            };
            vec![first, evaluation(after, grid.timesteps[i + 1], next)]
        }
        SamplerKind::DpmPpSde if to > 0.0 => {
            let middle = Point::of_ratio((from * to).sqrt());
            let (noise, low) = ancestral(from, middle.ratio);
            let first = Step {
                keep: true,
                ..evaluation(here, grid.timesteps[i], Sum { noise, ..down(low) })
            };
            // The noise of the whole step is a Brownian path's: the first half's and the second half's together.
            let (noise, low) = ancestral(from, to);
            let share = (from - middle.ratio) / (from - to);
            let next = Sum {
                kept: low / from,
                clean: 1.0 - low / from,
                last_noise: noise * share.sqrt(),
                noise: noise * (1.0 - share).sqrt(),
                ..Sum::default()
            };
            vec![first, evaluation(middle, grid.midpoints[i], next)]
        }
        _ => vec![evaluation(here, grid.timesteps[i], down(to))],
    }
}
