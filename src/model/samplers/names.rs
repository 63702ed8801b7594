//! What samplers and spreads of sigmas are called: by ComfyUI, whose names are ours, by A1111 and by diffusers.

use std::fmt;
use std::str::FromStr;

use super::ScheduleConfig;
use crate::model::scheduler::ScheduleError;

/// How a step is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// DDIM without added noise (eta 0; Song et al. 2020).
    Ddim,
    /// Euler's method on the sigmas.
    Euler,
    /// The same, stepping further down and adding noise back.
    EulerAncestral,
    /// Heun's method: two evaluations a step, but for the last.
    Heun,
    /// DPM-Solver++ of second order (Lu et al. 2022).
    DpmPp2m,
    /// The same for the stochastic equation.
    DpmPp2mSde,
    /// DPM-Solver++ in single steps with a midpoint and noise; two evaluations a step, but for the last.
    DpmPpSde,
    /// UniPC of second order with B₂(h) (Zhao et al. 2023).
    UniPc,
    /// The sampler of latent consistency models (Luo et al. 2023).
    Lcm,
}

impl SamplerKind {
    /// All of them, the default first.
    pub const ALL: [Self; 9] = [
        Self::Ddim,
        Self::Euler,
        Self::EulerAncestral,
        Self::Heun,
        Self::DpmPp2m,
        Self::DpmPp2mSde,
        Self::DpmPpSde,
        Self::UniPc,
        Self::Lcm,
    ];

    /// Its name, which is ComfyUI's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Euler => "euler",
            Self::EulerAncestral => "euler_ancestral",
            Self::Heun => "heun",
            Self::DpmPp2m => "dpmpp_2m",
            Self::DpmPp2mSde => "dpmpp_2m_sde",
            Self::DpmPpSde => "dpmpp_sde",
            Self::UniPc => "uni_pc",
            Self::Lcm => "lcm",
        }
    }

    /// The class of diffusers whose numbers it gives. `dpmpp_2m_sde` is its class with the algorithm
    /// `sde-dpmsolver++`.
    #[must_use]
    pub fn peer(self) -> &'static str {
        match self {
            Self::Ddim => "DDIMScheduler",
            Self::Euler => "EulerDiscreteScheduler",
            Self::EulerAncestral => "EulerAncestralDiscreteScheduler",
            Self::Heun => "HeunDiscreteScheduler",
            Self::DpmPp2m | Self::DpmPp2mSde => "DPMSolverMultistepScheduler",
            Self::DpmPpSde => "DPMSolverSDEScheduler",
            Self::UniPc => "UniPCMultistepScheduler",
            Self::Lcm => "LCMScheduler",
        }
    }

    /// What A1111 calls it.
    #[must_use]
    pub fn display(self) -> &'static str {
        match self {
            Self::Ddim => "DDIM",
            Self::Euler => "Euler",
            Self::EulerAncestral => "Euler a",
            Self::Heun => "Heun",
            Self::DpmPp2m => "DPM++ 2M",
            Self::DpmPp2mSde => "DPM++ 2M SDE",
            Self::DpmPpSde => "DPM++ SDE",
            Self::UniPc => "UniPC",
            Self::Lcm => "LCM",
        }
    }

    /// Evaluations of the network a step.
    #[must_use]
    pub fn evaluations(self) -> usize {
        match self {
            Self::Heun | Self::DpmPpSde => 2,
            _ => 1,
        }
    }

    /// Whether the sample's clean part has weight 1 and the noise is as large as sigma, and not both together a
    /// variance of 1.
    pub(super) fn explodes(self) -> bool {
        matches!(self, Self::Euler | Self::EulerAncestral | Self::Heun | Self::DpmPpSde)
    }

    /// The range that predicted clean samples are clipped to: DDIM does unless it is told not to, Heun and LCM if told.
    pub(super) fn clip(self, config: &ScheduleConfig) -> Option<f32> {
        let clips = match self {
            Self::Ddim => config.clip_sample.unwrap_or(true),
            Self::Heun | Self::Lcm => config.clip_sample.unwrap_or(false),
            _ => false,
        };
        clips.then_some(config.clip_sample_range)
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How the sigmas are spread between the training's greatest and least: ComfyUI's schedulers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Evenly in timesteps, the first and the last of the training included.
    Normal,
    /// Evenly in the seventh roots of the sigmas (Karras et al. 2022).
    Karras,
    /// Evenly in the sigmas' logarithms.
    Exponential,
    /// Evenly in timesteps, without the last.
    SgmUniform,
    /// Every so many of the training's sigmas, from the greatest on.
    Simple,
    /// Every so many of the training's sigmas, from the second least on; where the steps do not divide the training's
    /// timesteps, there may be more of them than asked for, as in ComfyUI.
    DdimUniform,
    /// At quantiles of the beta distribution with both parameters 0.6, which lie closer at both ends (Lee et al. 2024);
    /// quantiles at one timestep are one step.
    Beta,
    /// Evenly at first, then faster and faster.
    LinearQuadratic,
    /// Evenly in the sigmas' arctangents (Sabour et al. 2024, appendix).
    KlOptimal,
}

