//! An adapter in shards of artists: without the shard of one it is, byte for byte, what never saw their pictures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;

use assent::receipt::Composition;
use assent::snapshot::shard_of;
use serde_json::Value;

#[path = "support/studio.rs"]
mod studio;
#[path = "support/works.rs"]
mod works;

use studio::Studio;
use works::{json, record, told};

const CONFIG: &str = "output_name = \"works\"\npretrained_model_name_or_path = \"base\"\nsnapshot = \"works\"\n\
                      resolution = 32\nnetwork_dim = 2\nnetwork_alpha = 2\nlearning_rate = 1e-2\nmax_train_steps = 2\n\
                      train_batch_size = 2\nseed = 5\n";

/// A studio with two pictures of each of these artists and a training in so many shards; who `refuses` does so before
/// the set is frozen.
fn studio(artists: &[&str], refuses: Option<&str>, shards: u32) -> Studio {
    let studio = Studio::new();
    works::add(&studio, &artists.iter().map(|name| (*name, 2)).collect::<Vec<_>>());
    if let Some(artist) = refuses {
        studio.ok(&["opt-out", "--artist", artist]);
    }
    works::freeze(&studio, "works", artists);
    fs::write(studio.at("works.toml"), format!("{CONFIG}shards = {shards}\n")).unwrap();
    studio
}

fn manifest(studio: &Studio, folder: &str) -> Composition {
    Composition::read(&studio.at(folder).join("shards.json")).unwrap().0
}

fn draw(studio: &Studio, adapter: &str, picture: &str) -> Vec<u8> {
    let arguments = [
        "generate",
        "--base",
        "base",
        "--adapter",
        adapter,
        "--prompt",
        "blocks",
        "--seed",
        "3",
    ];
    let mut command = studio.command(&[&arguments[..], &["--steps", "2", "-q", "-o", picture]].concat());
    let output = command.env("ASSENT_NOW", "2026-11-22T12:00:00Z").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(studio.at(picture)).unwrap()
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|finding| finding["code"].as_str().unwrap()).collect()
}

fn place(artist: &str, shards: u32) -> u32 {
    shard_of(&[artist.to_owned()], shards)
}

