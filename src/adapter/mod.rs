//! Adapter files: updates of a model's weights in the layouts that other programs read, and the headers they expect.
//!
//! Two layouts are known: kohya's (`lora_unet_….lora_down.weight` with `.alpha` tensors), which LyCORIS, OneTrainer and
//! ComfyUI share, and the one of diffusers and PEFT (`unet.….lora_A.weight`, alpha in the header or in a file beside).
//! [`open`] recognises either by its keys; [`encode`] builds one as a [`Container`], whose bytes depend on its content
//! alone. The forms of updates are those of [`Form`]. An entry that no layout explains is named and refused.
//!
//! This room knows shapes and names, never a model or a tensor library, and opens no registry.

mod compare;
mod composed;
mod container;
mod decode;
mod derive;
mod encode;
mod extract;
mod factors;
mod header;
mod merge;
mod module;
mod peft;
mod resize;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

pub use compare::{Compared, Comparison, Geometry, compare};
pub use composed::energy;
pub use container::{Container, Dtype, Entry, HEADER_LIMIT, Written};
pub use decode::{Listing, decode, decode_beside};
pub use derive::{DERIVED_KEY, Derived, Source};
pub use encode::encode;
pub use extract::{Difference, extract, extracted};
pub use header::{Optimisation, TrainingFacts};
pub use merge::merge;
pub use module::{Factor, Form, Magnitude, Module, Product, Weight};
pub use resize::{Cut, Resized, resize};

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
        "`{path}`: expected the entries of an adapter, found {count} that none explains: {shown}; hint: is it of another \
         kind, such as OFT or GLoRA, for another family of models, or no adapter at all?"
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
    #[error("`{path}` holds no tensors: expected the entries of an adapter")]
    Empty {
        /// The file.
        path: String,
    },
    /// A module lacks a part of its update, or the parts do not fit together.
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
    /// A rank, a share or a weight that cannot be used here.
    #[error("{what}: {reason}")]
    Argument {
        /// Which.
        what: String,
        /// What is wrong.
        reason: String,
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
    pub modules: Vec<Module>,
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

impl AdapterFile {
    /// Writes into the header which ranks and alphas its modules have now; where they differ sd-scripts says `Dynamic`.
    fn name_ranks(&mut self) {
        let ranked = || self.modules.iter().filter(|m| m.form.has_rank());
        let same = |of: &dyn Fn(&Module) -> String| {
            let mut values: Vec<String> = ranked().map(of).collect();
            values.dedup();
            match values.as_slice() {
                [one] => one.clone(),
                _ => "Dynamic".to_owned(),
            }
        };
        let (rank, alpha) = (same(&|m| m.rank().to_string()), same(&|m| m.alpha.to_string()));
        self.header.insert("ss_network_dim".into(), rank);
        self.header.insert("ss_network_alpha".into(), alpha);
        // They speak of the ranks and forms of the training.
        self.header.remove("ss_network_args");
        if self.modules.iter().all(|m| matches!(m.form, Form::Lora { .. })) {
            self.header.insert("ss_network_module".into(), "networks.lora".into());
        }
    }
}

/// Reads a kohya or PEFT/diffusers adapter. Unknown entries, misfitting shapes and values that are not finite are
/// refused.
pub fn read(path: &Path) -> Result<AdapterFile, AdapterError> {
    let name = path.display().to_string();
    Ok(open(path)?.1.known(&name)?.adapter)
}

/// Longest `adapter_config.json` that is read, in bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// Reads a file and explains it, with the `adapter_config.json` beside it where PEFT wrote one. Unknown entries are
/// listed in the result.
pub fn open(path: &Path) -> Result<(Container, Listing), AdapterError> {
    let container = Container::read(path)?;
    let beside = path.with_file_name("adapter_config.json");
    let config = match std::fs::File::open(&beside) {
        Err(_) => None,
        Ok(file) => {
            let mut text = String::new();
            file.take(CONFIG_LIMIT)
                .read_to_string(&mut text)
                .map_err(|source| AdapterError::Io {
                    path: beside.display().to_string(),
                    source,
                })?;
            Some(text)
        }
    };
    let listing = decode_beside(&container, &path.display().to_string(), config.as_deref())?;
    Ok((container, listing))
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
mod decode_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tools_tests;
