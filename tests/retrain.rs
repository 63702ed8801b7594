//! After a revocation: the run again without the pictures that may not be used any more, linked to the one before.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::fs;

use assent::adapter::Container;
use assent::digest::Sha256Digest;
use assent::receipt::{self, Receipt, RunRecord};
use serde_json::Value;

#[path = "support/studio.rs"]
mod studio;
#[path = "support/works.rs"]
mod works;

use studio::Studio;
use works::{json, record, told};

const SETTINGS: &str = "output_name = \"rings\"\npretrained_model_name_or_path = \"base\"\nresolution = 32\n\
                        network_dim = 2\nnetwork_alpha = 2\nlearning_rate = 1e-3\nmax_train_steps = 2\n\
                        train_batch_size = 2\nseed = 5\n";
const SETS: &str = "validation_snapshot = \"cys\"\n[[datasets]]\n[[datasets.subsets]]\nsnapshot = \"cys\"\n\
                    [[datasets.subsets]]\nsnapshot = \"dees\"\nis_reg = true\n";

/// Six pictures of Cy and two of Dee, none like another, in `cys` and `dees`.
fn studio() -> Studio {
    let studio = Studio::new();
    works::add(&studio, &[("Cy Example", 6), ("Dee Example", 2)]);
    works::freeze(&studio, "cys", &["Cy Example"]);
    works::freeze(&studio, "dees", &["Dee Example"]);
    studio
}

fn receipt(studio: &Studio, run: &str) -> Receipt {
    let container = Container::read(&studio.at(run).join("adapter.safetensors")).unwrap();
    let sealed = receipt::open(&container).unwrap().unwrap();
    assert_eq!(receipt::changes(&container, &sealed).unwrap(), []);
    sealed.receipt
}

/// The name and the number of members of each set.
fn sets(record: &RunRecord) -> Vec<(String, u64)> {
    let sets = record.inputs.sets().into_iter().map(|set| set.snapshot);
    let sets = sets.chain(record.measured.clone());
    sets.map(|set| (set.name, set.members)).collect()
}

fn finding<'a>(report: &'a Value, code: &str) -> Option<&'a Value> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().find(|finding| finding["code"] == code)
}

fn trained_on(report: &Value) -> BTreeSet<String> {
    let images = report["images"].as_array().unwrap().iter();
    images
        .map(|image| image["sha256"].as_str().unwrap().to_owned())
        .collect()
}

fn digest(studio: &Studio, file: &str) -> String {
    Sha256Digest::of_file(&studio.at(file)).unwrap().to_string()
}

