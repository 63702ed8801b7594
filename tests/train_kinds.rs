//! Training of every kind of adapter with the program itself: what the configuration asks for is what the file holds, the
//! weights move, equal runs are equal, and what would do nothing is refused before the first step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;

use serde_json::{Value, json};

#[path = "support/studio.rs"]
mod studio;

use studio::{STEPS, Studio, tiny_xl_base};

fn configure(studio: &Studio, more: &str) {
    let text = fs::read_to_string(studio.at("train.toml")).unwrap();
    let text = text
        .replace(&format!("= {STEPS}"), "= 3")
        .replace("sample_every_n_steps = 30", "sample_every_n_steps = 0");
    fs::write(studio.at("kind.toml"), format!("{text}{more}\n")).unwrap();
}

fn inspect(studio: &Studio, run: &str) -> Value {
    let shown = studio.ok(&["--json", "adapter", "inspect", run]);
    serde_json::from_str(&shown).unwrap()
}

#[test]
fn every_kind_trains_and_its_file_says_what_it_is() {
    let studio = Studio::new();
    for (i, (more, form, module, args)) in [
        ("", "lora", "networks.lora", json!({})),
        (
            "network_type = \"locon\"\nconv_dim = 2\nconv_alpha = 1",
            "locon",
            "networks.lora",
            json!({"conv_dim": "2", "conv_alpha": "1"}),
        ),
        (
            "conv_dim = 2\nuse_tucker = true\nnetwork_dropout = 0.1",
            "locon-tucker",
            "lycoris.kohya",
            json!({"algo": "locon", "conv_dim": "2", "conv_alpha": "4", "use_tucker": "True"}),
        ),
        (
            "network_type = \"loha\"\nrank_dropout = 0.1",
            "loha",
            "lycoris.kohya",
            json!({"algo": "loha", "rank_dropout": "0.1"}),
        ),
        (
            "network_type = \"lokr\"\nfactor = 4\nmodule_dropout = 0.3",
            "lokr",
            "lycoris.kohya",
            json!({"algo": "lokr", "factor": "4", "module_dropout": "0.3"}),
        ),
        (
            "dora_wd = true\nrs_lora = true\nloraplus_lr_ratio = 8",
            "lora with dora",
            "lycoris.kohya",
            json!({"algo": "locon", "dora_wd": "True", "rs_lora": "True"}),
        ),
        ("init_lora_weights = \"pissa\"", "lora", "networks.lora", json!({})),
    ]
    .into_iter()
    .enumerate()
    {
        configure(&studio, more);
        let (run, again) = (format!("run{i}"), format!("again{i}"));
        studio.ok(&["train", "kind.toml", "--out", &run, "-q"]);
        let shown = inspect(&studio, &run);
        assert!(shown["forms"][form].as_u64() > Some(0), "{more}: {}", shown["forms"]);
        assert_eq!(shown["header"]["ss_network_module"], module, "{more}");
        let found: Value = serde_json::from_str(shown["header"]["ss_network_args"].as_str().unwrap()).unwrap();
        assert_eq!(found, args, "{more}");
        assert!(shown["unknown"].as_array().unwrap().is_empty() && shown["changes"].as_array().unwrap().is_empty());
        if more.contains("pissa") {
            // The file is what was learned since the start, in twice the rank.
            assert_eq!(
                (&shown["rank"], &shown["header"]["ss_network_dim"]),
                (&json!(8), &json!("8"))
            );
        }
        // Every module has moved: nothing is left at zero that was to be trained.
        let file = assent::adapter::read(&studio.at(&format!("{run}/adapter.safetensors"))).unwrap();
        for module in &file.modules {
            let still = module
                .form
                .parts()
                .into_iter()
                .find(|(_, w)| w.values.iter().all(|v| *v == 0.0));
            assert!(
                still.is_none(),
                "{more}: `{}` {:?}",
                module.path,
                still.map(|(name, _)| name)
            );
        }
        if more.contains("dropout") {
            studio.ok(&["train", "kind.toml", "--out", &again, "-q"]);
            let bytes = |run: &str| fs::read(studio.at(run).join("adapter.safetensors")).unwrap();
            assert!(bytes(&run) == bytes(&again), "{more}");
        }
    }
    let draw = [
        "generate", "--base", "base", "--prompt", "rings", "--steps", "1", "--merge",
    ];
    let adapters = [
        "--adapter",
        "run3/adapter.safetensors:0.5",
        "--adapter",
        "run5/adapter.safetensors",
    ];
    studio.ok(&[&draw[..], &adapters, &["-o", "merged.png"]].concat());
}

