//! The rules, in their order. An earlier one that refuses is never undone by a later one.
//!
//! 1. An opt-out that stands in the ledger.
//! 2. A denial by a signal, unless a grant in the ledger lifts it.
//! 3. A picture that shows the same thing and is denied: no grant for the copy lifts that.
//! 4. What the policy refuses: made by a machine.
//! 5. A grant in the ledger allows.
//! 6. A condition that is not known to be met refuses.
//! 7. A grant by a signal allows, when it is authenticated as the policy asks.
//! 8. A licence that the policy accepts allows; with several, each must be.
//! 9. Everything else is refused.
//!
//! What would be allowed and needs a look is refused until it had one: the other reasons say more.

use jiff::Timestamp;
use spdx::{Expression, Licensee};

use super::decision::{Decision, ReasonCode, TraceLine};
use super::evidence::{Evidence, Neighbour, Statement};
use super::ledger::{self, Word};
use super::policy::Policy;
use super::types::{Authentication, Obligation, Purpose, State};

/// Longer licence expressions are not read.
const MAX_EXPRESSION: usize = 1000;

/// Weighs the evidence about one picture for the policy's purpose at a time. Pure, and total: there is no evidence for
/// which it has no answer.
pub fn decide(evidence: &Evidence, policy: &Policy, at: Timestamp) -> Decision {
    decide_for(evidence, policy, policy.purpose, at)
}

/// As [`decide`], for another purpose than the policy's.
pub fn decide_for(evidence: &Evidence, policy: &Policy, purpose: Purpose, at: Timestamp) -> Decision {
    let mut trace = Vec::new();
    let word = ledger::word(&evidence.ledger, purpose, Some(policy), at, &mut trace);
    let lifted = word == Word::Granted;
    let said = statements(&evidence.statements, purpose, lifted, at, &mut trace);
    let near = neighbours(&evidence.neighbours, purpose, at, &mut trace);
    let (licensed, licenses, obligations) = licences(evidence, policy, &mut trace);
    let mut line = |source: &str, raw: String, state, rule| {
        trace.push(TraceLine {
            source: source.into(),
            raw,
            purpose: None,
            state,
            rule,
            holder: None,
        });
    };
    if evidence.ai_generated {
        let rule = if policy.refuse_ai_generated {
            "ai_generated_refused"
        } else {
            "ai_generated_allowed"
        };
        line("ai_generated", "made by a machine".into(), State::Unspecified, rule);
    }
    for reason in &evidence.needs_review {
        let rule = if policy.refuse_needs_review {
            "needs_review_refused"
        } else {
            "needs_review_allowed"
        };
        line("needs_review", reason.clone(), State::Unspecified, rule);
    }

    let review = !evidence.needs_review.is_empty() || near == Near::Doubtful;
    let state = overall(word, &said, near);
    let granted = said.grant.is_some();
    let authenticated = said
        .grant
        .is_some_and(|strength| policy.signal_grants.contains(&strength));
    use ReasonCode::*;
    let reason_code = match state {
        _ if word == Word::Denied => DeniedByArtist,
        _ if said.state == State::Denied => DeniedBySignal,
        _ if near == Near::Denied => DeniedNearDuplicate,
        _ if evidence.ai_generated && policy.refuse_ai_generated => AiGenerated,
        _ if lifted => GrantedByArtist,
        State::Constrained => Constrained,
        _ if authenticated => GrantedBySignal,
        _ if policy.licenses.is_empty() && granted => GrantNotAuthenticated,
        _ if policy.licenses.is_empty() => Unspecified,
        _ if licensed => LicenseAccepted,
        _ if granted => GrantNotAuthenticated,
        _ if evidence.licenses.is_empty() => LicenseMissing,
        _ => LicenseNotAccepted,
    };
    let cleared = matches!(reason_code, GrantedByArtist | GrantedBySignal | LicenseAccepted);
    let reason_code = if cleared && review && policy.refuse_needs_review {
        NeedsReview
    } else {
        reason_code
    };
    let allowed = cleared && reason_code != NeedsReview;
    let by_licence = reason_code == LicenseAccepted;
    let reason = reason_code.as_str().to_string();
    line(
        "policy",
        format!("{}: {reason}", policy.name),
        state,
        if allowed { "allowed" } else { "refused" },
    );
    Decision {
        image: evidence.image,
        purpose,
        policy: policy.digest(),
        state,
        allowed,
        reason_code,
        // A grant replaces the licence; whoever gave it set its own terms.
        obligations: if by_licence { obligations } else { Vec::new() },
        licenses: if by_licence { licenses } else { Vec::new() },
        trace,
    }
}

/// What signals and ledger say about a purpose, before any policy.
pub fn state(evidence: &Evidence, purpose: Purpose, at: Timestamp) -> State {
    let mut trace = Vec::new();
    let word = ledger::word(&evidence.ledger, purpose, None, at, &mut trace);
    let said = statements(&evidence.statements, purpose, word == Word::Granted, at, &mut trace);
    overall(word, &said, neighbours(&evidence.neighbours, purpose, at, &mut trace))
}

fn overall(word: Word, said: &Said, near: Near) -> State {
    match (word, said.state) {
        (Word::Denied, _) | (_, State::Denied) => State::Denied,
        _ if near == Near::Denied => State::Denied,
        (Word::Granted, _) => State::Granted,
        (Word::Silent, state) => state,
    }
}

