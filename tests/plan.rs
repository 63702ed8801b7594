//! What stands before the first step: the plan, and what stops a run there with exit code 2 and a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use assent::model::weights::{Saved, save};
use assent::registry::Registry;
use assent::snapshot::{self, Role};
use assent::train::adapter::{AdapterRun, Trained, train_adapter};
use assent::train::config::AdapterConfig;
use assent::train::error::TrainError;
use assent::train::forecast::{Computer, Forecast, Start};
use assent::train::sets::TrainingSet;
use assent::train::watch::{Event, Stage, Watch};
use burn::tensor::Device;
use jiff::Timestamp;
use safetensors::SafeTensors;

#[path = "support/studio.rs"]
mod studio;

use studio::Studio;

/// Trains, and expects a refusal that says all of this in a sentence with a hint, and leaves no run behind.
fn refused(studio: &Studio, arguments: &[&str], expected: &[&str]) {
    let output = studio.run(&[&["train", "-q"], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
    assert!(said.starts_with("error: ") && said.lines().count() <= 3, "{said}");
    for words in expected {
        assert!(said.contains(words), "expected `{words}`: {said}");
    }
    for file in ["adapter.safetensors", "run.json", "metrics.jsonl", "state"] {
        assert!(!studio.at("run").join(file).exists(), "{arguments:?}: {file}");
    }
}

#[test]
fn a_plan_is_shown_and_nothing_is_written() {
    let studio = Studio::new();
    let before = fs::read_dir(studio.folder.path()).unwrap().count();
    let shown = studio.ok(&["train", "train.toml", "--out", "run", "--dry-run", "-q"]);
    for line in [
        "pictures  5 to train on, 1 held out to measure",
        "sizes     32x32 6",
        "kept out  2: not_selected 2",
        "adapter   48 modules of 48 expected, ",
        "steps     60, of 6 pictures: 72.0 epochs",
        "memory    about ",
        "disk      at most ",
        "time      about ",
    ] {
        assert!(shown.lines().any(|found| found.starts_with(line)), "{line}: {shown}");
    }
    let json = studio.ok(&["--json", "train", "train.toml", "--out", "run", "--dry-run"]);
    let plan: serde_json::Value = serde_json::from_str(json.trim()).unwrap();
    assert_eq!(plan["event"], "plan");
    assert_eq!(plan["modules"], plan["modules_expected"]);
    assert_eq!(
        plan["pictures"],
        serde_json::json!({"trained": 5, "held_out": 1, "others": 0})
    );
    assert!(plan["time"]["left"].as_f64().unwrap() > plan["time"]["step"].as_f64().unwrap());
    assert!(plan["memory"]["total"].as_u64().unwrap() < plan["memory_available"].as_u64().unwrap());
    assert!(plan["disk"].as_u64().unwrap() < plan["disk_available"].as_u64().unwrap());
    assert_eq!(fs::read_dir(studio.folder.path()).unwrap().count(), before);
}

#[test]
fn what_does_not_fit_stops_a_run_before_its_first_step() {
    let studio = Studio::new();
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();

    // A folder below a file, one that only its owner may write to, and ones with another run.
    refused(
        &studio,
        &["train.toml", "--out", "art/0.png/run"],
        &["cannot write to `art/0.png`", "--out DIR"],
    );
    for trace in ["run.json", "adapter.safetensors", "state/adapter.json"] {
        let path = studio.at("used").join(trace);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        let holds = format!("`used` holds a run already (`{trace}`)");
        refused(
            &studio,
            &["train.toml", "--out", "used"],
            &[&holds, "--resume", "--out DIR"],
        );
        fs::remove_dir_all(studio.at("used")).unwrap();
    }

    // Modules that are not those that should be there.
    fs::write(studio.at("count.toml"), format!("{text}target_count = 3\n")).unwrap();
    refused(&studio, &["count.toml", "--out", "run"], &["3", "48"]);

    // A weight that is no number.
    let path = studio.at("base/unet/diffusion_pytorch_model.safetensors");
    let whole = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&whole).unwrap();
    let tensors: Vec<Saved> = file
        .iter()
        .map(|(name, view)| {
            let chunks = view.data().as_chunks::<4>().0.iter();
            let mut values: Vec<f32> = chunks.map(|b| f32::from_le_bytes(*b)).collect();
            if name == "mid_block.resnets.0.conv1.weight" {
                values[7] = f32::NAN;
            }
            Saved {
                name: name.to_owned(),
                shape: view.shape().to_vec(),
                values,
            }
        })
        .collect();
    save(&path, &tensors, false).unwrap();
    refused(
        &studio,
        &["train.toml", "--out", "run"],
        &["mid_block.resnets.0.conv1.weight", "unreadable"],
    );
    fs::write(&path, &whole).unwrap();

    // A caption of more tokens than there is room for, unless that is said to be right.
    let long = "ring ".repeat(90);
    fs::write(studio.at("art/2.txt"), &long).unwrap();
    studio.ok(&["ingest", "art"]);
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");
    studio.ok(&[
        "snapshot",
        "create",
        "long",
        "--policy",
        policy,
        "--artist",
        "Ada Example",
    ]);
    let text = text.replace("snapshot = \"rings\"", "snapshot = \"long\"");
    fs::write(studio.at("long.toml"), &text).unwrap();
    let expected = ["2.png", "expected at most 75", "allow_long_captions"];
    refused(&studio, &["long.toml", "--out", "run"], &expected);
    fs::write(studio.at("cut.toml"), format!("{text}allow_long_captions = true\n")).unwrap();
    studio.ok(&["train", "cut.toml", "--out", "run", "--dry-run", "-q"]);

    // A file that is not there any more.
    fs::remove_file(studio.at("art/3.png")).unwrap();
    refused(
        &studio,
        &["cut.toml", "--out", "run"],
        &["hint: run `assent snapshot verify long`"],
    );
}

/// A computer with this much memory and disk, on which each look at the clock takes a second.
struct Small {
    memory: Option<u64>,
    disk: Option<u64>,
    clock: std::sync::atomic::AtomicU64,
}

impl Computer for Small {
    fn memory(&self) -> Option<u64> {
        self.memory
    }
    fn disk(&self) -> Option<u64> {
        self.disk
    }
    fn elapsed(&self) -> Duration {
        Duration::from_secs(self.clock.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
}

#[derive(Default)]
struct Plans(Vec<Forecast>);

impl Watch for Plans {
    fn event(&mut self, event: &Event) {
        if let Event::Plan(plan) = event {
            self.0.push((**plan).clone());
        }
    }
}

fn plan(
    studio: &Studio,
    memory: Option<u64>,
    disk: Option<u64>,
    ignore_memory: bool,
) -> (Result<Trained, TrainError>, Forecast) {
    let (config, config_digest) = AdapterConfig::read(&studio.at("train.toml")).unwrap();
    let registry = Registry::open(&studio.at("assent.db")).unwrap();
    let set = snapshot::verify(&registry, &config.sources[0].snapshot, Timestamp::now()).unwrap();
    let computer = Small {
        memory,
        disk,
        clock: Default::default(),
    };
    let run = AdapterRun {
        config: &config,
        config_digest,
        sets: &[TrainingSet {
            role: Role::Training,
            snapshot: &set,
        }],
        others: None,
        device: &Device::flex(),
        device_name: "flex",
        key: None,
        supersedes: None,
        resume: false,
        start: Start {
            computer: &computer,
            ignore_memory,
            only_plan: true,
        },
        clock: &|| Timestamp::UNIX_EPOCH,
    };
    let (out, stop, mut watch) = (studio.at("run"), AtomicBool::new(false), Plans::default());
    let mut stage = Stage {
        out: &out,
        watch: &mut watch,
        stop: &stop,
    };
    let trained = train_adapter(&run, &mut stage);
    (trained, watch.0.remove(0))
}

#[test]
fn too_little_memory_or_disk_stops_a_run() {
    let studio = Studio::new();
    let (done, whole) = plan(&studio, None, None, false);
    done.unwrap();
    // One second for the micro-batch, three of them an update.
    let time = whole.time.unwrap();
    assert_eq!((time.step, time.left), (3.0, 180.0));
    let (needed, room) = (whole.memory.total, whole.disk);
    for (memory, disk, ignore, what) in [
        (Some(needed), Some(room), false, None),
        (Some(needed - 1), Some(room), false, Some("of memory")),
        (Some(needed - 1), Some(room), true, None),
        (Some(needed), Some(room - 1), true, Some("in the output folder")),
    ] {
        match (plan(&studio, memory, disk, ignore).0, what) {
            (Ok(trained), None) => assert!(trained.product.is_none()),
            (Err(error), Some(what)) => {
                let said = error.to_string();
                assert!(said.contains(what) && said.contains("hint:"), "{said}");
            }
            (other, _) => panic!("{memory:?} {disk:?}: {other:?}"),
        }
    }
}
