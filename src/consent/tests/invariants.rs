//! What must hold for every evidence: tried on many.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn shipped() -> Vec<Policy> {
    [
        include_str!("../../../configs/policy-open-licences.toml"),
        include_str!("../../../configs/policy-opt-in.toml"),
        include_str!("../../../configs/policy-own-works.toml"),
        include_str!("../../../configs/policy-research-exception.toml"),
    ]
    .into_iter()
    .map(|text| Policy::parse(text).unwrap())
    .map(|policy| match policy.name.as_str() {
        "own-works" => policy.with_own(&["mira".to_string()]).unwrap(),
        _ => policy,
    })
    .collect()
}

fn purpose() -> impl Strategy<Value = Purpose> {
    select(Purpose::ALL)
}

fn a_statement() -> impl Strategy<Value = Statement> {
    let authentication = select(Authentication::ALL);
    (
        select(State::ALL),
        option::of(purpose()),
        authentication,
        0..60i64,
        any::<bool>(),
    )
        .prop_map(|(state, purpose, authentication, day, current)| Statement {
            read_at: time(day),
            current,
            ..statement(state, purpose, authentication)
        })
}

fn target() -> impl Strategy<Value = Target> {
    select(vec![
        artist(),
        Target::Artist("tove".into()),
        Target::Image(image("a")),
        Target::Source("https://a.org/".into()),
        Target::Collection("c".into()),
        Target::List(image("list")),
    ])
}

const DOUBTS: [&str; 2] = ["XMP does not parse", "the sidecar does not parse"];

fn an_entry(kinds: &'static [EventKind]) -> impl Strategy<Value = LedgerEntry> {
    let near = format!("near_duplicate:{}", image("b"));
    let matters = vec(select(vec![DOUBTS[0].to_string(), DOUBTS[1].to_string(), near]), 0..3);
    let times = (
        0..60i64,
        option::of(0..90i64),
        option::of(0..90i64),
        option::of(0..60i64),
    );
    let proof = (
        select(Authentication::ALL),
        any::<bool>(),
        option::of(select(Scope::ALL)),
    );
    (
        1..20i64,
        select(kinds),
        target(),
        vec(purpose(), 0..4),
        matters,
        times,
        proof,
    )
        .prop_map(
            |(seq, kind, target, purposes, matters, (at, from, until, revoked), (authentication, imported, scope))| {
                let mut entry = event(seq, kind, target);
                entry.event.at = time(at);
                entry.event.purposes = purposes;
                entry.event.matters = matters;
                entry.event.valid_from = from.map(time);
                entry.event.until = until.map(time);
                entry.event.imported = imported;
                entry.event.scope = scope;
                entry.revoked_at = revoked.map(|day| time(day.max(at)));
                entry.authentication = authentication;
                entry
            },
        )
}

const SPOKEN: &[EventKind] = &[
    EventKind::OptOut,
    EventKind::Grant,
    EventKind::Accept,
    EventKind::Reject,
];

const PERMISSIONS: &[EventKind] = &[
    EventKind::Grant,
    EventKind::Grant,
    EventKind::Grant,
    EventKind::Accept,
    EventKind::OptOut,
];

fn a_neighbour() -> impl Strategy<Value = Neighbour> {
    let said = (vec(a_statement(), 0..2), vec(an_entry(SPOKEN), 0..2));
    (prop_oneof![Just(0u32), 1..60u32], any::<bool>(), said).prop_map(|(distance, doubtful, (statements, ledger))| {
        Neighbour {
            image: image("b"),
            distance,
            doubtful,
            statements,
            ledger,
        }
    })
}

