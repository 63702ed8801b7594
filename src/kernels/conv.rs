//! Two-dimensional convolution as matrix products over unfolded patches, or by Winograd's transforms where that is
//! faster, forward and backward. Every sum is taken in an
//! order that depends on the sizes alone, never on the threads.

mod unfold;
mod winograd;

use std::cell::OnceCell;
use std::ops::Range;

use rayon::prelude::*;

use super::matrix::{Matrix, MatrixMut, Shared, multiply};
use super::memory;
use unfold::{fold_back, total, transpose, unfold, unfold_last};

/// Sizes of one convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub inputs: usize,
    pub height: usize,
    pub width: usize,
    pub outputs: usize,
    pub kernel: [usize; 2],
    pub stride: usize,
    pub padding: usize,
}

impl Sizes {
    /// Height and width of the output; `None` where the kernel does not fit.
    pub(super) fn output(&self) -> Option<[usize; 2]> {
        let along = |size: usize, kernel: usize| {
            let room = (size + 2 * self.padding).checked_sub(kernel)?;
            room.checked_div(self.stride).map(|steps| steps + 1)
        };
        Some([along(self.height, self.kernel[0])?, along(self.width, self.kernel[1])?])
    }

    fn rows(&self) -> usize {
        self.output().map_or(0, |[rows, _]| rows)
    }

    fn columns(&self) -> usize {
        self.output().map_or(0, |[_, columns]| columns)
    }

    fn out_plane(&self) -> usize {
        self.rows() * self.columns()
    }

    fn plane(&self) -> usize {
        self.height * self.width
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Whether unfolding would only copy.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == 1 && self.padding == 0
    }

    /// Cuts the batch in tiles of about `wanted` output positions: several small pictures, or rows of a large one.
    fn tiles(&self, wanted: usize, at_least: usize) -> Vec<Tile> {
        let (plane, rows) = (self.out_plane(), self.rows());
        if plane * 2 <= wanted && self.batch > 1 {
            let pictures = (wanted / plane).min(self.batch.div_ceil(at_least)).max(1);
            let starts = (0..self.batch).step_by(pictures);
            return starts
                .map(|b| Tile {
                    pictures: b..(b + pictures).min(self.batch),
                    rows: 0..rows,
                })
                .collect();
        }
        let pieces = plane
            .div_ceil(wanted.max(1))
            .max(if self.batch == 1 { at_least.min(rows) } else { 1 });
        let step = rows.div_ceil(pieces).max(1);
        let of = |b: usize| {
            let starts = (0..rows).step_by(step);
            starts.map(move |row| Tile {
                pictures: b..b + 1,
                rows: row..(row + step).min(rows),
            })
        };
        (0..self.batch).flat_map(of).collect()
    }

    /// Output positions that one product takes, so that the unfolded patches of `depth` stay near the cache.
    fn tile_size(depth: usize) -> usize {
        (256 * 1024 / depth.max(1)).clamp(256, 4096)
    }
}

/// Output positions that one product computes: rows of one picture, or all rows of several.
struct Tile {
    pictures: Range<usize>,
    rows: Range<usize>,
}

impl Tile {
    fn positions(&self, sizes: &Sizes) -> usize {
        self.pictures.len() * self.rows.len() * sizes.columns()
    }
}

/// Unfolds some channels of a tile's pictures, side by side.
fn unfold_tile(x: &[f32], sizes: &Sizes, channels: &Range<usize>, tile: &Tile, out: &mut [f32]) {
    let (stride, each) = (tile.positions(sizes), tile.rows.len() * sizes.columns());
    for (i, picture) in tile.pictures.clone().enumerate() {
        let start = (picture * sizes.inputs + channels.start) * sizes.plane();
        let x = &x[start..start + channels.len() * sizes.plane()];
        unfold(x, sizes, &tile.rows, out, stride, i * each);
    }
}

