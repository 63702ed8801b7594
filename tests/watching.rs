//! What a run writes for those who watch it: the page, TensorBoard's events, norms, the last weights; and nothing of the
//! time in what is compared.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;

#[path = "support/python.rs"]
mod python;
#[path = "support/studio.rs"]
mod studio;

use studio::{STEPS, Studio};

// Behind the time of the snapshots, which are dated when the test runs.
const NOW: &str = "2090-11-22T12:00:00Z";
const LATER: &str = "2091-01-01T00:00:00Z";

/// A studio whose run is short, averages its weights, and logs.
fn watched() -> Studio {
    let studio = Studio::new();
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    let text = text
        .replace(&format!("max_train_steps = {STEPS}"), "max_train_steps = 6")
        .replace("validate_every_n_steps = 20", "validate_every_n_steps = 3")
        .replace("sample_every_n_steps = 30", "sample_every_n_steps = 6")
        .replace("save_every_n_steps = 7", "save_every_n_steps = 2")
        .replace("output_name = \"rings\"", "output_name = \"<rings>\"");
    let more = "ema_decay = 0.9\nsave_last_weights = true\nlogging_dir = \"logs\"\nlog_with = \"tensorboard\"\n\
                log_prefix = \"rings-\"\n";
    fs::write(studio.at("train.toml"), text + more).unwrap();
    studio
}

