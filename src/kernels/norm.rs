//! Group and layer normalisation over slices, forward and backward. The statistics are sums in f64 of a fixed order.

use rayon::prelude::*;

use super::memory;
use super::simd::{self, LANES, per_instruction_set};

/// Elements between two flushes of a sum from f32 lanes to f64.
const FLUSH: usize = 64 * LANES;

/// What one group (or row) was normalised with.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    mean: f64,
    /// 1 / √(variance + eps)
    inverse: f32,
}

impl Moments {
    /// The mean split in what f32 holds and the rest.
    #[inline(always)]
    fn mean_parts(self) -> (f32, f32) {
        let high = self.mean as f32;
        (high, (self.mean - f64::from(high)) as f32)
    }
}

/// Sizes of a group normalisation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Groups {
    /// Channels in one group.
    pub channels: usize,
    /// Groups in one picture.
    pub groups: usize,
    /// Height times width.
    pub plane: usize,
    pub eps: f64,
    pub silu: bool,
}

per_instruction_set!(
    fn group_block(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Groups, y: &mut [f32], seen: &mut Moments) = group_body
);
per_instruction_set!(
    fn group_back_block(
        x: &[f32],
        weight: &[f32],
        bias: &[f32],
        sizes: &Groups,
        seen: &Moments,
        dx: &mut [f32],
        sums: &mut [[f64; 2]],
    ) = group_back_body
);
per_instruction_set!(
    fn row_block(x: &[f32], weight: &[f32], bias: &[f32], eps: f64, y: &mut [f32], seen: &mut [Moments]) = row_body
);
per_instruction_set!(
    fn row_back_block(x: &[f32], weight: &[f32], seen: &[Moments], dx: &mut [f32], d_weight: &mut [f32], d_bias: &mut [f32]) =
        row_back_body
);

#[inline(always)]
fn moments(x: &[f32], eps: f64) -> Moments {
    let mut sums = [0.0_f64; LANES];
    let mut squares = [0.0_f64; LANES];
    let mut chunks = x.chunks_exact(LANES);
    for chunk in &mut chunks {
        for lane in 0..LANES {
            let v = f64::from(chunk[lane]);
            sums[lane] += v;
            squares[lane] = v.mul_add(v, squares[lane]);
        }
    }
    for (lane, v) in chunks.remainder().iter().enumerate() {
        let v = f64::from(*v);
        sums[lane] += v;
        squares[lane] = v.mul_add(v, squares[lane]);
    }
    let count = x.len() as f64;
    let mean = simd::fold(&sums) / count;
    let variance = (simd::fold(&squares) / count - mean * mean).max(0.0);
    Moments {
        mean,
        inverse: (1.0 / (variance + eps).sqrt()) as f32,
    }
}

#[inline(always)]
fn group_body(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Groups, y: &mut [f32], seen: &mut Moments) {
    *seen = moments(x, sizes.eps);
    let (mean, rest) = seen.mean_parts();
    for channel in 0..sizes.channels {
        let at = channel * sizes.plane..(channel + 1) * sizes.plane;
        let scale = seen.inverse * weight[channel];
        let shift = (-rest).mul_add(scale, bias[channel]);
        let (x, y) = (&x[at.clone()], &mut y[at]);
        if sizes.silu {
            for (y, x) in y.iter_mut().zip(x) {
                *y = simd::silu((x - mean).mul_add(scale, shift));
            }
        } else {
            for (y, x) in y.iter_mut().zip(x) {
                *y = (x - mean).mul_add(scale, shift);
            }
        }
    }
}

