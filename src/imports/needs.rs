//! Options that count only beside others, in the whole file or in one of its sets.

use super::draft::{Draft, View};
use super::subsets;

/// An option, what must hold for it to count, and in words.
type Need = (&'static str, fn(&View) -> bool, &'static str);

/// Options that are refused where they would do nothing.
pub(super) const NEEDS: &[Need] = &[
    ("huber_schedule", is_huber, "only for loss_type huber and smooth_l1"),
    ("huber_c", is_huber, "only for loss_type huber and smooth_l1"),
    (
        "huber_scale",
        is_scaled,
        "only for huber_schedule constant and exponential",
    ),
    ("min_bucket_reso", has_buckets, "only beside enable_bucket"),
    ("max_bucket_reso", has_buckets, "only beside enable_bucket"),
    ("bucket_reso_steps", has_buckets, "only beside enable_bucket"),
    ("bucket_no_upscale", has_buckets, "only beside enable_bucket"),
    (
        "cache_latents_to_disk",
        |v| v.ours("random_crop").is_none(),
        "under random_crop pictures are encoded anew for every step",
    ),
    (
        "cache_text_encoder_outputs_to_disk",
        |v| !divides(v) && v.ours("enable_wildcard").is_none(),
        "captions are drawn anew for every step",
    ),
    (
        "cache_text_encoder_outputs_to_disk",
        |v| v.ours("train_text_encoder").and_then(toml::Value::as_bool) == Some(false),
        "the text encoders are trained",
    ),
    (
        "flip_aug_keeps_sides",
        |v| v.ours("flip_aug").is_some(),
        "only beside flip_aug",
    ),
    ("keep_tokens", divides, OF_TAGS),
    ("keep_tokens_separator", divides, OF_TAGS),
    (
        "token_warmup_min",
        |v| v.ours("token_warmup_step").is_some(),
        "only beside token_warmup_step",
    ),
    (
        "noise_offset_random_strength",
        |v| v.ours("noise_offset").is_some(),
        "only beside noise_offset",
    ),
    (
        "adaptive_noise_scale",
        |v| v.ours("noise_offset").is_some(),
        "only beside noise_offset",
    ),
    (
        "multires_noise_discount",
        |v| v.ours("multires_noise_iterations").is_some(),
        "only beside multires_noise_iterations",
    ),
    (
        "ip_noise_gamma_random_strength",
        |v| v.ours("ip_noise_gamma").is_some(),
        "only beside ip_noise_gamma",
    ),
    (
        "conditioning_data_dir",
        |v| v.ours("masked_loss").is_some(),
        "only beside masked_loss",
    ),
    (
        "conditioning_data_dir",
        |v| v.ours("alpha_mask").is_none(),
        "alpha_mask says where masks are",
    ),
    (
        "log_with",
        |v| v.ours("logging_dir").is_some(),
        "only beside logging_dir",
    ),
    (
        "log_prefix",
        |v| v.ours("logging_dir").is_some(),
        "only beside logging_dir",
    ),
    (
        "lr_scheduler_num_cycles",
        |v| v.our_word("lr_scheduler") == "cosine_with_restarts",
        "only for lr_scheduler cosine_with_restarts",
    ),
    (
        "lr_scheduler_power",
        |v| v.our_word("lr_scheduler") == "polynomial",
        "only for lr_scheduler polynomial",
    ),
    (
        "sigmoid_scale",
        |v| v.our_word("timestep_sampling") == "sigmoid",
        "only for timestep_sampling sigmoid",
    ),
    (
        "v_pred_like_loss",
        |v| v.ours("v_parameterization").is_none(),
        "only for a loss on the noise",
    ),
    (
        "scale_v_pred_loss_like_noise_pred",
        |v| v.ours("v_parameterization").is_some(),
        "only for a loss on the velocity",
    ),
];

fn has_buckets(view: &View) -> bool {
    view.ours("enable_bucket").is_some()
}

const OF_TAGS: &str = "only beside shuffle_caption, caption_tag_dropout_rate or token_warmup_step";

fn divides(view: &View) -> bool {
    let parts = ["shuffle_caption", "caption_tag_dropout_rate", "token_warmup_step"];
    parts.iter().any(|part| view.ours(part).is_some())
}

fn is_huber(view: &View) -> bool {
    matches!(view.our_word("loss_type"), "huber" | "smooth_l1")
}

fn is_scaled(view: &View) -> bool {
    is_huber(view) && matches!(view.our_word("huber_schedule"), "constant" | "exponential")
}

/// Takes back what would do nothing, and moves down to its sets what counts in some of them only.
pub(super) fn finish(draft: &mut Draft) {
    for (key, holds, why) in NEEDS {
        let mut sets = std::mem::take(&mut draft.sets);
        let counts: Vec<bool> = sets.iter().map(|set| holds(&draft.view(&set.options))).collect();
        let everywhere = holds(&draft.view(&[])) && counts.iter().all(|counts| *counts);
        let moved = draft.ours(key).filter(|_| subsets::OWN.contains(key) && !everywhere);
        for (set, counts) in sets.iter_mut().zip(&counts) {
            let has = set.options.iter().any(|(name, _)| name == key);
            match moved {
                _ if has && !counts => set.options.retain(|(name, _)| name != key),
                Some(value) if !has && *counts => set.options.push((key, value.clone())),
                _ => {}
            }
        }
        let moved = moved.is_some() && counts.contains(&true);
        draft.sets = sets;
        match everywhere {
            true => {}
            false if moved => draft.leave_to_sets(key),
            false => draft.unwrite(key, why),
        }
    }
}
