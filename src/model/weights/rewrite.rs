//! A checkpoint's file written again, one tensor after another, so that no more than one lies in memory.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::Dtype;

use super::checkpoint::Entry;
use super::save::beside;
use super::{Checkpoint, LoadError};

/// The types that weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Four bytes a number.
    F32,
    /// Two, with the digits of IEEE's half.
    F16,
    /// Two, with the range of f32.
    Bf16,
}

impl Stored {
    fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// The bytes of values, rounded to nearest; none where one is then not finite.
    fn narrow(self, values: &[f32]) -> Option<Vec<u8>> {
        let fits = |v: &f32| match self {
            Self::F32 => v.is_finite(),
            Self::F16 => f16::from_f32(*v).is_finite(),
            Self::Bf16 => bf16::from_f32(*v).is_finite(),
        };
        values.iter().all(fits).then(|| match self {
            Self::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Self::F16 => values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect(),
            Self::Bf16 => values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect(),
        })
    }
}

/// What changes tensors on their way from one file into another.
pub trait Change {
    /// What can go wrong.
    type Error: From<LoadError>;

    /// What the header's `__metadata__` is to say, from what it said.
    fn metadata(&self, metadata: &mut BTreeMap<String, String>);

    /// Whether a tensor is changed.
    fn wants(&self, key: &str) -> bool;

    /// The values of one that is, given its name and shape.
    ///
    /// # Errors
    /// If they do not fit what is to be done with them.
    fn change(&mut self, key: &str, shape: &[usize], values: Vec<f32>) -> Result<Vec<f32>, Self::Error>;

    /// Called when all is written, before the file gets its name.
    ///
    /// # Errors
    /// If it should not get it.
    fn finished(&self) -> Result<(), Self::Error>;
}

impl Checkpoint {
    /// Writes the file again under another name: the same names, shapes and order. With a `dtype` all weights get it,
    /// else each keeps its own; what is no float stays. `done` is called after each tensor.
    ///
    /// # Errors
    /// If a tensor cannot be read, a value does not fit the type, or the file cannot be written; what `change` says.
    pub fn rewrite<C: Change>(
        &self,
        target: &Path,
        to: Option<Stored>,
        change: &mut C,
        done: &dyn Fn(),
    ) -> Result<(), C::Error> {
        let io = |source| LoadError::Io {
            path: target.to_owned(),
            source,
        };
        let mut order: Vec<(&String, &Entry)> = self.entries().iter().collect();
        order.sort_by_key(|(_, entry)| entry.start());
        let mut metadata = self.all_metadata().clone();
        change.metadata(&mut metadata);
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), serde_json::json!(metadata));
        let stored = |entry: &Entry| match entry.dtype {
            Dtype::F32 => Some(Stored::F32),
            Dtype::F16 => Some(Stored::F16),
            Dtype::BF16 => Some(Stored::Bf16),
            _ => None,
        };
        let mut offset = 0;
        for (name, entry) in &order {
            let (dtype, length) = match to.filter(|_| stored(entry).is_some()) {
                Some(target) => {
                    let count: usize = entry.shape.iter().product();
                    (target.dtype(), count * target.dtype().bitsize() / 8)
                }
                None => (entry.dtype, entry.length()),
            };
            header.insert(
                (*name).clone(),
                serde_json::json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [offset, offset + length] }),
            );
            offset += length;
        }
        let mut text = serde_json::Value::Object(header).to_string().into_bytes();
        text.resize(text.len().next_multiple_of(8), b' ');
        let mut out = std::io::BufWriter::new(beside(target).map_err(io)?);
        out.write_all(&(text.len() as u64).to_le_bytes()).map_err(io)?;
        out.write_all(&text).map_err(io)?;
        for (name, entry) in order {
            let refuse = |message: String| LoadError::Format {
                path: self.path().to_owned(),
                message,
            };
            let changed = change.wants(name);
            match (stored(entry), to) {
                (Some(own), to) if changed || to.is_some_and(|to| to != own) => {
                    let mut values = self.read(entry).map_err(|why| refuse(format!("`{name}` {why}")))?;
                    if changed {
                        values = change.change(name, &entry.shape, values)?;
                    }
                    let bytes = to.unwrap_or(own).narrow(&values);
                    let bytes = bytes.ok_or_else(|| {
                        refuse(format!(
                            "`{name}` would hold values that the type cannot; hint: write it with --dtype f32 or bf16"
                        ))
                    })?;
                    out.write_all(&bytes).map_err(io)?;
                }
                (None, _) if changed => {
                    let message = format!("`{name}`: expected f32, f16 or bf16, found {:?}", entry.dtype);
                    return Err(refuse(message).into());
                }
                _ => {
                    let region = self
                        .region(entry)
                        .ok_or_else(|| refuse(format!("`{name}` is not there")))?;
                    out.write_all(region.bytes()).map_err(io)?;
                    region.release();
                }
            }
            done();
        }
        change.finished()?;
        let out = out.into_inner().map_err(|e| io(e.into_error()))?;
        out.as_file().sync_all().map_err(io)?;
        out.persist(target).map_err(|e| io(e.error))?;
        Ok(())
    }
}
