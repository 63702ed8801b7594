//! The rules, in their order. An earlier one that refuses is never undone by a later one.
//!
//! 1. An opt-out that stands in the ledger refuses.
//! 2. A denial by a signal refuses, unless a grant in the ledger lifts it.
//! 3. A picture that shows the same thing and is denied refuses: no grant for the copy lifts that. A person may say
//!    that the two are different pictures, unless their pixels are equal.
//! 4. A person who looked at it and rejected it refuses.
//! 5. The name of an artist who opted out, in its caption, refuses, if the policy says so.
//! 6. Made by a machine refuses, if the policy says so.
//! 7. A grant in the ledger allows.
//! 8. A condition that is not known to be met refuses.
//! 9. A grant by a signal allows, when it is authenticated as the policy asks, and read recently enough.
//! 10. The user's own work allows.
//! 11. A licence that the policy accepts allows; with several, each must be.
//! 12. A statutory exception that the policy names allows, for the purposes it covers.
//! 13. Silence allows, where the policy names a basis for it and the picture carries no licence.
//! 14. Everything else is refused.
//!
//! What would be allowed is refused all the same when the policy does not hold at this time, when it must be
//! attributed and cannot be, and when somebody should look at it first: the other reasons say more.

use jiff::Timestamp;
use spdx::{Expression, Licensee};

use super::decision::{Decision, ReasonCode, TraceLine};
use super::evidence::{Evidence, Mention, Neighbour, Statement};
use super::ledger::{self, Clock, Word};
use super::policy::Policy;
use super::review::{self, Review};
use super::types::{Authentication, Obligation, Purpose, State, Use};

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
    let clock = Clock::of(evidence, at);
    let view = View {
        purpose,
        policy: Some(policy),
        clock,
    };
    let word = ledger::word(&evidence.ledger, purpose, Some(policy), clock, &mut trace);
    let review = review::read(&evidence.ledger, purpose, clock, &mut trace);
    let lifted = word == Word::Granted;
    let said = statements(&evidence.statements, &view, lifted, &mut trace);
    let near = neighbours(&evidence.neighbours, &view, &review, &mut trace);
    let named = mentions(&evidence.mentions, &view, &mut trace);
    let licensed = licences(evidence, policy, &mut trace);
    let doubt = facts(evidence, policy, &review, &mut trace);
    let state = overall(word, &said, near);
    let own = own_work(evidence, policy);
    let exception = policy.exception.as_ref().filter(|law| law.purposes.contains(&purpose));
    let grant_counts = said
        .grants
        .iter()
        .any(|strength| policy.signal_grants.contains(strength));
    let granted = !said.grants.is_empty();
    use ReasonCode::*;
    let mut reason_code = match state {
        _ if word == Word::Denied => DeniedByArtist,
        _ if said.state == State::Denied => DeniedBySignal,
        _ if near == Near::Denied => DeniedNearDuplicate,
        _ if review.rejected => RejectedInReview,
        _ if named && policy.refuse_names => NamesOptedOutArtist,
        _ if evidence.ai_generated && policy.refuse_ai_generated => AiGenerated,
        _ if lifted => GrantedByArtist,
        State::Constrained => Constrained,
        _ if grant_counts => GrantedBySignal,
        _ if own => OwnWork,
        _ if licensed.accepted && licensed.proven => LicenseAccepted,
        _ if exception.is_some() => StatutoryException,
        _ if policy.silence_basis.is_some() && evidence.licenses.is_empty() => UnspecifiedAccepted,
        _ if policy.licenses.is_empty() && granted => GrantNotAuthenticated,
        _ if policy.licenses.is_empty() => Unspecified,
        _ if licensed.accepted => LicenseNotProven,
        _ if granted => GrantNotAuthenticated,
        _ if evidence.licenses.is_empty() => LicenseMissing,
        _ => LicenseNotAccepted,
    };
    // A grant replaces the licence; whoever gave it set its own terms.
    let (mut obligations, mut licenses, mut basis) = (Vec::new(), Vec::new(), None);
    match (reason_code, exception) {
        (GrantedByArtist, _) => obligations = ledger::duties(&evidence.ledger, purpose, policy, clock),
        (LicenseAccepted, _) => (obligations, licenses) = (licensed.obligations, licensed.used),
        (StatutoryException, Some(law)) => (obligations, basis) = (law.obligations.clone(), Some(law.citation())),
        (UnspecifiedAccepted, _) => basis = policy.silence_basis.clone(),
        _ => {}
    }
    let cleared = reason_code.allows();
    let unnamed = obligations.contains(&Obligation::Attribution)
        && unattributable(evidence, policy, reason_code == StatutoryException, &mut trace);
    let force = in_force(policy, clock);
    let mut line = |source: &str, raw: String, state, rule| trace.push(fact(source, raw, state, rule));
    if let Err((raw, rule)) = &force {
        line("validity", raw.clone(), State::Unspecified, rule);
    }
    if let Some(law) = exception {
        let rule = match reason_code {
            StatutoryException => "exception_covers",
            _ => "exception_not_needed_or_overruled",
        };
        line("exception", law.citation(), State::Unspecified, rule);
    }
    if let (UnspecifiedAccepted, Some(basis)) = (reason_code, &basis) {
        line("basis", basis.clone(), State::Unspecified, "silence_accepted_on_basis");
    }
    if cleared {
        reason_code = match () {
            () if force.is_err() => PolicyNotInForce,
            () if unnamed => AttributionMissing,
            () if (doubt || near == Near::Doubtful) && policy.refuse_needs_review => NeedsReview,
            () => reason_code,
        };
    }
    let allowed = reason_code.allows();
    if !allowed {
        (obligations, licenses, basis) = (Vec::new(), Vec::new(), None);
    }
    line(
        "policy",
        format!("{}: {reason_code}", policy.name),
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
        obligations,
        licenses,
        basis,
        trace,
    }
}

