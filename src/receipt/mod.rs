//! What a training run leaves behind as evidence: the run record (`run.json`) and the receipt that an adapter carries.
//!
//! The record is the long form and stays with its owner: the base file by file, the configuration, times and losses.
//! The receipt is canonical JSON of a few kilobytes in the adapter's header: digests, counts, licences and obligations,
//! the settings, versions, and digests of the tensors and of the rest of the header, so that a changed byte shows.
//! It holds no path, no artist's name and no time. Where a key signs, a statement in the words of in-toto and SLSA names
//! the receipt and the key; it stands in the header and, about the file itself, in a bundle beside it.
//!
//! This room reads no clock and opens no registry.

mod composition;
mod provenance;
mod record;
mod seal;
mod sets;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use composition::{COMPOSITION, COMPOSITION_FORMAT, Composition, MOST_SHARDS, Shard, shard_folder};
pub use provenance::{
    PROVENANCE_EXTENSION, PROVENANCE_KEY, Provenance, bundle, bundle_path, bundle_signer, lay_beside, sign, signer,
};
pub use record::{
    AdapterFacts, BaseFacts, PolicyFacts, RUN_FORMAT, RUN_FORMAT_SETS, RUN_FORMAT_SUPERSEDES, RunInputs, RunRecord,
};
pub use seal::{Change, RECEIPT_DIGEST_KEY, RECEIPT_KEY, Sealed, changes, open, reseal, seal};
pub use sets::{Counts, SetClaims, SetFacts, SnapshotFacts};

use crate::digest::{CanonicalError, Sha256Digest, canonical_json};
pub use crate::snapshot::Supersedes;

/// The format that receipts of one set declare.
pub const RECEIPT_FORMAT: &str = "assent.receipt/1";
/// The format of those of several sets: whoever knows the first format alone must not take one set for all.
pub const RECEIPT_FORMAT_SETS: &str = "assent.receipt/2";
/// The format of those that name the adapter whose place theirs takes, whatever the number of sets.
pub const RECEIPT_FORMAT_SUPERSEDES: &str = "assent.receipt/3";
/// Longest receipt that is written or read, in bytes.
pub const RECEIPT_LIMIT: usize = 64 << 10;

/// The setting that says which of a run's weights an adapter holds, where there are others beside it.
pub const WEIGHTS: &str = "weights";
/// That it holds those after the last update.
pub const LAST_WEIGHTS: &str = "last";

/// What can go wrong with receipts and records.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// A value has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// A receipt or record does not parse.
    #[error("the {what} does not parse: {reason}")]
    Malformed {
        /// `receipt` or `run record`.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// A format that this program does not know.
    #[error("the {what} is of format `{found}`, expected `{expected}`")]
    Format {
        /// `receipt` or `run record`.
        what: &'static str,
        /// The format this program reads.
        expected: &'static str,
        /// The format it declares.
        found: String,
    },
    /// A receipt beyond the limit.
    #[error("the receipt has {found} bytes, expected at most {RECEIPT_LIMIT}")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// A value that would give a local path away.
    #[error("the receipt may hold no path, found one in `{key}`")]
    Path {
        /// The entry.
        key: String,
    },
    /// The file is not what its receipt says, so nothing may be derived from it under that receipt.
    #[error("the adapter is not what its receipt says: {found}")]
    Broken {
        /// The stable names of what changed.
        found: String,
    },
}

