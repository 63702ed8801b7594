//! Attention a tile of queries and keys at a time, so that memory grows with the number of tokens and not with its
//! square. One thread does one head from end to end, in a fixed order.

use rayon::prelude::*;

use super::matrix::{Matrix, MatrixMut, Shared, multiply};
use super::memory;
use super::simd::{self, LANES, per_instruction_set};

/// Queries and keys of one tile: its scores stay in the cache of one core.
const QUERIES: usize = 64;
const KEYS: usize = 512;

/// Sizes of one attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub heads: usize,
    pub queries: usize,
    pub keys: usize,
    /// Numbers of one token in one head.
    pub width: usize,
    pub scale: f32,
    pub causal: bool,
}

/// The tokens of all heads in memory; the numbers of one token lie side by side.
#[derive(Clone, Copy)]
pub(super) struct Tokens<'a> {
    pub data: &'a [f32],
    /// Steps from one picture, head and token to the next.
    pub strides: [usize; 3],
}

impl<'a> Tokens<'a> {
    fn matrix(&self, head: Head, first: usize, [count, width]: [usize; 2]) -> Matrix<'a> {
        let [picture, step, token] = self.strides;
        let data = &self.data[head.picture * picture + head.index * step + first * token..];
        Matrix::new(data, [count, width], [token, 1])
    }

    fn token(&self, head: Head, token: usize, width: usize) -> &'a [f32] {
        let [picture, step, stride] = self.strides;
        &self.data[head.picture * picture + head.index * step + token * stride..][..width]
    }

    /// The tokens of one head as columns: `[width, count]`.
    fn columns(&self, head: Head, [count, width]: [usize; 2]) -> Vec<f32> {
        let mut out = vec![0.0; width * count];
        for token in 0..count {
            for (i, v) in self.token(head, token, width).iter().enumerate() {
                out[i * count + token] = *v;
            }
        }
        out
    }
}

/// What [`forward`] and [`backward`] make: tokens in fresh memory, with the strides that they lie in.
pub(super) struct Made {
    pub data: Vec<f32>,
    pub strides: [usize; 3],
}

impl Made {
    /// Room for `count` tokens a head, laid out as `like` is: by token and then head, or by head and then token.
    fn like(like: &Tokens<'_>, sizes: &Sizes, count: usize) -> Self {
        let (heads, width) = (sizes.heads, sizes.width);
        let by_token = like.strides[1] < like.strides[2];
        let [head, token] = if by_token {
            [width, heads * width]
        } else {
            [count * width, width]
        };
        Self {
            data: memory::zeros(sizes.batch * heads * count * width),
            strides: [heads * count * width, head, token],
        }
    }
}

/// A place to write tokens to, for all threads.
struct Place<'a> {
    shared: Shared<'a>,
    strides: [usize; 3],
}

impl<'a> Place<'a> {
    fn new(made: &'a mut Made) -> Self {
        Self {
            strides: made.strides,
            shared: Shared::new(&mut made.data),
        }
    }

    /// Writes the rows of `from` as tokens `first` and on.
    ///
    /// # Safety
    /// Nobody else may write these tokens of this head at the same time.
    unsafe fn write(&self, head: Head, first: usize, from: &[f32], width: usize) {
        let [picture, step, token] = self.strides;
        for (i, from) in from.chunks_exact(width).enumerate() {
            let at = head.picture * picture + head.index * step + (first + i) * token;
            // SAFETY: as the caller promises.
            unsafe { self.shared.slice(at, width) }.copy_from_slice(from);
        }
    }
}

#[derive(Clone, Copy)]
struct Head {
    picture: usize,
    index: usize,
}

impl Head {
    fn new(number: usize, sizes: &Sizes) -> Self {
        Self {
            picture: number / sizes.heads,
            index: number % sizes.heads,
        }
    }
}

/// What the softmax of one query was divided by: its largest score, and one over the sum of the exponentials.
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax {
    largest: f32,
    inverse: f32,
}

