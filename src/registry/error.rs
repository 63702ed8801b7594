//! What can go wrong with a registry.

use std::path::PathBuf;

use crate::digest::{CanonicalError, Sha256Digest};

/// What can go wrong with a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The file cannot be opened as a database.
    #[error("cannot open the registry `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The file is a database of something else.
    #[error("`{path}` is a database, but not a registry")]
    NotARegistry {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a later version of the program.
    #[error("the registry `{path}` has schema {found}, expected at most {expected}: it is of a later version")]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The latest schema this program knows.
        expected: u32,
    },
    /// A row holds what the program never writes.
    #[error("the registry is damaged: expected {expected}, got `{found}`")]
    Damaged {
        /// What should be there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// No image has this digest.
    #[error("no registered image has the digest {0}")]
    NoSuchImage(Sha256Digest),
    /// No event of the ledger is meant by this text.
    #[error("expected the number or the hash of an event of the ledger, got `{found}`")]
    NoSuchEvent {
        /// The text.
        found: String,
    },
    /// The event cannot be ended by a revocation, or has been already.
    #[error("event {seq} is {found}, expected an opt-out, a grant or a review that still stands")]
    NotRevocable {
        /// The event.
        seq: i64,
        /// What it is.
        found: String,
    },
    /// A proof larger than the registry keeps.
    #[error("the evidence `{name}` has {found} bytes, expected at most {expected}")]
    EvidenceTooLarge {
        /// Its name.
        name: String,
        /// Its size in bytes.
        found: u64,
        /// The limit in bytes.
        expected: u64,
    },
    /// A snapshot of this name is there already, with other content.
    #[error("a snapshot named `{name}` is there already, with root {found}")]
    SnapshotExists {
        /// Its name.
        name: String,
        /// Its root.
        found: Sha256Digest,
    },
    /// More names than can be looked for in a text.
    #[error("the ledger holds more names of artists than can be looked for in captions")]
    TooManyNames,
    /// A value has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// SQLite refused.
    #[error("the registry refused a query")]
    Sqlite(#[from] rusqlite::Error),
}