/// What signals and ledger say about a purpose, before any policy.
pub fn state(evidence: &Evidence, purpose: Purpose, at: Timestamp) -> State {
    let mut trace = Vec::new();
    let view = View {
        purpose,
        policy: None,
        clock: Clock::of(evidence, at),
    };
    let word = ledger::word(&evidence.ledger, purpose, None, view.clock, &mut trace);
    let review = review::read(&evidence.ledger, purpose, view.clock, &mut trace);
    let said = statements(&evidence.statements, &view, word == Word::Granted, &mut trace);
    let near = neighbours(&evidence.neighbours, &view, &review, &mut trace);
    overall(word, &said, near)
}

/// What evidence is read for.
pub(super) struct View<'a> {
    pub purpose: Purpose,
    pub policy: Option<&'a Policy>,
    pub clock: Clock,
}

fn overall(word: Word, said: &Said, near: Near) -> State {
    match (word, said.state) {
        (Word::Denied, _) | (_, State::Denied) => State::Denied,
        _ if near == Near::Denied => State::Denied,
        (Word::Granted, _) => State::Granted,
        (Word::Silent, state) => state,
    }
}

fn fact(source: &str, raw: String, state: State, rule: &'static str) -> TraceLine {
    TraceLine {
        source: source.into(),
        raw,
        purpose: None,
        state,
        rule,
        holder: None,
        authentication: None,
    }
}

/// Whether the policy holds: it begins by the clock, and ends by the newest time that is known. If it
/// does not, when it does, and the rule.
fn in_force(policy: &Policy, clock: Clock) -> Result<(), (String, &'static str)> {
    if let Some(from) = policy.valid_from.filter(|from| *from > clock.at) {
        return Err((format!("the policy holds from {from}"), "policy_not_yet_begun"));
    }
    match policy.valid_until.filter(|until| *until <= clock.latest) {
        Some(until) => Err((format!("the policy held until {until}"), "policy_ended")),
        None => Ok(()),
    }
}

/// Whether every artist of the picture is among the policy's own. Of a work of several hands each must be.
fn own_work(evidence: &Evidence, policy: &Policy) -> bool {
    let folded = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let own: Vec<_> = policy.own_artists.iter().map(|name| folded(name)).collect();
    !evidence.artists.is_empty() && evidence.artists.iter().all(|name| own.contains(&folded(name)))
}

/// Whether the picture lacks a name that must be given. An exception asks for author and work, a licence for what the
/// policy says.
fn unattributable(evidence: &Evidence, policy: &Policy, by_exception: bool, trace: &mut Vec<TraceLine>) -> bool {
    let author = evidence.artists.iter().any(|name| !name.trim().is_empty());
    let title = evidence.title.as_deref().is_some_and(|title| !title.trim().is_empty());
    let mut missing = |what: &str, there: bool, rule| {
        if !there {
            trace.push(fact(
                "attribution",
                format!("{what} is known"),
                State::Unspecified,
                rule,
            ));
        }
        !there
    };
    let author = (policy.require_author || by_exception) && missing("no author", author, "author_missing");
    let title = (policy.require_title || by_exception) && missing("no title", title, "title_missing");
    author || title
}

