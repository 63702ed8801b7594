//! What a configuration may say.

use super::*;

const LEAST: &str = "pretrained_model_name_or_path = \"b\"\nsnapshot = \"s\"\nresolution = 64\nnetwork_dim = 4\n\
                         network_alpha = 4\nlearning_rate = 1e-4\nmax_train_steps = 10\n";

#[test]
fn refuses_what_it_does_not_know_and_what_is_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    for (more, wrong) in [
        ("", None),
        ("learnin_rate = 1\n", Some("did you mean `learning_rate`?")),
        ("colour = 1\n", Some("line 8: unknown key `colour`")),
        ("learning_rate = 1\n", Some("duplicate key")),
        ("seed = \"x\"\n", Some("line 8")),
        ("validation_split = 1.0\n", Some("validation_split")),
        ("caption_dropout_rate = -0.1\n", Some("caption_dropout_rate")),
        ("optimizer_type = \"lion\"\n", None),
        ("optimizer_type = \"Tiger\"\n", Some("expected one of AdamW, AdamW8bit")),
        ("optimizer_args = [\"betas=0.9,0.99\", \"weight_decay=0\"]\n", None),
        ("optimizer_args = { betas = [0.9, 0.99], eps = 1e-6 }\n", None),
        (
            "optimizer_args = [\"betas=0.9,1\"]\n",
            Some("betas: expected 0 to below 1"),
        ),
        ("optimizer_args = [\"betas=0.9\"]\n", Some("array of length 2")),
        ("optimizer_args = [\"amsgrad=True\"]\n", Some("amsgrad")),
        ("optimizer_args = [\"eps\"]\n", Some("expected `name=value`")),
        (
            "weight_decay = 0.1\noptimizer_args = [\"weight_decay=0.1\"]\n",
            Some("twice"),
        ),
        ("optimizer_type = \"Adafactor\"\n", Some("relative_step=False")),
        (
            "optimizer_type = \"AdaFactor\"\noptimizer_args = [\"relative_step=False\"]\n",
            None,
        ),
        (
            "optimizer_type = \"Prodigy\"\noptimizer_args = [\"decouple=True\", \"d_coef=2\"]\n",
            None,
        ),
        (
            "optimizer_type = \"AdamWScheduleFree\"\nlr_scheduler = \"cosine\"\n",
            Some("leave lr_scheduler out"),
        ),
        (
            "optimizer_type = \"AdamWScheduleFree\"\nema_decay = 0.9\n",
            Some("average already"),
        ),
        (
            "lr_scheduler = \"constant\"\nlr_warmup_steps = 5\n",
            Some("constant_with_warmup"),
        ),
        ("lr_scheduler = \"rex\"\nlr_warmup_steps = 0.05\n", None),
        ("lr_warmup_steps = 1.5\n", Some("whole number")),
        ("lr_scheduler_power = 2.0\n", Some("polynomial")),
        ("lr_scheduler_num_cycles = 3\n", Some("cosine_with_restarts")),
        ("max_grad_norm = -1\n", Some("max_grad_norm")),
        (
            "min_snr_gamma = 5\ndebiased_estimation_loss = true\n",
            Some("leave one of them out"),
        ),
        ("p2_gamma = 1\nmin_snr_gamma = 5\n", Some("min_snr_gamma and p2_gamma")),
        ("p2_k = 1.0\n", Some("set p2_gamma")),
        ("huber_c = 0.2\n", Some("loss_type")),
        (
            "loss_type = \"huber\"\nhuber_c = 0.2\nhuber_schedule = \"exponential\"\n",
            None,
        ),
        ("loss_type = \"huber\"\nhuber_scale = 2.0\n", Some("huber_schedule")),
        ("loss_type = \"l3\"\n", Some("line 8")),
        ("adaptive_noise_scale = 0.1\n", Some("set noise_offset")),
        (
            "noise_offset = 0.05\nadaptive_noise_scale = -0.1\nnoise_offset_random_strength = true\n",
            None,
        ),
        ("noise_offset = -1.0\n", Some("noise_offset")),
        ("multires_noise_discount = 0.4\n", Some("multires_noise_iterations")),
        ("multires_noise_iterations = 64\n", Some("0 to 32")),
        ("sigmoid_scale = 2\n", Some("timestep_sampling")),
        (
            "v_parameterization = true\nprediction_type = \"epsilon\"\n",
            Some("something else"),
        ),
        ("masked_loss = true\n", Some("conditioning_data_dir")),
        (
            "enable_bucket = true\n",
            Some("min_bucket_reso: expected at most the resolution, 64"),
        ),
        (
            "enable_bucket = true\nmin_bucket_reso = 32\nbucket_reso_steps = 16\nflip_aug = true\n",
            None,
        ),
        ("bucket_no_upscale = true\n", Some("set enable_bucket")),
        (
            "enable_bucket = true\nbucket_no_upscale = true\nfit = \"pad_white\"\n",
            Some("leave pad_white out"),
        ),
        ("flip_aug_keeps_sides = false\n", Some("set flip_aug")),
        ("num_repeats = 0\n", Some("num_repeats: expected 1 to")),
        ("keep_tokens = 1\n", Some("set shuffle_caption")),
        ("caption_trigger = true\n", Some("set trigger_phrase")),
        ("caption_templates = [\"a\"]\n", Some("where the caption is to stand")),
        ("token_warmup_step = 2.5\n", Some("a share of all")),
        (
            "random_crop = true\ncache_latents_to_disk = true\n",
            Some("encoded anew"),
        ),
        (
            "shuffle_caption = true\ncache_text_encoder_outputs_to_disk = true\n",
            Some("drawn anew"),
        ),
        ("cache_dir = \"c\"\n", Some("set cache_latents_to_disk")),
        ("conditioning_data_dir = \"m\"\n", Some("masked_loss = true")),
        ("masked_loss = true\nconditioning_data_dir = \"m\"\n", None),
        ("ema_decay = 1.0\n", Some("ema_decay")),
        ("early_stopping_patience = 2\n", Some("set validation_split")),
        (
            "logging_dir = \"logs\"\nlog_with = \"tensorboard\"\nlog_prefix = \"a\"\n",
            None,
        ),
        ("log_with = \"tensorboard\"\n", Some("set logging_dir")),
        ("log_prefix = \"a\"\n", Some("set logging_dir")),
        ("logging_dir = \"logs\"\nlog_with = \"wandb\"\n", Some("wandb")),
        (
            "logging_dir = \"logs\"\nlog_prefix = \"../a\"\n",
            Some("beginning of a name"),
        ),
        ("save_last_weights = true\n", Some("ema_decay")),
        ("save_last_weights = true\nema_decay = 0.9\n", None),
        ("prior_loss_weight = 0.5\n", Some("set is_reg = true")),
        ("prior_loss_weight = -1.0\n", Some("prior_loss_weight")),
        ("shards = 4\n", None),
        ("shards = 4\nshard_weight = 0.5\n", None),
        ("shards = 1\n", Some("expected 2 to 256")),
        ("shards = 257\n", Some("expected 2 to 256")),
        ("shards = 4\nshard_weight = 0.0\n", Some("shard_weight")),
        ("shard_weight = 0.5\n", Some("set shards")),
        ("use = \"commercial\"\n", None),
        ("use = \"fun\"\n", Some("fun")),
    ] {
        std::fs::write(&path, format!("{LEAST}{more}")).unwrap();
        match (AdapterConfig::read(&path), wrong) {
            (Ok((c, _)), None) => assert_eq!(c.run.pretrained_model_name_or_path, folder.path().join("b")),
            (Err(e), Some(word)) => assert!(e.to_string().contains(word), "{e}"),
            (other, _) => panic!("{more}: {other:?}"),
        }
    }
}

