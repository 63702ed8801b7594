//! The proofs of snapshots of format 1, whose root is that of the members alone.
//!
//! A picture is in when its leaf leads to the root; it is not when two leaves that stand next to each other lead to the
//! root, one below it and one above (or the first leaf is above, or the last one below). So a proof of absence names the
//! two pictures around the gap by their digests.

use serde::{Deserialize, Serialize};

use super::{ProofError, ProvenLeaf};
use crate::digest::{Sha256Digest, merkle};
use crate::snapshot::SnapshotError;
use crate::snapshot::document::{Document, leaf};

/// A proof, as its file holds it behind `format`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Neighbours {
    /// Name of the snapshot, for people.
    pub snapshot: String,
    /// The root it leads to: compare it with the one in the receipt.
    pub root: Sha256Digest,
    /// The picture it is about.
    pub image: Sha256Digest,
    /// Whether the picture is in.
    pub included: bool,
    /// The picture's own leaf when it is in, else its neighbours: below first.
    pub leaves: Vec<ProvenLeaf>,
}

/// The proof that a picture is in a snapshot, or is not.
pub(super) fn prove(document: &Document, image: &Sha256Digest) -> Result<Neighbours, SnapshotError> {
    let leaves = document.leaves()?;
    let proven = |index: usize| -> Result<Option<ProvenLeaf>, SnapshotError> {
        match (document.members.get(index), merkle::prove(&leaves, index)) {
            (Some(member), Some(proof)) => Ok(Some(ProvenLeaf {
                leaf: member.leaf()?,
                proof,
            })),
            _ => Ok(None),
        }
    };
    let (included, shown) = match document.members.binary_search_by_key(image, |member| member.image) {
        Ok(index) => (true, vec![proven(index)?]),
        Err(0) => (false, vec![proven(0)?]),
        Err(above) => (false, vec![proven(above - 1)?, proven(above)?]),
    };
    Ok(Neighbours {
        snapshot: document.name.clone(),
        root: document.root,
        image: *image,
        included,
        leaves: shown.into_iter().flatten().collect(),
    })
}

impl Neighbours {
    /// Checks that the proof shows what it says. Whether its root is the right one is for the reader to compare.
    ///
    /// # Errors
    /// Says why it shows nothing.
    pub(super) fn check(&self) -> Result<(), ProofError> {
        for proven in &self.leaves {
            let whole = leaf(&proven.leaf).is_ok_and(|hash| merkle::verify(&hash, &proven.proof, &self.root));
            if !whole {
                return Err(ProofError::Path(proven.leaf.image));
            }
        }
        let wrong = |expected| Err(ProofError::Leaves { expected });
        match (self.included, self.leaves.as_slice()) {
            (true, [only]) if only.leaf.image == self.image => Ok(()),
            (true, _) => wrong("one leaf, of the picture itself"),
            (false, []) if self.root == merkle::root(&[]) => Ok(()),
            (false, [only]) => {
                let first = only.proof.index == 0 && self.image < only.leaf.image;
                let last = only.proof.index + 1 == only.proof.size && only.leaf.image < self.image;
                if first || last {
                    Ok(())
                } else {
                    wrong("the first leaf, above the picture, or the last one, below it")
                }
            }
            (false, [below, above]) => {
                let next = below.proof.index + 1 == above.proof.index && below.proof.size == above.proof.size;
                let around = below.leaf.image < self.image && self.image < above.leaf.image;
                if next && around {
                    Ok(())
                } else {
                    wrong("two leaves next to each other with the picture between")
                }
            }
            (false, _) => wrong("one or two leaves next to where the picture would be"),
        }
    }
}