/// The running softmax of one query.
#[derive(Clone, Copy)]
struct Running {
    largest: f32,
    sum: f32,
    /// What earlier results must be multiplied with, now that the largest score has changed.
    fade: f32,
}

per_instruction_set!(
    /// Scores to exponentials, a row a query; `seen` says how many keys of the tile each query sees.
    fn soften(scores: &mut [f32], width: usize, seen: &[usize], running: &mut [Running]) = soften_body
);
per_instruction_set!(
    /// Scores to softmax, when its sums are known.
    fn soften_again(scores: &mut [f32], width: usize, seen: &[usize], known: &[Softmax]) = again_body
);
per_instruction_set!(
    /// Gradient of the softmax to that of the scores before they were scaled.
    fn harden(softmax: &[f32], gradient: &mut [f32], width: usize, lost: &[f32], scale: f32) = harden_body
);
per_instruction_set!(
    fn fade_rows(rows: &mut [f32], width: usize, running: &[Running]) = fade_body
);

#[inline(always)]
fn soften_body(scores: &mut [f32], width: usize, seen: &[usize], running: &mut [Running]) {
    for ((row, seen), running) in scores.chunks_exact_mut(width).zip(seen).zip(running) {
        let (row, hidden) = row.split_at_mut(*seen);
        hidden.fill(0.0);
        let mut lanes = [running.largest; LANES];
        let mut chunks = row.chunks_exact(LANES);
        for chunk in &mut chunks {
            for lane in 0..LANES {
                lanes[lane] = if chunk[lane] > lanes[lane] {
                    chunk[lane]
                } else {
                    lanes[lane]
                };
            }
        }
        let largest = lanes
            .iter()
            .chain(chunks.remainder())
            .fold(running.largest, |m, v| if *v > m { *v } else { m });
        let mut sums = [0.0_f32; LANES];
        let mut chunks = row.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for lane in 0..LANES {
                chunk[lane] = simd::exp(chunk[lane] - largest);
                sums[lane] += chunk[lane];
            }
        }
        for (lane, v) in chunks.into_remainder().iter_mut().enumerate() {
            *v = simd::exp(*v - largest);
            sums[lane] += *v;
        }
        running.fade = if running.largest == largest {
            1.0
        } else {
            simd::exp(running.largest - largest)
        };
        running.sum = running
            .sum
            .mul_add(running.fade, simd::fold(&sums.map(f64::from)) as f32);
        running.largest = largest;
    }
}

#[inline(always)]
fn again_body(scores: &mut [f32], width: usize, seen: &[usize], known: &[Softmax]) {
    for ((row, seen), known) in scores.chunks_exact_mut(width).zip(seen).zip(known) {
        let (row, hidden) = row.split_at_mut(*seen);
        hidden.fill(0.0);
        for v in row {
            *v = simd::exp(*v - known.largest) * known.inverse;
        }
    }
}

#[inline(always)]
fn harden_body(softmax: &[f32], gradient: &mut [f32], width: usize, lost: &[f32], scale: f32) {
    let rows = softmax.chunks_exact(width).zip(gradient.chunks_exact_mut(width));
    for ((softmax, gradient), lost) in rows.zip(lost) {
        for (p, g) in softmax.iter().zip(gradient) {
            *g = (*g - lost) * p * scale;
        }
    }
}

#[inline(always)]
fn fade_body(rows: &mut [f32], width: usize, running: &[Running]) {
    for (row, running) in rows.chunks_exact_mut(width).zip(running) {
        for v in row {
            *v *= running.fade;
        }
    }
}

impl Sizes {
    /// How many of the keys `first_key..first_key + keys` each of the queries sees.
    fn seen(&self, first: usize, queries: usize, first_key: usize, keys: usize, seen: &mut Vec<usize>) {
        seen.clear();
        seen.extend((first..first + queries).map(|query| {
            if self.causal {
                (query + 1).saturating_sub(first_key).min(keys)
            } else {
                keys
            }
        }));
    }
}

