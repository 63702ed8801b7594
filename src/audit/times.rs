//! Whether the clock went back: whether anything is dated before what it must follow.
//!
//! The order is what digests show: an event's place in the chain, the event that a snapshot names, the snapshots that a
//! run names, the place of an entry in the log. The log's entries hold no times; those of their rows are compared.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Code, Finding};
use super::report::Report;
use crate::log::{Checkpoint, Entry, Note};
use crate::receipt::RunRecord;
use crate::registry::{EventFilter, Registry, RegistryError, SnapshotRow};

/// How much earlier something may be dated than what another command wrote meanwhile: a command's time is that of its
/// start.
const MEANWHILE: SignedDuration = SignedDuration::from_secs(60);

fn finding(subject: impl Into<String>, says: String) -> Finding {
    Finding::new(Code::ClockBack, subject, says)
}

/// Checks ledger, snapshots and log of a registry, and the clock itself, which says `at`.
pub(super) fn registry(registry: &Registry, at: Timestamp, report: &mut Report) -> Result<(), RegistryError> {
    let findings = &mut report.findings;
    let events = registry.events(EventFilter::default())?;
    let mut newest: Option<(Timestamp, String)> = None;
    let mut note = |time: Timestamp, what: String| {
        if newest.as_ref().is_none_or(|(known, _)| time > *known) {
            newest = Some((time, what));
        }
    };
    for pair in events.windows(2) {
        if let [before, after] = pair
            && after.event.at < before.event.at
        {
            let (seq, at, then) = (after.seq, after.event.at, before.event.at);
            let says = format!("event {seq} is dated {at}, before the event it follows ({then})");
            findings.push(finding(format!("ledger:{seq}"), says));
        }
    }
    if let Some(last) = events.iter().max_by_key(|event| event.event.at) {
        note(last.event.at, format!("event {}", last.seq));
    }
    let mut dated: BTreeMap<Entry, (Timestamp, String)> = BTreeMap::new();
    for row in registry.snapshots()? {
        // One that was frozen elsewhere names the end of another ledger, and has the time of another clock.
        let seen = events
            .iter()
            .find(|event| (event.seq, event.hash) == (row.ledger.0, row.ledger.1));
        let Some(seen) = seen else { continue };
        if row
            .created_at
            .saturating_add(MEANWHILE)
            .is_ok_and(|late| late < seen.event.at)
        {
            let says = format!(
                "it was frozen after event {}, which is dated {}, and is itself dated {}",
                seen.seq, seen.event.at, row.created_at
            );
            findings.push(finding(format!("snapshot:{}", row.name), says));
        }
        note(row.created_at, format!("the snapshot `{}`", row.name));
        let (root, document) = (row.root, row.document);
        dated.insert(
            Entry::Snapshot { root, document },
            (row.created_at, format!("snapshot:{}", row.name)),
        );
    }
    for row in registry.adapters()? {
        note(row.created_at, format!("the adapter {}", row.sha256.short()));
        let entry = Entry::Adapter {
            file: row.sha256,
            tensors: row.tensors,
            trained_on: row.trained_on.iter().map(|set| set.root).collect(),
        };
        dated.insert(entry, (row.created_at, format!("adapter:{}", row.sha256)));
    }
    in_log(registry, &dated, findings)?;
    if let Some((time, what)) = newest.filter(|(time, _)| *time > at) {
        let says = format!("it says {at}, and {what} was recorded at {time}: set the clock, or wait");
        findings.push(finding("clock", says));
    }
    Ok(())
}

/// Compares the order of the log with the times of what it tells of, and its signed heads with each other.
fn in_log(
    registry: &Registry,
    dated: &BTreeMap<Entry, (Timestamp, String)>,
    findings: &mut Vec<Finding>,
) -> Result<(), RegistryError> {
    let mut latest: Option<&(Timestamp, String)> = None;
    // What does not parse is a finding of its own.
    for (place, entry) in registry.log()?.entries() {
        let Some(this) = entry.ok().and_then(|entry| dated.get(&entry)) else {
            continue;
        };
        match latest {
            Some(before) if this.0.saturating_add(MEANWHILE).is_ok_and(|late| late < before.0) => {
                let (time, subject) = before;
                let says = format!(
                    "entry {place} of the log is about what is dated {}, and follows {subject}, which is dated {time}",
                    this.0
                );
                findings.push(finding(this.1.clone(), says));
            }
            _ => latest = Some(this).max(latest),
        }
    }
    let mut signed = 0;
    for note in registry.log_heads()? {
        let Ok(head) = Note::parse(&note).and_then(|note| Checkpoint::of(&note)) else {
            continue;
        };
        if head.size < signed {
            let says = format!("a head of {} entries was signed after one of {signed}", head.size);
            findings.push(finding("log", says));
        }
        signed = signed.max(head.size);
    }
    Ok(())
}

/// Checks a run against itself.
pub(super) fn run(record: &RunRecord, report: &mut Report) {
    if record.finished_at < record.started_at {
        let says = format!(
            "its record says that it ended at {}, before it began ({})",
            record.finished_at, record.started_at
        );
        report.findings.push(finding(format!("run:{}", record.run), says));
    }
}

/// Checks a run against a set that it was trained on.
pub(super) fn after(record: &RunRecord, set: &SnapshotRow, report: &mut Report) {
    if record.started_at < set.created_at {
        let says = format!(
            "it began at {}, before the snapshot `{}` that it was trained on was frozen ({})",
            record.started_at, set.name, set.created_at
        );
        report.findings.push(finding(format!("run:{}", record.run), says));
    }
}
