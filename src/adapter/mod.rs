//! Adapter files: LoRA weights in the layouts that other programs read, and the headers they expect.
//!
//! Two layouts are known: kohya's (`lora_unet_….lora_down.weight` with `.alpha` tensors) and the one of diffusers and
//! PEFT (`unet.….lora_A.weight`, alpha in the header). [`read`] recognises either by its keys; [`encode`] builds one as
//! a [`Container`], whose bytes depend on its content alone. An entry that no layout explains is named and refused.
//!
//! This room knows shapes and names, never a model or a tensor library, and opens no registry.

mod container;
mod decode;
mod encode;
mod header;

use std::collections::BTreeMap;
use std::path::Path;

pub use container::{Container, Dtype, Entry, HEADER_LIMIT, Written};
pub use decode::{Listing, decode};
pub use encode::encode;
pub use header::{Optimisation, TrainingFacts};

/// What can be wrong with an adapter or its file.
#[derive(Debug, thiserror::Error)]
pub enum AdapterError {
    /// The file could not be read or written.
    #[error("cannot access `{path}`: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are no safetensors file, or one beyond the limits.
    #[error("`{path}` is not a usable safetensors file: {reason}")]
    Malformed {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// Entries that no known adapter layout explains, beside some that one does or alone.
    #[error(
        "`{path}`: expected the entries of a LoRA adapter, found {count} others: {shown}; hint: is it of another kind, \
         such as LoHa or LoKr, or no adapter at all?"
    )]
    UnknownKeys {
        /// The file.
        path: String,
        /// The first unexplained keys.
        shown: String,
        /// How many there are.
        count: usize,
    },
    /// No entry at all.
    #[error("`{path}` holds no tensors: expected the entries of a LoRA adapter")]
    Empty {
        /// The file.
        path: String,
    },
    /// A module lacks one of its two matrices, or they do not fit together.
    #[error("module `{module}`: expected {expected}, found {found}")]
    Module {
        /// Path of the module, or its key in the file.
        module: String,
        /// What a valid adapter has there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// A weight is NaN or infinite, or would be once narrowed to the stored type.
    #[error("module `{module}`: `{tensor}` holds a value that is not finite as {dtype}")]
    NotFinite {
        /// Path of the module.
        module: String,
        /// Which matrix.
        tensor: &'static str,
        /// The stored type.
        dtype: Dtype,
    },
    /// A header entry could not be used.
    #[error("header entry `{key}`: {reason}")]
    Header {
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// The layouts of adapter files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// sd-scripts, ComfyUI, A1111.
    Kohya,
    /// diffusers' `load_lora_weights`, and PEFT.
    Peft,
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Kohya => "kohya",
            Format::Peft => "peft",
        })
    }
}

/// One adapted module: the update to its weight is `alpha / rank · up · down`.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraModule {
    /// Path as diffusers names it, e.g. `down_blocks.0.attentions.0.proj_in`. Modules of the U-Net stand bare; those
    /// of a text encoder carry the encoder's folder, e.g. `text_encoder.text_model.encoder.layers.0.mlp.fc1`.
    pub path: String,
    /// The first matrix, row-major.
    pub down: Vec<f32>,
    /// `[rank, in]`, or `[rank, in, k, k]` for a convolution.
    pub down_shape: Vec<usize>,
    /// The second matrix, row-major.
    pub up: Vec<f32>,
    /// `[out, rank]`, or `[out, rank, 1, 1]` for a convolution.
    pub up_shape: Vec<usize>,
    /// Numerator of the scale. Readers give a missing or zero alpha the value of the rank, which is scale 1.
    pub alpha: f32,
}

impl LoraModule {
    /// Rank of the update: the rows of `down`.
    pub fn rank(&self) -> usize {
        self.down_shape.first().copied().unwrap_or(0)
    }

    /// What the product `up · down` is multiplied by: `alpha / rank`.
    pub fn scale(&self) -> f32 {
        self.alpha / self.rank().max(1) as f32
    }

