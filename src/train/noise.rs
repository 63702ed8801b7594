//! The noise of a micro-batch: offset, multi-resolution and input perturbation, on plain values. What is random is an
//! argument.

use crate::model::weights::Draws;

/// `[batch, channels, height, width]`
pub type Shape = [usize; 4];

/// Shifts each channel's noise as a whole by `strength` times a standard normal value of its own (Guttenberg 2023,
/// "Diffusion with offset noise"). With `adaptive`, that many times the absolute mean of the channel's latents is added to
/// the strength, which stays at least zero.
///
/// `shifts`: `batch · channels` standard normal values.
pub fn offset(
    noise: &mut [f32],
    latents: &[f32],
    shape: Shape,
    (strength, adaptive): (f32, Option<f32>),
    shifts: &[f32],
) {
    let area = shape[2] * shape[3];
    for ((noise, latents), shift) in noise.chunks_mut(area).zip(latents.chunks(area)).zip(shifts) {
        let strength = match adaptive {
            None => strength,
            Some(adaptive) => {
                let mean = latents.iter().map(|&v| f64::from(v)).sum::<f64>() / area as f64;
                (strength + adaptive * mean.abs() as f32).max(0.0)
            }
        };
        noise.iter_mut().for_each(|v| *v += strength * shift);
    }
}

/// The sizes of the coarser noises: level i is `r^i` times smaller for a random r in [2, 4) of its own, down to where a
/// side is 1.
pub fn levels(height: usize, width: usize, iterations: usize, draws: &mut Draws) -> Vec<[usize; 2]> {
    let mut sizes = Vec::new();
    for i in 0..iterations {
        let shrink = (draws.uniform() * 2.0 + 2.0).powi(i as i32);
        let smaller = |side: usize| ((side as f64 / shrink) as usize).max(1);
        let size = [smaller(height), smaller(width)];
        sizes.push(size);
        if size.contains(&1) {
            break;
        }
    }
    sizes
}

/// Adds coarser noises, level i times `discount^i`, and brings the whole back to a standard deviation of one (Whitaker
/// 2023, "Multi-resolution noise for diffusion model training").
///
/// `coarse`: of each level its size and `[batch, channels, h, w]` standard normal values.
pub fn pyramid(noise: &mut [f32], shape: Shape, coarse: &[([usize; 2], Vec<f32>)], discount: f64) {
    let [_, _, height, width] = shape;
    for (i, (size, values)) in coarse.iter().enumerate() {
        let share = discount.powi(i as i32) as f32;
        let planes = noise.chunks_mut(height * width).zip(values.chunks(size[0] * size[1]));
        for (plane, small) in planes {
            let wide = enlarge(small, *size, [height, width]);
            plane.iter_mut().zip(wide).for_each(|(n, w)| *n += w * share);
        }
    }
    let n = noise.len() as f64;
    let mean = noise.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let squares: f64 = noise.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0)).sqrt() as f32;
    if deviation > 0.0 {
        noise.iter_mut().for_each(|v| *v /= deviation);
    }
}

/// Bilinear enlargement with the corners of the pixels, not their centres, on each other: PyTorch's `Upsample` with
/// `align_corners=False`.
fn enlarge(small: &[f32], [h, w]: [usize; 2], [height, width]: [usize; 2]) -> Vec<f32> {
    let places = |from: usize, to: usize| {
        (0..to).map(move |i| {
            let at = ((i as f64 + 0.5) * from as f64 / to as f64 - 0.5).max(0.0);
            let low = (at as usize).min(from - 1);
            (low, (low + 1).min(from - 1), (at - low as f64) as f32)
        })
    };
    let mut wide = Vec::with_capacity(height * width);
    for (top, bottom, down) in places(h, height) {
        for (left, right, along) in places(w, width) {
            let row = |y: usize| small[y * w + left] * (1.0 - along) + small[y * w + right] * along;
            wide.push(row(top) * (1.0 - down) + row(bottom) * down);
        }
    }
    wide
}

/// Noise plus `strength` times `more`, which is what the input is noised with while the target stays the noise alone
/// (Ning et al. 2023, arXiv:2301.11706).
#[must_use]
pub fn perturbed(noise: &[f32], more: &[f32], strength: f32) -> Vec<f32> {
    noise.iter().zip(more).map(|(n, m)| n + strength * m).collect()
}
