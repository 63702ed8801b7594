//! Where a model's tensors come from: safetensors files, or fresh values drawn from a seed.
//!
//! A model asks for each tensor by name and shape; at the end [`Weights::finish`] refuses the files if anything was
//! missing, of another shape, not finite, or left over. Files are mapped into memory. A tensor that lies in its file as it
//! is wanted stays there; others are read one at a time, so that loading takes no more than the model and one tensor.

mod checkpoint;
mod draws;
mod mapped;
mod named;
mod rewrite;
mod save;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use half::f16;
use half::vec::HalfFloatVecExt;
use safetensors::tensor::Dtype;

pub use checkpoint::Checkpoint;
use checkpoint::Entry;
pub use draws::Draws;
use draws::draw;
pub use mapped::Pages;
pub use named::Named;
pub use rewrite::{Change, Stored};
pub use save::{Saved, save};

use crate::kernels::{Int8, Weight};
use crate::names::Key;

/// Why a model could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file could not be read or written.
    #[error("cannot access `{path}`: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration that is not JSON or lacks what is needed.
    #[error("`{path}`: {message}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        message: String,
    },
    /// Not a safetensors file, or a broken one.
    #[error("`{path}` is not a readable safetensors file: {message}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong in it.
        message: String,
    },
    /// A single file that is no base model of a known kind.
    #[error("`{path}` is no base model that can be used: {message}")]
    Unknown {
        /// Which file.
        path: PathBuf,
        /// What it seems to be.
        message: String,
    },
    /// A file that somebody wrote to while its weights were used.
    #[error(
        "`{path}` was written to while its weights were in use, so that what they computed is nothing to rely on; hint: \
             start again"
    )]
    Changed {
        /// Which file.
        path: PathBuf,
    },
    /// A checkpoint of another model than the configuration says.
    #[error("`{path}` does not fit its configuration: {summary}")]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// The first wrong keys of each sort and how many there are.
        summary: String,
    },
}

/// How a model's weights lie in memory. The arithmetic is f32 whatever they are, and so are biases and norms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Four bytes a number.
    #[default]
    F32,
    /// Two bytes a number, for matrices, kernels and tables whose numbers f16 can hold (up to 65504).
    F16,
    /// One byte a number and a scale for each output channel ([`Int8`]), for the weights of linear layers and
    /// convolutions of at least [`LEAST_CHANNELS`] in the U-Net and the text encoders; all else is f32.
    Int8,
}

/// Input and output channels from which on a weight is rounded to int8. Layers with fewer read or write latents, and
/// take next to no memory.
pub const LEAST_CHANNELS: usize = 8;

/// How a tensor starts when a model is made from a seed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// All zero.
    Zeros,
    /// All one.
    Ones,
    /// Uniform in ± the bound.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
}

enum Source {
    Files {
        checkpoint: Arc<Checkpoint>,
        /// Which part of a model it is, where the checkpoint holds several.
        part: Option<&'static str>,
        entries: BTreeMap<String, Entry>,
        /// Keys that mean what another key means already, or cannot mean what they should.
        unexpected: Vec<String>,
    },
    Fresh {
        seed: u64,
    },
}

/// A source of named tensors for one model.
pub struct Weights {
    source: Source,
    device: Device,
    precision: Precision,
    pages: Pages,
    taken: BTreeSet<String>,
    missing: Vec<String>,
    misshaped: Vec<String>,
    broken: Vec<String>,
}

impl Weights {
    /// A file's tensors by their own names.
    ///
    /// # Errors
    /// If it cannot be read or is no safetensors file.
    pub fn open(path: &Path, device: &Device) -> Result<Self, LoadError> {
        let checkpoint = Arc::new(Checkpoint::open(path)?);
        Ok(Self::of(&checkpoint, device, &|key| Key::Tensor(key.to_owned())))
    }