impl Spread {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Normal,
        Self::Karras,
        Self::Exponential,
        Self::SgmUniform,
        Self::Simple,
        Self::DdimUniform,
        Self::Beta,
        Self::LinearQuadratic,
        Self::KlOptimal,
    ];

    /// Its name, which is ComfyUI's.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Karras => "karras",
            Self::Exponential => "exponential",
            Self::SgmUniform => "sgm_uniform",
            Self::Simple => "simple",
            Self::DdimUniform => "ddim_uniform",
            Self::Beta => "beta",
            Self::LinearQuadratic => "linear_quadratic",
            Self::KlOptimal => "kl_optimal",
        }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Spread {
    type Err = ScheduleError;

    /// Reads ComfyUI's names, and A1111's where it calls one otherwise: `Uniform` and `DDIM`.
    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        let plain = plain(name);
        let other = match plain.as_str() {
            "uniform" => Some(Self::Normal),
            "ddim" => Some(Self::DdimUniform),
            _ => None,
        };
        Self::ALL
            .into_iter()
            .find(|spread| plain == self::plain(spread.as_str()))
            .or(other)
            .ok_or_else(|| ScheduleError::Spread {
                found: name.to_owned(),
                known: Self::ALL.map(Self::as_str).join(", "),
            })
    }
}

/// A sampler, and how its sigmas are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SamplerChoice {
    /// How a step is made.
    pub kind: SamplerKind,
    /// Without it, what the base's scheduler configuration says, read as diffusers reads it for this sampler.
    pub spread: Option<Spread>,
}

impl From<SamplerKind> for SamplerChoice {
    fn from(kind: SamplerKind) -> Self {
        Self { kind, spread: None }
    }
}

impl fmt::Display for SamplerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.spread {
            None => write!(f, "{}", self.kind),
            Some(spread) => write!(f, "{} {spread}", self.kind),
        }
    }
}

/// A name without what people write differently: case, spaces, `_`, `-`, and `++` for `pp`.
fn plain(name: &str) -> String {
    name.to_lowercase()
        .replace("++", "pp")
        .chars()
        .filter(|c| !matches!(c, ' ' | '_' | '-'))
        .collect()
}

impl FromStr for SamplerChoice {
    type Err = ScheduleError;

    /// Reads ComfyUI's, A1111's and diffusers' names, with a spread behind them or without: `dpmpp_2m`,
    /// `dpmpp_2m_karras`, `DPM++ 2M Karras`, `DPMSolverMultistepScheduler`.
    fn from_str(name: &str) -> Result<Self, ScheduleError> {
        let whole = plain(name);
        let kind = |text: &str| {
            // The same with noise from a graphics card, and with another name of the one way it is solved here.
            let text = text
                .strip_suffix("gpu")
                .or_else(|| text.strip_suffix("bh2"))
                .unwrap_or(text);
            SamplerKind::ALL.into_iter().find(|kind| {
                let class = plain(kind.peer());
                [kind.as_str(), kind.display()].iter().any(|n| plain(n) == text)
                    || text == class
                    || class.strip_suffix("scheduler") == Some(text)
            })
        };
        if let Some(kind) = kind(&whole) {
            return Ok(kind.into());
        }
        Spread::ALL
            .into_iter()
            .find_map(|spread| {
                let kind = kind(whole.strip_suffix(&plain(spread.as_str()))?)?;
                Some(Self {
                    kind,
                    spread: Some(spread),
                })
            })
            .ok_or_else(|| ScheduleError::Sampler {
                found: name.to_owned(),
                known: SamplerKind::ALL.map(SamplerKind::as_str).join(", "),
                spreads: Spread::ALL.map(Spread::as_str).join(", "),
            })
    }
}
