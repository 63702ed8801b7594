//! What is trained on: one snapshot, or several with options of their own.
//!
//! Several stand in the shape of sd-scripts' dataset configuration, with a snapshot in the place of a folder:
//!
//! ```toml
//! num_repeats = 2             # for all of them
//! prior_loss_weight = 0.5
//!
//! [[datasets]]
//! shuffle_caption = true      # for the two below
//!
//!   [[datasets.subsets]]
//!   snapshot = "boats"
//!   num_repeats = 10          # for this one
//!
//!   [[datasets.subsets]]
//!   snapshot = "harbours"
//!   is_reg = true
//! ```
//!
//! An option counts from where it stands inwards; the innermost one wins. `num_repeats` is the weight of a set: how often
//! each of its pictures comes in an epoch. What is not an option of a subset stands at the top and holds for all.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::{Subset, keys};
use crate::snapshot::Role;

/// More subsets than this are refused: a receipt names them all.
const MOST_SUBSETS: usize = 64;

/// A snapshot that is trained on, and how its pictures and captions are drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Name of the snapshot.
    pub snapshot: String,
    /// What its pictures are for: `is_reg = true` makes them regularization pictures.
    pub role: Role,
    /// Its number among the datasets. Regularization pictures are repeated up to the number of the others in theirs.
    pub dataset: usize,
    /// Its number in that.
    pub subset: usize,
    /// The options that hold for it.
    pub options: Arc<Subset>,
}

/// What a subset says besides the options.
#[derive(Debug, Deserialize, Serialize)]
struct Own {
    snapshot: Option<String>,
    #[serde(default)]
    is_reg: bool,
}

impl Source {
    /// Where it stands in the file: `datasets[0].subsets[1]`.
    pub(super) fn place(&self) -> String {
        format!("datasets[{}].subsets[{}]", self.dataset, self.subset)
    }

    /// Makes the paths among its options relative to the configuration's folder.
    pub(super) fn resolve(&mut self, beside: &Path) {
        if let Some(masks) = &self.options.conditioning_data_dir {
            let masks = beside.join(masks);
            Arc::make_mut(&mut self.options).conditioning_data_dir = Some(masks);
        }
    }
}

/// Everything that a file trains on, in its order. `at_top` are the names of the other sections.
pub(super) fn read(text: &str, at_top: &[&str], trigger: Option<&str>) -> Result<Vec<Source>, String> {
    let table: Table = toml::from_str(text).map_err(|e: toml::de::Error| e.to_string())?;
    let snapshot = match table.get("snapshot") {
        Some(Value::String(name)) => Some(name.clone()),
        None => None,
        Some(other) => {
            return Err(format!(
                "snapshot: expected the name of one, found {}; hint: several stand in `[[datasets]]`",
                other.type_str()
            ));
        }
    };
    let sources = match (snapshot, table.get("datasets")) {
        (Some(_), Some(_)) => {
            return Err("snapshot and datasets both say what to train on; hint: leave one out".to_owned());
        }
        (None, None) => {
            return Err(
                "expected what to train on, found nothing; hint: set `snapshot = \"NAME\"`, or `[[datasets]]` with \
                 `[[datasets.subsets]]` for several"
                    .to_owned(),
            );
        }
        (Some(snapshot), None) => {
            let options: Subset = keys::section(text)?;
            options.check(trigger)?;
            return Ok(vec![Source {
                snapshot,
                role: Role::Training,
                dataset: 0,
                subset: 0,
                options: Arc::new(options),
            }]);
        }
        (None, Some(datasets)) => several(&table, datasets, at_top)?,
    };
    for source in &sources {
        let told = |problem: String| format!("{}: {problem}", source.place());
        source.options.check(trigger).map_err(told)?;
        let learned = |other: &Source| other.role == Role::Training && other.dataset == source.dataset;
        if !sources.iter().any(learned) {
            return Err(told(
                "is_reg: there is nothing to learn in this dataset, so there is nothing to balance these pictures with; \
                 hint: put them beside a subset without is_reg"
                    .to_owned(),
            ));
        }
    }
    Ok(sources)
}

fn several(table: &Table, datasets: &Value, at_top: &[&str]) -> Result<Vec<Source>, String> {
    let options = keys::of::<Subset>();
    let of_subset: Vec<&str> = options.iter().copied().chain(keys::of::<Own>()).collect();
    let of_dataset: Vec<&str> = options.iter().copied().chain(["subsets"]).collect();
    let mut usual = table.clone();
    usual.retain(|key, _| options.contains(&key));
    let mut sources = Vec::new();
    for (number, dataset) in tables("datasets", Some(datasets))?.into_iter().enumerate() {
        let place = format!("datasets[{number}]");
        known(dataset, &place, &of_dataset, at_top)?;
        let subsets = tables(&format!("{place}.subsets"), dataset.get("subsets"))?;
        for (at, subset) in subsets.into_iter().enumerate() {
            let place = format!("{place}.subsets[{at}]");
            known(subset, &place, &of_subset, at_top)?;
            let mut all = usual.clone();
            all.extend(dataset.clone());
            all.extend(subset.clone());
            let told = |error: toml::de::Error| format!("{place}: {}", error.message());
            let own = Own::deserialize(all.clone()).map_err(told)?;
            let options = Subset::deserialize(all).map_err(told)?;
            sources.push(Source {
                snapshot: own.snapshot.ok_or_else(|| {
                    format!(
                        "{place}: expected `snapshot = \"NAME\"`, found none; hint: `assent snapshot list` lists them"
                    )
                })?,
                role: if own.is_reg {
                    Role::Regularization
                } else {
                    Role::Training
                },
                dataset: number,
                subset: at,
                options: Arc::new(options),
            });
            if sources.len() > MOST_SUBSETS {
                return Err(format!("datasets: expected at most {MOST_SUBSETS} subsets, found more"));
            }
        }
    }
    Ok(sources)
}

