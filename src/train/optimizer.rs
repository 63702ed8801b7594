//! Optimizers with the arithmetic of the PyTorch classes whose names they bear, clipping, and an average of the weights.
//!
//! Weights and states lie on the host as plain values in a fixed order: that makes a checkpoint a copy, and two runs
//! equal. Sums are made in f64 over pieces of a fixed size, so that they do not depend on the number of threads.

mod adafactor;
mod adamw;
mod blockwise;
mod gradients;
mod lion;
mod prodigy;
mod schedule_free;

use std::collections::BTreeMap;

use rayon::prelude::*;

pub use adafactor::AdafactorConfig;
pub use adamw::{AdamW8bitConfig, AdamWConfig};
pub use gradients::{Gradients, accumulate, clip, norm};
pub use lion::LionConfig;
pub use prodigy::ProdigyConfig;
pub use schedule_free::ScheduleFreeConfig;

pub(super) use gradients::sum;

use adafactor::SecondMoment;
use blockwise::Blockwise;

/// Values per piece of work; a multiple of the blocks of an 8-bit state.
const CHUNK: usize = 1 << 15;

/// An optimizer's rule with its settings, which stay the same during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Adam with decoupled weight decay.
    AdamW(AdamWConfig),
    /// The same with states of eight bits.
    AdamW8bit(AdamW8bitConfig),
    /// The sign of a momentum.
    Lion(LionConfig),
    /// Second moments by rows and columns.
    Adafactor(AdafactorConfig),
    /// Adam that finds its step size.
    Prodigy(ProdigyConfig),
    /// `AdamW` that needs no schedule.
    ScheduleFree(ScheduleFreeConfig),
}

impl Method {
    /// Weight decay, as the rule means it.
    #[must_use]
    pub fn weight_decay(&self) -> f64 {
        match self {
            Self::AdamW(config) => config.weight_decay,
            Self::AdamW8bit(config) => config.weight_decay,
            Self::Lion(config) => config.weight_decay,
            Self::Adafactor(config) => config.weight_decay,
            Self::Prodigy(config) => config.weight_decay,
            Self::ScheduleFree(config) => config.weight_decay,
        }
    }
}

/// What a rule remembers of one parameter.
#[derive(Debug, Clone, PartialEq)]
enum Memory {
    Adam {
        m: Vec<f32>,
        v: Vec<f32>,
    },
    Adam8bit {
        m: Blockwise,
        v: Blockwise,
    },
    Lion {
        m: Vec<f32>,
    },
    Adafactor {
        v: SecondMoment,
        m: Option<Vec<f32>>,
    },
    Prodigy {
        m: Vec<f32>,
        v: Vec<f32>,
        s: Vec<f32>,
        start: Vec<f32>,
    },
    ScheduleFree {
        v: Vec<f32>,
        z: Vec<f32>,
    },
}

