//! What several of OneTrainer's settings say together.

use serde_json::Value;

use crate::imports::Group;
use crate::imports::draft::{Draft, number};

/// Models that are trained here.
pub(super) fn model_type(draft: &mut Draft, name: &str) {
    let model = draft.word(name);
    let families = [
        "stable_diffusion_15",
        "stable_diffusion_2",
        "stable_diffusion_xl_10_base",
    ];
    let other = ["inpainting", "depth"].iter().any(|kind| model.ends_with(kind));
    match families.iter().any(|family| model.starts_with(family)) && !other {
        true => draft.note(Group::NoEffect, name, "the base says itself what it is"),
        false => draft.note(
            Group::NotOffered,
            name,
            "adapters of Stable Diffusion 1, 2 and XL are trained",
        ),
    }
}

/// The file's name without folder and ending.
pub(super) fn output(draft: &mut Draft, name: &str) {
    let text = draft.get(name).and_then(Value::as_str).unwrap_or_default();
    let file = text.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem).to_owned();
    match stem.is_empty() {
        true => draft.note(Group::NoEffect, name, "empty"),
        false => draft.write("output_name", stem, &[name]),
    }
}

/// `OFF`, `ON`, or `CPU_OFFLOADED`, which keeps what is kept in other memory; `true` in files from before these words.
pub(super) fn recomputes(draft: &mut Draft, name: &str) {
    let is_true = draft.get(name).and_then(Value::as_bool) == Some(true);
    match matches!(draft.word(name).as_str(), "on" | "cpu_offloaded") || is_true {
        true => draft.write("gradient_checkpointing", true, &[name]),
        false => draft.note(Group::NoEffect, name, "switched off or as usual"),
    }
}

/// `INT_8` rounds the base's weights; other types are those of the file, or are computed with alone.
pub(super) fn base_precision(draft: &mut Draft, name: &str) {
    match draft.word(name).as_str() {
        "int_8" => draft.write("base_precision", "int8", &[name]),
        _ => draft.note(Group::NoEffect, name, super::COMPUTED),
    }
}

pub(super) fn of_masks(draft: &mut Draft, name: &str) {
    match draft.on("masked_training") {
        true => draft.note(Group::NotOffered, name, super::MASKS),
        false => draft.note(Group::NoEffect, name, "only beside masked_training"),
    }
}

/// Counts only where the preset is none of the known ones, which then is told.
pub(super) fn filter(draft: &mut Draft, name: &str) {
    let preset = draft.word("layer_filter_preset");
    match draft.on(name) && preset == "custom" {
        true => draft.note(
            Group::NotOffered,
            name,
            "choose layers by target_modules and exclude_modules",
        ),
        false => draft.note(Group::NoEffect, name, "as layer_filter_preset says"),
    }
}

/// Its warm-up is in micro-batches, or up to 1 a share of all updates.
pub(super) fn warmup(draft: &mut Draft, name: &str) {
    let each = draft
        .number("gradient_accumulation_steps")
        .filter(|n| *n >= 1.0)
        .unwrap_or(1.0);
    match draft.number(name) {
        Some(steps) if steps > 1.0 && steps < 1e12 => {
            draft.write("lr_warmup_steps", (steps / each).trunc(), &[name]);
        }
        Some(share) if share > 0.0 && share < 1.0 => draft.write("lr_warmup_steps", share, &[name]),
        Some(0.0) => draft.note(Group::NoEffect, name, "switched off or as usual"),
        _ => draft.note(Group::NotOffered, name, "expected updates, or a share of all below 1"),
    }
}

pub(super) fn ema(draft: &mut Draft, name: &str) {
    let off = matches!(draft.word("ema").as_str(), "" | "off");
    match name {
        _ if off => draft.note(Group::NoEffect, name, "switched off or as usual"),
        "ema" => {
            let decay = draft.number("ema_decay").unwrap_or(0.999);
            draft.write("ema_decay", decay, &["ema", "ema_decay"]);
        }
        "ema_update_step_interval" if draft.number(name) != Some(1.0) => {
            draft.note(Group::NotOffered, name, "the average follows every update");
        }
        "ema_update_step_interval" => draft.note(Group::NoEffect, name, "the average follows every update"),
        _ => {}
    }
}

