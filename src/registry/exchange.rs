//! Events from other ledgers, as JSON Lines. Each is recorded anew behind the last event here, with when it was said.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use serde::Deserialize;
use serde_json::Value;

use super::ledger::{self, StoredEvent};
use super::verify::{SaidDigests, refuses};
use super::{Registry, Result};
use crate::consent::{Authentication, EVENT_PAYLOAD_TYPE, EventKind, Said};
use crate::digest::Sha256Digest;
use crate::keys::{Envelope, PublicKey};

/// An event as another ledger wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignEvent {
    /// What it says.
    pub said: Said,
    /// How far its origin is proven: none, invalid or signed.
    pub authentication: Authentication,
    signature: Option<Vec<u8>>,
}

/// What became of an event on its way in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    /// It is recorded.
    Added(Box<StoredEvent>),
    /// It is a refusal, recorded although its signature does not verify.
    Flagged(Box<StoredEvent>),
    /// It was here already.
    Known,
    /// It is not recorded: why.
    Refused(String),
}

impl ForeignEvent {
    /// The event in a line of `assent ledger export`: an object with the DSSE `envelope` of what it says or, when
    /// nobody signed it, with `said`. The envelope by itself is one too.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(line: &[u8]) -> std::result::Result<ForeignEvent, String> {
        #[derive(Deserialize)]
        struct Line {
            envelope: Option<Value>,
            said: Option<Said>,
        }
        let value: Value =
            serde_json::from_slice(line).map_err(|error| format!("expected an event as JSON: {error}"))?;
        if value.get("payload").is_some() {
            return Self::signed(value);
        }
        let line: Line =
            serde_json::from_value(value).map_err(|error| format!("expected an exported event: {error}"))?;
        match (line.envelope, line.said) {
            (Some(envelope), _) if !envelope.is_null() => Self::signed(envelope),
            (_, Some(said)) if said.signer.is_some() => {
                Err("expected an envelope with the signature of the signer it names, got none".to_string())
            }
            (_, Some(said)) => match said.problem() {
                Some(problem) => Err(problem),
                None => Ok(ForeignEvent {
                    said,
                    authentication: Authentication::None,
                    signature: None,
                }),
            },
            _ => Err("expected `envelope` or `said`, got neither: `assent ledger export` writes them".to_string()),
        }
    }

    fn signed(envelope: Value) -> std::result::Result<ForeignEvent, String> {
        let envelope: Envelope =
            serde_json::from_value(envelope).map_err(|error| format!("expected a DSSE envelope: {error}"))?;
        let said: Said = serde_json::from_slice(&envelope.payload)
            .map_err(|error| format!("expected an event in the envelope: {error}"))?;
        if let Some(problem) = said.problem() {
            return Err(problem);
        }
        let mut bytes = [0; 32];
        let signer = said
            .signer
            .as_ref()
            .filter(|key| hex::decode_to_slice(key, &mut bytes).is_ok());
        let key = signer.and_then(|_| PublicKey::from_bytes(&bytes).ok());
        let canonical = said.bytes().is_ok_and(|bytes| bytes == envelope.payload);
        let verifies = key.is_some_and(|key| canonical && envelope.verify(EVENT_PAYLOAD_TYPE, &key).is_ok());
        let given = envelope
            .signatures
            .first()
            .map(|one| one.sig.clone())
            .unwrap_or_default();
        let signature = if verifies {
            // The one that verifies, when there are several.
            let alone = |one: &crate::keys::Signed| Envelope {
                signatures: vec![one.clone()],
                ..envelope.clone()
            };
            let holds =
                |one: &&crate::keys::Signed| key.is_some_and(|key| alone(one).verify(EVENT_PAYLOAD_TYPE, &key).is_ok());
            envelope.signatures.iter().find(holds).map(|one| one.sig.clone())
        } else {
            // What does not verify is kept as far as it has the form of a signature.
            let mut bytes = given;
            bytes.resize(64, 0);
            Some(bytes)
        };
        if said.signer.is_none() && !refuses(said.kind) {
            return Err("expected the signer's key in what is signed, got none".to_string());
        }
        // Without a signer there is nothing to hold the signature against.
        let signature = signature.filter(|_| said.signer.is_some());
        Ok(ForeignEvent {
            authentication: if verifies {
                Authentication::Signed
            } else {
                Authentication::Invalid
            },
            said,
            signature,
        })
    }
}