/// What the statements come to: the state by "any denied, else constrained, else granted, else unspecified".
struct Said {
    state: State,
    /// The strongest authentication among the grants.
    grant: Option<Authentication>,
}

fn statements(list: &[Statement], purpose: Purpose, lifted: bool, at: Timestamp, trace: &mut Vec<TraceLine>) -> Said {
    let mut said = Said {
        state: State::Unspecified,
        grant: None,
    };
    for statement in list {
        let (state, rule) = match statement.state {
            // As in the ledger: a denial counts even where the clock stands before it.
            _ if statement.read_at > at && statement.state != State::Denied => {
                (State::Unspecified, "later_than_this_decision")
            }
            _ if statement.purpose.is_some_and(|spoken| spoken != purpose) => (State::Unspecified, "other_purpose"),
            // A denial needs no signature, and stays when the page drops it.
            State::Denied if lifted => (State::Unspecified, "signal_lifted_by_grant"),
            State::Denied => (State::Denied, "signal_denies"),
            State::Unspecified => (State::Unspecified, "signal_says_nothing"),
            _ if !statement.current => (State::Unspecified, "signal_no_longer_there"),
            State::Constrained if lifted => (State::Unspecified, "signal_lifted_by_grant"),
            State::Constrained => (State::Constrained, "signal_constrains"),
            State::Granted if statement.authentication == Authentication::Invalid => {
                (State::Unspecified, "grant_with_broken_signature")
            }
            State::Granted => (State::Granted, "signal_grants"),
        };
        said.state = match (said.state, state) {
            (State::Denied, _) | (_, State::Denied) => State::Denied,
            (State::Constrained, _) | (_, State::Constrained) => State::Constrained,
            (State::Granted, _) | (_, State::Granted) => State::Granted,
            _ => State::Unspecified,
        };
        if state == State::Granted {
            said.grant = said.grant.max(Some(statement.authentication));
        }
        trace.push(TraceLine {
            source: statement.source.clone(),
            raw: statement.raw.clone(),
            purpose: statement.purpose,
            state,
            rule,
            holder: Some(statement.holder),
        });
    }
    said
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    Nothing,
    Doubtful,
    Denied,
}

fn neighbours(list: &[Neighbour], purpose: Purpose, at: Timestamp, trace: &mut Vec<TraceLine>) -> Near {
    let mut nearest = Near::Nothing;
    for neighbour in list {
        let mut why = Vec::new();
        // Every licensee's grant counts here: whether the other picture is denied does not depend on our policy.
        let word = ledger::word(&neighbour.ledger, purpose, None, at, &mut why);
        let said = statements(&neighbour.statements, purpose, word == Word::Granted, at, &mut why);
        if word != Word::Denied && said.state != State::Denied {
            continue;
        }
        let (near, state, rule) = match neighbour.doubtful {
            false => (Near::Denied, State::Denied, "near_duplicate_of_denied"),
            true => (Near::Doubtful, State::Unspecified, "near_duplicate_in_doubt"),
        };
        nearest = nearest.max(near);
        let because = why.iter().find(|line| line.state == State::Denied);
        trace.push(TraceLine {
            source: format!("near_duplicate:{}", neighbour.image),
            raw: format!(
                "distance {}; {}",
                neighbour.distance,
                because.map_or("denied", |line| line.raw.as_str())
            ),
            purpose: because.and_then(|line| line.purpose),
            state,
            rule,
            holder: Some(neighbour.image),
        });
    }
    nearest
}

/// Whether every licence is accepted (and there is one), under which, and what they oblige to.
fn licences(evidence: &Evidence, policy: &Policy, trace: &mut Vec<TraceLine>) -> (bool, Vec<String>, Vec<Obligation>) {
    let mut all = !evidence.licenses.is_empty();
    let (mut used, mut obligations) = (Vec::new(), Vec::new());
    for fact in &evidence.licenses {
        let rule = match accept(&fact.expression, policy) {
            Ok((names, duties)) => {
                used.extend(names);
                obligations.extend(duties);
                "license_accepted"
            }
            Err(rule) => {
                all = false;
                rule
            }
        };
        trace.push(TraceLine {
            source: format!("license:{}", fact.source),
            raw: fact.expression.clone(),
            purpose: None,
            // A licence is a fact, never a state.
            state: State::Unspecified,
            rule,
            holder: None,
        });
    }
    used.sort();
    used.dedup();
    obligations.sort_unstable();
    obligations.dedup();
    (all, used, obligations)
}

/// The accepted licences that satisfy an expression with the fewest obligations, or the rule that refuses it.
fn accept(expression: &str, policy: &Policy) -> Result<(Vec<String>, Vec<Obligation>), &'static str> {
    if expression.len() > MAX_EXPRESSION {
        return Err("license_not_readable");
    }
    let parsed = Expression::parse(expression).map_err(|_| "license_not_readable")?;
    let accepted: Vec<Licensee> = policy.licenses.iter().map(|entry| entry.license.clone()).collect();
    let needed = parsed
        .minimized_requirements(&accepted)
        .map_err(|_| "license_not_accepted")?;
    let mut obligations = Vec::new();
    for entry in &policy.licenses {
        if needed.iter().any(|need| entry.license.satisfies(need)) {
            obligations.extend(&entry.obligations);
        }
    }
    Ok((needed.iter().map(ToString::to_string).collect(), obligations))
}
