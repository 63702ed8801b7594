//! The manifest of an adapter that was trained in shards: `shards.json`, canonical JSON and a line end.
//!
//! Each shard's adapter was trained on pictures of its own artists alone (SISA: Bourtoule et al. 2021, arXiv:1912.03817).
//! The manifest names those that are there, nothing of others: without a shard it is, byte for byte, the manifest of
//! a training that never saw the artists of that shard.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ReceiptError;
use crate::digest::{Sha256Digest, canonical_json};

/// The format that manifests declare.
pub const COMPOSITION_FORMAT: &str = "assent.shards/1";
/// What the manifest's file is called.
pub const COMPOSITION: &str = "shards.json";
/// Most shards.
pub const MOST_SHARDS: u32 = 256;
/// A larger file is refused, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// An adapter in shards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Composition {
    /// `assent.shards/1`.
    pub format: String,
    /// How many shards artists are divided into, there or not.
    pub shards: u32,
    /// Overall digest of the base.
    pub base: Sha256Digest,
    /// Digest of the configuration that all were trained with.
    pub config: Sha256Digest,
    /// Those that are there, by number.
    pub adapters: Vec<Shard>,
}

/// The adapter of one shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Its number, from 1.
    pub shard: u32,
    /// SHA-256 of the adapter's file.
    pub file: Sha256Digest,
    /// SHA-256 of its tensor region.
    pub tensors: Sha256Digest,
    /// SHA-256 of its receipt.
    pub receipt: Sha256Digest,
    /// Root of the snapshot that it was trained on.
    pub snapshot: Sha256Digest,
    /// How strong it is when all are used together, as text; it does not depend on which others are there.
    pub weight: String,
}

impl Shard {
    /// Its weight as a number.
    ///
    /// # Errors
    /// If it is none, or not above 0.
    pub fn strength(&self) -> Result<f64, ReceiptError> {
        let number = self.weight.parse::<f64>().ok();
        let number = number.filter(|number| number.is_finite() && *number > 0.0);
        number.ok_or_else(|| malformed(format!("expected a weight above 0, found `{}`", self.weight)))
    }

    /// The folder of its run, beside the manifest in `folder`.
    #[must_use]
    pub fn folder(&self, folder: &Path) -> PathBuf {
        shard_folder(folder, self.shard)
    }

    /// Its adapter's file.
    #[must_use]
    pub fn path(&self, folder: &Path) -> PathBuf {
        self.folder(folder).join("adapter.safetensors")
    }
}

/// The folder of a shard's run.
#[must_use]
pub fn shard_folder(folder: &Path, shard: u32) -> PathBuf {
    folder.join(format!("shard-{shard}"))
}

fn malformed(reason: String) -> ReceiptError {
    ReceiptError::Malformed {
        what: "manifest of shards",
        reason,
    }
}

impl Composition {
    /// Where the manifest is that a path means: the file itself, or the one in a folder; none where there is none.
    #[must_use]
    pub fn at(path: &Path) -> Option<PathBuf> {
        let file = match path.is_dir() {
            true => path.join(COMPOSITION),
            false => path.to_owned(),
        };
        let is_called_so = file.file_name().is_some_and(|name| name == COMPOSITION);
        (is_called_so && file.is_file()).then_some(file)
    }

    /// Reads a manifest; gives the digest of its file too.
    ///
    /// # Errors
    /// If the file cannot be read, or holds none.
    pub fn read(path: &Path) -> Result<(Self, Sha256Digest), ReceiptError> {
        use std::io::Read;
        let read = |path: &Path| -> std::io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        let bytes = read(path).map_err(|error| malformed(format!("cannot read `{}`: {error}", path.display())))?;
        Ok((Self::parse(&bytes)?, Sha256Digest::of_bytes(&bytes)))
    }

