//! Options that no row says alone: several make one, or one needs another.

use serde_json::Value;

use super::draft::{Draft, is_off, number};
use super::{Group, Tool, subsets};

const UPDATES: &str = "write max_train_steps = epochs × pictures of the snapshot × repeats / (train_batch_size × \
                       gradient_accumulation_steps)";
const WHATEVER_CAPTIONS_SAY: &str = "there pictures are flipped whatever their captions say of left and right";

/// Sides of the pictures: a number, `w,h` or a list.
pub(super) fn resolution(draft: &mut Draft, name: &str) {
    let sides: Vec<f64> = match draft.get(name) {
        Some(Value::Array(items)) => items.iter().filter_map(number).collect(),
        Some(Value::String(text)) => text
            .split([',', 'x'])
            .filter_map(|side| side.trim().parse().ok())
            .collect(),
        Some(other) => number(other).into_iter().collect(),
        None => Vec::new(),
    };
    let fits = |side: &f64| side.fract() == 0.0 && (1.0..=16384.0).contains(side);
    let several = draft.tool == Tool::OneTrainer && draft.word(name).contains(',');
    let least = sides.iter().copied().fold(f64::INFINITY, f64::min);
    match sides[..] {
        _ if !sides.iter().all(fits) || sides.is_empty() => {
            draft.note(Group::NotOffered, name, "expected whole numbers");
        }
        [width, height] if width != height && !several => {
            draft.write("resolution", format!("{width},{height}"), &[name]);
        }
        _ => {
            if sides.iter().any(|side| *side != least) {
                draft.note(
                    Group::NotOffered,
                    name,
                    "pictures have one size: the smallest is written",
                );
            }
            draft.write("resolution", least as i64, &[name]);
        }
    }
}

/// Buckets; without them sd-scripts crops.
pub(super) fn buckets(draft: &mut Draft, name: &str) {
    let values = draft.all.get(name).map_or(&[][..], Vec::as_slice);
    match (values.iter().all(is_off), values.len()) {
        (true, _) => draft.write("fit", "crop_centre", &[name]),
        (false, 1) => draft.write("enable_bucket", true, &[name]),
        _ => draft.note(
            Group::NotOffered,
            name,
            "one value for all pictures, but the datasets differ",
        ),
    }
}

/// Flips, which other trainers make whatever a caption says.
pub(super) fn flips(draft: &mut Draft, name: &str) {
    let values = draft.all.get(name).map_or(&[][..], Vec::as_slice);
    match (values.iter().all(is_off), values.len()) {
        (true, _) => draft.note(Group::NoEffect, name, "switched off or as usual"),
        (false, 1) => {
            draft.write("flip_aug", true, &[name]);
            draft.state("flip_aug_keeps_sides", false, WHATEVER_CAPTIONS_SAY);
        }
        _ if subsets::may_differ(draft, "flip_aug") => {
            draft.told_of(name);
            draft.state("flip_aug_keeps_sides", false, WHATEVER_CAPTIONS_SAY);
        }
        _ => draft.note(
            Group::NotOffered,
            name,
            "one value for all pictures, but the datasets differ",
        ),
    }
}

/// How often each picture is in an epoch: one number for all.
pub(super) fn repeats(draft: &mut Draft, name: &str) {
    let values = draft.all.get(name).map_or(0, Vec::len);
    match draft
        .number(name)
        .filter(|n| n.fract() == 0.0 && (1.0..1e6).contains(n))
    {
        Some(1.0) => draft.note(Group::NoEffect, name, "as usual"),
        Some(repeats) => draft.write("num_repeats", repeats as i64, &[name]),
        None if values > 1 && subsets::may_differ(draft, "num_repeats") => draft.told_of(name),
        None if values > 1 => draft.note(Group::NotOffered, name, "a value that the option does not have"),
        None => draft.note(Group::NoEffect, name, "empty"),
    }
}

/// How much regularization pictures count, where there are any.
pub(super) fn prior(draft: &mut Draft, name: &str) {
    match draft.number(name).filter(|weight| *weight >= 0.0) {
        Some(1.0) => draft.note(Group::NoEffect, name, "as usual"),
        Some(weight) if subsets::regularize(draft) => draft.write("prior_loss_weight", weight, &[name]),
        Some(_) if draft.on("reg_data_dir") => {
            draft.note(
                Group::NeedsAnswer,
                name,
                "write it at the top once there is a set with is_reg = true",
            );
        }
        Some(_) => draft.note(Group::NoEffect, name, "there are no regularization pictures"),
        None => draft.note(Group::NoEffect, name, "empty"),
    }
}

/// The size of LoKr's smaller factor, -1 for the most even one.
pub(super) fn factor(draft: &mut Draft, name: &str) {
    match draft.number(name) {
        Some(size) if size.fract() == 0.0 && (-1.0..1e6).contains(&size) && size != 0.0 => {
            draft.write("factor", size as i64, &[name]);
        }
        _ => draft.note(Group::NotOffered, name, "expected -1 or a size"),
    }
}

