//! The ledger's word on one picture and one purpose at one time.
//!
//! An opt-out stands until it is withdrawn, or until a later grant about the same subject, or about the picture
//! itself, says otherwise. A grant lifts general signals; it never lifts an opt-out that came after it.

use jiff::Timestamp;

use super::decision::TraceLine;
use super::event::{EventKind, Target};
use super::evidence::LedgerEntry;
use super::policy::Policy;
use super::types::{Purpose, State};

/// What the ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// An opt-out stands.
    Denied,
    /// A grant stands and no opt-out does.
    Granted,
    /// Neither.
    Silent,
}

/// Reads every entry; pushes a line of the trace for each. Without a policy every licensee counts.
pub(super) fn word(
    entries: &[LedgerEntry],
    purpose: Purpose,
    policy: Option<&Policy>,
    at: Timestamp,
    trace: &mut Vec<TraceLine>,
) -> Word {
    let standing: Vec<_> = entries.iter().map(|entry| rule(entry, purpose, policy, at)).collect();
    let grants = |opt_out: &LedgerEntry| {
        let stands = |(entry, rule): (&LedgerEntry, &&'static str)| {
            *rule == "grant" && entry.seq > opt_out.seq && answers(entry, opt_out)
        };
        entries.iter().zip(&standing).any(stands)
    };
    let stands = |(entry, rule): (&LedgerEntry, &&'static str)| *rule == "opt_out" && !grants(entry);
    let denied = entries.iter().zip(&standing).any(stands);
    for (entry, rule) in entries.iter().zip(&standing) {
        let (rule, state) = match *rule {
            "opt_out" if grants(entry) => ("opt_out_answered_by_grant", State::Unspecified),
            "opt_out" => ("opt_out", State::Denied),
            "grant" if denied => ("grant_overruled_by_opt_out", State::Unspecified),
            "grant" => ("grant", State::Granted),
            other => (other, State::Unspecified),
        };
        trace.push(line(entry, purpose, state, rule));
    }
    match standing.contains(&"grant") {
        _ if denied => Word::Denied,
        true => Word::Granted,
        false => Word::Silent,
    }
}

/// What an entry is at this time, whatever the others say: `opt_out` and `grant` are those that count.
fn rule(entry: &LedgerEntry, purpose: Purpose, policy: Option<&Policy>, at: Timestamp) -> &'static str {
    let event = &entry.event;
    // A clock that went back must not undo a refusal: only what permits can come too late to count.
    if event.at > at && event.kind != EventKind::OptOut {
        return "later_than_this_decision";
    }
    if !event.purposes.contains(&purpose) {
        return "other_purpose";
    }
    let ended = entry.revoked_at.is_some_and(|revoked| revoked <= at);
    match event.kind {
        EventKind::OptOut if ended => "opt_out_withdrawn",
        EventKind::OptOut => "opt_out",
        EventKind::Grant if ended => "grant_revoked",
        EventKind::Grant if event.until.is_some_and(|until| until <= at) => "grant_expired",
        EventKind::Grant => match policy {
            Some(policy) if !policy.ledger_grants => "grant_not_accepted_by_policy",
            Some(policy) if !licensee_counts(policy, event.licensee.as_deref()) => "grant_to_another_licensee",
            _ => "grant",
        },
        EventKind::Revoke => "revocation",
        EventKind::Accept | EventKind::Reject => "review",
    }
}

fn licensee_counts(policy: &Policy, licensee: Option<&str>) -> bool {
    let same = |name: &String| licensee.is_some_and(|to| to.trim().to_lowercase() == name.trim().to_lowercase());
    policy.licensees.is_empty() || policy.licensees.iter().any(same)
}

/// Whether a later grant speaks for whoever opted out: about the picture itself, about the same artist, or about an
/// address within the one refused; an artist may also answer for an address, never an address for an artist.
fn answers(grant: &LedgerEntry, opt_out: &LedgerEntry) -> bool {
    match (&grant.event.target, &opt_out.event.target) {
        (Some(Target::Image(_)), _) | (Some(Target::Artist(_)), Some(Target::Source(_))) => true,
        (Some(Target::Artist(_)), Some(Target::Artist(_))) => grant.subject == opt_out.subject,
        (Some(Target::Source(_)), Some(Target::Source(_))) => grant.subject.starts_with(&opt_out.subject),
        _ => false,
    }
}

fn line(entry: &LedgerEntry, purpose: Purpose, state: State, rule: &'static str) -> TraceLine {
    let event = &entry.event;
    let mut raw = match &event.target {
        Some(target) => format!("{} by {} `{}`", event.kind, target.kind(), target.value()),
        None => event.kind.to_string(),
    };
    if let Some(licensee) = &event.licensee {
        raw.push_str(&format!(" to `{licensee}`"));
    }
    if let Some(until) = event.until {
        raw.push_str(&format!(" until {until}"));
    }
    if let Some(note) = &event.note {
        raw.push_str(&format!(": {note}"));
    }
    // Of the purposes it speaks of, the one decided on, when it is among them.
    let spoken = if event.purposes.contains(&purpose) {
        Some(purpose)
    } else {
        event.purposes.first().copied()
    };
    TraceLine {
        source: format!("ledger:{}", entry.seq),
        raw,
        purpose: if event.purposes.len() == Purpose::ALL.len() {
            None
        } else {
            spoken
        },
        state,
        rule,
        holder: Some(entry.hash),
    }
}
