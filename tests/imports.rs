//! Settings of other trainers: what a translation writes is held to the reader of configurations, and no input breaks it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use assent::imports::{Group, Source, Translation, keys, unoffered};
use assent::train::config::AdapterConfig;
use proptest::prelude::*;

const FILES: [&str; 4] = ["lora.toml", "plain.toml", "gui.json", "one-trainer.json"];

fn file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/import.in");
    std::fs::read(folder.join(name)).unwrap()
}

fn is_unknown(key: &str) -> bool {
    let error = AdapterConfig::parse(&format!("{key} = 1\n")).unwrap_err();
    error.contains(&format!("unknown key `{key}`"))
}

#[test]
fn every_key_that_is_written_is_known() {
    for key in keys::ALL {
        assert!(!is_unknown(key), "the reader knows no `{key}`");
    }
    assert!(is_unknown("colour"));
}

#[test]
fn what_is_called_not_offered_is_not_offered() {
    for name in unoffered().filter(|name| name.chars().all(|c| c.is_alphanumeric() || c == '_')) {
        assert!(
            is_unknown(name),
            "`{name}` is an option by now: its row in src/imports should write it"
        );
    }
}

#[test]
fn what_is_written_is_read() {
    for name in FILES {
        let translation = Translation::of(Source::read(&file(name)).unwrap(), Some("boats"));
        let text = translation.text();
        let config = AdapterConfig::parse(&text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
        assert_eq!(config.sources[0].snapshot, "boats");
        for line in &translation.written {
            assert!(text.contains(&format!("\n# {}\n{} = ", line.from, line.key)), "{text}");
        }
    }
}

/// Subsets that differ in every option that they may have for themselves.
#[test]
fn sets_are_read() {
    let datasets = "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\nnum_repeats = 3\nclass_tokens = 'boat'\n\
                    caption_prefix = 'p'\ncaption_suffix = 's'\ncaption_dropout_rate = 0.1\n\
                    caption_dropout_every_n_epochs = 2\ncaption_tag_dropout_rate = 0.1\nshuffle_caption = true\n\
                    keep_tokens = 1\nkeep_tokens_separator = '|'\ncaption_separator = ';'\nsecondary_separator = ';;'\n\
                    enable_wildcard = true\ntoken_warmup_min = 2\ntoken_warmup_step = 5\nalpha_mask = true\n\
                    [[datasets.subsets]]\nimage_dir = 'b'\nis_reg = true\n";
    for (more, masked) in [("", false), ("masked_loss = true", true)] {
        let source = Source::read(format!("prior_loss_weight = 0.5\n{more}").as_bytes()).unwrap();
        let translation = Translation::of(source.with_datasets(datasets.as_bytes()).unwrap(), Some("boats"));
        let text = translation.text();
        let config = AdapterConfig::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let sets: Vec<_> = config
            .sets()
            .into_iter()
            .map(|(name, role)| (name, role.as_str()))
            .collect();
        assert_eq!(sets, [("boats", "training"), ("regularization-set", "regularization")]);
        let (first, second) = (&config.sources[0].options, &config.sources[1].options);
        assert_eq!(
            (first.num_repeats, first.keep_tokens, first.token_warmup_step),
            (3, 1, 5.0)
        );
        assert_eq!(first.caption_separator, ";");
        assert!(first.shuffle_caption && first.alpha_mask && first.enable_wildcard);
        assert_eq!(**second, assent::train::config::Subset::default());
        assert_eq!(config.target.prior_loss_weight, 0.5);
        assert_eq!(config.data.masked_loss, masked);
        assert_eq!(translation.group(Group::NotOffered).count(), 0, "{text}");
    }
}

/// Optimizers of sd-scripts with each of their arguments, schedules, losses and kinds of adapters.
#[test]
fn choices_are_read_too() {
    let optimizers = [
        ("AdamW", "\"betas=0.9,0.99\", \"eps=1e-8\", \"weight_decay=0.1\""),
        ("AdamW8bit", "\"betas=0.9,0.99\", \"min_8bit_size=4096\""),
        (
            "AdamWScheduleFree",
            "\"warmup_steps=10\", \"r=0\", \"weight_lr_power=2\"",
        ),
        (
            "AdaFactor",
            "\"relative_step=False\", \"scale_parameter=False\", \"warmup_init=False\"",
        ),
        (
            "AdaFactor",
            "\"clip_threshold=1.0\", \"decay_rate=-0.8\", \"eps=1e-30,1e-3\", \"beta1=0.9\"",
        ),
        ("Lion", "\"betas=0.9,0.99\", \"weight_decay=0.1\""),
        (
            "Prodigy",
            "\"d_coef=2\", \"d0=1e-6\", \"decouple=True\", \"use_bias_correction=True\", \"beta3=None\"",
        ),
        ("Prodigy", "\"safeguard_warmup=True\", \"growth_rate=2\", \"eps=1e-8\""),
    ];
    let schedules = [
        "constant",
        "constant_with_warmup",
        "linear",
        "cosine",
        "cosine_with_restarts",
        "polynomial",
    ];
    let modules = [
        "network_module = \"networks.lora\"",
        "network_module = \"lycoris.kohya\"\nnetwork_args = [\"algo=loha\", \"use_tucker=True\"]",
        "network_module = \"lycoris.kohya\"\nnetwork_args = [\"algo=lokr\", \"factor=8\", \"decompose_both=True\"]",
        "network_module = \"lycoris.kohya\"\nnetwork_args = [\"algo=locon\", \"dora_wd=True\", \"conv_alpha=1\"]",
        "network_module = \"networks.oft\"\nnetwork_args = [\"factor=8\"]",
    ];
    let objectives = [
        "loss_type = \"huber\"\nhuber_schedule = \"exponential\"\nhuber_c = 0.1\nhuber_scale = 1.5",
        "loss_type = \"smooth_l1\"\nhuber_scale = 1.5",
        "noise_offset = 0\nnoise_offset_random_strength = true\nadaptive_noise_scale = 0.1",
        "multires_noise_iterations = 0\nmultires_noise_discount = 0.2\nip_noise_gamma_random_strength = true",
        "v_parameterization = true\nzero_terminal_snr = true\nscale_v_pred_loss_like_noise_pred = true",
        "masked_loss = true\nalpha_mask = true\nconditioning_data_dir = \"m\"",
    ];
    for (i, (optimizer, arguments)) in optimizers.iter().enumerate() {
        for (j, schedule) in schedules.iter().enumerate() {
            let text = format!(
                "optimizer_type = \"{optimizer}\"\noptimizer_args = [{arguments}]\nlr_scheduler = \"{schedule}\"\n\
                 lr_warmup_steps = 10\nlr_scheduler_num_cycles = 2\nlr_scheduler_power = 2\nlearning_rate = 1e-4\n{}\n{}\n",
                modules[(i + j) % modules.len()],
                objectives[(i * schedules.len() + j) % objectives.len()],
            );
            let written = Translation::of(Source::read(text.as_bytes()).unwrap(), Some("s")).text();
            AdapterConfig::parse(&written).unwrap_or_else(|e| panic!("{e}\n{text}\n{written}"));
        }
    }
}

/// Each option that stands in a file is in a comment or in a note.
#[test]
fn nothing_is_dropped() {
    let names = [
        "kept_a = 1",
        "lr_decay_steps = 10",
        "vae = \"v\"",
        "custom = { a = { b = 3 } }",
    ];
    for name in FILES {
        let bytes = file(name);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let translation = Translation::of(Source::read(&bytes).unwrap(), Some("boats"));
        let said = format!("{}{:?}", translation.text(), translation.notes);
        let keys: Vec<String> = match name.ends_with("json") {
            true => {
                let value: serde_json::Value = serde_json::from_str(&text).unwrap();
                value.as_object().unwrap().keys().cloned().collect()
            }
            false => {
                let lines = text.lines().filter_map(|line| line.split_once(" = "));
                lines.map(|(key, _)| key.to_owned()).collect()
            }
        };
        for key in keys {
            assert!(said.contains(&key), "{name}: {key} in {said}");
        }
    }
    let translation = Translation::of(Source::read(names.join("\n").as_bytes()).unwrap(), None);
    assert_eq!(translation.group(Group::NotOffered).count(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Bytes of real files, some replaced, cut or repeated: an error or a translation that says its keys, never a panic.
    #[test]
    fn no_file_breaks_it(
        which in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 0..12),
        beside in any::<bool>(),
    ) {
        let mut bytes = file(FILES[which]);
        for (at, byte, kind) in changes {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, b"0123456789-.\"[]{}=,e"[usize::from(byte) % 20]),
                2 => bytes.truncate(at + 1),
                _ => bytes.extend_from_within(at..),
            }
        }
        let source = if beside {
            Source::read(&file("lora.toml")).and_then(|source| source.with_datasets(&bytes))
        } else {
            Source::read(&bytes)
        };
        if let Ok(source) = source {
            let text = Translation::of(source, None).text();
            prop_assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
        }
    }

    /// Any value for any option.
    #[test]
    fn no_value_breaks_it(
        key in prop::sample::select(vec![
            "resolution", "network_dim", "unet_lr", "text_encoder_lr", "seed", "lr_warmup", "max_train_steps", "epoch",
            "optimizer_args", "network_args", "sample_prompts", "LoRA_type", "optimizer", "lora_rank", "loss_weight_strength",
            "min_noising_strength", "gradient_accumulation_steps", "learning_rate_warmup_steps", "ema_decay",
        ]),
        value in prop_oneof![
            Just(serde_json::json!(null)),
            any::<bool>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(serde_json::Value::from),
            prop::collection::vec(any::<f64>(), 0..4).prop_map(Into::into),
        ],
        gui in any::<bool>(),
    ) {
        let kind = if gui { "max_resolution" } else { "training_method" };
        let mut object = serde_json::json!({ kind: "LORA", "ema": "CPU" });
        object[key] = value;
        let source = Source::read(object.to_string().as_bytes()).unwrap();
        let text = Translation::of(source, None).text();
        prop_assert!(toml::from_str::<toml::Table>(&text).is_ok(), "{text}");
    }
}
