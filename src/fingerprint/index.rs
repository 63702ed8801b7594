//! Exact search among fingerprints: every one is compared, which stays in milliseconds for tens of thousands.

use super::Fingerprint;

/// A fingerprint near another, and how near.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Near<K> {
    /// Whose fingerprint it is.
    pub key: K,
    /// Hamming distance in bits.
    pub distance: u32,
}

/// Fingerprints with their keys.
#[derive(Debug, Clone)]
pub struct Index<K> {
    entries: Vec<(K, Fingerprint)>,
}

impl<K: Copy + Ord> Index<K> {
    /// An index over these; those that say too little to match on are left out.
    pub fn new(entries: impl IntoIterator<Item = (K, Fingerprint)>) -> Self {
        Index {
            entries: entries.into_iter().filter(|(_, print)| print.is_usable()).collect(),
        }
    }

    /// Those at most `distance` from `print`, the nearest first, then by key.
    pub fn near(&self, print: &Fingerprint, distance: u32) -> Vec<Near<K>> {
        let mut near: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, other)| print.comparable(other))
            .map(|(key, other)| Near {
                key: *key,
                distance: print.distance(other),
            })
            .filter(|near| near.distance <= distance)
            .collect();
        near.sort_by_key(|near| (near.distance, near.key));
        near
    }

    /// Every pair at most `distance` apart, by key: `(a, b, distance)` with `a < b`.
    pub fn pairs(&self, distance: u32) -> Vec<(K, K, u32)> {
        let mut pairs = Vec::new();
        for (position, (a, print)) in self.entries.iter().enumerate() {
            for (b, other) in &self.entries[position + 1..] {
                if print.comparable(other) {
                    let found = print.distance(other);
                    if found <= distance {
                        pairs.push((*a.min(b), *a.max(b), found));
                    }
                }
            }
        }
        pairs.sort();
        pairs
    }
}