fn some_evidence() -> impl Strategy<Value = Evidence> {
    let names = (
        vec(select(vec!["mira".to_string(), "tove".to_string()]), 0..2),
        option::of(Just("Boat".to_string())),
    );
    let licenses = vec(
        select(vec!["CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "free for all"]),
        0..2,
    );
    let doubts = vec(select(DOUBTS.to_vec()), 0..2);
    let mention = option::of(vec(an_entry(SPOKEN), 1..3));
    (
        vec(a_statement(), 0..3),
        vec(an_entry(SPOKEN), 0..5),
        vec(a_neighbour(), 0..2),
        (names, licenses, doubts, mention, any::<bool>()),
    )
        .prop_map(
            |(statements, mut ledger, neighbours, (names, licenses, doubts, mention, ai_generated))| {
                ledger.sort_by_key(|entry| entry.seq);
                let license = |text: &str| LicenseFact {
                    expression: text.into(),
                    source: "reuse".into(),
                };
                let mention = mention.map(|ledger| Mention {
                    place: "caption".into(),
                    name: "tove".into(),
                    ledger,
                });
                Evidence {
                    statements,
                    ledger,
                    neighbours,
                    artists: names.0,
                    title: names.1,
                    licenses: licenses.into_iter().map(license).collect(),
                    needs_review: doubts.into_iter().map(String::from).collect(),
                    mentions: mention.into_iter().collect(),
                    ai_generated,
                    ..Evidence::none(image("a"))
                }
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_denial_never_turns_refused_into_allowed(
        known in some_evidence(),
        purpose in purpose(),
        day in 0..100i64,
        signal in a_statement(),
        refusal in an_entry(&[EventKind::OptOut, EventKind::Reject]),
        copy in a_neighbour(),
        which in 0..4,
    ) {
        let mut more = known.clone();
        match which {
            0 => more.statements.push(Statement { state: State::Denied, ..signal }),
            1 => more.ledger.push(refusal),
            2 => more.neighbours.push(copy),
            _ => more.mentions.push(Mention { place: "caption".into(), name: "mira".into(), ledger: vec![refusal] }),
        }
        more.ledger.sort_by_key(|entry| entry.seq);
        for policy in shipped() {
            let before = decide_for(&known, &policy, purpose, time(day));
            let after = decide_for(&more, &policy, purpose, time(day));
            prop_assert!(before.allowed || !after.allowed, "{}: {} became {}", policy.name, before.reason_code, after.reason_code);
        }
    }

    #[test]
    fn an_unsigned_grant_never_allows(
        known in some_evidence(),
        purpose in purpose(),
        day in 0..100i64,
        signal in a_statement(),
        grant in an_entry(&[EventKind::Grant, EventKind::Accept]),
        forged in any::<bool>(),
    ) {
        let authentication = if forged { Authentication::Invalid } else { Authentication::None };
        let mut more = known.clone();
        more.statements.push(Statement { state: State::Granted, authentication, ..signal });
        let mut grant = LedgerEntry { authentication, ..grant };
        grant.event.imported = true;
        more.ledger.push(grant);
        more.ledger.sort_by_key(|entry| entry.seq);
        for policy in shipped() {
            let before = decide_for(&known, &policy, purpose, time(day));
            let after = decide_for(&more, &policy, purpose, time(day));
            prop_assert!(before.allowed || !after.allowed, "{}: {} became {}", policy.name, before.reason_code, after.reason_code);
        }
    }

    // Up to the newest time that the evidence holds: after it, time that passes may end a permission.
    #[test]
    fn a_clock_that_went_back_never_allows_more(
        known in some_evidence(),
        permissions in vec(an_entry(PERMISSIONS), 1..4),
        days in (0..60i64, 0..60i64),
    ) {
        // Mostly permissions, each with its own beginning and end: what a clock decides on.
        let mut known = known;
        known.ai_generated = false;
        known.neighbours.clear();
        known.mentions.clear();
        known.needs_review.truncate(1);
        known.statements.retain(|statement| statement.state == State::Granted);
        known.ledger = permissions;
        known.ledger.sort_by_key(|entry| entry.seq);
        for entry in &mut known.ledger {
            entry.event.purposes = Purpose::ALL.to_vec();
            (entry.authentication, entry.event.imported) = (Authentication::None, false);
        }
        known.statements.push(Statement { read_at: time(60), ..said(State::Unspecified) });
        let (early, late) = (time(days.0.min(days.1)), time(days.0.max(days.1)));
        for mut policy in shipped() {
            policy.max_age_days = Some(30);
            policy.valid_until = Some(time(70));
            policy.valid_from = Some(time(5));
            let before = decide(&known, &policy, early);
            let after = decide(&known, &policy, late);
            prop_assert!(after.allowed || !before.allowed, "{}: {} early, {} later", policy.name, before.reason_code, after.reason_code);
        }
    }

    #[test]
    fn what_is_allowed_says_why_and_what_is_refused_obliges_to_nothing(
        known in some_evidence(),
        purpose in purpose(),
        day in 0..100i64,
    ) {
        for policy in shipped() {
            let decision = decide_for(&known, &policy, purpose, time(day));
            prop_assert_eq!(decision.allowed, decision.reason_code.allows());
            prop_assert!(decision.allowed || decision.obligations.is_empty() && decision.basis.is_none());
            prop_assert!(!decision.allowed || decision.state != State::Denied);
            prop_assert!(!decision.allowed || policy.deciding_line(&decision).is_some_and(|line| line.line.is_some()));
        }
    }
}
