//! Sparse Merkle trees: one place for each 64-bit number, so that a place can be shown to be empty by hashes alone.
//!
//! The tree has 64 levels below its root. An empty subtree, of whatever height, is [`EMPTY`]; any other is the RFC 6962
//! node over its halves. The way to an empty place holds the sibling at each level: hashes of whole subtrees, which name
//! nothing that is in them. What a reader learns is which of the subtrees beside the way are empty, see
//! [`shown_bits`].

use super::Sha256Digest;
use super::merkle::node;

/// Stands for a subtree without leaves. Nobody knows bytes that hash to it.
pub const EMPTY: Sha256Digest = Sha256Digest::from_bytes([0; 32]);

/// Levels below the root.
const LEVELS: u32 = u64::BITS;

/// Whether a place lies in the right half, at this level counted from the root.
fn right(place: u64, level: u32) -> bool {
    place >> (LEVELS - 1 - level) & 1 == 1
}

/// The node over two subtrees, of which one or both may be empty.
fn join(left: &Sha256Digest, right: &Sha256Digest) -> Sha256Digest {
    match *left == EMPTY && *right == EMPTY {
        true => EMPTY,
        false => node(left, right),
    }
}

/// The root over leaves at their places, which are sorted and differ.
pub fn root(leaves: &[(u64, Sha256Digest)]) -> Sha256Digest {
    subtree(leaves, 0)
}

/// The subtree at a level that holds these leaves.
fn subtree(leaves: &[(u64, Sha256Digest)], level: u32) -> Sha256Digest {
    match leaves {
        [] => EMPTY,
        // One leaf, or several at one place, of which the first counts: the way up without looking for others.
        [(place, leaf), ..] if leaves.len() == 1 || level == LEVELS => {
            (level..LEVELS)
                .rev()
                .fold(*leaf, |hash, level| match right(*place, level) {
                    true => node(&EMPTY, &hash),
                    false => node(&hash, &EMPTY),
                })
        }
        _ => {
            let (left, right) = halves(leaves, level);
            join(&subtree(left, level + 1), &subtree(right, level + 1))
        }
    }
}

type Half<'a> = &'a [(u64, Sha256Digest)];

/// The leaves that go left and right at a level.
fn halves(leaves: &[(u64, Sha256Digest)], level: u32) -> (Half<'_>, Half<'_>) {
    leaves.split_at(leaves.partition_point(|(place, _)| !right(*place, level)))
}

/// The way to an empty place: the siblings from the root downwards, none where a sibling is empty too, up to the last
/// that is not. None when the place is taken.
pub fn vacancy(leaves: &[(u64, Sha256Digest)], place: u64) -> Option<Vec<Option<Sha256Digest>>> {
    let (mut rest, mut siblings) = (leaves, Vec::new());
    for level in 0..LEVELS {
        if rest.is_empty() {
            break;
        }
        let (left, over) = halves(rest, level);
        let (own, other) = if right(place, level) {
            (over, left)
        } else {
            (left, over)
        };
        siblings.push(Some(subtree(other, level + 1)).filter(|hash| *hash != EMPTY));
        rest = own;
    }
    rest.is_empty().then_some(siblings)
}

/// The root of a tree in which this place is empty and these are the siblings on the way to it; none when they cannot
/// be that.
pub fn vacant_root(place: u64, siblings: &[Option<Sha256Digest>]) -> Option<Sha256Digest> {
    let levels = u32::try_from(siblings.len()).ok().filter(|count| *count <= LEVELS)?;
    // One way to write it: the last sibling is a subtree with leaves, and no subtree is said to hash to nothing.
    if siblings.last().is_some_and(Option::is_none) || siblings.contains(&Some(EMPTY)) {
        return None;
    }
    let steps = (0..levels).zip(siblings).rev();
    Some(steps.fold(EMPTY, |hash, (level, sibling)| {
        let sibling = sibling.unwrap_or(EMPTY);
        match right(place, level) {
            true => join(&sibling, &hash),
            false => join(&hash, &sibling),
        }
    }))
}

/// Of how many bits of some leaf's place this way tells: those it shares with this one, and one in which it differs.
pub fn shown_bits(siblings: &[Option<Sha256Digest>]) -> usize {
    siblings.len()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn leaves(places: &BTreeMap<u64, u8>) -> Vec<(u64, Sha256Digest)> {
        let leaf = |(place, byte): (&u64, &u8)| (*place, super::super::merkle::leaf(&[*byte]));
        places.iter().map(leaf).collect()
    }

    /// Sixty-four levels, one after the other, without any shortcut.
    fn slow(leaves: &[(u64, Sha256Digest)], level: u32) -> Sha256Digest {
        if level == LEVELS {
            return leaves.first().map_or(EMPTY, |leaf| leaf.1);
        }
        if leaves.is_empty() {
            return EMPTY;
        }
        let (left, right) = halves(leaves, level);
        join(&slow(left, level + 1), &slow(right, level + 1))
    }

    proptest! {
        // Places close together, so that ways part late as well as early.
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_empty_place_is_shown_and_a_taken_one_cannot_be(
            places in prop::collection::btree_map(prop_oneof![any::<u64>(), 0u64..16], any::<u8>(), 0..24),
            asked in prop_oneof![any::<u64>(), 0u64..16],
            bit in 0usize..256,
        ) {
            let leaves = leaves(&places);
            let root = root(&leaves);
            prop_assert_eq!(root, slow(&leaves, 0));
            let way = vacancy(&leaves, asked);
            prop_assert_eq!(way.is_none(), places.contains_key(&asked));
            if let Some(way) = way {
                prop_assert_eq!(vacant_root(asked, &way), Some(root));
                // The same way does not show that a taken place is empty, and no changed way shows anything.
                for place in places.keys() {
                    prop_assert_ne!(vacant_root(*place, &way), Some(root));
                }
                for at in 0..way.len() {
                    let mut bent = way.clone();
                    bent[at] = match bent[at] {
                        None => Some(root),
                        Some(hash) => {
                            let mut bytes = *hash.as_bytes();
                            bytes[bit / 8] ^= 1 << (bit % 8);
                            Some(Sha256Digest::from_bytes(bytes))
                        }
                    };
                    prop_assert_ne!(vacant_root(asked, &bent), Some(root));
                    bent[at] = None;
                    if way[at].is_some() {
                        prop_assert_ne!(vacant_root(asked, &bent), Some(root));
                    }
                }
                let mut longer = way.clone();
                longer.push(None);
                prop_assert_eq!(vacant_root(asked, &longer), None);
                let shorter = &way[..way.len().saturating_sub(1)];
                if !way.is_empty() {
                    prop_assert_ne!(vacant_root(asked, shorter), Some(root));
                }
            }
        }
    }

    #[test]
    fn nothing_is_empty() {
        assert_eq!(root(&[]), EMPTY);
        assert_eq!(vacancy(&[], 7), Some(Vec::new()));
        assert_eq!(vacant_root(7, &[]), Some(EMPTY));
        assert_eq!(vacant_root(7, &[None]), None);
        assert_eq!(vacant_root(7, &[Some(EMPTY)]), None);
        assert_eq!(vacant_root(7, &[Some(node(&EMPTY, &EMPTY)); 65]), None);
    }
}
