//! An adapter in another rank, by singular values.

use rayon::prelude::*;

use super::composed::linear_projections;
use super::factors::{Factors, refused};
use super::{AdapterError, AdapterFile, Derived, Dtype, Form, Module};

/// How far to cut.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// To this rank; modules of a lower one stay as they are.
    Rank(usize),
    /// To the lowest rank of each module that keeps this share of the sum of its squared singular values. It is the
    /// square of what sd-scripts' `resize_lora.py` takes for `sv_fro`, which is a share of the Frobenius norm.
    Energy(f64),
}

/// What became of a module.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Resized {
    /// Its path.
    pub module: String,
    /// The rank that it had in the file.
    pub old_rank: usize,
    /// The rank that it has now.
    pub new_rank: usize,
    /// Sum of the squared values of the update, with its scale.
    pub energy: f64,
    /// Share of it in the singular values that were kept.
    pub kept: f64,
    /// Sum of the squared differences between the update and what is stored now, rounding to its type included.
    pub squared_error: f64,
}

/// Cuts every update to a rank; of a LoHa and a LoKr a LoRA is made. Scales stay; the signs of singular vectors are fixed, so the same input gives the same
/// bytes. What has no rank, norms and biases, stays as it is. `done` is called after each module.
///
/// # Errors
/// [`AdapterError::Argument`] for a rank or a share out of range; [`AdapterError::Module`] for a module that is no LoRA,
/// LoHa or LoKr, or has DoRA's lengths; [`AdapterError::NotFinite`] where the stored type does not hold a value.
pub fn resize(
    adapter: &AdapterFile,
    cut: Cut,
    dtype: Dtype,
    derived: &Derived,
    done: &(dyn Fn() + Sync),
) -> Result<(AdapterFile, Vec<Resized>), AdapterError> {
    let most = adapter
        .modules
        .iter()
        .map(Factors::highest)
        .filter(|rank| *rank > 0)
        .max();
    let linear = linear_projections(adapter);
    let wrong = |what: &str, reason: String| AdapterError::Argument {
        what: what.to_owned(),
        reason,
    };
    match (cut, most) {
        (_, None) => {
            return Err(wrong("adapter", "expected updates with a rank, found none".into()));
        }
        (Cut::Rank(rank), Some(most)) if rank == 0 || rank > most => {
            return Err(wrong(
                "rank",
                format!("expected 1 to {most}, the largest rank in the file, found {rank}"),
            ));
        }
        (Cut::Energy(share), _) if !(share > 0.0 && share <= 1.0) => {
            return Err(wrong(
                "energy",
                format!("expected a share above 0 and up to 1, found {share}"),
            ));
        }
        _ => {}
    }
    let pairs = adapter
        .modules
        .par_iter()
        .map(|m| {
            let result = one(m, cut, dtype, linear);
            done();
            result
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (modules, changes): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let mut resized = AdapterFile {
        modules,
        header: adapter.header.clone(),
    };
    derived.enter(&mut resized.header);
    resized.name_ranks();
    Ok((resized, changes.into_iter().flatten().collect()))
}

/// Cuts one module, as it is stored then; nothing to say of one without a rank.
pub(super) fn one(
    module: &Module,
    cut: Cut,
    dtype: Dtype,
    linear: bool,
) -> Result<(Module, Option<Resized>), AdapterError> {
    if matches!(module.form, Form::Norm { .. } | Form::Full { diff: None }) {
        return Ok((module.clone(), None));
    }
    let factors = Factors::plain(module, linear)?;
    let plain = matches!(&module.form, Form::Lora { mid: None, .. });
    // What is not cut is not computed anew: its bytes stay.
    let (new, rank, energy, kept) = match cut {
        Cut::Rank(rank) if plain && module.rank() <= rank => (module.clone(), module.rank(), factors.energy(), 1.0),
        _ => {
            let spectrum = factors.spectrum(module)?;
            let rank = match cut {
                Cut::Rank(rank) => rank.min(factors.most()),
                Cut::Energy(share) => spectrum.rank_for(share),
            };
            let new = match plain && module.rank() <= rank {
                true => module.clone(),
                false => spectrum.module(module, &factors.shape, rank),
            };
            (new, rank, spectrum.energy(), spectrum.kept(rank))
        }
    };
    let stored = new.rounded(dtype)?;
    let squared_error = Factors::of(&stored)?
        .and_then(|now| factors.squared_distance(&now))
        .ok_or_else(|| refused(module, "an update of the same size".into(), "another".into()))?;
    let change = Resized {
        module: module.path.clone(),
        old_rank: module.rank(),
        new_rank: rank,
        energy,
        kept,
        squared_error,
    };
    Ok((stored, Some(change)))
}
