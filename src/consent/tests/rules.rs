//! Tables in the language of `configs/cases`: the shipped policies, and one key of a policy at a time.

use super::super::cases;
use super::*;

fn run(policy: &Policy, table: &str) {
    for case in cases::parse(table).unwrap() {
        let (decision, as_expected) = case.run(policy);
        assert!(
            as_expected,
            "{}, {}: expected {} {:?}, got {} {:?}\n{:#?}",
            policy.name,
            case.name,
            case.expected,
            case.obligations,
            decision.reason_code,
            decision.obligations,
            decision.trace
        );
        assert_eq!(decision.allowed, decision.reason_code.allows());
    }
}

/// A policy of these lines, and the cases it must get right.
fn keys(lines: &str, cases: &[(&str, &str)]) {
    let mut text = "name = \"p\"\npurpose = \"ai_generative_training\"\n".to_string();
    text.push_str(lines);
    let policy = Policy::parse(&text).unwrap();
    let table: String = cases
        .iter()
        .map(|(evidence, expect)| format!("[[case]]\nname = '''{evidence}'''\n{evidence}\nexpect = \"{expect}\"\n"))
        .collect();
    run(&policy, &table);
}

#[test]
fn shipped_policies_decide_as_their_tables_say() {
    let own = Policy::parse(include_str!("../../../configs/policy-own-works.toml")).unwrap();
    let own = own.with_own(&["Ana Vale".to_string()]).unwrap();
    assert!(
        own.text.contains("artists = [\"Ana Vale\"]"),
        "the text names her: {}",
        own.text
    );
    let research = Policy::parse(include_str!("../../../configs/policy-research-exception.toml")).unwrap();
    run(&open(), include_str!("../../../configs/cases/open-licences.toml"));
    run(&opt_in(), include_str!("../../../configs/cases/opt-in.toml"));
    run(&own, include_str!("../../../configs/cases/own-works.toml"));
    run(
        &research,
        include_str!("../../../configs/cases/research-exception.toml"),
    );
}

#[test]
fn use_decides_which_grants_and_licences_serve() {
    let free = "[licenses.accept]\n\"CC0-1.0\" = []\n\"CC-BY-NC-4.0\" = []\n";
    let noncommercial = "license = 'CC-BY-NC-4.0'\nobligations = ['attribution', 'non_commercial']";
    keys(
        &format!("use = \"research\"\n{free}"),
        &[
            (noncommercial, "license_accepted"),
            ("ledger = [{ kind = 'grant', scope = 'personal' }]", "granted_by_artist"),
        ],
    );
    keys(
        &format!("use = \"commercial\"\n{free}"),
        &[
            ("license = 'CC-BY-NC-4.0'", "license_not_accepted"),
            ("license = 'CC0-1.0'", "license_accepted"),
            ("license = 'CC-BY-NC-4.0 OR CC0-1.0'", "license_accepted"),
            ("ledger = [{ kind = 'grant', scope = 'personal' }]", "license_missing"),
            (
                "ledger = [{ kind = 'grant', scope = 'commercial' }]",
                "granted_by_artist",
            ),
            (
                "ledger = [{ kind = 'opt_out' }, { kind = 'grant', scope = 'personal' }]",
                "denied_by_artist",
            ),
            ("ledger = [{ kind = 'grant' }]\nobligations = []", "granted_by_artist"),
        ],
    );
}

#[test]
fn grants_need_the_proof_and_evidence_a_policy_asks_for() {
    keys(
        "[grants]\nproof = [\"signed\"]\n",
        &[
            ("ledger = [{ kind = 'grant' }]", "unspecified"),
            (
                "ledger = [{ kind = 'grant', authentication = 'signed' }]",
                "granted_by_artist",
            ),
            (
                "ledger = [{ kind = 'grant', authentication = 'trusted' }]",
                "unspecified",
            ),
        ],
    );
    keys(
        "[grants]\nproof = [\"own\"]\nevidence = true\n",
        &[
            ("ledger = [{ kind = 'grant' }]", "unspecified"),
            ("ledger = [{ kind = 'grant', evidence = true }]", "granted_by_artist"),
            (
                "ledger = [{ kind = 'grant', evidence = true, imported = true, authentication = 'trusted' }]",
                "unspecified",
            ),
        ],
    );
    keys(
        "[grants]\nledger = false\nsignals = [\"signed\"]\nmax_age_days = 30\n",
        &[
            ("ledger = [{ kind = 'grant' }]", "unspecified"),
            (
                "signals = [{ says = 'granted', authentication = 'signed', read = 2026-05-20T00:00:00Z }]",
                "granted_by_signal",
            ),
            (
                "signals = [{ says = 'granted', authentication = 'signed', read = 2026-04-20T00:00:00Z }]",
                "unspecified",
            ),
        ],
    );
}

