use std::collections::BTreeSet;

use super::*;

fn translated(text: &str) -> Translation {
    Translation::of(Source::read(text.as_bytes()).unwrap(), Some("mine"))
}

fn names(translation: &Translation, group: Group) -> Vec<&str> {
    translation.group(group).map(|note| note.name.as_str()).collect()
}

#[test]
fn rows_write_keys_of_the_list_and_no_name_has_two() {
    for key in row::written().filter(|key| !key.is_empty()) {
        assert!(keys::ALL.contains(&key), "{key}");
    }
    for table in [sd_scripts::TABLE, one_trainer::TABLE] {
        let mut seen = BTreeSet::new();
        for (name, ..) in table {
            assert!(seen.insert(name), "{name}");
        }
    }
}

/// Lines of sd-scripts' TOML, and what is written of them, or the group that they are in.
#[test]
fn options_of_sd_scripts() {
    for (line, key, value) in [
        ("unet_lr = 1e-4", "learning_rate", "0.0001"),
        ("unet_lr = 1e-4\nlearning_rate = 5e-5", "text_encoder_lr", "0.00005"),
        ("text_encoder_lr = [1e-5, 1e-5]", "text_encoder_lr", "0.00001"),
        ("network_train_unet_only = true", "train_text_encoder", "false"),
        ("seed = 3", "train_text_encoder", "true"),
        ("seed = 3", "lr_scheduler", "\"constant\""),
        ("seed = 3", "network_dim", "4"),
        ("seed = 3", "max_train_steps", "1600"),
        ("resolution = \"768,768\"", "resolution", "768"),
        ("resolution = [512, 640]", "resolution", "\"512,640\""),
        ("enable_bucket = true", "enable_bucket", "true"),
        ("enable_bucket = true\nmin_bucket_reso = 320", "min_bucket_reso", "320"),
        ("flip_aug = true", "flip_aug", "true"),
        ("flip_aug = true", "flip_aug_keeps_sides", "false"),
        ("cache_latents_to_disk = true", "cache_latents_to_disk", "true"),
        ("[a]\nnetwork_args = [\"conv_dim=4\"]", "conv_alpha", "1.0"),
        (
            "network_module = \"lycoris.kohya\"\nnetwork_dim = 8\nnetwork_args = [\"algo=loha\"]",
            "conv_dim",
            "8",
        ),
        (
            "network_module = \"lycoris.kohya\"\nnetwork_args = [\"algo=lokr\", \"factor=8\"]",
            "factor",
            "8",
        ),
        ("optimizer_type = \"pagedadamw8bit\"", "optimizer_type", "\"AdamW8bit\""),
        ("use_8bit_adam = true", "optimizer_type", "\"AdamW8bit\""),
        (
            "optimizer_type = \"Prodigy\"\noptimizer_args = [\"decouple=True\", \"d_coef=2\"]",
            "optimizer_args",
            "[\"d_coef=2\", \"decouple=True\"]",
        ),
        ("gradient_checkpointing = true", "gradient_checkpointing", "true"),
        ("save_precision = \"fp16\"", "save_precision", "\"fp16\""),
        (
            "logging_dir = \"logs\"\nlog_with = \"all\"",
            "log_with",
            "\"tensorboard\"",
        ),
        ("logging_dir = \"logs\"\nlog_prefix = \"a\"", "log_prefix", "\"a\""),
        ("enable_bucket = false", "fit", "\"crop_centre\""),
    ] {
        let translation = translated(line);
        let found = translation.get(key).map(toml::Value::to_string);
        assert_eq!(found.as_deref(), Some(value), "{line}");
    }
}

#[test]
fn groups_of_sd_scripts() {
    for (line, group, name) in [
        ("xformers = true", Group::NoEffect, "xformers"),
        ("flip_aug = false", Group::NoEffect, "flip_aug"),
        ("min_bucket_reso = 320", Group::NoEffect, "min_bucket_reso"),
        (
            "cache_latents_to_disk = true\nrandom_crop = true",
            Group::NoEffect,
            "cache_latents_to_disk",
        ),
        ("huber_c = 0.2", Group::NoEffect, "huber_c"),
        ("keep_tokens = 2", Group::NoEffect, "keep_tokens"),
        ("color_aug = true", Group::NotOffered, "color_aug"),
        ("optimizer_type = \"DAdaptAdam\"", Group::NotOffered, "optimizer_type"),
        (
            "network_args = [\"colour=red\"]",
            Group::NotOffered,
            "network_args.colour",
        ),
        ("whatever = 1", Group::NotOffered, "whatever"),
        ("log_with = \"tensorboard\"", Group::NoEffect, "log_with"),
        (
            "logging_dir = \"l\"\nlog_with = \"wandb\"",
            Group::NotOffered,
            "log_with",
        ),
        ("max_train_epochs = 10", Group::NeedsAnswer, "max_train_epochs"),
        ("train_data_dir = \"/a\"", Group::NeedsAnswer, "train_data_dir"),
        (
            "optimizer_type = \"AdaFactor\"\nlearning_rate = 1",
            Group::NoEffect,
            "learning_rate",
        ),
    ] {
        assert!(names(&translated(line), group).contains(&name), "{line}");
    }
}

