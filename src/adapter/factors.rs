//! An update as two matrices in f64, and what is computed through them, without the update in full.
//!
//! With ΔW = L·R, `L` `[m, k]` and `R` `[k, n]`, and the QR decompositions L = Q₁·T₁ and Rᵀ = Q₂·T₂, the singular values
//! of ΔW are those of the small core T₁·T₂ᵀ, and its singular vectors those of the core times Q₁ and Q₂.

use nalgebra::{DMatrix, DVector, SVD};

use super::composed::{hadamard, kronecker, of_factor, of_product, weight_shape};
use super::{AdapterError, Form, Module, Weight};

/// Longest side of a core that is decomposed: the time grows with its cube.
const CORE_LIMIT: usize = 2048;
/// Most values in each of the two matrices.
const VALUES_LIMIT: usize = 1 << 28;
/// How far the parts of a decomposition may be from what was decomposed, as a share of it.
const TOLERANCE: f64 = 1e-9;

/// ΔW with its scale, as `left · right`.
#[derive(Clone, Debug)]
pub(super) struct Factors {
    /// `[m, k]`
    pub left: DMatrix<f64>,
    /// `[k, n]`, with `n` the input times the kernel.
    pub right: DMatrix<f64>,
    /// Shape of ΔW: `[out, in]` or `[out, in, k, k]`.
    pub shape: Vec<usize>,
    /// The two factors of a Kronecker product, through which it is decomposed.
    pub kronecker: Option<Box<[Factors; 2]>>,
}

impl Factors {
    /// Those of a LoRA, a LoHa or a LoKr, with or without a Tucker core, the left one with the scale; none for another
    /// form.
    pub fn of(module: &Module) -> Result<Option<Self>, AdapterError> {
        module.check()?;
        let (Some(shape), highest) = (module.form.shape(), Self::highest(module)) else {
            return Ok(None);
        };
        let (m, n) = match shape.as_slice() {
            [m, rest @ ..] if highest > 0 => (*m, rest.iter().product::<usize>()),
            _ => return Ok(None),
        };
        let inner = match &module.form {
            Form::Lora { mid: Some(mid), .. } => mid.shape[0],
            Form::Loha { first, second } => first.rank().saturating_mul(second.rank()),
            _ => highest,
        };
        if m.max(n).saturating_mul(inner) > VALUES_LIMIT {
            return Err(refused(
                module,
                format!("two factors of {VALUES_LIMIT} values at most"),
                format!("a rank of {inner} on {m}×{n}"),
            ));
        }
        let scale = f64::from(module.scale());
        let new = |[left, right]: [DMatrix<f64>; 2], scale: f64| Factors {
            left: left * scale,
            right,
            shape: shape.clone(),
            kronecker: None,
        };
        let pair = |first, second| Option::zip(first, second);
        Ok(match &module.form {
            Form::Lora { down, up, mid } => {
                let right = match mid {
                    None => matrix(down, inner, n),
                    Some(mid) => through(mid, down),
                };
                Some(new([matrix(up, m, inner), right], scale))
            }
            Form::Loha { first, second } => {
                pair(of_product(first), of_product(second)).map(|(a, b)| new(hadamard(&a, &b), scale))
            }
            Form::Lokr { first, second } => pair(of_factor(first), of_factor(second)).map(|(a, b)| {
                let (first, second) = (new(a, scale), new(b, 1.0));
                let both = [first.left.kronecker(&second.left), first.right.kronecker(&second.right)];
                let whole = new(both, 1.0);
                Factors {
                    kronecker: Some(Box::new([first, second])),
                    ..whole
                }
            }),
            Form::Full { .. } | Form::Norm { .. } | Form::Ia3 { .. } => None,
        })
    }

    /// The same, with another form refused, and one whose lengths hold only for the whole update. `linear` as for
    /// [`weight_shape`](super::composed::weight_shape).
    pub fn plain(module: &Module, linear: bool) -> Result<Self, AdapterError> {
        const EXPECTED: &str = "the update of a LoRA, a LoHa or a LoKr";
        if module.magnitude.is_some() {
            let found = "DoRA, whose lengths hold only for this update on its base".to_owned();
            return Err(refused(module, EXPECTED.into(), found));
        }
        let factors = Self::of(module)?;
        let mut factors = factors.ok_or_else(|| refused(module, EXPECTED.into(), module.form.name().into()))?;
        factors.shape = weight_shape(module, &factors.shape, linear)?;
        Ok(factors)
    }

