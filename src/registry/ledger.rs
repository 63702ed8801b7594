//! The consent ledger: appended to, read, and verified from its first event on.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Row, TransactionBehavior, params};

use super::values::{json_of, texts, time, word};
use super::{Registry, RegistryError, Result, artists};
use crate::consent::{Event, EventKind, Purpose, Scope, Target};
use crate::digest::Sha256Digest;

/// The largest document that is kept as evidence, in bytes.
pub const MAX_EVIDENCE_BYTES: u64 = 16 << 20;

/// The hash that the first event names as the one before.
const GENESIS: Sha256Digest = Sha256Digest::from_bytes([0; 32]);

/// The triggers without which the ledger could be changed.
const TRIGGERS: [&str; 3] = [
    "consent_events_no_update",
    "consent_events_no_delete",
    "consent_events_in_order",
];

/// An event to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// What it does.
    pub kind: EventKind,
    /// Whom or what it is about; none for a revocation.
    pub target: Option<Target>,
    /// Other names of the artist it is about.
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

/// What recomputing the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerReport {
    /// How many events there are.
    pub events: usize,
    /// The hash of the last event.
    pub head: Sha256Digest,
    /// The first thing that is wrong: the place in the chain, if it has one, and what.
    pub problem: Option<(Option<i64>, String)>,
}

impl Registry {
    /// Appends an event. Its time is never before that of the event before, whatever the clock says.
    pub fn append_event(&mut self, new: &NewEvent, at: Timestamp) -> Result<StoredEvent> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let head = head(&transaction)?;
        let at = head.at.map_or(at, |last| last.max(at));
        if let Some(target) = new.revokes {
            revocable(&transaction, &target)?;
        }
        if let Some(Target::Artist(name)) = &new.target {
            artists::add_aliases(&transaction, name, &new.aliases)?;
        }
        let evidence = match &new.evidence {
            Some((name, bytes)) => Some(keep(&transaction, name, bytes)?),
            None => None,
        };
        let mut purposes = if new.purposes.is_empty() {
            Purpose::ALL.to_vec()
        } else {
            new.purposes.clone()
        };
        purposes.sort_unstable();
        purposes.dedup();
        let event = Event {
            at,
            kind: new.kind,
            target: new.target.clone(),
            aliases: new.aliases.clone(),
            purposes,
            licensee: new.licensee.clone(),
            until: new.until,
            evidence,
            note: new.note.clone(),
            revokes: new.revokes,
            scope: new.scope,
            valid_from: new.valid_from,
            matters: new.matters.clone(),
            issued: None,
            imported: false,
            signer: None,
        };
        let seq = head.seq + 1;
        let hash = event.hash(seq, &head.hash)?;
        let purposes: Vec<_> = event.purposes.iter().map(|purpose| purpose.as_str()).collect();
        transaction.execute(
            "INSERT INTO consent_events (seq, at, kind, target_kind, target, aliases, purposes, licensee, until,
                evidence, note, revokes, previous, hash, scope, valid_from, matters)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            params![
                seq,
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
                head.hash,
                hash,
                event.scope.map(Scope::as_str),
                event.valid_from.map(|from| from.to_string()),
                json_of(&event.matters),
            ],
        )?;
        transaction.commit()?;
        Ok(StoredEvent {
            seq,
            event,
            previous: head.hash,
            hash,
            signature: None,
        })
    }

    /// The events in their order.
    pub fn events(&self, filter: EventFilter) -> Result<Vec<StoredEvent>> {
        events(&self.connection, filter.after)?
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

    /// Recomputes the whole chain and reports the first thing that is wrong.
    pub fn verify_ledger(&self) -> Result<LedgerReport> {
        let mut report = LedgerReport {
            events: 0,
            head: GENESIS,
            problem: None,
        };
        for (place, event) in events(&self.connection, 0)? {
            report.events += 1;
            let problem = match event {
                Err(error) => Some(error.to_string()),
                Ok(event) => {
                    let expected = i64::try_from(report.events).unwrap_or(i64::MAX);
                    let problem = check(&event, expected, &report.head)?;
                    report.head = event.hash;
                    problem
                }
            };
            if let Some(problem) = problem {
                report.problem.get_or_insert((Some(place), problem));
            }
        }
        if report.problem.is_none() {
            report.problem = self.around_the_chain(report.events)?;
        }
        Ok(report)
    }

    /// What the chain itself cannot show: a cut end, lost triggers, changed documents.
    fn around_the_chain(&self, events: usize) -> Result<Option<(Option<i64>, String)>> {
        let written: i64 = self
            .connection
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'consent_events'",
                [],
                |row| row.get(0),
            )
            .optional()?
            .unwrap_or(0);
        let events = i64::try_from(events).unwrap_or(i64::MAX);
        if written != events {
            let text = format!("{written} events were written, {events} are there: the end was cut off");
            return Ok(Some((Some(events + 1), text)));
        }
        for trigger in TRIGGERS {
            let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'trigger' AND name = ?1";
            if self.connection.query_row(sql, [trigger], |row| row.get::<_, i64>(0))? != 1 {
                return Ok(Some((
                    None,
                    format!("the trigger `{trigger}`, which refuses changes, is gone"),
                )));
            }
        }
        let mut heads = self.connection.prepare(
            "SELECT name, ledger_seq FROM snapshots LEFT JOIN consent_events ON seq = ledger_seq
             WHERE ledger_seq > 0 AND hash IS NOT ledger_head ORDER BY snapshots.id",
        )?;
        let mut rows = heads.query([])?;
        if let Some(row) = rows.next()? {
            let (name, seq): (String, i64) = (row.get(0)?, row.get(1)?);
            return Ok(Some((
                Some(seq),
                format!("the snapshot `{name}` was made when event {seq} had another hash"),
            )));
        }
        let sql = "SELECT DISTINCT seq, bytes, consent_events.evidence FROM consent_events
                   LEFT JOIN evidence ON sha256 = consent_events.evidence WHERE consent_events.evidence IS NOT NULL";
        let mut documents = self.connection.prepare(sql)?;
        let mut rows = documents.query([])?;
        while let Some(row) = rows.next()? {
            let (bytes, digest): (Option<Vec<u8>>, Sha256Digest) = (row.get(1)?, row.get(2)?);
            if bytes.is_none_or(|bytes| Sha256Digest::of_bytes(&bytes) != digest) {
                return Ok(Some((Some(row.get(0)?), "its evidence is gone or changed".to_string())));
            }
        }
        Ok(None)
    }
}

