//! A recorded run, repeated: the same weights, or where it first differs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;

#[path = "support/studio.rs"]
mod studio;

use studio::{STEPS, Studio};

/// A replay with its exit code and what it says, as JSON where it ends with a line of that.
fn replay(studio: &Studio, arguments: &[&str]) -> (Option<i32>, serde_json::Value, String) {
    let output = studio.run(&[&["--json", "-q", "train", "--replay"], arguments].concat());
    let said = String::from_utf8(output.stdout).unwrap();
    let last = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let told = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), last.unwrap_or_default(), told)
}

#[test]
fn a_run_is_repeated_and_compared() {
    let studio = Studio::new();
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    let text = text
        .replace(&format!("max_train_steps = {STEPS}"), "max_train_steps = 3")
        .replace("validate_every_n_steps = 20", "validate_every_n_steps = 2")
        .replace("accumulation_steps = 3", "accumulation_steps = 1");
    fs::write(
        studio.at("train.toml"),
        text + "ema_decay = 0.9\nsave_last_weights = true\n",
    )
    .unwrap();
    studio.ok(&["train", "train.toml", "--out", "run", "-q"]);
    let kept = studio.bytes("run", "config.toml");
    assert!(kept == fs::read(studio.at("train.toml")).unwrap());
    fs::remove_file(studio.at("train.toml")).unwrap();

    // By its folder: everything is compared, nothing is left behind or recorded.
    let runs = || studio.ok(&["--json", "affected", "--artist", "Ada Example"]);
    let (before, files) = (runs(), fs::read_dir(studio.folder.path()).unwrap().count());
    let (code, said, told) = replay(&studio, &["run"]);
    assert_eq!((code, &said["verdict"]), (Some(0), &"equal".into()), "{said} {told}");
    let compared = said["compared"].as_array().unwrap();
    for name in [
        "base",
        "snapshot",
        "policy",
        "configuration",
        "version device",
        "tensors",
        "last tensors",
    ] {
        let line = compared.iter().find(|line| line["name"] == name);
        assert!(line.is_some_and(|line| line["equal"] == true), "{name}: {said}");
    }
    // Three steps, three validations of one set, two lines of norms.
    assert_eq!(said["metrics"]["equal_lines"], 8, "{said}");
    assert_eq!(
        (runs(), fs::read_dir(studio.folder.path()).unwrap().count()),
        (before, files)
    );

    // A loss that was another then.
    let metrics = String::from_utf8(studio.bytes("run", "metrics.jsonl")).unwrap();
    let second = metrics.find("{\"event\":\"step\",\"step\":2,\"loss\":").unwrap();
    let mut other = metrics.clone();
    other.insert(second + "{\"event\":\"step\",\"step\":2,\"loss\":".len(), '1');
    fs::write(studio.at("run/metrics.jsonl"), &other).unwrap();
    let digest = assent::digest::Sha256Digest::of_bytes(&studio.bytes("run", "adapter.safetensors")).to_string();
    let (code, said, told) = replay(&studio, &[&digest[..12]]);
    assert_eq!((code, &said["verdict"]), (Some(1), &"differs".into()), "{said} {told}");
    let first = &said["metrics"]["first_difference"];
    assert_eq!((&first["step"], &first["value"]), (&2.into(), &"loss".into()), "{said}");
    let tensors = said["compared"]
        .as_array()
        .unwrap()
        .iter()
        .find(|line| line["name"] == "tensors");
    assert_eq!(tensors.unwrap()["equal"], true);

    // A base that was moved, and one that is another.
    fs::rename(studio.at("base"), studio.at("moved")).unwrap();
    let (code, _, told) = replay(&studio, &["run/adapter.safetensors"]);
    assert!(code == Some(2) && told.contains("--base DIR|FILE"), "{told}");
    let (code, _, told) = replay(&studio, &["run", "--base", "moved", "--dry-run"]);
    assert_eq!(code, Some(0), "{told}");
    fs::write(studio.at("moved/scheduler/more.json"), "{}").unwrap();
    let (code, _, told) = replay(&studio, &["run", "--base", "moved"]);
    assert!(code == Some(2) && told.contains("is not the run's base"), "{told}");

    // A configuration that is another, a folder without a record, a digest that nobody knows.
    fs::write(studio.at("run/config.toml"), [&kept[..], b"\n"].concat()).unwrap();
    let (code, _, told) = replay(&studio, &["run"]);
    assert!(
        code == Some(2) && told.contains("is not the run's configuration"),
        "{told}"
    );
    let (code, _, told) = replay(&studio, &["art"]);
    assert!(code == Some(2) && told.contains("holds no `run.json`"), "{told}");
    let (code, _, told) = replay(&studio, &["0123456789"]);
    assert!(code == Some(2) && told.contains("no recorded run is meant"), "{told}");
}
