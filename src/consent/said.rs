//! What an event says, apart from who recorded it and where: what is signed, and what goes from ledger to ledger.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event::{Event, EventKind, Target};
use super::types::{Purpose, Scope};
use crate::digest::{CanonicalError, Sha256Digest, canonical_digest, canonical_json};

/// What a signed event is called in an envelope.
pub const EVENT_PAYLOAD_TYPE: &str = "application/vnd.assent.said+json";

/// What it begins with.
const FORMAT: &str = "assent.said/1";

/// An event without its place in a ledger: the same, byte for byte, in every ledger that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    /// `assent.said/1`.
    pub format: String,
    /// When it was said.
    pub issued: Timestamp,
    /// What it does.
    pub kind: EventKind,
    /// Whom or what it is about; none for a revocation.
    pub target: Option<Target>,
    /// Other names of the artist it is about.
    pub aliases: Vec<String>,
    /// The purposes it speaks of, sorted.
    pub purposes: Vec<Purpose>,
    /// To whom a grant is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licensee: Option<String>,
    /// What a grant is for; none: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// When it begins; none: when it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// When it ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Digest of the document that proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Sha256Digest>,
    /// Free text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What a review answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matters: Vec<String>,
    /// The digest of what the event that a revocation ends says: hashes of a chain differ from ledger to ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revokes: Option<Sha256Digest>,
    /// The Ed25519 public key that signs it, as 64 hexadecimal characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

impl Said {
    /// What an event says; `ended` is the digest of what the event says that it revokes.
    pub fn of(event: &Event, ended: Option<Sha256Digest>) -> Said {
        Said {
            format: FORMAT.to_string(),
            issued: event.issued.unwrap_or(event.at),
            kind: event.kind,
            target: event.target.clone(),
            aliases: event.aliases.clone(),
            purposes: event.purposes.clone(),
            licensee: event.licensee.clone(),
            scope: event.scope,
            valid_from: event.valid_from,
            until: event.until,
            evidence: event.evidence,
            note: event.note.clone(),
            matters: event.matters.clone(),
            revokes: ended,
            signer: event.signer.clone(),
        }
    }

    /// The event as another ledger records it at `at`; `revokes` is the hash there of the event it ends.
    pub fn recorded(self, at: Timestamp, revokes: Option<Sha256Digest>) -> Event {
        Event {
            at,
            kind: self.kind,
            target: self.target,
            aliases: self.aliases,
            purposes: self.purposes,
            licensee: self.licensee,
            until: self.until,
            evidence: self.evidence,
            note: self.note,
            revokes,
            scope: self.scope,
            valid_from: self.valid_from,
            matters: self.matters,
            issued: Some(self.issued),
            imported: true,
            signer: self.signer,
        }
    }

    /// Its canonical JSON: what a signature is made of.
    pub fn bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical_json(self)
    }

    /// The digest of its canonical JSON: what names it in every ledger.
    pub fn digest(&self) -> Result<Sha256Digest, CanonicalError> {
        canonical_digest(self)
    }

    /// What is wrong with it by itself; none when it can be recorded. `Event`s that the program makes pass.
    pub fn problem(&self) -> Option<String> {
        const MOST: usize = 1000;
        let revocation = self.kind == EventKind::Revoke;
        let texts = || {
            let given = [&self.licensee, &self.note, &self.signer].into_iter().flatten();
            given.chain(&self.aliases).chain(&self.matters)
        };
        let sorted = self.purposes.windows(2).all(|pair| pair[0] < pair[1]);
        let named = |target: &Target| !target.value().trim().is_empty();
        let key = |text: &String| text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Some(if self.format != FORMAT {
            let found: String = self.format.chars().take(80).collect();
            format!("expected the format `{FORMAT}`, got `{found}`")
        } else if revocation != self.revokes.is_some() || revocation != self.target.is_none() {
            format!(
                "expected a target, or for a revocation what it ends, got an event `{}` without",
                self.kind
            )
        } else if !self.target.as_ref().is_none_or(named) {
            "expected a target with a name, got an empty one".to_string()
        } else if self.purposes.is_empty() || !sorted {
            "expected one purpose or more, sorted, each once".to_string()
        } else if self.aliases.len() > MOST || self.matters.len() > MOST || texts().any(|text| text.len() > 1 << 16) {
            format!("expected at most {MOST} names of at most {} bytes", 1 << 16)
        } else if !self.signer.as_ref().is_none_or(key) {
            "expected the signer's key as 64 lower-case hexadecimal characters".to_string()
        } else {
            return None;
        })
    }
}