    /// Inner dimension: the rank that is kept in the file.
    pub fn inner(&self) -> usize {
        self.left.ncols()
    }

    /// The largest rank that the update can have.
    pub fn most(&self) -> usize {
        self.inner().min(self.left.nrows()).min(self.right.ncols())
    }

    /// Sum of the products of all values of two updates of one size; none where their sizes differ.
    pub fn inner_product(&self, other: &Self) -> Option<f64> {
        let fits = self.left.nrows() == other.left.nrows() && self.right.ncols() == other.right.ncols();
        fits.then(|| {
            let left = self.left.tr_mul(&other.left);
            let right = &self.right * other.right.transpose();
            left.dot(&right)
        })
    }

    /// Sum of its squared values.
    pub fn energy(&self) -> f64 {
        if let Some(parts) = &self.kronecker {
            return parts[0].energy() * parts[1].energy();
        }
        self.inner_product(self).unwrap_or(0.0).max(0.0)
    }

    /// Sum of the squared differences to another of the same size; none where their sizes differ. Below about 1e-16 of
    /// the energies it is rounding.
    pub fn squared_distance(&self, other: &Self) -> Option<f64> {
        Some((self.energy() - 2.0 * self.inner_product(other)? + other.energy()).max(0.0))
    }

    /// Singular values in descending order, and the vectors beside them. Of each pair of vectors the left one has its
    /// largest value, the first of equals, positive.
    pub fn spectrum(&self, module: &Module) -> Result<Spectrum, AdapterError> {
        if let Some(parts) = &self.kronecker {
            return Ok(kronecker(&parts[0].spectrum(module)?, &parts[1].spectrum(module)?));
        }
        let side = self.most();
        if side > CORE_LIMIT {
            return Err(refused(
                module,
                format!("an update of rank {CORE_LIMIT} at most"),
                side.to_string(),
            ));
        }
        let (left, right) = (self.left.clone().qr(), self.right.transpose().qr());
        let core = left.r() * right.r().transpose();
        let undone = || {
            refused(
                module,
                "an update that can be decomposed".into(),
                "values of sizes too far apart".into(),
            )
        };
        let norm = core.norm();
        if !norm.is_finite() {
            return Err(undone());
        }
        // Decomposed at length 1, so that neither very small nor very large values lose themselves.
        let length = if norm > 0.0 { norm } else { 1.0 };
        let core = core / length;
        let decomposed = SVD::try_new(core.clone(), true, true, 5.0 * f64::EPSILON, 1000 * side).ok_or_else(undone)?;
        let again = decomposed.clone().recompose().map_err(|_| undone())?;
        let (Some(u), Some(v)) = (decomposed.u, decomposed.v_t) else {
            return Err(undone());
        };
        let off = (again - &core).norm();
        if off.is_nan() || off > TOLERANCE {
            return Err(undone());
        }
        let mut u = left.q() * u;
        let mut v = right.q() * v.transpose();
        for i in 0..u.ncols() {
            if largest(&u.column(i).into_owned()) < 0.0 {
                u.column_mut(i).neg_mut();
                v.column_mut(i).neg_mut();
            }
        }
        let values = decomposed.singular_values.iter().map(|s| s * length).collect();
        Ok(Spectrum { u, values, v })
    }
}

/// The value furthest from 0, the first of those that are equally far.
fn largest(column: &DVector<f64>) -> f64 {
    column
        .iter()
        .fold(0.0, |most: f64, v| if v.abs() > most.abs() { *v } else { most })
}

/// `u · diag(values) · vᵀ`
#[derive(Clone, Debug)]
pub(super) struct Spectrum {
    /// `[m, q]`, columns of length 1.
    pub u: DMatrix<f64>,
    /// Singular values in descending order, `q` of them.
    pub values: Vec<f64>,
    /// `[n, q]`, columns of length 1.
    pub v: DMatrix<f64>,
}

impl Spectrum {
    /// Sum of the squared singular values.
    pub fn energy(&self) -> f64 {
        self.values.iter().map(|s| s * s).sum()
    }

