//! Digests: SHA-256 of bytes and files, BLAKE3 of decoded pixels, canonical JSON, Merkle trees and their proofs.
//!
//! Uses no other room. It also holds the one way in which artefacts reach the disk ([`write_atomic`]): a temporary
//! file beside the target, then a rename, so that a reader sees the old bytes or the new, never half of them.

mod canonical;
pub mod merkle;
pub mod sparse;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

pub use canonical::{CanonicalError, canonical_digest, canonical_json};

/// A text that is not 64 hexadecimal characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal characters, got `{found}`")]
pub struct DigestParseError {
    /// The text, cut to 80 characters.
    pub found: String,
}

macro_rules! digest_type {
    ($name:ident, $what:literal) => {
        #[doc = $what]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The digest with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                $name(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The first twelve hexadecimal characters, for people.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..6])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = DigestParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text, &mut bytes).map_err(|_| DigestParseError {
                    found: text.chars().take(80).collect(),
                })?;
                Ok($name(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type!(Sha256Digest, "SHA-256; shown and stored as lower-case hexadecimal.");
digest_type!(
    PixelDigest,
    "BLAKE3 of a decoded picture: what the eye sees, whatever the file around it."
);

impl Sha256Digest {
    /// The digest of these bytes.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Sha256Digest(Sha256::digest(bytes).into())
    }

    /// The digest of a file, read in pieces: memory does not grow with the file.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Sha256Digest(hasher.finalize().into())),
                Ok(read) => hasher.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl PixelDigest {
    /// The digest of a decoded picture: width and height as little-endian 32-bit numbers, then the RGBA bytes, row by
    /// row from the top.
    ///
    /// `rgba` holds `width * height * 4` bytes; two files with equal digests show the same picture.
    pub fn of_rgba(width: u32, height: u32, rgba: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&width.to_le_bytes());
        hasher.update(&height.to_le_bytes());
        // Several threads only pay for themselves from a megabyte on; the callers are already parallel by file.
        if rgba.len() >= 16 << 20 {
            hasher.update_rayon(rgba);
        } else {
            hasher.update(rgba);
        }
        PixelDigest(*hasher.finalize().as_bytes())
    }
}

/// Writes `bytes` to a temporary file in the folder of `path`, flushes it to the disk and renames it onto `path`.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_checked(path, bytes, |_| Ok(()))
}

/// As [`write_atomic`], but what then lies on the disk is read back and `check`ed before it gets its name; if it does
/// not hold, no file is left.
pub fn write_checked<E: From<io::Error>>(
    path: &Path,
    bytes: &[u8],
    check: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new().prefix(".assent-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    check(file.path())?;
    // A temporary file is private to its owner; an artefact is an ordinary file, or keeps the mode of what it replaces.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_or(0o644, |old| old.permissions().mode());
        file.as_file().set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_lower_case_hexadecimal_both_ways() {
        let digest = Sha256Digest::of_bytes(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(serde_json::to_string(&digest).unwrap(), format!("\"{text}\""));
        assert!("ba78".parse::<Sha256Digest>().is_err());
    }

    #[test]
    fn pixel_digest_tells_the_shape_apart() {
        assert_ne!(PixelDigest::of_rgba(2, 1, &[0; 8]), PixelDigest::of_rgba(1, 2, &[0; 8]));
    }

    #[test]
    fn an_artefact_replaces_the_old_one_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        write_atomic(&path, b"old").unwrap();
        write_atomic(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(Sha256Digest::of_file(&path).unwrap(), Sha256Digest::of_bytes(b"new"));
    }
}
