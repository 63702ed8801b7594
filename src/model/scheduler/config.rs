//! `scheduler_config.json`, read and checked. A missing key has diffusers' default; what would be computed otherwise
//! than the file says is refused by name.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::ScheduleError;

/// Largest configuration that is read, in bytes: those of models have some 500.
const CONFIG_BYTES: u64 = 1 << 20;
/// Greatest number of timesteps.
const TIMESTEPS: usize = 100_000;

/// A key whose value is not what this version computes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{path}`: the scheduler's `{key}` is `{found}`, expected {expected}")]
pub struct Refusal {
    /// The file.
    pub path: PathBuf,
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub found: String,
    /// The values that are understood.
    pub expected: &'static str,
}

/// What a network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PredictionType {
    /// The noise.
    Epsilon,
    /// The velocity `√ᾱ · ε − √(1 − ᾱ) · x_0`.
    Velocity,
    /// The clean sample itself.
    Sample,
}

impl PredictionType {
    /// The word in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Velocity => "v_prediction",
            Self::Sample => "sample",
        }
    }
}

/// How the timesteps of a sampler are spread over those of the training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestepSpacing {
    /// Multiples of a whole number from 0 on, plus the offset.
    Leading,
    /// Evenly from the first to the last.
    Linspace,
    /// Back from the last.
    Trailing,
}

/// A scheduler's configuration, checked.
///
/// The same file serves several samplers, which have different defaults: those stay `None` here.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleConfig {
    /// Timesteps of the training.
    pub num_train_timesteps: usize,
    /// First beta, in (0, 1).
    pub beta_start: f64,
    /// Last beta, in (0, 1).
    pub beta_end: f64,
    /// `scaled_linear`: the betas' roots are spread evenly. Else `linear`: the betas are.
    pub scaled: bool,
    /// What the network predicts.
    pub prediction_type: PredictionType,
    /// How sampling steps are spread; without it DDIM takes leading, the others linspace.
    pub timestep_spacing: Option<TimestepSpacing>,
    /// Added to the timesteps where the spacing is leading.
    pub steps_offset: usize,
    /// DDIM: the last step ends at no noise at all instead of the noise of timestep 0.
    pub set_alpha_to_one: bool,
    /// DDIM, Heun, LCM: whether predicted clean samples are clipped; without it DDIM does, the others do not.
    pub clip_sample: Option<bool>,
    /// The range that they are clipped to, from its negative on.
    pub clip_sample_range: f32,
    /// All but DDIM, Euler ancestral and LCM: Karras' spacing of the sigmas.
    pub use_karras_sigmas: bool,
    /// The same samplers: sigmas spread evenly in their logarithms.
    pub use_exponential_sigmas: bool,
    /// LCM: the steps that the model was distilled for, of which sampling takes some.
    pub original_inference_steps: usize,
    /// Euler, DPM++ 2M and UniPC: the last step ends at the noise of timestep 0 instead of none at all.
    pub final_sigma_min: bool,
    /// DPM++ 2M and UniPC: the last steps of a short run are of lower order.
    pub lower_order_final: bool,
    /// DPM++ 2M: the last step is of first order.
    pub euler_at_final: bool,
    /// What stands in the way of sampling, though not of training.
    pub no_sampling: Option<Refusal>,
}

impl Default for ScheduleConfig {
    /// What an empty file means.
    fn default() -> Self {
        Self {
            num_train_timesteps: 1000,
            beta_start: 0.0001,
            beta_end: 0.02,
            scaled: false,
            prediction_type: PredictionType::Epsilon,
            timestep_spacing: None,
            steps_offset: 0,
            set_alpha_to_one: true,
            clip_sample: None,
            clip_sample_range: 1.0,
            use_karras_sigmas: false,
            use_exponential_sigmas: false,
            original_inference_steps: 50,
            final_sigma_min: false,
            lower_order_final: true,
            euler_at_final: false,
            no_sampling: None,
        }
    }
}