#[test]
fn no_update_is_longer_than_scale_weight_norms() {
    let studio = Studio::new();
    const MOST: f64 = 0.002;
    for (i, more) in ["", "network_type = \"loha\"\nconv_dim = 2", "network_type = \"lokr\""]
        .into_iter()
        .enumerate()
    {
        configure(&studio, &format!("{more}\nscale_weight_norms = {MOST}"));
        let run = format!("run{i}");
        studio.ok(&["train", "kind.toml", "--out", &run, "-q"]);
        let file = assent::adapter::read(&studio.at(&format!("{run}/adapter.safetensors"))).unwrap();
        let norms: Vec<f64> = file
            .modules
            .iter()
            .map(|m| assent::adapter::energy(m).unwrap().unwrap().sqrt())
            .collect();
        let longest = norms.iter().copied().fold(0.0, f64::max);
        // But for rounding to the file.
        assert!(longest <= MOST * 1.001, "{more}: {longest}");
        assert_eq!(file.header["ss_scale_weight_norms"], MOST.to_string(), "{more}");
        let metrics = fs::read_to_string(studio.at(&run).join("metrics.jsonl")).unwrap();
        let told: Vec<Value> = metrics
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|line: &Value| line["event"] == "max_norm")
            .collect();
        assert_eq!(told.len(), 3, "{more}");
        let last = &told[2];
        assert!(last["keys_scaled"].as_u64() > Some(0), "{more}: {last}");
        assert!(last["max_key_norm"].as_f64().unwrap() <= MOST, "{more}: {last}");
        let mean = norms.iter().sum::<f64>() / norms.len() as f64;
        let told = last["average_key_norm"].as_f64().unwrap();
        assert!(
            (mean - told).abs() <= 0.001 * told,
            "{more}: {mean} in the file, {told} told"
        );
    }
    for (more, expected) in [
        ("dora_wd = true", "scale_weight_norms: dora_wd says"),
        (
            "init_lora_weights = \"pissa\"",
            "scale_weight_norms: init_lora_weights makes",
        ),
        ("ema_decay = 0.9", "scale_weight_norms: it holds"),
    ] {
        configure(&studio, &format!("{more}\nscale_weight_norms = 1"));
        let output = studio.run(&["train", "kind.toml", "--out", "refused"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && told.contains(expected), "{more}: {told}");
    }
}