/// The tables of an array that is not empty.
fn tables<'a>(place: &str, value: Option<&'a Value>) -> Result<Vec<&'a Table>, String> {
    let wrong = || {
        format!(
            "{place}: expected `[[{}]]`, found something else",
            place.replace(|c: char| c == '[' || c == ']' || c.is_ascii_digit(), "")
        )
    };
    let array = value
        .and_then(Value::as_array)
        .filter(|a| !a.is_empty())
        .ok_or_else(wrong)?;
    array.iter().map(|value| value.as_table().ok_or_else(wrong)).collect()
}

/// Refuses a key that does not belong into this table, and says where it belongs.
fn known(table: &Table, place: &str, names: &[&str], at_top: &[&str]) -> Result<(), String> {
    let Some(key) = table.keys().find(|key| !names.contains(&key.as_str())) else {
        return Ok(());
    };
    let hint = match key.as_str() {
        "image_dir" | "metadata_file" => {
            "`assent ingest` registers a folder, `assent snapshot create NAME` freezes what may be used, and `snapshot = \
             \"NAME\"` names that"
                .to_owned()
        }
        "batch_size" => "set train_batch_size at the top of the file: it holds for all sets".to_owned(),
        "snapshot" | "is_reg" => "it belongs into `[[datasets.subsets]]`".to_owned(),
        key if at_top.contains(&key) => "it stands at the top of the file and holds for all sets".to_owned(),
        key => keys::near(key, names),
    };
    Err(format!("{place}: unknown key `{key}`; hint: {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Source>, String> {
        super::read(text, &["resolution", "seed"], None)
    }

    const TWO: &str = "num_repeats = 2\nseed = 1\n[[datasets]]\nshuffle_caption = true\n[[datasets.subsets]]\n\
                       snapshot = 'boats'\n[[datasets.subsets]]\nsnapshot = 'harbours'\nis_reg = true\nnum_repeats = 1\n\
                       shuffle_caption = false\n[[datasets]]\n[[datasets.subsets]]\nsnapshot = 'ships'\n";

    #[test]
    fn the_innermost_option_wins() {
        let sources = read(TWO).unwrap();
        let said: Vec<_> = sources
            .iter()
            .map(|s| {
                let o = &s.options;
                (s.snapshot.as_str(), s.role, s.dataset, o.num_repeats, o.shuffle_caption)
            })
            .collect();
        let expected = [
            ("boats", Role::Training, 0, 2, true),
            ("harbours", Role::Regularization, 0, 1, false),
            ("ships", Role::Training, 1, 2, false),
        ];
        assert_eq!(said, expected);
        let one = read("snapshot = 'boats'\nnum_repeats = 3").unwrap();
        assert_eq!((one.len(), one[0].options.num_repeats), (1, 3));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_place() {
        for (more, wrong) in [
            ("", "hint: set `snapshot"),
            ("snapshot = ['a', 'b']", "found array; hint: several"),
            ("snapshot = 'a'\n[[datasets]]", "leave one out"),
            ("datasets = 3", "expected `[[datasets]]`"),
            ("[[datasets]]\nsubsets = []", "expected `[[datasets.subsets]]`"),
            ("[[datasets]]\nnum_repeats = 2", "expected `[[datasets.subsets]]`"),
            (
                "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nsnapshot = 'a'",
                "stands at the top",
            ),
            (
                "[[datasets]]\nbatch_size = 4\n[[datasets.subsets]]\nsnapshot = 'a'",
                "train_batch_size",
            ),
            (
                "[[datasets]]\nis_reg = true\n[[datasets.subsets]]\nsnapshot = 'a'",
                "belongs into",
            ),
            ("[[datasets]]\n[[datasets.subsets]]\nimage_dir = 'a'", "assent ingest"),
            (
                "[[datasets]]\n[[datasets.subsets]]\nsnapshot = 'a'\nnum_repeat = 2",
                "did you mean `num_repeats`?",
            ),
            (
                "[[datasets]]\n[[datasets.subsets]]\nnum_repeats = 2",
                "datasets[0].subsets[0]: expected `snapshot",
            ),
            (
                "[[datasets]]\n[[datasets.subsets]]\nsnapshot = 'a'\nnum_repeats = 'x'",
                "datasets[0].subsets[0]: ",
            ),
            (
                "[[datasets]]\n[[datasets.subsets]]\nsnapshot = 'a'\nnum_repeats = 0",
                "datasets[0].subsets[0]: num_repeats",
            ),
            (
                "[[datasets]]\n[[datasets.subsets]]\nsnapshot = 'a'\nis_reg = true",
                "nothing to learn",
            ),
        ] {
            let error = read(more).unwrap_err();
            assert!(error.contains(wrong), "{more}: {error}");
        }
        let many = "[[datasets.subsets]]\nsnapshot = 'a'\n".repeat(MOST_SUBSETS + 1);
        assert!(
            read(&format!("[[datasets]]\n{many}"))
                .unwrap_err()
                .contains("at most 64")
        );
    }
}