#[test]
fn a_resolution_is_one_number_or_two() {
    for (text, sides) in [
        ("512", Some([512, 512])),
        ("\"512\"", Some([512, 512])),
        ("\"768, 512\"", Some([768, 512])),
        ("[768, 512]", Some([768, 512])),
        ("[1, 2, 3]", None),
        ("0", None),
        ("\"a\"", None),
        ("99999", None),
    ] {
        let data: Result<Data, _> = toml::from_str(&format!("resolution = {text}"));
        assert_eq!(data.ok().map(|data| data.resolution.sides()), sides, "{text}");
    }
}

#[test]
fn a_key_belongs_to_one_section() {
    let sections = [
        keys::of::<Run>(),
        keys::of::<Data>(),
        keys::of::<Subset>(),
        keys::of::<Network>(),
        keys::of::<Target>(),
        keys::of::<Optimisation>(),
    ];
    let mut all = sections.concat();
    let count = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), count);
}

#[test]
fn what_does_not_fit_the_base_says_what_would() {
    let base = crate::model::scheduler::ScheduleConfig::default();
    for (more, wrong) in [
        ("", None),
        ("v_parameterization = true\nzero_terminal_snr = true\n", None),
        ("prediction_type = \"sample\"\nzero_terminal_snr = true\n", None),
        ("zero_terminal_snr = true\n", Some("v_parameterization = true")),
        (
            "scale_v_pred_loss_like_noise_pred = true\n",
            Some("v_parameterization = true"),
        ),
        (
            "v_parameterization = true\nv_pred_like_loss = 0.2\n",
            Some("leave it out"),
        ),
        (
            "min_timestep = 500\nmax_timestep = 500\n",
            Some("the first below the second"),
        ),
        ("max_timestep = 1001\n", Some("0 to 1000")),
        ("min_timestep = 200\nmax_timestep = 1000\n", None),
    ] {
        let config = AdapterConfig::parse(&format!("{LEAST}{more}")).unwrap();
        match (config.target.schedule(&base), wrong) {
            (Ok(schedule), None) => assert_eq!(schedule.len(), 1000),
            (Err(e), Some(word)) => assert!(e.contains(word), "{e}"),
            (other, _) => panic!("{more}: {other:?}"),
        }
    }
}