/// The updates, unless epochs count before them.
pub(super) fn steps(draft: &mut Draft, name: &str) {
    match draft
        .number(name)
        .filter(|steps| steps.fract() == 0.0 && (1.0..1e12).contains(steps))
    {
        _ if draft.on("max_train_epochs") => draft.note(Group::NoEffect, name, "max_train_epochs counts before it"),
        Some(steps) => draft.write("max_train_steps", steps as i64, &[name]),
        None => draft.note(Group::NeedsAnswer, name, "expected a number of updates above 0"),
    }
}

/// A seed; none and -1 are one at random there.
pub(super) fn seed(draft: &mut Draft, name: &str) {
    match draft.number(name) {
        Some(seed) if seed.fract() == 0.0 && (0.0..9e15).contains(&seed) => {
            draft.write("seed", seed as i64, &[name]);
        }
        _ => draft.note(
            Group::NoEffect,
            name,
            "a seed at random; here it is 0 unless it is given",
        ),
    }
}

/// A file's name, or prompts line by line with their own options.
pub(super) fn sample_prompts(draft: &mut Draft, name: &str) {
    let text = match draft.get(name) {
        Some(Value::String(text)) => text.clone(),
        _ => String::new(),
    };
    let file = [".txt", ".toml", ".json"].iter().any(|end| text.trim().ends_with(end));
    if file {
        draft.note(
            Group::NeedsAnswer,
            name,
            "write the prompts themselves: sample_prompts = [\"…\"]",
        );
        return;
    }
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    let prompts: Vec<toml::Value> = lines
        .map(|line| line.split(" --").next().unwrap_or(line).trim())
        .filter(|prompt| !prompt.is_empty())
        .map(toml::Value::from)
        .collect();
    match prompts.is_empty() {
        true => draft.note(Group::NoEffect, name, "empty"),
        false => {
            if text.contains(" --") {
                draft.note(
                    Group::NoEffect,
                    name,
                    "samples are drawn alike: the prompts' own options are left out",
                );
            }
            draft.write("sample_prompts", prompts, &[name]);
        }
    }
}

/// What there must be in any case, and what must not be alone.
pub(super) fn finish(draft: &mut Draft, snapshot: Option<&str>) {
    let stable = draft.tool != Tool::OneTrainer;
    if draft.ours("pretrained_model_name_or_path").is_none() {
        draft.state(
            "pretrained_model_name_or_path",
            "base.safetensors",
            "your answer: a diffusers folder or one file",
        );
        draft.ask(
            "pretrained_model_name_or_path",
            "name the base: a diffusers folder or one safetensors file",
        );
    }
    match snapshot {
        _ if !draft.sets.is_empty() => {}
        Some(name) => draft.state("snapshot", name, "as --snapshot says"),
        None => {
            draft.state(
                "snapshot",
                "training-set",
                "your answer: `assent snapshot create NAME --policy FILE` makes one",
            );
            draft.ask(
                "snapshot",
                "name the snapshot to train on, or give it with --snapshot NAME",
            );
        }
    }
    if draft.ours("resolution").is_none() {
        draft.state(
            "resolution",
            512,
            "nothing of use there: the size of Stable Diffusion 1",
        );
        draft.ask(
            "resolution",
            "the file does not say how large the pictures are: 512 is written",
        );
    }
    let buckets = draft.all.contains_key("enable_bucket") || draft.all.contains_key("aspect_ratio_bucketing");
    if draft.ours("fit").is_none() && !buckets {
        if stable {
            draft.default("fit", "crop_centre");
        } else {
            draft.default("enable_bucket", true);
        }
    }
    if !stable && draft.ours("enable_bucket").is_some() {
        let why = "buckets are made, but of other sizes: those of sd-scripts";
        draft.note(Group::NotOffered, "aspect_ratio_bucketing", why);
        let side = match draft.ours("resolution") {
            Some(toml::Value::Integer(side)) => *side,
            _ => 512,
        };
        // Its longest pictures are four times as long as high.
        for (key, side) in [("min_bucket_reso", side / 2), ("max_bucket_reso", side * 2)] {
            draft.state(key, side, "as long and as high as there");
        }
        if side < 128 {
            draft.state("bucket_reso_steps", 8, "the pictures are small");
        }
    }
    let epochs = if stable { "max_train_epochs" } else { "epochs" };
    if draft.ours("max_train_steps").is_none() {
        if draft.all.contains_key(epochs) {
            draft.note(Group::NeedsAnswer, epochs, UPDATES);
            draft.state(
                "max_train_steps",
                1600,
                "your answer: epochs are counted in updates here",
            );
        } else if stable {
            draft.default("max_train_steps", 1600);
        } else {
            draft.ask(
                "epochs",
                &format!("left out there, where OneTrainer takes 100; {UPDATES}"),
            );
            draft.state(
                "max_train_steps",
                1600,
                "your answer: epochs are counted in updates here",
            );
        }
    } else if draft.all.contains_key(epochs) && !draft.told(epochs) {
        draft.note(Group::NoEffect, epochs, "switched off or as usual");
    }
}
