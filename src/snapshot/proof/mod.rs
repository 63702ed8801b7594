//! Proofs that a picture is in a snapshot, or is not, which anyone can check who knows the root.
//!
//! A proof holds the [`Head`] that the root stands for. A picture is in when its leaf leads to the root of the members;
//! it is not when its place in the tree of places is empty. Both are shown by hashes: no other picture is named, see
//! [`Proof::shown_bits`] for what a proof of absence gives away all the same.

mod neighbours;

use serde::{Deserialize, Serialize};

pub use neighbours::Neighbours;

use super::SnapshotError;
use super::document::{Document, leaf};
use super::root::{Head, Trees, place};
use crate::digest::merkle::{self, InclusionProof};
use crate::digest::{Sha256Digest, canonical_json, sparse};

/// A larger proof is refused, in bytes.
pub const MAX_PROOF_BYTES: usize = 1 << 20;

/// What the Merkle tree holds of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    /// Digest of the file.
    pub image: Sha256Digest,
    /// Digest of the caption.
    pub caption: Sha256Digest,
    /// Digest of the consent record.
    pub consent: Sha256Digest,
}

/// A leaf and its way to the root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenLeaf {
    /// The leaf.
    pub leaf: Leaf,
    /// Its way to the root.
    pub proof: InclusionProof,
}

/// A proof, as its file holds it: canonical JSON, with the format first known by its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "format")]
pub enum Proof {
    /// Of a snapshot of format 1.
    #[serde(rename = "assent.proof/1")]
    Neighbours(Neighbours),
    /// Of a snapshot of format 2.
    #[serde(rename = "assent.proof/2")]
    Places(Places),
}

/// A proof against both trees of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Places {
    /// The root it leads to: compare it with the one in the receipt.
    pub root: Sha256Digest,
    /// What the root stands for.
    pub head: Head,
    /// The picture it is about.
    pub image: Sha256Digest,
    /// What it shows.
    pub shows: Shows,
}

/// What is shown of a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shows {
    /// It is in: its leaf among the members.
    Member(ProvenLeaf),
    /// It is not in: the siblings on the way to its place, from the root downwards, where they are not empty.
    Vacant(Vec<Option<Sha256Digest>>),
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// It does not parse.
    #[error("expected a proof as `assent snapshot prove` writes it, got something else: {0}")]
    Malformed(String),
    /// A value has another form than the one in which it is written.
    #[error("expected the proof in the form in which it is written (canonical JSON), got the same in another form")]
    Form,
    /// The root is not that of its head.
    #[error("the root is not that of the two trees it names")]
    Head,
    /// A leaf does not lead to the root.
    #[error("the leaf of {0} does not lead to the root")]
    Path(Sha256Digest),
    /// The way to its place does not lead to the root of the places.
    #[error("the way to the empty place does not lead to the root")]
    Way,
    /// Its leaves do not show what it says.
    #[error("expected {expected}")]
    Leaves {
        /// What they would have to be.
        expected: &'static str,
    },
}

/// The proof that a picture is in a snapshot, or is not.
///
/// # Errors
/// [`SnapshotError::SharedPlace`] when it is not in and another picture takes its place, which nobody will live to see
/// by chance.
pub fn prove(document: &Document, image: &Sha256Digest) -> Result<Proof, SnapshotError> {
    if document.is_first_format() {
        return Ok(Proof::Neighbours(neighbours::prove(document, image)?));
    }
    let trees = Trees::of(&document.members)?;
    let found = document.members.binary_search_by_key(image, |member| member.image);
    let shows = match found {
        Ok(index) => {
            let leaf = document.members[index].leaf()?;
            merkle::prove(&trees.leaves, index).map(|proof| Shows::Member(ProvenLeaf { leaf, proof }))
        }
        Err(_) => sparse::vacancy(&trees.places, place(image)).map(Shows::Vacant),
    };
    Ok(Proof::Places(Places {
        root: document.root,
        head: trees.head,
        image: *image,
        shows: shows.ok_or(SnapshotError::SharedPlace { image: *image })?,
    }))
}

impl Proof {
    /// The proof in these bytes of a file. Only the bytes that [`Proof::bytes`] gives are taken, so that not one of them
    /// can be another.
    pub fn parse(bytes: &[u8]) -> Result<Proof, ProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            let found = format!("{} bytes, at most {MAX_PROOF_BYTES} are read", bytes.len());
            return Err(ProofError::Malformed(found));
        }
        let proof: Proof = serde_json::from_slice(bytes).map_err(|error| ProofError::Malformed(error.to_string()))?;
        match proof.bytes() {
            Ok(written) if written == bytes.strip_suffix(b"\n").unwrap_or(bytes) => Ok(proof),
            _ => Err(ProofError::Form),
        }
    }

    /// The bytes of its file, without the line end.
    pub fn bytes(&self) -> Result<Vec<u8>, SnapshotError> {
        Ok(canonical_json(self)?)
    }

    /// The root it leads to.
    pub fn root(&self) -> Sha256Digest {
        match self {
            Proof::Neighbours(proof) => proof.root,
            Proof::Places(proof) => proof.root,
        }
    }

    /// The picture it is about.
    pub fn image(&self) -> Sha256Digest {
        match self {
            Proof::Neighbours(proof) => proof.image,
            Proof::Places(proof) => proof.image,
        }
    }

    /// Whether it says that the picture is in.
    pub fn included(&self) -> bool {
        match self {
            Proof::Neighbours(proof) => proof.included,
            Proof::Places(proof) => matches!(proof.shows, Shows::Member(_)),
        }
    }

    /// The digests of other pictures that it names: the neighbours, in a proof of format 1.
    pub fn named(&self) -> usize {
        match self {
            Proof::Neighbours(proof) if !proof.included => proof.leaves.len(),
            _ => 0,
        }
    }

    /// What a proof of absence of format 2 gives away: so many of the first bits of some member's digest, of 256. About
    /// the logarithm to base 2 of the number of members, for whatever picture is asked.
    pub fn shown_bits(&self) -> Option<usize> {
        match self {
            Proof::Places(Places {
                shows: Shows::Vacant(way),
                ..
            }) => Some(sparse::shown_bits(way)),
            _ => None,
        }
    }

    /// Checks that the proof shows what it says. Whether its root is the right one is for the reader to compare.
    ///
    /// # Errors
    /// Says why it shows nothing.
    pub fn check(&self) -> Result<(), ProofError> {
        match self {
            Proof::Neighbours(proof) => proof.check(),
            Proof::Places(proof) => proof.check(),
        }
    }
}

impl Places {
    fn check(&self) -> Result<(), ProofError> {
        if self.head.root().ok() != Some(self.root) {
            return Err(ProofError::Head);
        }
        match &self.shows {
            Shows::Member(ProvenLeaf { leaf: own, proof }) => {
                if own.image != self.image || proof.size as u64 != self.head.count {
                    let expected = "the leaf of the picture itself, in a tree of all members";
                    return Err(ProofError::Leaves { expected });
                }
                match leaf(own).is_ok_and(|hash| merkle::verify(&hash, proof, &self.head.members)) {
                    true => Ok(()),
                    false => Err(ProofError::Path(own.image)),
                }
            }
            Shows::Vacant(way) => match sparse::vacant_root(place(&self.image), way) == Some(self.head.places) {
                true => Ok(()),
                false => Err(ProofError::Way),
            },
        }
    }
}