fn train(studio: &Studio, out: &str, now: &str) {
    let output = studio
        .command(&["train", "train.toml", "--out", out, "-q"])
        .env("ASSENT_NOW", now)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn json(studio: &Studio, out: &str) -> serde_json::Value {
    serde_json::from_slice(&studio.bytes(out, "run.json")).unwrap()
}

/// The event file of the run that began at this time, as the folders' names have it.
fn events(studio: &Studio, start: &str) -> PathBuf {
    let folder = studio.at(&format!("logs/rings-{start}/network_train"));
    let mut files = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    files.next().unwrap().unwrap().path()
}

#[test]
fn a_run_leaves_a_page_norms_events_and_its_last_weights() {
    let studio = watched();
    train(&studio, "run", NOW);
    train(&studio, "later", LATER);
    // Nothing that two runs are compared by holds the time.
    for file in [
        "adapter.safetensors",
        "adapter-last.safetensors",
        "metrics.jsonl",
        "loss.png",
        "run.html",
    ] {
        assert!(studio.bytes("run", file) == studio.bytes("later", file), "{file}");
    }
    assert!(studio.bytes("run", "adapter.safetensors") != studio.bytes("run", "adapter-last.safetensors"));
    assert!(events(&studio, "20901122120000").exists() && events(&studio, "20910101000000").exists());

    let record = json(&studio, "run");
    assert_eq!(record["started_at"], NOW);
    assert_eq!(record["finished_at"], NOW);
    for adapter in ["run/adapter.safetensors", "run/adapter-last.safetensors"] {
        let mut audit = studio.command(&["--json", "audit", adapter]);
        let audit = audit.env("ASSENT_NOW", LATER).output().unwrap();
        let audit: serde_json::Value = serde_json::from_slice(&audit.stdout).unwrap();
        assert_eq!(audit["verdict"], "clean", "{audit}");
    }
    let last: serde_json::Value =
        serde_json::from_str(&studio.ok(&["--json", "adapter", "inspect", "run/adapter-last.safetensors"])).unwrap();
    assert_eq!(last["tensor_sha256"], record["last"]["tensors"]);
    assert_ne!(last["tensor_sha256"], record["adapter"]["tensors"]);

    let metrics = String::from_utf8(studio.bytes("run", "metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let norms: Vec<_> = lines.iter().filter(|line| line["event"] == "norms").collect();
    assert_eq!(norms.len(), 2, "{metrics}");
    let kinds: Vec<&String> = norms[0]["weights"].as_object().unwrap().keys().collect();
    assert_eq!(kinds, ["attn1", "attn2", "ff", "proj"]);
    // The total of a step is what its kinds add up to.
    let step = lines
        .iter()
        .find(|line| line["event"] == "step" && line["step"] == 3)
        .unwrap();
    for (total, parts) in [("weight_norm", "weights"), ("update_norm", "updates")] {
        let squares: f64 = norms[0][parts]
            .as_object()
            .unwrap()
            .values()
            .map(|v| v.as_f64().unwrap().powi(2))
            .sum();
        let total = step[total].as_f64().unwrap();
        assert!(total > 0.0 && (squares.sqrt() / total - 1.0).abs() < 1e-9, "{parts}");
    }

    let page = String::from_utf8(studio.bytes("run", "run.html")).unwrap();
    assert!(page.contains("<h1>&lt;rings&gt;</h1>") && !page.contains("<rings>"));
    assert_eq!(page.matches("<svg ").count(), 5);
    let sample = "samples/adapter-000006.png";
    assert!(page.contains(&format!("src=\"{sample}\"")) && studio.at("run").join(sample).exists());
    let digests = [
        &record["adapter"]["file"],
        &record["adapter"]["receipt"],
        &record["inputs"]["snapshot"]["root"],
    ];
    for digest in digests {
        assert!(page.contains(digest.as_str().unwrap()), "{digest}");
    }
    for word in [
        "http-equiv",
        "<script",
        "Ada Example",
        &*studio.folder.path().to_string_lossy(),
    ] {
        assert!(!page.contains(word), "{word}");
    }
    // The namespace of SVG is a name; nothing is loaded from it.
    let addresses = page.matches("http").count();
    assert_eq!(addresses, page.matches("xmlns=\"http://www.w3.org/2000/svg\"").count());
}

#[test]
fn the_page_of_a_run_that_goes_on_loads_itself_again() {
    let studio = Studio::new();
    let mut child = studio.started("run", 1);
    let page = || String::from_utf8(studio.bytes("run", "run.html")).unwrap();
    assert!(page().contains("http-equiv=\"refresh\""));
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success() && child.wait().unwrap().success());
    assert!(page().contains("stopped after step") && !page().contains("http-equiv"));
}

/// TensorBoard itself reads the events: names, steps and values of the scalars, and the samples.
#[test]
fn tensorboard_reads_the_events() {
    let Some(interpreter) = python::python_with("tensorboard") else {
        return;
    };
    let studio = watched();
    train(&studio, "run", NOW);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/read_events.py");
    let output = Command::new(interpreter)
        .arg(script)
        .arg(events(&studio, "20901122120000"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    let metrics = String::from_utf8(studio.bytes("run", "metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let expect = |tag: &str, event: &str, of: &dyn Fn(&serde_json::Value) -> Option<f64>| {
        let known = lines.iter().filter(|line| line["event"] == event);
        let known: Vec<(u64, f64)> = known
            .filter_map(|line| Some((line["step"].as_u64()?, of(line)?)))
            .collect();
        let found = read["scalars"][tag]
            .as_array()
            .unwrap_or_else(|| panic!("no {tag} in {read}"));
        assert!(
            !known.is_empty() && found.len() == known.len(),
            "{tag}: {found:?}, {known:?}"
        );
        for (found, (step, value)) in found.iter().zip(known) {
            assert_eq!(found[0], step, "{tag}");
            assert_eq!(found[1].as_f64().unwrap() as f32, value as f32, "{tag}");
        }
    };
    for (tag, key) in [
        ("loss/current", "loss"),
        ("lr/unet", "lr"),
        ("norm/grad_norm", "grad_norm"),
        ("norm/weight_norm", "weight_norm"),
        ("norm/update_norm", "update_norm"),
    ] {
        expect(tag, "step", &|line| line[key].as_f64());
    }
    expect("loss/validation/step_average", "validation", &|line| {
        line["loss"].as_f64()
    });
    expect("norm/weights/attn2", "norms", &|line| line["weights"]["attn2"].as_f64());
    // Five pictures are trained on, six in an update: an epoch is one update.
    assert_eq!(read["scalars"]["loss/average"], read["scalars"]["loss/current"]);
    assert_eq!(read["wall_times"], serde_json::json!([3_815_035_200.0]));
    let samples = read["images"]["samples"].as_array().unwrap();
    assert_eq!(samples.iter().map(|s| s[0].as_u64().unwrap()).collect::<Vec<_>>(), [6]);
    for sample in samples {
        let file = format!("samples/adapter-{:06}.png", sample[0].as_u64().unwrap());
        let size = image::image_dimensions(studio.at("run").join(&file)).unwrap();
        assert_eq!(sample[1], serde_json::json!([size.0, size.1]));
        let digest = assent::digest::Sha256Digest::of_bytes(&studio.bytes("run", &file)).to_string();
        assert_eq!(sample[2], serde_json::json!(digest));
    }
}
