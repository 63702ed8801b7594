//! Adapters made from adapters: what their header says of where they come from, and what of the sources' still holds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Container;
use crate::digest::Sha256Digest;

/// Header key of [`Derived`], as JSON.
pub const DERIVED_KEY: &str = "assent.derived";
/// Longest entry that is read, in bytes.
const DERIVED_LIMIT: usize = 64 << 10;

/// What an adapter was computed from. It proves nothing: it names the files whose receipts do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    /// `resize`, `merge`, `bake` or `extract`.
    pub by: String,
    /// The program and its version.
    pub program: String,
    /// The base that they were written into, as receipts name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Sha256Digest>,
    /// The tuned model whose difference from the base it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tuned: Option<Sha256Digest>,
    /// The adapters that it was made from, in the order in which they were given.
    pub from: Vec<Source>,
}

/// An adapter that another was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// SHA-256 of its tensor region.
    pub tensors: Sha256Digest,
    /// SHA-256 of its receipt, where it carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Sha256Digest>,
    /// What it was multiplied by.
    pub weight: f64,
    /// The same on the text encoders, where that is another number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_weight: Option<f64>,
}

impl Source {
    /// A file, read into a container, with its weight.
    #[must_use]
    pub fn of(file: Sha256Digest, container: &Container, weight: f64) -> Self {
        Source {
            sha256: file,
            tensors: container.tensor_digest(),
            receipt: None,
            weight,
            clip_weight: None,
        }
    }
}

impl Derived {
    /// What a header says; none where it says nothing that can be read.
    #[must_use]
    pub fn of_header(header: &BTreeMap<String, String>) -> Option<Self> {
        let text = header.get(DERIVED_KEY)?;
        (text.len() <= DERIVED_LIMIT)
            .then(|| serde_json::from_str(text).ok())
            .flatten()
    }

    /// What stands in the header.
    #[must_use]
    pub fn text(&self) -> String {
        // Strings, digests and finite numbers always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The tool, for people: the entry may be a stranger's, so any other word is `another tool`.
    #[must_use]
    pub fn by(&self) -> &'static str {
        match self.by.as_str() {
            "resize" => "resizing",
            "merge" => "merging",
            "bake" => "writing adapters into a base",
            "extract" => "comparing two models",
            _ => "another tool",
        }
    }

    /// Takes out of a header what held for the sources' bytes alone, among it every receipt, and puts this in.
    pub(super) fn enter(&self, header: &mut BTreeMap<String, String>) {
        // The hashes of the tensors are computed anew when the file is laid out; the legacy one is nobody's any more.
        header.retain(|key, _| {
            !key.starts_with("assent.")
                && !["sshs_legacy_hash", "sshs_model_hash", "modelspec.hash_sha256"].contains(&key.as_str())
        });
        header.insert(DERIVED_KEY.into(), self.text());
    }
}
