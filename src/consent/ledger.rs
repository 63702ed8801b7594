//! The ledger's word on one picture and one purpose at one time.
//!
//! An opt-out stands until it is withdrawn, or until a later grant about the same subject, or about the picture
//! itself, says otherwise. A grant lifts general signals; it never lifts an opt-out that came after it. Only a grant
//! whose giver is proven counts: one that the user recorded, or one that is signed.

use jiff::Timestamp;

use super::decision::TraceLine;
use super::event::{EventKind, Target};
use super::evidence::{Evidence, LedgerEntry, Statement};
use super::policy::Policy;
use super::types::{Authentication, GrantProof, Obligation, Purpose, Scope, State, Use};

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

/// The time of a decision. A clock that went back must not allow more: what permits begins by the clock, and ends by
/// the clock or by the newest time in the evidence, whichever is later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// What the clock says.
    pub at: Timestamp,
    /// The later of that and of everything that was recorded.
    pub latest: Timestamp,
}

impl Clock {
    /// The clock of a decision about this evidence.
    pub fn of(evidence: &Evidence, at: Timestamp) -> Clock {
        let neighbours = evidence.neighbours.iter();
        let statements = evidence.statements.iter();
        let read = statements.chain(neighbours.clone().flat_map(|near| &near.statements));
        let events = evidence.ledger.iter().chain(neighbours.flat_map(|near| &near.ledger));
        let events = events.chain(evidence.mentions.iter().flat_map(|mention| &mention.ledger));
        let recorded = events.flat_map(|entry| [Some(entry.event.at), entry.revoked_at]);
        let times = recorded
            .flatten()
            .chain(read.map(|statement: &Statement| statement.read_at));
        Clock {
            at,
            latest: times.fold(at, Timestamp::max),
        }
    }
}

