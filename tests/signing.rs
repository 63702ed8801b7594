//! A training that signs its receipt, and audits by whoever holds the public key, another one, or none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use serde_json::Value;

#[path = "support/studio.rs"]
mod studio;

use studio::{STEPS, Studio};

fn audit(studio: &Studio, arguments: &[&str], code: i32) -> Value {
    let output = studio.run(&[&["--json", "audit", "run"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["code"].as_str().unwrap()).collect()
}

#[test]
fn a_signed_training_is_told_from_any_other() {
    let studio = Studio::new();
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    let few = [
        (format!("max_train_steps = {STEPS}"), "max_train_steps = 2"),
        ("sample_every_n_steps = 30\n".to_owned(), ""),
        ("sample_prompts = [\"rings\"]\n".to_owned(), ""),
    ];
    let text = few.iter().fold(text, |text, (from, to)| text.replace(from, to));
    fs::write(studio.at("train.toml"), text).unwrap();
    fs::write(studio.at("pass"), "correct horse\n").unwrap();
    studio.ok(&[
        "key",
        "new",
        "studio.key",
        "--public",
        "studio.pem",
        "--passphrase-file",
        "pass",
    ]);
    studio.ok(&["key", "new", "other.key", "--public", "other.pem"]);

    // The passphrase is asked for before the first step, not after the last.
    let train = ["train", "train.toml", "--out", "run", "-q", "--key", "studio.key"];
    let refused = studio
        .command(&train)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(!studio.at("run/adapter.safetensors").exists());
    studio.ok(&[&train[..], &["--passphrase-file", "pass"]].concat());
    let bundle = studio.at("run/adapter.safetensors.intoto.jsonl");
    assert!(bundle.exists());

    let report = audit(&studio, &["--key", "studio.pem"], 0);
    assert_eq!(report["verdict"], "clean");
    let signed = &report["adapter"]["signed"];
    assert_eq!(signed["known"], true);
    assert_eq!(
        signed["covers"],
        serde_json::json!(["receipt", "tensors", "header", "file"])
    );
    assert_eq!(codes(&audit(&studio, &["--key", "other.pem"], 1)), ["signer_other"]);
    // Here it was made, so nobody need be trusted for it; who signed is said all the same.
    let report = audit(&studio, &[], 0);
    assert_eq!(report["adapter"]["signed"]["known"], false);
    studio.ok(&["key", "trust", "studio.pem", "--name", "The studio"]);
    assert_eq!(audit(&studio, &[], 0)["adapter"]["signed"]["name"], "The studio");
    // Elsewhere nothing is known of it.
    let elsewhere = ["--registry", "none.db", "--json", "audit", "run", "--key", "studio.pem"];
    let report: Value = serde_json::from_str(&studio.ok(&elsewhere)).unwrap();
    assert_eq!(report["verdict"], "clean");
    assert!(!report["unchecked"].as_array().unwrap().is_empty());

    // Without the statement beside it the file is not covered, and another's statement is invalid.
    let bytes = fs::read(&bundle).unwrap();
    fs::remove_file(&bundle).unwrap();
    let report = audit(&studio, &["--key", "studio.pem"], 0);
    assert_eq!(
        report["adapter"]["signed"]["covers"],
        serde_json::json!(["receipt", "tensors", "header"])
    );
    let mut other = bytes.clone();
    let at = other.len() / 2;
    other[at] = if other[at] == b'A' { b'B' } else { b'A' };
    fs::write(&bundle, other).unwrap();
    let report = audit(&studio, &[], 1);
    assert_eq!(
        (report["verdict"].as_str(), codes(&report)),
        (Some("invalid"), vec!["signature_invalid"])
    );
    fs::write(&bundle, bytes).unwrap();
    let mut adapter = fs::read(studio.at("run/adapter.safetensors")).unwrap();
    *adapter.last_mut().unwrap() ^= 1;
    fs::write(studio.at("run/adapter.safetensors"), adapter).unwrap();
    let report = audit(&studio, &["--key", "studio.pem"], 1);
    assert_eq!(report["verdict"], "invalid");
    assert!(codes(&report).contains(&"tensors_changed"), "{report:#}");
}
