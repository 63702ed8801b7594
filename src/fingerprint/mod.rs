//! Perceptual fingerprints: which pictures show the same thing after a re-encode, a resize, a mirror or a small crop.
//!
//! Pure numbers: no files, no SQL. A fingerprint is made of a small plane of luma that is filled strip by strip while
//! somebody else decodes, so a picture is decoded once.
//!
//! A crop of at most a tenth of its width and of its height is looked for: mostly the core of a picture, its inner eight
//! tenths, lies in both. A fingerprint
//! holds the hash of its core, upright and mirrored, and the hashes of 97 windows: the places where the core of another
//! picture lies in this one when neither or one of the two is a crop of the other.
//!
//! A picture *finds* another when a window of it and a core of the other differ in at most 4 of their first 48 bits
//! and in at most [`DOUBTFUL`] of all 135; the distance is the least of these. [`Index`] searches by the 48 bits, and
//! misses nothing that this definition calls near. Two pictures are near when either finds the other;
//! [`Fingerprint::distance`] is the lesser of both ways.
//!
//! [`Pdq`] is another hash, by which opt-out lists name pictures.

mod hash;
mod index;
mod pdq;
mod sketch;
#[cfg(test)]
mod tests;

pub use index::{Codes, Index};
pub use pdq::{PDQ_DISTANCE, PDQ_QUALITY, Pdq, PdqIndex, PdqPrint};
pub use sketch::{Look, Sketch};

use hash::{BITS, HASH_BYTES, Hash, WINDOWS};
use index::{CODE_BITS, CODE_DISTANCE};

/// Two pictures at this distance or nearer show the same thing.
pub const SAME: u32 = 14;
/// Beyond [`SAME`] and up to this distance a person should look.
pub const DOUBTFUL: u32 = 22;
/// Fingerprints of a lower quality say too little to match on: flat or nearly empty pictures.
pub const LEAST_QUALITY: u8 = 2;
/// Cores with fewer frequencies say too little: a circle, a chessboard.
const LEAST_DETAIL: u8 = 40;

/// The version of what fingerprints hold: those of another are made anew.
pub const VERSION: u8 = 3;
/// Pictures whose aspect ratios differ by more than this factor are not crops of at most a tenth of each other.
const ASPECT_SLACK: f32 = 1.3;
const CODE_MASK: u64 = (1 << CODE_BITS) - 1;

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
    /// Frequencies of the core that are not nothing.
    detail: u8,
    /// Bits of the aspect ratio, width through height, as `f32`.
    aspect: u32,
    core: Hash,
    mirrored: Hash,
    windows: Vec<Hash>,
}

impl Fingerprint {
    /// How much there is to see, from 0 (one colour) to 100.
    pub fn quality(&self) -> u8 {
        self.quality
    }

    /// Whether there is enough to see for a match to mean something.
    pub fn is_usable(&self) -> bool {
        self.quality >= LEAST_QUALITY && self.detail >= LEAST_DETAIL
    }

    /// What the index holds of it; nothing when it says too little to match on.
    pub fn codes(&self) -> Option<Codes> {
        self.is_usable().then_some(Codes {
            core: self.core.0[0] & CODE_MASK,
            mirrored: self.mirrored.0[0] & CODE_MASK,
        })
    }

    /// How far apart two pictures are, 0 to [`DOUBTFUL`], whichever of them finds the other; nothing when neither does.
    pub fn distance(&self, other: &Fingerprint) -> Option<u32> {
        if !self.comparable(other) {
            return None;
        }
        let ways = [self.finds(other), other.finds(self)];
        ways.into_iter().flatten().min()
    }

    /// The distance at which this picture finds another.
    pub fn finds(&self, other: &Fingerprint) -> Option<u32> {
        if !self.comparable(other) {
            return None;
        }
        let near = |window: &Hash, core: &Hash| {
            let code = ((window.0[0] ^ core.0[0]) & CODE_MASK).count_ones();
            (code <= CODE_DISTANCE).then(|| window.distance(core))
        };
        let cores = [&other.core, &other.mirrored];
        let distances = self
            .windows
            .iter()
            .flat_map(|window| cores.iter().filter_map(move |core| near(window, core)));
        distances.min().filter(|distance| *distance <= DOUBTFUL)
    }

    /// Whether both say enough and have about the same shape.
    fn comparable(&self, other: &Fingerprint) -> bool {
        let (a, b) = (f32::from_bits(self.aspect), f32::from_bits(other.aspect));
        self.is_usable() && other.is_usable() && a.max(b) <= a.min(b) * ASPECT_SLACK
    }

    fn window_codes(&self) -> impl Iterator<Item = u64> {
        self.windows.iter().map(|window| window.0[0] & CODE_MASK)
    }

    /// The bytes the registry holds.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::BYTES);
        bytes.extend([VERSION, self.quality, self.detail]);
        bytes.extend(self.aspect.to_le_bytes());
        for hash in [&self.core, &self.mirrored].into_iter().chain(&self.windows) {
            bytes.extend(hash.to_bytes());
        }
        bytes
    }

    /// The fingerprint that [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FingerprintError> {
        let (Some(&[version, quality, detail]), Some(&aspect)) = (
            bytes.first_chunk::<3>(),
            bytes.get(3..).and_then(|b| b.first_chunk::<4>()),
        ) else {
            return Err(Self::length(bytes));
        };
        if version != VERSION {
            return Err(FingerprintError::Version {
                found: version,
                expected: VERSION,
            });
        }
        if bytes.len() != Self::BYTES {
            return Err(Self::length(bytes));
        }
        let mut hashes = bytes[HEAD..].chunks_exact(HASH_BYTES).map(Hash::from_bytes);
        Ok(Fingerprint {
            quality,
            detail,
            aspect: u32::from_le_bytes(aspect),
            core: hashes.next().unwrap_or_default(),
            mirrored: hashes.next().unwrap_or_default(),
            windows: hashes.collect(),
        })
    }

    fn length(bytes: &[u8]) -> FingerprintError {
        FingerprintError::Length {
            found: bytes.len(),
            expected: Self::BYTES,
        }
    }

    const BYTES: usize = HEAD + HASH_BYTES * (WINDOWS + 2);
}

const HEAD: usize = 7;
const _: () = assert!(BITS == 135);