/// The keys as they stand in the file. `null` is as good as missing.
#[derive(Deserialize)]
struct Raw {
    num_train_timesteps: Option<usize>,
    beta_start: Option<f64>,
    beta_end: Option<f64>,
    beta_schedule: Option<String>,
    prediction_type: Option<String>,
    timestep_spacing: Option<String>,
    steps_offset: Option<usize>,
    set_alpha_to_one: Option<bool>,
    clip_sample: Option<bool>,
    clip_sample_range: Option<f32>,
    use_karras_sigmas: Option<bool>,
    use_exponential_sigmas: Option<bool>,
    original_inference_steps: Option<usize>,
    final_sigmas_type: Option<String>,
    lower_order_final: Option<bool>,
    euler_at_final: Option<bool>,
}

/// Keys that change every schedule in ways not computed here: only `null`, or the value beside them, is understood.
const OF_TRAINING: [(&str, &str); 2] = [("trained_betas", "null"), ("rescale_betas_zero_snr", "false")];
/// The same for keys that matter to samplers only; a model can be trained whatever they say.
const OF_SAMPLING: [(&str, &str); 13] = [
    ("thresholding", "false"),
    ("timestep_scaling", "10.0"),
    ("use_beta_sigmas", "false"),
    ("use_lu_lambdas", "false"),
    ("use_flow_sigmas", "false"),
    ("sigma_min", "null"),
    ("sigma_max", "null"),
    ("lambda_min_clipped", "null"),
    ("interpolation_type", "linear"),
    ("timestep_type", "discrete"),
    ("algorithm_type", "dpmsolver++"),
    ("solver_order", "2"),
    ("solver_type", "midpoint|bh2"),
];

impl ScheduleConfig {
    /// Reads `scheduler_config.json` in a diffusers `scheduler/` folder.
    pub fn from_folder(folder: &Path) -> Result<Self, ScheduleError> {
        let path = folder.join("scheduler_config.json");
        let io = |source| ScheduleError::Io {
            path: path.clone(),
            source,
        };
        let mut text = String::new();
        File::open(&path)
            .map_err(io)?
            .take(CONFIG_BYTES)
            .read_to_string(&mut text)
            .map_err(io)?;
        Self::parse(&text, &path)
    }

    /// Reads a configuration's text; `path` is where it came from, for the errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScheduleError> {
        let json = |source| ScheduleError::Json {
            path: path.to_owned(),
            source,
        };
        let keys: BTreeMap<String, Value> = serde_json::from_str(text).map_err(json)?;
        let raw: Raw = serde_json::from_str(text).map_err(json)?;
        let refusals = |fixed: &'static [(&str, &str)]| fixed.iter().filter_map(|fixed| refusal(&keys, fixed, path));
        if let Some(refusal) = refusals(&OF_TRAINING).next() {
            return Err(refusal.into());
        }
        Ok(Self {
            no_sampling: refusals(&OF_SAMPLING).next(),
            ..raw.check(path)?
        })
    }

    /// Whether a sampler can follow this configuration to the letter, or else the first key it cannot follow.
    pub fn check_sampling(&self) -> Result<(), ScheduleError> {
        self.no_sampling.clone().map_or(Ok(()), |refusal| Err(refusal.into()))
    }
}

