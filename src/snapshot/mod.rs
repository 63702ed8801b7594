//! Snapshots: a training set, frozen. Create, reopen, verify, compare, prove.
//!
//! A snapshot is a canonical JSON document (see [`Document`]): its members with their captions and the records of the
//! consent they rest on, what was left out and why, the policy's text, and a root over the members (see [`Head`]). Training
//! takes a [`VerifiedSnapshot`], which only [`verify`] makes: it hashes the files and decides consent again.
//! Never touches tensors or SQL.

mod answer;
mod attribution;
mod create;
mod diff;
mod document;
mod parts;
mod pledge;
mod proof;
mod refreeze;
mod root;
#[cfg(test)]
mod tests;
mod verify;

use std::io;
use std::path::PathBuf;

pub use answer::{ANSWER_PREDICATE, Alike, Answer, Answered};
pub use attribution::{Attributions, Credit, Format, Work, attributions, license_url};
pub(crate) use attribution::{escape_markdown, plain};
pub use create::{Selection, create};
pub use diff::{Changed, Diff, diff};
pub use document::{Document, Entry, Exclusion, ExclusionEvidence, LedgerRef, PolicyRef, import, leaf};
pub use parts::{Part, parts, shard_of};
pub use pledge::{PLEDGE_PREDICATE, Pledge, Pledged, pledge};
pub use proof::{Leaf, Neighbours, Places, Proof, ProofError, ProvenLeaf, Shows, prove};
pub use refreeze::{Remains, remains};
pub use root::Head;
pub use verify::{Member, Mismatch, MismatchCode, VerifiedSnapshot, verify};

use crate::digest::{CanonicalError, Sha256Digest};
use crate::registry::RegistryError;
pub use crate::registry::{Role, Supersedes, TrainedOn};

/// What can go wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The name cannot be one.
    #[error(
        "expected a name of 1 to 100 letters, digits, `.`, `_` and `-` that begins with none of `.` and `-`, got `{found}`"
    )]
    Name {
        /// The name.
        found: String,
    },
    /// There is no snapshot of this name.
    #[error("there is no snapshot named `{name}`")]
    Unknown {
        /// The name.
        name: String,
    },
    /// Every image was left out.
    #[error("no image may be used under the policy `{policy}`: {excluded} were left out, none is in")]
    Empty {
        /// Name of the policy.
        policy: String,
        /// How many were left out.
        excluded: usize,
    },
    /// It is not what it was, or may not be used any more.
    #[error("the snapshot `{name}` does not verify: {}", summary(.mismatches))]
    Mismatch {
        /// Its name.
        name: String,
        /// What differs: at least one.
        mismatches: Vec<Mismatch>,
    },
    /// A file cannot be read or written.
    #[error("cannot access `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is no snapshot document.
    #[error("`{path}` is no snapshot: expected {expected}, got {found}")]
    Document {
        /// The file.
        path: PathBuf,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
    /// Two pictures whose digests begin alike.
    #[error(
        "{image} is not in, and that cannot be shown without naming a picture that is: their digests share 64 bits"
    )]
    SharedPlace {
        /// The picture that was asked about.
        image: Sha256Digest,
    },
    /// The policy that is stored with it does not parse.
    #[error("the policy of the snapshot does not parse")]
    Policy(#[from] crate::consent::PolicyError),
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A value has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
}

fn summary(mismatches: &[Mismatch]) -> String {
    let first = mismatches
        .first()
        .map(|mismatch| mismatch.explanation.as_str())
        .unwrap_or_default();
    match mismatches.len() {
        0 | 1 => first.to_string(),
        many => format!("{first}, and {} more", many - 1),
    }
}

/// Checks that a name can stand in messages, in tables and as the name of a file.
pub fn check_name(name: &str) -> Result<(), SnapshotError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let whole = (1..=100).contains(&name.len()) && name.chars().all(legal) && !name.starts_with(['.', '-']);
    if whole {
        Ok(())
    } else {
        Err(SnapshotError::Name {
            found: name.chars().take(120).collect(),
        })
    }
}

/// The digest of a caption; of none, that of no text.
pub fn caption_digest(caption: Option<&str>) -> Sha256Digest {
    Sha256Digest::of_bytes(caption.unwrap_or_default().as_bytes())
}
