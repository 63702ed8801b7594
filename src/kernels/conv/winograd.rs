//! 3×3 convolutions with stride 1 by Winograd's minimal filtering F(4×4, 3×3) (Lavin and Gray 2016, arXiv:1509.09308):
//! a tile of 4×4 outputs takes 36 products a channel instead of 144.
//!
//! The polynomials are evaluated at 0, ±3/4, ±3/2 and infinity: half the rounding error of the usual 0, ±1, ±2 (as
//! Alam et al. 2022, arXiv:2201.10369, found of points c and 1/c), and their powers are exact in f32.
//!
//! Tiles of the picture and the kernels are transformed, each of the 36 places is a matrix product over the channels,
//! and the results are transformed back. Rows of tiles are taken in blocks that stay near the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::super::matrix::{Matrix, MatrixMut, Shared, multiply};
use super::super::memory;
use super::super::simd::per_instruction_set;
use super::Sizes;

/// Outputs of a tile, along each axis.
const STEP: usize = 4;
/// What they see of the input, along each axis.
const SEEN: usize = 6;
/// Places of a transformed tile.
const PLACES: usize = SEEN * SEEN;
/// Numbers that the transformed tiles of a block, and the kernels of a block of outputs, may take.
const TILES_ROOM: usize = 2 << 20;
const KERNELS_ROOM: usize = 12 << 20;
/// Tiles of a block, however many channels they have.
const LEAST_BLOCK: usize = 256;
/// Fewer tiles than this do not pay for transforming the kernels.
const LEAST_TILES: usize = 96;

/// Whether this way is the faster one.
pub(super) fn pays(sizes: &Sizes) -> bool {
    let tiles = sizes.batch * sizes.height.div_ceil(STEP) * sizes.width.div_ceil(STEP);
    sizes.kernel == [3, 3]
        && sizes.stride == 1
        && sizes.padding == 1
        && tiles >= LEAST_TILES
        && sizes.width >= 2 * STEP
        && sizes.inputs >= 16
        && sizes.outputs >= 16
}

/// How the kernels of a convolution lie in its weight.
#[derive(Clone, Copy)]
pub(super) struct Kernels<'a> {
    pub weight: &'a [f32],
    /// Steps from one output channel and one input channel to the next.
    pub strides: [usize; 2],
    /// Both axes are reversed.
    pub turned: bool,
}

/// A row of tiles.
#[derive(Clone, Copy)]
struct Line {
    picture: usize,
    row: usize,
}

