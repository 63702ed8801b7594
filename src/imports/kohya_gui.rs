//! kohya_ss saves the fields of its pages: most are sd-scripts' options, some have other names or units, and which count
//! depends on others.

use serde_json::{Value, json};

use super::Group;
use super::draft::{Draft, is_off};

/// Fields under sd-scripts' names.
const RENAMED: &[(&str, &str)] = &[
    ("max_resolution", "resolution"),
    ("optimizer", "optimizer_type"),
    ("lora_network_weights", "network_weights"),
    ("sdxl_no_half_vae", "no_half_vae"),
    ("sdxl_cache_text_encoder_outputs", "cache_text_encoder_outputs"),
    ("noise_offset_random", "noise_offset_random_strength"),
];

/// The kinds of adapters: module, algorithm, and whether convolutions have one.
const TYPES: &[(&str, &str, &str, bool)] = &[
    ("Standard", "networks.lora", "", false),
    ("Kohya LoCon", "networks.lora", "", true),
    ("Kohya LoHa", "networks.loha", "", true),
    ("Kohya LoKr", "networks.lokr", "", true),
    ("LoCon", "lycoris.kohya", "locon", true),
    ("LyCORIS/LoCon", "lycoris.kohya", "locon", true),
    ("LyCORIS/LoHa", "lycoris.kohya", "loha", true),
    ("LyCORIS/LoKr", "lycoris.kohya", "lokr", true),
];

/// Fields that become arguments of the network, and the algorithms that they are for (none: of any).
const ARGUMENTS: &[(&str, &[&str])] = &[
    ("rank_dropout", &[]),
    ("module_dropout", &[]),
    ("loraplus_lr_ratio", &[]),
    ("loraplus_unet_lr_ratio", &[]),
    ("loraplus_text_encoder_lr_ratio", &[]),
    ("block_dims", &["", "locon"]),
    ("block_alphas", &["", "locon"]),
    ("block_lr_zero_threshold", &["", "locon"]),
    ("conv_block_dims", &["", "locon"]),
    ("conv_block_alphas", &["", "locon"]),
    ("down_lr_weight", &["", "locon"]),
    ("mid_lr_weight", &["", "locon"]),
    ("up_lr_weight", &["", "locon"]),
    ("use_tucker", &["locon", "loha", "lokr"]),
    ("use_cp", &["locon", "loha", "lokr"]),
    ("use_scalar", &["locon", "loha", "lokr"]),
    ("rank_dropout_scale", &["locon", "loha", "lokr"]),
    ("bypass_mode", &["locon", "loha", "lokr"]),
    ("dora_wd", &["locon", "loha", "lokr"]),
    ("train_norm", &["locon", "loha", "lokr"]),
    ("factor", &["lokr"]),
    ("decompose_both", &["lokr"]),
    ("constrain", &["oft"]),
    ("rescaled", &["oft"]),
    ("unit", &["dylora"]),
    ("train_on_input", &["ia3"]),
];

/// Fields of the page itself, of other models, and of the launcher.
const OF_THE_PAGE: &[&str] = &[
    "blockwise_fused_optimizers",
    "fused_optimizer_groups",
    "conv_alphas",
    "conv_dims",
    "learning_rate_te",
    "learning_rate_te1",
    "learning_rate_te2",
    "stop_text_encoder_training_pct",
    "ae",
    "apply_t5_attn_mask",
    "clip_g",
    "clip_l",
    "model_list",
    "num_cpu_threads_per_process",
    "num_machines",
    "num_processes",
    "main_process_port",
    "multi_gpu",
    "gpu_ids",
    "extra_accelerate_launch_args",
    "save_as_bool",
    "use_wandb",
    "sdxl",
    "sdxl_checkbox",
    "sd3_checkbox",
    "flux1_checkbox",
    "no_token_padding",
    "weights",
    "lowvram",
    "mem_eff_save",
    "split_mode",
    "train_blocks",
    "t5xxl",
    "noise_offset_type",
    "LyCORIS_preset",
    "LoRA_type",
];

