//! Files of numbers that are dear to compute, each under the digest of everything that decides them.
//!
//! A file is `assent-cache/1`, a line feed, the key (32 bytes), for each part its length (u64) and its values (f32), and
//! the SHA-256 of all that; numbers are little-endian. What is not whole, or under another key, is as good as not there.

use std::fs;
use std::io::Read;
use std::path::PathBuf;

use serde::Serialize;

use crate::digest::{Sha256Digest, canonical_digest, write_atomic};
use crate::receipt::BaseFacts;
use crate::train::error::TrainError;

const MAGIC: &[u8] = b"assent-cache/1\n";
/// Raised whenever what is computed changes under the same name.
const VERSION: u32 = 1;
/// Largest file that is read.
const MOST_BYTES: u64 = 1 << 30;

/// What a file holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Its parts.
    Parts(Vec<Vec<f32>>),
    /// There is none.
    Nothing,
    /// It is damaged: its name.
    Broken(String),
}

/// A folder of files of one kind.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
    kind: &'static str,
    context: Sha256Digest,
}

impl Store {
    /// The files of this kind for one model: those of its parts that begin with one of `parts` decide, in the precision
    /// that it is kept in, and what computes (`device`).
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn open(
        folder: PathBuf,
        kind: &'static str,
        base: &BaseFacts,
        parts: &[&str],
        (precision, device): (&str, &str),
    ) -> Result<Self, TrainError> {
        fs::create_dir_all(&folder).map_err(TrainError::io(&folder))?;
        let is_part = |name: &str| parts.iter().any(|part| name.starts_with(part));
        let own: Vec<_> = base.files.iter().filter(|(name, _)| is_part(name)).collect();
        // A base in one file is not divided.
        let files = if own.is_empty() {
            base.files.iter().collect()
        } else {
            own
        };
        let program = (VERSION, env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
        let context = digest(&(kind, program, files, precision, device))?;
        Ok(Self { folder, kind, context })
    }

    /// The key of an entry that `what` decides.
    ///
    /// # Errors
    /// If `what` has no canonical form.
    pub fn key(&self, what: &impl Serialize) -> Result<Sha256Digest, TrainError> {
        digest(&(self.context, what))
    }

    fn name(&self, key: &Sha256Digest) -> String {
        format!("{}-{key}.bin", self.kind)
    }

    /// Reads an entry.
    #[must_use]
    pub fn read(&self, key: &Sha256Digest) -> Found {
        let name = self.name(key);
        let path = self.folder.join(&name);
        let Ok(about) = fs::symlink_metadata(&path) else {
            return Found::Nothing;
        };
        let mut bytes = Vec::new();
        let read = || {
            let file = fs::File::open(&path)?;
            file.take(MOST_BYTES).read_to_end(&mut bytes)
        };
        match about.is_file() && about.len() <= MOST_BYTES && read_whole(read) {
            true => parts(&bytes, key).map_or(Found::Broken(name), Found::Parts),
            false => Found::Broken(name),
        }
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, key: &Sha256Digest, parts: &[&[f32]]) -> Result<(), TrainError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(key.as_bytes());
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes.extend_from_slice(Sha256Digest::of_bytes(&bytes).as_bytes());
        let path = self.folder.join(self.name(key));
        write_atomic(&path, &bytes).map_err(TrainError::io(&path))
    }
}

fn read_whole(read: impl FnOnce() -> std::io::Result<usize>) -> bool {
    read().is_ok()
}

fn digest(value: &impl Serialize) -> Result<Sha256Digest, TrainError> {
    canonical_digest(value).map_err(|e| TrainError::Setting(e.to_string()))
}

fn parts(bytes: &[u8], key: &Sha256Digest) -> Option<Vec<Vec<f32>>> {
    let (body, end) = bytes.split_last_chunk::<32>()?;
    if Sha256Digest::of_bytes(body).as_bytes() != end {
        return None;
    }
    let mut rest = body.strip_prefix(MAGIC)?.strip_prefix(key.as_bytes().as_slice())?;
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<8>()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?.checked_mul(4)?;
        let (values, after) = after.split_at_checked(length)?;
        let values = values.chunks_exact(4);
        parts.push(values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect());
        rest = after;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn an_entry_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let base = |vae: &[u8], unet: &[u8]| {
            let files = [("vae/config.json", vae), ("unet/config.json", unet)];
            let digests = files.map(|(name, bytes)| (name.to_owned(), Sha256Digest::of_bytes(bytes)));
            BaseFacts::new(BTreeMap::from(digests)).unwrap()
        };
        let open = |base: &BaseFacts| {
            Store::open(folder.path().to_owned(), "latents", base, &["vae/"], ("float", "flex")).unwrap()
        };
        let store = open(&base(b"v", b"u"));
        let key = store.key(&("a", 1)).unwrap();
        assert_eq!(store.read(&key), Found::Nothing);
        let values = [[1.5f32, -0.0, f32::MIN_POSITIVE], [2.0, 3.0, 4.0]];
        store.write(&key, &[&values[0], &values[1]]).unwrap();
        assert_eq!(store.read(&key), Found::Parts(values.map(|v| v.to_vec()).to_vec()));

        // Another picture, VAE or kind has another key; another U-Net has not.
        assert_ne!(store.key(&("b", 1)).unwrap(), key);
        assert_ne!(open(&base(b"w", b"u")).key(&("a", 1)).unwrap(), key);
        assert_eq!(open(&base(b"v", b"x")).key(&("a", 1)).unwrap(), key);

        let path = folder.path().join(store.name(&key));
        let whole = fs::read(&path).unwrap();
        let mut flipped = whole.clone();
        flipped[70] ^= 1;
        for broken in [&whole[..whole.len() - 1], &flipped, b"", b"assent-cache/1\n"] {
            fs::write(&path, broken).unwrap();
            assert_eq!(store.read(&key), Found::Broken(store.name(&key)));
        }
        // Whole, but of another key.
        let other = store.key(&"other").unwrap();
        fs::write(folder.path().join(store.name(&other)), &whole).unwrap();
        assert_eq!(store.read(&other), Found::Broken(store.name(&other)));
    }
}
