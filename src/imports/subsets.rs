//! The subsets of a dataset configuration of sd-scripts that are not all alike: each becomes a set with a snapshot.

use serde_json::{Map, Value};

use super::draft::{Draft, displayed, is_off};
use super::row::{How, Kind, of_kind};
use super::{Group, sd_scripts};

/// A `[[datasets.subsets]]` of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenSubset {
    /// The number of its `[[datasets]]`.
    pub dataset: usize,
    /// Name of the snapshot, which is the user's to make.
    pub snapshot: String,
    /// What it was made from, for the comment above it.
    pub from: String,
    /// Its options.
    pub options: Vec<(&'static str, toml::Value)>,
}

/// The options that a subset can have for itself.
pub(super) const OWN: &[&str] = &[
    "num_repeats",
    "flip_aug",
    "flip_aug_keeps_sides",
    "random_crop",
    "class_tokens",
    "caption_prefix",
    "caption_suffix",
    "caption_dropout_rate",
    "caption_dropout_every_n_epochs",
    "caption_tag_dropout_rate",
    "shuffle_caption",
    "keep_tokens",
    "keep_tokens_separator",
    "caption_separator",
    "secondary_separator",
    "enable_wildcard",
    "token_warmup_min",
    "token_warmup_step",
    "alpha_mask",
    "conditioning_data_dir",
];

/// Whether subsets may differ in an option: then each has a line of it.
pub(super) fn may_differ(draft: &Draft, key: &str) -> bool {
    draft.subsets.len() > 1 && OWN.contains(&key)
}

/// Whether there are regularization pictures among them.
pub(super) fn regularize(draft: &Draft) -> bool {
    draft.subsets.iter().any(|(_, subset)| is_reg(subset))
}

fn is_reg(subset: &Map<String, Value>) -> bool {
    subset.get("is_reg").is_some_and(|value| !is_off(value))
}

/// What an option of a subset is here.
fn own(name: &str) -> Option<(&'static str, Kind)> {
    match name {
        "num_repeats" => return Some(("num_repeats", Kind::Whole)),
        "flip_aug" => return Some(("flip_aug", Kind::Flag)),
        _ => {}
    }
    let row = sd_scripts::TABLE.iter().find(|(known, ..)| *known == name);
    match row.map(|(_, how, _)| *how) {
        Some(How::Same(key, kind) | How::Given(key, kind)) if OWN.contains(&key) => Some((key, kind)),
        _ => None,
    }
}

/// Writes the subsets, where any of them says what not all say or is for regularization. The first set to be learned has
/// the snapshot that was asked for.
pub(super) fn finish(draft: &mut Draft, snapshot: Option<&str>) {
    let subsets = draft.subsets.clone();
    let values = |name: &str| -> Vec<Option<&Value>> { subsets.iter().map(|(_, s)| s.get(name)).collect() };
    let differ = |name: &str| values(name).windows(2).any(|pair| pair[0] != pair[1]);
    let mut names: Vec<&String> = subsets.iter().flat_map(|(_, subset)| subset.keys()).collect();
    names.sort_unstable();
    names.dedup();
    names.retain(|name| own(name).is_some() && differ(name));
    if names.is_empty() && !regularize(draft) {
        if draft.all.contains_key("is_reg") {
            draft.note(Group::NoEffect, "is_reg", "switched off or as usual");
        }
        return;
    }
    draft.told_of("is_reg");
    let (mut learned, mut regularization) = (0, 0);
    for (dataset, subset) in &subsets {
        let (count, plain) = match is_reg(subset) {
            true => (&mut regularization, "regularization-set"),
            false => (&mut learned, "training-set"),
        };
        *count += 1;
        let name = match (snapshot, *count) {
            (Some(name), 1) if !is_reg(subset) => name.to_owned(),
            (_, 1) => plain.to_owned(),
            (_, number) => format!("{plain}-{number}"),
        };
        let mut options = Vec::new();
        if is_reg(subset) {
            options.push(("is_reg", toml::Value::Boolean(true)));
        }
        for name in &names {
            let value = subset.get(*name).filter(|value| !is_off(value));
            let (Some(value), Some((key, kind))) = (value, own(name)) else {
                continue;
            };
            match of_kind(value, kind) {
                Some(value) => options.push((key, value)),
                None => draft.note(Group::NotOffered, name, "a value that the option does not have"),
            }
        }
        let folder = subset.get("image_dir").map(std::slice::from_ref);
        draft.sets.push(WrittenSubset {
            dataset: *dataset,
            snapshot: name,
            from: match folder {
                Some(folder) => format!("from image_dir = {}", displayed("image_dir", folder)),
                None => "from a subset without a folder".to_owned(),
            },
            options,
        });
    }
    let names: Vec<String> = draft.sets.iter().map(|set| set.snapshot.clone()).collect();
    let why = format!(
        "make a snapshot for each folder, and put their names in the place of {}",
        names.join(", ")
    );
    draft.ask("snapshot", &why);
}

/// The sets as they stand at the end of a configuration.
pub(super) fn text(sets: &[WrittenSubset]) -> String {
    let mut text = String::new();
    for dataset in sets.chunk_by(|a, b| a.dataset == b.dataset) {
        text.push_str("\n[[datasets]]\n");
        for set in dataset {
            let snapshot = toml::Value::from(set.snapshot.as_str());
            text.push_str(&format!(
                "\n# {}\n[[datasets.subsets]]\nsnapshot = {snapshot}\n",
                set.from
            ));
            for (key, value) in &set.options {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
    }
    text
}
