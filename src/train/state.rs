//! Checkpoints: the whole state of an optimizer in one safetensors file, and a small JSON file that names it.
//!
//! The JSON file is renamed into place last, so that a kill at any moment leaves the old state or the new one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::optimizer::{AdamW, Slot};
use crate::digest::write_atomic;
use crate::model::params::to_vec;
use crate::model::weights::{Init, Saved, Weights, save};

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Updates done.
    pub step: u64,
    /// Identity of the run: what must be equal for a resumed run to continue exactly.
    pub run: String,
    /// The file that holds the tensors.
    pub file: String,
    /// Length of each parameter.
    pub lengths: BTreeMap<String, usize>,
    /// Whether averaged weights are kept.
    pub ema: bool,
}

/// Saves the state in `folder` under `name`, and removes the one before.
///
/// # Errors
/// If the folder cannot be written.
pub fn store(folder: &Path, name: &str, run: &str, adam: &AdamW) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    let file = format!("{name}-{:08}.safetensors", adam.step);
    let mut tensors = Vec::new();
    let mut lengths = BTreeMap::new();
    let mut ema = false;
    for (key, slot) in &adam.slots {
        lengths.insert(key.clone(), slot.value.len());
        let average = slot.ema.as_ref();
        ema |= average.is_some();
        for (part, values) in [
            ("value", Some(&slot.value)),
            ("m", Some(&slot.m)),
            ("v", Some(&slot.v)),
            ("ema", average),
        ] {
            if let Some(values) = values {
                let name = format!("{part}/{key}");
                tensors.push(Saved {
                    name,
                    shape: vec![values.len()],
                    values: values.clone(),
                });
            }
        }
    }
    save(&folder.join(&file), &tensors, false)?;
    let mark = Mark {
        step: adam.step,
        run: run.to_owned(),
        file: file.clone(),
        lengths,
        ema,
    };
    let text = serde_json::to_vec(&mark).map_err(|e| TrainError::Setting(e.to_string()))?;
    write_atomic(&folder.join(format!("{name}.json")), &text)
        .map_err(TrainError::io(&folder.join(format!("{name}.json"))))?;
    for entry in fs::read_dir(folder).map_err(TrainError::io(folder))? {
        let entry = entry.map_err(TrainError::io(folder))?;
        let other = entry.file_name().to_string_lossy().into_owned();
        let numbered = other
            .strip_prefix(&format!("{name}-"))
            .and_then(|r| r.strip_suffix(".safetensors"));
        if other != file && numbered.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())) {
            // An old state that cannot be removed costs room, and nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// Continues from the state in `folder` under `name`, if there is one. `adam` holds the run's parameters.
///
/// # Errors
/// If the state is of another run or cannot be read.
pub fn restore(folder: &Path, name: &str, run: &str, adam: &mut AdamW) -> Result<bool, TrainError> {
    let path = folder.join(format!("{name}.json"));
    if !path.exists() {
        return Ok(false);
    }
    let text = fs::read(&path).map_err(TrainError::io(&path))?;
    let mark: Mark = serde_json::from_slice(&text).map_err(|e| TrainError::Config {
        path: path.clone(),
        message: e.to_string(),
    })?;
    let other = |what: &str| TrainError::OtherRun {
        path: path.clone(),
        what: what.to_owned(),
    };
    if mark.run != run {
        return Err(other("its configuration, base or snapshot"));
    }
    let expected: BTreeMap<String, usize> = adam.slots.iter().map(|(k, s)| (k.clone(), s.value.len())).collect();
    if mark.lengths != expected || mark.file.contains(['/', '\\']) {
        return Err(other("its set of parameters"));
    }
    // The tensors pass through a device without change; the plain CPU is the nearest.
    let mut weights = Weights::open(&folder.join(&mark.file), &Device::flex())?;
    for (key, slot) in &mut adam.slots {
        let n = slot.value.len();
        let mut read = |part: &str| to_vec(weights.take(&format!("{part}/{key}"), [n], Init::Zeros));
        *slot = Slot {
            value: read("value"),
            m: read("m"),
            v: read("v"),
            ema: mark.ema.then(|| read("ema")),
        };
    }
    weights.finish()?;
    adam.step = mark.step;
    Ok(true)
}