#[test]
fn a_run_is_made_again_without_what_was_withdrawn() {
    let studio = studio();
    fs::write(studio.at("sets.toml"), format!("{SETTINGS}{SETS}")).unwrap();
    studio.ok(&["train", "sets.toml", "--out", "run", "-q"]);
    fs::remove_file(studio.at("sets.toml")).unwrap();
    let first = record(&studio, "run");
    assert_eq!(receipt(&studio, "run").format, receipt::RECEIPT_FORMAT_SETS);

    // While everybody consents there is nothing to do, and nothing is done.
    let snapshots = studio.ok(&["--json", "snapshot", "list"]);
    assert!(told(&studio, &["retrain", "run"], 0).contains("nothing changes"));
    let typo = told(&studio, &["retrain", "run", "--without", "artist:Cyy Example"], 0);
    assert!(
        typo.contains("`artist:Cyy Example` is in none of the run's sets"),
        "{typo}"
    );

    // A picture of Cy's is withdrawn; one of Dee's is named beside it.
    studio.ok(&["opt-out", "--image", "works/cy-0.png"]);
    let without = ["retrain", "run", "--without", "works/dee-0.png"];
    let plan = json(&studio, &[&without[..], &["--dry-run"]].concat(), 0);
    let gone: Vec<_> = plan["sets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|set| set["gone"].clone())
        .collect();
    let (cy, dee) = (digest(&studio, "works/cy-0.png"), digest(&studio, "works/dee-0.png"));
    assert_eq!(gone[0][0]["sha256"], cy.as_str(), "{plan}");
    assert_eq!(gone[0][0]["reason_code"], "denied_by_artist");
    assert_eq!(gone[1][0]["sha256"], dee.as_str());
    assert_eq!(gone[1][0]["reason_code"], "not_selected");
    assert_eq!(gone[2], gone[0], "the set that was only measured");
    assert_eq!(gone.iter().map(|gone| gone.as_array().unwrap().len()).sum::<usize>(), 3);
    assert_eq!(studio.ok(&["--json", "snapshot", "list"]), snapshots);
    assert!(!studio.at("run-2").exists());

    let said = told(&studio, &without, 0);
    assert!(said.contains("it supersedes the adapter"), "{said}");
    let second = record(&studio, "run-2");
    let names = |n: u64| {
        vec![
            ("cys-2".to_owned(), 5),
            (format!("dees-{n}"), 1),
            ("cys-2".to_owned(), 5),
        ]
    };
    assert_eq!(sets(&second), names(2));
    let (then, now) = (&first.inputs, &second.inputs);
    assert_eq!((then.config, then.seed, &then.base), (now.config, now.seed, &now.base));
    assert_eq!(then.policy, now.policy);
    let claimed = receipt(&studio, "run-2").claims.supersedes.unwrap();
    assert_eq!(second.supersedes, Some(claimed));
    assert_eq!(
        (claimed.file, claimed.tensors, claimed.receipt),
        (first.adapter.file, first.adapter.tensors, first.adapter.receipt)
    );
    assert_ne!(second.adapter.tensors, first.adapter.tensors);

    // The old one is superseded, which is an error now that a picture of it is withdrawn; the new one is clean.
    let old = json(&studio, &["audit", "run"], 1);
    let superseded = finding(&old, "adapter_superseded").unwrap();
    assert_eq!(superseded["severity"], "error");
    let says = superseded["explanation"].as_str().unwrap();
    assert!(
        says.contains("without 2 of its pictures") && says.contains(&second.adapter.file.to_string()),
        "{says}"
    );
    let new = json(&studio, &["audit", "run-2"], 0);
    assert_eq!(new["verdict"], "clean", "{new}");
    assert_eq!(new["supersedes"][0]["file"], first.adapter.file.to_string());
    assert_eq!(new["supersedes"][0]["left_out"], 2);
    let (before, after) = (trained_on(&old), trained_on(&new));
    assert!(after.is_subset(&before));
    assert_eq!(&before - &after, [cy, dee].into());

    // It is repeated like any other, and the sets of the first are not touched.
    let replay = json(&studio, &["train", "--replay", "run-2"], 0);
    assert_eq!(replay["verdict"], "equal", "{replay}");
    let listed = studio.ok(&["--json", "snapshot", "list"]);
    assert!(listed.starts_with(&snapshots));

    // Once more: the chain has two links, and `affected` marks what has a successor.
    let said = told(
        &studio,
        &["retrain", "run-2/adapter.safetensors", "--without", "works/cy-1.png"],
        0,
    );
    assert!(said.contains("cys-3"), "{said}");
    let third = json(&studio, &["audit", "run-3"], 0);
    let chain: Vec<_> = third["supersedes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|old| &old["file"])
        .collect();
    let expected = [second.adapter.file, first.adapter.file].map(|file| file.to_string());
    assert_eq!(chain, expected.iter().collect::<Vec<_>>());
    let low = json(&studio, &["audit", "run-2"], 1);
    assert_eq!(
        finding(&low, "adapter_superseded").unwrap()["severity"],
        "warning",
        "{low}"
    );
    let affected = studio.ok(&["--json", "affected", "--image", "works/cy-2.png"]);
    let third = record(&studio, "run-3").adapter.file.to_string();
    let by = |file: &str| -> Value {
        let line = affected
            .lines()
            .find(|line| line.contains(&format!("\"id\":\"{file}\"")))
            .unwrap();
        serde_json::from_str::<Value>(line).unwrap()["superseded_by"].clone()
    };
    assert_eq!(by(&expected[1]), expected[0].as_str());
    assert_eq!(by(&expected[0]), third.as_str());
    assert_eq!(by(&third), Value::Null);
    assert!(
        studio
            .ok(&["affected", "--image", "works/cy-2.png"])
            .contains("(superseded by ")
    );
    studio.ok(&["log", "verify"]);
    // Without the registry the receipt alone names the one before.
    let alone = json(&studio, &["--registry", "none.db", "audit", "run-2"], 0);
    assert_eq!(alone["supersedes"][0]["file"], first.adapter.file.to_string());

    // The rest of Dee's goes: a set of the run would be empty, and nothing is frozen or written.
    let (listed, said) = (
        studio.ok(&["--json", "snapshot", "list"]),
        told(&studio, &["retrain", "run", "--without", "artist:dee example"], 2),
    );
    assert!(
        said.contains("nothing of the set `dees` may be used any more"),
        "{said}"
    );
    assert_eq!(studio.ok(&["--json", "snapshot", "list"]), listed);
}

#[test]
fn the_weights_are_those_that_never_saw_what_was_taken_out() {
    let studio = studio();
    fs::write(studio.at("a.toml"), format!("{SETTINGS}snapshot = \"cys\"\n")).unwrap();
    studio.ok(&["train", "a.toml", "--out", "run", "-q"]);
    studio.ok(&["opt-out", "--image", "works/cy-3.png"]);
    let digest = digest(&studio, "run/adapter.safetensors");
    studio.ok(&["retrain", &digest[..12], "--out", "again", "-q"]);
    works::freeze(&studio, "never", &["Cy Example"]);
    fs::write(studio.at("b.toml"), format!("{SETTINGS}snapshot = \"never\"\n")).unwrap();
    studio.ok(&["train", "b.toml", "--out", "never", "-q"]);
    let tensors = |run: &str| record(&studio, run).adapter.tensors;
    assert_eq!(tensors("again"), tensors("never"));
    assert_ne!(tensors("again"), tensors("run"));
    assert_eq!(receipt(&studio, "run").format, receipt::RECEIPT_FORMAT);
    assert_eq!(receipt(&studio, "again").format, receipt::RECEIPT_FORMAT_SUPERSEDES);

    // A receipt that names another adapter than the registry recorded is not believed.
    let path = studio.at("again/adapter.safetensors");
    let mut container = Container::read(&path).unwrap();
    let mut claims = receipt(&studio, "again").claims;
    claims.supersedes = None;
    receipt::seal(&mut container, claims).unwrap();
    container.write(&path).unwrap();
    let report = json(&studio, &["audit", "again"], 1);
    assert_eq!(report["verdict"], "invalid");
    let codes = ["receipt_changed", "registry_changed"];
    assert!(codes.iter().all(|code| finding(&report, code).is_some()), "{report}");
}
