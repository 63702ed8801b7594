//! Starts of a LoRA that come from the weight itself: its strongest directions (PiSSA, Meng et al. 2024,
//! arXiv:2404.02948) or the first of an orthonormal basis (OLoRA, Büyükakyüz 2024, arXiv:2406.01775). What the adapter
//! then holds is taken out of the weight, so that the model is unchanged at first.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::model::params::to_vec;
use crate::model::weights::Draws;

/// Directions beyond the rank that the search for the strongest carries along (Halko et al. 2011, arXiv:0909.4061).
const OVERSAMPLING: usize = 8;
/// Rounds of that search. What it has not found by then stays in the weight, where it does no harm.
const ROUNDS: usize = 12;
/// Sweeps of Jacobi's method over a matrix of rank and oversampling.
const SWEEPS: usize = 30;

/// `down` `[rank, in]` and `up` `[out, rank]` with `scale · up · down` the best approximation of `weight` `[out, in]` of
/// that rank: each takes the root of the singular values.
pub(super) fn strongest(weight: &Tensor<2>, rank: usize, scale: f64, draws: &mut Draws) -> (Tensor<2>, Tensor<2>) {
    let weight = plain(weight);
    let ([out, inputs], device) = (weight.dims(), weight.device());
    let width = (rank + OVERSAMPLING).min(out).min(inputs);
    let start = Tensor::from_data(TensorData::new(draws.normals(inputs * width), [inputs, width]), &device);
    let mut basis = orthonormal(&weight.clone().matmul(start)); // [out, width]
    for _ in 0..ROUNDS {
        let back = orthonormal(&weight.clone().transpose().matmul(basis));
        basis = orthonormal(&weight.clone().matmul(back));
    }
    let small = basis.clone().transpose().matmul(weight); // [width, in]
    let gram = to_vec(small.clone().matmul(small.clone().transpose()));
    let (values, vectors) = eigen(gram.iter().map(|v| f64::from(*v)).collect(), width);
    let mut order: Vec<usize> = (0..width).collect();
    order.sort_by(|a, b| values[*b].total_cmp(&values[*a]));
    let (mut turn, mut shrink) = (Vec::new(), Vec::new());
    for row in 0..width {
        for &k in order.iter().take(rank) {
            let value = values[k].max(0.0).sqrt();
            let vector = vectors[row * width + k];
            turn.push((vector * (value / scale).sqrt()) as f32);
            shrink.push(if value > 0.0 {
                vector / (value * scale).sqrt()
            } else {
                0.0
            } as f32);
        }
    }
    let matrix = |values| Tensor::<2>::from_data(TensorData::new(values, [width, rank]), &device);
    let up = basis.matmul(matrix(turn));
    let down = matrix(shrink).transpose().matmul(small);
    (down, up)
}

/// `down` and `up` of the QR decomposition: the first columns of Q, and the first rows of R.
pub(super) fn first(weight: &Tensor<2>, rank: usize) -> (Tensor<2>, Tensor<2>) {
    let weight = plain(weight);
    let [out, _] = weight.dims();
    let up = orthonormal(&weight.clone().slice([0..out, 0..rank]));
    (up.clone().transpose().matmul(weight), up)
}

/// In f32 and out of autodiff.
fn plain(weight: &Tensor<2>) -> Tensor<2> {
    let weight = match weight.is_autodiff() {
        true => weight.clone().inner(),
        false => weight.clone(),
    };
    weight.cast(DType::F32)
}

/// Makes the columns of `[m, n]` orthonormal, in f64 and twice over (Gram and Schmidt); a column that depends on those
/// before it becomes zero.
fn orthonormal(matrix: &Tensor<2>) -> Tensor<2> {
    let ([m, n], device): ([usize; 2], Device) = (matrix.dims(), matrix.device());
    let values = to_vec(matrix.clone().transpose());
    let mut columns: Vec<Vec<f64>> = values
        .chunks(m.max(1))
        .map(|column| column.iter().map(|v| f64::from(*v)).collect())
        .collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for k in 0..columns.len() {
        let (before, rest) = columns.split_at_mut(k);
        let Some(column) = rest.first_mut() else { break };
        let length = dot(column, column).sqrt();
        for _ in 0..2 {
            for other in before.iter() {
                let along = dot(column, other);
                column.iter_mut().zip(other).for_each(|(c, o)| *c -= along * o);
            }
        }
        let left = dot(column, column).sqrt();
        let scale = if left > 1e-9 * length { 1.0 / left } else { 0.0 };
        column.iter_mut().for_each(|c| *c *= scale);
    }
    let values: Vec<f32> = columns.iter().flatten().map(|v| *v as f32).collect();
    Tensor::<2>::from_data(TensorData::new(values, [n, m]), &device).transpose()
}

/// Eigenvalues and, in columns, eigenvectors of a symmetric matrix `[n, n]`, by Jacobi's rotations.
fn eigen(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<f64>) {
    let mut v = vec![0.0; n * n];
    (0..n).for_each(|i| v[i * n + i] = 1.0);
    for _ in 0..SWEEPS {
        for p in 0..n {
            for q in p + 1..n {
                let off = a[p * n + q];
                if off == 0.0 {
                    continue;
                }
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * off);
                let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
                let c = 1.0 / (t * t + 1.0).sqrt();
                let s = t * c;
                for k in 0..n {
                    let (x, y) = (a[k * n + p], a[k * n + q]);
                    (a[k * n + p], a[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
                for k in 0..n {
                    let (x, y) = (a[p * n + k], a[q * n + k]);
                    (a[p * n + k], a[q * n + k]) = (c * x - s * y, s * x + c * y);
                    let (x, y) = (v[k * n + p], v[k * n + q]);
                    (v[k * n + p], v[k * n + q]) = (c * x - s * y, s * x + c * y);
                }
            }
        }
    }
    ((0..n).map(|i| a[i * n + i]).collect(), v)
}
