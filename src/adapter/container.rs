//! A safetensors file whose bytes depend on its content alone: metadata sorted, tensors in the order of their names.
//!
//! The `safetensors` crate checks what is read. It writes its metadata in hash order, so the header is written here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value, json};

use super::AdapterError;
use crate::digest::{Sha256Digest, write_atomic};

/// Longest header that is read, in bytes. Real ones have a few hundred kilobytes.
pub const HEADER_LIMIT: u64 = 16 << 20;
/// Longest file that is read, in bytes: the largest adapters in use have about two gigabytes.
const FILE_LIMIT: u64 = 8 << 30;

/// Types that a weight may be stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// 32 bits.
    F32,
    /// 16 bits, IEEE.
    F16,
    /// 16 bits, bfloat.
    Bf16,
}

impl Dtype {
    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "F32",
            Dtype::F16 => "F16",
            Dtype::Bf16 => "BF16",
        }
    }

    /// Little-endian bytes of `values` in this type, rounded to nearest; none if one is then not finite.
    pub(super) fn narrow(self, values: &[f32]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(values.len() * self.size());
        for v in values {
            let finite = match self {
                Dtype::F32 => {
                    bytes.extend(v.to_le_bytes());
                    v.is_finite()
                }
                Dtype::F16 => {
                    let h = half::f16::from_f32(*v);
                    bytes.extend(h.to_le_bytes());
                    h.is_finite()
                }
                Dtype::Bf16 => {
                    let h = half::bf16::from_f32(*v);
                    bytes.extend(h.to_le_bytes());
                    h.is_finite()
                }
            };
            if !finite {
                return None;
            }
        }
        Some(bytes)
    }

    /// The values in little-endian `bytes` of this type.
    pub(super) fn widen(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Dtype::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::F16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| half::f16::from_le_bytes(*b).to_f32())
                .collect(),
            Dtype::Bf16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| half::bf16::from_le_bytes(*b).to_f32())
                .collect(),
        }
    }
}

impl std::fmt::Display for Dtype {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        })
    }
}

/// A tensor's place in a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its key.
    pub name: String,
    /// The stored type as the file names it (`F32`, `I64`, …).
    pub dtype: String,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Bytes of the tensor region that hold it.
    pub range: std::ops::Range<usize>,
}

impl Entry {
    /// The stored type, where it is one of those a weight may have.
    pub fn float(&self) -> Option<Dtype> {
        [Dtype::F32, Dtype::F16, Dtype::Bf16]
            .into_iter()
            .find(|d| d.name() == self.dtype)
    }
}

/// What a written file can be known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// SHA-256 of the whole file.
    pub file: Sha256Digest,
    /// SHA-256 of the tensor region: what stands after the header. It survives a change of header.
    pub tensors: Sha256Digest,
    /// Length of the file in bytes.
    pub bytes: u64,
}

/// A safetensors file in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// The header's `__metadata__`.
    pub metadata: BTreeMap<String, String>,
    entries: Vec<Entry>,
    data: Vec<u8>,
    canonical: bool,
}

impl Container {
    /// Lays out `tensors` in the order of their names. Each value is type, shape and little-endian bytes.
    pub(super) fn new(
        metadata: BTreeMap<String, String>,
        tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
    ) -> Self {
        let mut data = Vec::with_capacity(tensors.values().map(|t| t.2.len()).sum());
        let mut entries = Vec::with_capacity(tensors.len());
        for (name, (dtype, shape, bytes)) in tensors {
            let start = data.len();
            data.extend_from_slice(&bytes);
            entries.push(Entry {
                name,
                dtype: dtype.name().into(),
                shape,
                range: start..data.len(),
            });
        }
        Container {
            metadata,
            entries,
            data,
            canonical: true,
        }
    }

