//! What people said after they looked at a picture in doubt.
//!
//! An `accept` clears exactly the doubts it names, so a doubt that came later stands. A `reject` refuses the picture
//! until later accepts answer every matter it names, or, when it names none, until any later accept. Of two about one
//! matter the later in the ledger wins. An accept permits, so its giver must be proven like that of a grant; a reject
//! counts whoever says it.

use std::collections::BTreeSet;

use super::decision::TraceLine;
use super::event::{Event, EventKind};
use super::evidence::LedgerEntry;
use super::ledger::{self, Clock};
use super::types::{Purpose, State};
use crate::digest::Sha256Digest;

/// How an event of a review, and a line of a trace, names a picture that another looks like.
pub(super) fn matter_of(other: &Sha256Digest) -> String {
    format!("near_duplicate:{other}")
}

/// What the reviews of a picture come to.
pub(super) struct Review<'a> {
    /// The matters that were looked at and found good.
    cleared: BTreeSet<&'a str>,
    /// The matters of the rejections that stand; none of one that names no matter: it answers everything.
    refused: Vec<Option<&'a str>>,
    /// Whether a rejection stands.
    pub rejected: bool,
}

impl Review<'_> {
    /// Whether a person found this doubt unfounded.
    pub fn clears(&self, doubt: &str) -> bool {
        self.cleared.contains(doubt)
    }

    /// Whether a person said anything of this doubt that still stands.
    pub fn answers(&self, doubt: &str) -> bool {
        self.clears(doubt) || self.refused.iter().any(|one| one.is_none_or(|one| one == doubt))
    }

    /// Whether a person said that the two pictures are not the same, which nobody can say of equal pixels.
    pub fn tells_apart(&self, other: &Sha256Digest, distance: u32) -> bool {
        distance > 0 && self.cleared.contains(matter_of(other).as_str())
    }
}

/// Reads the reviews among the entries; pushes a line of the trace for each.
pub(super) fn read<'a>(
    entries: &'a [LedgerEntry],
    purpose: Purpose,
    clock: Clock,
    trace: &mut Vec<TraceLine>,
) -> Review<'a> {
    let speaks = |event: &Event| event.purposes.is_empty() || event.purposes.contains(&purpose);
    let accept = |entry: &LedgerEntry| {
        entry.event.kind == EventKind::Accept
            && entry.event.at <= clock.at
            && entry.revoked_at.is_none()
            && speaks(&entry.event)
            && ledger::proof(entry).is_ok()
    };
    let reject = |entry: &LedgerEntry| {
        entry.event.kind == EventKind::Reject
            && speaks(&entry.event)
            && entry.revoked_at.is_none_or(|revoked| revoked > clock.at)
    };
    let names = |event: &Event, matter: &str| event.matters.is_empty() || event.matters.iter().any(|one| one == matter);
    let later_accept = |after: i64, matter: Option<&str>| {
        entries.iter().any(|entry| {
            let about = matter.is_none_or(|matter| entry.event.matters.iter().any(|one| one == matter));
            entry.seq > after && about && accept(entry)
        })
    };
    let answered = |entry: &LedgerEntry| match entry.event.matters.as_slice() {
        [] => later_accept(entry.seq, None),
        matters => matters.iter().all(|matter| later_accept(entry.seq, Some(matter))),
    };
    let mut review = Review {
        cleared: BTreeSet::new(),
        refused: Vec::new(),
        rejected: false,
    };
    for entry in entries {
        let (state, rule) = match entry.event.kind {
            EventKind::Accept if accept(entry) => {
                let overruled = |matter: &str| {
                    let mut later = entries.iter().filter(|other| other.seq > entry.seq && reject(other));
                    later.any(|other| names(&other.event, matter))
                };
                let matters = entry.event.matters.iter().map(String::as_str);
                review.cleared.extend(matters.filter(|matter| !overruled(matter)));
                (State::Unspecified, "accepted_in_review")
            }
            EventKind::Accept => (State::Unspecified, "review_without_effect"),
            EventKind::Reject if !reject(entry) => (State::Unspecified, "review_without_effect"),
            EventKind::Reject if answered(entry) => (State::Unspecified, "rejection_answered_by_later_review"),
            EventKind::Reject => {
                review.rejected = true;
                match entry.event.matters.as_slice() {
                    [] => review.refused.push(None),
                    matters => review.refused.extend(matters.iter().map(|one| Some(one.as_str()))),
                }
                (State::Denied, "rejected_in_review")
            }
            EventKind::OptOut | EventKind::Grant | EventKind::Revoke => continue,
        };
        trace.push(ledger::line(entry, purpose, state, rule));
    }
    review
}