    /// The manifest in these bytes, which must be those that [`Composition::bytes`] gives.
    ///
    /// # Errors
    /// If they are not.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() as u64 > MAX_BYTES {
            return Err(malformed(format!("expected at most {MAX_BYTES} bytes, found more")));
        }
        let read: Composition = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        if read.format != COMPOSITION_FORMAT {
            return Err(ReceiptError::Format {
                what: "manifest of shards",
                expected: COMPOSITION_FORMAT,
                found: read.format,
            });
        }
        if !(1..=MOST_SHARDS).contains(&read.shards) {
            return Err(malformed(format!(
                "expected 1 to {MOST_SHARDS} shards, found {}",
                read.shards
            )));
        }
        if read.adapters.is_empty() {
            return Err(malformed("expected an adapter, found none".to_owned()));
        }
        let rising = read.adapters.windows(2).all(|pair| pair[0].shard < pair[1].shard);
        let within = read.adapters.iter().all(|one| (1..=read.shards).contains(&one.shard));
        if !rising || !within {
            return Err(malformed("expected shards by number, each once".to_owned()));
        }
        for one in &read.adapters {
            one.strength()?;
        }
        match read.bytes()? == bytes {
            true => Ok(read),
            false => Err(malformed("expected canonical JSON and a line end".to_owned())),
        }
    }

    /// The bytes of `shards.json`.
    ///
    /// # Errors
    /// Never for a manifest: it holds texts and whole numbers.
    pub fn bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        let mut bytes = canonical_json(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(shards: &[u32]) -> Composition {
        let digest = |what: &str, shard: u32| Sha256Digest::of_bytes(format!("{what} {shard}").as_bytes());
        let adapters = shards.iter().map(|&shard| Shard {
            shard,
            file: digest("file", shard),
            tensors: digest("tensors", shard),
            receipt: digest("receipt", shard),
            snapshot: digest("snapshot", shard),
            weight: "0.25".to_owned(),
        });
        Composition {
            format: COMPOSITION_FORMAT.to_owned(),
            shards: 4,
            base: digest("base", 0),
            config: digest("config", 0),
            adapters: adapters.collect(),
        }
    }

    #[test]
    fn without_a_shard_it_is_the_manifest_that_never_had_it() {
        let mut whole = manifest(&[1, 3, 4]);
        assert_eq!(Composition::parse(&whole.bytes().unwrap()).unwrap(), whole);
        whole.adapters.retain(|one| one.shard != 3);
        assert_eq!(whole.bytes().unwrap(), manifest(&[1, 4]).bytes().unwrap());
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let good = String::from_utf8(manifest(&[1, 3]).bytes().unwrap()).unwrap();
        for (from, to, wrong) in [
            ("assent.shards/1", "assent.shards/2", "format `assent.shards/2`"),
            ("\"shards\":4", "\"shards\":0", "1 to 256 shards"),
            ("\"shards\":4", "\"shards\":257", "1 to 256 shards"),
            ("\"shards\":4", "\"shards\":2", "by number, each once"),
            ("\"shard\":3", "\"shard\":1", "by number, each once"),
            ("\"shard\":1", "\"shard\":0", "by number, each once"),
            ("\"0.25\"", "\"-1\"", "a weight above 0"),
            ("\"0.25\"", "\"inf\"", "a weight above 0"),
            ("\"0.25\"", "\"NaN\"", "a weight above 0"),
            ("\"0.25\"", "\"../x\"", "a weight above 0"),
            ("{\"adapters\"", "{ \"adapters\"", "canonical"),
            ("}\n", "}", "canonical"),
            ("\"shard\":1,", "\"shard\":1,\"path\":\"/etc/x\",", "unknown field"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = Composition::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wrong), "{to}: {error}");
        }
        let none = Composition {
            adapters: Vec::new(),
            ..manifest(&[])
        };
        assert!(Composition::parse(&none.bytes().unwrap()).is_err());
        assert!(Composition::parse(&vec![b' '; MAX_BYTES as usize + 1]).is_err());
    }
}