/// What is wrong with a key that has only one value.
fn refusal(keys: &BTreeMap<String, Value>, fixed: &(&'static str, &'static str), path: &Path) -> Option<Refusal> {
    let (key, expected) = *fixed;
    let found = match keys.get(key) {
        None | Some(Value::Null) => return None,
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    let found = found.chars().take(100).collect::<String>();
    // Where the classes differ in a key's value, each takes the other's for its own.
    (!expected.split('|').any(|known| known == found)).then(|| Refusal {
        path: path.to_owned(),
        key,
        found,
        expected,
    })
}

impl Raw {
    fn check(self, path: &Path) -> Result<ScheduleConfig, ScheduleError> {
        let default = ScheduleConfig::default();
        let refuse = |key, found: String, expected| {
            Err(Refusal {
                path: path.to_owned(),
                key,
                found,
                expected,
            }
            .into())
        };

        let num_train_timesteps = self.num_train_timesteps.unwrap_or(default.num_train_timesteps);
        if !(1..=TIMESTEPS).contains(&num_train_timesteps) {
            return refuse("num_train_timesteps", num_train_timesteps.to_string(), "1 to 100000");
        }
        let steps_offset = self.steps_offset.unwrap_or(default.steps_offset);
        if steps_offset >= num_train_timesteps {
            return refuse(
                "steps_offset",
                steps_offset.to_string(),
                "less than num_train_timesteps",
            );
        }
        let beta_start = self.beta_start.unwrap_or(default.beta_start);
        let beta_end = self.beta_end.unwrap_or(default.beta_end);
        for (key, beta) in [("beta_start", beta_start), ("beta_end", beta_end)] {
            if !(beta > 0.0 && beta < 1.0) {
                return refuse(key, beta.to_string(), "a number between 0 and 1");
            }
        }
        let scaled = match self.beta_schedule.as_deref() {
            None | Some("linear") => false,
            Some("scaled_linear") => true,
            Some(other) => return refuse("beta_schedule", other.to_owned(), "`linear` or `scaled_linear`"),
        };
        let prediction_type = match self.prediction_type.as_deref() {
            None | Some("epsilon") => PredictionType::Epsilon,
            Some("v_prediction") => PredictionType::Velocity,
            Some("sample") => PredictionType::Sample,
            Some(other) => {
                return refuse(
                    "prediction_type",
                    other.to_owned(),
                    "`epsilon`, `v_prediction` or `sample`",
                );
            }
        };
        let timestep_spacing = match self.timestep_spacing.as_deref() {
            None => None,
            Some("leading") => Some(TimestepSpacing::Leading),
            Some("linspace") => Some(TimestepSpacing::Linspace),
            Some("trailing") => Some(TimestepSpacing::Trailing),
            Some(other) => {
                return refuse(
                    "timestep_spacing",
                    other.to_owned(),
                    "`leading`, `linspace` or `trailing`",
                );
            }
        };
        let final_sigma_min = match self.final_sigmas_type.as_deref() {
            None | Some("zero") => false,
            Some("sigma_min") => true,
            Some(other) => return refuse("final_sigmas_type", other.to_owned(), "`zero` or `sigma_min`"),
        };
        let original_inference_steps = self
            .original_inference_steps
            .unwrap_or(default.original_inference_steps);
        if original_inference_steps == 0 {
            return refuse("original_inference_steps", "0".to_owned(), "at least 1");
        }
        let range = self.clip_sample_range.unwrap_or(1.0);
        if !(range.is_finite() && range > 0.0) {
            return refuse("clip_sample_range", range.to_string(), "a positive number");
        }
        Ok(ScheduleConfig {
            num_train_timesteps,
            beta_start,
            beta_end,
            scaled,
            prediction_type,
            timestep_spacing,
            steps_offset,
            set_alpha_to_one: self.set_alpha_to_one.unwrap_or(default.set_alpha_to_one),
            clip_sample: self.clip_sample,
            clip_sample_range: range,
            use_karras_sigmas: self.use_karras_sigmas.unwrap_or(default.use_karras_sigmas),
            use_exponential_sigmas: self.use_exponential_sigmas.unwrap_or(default.use_exponential_sigmas),
            original_inference_steps,
            final_sigma_min,
            lower_order_final: self.lower_order_final.unwrap_or(default.lower_order_final),
            euler_at_final: self.euler_at_final.unwrap_or(default.euler_at_final),
            no_sampling: None,
        })
    }
}
