//! Tables of timesteps and sigmas, as diffusers and ComfyUI spread them over the training's timesteps. Numbers only,
//! in f64 and rounded where diffusers rounds.

use statrs::function::beta::inv_beta_reg;

use super::{SamplerChoice, SamplerKind, Spread};
use crate::model::scheduler::{NoiseSchedule, ScheduleConfig, ScheduleError, TimestepSpacing};

/// Where the steps of a run begin and end.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Grid {
    /// The timestep at the beginning of each step, from noisy to clean.
    pub timesteps: Vec<f32>,
    /// The ratio of noise to signal at each of them, and behind the last.
    pub sigmas: Vec<f32>,
    /// DPM++ SDE: the timestep in the middle of each step but the last.
    pub midpoints: Vec<f32>,
    /// The deviation of the noise that sampling starts from.
    pub init_noise_sigma: f64,
    /// Whether the sigmas were chosen, and the timesteps follow from them.
    pub spread: bool,
}

/// Which timestep a sigma between two of the training stands for.
#[derive(Clone, Copy)]
enum Whole {
    /// The one on the line between them.
    Not,
    Round,
    Cut,
    /// The nearest, as ComfyUI looks it up; where two are as near, it is for its f32's last digit to say which.
    Nearest,
}

impl Whole {
    fn of(self, sigma: f64, logs: &[f64]) -> f32 {
        let t = timestep_of(sigma, logs);
        let t = match self {
            Self::Not => t,
            Self::Round => t.round_ties_even(),
            Self::Cut => t.trunc(),
            Self::Nearest => (t - 0.5).ceil(),
        };
        t as f32
    }
}

/// The table of a sampler. Without a spread in the choice, what the configuration says counts, as far as the sampler's
/// class in diffusers reads it.
pub(super) fn grid(choice: SamplerChoice, config: &ScheduleConfig, steps: usize) -> Result<Grid, ScheduleError> {
    let kind = choice.kind;
    let multistep = matches!(
        kind,
        SamplerKind::DpmPp2m | SamplerKind::DpmPp2mSde | SamplerKind::UniPc
    );
    let reads = multistep || matches!(kind, SamplerKind::Euler | SamplerKind::Heun | SamplerKind::DpmPpSde);
    let asked = match (config.use_karras_sigmas, config.use_exponential_sigmas) {
        (true, _) if reads => Some(Spread::Karras),
        (_, true) if reads => Some(Spread::Exponential),
        _ => None,
    };
    checked(steps, config.num_train_timesteps)?;
    let known = training_sigmas(config);
    let logs: Vec<f64> = known.iter().map(|sigma| f64::from(sigma.ln())).collect();
    let spacing = config.timestep_spacing.unwrap_or(match kind {
        SamplerKind::Ddim | SamplerKind::Lcm => TimestepSpacing::Leading,
        _ => TimestepSpacing::Linspace,
    });
    let end = match kind {
        _ if choice.spread.is_some() => 0.0,
        SamplerKind::Ddim if !config.set_alpha_to_one => known[0],
        SamplerKind::Euler | SamplerKind::DpmPp2m | SamplerKind::DpmPp2mSde | SamplerKind::UniPc
            if config.final_sigma_min =>
        {
            known[0]
        }
        _ => 0.0,
    };
    let (timesteps, mut sigmas) = if let Some(spread) = choice.spread {
        spread_out(spread, Whole::Nearest, &known, &logs, None, steps)
    } else {
        let spaced: Vec<f64> = if kind == SamplerKind::Lcm {
            lcm_timesteps(config, steps)?
        } else if multistep {
            as_f64(&whole_timesteps_but_first(config, spacing, steps)?)
        } else if kind != SamplerKind::Ddim && spacing == TimestepSpacing::Linspace {
            even_timesteps(config, steps)?
        } else {
            as_f64(&whole_timesteps(config, spacing, steps)?)
        };
        let sigmas: Vec<f64> = spaced.iter().map(|t| sigma_at(&known, *t)).collect();
        match asked {
            // Between the ends that the spacing chose; for the multistep ones, those of the training.
            Some(spread) => {
                let ends = [sigmas[0], sigmas[steps - 1]];
                let whole = match (multistep, spread) {
                    (true, Spread::Exponential) => Whole::Cut,
                    (true, _) => Whole::Round,
                    (false, _) => Whole::Not,
                };
                spread_out(spread, whole, &known, &logs, (!multistep).then_some(ends), steps)
            }
            None => (spaced.iter().map(|t| *t as f32).collect(), sigmas),
        }
    };
    let midpoints = match kind {
        SamplerKind::DpmPpSde => sigmas
            .windows(2)
            .map(|pair| (pair[0] * pair[1]).sqrt())
            .map(|sigma| match choice.spread {
                Some(_) => Whole::Nearest.of(sigma, &logs),
                None => Whole::Not.of(sigma, &logs),
            })
            .collect(),
        _ => Vec::new(),
    };
    let most = f64::from(sigmas.iter().copied().fold(0.0, f64::max) as f32);
    let variance = (most * most + 1.0).sqrt();
    let init_noise_sigma = match choice.spread {
        // As ComfyUI begins: noise that lies on top of a picture of variance 1 where it is the training's greatest, and
        // on top of none otherwise.
        Some(_) if most < f64::from(known[known.len() - 1]) * (1.0 - 1e-5) => match kind.explodes() {
            true => most,
            false => most / variance,
        },
        _ if !kind.explodes() => 1.0,
        Some(_) => variance,
        None if spacing == TimestepSpacing::Leading => variance,
        None => most,
    };
    sigmas.push(f64::from(end));
    Ok(Grid {
        timesteps,
        sigmas: sigmas.iter().map(|s| *s as f32).collect(),
        midpoints,
        init_noise_sigma,
        spread: choice.spread.is_some(),
    })
}

