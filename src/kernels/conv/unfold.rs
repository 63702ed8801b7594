//! Moves the patches that a convolution sees between a picture and a matrix.

use std::ops::Range;

use super::super::simd::{self, LANES, per_instruction_set};
use super::Sizes;

per_instruction_set!(
    /// Unfolds the patches of some channels of one picture: row (channel, tap) of `out`, at column `at` and on, gets
    /// what that tap sees at each output position of `rows`. `stride` lies between rows of `out`.
    pub(super) fn unfold(x: &[f32], sizes: &Sizes, rows: &Range<usize>, out: &mut [f32], stride: usize, at: usize) = unfold_body
);
per_instruction_set!(
    /// The reverse of [`unfold`]: adds each number to the place that it came from.
    pub(super) fn fold_back(from: &[f32], sizes: &Sizes, rows: &Range<usize>, dx: &mut [f32], stride: usize, at: usize) = fold_body
);
per_instruction_set!(
    /// Unfolds the patches of some channels of one picture with its channels last: row (position) of `out` gets what
    /// each tap sees there, channel by channel.
    pub(super) fn unfold_last(x: &[f32], sizes: &Sizes, channels: &Range<usize>, rows: &Range<usize>, out: &mut [f32]) = last_body
);
per_instruction_set!(
    /// `to[j * rows + i] = from[i * columns + j]`
    pub(super) fn transpose(from: &[f32], columns: usize, to: &mut [f32], rows: usize) = transpose_body
);
per_instruction_set!(
    /// The sum of `x`.
    pub(super) fn total(x: &[f32], sum: &mut f64) = total_body
);

/// The output columns whose tap `k` falls inside a line of `size`.
#[inline(always)]
fn inside(k: usize, size: usize, columns: usize, stride: usize, padding: usize) -> Range<usize> {
    let first = padding.saturating_sub(k).div_ceil(stride).min(columns);
    let end = (size + padding).saturating_sub(k).div_ceil(stride).min(columns);
    first..end.max(first)
}

/// Copies in fixed steps: the lines are short, and a call of memcpy costs more than they do.
#[inline(always)]
fn copy(to: &mut [f32], from: &[f32]) {
    let (mut tos, mut froms) = (to.chunks_exact_mut(8), from.chunks_exact(8));
    for (to, from) in (&mut tos).zip(&mut froms) {
        to[..8].copy_from_slice(&from[..8]);
    }
    for (to, from) in tos.into_remainder().iter_mut().zip(froms.remainder()) {
        *to = *from;
    }
}

#[inline(always)]
fn unfold_body(x: &[f32], sizes: &Sizes, rows: &Range<usize>, out: &mut [f32], stride: usize, at: usize) {
    let (columns, step, padding) = (sizes.columns(), sizes.stride, sizes.padding);
    let [taps_y, taps_x] = sizes.kernel;
    for (channel, x) in x.chunks_exact(sizes.plane()).enumerate() {
        for ky in 0..taps_y {
            for kx in 0..taps_x {
                let start = ((channel * taps_y + ky) * taps_x + kx) * stride + at;
                let out = &mut out[start..start + rows.len() * columns];
                let seen = inside(kx, sizes.width, columns, step, padding);
                for (row, line) in rows.clone().zip(out.chunks_exact_mut(columns)) {
                    let y = row * step + ky;
                    if y < padding || y - padding >= sizes.height || seen.is_empty() {
                        line.fill(0.0);
                        continue;
                    }
                    let x = &x[(y - padding) * sizes.width..][..sizes.width];
                    for v in &mut line[..seen.start] {
                        *v = 0.0;
                    }
                    for v in &mut line[seen.end..] {
                        *v = 0.0;
                    }
                    let first = seen.start * step + kx - padding;
                    let line = &mut line[seen.clone()];
                    if step == 1 {
                        copy(line, &x[first..first + line.len()]);
                    } else {
                        for (v, x) in line.iter_mut().zip(x[first..].iter().step_by(step)) {
                            *v = *x;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn last_body(x: &[f32], sizes: &Sizes, channels: &Range<usize>, rows: &Range<usize>, out: &mut [f32]) {
    let ([taps_y, taps_x], count) = (sizes.kernel, channels.len());
    let positions = rows
        .clone()
        .flat_map(|row| (0..sizes.columns()).map(move |column| (row, column)));
    for ((row, column), out) in positions.zip(out.chunks_exact_mut(taps_y * taps_x * count)) {
        for (tap, out) in out.chunks_exact_mut(count).enumerate() {
            let (y, x_at) = (row * sizes.stride + tap / taps_x, column * sizes.stride + tap % taps_x);
            let (y, x_at) = (y.wrapping_sub(sizes.padding), x_at.wrapping_sub(sizes.padding));
            if y < sizes.height && x_at < sizes.width {
                let start = (y * sizes.width + x_at) * sizes.inputs + channels.start;
                copy(out, &x[start..start + count]);
            } else {
                out.fill(0.0);
            }
        }
    }
}

#[inline(always)]
fn transpose_body(from: &[f32], columns: usize, to: &mut [f32], rows: usize) {
    /// Rows and columns that are moved at a time, so that what is read stays near until all of it has been.
    const BLOCK: usize = 16;
    for first_row in (0..rows).step_by(BLOCK) {
        for first_column in (0..columns).step_by(BLOCK) {
            for column in first_column..(first_column + BLOCK).min(columns) {
                for row in first_row..(first_row + BLOCK).min(rows) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
}

#[inline(always)]
fn fold_body(from: &[f32], sizes: &Sizes, rows: &Range<usize>, dx: &mut [f32], stride: usize, at: usize) {
    let (columns, step, padding) = (sizes.columns(), sizes.stride, sizes.padding);
    let [taps_y, taps_x] = sizes.kernel;
    for (channel, dx) in dx.chunks_exact_mut(sizes.plane()).enumerate() {
        for ky in 0..taps_y {
            for kx in 0..taps_x {
                let start = ((channel * taps_y + ky) * taps_x + kx) * stride + at;
                let from = &from[start..start + rows.len() * columns];
                let seen = inside(kx, sizes.width, columns, step, padding);
                for (row, line) in rows.clone().zip(from.chunks_exact(columns)) {
                    let y = row * step + ky;
                    if y < padding || y - padding >= sizes.height || seen.is_empty() {
                        continue;
                    }
                    let dx = &mut dx[(y - padding) * sizes.width..][..sizes.width];
                    let first = seen.start * step + kx - padding;
                    let line = &line[seen.clone()];
                    if step == 1 {
                        for (dx, v) in dx[first..first + line.len()].iter_mut().zip(line) {
                            *dx += v;
                        }
                    } else {
                        for (dx, v) in dx[first..].iter_mut().step_by(step).zip(line) {
                            *dx += v;
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn total_body(x: &[f32], sum: &mut f64) {
    let mut lanes = [0.0_f64; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            lanes[lane] += f64::from(chunk[lane]);
        }
    }
    for (lane, v) in lanes.iter_mut().zip(chunks.remainder()) {
        *lane += f64::from(*v);
    }
    *sum = simd::fold(&lanes);
}
