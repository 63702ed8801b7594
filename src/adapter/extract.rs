//! An adapter from the difference of two models: the strongest directions of each weight's change, by singular values.
//!
//! What is large is first projected onto a subspace that holds them, found by subspace iteration from random signs (Halko,
//! Martinsson and Tropp 2011, arXiv:0909.4061), until the energy in it no longer grows.

use std::collections::BTreeMap;

use nalgebra::DMatrix;

use super::factors::{Factors, refused};
use super::{AdapterError, AdapterFile, Cut, Derived, Dtype, Module, Resized, Weight};

/// Directions beside those that are asked for: with them the iteration converges quickly.
const BESIDE: usize = 16;
/// Most rounds of the iteration.
const ROUNDS: usize = 40;
/// The share of its energy by which the last round may still have gained.
const SETTLED: f64 = 1e-9;
/// Matrices of at most this smaller side are decomposed whole.
const SMALL: usize = 128;

/// The change of one weight.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Path of the layer, as in [`Module::path`].
    pub path: String,
    /// `[out, in]` or `[out, in, k, k]`.
    pub shape: Vec<usize>,
    /// The tuned weight less the base's.
    pub values: Vec<f32>,
}

/// The LoRA of a change, cut to a rank or a kept energy, as it is stored then.
///
/// # Errors
/// [`AdapterError::Argument`] for a rank or share out of range, [`AdapterError::Module`] for a change that cannot be
/// decomposed, [`AdapterError::NotFinite`] where the stored type does not hold a value.
pub fn extract(change: &Difference, cut: Cut, dtype: Dtype) -> Result<(Module, Resized), AdapterError> {
    match cut {
        Cut::Rank(0) => {
            return Err(AdapterError::Argument {
                what: "rank".to_owned(),
                reason: "expected 1 or more, found 0".to_owned(),
            });
        }
        Cut::Energy(share) if !(share > 0.0 && share <= 1.0) => {
            return Err(AdapterError::Argument {
                what: "energy".to_owned(),
                reason: format!("expected a share above 0 and up to 1, found {share}"),
            });
        }
        _ => {}
    }
    // What `Spectrum::module` takes path and scale from.
    let shell = Module::lora(
        &change.path,
        Weight::new([1], vec![0.0]),
        Weight::new([1], vec![0.0]),
        1.0,
    );
    let rows = change.shape.first().copied().unwrap_or(0);
    let columns: usize = change.shape.iter().skip(1).product();
    if rows == 0 || columns == 0 || rows.checked_mul(columns) != Some(change.values.len()) {
        let found = format!("{:?} of {} values", change.shape, change.values.len());
        return Err(refused(&shell, "a weight that its shape fits".into(), found));
    }
    let whole = DMatrix::from_row_iterator(rows, columns, change.values.iter().map(|v| f64::from(*v)));
    let (energy, side) = (whole.norm_squared(), rows.min(columns));
    let mut wanted = match cut {
        Cut::Rank(rank) => rank.min(side),
        Cut::Energy(_) => BESIDE,
    };
    let (spectrum, rank) = loop {
        let factors = Factors {
            shape: change.shape.clone(),
            ..projected(&whole, wanted)
        };
        let spectrum = factors.spectrum(&shell)?;
        let inside = spectrum.energy();
        match cut {
            Cut::Rank(rank) => break (spectrum, rank.min(side)),
            Cut::Energy(share) if inside >= share * energy || wanted >= side => {
                // Of the whole energy, not of that inside.
                let share = if inside > 0.0 {
                    (share * energy / inside).min(1.0)
                } else {
                    1.0
                };
                let rank = spectrum.rank_for(share);
                break (spectrum, rank);
            }
            Cut::Energy(_) => wanted = (2 * wanted).min(side),
        }
    };
    let stored = spectrum.module(&shell, &change.shape, rank).rounded(dtype)?;
    let now = Factors::plain(&stored, true)?;
    let common = (&whole * now.right.transpose()).dot(&now.left);
    let kept: f64 = spectrum.values.iter().take(rank).map(|s| s * s).sum();
    let change = Resized {
        module: change.path.clone(),
        old_rank: side,
        new_rank: rank,
        energy,
        kept: if energy > 0.0 { (kept / energy).min(1.0) } else { 1.0 },
        squared_error: (energy - 2.0 * common + now.energy()).max(0.0),
    };
    Ok((stored, change))
}

/// A matrix as `q · (qᵀ · matrix)`, with `q` orthonormal: all of it where it is small, else its part in a subspace that
/// holds the `wanted` strongest directions.
fn projected(matrix: &DMatrix<f64>, wanted: usize) -> Factors {
    let (rows, columns) = matrix.shape();
    let width = wanted + BESIDE;
    let shape = vec![rows, columns];
    if rows.min(columns) <= SMALL.max(width) {
        let (left, right) = match rows <= columns {
            true => (DMatrix::identity(rows, rows), matrix.clone()),
            false => (matrix.clone(), DMatrix::identity(columns, columns)),
        };
        return Factors {
            left,
            right,
            shape,
            kronecker: None,
        };
    }
    let mut q = (matrix * signs(columns, width)).qr().q();
    let mut inside = 0.0;
    for _ in 0..ROUNDS {
        let right = matrix.tr_mul(&q); // [columns, width]
        let now = right.norm_squared();
        if now - inside <= SETTLED * now {
            break;
        }
        inside = now;
        q = (matrix * right.qr().q()).qr().q();
    }
    let right = q.tr_mul(matrix);
    Factors {
        left: q,
        right,
        shape,
        kronecker: None,
    }
}

/// A matrix of 1 and -1, always the same (splitmix64).
fn signs(rows: usize, columns: usize) -> DMatrix<f64> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    DMatrix::from_fn(rows, columns, |_, _| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        if (z ^ (z >> 31)) & 1 == 0 { 1.0 } else { -1.0 }
    })
}

/// The adapter of extracted modules, with what its header says of the base.
#[must_use]
pub fn extracted(mut modules: Vec<Module>, header: BTreeMap<String, String>, derived: &Derived) -> AdapterFile {
    modules.sort_by(|a, b| a.path.cmp(&b.path));
    let mut file = AdapterFile { modules, header };
    derived.enter(&mut file.header);
    file.name_ranks();
    file
}