/// `dx` comes in as the gradient of the output. `sums` gets, a channel, the gradients of the bias and of the weight.
#[inline(always)]
fn group_back_body(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    sizes: &Groups,
    seen: &Moments,
    dx: &mut [f32],
    sums: &mut [[f64; 2]],
) {
    let (mean, rest) = seen.mean_parts();
    let inverse = seen.inverse;
    let lost = -rest * inverse;
    let (mut total, mut total_normal) = (0.0_f64, 0.0_f64);
    for channel in 0..sizes.channels {
        let at = channel * sizes.plane..(channel + 1) * sizes.plane;
        let (x, dx) = (&x[at.clone()], &mut dx[at]);
        let (w, b) = (weight[channel], bias[channel]);
        let (mut sum, mut sum_normal) = (0.0_f64, 0.0_f64);
        for (x, dx) in x.chunks(FLUSH).zip(dx.chunks_mut(FLUSH)) {
            if sizes.silu {
                for (dx, x) in dx.iter_mut().zip(x) {
                    let normal = (x - mean).mul_add(inverse, lost);
                    *dx *= simd::silu_slope(normal.mul_add(w, b));
                }
            }
            let (mut lanes, mut lanes_normal) = ([0.0_f32; LANES], [0.0_f32; LANES]);
            let (mut xs, mut ds) = (x.chunks_exact(LANES), dx.chunks_exact(LANES));
            for (x, d) in (&mut xs).zip(&mut ds) {
                for lane in 0..LANES {
                    let normal = (x[lane] - mean).mul_add(inverse, lost);
                    lanes[lane] += d[lane];
                    lanes_normal[lane] = d[lane].mul_add(normal, lanes_normal[lane]);
                }
            }
            for (lane, (x, d)) in xs.remainder().iter().zip(ds.remainder()).enumerate() {
                let normal = (x - mean).mul_add(inverse, lost);
                lanes[lane] += d;
                lanes_normal[lane] = d.mul_add(normal, lanes_normal[lane]);
            }
            sum += simd::fold(&lanes.map(f64::from));
            sum_normal += simd::fold(&lanes_normal.map(f64::from));
        }
        sums[channel] = [sum, sum_normal];
        total += f64::from(w) * sum;
        total_normal += f64::from(w) * sum_normal;
    }
    let count = (sizes.channels * sizes.plane) as f64;
    let k = (f64::from(inverse) * total / count) as f32;
    let k_normal = (f64::from(inverse) * total_normal / count) as f32;
    for ((weight, x), dx) in weight
        .iter()
        .zip(x.chunks_exact(sizes.plane))
        .zip(dx.chunks_exact_mut(sizes.plane))
    {
        let scale = inverse * weight;
        for (dx, x) in dx.iter_mut().zip(x) {
            let normal = (x - mean).mul_add(inverse, lost);
            *dx = dx.mul_add(scale, -normal.mul_add(k_normal, k));
        }
    }
}

#[inline(always)]
fn row_body(x: &[f32], weight: &[f32], bias: &[f32], eps: f64, y: &mut [f32], seen: &mut [Moments]) {
    let width = weight.len();
    for ((x, y), seen) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).zip(seen) {
        *seen = moments(x, eps);
        let (mean, rest) = seen.mean_parts();
        let (inverse, lost) = (seen.inverse, -rest * seen.inverse);
        for i in 0..width {
            y[i] = (x[i] - mean).mul_add(inverse, lost).mul_add(weight[i], bias[i]);
        }
    }
}

/// `dx` comes in as the gradient of the output; the gradients of weight and bias are added to.
#[inline(always)]
fn row_back_body(
    x: &[f32],
    weight: &[f32],
    seen: &[Moments],
    dx: &mut [f32],
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    let width = weight.len();
    for ((x, dx), seen) in x.chunks_exact(width).zip(dx.chunks_exact_mut(width)).zip(seen) {
        let (mean, rest) = seen.mean_parts();
        let (inverse, lost) = (seen.inverse, -rest * seen.inverse);
        let (mut lanes, mut lanes_normal) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        let whole = width - width % LANES;
        for start in (0..whole).step_by(LANES) {
            for lane in 0..LANES {
                let i = start + lane;
                let normal = (x[i] - mean).mul_add(inverse, lost);
                let d = dx[i] * weight[i];
                lanes[lane] += f64::from(d);
                lanes_normal[lane] += f64::from(d * normal);
            }
        }
        for i in whole..width {
            let normal = (x[i] - mean).mul_add(inverse, lost);
            let d = dx[i] * weight[i];
            lanes[i - whole] += f64::from(d);
            lanes_normal[i - whole] += f64::from(d * normal);
        }
        let k = (simd::fold(&lanes) / width as f64) as f32;
        let k_normal = (simd::fold(&lanes_normal) / width as f64) as f32;
        for i in 0..width {
            let normal = (x[i] - mean).mul_add(inverse, lost);
            d_bias[i] += dx[i];
            d_weight[i] = dx[i].mul_add(normal, d_weight[i]);
            dx[i] = inverse * dx[i].mul_add(weight[i], -normal.mul_add(k_normal, k));
        }
    }
}

