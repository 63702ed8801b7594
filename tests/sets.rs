//! A run on two snapshots and one for regularization, with the program itself: every picture is in receipt, registry,
//! audit and attributions, and what is refused later reaches the adapter from whichever set it was in.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;

use assent::adapter::Container;
use assent::receipt::{self, RunRecord};
use assent::registry::Role;
use serde_json::{Value, json};

#[path = "support/studio.rs"]
mod studio;

use studio::Studio;

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");
const CONFIG: &str = "output_name = \"rings\"\npretrained_model_name_or_path = \"base\"\nresolution = 32\n\
                      network_dim = 2\nnetwork_alpha = 2\nlearning_rate = 1e-3\nmax_train_steps = 2\n\
                      train_batch_size = 2\nseed = 5\nprior_loss_weight = 0.5\nvalidation_snapshot = \"rings\"\n\
                      [[datasets]]\n[[datasets.subsets]]\nsnapshot = \"rings\"\n[[datasets.subsets]]\n\
                      snapshot = \"bens\"\nnum_repeats = 3\n[[datasets.subsets]]\nsnapshot = \"plain\"\nis_reg = true\n";

/// Six pictures of Ada and two of Ben to learn, two of Cleo for regularization.
fn studio() -> Studio {
    let studio = Studio::new();
    fs::create_dir(studio.at("plain")).unwrap();
    for i in 0..2u8 {
        let picture = image::RgbImage::from_fn(32, 32, |x, _| image::Rgb([x as u8 * 8, 90 * i, 40]));
        let path = studio.at("plain").join(format!("plain-{i}.png"));
        picture.save(&path).unwrap();
        fs::write(path.with_extension("txt"), "a plain picture").unwrap();
        let license = "SPDX-FileCopyrightText: Cleo Example\nSPDX-License-Identifier: CC-BY-4.0\n";
        fs::write(studio.at("plain").join(format!("plain-{i}.png.license")), license).unwrap();
    }
    studio.ok(&["ingest", "plain"]);
    for (name, artist) in [("bens", "Ben Example"), ("plain", "Cleo Example")] {
        studio.ok(&["snapshot", "create", name, "--policy", POLICY, "--artist", artist]);
    }
    fs::write(studio.at("sets.toml"), CONFIG).unwrap();
    studio
}

fn run_json(studio: &Studio, arguments: &[&str], code: i32) -> Value {
    let output = studio.run(&[&["--json"], arguments].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap()).collect()
}

