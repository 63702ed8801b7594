use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::digest::{PixelDigest, Sha256Digest};
use crate::receipt::{
    AdapterFacts, BaseFacts, Claims, PolicyFacts, Receipt, RunInputs, RunRecord, Sealed, SnapshotFacts,
};
use crate::snapshot::{Attributions, Credit, Document, Entry, Exclusion, Role, Work};

const HOSTILE: &str = "\"><script>alert(1)</script>\n---\n# [x](javascript:y) |*`${a}\u{202e}\u{85}";
const AT: &str = "2026-11-22T03:00:00Z";

fn at() -> Timestamp {
    AT.parse().unwrap()
}

fn sha(text: &str) -> Sha256Digest {
    Sha256Digest::of_bytes(text.as_bytes())
}

fn member(name: &str, caption: &str, licenses: &[&str], reason: &str, obligations: &[&str]) -> Entry {
    serde_json::from_value(serde_json::json!({
        "image": sha(name), "pixels": PixelDigest::from_bytes(*sha(name).as_bytes()), "caption": caption,
        "consent": {
            "image": sha(name), "purpose": "ai_generative_training", "policy": sha("policy"), "reason_code": reason,
            "obligations": obligations, "licenses": licenses, "evidence": [],
        },
    }))
    .unwrap()
}

/// Three members under one licence, two and none; names, titles and captions try to be markup.
fn whole() -> Whole {
    let mut members = vec![
        member(
            "a",
            HOSTILE,
            &["CC-BY-SA-4.0"],
            "license_accepted",
            &["attribution", "share_alike"],
        ),
        member(
            "b",
            "a boat",
            &["CC-BY-4.0", "CC0-1.0"],
            "license_accepted",
            &["attribution"],
        ),
        member("c", "a sun", &[], "granted_by_artist", &[]),
    ];
    members.sort_by_key(|member| member.image);
    let works = members.iter().map(|member| Work {
        sha256: member.image,
        credit: Credit {
            title: Some(HOSTILE.to_string()),
            authors: vec![format!("Mallory {HOSTILE}")],
            source: Some("https://a.org/<x>?q=\")&r".to_string()),
            notices: Vec::new(),
        },
        frozen: true,
        licenses: member.consent.licenses.clone(),
        reason_code: member.consent.reason_code,
        basis: None,
        obligations: member.consent.obligations.clone(),
    });
    let attributions = Attributions {
        snapshots: vec![("set".to_string(), sha("root"))],
        works: works.collect(),
    };
    let picture = Picture {
        format: "png".to_string(),
        width: 4,
        height: 3,
    };
    let pictures = members.iter().map(|member| (member.image, picture.clone())).collect();
    let document: Document = serde_json::from_value(serde_json::json!({
        "format": "assent.snapshot/1", "name": "set", "purpose": "ai_generative_training",
        "policy": {"name": "p", "digest": sha("policy"), "text": "policy"},
        "selection": crate::snapshot::Selection::default(), "created_at": "2026-11-01T00:00:00Z",
        "ledger": {"seq": 0, "head": sha("ledger")}, "root": sha("root"), "members": members,
        "excluded": [{"sha256": sha("d"), "reason_code": "denied_by_artist", "evidence": []}],
    }))
    .unwrap();
    Whole {
        document,
        attributions,
        pictures,
    }
}

fn claims() -> (Claims, RunRecord) {
    let inputs = RunInputs {
        program: "assent test".into(),
        base: BaseFacts::new([("unet/config.json".into(), sha("{}"))].into()).unwrap(),
        snapshot: SnapshotFacts {
            name: "set".into(),
            root: sha("root"),
            members: 3,
            excluded: [("denied_by_artist".into(), 1)].into(),
            licenses: [
                ("CC-BY-4.0 AND CC0-1.0".into(), 1),
                ("CC-BY-SA-4.0".into(), 1),
                ("none".into(), 1),
            ]
            .into(),
            obligations: [("attribution".into(), 2), ("share_alike".into(), 1)].into(),
            bases: BTreeMap::new(),
        },
        policy: PolicyFacts {
            name: "p".into(),
            digest: sha("policy"),
            purpose: "ai_generative_training".into(),
        },
        further: Vec::new(),
        config: sha("config"),
        settings: [("network_dim".into(), "4".into())].into(),
        seed: 1,
        versions: [("burn".into(), "0.22.1".into())].into(),
    };
    let claims = inputs.claims(10).unwrap();
    let facts = AdapterFacts {
        file: sha("file"),
        tensors: sha("tensors"),
        receipt: sha("receipt"),
        modules: 1,
    };
    let losses = [("held_out".to_string(), 0.25)].into();
    let record = RunRecord::new(inputs, 10, (at(), at()), losses, facts).unwrap();
    (claims, record)
}