/// The lines of what the picture itself is; whether a doubt is left.
fn facts(evidence: &Evidence, policy: &Policy, review: &Review<'_>, trace: &mut Vec<TraceLine>) -> bool {
    if evidence.ai_generated {
        let rule = match policy.refuse_ai_generated {
            true => "ai_generated_refused",
            false => "ai_generated_allowed",
        };
        let line = fact("ai_generated", "made by a machine".into(), State::Unspecified, rule);
        trace.push(line);
    }
    let mut doubt = false;
    for reason in &evidence.needs_review {
        let rule = match (review.clears(reason), policy.refuse_needs_review) {
            (true, _) => "doubt_cleared_by_review",
            (false, true) => "needs_review_refused",
            (false, false) => "needs_review_allowed",
        };
        doubt |= !review.clears(reason);
        trace.push(fact("needs_review", reason.clone(), State::Unspecified, rule));
    }
    doubt
}

/// Whether a caption names an artist who opted out of the purpose.
fn mentions(list: &[Mention], view: &View<'_>, trace: &mut Vec<TraceLine>) -> bool {
    let mut named = false;
    for mention in list {
        let mut why = Vec::new();
        let word = ledger::word(&mention.ledger, view.purpose, view.policy, view.clock, &mut why);
        let Some(because) = why.iter().find(|line| line.state == State::Denied) else {
            continue;
        };
        if word != Word::Denied {
            continue;
        }
        named = true;
        let rule = match view.policy.is_some_and(|policy| policy.refuse_names) {
            true => "names_opted_out_artist_refused",
            false => "names_opted_out_artist_allowed",
        };
        trace.push(TraceLine {
            source: format!("mention:{}", mention.place),
            raw: format!("`{}`; {}", mention.name, because.raw),
            purpose: because.purpose,
            // The refusal is about the artist's own pictures: this one is refused by the policy.
            state: State::Unspecified,
            rule,
            holder: because.holder,
            authentication: because.authentication,
        });
    }
    named
}

/// What the statements come to: the state by "any denied, else constrained, else granted, else unspecified".
pub(super) struct Said {
    pub state: State,
    /// How the grants are authenticated.
    grants: Vec<Authentication>,
}

pub(super) fn statements(list: &[Statement], view: &View<'_>, lifted: bool, trace: &mut Vec<TraceLine>) -> Said {
    let mut said = Said {
        state: State::Unspecified,
        grants: Vec::new(),
    };
    for statement in list {
        let other = statement.purpose.is_some_and(|spoken| spoken != view.purpose);
        let (state, rule) = match statement.state {
            // As in the ledger: what refuses counts even where the clock stands before it.
            State::Granted if statement.read_at > view.clock.at => (State::Unspecified, "later_than_this_decision"),
            _ if other => (State::Unspecified, "other_purpose"),
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
            State::Granted if too_old(statement, view) => (State::Unspecified, "grant_read_too_long_ago"),
            State::Granted => (State::Granted, "signal_grants"),
        };
        said.state = match (said.state, state) {
            (State::Denied, _) | (_, State::Denied) => State::Denied,
            (State::Constrained, _) | (_, State::Constrained) => State::Constrained,
            (State::Granted, _) | (_, State::Granted) => State::Granted,
            _ => State::Unspecified,
        };
        if state == State::Granted {
            said.grants.push(statement.authentication);
        }
        trace.push(TraceLine {
            source: statement.source.clone(),
            raw: statement.raw.clone(),
            purpose: statement.purpose,
            state,
            rule,
            holder: Some(statement.holder),
            authentication: Some(statement.authentication),
        });
    }
    said
}

