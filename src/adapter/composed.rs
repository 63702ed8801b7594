//! Updates of LyCORIS' forms as two matrices, exactly: a Hadamard product of rank `r` has the rank `r²`, and the factors
//! of a Kronecker product are the Kronecker products of its factors' factors. So both become LoRA where a tool makes one.

use nalgebra::DMatrix;

use super::factors::{Factors, Spectrum, matrix, refused, through};
use super::{AdapterError, AdapterFile, Factor, Form, Module, Product};

/// Two matrices whose product is a product of LyCORIS: `[m, r]` and `[r, n·k·k]`.
pub(super) fn of_product(p: &Product) -> Option<[DMatrix<f64>; 2]> {
    let (a, b) = (p.a.shape.first()?, p.b.shape.first()?);
    let columns = |values: usize, rows: usize| values.checked_div(rows);
    Some(match &p.core {
        None => [
            matrix(&p.a, *a, columns(p.a.values.len(), *a)?),
            matrix(&p.b, *b, columns(p.b.values.len(), *b)?),
        ],
        // The first matrix lies the other way round then.
        Some(core) => [
            matrix(&p.a, *a, columns(p.a.values.len(), *a)?).transpose(),
            through(core, &p.b),
        ],
    })
}

/// The two matrices of a factor of a Kronecker product; a whole one is itself times 1.
pub(super) fn of_factor(f: &Factor) -> Option<[DMatrix<f64>; 2]> {
    match f {
        Factor::Product(p) => of_product(p),
        Factor::Whole(w) => {
            let rows = *w.shape.first()?;
            let columns = w.values.len().checked_div(rows)?;
            let whole = matrix(w, rows, columns);
            Some(match rows <= columns {
                true => [DMatrix::identity(rows, rows), whole],
                false => [whole, DMatrix::identity(columns, columns)],
            })
        }
    }
}

/// The Hadamard product of `a·b` and `c·d`: every column of `a` times every one of `c`, every row of `b` times every one
/// of `d` (the face-splitting product's mixed-product property).
pub(super) fn hadamard([a, b]: &[DMatrix<f64>; 2], [c, d]: &[DMatrix<f64>; 2]) -> [DMatrix<f64>; 2] {
    let rank = c.ncols();
    let inner = a.ncols() * rank;
    let left = DMatrix::from_fn(a.nrows(), inner, |row, k| a[(row, k / rank)] * c[(row, k % rank)]);
    let right = DMatrix::from_fn(inner, b.ncols(), |k, column| {
        b[(k / rank, column)] * d[(k % rank, column)]
    });
    [left, right]
}

/// Singular values and vectors of a Kronecker product: the products of those of its factors.
pub(super) fn kronecker(first: &Spectrum, second: &Spectrum) -> Spectrum {
    let n = second.values.len();
    let mut pairs: Vec<(f64, usize)> = (0..first.values.len() * n)
        .map(|k| (first.values[k / n] * second.values[k % n], k))
        .collect();
    pairs.sort_by(|(a, i), (b, j)| b.total_cmp(a).then(i.cmp(j)));
    let vectors = |first: &DMatrix<f64>, second: &DMatrix<f64>| {
        let rows = second.nrows();
        DMatrix::from_fn(first.nrows() * rows, pairs.len(), |row, column| {
            let k = pairs[column].1;
            first[(row / rows, k / n)] * second[(row % rows, k % n)]
        })
    };
    Spectrum {
        u: vectors(&first.u, &second.u),
        v: vectors(&first.v, &second.v),
        values: pairs.iter().map(|(value, _)| *value).collect(),
    }
}

/// Columns of a Hadamard product that are made at a time.
const COLUMNS: usize = 512;