/// The convolution of `x` with `weight`, plus `bias` where it is not empty.
pub(super) fn forward(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Sizes) -> Vec<f32> {
    if winograd::pays(sizes) {
        let kernels = winograd::Kernels {
            weight,
            strides: [9 * sizes.inputs, 9],
            turned: false,
        };
        return winograd::forward(x, &kernels, bias, sizes);
    }
    unfolded(x, weight, bias, sizes)
}

fn unfolded(x: &[f32], weight: &[f32], bias: &[f32], sizes: &Sizes) -> Vec<f32> {
    let (outputs, plane, depth) = (sizes.outputs, sizes.out_plane(), sizes.inputs * sizes.taps());
    let mut y = memory::zeros(sizes.batch * outputs * plane);
    let shared = Shared::new(&mut y);
    let weight = Matrix::new(weight, [outputs, depth], [depth, 1]);
    let weight = Constant(weight);
    sizes
        .tiles(Sizes::tile_size(depth), 2)
        .par_iter()
        .for_each_init(Vec::new, |patches: &mut Vec<f32>, tile| {
            let positions = tile.positions(sizes);
            let picture = tile.pictures.start;
            let alone = tile.pictures.len() == 1;
            let right = if alone && sizes.is_pointwise() {
                let x = &x[picture * depth * plane + tile.rows.start * sizes.columns()..];
                Matrix::new(x, [depth, positions], [plane, 1])
            } else {
                patches.resize(patches.len().max(depth * positions), 0.0);
                unfold_tile(x, sizes, &(0..sizes.inputs), tile, patches);
                Matrix::new(patches, [depth, positions], [positions, 1])
            };
            let first = tile.rows.start * sizes.columns();
            let length = tile.rows.len() * sizes.columns();
            if alone {
                let start = picture * outputs * plane + first;
                // SAFETY: tiles share no output position.
                let mut out = unsafe { shared.matrix(start, [outputs, positions], [plane, 1]) };
                multiply(&mut out, false, 1.0, weight.get(), right);
            } else {
                let mut out = vec![0.0; outputs * positions];
                multiply(
                    &mut MatrixMut::new(&mut out, [outputs, positions], [positions, 1]),
                    false,
                    1.0,
                    weight.get(),
                    right,
                );
                for (i, picture) in tile.pictures.clone().enumerate() {
                    for (output, out) in out.chunks_exact(positions).enumerate() {
                        // SAFETY: tiles share no output position.
                        let y = unsafe { shared.slice((picture * outputs + output) * plane, plane) };
                        y.copy_from_slice(&out[i * plane..(i + 1) * plane]);
                    }
                }
            }
            for picture in tile.pictures.clone() {
                for (output, bias) in bias.iter().enumerate() {
                    // SAFETY: tiles share no output position.
                    let y = unsafe { shared.slice((picture * outputs + output) * plane + first, length) };
                    y.iter_mut().for_each(|y| *y += bias);
                }
            }
        });
    y
}

/// A matrix that every thread reads.
struct Constant<'a>(Matrix<'a>);

// SAFETY: nothing writes through a `Matrix`, and its memory is borrowed for as long.
unsafe impl Sync for Constant<'_> {}

impl<'a> Constant<'a> {
    fn get(&self) -> Matrix<'a> {
        self.0
    }
}

/// The gradient of the output, and with its first two axes swapped once somebody asks: `[outputs, batch, plane]`.
pub(super) struct Gradient<'a> {
    plain: &'a [f32],
    sizes: &'a Sizes,
    swapped: OnceCell<Vec<f32>>,
}

impl<'a> Gradient<'a> {
    pub(super) fn new(plain: &'a [f32], sizes: &'a Sizes) -> Self {
        Self {
            plain,
            sizes,
            swapped: OnceCell::new(),
        }
    }

    fn swapped(&self) -> &[f32] {
        self.swapped.get_or_init(|| swapped(self.plain, self.sizes))
    }
}