    /// Share of the energy in the first `rank` values; all of nothing is 1.
    pub fn kept(&self, rank: usize) -> f64 {
        let lost: f64 = self.values.iter().skip(rank).map(|s| s * s).sum();
        match self.energy() {
            0.0 => 1.0,
            energy => 1.0 - lost / energy,
        }
    }

    /// How many values are more than rounding, at least 1: `numpy.linalg.matrix_rank`'s rule.
    pub fn rank(&self) -> usize {
        let longest = self.u.nrows().max(self.v.nrows()) as f64;
        let floor = self.values.first().copied().unwrap_or(0.0) * longest * f64::EPSILON;
        self.values.iter().filter(|s| **s > floor).count().max(1)
    }

    /// The smallest rank that keeps this share of the energy, at least 1.
    pub fn rank_for(&self, share: f64) -> usize {
        let (most, energy) = (self.rank(), self.energy());
        let allowed = (1.0 - share) * energy;
        let mut lost = 0.0;
        let dropped = self.values[..most].iter().rev().take_while(|s| {
            lost += **s * **s;
            lost <= allowed
        });
        (most - dropped.count()).max(1)
    }

    /// The module with its update cut to a rank and its scale as it was. Both matrices get the root of each singular
    /// value: so neither is much longer than the other, which 16 bits bear best.
    pub fn module(&self, of: &Module, shape: &[usize], rank: usize) -> Module {
        let rank = rank.min(self.values.len());
        let alpha = of.scale() * rank as f32;
        let scale = f64::from(alpha) / rank as f64;
        let roots: Vec<f64> = self.values[..rank].iter().map(|s| (s / scale).sqrt()).collect();
        let (m, n) = (self.u.nrows(), self.v.nrows());
        let mut up = Vec::with_capacity(m * rank);
        for row in 0..m {
            up.extend((0..rank).map(|i| (self.u[(row, i)] * roots[i]) as f32));
        }
        let mut down = Vec::with_capacity(n * rank);
        for (i, root) in roots.iter().enumerate() {
            down.extend(self.v.column(i).iter().map(|v| (v * root) as f32));
        }
        let bias = of.bias.clone();
        let [down, up] = shaped(shape, rank, down, up);
        Module {
            bias,
            ..Module::lora(&of.path, down, up, alpha)
        }
    }
}

/// The two weights of a LoRA on a weight of this shape: `[r, in, k, k]` and `[out, r, 1, 1]` for a convolution.
pub(super) fn shaped(shape: &[usize], rank: usize, down: Vec<f32>, up: Vec<f32>) -> [Weight; 2] {
    let mut up_shape = vec![shape[0], rank];
    up_shape.resize(shape.len(), 1);
    [
        Weight::new([&[rank], &shape[1..]].concat(), down),
        Weight::new(up_shape, up),
    ]
}

pub(super) fn refused(module: &Module, expected: String, found: String) -> AdapterError {
    AdapterError::Module {
        module: module.path.clone(),
        expected,
        found,
    }
}

/// A weight as a matrix of so many rows and columns, which its values fill.
pub(super) fn matrix(weight: &Weight, rows: usize, columns: usize) -> DMatrix<f64> {
    DMatrix::from_row_iterator(rows, columns, weight.values.iter().map(|v| f64::from(*v)))
}

/// A Tucker core `[a, b, k, l]` times `down` `[b, in, 1, 1]`: `[a, in·k·l]`, with the kernel running fastest.
pub(super) fn through(mid: &Weight, down: &Weight) -> DMatrix<f64> {
    let (a, b) = (mid.shape[0], mid.shape[1]);
    let (input, kernel) = (down.shape[1], mid.shape[2..].iter().product::<usize>());
    // For every place of the kernel one `[a, b]` times `[b, in]`.
    let down = matrix(down, b, input);
    let mut out = DMatrix::zeros(a, input * kernel);
    for place in 0..kernel {
        let core = DMatrix::from_fn(a, b, |i, j| f64::from(mid.values[(i * b + j) * kernel + place]));
        let product = core * &down;
        for (i, column) in product.column_iter().enumerate() {
            out.set_column(i * kernel + place, &column);
        }
    }
    out
}
