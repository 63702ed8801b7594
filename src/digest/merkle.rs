//! Merkle trees as in RFC 6962: a leaf is hashed behind the byte 0x00, a node behind 0x01, and a tree of n leaves
//! splits at the largest power of two below n. The order of the leaves is part of the root.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Sha256Digest;

/// The hash of a leaf that holds these bytes: SHA-256(0x00 ‖ data).
pub fn leaf(data: &[u8]) -> Sha256Digest {
    Sha256Digest::from_bytes(Sha256::new().chain_update([0]).chain_update(data).finalize().into())
}

/// The hash of the node over two subtrees: SHA-256(0x01 ‖ left ‖ right).
pub fn node(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    let hasher = Sha256::new()
        .chain_update([1])
        .chain_update(left.as_bytes())
        .chain_update(right.as_bytes());
    Sha256Digest::from_bytes(hasher.finalize().into())
}

/// The largest power of two strictly below `size`, for `size` ≥ 2.
fn split(size: usize) -> usize {
    1 << (usize::BITS - 1 - (size - 1).leading_zeros())
}

/// The root of a tree over these leaf hashes (see [`leaf`]); of no leaves it is the SHA-256 of nothing.
pub fn root(leaves: &[Sha256Digest]) -> Sha256Digest {
    match leaves {
        [] => Sha256Digest::of_bytes(&[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(split(leaves.len()));
            node(&root(left), &root(right))
        }
    }
}

/// The way from one leaf to the root: the sibling at each step, from the leaf upwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InclusionProof {
    /// Position of the leaf, from 0.
    pub index: usize,
    /// How many leaves the tree has.
    pub size: usize,
    /// The siblings, from the leaf upwards.
    pub path: Vec<Sha256Digest>,
}

/// The proof that the leaf at `index` is in the tree; none when there is no such leaf.
pub fn prove(leaves: &[Sha256Digest], index: usize) -> Option<InclusionProof> {
    if index >= leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    collect(leaves, index, &mut path);
    Some(InclusionProof {
        index,
        size: leaves.len(),
        path,
    })
}