#[test]
fn no_picture_of_any_set_is_ever_missing() {
    let studio = studio();
    let told = studio.run(&["train", "sets.toml", "--out", "run"]);
    let told = String::from_utf8_lossy(&told.stderr);
    assert!(
        told.contains("oblige whoever uses it to (`plain`): attribution (2 pictures)"),
        "{told}"
    );

    let record = RunRecord::parse(&String::from_utf8(studio.bytes("run", "run.json")).unwrap()).unwrap();
    let sets: Vec<_> = record
        .inputs
        .sets()
        .into_iter()
        .map(|set| (set.snapshot.name, set.role, set.snapshot.members))
        .collect();
    let expected = [
        ("rings".to_owned(), Role::Training, 6),
        ("bens".to_owned(), Role::Training, 2),
        ("plain".to_owned(), Role::Regularization, 2),
    ];
    assert_eq!(sets, expected);
    assert_eq!(record.measured.as_ref().unwrap().name, "rings");
    let settings = &record.inputs.settings;
    assert_eq!(settings["prior_loss_weight"], "0.5");
    assert_eq!(settings["datasets[0].subsets[1].num_repeats"], "3");
    assert_eq!(
        (&*settings["images_trained"], &*settings["images_regularization"]),
        ("8", "2")
    );

    // The header counts as sd-scripts does: with the repeats that are asked for, without the turns that balance.
    let shown = run_json(&studio, &["adapter", "inspect", "run/adapter.safetensors"], 0);
    let said = |key: &str| {
        shown["header"][key]
            .as_str()
            .unwrap_or_else(|| panic!("{key}"))
            .to_owned()
    };
    let numbers = ["ss_num_train_images", "ss_num_reg_images", "ss_num_validation_images"].map(said);
    // 6 and 2 · 3 pictures to be learned, 2 for regularization, each of which comes 6 times: 12 batches of 2.
    assert_eq!(numbers, ["12", "2", "0"]);
    assert_eq!(said("ss_num_batches_per_epoch"), "12");
    let parsed = |key: &str| serde_json::from_str::<Value>(&said(key)).unwrap();
    assert_eq!(parsed("ss_bucket_info")["buckets"]["0"]["count"], 24);
    let roots: Vec<String> = record
        .inputs
        .sets()
        .iter()
        .map(|set| set.snapshot.root.short())
        .collect();
    assert_eq!(
        parsed("ss_dataset_dirs"),
        json!({
            &*roots[0]: {"n_repeats": 1, "img_count": 6},
            &*roots[1]: {"n_repeats": 3, "img_count": 2},
        })
    );
    let datasets = parsed("ss_datasets");
    assert_eq!(datasets.as_array().unwrap().len(), 1);
    let of = |key: &str| datasets[0][key].clone();
    assert_eq!((of("num_train_images"), of("num_reg_images")), (json!(12), json!(2)));
    let subsets: Vec<_> = datasets[0]["subsets"].as_array().unwrap().iter().collect();
    let facts = |subset: &&Value| {
        json!([
            subset["image_dir"],
            subset["img_count"],
            subset["num_repeats"],
            subset["is_reg"]
        ])
    };
    assert_eq!(
        subsets.iter().map(facts).collect::<Vec<_>>(),
        [
            json!([roots[0], 6, 1, false]),
            json!([roots[1], 2, 3, false]),
            json!([roots[2], 2, 1, true]),
        ]
    );

    let page = String::from_utf8(studio.bytes("run", "run.html")).unwrap();
    for set in record.inputs.sets() {
        assert!(
            page.contains(&set.snapshot.root.to_string()),
            "{} in run.html",
            set.snapshot.name
        );
    }
    assert!(page.contains("Regularization set"));

    let adapter = "run/adapter.safetensors";
    let clean = run_json(&studio, &["audit", adapter], 0);
    assert_eq!(clean["images"].as_array().unwrap().len(), 10);
    assert_eq!(clean["further"].as_array().unwrap().len(), 2);
    let page = studio.ok(&["audit", adapter]);
    assert!(
        page.contains("Images that trained it (10, 2 of them for regularization)"),
        "{page}"
    );
    let credits = studio.ok(&["attributions", adapter]);
    for name in ["Ada Example", "Ben Example", "Cleo Example"] {
        assert!(credits.contains(name), "{name} in {credits}");
    }

    // A merged adapter has no run of its own, and leads to the same pictures.
    studio.ok(&["adapter", "merge", adapter, adapter, "-o", "merged.safetensors"]);
    studio.ok(&["opt-out", "--artist", "Cleo Example"]);
    let affected = studio.ok(&["--json", "affected", "--artist", "Cleo Example"]);
    for file in ["run/adapter.safetensors", "merged.safetensors"] {
        assert!(affected.contains(file), "{file} in {affected}");
    }
    let turned = run_json(&studio, &["audit", adapter], 1);
    assert_eq!(codes(&turned), ["consent_withdrawn"; 2]);
    assert!(
        turned["findings"][0]["explanation"]
            .as_str()
            .unwrap()
            .contains("as a regularization picture")
    );

    // The same sets train nothing any more.
    let refused = studio.run(&["train", "sets.toml", "--out", "after", "-q"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("`plain` does not verify"), "{why}");
    assert!(!studio.at("after").exists());

    // A receipt without one of them is not that of the run.
    let mut container = Container::read(&studio.at(adapter)).unwrap();
    let mut claims = receipt::open(&container).unwrap().unwrap().receipt.claims;
    claims.further.pop();
    receipt::seal(&mut container, claims).unwrap();
    container.write(&studio.at(adapter)).unwrap();
    let forged = run_json(&studio, &["audit", adapter], 1);
    assert_eq!(forged["verdict"], "invalid");
    assert!(codes(&forged).contains(&"receipt_changed"), "{forged}");
    assert!(forged["images"].as_array().unwrap().len() >= 10);
}

#[test]
fn a_commercial_use_is_refused_for_whichever_set_it_is() {
    let studio = studio();
    let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");
    let text = fs::read_to_string(policy).unwrap();
    let text = text.replace(
        "\"CC-BY-4.0\" = [\"attribution\"]",
        "\"CC-BY-4.0\" = [\"attribution\", \"non_commercial\"]",
    );
    fs::write(studio.at("nc.toml"), text).unwrap();
    studio.ok(&[
        "snapshot",
        "create",
        "nc",
        "--policy",
        "nc.toml",
        "--artist",
        "Cleo Example",
    ]);
    let config = CONFIG
        .replace("\"plain\"", "\"nc\"")
        .replace("[[datasets]]", "use = \"commercial\"\n[[datasets]]");
    fs::write(studio.at("nc-train.toml"), config).unwrap();
    let refused = studio.run(&["train", "nc-train.toml", "--out", "nc", "-q"]);
    let why = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{why}");
    assert!(why.contains("commercial"), "{why}");
    assert!(!studio.at("nc/adapter.safetensors").exists());
}

#[test]
fn words_of_every_set_are_looked_through() {
    let studio = studio();
    studio.add_set(
        "signed",
        "Eve Example",
        &[([32, 32], "a field"), ([32, 32], "a field after Dora Example")],
    );
    let subset = |more: &str, text: &str| {
        let at = format!("snapshot = \"{text}\"\n");
        assert!(CONFIG.contains(&at), "{text}");
        CONFIG.replace(&at, &format!("{at}{more}\n"))
    };
    let named = [
        (
            "`caption_prefix`",
            subset("caption_prefix = \"as Dora Example\"", "bens"),
        ),
        (
            "`caption_suffix`",
            subset("caption_suffix = \"by Dora Example\"", "plain"),
        ),
        (
            "`class_tokens`",
            subset("class_tokens = \"Dora Example's field\"", "plain"),
        ),
        (
            "`caption_templates`",
            subset("caption_templates = [\"{}\", \"{} of Dora Example\"]", "bens"),
        ),
        (
            "the caption of",
            format!("{CONFIG}[[datasets.subsets]]\nsnapshot = \"signed\"\n"),
        ),
        (
            "the caption of",
            format!("{CONFIG}[[datasets.subsets]]\nsnapshot = \"signed\"\nis_reg = true\n"),
        ),
    ];
    let plan = |config: &str| {
        fs::write(studio.at("named.toml"), config).unwrap();
        studio.run(&["train", "named.toml", "--out", "named", "--dry-run", "-q"])
    };
    // Whoever did not refuse may be named.
    assert!(plan(&named[0].1).status.success());
    studio.ok(&["opt-out", "--artist", "Dora Example"]);
    for (place, config) in named {
        let refused = plan(&config);
        let said = String::from_utf8_lossy(&refused.stdout);
        assert_eq!(refused.status.code(), Some(1), "{place}: {said}");
        let line = |line: &str| line.contains(place) && line.contains("names `Dora Example`, who opted out");
        assert_eq!(said.lines().filter(|found| line(found)).count(), 1, "{place}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(plan(CONFIG).status.success(), "without the name it is trained");
}

#[test]
fn what_several_sets_held_out_is_known_when_the_weights_are_measured() {
    let studio = studio();
    let config = CONFIG.replace("validation_snapshot = \"rings\"", "validation_split = 0.25");
    fs::write(studio.at("held.toml"), config).unwrap();
    studio.ok(&["train", "held.toml", "--out", "held"]);
    let measure = "audit held --measure --base base --measure-noises 1 --measure-captions 0";
    let report = run_json(&studio, &measure.split(' ').collect::<Vec<_>>(), 0);
    let groups: Vec<&str> = report["measured"]["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["group"].as_str().unwrap())
        .collect();
    let count = |group: &str| groups.iter().filter(|g| **g == group).count();
    assert_eq!((count("trained"), count("held_out")), (8, 2), "{groups:?}");
}
