//! SiLU and the gated GELU over slices, forward and backward.

use rayon::prelude::*;

use super::memory;
use super::simd::{self, per_instruction_set};

/// Elements of one parallel task: large enough to hide the cost of a task, small enough to stay in the cache.
const BLOCK: usize = 16 * 1024;

per_instruction_set!(fn silu_block(x: &[f32], y: &mut [f32]) = silu_body);
per_instruction_set!(fn silu_back_block(x: &[f32], dx: &mut [f32]) = silu_back_body);
per_instruction_set!(fn geglu_row(x: &[f32], y: &mut [f32]) = geglu_body);
per_instruction_set!(fn geglu_back_row(x: &[f32], dy: &[f32], dx: &mut [f32]) = geglu_back_body);

#[inline(always)]
fn silu_body(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = simd::silu(*x);
    }
}

#[inline(always)]
fn silu_back_body(x: &[f32], dx: &mut [f32]) {
    for (dx, x) in dx.iter_mut().zip(x) {
        *dx *= simd::silu_slope(*x);
    }
}

#[inline(always)]
fn geglu_body(x: &[f32], y: &mut [f32]) {
    let (hidden, gate) = x.split_at(y.len());
    for ((y, hidden), gate) in y.iter_mut().zip(hidden).zip(gate) {
        *y = hidden * simd::gelu(*gate);
    }
}

#[inline(always)]
fn geglu_back_body(x: &[f32], dy: &[f32], dx: &mut [f32]) {
    let (hidden, gate) = x.split_at(dy.len());
    let (d_hidden, d_gate) = dx.split_at_mut(dy.len());
    for i in 0..dy.len() {
        let (value, slope) = simd::gelu_and_slope(gate[i]);
        d_hidden[i] = dy[i] * value;
        d_gate[i] = dy[i] * hidden[i] * slope;
    }
}

/// `x * sigmoid(x)`.
pub(super) fn silu(x: &[f32]) -> Vec<f32> {
    let mut y = memory::zeros(x.len());
    y.par_chunks_mut(BLOCK)
        .zip(x.par_chunks(BLOCK))
        .for_each(|(y, x)| silu_block(x, y));
    y
}

/// Turns the gradient of the output into that of the input, in place.
pub(super) fn silu_backward(x: &[f32], gradient: &mut [f32]) {
    gradient
        .par_chunks_mut(BLOCK)
        .zip(x.par_chunks(BLOCK))
        .for_each(|(dx, x)| silu_back_block(x, dx));
}

/// Rows `hidden, gate` of `2 * channels` to rows of `channels`.
pub(super) fn geglu(x: &[f32], channels: usize) -> Vec<f32> {
    let mut y = memory::zeros(x.len() / 2);
    let rows = (BLOCK / channels.max(1)).max(1);
    y.par_chunks_mut(rows * channels)
        .zip(x.par_chunks(rows * 2 * channels))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_mut(channels).zip(x.chunks(2 * channels)) {
                geglu_row(x, y);
            }
        });
    y
}

/// Gradient of [`geglu`]'s input.
pub(super) fn geglu_backward(x: &[f32], dy: &[f32], channels: usize) -> Vec<f32> {
    let mut dx = memory::zeros(x.len());
    let rows = (BLOCK / channels.max(1)).max(1);
    let tasks = dx
        .par_chunks_mut(rows * 2 * channels)
        .zip(x.par_chunks(rows * 2 * channels));
    tasks.zip(dy.par_chunks(rows * channels)).for_each(|((dx, x), dy)| {
        let rows = dx.chunks_mut(2 * channels).zip(x.chunks(2 * channels));
        for ((dx, x), dy) in rows.zip(dy.chunks(channels)) {
            geglu_back_row(x, dy, dx);
        }
    });
    dx
}
