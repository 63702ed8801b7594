//! A transparency log: an append-only Merkle tree (RFC 9162) of snapshots and adapters, so that neither can be swapped
//! for another later without everybody seeing it who kept a signed tree head.
//!
//! Entries hold digests and kinds, no names, paths or times. What is published has the forms of C2SP: heads are
//! checkpoints (<https://c2sp.org/tlog-checkpoint>) in signed notes (<https://c2sp.org/signed-note>), the tree is tiles
//! (<https://c2sp.org/tlog-tiles>), a proof of inclusion is a `tlog-proof` (<https://c2sp.org/tlog-proof>), and a proof
//! of consistency is what a witness is sent (<https://c2sp.org/tlog-witness>). Pure values: the registry keeps the rows.

mod checkpoint;
mod entry;
mod note;
mod proof;
#[cfg(test)]
mod tests;
mod tree;

pub use checkpoint::Checkpoint;
pub use entry::{Entry, MAX_ENTRY_BYTES};
pub use note::{Note, verifier_key};
pub use proof::{Consistency, Inclusion, MAX_PROOF_BYTES};
pub use tree::Tree;

/// What can be wrong with what a log says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// A text has another form than the one it should have.
    #[error("expected {expected}, got {found}")]
    Form {
        /// What should be there.
        expected: &'static str,
        /// What is there, cut to 80 characters.
        found: String,
    },
    /// No signature is by the key.
    #[error("no signature of the note is by the key {key} under the name `{name}`")]
    Unsigned {
        /// The beginning of the key's id.
        key: String,
        /// The name that the key has in the note.
        name: String,
    },
    /// A signature names the key and is not by it.
    #[error("the signature by the key {0} does not verify")]
    Forged(String),
    /// A name that no key can have in a note.
    #[error("expected an origin of 1 to 200 characters without spaces, `+` and control characters, got `{0}`")]
    Origin(String),
    /// An entry does not lead to the root of a head.
    #[error("the entry does not lead to the root of the signed head, at its place {index} of {size}")]
    NotIncluded {
        /// Its place.
        index: u64,
        /// How many entries the head has.
        size: u64,
    },
    /// One head is not the beginning of the other.
    #[error("the head of {second} entries does not continue the head of {first}: the log was rewritten")]
    Inconsistent {
        /// Entries of the earlier head.
        first: u64,
        /// Entries of the later head.
        second: u64,
    },
}

/// An error of form, with what was found cut short.
fn form(expected: &'static str, found: &str) -> LogError {
    LogError::Form {
        expected,
        found: format!("`{}`", found.chars().take(80).collect::<String>().escape_debug()),
    }
}