    /// The tensors of a checkpoint that belong to one model. `meaning` says under which name the model asks for a key.
    #[must_use]
    pub fn of(checkpoint: &Arc<Checkpoint>, device: &Device, meaning: &dyn Fn(&str) -> Key) -> Self {
        Self::of_part(checkpoint, None, device, meaning)
    }

    /// The same, with the name that errors call this part of the checkpoint by.
    #[must_use]
    pub fn of_part(
        checkpoint: &Arc<Checkpoint>,
        part: Option<&'static str>,
        device: &Device,
        meaning: &dyn Fn(&str) -> Key,
    ) -> Self {
        let mut entries = BTreeMap::new();
        let mut unexpected = Vec::new();
        for (key, entry) in checkpoint.entries() {
            let found = match meaning(key) {
                Key::Unneeded => continue,
                Key::Tensor(name) => vec![(name, Some(entry.clone()))],
                Key::Transposed(name) => vec![(name, entry.transpose())],
                Key::Fused(names) => names
                    .into_iter()
                    .enumerate()
                    .map(|(i, name)| (name, entry.part(i, 3)))
                    .collect(),
            };
            for (name, entry) in found {
                match entry.filter(|_| !entries.contains_key(&name)) {
                    Some(entry) => drop(entries.insert(name, entry)),
                    None => unexpected.push(key.clone()),
                }
            }
        }
        let source = Source::Files {
            checkpoint: Arc::clone(checkpoint),
            part,
            entries,
            unexpected,
        };
        Self::new(source, device)
    }

    /// Fresh values: each tensor depends on the seed and its name alone.
    #[must_use]
    pub fn fresh(seed: u64, device: &Device) -> Self {
        Self::new(Source::Fresh { seed }, device)
    }

