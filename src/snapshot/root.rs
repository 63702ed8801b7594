//! What the root of a snapshot stands for: its members in order, and the places that they take.
//!
//! Two trees are made of the same members. In the first each leaf holds digests of picture, caption and consent, sorted
//! by picture: it shows that a picture is in, and under which consent. In the second each picture takes the place that
//! the first 64 bits of its digest number: it shows that a picture is not in, by hashes that name no other. The leaf
//! there is hashed with a salt that is made of all members, so that whoever holds a picture cannot look for its leaf.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::document::Entry;
use super::{Leaf, SnapshotError};
use crate::digest::{Sha256Digest, canonical_json, merkle, sparse};

/// What the salt's digest begins with.
const SALT: &[u8] = b"assent.places/1\n";

/// The two trees of a snapshot and how many members they hold: the root is the RFC 6962 leaf hash of its canonical JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// How many members there are.
    pub count: u64,
    /// Merkle root over the members' leaves, sorted by picture.
    pub members: Sha256Digest,
    /// Root of the sparse tree over their places.
    pub places: Sha256Digest,
}

impl Head {
    /// The snapshot's root.
    pub fn root(&self) -> Result<Sha256Digest, SnapshotError> {
        Ok(merkle::leaf(&canonical_json(self)?))
    }
}

/// The place of a picture.
pub(super) fn place(image: &Sha256Digest) -> u64 {
    image.as_bytes()[..8]
        .iter()
        .fold(0, |place, byte| place << 8 | u64::from(*byte))
}

/// Both trees, leaf by leaf.
pub(super) struct Trees {
    /// The members' leaf hashes, in order.
    pub leaves: Vec<Sha256Digest>,
    /// Their places with the salted leaf hashes, in order.
    pub places: Vec<(u64, Sha256Digest)>,
    /// Their roots.
    pub head: Head,
}

impl Trees {
    /// The trees of these members, which are sorted.
    pub fn of(members: &[Entry]) -> Result<Trees, SnapshotError> {
        let mut salt = Sha256::new_with_prefix(SALT);
        let mut leaves = Vec::with_capacity(members.len());
        for member in members {
            let leaf: Leaf = member.leaf()?;
            let bytes = canonical_json(&leaf)?;
            salt.update(&bytes);
            leaves.push(merkle::leaf(&bytes));
        }
        // Thirty-two bytes and thirty-two bytes: no other salt and picture give the same ones.
        let salt: [u8; 32] = salt.finalize().into();
        let salted = |image: &Sha256Digest| merkle::leaf(&[salt, *image.as_bytes()].concat());
        let places: Vec<_> = members
            .iter()
            .map(|member| (place(&member.image), salted(&member.image)))
            .collect();
        let head = Head {
            count: leaves.len() as u64,
            members: merkle::root(&leaves),
            places: sparse::root(&places),
        };
        Ok(Trees { leaves, places, head })
    }
}
