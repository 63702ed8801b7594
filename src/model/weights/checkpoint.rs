//! Safetensors files, mapped into memory: one, the shards of an index, or the variant of a diffusers folder.
//!
//! A mapped file must not shrink while it is used: the system ends a program that touches what is no longer there.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Bytes;
use rayon::prelude::*;
use safetensors::tensor::Dtype;
use safetensors::{SafeTensorError, SafeTensors};
use serde::Deserialize;

use super::LoadError;
use super::mapped::{Mapped, Pages, Region};
use crate::kernels::memory;

/// Largest index of shards that is read, in bytes: SDXL's has 200 kB.
const INDEX_BYTES: u64 = 32 << 20;
/// Most shards of one model.
const SHARDS: usize = 1000;
/// Longest header of a single file, in bytes: the largest published checkpoints have less than one megabyte.
const HEADER_BYTES: u64 = 100_000_000;

/// Numbers that one thread reads at a time.
const BLOCK: usize = 1 << 18;

/// A tensor's place, or a part of it.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    file: usize,
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    range: Range<usize>,
    /// The values are those of the transpose.
    pub(super) transposed: bool,
}

impl Entry {
    /// Its first byte in the file.
    pub(super) fn start(&self) -> usize {
        self.range.start
    }

    /// Bytes in the file.
    pub(super) fn length(&self) -> usize {
        self.range.len()
    }

    /// The `i`th of `n` equal parts along the first dimension, if it divides.
    pub(super) fn part(&self, i: usize, n: usize) -> Option<Self> {
        let rows = self.shape.first().filter(|rows| rows.is_multiple_of(n))?;
        let bytes = self.range.len() / n;
        let mut part = self.clone();
        part.shape[0] = rows / n;
        part.range = self.range.start + i * bytes..self.range.start + (i + 1) * bytes;
        Some(part)
    }

    /// The transpose, if it is a matrix.
    pub(super) fn transpose(&self) -> Option<Self> {
        let &[rows, columns] = self.shape.as_slice() else {
            return None;
        };
        Some(Self {
            shape: vec![columns, rows],
            transposed: true,
            ..self.clone()
        })
    }
}

