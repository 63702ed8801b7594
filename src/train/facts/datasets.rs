//! What the header says of the sets of pictures: the entries of sd-scripts (`train_network.py`), in which pictures count
//! with their repeats.
//!
//! sd-scripts names a set by its folder. A snapshot's name may be that of a person and is not in the file; here the
//! beginning of its root stands in its place, which the receipt has as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::receipt::RunInputs;
use crate::snapshot::Role;
use crate::train::config::{AdapterConfig, Source};
use crate::train::sets::Epoch;

/// A source and how many pictures it has, but for those held out.
type Counted<'a> = (&'a Source, usize);

fn counted<'a>(c: &'a AdapterConfig, epoch: &'a Epoch, role: Role) -> impl Iterator<Item = Counted<'a>> {
    let all = c.sources.iter().zip(epoch.of_source.iter().copied());
    all.filter(move |(source, _)| source.role == role)
}

fn with_repeats<'a>(sources: impl Iterator<Item = Counted<'a>>) -> usize {
    let times = |(source, count): Counted<'_>| source.options.num_repeats.saturating_mul(count);
    sources.map(times).fold(0, usize::saturating_add)
}

/// All pictures that serve this, with the repeats that their sets ask for. Regularization pictures count whether or not
/// an epoch has room for them, and without the turns that balance them: as in sd-scripts.
pub(super) fn images(c: &AdapterConfig, epoch: &Epoch, role: Role) -> usize {
    with_repeats(counted(c, epoch, role))
}

/// The entries on the sets.
pub(super) fn entries(c: &AdapterConfig, inputs: &RunInputs, epoch: &Epoch) -> BTreeMap<String, String> {
    let sets = inputs.sets();
    let name = |source: &Source| {
        let set = sets
            .iter()
            .find(|set| set.role == source.role && set.snapshot.name == source.snapshot);
        set.map_or_else(String::new, |set| set.snapshot.root.short())
    };
    // A set that comes several times is numbered from the second on.
    let mut dirs = Map::new();
    for (source, count) in counted(c, epoch, Role::Training) {
        let name = name(source);
        let mut free = name.clone();
        let mut number = 2;
        while dirs.contains_key(&free) {
            free = format!("{name} ({number})");
            number += 1;
        }
        dirs.insert(
            free,
            json!({"n_repeats": source.options.num_repeats, "img_count": count}),
        );
    }
    let of_role = |role| images(c, epoch, role).to_string();
    let mut all = BTreeMap::from([
        ("ss_num_train_images".to_owned(), of_role(Role::Training)),
        ("ss_num_reg_images".to_owned(), of_role(Role::Regularization)),
        ("ss_dataset_dirs".to_owned(), Value::Object(dirs).to_string()),
    ]);
    if let Some(held) = inputs.settings.get("images_held_out") {
        all.insert("ss_num_validation_images".to_owned(), held.clone());
    }
    if c.sources.len() == 1 {
        all.insert("ss_reg_dataset_dirs".to_owned(), "{}".to_owned());
    } else {
        let last = c.sources.iter().map(|source| source.dataset).max().unwrap_or(0);
        let datasets: Vec<Value> = (0..=last).map(|number| dataset(c, epoch, number, &name)).collect();
        all.insert("ss_datasets".to_owned(), Value::Array(datasets).to_string());
    }
    all
}

/// One of several datasets. Pictures of equal size are batched across datasets, so that their sizes stand in
/// `ss_bucket_info` alone.
fn dataset(c: &AdapterConfig, epoch: &Epoch, number: usize, name: &dyn Fn(&Source) -> String) -> Value {
    let inside = |role| counted(c, epoch, role).filter(|(source, _)| source.dataset == number);
    let subset = |(source, count): Counted<'_>| {
        let o = &source.options;
        json!({
            "image_dir": name(source),
            "img_count": count,
            "num_repeats": o.num_repeats,
            "is_reg": source.role == Role::Regularization,
            "color_aug": false,
            "flip_aug": o.flip_aug,
            "random_crop": o.random_crop,
            "shuffle_caption": o.shuffle_caption,
            "keep_tokens": o.keep_tokens,
            "keep_tokens_separator": o.keep_tokens_separator,
            "secondary_separator": o.secondary_separator,
            "enable_wildcard": o.enable_wildcard,
            "caption_prefix": o.caption_prefix,
            "caption_suffix": o.caption_suffix,
            "class_tokens": o.class_tokens,
        })
    };
    let all = c.sources.iter().zip(epoch.of_source.iter().copied());
    let subsets: Vec<Value> = all.filter(|(source, _)| source.dataset == number).map(subset).collect();
    json!({
        "is_dreambooth": true,
        "batch_size_per_device": c.data.train_batch_size,
        "num_train_images": with_repeats(inside(Role::Training)),
        "num_reg_images": with_repeats(inside(Role::Regularization)),
        "resolution": c.data.resolution.sides(),
        "enable_bucket": c.data.enable_bucket,
        "min_bucket_reso": c.data.min_bucket_reso,
        "max_bucket_reso": c.data.max_bucket_reso,
        // As in `ss_tag_frequency`: how often words occur is the registry's business.
        "tag_frequency": {},
        "subsets": subsets,
    })
}
