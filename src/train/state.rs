//! Checkpoints: everything that a resumed run needs in one safetensors file, and a small JSON file that names it.
//!
//! The JSON file is renamed into place last, so that a kill at any moment leaves the old state or the new one.

use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::error::TrainError;
use super::optimizer::Part;
use crate::digest::write_atomic;

/// What a checkpoint says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Updates done.
    pub step: u64,
    /// Identity of the run: what must be equal for a resumed run to continue exactly.
    pub run: String,
    /// The file that holds the tensors.
    pub file: String,
}

/// Saves the state in `folder` under `name`, and removes the one before.
///
/// # Errors
/// If the folder cannot be written.
pub fn store(
    folder: &Path,
    name: &str,
    run: &str,
    step: u64,
    parts: Vec<(String, Part<'_>)>,
) -> Result<(), TrainError> {
    fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
    let file = format!("{name}-{step:08}.safetensors");
    let plain: Vec<(String, Dtype, Vec<u8>)> = parts
        .into_iter()
        .map(|(name, part)| match part {
            Part::F32(values) => (name, Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Part::F64(values) => (name, Dtype::F64, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
            Part::U8(values) => (name, Dtype::U8, values.clone()),
        })
        .collect();
    let views = plain
        .iter()
        .map(|(name, dtype, bytes)| {
            let length = bytes.len() * 8 / dtype.bitsize();
            TensorView::new(*dtype, vec![length], bytes).map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>();
    let bytes = views.and_then(|views| safetensors::serialize(views, None));
    let bytes = bytes.map_err(|e| TrainError::Setting(format!("cannot write the state: {e}")))?;
    let path = folder.join(&file);
    write_atomic(&path, &bytes).map_err(TrainError::io(&path))?;
    let mark = Mark {
        step,
        run: run.to_owned(),
        file: file.clone(),
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

/// The updates of the state in `folder` under `name`, whatever run it is of; 0 if there is none.
#[must_use]
pub fn step(folder: &Path, name: &str) -> u64 {
    let text = fs::read(folder.join(format!("{name}.json"))).unwrap_or_default();
    serde_json::from_slice(&text).map_or(0, |mark: Mark| mark.step)
}

/// The state in `folder` under `name`, if there is one.
///
/// # Errors
/// If it is of another run or cannot be read.
pub fn find(folder: &Path, name: &str, run: &str) -> Result<Option<Mark>, TrainError> {
    let path = folder.join(format!("{name}.json"));
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(TrainError::io(&path))?;
    let mark: Mark = serde_json::from_slice(&text).map_err(|e| TrainError::Config {
        path: path.clone(),
        message: e.to_string(),
    })?;
    if mark.run != run {
        return Err(other(&path, "its configuration, base or snapshot"));
    }
    if mark.file.contains(['/', '\\']) {
        return Err(other(&path, "the file that it names"));
    }
    Ok(Some(mark))
}

/// Reads the state that a mark names into the parts of a run.
///
/// # Errors
/// If the file cannot be read or holds other parts.
pub fn restore(folder: &Path, mark: &Mark, parts: Vec<(String, Part<'_>)>) -> Result<(), TrainError> {
    let path = folder.join(&mark.file);
    let bytes = fs::read(&path).map_err(TrainError::io(&path))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| TrainError::Config {
        path: path.clone(),
        message: e.to_string(),
    })?;
    let count = parts.len();
    for (name, part) in parts {
        let view = file.tensor(&name).map_err(|_| other(&path, "its set of parameters"))?;
        let fits = match part {
            Part::F32(values) => fill(values, &view, Dtype::F32, f32::from_le_bytes),
            Part::F64(values) => fill(values, &view, Dtype::F64, f64::from_le_bytes),
            Part::U8(values) => fill(values, &view, Dtype::U8, u8::from_le_bytes),
        };
        if !fits {
            return Err(other(&path, "its set of parameters"));
        }
    }
    if file.len() != count {
        return Err(other(&path, "its set of parameters"));
    }
    Ok(())
}

/// Copies a tensor's values; false where there are more or fewer, or of another kind.
fn fill<T, const N: usize>(values: &mut [T], view: &TensorView<'_>, dtype: Dtype, from: fn([u8; N]) -> T) -> bool {
    if view.dtype() != dtype || view.data().len() != values.len() * N {
        return false;
    }
    let (chunks, _) = view.data().as_chunks::<N>();
    for (value, bytes) in values.iter_mut().zip(chunks) {
        *value = from(*bytes);
    }
    true
}

fn other(path: &Path, what: &str) -> TrainError {
    TrainError::OtherRun {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
