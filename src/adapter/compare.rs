//! How far two adapters are from each other, module by module.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::factors::Factors;
use super::{AdapterError, AdapterFile, Module};

/// Two updates of one module.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Compared {
    /// Its path.
    pub module: String,
    /// Whether both say the same, value by value.
    pub equal: bool,
    /// Both updates' lengths and angle; none where one is no LoRA, has DoRA's lengths, or they differ in size.
    pub geometry: Option<Geometry>,
}

/// Squared lengths of two updates, scales included, and the product between them. They add up over modules.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Geometry {
    /// Sum of the squared values of the first.
    pub first: f64,
    /// Sum of the squared values of the second.
    pub second: f64,
    /// Sum of the products of their values.
    pub product: f64,
}

impl Geometry {
    /// Cosine of the angle between them; none where one is 0.
    #[must_use]
    pub fn cosine(&self) -> Option<f64> {
        let lengths = self.first.sqrt() * self.second.sqrt();
        (lengths > 0.0).then(|| (self.product / lengths).clamp(-1.0, 1.0))
    }

    /// Length of the difference over that of the first; none where the first is 0 and the second is not. Below about
    /// 1e-8 it is rounding.
    #[must_use]
    pub fn distance(&self) -> Option<f64> {
        let squared = (self.first - 2.0 * self.product + self.second).max(0.0);
        match self.first > 0.0 {
            true => Some((squared / self.first).sqrt()),
            false => (self.second == 0.0).then_some(0.0),
        }
    }
}

impl std::iter::Sum for Geometry {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, g| Geometry {
            first: sum.first + g.first,
            second: sum.second + g.second,
            product: sum.product + g.product,
        })
    }
}

/// Two adapters.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Comparison {
    /// The modules that both have, sorted by path.
    pub both: Vec<Compared>,
    /// Modules of the first alone.
    pub only_first: Vec<String>,
    /// Modules of the second alone.
    pub only_second: Vec<String>,
}

impl Comparison {
    /// Whether both have the same modules with the same values.
    #[must_use]
    pub fn equal(&self) -> bool {
        self.only_first.is_empty() && self.only_second.is_empty() && self.both.iter().all(|m| m.equal)
    }
}

/// Compares module by module, through the factors of the updates.
///
/// # Errors
/// [`AdapterError::Module`] and [`AdapterError::NotFinite`] for modules that are not usable.
pub fn compare(first: &AdapterFile, second: &AdapterFile) -> Result<Comparison, AdapterError> {
    let by_path = |a: &'_ AdapterFile| a.modules.iter().map(|m| (m.path.clone(), m.clone())).collect();
    let (a, b): (BTreeMap<String, Module>, BTreeMap<String, Module>) = (by_path(first), by_path(second));
    let only = |a: &BTreeMap<String, Module>, b: &BTreeMap<String, Module>| {
        a.keys().filter(|path| !b.contains_key(*path)).cloned().collect()
    };
    let pairs: Vec<(&Module, &Module)> = a.iter().filter_map(|(path, m)| Some((m, b.get(path)?))).collect();
    let both = pairs
        .into_par_iter()
        .map(|(a, b)| pair(a, b))
        .collect::<Result<_, _>>()?;
    Ok(Comparison {
        both,
        only_first: only(&a, &b),
        only_second: only(&b, &a),
    })
}

fn pair(a: &Module, b: &Module) -> Result<Compared, AdapterError> {
    let plain = a.magnitude.is_none() && b.magnitude.is_none();
    let geometry = match (Factors::of(a)?, Factors::of(b)?) {
        (Some(a), Some(b)) if plain => a.inner_product(&b).map(|product| Geometry {
            first: a.energy(),
            second: b.energy(),
            product,
        }),
        _ => None,
    };
    Ok(Compared {
        module: a.path.clone(),
        equal: a == b,
        geometry,
    })
}