#[test]
fn a_dropped_shard_leaves_what_never_saw_it() {
    let (all, rest) = (
        ["Cy Example", "Dee Example", "Hal Example"],
        ["Cy Example", "Hal Example"],
    );
    let places: Vec<_> = all.iter().map(|artist| place(artist, 4)).collect();
    assert_eq!(places, [2, 1, 3], "each in a shard of their own");

    let whole = studio(&all, None, 4);
    whole.ok(&["key", "new", "key.pem"]);
    whole.ok(&["train", "works.toml", "--out", "out", "-q", "--key", "key.pem"]);
    let before = manifest(&whole, "out");
    let weights: Vec<_> = before
        .adapters
        .iter()
        .map(|one| (one.shard, one.weight.as_str()))
        .collect();
    assert_eq!(weights, [(1, "0.25"), (2, "0.25"), (3, "0.25")]);
    let report = json(&whole, &["audit", "out"], 0);
    assert_eq!(
        (&report["verdict"], report["shards"].as_array().unwrap().len()),
        (&"clean".into(), 3),
        "{report}"
    );
    let with = draw(&whole, "out", "with.png");

    // What is there already is not trained again.
    fs::remove_file(whole.at("out/shards.json")).unwrap();
    let again = told(
        &whole,
        &["train", "works.toml", "--out", "out", "--resume", "--key", "key.pem"],
        0,
    );
    assert!(!again.contains("modules,"), "{again}");
    assert_eq!(manifest(&whole, "out"), before);
    let occupied = told(&whole, &["train", "works.toml", "--out", "out"], 2);
    assert!(occupied.contains("shards.json"), "{occupied}");

    whole.ok(&["opt-out", "--artist", "Dee Example"]);
    let turned = json(&whole, &["audit", "out"], 1);
    let verdicts: Vec<_> = turned["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["report"]["verdict"])
        .collect();
    assert_eq!(verdicts, ["findings", "clean", "clean"]);
    let dropped = told(&whole, &["retrain", "out", "--drop"], 0);
    assert!(
        dropped.contains("shard 1 of 4: dropped") && dropped.contains("out/shard-1"),
        "{dropped}"
    );
    assert_eq!(json(&whole, &["audit", "out-2"], 0)["verdict"], "clean");
    let old = json(&whole, &["audit", "out/shards.json"], 1);
    assert_eq!(codes(&old), ["adapter_superseded"], "{old}");
    assert_eq!(old["findings"][0]["severity"], "error");
    let affected = whole.ok(&["--json", "affected", "--artist", "Dee Example"]);
    let lines: Vec<Value> = affected
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let compositions: Vec<_> = lines.iter().filter(|line| line["kind"] == "composition").collect();
    assert_eq!(compositions.len(), 1, "{affected}");
    assert_eq!(compositions[0]["id"], old["composition"]);
    assert!(compositions[0]["superseded_by"].is_string(), "{affected}");
    assert!(
        lines
            .iter()
            .any(|line| line["path"].as_str().is_some_and(|path| path.ends_with("with.png")))
    );
    let after = draw(&whole, "out-2", "after.png");
    assert!(after != with);

    // Where she never was, and where she had refused before: the same manifest, adapters, signatures and picture.
    for (world, artists, refuses) in [("never", &rest[..], None), ("refused", &all[..], Some("Dee Example"))] {
        let other = studio(artists, refuses, 4);
        fs::copy(whole.at("key.pem"), other.at("key.pem")).unwrap();
        other.ok(&["train", "works.toml", "--out", "out", "-q", "--key", "key.pem"]);
        for file in [
            "shards.json",
            "shard-2/adapter.safetensors",
            "shard-2/adapter.safetensors.intoto.jsonl",
            "shard-3/adapter.safetensors",
            "shard-3/adapter.safetensors.intoto.jsonl",
        ] {
            assert!(
                whole.bytes("out-2", file) == other.bytes("out", file),
                "{world}: {file}"
            );
        }
        assert!(!whole.at("out-2/shard-1").exists() && !other.at("out/shard-1").exists());
        assert!(draw(&other, "out", "after.png") == after, "{world}");
    }
}

#[test]
fn only_the_shard_that_holds_a_picture_is_trained_again() {
    let all = ["Cy Example", "Dee Example", "Eve Example"];
    let places: Vec<_> = all.iter().map(|artist| place(artist, 2)).collect();
    assert_eq!(places, [2, 1, 2], "two share one");
    let studio_of = |artists: &[&str]| {
        let studio = studio(artists, None, 2);
        studio.ok(&["train", "works.toml", "--out", "out", "-q"]);
        studio
    };
    let whole = studio_of(&all);
    assert!(told(&whole, &["retrain", "out"], 0).contains("nothing changes"));
    let wrong = told(&whole, &["retrain", "out/shard-1", "--drop"], 2);
    assert!(wrong.contains("--drop needs an adapter in shards"), "{wrong}");
    whole.ok(&["opt-out", "--artist", "Eve Example"]);
    let plan = json(&whole, &["retrain", "out", "--dry-run"], 0);
    let gone: Vec<_> = plan["shards"]
        .as_array()
        .unwrap()
        .iter()
        .map(|shard| {
            (
                shard["shard"].as_u64().unwrap(),
                shard["sets"][0]["gone"].as_array().unwrap().len(),
            )
        })
        .collect();
    assert_eq!(gone, [(1, 0), (2, 2)], "{plan}");
    let digest = assent::digest::Sha256Digest::of_bytes(&whole.bytes("out", "shards.json")).to_string();
    assert_eq!(json(&whole, &["retrain", &digest[..12], "--dry-run"], 0), plan);
    assert!(!whole.at("out-2").exists());

    whole.ok(&["retrain", "out", "-q"]);
    let (before, after) = (manifest(&whole, "out"), manifest(&whole, "out-2"));
    assert_eq!(before.adapters[0], after.adapters[0]);
    assert_ne!(before.adapters[1].tensors, after.adapters[1].tensors);
    assert!(whole.bytes("out", "shard-1/adapter.safetensors") == whole.bytes("out-2", "shard-1/adapter.safetensors"));
    let again = record(&whole, "out-2/shard-2");
    assert_eq!(again.supersedes.unwrap().file, before.adapters[1].file);
    assert_eq!(again.inputs.snapshot.name, "works.2of2-2");
    let report = json(&whole, &["audit", "out-2"], 0);
    assert_eq!(report["verdict"], "clean", "{report}");
    assert_eq!(report["shards"][1]["report"]["supersedes"][0]["left_out"], 2);
    let replay = json(&whole, &["train", "--replay", "out-2/shard-2"], 0);
    assert_eq!(replay["verdict"], "equal", "{replay}");
    whole.ok(&["log", "verify"]);

    // The weights are those of a training that never saw her; the receipt says that they took others' place.
    let never = studio_of(&all[..2]);
    let others = manifest(&never, "out");
    assert_eq!(others.adapters[0], after.adapters[0]);
    assert_eq!(others.adapters[1].tensors, after.adapters[1].tensors);
    assert_ne!(others.adapters[1].receipt, after.adapters[1].receipt);

    // Nothing of the other shard may be used any more: it is dropped, and with it alone there would be nothing left.
    whole.ok(&["retrain", "out-2", "--without", "artist:Dee Example", "-q"]);
    assert_eq!(manifest(&whole, "out-3").adapters, after.adapters[1..]);
    let none = told(&whole, &["retrain", "out-3", "--without", "artist:Cy Example"], 2);
    assert!(none.contains("every shard would be dropped"), "{none}");

    fs::write(whole.at("broken.db"), "no database").unwrap();
    let broken = json(&whole, &["--registry", "broken.db", "audit", "out-2"], 1);
    assert_eq!(
        (&broken["verdict"], codes(&broken)),
        (&"invalid".into(), vec!["registry_changed"])
    );

    // An adapter that is not the manifest's is found, and not drawn with.
    fs::copy(
        whole.at("out-2/shard-2/adapter.safetensors"),
        whole.at("out-2/shard-1/adapter.safetensors"),
    )
    .unwrap();
    let mixed = json(&whole, &["audit", "out-2"], 1);
    assert_eq!(mixed["verdict"], "invalid");
    let found = codes(&mixed);
    for code in ["tensors_changed", "receipt_changed", "shards_overlap"] {
        assert!(found.contains(&code), "{code} in {found:?}");
    }
    let refused = told(
        &whole,
        &[
            "generate",
            "--base",
            "base",
            "--adapter",
            "out-2",
            "--prompt",
            "blocks",
            "-o",
            "x.png",
        ],
        2,
    );
    assert!(refused.contains("is not the adapter that"), "{refused}");
    assert!(told(&whole, &["retrain", "out-2"], 2).contains("is not the adapter that the manifest names"));
}
