//! Checkpoints: the head of the log at a size, as a note. <https://c2sp.org/tlog-checkpoint>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::note::{Note, check_name};
use super::{LogError, form};
use crate::digest::Sha256Digest;
use crate::keys::{PublicKey, SecretKey};

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// What names the log; also the name of its key in the note.
    pub origin: String,
    /// How many entries it has.
    pub size: u64,
    /// The root over them.
    pub root: Sha256Digest,
}

/// A number as it is written: digits, no leading zero.
pub(super) fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| plain)
}

/// A hash in base64.
pub(super) fn hash(text: &str) -> Option<Sha256Digest> {
    let bytes: [u8; 32] = STANDARD.decode(text).ok()?.try_into().ok()?;
    Some(Sha256Digest::from_bytes(bytes))
}

/// A hash as base64.
pub(super) fn encoded(hash: &Sha256Digest) -> String {
    STANDARD.encode(hash.as_bytes())
}

impl Checkpoint {
    /// The text of the note.
    fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, encoded(&self.root))
    }

    /// It, signed by the log's key.
    pub fn sign(&self, key: &SecretKey) -> Result<Note, LogError> {
        Note::sign(self.text(), &self.origin, key)
    }

    /// The head that a note states. Whether anybody signed it is not looked at: see [`Checkpoint::open`].
    pub fn of(note: &Note) -> Result<Checkpoint, LogError> {
        let mut lines = note.text.split('\n');
        let parts = (lines.next(), lines.next().and_then(number), lines.next().and_then(hash));
        let rest: Vec<_> = lines.collect();
        match parts {
            // More lines are extensions, which say nothing here; each must hold something.
            (Some(origin), Some(size), Some(root))
                if rest.last() == Some(&"") && !rest[..rest.len() - 1].contains(&"") =>
            {
                check_name(origin)?;
                let origin = origin.to_string();
                Ok(Checkpoint { origin, size, root })
            }
            _ => Err(form("a checkpoint (origin, size, root in base64)", &note.text)),
        }
    }

    /// The head in a note that the log's key signed.
    pub fn open(bytes: &[u8], key: &PublicKey) -> Result<Checkpoint, LogError> {
        let note = Note::parse(bytes)?;
        let checkpoint = Checkpoint::of(&note)?;
        note.verify(&checkpoint.origin, key)?;
        Ok(checkpoint)
    }
}
