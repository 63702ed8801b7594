//! The commands on adapters as others script them: exit codes, JSON, files.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use super::world::{World, opt_out};

fn assent(world: &World, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .current_dir(world.folder.path())
        .env("ASSENT_NOW", "2026-03-01T09:00:00Z")
        .env_remove("ASSENT_REGISTRY")
        .args(arguments)
        .output()
        .unwrap()
}

fn json(world: &World, arguments: &[&str], code: i32) -> Value {
    let output = assent(world, &[&["--json"], arguments].concat());
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn audit_exits_by_its_verdict_and_writes_a_page() {
    let world = World::new();
    let clean = json(&world, &["audit", "adapter.safetensors"], 0);
    assert_eq!(clean["verdict"], "clean");
    assert_eq!(clean["images"].as_array().unwrap().len(), 3);
    assert_eq!(clean["snapshot"]["name"], "set");
    // The folder of the run and the digest of the file mean the same adapter.
    for name in [".", clean["adapter"]["sha256"].as_str().unwrap()] {
        assert_eq!(json(&world, &["audit", name], 0)["verdict"], "clean", "{name}");
    }
    let text = String::from_utf8(assent(&world, &["audit", "adapter.safetensors"]).stdout).unwrap();
    for word in [
        "clean",
        "Images that trained it (3)",
        "Ann",
        "a1.png, a2.png",
        "denied_by_artist",
        "c.png",
    ] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }

    opt_out(&mut world.registry(), "Bea <b>", 8);
    let found = json(&world, &["audit", "adapter.safetensors", "--html", "report.html"], 1);
    assert_eq!(found["verdict"], "findings");
    assert_eq!(found["findings"][0]["code"], "consent_withdrawn");
    let page = std::fs::read_to_string(world.folder.path().join("report.html")).unwrap();
    assert!(page.contains("attribution (2 pictures)"), "what the adapter obliges to");
    assert!(
        page.contains("Directive (EU) 2019/790, Art. 3 (1 picture)"),
        "what it rests on"
    );
    assert_eq!(found["snapshot"]["obligations"]["attribution"], 2);
    assert_eq!(found["snapshot"]["bases"]["Directive (EU) 2019/790, Art. 3"], 1);
    assert!(page.contains("consent_withdrawn"));
    assert_eq!(
        json(&world, &["audit", "b.png"], 1)["findings"][0]["code"],
        "consent_withdrawn"
    );
    assert_eq!(json(&world, &["audit", "a1.png"], 0)["verdict"], "clean");

    assert_eq!(assent(&world, &["audit", "nowhere.safetensors"]).status.code(), Some(2));
}

#[test]
fn a_registry_that_does_not_open_makes_the_audit_invalid() {
    let world = World::new();
    std::fs::write(
        world.folder.path().join("assent.db"),
        "no database, and longer than a header ".repeat(40),
    )
    .unwrap();
    let report = json(&world, &["audit", "adapter.safetensors"], 1);
    assert_eq!(report["verdict"], "invalid");
    assert_eq!(report["findings"][0]["code"], "registry_changed");
}

#[test]
fn export_converts_there_and_back_and_the_audit_follows() {
    let world = World::new();
    for (to, dtype) in [("peft", "f16"), ("kohya", "bf16"), ("peft", "f32")] {
        let file = format!("{to}-{dtype}.safetensors");
        let made = json(
            &world,
            &["export", ".", "--format", to, "--dtype", dtype, "-o", &file],
            0,
        );
        assert_eq!(
            (made["format"].as_str(), made["dtype"].as_str()),
            (Some(to), Some(dtype))
        );
        let inspected = json(&world, &["adapter", "inspect", &file], 0);
        assert_eq!(inspected["format"], to);
        assert_eq!(inspected["modules"], 1);
        assert_eq!(inspected["tensor_sha256"], made["tensor_sha256"]);
        assert!(inspected["receipt"]["claims"]["derived_from"].is_string());
        let report = json(&world, &["audit", &file], 0);
        assert_eq!(report["images"].as_array().unwrap().len(), 3, "{file}");
    }
    // Back again, the weights and their receipt are those that were trained; only the origin is named besides.
    let back = json(
        &world,
        &[
            "export",
            "peft-f32.safetensors",
            "--format",
            "kohya",
            "-o",
            "back.safetensors",
        ],
        0,
    );
    let first = json(&world, &["adapter", "inspect", "adapter.safetensors"], 0);
    assert_eq!(back["tensor_sha256"], first["tensor_sha256"]);
    assert_eq!(first["header"]["sshs_model_hash"], first["tensor_sha256"]);
    let whole = |name: &str| std::fs::read(world.folder.path().join(name)).unwrap();
    assert!(whole("back.safetensors") != whole("adapter.safetensors"));
    json(
        &world,
        &[
            "export",
            "peft-f32.safetensors",
            "--format",
            "kohya",
            "-o",
            "again.safetensors",
        ],
        0,
    );
    assert!(whole("back.safetensors") == whole("again.safetensors"));
}

#[test]
fn what_was_changed_after_training_is_not_exported_under_its_receipt() {
    let world = World::new();
    let mut bytes = std::fs::read(&world.adapter).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&world.adapter, bytes).unwrap();
    let output = assent(
        &world,
        &[
            "export",
            "adapter.safetensors",
            "--format",
            "peft",
            "-o",
            "out.safetensors",
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("tensors_changed"));
    assert!(!Path::new(&world.folder.path().join("out.safetensors")).exists());
    assert_eq!(
        json(&world, &["adapter", "inspect", "adapter.safetensors"], 1)["changes"][0],
        "tensors_changed"
    );
}

#[test]
fn affected_lists_one_line_for_each_thing_downstream() {
    let world = World::new();
    let output = assent(&world, &["--json", "affected", "--artist", "Ann"]);
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["snapshot", "adapter", "picture"]);
    assert_eq!(lines[0]["id"], "set");
    assert!(lines[1]["path"].as_str().unwrap().ends_with("adapter.safetensors"));
    assert!(
        assent(&world, &["--json", "affected", "--artist", "Cy"])
            .stdout
            .is_empty()
    );
}
