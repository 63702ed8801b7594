//! The consent ledger recomputed from its first event on: hashes, signatures, documents, lists.

use std::collections::HashMap;

use rusqlite::OptionalExtension;

use super::ledger::{GENESIS, StoredEvent, events};
use super::{Registry, Result, lists};
use crate::consent::{Authentication, EventKind, Said};
use crate::digest::Sha256Digest;

/// The triggers without which the ledger could be changed.
const TRIGGERS: [&str; 5] = [
    "consent_events_no_update",
    "consent_events_no_delete",
    "consent_events_in_order",
    "list_entries_no_update",
    "list_entries_no_delete",
];

/// What recomputing the chain found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerReport {
    /// How many events there are.
    pub events: usize,
    /// How many of them are signed, and verify.
    pub signed: usize,
    /// The places of refusals that came from another ledger with a signature that does not verify: they count as
    /// refusals all the same.
    pub flagged: Vec<i64>,
    /// The hash of the last event.
    pub head: Sha256Digest,
    /// The first thing that is wrong: the place in the chain, if it has one, and what.
    pub problem: Option<(Option<i64>, String)>,
}

/// The digests of what events say, by their hashes: what a revocation names.
#[derive(Debug, Default)]
pub struct SaidDigests(HashMap<Sha256Digest, Sha256Digest>);

impl SaidDigests {
    /// The digest of what the event says that this one ends; call it for every event, in their order.
    pub fn ended(&mut self, stored: &StoredEvent) -> Result<Option<Sha256Digest>> {
        if stored.event.kind != EventKind::Revoke {
            self.0.insert(stored.hash, Said::of(&stored.event, None).digest()?);
        }
        Ok(stored.event.revokes.and_then(|hash| self.0.get(&hash).copied()))
    }
}

impl Registry {
    /// How far the origin of each event is proven, in their order; `events` are all there are.
    pub fn authentications(&self, events: &[StoredEvent]) -> Result<Vec<Authentication>> {
        let trusted = self.trusted_keys()?;
        let mut said = SaidDigests::default();
        let one = |stored: &StoredEvent| stored.authentication(said.ended(stored)?, &trusted);
        events.iter().map(one).collect()
    }

    /// Recomputes the whole chain and reports the first thing that is wrong.
    pub fn verify_ledger(&self) -> Result<LedgerReport> {
        let mut report = LedgerReport {
            events: 0,
            signed: 0,
            flagged: Vec::new(),
            head: GENESIS,
            problem: None,
        };
        let mut said = SaidDigests::default();
        for (place, event) in events(&self.connection, 0, -1)? {
            report.events += 1;
            let problem = match event {
                Err(error) => Some(error.to_string()),
                Ok(event) => {
                    let expected = i64::try_from(report.events).unwrap_or(i64::MAX);
                    let mut problem = check(&event, expected, &report.head)?;
                    report.head = event.hash;
                    match event.authentication(said.ended(&event)?, &[])? {
                        Authentication::None => {}
                        Authentication::Signed | Authentication::Trusted => report.signed += 1,
                        Authentication::Invalid if event.event.imported && refuses(event.event.kind) => {
                            report.flagged.push(place)
                        }
                        Authentication::Invalid => {
                            problem.get_or_insert("its signature does not verify".to_string());
                        }
                    }
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
        let sql = "SELECT DISTINCT seq, bytes, consent_events.evidence, imported = 1 OR target_kind IS 'list'
                   FROM consent_events LEFT JOIN evidence ON sha256 = consent_events.evidence
                   WHERE consent_events.evidence IS NOT NULL";
        let mut documents = self.connection.prepare(sql)?;
        let mut rows = documents.query([])?;
        while let Some(row) = rows.next()? {
            let (bytes, digest): (Option<Vec<u8>>, Sha256Digest) = (row.get(1)?, row.get(2)?);
            // Only the digest of another ledger's documents, and of long lists, is known.
            let elsewhere: bool = row.get(3)?;
            if bytes.map_or(!elsewhere, |bytes| Sha256Digest::of_bytes(&bytes) != digest) {
                return Ok(Some((Some(row.get(0)?), "its evidence is gone or changed".to_string())));
            }
        }
        Ok(lists::changed(&self.connection)?.map(|list| {
            let text = format!("the entries of the list {} are not what they were", list.short());
            (None, text)
        }))
    }
}

/// Whether an event of this kind refuses, so that it is kept even when its signature does not verify.
/// (A revocation that would lift a refusal is not brought in at all without one that does.)
pub(super) fn refuses(kind: EventKind) -> bool {
    matches!(kind, EventKind::OptOut | EventKind::Reject | EventKind::Revoke)
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
