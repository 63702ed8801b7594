//! The product of a linear layer with its bias, forward and backward, over tiles of the result that the threads share.
//! A weight may lie in memory as f16 or int8: a tile of it is widened as it is needed, and all arithmetic is f32.

use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{Matrix, Shared, multiply};
use super::memory;
use super::stored::Stored;

/// Rows and columns of one tile: large enough that packing its factors costs little beside the product.
const TILE: usize = 1024;

/// Sizes of `y[rows, outputs] = x[rows, inputs] · weight[outputs, inputs]ᵀ`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub rows: usize,
    pub inputs: usize,
    pub outputs: usize,
}

/// `0..length` in equal pieces of about a tile, at least `least`.
fn pieces(length: usize, least: usize) -> Vec<Range<usize>> {
    let count = length.div_ceil(TILE).max(least).clamp(1, length.max(1));
    let step = length.div_ceil(count).max(1);
    let starts = (0..length).step_by(step);
    starts.map(|start| start..(start + step).min(length)).collect()
}

/// Fills `out[rows, columns]` tile by tile: `product` gets the tile's rows, columns and memory, and room of its own.
fn by_tile(
    out: &mut [f32],
    [rows, columns]: [usize; 2],
    product: impl Fn(&Range<usize>, &Range<usize>, &mut super::matrix::MatrixMut<'_>, &mut Vec<f32>) + Sync,
) {
    let of_rows = pieces(rows, 1);
    // One tile would leave all threads but one idle.
    let of_columns = pieces(columns, if of_rows.len() == 1 && columns >= 64 { 2 } else { 1 });
    let shared = Shared::new(out);
    let tiles: Vec<_> = of_columns
        .iter()
        .flat_map(|columns| of_rows.iter().map(move |rows| (rows, columns)))
        .collect();
    tiles.par_iter().for_each_init(Vec::new, |room, (rows, range)| {
        let shape = [rows.len(), range.len()];
        // SAFETY: tiles share no element.
        let mut out = unsafe { shared.matrix(rows.start * columns + range.start, shape, [columns, 1]) };
        product(rows, range, &mut out, room);
    });
}

/// `x · weightᵀ`, plus `bias` where it is not empty: `[rows, outputs]`.
pub(super) fn forward(x: &[f32], weight: Stored<'_>, bias: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes { rows, inputs, outputs } = sizes;
    let mut y = memory::room(rows * outputs);
    if bias.is_empty() {
        y.resize(rows * outputs, 0.0);
    } else {
        (0..rows).for_each(|_| y.extend_from_slice(bias));
    }
    by_tile(&mut y, [rows, outputs], |rows, columns, out, room| {
        let x = Matrix::new(&x[rows.start * inputs..], [rows.len(), inputs], [inputs, 1]);
        let weight = weight.part(inputs, columns, &(0..inputs), room).transposed();
        multiply(out, !bias.is_empty(), 1.0, x, weight);
    });
    y
}

/// Gradient of `x` from that of the output: `dy · weight`.
pub(super) fn input_gradient(dy: &[f32], weight: Stored<'_>, sizes: Sizes) -> Vec<f32> {
    let Sizes { rows, inputs, outputs } = sizes;
    let mut dx = memory::zeros(rows * inputs);
    by_tile(&mut dx, [rows, inputs], |rows, columns, out, room| {
        let dy = Matrix::new(&dy[rows.start * outputs..], [rows.len(), outputs], [outputs, 1]);
        multiply(out, false, 1.0, dy, weight.part(inputs, &(0..outputs), columns, room));
    });
    dx
}

/// Gradient of the weight from that of the output: `dyᵀ · x`.
pub(super) fn weight_gradient(x: &[f32], dy: &[f32], sizes: Sizes) -> Vec<f32> {
    let Sizes { rows, inputs, outputs } = sizes;
    let mut d_weight = memory::zeros(outputs * inputs);
    by_tile(&mut d_weight, [outputs, inputs], |of, columns, out, _| {
        let dy = Matrix::new(&dy[of.start..], [rows, of.len()], [outputs, 1]).transposed();
        let x = Matrix::new(&x[columns.start..], [rows, columns.len()], [inputs, 1]);
        multiply(out, false, 1.0, dy, x);
    });
    d_weight
}

/// Gradient of the bias from that of the output: its sum over the rows.
pub(super) fn bias_gradient(dy: &[f32], sizes: Sizes) -> Vec<f32> {
    let mut sums = vec![0.0_f64; sizes.outputs];
    for dy in dy.chunks_exact(sizes.outputs) {
        for (sum, dy) in sums.iter_mut().zip(dy) {
            *sum += f64::from(*dy);
        }
    }
    sums.iter().map(|sum| *sum as f32).collect()
}
