//! The consent ledger: appended to and read. `verify.rs` recomputes it, `exchange.rs` brings in what others recorded.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::values::{json_of, texts, time, word};
use super::{Registry, RegistryError, Result, TrustedKey, artists};
use crate::consent::{Authentication, EVENT_PAYLOAD_TYPE, Event, EventKind, Purpose, Said, Scope, Target};
use crate::digest::Sha256Digest;
use crate::keys::{Envelope, PublicKey, SecretKey};

/// The largest document that is kept as evidence, in bytes.
pub const MAX_EVIDENCE_BYTES: u64 = 16 << 20;

/// The hash that the first event names as the one before.
pub(super) const GENESIS: Sha256Digest = Sha256Digest::from_bytes([0; 32]);

/// An event to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What it does.
    pub kind: EventKind,
    /// Whom or what it is about; none for a revocation.
    pub target: Option<Target>,
    /// Other names of the artist it is about, and identifiers in the form that `consent::identifier` gives.
    pub aliases: Vec<String>,
    /// The purposes it speaks of; empty: all.
    pub purposes: Vec<Purpose>,
    /// To whom a grant is given.
    pub licensee: Option<String>,
    /// When a grant ends.
    pub until: Option<Timestamp>,
    /// The document that proves it: its name and its bytes.
    pub evidence: Option<(String, Vec<u8>)>,
    /// Free text.
    pub note: Option<String>,
    /// The event that a revocation ends.
    pub revokes: Option<Sha256Digest>,
    /// What a grant is for; none: anything.
    pub scope: Option<Scope>,
    /// When a grant begins; none: now.
    pub valid_from: Option<Timestamp>,
    /// What a review answers.
    pub matters: Vec<String>,
}

impl NewEvent {
    /// An event of this kind about this target, for every purpose.
    pub fn new(kind: EventKind, target: Option<Target>) -> Self {
        NewEvent {
            kind,
            target,
            aliases: Vec::new(),
            purposes: Vec::new(),
            licensee: None,
            until: None,
            evidence: None,
            note: None,
            revokes: None,
            scope: None,
            valid_from: None,
            matters: Vec::new(),
        }
    }

    /// The event, before its evidence is kept.
    pub(super) fn event(&self, at: Timestamp) -> Event {
        let mut purposes = if self.purposes.is_empty() {
            Purpose::ALL.to_vec()
        } else {
            self.purposes.clone()
        };
        purposes.sort_unstable();
        purposes.dedup();
        Event {
            at,
            kind: self.kind,
            target: self.target.clone(),
            aliases: self.aliases.clone(),
            purposes,
            licensee: self.licensee.clone(),
            until: self.until,
            evidence: None,
            note: self.note.clone(),
            revokes: self.revokes,
            scope: self.scope,
            valid_from: self.valid_from,
            matters: self.matters.clone(),
            issued: None,
            imported: false,
            signer: None,
        }
    }
}

/// An event at its place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place, from 1.
    pub seq: i64,
    /// The event.
    pub event: Event,
    /// The hash of the event before.
    pub previous: Sha256Digest,
    /// Its own hash.
    pub hash: Sha256Digest,
    /// The Ed25519 signature of `signer`, 64 bytes.
    pub signature: Option<Vec<u8>>,
}

impl StoredEvent {
    /// What it says in an envelope with its signature, for whoever has the public key; none when it is not signed.
    /// `ended` is the digest of what the event says that it revokes.
    pub fn envelope(&self, ended: Option<Sha256Digest>) -> Result<Option<Envelope>> {
        let (Some(key), Some(signature)) = (self.signer(), &self.signature) else {
            return Ok(None);
        };
        let payload = Said::of(&self.event, ended).bytes()?;
        Ok(Some(Envelope::holding(
            EVENT_PAYLOAD_TYPE,
            payload,
            &key,
            signature.clone(),
        )))
    }

    /// The public key that signs it; none when nothing does, or when what stands there is no key.
    pub fn signer(&self) -> Option<PublicKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(self.event.signer.as_ref()?, &mut bytes).ok()?;
        PublicKey::from_bytes(&bytes).ok()
    }

    /// How far its origin is proven; `ended` is the digest of what the event says that it revokes.
    pub(super) fn authentication(&self, ended: Option<Sha256Digest>, trusted: &[TrustedKey]) -> Result<Authentication> {
        if self.event.signer.is_none() {
            return Ok(Authentication::None);
        }
        let Some((key, envelope)) = self.signer().zip(self.envelope(ended)?) else {
            return Ok(Authentication::Invalid);
        };
        Ok(match envelope.verify(EVENT_PAYLOAD_TYPE, &key) {
            Err(_) => Authentication::Invalid,
            Ok(_) if trusted.iter().any(|known| known.key == key) => Authentication::Trusted,
            Ok(_) => Authentication::Signed,
        })
    }
}

/// The end of the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerHead {
    /// The last place; 0 when there is no event.
    pub seq: i64,
    /// The hash of the last event; all zeros when there is none.
    pub hash: Sha256Digest,
    /// When the last event was recorded.
    pub at: Option<Timestamp>,
}