/// What a receipt says of a training, before it is bound to a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The program and its version.
    pub program: String,
    /// Identity of the run: see [`RunInputs::identity`].
    pub run: Sha256Digest,
    /// Overall digest of the base model.
    pub base: Sha256Digest,
    /// Merkle root of the snapshot; of several the first.
    pub snapshot: Sha256Digest,
    /// Pictures in it.
    pub members: u64,
    /// Pictures kept out, by reason code.
    pub excluded: BTreeMap<String, u64>,
    /// Digest of the policy that decided.
    pub policy: Sha256Digest,
    /// What the pictures were cleared for.
    pub purpose: String,
    /// Pictures by licence (SPDX); `none` for those without.
    pub licenses: BTreeMap<String, u64>,
    /// Pictures by obligation that follows the adapter.
    pub obligations: BTreeMap<String, u64>,
    /// Pictures by what else allows them: the article of a statutory exception, or the ground that a policy names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<String, u64>,
    /// The other sets that were trained on: see [`Claims::sets`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<SetClaims>,
    /// Digest of the whole configuration.
    pub config: Sha256Digest,
    /// The settings that shaped the weights, e.g. `rank`, `learning_rate`; numbers as text.
    pub settings: BTreeMap<String, String>,
    /// The seed.
    pub seed: u64,
    /// Optimizer steps done.
    pub steps: u64,
    /// Versions of what computed it.
    pub versions: BTreeMap<String, String>,
    /// Tensor digest of the adapter that this one was converted from, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub derived_from: Option<Sha256Digest>,
    /// The adapter whose place this one takes: the same run without some of its pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Supersedes>,
}

impl Claims {
    /// Refuses what cannot stand in a receipt: before a training rather than after it.
    ///
    /// # Errors
    /// [`ReceiptError::Path`] or [`ReceiptError::TooLong`].
    pub fn check(&self) -> Result<(), ReceiptError> {
        // A digest, an SPDX expression or a number never holds a slash; a path nearly always does.
        let mut said = self.settings.iter().chain(&self.versions);
        if let Some((key, _)) = said.find(|(_, value)| value.contains(['/', '\\'])) {
            return Err(ReceiptError::Path { key: key.clone() });
        }
        let found = canonical_json(self)?.len();
        // The format and two digests stand around them.
        if found + 512 > RECEIPT_LIMIT {
            return Err(ReceiptError::TooLong { found });
        }
        Ok(())
    }

    /// The format of a receipt with these claims.
    pub(super) fn format(&self) -> &'static str {
        match (&self.supersedes, self.further.is_empty()) {
            (Some(_), _) => RECEIPT_FORMAT_SUPERSEDES,
            (None, false) => RECEIPT_FORMAT_SETS,
            (None, true) => RECEIPT_FORMAT,
        }
    }
}

/// Obligations or grounds with the number of pictures each comes from, for people: `attribution (3 pictures)`.
pub fn counted(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(what, count)| match count {
        1 => format!("{what} (1 picture)"),
        many => format!("{what} ({many} pictures)"),
    });
    each.collect::<Vec<_>>().join(", ")
}

/// Claims bound to one file by the digests of its tensors and of the rest of its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// [`RECEIPT_FORMAT`], [`RECEIPT_FORMAT_SETS`] or [`RECEIPT_FORMAT_SUPERSEDES`].
    pub format: String,
    /// What it says of the training.
    pub claims: Claims,
    /// SHA-256 of the tensor region.
    pub tensors: Sha256Digest,
    /// SHA-256 of the header without the receipt.
    pub header: Sha256Digest,
}

impl Receipt {
    /// The canonical JSON: what stands in the header, what is digested.
    pub fn bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        let bytes = canonical_json(self)?;
        if bytes.len() > RECEIPT_LIMIT {
            return Err(ReceiptError::TooLong { found: bytes.len() });
        }
        Ok(bytes)
    }

    /// Parses a receipt's text.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        if text.len() > RECEIPT_LIMIT {
            return Err(ReceiptError::TooLong { found: text.len() });
        }
        let receipt: Receipt = serde_json::from_str(text).map_err(|e| ReceiptError::Malformed {
            what: "receipt",
            reason: e.to_string(),
        })?;
        let expected = receipt.claims.format();
        if receipt.format != expected {
            return Err(ReceiptError::Format {
                what: "receipt",
                expected,
                found: receipt.format,
            });
        }
        Ok(receipt)
    }
}

#[cfg(test)]
mod tests;
