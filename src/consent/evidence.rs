//! Everything that is known about one picture when consent is decided.

use jiff::Timestamp;
use serde::Serialize;

use super::event::Event;
use super::types::{Authentication, Purpose, State};
use crate::digest::Sha256Digest;

/// A machine-readable statement that was found with a picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Statement {
    /// The stable name of what kind of statement it is.
    pub source: String,
    /// The statement as it stood there.
    pub raw: String,
    /// The purpose it speaks of; none when it speaks of all.
    pub purpose: Option<Purpose>,
    /// What it says.
    pub state: State,
    /// How far its origin is proven.
    pub authentication: Authentication,
    /// Digest of what held it.
    pub holder: Sha256Digest,
    /// When it was first read.
    pub read_at: Timestamp,
    /// Whether the last reading still found it.
    pub current: bool,
}

/// An event of the ledger that covers the picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    /// Its place in the ledger, from 1.
    pub seq: i64,
    /// Its hash.
    pub hash: Sha256Digest,
    /// The event.
    pub event: Event,
    /// Whom or what it is about in the one form that all its names share: two events about one artist have one
    /// subject.
    pub subject: String,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// How far its origin is proven: whether its signature verifies, and by whose key.
    pub authentication: Authentication,
}

/// The name of an artist who opted out, found where it would teach a model that name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mention {
    /// Where it stands: `caption`.
    pub place: String,
    /// The name as it stands there.
    pub name: String,
    /// The events about that artist.
    pub ledger: Vec<LedgerEntry>,
}

/// A licence that was read somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct LicenseFact {
    /// The SPDX expression.
    pub expression: String,
    /// What it was read from.
    pub source: String,
}

/// Another picture that shows the same thing, with what was said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Neighbour {
    /// The other picture.
    pub image: Sha256Digest,
    /// How far apart the two are in bits; 0 when their pixels are the same.
    pub distance: u32,
    /// Whether the distance is one at which a person should look.
    pub doubtful: bool,
    /// What was found with it.
    pub statements: Vec<Statement>,
    /// The events that cover it.
    pub ledger: Vec<LedgerEntry>,
}

/// Everything that is known about one picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Evidence {
    /// The picture.
    pub image: Sha256Digest,
    /// What was found with it.
    pub statements: Vec<Statement>,
    /// The events that cover it, in the order of the ledger; revocations are in `revoked_at` of what they end.
    pub ledger: Vec<LedgerEntry>,
    /// Its licences.
    pub licenses: Vec<LicenseFact>,
    /// Who made it, the principal artist first.
    pub artists: Vec<String>,
    /// Its title.
    pub title: Option<String>,
    /// The names of artists who opted out, in its caption.
    pub mentions: Vec<Mention>,
    /// Whether it says that a machine made it.
    pub ai_generated: bool,
    /// What did not parse or is in doubt.
    pub needs_review: Vec<String>,
    /// Pictures that show the same thing and about which somebody said something.
    pub neighbours: Vec<Neighbour>,
}

impl Evidence {
    /// No evidence at all about this picture.
    pub fn none(image: Sha256Digest) -> Self {
        Evidence {
            image,
            statements: Vec::new(),
            ledger: Vec::new(),
            licenses: Vec::new(),
            artists: Vec::new(),
            title: None,
            mentions: Vec::new(),
            ai_generated: false,
            needs_review: Vec::new(),
            neighbours: Vec::new(),
        }
    }
}
