//! From pictures to an adapter with the program itself: equal bytes for equal runs, whole after a kill or Ctrl-C, an audit
//! that turns when an artist opts out, and drawn pictures that are known again as made by a machine.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::process::Command;

#[path = "support/studio.rs"]
mod studio;

use studio::{STEPS, Studio, base_of_channels, tiny_xl_base};

#[test]
fn equal_runs_give_equal_bytes_whatever_stops_them() {
    let studio = Studio::new();
    studio.ok(&["train", "train.toml", "--out", "whole", "-q"]);
    studio.ok(&["train", "train.toml", "--out", "again", "-q"]);
    studio.assert_same("whole", "again");

    let mut killed = studio.started("killed", 11);
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!studio.at("killed/adapter.safetensors").exists());
    studio.ok(&["train", "train.toml", "--out", "killed", "-q", "--resume"]);
    studio.assert_same("whole", "killed");

    let mut stopped = studio.started("stopped", 4);
    let interrupt = Command::new("kill")
        .args(["-INT", &stopped.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    assert!(stopped.wait().unwrap().success(), "Ctrl-C saves and ends well");
    assert!(studio.at("stopped/state/adapter.json").exists());
    studio.ok(&["train", "train.toml", "--out", "stopped", "-q", "--resume"]);
    studio.assert_same("whole", "stopped");

    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    fs::write(studio.at("train.toml"), text.replace("seed = 5", "seed = 6")).unwrap();
    let other = studio.run(&["train", "train.toml", "--out", "stopped", "-q", "--resume"]);
    assert_eq!(
        other.status.code(),
        Some(2),
        "another run is not continued from this state"
    );
    assert!(String::from_utf8_lossy(&other.stderr).contains("not of this run"));
}

#[test]
fn an_adapter_is_audited_and_what_it_draws_is_known_again() {
    let studio = Studio::new();
    studio.ok(&["train", "train.toml", "--out", "run", "-q"]);
    let adapter = "run/adapter.safetensors";
    let clean: serde_json::Value = serde_json::from_str(&studio.ok(&["--json", "audit", adapter])).unwrap();
    assert_eq!(clean["verdict"], "clean", "{clean}");
    assert_eq!(clean["images"].as_array().unwrap().len(), 6);

    let draw = [
        "generate",
        "--base",
        "base",
        "--adapter",
        adapter,
        "--prompt",
        "rings",
        "--steps",
        "2",
        "-o",
    ];
    // The label says when a picture was drawn, so the same bytes need the same time.
    for output in ["drawn.png", "twice.png"] {
        let mut command = studio.command(&[&draw[..], &[output]].concat());
        assert!(
            command
                .env("ASSENT_NOW", "2026-11-22T12:00:00Z")
                .status()
                .unwrap()
                .success()
        );
    }
    assert!(fs::read(studio.at("drawn.png")).unwrap() == fs::read(studio.at("twice.png")).unwrap());
    studio.run(&["ingest", "drawn.png"]);
    let images = studio.ok(&["--json", "images"]);
    let drawn = images.lines().find(|line| line.contains("drawn.png")).unwrap();
    let drawn: serde_json::Value = serde_json::from_str(drawn).unwrap();
    assert_eq!(drawn["ai_generated"], true);

    studio.ok(&["opt-out", "--artist", "Ada Example"]);
    let affected = studio.ok(&["--json", "affected", "--artist", "Ada Example"]);
    for kind in ["snapshot", "adapter", "picture"] {
        assert!(
            affected.contains(&format!("\"kind\":\"{kind}\"")),
            "{kind} in {affected}"
        );
    }
    let turned = studio.run(&["--json", "audit", adapter]);
    assert_eq!(turned.status.code(), Some(1));
    let turned: serde_json::Value = serde_json::from_slice(&turned.stdout).unwrap();
    assert_eq!(turned["verdict"], "findings");
    let codes: Vec<&str> = turned["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|f| f["code"].as_str())
        .collect();
    assert!(codes.contains(&"consent_withdrawn"), "{codes:?}");
    let refused = studio.run(&["train", "train.toml", "--out", "after", "-q"]);
    assert_eq!(
        refused.status.code(),
        Some(2),
        "no training on a set that is no longer cleared"
    );
    assert!(!studio.at("after/adapter.safetensors").exists());
}

#[test]
fn sdxl_trains_an_adapter_with_the_names_that_others_read() {
    let studio = Studio::new();
    tiny_xl_base(&studio.at("xl"));
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    let text = text.replace("\"base\"", "\"xl\"").replace(&format!("= {STEPS}"), "= 3");
    fs::write(studio.at("xl.toml"), text).unwrap();
    studio.ok(&["train", "xl.toml", "--out", "run", "-q"]);
    let adapter = "run/adapter.safetensors";
    let shown: serde_json::Value =
        serde_json::from_str(&studio.ok(&["--json", "adapter", "inspect", adapter])).unwrap();
    assert_eq!(shown["header"]["ss_base_model_version"], "sdxl_base_v1-0");
    assert_eq!(
        shown["header"]["modelspec.architecture"],
        "stable-diffusion-xl-v1-base/lora"
    );
    let file = fs::read(studio.at(adapter)).unwrap();
    let header = String::from_utf8_lossy(&file[..file.len().min(1 << 16)]);
    assert!(header.contains("lora_unet_input_blocks_1_1_transformer_blocks_1_attn2_to_k.lora_down.weight"));

    let draw = |base: &str, picture: &str| {
        let words = ["--adapter", adapter, "--prompt", "rings", "--steps", "2", "-o", picture];
        studio.run(&[&["generate", "--base", base], &words[..]].concat())
    };
    let drawn = draw("xl", "drawn.png");
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let refused = draw("base", "refused.png");
    assert_eq!(refused.status.code(), Some(2));
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        why.contains("it is for SDXL, the base is Stable Diffusion 1.x"),
        "{why}"
    );
    assert!(!studio.at("refused.png").exists());
}

#[test]
fn a_base_for_inpainting_is_not_trained_on() {
    let studio = Studio::new();
    base_of_channels(&studio.at("nine"), 9);
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    fs::write(studio.at("nine.toml"), text.replace("\"base\"", "\"nine\"")).unwrap();
    let refused = studio.run(&["train", "nine.toml", "--out", "run", "-q"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(
        why.contains(
            "expected a base that draws from text, got one for inpainting (its U-Net takes 9 channels); hint:"
        ),
        "{why}"
    );
    assert_eq!(why.lines().count(), 1, "{why}");
    for file in ["adapter.safetensors", "run.json", "state"] {
        assert!(!studio.at("run").join(file).exists(), "{file}");
    }
}