#[test]
fn patterns_choose_what_is_trained_and_the_count_is_asserted() {
    let studio = Studio::new();
    let patterns = "target_modules = [\"*.attn2.to_k\", \"*.attn2.to_v\"]\nexclude_modules = [\"mid_block.*\"]\n\
                    rank_pattern = { \"up_blocks.*\" = 2 }\nlr_pattern = { \"up_blocks.*\" = 0.5 }";
    configure(&studio, patterns);
    let output = studio.run(&["train", "kind.toml", "--out", "run"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let shown = inspect(&studio, "run");
    let modules = shown["modules"].as_u64().unwrap();
    assert!(modules > 0 && told.contains(&format!("{modules} modules, ")), "{told}");
    let file = assent::adapter::read(&studio.at("run/adapter.safetensors")).unwrap();
    for module in &file.modules {
        assert!(module.path.contains(".attn2.to_") && !module.path.starts_with("mid_block"));
        assert_eq!(module.rank(), if module.path.starts_with("up_blocks") { 2 } else { 4 });
    }
    for (more, expected) in [
        (
            format!("{patterns}\ntarget_count = {}", modules + 1),
            format!("expected {} modules", modules + 1),
        ),
        (
            "exclude_modules = [\"*.attn3.*\"]".to_owned(),
            "fits no layer".to_owned(),
        ),
        ("network_type = \"oft\"".to_owned(), "unknown variant `oft`".to_owned()),
        ("factor = 4".to_owned(), "only `lokr` has factors".to_owned()),
    ] {
        configure(&studio, &more);
        let output = studio.run(&["train", "kind.toml", "--out", "refused", "-q"]);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{more}: {told}");
        assert!(told.contains(&expected), "{more}: {told}");
        assert!(!studio.at("refused/adapter.safetensors").exists());
    }
}

#[test]
fn beside_a_base_in_int8_every_kind_trains_and_replays() {
    let studio = Studio::new();
    let losses = |run: &str| -> Vec<f64> {
        let lines = fs::read_to_string(studio.at(run).join("metrics.jsonl")).unwrap();
        let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter_map(|event| event["loss"].as_f64()).collect()
    };
    let planned = |precision: &str| -> u64 {
        configure(&studio, &format!("base_precision = \"{precision}\""));
        let plan = studio.ok(&["--json", "train", "kind.toml", "--out", "run", "--dry-run"]);
        let plan: Value = serde_json::from_str(plan.trim()).unwrap();
        plan["memory"]["base"].as_u64().unwrap()
    };
    assert!(planned("int8") < planned("float"));
    let mut floats = Vec::new();
    for (i, more) in [
        "train_text_encoder = true",
        "dora_wd = true\ngradient_checkpointing = true",
        "network_type = \"loha\"",
        "network_type = \"locon\"\nconv_dim = 2",
    ]
    .into_iter()
    .enumerate()
    {
        let [float, int8] = ["float", "int8"].map(|precision| {
            configure(&studio, &format!("{more}\nbase_precision = \"{precision}\""));
            let run = format!("{precision}{i}");
            studio.ok(&["train", "kind.toml", "--out", &run, "-q"]);
            losses(&run)
        });
        // Near the run beside the base in f32, and another run.
        assert!(float.len() == int8.len() && float != int8, "{more}");
        for (float, int8) in float.iter().zip(&int8) {
            assert!((float - int8).abs() < 1e-2 * float, "{more}: {float} and {int8}");
        }
        floats.extend(float);
    }
    assert!(floats.len() > 12);
    let record: Value = serde_json::from_slice(&studio.bytes("int80", "run.json")).unwrap();
    assert!(record.to_string().contains("\"base_precision\":\"int8\""), "{record}");
    // It repeats itself to the digest.
    studio.ok(&["-q", "train", "--replay", "int81"]);

    configure(&studio, "base_precision = \"int8\"\ninit_lora_weights = \"olora\"");
    let output = studio.run(&["train", "kind.toml", "--out", "refused", "-q"]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("would be rounded to int8 a second time"), "{told}");
}

#[test]
fn text_encoders_train_too_one_or_two() {
    let studio = Studio::new();
    tiny_xl_base(&studio.at("xl"));
    for (base, encoders) in [
        ("base", &["text_encoder."][..]),
        ("xl", &["text_encoder.", "text_encoder_2."]),
    ] {
        configure(
            &studio,
            "train_text_encoder = true\ntext_encoder_lr = 5e-4\nrank_pattern = { \"text_encoder*\" = 2 }",
        );
        let text = fs::read_to_string(studio.at("kind.toml")).unwrap();
        fs::write(studio.at("kind.toml"), text.replace("\"base\"", &format!("\"{base}\""))).unwrap();
        let (run, again) = (format!("run-{base}"), format!("again-{base}"));
        studio.ok(&["train", "kind.toml", "--out", &run, "-q"]);
        studio.ok(&["train", "kind.toml", "--out", &again, "-q"]);
        let bytes = |run: &str| fs::read(studio.at(run).join("adapter.safetensors")).unwrap();
        assert!(bytes(&run) == bytes(&again), "{base}");
        assert_eq!(inspect(&studio, &run)["header"]["ss_text_encoder_lr"], "0.0005");
        let file = assent::adapter::read(&studio.at(&run).join("adapter.safetensors")).unwrap();
        for encoder in encoders {
            let of: Vec<_> = file.modules.iter().filter(|m| m.path.starts_with(encoder)).collect();
            assert!(
                !of.is_empty() && of.len() % 6 == 0,
                "{base}: {} modules of {encoder}",
                of.len()
            );
            assert!(of.iter().all(|m| m.rank() == 2));
            let moved = |m: &assent::adapter::Module| {
                let mut parts = m.form.parts().into_iter();
                parts.all(|(_, w)| w.values.iter().any(|v| *v != 0.0))
            };
            // SDXL leaves out the last layer of the first encoder: nothing reaches it.
            let last = of
                .iter()
                .map(|m| m.path.split('.').nth(4).unwrap_or("0").parse::<u32>().unwrap())
                .max();
            for module in &of {
                let unused = base == "xl"
                    && *encoder == "text_encoder."
                    && module.path.contains(&format!(".layers.{}.", last.unwrap()));
                assert_eq!(moved(module), !unused, "{base}: `{}`", module.path);
            }
        }
        let adapter = format!("{run}/adapter.safetensors");
        let picture = format!("{base}.png");
        let words = [
            "--adapter",
            &adapter,
            "--prompt",
            "rings",
            "--steps",
            "1",
            "-o",
            &picture,
        ];
        studio.ok(&[&["generate", "--base", base], &words[..]].concat());
    }
}