per_instruction_set!(
    /// Transforms the kernels of one output channel: `out[place][input]`, `places` apart.
    fn kernels(from: &Kernels<'_>, output: usize, inputs: usize, taps: &mut [f32], out: &mut [f32]) = kernels_body
);
per_instruction_set!(
    /// Sorts a row of the picture with its padding by column modulo 4: `out[phase][tile]`, `tiles + 1` numbers each.
    fn sort(row: &[f32], tiles: usize, out: &mut [f32]) = sort_body
);
per_instruction_set!(
    /// Transforms a line of tiles: six sorted rows to `out[place][tile]`.
    fn tiles(rows: &[&[f32]; SEEN], count: usize, half: &mut [f32], out: &mut [f32]) = tiles_body
);
per_instruction_set!(
    /// Transforms the products of a line of tiles, `places` apart, to four rows of the output with `bias`.
    fn outputs(from: &[&[f32]], count: usize, bias: f32, half: &mut [f32], out: &mut [f32]) = outputs_body
);

/// The points, squared and cubed.
const P: f32 = 0.75;
const P2: f32 = P * P;
const P3: f32 = P2 * P;
const Q: f32 = 1.5;
const Q2: f32 = Q * Q;
const Q3: f32 = Q2 * Q;

/// `G · g` for the three numbers of a column or row of a kernel.
#[inline(always)]
fn g(a: f32, b: f32, c: f32) -> [f32; SEEN] {
    const AT_0: f32 = 1.0 / (P2 * Q2);
    const AT_P: f32 = 1.0 / (2.0 * P2 * (P2 - Q2));
    const AT_Q: f32 = 1.0 / (2.0 * Q2 * (Q2 - P2));
    let (near, near_side) = (c.mul_add(P2, a) * AT_P, b * (P * AT_P));
    let (far, far_side) = (c.mul_add(Q2, a) * AT_Q, b * (Q * AT_Q));
    [
        a * AT_0,
        near + near_side,
        near - near_side,
        far + far_side,
        far - far_side,
        c,
    ]
}

/// `Bᵀ · d` for the six numbers of a column or row of a tile.
#[inline(always)]
fn b(d: [f32; SEEN]) -> [f32; SEEN] {
    let (near, near_side) = (d[2].mul_add(-Q2, d[4]), d[1].mul_add(-Q2, d[3]) * P);
    let (far, far_side) = (d[2].mul_add(-P2, d[4]), d[1].mul_add(-P2, d[3]) * Q);
    [
        d[0].mul_add(P2 * Q2, d[2].mul_add(-(P2 + Q2), d[4])),
        near + near_side,
        near - near_side,
        far + far_side,
        far - far_side,
        d[1].mul_add(P2 * Q2, d[3].mul_add(-(P2 + Q2), d[5])),
    ]
}

/// `Aᵀ · m` for the six numbers of a column or row of products.
#[inline(always)]
fn a(m: [f32; SEEN]) -> [f32; STEP] {
    let (near, near_side) = (m[1] + m[2], m[1] - m[2]);
    let (far, far_side) = (m[3] + m[4], m[3] - m[4]);
    [
        m[0] + (near + far),
        near_side.mul_add(P, far_side * Q),
        near.mul_add(P2, far * Q2),
        near_side.mul_add(P3, far_side.mul_add(Q3, m[5])),
    ]
}

#[inline(always)]
fn kernels_body(from: &Kernels<'_>, output: usize, inputs: usize, taps: &mut [f32], out: &mut [f32]) {
    let [of_output, of_input] = from.strides;
    for input in 0..inputs {
        let kernel = &from.weight[output * of_output + input * of_input..][..9];
        for tap in 0..9 {
            taps[tap * inputs + input] = kernel[if from.turned { 8 - tap } else { tap }];
        }
    }
    let (taps, _) = taps.split_at(9 * inputs);
    let mut t = taps.chunks_exact(inputs);
    let t: [&[f32]; 9] = std::array::from_fn(|_| t.next().unwrap_or_default());
    let mut o = out.chunks_exact_mut(inputs);
    let o: [&mut [f32]; PLACES] = std::array::from_fn(|_| o.next().unwrap_or_default());
    for input in 0..inputs {
        let columns: [[f32; SEEN]; 3] = std::array::from_fn(|x| g(t[x][input], t[3 + x][input], t[6 + x][input]));
        for y in 0..SEEN {
            let row = g(columns[0][y], columns[1][y], columns[2][y]);
            for x in 0..SEEN {
                o[y * SEEN + x][input] = row[x];
            }
        }
    }
}

#[inline(always)]
fn sort_body(row: &[f32], tiles: usize, out: &mut [f32]) {
    let each = tiles + 1;
    let (first, rest) = out.split_at_mut(each);
    let (second, rest) = rest.split_at_mut(each);
    let (third, fourth) = rest.split_at_mut(each);
    let groups = row.chunks_exact(STEP).zip(first).zip(second).zip(third).zip(fourth);
    for ((((row, first), second), third), fourth) in groups {
        (*first, *second, *third, *fourth) = (row[0], row[1], row[2], row[3]);
    }
}

#[inline(always)]
fn tiles_body(rows: &[&[f32]; SEEN], count: usize, half: &mut [f32], out: &mut [f32]) {
    // Down the columns first, where all numbers of a line lie side by side.
    let sorted = STEP * (count + 1);
    let mut h = half.chunks_exact_mut(sorted);
    let h: [&mut [f32]; SEEN] = std::array::from_fn(|_| h.next().unwrap_or_default());
    let [h0, h1, h2, h3, h4, h5] = h;
    let [r0, r1, r2, r3, r4, r5] = rows.map(|row| &row[..sorted]);
    for i in 0..sorted {
        let v = b([r0[i], r1[i], r2[i], r3[i], r4[i], r5[i]]);
        (h0[i], h1[i], h2[i], h3[i], h4[i], h5[i]) = (v[0], v[1], v[2], v[3], v[4], v[5]);
    }
    for (line, out) in half.chunks_exact(sorted).zip(out.chunks_exact_mut(SEEN * count)) {
        let mut phases = line.chunks_exact(count + 1);
        let p: [&[f32]; STEP] = std::array::from_fn(|_| phases.next().unwrap_or_default());
        let [p0, p1, p2, p3] = p.map(|p| &p[..count + 1]);
        let mut o = out.chunks_exact_mut(count);
        let o: [&mut [f32]; SEEN] = std::array::from_fn(|_| o.next().unwrap_or_default());
        let [o0, o1, o2, o3, o4, o5] = o;
        for i in 0..count {
            let v = b([p0[i], p1[i], p2[i], p3[i], p0[i + 1], p1[i + 1]]);
            (o0[i], o1[i], o2[i], o3[i], o4[i], o5[i]) = (v[0], v[1], v[2], v[3], v[4], v[5]);
        }
    }
}

#[inline(always)]
fn outputs_body(from: &[&[f32]], count: usize, bias: f32, half: &mut [f32], out: &mut [f32]) {
    // Down the columns of the products, then along their rows.
    for x in 0..SEEN {
        let m: [&[f32]; SEEN] = std::array::from_fn(|y| &from[y * SEEN + x][..count]);
        let half = &mut half[x * STEP * count..][..STEP * count];
        let (h0, rest) = half.split_at_mut(count);
        let (h1, rest) = rest.split_at_mut(count);
        let (h2, h3) = rest.split_at_mut(count);
        for i in 0..count {
            let v = a([m[0][i], m[1][i], m[2][i], m[3][i], m[4][i], m[5][i]]);
            (h0[i], h1[i], h2[i], h3[i]) = (v[0], v[1], v[2], v[3]);
        }
    }
    for (y, out) in out.chunks_exact_mut(STEP * count).enumerate() {
        let h: [&[f32]; SEEN] = std::array::from_fn(|x| &half[(x * STEP + y) * count..][..count]);
        for (i, out) in out.chunks_exact_mut(STEP).enumerate() {
            let v = a([h[0][i], h[1][i], h[2][i], h[3][i], h[4][i], h[5][i]]);
            for x in 0..STEP {
                out[x] = v[x] + bias;
            }
        }
    }
}

/// The kernels of some output channels, transformed: `[place][output][input]`.
fn transformed(from: &Kernels<'_>, of: &Range<usize>, inputs: usize) -> Vec<f32> {
    let mut out = memory::zeros(PLACES * of.len() * inputs);
    let shared = Shared::new(&mut out);
    of.clone().into_par_iter().for_each_init(
        || (vec![0.0; 9 * inputs], vec![0.0; PLACES * inputs]),
        |(taps, row), output| {
            kernels(from, output, inputs, taps, row);
            for (place, row) in row.chunks_exact(inputs).enumerate() {
                let at = (place * of.len() + output - of.start) * inputs;
                // SAFETY: tasks share no output channel.
                unsafe { shared.slice(at, inputs) }.copy_from_slice(row);
            }
        },
    );
    out
}

/// The tiles of some lines, transformed: `[place][input][tile]`.
fn tiled(x: &[f32], sizes: &Sizes, lines: &[Line], count: usize) -> Vec<f32> {
    let tiles_of = lines.len() * count;
    let mut out = memory::zeros(PLACES * sizes.inputs * tiles_of);
    let shared = Shared::new(&mut out);
    let sorted = STEP * (count + 1);
    (0..sizes.inputs).into_par_iter().for_each_init(
        || {
            (
                vec![0.0; sorted],
                vec![0.0; SEEN * sorted],
                vec![0.0; SEEN * sorted],
                vec![0.0; PLACES * count],
            )
        },
        |(padded, rows, half, line_out), input| {
            for (at, line) in lines.iter().enumerate() {
                let plane = &x[(line.picture * sizes.inputs + input) * sizes.plane()..][..sizes.plane()];
                // The last two rows of the line above are the first two of this one.
                let kept = at > 0 && lines[at - 1].picture == line.picture;
                if kept {
                    rows.copy_within(STEP * sorted.., 0);
                }
                let first = if kept { SEEN - STEP } else { 0 };
                for (i, to) in rows.chunks_exact_mut(sorted).enumerate().skip(first) {
                    let y = line.row * STEP + i;
                    if y == 0 || y > sizes.height {
                        to.fill(0.0);
                    } else {
                        padded[1..=sizes.width].copy_from_slice(&plane[(y - 1) * sizes.width..][..sizes.width]);
                        sort(padded, count, to);
                    }
                }
                let mut parts = rows.chunks_exact(sorted);
                let parts: [&[f32]; SEEN] = std::array::from_fn(|_| parts.next().unwrap_or_default());
                tiles(&parts, count, half, line_out);
                for (place, values) in line_out.chunks_exact(count).enumerate() {
                    let to = (place * sizes.inputs + input) * tiles_of + at * count;
                    // SAFETY: tasks share no input channel.
                    unsafe { shared.slice(to, count) }.copy_from_slice(values);
                }
            }
        },
    );
    out
}

/// The convolution of `x` with kernels of 3×3, stride 1 and padding 1, plus `bias` where it is not empty.
pub(super) fn forward(x: &[f32], from: &Kernels<'_>, bias: &[f32], sizes: &Sizes) -> Vec<f32> {
    let count = sizes.width.div_ceil(STEP);
    let lines = (TILES_ROOM / (PLACES * sizes.inputs) / count).max(LEAST_BLOCK.div_ceil(count));
    let channels = (KERNELS_ROOM / (PLACES * sizes.inputs)).clamp(16, sizes.outputs.max(16));
    in_blocks(x, from, bias, sizes, [lines, channels])
}

/// The same, so many lines of tiles and so many output channels at a time.
fn in_blocks(x: &[f32], from: &Kernels<'_>, bias: &[f32], sizes: &Sizes, [block, channels]: [usize; 2]) -> Vec<f32> {
    let (inputs, outputs_of, plane) = (sizes.inputs, sizes.outputs, sizes.plane());
    let count = sizes.width.div_ceil(STEP);
    let rows = sizes.height.div_ceil(STEP);
    let mut y = memory::zeros(sizes.batch * outputs_of * plane);
    let shared = Shared::new(&mut y);
    let lines: Vec<Line> = (0..sizes.batch)
        .flat_map(|picture| (0..rows).map(move |row| Line { picture, row }))
        .collect();
    let blocks: Vec<Range<usize>> = (0..outputs_of)
        .step_by(channels)
        .map(|start| start..(start + channels).min(outputs_of))
        .collect();
    let whole = (blocks.len() == 1).then(|| transformed(from, &(0..outputs_of), inputs));
    for lines in lines.chunks(block) {
        let tiles_of = lines.len() * count;
        let input = tiled(x, sizes, lines, count);
        for of in &blocks {
            let fresh = whole.is_none().then(|| transformed(from, of, inputs));
            let kernels = whole.as_ref().or(fresh.as_ref()).map_or(&[][..], Vec::as_slice);
            let mut product = memory::zeros(PLACES * of.len() * tiles_of);
            product
                .par_chunks_mut(of.len() * tiles_of)
                .enumerate()
                .for_each(|(place, product)| {
                    let kernels = &kernels[place * of.len() * inputs..];
                    let input = &input[place * inputs * tiles_of..];
                    multiply(
                        &mut MatrixMut::new(product, [of.len(), tiles_of], [tiles_of, 1]),
                        false,
                        1.0,
                        Matrix::new(kernels, [of.len(), inputs], [inputs, 1]),
                        Matrix::new(input, [inputs, tiles_of], [tiles_of, 1]),
                    );
                });
            (0..of.len()).into_par_iter().for_each_init(
                || (vec![0.0; SEEN * STEP * count], vec![0.0; STEP * STEP * count]),
                |(half, made), i| {
                    let output = of.start + i;
                    let bias = bias.get(output).copied().unwrap_or(0.0);
                    for (at, line) in lines.iter().enumerate() {
                        let parts: [&[f32]; PLACES] = std::array::from_fn(|place| {
                            &product[(place * of.len() + i) * tiles_of + at * count..][..count]
                        });
                        outputs(&parts, count, bias, half, made);
                        for (row, made) in made.chunks_exact(STEP * count).enumerate() {
                            let row = line.row * STEP + row;
                            if row < sizes.height {
                                let to = (line.picture * outputs_of + output) * plane + row * sizes.width;
                                // SAFETY: tasks share no output channel.
                                let to = unsafe { shared.slice(to, sizes.width) };
                                to.copy_from_slice(&made[..sizes.width]);
                            }
                        }
                    }
                },
            );
        }
    }
    y
}

#[cfg(test)]
mod tests;