/// Named tensors in one file or several.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<Arc<Mapped>>,
    entries: BTreeMap<String, Entry>,
    metadata: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Maps one file.
    ///
    /// # Errors
    /// If it cannot be read or is no safetensors file.
    pub fn open(path: &Path) -> Result<Self, LoadError> {
        let mut checkpoint = Self::empty(path);
        checkpoint.add(path, &|_| true)?;
        Ok(checkpoint)
    }

    /// Maps the weights of one part of a diffusers folder: `STEM.safetensors`, or the shards that
    /// `STEM.safetensors.index.json` names, or either of the `fp16` variant.
    ///
    /// # Errors
    /// If there are none, or they cannot be read.
    pub fn of_part(folder: &Path, stem: &str) -> Result<Self, LoadError> {
        for name in [format!("{stem}.safetensors"), format!("{stem}.fp16.safetensors")] {
            let path = folder.join(name);
            if path.exists() {
                return Self::open(&path);
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let indices = match name.strip_suffix(".fp16.safetensors") {
                None => vec![format!("{name}.index.json")],
                // diffusers puts the variant behind, transformers in the middle.
                Some(stem) => vec![
                    format!("{stem}.safetensors.index.fp16.json"),
                    format!("{stem}.fp16.safetensors.index.json"),
                ],
            };
            for index in indices {
                let path = folder.join(index);
                if path.exists() {
                    return Self::shards(&path);
                }
            }
        }
        let pickled = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.path().extension().is_some_and(|e| e == "bin" || e == "ckpt"));
        let why = if pickled {
            "holds pickled weights only, which can run code and are not read; hint: convert them to safetensors"
        } else {
            "holds no weights"
        };
        Err(LoadError::Config {
            path: folder.to_owned(),
            message: format!("expected `{stem}.safetensors`; it {why}"),
        })
    }

    fn shards(index: &Path) -> Result<Self, LoadError> {
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let refuse = |message: String| {
            Err(LoadError::Config {
                path: index.to_owned(),
                message,
            })
        };
        let io = |source| LoadError::Io {
            path: index.to_owned(),
            source,
        };
        let length = std::fs::metadata(index).map_err(io)?.len();
        if length > INDEX_BYTES {
            return refuse(format!("expected at most {INDEX_BYTES} bytes, found {length}"));
        }
        let Index { weight_map } = match serde_json::from_slice(&std::fs::read(index).map_err(io)?) {
            Ok(index) => index,
            Err(e) => return refuse(e.to_string()),
        };
        let mut names: Vec<&String> = weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > SHARDS {
            return refuse(format!("expected at most {SHARDS} shards, found {}", names.len()));
        }
        let mut checkpoint = Self::empty(index);
        for name in names {
            let plain = Path::new(name).file_name().is_some_and(|file| file == name.as_str());
            if !plain || !name.ends_with(".safetensors") {
                return refuse(format!(
                    "expected names of .safetensors files beside it, found `{name}`"
                ));
            }
            // Of a tensor that stands in several shards the one counts that the index names.
            checkpoint.add(&index.with_file_name(name), &|key| weight_map.get(key) == Some(name))?;
        }
        match weight_map
            .iter()
            .find(|(key, _)| !checkpoint.entries.contains_key(*key))
        {
            None => Ok(checkpoint),
            Some((key, shard)) => refuse(format!("expected `{key}` in `{shard}`, which has no such tensor")),
        }
    }

    fn empty(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            files: Vec::new(),
            entries: BTreeMap::new(),
            metadata: BTreeMap::new(),
        }
    }

    fn add(&mut self, path: &Path, wanted: &dyn Fn(&str) -> bool) -> Result<(), LoadError> {
        let io = |source| LoadError::Io {
            path: path.to_owned(),
            source,
        };
        let format = |message: String| LoadError::Format {
            path: path.to_owned(),
            message,
        };
        let file = File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if !about.is_file() || about.len() < 8 {
            return Err(format(format!(
                "expected a file of 8 bytes or more, found {}",
                about.len()
            )));
        }
        let map = Mapped::new(path, &file).map_err(io)?;
        let claimed = map.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        if claimed > HEADER_BYTES || claimed.saturating_add(8) > about.len() {
            return Err(format(format!(
                "the header claims {claimed} bytes, the file has {}",
                about.len()
            )));
        }
        let (length, header) = SafeTensors::read_metadata(&map).map_err(|e| match e {
            SafeTensorError::MetadataIncompleteBuffer => format(format!(
                "its {} bytes are not those that its header speaks of; hint: was the copy or the download cut short?",
                about.len()
            )),
            other => format(other.to_string()),
        })?;
        for (key, info) in header.tensors() {
            if wanted(&key) {
                let (begin, end) = info.data_offsets;
                let entry = Entry {
                    file: self.files.len(),
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    range: 8 + length + begin..8 + length + end,
                    transposed: false,
                };
                self.entries.insert(key, entry);
            }
        }
        let metadata = header.metadata().iter().flatten();
        self.metadata.extend(metadata.map(|(k, v)| (k.clone(), v.clone())));
        self.files.push(Arc::new(map));
        Ok(())
    }

    /// The file, or the index of its shards.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The header's `__metadata__`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    pub(super) fn all_metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path())
    }

    /// The names of the tensors, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether a tensor's name begins so.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let from = (std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded);
        let first = self.entries.range::<str, _>(from).next();
        first.is_some_and(|(key, _)| key.starts_with(prefix))
    }

    /// A tensor's shape.
    #[must_use]
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.entries.get(key).map(|entry| entry.shape.as_slice())
    }

    /// A tensor's values in row-major order.
    ///
    /// # Errors
    /// What is wrong with it: another type than f32, f16 and bf16, or a value that is not finite. None if there is
    /// no such tensor.
    pub fn values(&self, key: &str) -> Option<Result<Vec<f32>, String>> {
        self.entries.get(key).map(|entry| self.read(entry))
    }

    pub(super) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    pub(super) fn region(&self, entry: &Entry) -> Option<Region> {
        let map = self.files.get(entry.file)?;
        Region::new(map, entry.range.clone())
    }

    /// The one copy of a tensor that is made of the mapped bytes.
    pub(super) fn read(&self, entry: &Entry) -> Result<Vec<f32>, String> {
        let region = self.region(entry).ok_or("the file has no such bytes")?;
        let bytes = region.bytes();
        let values = match entry.dtype {
            Dtype::F32 => widen(entry, bytes.as_chunks::<4>().0, f32::from_le_bytes),
            Dtype::F16 => widen(entry, bytes.as_chunks::<2>().0, |b| {
                half::f16::from_le_bytes(b).to_f32()
            }),
            Dtype::BF16 => widen(entry, bytes.as_chunks::<2>().0, |b| {
                half::bf16::from_le_bytes(b).to_f32()
            }),
            other => return Err(format!("expected f32, f16 or bf16, found {other:?}")),
        };
        region.release();
        finite(values.par_chunks(BLOCK).all(|part| part.iter().all(|v| v.is_finite())))?;
        Ok(values)
    }

    /// The mapped bytes of a tensor as its memory, where they can be used as they lie: of type `dtype`, f32 or f16, not
    /// transposed, and where numbers may lie. The pages are noted in `pages`.
    pub(super) fn lend(&self, entry: &Entry, dtype: Dtype, pages: &mut Pages) -> Option<Result<Bytes, String>> {
        if entry.dtype != dtype || entry.transposed {
            return None;
        }
        let region = self.region(entry)?;
        let checked = match dtype {
            Dtype::F32 => all(&region, |b| f32::from_le_bytes(b).is_finite()),
            Dtype::F16 => all(&region, |b| half::f16::from_le_bytes(b).is_finite()),
            _ => return None,
        };
        region.release();
        let bytes = pages.lend(region, dtype.bitsize() / 8)?;
        Some(finite(checked).map(|()| bytes))
    }
}

fn finite(all: bool) -> Result<(), String> {
    if all {
        Ok(())
    } else {
        Err("holds NaN or infinity".to_owned())
    }
}

/// Whether all numbers of a region, of `N` bytes each, are as they should be.
fn all<const N: usize>(region: &Region, good: impl Fn([u8; N]) -> bool + Sync) -> bool {
    let (numbers, _) = region.bytes().as_chunks::<N>();
    numbers.par_chunks(BLOCK).all(|part| part.iter().all(|b| good(*b)))
}

fn widen<const N: usize>(entry: &Entry, values: &[[u8; N]], one: impl Fn([u8; N]) -> f32 + Sync) -> Vec<f32> {
    match (entry.transposed, entry.shape.as_slice()) {
        // `shape` is that of the transpose: its element (i, j) is the file's (j, i).
        (true, &[rows, columns]) => (0..rows)
            .flat_map(|i| (0..columns).map(move |j| j * rows + i))
            .map(|place| one(values[place]))
            .collect(),
        _ => {
            let mut out = memory::zeros(values.len());
            let parts = out.par_chunks_mut(BLOCK).zip(values.par_chunks(BLOCK));
            parts.for_each(|(out, values)| {
                for (to, from) in out.iter_mut().zip(values) {
                    *to = one(*from);
                }
            });
            out
        }
    }
}
