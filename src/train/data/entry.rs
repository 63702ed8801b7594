//! The members of a verified snapshot, as they are trained on.

use std::path::PathBuf;
use std::sync::Arc;

use crate::digest::Sha256Digest;
use crate::pixels::{self, Decoded, Limits, PixelsError};
use crate::snapshot::{Member, VerifiedSnapshot};
use crate::train::config::Subset;
use crate::train::error::TrainError;

/// A picture to train on, not yet read.
#[derive(Debug, Clone)]
pub struct Entry {
    /// SHA-256 of its file.
    pub image: Sha256Digest,
    /// Its file.
    pub path: PathBuf,
    /// Its caption as it was frozen.
    pub caption: String,
    /// How it is drawn.
    pub subset: Arc<Subset>,
}

impl Entry {
    /// The members of a snapshot, in its order.
    ///
    /// # Errors
    /// The first picture without a caption, unless the subset allows it.
    pub fn of(snapshot: &VerifiedSnapshot, subset: &Arc<Subset>) -> Result<Vec<Self>, TrainError> {
        let entry = |member: &Member| {
            let own = member.caption.as_deref().map(str::trim).filter(|text| !text.is_empty());
            match own.or(subset.class_tokens.as_deref()) {
                None if !subset.allow_empty_captions => Err(TrainError::NoCaption {
                    path: member.path.clone(),
                }),
                text => Ok(Self {
                    image: member.image,
                    path: member.path.clone(),
                    caption: text.unwrap_or_default().to_owned(),
                    subset: subset.clone(),
                }),
            }
        };
        snapshot.members().iter().map(entry).collect()
    }

    /// Reads the picture's file.
    ///
    /// # Errors
    /// If it cannot be read, or is another than the one that was verified.
    pub fn bytes(&self) -> Result<Vec<u8>, TrainError> {
        let bytes = pixels::read_file(&self.path, &Limits::default()).map_err(|source| self.unread(source))?;
        let found = Sha256Digest::of_bytes(&bytes);
        if found != self.image {
            return Err(TrainError::Changed {
                path: self.path.clone(),
                expected: self.image.to_string(),
                found: found.to_string(),
            });
        }
        Ok(bytes)
    }

    /// Reads and decodes the picture.
    ///
    /// # Errors
    /// As [`Self::bytes`], and if it is damaged.
    pub fn decode(&self) -> Result<Decoded, TrainError> {
        pixels::decode(&self.bytes()?, &Limits::default()).map_err(|source| self.unread(source))
    }

    pub(super) fn unread(&self, source: PixelsError) -> TrainError {
        TrainError::Picture {
            path: self.path.clone(),
            source,
        }
    }
}
