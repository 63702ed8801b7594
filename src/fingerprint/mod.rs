//! Perceptual fingerprints: which pictures show the same thing after a re-encode, a resize, a mirror or a small crop.
//!
//! Pure numbers: no files, no SQL. A fingerprint is made of a small plane of luma that is filled strip by strip while
//! somebody else decodes, so a picture is decoded once.
//!
//! A fingerprint holds the hash of the whole picture, of its mirror image, and of windows cut from it. A crop is then
//! found by comparing the whole of one picture against the windows of the other, both ways round: the distance
//! between two pictures is the smallest of these Hamming distances.

mod hash;
mod index;
mod sketch;
#[cfg(test)]
mod tests;

pub use index::{Index, Near};
pub use sketch::Sketch;

use hash::{BITS, Hash, WINDOWS, WORDS};

/// Two pictures at this distance or nearer show the same thing.
pub const SAME: u32 = 18;
/// Beyond [`SAME`] and up to this distance a person should look.
pub const DOUBTFUL: u32 = 26;
/// Fingerprints of a lower quality say too little to match on: flat or nearly empty pictures.
pub const LEAST_QUALITY: u8 = 2;

/// The version of what fingerprints hold: those of another are made anew.
pub const VERSION: u8 = 2;
/// Whole pictures farther apart than this are never crops of each other, so their windows need no look: it saves
/// nearly all the work on pictures that have nothing to do with each other.
const HOPELESS: u32 = 56;
/// Pictures whose aspect ratios differ by more than this factor are not crops of at most a tenth of each other.
const ASPECT_SLACK: f32 = 1.3;

/// What a stored fingerprint may have wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Its length is not that of this version.
    #[error("a fingerprint of {found} bytes, expected {expected}")]
    Length {
        /// Bytes found.
        found: usize,
        /// Bytes of this version.
        expected: usize,
    },
    /// It was made by another version of the program, with other bits.
    #[error("a fingerprint of version {found}, expected {expected}")]
    Version {
        /// Version found.
        found: u8,
        /// This version.
        expected: u8,
    },
}

/// What a picture looks like, in hashes of 135 bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    quality: u8,
    /// Bits of the aspect ratio, width through height, as `f32`.
    aspect: u32,
    mirrored: Hash,
    /// The whole picture first, then what is left after crops.
    windows: [Hash; WINDOWS],
}

impl Fingerprint {
    /// How much there is to see, from 0 (one colour) to 100.
    pub fn quality(&self) -> u8 {
        self.quality
    }

    /// Whether there is enough to see for a match to mean something.
    pub fn is_usable(&self) -> bool {
        self.quality >= LEAST_QUALITY
    }

    /// The smallest Hamming distance between the whole of one picture, or its mirror image, and any window of the
    /// other: 0 (the same) to 135. Symmetric.
    pub fn distance(&self, other: &Fingerprint) -> u32 {
        let [whole, ..] = &self.windows;
        let [other_whole, ..] = &other.windows;
        // Each way round for the mirror image, so that the answer is symmetric.
        let upright = whole.distance(other_whole);
        let mirrored = self.mirrored.distance(other_whole).min(other.mirrored.distance(whole));
        let mut least = upright.min(mirrored);
        if upright <= HOPELESS {
            least = least.min(other.nearest(whole)).min(self.nearest(other_whole));
        }
        if mirrored <= HOPELESS {
            least = least
                .min(other.nearest(&self.mirrored))
                .min(self.nearest(&other.mirrored));
        }
        least
    }

    /// Whether both say enough, have about the same shape, and are at most `distance` apart.
    pub fn matches(&self, other: &Fingerprint, distance: u32) -> bool {
        self.comparable(other) && self.distance(other) <= distance
    }

    fn comparable(&self, other: &Fingerprint) -> bool {
        let (a, b) = (f32::from_bits(self.aspect), f32::from_bits(other.aspect));
        self.is_usable() && other.is_usable() && a.max(b) <= a.min(b) * ASPECT_SLACK
    }

    fn nearest(&self, hash: &Hash) -> u32 {
        self.windows
            .iter()
            .map(|window| window.distance(hash))
            .min()
            .unwrap_or(BITS)
    }

    /// The bytes the registry holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend([VERSION, self.quality]);
        bytes.extend(self.aspect.to_le_bytes());
        for hash in std::iter::once(&self.mirrored).chain(&self.windows) {
            bytes.extend(hash.0.iter().flat_map(|word| word.to_le_bytes()));
        }
        bytes
    }

    /// The fingerprint that [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FingerprintError> {
        let (Some(&[version, quality]), Some(&aspect), true) = (
            bytes.first_chunk::<2>(),
            bytes.get(2..).and_then(|b| b.first_chunk::<4>()),
            bytes.len() == Self::BYTES,
        ) else {
            return Err(FingerprintError::Length {
                found: bytes.len(),
                expected: Self::BYTES,
            });
        };
        if version != VERSION {
            return Err(FingerprintError::Version {
                found: version,
                expected: VERSION,
            });
        }
        let mut hashes = bytes[HEAD..].chunks_exact(HASH_BYTES).map(Hash::from_bytes);
        let mirrored = hashes.next().unwrap_or_default();
        let windows = std::array::from_fn(|_| hashes.next().unwrap_or_default());
        Ok(Fingerprint {
            quality,
            aspect: u32::from_le_bytes(aspect),
            mirrored,
            windows,
        })
    }

    const BYTES: usize = HEAD + HASH_BYTES * (WINDOWS + 1);
}

const HEAD: usize = 6;
const HASH_BYTES: usize = WORDS * 8;