#[test]
fn several_sets_are_told_apart() {
    let least = LEAST.replace("snapshot = \"s\"\n", "prior_loss_weight = 0.5\n");
    let text = format!(
        "{least}[[datasets]]\n[[datasets.subsets]]\nsnapshot = \"r\"\nis_reg = true\n[[datasets.subsets]]\n\
             snapshot = \"s\"\nnum_repeats = 3\n[[datasets.subsets]]\nsnapshot = \"t\"\n[[datasets.subsets]]\n\
             snapshot = \"s\"\n"
    );
    let config = AdapterConfig::parse(&text).unwrap();
    let sets = config.sets();
    assert_eq!(
        sets,
        [
            ("s", Role::Training),
            ("t", Role::Training),
            ("r", Role::Regularization)
        ]
    );
    let told = config.beyond_defaults();
    let place = |at| format!("datasets[0].subsets[{at}]");
    assert_eq!(told[&format!("{}.num_repeats", place(1))], "3");
    let sets: Vec<_> = (0..4).map(|at| told[&format!("{}.set", place(at))].as_str()).collect();
    assert_eq!(sets, ["3", "1", "2", "1"]);
    assert_eq!(told["prior_loss_weight"], "0.5");
}

#[test]
fn options_beyond_the_defaults_are_told() {
    let told = |more: &str| {
        AdapterConfig::parse(&format!("{LEAST}{more}"))
            .unwrap()
            .beyond_defaults()
    };
    assert_eq!(
        told("").into_keys().collect::<Vec<_>>(),
        [
            "learning_rate",
            "max_train_steps",
            "network_alpha",
            "network_dim",
            "resolution"
        ]
    );
    let more = told("loss_type = \"huber\"\nema_decay = 0.99\noptimizer_args = [\"eps=1e-6\"]\n");
    assert_eq!(more["loss_type"], "huber");
    assert_eq!(more["ema_decay"], "0.99");
    assert!(more["optimizer_args"].contains("eps=1e-6"));
}
