//! A run with everything that chance decides switched on gives the same bytes wherever it was stopped, and however.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;

#[path = "support/studio.rs"]
mod studio;

use studio::{Studio, tiny_xl_base};

/// Buckets, flips, crops, captions drawn anew, sets with repeats and a regularization set. States are saved every third
/// update.
const CONFIG: &str = "output_name = \"rings\"\npretrained_model_name_or_path = \"base\"\nresolution = 16\n\
    enable_bucket = true\nmin_bucket_reso = 8\nmax_bucket_reso = 32\nbucket_reso_steps = 8\nnetwork_dim = 2\n\
    network_alpha = 2\nnetwork_dropout = 0.1\nlearning_rate = 1e-2\nmax_train_steps = 9\ntrain_batch_size = 2\n\
    gradient_accumulation_steps = 2\nseed = 5\nema_decay = 0.9\nnoise_offset = 0.1\nprior_loss_weight = 0.5\n\
    save_every_n_steps = 3\n\
    flip_aug = true\nshuffle_caption = true\nkeep_tokens = 1\ncaption_tag_dropout_rate = 0.3\n\
    caption_dropout_rate = 0.2\n\
    [[datasets]]\n[[datasets.subsets]]\nsnapshot = \"rings\"\nrandom_crop = true\n\
    [[datasets.subsets]]\nsnapshot = \"shapes\"\nnum_repeats = 3\nrandom_crop = true\ncaption_dropout_every_n_epochs = 3\n\
    [[datasets.subsets]]\nsnapshot = \"plain\"\nis_reg = true\n\
    [[datasets]]\n[[datasets.subsets]]\nsnapshot = \"shapes\"\nnum_repeats = 2\nenable_wildcard = true\n";

fn studio() -> Studio {
    let studio = Studio::new();
    let tags = "shape, {red|blue}, tall, thin, drawn, striped";
    studio.add_set(
        "shapes",
        "Cleo Example",
        &[
            ([72, 24], tags),
            ([24, 72], tags),
            ([40, 32], "a shape on the left, dots"),
        ],
    );
    studio.add_set(
        "plain",
        "Dora Example",
        &[([32, 32], "plain, grey"), ([20, 80], "plain, long, thin")],
    );
    studio
}

fn same(studio: &Studio, one: &str, other: &str) {
    for file in ["adapter.safetensors", "metrics.jsonl", "loss.png"] {
        assert!(
            studio.bytes(one, file) == studio.bytes(other, file),
            "{file} of {one} and {other} differ"
        );
    }
}

/// Stops `out` at these updates by these signals, and lets it end.
fn stop(studio: &Studio, config: &str, out: &str, stops: &[(u64, &str)]) {
    for (steps, signal) in stops {
        let ended = studio.signalled(config, out, *steps, signal);
        assert_eq!(
            ended.success(),
            *signal == "-INT",
            "{out}: {signal} at {steps}: {ended}"
        );
        assert!(!studio.at(out).join("adapter.safetensors").exists());
    }
    let resumed = studio.ok(&["--json", "train", config, "--out", out, "--resume"]);
    let first = resumed
        .lines()
        .find(|line| line.contains("\"event\":\"step\""))
        .unwrap();
    let first: serde_json::Value = serde_json::from_str(first).unwrap();
    assert!(
        first["step"].as_u64() > Some(1),
        "it went on where it was stopped: {first}"
    );
}

#[test]
fn chance_is_the_same_wherever_a_run_was_stopped() {
    let studio = studio();
    fs::write(studio.at("all.toml"), CONFIG).unwrap();
    studio.ok(&["train", "all.toml", "--out", "whole", "-q"]);
    let header = studio.ok(&["--json", "adapter", "inspect", "whole/adapter.safetensors"]);
    let header: serde_json::Value = serde_json::from_str(&header).unwrap();
    let info = header["header"]["ss_bucket_info"].as_str().unwrap();
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    assert!(info["buckets"].as_object().unwrap().len() > 3, "{info}");

    // Before anything is saved, within the first update after a saved state, and by asking in between.
    stop(
        &studio,
        "all.toml",
        "often",
        &[(0, "-KILL"), (1, "-KILL"), (2, "-INT"), (5, "-KILL"), (7, "-INT")],
    );
    same(&studio, "whole", "often");
    stop(&studio, "all.toml", "late", &[(1, "-INT"), (8, "-KILL")]);
    same(&studio, "whole", "late");

    // It is chance that was repeated: another seed is another run.
    fs::write(studio.at("other.toml"), CONFIG.replace("seed = 5", "seed = 6")).unwrap();
    studio.ok(&["train", "other.toml", "--out", "other", "-q"]);
    assert!(studio.bytes("whole", "metrics.jsonl") != studio.bytes("other", "metrics.jsonl"));
}

#[test]
fn sdxl_is_stopped_and_continued_in_buckets() {
    let studio = studio();
    tiny_xl_base(&studio.at("xl"));
    let config = CONFIG
        .replace("\"base\"", "\"xl\"")
        .replace("max_train_steps = 9", "max_train_steps = 4");
    fs::write(studio.at("xl.toml"), config).unwrap();
    studio.ok(&["train", "xl.toml", "--out", "whole", "-q"]);
    stop(&studio, "xl.toml", "stopped", &[(1, "-KILL"), (2, "-INT")]);
    same(&studio, "whole", "stopped");
}
