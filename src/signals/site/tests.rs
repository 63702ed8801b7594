use proptest::prelude::*;

use super::*;
use crate::consent::{Purpose, State};
use crate::signals::SignalSource as S;
use crate::signals::{Authentication, Claim, Metadata};

const T: Purpose = Purpose::AiTraining;
const G: Purpose = Purpose::AiGenerativeTraining;
const M: Purpose = Purpose::DataMining;
const I: Purpose = Purpose::AiInference;

/// Purposes with their states.
type Said = Vec<(Option<Purpose>, State)>;

/// The files of a small site.
#[derive(Default)]
struct Files<'a> {
    robots: Option<&'a str>,
    ai_txt: Option<&'a str>,
    tdm: Option<&'a str>,
    license: Option<&'a str>,
    headers: Option<&'a str>,
    own_page: Option<&'a str>,
    page: Option<&'a str>,
}

fn read_all(files: &Files) -> Metadata {
    read_after(files, Metadata::default())
}

fn read_after(files: &Files, mut found: Metadata) -> Metadata {
    let site = Site::parse(
        files.robots.map(str::as_bytes),
        files.ai_txt.map(str::as_bytes),
        files.tdm.map(str::as_bytes),
        |path| (path == "license.xml").then(|| files.license.map(|text| text.as_bytes().to_vec()))?,
    );
    let own = files.own_page.map(|text| Page::parse(text.as_bytes(), b"art"));
    let page = files.page.map(|text| Page::parse(text.as_bytes(), b"art"));
    let pages: Vec<&Page> = page.iter().collect();
    read(
        &Place {
            site: Some(&site),
            path: b"art/a b.png",
            headers: files.headers.map(str::as_bytes),
            own_page: own.as_ref(),
            pages: &pages,
        },
        &mut found,
    );
    found
}

/// The purposes in these states, in order, of one source.
fn said(found: &Metadata, source: S) -> Said {
    found
        .claims
        .iter()
        .filter(|claim| claim.source == source)
        .map(|claim| (claim.purpose, claim.state))
        .collect()
}

fn each(purposes: &[Purpose], state: State) -> Said {
    purposes.iter().map(|purpose| (Some(*purpose), state)).collect()
}