fn swapped(dy: &[f32], sizes: &Sizes) -> Vec<f32> {
    let (outputs, plane) = (sizes.outputs, sizes.out_plane());
    let mut out = memory::zeros(dy.len());
    out.par_chunks_mut(sizes.batch * plane)
        .enumerate()
        .for_each(|(output, out)| {
            for (picture, out) in out.chunks_exact_mut(plane).enumerate() {
                out.copy_from_slice(&dy[(picture * outputs + output) * plane..][..plane]);
            }
        });
    out
}

/// The channels in about `wanted` blocks for the threads, or in more, of at most 32 channels, when one is not enough.
fn blocks(channels: usize, wanted: usize) -> Vec<Range<usize>> {
    let most = if wanted > 1 { 32 } else { channels };
    let size = channels.div_ceil(wanted).clamp(1, most);
    (0..channels)
        .step_by(size)
        .map(|start| start..(start + size).min(channels))
        .collect()
}

/// The columns of the [`swapped`] gradient that belong to a tile.
fn tile_gradient<'a>(dy: &'a [f32], sizes: &Sizes, tile: &Tile) -> Matrix<'a> {
    let start = tile.pictures.start * sizes.out_plane() + tile.rows.start * sizes.columns();
    Matrix::new(
        &dy[start..],
        [sizes.outputs, tile.positions(sizes)],
        [sizes.batch * sizes.out_plane(), 1],
    )
}

/// Gradient of `x` from the gradient of the output.
pub(super) fn input_gradient(dy: &Gradient<'_>, weight: &[f32], sizes: &Sizes) -> Vec<f32> {
    // A convolution of the gradient with the kernels turned round, where input and output change places.
    let across = Sizes {
        inputs: sizes.outputs,
        outputs: sizes.inputs,
        ..*sizes
    };
    if winograd::pays(&across) {
        let kernels = winograd::Kernels {
            weight,
            strides: [9, 9 * sizes.inputs],
            turned: true,
        };
        return winograd::forward(dy.plain, &kernels, &[], &across);
    }
    let dy = dy.swapped();
    let (taps, plane, depth) = (sizes.taps(), sizes.plane(), sizes.inputs * sizes.taps());
    let mut dx = memory::zeros(sizes.batch * sizes.inputs * plane);
    let shared = Shared::new(&mut dx);
    // Rows of one picture overlap in what they add to, so a task takes a picture's tiles one after the other.
    let mut tasks: Vec<Vec<Tile>> = Vec::new();
    for tile in sizes.tiles(Sizes::tile_size(depth), 2) {
        match tasks.last_mut() {
            Some(task) if task.last().is_some_and(|last| last.pictures == tile.pictures) => task.push(tile),
            _ => tasks.push(vec![tile]),
        }
    }
    let channels = blocks(sizes.inputs, if tasks.len() < 4 { 4 } else { 1 });
    let tasks: Vec<_> = tasks
        .iter()
        .flat_map(|tiles| channels.iter().map(move |block| (tiles, block)))
        .collect();
    tasks
        .par_iter()
        .for_each_init(Vec::new, |patches: &mut Vec<f32>, (tiles, block)| {
            let rows = block.len() * taps;
            let weight = Matrix::new(&weight[block.start * taps..], [sizes.outputs, rows], [depth, 1]).transposed();
            for tile in *tiles {
                let positions = tile.positions(sizes);
                let right = tile_gradient(dy, sizes, tile);
                if tile.pictures.len() == 1 && sizes.is_pointwise() {
                    let start =
                        (tile.pictures.start * sizes.inputs + block.start) * plane + tile.rows.start * sizes.width;
                    // SAFETY: tasks share neither picture nor channel.
                    let mut out = unsafe { shared.matrix(start, [rows, positions], [plane, 1]) };
                    multiply(&mut out, false, 1.0, weight, right);
                    continue;
                }
                patches.resize(patches.len().max(rows * positions), 0.0);
                multiply(
                    &mut MatrixMut::new(patches, [rows, positions], [positions, 1]),
                    false,
                    1.0,
                    weight,
                    right,
                );
                let each = tile.rows.len() * sizes.columns();
                for (i, picture) in tile.pictures.clone().enumerate() {
                    let start = (picture * sizes.inputs + block.start) * plane;
                    // SAFETY: tasks share neither picture nor channel.
                    let dx = unsafe { shared.slice(start, block.len() * plane) };
                    fold_back(patches, sizes, &tile.rows, dx, positions, i * each);
                }
            }
        });
    dx
}