pub(super) fn loss(draft: &mut Draft, name: &str) {
    let (mse, mae) = (
        draft.number("mse_strength").unwrap_or(1.0),
        draft.number("mae_strength").unwrap_or(0.0),
    );
    match (mse == 1.0 && mae == 0.0, mse == 0.0 && mae == 1.0) {
        (true, _) => draft.write("loss_type", "l2", &["mse_strength", "mae_strength"]),
        (_, true) => draft.write("loss_type", "l1", &["mse_strength", "mae_strength"]),
        _ => draft.note(Group::NotOffered, name, super::LOSSES),
    }
}

pub(super) fn weights(draft: &mut Draft, name: &str) {
    let strength = draft.number("loss_weight_strength").unwrap_or(5.0);
    let both = ["loss_weight_fn", "loss_weight_strength"];
    match (draft.word("loss_weight_fn").as_str(), name) {
        ("min_snr_gamma", "loss_weight_fn") => draft.write("min_snr_gamma", strength, &both),
        ("p2", "loss_weight_fn") => draft.write("p2_gamma", strength, &both),
        ("debiased_estimation", "loss_weight_fn") => draft.write("debiased_estimation_loss", true, &[name]),
        ("constant", "loss_weight_fn") => draft.note(Group::NoEffect, name, "as usual"),
        (_, "loss_weight_fn") => draft.note(Group::NotOffered, name, "there are no such weights"),
        ("min_snr_gamma" | "p2", _) => {}
        _ => draft.note(Group::NoEffect, name, "of other weights"),
    }
}

/// Shares of the thousand timesteps.
pub(super) fn range(draft: &mut Draft, name: &str) {
    let (key, usual) = match name {
        "min_noising_strength" => ("min_timestep", 0.0),
        _ => ("max_timestep", 1.0),
    };
    match draft.number(name) {
        Some(share) if share == usual => draft.note(Group::NoEffect, name, "as usual"),
        Some(share) if (0.0..=1.0).contains(&share) => draft.write(key, (share * 1000.0) as i64, &[name]),
        _ => draft.note(Group::NotOffered, name, "expected a share from 0 to 1"),
    }
}

pub(super) fn timesteps(draft: &mut Draft, name: &str) {
    let distribution = draft.word("timestep_distribution");
    let (weight, bias) = (
        draft.number("noising_weight").unwrap_or(0.0),
        draft.number("noising_bias").unwrap_or(0.0),
    );
    match (distribution.as_str(), name) {
        ("uniform" | "", _) => draft.note(Group::NoEffect, name, "as usual"),
        ("logit_normal", "timestep_distribution") => {
            draft.write("timestep_sampling", "sigmoid", &[name]);
            draft.write(
                "sigmoid_scale",
                weight + 1.0,
                &["timestep_distribution", "noising_weight"],
            );
        }
        ("logit_normal", "noising_bias") if bias == 0.0 => draft.note(Group::NoEffect, name, "as usual"),
        ("logit_normal", "noising_bias") => {
            draft.note(Group::NotOffered, name, "the middle of the timesteps is drawn most")
        }
        ("logit_normal", _) => {}
        _ => draft.note(Group::NotOffered, name, "there is no such way to draw timesteps"),
    }
}

/// How often the pictures of a concept come: sets have whole repeats.
pub(super) fn of_balance(draft: &mut Draft, name: &str) {
    let usual = |value: &Value| number(value).is_none_or(|times| times == 1.0);
    if draft.all.get(name).is_none_or(|values| values.iter().all(usual)) {
        draft.note(Group::NoEffect, name, "as usual");
        return;
    }
    draft.note(
        Group::NeedsAnswer,
        name,
        "make a snapshot of each concept, and write how often its pictures come in an epoch as num_repeats into \
         `[[datasets.subsets]]`",
    );
}