#[test]
fn only_the_same_voice_answers_an_opt_out() {
    let pair = |refused: &str, granted: &str| {
        format!("artist = 'Mira'\nledger = [{{ kind = 'opt_out', {refused} }}, {{ kind = 'grant', {granted} }}]")
    };
    let about = ["image", "artist", "source", "collection", "list"];
    // Rows: what was refused. Columns: what is granted later.
    let answered = [
        [true, false, false, false, false],
        [true, true, false, false, false],
        [true, true, true, false, false],
        [true, true, false, true, false],
        [true, true, false, false, true],
    ];
    for (refused, row) in about.iter().zip(answered) {
        for (granted, answers) in about.iter().zip(row) {
            let evidence = pair(&format!("about = '{refused}'"), &format!("about = '{granted}'"));
            let expect = if answers {
                "granted_by_artist"
            } else {
                "denied_by_artist"
            };
            keys("", &[(&evidence, expect)]);
        }
    }
    keys(
        "",
        &[
            (
                &pair("about = 'artist'", "about = 'artist', value = 'Tove'"),
                "denied_by_artist",
            ),
            (
                &pair("about = 'collection', value = 'a'", "about = 'collection', value = 'b'"),
                "denied_by_artist",
            ),
            (
                &pair(
                    "about = 'source', value = 'https://a.org/'",
                    "about = 'source', value = 'https://a.org/x/'",
                ),
                "granted_by_artist",
            ),
            (
                &pair("about = 'image'", "about = 'image', imported = true"),
                "denied_by_artist",
            ),
        ],
    );
}

#[test]
fn a_review_clears_the_doubts_it_names_and_no_others() {
    let accept = "[licenses.accept]\n\"CC0-1.0\" = []\n";
    let doubt = |ledger: &str| format!("license = 'CC0-1.0'\ndoubts = ['a', 'b']\nledger = [{ledger}]");
    let near = |distance: u32, ledger: &str| {
        format!(
            "license = 'CC0-1.0'\nnear = [{{ distance = {distance}, denied_by = 'opt_out', name = 'n' }}]\n\
             ledger = [{ledger}]"
        )
    };
    let apart = "{ kind = 'accept', matters = ['near_duplicate:n'] }";
    keys(
        accept,
        &[
            (&doubt(""), "needs_review"),
            (&doubt("{ kind = 'accept', matters = ['a'] }"), "needs_review"),
            (&doubt("{ kind = 'accept' }"), "needs_review"),
            (&doubt("{ kind = 'accept', matters = ['a', 'b'] }"), "license_accepted"),
            (
                &doubt("{ kind = 'accept', matters = ['a'] }, { kind = 'accept', matters = ['b'] }"),
                "license_accepted",
            ),
            (
                &doubt("{ kind = 'accept', matters = ['a', 'b'], imported = true }"),
                "needs_review",
            ),
            (
                &doubt("{ kind = 'accept', matters = ['a', 'b'], revoked = 2026-05-31T12:00:00Z }"),
                "needs_review",
            ),
            (&doubt("{ kind = 'reject', matters = ['a'] }"), "rejected_in_review"),
            (
                &doubt("{ kind = 'reject', matters = ['a'], imported = true, authentication = 'invalid' }"),
                "rejected_in_review",
            ),
            (
                &doubt("{ kind = 'accept', matters = ['a', 'b'] }, { kind = 'reject', matters = ['a'] }"),
                "rejected_in_review",
            ),
            (
                &doubt("{ kind = 'reject', matters = ['a'] }, { kind = 'accept', matters = ['a', 'b'] }"),
                "license_accepted",
            ),
            (
                &doubt("{ kind = 'reject', matters = ['a', 'c'] }, { kind = 'accept', matters = ['a', 'b'] }"),
                "rejected_in_review",
            ),
            (&doubt("{ kind = 'reject' }, { kind = 'grant' }"), "rejected_in_review"),
            (&near(9, apart), "license_accepted"),
            (&near(0, apart), "denied_near_duplicate"),
            (
                &near(9, "{ kind = 'accept', matters = ['near_duplicate:other'] }"),
                "denied_near_duplicate",
            ),
            (
                &near(9, &format!("{apart}, {{ kind = 'opt_out' }}")),
                "denied_by_artist",
            ),
        ],
    );
}

#[test]
fn licences_count_where_the_policy_looks() {
    keys(
        "[licenses]\nsources = [\"reuse\", \"debian\"]\n[licenses.accept]\n\"CC0-1.0\" = []\n",
        &[
            ("license = 'CC0-1.0'", "license_accepted"),
            ("license = { is = 'CC0-1.0', source = 'debian' }", "license_accepted"),
            ("license = { is = 'CC0-1.0', source = 'xmp' }", "license_not_proven"),
            (
                "license = ['CC0-1.0', { is = 'MIT', source = 'xmp' }]",
                "license_not_accepted",
            ),
        ],
    );
}