/// Pushes the siblings of the leaf at `index`, the lowest first.
fn collect(leaves: &[Sha256Digest], index: usize, path: &mut Vec<Sha256Digest>) {
    if leaves.len() < 2 {
        return;
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    if index < middle {
        collect(left, index, path);
        path.push(root(right));
    } else {
        collect(right, index - middle, path);
        path.push(root(left));
    }
}

/// Whether `proof` leads from the leaf hash to `root`, at its index in a tree of its size.
pub fn verify(leaf: &Sha256Digest, proof: &InclusionProof, root: &Sha256Digest) -> bool {
    if proof.index >= proof.size {
        return false;
    }
    // RFC 9162, section 2.1.3.2: `first` walks up from the leaf, `last` from the right edge.
    let (mut first, mut last) = (proof.index, proof.size - 1);
    let mut hash = *leaf;
    for sibling in &proof.path {
        if last == 0 {
            return false;
        }
        if first & 1 == 1 || first == last {
            hash = node(sibling, &hash);
            while first & 1 == 0 && first != 0 {
                first >>= 1;
                last >>= 1;
            }
        } else {
            hash = node(&hash, sibling);
        }
        first >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// The hashes that show a tree over the first `first` leaves to be the beginning of the tree over all of them (RFC 9162,
/// section 2.1.4.1); none when there are fewer leaves.
pub fn consistency(leaves: &[Sha256Digest], first: usize) -> Option<Vec<Sha256Digest>> {
    let mut path = Vec::new();
    match first {
        _ if first > leaves.len() => return None,
        0 => {}
        _ => subproof(leaves, first, true, &mut path),
    }
    Some(path)
}

/// `whole`: whether the first leaves were a subtree of the earlier tree, whose root the reader has.
fn subproof(leaves: &[Sha256Digest], first: usize, whole: bool, path: &mut Vec<Sha256Digest>) {
    if first == leaves.len() {
        if !whole {
            path.push(root(leaves));
        }
        return;
    }
    let middle = split(leaves.len());
    let (left, right) = leaves.split_at(middle);
    if first <= middle {
        subproof(left, first, whole, path);
        path.push(root(right));
    } else {
        subproof(right, first - middle, false, path);
        path.push(root(left));
    }
}

/// Whether `path` shows that a tree of this size and root begins with an earlier one of that size and root (RFC 9162,
/// section 2.1.4.2). Every tree begins with the empty one.
pub fn consistent(
    (first, first_root): (u64, &Sha256Digest),
    (second, second_root): (u64, &Sha256Digest),
    path: &[Sha256Digest],
) -> bool {
    if first == 0 || first >= second {
        let same = first == second && first_root == second_root;
        let empty = first == 0 && *first_root == root(&[]);
        return path.is_empty() && (same || empty && second > 0);
    }
    // Where the earlier tree is a whole subtree, its root is the first hash.
    let (start, rest) = match (first.is_power_of_two(), path) {
        (true, rest) => (*first_root, rest),
        (false, [start, rest @ ..]) => (*start, rest),
        (false, []) => return false,
    };
    let (mut at, mut last) = (first - 1, second - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut earlier, mut later) = (start, start);
    for hash in rest {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            earlier = node(hash, &earlier);
            later = node(hash, &later);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            later = node(&later, hash);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && earlier == *first_root && later == *second_root
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaves(size: usize) -> Vec<Sha256Digest> {
        (0..size).map(|index| leaf(&index.to_le_bytes())).collect()
    }

    #[test]
    fn known_roots_of_rfc_6962() {
        // Values of the certificate-transparency reference tests: leaves "", 0x00, 0x10, 0x2021, 0x3031.
        let data: [&[u8]; 5] = [b"", b"\x00", b"\x10", b"\x20\x21", b"\x30\x31"];
        let hashes: Vec<_> = data.iter().map(|data| leaf(data)).collect();
        let expected = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        ];
        for (size, expected) in expected.iter().enumerate() {
            assert_eq!(root(&hashes[..size]).to_string(), *expected, "size {size}");
        }
    }

    proptest! {
        #[test]
        fn every_proof_verifies_and_no_other_leaf_index_or_size_does(size in 1usize..70, at in 0usize..70, other in 0usize..70) {
            let (at, other) = (at % size, other % size);
            let leaves = leaves(size);
            let root = root(&leaves);
            let proof = prove(&leaves, at).unwrap();
            prop_assert!(verify(&leaves[at], &proof, &root));
            if other != at {
                prop_assert!(!verify(&leaves[other], &proof, &root));
                let moved = InclusionProof { index: other, ..proof.clone() };
                prop_assert!(!verify(&leaves[at], &moved, &root));
            }
            let mut longer = proof.clone();
            longer.path.push(leaves[0]);
            prop_assert!(!verify(&leaves[at], &longer, &root));
            for bit in 0..proof.path.len() {
                let mut bent = proof.clone();
                let mut bytes = *bent.path[bit].as_bytes();
                bytes[bit % 32] ^= 1;
                bent.path[bit] = Sha256Digest::from_bytes(bytes);
                prop_assert!(!verify(&leaves[at], &bent, &root));
            }
        }

        #[test]
        fn a_changed_leaf_changes_the_root(size in 1usize..70, at in 0usize..70) {
            let mut changed = leaves(size);
            let before = root(&changed);
            changed[at % size] = leaf(b"another");
            prop_assert_ne!(root(&changed), before);
        }

        #[test]
        fn a_tree_continues_its_beginnings_and_nothing_else(size in 1usize..70, at in 0usize..70, bit in 0usize..256) {
            let leaves = leaves(size);
            let first = at % (size + 1);
            let path = consistency(&leaves, first).unwrap();
            let (before, after) = (root(&leaves[..first]), root(&leaves));
            let shown = |first: usize, before: &Sha256Digest, size: usize, after: &Sha256Digest, path: &[Sha256Digest]| {
                consistent((first as u64, before), (size as u64, after), path)
            };
            prop_assert!(shown(first, &before, size, &after, &path));
            let turned = |hash: &Sha256Digest| {
                let mut bytes = *hash.as_bytes();
                bytes[bit / 8] ^= 1 << (bit % 8);
                Sha256Digest::from_bytes(bytes)
            };
            prop_assert!(!shown(first, &turned(&before), size, &after, &path));
            if first > 0 {
                prop_assert!(!shown(first, &before, size, &turned(&after), &path));
            }
            for at in 0..path.len() {
                let mut bent = path.clone();
                bent[at] = turned(&bent[at]);
                prop_assert!(!shown(first, &before, size, &after, &bent));
                prop_assert!(!shown(first, &before, size, &after, &path[..at]));
            }
            let longer = [path.as_slice(), &[after]].concat();
            prop_assert!(!shown(first, &before, size, &after, &longer));
            // A rewritten beginning is no beginning.
            if first > 0 {
                let mut other = leaves.clone();
                other[first - 1] = leaf(b"another");
                prop_assert!(!shown(first, &root(&other[..first]), size, &after, &path));
                let forged = consistency(&other, first).unwrap();
                prop_assert!(!shown(first, &before, size, &root(&other), &forged));
            }
            prop_assert_eq!(consistency(&leaves, size + 1), None);
        }
    }
}
