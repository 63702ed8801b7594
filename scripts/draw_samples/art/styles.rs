//! The styles: each turns the same shapes into pictures that a person tells apart at a glance.

use super::raster::{Canvas, Rgb, blur, cover, distance, mix, noise, rgb, silhouette, smooth};
use super::rng::Rng;
use super::subjects::{Part, Role};

/// A way of drawing.
pub enum Style {
    /// Luminous lines around the subject on a night-blue ground.
    NightRings,
    /// Thick black outlines, flat primary colours.
    Outline,
    /// Square tiles with dark joints.
    Mosaic,
    /// Dots of one ink on yellow, larger where it is darker.
    Dots,
    /// Soft transparent stains on cream paper.
    Watercolour,
    /// Hatching in one ink on parchment.
    Woodcut,
}

impl Style {
    /// Draws the shapes as `size` × `size` pixels, three bytes each.
    pub fn draw(&self, parts: &[Part], size: u32, rng: &mut Rng) -> Vec<u8> {
        let canvas = match self {
            Self::NightRings => night_rings(parts, size),
            Self::Outline => outline(parts, size, rng),
            Self::Mosaic => mosaic(parts, size, rng),
            Self::Dots => dots(parts, size),
            Self::Watercolour => watercolour(parts, size, rng),
            Self::Woodcut => woodcut(parts, size),
        };
        canvas.bytes()
    }
}

fn role_colour(role: Role, colours: [Rgb; 3]) -> Rgb {
    match role {
        Role::Body => colours[0],
        Role::Accent => colours[1],
        Role::Detail => colours[2],
    }
}

/// Pixels from one ring to the next: wide enough to survive at 64 × 64.
const RING_STEP: f32 = 14.0;

fn night_rings(parts: &[Part], size: u32) -> Canvas {
    let outside = distance(&silhouette(parts, size), size);
    let details: Vec<_> = parts.iter().filter(|part| part.role == Role::Detail).collect();
    let middle = size as f32 / 2.0;
    let mut canvas = Canvas::painted(size, |x, y| {
        let from_middle = (x as f32 - middle).hypot(y as f32 - middle) / middle;
        let ground = mix(rgb(0x1c1a6e), rgb(0x07062e), from_middle * 0.85);
        let d = outside[(y * size + x) as usize];
        if d < 0.0 {
            // Inside: a warm glow that is brightest at the rim.
            return mix(rgb(0x5a1e8c), rgb(0xffc24a), (d / 7.0).exp());
        }
        let ring = (d / RING_STEP + 0.5).floor();
        let line = 1.0 - smooth(1.6, 3.4, (d - ring * RING_STEP).abs());
        let hue = mix(rgb(0x35f0ff), rgb(0xd04bff), ring / 4.0);
        let glow = mix(ground, rgb(0x2f7dff), 0.75 * (-d / 9.0).exp());
        let fade = if ring == 0.0 { 1.0 } else { (-ring / 5.0).exp() };
        mix(glow, if ring == 0.0 { rgb(0xfff1b8) } else { hue }, line * fade)
    });
    for part in details {
        canvas.lay(rgb(0x35f0ff), &cover(&part.path, size));
    }
    canvas
}

fn outline(parts: &[Part], size: u32, rng: &mut Rng) -> Canvas {
    const SCHEMES: [[u32; 4]; 4] = [
        [0xffd91a, 0xe02020, 0x1f4fd8, 0xffffff],
        [0x3aa0f0, 0xffd91a, 0xe02020, 0xffffff],
        [0xf04a3a, 0xffffff, 0xffd91a, 0x1f4fd8],
        [0xffffff, 0x1f9e4a, 0xe02020, 0xffd91a],
    ];
    let [ground, body, accent, detail] = SCHEMES[rng.pick(SCHEMES.len())].map(rgb);
    let mut canvas = Canvas::painted(size, |_, _| ground);
    for part in parts {
        let mask = cover(&part.path, size);
        let width = if part.role == Role::Detail { 2.2 } else { 4.2 };
        let line: Vec<f32> = distance(&mask, size)
            .iter()
            .map(|d| 1.0 - smooth(width - 0.8, width + 0.8, *d))
            .collect();
        canvas.lay(rgb(0x101010), &line);
        canvas.lay(role_colour(part.role, [body, accent, detail]), &mask);
    }
    canvas
}

fn mosaic(parts: &[Part], size: u32, rng: &mut Rng) -> Canvas {
    const TILE: u32 = 8;
    let ground = [rgb(0x2a8c82), rgb(0xc9a24b), rgb(0x7d9a3c)][rng.pick(3)];
    let colours = [rgb(0xf2ead6), rgb(0xb5502e), rgb(0x24476e)];
    let mut flat = Canvas::painted(size, |_, _| ground);
    for part in parts {
        flat.lay(role_colour(part.role, colours), &cover(&part.path, size));
    }
    let tiles = size / TILE;
    let shades: Vec<f32> = (0..tiles * tiles).map(|_| rng.range(-0.09, 0.09)).collect();
    Canvas::painted(size, |x, y| {
        let (column, row) = (x / TILE, y / TILE);
        // A tile has one colour: that of its middle.
        let middle = flat.pixels[((row * TILE + TILE / 2) * size + column * TILE + TILE / 2) as usize];
        let joint = x % TILE == 0 || y % TILE == 0;
        let light = if x % TILE == 1 || y % TILE == 1 { 0.10 } else { 0.0 };
        let shade = shades[(row * tiles + column) as usize] + light;
        if joint {
            rgb(0x3a322c)
        } else {
            middle.map(|v| v + shade)
        }
    })
}