#[test]
fn what_must_be_attributed_needs_the_names_a_policy_asks_for() {
    let accept = "[licenses.accept]\n\"CC0-1.0\" = []\n\"CC-BY-4.0\" = [\"attribution\"]\n";
    keys(
        &format!("[attribution]\nrequire_author = true\n{accept}"),
        &[
            ("license = 'CC-BY-4.0'", "attribution_missing"),
            ("license = 'CC-BY-4.0'\nartist = ' '", "attribution_missing"),
            ("license = 'CC-BY-4.0'\nartist = 'Tove'", "license_accepted"),
            ("license = 'CC0-1.0'", "license_accepted"),
        ],
    );
    keys(
        &format!("[attribution]\nrequire_title = true\n{accept}"),
        &[
            ("license = 'CC-BY-4.0'\nartist = 'Tove'", "attribution_missing"),
            ("license = 'CC-BY-4.0'\ntitle = 'Sun'", "license_accepted"),
        ],
    );
}

#[test]
fn silence_needs_a_basis_and_names_it() {
    let lines = "unspecified = \"accept\"\nbasis = \"counsel's opinion of 2026-03-01\"\n";
    keys(
        lines,
        &[
            ("", "unspecified_accepted"),
            ("license = 'CC-BY-4.0'", "unspecified"),
            ("signals = [{ says = 'denied' }]", "denied_by_signal"),
            ("signals = [{ says = 'constrained' }]", "constrained"),
            ("doubts = ['a']", "needs_review"),
        ],
    );
    let policy = Policy::parse(&format!("name = \"p\"\npurpose = \"data_mining\"\n{lines}")).unwrap();
    let decision = decide(&Evidence::none(image("a")), &policy, time(1));
    assert_eq!(
        decision.record().basis.as_deref(),
        Some("counsel's opinion of 2026-03-01")
    );
}

#[test]
fn a_policy_holds_only_in_its_time() {
    let free = |at: &str| format!("at = {at}\nlicense = 'CC0-1.0'");
    keys(
        "valid_from = 2026-01-01\nvalid_until = 2026-12-31\n[licenses.accept]\n\"CC0-1.0\" = []\n",
        &[
            (&free("2025-12-31T23:59:59Z"), "policy_not_in_force"),
            (&free("2026-01-01T00:00:00Z"), "license_accepted"),
            (&free("2026-12-31T23:59:59Z"), "license_accepted"),
            (&free("2027-01-01T00:00:00Z"), "policy_not_in_force"),
            // Somebody spoke after its end: the clock went back.
            (
                "at = 2026-12-31T00:00:00Z\nlicense = 'CC0-1.0'\n\
                 ledger = [{ kind = 'opt_out', at = 2027-02-01T00:00:00Z, purposes = ['ai_inference'] }]",
                "policy_not_in_force",
            ),
            (
                "at = 2027-01-01T00:00:00Z\nsignals = [{ says = 'denied' }]",
                "denied_by_signal",
            ),
        ],
    );
}

#[test]
fn every_refusal_by_the_policy_names_its_line() {
    let policy = open();
    let line = |evidence: &Evidence| policy.deciding_line(&decide(evidence, &policy, time(100)));
    let text = |evidence: &Evidence| line(evidence).unwrap().text;
    let free = |license| of(vec![], vec![], Some(license));
    assert_eq!(text(&free("CC-BY-4.0")), "\"CC-BY-4.0\" = [\"attribution\"]");
    assert_eq!(
        text(&free("CC-BY-4.0 AND CC0-1.0")),
        "\"CC-BY-4.0\" = [\"attribution\"]"
    );
    assert_eq!(text(&free("MIT")), "[licenses.accept]");
    assert_eq!(text(&of(vec![], vec![grant(1)], None)), "ledger = true");
    assert_eq!(line(&of(vec![], vec![opt_out(1)], None)), None);
    let found = line(&free("CC-BY-4.0")).unwrap().line.unwrap();
    assert_eq!(
        policy.text.lines().nth(found - 1).unwrap(),
        "\"CC-BY-4.0\" = [\"attribution\"]"
    );
    let made = Evidence {
        ai_generated: true,
        ..free("CC0-1.0")
    };
    assert_eq!(text(&made), "ai_generated = true");
    let bare = Policy::parse("name = \"p\"\npurpose = \"ai_training\"\n").unwrap();
    let found = bare.deciding_line(&decide(&made, &bare, time(1))).unwrap();
    assert_eq!((found.line, found.text.as_str()), (None, "refuse.ai_generated = true"));
}