/// Puts the fields under sd-scripts' names.
pub(super) fn as_sd_scripts(draft: &mut Draft) {
    for (theirs, ours) in RENAMED {
        rename(draft, theirs, ours);
    }
    let chosen = draft.word("LoRA_type");
    let known = TYPES.iter().find(|(name, ..)| name.eq_ignore_ascii_case(&chosen));
    let (_, module, algo, convolutions) = known.copied().unwrap_or(("", "networks.lora", "", false));
    if known.is_none() && !chosen.is_empty() {
        draft.note(
            Group::NotOffered,
            "LoRA_type",
            "there is no such adapter: a LoRA stands in its place",
        );
    } else if chosen.is_empty() {
        let why = "left out: another page's settings; adapters are trained here, and no whole models or embeddings";
        draft.note(Group::NotOffered, "LoRA_type", why);
    } else {
        draft.note(Group::NoEffect, "LoRA_type", "read as network_module and its algo");
    }
    draft.all.insert("network_module".to_owned(), vec![json!(module)]);
    if !algo.is_empty() {
        draft.all.insert("network_args.algo".to_owned(), vec![json!(algo)]);
        rename(draft, "LyCORIS_preset", "network_args.preset");
    }
    for name in ["conv_dim", "conv_alpha"] {
        argument(draft, name, convolutions);
    }
    let kind = if algo.is_empty() {
        module.trim_start_matches("networks.")
    } else {
        algo
    };
    let kind = if kind == "lora" { "" } else { kind };
    for (name, of) in ARGUMENTS {
        argument(draft, name, of.is_empty() || of.contains(&kind));
    }
    offset(draft);
    for (name, usual) in [
        ("text_encoder_lr", 0.0),
        ("unet_lr", 0.0),
        ("multires_noise_discount", 0.0),
    ] {
        // An empty field is a number that was not given.
        if draft.get(name).is_some_and(|value| value.as_str() == Some("")) {
            draft.all.insert(name.to_owned(), vec![json!(usual)]);
        }
    }
    let epochs = if draft.on("max_train_epochs") {
        "max_train_epochs"
    } else {
        "epoch"
    };
    if epochs == "epoch" {
        draft.all.remove("max_train_epochs");
    }
    if draft.on("max_train_steps") && epochs == "epoch" {
        if draft.all.contains_key("epoch") {
            draft.note(Group::NoEffect, "epoch", "max_train_steps counts before it");
        }
    } else {
        draft.all.remove("max_train_steps");
        rename(draft, "epoch", "max_train_epochs");
    }
    warmup(draft);
    arguments(draft);
    if draft.on("stop_text_encoder_training") && draft.number("stop_text_encoder_training") != Some(-1.0) {
        draft.note(
            Group::NotOffered,
            "stop_text_encoder_training",
            "text encoders are trained to the end",
        );
    } else if draft.all.contains_key("stop_text_encoder_training") {
        draft.note(
            Group::NoEffect,
            "stop_text_encoder_training",
            "switched off or as usual",
        );
    }
    if draft.on("additional_parameters") {
        draft.note(
            Group::NeedsAnswer,
            "additional_parameters",
            "options on the command line are not read: write each one as an option of its own",
        );
    }
    let page: Vec<String> = draft.all.keys().cloned().collect();
    for name in page
        .iter()
        .filter(|name| !draft.told(name))
        .cloned()
        .collect::<Vec<_>>()
    {
        let of_other_models = ["flux", "sd3_", "t5xxl_", "dynamo_", "single_", "double_"];
        if OF_THE_PAGE.contains(&name.as_str()) || of_other_models.iter().any(|start| name.starts_with(start)) {
            draft.note(
                Group::NoEffect,
                &name,
                "of the page, of other models, or of the launcher",
            );
        } else if name == "additional_parameters" {
            draft.note(Group::NoEffect, &name, "empty");
        }
    }
}

fn rename(draft: &mut Draft, theirs: &str, ours: &str) {
    if let Some(values) = draft.all.remove(theirs) {
        draft.all.insert(ours.to_owned(), values);
        draft.shown.insert(ours.to_owned(), theirs.to_owned());
    }
}

fn argument(draft: &mut Draft, name: &str, counts: bool) {
    if !draft.all.contains_key(name) {
        return;
    }
    if counts {
        rename(draft, name, &format!("network_args.{name}"));
    } else {
        draft.note(Group::NoEffect, name, "of other kinds of adapters");
    }
}

/// `noise_offset_type` says which of the two is on.
fn offset(draft: &mut Draft) {
    let off: &[&str] = match draft.word("noise_offset_type").as_str() {
        "multires" => &["noise_offset", "adaptive_noise_scale", "noise_offset_random_strength"],
        "original" => &["multires_noise_iterations", "multires_noise_discount"],
        _ => &[],
    };
    for name in off
        .iter()
        .filter(|name| draft.all.contains_key(**name))
        .collect::<Vec<_>>()
    {
        draft.note(Group::NoEffect, name, "noise_offset_type chose the other noise");
    }
}

/// The warm-up is a percentage unless steps are given.
fn warmup(draft: &mut Draft) {
    if draft.on("lr_warmup_steps") {
        if draft.all.contains_key("lr_warmup") {
            draft.note(Group::NoEffect, "lr_warmup", "lr_warmup_steps counts before it");
        }
        return;
    }
    draft.all.remove("lr_warmup_steps");
    match draft.number("lr_warmup") {
        Some(percent) if percent > 0.0 && percent < 100.0 => {
            draft.write("lr_warmup_steps", percent / 100.0, &["lr_warmup"]);
        }
        Some(0.0) => draft.note(Group::NoEffect, "lr_warmup", "switched off or as usual"),
        _ if draft.all.contains_key("lr_warmup") && draft.get("lr_warmup").is_none_or(is_off) => {
            draft.note(Group::NoEffect, "lr_warmup", "empty");
        }
        _ => {}
    }
}

/// The optimizer's arguments are one text.
fn arguments(draft: &mut Draft) {
    for list in ["optimizer_args", "lr_scheduler_args"] {
        let Some(Value::String(text)) = draft.get(list) else {
            continue;
        };
        let text = text.replace(['"', '\''], " ");
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        draft.all.remove(list);
        for word in words {
            match word.split_once('=') {
                Some((name, value)) => draft.all.insert(format!("{list}.{name}"), vec![json!(value)]),
                None => draft.all.insert(format!("{list}.{word}"), vec![Value::Null]),
            };
        }
    }
}