    fn new(source: Source, device: &Device) -> Self {
        Self {
            source,
            device: device.clone(),
            precision: Precision::F32,
            pages: Pages::default(),
            taken: BTreeSet::new(),
            missing: Vec::new(),
            misshaped: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// The same, kept in memory as `precision` says.
    #[must_use]
    pub fn stored_as(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// From here on nothing is rounded to int8: for the VAE, whose errors are seen as they are.
    pub(super) fn without_int8(&mut self) {
        if self.precision == Precision::Int8 {
            self.precision = Precision::F32;
        }
    }

    /// The device the tensors go to.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Whether the source has a tensor of this name (a fresh source has none).
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        matches!(&self.source, Source::Files { entries, .. } if entries.contains_key(name))
    }

    /// The tensor of this name and shape. What is wrong with it is kept for [`Weights::finish`], and a zero is given, so
    /// that one pass finds every wrong key.
    pub fn take<const D: usize>(&mut self, name: &str, shape: [usize; D], init: Init) -> Tensor<D> {
        self.taken.insert(name.to_owned());
        if let Some(lent) = self.lent(name, shape) {
            return lent;
        }
        let Some(values) = self.values(name, &shape, init) else {
            // The model is refused at the end: a configuration's sizes are not worth memory until they fit.
            return Tensor::zeros([1; D], &self.device);
        };
        let narrow = (D > 1 && self.precision == Precision::F16).then(|| narrowed(&values));
        match narrow.flatten() {
            Some(narrow) => Tensor::from_data(TensorData::new(narrow, shape), (&self.device, DType::F16)),
            None => Tensor::from_data(TensorData::new(values, shape), &self.device),
        }
    }

    /// The same for the weight of a linear layer or a convolution, which may be rounded to int8.
    pub fn hold<const D: usize>(&mut self, name: &str, shape: [usize; D], init: Init) -> Weight<D> {
        let rounds = self.precision == Precision::Int8 && shape.iter().take(2).all(|n| *n >= LEAST_CHANNELS);
        if !rounds {
            return Weight::Float(self.take(name, shape, init));
        }
        self.taken.insert(name.to_owned());
        match self.values(name, &shape, init) {
            Some(values) => Weight::Int8(Int8::round(&values, &shape, &self.device)),
            None => Weight::Float(Tensor::zeros([1; D], &self.device)),
        }
    }

    /// The values of a tensor. What is wrong with it is kept.
    fn values(&mut self, name: &str, shape: &[usize], init: Init) -> Option<Vec<f32>> {
        let values = match &self.source {
            Source::Fresh { seed } => Ok(draw(*seed, name, shape.iter().product(), init)),
            Source::Files {
                checkpoint, entries, ..
            } => match entries.get(name) {
                None => Err((&mut self.missing, name.to_owned())),
                Some(entry) if !same_shape(&entry.shape, shape) => Err((
                    &mut self.misshaped,
                    format!("{name} (expected {shape:?}, found {:?})", entry.shape),
                )),
                Some(entry) => checkpoint
                    .read(entry)
                    .map_err(|why| (&mut self.broken, format!("{name} ({why})"))),
            },
        };
        match values {
            Ok(values) => Some(values),
            Err((list, entry)) => {
                list.push(entry);
                None
            }
        }
    }

    /// The tensor over the file's own bytes, where they are as they are wanted. Vectors are copied: they are small, and
    /// the pages around them would have to stay.
    fn lent<const D: usize>(&mut self, name: &str, shape: [usize; D]) -> Option<Tensor<D>> {
        let Source::Files {
            checkpoint, entries, ..
        } = &self.source
        else {
            return None;
        };
        let (stored, dtype) = match self.precision {
            Precision::F32 | Precision::Int8 => (Dtype::F32, DType::F32),
            Precision::F16 => (Dtype::F16, DType::F16),
        };
        let entry = entries
            .get(name)
            .filter(|entry| D > 1 && same_shape(&entry.shape, &shape))?;
        let bytes = checkpoint.lend(entry, stored, &mut self.pages)?.ok()?;
        let data = TensorData::from_bytes(bytes, shape, dtype);
        Some(Tensor::from_data(data, (&self.device, dtype)))
    }

    /// The pages of the tensors that stayed in their files.
    #[must_use]
    pub fn pages(&mut self) -> Pages {
        std::mem::take(&mut self.pages)
    }

    /// Checks that every key fitted and none is left over.
    ///
    /// # Errors
    /// [`LoadError::Mismatch`] with the first missing, unexpected, mis-shaped and unreadable keys.
    pub fn finish(self) -> Result<(), LoadError> {
        let Source::Files {
            checkpoint,
            part,
            entries,
            unexpected,
        } = &self.source
        else {
            return Ok(());
        };
        let left = entries.keys().filter(|k| !self.taken.contains(*k));
        let unexpected: Vec<String> = left.chain(unexpected).cloned().collect();
        let sorts = [
            ("missing", &self.missing),
            ("unexpected", &unexpected),
            ("mis-shaped", &self.misshaped),
            ("unreadable", &self.broken),
        ];
        let parts: Vec<String> = sorts
            .iter()
            .filter(|(_, keys)| !keys.is_empty())
            .map(|(sort, keys)| first_of(sort, keys))
            .collect();
        if parts.is_empty() {
            Ok(())
        } else {
            let part = part.map_or_else(String::new, |part| format!("{part}: "));
            Err(LoadError::Mismatch {
                path: checkpoint.path().to_owned(),
                summary: format!("{part}{}", parts.join("; ")),
            })
        }
    }
}

/// The values rounded to f16, if all of them fit into it.
fn narrowed(values: &[f32]) -> Option<Vec<f16>> {
    let narrow = Vec::from_f32_slice(values);
    narrow.iter().all(|v: &f16| v.is_finite()).then_some(narrow)
}

fn first_of(sort: &str, keys: &[String]) -> String {
    let shown = keys.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if keys.len() > 5 { ", …" } else { "" };
    format!("{} {sort}: {shown}{more}", keys.len())
}

/// Equal, or equal but for trailing ones (old files keep the VAE's linear layers as 1×1 convolutions).
fn same_shape(found: &[usize], wanted: &[usize]) -> bool {
    found.starts_with(wanted) && found[wanted.len()..].iter().all(|&n| n == 1)
}

#[cfg(test)]
mod tests;
