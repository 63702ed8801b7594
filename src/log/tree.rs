//! The tree over all entries, and what is published of it.

use super::{Entry, LogError};
use crate::digest::Sha256Digest;
use crate::digest::merkle::{self, InclusionProof};

/// Hashes in a full tile, entries in a full bundle.
const WIDTH: u64 = 256;

/// The entries of a log with the hashes of their leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<Vec<u8>>,
    leaves: Vec<Sha256Digest>,
}

impl FromIterator<Vec<u8>> for Tree {
    fn from_iter<T: IntoIterator<Item = Vec<u8>>>(entries: T) -> Self {
        let entries: Vec<_> = entries.into_iter().collect();
        let leaves = entries.iter().map(|entry| merkle::leaf(entry)).collect();
        Tree { entries, leaves }
    }
}

impl Tree {
    /// How many entries it has.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The root over the first `size` entries; none when there are fewer.
    pub fn root(&self, size: u64) -> Option<Sha256Digest> {
        Some(merkle::root(self.leaves.get(..usize::try_from(size).ok()?)?))
    }

    /// The bytes of an entry.
    pub fn entry(&self, index: u64) -> Option<&[u8]> {
        Some(self.entries.get(usize::try_from(index).ok()?)?)
    }

    /// The entries that parse, with their places.
    pub fn entries(&self) -> impl Iterator<Item = (u64, Result<Entry, LogError>)> {
        (0..).zip(self.entries.iter().map(|bytes| Entry::parse(bytes)))
    }

    /// The way from an entry to the root over the first `size` entries.
    pub fn inclusion(&self, index: u64, size: u64) -> Option<InclusionProof> {
        let leaves = self.leaves.get(..usize::try_from(size).ok()?)?;
        merkle::prove(leaves, usize::try_from(index).ok()?)
    }

    /// What shows that the first `second` entries begin with the first `first`.
    pub fn consistency(&self, first: u64, second: u64) -> Option<Vec<Sha256Digest>> {
        let leaves = self.leaves.get(..usize::try_from(second).ok()?)?;
        merkle::consistency(leaves, usize::try_from(first).ok()?)
    }

    /// Every tile and bundle of the tree with its path below the log's prefix. <https://c2sp.org/tlog-tiles>
    pub fn tiles(&self) -> Vec<(String, Vec<u8>)> {
        let mut files = Vec::new();
        for (index, bundle) in (0..).zip(self.entries.chunks(WIDTH as usize)) {
            let mut bytes = Vec::new();
            for entry in bundle {
                // An entry is never longer: it would not have been taken.
                bytes.extend(u16::try_from(entry.len()).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend(entry);
            }
            files.push((path("entries", index, bundle.len()), bytes));
        }
        let mut hashes = self.leaves.clone();
        for level in 0.. {
            for (index, tile) in (0..).zip(hashes.chunks(WIDTH as usize)) {
                let bytes = tile.iter().flat_map(|hash| *hash.as_bytes()).collect();
                files.push((path(&format!("{level}"), index, tile.len()), bytes));
            }
            // A level above holds the roots of the full tiles below.
            hashes = hashes.chunks_exact(WIDTH as usize).map(merkle::root).collect();
            if hashes.is_empty() {
                break;
            }
        }
        files
    }
}

/// `tile/L/N`, with `.p/W` where the tile is not full.
fn path(level: &str, index: u64, width: usize) -> String {
    let mut number = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        number = format!("x{:03}/{number}", rest % 1000);
        rest /= 1000;
    }
    match width as u64 == WIDTH {
        true => format!("tile/{level}/{number}"),
        false => format!("tile/{level}/{number}.p/{width}"),
    }
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn paths_are_those_of_the_specification() {
        assert_eq!(path("0", 1_234_067, 256), "tile/0/x001/x234/067");
        assert_eq!(path("entries", 0, 7), "tile/entries/000.p/7");
        assert_eq!(path("1", 1000, 256), "tile/1/x001/000");
    }
}
