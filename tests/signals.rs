//! What the program makes of files that other programs wrote: exiftool, ImageMagick, Pillow and c2patool.
//!
//! `tests/fixtures/signals` holds the files (`scripts/fixtures/signals.sh` makes them) and `expected.csv`, one line for
//! each value of the specifications that can stand in a file. States are those of `ai_training`,
//! `ai_generative_training`, `data_mining` and `ai_inference`: granted, denied, constrained, or `-`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde::Deserialize;
use serde_json::Value;

const PURPOSES: [&str; 4] = ["ai_training", "ai_generative_training", "data_mining", "ai_inference"];

/// A line of the table.
#[derive(Debug, Deserialize)]
struct Row {
    row: String,
    file: String,
    trust: String,
    states: String,
    source: String,
    /// How the grant in it is authenticated; empty where there is none.
    signature: String,
    artists: String,
    license: String,
    title: String,
    ai_generated: String,
    review: String,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signals")
}

fn rows() -> Vec<Row> {
    csv::Reader::from_path(fixtures().join("expected.csv"))
        .unwrap()
        .deserialize()
        .map(Result::unwrap)
        .collect()
}

/// Every value of the specifications, by the name of its row.
fn required() -> BTreeSet<String> {
    let mut required = BTreeSet::new();
    let values = [
        "UNSPECIFIED",
        "ALLOWED",
        "PROHIBITED-AIMLTRAINING",
        "PROHIBITED-GENAIMLTRAINING",
        "PROHIBITED-EXCEPTSEARCHENGINEINDEXING",
        "PROHIBITED",
        "PROHIBITED-SEECONSTRAINT",
        "PROHIBITED-SEEEMBEDDEDRIGHTSEXPR",
        "PROHIBITED-SEELINKEDRIGHTSEXPR",
    ];
    for value in values {
        for spelling in ["attribute", "element", "resource"] {
            required.insert(format!("PLUS {value} {spelling}"));
        }
    }
    for prefix in ["cawg", "legacy", "mixed"] {
        for used in ["allowed", "not-allowed", "constrained", "constrained-bare"] {
            required.insert(format!("C2PA {prefix} {used}"));
        }
    }
    let others = "PLUS unknown value|TDMRep 1|TDMRep 1 attribute|TDMRep 1 with policy|TDMRep 0|C2PA trusted|\
        C2PA in JPEG|C2PA in WebP|C2PA in TIFF|C2PA in GIF|C2PA each purpose its own|C2PA second instance|\
        C2PA unknown use|C2PA no entries|C2PA tampered grant|C2PA tampered grant, root trusted|C2PA tampered denial|\
        C2PA tampered manifest|C2PA damaged|C2PA ingredient denied|C2PA ingredient granted|\
        C2PA grant over a denied ingredient of an ingredient|C2PA metadata assertion|C2PA CreativeWork|\
        XMP in PNG iTXt, compressed|XMP in PNG raw profile|XMP in JPEG, extended|XMP in TIFF|XMP in GIF|\
        made by AI: C2PA action trained|made by AI: C2PA action composite|made by AI: C2PA ingredient|\
        made by AI: XMP trained|made by AI: XMP composite|not made by AI: XMP capture|made by AI: text chunk|\
        made by AI: EXIF comment in UTF-16|made by AI: GIF comment|not made by AI: GIF comment|\
        EXIF in JPEG|EXIF in PNG|EXIF in TIFF|EXIF in WebP, no licence named|EXIF of ImageMagick in PNG|\
        EXIF of Windows|IPTC in JPEG, Latin-1|IPTC in JPEG, UTF-8|IPTC in TIFF|IPTC in PNG, exiftool|\
        IPTC in PNG, ImageMagick|IPTC in GIF|XMP dc:creator, dc:title, cc:license|XMP xmpRights:WebStatement|\
        XMP xmpRights:UsageTerms|XMP dc:rights|XMP xmpRights:Marked false|XMP xmpRights:Marked true|\
        XMP xmpRights:Marked contradicted|XMP plus:ImageCreator|PNG text";
    required.extend(others.split('|').map(str::to_string));
    required
}

/// A registry of its own for each file: they show the same picture, and refusals follow the picture.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn run(&self, arguments: &[&str]) -> Vec<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_assent"))
            .env_remove("ASSENT_TRUST")
            .env("ASSENT_REGISTRY", self.folder.path().join("registry.db"))
            .args(["--json", "-q"])
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Whether a policy that takes grants authenticated as `accepted` takes this one, for `purpose`.
    fn takes(&self, file: &str, purpose: &str, accepted: &str) -> bool {
        let policy = self.folder.path().join("policy.toml");
        let text = format!(
            "name = \"t\"\ndescription = \"t\"\npurpose = \"{purpose}\"\n[grants]\nledger = false\nsignals = [{accepted}]\n"
        );
        std::fs::write(&policy, text).unwrap();
        let explained = self
            .run(&["explain", file, "--policy", policy.to_str().unwrap()])
            .remove(0);
        explained["decision"]["allowed"] == true
    }
}