/// Which events to read; empty: all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only those after this place.
    pub after: i64,
}

impl Registry {
    /// Appends an event. Its time is never before that of the event before, whatever the clock says.
    pub fn append_event(&mut self, new: &NewEvent, at: Timestamp) -> Result<StoredEvent> {
        self.append_signed(new, None, at)
    }

    /// Appends an event as [`Registry::append_event`] does, signed with this key.
    pub fn append_signed(&mut self, new: &NewEvent, key: Option<&SecretKey>, at: Timestamp) -> Result<StoredEvent> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        if let Some(target) = new.revokes {
            revocable(&transaction, &target)?;
        }
        if let Some(Target::Artist(name)) = &new.target {
            artists::add_aliases(&transaction, name, &new.aliases)?;
        }
        let mut event = new.event(at);
        if let Some((name, bytes)) = &new.evidence {
            event.evidence = Some(keep(&transaction, name, bytes)?);
        }
        let stored = append(&transaction, event, key)?;
        transaction.commit()?;
        Ok(stored)
    }

    /// The events in their order.
    pub fn events(&self, filter: EventFilter) -> Result<Vec<StoredEvent>> {
        events(&self.connection, filter.after, -1)?
            .into_iter()
            .map(|(_, event)| event)
            .collect()
    }

    /// The event meant by a number or by the beginning (at least 8 characters) of a hash.
    pub fn event(&self, text: &str) -> Result<StoredEvent> {
        let meant = |event: &StoredEvent| {
            event.seq.to_string() == text || (text.len() >= 8 && event.hash.to_string().starts_with(text))
        };
        let mut found = self.events(EventFilter::default())?.into_iter().filter(meant);
        match (found.next(), found.next()) {
            (Some(event), None) => Ok(event),
            _ => Err(RegistryError::NoSuchEvent {
                found: text.to_string(),
            }),
        }
    }

    /// The end of the chain.
    pub fn ledger_head(&self) -> Result<LedgerHead> {
        head(&self.connection)
    }

    /// A document that was kept as evidence: its name and its bytes.
    pub fn evidence_document(&self, sha256: &Sha256Digest) -> Result<Option<(String, Vec<u8>)>> {
        let sql = "SELECT name, bytes FROM evidence WHERE sha256 = ?1";
        Ok(self
            .connection
            .query_row(sql, [sha256], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?)
    }
}

/// Appends an event that is whole but for its time, which is never before the last one's, and its signature.
pub(super) fn append(connection: &Connection, mut event: Event, key: Option<&SecretKey>) -> Result<StoredEvent> {
    let head = head(connection)?;
    event.at = head.at.map_or(event.at, |last| last.max(event.at));
    let mut signature = None;
    if let Some(key) = key {
        event.signer = Some(hex::encode(key.public().as_bytes()));
        let ended = event.revokes.map(|hash| said(connection, &hash)).transpose()?;
        let envelope = Envelope::sign(EVENT_PAYLOAD_TYPE, Said::of(&event, ended).bytes()?, key);
        signature = envelope.signatures.into_iter().next().map(|one| one.sig);
    }
    insert(connection, head, event, signature)
}

/// Writes an event behind the last one.
pub(super) fn insert(
    connection: &Connection,
    head: LedgerHead,
    event: Event,
    signature: Option<Vec<u8>>,
) -> Result<StoredEvent> {
    let stored = StoredEvent {
        seq: head.seq + 1,
        previous: head.hash,
        hash: event.hash(head.seq + 1, &head.hash)?,
        event,
        signature,
    };
    let event = &stored.event;
    let purposes: Vec<_> = event.purposes.iter().map(|purpose| purpose.as_str()).collect();
    let signer = event.signer.as_ref().map(hex::decode).transpose();
    let signer = signer.map_err(|_| RegistryError::Damaged {
        expected: "a key as hexadecimal characters",
        found: event.signer.clone().unwrap_or_default(),
    })?;
    connection
        .prepare_cached(
            "INSERT INTO consent_events (seq, at, kind, target_kind, target, aliases, purposes, licensee, until,
                evidence, note, revokes, previous, hash, scope, valid_from, matters, issued, imported, signer, signature)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
        )?
        .execute(params![
            stored.seq,
            event.at.to_string(),
            event.kind.as_str(),
            event.target.as_ref().map(Target::kind),
            event.target.as_ref().map(Target::value),
            json_of(&event.aliases),
            json_of(&purposes),
            event.licensee,
            event.until.map(|until| until.to_string()),
            event.evidence,
            event.note,
            event.revokes,
            stored.previous,
            stored.hash,
            event.scope.map(Scope::as_str),
            event.valid_from.map(|from| from.to_string()),
            json_of(&event.matters),
            event.issued.map(|issued| issued.to_string()),
            event.imported,
            signer,
            stored.signature,
        ])?;
    Ok(stored)
}