#[test]
fn a_table_of_cases_that_is_wrong_says_where() {
    for (text, message) in [
        ("", "in the case `(all)`: expected 1 to 10000 tables `[[case]]`, got 0"),
        (
            "[[case]]\nname = \"a\"\nexpect = \"yes\"",
            "expected a table of cases, got an error at line 3: unknown variant `yes`",
        ),
        (
            "[[case]]\nname = \"a\"\nexpect = \"unspecified\"\nlicence = \"CC0-1.0\"",
            "expected a table of cases, got an error at line 4: unknown field `licence`",
        ),
        (
            "[[case]]\nname = \"a\"\nexpect = \"unspecified\"\nledger = [{ kind = \"grant\", about = \"me\" }]",
            "in the case `a`: expected `about` to be image, artist, source, collection or list, got `me`",
        ),
        (
            "at = \"soon\"\n[[case]]\nname = \"a\"\nexpect = \"unspecified\"",
            "in the case `(all)`: expected a day or a time with its zone, as in 2026-06-01T00:00:00Z, got `soon`",
        ),
    ] {
        let error = cases::parse(text).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn a_doubt_is_open_until_a_review_answers_it() {
    let like = |name: &str, distance: u32, ledger: Vec<LedgerEntry>| Neighbour {
        image: image(name),
        distance,
        doubtful: distance > 14,
        statements: Vec::new(),
        ledger,
    };
    let review = |seq: i64, kind: EventKind, matters: &[String]| {
        let mut entry = event(seq, kind, Target::Image(image("a")));
        entry.event.matters = matters.to_vec();
        entry
    };
    let open = |ledger: Vec<LedgerEntry>| {
        let evidence = Evidence {
            needs_review: vec!["the XMP packet is cut short".into()],
            neighbours: vec![
                like("far", 20, vec![opt_out(1)]),
                like("near", 9, vec![opt_out(1)]),
                // Equal pixels, and one that nobody refuses any more: no questions.
                like("equal", 0, vec![opt_out(1)]),
                like("answered", 9, vec![opt_out(1), grant(2)]),
            ],
            ..of(vec![], ledger, Some("CC0-1.0"))
        };
        let doubts = doubts(&evidence, time(100));
        doubts.into_iter().map(|doubt| doubt.matter).collect::<Vec<_>>()
    };
    let (near, far) = (
        format!("near_duplicate:{}", image("near")),
        format!("near_duplicate:{}", image("far")),
    );
    let unclear = "the XMP packet is cut short".to_string();
    let all = [near.clone(), far.clone(), unclear.clone()];
    assert_eq!(open(vec![]), all);
    assert_eq!(
        open(vec![review(3, EventKind::Accept, std::slice::from_ref(&near))]),
        [far.clone(), unclear.clone()]
    );
    assert_eq!(open(vec![review(3, EventKind::Accept, &all)]), [] as [String; 0]);
    assert_eq!(open(vec![review(3, EventKind::Reject, &all)]), [] as [String; 0]);
    assert_eq!(open(vec![review(3, EventKind::Reject, &[])]), [] as [String; 0]);
    assert_eq!(
        open(vec![review(3, EventKind::Reject, std::slice::from_ref(&far))]),
        [near.clone(), unclear.clone()]
    );
    let mut ended = review(3, EventKind::Accept, &all);
    ended.revoked_at = Some(time(4));
    assert_eq!(open(vec![ended]), all);
    let mut foreign = review(3, EventKind::Accept, &all);
    foreign.event.imported = true;
    assert_eq!(
        open(vec![foreign]),
        all,
        "an unsigned review from elsewhere answers nothing"
    );
    // Whoever refused the picture itself left nothing to ask of its likeness.
    assert_eq!(open(vec![opt_out(3)]), [unclear]);
}

#[test]
fn a_doubt_for_one_purpose_is_open_and_says_who_refused() {
    let mut refusal = opt_out(1);
    refusal.event.purposes = vec![Purpose::DataMining];
    refusal.event.note = Some("by letter".into());
    let neighbour = Neighbour {
        image: image("b"),
        distance: 3,
        doubtful: false,
        statements: Vec::new(),
        ledger: vec![refusal],
    };
    let evidence = Evidence {
        neighbours: vec![neighbour],
        ..of(vec![], vec![], None)
    };
    let found = doubts(&evidence, time(100));
    let [doubt] = found.as_slice() else {
        panic!("expected one doubt, got {found:?}")
    };
    assert_eq!(doubt.kind(), DoubtKind::NearDuplicate);
    assert_eq!(doubt.text, "opt_out by artist `mira`: by letter");
    assert_eq!(
        doubt.other.map(|other| (other.distance, other.doubtful)),
        Some((3, false))
    );
}