#[test]
fn datasets_count_before_the_configuration_and_must_agree() {
    let source = |datasets: &str| {
        let source = Source::read(b"resolution = 512\ntrain_batch_size = 1").unwrap();
        Translation::of(source.with_datasets(datasets.as_bytes()).unwrap(), None)
    };
    let same = source(
        "[general]\nshuffle_caption = true\n[[datasets]]\nresolution = 768\nbatch_size = 4\n[[datasets.subsets]]\nimage_dir = \
         'a'\nnum_repeats = 2\n[[datasets.subsets]]\nimage_dir = 'b'\nnum_repeats = 2\n",
    );
    assert_eq!(same.get("resolution"), Some(&toml::Value::Integer(768)));
    assert_eq!(same.get("train_batch_size"), Some(&toml::Value::Integer(4)));
    assert_eq!(same.get("num_repeats"), Some(&toml::Value::Integer(2)));
    assert_eq!(same.get("shuffle_caption"), Some(&toml::Value::Boolean(true)));
    assert!(names(&same, Group::NoEffect).contains(&"resolution"));
    let folders = same.notes.iter().find(|note| note.name == "image_dir").unwrap();
    assert_eq!(folders.value, "\"a\" and \"b\"");
    let other = source(
        "[[datasets]]\nresolution = 512\n[[datasets.subsets]]\n[[datasets]]\nresolution = 768\n[[datasets.subsets]]\n",
    );
    assert!(names(&other, Group::NotOffered).contains(&"resolution"));
    for wrong in ["datasets = 3", "[[datasets]]\nsubsets = [1]", "a = "] {
        assert!(
            Source::read(b"").unwrap().with_datasets(wrong.as_bytes()).is_err(),
            "{wrong}"
        );
    }
}

#[test]
fn subsets_that_differ_are_sets() {
    let translate = |more: &str, datasets: &str| {
        let source = Source::read(more.as_bytes()).unwrap();
        Translation::of(source.with_datasets(datasets.as_bytes()).unwrap(), Some("boats"))
    };
    let two = translate(
        "prior_loss_weight = 0.5",
        "[general]\nshuffle_caption = true\nkeep_tokens = 1\n[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\n\
         num_repeats = 10\n[[datasets.subsets]]\nimage_dir = 'b\\n'\nis_reg = true\nkeep_tokens = 0\n[[datasets]]\n\
         [[datasets.subsets]]\nnum_repeats = 2\n",
    );
    assert_eq!(two.get("snapshot"), None);
    assert_eq!(two.get("shuffle_caption"), Some(&toml::Value::Boolean(true)));
    assert_eq!(two.get("keep_tokens"), None);
    assert_eq!(two.get("prior_loss_weight"), Some(&toml::Value::Float(0.5)));
    assert_eq!(names(&two, Group::NotOffered), [""; 0]);
    let text = two.text();
    let end = text.split_once("\n[[datasets]]").unwrap().1;
    assert_eq!(
        end,
        "\n\n# from image_dir = \"a\"\n[[datasets.subsets]]\nsnapshot = \"boats\"\nkeep_tokens = 1\nnum_repeats = 10\n\n\
         # from image_dir = \"b\\\\n\"\n[[datasets.subsets]]\nsnapshot = \"regularization-set\"\nis_reg = true\n\n\
         [[datasets]]\n\n# from a subset without a folder\n[[datasets.subsets]]\nsnapshot = \"training-set-2\"\n\
         keep_tokens = 1\nnum_repeats = 2\n"
    );
    // What is of use in one set only stands there, and what one set rules out for all is left out.
    let drawn = translate(
        "cache_latents_to_disk = true\nkeep_tokens = 2\nmasked_loss = true",
        "[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'\nflip_aug = true\nshuffle_caption = true\n\
         [[datasets.subsets]]\nimage_dir = 'b'\nrandom_crop = true\nalpha_mask = true\nconditioning_data_dir = 'm'\n\
         flip_aug = false\n",
    );
    for key in [
        "flip_aug",
        "flip_aug_keeps_sides",
        "random_crop",
        "keep_tokens",
        "cache_latents_to_disk",
    ] {
        assert_eq!(drawn.get(key), None, "{key}");
    }
    assert_eq!(names(&drawn, Group::NotOffered), [""; 0]);
    assert!(names(&drawn, Group::NoEffect).contains(&"cache_latents_to_disk"));
    let text = drawn.text();
    let end = text.split_once("\n[[datasets]]").unwrap().1;
    assert_eq!(
        end,
        "\n\n# from image_dir = \"a\"\n[[datasets.subsets]]\nsnapshot = \"boats\"\nflip_aug = true\n\
         shuffle_caption = true\nflip_aug_keeps_sides = false\nkeep_tokens = 2\n\n\
         # from image_dir = \"b\"\n[[datasets.subsets]]\nsnapshot = \"training-set-2\"\nalpha_mask = true\n\
         random_crop = true\n"
    );
    let alone = translate(
        "prior_loss_weight = 0.5",
        "[[datasets]]\n[[datasets.subsets]]\nis_reg = false\n",
    );
    assert!(alone.sets.is_empty());
    for name in ["is_reg", "prior_loss_weight"] {
        assert!(names(&alone, Group::NoEffect).contains(&name), "{name}");
    }
    let folders = translated("reg_data_dir = \"r\"\nprior_loss_weight = 0.5");
    for name in ["reg_data_dir", "prior_loss_weight"] {
        assert!(names(&folders, Group::NeedsAnswer).contains(&name), "{name}");
    }
}