/// The digest of what the event with this hash says.
fn said(connection: &Connection, hash: &Sha256Digest) -> Result<Sha256Digest> {
    let sql = "SELECT seq FROM consent_events WHERE hash = ?1";
    let seq: Option<i64> = connection.query_row(sql, [hash], |row| row.get(0)).optional()?;
    let found = match seq {
        Some(seq) => events(connection, seq - 1, 1)?.pop(),
        None => None,
    };
    match found {
        Some((_, event)) => Ok(Said::of(&event?.event, None).digest()?),
        None => Err(RegistryError::NoSuchEvent {
            found: hash.to_string(),
        }),
    }
}

pub(super) fn head(connection: &Connection) -> Result<LedgerHead> {
    let sql = "SELECT seq, hash, at FROM consent_events ORDER BY seq DESC LIMIT 1";
    let last: Option<(i64, Sha256Digest, String)> = connection
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match last {
        None => Ok(LedgerHead {
            seq: 0,
            hash: GENESIS,
            at: None,
        }),
        Some((seq, hash, at)) => Ok(LedgerHead {
            seq,
            hash,
            at: Some(time(&at)?),
        }),
    }
}

/// Fails unless the event is an opt-out or a grant that has not been ended.
pub(super) fn revocable(connection: &Connection, hash: &Sha256Digest) -> Result<()> {
    let sql = "SELECT seq, kind, (SELECT min(seq) FROM consent_events AS later WHERE later.revokes = ?1)
               FROM consent_events WHERE hash = ?1";
    let found: Option<(i64, String, Option<i64>)> = connection
        .query_row(sql, [hash], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    match found {
        None => Err(RegistryError::NoSuchEvent {
            found: hash.to_string(),
        }),
        Some((seq, _, Some(by))) => Err(RegistryError::NotRevocable {
            seq,
            found: format!("revoked by event {by}"),
        }),
        Some((seq, kind, None)) if kind == EventKind::Revoke.as_str() => Err(RegistryError::NotRevocable {
            seq,
            found: "a revocation".to_string(),
        }),
        Some(_) => Ok(()),
    }
}

/// Keeps a document; returns its digest.
pub(super) fn keep(connection: &Connection, name: &str, bytes: &[u8]) -> Result<Sha256Digest> {
    let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if found > MAX_EVIDENCE_BYTES {
        let name = name.to_string();
        return Err(RegistryError::EvidenceTooLarge {
            name,
            found,
            expected: MAX_EVIDENCE_BYTES,
        });
    }
    let digest = Sha256Digest::of_bytes(bytes);
    let sql = "INSERT INTO evidence (sha256, name, bytes) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    connection.execute(sql, params![digest, name, bytes])?;
    Ok(digest)
}

/// The events after a place, at most so many (all: -1), each with its place even when the row cannot be read.
pub(super) fn events(connection: &Connection, after: i64, most: i64) -> Result<Vec<(i64, Result<StoredEvent>)>> {
    let mut query = connection.prepare_cached(&format!("{EVENT} WHERE seq > ?1 ORDER BY seq LIMIT ?2"))?;
    let rows = query.query_map([after, most], |row| Ok((row.get(0)?, event_of(row))))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The columns that [`event_of`] reads.
pub(super) const EVENT: &str =
    "SELECT seq, at, kind, target_kind, target, aliases, purposes, licensee, until, evidence,
    note, revokes, previous, hash, scope, valid_from, matters, issued, imported, signer, signature FROM consent_events";

/// The event in a row of [`EVENT`].
pub(super) fn event_of(row: &Row<'_>) -> Result<StoredEvent> {
    let target = match (row.get::<_, Option<String>>(3)?, row.get::<_, Option<String>>(4)?) {
        (Some(kind), Some(value)) => Some(Target::of(&kind, &value).ok_or_else(|| RegistryError::Damaged {
            expected: "the target of an event",
            found: format!("{kind} {value}"),
        })?),
        _ => None,
    };
    let purposes = texts(&row.get::<_, String>(6)?)?;
    let event = Event {
        at: time(&row.get::<_, String>(1)?)?,
        kind: word(&row.get::<_, String>(2)?, "a kind of event", EventKind::parse)?,
        target,
        aliases: texts(&row.get::<_, String>(5)?)?,
        purposes: purposes
            .iter()
            .map(|text| word(text, "a purpose", Purpose::parse))
            .collect::<Result<_>>()?,
        licensee: row.get(7)?,
        until: row.get::<_, Option<String>>(8)?.map(|text| time(&text)).transpose()?,
        evidence: row.get(9)?,
        note: row.get(10)?,
        revokes: row.get(11)?,
        scope: row
            .get::<_, Option<String>>(14)?
            .map(|text| word(&text, "a scope", Scope::parse))
            .transpose()?,
        valid_from: row.get::<_, Option<String>>(15)?.map(|text| time(&text)).transpose()?,
        matters: texts(&row.get::<_, String>(16)?)?,
        issued: row.get::<_, Option<String>>(17)?.map(|text| time(&text)).transpose()?,
        imported: row.get(18)?,
        signer: row.get::<_, Option<Vec<u8>>>(19)?.map(hex::encode),
    };
    Ok(StoredEvent {
        seq: row.get(0)?,
        event,
        previous: row.get(12)?,
        hash: row.get(13)?,
        signature: row.get(20)?,
    })
}