/// Reads every entry; pushes a line of the trace for each. Without a policy every licensee and use counts.
pub(super) fn word(
    entries: &[LedgerEntry],
    purpose: Purpose,
    policy: Option<&Policy>,
    clock: Clock,
    trace: &mut Vec<TraceLine>,
) -> Word {
    let standing: Vec<_> = entries
        .iter()
        .map(|entry| rule(entry, purpose, policy, clock))
        .collect();
    let grants = |opt_out: &LedgerEntry| {
        let stands = |(entry, rule): (&LedgerEntry, &&'static str)| {
            // Recorded later and said later: what another ledger brings in last may have been said first.
            let later = entry.seq > opt_out.seq && said(entry) >= said(opt_out);
            *rule == "grant" && later && answers(entry, opt_out)
        };
        entries.iter().zip(&standing).any(stands)
    };
    let stands = |(entry, rule): (&LedgerEntry, &&'static str)| *rule == "opt_out" && !grants(entry);
    let denied = entries.iter().zip(&standing).any(stands);
    for (entry, rule) in entries.iter().zip(&standing) {
        let (rule, state) = match *rule {
            // Reviews answer doubts, not purposes: `review` reads them.
            "review" => continue,
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

/// When an event was said.
fn said(entry: &LedgerEntry) -> Timestamp {
    entry.event.issued.unwrap_or(entry.event.at)
}

/// What the grants that stand oblige to: when each is for personal use only, no commercial use.
pub(super) fn duties(entries: &[LedgerEntry], purpose: Purpose, policy: &Policy, clock: Clock) -> Vec<Obligation> {
    let mut grants = entries
        .iter()
        .filter(|entry| rule(entry, purpose, Some(policy), clock) == "grant");
    match grants.all(|entry| entry.event.scope == Some(Scope::Personal)) {
        true => vec![Obligation::NonCommercial],
        false => Vec::new(),
    }
}

/// What an entry is at this time, whatever the others say: `opt_out` and `grant` are those that count.
fn rule(entry: &LedgerEntry, purpose: Purpose, policy: Option<&Policy>, clock: Clock) -> &'static str {
    let event = &entry.event;
    match event.kind {
        EventKind::Accept | EventKind::Reject => return "review",
        EventKind::Revoke => return "revocation",
        EventKind::OptOut | EventKind::Grant => {}
    }
    // A clock that went back must not undo a refusal: only what permits can come too late to count.
    if event.at > clock.at && event.kind == EventKind::Grant {
        return "later_than_this_decision";
    }
    if !event.purposes.contains(&purpose) {
        return "other_purpose";
    }
    match event.kind {
        EventKind::OptOut if entry.revoked_at.is_some_and(|revoked| revoked <= clock.at) => "opt_out_withdrawn",
        EventKind::OptOut => "opt_out",
        // The end of a grant counts even where the clock stands before it.
        _ if entry.revoked_at.is_some() => "grant_revoked",
        _ if event.valid_from.is_some_and(|from| from > clock.at) => "grant_not_yet_valid",
        _ if event.until.is_some_and(|until| until <= clock.latest) => "grant_expired",
        _ => match proof(entry) {
            Err(rule) => rule,
            Ok(proof) => policy.map_or("grant", |policy| accepted(entry, proof, policy)),
        },
    }
}

/// What proves who gave a grant or a review, or the rule by which it counts for nothing.
pub(super) fn proof(entry: &LedgerEntry) -> Result<GrantProof, &'static str> {
    match entry.authentication {
        Authentication::Invalid => Err("grant_with_broken_signature"),
        Authentication::Trusted => Ok(GrantProof::Trusted),
        Authentication::Signed => Ok(GrantProof::Signed),
        // A key that the event names and nothing verified proves nothing.
        Authentication::None if entry.event.imported => Err("grant_imported_unsigned"),
        Authentication::None => Ok(GrantProof::Own),
    }
}

/// Whether a policy takes a grant that holds: the rule.
fn accepted(entry: &LedgerEntry, proof: GrantProof, policy: &Policy) -> &'static str {
    let event = &entry.event;
    // What the user recorded and signed is the user's own as well.
    let own = !event.imported && policy.grant_proof.contains(&GrantProof::Own);
    if !policy.ledger_grants {
        "grant_not_accepted_by_policy"
    } else if !own && !policy.grant_proof.contains(&proof) {
        "grant_not_proven_as_policy_asks"
    } else if !licensee_counts(policy, event.licensee.as_deref()) {
        "grant_to_another_licensee"
    } else if policy.usage == Some(Use::Commercial) && event.scope == Some(Scope::Personal) {
        "grant_for_personal_use_only"
    } else if policy.grant_evidence && event.evidence.is_none() {
        "grant_without_evidence"
    } else {
        "grant"
    }
}

fn licensee_counts(policy: &Policy, licensee: Option<&str>) -> bool {
    let same = |name: &String| licensee.is_some_and(|to| to.trim().to_lowercase() == name.trim().to_lowercase());
    policy.licensees.is_empty() || policy.licensees.iter().any(same)
}

/// Whether a later grant speaks for whoever opted out.
///
/// | grant about | answers an opt-out about |
/// |---|---|
/// | the picture | anything that covers the picture |
/// | an artist | the same artist; an address, a collection or a list: the artist is who these speak for |
/// | an address | an address it lies within |
/// | a collection, a list | the same one |
///
/// Nothing general answers for a picture that was refused by itself, and no address or collection for an artist.
fn answers(grant: &LedgerEntry, opt_out: &LedgerEntry) -> bool {
    match (&grant.event.target, &opt_out.event.target) {
        (Some(Target::Image(_)), _) => true,
        (Some(Target::Artist(_)), Some(Target::Source(_) | Target::Collection(_) | Target::List(_))) => true,
        (Some(Target::Artist(_)), Some(Target::Artist(_)))
        | (Some(Target::Collection(_)), Some(Target::Collection(_)))
        | (Some(Target::List(_)), Some(Target::List(_))) => grant.subject == opt_out.subject,
        (Some(Target::Source(_)), Some(Target::Source(_))) => grant.subject.starts_with(&opt_out.subject),
        _ => false,
    }
}

/// The line of the trace for an event.
pub(super) fn line(entry: &LedgerEntry, purpose: Purpose, state: State, rule: &'static str) -> TraceLine {
    let event = &entry.event;
    let mut raw = match &event.target {
        Some(target) => format!("{} by {} `{}`", event.kind, target.kind(), target.value()),
        None => event.kind.to_string(),
    };
    if let Some(licensee) = &event.licensee {
        raw.push_str(&format!(" to `{licensee}`"));
    }
    if let Some(scope) = event.scope {
        raw.push_str(&format!(" for {scope} use"));
    }
    if let Some(from) = event.valid_from {
        raw.push_str(&format!(" from {from}"));
    }
    if let Some(until) = event.until {
        raw.push_str(&format!(" until {until}"));
    }
    if !event.matters.is_empty() {
        raw.push_str(&format!(" of {}", event.matters.join(", ")));
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
        authentication: Some(entry.authentication),
    }
}
