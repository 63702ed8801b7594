//! The VAE on large pictures: tile by tile, as diffusers' `tiled_decode` and `tiled_encode` do, so that the memory it
//! takes does not grow with the picture.
//!
//! Tiles overlap by a quarter and are blended linearly there. A tile has its own group norms and its own attention, so
//! that the result is near that of the whole picture and not equal to it.

use burn::tensor::{Tensor, TensorData};

use crate::model::vae::Vae;

/// Latent pixels on each side of a tile, unless said otherwise: a picture of 512×512 is one tile of Stable Diffusion.
pub const TILE: usize = 64;

/// As [`Vae::decode`].
#[must_use]
pub fn decode(vae: &Vae, latents: Tensor<4>, tile: Option<usize>) -> Tensor<4> {
    match tile {
        Some(tile) => tiled(latents, tile, tile * vae.factor(), &|part| vae.decode(part)),
        None => vae.decode(latents),
    }
}

/// As [`Vae::encode`]; `tile` counts latent pixels.
#[must_use]
pub fn encode(vae: &Vae, picture: Tensor<4>, tile: Option<usize>) -> (Tensor<4>, Tensor<4>) {
    let Some(tile) = tile else { return vae.encode(picture) };
    let moments = tiled(picture, tile * vae.factor(), tile, &|part| {
        let (mean, log_variance) = vae.encode(part);
        Tensor::cat(vec![mean, log_variance], 1)
    });
    let n = moments.dims()[1] / 2;
    (moments.clone().narrow(1, 0, n), moments.narrow(1, n, n))
}

/// Applies `f`, which makes a side of `from` into one of `to`, to overlapping tiles of that size.
fn tiled(x: Tensor<4>, from: usize, to: usize, f: &dyn Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    if height <= from && width <= from {
        return f(x);
    }
    let stride = (from * 3 / 4).max(1);
    let overlap = to / 4;
    let kept = to - overlap;
    let mut rows: Vec<Tensor<4>> = Vec::new();
    let mut above: Vec<Tensor<4>> = Vec::new();
    for y in (0..height).step_by(stride) {
        let mut row: Vec<Tensor<4>> = Vec::new();
        for (i, left) in (0..width).step_by(stride).enumerate() {
            let part = x
                .clone()
                .narrow(2, y, from.min(height - y))
                .narrow(3, left, from.min(width - left));
            let mut tile = f(part);
            if let Some(upper) = above.get(i) {
                tile = blended(upper, tile, 2, overlap);
            }
            if let Some(before) = row.last() {
                tile = blended(before, tile, 3, overlap);
            }
            row.push(tile);
        }
        let cut = row
            .iter()
            .map(|tile| {
                let [_, _, h, w] = tile.dims();
                tile.clone().narrow(2, 0, h.min(kept)).narrow(3, 0, w.min(kept))
            })
            .collect();
        rows.push(Tensor::cat(cut, 3));
        above = row;
    }
    Tensor::cat(rows, 2)
}

/// Goes over from the end of one tile to the beginning of the next, along a dimension.
fn blended(before: &Tensor<4>, tile: Tensor<4>, dim: usize, overlap: usize) -> Tensor<4> {
    let (a, b) = (before.dims()[dim], tile.dims()[dim]);
    let n = overlap.min(a).min(b);
    if n == 0 {
        return tile;
    }
    let mut shape = [1; 4];
    shape[dim] = n;
    let shares: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
    let share = Tensor::<4>::from_data(TensorData::new(shares, shape), &tile.device());
    // The other tile may be shorter across where it is the last one of its row.
    let end = before.clone().narrow(dim, a - n, n);
    let start = tile.clone().narrow(dim, 0, n);
    let mixed = end.clone() + (start - end) * share;
    if b == n {
        mixed
    } else {
        Tensor::cat(vec![mixed, tile.narrow(dim, n, b - n)], dim)
    }
}