fn as_f64(timesteps: &[usize]) -> Vec<f64> {
    timesteps.iter().map(|t| *t as f64).collect()
}

/// Timesteps, and the sigmas there without the end; between the training's ends unless others are given.
fn spread_out(
    spread: Spread,
    whole: Whole,
    known: &[f32],
    logs: &[f64],
    ends: Option<[f64; 2]>,
    steps: usize,
) -> (Vec<f32>, Vec<f64>) {
    const RHO: f64 = 7.0;
    let last = known.len() - 1;
    let [most, least] = ends.unwrap_or([known[last], known[0]].map(f64::from));
    let line = |from: f64, to: f64, parts: usize| {
        (0..steps).map(move |i| {
            let share = if parts > 0 { i as f64 / parts as f64 } else { 0.0 };
            from + share * (to - from)
        })
    };
    let at = |t: usize| (t as f32, f64::from(known[t]));
    let found = |sigma: f64| (whole.of(sigma, logs), sigma);
    // ComfyUI reads sigmas off on a line between the logarithms.
    let between = |t: f64| {
        let low = (t.floor() as usize).min(last);
        let (a, b) = (logs[low], logs[(low + 1).min(last)]);
        found((a + (b - a) * (t - low as f64)).exp())
    };
    match spread {
        Spread::Karras => {
            let [a, b] = [most, least].map(|sigma| sigma.powf(1.0 / RHO));
            line(a, b, steps - 1).map(|root| found(root.powf(RHO))).unzip()
        }
        Spread::Exponential => line(most.ln(), least.ln(), steps - 1)
            .map(|log| found(log.exp()))
            .unzip(),
        Spread::Normal => line(last as f64, 0.0, steps - 1).map(between).unzip(),
        Spread::SgmUniform => line(last as f64, 0.0, steps).map(between).unzip(),
        Spread::Simple => (0..steps).map(|i| at(last - i * known.len() / steps)).unzip(),
        Spread::DdimUniform => {
            let stride = (known.len() / steps).max(1);
            let mut timesteps: Vec<usize> = (1..known.len()).step_by(stride).collect();
            timesteps.reverse();
            timesteps.into_iter().map(at).unzip()
        }
        Spread::Beta => {
            let quantile = |i: usize| inv_beta_reg(0.6, 0.6, 1.0 - i as f64 / steps as f64);
            // The middle one lies between two timesteps, to which the inverse's last digits must not matter.
            let digits = |x: f64| (x * 1e6).round() / 1e6;
            let mut timesteps: Vec<usize> = (0..steps)
                .map(|i| digits(quantile(i) * last as f64).round_ties_even() as usize)
                .collect();
            timesteps.dedup();
            timesteps.into_iter().map(at).unzip()
        }
        Spread::LinearQuadratic => (0..steps)
            .map(|i| found(most * (1.0 - linear_quadratic(i, steps))))
            .unzip(),
        Spread::KlOptimal => line(most.atan(), least.atan(), steps - 1)
            .map(|angle| found(angle.tan()))
            .unzip(),
    }
}

/// How much of the noise is gone before a step: up to half of the steps evenly 1/40 of it in all, and the rest along a
/// parabola that goes on from there as steeply and ends where no noise is left.
fn linear_quadratic(i: usize, steps: usize) -> f64 {
    const SLOW: f64 = 0.025;
    let half = steps / 2;
    let (x, slope) = (i as f64 - half as f64, SLOW / half.max(1) as f64);
    if i < half || half == 0 {
        return i as f64 * slope;
    }
    let rest = (steps - half) as f64;
    SLOW + slope * x + (1.0 - SLOW - slope * rest) * (x / rest).powi(2)
}