/// `x` with its channels last, `[batch, plane, inputs]`: one product then takes them side by side.
fn channels_last(x: &[f32], sizes: &Sizes) -> Vec<f32> {
    let picture = sizes.inputs * sizes.plane();
    let mut out = memory::zeros(x.len());
    let tasks = out.par_chunks_mut(picture).zip(x.par_chunks(picture));
    tasks.for_each(|(out, x)| transpose(x, sizes.plane(), out, sizes.inputs));
    out
}

/// Gradient of the weight from the gradient of the output.
pub(super) fn weight_gradient(x: &[f32], dy: &Gradient<'_>, sizes: &Sizes) -> Vec<f32> {
    let dy = dy.swapped();
    let (taps, depth) = (sizes.taps(), sizes.inputs * sizes.taps());
    let mut d_weight = memory::zeros(sizes.outputs * depth);
    let shared = Shared::new(&mut d_weight);
    let x = channels_last(x, sizes);
    let tiles = sizes.tiles(1024, 1);
    let size = sizes.inputs.div_ceil(4).clamp(sizes.inputs.min(16), 32);
    let blocks: Vec<usize> = (0..sizes.inputs).step_by(size).collect();
    blocks
        .par_iter()
        .for_each_init(Vec::new, |patches: &mut Vec<f32>, &first| {
            let channels = first..(first + size).min(sizes.inputs);
            let width = channels.len() * taps;
            let mut sums = vec![0.0; sizes.outputs * width];
            for tile in &tiles {
                let positions = tile.positions(sizes);
                let right = if sizes.is_pointwise() {
                    let start = tile.pictures.start * sizes.plane() + tile.rows.start * sizes.width;
                    Matrix::new(
                        &x[start * sizes.inputs + first..],
                        [positions, width],
                        [sizes.inputs, 1],
                    )
                } else {
                    patches.resize(patches.len().max(width * positions), 0.0);
                    let each = width * tile.rows.len() * sizes.columns();
                    for (picture, patches) in tile.pictures.clone().zip(patches.chunks_exact_mut(each)) {
                        let x = &x[picture * sizes.plane() * sizes.inputs..][..sizes.plane() * sizes.inputs];
                        unfold_last(x, sizes, &channels, &tile.rows, patches);
                    }
                    Matrix::new(patches, [positions, width], [width, 1])
                };
                let mut out = MatrixMut::new(&mut sums, [sizes.outputs, width], [width, 1]);
                multiply(&mut out, true, 1.0, tile_gradient(dy, sizes, tile), right);
            }
            for (output, sums) in sums.chunks_exact(width).enumerate() {
                // SAFETY: tasks share no channel.
                let d_weight = unsafe { shared.slice(output * depth + first * taps, width) };
                transpose(sums, channels.len(), d_weight, taps);
            }
        });
    d_weight
}

/// Gradient of the bias from the gradient of the output.
pub(super) fn bias_gradient(dy: &Gradient<'_>, sizes: &Sizes) -> Vec<f32> {
    let sums = dy.swapped().par_chunks(sizes.batch * sizes.out_plane()).map(|dy| {
        let mut sum = 0.0;
        total(dy, &mut sum);
        sum as f32
    });
    sums.collect()
}
