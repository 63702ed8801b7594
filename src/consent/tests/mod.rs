//! Tables: evidence → reason code.
mod invariants;
mod rules;

use jiff::Timestamp;

use super::*;
use crate::digest::Sha256Digest;

fn time(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

fn image(name: &str) -> Sha256Digest {
    Sha256Digest::of_bytes(name.as_bytes())
}

fn statement(state: State, purpose: Option<Purpose>, authentication: Authentication) -> Statement {
    Statement {
        source: "iptc_data_mining".into(),
        raw: "DMI-…".into(),
        purpose,
        state,
        authentication,
        holder: image("holder"),
        read_at: time(0),
        current: true,
    }
}

fn said(state: State) -> Statement {
    statement(state, None, Authentication::None)
}

fn event(seq: i64, kind: EventKind, target: Target) -> LedgerEntry {
    let event = Event {
        at: time(seq),
        kind,
        target: Some(target.clone()),
        aliases: Vec::new(),
        purposes: Purpose::ALL.to_vec(),
        licensee: (kind == EventKind::Grant).then(|| "Studio".to_string()),
        until: None,
        evidence: None,
        note: None,
        revokes: None,
        scope: None,
        valid_from: None,
        matters: Vec::new(),
        issued: None,
        imported: false,
        signer: None,
    };
    let hash = event.hash(seq, &image("previous")).unwrap();
    LedgerEntry {
        seq,
        hash,
        event,
        subject: target.value(),
        revoked_at: None,
        authentication: Authentication::None,
    }
}

fn artist() -> Target {
    Target::Artist("mira".into())
}

fn opt_out(seq: i64) -> LedgerEntry {
    event(seq, EventKind::OptOut, artist())
}

fn grant(seq: i64) -> LedgerEntry {
    event(seq, EventKind::Grant, artist())
}

fn of(statements: Vec<Statement>, ledger: Vec<LedgerEntry>, license: Option<&str>) -> Evidence {
    let licenses = license.map(|text| LicenseFact {
        expression: text.into(),
        source: "reuse".into(),
    });
    Evidence {
        statements,
        ledger,
        licenses: licenses.into_iter().collect(),
        ..Evidence::none(image("a"))
    }
}

fn open() -> Policy {
    Policy::parse(include_str!("../../../configs/policy-open-licences.toml")).unwrap()
}

fn opt_in() -> Policy {
    Policy::parse(include_str!("../../../configs/policy-opt-in.toml")).unwrap()
}

fn code(evidence: &Evidence, policy: &Policy) -> ReasonCode {
    decide(evidence, policy, time(100)).reason_code
}

#[test]
fn signals_and_licences() {
    use ReasonCode::*;
    use State::{Constrained as Conditions, Denied, Granted};
    let generative = Some(Purpose::AiGenerativeTraining);
    let mining = Some(Purpose::DataMining);
    let none = Authentication::None;
    for (what, statements, license, in_open, in_opt_in) in [
        ("nothing at all", vec![], None, LicenseMissing, Unspecified),
        ("a free licence", vec![], Some("CC0-1.0"), LicenseAccepted, Unspecified),
        (
            "a licence that asks more",
            vec![],
            Some("CC-BY-NC-4.0"),
            LicenseNotAccepted,
            Unspecified,
        ),
        (
            "a choice with a free one",
            vec![],
            Some("CC-BY-NC-4.0 OR CC0-1.0"),
            LicenseAccepted,
            Unspecified,
        ),
        (
            "both at once",
            vec![],
            Some("CC-BY-NC-4.0 AND CC0-1.0"),
            LicenseNotAccepted,
            Unspecified,
        ),
        (
            "no licence but words",
            vec![],
            Some("free for all"),
            LicenseNotAccepted,
            Unspecified,
        ),
        (
            "denied",
            vec![said(Denied)],
            Some("CC0-1.0"),
            DeniedBySignal,
            DeniedBySignal,
        ),
        (
            "denied and granted",
            vec![said(Granted), said(Denied)],
            Some("CC0-1.0"),
            DeniedBySignal,
            DeniedBySignal,
        ),
        (
            "denied for this",
            vec![statement(Denied, generative, none)],
            Some("CC0-1.0"),
            DeniedBySignal,
            DeniedBySignal,
        ),
        (
            "denied for mining",
            vec![statement(Denied, mining, none)],
            Some("CC0-1.0"),
            LicenseAccepted,
            Unspecified,
        ),
        (
            "conditions",
            vec![said(Conditions)],
            Some("CC0-1.0"),
            Constrained,
            Constrained,
        ),
        (
            "conditions and a grant",
            vec![said(Conditions), said(Granted)],
            None,
            Constrained,
            Constrained,
        ),
        (
            "unsigned grant",
            vec![said(Granted)],
            None,
            GrantNotAuthenticated,
            GrantNotAuthenticated,
        ),
        (
            "signed grant",
            vec![statement(Granted, None, Authentication::Signed)],
            None,
            GrantedBySignal,
            GrantedBySignal,
        ),
        (
            "forged grant",
            vec![statement(Granted, None, Authentication::Invalid)],
            None,
            LicenseMissing,
            Unspecified,
        ),
        (
            "forged denial",
            vec![statement(Denied, None, Authentication::Invalid)],
            None,
            DeniedBySignal,
            DeniedBySignal,
        ),
    ] {
        let evidence = of(statements, vec![], license);
        assert_eq!(code(&evidence, &open()), in_open, "{what}, open licences");
        assert_eq!(code(&evidence, &opt_in()), in_opt_in, "{what}, opt-in");
    }
}

#[test]
fn a_denial_that_was_dropped_stays_and_a_grant_that_was_dropped_goes() {
    let gone = |state| Statement {
        current: false,
        ..statement(state, None, Authentication::Signed)
    };
    assert_eq!(
        code(&of(vec![gone(State::Denied)], vec![], Some("CC0-1.0")), &open()),
        ReasonCode::DeniedBySignal
    );
    assert_eq!(
        code(&of(vec![gone(State::Granted)], vec![], None), &opt_in()),
        ReasonCode::Unspecified
    );
}

#[test]
fn ledger() {
    use ReasonCode::*;
    let denied = || vec![said(State::Denied)];
    let one = |target| event(3, EventKind::Grant, target);
    let expired = LedgerEntry {
        event: Event {
            until: Some(time(50)),
            ..grant(1).event
        },
        ..grant(1)
    };
    let revoked = |entry| LedgerEntry {
        revoked_at: Some(time(60)),
        ..entry
    };
    let other = LedgerEntry {
        subject: "somebody else".into(),
        ..grant(2)
    };
    let mining = LedgerEntry {
        event: Event {
            purposes: vec![Purpose::DataMining],
            ..opt_out(1).event
        },
        ..opt_out(1)
    };
    let photo = Target::Image(image("a"));
    for (what, ledger, statements, expected) in [
        ("opt-out", vec![opt_out(1)], vec![], DeniedByArtist),
        ("grant", vec![grant(1)], vec![], GrantedByArtist),
        ("a grant lifts a signal", vec![grant(1)], denied(), GrantedByArtist),
        (
            "a grant lifts conditions",
            vec![grant(1)],
            vec![said(State::Constrained)],
            GrantedByArtist,
        ),
        (
            "no grant lifts a later opt-out",
            vec![grant(1), opt_out(2)],
            vec![],
            DeniedByArtist,
        ),
        (
            "a later grant answers an opt-out",
            vec![opt_out(1), grant(2)],
            vec![],
            GrantedByArtist,
        ),
        (
            "a later grant for the picture does too",
            vec![opt_out(1), one(photo.clone())],
            vec![],
            GrantedByArtist,
        ),
        (
            "a grant by another does not",
            vec![opt_out(1), other],
            vec![],
            DeniedByArtist,
        ),
        (
            "nor one for all when one was refused",
            vec![event(1, EventKind::OptOut, photo), grant(2)],
            vec![],
            DeniedByArtist,
        ),
        ("expired", vec![expired.clone()], vec![], LicenseMissing),
        ("expired before a signal", vec![expired], denied(), DeniedBySignal),
        ("revoked", vec![revoked(grant(1))], vec![], LicenseMissing),
        ("withdrawn opt-out", vec![revoked(opt_out(1))], vec![], LicenseMissing),
        ("opt-out of another purpose", vec![mining], vec![], LicenseMissing),
        (
            "an opt-out, even where the clock stands before it",
            vec![opt_out(200)],
            vec![],
            DeniedByArtist,
        ),
    ] {
        assert_eq!(code(&of(statements, ledger, None), &open()), expected, "{what}");
    }
    let elsewhere = Policy {
        licensees: vec!["another studio".into()],
        ..open()
    };
    assert_eq!(code(&of(vec![], vec![grant(1)], None), &elsewhere), LicenseMissing);
    let named = Policy {
        licensees: vec![" studio".into()],
        ..open()
    };
    assert_eq!(code(&of(vec![], vec![grant(1)], None), &named), GrantedByArtist);
}

#[test]
fn near_duplicates_of_the_denied() {
    let near = |doubtful, statements, ledger| {
        let neighbour = Neighbour {
            image: image("b"),
            distance: 9,
            doubtful,
            statements,
            ledger,
        };
        Evidence {
            neighbours: vec![neighbour],
            ..of(vec![], vec![], Some("CC0-1.0"))
        }
    };
    let copy = near(false, vec![], vec![opt_out(1)]);
    assert_eq!(code(&copy, &open()), ReasonCode::DeniedNearDuplicate);
    assert_eq!(state(&copy, Purpose::AiTraining, time(100)), State::Denied);
    assert_eq!(
        code(&near(false, vec![said(State::Denied)], vec![]), &open()),
        ReasonCode::DeniedNearDuplicate
    );
    assert_eq!(
        code(&near(true, vec![], vec![opt_out(1)]), &open()),
        ReasonCode::NeedsReview
    );
    assert_eq!(
        code(&near(false, vec![], vec![opt_out(1), grant(2)]), &open()),
        ReasonCode::LicenseAccepted
    );
    // Whoever posted the copy cannot give what is not theirs.
    let granted = Evidence {
        ledger: vec![event(2, EventKind::Grant, Target::Image(image("a")))],
        ..copy
    };
    assert_eq!(code(&granted, &open()), ReasonCode::DeniedNearDuplicate);
}

#[test]
fn facts_that_the_policy_refuses() {
    let free = of(vec![], vec![], Some("CC0-1.0"));
    let made = Evidence {
        ai_generated: true,
        ..free.clone()
    };
    assert_eq!(code(&made, &open()), ReasonCode::AiGenerated);
    assert_eq!(
        code(
            &made,
            &Policy {
                refuse_ai_generated: false,
                ..open()
            }
        ),
        ReasonCode::LicenseAccepted
    );
    let doubtful = Evidence {
        needs_review: vec!["XMP does not parse".into()],
        ..free
    };
    assert_eq!(code(&doubtful, &open()), ReasonCode::NeedsReview);
    let bare = Evidence {
        licenses: Vec::new(),
        ..doubtful
    };
    assert_eq!(
        code(&bare, &open()),
        ReasonCode::LicenseMissing,
        "the reason that a look would not change"
    );
}

#[test]
fn obligations_follow_the_licence_that_is_used() {
    let duties = |license| decide(&of(vec![], vec![], Some(license)), &open(), time(1)).obligations;
    assert_eq!(duties("CC-BY-4.0"), [Obligation::Attribution]);
    assert_eq!(duties("CC-BY-4.0 OR CC0-1.0"), []);
    assert_eq!(duties("CC-BY-4.0 AND CC0-1.0"), [Obligation::Attribution]);
}

#[test]
fn the_trace_names_every_piece_and_the_record_holds_no_text() {
    let mut evidence = of(vec![said(State::Denied)], vec![opt_out(1)], Some("CC0-1.0"));
    evidence.ai_generated = true;
    let decision = decide(&evidence, &open(), time(100));
    let rules: Vec<_> = decision.trace.iter().map(|line| line.rule).collect();
    assert_eq!(
        rules,
        [
            "opt_out",
            "signal_denies",
            "license_accepted",
            "ai_generated_refused",
            "refused"
        ]
    );
    let record = serde_json::to_string(&decision.record()).unwrap();
    assert!(!record.contains("mira"), "{record}");
    assert_eq!(
        decision.record().digest().unwrap(),
        decide(&evidence, &open(), time(101)).record().digest().unwrap()
    );
}