/// Whether a grant was read longer ago than the policy takes.
fn too_old(statement: &Statement, view: &View<'_>) -> bool {
    let limit = view.policy.and_then(|policy| policy.max_age_days);
    let age = view.clock.latest.duration_since(statement.read_at).as_secs();
    limit.is_some_and(|days| age > i64::from(days) * 86_400)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Near {
    Nothing,
    Doubtful,
    Denied,
}

fn neighbours(list: &[Neighbour], view: &View<'_>, review: &Review<'_>, trace: &mut Vec<TraceLine>) -> Near {
    let mut nearest = Near::Nothing;
    for neighbour in list {
        let Some(because) = denial(neighbour, view) else {
            continue;
        };
        let apart = review.tells_apart(&neighbour.image, neighbour.distance);
        let (near, state, rule) = match neighbour.doubtful {
            _ if apart => (Near::Nothing, State::Unspecified, "near_duplicate_cleared_by_review"),
            false => (Near::Denied, State::Denied, "near_duplicate_of_denied"),
            true => (Near::Doubtful, State::Unspecified, "near_duplicate_in_doubt"),
        };
        nearest = nearest.max(near);
        trace.push(TraceLine {
            source: review::matter_of(&neighbour.image),
            raw: format!("distance {}; {}", neighbour.distance, because.raw),
            purpose: because.purpose,
            state,
            rule,
            holder: Some(neighbour.image),
            authentication: because.authentication,
        });
    }
    nearest
}

/// What denies another picture; none when nothing does.
pub(super) fn denial(neighbour: &Neighbour, view: &View<'_>) -> Option<TraceLine> {
    let mut why = Vec::new();
    let word = ledger::word(&neighbour.ledger, view.purpose, view.policy, view.clock, &mut why);
    let said = statements(&neighbour.statements, view, word == Word::Granted, &mut why);
    if word != Word::Denied && said.state != State::Denied {
        return None;
    }
    let because = why.into_iter().find(|line| line.state == State::Denied);
    Some(because.unwrap_or_else(|| fact("unknown", "denied".into(), State::Denied, "denied")))
}

/// What the licences come to.
struct Licensed {
    /// Whether there is one and every one is accepted.
    accepted: bool,
    /// Whether one of them stands where the policy looks.
    proven: bool,
    /// The accepted licences that are used.
    used: Vec<String>,
    /// What they oblige to.
    obligations: Vec<Obligation>,
}

fn licences(evidence: &Evidence, policy: &Policy, trace: &mut Vec<TraceLine>) -> Licensed {
    let mut licensed = Licensed {
        accepted: !evidence.licenses.is_empty(),
        proven: false,
        used: Vec::new(),
        obligations: Vec::new(),
    };
    for license in &evidence.licenses {
        let counts = policy.license_sources.is_empty() || policy.license_sources.contains(&license.source);
        let rule = match accept(&license.expression, policy) {
            Ok((names, duties)) => {
                licensed.used.extend(names);
                licensed.obligations.extend(duties);
                licensed.proven |= counts;
                if counts {
                    "license_accepted"
                } else {
                    "license_source_not_accepted"
                }
            }
            // A licence that does not suffice counts wherever it stands.
            Err(rule) => {
                licensed.accepted = false;
                rule
            }
        };
        let source = format!("license:{}", license.source);
        // A licence is a fact, never a state.
        trace.push(fact(&source, license.expression.clone(), State::Unspecified, rule));
    }
    licensed.used.sort();
    licensed.used.dedup();
    licensed.obligations.sort_unstable();
    licensed.obligations.dedup();
    licensed
}

/// The accepted licences that satisfy an expression with the fewest obligations, or the rule that refuses it.
fn accept(expression: &str, policy: &Policy) -> Result<(Vec<String>, Vec<Obligation>), &'static str> {
    if expression.len() > MAX_EXPRESSION {
        return Err("license_not_readable");
    }
    let parsed = Expression::parse(expression).map_err(|_| "license_not_readable")?;
    let commercial = policy.usage == Some(Use::Commercial);
    let serves = |duties: &[Obligation]| !commercial || !duties.contains(&Obligation::NonCommercial);
    let entries = policy.licenses.iter();
    let accepted: Vec<Licensee> = entries
        .clone()
        .filter(|entry| serves(&entry.obligations))
        .map(|entry| entry.license.clone())
        .collect();
    let Ok(needed) = parsed.minimized_requirements(&accepted) else {
        let all: Vec<Licensee> = entries.map(|entry| entry.license.clone()).collect();
        return Err(match parsed.minimized_requirements(&all) {
            Ok(_) => "license_for_commercial_use_not_accepted",
            Err(_) => "license_not_accepted",
        });
    };
    let mut obligations = Vec::new();
    for entry in &policy.licenses {
        if needed.iter().any(|need| entry.license.satisfies(need)) {
            obligations.extend(&entry.obligations);
        }
    }
    Ok((needed.iter().map(ToString::to_string).collect(), obligations))
}
