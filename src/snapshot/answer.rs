//! Answers: what the holder of a snapshot says to whoever asks whether a picture, or one like it, is in.
//!
//! An in-toto statement about the snapshot's root, in a DSSE envelope when a key signs it. It holds the proof, which
//! shows by itself whether the file is in, and where it was asked for how near the members come to the picture. The
//! second part nobody can check without the members: it is the signer's word, and [`Alike::sentence`] says so.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use super::document::Document;
use super::proof::{Proof, prove};
use crate::digest::{Sha256Digest, canonical_json};
use crate::keys::{Envelope, PublicKey, STATEMENT_PAYLOAD_TYPE, Statement};

/// What the predicate is called.
pub const ANSWER_PREDICATE: &str = "urn:assent:answer:1";

/// An in-toto statement that holds an answer; its subject is the snapshot, with the root as the digest.
pub type Answer = Statement<Answered>;

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answered {
    /// Whether the file is in.
    pub proof: Proof,
    /// How near the members come to what it shows, where that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alike: Option<Alike>,
    /// When this is stated.
    pub stated_at: Timestamp,
}

/// How near the members of a snapshot come to a picture, by perceptual hashes; the picture itself is left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alike {
    /// The distance of the nearest member in bits; none when nothing is within `limit`.
    pub distance: Option<u32>,
    /// Up to this distance two pictures show the same thing.
    pub same: u32,
    /// Beyond this distance nothing is looked for.
    pub limit: u32,
    /// Members that the picture was compared with.
    pub compared: u64,
    /// Members that it could not be compared with.
    pub not_compared: u64,
}

impl Answer {
    /// The answer of a snapshot about a picture.
    pub fn of(
        document: &Document,
        image: &Sha256Digest,
        alike: Option<Alike>,
        stated_at: Timestamp,
    ) -> Result<Answer, SnapshotError> {
        let said = Answered {
            proof: prove(document, image)?,
            alike,
            stated_at,
        };
        Ok(Statement::about(&document.name, document.root, ANSWER_PREDICATE, said))
    }

    /// The answer in this JSON.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(json: &[u8]) -> Result<Answer, String> {
        let answer: Answer = Statement::read(json, ANSWER_PREDICATE)?;
        match answer.subject.as_slice() {
            [only] if only.digest.sha256 == answer.predicate.proof.root() => Ok(answer),
            _ => Err("expected one subject, the snapshot with the root of the proof".to_string()),
        }
    }
}

impl Answer {
    /// The signed answer in these bytes of a file, checked with the key: signature, proof, and form, since a signature
    /// does not cover how its envelope is written, and no bit of a file that is shown around shall be another.
    ///
    /// # Errors
    /// A sentence that says what does not hold.
    pub fn verify(bytes: &[u8], key: &PublicKey) -> Result<Answer, String> {
        let envelope = Envelope::parse(bytes).map_err(|error| error.to_string())?;
        let payload = envelope.verify(STATEMENT_PAYLOAD_TYPE, key);
        let answer = Answer::parse(payload.map_err(|error| error.to_string())?)?;
        answer.predicate.proof.check().map_err(|error| error.to_string())?;
        let written = answer.bytes().and_then(|payload| {
            let sig = envelope
                .signatures
                .first()
                .map(|one| one.sig.clone())
                .unwrap_or_default();
            canonical_json(&Envelope::holding(STATEMENT_PAYLOAD_TYPE, payload, key, sig))
        });
        match written.is_ok_and(|written| written == bytes.strip_suffix(b"\n").unwrap_or(bytes)) {
            true => Ok(answer),
            false => {
                Err("expected the answer as it was written (canonical JSON, one signature), got it otherwise".into())
            }
        }
    }
}

impl Alike {
    /// What it states, in sentences for people, with whose word it is.
    pub fn sentence(&self) -> String {
        let Alike { same, limit, .. } = self;
        let found = match self.distance {
            None => format!("No member comes within {limit} bits of what the picture shows."),
            Some(distance) if distance <= *same => {
                format!("A member is {distance} bits away: it shows the same thing (up to {same}).")
            }
            Some(distance) => {
                format!("The nearest member is {distance} bits away: alike enough that a person should look.")
            }
        };
        let unknown = match self.not_compared {
            0 => String::new(),
            1 => " 1 member could not be compared.".to_string(),
            count => format!(" {count} members could not be compared."),
        };
        let compared = match self.compared {
            1 => "1 member was compared.".to_string(),
            count => format!("{count} members were compared."),
        };
        format!(
            "{found} {compared}{unknown} This part is the signer's word: a proof shows which files are in \
             a snapshot, and none can show that no copy is."
        )
    }
}