fn authentication(world: &World, row: &Row, path: &str, explained: &Value) -> &'static str {
    let trace = explained["trace"].as_array().unwrap();
    if trace.iter().any(|line| line["rule"] == "grant_with_broken_signature") {
        return "invalid";
    }
    let purpose = PURPOSES[row.states.find('g').unwrap()];
    let accepts = |list| world.takes(path, purpose, list);
    if accepts(r#""trusted""#) {
        "trusted"
    } else if accepts(r#""signed""#) {
        "signed"
    } else if accepts(r#""none""#) {
        "none"
    } else {
        "no grant"
    }
}

/// What differs from the table.
fn differences(row: &Row) -> Vec<String> {
    let world = World {
        folder: tempfile::tempdir().unwrap(),
    };
    let path = fixtures().join(&row.file);
    let path = path.to_str().unwrap();
    let trust = fixtures().join(&row.trust);
    let mut ingest = vec!["ingest", path];
    if !row.trust.is_empty() {
        ingest.extend(["--trust", trust.to_str().unwrap()]);
    }
    let ingested = world.run(&ingest).remove(0);
    let explained = world.run(&["explain", path]).remove(0);
    let image = world.run(&["images"]).remove(0);

    let mut wrong = Vec::new();
    let mut expect = |what: &str, found: String, expected: &str| {
        if found != expected {
            wrong.push(format!(
                "{} ({}): {what}: expected `{expected}`, got `{found}`",
                row.row, row.file
            ));
        }
    };
    expect(
        "status",
        ingested["status"].as_str().unwrap_or_default().to_string(),
        "added",
    );
    let states = PURPOSES.map(|purpose| match explained["states"][purpose].as_str().unwrap() {
        "unspecified" => '-',
        state => state.chars().next().unwrap(),
    });
    expect("states", states.iter().collect(), &row.states);
    let sources: BTreeSet<&str> = explained["trace"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["holder"].is_string())
        .map(|line| line["source"].as_str().unwrap())
        .collect();
    expect(
        "source",
        sources.into_iter().collect::<Vec<_>>().join("; "),
        &row.source,
    );
    let texts = |key: &str| {
        let list = image[key].as_array().unwrap();
        list.iter()
            .map(|text| text.as_str().unwrap())
            .collect::<Vec<_>>()
            .join("; ")
    };
    expect("artists", texts("artists"), &row.artists);
    expect(
        "licence",
        image["license"].as_str().unwrap_or_default().to_string(),
        &row.license,
    );
    expect(
        "title",
        image["title"].as_str().unwrap_or_default().to_string(),
        &row.title,
    );
    let yes = |value: &Value| if value == true { "yes" } else { "" }.to_string();
    expect("made by AI", yes(&image["ai_generated"]), &row.ai_generated);
    expect("review", yes(&image["needs_review"]), &row.review);
    if !row.signature.is_empty() {
        let found = authentication(&world, row, path, &explained);
        expect("signature", found.to_string(), &row.signature);
        let shown: BTreeSet<_> = explained["trace"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|line| line["authentication"].as_str())
            .collect();
        expect(
            "shown",
            shown.into_iter().collect::<Vec<_>>().join("; "),
            &row.signature,
        );
    }
    wrong
}

#[test]
fn every_value_that_others_write_comes_to_what_its_specification_says() {
    let rows = rows();
    let next = Mutex::new(rows.iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(row) = next.lock().unwrap().next() else { break };
                    let found = differences(row);
                    wrong.lock().unwrap().extend(found);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_every_value_and_every_file() {
    let rows = rows();
    let named: BTreeSet<String> = rows.iter().map(|row| row.row.clone()).collect();
    assert_eq!(named, required());
    assert_eq!(named.len(), rows.len(), "a row stands there twice");
    let files: BTreeSet<String> = rows.iter().map(|row| row.file.clone()).collect();
    let found: BTreeSet<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !["avif.png", "expected.csv", "root.pem"].contains(&name.as_str()))
        .collect();
    assert_eq!(files, found);
}

#[test]
fn an_avif_is_refused_with_what_to_do_whatever_its_name() {
    let world = World {
        folder: tempfile::tempdir().unwrap(),
    };
    let ingested = world
        .run(&["ingest", fixtures().join("avif.png").to_str().unwrap()])
        .remove(0);
    assert_eq!(ingested["status"], "refused");
    let reason = ingested["reason"].as_str().unwrap();
    assert!(
        reason.contains("AVIF") && reason.contains("convert it to PNG or WebP"),
        "{reason}"
    );
}

#[test]
fn a_trust_list_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list.pem");
    for (text, expected) in [
        ("", "no block at all"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "PRIVATE KEY",
        ),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "block 1",
        ),
    ] {
        std::fs::write(&list, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_assent"))
            .env("ASSENT_REGISTRY", folder.path().join("registry.db"))
            .env("ASSENT_TRUST", &list)
            .args(["ingest", "."])
            .current_dir(folder.path())
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(errors.contains(expected) && errors.contains("hint:"), "{errors}");
    }
}
