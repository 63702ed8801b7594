//! What changed from one snapshot to another.

use std::collections::BTreeMap;

use serde::Serialize;

use super::SnapshotError;
use super::document::Document;
use crate::consent::ReasonCode;
use crate::digest::Sha256Digest;

/// A picture that is not in one of two snapshots, with why, when that one says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Changed {
    /// The picture.
    pub sha256: Sha256Digest,
    /// Why it is not in the snapshot that lacks it; none when that one never saw it.
    pub reason_code: Option<ReasonCode>,
}

/// What changed from one snapshot to another; every list is sorted by digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diff {
    /// Only in the second.
    pub added: Vec<Changed>,
    /// Only in the first.
    pub removed: Vec<Changed>,
    /// In both, with another caption.
    pub recaptioned: Vec<Sha256Digest>,
    /// In both, on other grounds.
    pub reconsented: Vec<Sha256Digest>,
    /// Whether the policies differ.
    pub policy_changed: bool,
}

impl Diff {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        let lists = self.added.is_empty() && self.removed.is_empty();
        lists && self.recaptioned.is_empty() && self.reconsented.is_empty() && !self.policy_changed
    }
}

/// Compares two snapshots.
pub fn diff(first: &Document, second: &Document) -> Result<Diff, SnapshotError> {
    let leaves = |document: &Document| {
        let leaf = |member: &super::Entry| Ok((member.image, member.leaf()?));
        document
            .members
            .iter()
            .map(leaf)
            .collect::<Result<BTreeMap<_, _>, SnapshotError>>()
    };
    let (before, after) = (leaves(first)?, leaves(second)?);
    let why = |document: &Document, image: &Sha256Digest| {
        let place = document
            .excluded
            .binary_search_by_key(image, |exclusion| exclusion.image)
            .ok();
        Changed {
            sha256: *image,
            reason_code: place.map(|at| document.excluded[at].reason_code),
        }
    };
    let mut found = Diff {
        added: after
            .keys()
            .filter(|image| !before.contains_key(image))
            .map(|image| why(first, image))
            .collect(),
        removed: before
            .keys()
            .filter(|image| !after.contains_key(image))
            .map(|image| why(second, image))
            .collect(),
        recaptioned: Vec::new(),
        reconsented: Vec::new(),
        policy_changed: first.policy.digest != second.policy.digest,
    };
    for (image, old) in &before {
        let Some(new) = after.get(image) else { continue };
        if old.caption != new.caption {
            found.recaptioned.push(*image);
        }
        if old.consent != new.consent {
            found.reconsented.push(*image);
        }
    }
    Ok(found)
}