/// A piece of a state as a checkpoint keeps it.
pub enum Part<'a> {
    /// Values.
    F32(&'a mut Vec<f32>),
    /// Codes of an 8-bit state.
    U8(&'a mut Vec<u8>),
    /// Numbers of the whole run.
    F64(&'a mut [f64]),
}

impl Memory {
    fn visit<'a>(&'a mut self, f: &mut dyn FnMut(&str, Part<'a>)) {
        match self {
            Self::Adam { m, v } => {
                f("m", Part::F32(m));
                f("v", Part::F32(v));
            }
            Self::Adam8bit { m, v } => {
                m.visit("m", f);
                v.visit("v", f);
            }
            Self::Lion { m } => f("m", Part::F32(m)),
            Self::Adafactor { v, m } => {
                match v {
                    SecondMoment::Whole(v) => f("v", Part::F32(v)),
                    SecondMoment::Factored { rows, columns } => {
                        f("rows", Part::F32(rows));
                        f("columns", Part::F32(columns));
                    }
                }
                if let Some(m) = m {
                    f("m", Part::F32(m));
                }
            }
            Self::Prodigy { m, v, s, start } => {
                for (name, part) in [("m", m), ("v", v), ("s", s), ("start", start)] {
                    f(name, Part::F32(part));
                }
            }
            Self::ScheduleFree { v, z } => {
                f("v", Part::F32(v));
                f("z", Part::F32(z));
            }
        }
    }
}

/// One parameter and what is remembered of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Slot {
    /// The weight.
    pub value: Vec<f32>,
    /// Its shape; row-major.
    shape: Vec<usize>,
    /// Factor on the learning rate.
    rate: f64,
    memory: Memory,
    /// Running average of the weight, where one is kept.
    ema: Option<Vec<f32>>,
    /// The weight to keep at the best validation so far, where a run may end early.
    best: Option<Vec<f32>>,
}

/// The optimizer with the weights it moves, by name.
#[derive(Debug, Clone)]
pub struct Optimizer {
    method: Method,
    /// Updates done.
    pub step: u64,
    /// All parameters.
    pub slots: BTreeMap<String, Slot>,
    ema_decay: Option<f64>,
    /// Numbers of the whole run: Prodigy's `d`, `d_max` and numerator; schedule-free's largest rate and sum of weights.
    shared: [f64; 3],
}

impl Optimizer {
    /// An optimizer without parameters; see [`Optimizer::add`].
    #[must_use]
    pub fn new(method: Method, ema_decay: Option<f64>) -> Self {
        let shared = match &method {
            Method::Prodigy(config) => [config.d0, config.d0, 0.0],
            Method::ScheduleFree(_) => [-1.0, 0.0, 0.0],
            _ => [0.0; 3],
        };
        Self {
            method,
            step: 0,
            slots: BTreeMap::new(),
            ema_decay,
            shared,
        }
    }

    /// Adds a parameter of this shape; its learning rate is `rate` times that of the run.
    pub fn add(&mut self, name: &str, shape: Vec<usize>, value: Vec<f32>, rate: f64) {
        let n = value.len();
        let zeros = || vec![0.0; n];
        let memory = match &self.method {
            Method::AdamW8bit(config) if n >= config.min_8bit_size => Memory::Adam8bit {
                m: Blockwise::zeros(n, true),
                v: Blockwise::zeros(n, false),
            },
            Method::AdamW(_) | Method::AdamW8bit(_) => Memory::Adam { m: zeros(), v: zeros() },
            Method::Lion(_) => Memory::Lion { m: zeros() },
            Method::Adafactor(config) => Memory::Adafactor {
                v: SecondMoment::zeros(&shape),
                m: config.beta1.map(|_| zeros()),
            },
            Method::Prodigy(_) => Memory::Prodigy {
                m: zeros(),
                v: zeros(),
                s: zeros(),
                start: value.clone(),
            },
            Method::ScheduleFree(_) => Memory::ScheduleFree {
                v: zeros(),
                z: value.clone(),
            },
        };
        let slot = Slot {
            ema: self.ema_decay.map(|_| value.clone()),
            value,
            shape,
            rate,
            memory,
            best: None,
        };
        self.slots.insert(name.to_owned(), slot);
    }

    /// One update with learning rate `lr`. A parameter without a gradient stays as it is, as in PyTorch. Gives the rate
    /// that was used in the end, where the optimizer finds its own. [`Optimizer::average`] ends an update.
    pub fn update(&mut self, gradients: &Gradients, lr: f64) -> f64 {
        self.step += 1;
        let (step, slots) = (self.step, &mut self.slots);
        match &self.method {
            Method::AdamW(config) => adamw::update(config, step, slots, gradients, lr),
            Method::AdamW8bit(config) => adamw::update(&config.adamw(), step, slots, gradients, lr),
            Method::Lion(config) => lion::update(config, slots, gradients, lr),
            Method::Adafactor(config) => adafactor::update(config, step, slots, gradients, lr),
            Method::Prodigy(config) => prodigy::update(config, step, &mut self.shared, slots, gradients, lr),
            Method::ScheduleFree(config) => schedule_free::update(config, step, &mut self.shared, slots, gradients, lr),
        }
    }

    /// Lets the running average follow the weights that an update with these gradients ended with, where one is kept.
    pub fn average(&mut self, gradients: &Gradients) {
        if let Some(decay) = self.ema_decay {
            // Early in a run the average follows faster, as in diffusers' EMAModel.
            let t = self.step as f64;
            let follow = 1.0 - decay.min((1.0 + t) / (10.0 + t)) as f32;
            for (_, slot) in self.slots.iter_mut().filter(|(name, _)| gradients.contains_key(*name)) {
                if let Some(ema) = &mut slot.ema {
                    ema.par_chunks_mut(CHUNK)
                        .zip(slot.value.par_chunks(CHUNK))
                        .for_each(|(e, p)| {
                            for i in 0..e.len() {
                                e[i] += (p[i] - e[i]) * follow;
                            }
                        });
                }
            }
        }
    }

    /// The weight of a parameter that is measured, drawn with and kept: the average where one is made, and where the
    /// rule itself trains at a point beside the one it means, the latter.
    #[must_use]
    pub fn kept(&self, slot: &Slot) -> Vec<f32> {
        match (&slot.ema, &slot.memory, &self.method) {
            (Some(ema), _, _) => ema.clone(),
            (None, Memory::ScheduleFree { z, .. }, Method::ScheduleFree(config)) => {
                schedule_free::averaged(config, &slot.value, z)
            }
            _ => slot.value.clone(),
        }
    }

    /// The weight at the best validation, where one was noted; else that which is kept.
    #[must_use]
    pub fn best(&self, slot: &Slot) -> Vec<f32> {
        slot.best.clone().unwrap_or_else(|| self.kept(slot))
    }

    /// Notes the present weights as the best.
    pub fn note_best(&mut self) {
        let kept: Vec<Vec<f32>> = self.slots.values().map(|slot| self.kept(slot)).collect();
        for (slot, kept) in self.slots.values_mut().zip(kept) {
            slot.best = Some(kept);
        }
    }

    /// Calls `f` with everything that a resumed run needs, by name, always in the same order.
    pub fn visit<'a>(&'a mut self, f: &mut dyn FnMut(String, Part<'a>)) {
        if matches!(self.method, Method::Prodigy(_) | Method::ScheduleFree(_)) {
            f("shared".to_owned(), Part::F64(&mut self.shared));
        }
        for (name, slot) in &mut self.slots {
            f(format!("value/{name}"), Part::F32(&mut slot.value));
            slot.memory
                .visit(&mut |part, values| f(format!("{part}/{name}"), values));
            for (part, values) in [("ema", &mut slot.ema), ("best", &mut slot.best)] {
                if let Some(values) = values {
                    f(format!("{part}/{name}"), Part::F32(values));
                }
            }
        }
    }

    /// Bytes that the rule's memory takes, without the weights themselves.
    #[must_use]
    pub fn state_bytes(&mut self) -> usize {
        let mut bytes = 0;
        for slot in self.slots.values_mut() {
            slot.memory.visit(&mut |_, part| {
                bytes += match part {
                    Part::F32(values) => 4 * values.len(),
                    Part::U8(values) => values.len(),
                    Part::F64(values) => 8 * values.len(),
                }
            });
        }
        bytes
    }
}

#[cfg(test)]
mod tests;