/// Scores of some queries with some keys, scaled; `columns` is `[width, keys]` of all keys.
fn scores(q: Matrix<'_>, columns: &[f32], sizes: &Sizes, [first, keys]: [usize; 2], queries: usize, out: &mut [f32]) {
    let right = Matrix::new(&columns[first..], [sizes.width, keys], [sizes.keys, 1]);
    multiply(
        &mut MatrixMut::new(out, [queries, keys], [keys, 1]),
        false,
        sizes.scale,
        q,
        right,
    );
}

/// Attention, and what [`backward`] wants of each query's softmax.
pub(super) fn forward(q: Tokens<'_>, k: Tokens<'_>, v: Tokens<'_>, sizes: &Sizes) -> (Made, Vec<Softmax>) {
    let width = sizes.width;
    let mut made = Made::like(&q, sizes, sizes.queries);
    let mut softmax = vec![
        Softmax {
            largest: 0.0,
            inverse: 0.0
        };
        sizes.batch * sizes.heads * sizes.queries
    ];
    // Few heads are cut in pieces of their queries, so that there is work for every thread.
    let pieces = if sizes.batch * sizes.heads < 4 { 4 } else { 1 };
    let step = sizes.queries.div_ceil(pieces).next_multiple_of(QUERIES);
    let tasks: Vec<(usize, usize, &mut [Softmax])> = softmax
        .chunks_mut(sizes.queries)
        .enumerate()
        .flat_map(|(head, softmax)| {
            softmax
                .chunks_mut(step)
                .enumerate()
                .map(move |(i, part)| (head, i * step, part))
        })
        .collect();
    let place = Place::new(&mut made);
    tasks.into_par_iter().for_each(|(head, begin, softmax)| {
        let head = Head::new(head, sizes);
        let columns = k.columns(head, [sizes.keys, width]);
        let mut tile = vec![0.0; QUERIES * KEYS.min(sizes.keys)];
        let mut out = vec![0.0; QUERIES * width];
        let mut seen = Vec::with_capacity(QUERIES);
        for (i, softmax) in softmax.chunks_mut(QUERIES).enumerate() {
            let (first, queries) = (begin + i * QUERIES, softmax.len());
            let mut running = [Running {
                largest: f32::NEG_INFINITY,
                sum: 0.0,
                fade: 0.0,
            }; QUERIES];
            let out = &mut out[..queries * width];
            out.fill(0.0);
            for first_key in (0..sizes.keys).step_by(KEYS) {
                let keys = KEYS.min(sizes.keys - first_key);
                if sizes.causal && first_key >= first + queries {
                    break;
                }
                let tile = &mut tile[..queries * keys];
                scores(
                    q.matrix(head, first, [queries, width]),
                    &columns,
                    sizes,
                    [first_key, keys],
                    queries,
                    tile,
                );
                sizes.seen(first, queries, first_key, keys, &mut seen);
                soften(tile, keys, &seen, &mut running[..queries]);
                if first_key > 0 {
                    fade_rows(out, width, &running);
                }
                let tile = Matrix::new(tile, [queries, keys], [keys, 1]);
                let values = v.matrix(head, first_key, [keys, width]);
                multiply(
                    &mut MatrixMut::new(out, [queries, width], [width, 1]),
                    true,
                    1.0,
                    tile,
                    values,
                );
            }
            for ((softmax, running), out) in softmax.iter_mut().zip(&running).zip(out.chunks_exact_mut(width)) {
                *softmax = Softmax {
                    largest: running.largest,
                    inverse: 1.0 / running.sum,
                };
                out.iter_mut().for_each(|v| *v *= softmax.inverse);
            }
            // SAFETY: tasks share no query.
            unsafe { place.write(head, first, out, width) };
        }
    });
    (made, softmax)
}

