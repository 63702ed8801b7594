//! Pixels: coverage masks of shapes, distances to their outline, smooth noise, and a small RGB canvas.

use super::subjects::Part;
use tiny_skia::{FillRule, Mask, Path, Transform};

/// Red, green, blue in [0, 1].
pub type Rgb = [f32; 3];

/// A colour from its `0xRRGGBB`.
pub const fn rgb(hex: u32) -> Rgb {
    [
        (hex >> 16 & 255) as f32 / 255.0,
        (hex >> 8 & 255) as f32 / 255.0,
        (hex & 255) as f32 / 255.0,
    ]
}

/// `a` where `t` is 0, `b` where it is 1.
pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    let t = t.clamp(0.0, 1.0);
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * t)
}

/// 0 below `low`, 1 above `high`, smooth between.
pub fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// A square picture, row by row.
pub struct Canvas {
    pub pixels: Vec<Rgb>,
}

impl Canvas {
    /// A picture whose pixel at (x, y) is `paint(x, y)`.
    pub fn painted(size: u32, mut paint: impl FnMut(u32, u32) -> Rgb) -> Self {
        let pixels = (0..size * size).map(|i| paint(i % size, i / size)).collect();
        Self { pixels }
    }

    /// Lays `colour` over the picture as thickly as `cover` (one value in [0, 1] a pixel) says.
    pub fn lay(&mut self, colour: Rgb, cover: &[f32]) {
        for (pixel, cover) in self.pixels.iter_mut().zip(cover) {
            *pixel = mix(*pixel, colour, *cover);
        }
    }

    /// Multiplies the picture with `colour` as strongly as `cover` says, as a transparent ink does.
    pub fn stain(&mut self, colour: Rgb, cover: &[f32]) {
        for (pixel, cover) in self.pixels.iter_mut().zip(cover) {
            let ink = mix([1.0; 3], colour, *cover);
            *pixel = [0, 1, 2].map(|i| pixel[i] * ink[i]);
        }
    }

    /// The picture as bytes, three a pixel.
    pub fn bytes(&self) -> Vec<u8> {
        self.pixels
            .iter()
            .flatten()
            .map(|v| (v.clamp(0.0, 1.0) * 255.0 + 0.5) as u8)
            .collect()
    }
}

/// How much of each pixel the shape covers. Shapes are in 100 × 100 and fill the picture but for a margin.
pub fn cover(path: &Path, size: u32) -> Vec<f32> {
    let Some(mut mask) = Mask::new(size, size) else {
        return Vec::new();
    };
    let margin = 0.07 * size as f32;
    let scale = (size as f32 - 2.0 * margin) / 100.0;
    let place = Transform::from_scale(scale, scale).post_translate(margin, margin);
    mask.fill_path(path, FillRule::Winding, true, place);
    mask.data().iter().map(|v| f32::from(*v) / 255.0).collect()
}

/// How much of each pixel all shapes together cover.
pub fn silhouette(parts: &[Part], size: u32) -> Vec<f32> {
    let mut all = vec![0.0_f32; (size * size) as usize];
    for part in parts {
        for (sum, cover) in all.iter_mut().zip(cover(&part.path, size)) {
            *sum = sum.max(cover);
        }
    }
    all
}

/// The distance in pixels of each pixel to the outline of a mask, negative inside it.
pub fn distance(cover: &[f32], size: u32) -> Vec<f32> {
    let size = size as i32;
    let inside = |x: i32, y: i32| cover[(y * size + x) as usize] >= 0.5;
    let mut edge = Vec::new();
    for y in 0..size {
        for x in 0..size {
            let next = [(x + 1, y), (x, y + 1)];
            for (u, v) in next.into_iter().filter(|(u, v)| *u < size && *v < size) {
                if inside(x, y) != inside(u, v) {
                    edge.push(((x + u) as f32 / 2.0, (y + v) as f32 / 2.0));
                }
            }
        }
    }
    let mut distances = Vec::with_capacity(cover.len());
    for y in 0..size {
        for x in 0..size {
            let nearest = edge
                .iter()
                .map(|(u, v)| (x as f32 - u).powi(2) + (y as f32 - v).powi(2));
            let d = nearest.fold(f32::INFINITY, f32::min).sqrt();
            distances.push(if inside(x, y) { -d } else { d });
        }
    }
    distances
}

/// A mask made soft: three passes of a box blur of the given radius.
pub fn blur(cover: &[f32], size: u32, radius: i32) -> Vec<f32> {
    let size = size as i32;
    let mut from = cover.to_vec();
    for pass in 0..6 {
        let (dx, dy) = if pass % 2 == 0 { (1, 0) } else { (0, 1) };
        let sample = |x: i32, y: i32| from[(y.clamp(0, size - 1) * size + x.clamp(0, size - 1)) as usize];
        let mut to = Vec::with_capacity(from.len());
        for y in 0..size {
            for x in 0..size {
                let sum: f32 = (-radius..=radius).map(|k| sample(x + k * dx, y + k * dy)).sum();
                to.push(sum / (2 * radius + 1) as f32);
            }
        }
        from = to;
    }
    from
}

/// Smooth noise in [0, 1] whose bumps are about `cell` pixels wide.
pub fn noise(x: f32, y: f32, cell: f32, seed: u32) -> f32 {
    let (x, y) = (x / cell, y / cell);
    let (fx, fy) = (smooth(0.0, 1.0, x - x.floor()), smooth(0.0, 1.0, y - y.floor()));
    let at = |dx: i32, dy: i32| {
        let mut h = (x.floor() as i32 + dx) as u32;
        h = h.wrapping_mul(0x85eb_ca6b) ^ ((y.floor() as i32 + dy) as u32).wrapping_mul(0xc2b2_ae35) ^ seed;
        h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
        h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
        ((h ^ h >> 15) >> 8) as f32 / (1 << 24) as f32
    };
    let top = at(0, 0) + (at(1, 0) - at(0, 0)) * fx;
    let bottom = at(0, 1) + (at(1, 1) - at(0, 1)) * fx;
    top + (bottom - top) * fy
}