/// Normalises each group of `x`; also gives the moments that [`group_backward`] wants.
pub(super) fn group(x: &[f32], weight: &[f32], bias: &[f32], sizes: Groups) -> (Vec<f32>, Vec<Moments>) {
    let size = sizes.channels * sizes.plane;
    let mut y = memory::zeros(x.len());
    let mut seen = vec![Moments::default(); x.len() / size];
    let tasks = y
        .par_chunks_mut(size)
        .zip(x.par_chunks(size))
        .zip(&mut seen)
        .enumerate();
    tasks.with_min_len(4096 / size + 1).for_each(|(i, ((y, x), seen))| {
        let first = i % sizes.groups * sizes.channels;
        let at = first..first + sizes.channels;
        group_block(x, &weight[at.clone()], &bias[at], &sizes, y, seen);
    });
    (y, seen)
}

/// Normalises each group of `x` in its place: the same numbers as [`group`] gives.
pub(super) fn group_over(x: &mut [f32], weight: &[f32], bias: &[f32], sizes: Groups) {
    let size = sizes.channels * sizes.plane;
    let tasks = x.par_chunks_mut(size).enumerate().with_min_len(4096 / size + 1);
    tasks.for_each_init(
        || memory::zeros(size),
        |copy, (i, x)| {
            let first = i % sizes.groups * sizes.channels;
            let at = first..first + sizes.channels;
            copy.copy_from_slice(x);
            group_block(copy, &weight[at.clone()], &bias[at], &sizes, x, &mut Moments::default());
        },
    );
}

/// Turns `gradient` from that of the output into that of the input; gives the gradients of weight and bias.
pub(super) fn group_backward(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    sizes: Groups,
    seen: &[Moments],
    gradient: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let size = sizes.channels * sizes.plane;
    let mut sums = vec![[0.0_f64; 2]; seen.len() * sizes.channels];
    let tasks = gradient.par_chunks_mut(size).zip(x.par_chunks(size)).zip(seen);
    let tasks = tasks.zip(sums.par_chunks_mut(sizes.channels)).enumerate();
    tasks
        .with_min_len(4096 / size + 1)
        .for_each(|(i, (((dx, x), seen), sums))| {
            let first = i % sizes.groups * sizes.channels;
            let at = first..first + sizes.channels;
            group_back_block(x, &weight[at.clone()], &bias[at], &sizes, seen, dx, sums);
        });
    let channels = weight.len();
    let total = |part: usize| -> Vec<f32> {
        let of = |channel: usize| {
            sums.iter()
                .skip(channel)
                .step_by(channels)
                .map(|s| s[part])
                .sum::<f64>() as f32
        };
        (0..channels).map(of).collect()
    };
    (total(1), total(0))
}

/// Rows of one parallel task of a layer normalisation, and of one partial sum of its gradients.
const ROWS: usize = 32;

/// Normalises each row of `x`; also gives the moments that [`layer_backward`] wants.
pub(super) fn layer(x: &[f32], weight: &[f32], bias: &[f32], eps: f64) -> (Vec<f32>, Vec<Moments>) {
    let width = weight.len();
    let mut y = memory::zeros(x.len());
    let mut seen = vec![Moments::default(); x.len() / width];
    let tasks = y
        .par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width))
        .zip(seen.par_chunks_mut(ROWS));
    tasks.for_each(|((y, x), seen)| row_block(x, weight, bias, eps, y, seen));
    (y, seen)
}

/// Turns `gradient` from that of the output into that of the input; gives the gradients of weight and bias.
pub(super) fn layer_backward(
    x: &[f32],
    weight: &[f32],
    seen: &[Moments],
    gradient: &mut [f32],
) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let blocks = seen.len().div_ceil(ROWS);
    let mut parts = vec![0.0_f32; blocks * 2 * width];
    let tasks = gradient
        .par_chunks_mut(ROWS * width)
        .zip(x.par_chunks(ROWS * width))
        .zip(seen.par_chunks(ROWS));
    tasks
        .zip(parts.par_chunks_mut(2 * width))
        .for_each(|(((dx, x), seen), part)| {
            let (d_weight, d_bias) = part.split_at_mut(width);
            row_back_block(x, weight, seen, dx, d_weight, d_bias);
        });
    let mut sums = vec![0.0_f64; 2 * width];
    for part in parts.chunks(2 * width) {
        for (sum, part) in sums.iter_mut().zip(part) {
            *sum += f64::from(*part);
        }
    }
    let total = |sums: &[f64]| sums.iter().map(|s| *s as f32).collect();
    (total(&sums[..width]), total(&sums[width..]))
}
