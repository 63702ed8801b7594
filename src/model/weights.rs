//! Where a model's tensors come from: a safetensors file, or fresh values drawn from a seed.
//!
//! A model asks for each tensor by name and shape; at the end [`Weights::finish`] refuses the file if anything was
//! missing, of another shape, not finite, or left over. Tensors are read one at a time, never twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, Metadata};

/// The longest header that is read, in bytes; the largest published checkpoints have less than one megabyte.
const MAX_HEADER: u64 = 100_000_000;

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
    /// A checkpoint of another model than the configuration says.
    #[error("`{path}` does not fit its configuration: {summary}")]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// The first wrong keys of each sort and how many there are.
        summary: String,
    },
}

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

struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    begin: u64,
    end: u64,
}

enum Source {
    File {
        path: PathBuf,
        file: File,
        entries: BTreeMap<String, Entry>,
    },
    Fresh {
        seed: u64,
    },
}

/// A source of named tensors for one model.
pub struct Weights {
    source: Source,
    device: Device,
    taken: BTreeSet<String>,
    missing: Vec<String>,
    misshaped: Vec<String>,
    broken: Vec<String>,
}

impl Weights {
    /// Opens a safetensors file. `rename` gives the name under which the model asks for a key, or `None` for a key that is
    /// known and not needed.
    ///
    /// # Errors
    /// If the file cannot be read or its header is not valid.
    pub fn open(path: &Path, device: &Device, rename: &dyn Fn(&str) -> Option<String>) -> Result<Self, LoadError> {
        let io = |source| LoadError::Io {
            path: path.to_owned(),
            source,
        };
        let format = |message: String| LoadError::Format {
            path: path.to_owned(),
            message,
        };
        let mut file = File::open(path).map_err(io)?;
        let size = file.metadata().map_err(io)?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length)
            .map_err(|_| format(format!("{size} bytes are too few")))?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length + 8 > size {
            return Err(format(format!("the header claims {length} bytes, the file has {size}")));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(io)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| format(e.to_string()))?;
        let base = 8 + length;
        if base + metadata.data_len() as u64 != size {
            return Err(format(format!(
                "the header speaks of {} bytes, the file has {size}",
                base + metadata.data_len() as u64
            )));
        }
        let mut entries = BTreeMap::new();
        for (key, info) in metadata.tensors() {
            if let Some(name) = rename(&key) {
                let (begin, end) = info.data_offsets;
                let entry = Entry {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    begin: base + begin as u64,
                    end: base + end as u64,
                };
                entries.insert(name, entry);
            }
        }
        Ok(Self::new(
            Source::File {
                path: path.to_owned(),
                file,
                entries,
            },
            device,
        ))
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
            taken: BTreeSet::new(),
            missing: Vec::new(),
            misshaped: Vec::new(),
            broken: Vec::new(),
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
        matches!(&self.source, Source::File { entries, .. } if entries.contains_key(name))
    }

    /// The tensor of this name and shape. What is wrong with it is kept for [`Weights::finish`], and zeros are given, so
    /// that one pass finds every wrong key.
    pub fn take<const D: usize>(&mut self, name: &str, shape: [usize; D], init: Init) -> Tensor<D> {
        self.taken.insert(name.to_owned());
        let values = match &mut self.source {
            Source::Fresh { seed } => Ok(draw(*seed, name, shape.iter().product(), init)),
            Source::File { file, entries, .. } => match entries.get(name) {
                None => Err((&mut self.missing, name.to_owned())),
                Some(entry) if !same_shape(&entry.shape, &shape) => Err((
                    &mut self.misshaped,
                    format!("{name} (expected {shape:?}, found {:?})", entry.shape),
                )),
                Some(entry) => read(file, entry).map_err(|why| (&mut self.broken, format!("{name} ({why})"))),
            },
        };
        match values {
            Ok(values) => Tensor::from_data(TensorData::new(values, shape), &self.device),
            Err((list, entry)) => {
                list.push(entry);
                Tensor::zeros(shape, &self.device)
            }
        }
    }

    /// Checks that every key fitted and none is left over.
    ///
    /// # Errors
    /// [`LoadError::Mismatch`] with the first missing, unexpected, mis-shaped and unreadable keys.
    pub fn finish(self) -> Result<(), LoadError> {
        let Source::File { path, entries, .. } = &self.source else {
            return Ok(());
        };
        let unexpected: Vec<String> = entries.keys().filter(|k| !self.taken.contains(*k)).cloned().collect();
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
            Err(LoadError::Mismatch {
                path: path.clone(),
                summary: parts.join("; "),
            })
        }
    }
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

fn read(file: &mut File, entry: &Entry) -> Result<Vec<f32>, String> {
    let mut bytes = vec![0; (entry.end - entry.begin) as usize];
    file.seek(SeekFrom::Start(entry.begin)).map_err(|e| e.to_string())?;
    file.read_exact(&mut bytes).map_err(|e| e.to_string())?;
    let values: Vec<f32> = match entry.dtype {
        Dtype::F32 => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&b| f32::from_le_bytes(b))
            .collect(),
        Dtype::F16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&b| half::f16::from_le_bytes(b).to_f32())
            .collect(),
        Dtype::BF16 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&b| half::bf16::from_le_bytes(b).to_f32())
            .collect(),
        other => return Err(format!("expected f32, f16 or bf16, found {other:?}")),
    };
    if values.iter().all(|v| v.is_finite()) {
        Ok(values)
    } else {
        Err("holds NaN or infinity".to_owned())
    }
}

/// A small generator for everything that must not depend on a library's version: `SplitMix64`
/// (Steele, Lea, Flood 2014) over a seed and a label.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// Values that depend on the seed and the label alone.
    #[must_use]
    pub fn new(seed: u64, label: &str) -> Self {
        // FNV-1a, so that labels that differ in one letter are far apart.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        let mut draws = Self(hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        draws.bits();
        draws
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..n; `n` must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Standard normal (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// `n` standard normal values.
    pub fn normals(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal() as f32).collect()
    }
}

fn draw(seed: u64, name: &str, n: usize, init: Init) -> Vec<f32> {
    let mut draws = Draws::new(seed, name);
    match init {
        Init::Zeros => vec![0.0; n],
        Init::Ones => vec![1.0; n],
        Init::Uniform(bound) => (0..n).map(|_| ((2.0 * draws.uniform() - 1.0) * bound) as f32).collect(),
        Init::Normal(std) => (0..n).map(|_| (draws.normal() * std) as f32).collect(),
    }
}

/// One tensor on its way into a file.
pub struct Saved {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

/// Writes tensors as a safetensors file, through a temporary file beside it; the same tensors give the same bytes.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, tensors: &[Saved], f16: bool) -> Result<(), LoadError> {
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut sorted: Vec<&Saved> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let width = if f16 { 2 } else { 4 };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in &sorted {
        let end = offset + tensor.values.len() * width;
        let dtype = if f16 { "F16" } else { "F32" };
        header.insert(
            tensor.name.clone(),
            serde_json::json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is private to its owner; a model's file is an ordinary one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut out = builder.prefix(".assent-").tempfile_in(folder).map_err(io)?;
    out.write_all(&(text.len() as u64).to_le_bytes()).map_err(io)?;
    out.write_all(&text).map_err(io)?;
    for tensor in &sorted {
        let bytes: Vec<u8> = if f16 {
            tensor
                .values
                .iter()
                .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
                .collect()
        } else {
            tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()
        };
        out.write_all(&bytes).map_err(io)?;
    }
    out.as_file().sync_all().map_err(io)?;
    out.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}