    /// Reads a file within the limits on file and header.
    pub fn read(path: &Path) -> Result<Self, AdapterError> {
        let io = |source| AdapterError::Io {
            path: path.display().to_string(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len();
        if length > FILE_LIMIT {
            return Err(AdapterError::Malformed {
                path: path.display().to_string(),
                reason: format!("expected at most {FILE_LIMIT} bytes, found {length}"),
            });
        }
        let mut bytes = Vec::new();
        file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(io)?;
        Self::from_bytes(bytes, &path.display().to_string())
    }

    /// Parses a file's bytes; `name` is what errors call it.
    pub fn from_bytes(mut bytes: Vec<u8>, name: &str) -> Result<Self, AdapterError> {
        let malformed = |reason: String| AdapterError::Malformed {
            path: name.into(),
            reason,
        };
        let length = bytes.first_chunk::<8>().map(|b| u64::from_le_bytes(*b));
        match length {
            None => return Err(malformed(format!("expected at least 8 bytes, found {}", bytes.len()))),
            Some(n) if n > HEADER_LIMIT => {
                return Err(malformed(format!(
                    "expected a header of at most {HEADER_LIMIT} bytes, found {n}"
                )));
            }
            Some(_) => {}
        }
        let (header, parsed) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
        let metadata = parsed
            .metadata()
            .iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        let mut entries = Vec::new();
        for (key, info) in parsed.tensors() {
            let dtype = serde_json::to_value(info.dtype).map_err(|e| malformed(e.to_string()))?;
            entries.push(Entry {
                name: key,
                dtype: dtype.as_str().unwrap_or("unknown").to_owned(),
                shape: info.shape.clone(),
                range: info.data_offsets.0..info.data_offsets.1,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let raw = bytes.get(8..8 + header).unwrap_or(&[]).to_vec();
        bytes.drain(..8 + header);
        let mut container = Container {
            metadata,
            entries,
            data: bytes,
            canonical: false,
        };
        container.canonical = container.header_bytes(&[]) == raw;
        Ok(container)
    }

    /// Whether the header was written as [`Container::to_bytes`] writes it: a file that went through other hands is
    /// often not, though it says the same.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// The tensors, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The bytes of one tensor.
    pub fn bytes_of(&self, entry: &Entry) -> &[u8] {
        self.data.get(entry.range.clone()).unwrap_or(&[])
    }

    /// SHA-256 of the tensor region, which A1111 and the model spec know an adapter by.
    pub fn tensor_digest(&self) -> Sha256Digest {
        Sha256Digest::of_bytes(&self.data)
    }

    /// SHA-256 of the header as [`Container::to_bytes`] writes it, without the metadata entries named in `except`:
    /// what a receipt that stands in the header itself can speak of.
    pub fn header_digest(&self, except: &[&str]) -> Sha256Digest {
        Sha256Digest::of_bytes(&self.header_bytes(except))
    }

    fn header_bytes(&self, except: &[&str]) -> Vec<u8> {
        let mut header: BTreeMap<&str, Value> = BTreeMap::new();
        let metadata: BTreeMap<&String, &String> = self
            .metadata
            .iter()
            .filter(|(k, _)| !except.contains(&k.as_str()))
            .collect();
        header.insert("__metadata__", json!(metadata));
        for e in &self.entries {
            header.insert(
                &e.name,
                json!({"data_offsets": [e.range.start, e.range.end], "dtype": e.dtype, "shape": e.shape}),
            );
        }
        // A map of strings, integers and lists always serialises.
        let mut bytes = serde_json::to_vec(&header).unwrap_or_default();
        bytes.resize(bytes.len().next_multiple_of(8), b' ');
        bytes
    }

    /// The whole file. Keys are sorted, so the same content gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = self.header_bytes(&[]);
        let mut bytes = Vec::with_capacity(8 + header.len() + self.data.len());
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        bytes.extend(&self.data);
        bytes
    }

    /// Writes a temporary file beside `path`, then renames it: readers see the old file or the new one, whole.
    pub fn write(&self, path: &Path) -> Result<Written, AdapterError> {
        let bytes = self.to_bytes();
        write_atomic(path, &bytes).map_err(|source| AdapterError::Io {
            path: path.display().to_string(),
            source,
        })?;
        Ok(Written {
            file: Sha256Digest::of_bytes(&bytes),
            tensors: self.tensor_digest(),
            bytes: bytes.len() as u64,
        })
    }
}