fn dots(parts: &[Part], size: u32) -> Canvas {
    let mut tone = vec![0.16_f32; (size * size) as usize];
    for part in parts {
        let dark = match part.role {
            Role::Body => 0.62,
            Role::Accent => 0.88,
            Role::Detail => 0.05,
        };
        for (tone, cover) in tone.iter_mut().zip(cover(&part.path, size)) {
            *tone += (dark - *tone) * cover;
        }
    }
    let tone = blur(&tone, size, 1);
    let (ground, ink) = (rgb(0xfff3a0), rgb(0xe5157f));
    let (sin, cos) = 0.6_f32.sin_cos();
    const STEP: f32 = 6.0;
    Canvas::painted(size, |x, y| {
        let (x, y) = (x as f32 + 0.5, y as f32 + 0.5);
        let (u, v) = ((x * cos + y * sin) / STEP, (y * cos - x * sin) / STEP);
        let (cu, cv) = ((u.floor() + 0.5) * STEP, (v.floor() + 0.5) * STEP);
        let (cx, cy) = (cu * cos - cv * sin, cu * sin + cv * cos);
        let at = |c: f32| (c.max(0.0) as u32).min(size - 1);
        let radius = STEP * 0.64 * tone[(at(cy) * size + at(cx)) as usize].sqrt();
        mix(ink, ground, smooth(radius - 0.6, radius + 0.6, (x - cx).hypot(y - cy)))
    })
}

fn watercolour(parts: &[Part], size: u32, rng: &mut Rng) -> Canvas {
    const SCHEMES: [[u32; 4]; 3] = [
        [0xcfe6ee, 0xe58fa5, 0x86b49a, 0x6c6fa8],
        [0xf3d9c4, 0x7fa9d6, 0xd98f7a, 0x77608f],
        [0xe2e7c2, 0xb08fcb, 0xe0a060, 0x557f86],
    ];
    let [wash, body, accent, detail] = SCHEMES[rng.pick(SCHEMES.len())].map(rgb);
    let seed = rng.pick(1 << 20) as u32;
    let grain = |x: u32, y: u32, cell: f32, salt: u32| noise(x as f32, y as f32, cell, seed ^ salt);
    let mut canvas = Canvas::painted(size, |x, y| {
        let paper = 0.975 + 0.025 * grain(x, y, 3.0, 1);
        mix(rgb(0xfbf6ea), wash, smooth(0.3, 0.9, grain(x, y, 38.0, 2))).map(|v| v * paper)
    });
    for part in parts {
        let colour = role_colour(part.role, [body, accent, detail]);
        let mask = cover(&part.path, size);
        // Pigment is thin within the stain, uneven, and gathers at its rim.
        let soft = blur(&mask, size, if part.role == Role::Detail { 1 } else { 2 });
        let stain: Vec<f32> = (0..size * size)
            .map(|i| {
                let (x, y) = (i % size, i / size);
                let s = smooth(0.25, 0.7, soft[i as usize] + 0.30 * (grain(x, y, 9.0, 3) - 0.5));
                let rim = smooth(0.0, 0.5, s) * (1.0 - smooth(0.5, 1.0, s));
                (s * (0.60 + 0.40 * grain(x, y, 16.0, 4)) + 0.3 * rim).min(1.0)
            })
            .collect();
        canvas.stain(colour, &stain);
    }
    canvas
}

fn woodcut(parts: &[Part], size: u32) -> Canvas {
    let (paper, ink) = (rgb(0xeadcb8), rgb(0x8f1d16));
    let mut tone = vec![0.0_f32; (size * size) as usize];
    let mut line = vec![0.0_f32; (size * size) as usize];
    for part in parts {
        let dark = match part.role {
            Role::Body => 0.55,
            Role::Accent => 0.80,
            Role::Detail => 0.12,
        };
        let mask = cover(&part.path, size);
        for ((i, cover), d) in mask.iter().enumerate().zip(distance(&mask, size)) {
            tone[i] += (dark - tone[i]) * cover;
            // A later shape hides the outlines below it.
            line[i] = (line[i] * (1.0 - cover)).max(1.0 - smooth(1.0, 2.0, d.abs()));
        }
    }
    Canvas::painted(size, |x, y| {
        let i = (y * size + x) as usize;
        let (fx, fy) = (x as f32, y as f32);
        let wave = 1.5 * (fx / 17.0).sin();
        let cut = |position: f32, step: f32, dark: f32| {
            let off = (position / step - (position / step).floor() - 0.5).abs() * 2.0;
            1.0 - smooth(dark - 0.18, dark + 0.18, off)
        };
        // Level strokes make the ground, slanted ones the subject.
        let ground = cut(fy + wave, 9.0, 0.20);
        let hatch = cut(fx * 0.7 + fy * 0.7 + wave, 5.5, tone[i]);
        let edge = x.min(y).min(size - 1 - x).min(size - 1 - y);
        let frame = if (3..7).contains(&edge) { 1.0 } else { 0.0 };
        let inner = if edge < 7 { 0.0 } else { 1.0 };
        let drawn = if tone[i] > 0.06 { hatch } else { ground };
        mix(paper, ink, (drawn.max(line[i]) * inner).max(frame))
    })
}
