//! Proofs that go with a signed head: an entry is in the log; the log continues an earlier head.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::checkpoint::{encoded, hash, number};
use super::{Checkpoint, Entry, LogError, Note, form};
use crate::digest::Sha256Digest;
use crate::digest::merkle::{self, InclusionProof};
use crate::keys::PublicKey;

/// A longer proof is refused, in bytes.
pub const MAX_PROOF_BYTES: usize = 1 << 18;
/// What a proof of inclusion begins with.
const INCLUSION: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2⁶³ entries has no longer ways.
const MAX_HASHES: usize = 64;

/// That an entry is in the log. <https://c2sp.org/tlog-proof>, with the entry's bytes as the extra data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inclusion {
    /// The bytes of the entry.
    pub entry: Vec<u8>,
    /// Its place.
    pub index: u64,
    /// The way to the root.
    pub path: Vec<Sha256Digest>,
    /// The signed head.
    pub checkpoint: Note,
}

/// That the log continues an earlier head: the body of a request to a witness. <https://c2sp.org/tlog-witness>
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// How many entries the earlier head has.
    pub old: u64,
    /// The hashes that lead to both roots.
    pub path: Vec<Sha256Digest>,
    /// The later head, signed.
    pub checkpoint: Note,
}

/// Head lines, hashes up to the empty line, and the note behind it.
fn parts<'a>(bytes: &'a [u8], expected: &'static str) -> Result<(Vec<&'a str>, Note), LogError> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let wrong = || form(expected, text);
    if bytes.len() > MAX_PROOF_BYTES {
        return Err(wrong());
    }
    let (lines, note) = text.split_once("\n\n").ok_or_else(wrong)?;
    Ok((lines.split('\n').collect(), Note::parse(note.as_bytes())?))
}

fn hashes(lines: &[&str]) -> Option<Vec<Sha256Digest>> {
    (lines.len() <= MAX_HASHES).then(|| lines.iter().map(|line| hash(line)).collect())?
}

fn written(head: &str, path: &[Sha256Digest], checkpoint: &Note) -> Vec<u8> {
    let mut text = head.to_string();
    for hash in path {
        text.push_str(&encoded(hash));
        text.push('\n');
    }
    text.push('\n');
    [text.into_bytes(), checkpoint.bytes()].concat()
}

impl Inclusion {
    /// The bytes of its file (`.tlog-proof`).
    pub fn bytes(&self) -> Vec<u8> {
        let entry = STANDARD.encode(&self.entry);
        let head = format!("{INCLUSION}\nextra {entry}\nindex {}\n", self.index);
        written(&head, &self.path, &self.checkpoint)
    }

    /// The proof in these bytes.
    pub fn parse(bytes: &[u8]) -> Result<Inclusion, LogError> {
        let expected = "a `c2sp.org/tlog-proof@v1` with the entry as its extra data";
        let (lines, checkpoint) = parts(bytes, expected)?;
        let wrong = || form(expected, &String::from_utf8_lossy(bytes));
        let [INCLUSION, extra, index, rest @ ..] = lines.as_slice() else {
            return Err(wrong());
        };
        let entry = extra.strip_prefix("extra ").and_then(|text| STANDARD.decode(text).ok());
        Ok(Inclusion {
            entry: entry.ok_or_else(wrong)?,
            index: index.strip_prefix("index ").and_then(number).ok_or_else(wrong)?,
            path: hashes(rest).ok_or_else(wrong)?,
            checkpoint,
        })
    }

    /// Checks signature, way and entry; gives the entry and the head it is under.
    pub fn verify(&self, key: &PublicKey) -> Result<(Entry, Checkpoint), LogError> {
        let head = Checkpoint::of(&self.checkpoint)?;
        self.checkpoint.verify(&head.origin, key)?;
        let out = LogError::NotIncluded {
            index: self.index,
            size: head.size,
        };
        let (Ok(index), Ok(size)) = (usize::try_from(self.index), usize::try_from(head.size)) else {
            return Err(out);
        };
        let proof = InclusionProof {
            index,
            size,
            path: self.path.clone(),
        };
        match merkle::verify(&merkle::leaf(&self.entry), &proof, &head.root) {
            true => Ok((Entry::parse(&self.entry)?, head)),
            false => Err(out),
        }
    }
}

impl Consistency {
    /// The bytes of its file.
    pub fn bytes(&self) -> Vec<u8> {
        written(&format!("old {}\n", self.old), &self.path, &self.checkpoint)
    }

    /// The proof in these bytes.
    pub fn parse(bytes: &[u8]) -> Result<Consistency, LogError> {
        let expected = "`old` with a size, hashes, and a checkpoint behind an empty line";
        let (lines, checkpoint) = parts(bytes, expected)?;
        let wrong = || form(expected, &String::from_utf8_lossy(bytes));
        let [old, rest @ ..] = lines.as_slice() else {
            return Err(wrong());
        };
        Ok(Consistency {
            old: old.strip_prefix("old ").and_then(number).ok_or_else(wrong)?,
            path: hashes(rest).ok_or_else(wrong)?,
            checkpoint,
        })
    }

    /// Checks that the head in it, signed by the key, continues an earlier head that was kept.
    pub fn verify(&self, kept: &Checkpoint, key: &PublicKey) -> Result<Checkpoint, LogError> {
        let head = Checkpoint::of(&self.checkpoint)?;
        self.checkpoint.verify(&head.origin, key)?;
        let same = head.origin == kept.origin && kept.size == self.old;
        match same && merkle::consistent((kept.size, &kept.root), (head.size, &head.root), &self.path) {
            true => Ok(head),
            false => Err(LogError::Inconsistent {
                first: kept.size,
                second: head.size,
            }),
        }
    }
}
