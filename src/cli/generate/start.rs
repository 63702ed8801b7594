//! The initial picture and its mask, from files.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use image::{DynamicImage, RgbImage};

use crate::cli::error::HintExt;
use crate::generate::{Picture, Start};
use crate::pixels::{Limits, decode_file};
use crate::workflow::{Channel, Mask};

/// Sides and pixels that a drawing may start from; it has to fit into memory as latents and as f32.
const LIMITS: Limits = Limits {
    max_pixels: 64_000_000,
    max_side: 16_384,
    max_file_bytes: 512 << 20,
};

/// Reads both and puts what is transparent on white.
pub fn read(picture: &Path, mask: Option<&Path>) -> Result<Start> {
    let image = Picture::of_rgb(&rgb(picture)?);
    let mask = mask
        .map(|path| {
            let mask = rgb(path)?;
            same_size(picture, image.size, path, mask.dimensions())?;
            let mask = DynamicImage::ImageRgb8(mask).to_luma8();
            anyhow::Ok(mask.pixels().map(|p| p.0[0] >= 128).collect())
        })
        .transpose()?;
    Ok(start(image, mask))
}

/// Reads both as `ComfyUI`'s nodes do: what is transparent keeps its colour, and a mask is a channel of a picture.
pub fn of_workflow(picture: &Path, mask: Option<(&Mask, &Path)>) -> Result<Start> {
    let image = Picture::of_rgb(&decode(picture)?.to_rgb8());
    let [width, height] = image.size;
    let mask = mask
        .map(|(mask, path)| {
            let holder = decode(path)?.to_rgba8();
            same_size(picture, image.size, path, holder.dimensions())?;
            let drawn = |p: &image::Rgba<u8>| match mask.channel {
                Channel::Alpha => 255 - p.0[3] >= 128,
                Channel::Red => p.0[0] >= 128,
                Channel::Green => p.0[1] >= 128,
                Channel::Blue => p.0[2] >= 128,
            };
            anyhow::Ok(grown(holder.pixels().map(drawn).collect(), [width, height], mask.grow))
        })
        .transpose()?;
    Ok(start(image, mask))
}

/// The part of the steps that is drawn over a picture, and whether the steps are counted without the others, as
/// `--denoise` does.
pub fn amount(strength: Option<f64>, denoise: Option<f64>, masked: bool) -> Result<(f64, bool)> {
    let (name, amount) = match (strength, denoise) {
        (_, Some(denoise)) => ("--denoise", denoise),
        (Some(strength), None) => ("--strength", strength),
        (None, None) => ("--strength", if masked { 1.0 } else { 0.8 }),
    };
    if !(amount > 0.0 && amount <= 1.0) {
        bail!("{name}: expected a number above 0 and up to 1, got {amount}");
    }
    Ok((amount, denoise.is_some()))
}

fn start(image: Picture, mask: Option<Vec<bool>>) -> Start {
    Start {
        size: image.size,
        planes: image.planes,
        mask,
        strength: 1.0,
        all_steps: false,
    }
}

fn same_size(picture: &Path, [w, h]: [usize; 2], mask: &Path, (a, b): (u32, u32)) -> Result<()> {
    if [w, h] == [a as usize, b as usize] {
        return Ok(());
    }
    Err(anyhow::anyhow!(
        "the mask `{}` is {a}×{b}, the picture `{}` {w}×{h}",
        mask.display(),
        picture.display()
    ))
    .hint("scale the mask to the picture's size")
}

/// A mask each pixel of which became a square of `side` pixels, a longer half of an even side to the right and below.
fn grown(mask: Vec<bool>, [width, height]: [usize; 2], side: usize) -> Vec<bool> {
    if side < 2 {
        return mask;
    }
    let before = side / 2;
    // The pixels that reach a place are those from `before` ahead of it on.
    let reach = |at: usize, length: usize| at.saturating_sub(before)..(at + side - before).min(length);
    let rows: Vec<bool> = (0..width * height)
        .map(|i| reach(i % width, width).any(|x| mask[i - i % width + x]))
        .collect();
    (0..width * height)
        .map(|i| reach(i / width, height).any(|y| rows[y * width + i % width]))
        .collect()
}

fn rgb(path: &Path) -> Result<RgbImage> {
    let mut image = decode(path)?.to_rgba8();
    for pixel in image.pixels_mut() {
        let [r, g, b, a] = pixel.0.map(u32::from);
        let over = |c: u32| ((c * a + 255 * (255 - a) + 127) / 255) as u8;
        pixel.0 = [over(r), over(g), over(b), 255];
    }
    Ok(DynamicImage::ImageRgba8(image).to_rgb8())
}

fn decode(path: &Path) -> Result<DynamicImage> {
    let decoded = decode_file(path, &LIMITS).with_context(|| format!("cannot use `{}`", path.display()))?;
    Ok(decoded.image().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_grows_as_comfyui_grows_it() {
        let mut mask = vec![false; 7 * 5];
        mask[2 * 7 + 3] = true;
        let spread = |side| {
            let grown = grown(mask.clone(), [7, 5], side);
            let places = grown
                .iter()
                .enumerate()
                .filter(|(_, drawn)| **drawn)
                .map(|(i, _)| (i % 7, i / 7));
            let (xs, ys): (Vec<usize>, Vec<usize>) = places.unzip();
            let ends = |v: &[usize]| (v.iter().min().copied().unwrap(), v.iter().max().copied().unwrap());
            (ends(&xs), ends(&ys), xs.len())
        };
        // A convolution of ones with the padding ceil((side - 1) / 2).
        assert_eq!(spread(0), ((3, 3), (2, 2), 1));
        assert_eq!(spread(3), ((2, 4), (1, 3), 9));
        assert_eq!(spread(2), ((3, 4), (2, 3), 4));
        assert_eq!(spread(4), ((2, 5), (1, 4), 16));
    }
}