/// An import on its way in. Nothing of it is in the registry before [`EventImport::finish`].
#[derive(Debug)]
pub struct EventImport<'a> {
    transaction: Transaction<'a>,
    at: Timestamp,
    /// What is here, by the digest of what it says and whether its signature, if any, verifies.
    known: HashSet<(Sha256Digest, bool)>,
    /// Of each event that can be revoked: its hash here, its kind, and who signed it.
    hashes: HashMap<Sha256Digest, Ended>,
}

#[derive(Debug, Clone)]
struct Ended {
    hash: Sha256Digest,
    kind: EventKind,
    signer: Option<String>,
}

impl Registry {
    /// Begins to bring in events.
    pub fn begin_events(&mut self, at: Timestamp) -> Result<EventImport<'_>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut known, mut hashes, mut said) = (HashSet::new(), HashMap::new(), SaidDigests::default());
        for (_, stored) in ledger::events(&transaction, 0, -1)? {
            let stored = stored?;
            let ended = said.ended(&stored)?;
            let digest = Said::of(&stored.event, ended).digest()?;
            let authentication = stored.authentication(ended, &[])?;
            let valid = authentication != Authentication::Invalid;
            known.insert((digest, valid));
            remember(&mut hashes, digest, &stored, valid);
        }
        Ok(EventImport {
            transaction,
            at,
            known,
            hashes,
        })
    }
}

/// Of two that say the same, the one whose signature verifies is the one that a revocation ends.
fn remember(hashes: &mut HashMap<Sha256Digest, Ended>, digest: Sha256Digest, stored: &StoredEvent, valid: bool) {
    let ended = Ended {
        hash: stored.hash,
        kind: stored.event.kind,
        signer: stored.event.signer.clone(),
    };
    match hashes.entry(digest) {
        Entry::Occupied(mut known) if valid => drop(known.insert(ended)),
        Entry::Occupied(_) => {}
        Entry::Vacant(free) => drop(free.insert(ended)),
    }
}

impl EventImport<'_> {
    /// Records an event, once. A grant whose signature does not verify is refused; a refusal is kept and flagged.
    ///
    /// The names in it join no artists: what somebody else's ledger says of names counts for its own events alone.
    pub fn add(&mut self, foreign: ForeignEvent) -> Result<Imported> {
        let digest = foreign.said.digest()?;
        let valid = foreign.authentication != Authentication::Invalid;
        if self.known.contains(&(digest, valid)) {
            return Ok(Imported::Known);
        }
        let mut revokes = None;
        if let Some(named) = &foreign.said.revokes {
            let Some(ended) = self.hashes.get(named) else {
                let text = format!("expected the event that it ends ({}) to be here first", named.short());
                return Ok(Imported::Refused(text));
            };
            // Whoever lifts a refusal must be as well proven as whoever refused.
            let lifts = matches!(ended.kind, EventKind::OptOut | EventKind::Reject);
            if lifts && (!valid || (ended.signer.is_some() && ended.signer != foreign.said.signer)) {
                let text = "expected the end of a refusal to be signed by who refused, got another or no signature";
                return Ok(Imported::Refused(text.to_string()));
            }
            if let Err(error) = ledger::revocable(&self.transaction, &ended.hash) {
                return Ok(Imported::Refused(error.to_string()));
            }
            revokes = Some(ended.hash);
        } else if !valid && !refuses(foreign.said.kind) {
            let text = format!(
                "expected a signature that verifies on what permits, got an event `{}` whose does not",
                foreign.said.kind
            );
            return Ok(Imported::Refused(text));
        }
        let stored = self.record(foreign, revokes)?;
        self.known.insert((digest, valid));
        remember(&mut self.hashes, digest, &stored, valid);
        let stored = Box::new(stored);
        Ok(if valid {
            Imported::Added(stored)
        } else {
            Imported::Flagged(stored)
        })
    }

    fn record(&self, foreign: ForeignEvent, revokes: Option<Sha256Digest>) -> Result<StoredEvent> {
        let connection: &Connection = &self.transaction;
        let head = ledger::head(connection)?;
        let at = head.at.map_or(self.at, |last| last.max(self.at));
        ledger::insert(connection, head, foreign.said.recorded(at, revokes), foreign.signature)
    }

    /// Makes everything that was added part of the registry, at once.
    pub fn finish(self) -> Result<()> {
        Ok(self.transaction.commit()?)
    }
}