/// A part of the timesteps that the model was distilled at.
fn lcm_timesteps(config: &ScheduleConfig, steps: usize) -> Result<Vec<f64>, ScheduleError> {
    let original = config.original_inference_steps.min(config.num_train_timesteps);
    checked(steps, original)?;
    let stride = config.num_train_timesteps / original;
    Ok((0..steps)
        .map(|i| ((original - i * original / steps) * stride - 1) as f64)
        .collect())
}

/// `√((1 − ᾱ) / ᾱ)` of each timestep of the training, in diffusers' f32.
fn training_sigmas(config: &ScheduleConfig) -> Vec<f32> {
    NoiseSchedule::new(config)
        .alphas_cumprod()
        .iter()
        .map(|alpha| ((1.0 - alpha) / alpha).sqrt())
        .collect()
}

/// The sigma at a timestep, on a line between those of the training.
fn sigma_at(known: &[f32], t: f64) -> f64 {
    let last = known.len() - 1;
    // The timesteps come as f32 to where the sigmas are read off.
    let t = f64::from(t as f32).clamp(0.0, last as f64);
    let low = t.floor() as usize;
    let [a, b] = [known[low], known[(low + 1).min(last)]].map(f64::from);
    a + (b - a) * (t - low as f64)
}

/// The timestep whose sigma has this logarithm, on a line between two of the training.
fn timestep_of(sigma: f64, logs: &[f64]) -> f64 {
    let log = sigma.max(1e-10).ln();
    let Some(last) = logs.len().checked_sub(2) else {
        return 0.0;
    };
    let low = logs.partition_point(|known| *known <= log).saturating_sub(1).min(last);
    let share = (log - logs[low]) / (logs[low + 1] - logs[low]);
    low as f64 + share.clamp(0.0, 1.0)
}

/// Whole timesteps, from noisy to clean; each is a timestep of the training.
pub(super) fn whole_timesteps(
    config: &ScheduleConfig,
    spacing: TimestepSpacing,
    steps: usize,
) -> Result<Vec<usize>, ScheduleError> {
    let count = config.num_train_timesteps;
    checked(steps, count)?;
    let mut timesteps: Vec<usize> = match spacing {
        TimestepSpacing::Linspace => even_timesteps(config, steps)?
            .iter()
            .map(|t| t.round_ties_even() as usize)
            .collect(),
        TimestepSpacing::Leading => (0..steps)
            .rev()
            .map(|i| i * (count / steps) + config.steps_offset)
            .collect(),
        TimestepSpacing::Trailing => trailing(count, steps),
    };
    // As where all timesteps are taken and yet an offset is added: there is none to begin with.
    if timesteps.first().is_some_and(|t| *t >= count) {
        let most = (1..steps)
            .rev()
            .find(|n| (n - 1) * (count / n) + config.steps_offset < count)
            .unwrap_or(0);
        return Err(ScheduleError::Steps { found: steps, most });
    }
    timesteps.truncate(steps);
    Ok(timesteps)
}

/// The same as if there was one step more, without its last one, which is where DPM++ ends.
pub(super) fn whole_timesteps_but_first(
    config: &ScheduleConfig,
    spacing: TimestepSpacing,
    steps: usize,
) -> Result<Vec<usize>, ScheduleError> {
    checked(steps, config.num_train_timesteps - 1)?;
    let mut timesteps = match spacing {
        TimestepSpacing::Trailing => return whole_timesteps(config, spacing, steps),
        other => whole_timesteps(config, other, steps + 1)?,
    };
    timesteps.pop();
    Ok(timesteps)
}

/// Timesteps spread evenly from the last to the first of the training, and between whole ones.
pub(super) fn even_timesteps(config: &ScheduleConfig, steps: usize) -> Result<Vec<f64>, ScheduleError> {
    checked(steps, config.num_train_timesteps)?;
    let last = (config.num_train_timesteps - 1) as f64;
    let stride = if steps > 1 { last / (steps - 1) as f64 } else { 0.0 };
    let mut timesteps: Vec<f64> = (0..steps).map(|i| i as f64 * stride).collect();
    if steps > 1 {
        timesteps[steps - 1] = last;
    }
    timesteps.reverse();
    Ok(timesteps)
}

fn trailing(count: usize, steps: usize) -> Vec<usize> {
    let stride = count as f64 / steps as f64;
    (0..steps)
        .map(|i| ((count as f64 - i as f64 * stride).round_ties_even() as usize).saturating_sub(1))
        .collect()
}

fn checked(steps: usize, most: usize) -> Result<(), ScheduleError> {
    if (1..=most).contains(&steps) {
        Ok(())
    } else {
        Err(ScheduleError::Steps { found: steps, most })
    }
}