fn model() -> Model {
    let (claims, record) = claims();
    let header = [
        ("modelspec.title", HOSTILE),
        ("modelspec.description", "LoRA of rank 4"),
        ("modelspec.architecture", "stable-diffusion-v1/lora"),
        ("modelspec.trigger_phrase", HOSTILE),
    ];
    let receipt = Receipt {
        format: "assent.receipt/1".into(),
        claims,
        tensors: sha("tensors"),
        header: sha("header"),
    };
    Model {
        sha256: sha("file"),
        tensors: sha("tensors"),
        bytes: 100,
        header: header.map(|(key, value)| (key.to_string(), value.to_string())).into(),
        sealed: Sealed {
            receipt,
            digest: sha("receipt"),
        },
        record: Some(record),
    }
}

fn subject() -> Subject {
    Subject {
        sets: vec![Set::of_snapshot(Role::Training, whole())],
        model: Some(model()),
    }
}

fn told(names: bool) -> Told {
    Told {
        provider: Some(format!("Studio {HOSTILE}")),
        url: Some("https://example.org/rings".into()),
        license: Some("CC-BY-4.0".into()),
        base: Some("example/base".into()),
        names,
    }
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/documents")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{name}");
}

fn all(subject: &Subject, told: &Told) -> Vec<(&'static str, String)> {
    vec![
        ("croissant.json", croissant(subject, told, at()).unwrap()),
        ("cyclonedx.json", cyclonedx(subject, told, at()).unwrap()),
        ("spdx.json", spdx(subject, told, at()).unwrap()),
        ("summary.md", eu_summary(subject, told, at(), Page::Markdown).unwrap()),
        ("summary.html", eu_summary(subject, told, at(), Page::Html).unwrap()),
        ("card.md", model_card(subject, told).unwrap()),
    ]
}

#[test]
fn each_document_is_what_it_was() {
    for (name, text) in all(&subject(), &told(true)) {
        golden(name, &text);
        assert!(
            text.ends_with('\n') && !text.ends_with("\n\n"),
            "{name} ends with one line end"
        );
    }
}

#[test]
fn a_picture_in_two_sets_counts_once_in_the_summary() {
    let mut subject = subject();
    let mut other = whole();
    // One member less, and what the other set refused beside it: a member of this one.
    let gone = other.document.members.pop().unwrap();
    other.document.excluded.push(Exclusion {
        image: gone.image,
        reason_code: "denied_by_signal".parse().unwrap(),
        evidence: Vec::new(),
    });
    other.document.name = "second".into();
    subject.sets.push(Set::of_snapshot(Role::Regularization, other));
    let text = eu_summary(&subject, &Told::default(), at(), Page::Markdown).unwrap();
    for line in [
        "less than 1 million images: 3; 3 of them with a text, 75 bytes in all",
        "CC-BY-4.0 AND CC0-1.0 1, CC-BY-SA-4.0 1, none 1",
        "against them:** denied\\_by\\_artist 1\n",
        "set: 3 pictures, root",
        "second: 2 pictures, root",
    ] {
        assert!(text.contains(line), "no `{line}` in {text}");
    }
}