#[test]
fn fields_of_kohya_ss() {
    let gui = |more: &str| translated(&format!("{{\"LoRA_type\": \"Standard\", {more}}}"));
    for (more, key, value) in [
        (r#""lr_warmup": 10, "lr_scheduler": "cosine""#, "lr_warmup_steps", "0.1"),
        (r#""max_resolution": "512,512""#, "resolution", "512"),
        (r#""optimizer": "Lion""#, "optimizer_type", "\"Lion\""),
        (
            r#""text_encoder_lr": 0, "unet_lr": 1e-4"#,
            "train_text_encoder",
            "false",
        ),
        (r#""text_encoder_lr": 0, "unet_lr": 0"#, "train_text_encoder", "true"),
        (r#""epoch": 3, "max_train_steps": "900""#, "max_train_steps", "900"),
        (
            r#""optimizer": "Prodigy", "optimizer_args": "\"d_coef=2.0\" decouple=True""#,
            "optimizer_args",
            "[\"d_coef=2.0\", \"decouple=True\"]",
        ),
        (
            r#""noise_offset_type": "Original", "noise_offset": 0.05"#,
            "noise_offset",
            "0.05",
        ),
    ] {
        assert_eq!(
            gui(more).get(key).map(toml::Value::to_string).as_deref(),
            Some(value),
            "{more}"
        );
    }
    for (more, group, name) in [
        (r#""conv_dim": 4"#, Group::NoEffect, "conv_dim"),
        (r#""epoch": 3, "max_train_steps": """#, Group::NeedsAnswer, "epoch"),
        (
            r#""noise_offset_type": "Multires", "noise_offset": 0.05"#,
            Group::NoEffect,
            "noise_offset",
        ),
        (
            r#""additional_parameters": "--x 1""#,
            Group::NeedsAnswer,
            "additional_parameters",
        ),
        (r#""gpu_ids": "0""#, Group::NoEffect, "gpu_ids"),
    ] {
        assert!(names(&gui(more), group).contains(&name), "{more}");
    }
    let lokr =
        translated(r#"{"LoRA_type": "LyCORIS/LoKr", "factor": 6, "conv_dim": 4, "conv_alpha": 1, "constrain": 0.0}"#);
    assert_eq!(lokr.get("factor"), Some(&toml::Value::Integer(6)));
    assert_eq!(lokr.get("conv_dim"), Some(&toml::Value::Integer(4)));
}

#[test]
fn settings_of_one_trainer() {
    let with = |more: &str| translated(&format!("{{\"training_method\": \"LORA\", {more}}}"));
    for (more, key, value) in [
        (r#""unet": {"learning_rate": 2e-4}"#, "learning_rate", "0.0002"),
        (r#""lora_rank": 32"#, "network_dim", "32"),
        (r#""epochs": 5"#, "network_dim", "16"),
        (r#""resolution": "768""#, "max_bucket_reso", "1536"),
        (
            r#""concepts": [{"image": {"enable_random_flip": true}}]"#,
            "flip_aug",
            "true",
        ),
        (
            r#""learning_rate_warmup_steps": 10"#,
            "lr_scheduler",
            "\"constant_with_warmup\"",
        ),
        (r#""epochs": 5"#, "lr_warmup_steps", "200.0"),
        (r#""text_encoder": {"train": false}"#, "train_text_encoder", "false"),
        (r#""unet": {"weight_dtype": "INT_8"}"#, "base_precision", "\"int8\""),
        (
            r#""output_model_destination": "m/lora.safetensors""#,
            "output_name",
            "\"lora\"",
        ),
        (r#""loss_weight_fn": "MIN_SNR_GAMMA""#, "min_snr_gamma", "5.0"),
        (r#""gradient_checkpointing": "ON""#, "gradient_checkpointing", "true"),
        (
            r#""gradient_checkpointing": "CPU_OFFLOADED""#,
            "gradient_checkpointing",
            "true",
        ),
        // Before it was a word.
        (r#""gradient_checkpointing": true"#, "gradient_checkpointing", "true"),
        (r#""mse_strength": 0.0, "mae_strength": 1.0"#, "loss_type", "\"l1\""),
        (r#""min_noising_strength": 0.2"#, "min_timestep", "200"),
        (
            r#""timestep_distribution": "LOGIT_NORMAL", "noising_weight": 0.5"#,
            "sigmoid_scale",
            "1.5",
        ),
        (
            r#""optimizer": {"optimizer": "ADAFACTOR"}"#,
            "optimizer_args",
            "[\"scale_parameter=False\", \"relative_step=False\", \"warmup_init=False\"]",
        ),
        (
            r#""optimizer": {"optimizer": "ADAMW", "beta1": 0.8}"#,
            "optimizer_args",
            "[\"betas=0.8,0.999\"]",
        ),
    ] {
        assert_eq!(
            with(more).get(key).map(toml::Value::to_string).as_deref(),
            Some(value),
            "{more}"
        );
    }
    for (more, group, name) in [
        (
            r#""learning_rate_scheduler": "REX""#,
            Group::NotOffered,
            "learning_rate_scheduler",
        ),
        (r#""model_type": "FLUX_DEV_1""#, Group::NotOffered, "model_type"),
        (r#""epochs": 5"#, Group::NotOffered, "text_encoder.stop_training_after"),
        (
            r#""concepts": [{"path": "/a"}, {"path": "/b"}]"#,
            Group::NeedsAnswer,
            "concepts.path",
        ),
        (r#""epochs": 5"#, Group::NeedsAnswer, "epochs"),
        (r#""train_device": "cuda""#, Group::NoEffect, "train_device"),
        (
            r#""unet": {"weight_dtype": "BFLOAT_16"}"#,
            Group::NoEffect,
            "unet.weight_dtype",
        ),
        (
            r#""gradient_checkpointing": "OFF""#,
            Group::NoEffect,
            "gradient_checkpointing",
        ),
        (r#""epochs": 5"#, Group::NotOffered, "aspect_ratio_bucketing"),
        (r#""newest_option": 1"#, Group::NotOffered, "newest_option"),
    ] {
        assert!(names(&with(more), group).contains(&name), "{more}");
    }
}

#[test]
fn secrets_and_control_characters_are_not_shown() {
    let text = "huggingface_token = \"hf_xyz\"\nwandb_api_key = \"k123\"\ntrain_data_dir = \"a\\u001b[31m\\n\\u202eb\"";
    let translation = translated(text);
    for note in &translation.notes {
        assert!(
            !note.value.contains("hf_xyz") && !note.value.contains("k123"),
            "{note:?}"
        );
        assert!(
            !note.value.chars().any(|c| c.is_control() || c == '\u{202e}'),
            "{note:?}"
        );
    }
}

#[test]
fn what_is_too_large_or_no_settings_is_refused() {
    let deep = format!("{{\"training_method\": {}1{}}}", "{\"a\":".repeat(40), "}".repeat(40));
    let many = (0..=10_000).map(|i| format!("k{i} = 1\n")).collect::<String>();
    for (text, word) in [
        (deep, "levels of nesting"),
        (many, "values"),
        (" ".repeat(MOST_BYTES + 1), "bytes"),
        ("{\"a\": 1}".to_owned(), "LoRA_type"),
        ("{".to_owned(), "JSON"),
        ("= 1".to_owned(), "TOML"),
    ] {
        let error = Source::read(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(Source::read(b"\xff").is_err());
}
