//! Several adapters as one: the weighted sum of their updates.

use std::collections::{BTreeMap, BTreeSet};

use rayon::prelude::*;

use super::composed::linear_projections;
use super::factors::{Factors, refused, shaped};
use super::resize::{Cut, Resized, one};
use super::{AdapterError, AdapterFile, Derived, Dtype, Module, Weight};

/// Header entries on the base, which hold for a sum where the adapters agree on them.
const BASE: &[&str] = &[
    "ss_base_model_version",
    "ss_v2",
    "ss_sd_model_name",
    "ss_sd_model_hash",
    "ss_new_sd_model_hash",
    "ss_vae_name",
    "ss_vae_hash",
    "ss_new_vae_hash",
    "modelspec.sai_model_spec",
    "modelspec.architecture",
    "modelspec.implementation",
    "modelspec.prediction_type",
];

/// Sums adapters, each times its weight, by laying their matrices side by side; with a rank, the sum is then cut to it
/// as [`resize`](super::resize()) does. Without one nothing is lost but the rounding to the stored type. A module that
/// only some have is summed over those. `done` is called after each module.
///
/// # Errors
/// [`AdapterError::Argument`] for a weight or rank out of range, and for adapters of different models;
/// [`AdapterError::Module`] for a module that is no LoRA, LoHa or LoKr, has DoRA's lengths, or has different sizes.
pub fn merge(
    adapters: &[(&AdapterFile, f64)],
    rank: Option<usize>,
    dtype: Dtype,
    derived: &Derived,
    done: &(dyn Fn() + Sync),
) -> Result<(AdapterFile, Vec<Resized>), AdapterError> {
    let wrong = |what: &str, reason: String| AdapterError::Argument {
        what: what.to_owned(),
        reason,
    };
    for (_, weight) in adapters {
        if *weight == 0.0 || !weight.is_finite() {
            return Err(wrong(
                "weight",
                format!("expected a number other than 0, found {weight}"),
            ));
        }
    }
    one_family(adapters)?;
    let linear = adapters.iter().any(|(adapter, _)| linear_projections(adapter));
    let mut paths: BTreeMap<&str, Vec<(&Module, f64)>> = BTreeMap::new();
    for (adapter, weight) in adapters {
        for module in &adapter.modules {
            paths.entry(&module.path).or_default().push((module, *weight));
        }
    }
    let most = paths
        .values()
        .map(|parts| parts.iter().map(|(m, _)| Factors::highest(m)).sum())
        .max();
    let most: usize = most.unwrap_or(0);
    if let Some(rank) = rank
        && (rank == 0 || rank > most)
    {
        return Err(wrong(
            "rank",
            format!("expected 1 to {most}, the largest sum of the ranks of a module, found {rank}"),
        ));
    }
    let pairs = paths
        .par_iter()
        .map(|(_, parts)| {
            let sum = sum(parts, linear)?;
            let result = one(&sum, Cut::Rank(rank.unwrap_or(most)), dtype, linear);
            done();
            result
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (modules, changes): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let mut merged = AdapterFile {
        modules,
        header: header(adapters),
    };
    derived.enter(&mut merged.header);
    merged.name_ranks();
    Ok((merged, changes.into_iter().flatten().collect()))
}

/// Refuses adapters whose headers or modules say that they are for different models.
fn one_family(adapters: &[(&AdapterFile, f64)]) -> Result<(), AdapterError> {
    const VERSION: &str = "ss_base_model_version";
    let mut versions: BTreeSet<&str> = adapters
        .iter()
        .filter_map(|(a, _)| a.header.get(VERSION).map(String::as_str))
        .collect();
    if versions.len() < 2 {
        versions = adapters
            .iter()
            .map(|(a, _)| if a.is_xl() { "SDXL" } else { "SD 1 or 2" })
            .collect();
    }
    if versions.len() < 2 {
        return Ok(());
    }
    Err(AdapterError::Argument {
        what: "adapters".into(),
        reason: format!(
            "expected all for one kind of model, found {}",
            versions.into_iter().collect::<Vec<_>>().join(" and ")
        ),
    })
}

/// The sum of the updates of one module, exactly: with scale 1, the ranks one after another.
fn sum(parts: &[(&Module, f64)], linear: bool) -> Result<Module, AdapterError> {
    let factors = parts
        .iter()
        .map(|(m, weight)| Ok((*m, *weight, Factors::plain(m, linear)?)))
        .collect::<Result<Vec<_>, AdapterError>>()?;
    let Some((first, _, like)) = factors.first() else {
        return Err(AdapterError::Empty {
            path: "adapters".into(),
        });
    };
    for (m, _, f) in &factors {
        if f.shape != like.shape {
            return Err(refused(
                m,
                format!("an update of the size {:?} in every adapter", like.shape),
                format!("{:?}", f.shape),
            ));
        }
    }
    let rank: usize = factors.iter().map(|(_, _, f)| f.inner()).sum();
    let mut up = Vec::with_capacity(like.left.nrows() * rank);
    for row in 0..like.left.nrows() {
        for (_, weight, f) in &factors {
            up.extend(f.left.row(row).iter().map(|v| (v * weight) as f32));
        }
    }
    let mut down = Vec::with_capacity(like.right.ncols() * rank);
    for (_, _, f) in &factors {
        // Columns of the transposed are rows.
        down.extend(f.right.transpose().iter().map(|v| *v as f32));
    }
    let [down, up] = shaped(&like.shape, rank, down, up);
    Ok(Module {
        bias: bias(parts)?,
        ..Module::lora(&first.path, down, up, rank as f32)
    })
}

fn bias(parts: &[(&Module, f64)]) -> Result<Option<Weight>, AdapterError> {
    let mut sum: Option<Weight> = None;
    for (module, weight) in parts {
        let Some(bias) = &module.bias else { continue };
        let times = |v: &f32| (f64::from(*v) * weight) as f32;
        match &mut sum {
            None => sum = Some(Weight::new(bias.shape.clone(), bias.values.iter().map(times).collect())),
            Some(sum) if sum.shape == bias.shape => {
                sum.values
                    .iter_mut()
                    .zip(&bias.values)
                    .for_each(|(s, v)| *s += times(v));
            }
            Some(sum) => {
                let expected = format!("a bias of the size {:?} in every adapter", sum.shape);
                return Err(refused(module, expected, format!("{:?}", bias.shape)));
            }
        }
    }
    Ok(sum)
}

/// What of the headers holds for the sum: the base where they agree, all trigger words, the titles as what it was merged
/// from, and a licence that all have, or all of theirs together.
fn header(adapters: &[(&AdapterFile, f64)]) -> BTreeMap<String, String> {
    let distinct = |key: &str| {
        let mut values: Vec<&str> = Vec::new();
        for value in adapters.iter().filter_map(|(a, _)| a.header.get(key)) {
            if !values.contains(&value.as_str()) {
                values.push(value);
            }
        }
        values
    };
    let mut header = BTreeMap::new();
    for key in BASE {
        if let [value] = distinct(key).as_slice() {
            header.insert((*key).to_owned(), (*value).to_owned());
        }
    }
    for (from, to) in [
        ("modelspec.trigger_phrase", "modelspec.trigger_phrase"),
        ("modelspec.title", "modelspec.merged_from"),
    ] {
        let values = distinct(from);
        if !values.is_empty() {
            header.insert(to.to_owned(), values.join(", "));
        }
    }
    const LICENSE: &str = "modelspec.license";
    if adapters.iter().all(|(a, _)| a.header.contains_key(LICENSE)) {
        let together = match distinct(LICENSE).as_slice() {
            [one] => (*one).to_owned(),
            several => several
                .iter()
                .map(|l| format!("({l})"))
                .collect::<Vec<_>>()
                .join(" AND "),
        };
        header.insert(LICENSE.to_owned(), together);
    }
    header
}
