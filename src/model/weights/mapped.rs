//! Weights that stay where the file has them: tensors over mapped pages, which the system reads when they are touched
//! and takes back when it needs the room.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::{Deref, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use burn::tensor::{AllocationProperty, Bytes};
use memmap2::Mmap;

use super::LoadError;

/// A mapped file, and what the system said of it then.
#[derive(Debug)]
pub(super) struct Mapped {
    map: Mmap,
    path: PathBuf,
    stamp: (u64, Option<SystemTime>),
}

impl Mapped {
    pub(super) fn new(path: &Path, file: &File) -> io::Result<Self> {
        let stamp = stamp(&file.metadata()?);
        // SAFETY: the map is only read. That nobody writes to the file meanwhile cannot be had from the system; what
        // happens then is said in `checkpoint`, and `Pages::check` finds it.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self {
            map,
            path: path.to_owned(),
            stamp,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}

fn stamp(about: &Metadata) -> (u64, Option<SystemTime>) {
    (about.len(), about.modified().ok())
}

/// A part of a mapped file.
#[derive(Debug, Clone)]
pub(super) struct Region {
    file: Arc<Mapped>,
    range: Range<usize>,
}

impl Region {
    /// None if the file is shorter.
    pub(super) fn new(file: &Arc<Mapped>, range: Range<usize>) -> Option<Self> {
        file.get(range.clone())?;
        Some(Self {
            file: Arc::clone(file),
            range,
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.file.get(self.range.clone()).unwrap_or_default()
    }

    /// Gives the pages back to the system, which counts them among the program's memory.
    #[cfg(unix)]
    pub(super) fn release(&self) {
        let advice = memmap2::UncheckedAdvice::DontNeed;
        // SAFETY: the map is read-only and of a file, so that the pages are the same when they are touched again. Where
        // the system does not know the advice, they stay, which is no error.
        let _ = unsafe {
            self.file
                .map
                .unchecked_advise_range(advice, self.range.start, self.range.len())
        };
    }

    #[cfg(not(unix))]
    pub(super) fn release(&self) {}
}

/// The memory of one tensor. Whoever writes to it gets a copy (burn's shared bytes are copied on writing).
struct Lent(Region);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// The mapped pages of a model.
#[derive(Debug, Clone, Default)]
pub struct Pages(Vec<Region>);

impl Pages {
    /// Lends a region to a tensor of numbers of `width` bytes, if they lie as memory needs them.
    pub(super) fn lend(&mut self, region: Region, width: usize) -> Option<Bytes> {
        let bytes = region.bytes();
        if cfg!(target_endian = "big") || bytes.is_empty() || bytes.as_ptr().align_offset(width) != 0 {
            return None;
        }
        self.0.push(region.clone());
        let shared = bytes::Bytes::from_owner(Lent(region));
        Some(Bytes::from_shared(shared, AllocationProperty::File))
    }

    /// Whether no tensor stayed in its file.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Gives the pages back to the system until the model is used again: they are then read again, most likely from the
    /// system's cache of the file.
    pub fn rest(&self) {
        self.0.iter().for_each(Region::release);
    }

    /// Whether the files are as they were when they were mapped: whoever writes to a mapped file changes the model.
    ///
    /// # Errors
    /// [`LoadError::Changed`] for the first that is not.
    pub fn check(&self) -> Result<(), LoadError> {
        let files: BTreeMap<&Path, &Arc<Mapped>> = self.0.iter().map(|r| (r.file.path.as_path(), &r.file)).collect();
        match files.into_values().find(|file| {
            let now = file.path.metadata().map(|about| stamp(&about)).ok();
            now != Some(file.stamp)
        }) {
            None => Ok(()),
            Some(file) => Err(LoadError::Changed {
                path: file.path.clone(),
            }),
        }
    }
}