#[test]
fn every_signal_of_a_site_becomes_its_state() {
    use State::*;
    let files = |change: fn(&mut Files)| {
        let mut files = Files::default();
        change(&mut files);
        read_all(&files)
    };
    let cases: Vec<(Metadata, S, Said)> = vec![
        (
            files(|f| f.robots = Some("User-agent: *\nContent-Usage: / train-ai=n\nContent-Usage: /art/ train-ai=y")),
            S::Aipref,
            each(&[G], Granted),
        ),
        (
            files(|f| f.robots = Some("User-agent: *\nDisallow: /art/\nContent-Usage: train-ai=y")),
            S::Aipref,
            each(&[G], Unspecified),
        ),
        (
            files(|f| f.robots = Some("User-agent: *\nDisallow: /art/\nContent-Usage: train-ai=n")),
            S::Aipref,
            each(&[G], Denied),
        ),
        (
            files(|f| f.robots = Some("User-agent: GPTBot\nContent-Usage: train-ai=n")),
            S::Aipref,
            each(&[G], Denied),
        ),
        (
            files(|f| f.robots = Some("User-agent: GPTBot\nContent-Usage: train-ai=y")),
            S::Aipref,
            each(&[G], Unspecified),
        ),
        (
            files(|f| f.robots = Some("User-agent: *\nContent-Usage: Train-AI=n")),
            S::Aipref,
            vec![(None, Unspecified)],
        ),
        (
            files(|f| f.headers = Some("HTTP/2 200\ncontent-usage: train-ai=y\ncontent-usage: train-ai=n\n")),
            S::Aipref,
            each(&[G], Denied),
        ),
        (
            files(|f| f.robots = Some("User-agent: *\nContent-Signal: search=yes, ai-train=no, ai-input=yes")),
            S::ContentSignal,
            [each(&[T, G], Denied), each(&[I], Granted)].concat(),
        ),
        (
            files(|f| f.headers = Some("X-Robots-Tag: otherbot: NoAI")),
            S::NoAi,
            each(&[T, G], Denied),
        ),
        (
            files(|f| f.headers = Some("X-Robots-Tag: index, follow")),
            S::NoAi,
            vec![],
        ),
        (
            files(|f| f.own_page = Some("<meta name=robots content='index, noimageai'>")),
            S::NoAi,
            each(&[T, G], Denied),
        ),
        (
            files(|f| f.page = Some("<meta name=robots content=noml><img src='a%20b.png'>")),
            S::NoAi,
            each(&[T, G], Denied),
        ),
        (
            files(|f| f.page = Some("<meta name=robots content=noml><img src='b.png'>")),
            S::NoAi,
            vec![],
        ),
        (
            files(|f| f.ai_txt = Some("User-Agent: *\nDisallow: *.png")),
            S::AiTxt,
            each(&[T, G], Denied),
        ),
        (
            files(|f| f.ai_txt = Some("User-Agent: *\nAllow: *.png")),
            S::AiTxt,
            vec![(None, Unspecified)],
        ),
        (
            files(|f| f.ai_txt = Some("# x\nTraining = no")),
            S::AiTxt,
            vec![(None, Unspecified)],
        ),
        (
            files(|f| f.robots = Some("User-agent: GPTBot\nDisallow: /art/")),
            S::RobotsTxt,
            vec![(None, Unspecified)],
        ),
        (
            files(|f| {
                f.robots = Some("License: https://e.org/license.xml");
                f.license = Some(
                    "<rsl xmlns='https://rslstandard.org/rsl'><content url='/art/'><license><prohibits type='usage'>ai-train</prohibits></license></content></rsl>",
                );
            }),
            S::Rsl,
            each(&[T, G], Denied),
        ),
        (
            files(|f| f.robots = Some("License: https://e.org/../secret.xml")),
            S::Rsl,
            each(&[T, G, I], Constrained),
        ),
        (
            files(|f| f.tdm = Some(r#"[{"location": "/art/*.png", "tdm-reservation": 1}]"#)),
            S::TdmRepFile,
            each(&[M, T, G], Denied),
        ),
        (
            files(|f| f.tdm = Some(r#"[{"location": "/art/", "tdm-reservation": 0}]"#)),
            S::TdmRepFile,
            each(&[M], Granted),
        ),
        (
            files(|f| f.headers = Some("TDM-Reservation: 1\nTDM-Policy: https://e.org/p")),
            S::TdmRepHeader,
            each(&[M, T, G], Constrained),
        ),
        (
            files(|f| f.headers = Some("tdm-reservation: 2")),
            S::TdmRepHeader,
            vec![(None, Unspecified)],
        ),
    ];
    for (index, (found, source, expected)) in cases.into_iter().enumerate() {
        assert_eq!(said(&found, source), expected, "case {index}: {found:?}");
        let doubtful = found.claims.iter().all(|claim| claim.state == State::Unspecified);
        assert!(
            doubtful || found.needs_review.is_empty() || source == S::Rsl,
            "case {index}: {found:?}"
        );
    }
}

#[test]
fn what_does_not_parse_is_for_a_person_to_see() {
    let broken = [
        Files {
            robots: Some("User-agent: *\nContent-Usage: Train-AI=n"),
            ..Files::default()
        },
        Files {
            robots: Some("User-agent: *\nContent-Signal: ai-train"),
            ..Files::default()
        },
        Files {
            ai_txt: Some("Training = no"),
            ..Files::default()
        },
        Files {
            tdm: Some("{}"),
            ..Files::default()
        },
        Files {
            headers: Some("tdm-reservation: yes"),
            ..Files::default()
        },
        Files {
            own_page: Some("<meta name=tdm-reservation content=yes>"),
            ..Files::default()
        },
        Files {
            robots: Some("License: https://e.org/license.xml"),
            license: Some("<a/>"),
            ..Files::default()
        },
    ];
    for files in &broken {
        let found = read_all(files);
        assert_eq!(found.needs_review.len(), 1, "{found:?}");
        assert_eq!(found.claims.len(), 1, "{found:?}");
        assert_eq!(
            (found.claims[0].purpose, found.claims[0].state),
            (None, State::Unspecified)
        );
    }
}

#[test]
fn the_last_form_of_tdmrep_speaks_and_the_others_stay_on_record() {
    let file = Some(r#"[{"location": "/", "tdm-reservation": 1}]"#);
    let headers = Some("tdm-reservation: 0");
    let page = Some("<meta name=tdm-reservation content=1><meta name=tdm-policy content=https://e.org/p>");
    let found = read_all(&Files {
        tdm: file,
        headers,
        ..Files::default()
    });
    assert_eq!(said(&found, S::TdmRepHeader), each(&[M], State::Granted));
    assert_eq!(said(&found, S::TdmRepFile), [(None, State::Unspecified)]);
    assert!(
        found
            .claims
            .iter()
            .any(|claim| claim.raw == "tdm-reservation: 1 (overridden by the response header)")
    );

    let all = Files {
        tdm: file,
        headers,
        own_page: page,
        ..Files::default()
    };
    let found = read_all(&all);
    assert_eq!(said(&found, S::TdmRepHtml), each(&[M, T, G], State::Constrained));
    assert_eq!(said(&found, S::TdmRepHeader), [(None, State::Unspecified)]);

    let embedded = Metadata {
        claims: vec![Claim {
            source: S::TdmRepXmp,
            raw: "reservation: 0".to_string(),
            purpose: Some(M),
            state: State::Granted,
            authenticated: Authentication::None,
            holder: Sha256Digest::of_bytes(b""),
        }],
        ..Metadata::default()
    };
    let found = read_after(&all, embedded);
    assert!(
        found
            .claims
            .iter()
            .skip(1)
            .all(|claim| claim.state == State::Unspecified),
        "{found:?}"
    );
    assert_eq!(found.claims.len(), 4);
}

#[test]
fn a_page_that_shows_a_picture_may_refuse_and_not_allow() {
    let file = Some(r#"[{"location": "/", "tdm-reservation": 1}]"#);
    let zero = Some("<img src='/art/a b.png'><meta name=tdm-reservation content=0>");
    let found = read_all(&Files {
        tdm: file,
        page: zero,
        ..Files::default()
    });
    assert_eq!(said(&found, S::TdmRepFile), each(&[M, T, G], State::Denied));
    assert_eq!(said(&found, S::TdmRepHtml), [(None, State::Unspecified)]);
    let one = Some("<img src='http://e.org/art/./x/../a%20b.png?w=1'><meta name=tdm-reservation content=1>");
    let found = read_all(&Files {
        headers: Some("tdm-reservation: 0"),
        page: one,
        ..Files::default()
    });
    assert_eq!(said(&found, S::TdmRepHtml), each(&[M, T, G], State::Denied));
    assert_eq!(said(&found, S::TdmRepHeader), [(None, State::Unspecified)]);
}

#[test]
fn addresses_lead_nowhere_but_into_the_copy() {
    for (address, expected) in [
        ("https://e.org/license.xml", Some("license.xml")),
        ("/rsl/a.xml?v=1#x", Some("rsl/a.xml")),
        ("license.xml", Some("license.xml")),
        ("https://e.org/../../etc/passwd", None),
        ("/a/./b", None),
        ("https://e.org", None),
        ("C:\\x", None),
        ("a\0b", None),
    ] {
        assert_eq!(local(address).as_deref(), expected, "{address}");
    }
}

proptest! {
    #[test]
    fn no_site_makes_the_reading_panic(
        robots in proptest::collection::vec(any::<u8>(), 0..400),
        other in proptest::collection::vec(any::<u8>(), 0..400),
        path in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let site = Site::parse(Some(&robots), Some(&other), Some(&other), |_| Some(other.clone()));
        let page = Page::parse(&other, &path);
        let place = Place { site: Some(&site), path: &path, headers: Some(&other), own_page: Some(&page), pages: &[&page] };
        let mut found = Metadata::default();
        read(&place, &mut found);
        prop_assert!(found.claims.iter().all(|claim| claim.raw.chars().count() <= 2001));
    }
}