/// Sum of the squared values of a module's update with its scale, through its factors where it can be; nothing for a form
/// without two matrices. DoRA's lengths are left out of account.
///
/// # Errors
/// [`AdapterError::Module`] and [`AdapterError::NotFinite`] for a module that is not usable.
pub fn energy(module: &Module) -> Result<Option<f64>, AdapterError> {
    let squared = |[left, right]: [DMatrix<f64>; 2]| {
        let right = &right * right.transpose();
        left.tr_mul(&left).dot(&right).max(0.0)
    };
    let plain = match &module.form {
        Form::Lora { .. } => return Ok(Factors::of(module)?.map(|factors| factors.energy())),
        Form::Loha { first, second } => {
            module.check()?;
            of_product(first).zip(of_product(second)).map(|([a, b], [c, d])| {
                let blocks = (0..b.ncols()).step_by(COLUMNS).map(|from| {
                    let count = COLUMNS.min(b.ncols() - from);
                    let [first, second] = [(&a, &b), (&c, &d)].map(|(left, right)| left * right.columns(from, count));
                    first.component_mul(&second).norm_squared()
                });
                blocks.sum::<f64>()
            })
        }
        Form::Lokr { first, second } => {
            module.check()?;
            of_factor(first)
                .zip(of_factor(second))
                .map(|(a, b)| squared(a) * squared(b))
        }
        Form::Full { .. } | Form::Norm { .. } | Form::Ia3 { .. } => None,
    };
    let scale = f64::from(module.scale());
    Ok(plain.map(|plain| plain * scale * scale))
}

/// The shape of the weight that a module updates. LyCORIS' files have the parts of some convolutions flat, `[out,
/// in·k·k]`: there the layer's place in Stable Diffusion's U-Net says which it is, and for `proj_in` and `proj_out`
/// whether the model has them `linear`.
pub(super) fn weight_shape(module: &Module, shape: &[usize], linear: bool) -> Result<Vec<usize>, AdapterError> {
    let &[out, columns] = shape else {
        return Ok(shape.to_vec());
    };
    if matches!(module.form, Form::Lora { .. }) || module.path.starts_with("text_encoder") {
        return Ok(shape.to_vec());
    }
    let side = match module.path.rsplit('.').next() {
        Some("conv1" | "conv2" | "conv_in" | "conv_out" | "conv") => 3,
        Some("conv_shortcut") => 1,
        Some("proj_in" | "proj_out") if !linear => 1,
        _ => return Ok(shape.to_vec()),
    };
    match columns % (side * side) {
        0 => Ok(vec![out, columns / (side * side), side, side]),
        _ => Err(refused(
            module,
            "the update of a 3×3 convolution".to_owned(),
            format!("{columns} columns"),
        )),
    }
}

/// Whether the model that an adapter is for has linear layers around its transformers, where Stable Diffusion 1 has
/// 1×1 convolutions: SDXL and Stable Diffusion 2, which is told by its header or the width of its text encoder.
pub(super) fn linear_projections(adapter: &AdapterFile) -> bool {
    let version = adapter.header.get("ss_base_model_version");
    let reads_wide =
        |m: &Module| m.path.ends_with("attn2.to_k") && m.form.shape().is_some_and(|shape| shape.get(1) == Some(&1024));
    adapter.is_xl() || version.is_some_and(|v| v.starts_with("sd_v2")) || adapter.modules.iter().any(reads_wide)
}

impl Factors {
    /// The highest rank that a module's update can have, by its parts; 0 where it has no two matrices.
    pub(super) fn highest(module: &Module) -> usize {
        let inner = |f: &Factor| match f {
            Factor::Product(p) => p.rank(),
            Factor::Whole(w) => {
                let rows = w.shape.first().copied().unwrap_or(0);
                rows.min(w.values.len().checked_div(rows).unwrap_or(0))
            }
        };
        let rank = match &module.form {
            Form::Lora { .. } => return module.rank(),
            Form::Loha { first, second } => first.rank().saturating_mul(second.rank()),
            Form::Lokr { first, second } => inner(first).saturating_mul(inner(second)),
            Form::Full { .. } | Form::Norm { .. } | Form::Ia3 { .. } => return 0,
        };
        let shape = module.form.shape().unwrap_or_default();
        let columns = shape.iter().skip(1).product();
        rank.min(shape.first().copied().unwrap_or(0)).min(columns)
    }
}
