//! Events of the consent ledger: what somebody said to the holder of the registry, each chained to the one before.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::types::{Purpose, Scope, words};
use crate::digest::{CanonicalError, Sha256Digest, canonical_digest};

words! {
    /// What an event does.
    EventKind, "a kind of event", {
        /// A refusal.
        OptOut = "opt_out",
        /// A permission.
        Grant = "grant",
        /// The end of an earlier event.
        Revoke = "revoke",
        /// A person looked at a picture in doubt: the doubt is unfounded.
        Accept = "accept",
        /// A person looked at a picture in doubt: it is to be refused.
        Reject = "reject",
    }
}

/// Whom or what an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Target {
    /// Every picture of an artist, under any of their names.
    Artist(String),
    /// One picture.
    Image(Sha256Digest),
    /// Every picture whose source address begins with this.
    Source(String),
    /// Every picture of a collection that its curator named.
    Collection(String),
    /// Every picture that an opt-out list names, by the digest of its entries.
    List(Sha256Digest),
}

impl Target {
    /// The stable name of the kind of target.
    pub fn kind(&self) -> &'static str {
        match self {
            Target::Artist(_) => "artist",
            Target::Image(_) => "image",
            Target::Source(_) => "source",
            Target::Collection(_) => "collection",
            Target::List(_) => "list",
        }
    }

    /// The name, digest or address.
    pub fn value(&self) -> String {
        match self {
            Target::Artist(text) | Target::Source(text) | Target::Collection(text) => text.clone(),
            Target::Image(digest) | Target::List(digest) => digest.to_string(),
        }
    }

    /// The target of this kind and value.
    pub fn of(kind: &str, value: &str) -> Option<Target> {
        match kind {
            "artist" => Some(Target::Artist(value.to_string())),
            "image" => value.parse().ok().map(Target::Image),
            "source" => Some(Target::Source(value.to_string())),
            "collection" => Some(Target::Collection(value.to_string())),
            "list" => value.parse().ok().map(Target::List),
            _ => None,
        }
    }
}

/// One line of the ledger, without its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When it was recorded.
    pub at: Timestamp,
    /// What it does.
    pub kind: EventKind,
    /// Whom or what it is about; none for a revocation.
    pub target: Option<Target>,
    /// Other names of the artist it is about.
    pub aliases: Vec<String>,
    /// The purposes it speaks of, sorted.
    pub purposes: Vec<Purpose>,
    /// To whom a grant is given.
    pub licensee: Option<String>,
    /// When a grant ends.
    pub until: Option<Timestamp>,
    /// Digest of the document that proves it.
    pub evidence: Option<Sha256Digest>,
    /// Free text.
    pub note: Option<String>,
    /// The hash of the event that a revocation ends.
    pub revokes: Option<Sha256Digest>,
    /// What a grant is for; none: anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// When a grant begins; none: when it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// What a review answers: `near_duplicate:<digest>` of the other picture, or the text of the doubt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matters: Vec<String>,
    /// When it was said, where that is another time than when it was recorded here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Timestamp>,
    /// Whether it came from another ledger or list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub imported: bool,
    /// The Ed25519 public key that signs it, as 64 hexadecimal characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
}

impl Event {
    /// The hash that chains this event to the one before: of the canonical JSON of number, previous hash and event.
    pub fn hash(&self, seq: i64, previous: &Sha256Digest) -> Result<Sha256Digest, CanonicalError> {
        #[derive(Serialize)]
        struct Link<'a> {
            format: &'static str,
            seq: i64,
            previous: &'a Sha256Digest,
            event: &'a Event,
        }
        canonical_digest(&Link {
            format: "assent.event/1",
            seq,
            previous,
            event: self,
        })
    }
}