/// Gradients of q, k and v from the output `y` and its gradient `dy`.
pub(super) fn backward([q, k, v, y, dy]: [Tokens<'_>; 5], softmax: &[Softmax], sizes: &Sizes) -> [Made; 3] {
    let (width, all) = (sizes.width, sizes.keys);
    let mut made_q = Made::like(&q, sizes, sizes.queries);
    let mut made_k = Made::like(&k, sizes, all);
    let mut made_v = Made::like(&v, sizes, all);
    let places = [
        Place::new(&mut made_q),
        Place::new(&mut made_k),
        Place::new(&mut made_v),
    ];
    softmax
        .par_chunks(sizes.queries)
        .enumerate()
        .for_each(|(head, softmax)| {
            let head = Head::new(head, sizes);
            let (key_columns, value_columns) = (k.columns(head, [all, width]), v.columns(head, [all, width]));
            let mut dk = vec![0.0; all * width];
            let mut dv = vec![0.0; all * width];
            let mut dq = vec![0.0; QUERIES * width];
            let mut tile = vec![0.0; QUERIES * KEYS.min(all)];
            let mut d_tile = tile.clone();
            let mut seen = Vec::with_capacity(QUERIES);
            let mut lost = Vec::with_capacity(QUERIES);
            for (i, softmax) in softmax.chunks(QUERIES).enumerate() {
                let (first, queries) = (i * QUERIES, softmax.len());
                lost.clear();
                lost.extend((first..first + queries).map(|query| {
                    let pairs = y.token(head, query, width).iter().zip(dy.token(head, query, width));
                    pairs.map(|(y, dy)| f64::from(*y) * f64::from(*dy)).sum::<f64>() as f32
                }));
                let (q, dy) = (
                    q.matrix(head, first, [queries, width]),
                    dy.matrix(head, first, [queries, width]),
                );
                let dq = &mut dq[..queries * width];
                dq.fill(0.0);
                for first_key in (0..all).step_by(KEYS) {
                    let keys = KEYS.min(all - first_key);
                    if sizes.causal && first_key >= first + queries {
                        break;
                    }
                    let (tile, d_tile) = (&mut tile[..queries * keys], &mut d_tile[..queries * keys]);
                    scores(q, &key_columns, sizes, [first_key, keys], queries, tile);
                    sizes.seen(first, queries, first_key, keys, &mut seen);
                    soften_again(tile, keys, &seen, softmax);
                    let right = Matrix::new(&value_columns[first_key..], [width, keys], [all, 1]);
                    multiply(
                        &mut MatrixMut::new(d_tile, [queries, keys], [keys, 1]),
                        false,
                        1.0,
                        dy,
                        right,
                    );
                    harden(tile, d_tile, keys, &lost, sizes.scale);
                    let shape = [queries, keys];
                    let (tile, d_tile) = (
                        Matrix::new(tile, shape, [keys, 1]),
                        Matrix::new(d_tile, shape, [keys, 1]),
                    );
                    let part = first_key * width..(first_key + keys) * width;
                    let mut out = MatrixMut::new(&mut dv[part.clone()], [keys, width], [width, 1]);
                    multiply(&mut out, true, 1.0, tile.transposed(), dy);
                    let mut out = MatrixMut::new(&mut dk[part], [keys, width], [width, 1]);
                    multiply(&mut out, true, 1.0, d_tile.transposed(), q);
                    let mut out = MatrixMut::new(dq, [queries, width], [width, 1]);
                    multiply(&mut out, true, 1.0, d_tile, k.matrix(head, first_key, [keys, width]));
                }
                // SAFETY: tasks share no head.
                unsafe { places[0].write(head, first, dq, width) };
            }
            // SAFETY: tasks share no head.
            unsafe {
                places[1].write(head, 0, &dk, width);
                places[2].write(head, 0, &dv, width);
            }
        });
    [made_q, made_k, made_v]
}
