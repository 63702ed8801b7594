//! What stands in the log: canonical JSON of a kind and digests.

use serde::{Deserialize, Serialize};

use super::{LogError, form};
use crate::digest::{CanonicalError, Sha256Digest, canonical_json};

/// A longer entry is refused, in bytes: a bundle gives its length in sixteen bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Entry {
    /// A training set was frozen.
    Snapshot {
        /// Its root.
        root: Sha256Digest,
        /// Digest of its whole document.
        document: Sha256Digest,
    },
    /// An adapter was made, with the receipt in its header.
    Adapter {
        /// Digest of its file.
        file: Sha256Digest,
        /// Digest of its tensors.
        tensors: Sha256Digest,
        /// Roots of the snapshots that trained it.
        trained_on: Vec<Sha256Digest>,
    },
}

impl Entry {
    /// Its bytes in the log.
    pub fn bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical_json(self)
    }

    /// The entry in these bytes, which must be those that [`Entry::bytes`] gives.
    pub fn parse(bytes: &[u8]) -> Result<Entry, LogError> {
        let expected = "an entry of kind `snapshot` or `adapter` as canonical JSON";
        let found = || form(expected, &String::from_utf8_lossy(bytes));
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(found());
        }
        let entry: Entry = serde_json::from_slice(bytes).map_err(|_| found())?;
        match entry.bytes() {
            Ok(written) if written == bytes => Ok(entry),
            _ => Err(found()),
        }
    }

    /// Its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::Snapshot { .. } => "snapshot",
            Entry::Adapter { .. } => "adapter",
        }
    }

    /// The digest that it is about: the root of a snapshot, the file of an adapter.
    pub fn subject(&self) -> Sha256Digest {
        match self {
            Entry::Snapshot { root, .. } => *root,
            Entry::Adapter { file, .. } => *file,
        }
    }
}
