//! What a training tells whoever watches it, and `metrics.jsonl`.
//!
//! No time stands in the metrics: two runs of one configuration write the same bytes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use super::error::TrainError;
use super::forecast::Forecast;
use super::max_norm::Scaled;
use crate::digest::write_atomic;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A part of the work begins, with so many steps of which some are done already.
    Phase {
        /// `latents`, `vae`, `unet`, `adapter`, `samples`, …
        name: String,
        /// Steps to the end.
        total: u64,
        /// Steps done before.
        done: u64,
    },
    /// What the run will do and need, before its first step.
    Plan(Box<Forecast>),
    /// An update of the weights.
    Step {
        /// Updates done.
        step: u64,
        /// The loss of its batch.
        loss: f64,
        /// Learning rate used.
        lr: f64,
        /// Norm of the gradient before clipping.
        grad_norm: f64,
        /// Norm of the weights under training after it.
        weight_norm: f64,
        /// Norm of what it added to them.
        update_norm: f64,
    },
    /// How long the updates of the modules are, where they are held below a bound.
    MaxNorm {
        /// Updates done.
        step: u64,
        /// Of all modules.
        #[serde(flatten)]
        scaled: Scaled,
    },
    /// The same norms by kind of module, beside each validation.
    Norms {
        /// Updates done.
        step: u64,
        /// Of the weights, by the names of [`super::norms::kind`].
        weights: BTreeMap<String, f64>,
        /// Of the last update.
        updates: BTreeMap<String, f64>,
    },
    /// A loss on pictures that are not trained on, with the same timesteps and noise each time.
    Validation {
        /// Updates done.
        step: u64,
        /// Whose pictures.
        set: String,
        /// Mean over pictures, timesteps and noises.
        loss: f64,
    },
    /// A step of work that changes no weights.
    Tick,
    /// A file was written, named relative to the output folder.
    Wrote {
        /// Its name.
        file: String,
    },
    /// Something that does not stop the run.
    Warning {
        /// What, in a sentence.
        text: String,
    },
}

/// Who watches: a progress bar, a log, nobody.
pub trait Watch {
    /// Called for each event, in order.
    fn event(&mut self, event: &Event);
}

/// Nobody watches.
pub struct Silent;

impl Watch for Silent {
    fn event(&mut self, _: &Event) {}
}

/// Where a run writes to, who watches, and whether to stop.
pub struct Stage<'a> {
    /// The output folder; it exists.
    pub out: &'a Path,
    /// Told of every event.
    pub watch: &'a mut dyn Watch,
    /// Set from outside (Ctrl-C): the run saves its state after the current step and ends.
    pub stop: &'a AtomicBool,
}

impl Stage<'_> {
    /// Whether to stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Tells the watcher.
    pub fn tell(&mut self, event: &Event) {
        self.watch.event(event);
    }
}

/// `metrics.jsonl`: a line for each step and validation.
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the file, keeping only what was measured up to update `step`: a run that was killed after its last
    /// checkpoint does those steps again.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, step: u64) -> Result<Self, TrainError> {
        let io = TrainError::io(path);
        let mut kept = Vec::new();
        if step > 0 && path.exists() {
            for line in BufReader::new(File::open(path).map_err(&io)?).lines() {
                let line = line.map_err(&io)?;
                let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
                if value
                    .get("step")
                    .and_then(serde_json::Value::as_u64)
                    .is_some_and(|s| s <= step)
                {
                    kept.extend_from_slice(line.as_bytes());
                    kept.push(b'\n');
                }
            }
        }
        write_atomic(path, &kept).map_err(TrainError::io(path))?;
        let file = OpenOptions::new().append(true).open(path).map_err(&io)?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn add(&mut self, event: &Event) -> Result<(), TrainError> {
        let mut line = serde_json::to_string(event).map_err(|e| TrainError::Setting(e.to_string()))?;
        line.push('\n');
        self.file.write_all(line.as_bytes()).map_err(TrainError::io(&self.path))
    }

    /// The curves in a file of metrics: `(step, value)` of the steps, and of each validated set.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read(path: &Path) -> Result<Curves, TrainError> {
        let mut curves = Curves::default();
        for line in BufReader::new(File::open(path).map_err(TrainError::io(path))?).lines() {
            let line = line.map_err(TrainError::io(path))?;
            let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            let number = |key: &str| value.get(key).and_then(serde_json::Value::as_f64);
            let (Some(step), Some(loss)) = (number("step"), number("loss")) else {
                continue;
            };
            if let Some(set) = value.get("set").and_then(serde_json::Value::as_str) {
                curves.validation.entry(set.to_owned()).or_default().push((step, loss));
                continue;
            }
            curves.train.push((step, loss));
            for (name, curve) in [
                ("lr", &mut curves.lr),
                ("grad_norm", &mut curves.grad_norm),
                ("weight_norm", &mut curves.weight_norm),
                ("update_norm", &mut curves.update_norm),
            ] {
                curve.extend(number(name).map(|value| (step, value)));
            }
        }
        Ok(curves)
    }
}

/// Values by step.
pub type Curve = Vec<(f64, f64)>;

/// What was measured along a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curves {
    /// The losses of the batches trained on.
    pub train: Curve,
    /// Those of each held-out set.
    pub validation: BTreeMap<String, Curve>,
    /// Learning rates.
    pub lr: Curve,
    /// Norms of the gradient before clipping.
    pub grad_norm: Curve,
    /// Norms of the weights.
    pub weight_norm: Curve,
    /// Norms of what the updates added to them.
    pub update_norm: Curve,
}