    /// Refuses shapes that do not fit together and values that are not finite.
    pub fn check(&self) -> Result<(), AdapterError> {
        let fits = |data: &[f32], shape: &[usize]| {
            shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) == Some(data.len()) && !data.is_empty()
        };
        let (down, up) = (&self.down_shape, &self.up_shape);
        let ranks = down.len() == up.len() && matches!(down.len(), 2 | 4) && up.get(1) == down.first();
        let pointwise = up.get(2..).is_some_and(|k| k.iter().all(|d| *d == 1));
        if !ranks || !pointwise || !fits(&self.down, down) || !fits(&self.up, up) {
            return Err(AdapterError::Module {
                module: self.path.clone(),
                expected: "down [r, in] and up [out, r], or down [r, in, k, k] and up [out, r, 1, 1]".into(),
                found: format!(
                    "down {down:?} of {} values and up {up:?} of {} values",
                    self.down.len(),
                    self.up.len()
                ),
            });
        }
        for (tensor, data) in [("down", &self.down), ("up", &self.up)] {
            if !data.iter().all(|v| v.is_finite()) {
                return Err(AdapterError::NotFinite {
                    module: self.path.clone(),
                    tensor,
                    dtype: Dtype::F32,
                });
            }
        }
        if !self.alpha.is_finite() || self.alpha <= 0.0 {
            return Err(AdapterError::Module {
                module: self.path.clone(),
                expected: "a positive alpha".into(),
                found: self.alpha.to_string(),
            });
        }
        Ok(())
    }
}

/// How many unexplained keys a refusal shows.
const SHOWN_KEYS: usize = 5;

/// The refusal of a file with these unexplained keys.
fn unknown_keys(path: &str, keys: &[String]) -> AdapterError {
    let mut shown: Vec<String> = keys.iter().take(SHOWN_KEYS).map(|key| format!("`{key}`")).collect();
    if keys.len() > SHOWN_KEYS {
        shown.push("…".to_owned());
    }
    AdapterError::UnknownKeys {
        path: path.to_owned(),
        shown: shown.join(", "),
        count: keys.len(),
    }
}

/// An adapter in memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AdapterFile {
    /// The modules, sorted by path.
    pub modules: Vec<LoraModule>,
    /// The header's entries; every value is a string.
    pub header: BTreeMap<String, String>,
}

impl AdapterFile {
    /// Whether it is for SDXL: its header says so, or it has a module that only SDXL has (the second text encoder, or
    /// a second transformer block in one attention).
    pub fn is_xl(&self) -> bool {
        let says = |key: &str, start: &str| self.header.get(key).is_some_and(|v| v.starts_with(start));
        says("ss_base_model_version", "sdxl")
            || says("modelspec.architecture", "stable-diffusion-xl")
            || self
                .modules
                .iter()
                .any(|m| m.path.starts_with("text_encoder_2.") || m.path.contains(".transformer_blocks.1."))
    }
}

/// Reads a kohya or PEFT/diffusers adapter. Unknown entries, misfitting shapes and values that are not finite are
/// refused.
pub fn read(path: &Path) -> Result<AdapterFile, AdapterError> {
    let name = path.display().to_string();
    Ok(decode(&Container::read(path)?, &name)?.known(&name)?.adapter)
}

/// Writes an adapter in kohya's layout. The same adapter always gives the same bytes.
pub fn write_kohya(path: &Path, adapter: &AdapterFile, dtype: Dtype) -> Result<Written, AdapterError> {
    encode(adapter, Format::Kohya, dtype)?.write(path)
}

/// Writes an adapter as diffusers and PEFT name it. The same adapter always gives the same bytes.
pub fn write_peft(path: &Path, adapter: &AdapterFile, dtype: Dtype) -> Result<Written, AdapterError> {
    encode(adapter, Format::Peft, dtype)?.write(path)
}

#[cfg(test)]
mod tests;
