//! The initial picture and its mask, from files.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use image::{DynamicImage, RgbImage};

use crate::cli::error::HintExt;
use crate::generate::{Picture, Start};
use crate::pixels::{Limits, decode_file};

/// Sides and pixels that a drawing may start from; it has to fit into memory as latents and as f32.
const LIMITS: Limits = Limits {
    max_pixels: 64_000_000,
    max_side: 16_384,
    max_file_bytes: 512 << 20,
};

/// Reads both and puts what is transparent on white.
pub fn read(picture: &Path, mask: Option<&Path>, strength: Option<f64>) -> Result<Start> {
    let strength = strength.unwrap_or(if mask.is_some() { 1.0 } else { 0.8 });
    if !(strength > 0.0 && strength <= 1.0) {
        bail!("--strength: expected a number above 0 and up to 1, got {strength}");
    }
    let image = Picture::of_rgb(&rgb(picture)?);
    let mask = mask
        .map(|path| {
            let mask = rgb(path)?;
            let size = [mask.width() as usize, mask.height() as usize];
            if size != image.size {
                let [[w, h], [a, b]] = [image.size, size];
                return Err(anyhow::anyhow!(
                    "the mask `{}` is {a}×{b}, the picture `{}` {w}×{h}",
                    path.display(),
                    picture.display()
                ))
                .hint("scale the mask to the picture's size");
            }
            let mask = DynamicImage::ImageRgb8(mask).to_luma8();
            Ok(mask.pixels().map(|p| p.0[0] >= 128).collect())
        })
        .transpose()?;
    Ok(Start {
        size: image.size,
        planes: image.planes,
        mask,
        strength,
    })
}

fn rgb(path: &Path) -> Result<RgbImage> {
    let decoded = decode_file(path, &LIMITS).with_context(|| format!("cannot use `{}`", path.display()))?;
    let mut image = decoded.image().to_rgba8();
    for pixel in image.pixels_mut() {
        let [r, g, b, a] = pixel.0.map(u32::from);
        let over = |c: u32| ((c * a + 255 * (255 - a) + 127) / 255) as u8;
        pixel.0 = [over(r), over(g), over(b), 255];
    }
    Ok(DynamicImage::ImageRgba8(image).to_rgb8())
}
