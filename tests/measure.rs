//! What the weights say: an adapter that was trained for too long on one picture is found to draw it again, and the same
//! measurement says nothing against one that learned a style. The second stands in the README, whose commands are tested.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn assent(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .args(args)
        .env("ASSENT_REGISTRY", folder.join("assent.db"))
        .env("ASSENT_NOW", "2026-11-22T12:00:00Z")
        .current_dir(folder)
        .output()
        .unwrap()
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| serde_json::from_str(line).ok());
    found.unwrap_or_else(|| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// The sample's folder of this artist, and its files, sorted.
fn pictures(artist: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("datasets/sample")
        .join(artist);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn a_picture_that_was_learned_by_heart_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (artist, into, most) in [
        ("pia-brandvold", "solo", 3),
        ("pia-brandvold", "rest", 30),
        ("tessa-quill", "rest", 30),
    ] {
        std::fs::create_dir_all(at(into)).unwrap();
        // A picture is a file, its caption and its licence.
        let files = pictures(artist);
        let own = files.iter().skip(if into == "rest" { 3 } else { 0 }).take(most);
        for file in own {
            let name = format!("{artist}-{}", file.file_name().unwrap().to_string_lossy());
            std::fs::copy(file, at(into).join(name)).unwrap();
        }
    }
    let ok = |args: &[&str]| {
        let output = assent(folder.path(), args);
        assert!(
            output.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    };
    ok(&["ingest", "rest", "-q"]);
    ok(&["ingest", "solo", "--artist", "Solo", "-q"]);
    ok(&[
        "snapshot",
        "create",
        "one",
        "--policy",
        "open-licences",
        "--artist",
        "Solo",
        "-q",
    ]);
    let shown = json(&ok(&["--json", "snapshot", "show", "one"]));
    let member = shown["members"][0]["sha256"].as_str().unwrap().to_owned();
    assert_eq!(shown["members"].as_array().unwrap().len(), 1);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/base");
    let base = base.to_str().unwrap();
    let config = format!(
        "output_name = \"one\"\npretrained_model_name_or_path = {base:?}\nsnapshot = \"one\"\nresolution = 64\nnetwork_dim = 16\n\
         network_alpha = 16\nlearning_rate = 2e-3\nmax_train_steps = 300\ntrain_batch_size = 2\ngradient_accumulation_steps = 2\n\
         seed = 7\n"
    );
    std::fs::write(at("one.toml"), config).unwrap();
    ok(&["train", "one.toml", "--out", "run", "-q"]);
    let measure = |more: &[&str]| {
        let mut args = vec!["--json", "audit", "run", "--measure", "--base", base, "-q"];
        args.extend([
            "--measure-images",
            "12",
            "--measure-noises",
            "1",
            "--measure-captions",
            "2",
        ]);
        args.extend(more);
        assent(folder.path(), &args)
    };
    let output = measure(&["--roc", "roc.png", "--html", "audit.html"]);
    assert_eq!(
        output.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let report = json(&output);
    let findings: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["code"].as_str().unwrap(), f["subject"].as_str().unwrap()))
        .collect();
    assert_eq!(findings, [("picture_memorised", format!("image:{member}").as_str())]);
    // It is the one that gained most, and no other gained at all.
    let gains = report["measured"]["images"].as_array().unwrap();
    assert_eq!(gains[0]["sha256"], member.as_str());
    assert!(gains[0]["gain"].as_f64().unwrap() > 0.2, "{}", gains[0]);
    assert!(gains[1]["gain"].as_f64().unwrap() < 0.0, "{}", gains[1]);
    let image = image::open(at("roc.png")).unwrap();
    assert!(image.width() > 400);
    let page = std::fs::read_to_string(at("audit.html")).unwrap();
    assert!(
        page.contains("picture_memorised") && page.contains("What the weights say") && !page.contains("http-equiv")
    );
    // Equal questions, equal answers.
    assert_eq!(measure(&[]).stdout, output.stdout);
    // Another base is no base to compare with.
    let output = assent(folder.path(), &["audit", "run", "--measure", "--base", "run", "-q"]);
    assert_eq!(output.status.code(), Some(2));
}
