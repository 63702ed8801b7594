//! Tables of timesteps and sigmas, as diffusers spreads them over the training's timesteps. Numbers only, in f64 and
//! rounded where diffusers rounds.

use crate::model::scheduler::{NoiseSchedule, ScheduleConfig, ScheduleError, TimestepSpacing};

/// The timesteps of a run, from noisy to clean, and the sigma at each and behind the last.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sigmas {
    pub timesteps: Vec<f32>,
    /// One more than there are timesteps.
    pub sigmas: Vec<f32>,
}

/// `√((1 − ᾱ) / ᾱ)` of each timestep of the training, in diffusers' f32.
fn training_sigmas(config: &ScheduleConfig) -> Vec<f32> {
    NoiseSchedule::new(config)
        .alphas_cumprod()
        .iter()
        .map(|alpha| ((1.0 - alpha) / alpha).sqrt())
        .collect()
}

/// The greatest and the least sigma of the training.
pub(super) fn sigma_range(config: &ScheduleConfig) -> [f64; 2] {
    let sigmas = training_sigmas(config);
    [sigmas[sigmas.len() - 1], sigmas[0]].map(f64::from)
}

impl Sigmas {
    /// The sigmas at some timesteps, on a line between those of the training.
    pub(super) fn at(config: &ScheduleConfig, timesteps: Vec<f64>) -> Self {
        let known = training_sigmas(config);
        let last = known.len() - 1;
        let sigma = |t: &f64| {
            // The timesteps come as f32 to where the sigmas are read off.
            let t = f64::from(*t as f32).clamp(0.0, last as f64);
            let low = t.floor() as usize;
            let [a, b] = [known[low], known[(low + 1).min(last)]].map(f64::from);
            (a + (b - a) * (t - low as f64)) as f32
        };
        let mut sigmas: Vec<f32> = timesteps.iter().map(sigma).collect();
        sigmas.push(final_sigma(config, &known));
        Self {
            timesteps: timesteps.iter().map(|t| *t as f32).collect(),
            sigmas,
        }
    }

    /// Karras' sigmas: their seventh roots are spread evenly. The timesteps follow from them, whole ones if asked.
    pub(super) fn karras(config: &ScheduleConfig, ends: [f64; 2], steps: usize, whole: bool) -> Self {
        const RHO: f64 = 7.0;
        let known = training_sigmas(config);
        let logs: Vec<f64> = known.iter().map(|sigma| f64::from(sigma.ln())).collect();
        let [most, least] = ends.map(|sigma| sigma.powf(1.0 / RHO));
        let mut table = Self {
            timesteps: Vec::with_capacity(steps),
            sigmas: Vec::with_capacity(steps + 1),
        };
        for i in 0..steps {
            let share = if steps > 1 { i as f64 / (steps - 1) as f64 } else { 0.0 };
            let sigma = (most + share * (least - most)).powf(RHO);
            let t = timestep_of(sigma, &logs);
            table.timesteps.push(if whole { t.round_ties_even() } else { t } as f32);
            table.sigmas.push(sigma as f32);
        }
        table.sigmas.push(final_sigma(config, &known));
        table
    }
}

fn final_sigma(config: &ScheduleConfig, known: &[f32]) -> f32 {
    if config.final_sigma_min { known[0] } else { 0.0 }
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
