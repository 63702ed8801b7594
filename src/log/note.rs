//! Signed notes: a text, and lines with signatures of it. <https://c2sp.org/signed-note>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{LogError, form};
use crate::digest::Sha256Digest;
use crate::keys::{PublicKey, SecretKey};

/// A longer note is refused, in bytes.
const MAX_NOTE: usize = 1 << 16;
/// The type of signature that this program makes and checks: Ed25519.
const ED25519: u8 = 1;
/// What a line with a signature begins with.
const DASH: &str = "\u{2014} ";

/// A note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed, with the line end.
    pub text: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// Whether a key may have this name in a note.
pub(super) fn check_name(name: &str) -> Result<(), LogError> {
    let illegal = |c: char| c.is_whitespace() || c.is_control() || c == '+';
    match name.is_empty() || name.chars().count() > 200 || name.contains(illegal) {
        true => Err(LogError::Origin(name.chars().take(80).collect())),
        false => Ok(()),
    }
}

/// What tells this key under this name from others: four bytes of a digest.
fn key_id(name: &str, key: &PublicKey) -> [u8; 4] {
    let bytes = [name.as_bytes(), b"\n", &[ED25519], key.as_bytes()].concat();
    let [a, b, c, d, ..] = *Sha256Digest::of_bytes(&bytes).as_bytes();
    [a, b, c, d]
}

/// The key as programs that check notes are given it: `NAME+ID+BASE64`.
pub fn verifier_key(name: &str, key: &PublicKey) -> String {
    let encoded = STANDARD.encode([&[ED25519], key.as_bytes().as_slice()].concat());
    format!("{name}+{}+{encoded}", hex::encode(key_id(name, key)))
}

impl Note {
    /// This text, which ends a line, signed by the key under a name.
    pub fn sign(text: String, name: &str, key: &SecretKey) -> Result<Note, LogError> {
        check_name(name)?;
        Ok(Note {
            signatures: vec![Signature {
                name: name.to_string(),
                id: key_id(name, &key.public()),
                bytes: key.sign(text.as_bytes()).to_vec(),
            }],
            text,
        })
    }

    /// The note in these bytes.
    pub fn parse(bytes: &[u8]) -> Result<Note, LogError> {
        let expected = "a signed note (text, an empty line, lines with signatures)";
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let wrong = || form(expected, text);
        if text.is_empty() || bytes.len() > MAX_NOTE || text.contains(|c: char| c < ' ' && c != '\n') {
            return Err(wrong());
        }
        let at = text.rfind("\n\n").ok_or_else(wrong)?;
        let (text, lines) = (&text[..at + 1], &text[at + 2..]);
        let mut signatures = Vec::new();
        for line in lines.strip_suffix('\n').ok_or_else(wrong)?.split('\n') {
            let (name, encoded) = line
                .strip_prefix(DASH)
                .and_then(|line| line.split_once(' '))
                .ok_or_else(wrong)?;
            let decoded = STANDARD.decode(encoded).map_err(|_| wrong())?;
            let (id, bytes) = decoded.split_first_chunk::<4>().ok_or_else(wrong)?;
            check_name(name)?;
            signatures.push(Signature {
                name: name.to_string(),
                id: *id,
                bytes: bytes.to_vec(),
            });
        }
        Ok(Note {
            text: text.to_string(),
            signatures,
        })
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut note = format!("{}\n", self.text);
        for signature in &self.signatures {
            let encoded = STANDARD.encode([&signature.id, signature.bytes.as_slice()].concat());
            note.push_str(&format!("{DASH}{} {encoded}\n", signature.name));
        }
        note.into_bytes()
    }

    /// Whether the key signed it under this name. Signatures by others are left to others.
    pub fn verify(&self, name: &str, key: &PublicKey) -> Result<(), LogError> {
        let id = key_id(name, key);
        let mut own = self
            .signatures
            .iter()
            .filter(|one| one.name == name && one.id == id)
            .peekable();
        if own.peek().is_none() {
            return Err(LogError::Unsigned {
                key: key.id().short(),
                name: name.to_string(),
            });
        }
        match own.all(|one| key.verifies(self.text.as_bytes(), &one.bytes)) {
            true => Ok(()),
            false => Err(LogError::Forged(key.id().short())),
        }
    }
}