#[test]
fn nobody_is_named_unless_it_is_asked_for() {
    let mut subject = subject();
    // Titles and phrases of the adapter are its maker's own words; here the members' words are looked for.
    subject.model.as_mut().unwrap().header.clear();
    for (name, text) in all(&subject, &Told::default()) {
        for word in ["Mallory", "alert", "a boat", "/a.org"] {
            assert!(!text.contains(word), "{name} says `{word}`: {text}");
        }
    }
}

#[test]
fn what_strangers_wrote_is_no_markup() {
    let (subject, told) = (subject(), told(true));
    let page = eu_summary(&subject, &told, at(), Page::Html).unwrap();
    assert!(page.contains("alert(1)") && !page.contains("<script") && !page.contains("\u{202e}"));
    for text in [
        eu_summary(&subject, &told, at(), Page::Markdown).unwrap(),
        model_card(&subject, &told).unwrap(),
    ] {
        let body = text.splitn(3, "---\n").last().unwrap();
        let bare = body.replace("\\<", "").replace("\\]", "");
        assert!(body.contains("alert(1)") && !bare.contains("<script") && !bare.contains("](javascript"));
        assert!(!bare.contains("\u{202e}"));
    }
    // The front matter ends where it should: no value brings a line of its own.
    let card = model_card(&subject, &told).unwrap();
    let front = card.strip_prefix("---\n").unwrap().split("\n---\n").next().unwrap();
    assert!(
        front.contains("instance_prompt: ") && front.ends_with("- text-to-image"),
        "{front}"
    );
}

#[test]
fn equal_values_give_equal_documents_and_others_other_ids() {
    let (subject, told) = (subject(), told(false));
    assert_eq!(all(&subject, &told), all(&subject, &told));
    let serial = |at: &str| {
        let text = cyclonedx(&subject, &told, at.parse().unwrap()).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["serialNumber"].clone()
    };
    assert_eq!(serial(AT), serial(AT));
    assert_ne!(serial(AT), serial("2026-11-22T03:00:01Z"));
}

#[test]
fn a_receipt_alone_gives_what_it_holds() {
    let (claims, _) = claims();
    let subject = Subject {
        sets: claims
            .sets()
            .into_iter()
            .map(|claims| Set { claims, whole: None })
            .collect(),
        model: Some(model()),
    };
    let error = croissant(&subject, &Told::default(), at()).unwrap_err();
    assert!(error.to_string().contains("only the root of one"), "{error}");
    let bom: Value = serde_json::from_str(&cyclonedx(&subject, &Told::default(), at()).unwrap()).unwrap();
    let data = &bom["components"][1];
    assert_eq!(data["hashes"][0]["content"], sha("root").to_string());
    let named = |name: &str| {
        let all = data["properties"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).map(|p| p["value"].clone())
    };
    assert_eq!(named("assent:snapshot:obligation:attribution"), Some("2".into()));
    assert_eq!(named("assent:snapshot:document_file_sha256"), None);
    assert!(
        model_card(&subject, &Told::default())
            .unwrap()
            .contains("2 of 3 pictures oblige to name")
    );
}

#[test]
fn what_cannot_be_is_refused() {
    let mut set = subject();
    set.model = None;
    let error = model_card(&set, &Told::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected an adapter to write a model card on, found a training set alone"
    );
    let told = Told {
        license: Some("free for all".into()),
        ..Told::default()
    };
    let error = cyclonedx(&subject(), &told, at()).unwrap_err();
    assert!(error.to_string().contains("found `free for all`"), "{error}");
}

#[test]
fn identifiers_are_uuids_of_version_8() {
    let id = text::uuid(&Sha256Digest::from_bytes([0xff; 32]));
    assert_eq!(id, "ffffffff-ffff-8fff-bfff-ffffffffffff");
    assert_eq!(
        text::uuid(&Sha256Digest::from_bytes([0; 32])),
        "00000000-0000-8000-8000-000000000000"
    );
}

#[test]
fn yaml_escapes_what_is_not_printable() {
    assert_eq!(
        text::yaml("a: \"b\\\"\n\u{7f}\u{85}\u{feff}\u{ffff}é😀"),
        r#""a: \"b\\\"\u000A\u007F\u0085\uFEFF\uFFFFé😀""#
    );
}