fn check(event: &StoredEvent, place: i64, head: &Sha256Digest) -> Result<Option<String>> {
    if event.seq != place {
        return Ok(Some(format!(
            "expected event {place}, got {}: an event was deleted",
            event.seq
        )));
    }
    if event.previous != *head {
        let (expected, found) = (head.short(), event.previous.short());
        return Ok(Some(format!(
            "expected it to follow {expected}, got {found}: the chain is broken"
        )));
    }
    let hash = event.event.hash(event.seq, &event.previous)?;
    Ok((hash != event.hash).then(|| {
        format!(
            "expected the hash {}, got {}: the event was changed",
            hash.short(),
            event.hash.short()
        )
    }))
}

fn head(connection: &Connection) -> Result<LedgerHead> {
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
fn revocable(connection: &Connection, hash: &Sha256Digest) -> Result<()> {
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
fn keep(connection: &Connection, name: &str, bytes: &[u8]) -> Result<Sha256Digest> {
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

/// Every event after a place, each with its place even when the row cannot be read.
fn events(connection: &Connection, after: i64) -> Result<Vec<(i64, Result<StoredEvent>)>> {
    let mut query = connection.prepare_cached(&format!("{EVENT} WHERE seq > ?1 ORDER BY seq"))?;
    let rows = query.query_map([after], |row| Ok((row.get(0)?, event_of(row))))?;
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
