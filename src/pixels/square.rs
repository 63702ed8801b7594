//! A picture → the square plane of numbers that a model is trained on.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, Rgb, RgbImage};

use super::{Decoded, Limits, PixelsError, decode_file};

/// How a picture that is not square becomes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The whole picture, with white beside it: for drawings, whose outline is the point.
    PadWhite,
    /// The largest square in the middle: for photographs, where white bars would be learnt.
    CropCentre,
}

/// Reads the picture at `path` as `size` × `size` pixels: `[3, size, size]`, red, green, blue planes, rows from the
/// top, values in [-1, 1] (−1 black, 1 white). What is transparent is white.
pub fn load_square(path: &Path, size: u32, fit: Fit, limits: &Limits) -> Result<Vec<f32>, PixelsError> {
    Ok(square(&decode_file(path, limits)?, size, fit))
}

/// A decoded picture as `size` × `size` pixels: `[3, size, size]` in [-1, 1], what is transparent is white.
pub fn square(picture: &Decoded, size: u32, fit: Fit) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let (long, short) = (width.max(height), width.min(height));
    let scaled = |side: u32, against: u32| {
        ((f64::from(side) * f64::from(size) / f64::from(against)).round() as u32).clamp(1, size.max(1))
    };
    let flat = match fit {
        Fit::PadWhite => {
            let (w, h) = (scaled(width, long), scaled(height, long));
            let small = shrink(on_white(picture.image(), 0, 0, width, height, size), w, h);
            let mut canvas = RgbImage::from_pixel(size, size, Rgb([255; 3]));
            image::imageops::replace(
                &mut canvas,
                &small,
                i64::from((size - w) / 2),
                i64::from((size - h) / 2),
            );
            canvas
        }
        Fit::CropCentre => {
            let (x, y) = ((width - short) / 2, (height - short) / 2);
            shrink(on_white(picture.image(), x, y, short, short, size), size, size)
        }
    };
    let plane = size as usize * size as usize;
    let mut values = vec![0.0; plane * 3];
    for (index, pixel) in flat.pixels().enumerate() {
        for channel in 0..3 {
            values[channel * plane + index] = f32::from(pixel.0[channel]) / 127.5 - 1.0;
        }
    }
    values
}

/// The part `x, y, width, height` laid on white, averaged in whole blocks down to about four times `size`: a drawing
/// of 231 megapixels never exists a second time.
fn on_white(image: &DynamicImage, x: u32, y: u32, width: u32, height: u32, size: u32) -> RgbImage {
    let block = (width.min(height) / size.saturating_mul(4).max(1)).max(1);
    let (columns, rows) = (width.div_ceil(block), height.div_ceil(block));
    let mut out = RgbImage::new(columns, rows);
    for row in 0..rows {
        let top = y + row * block;
        let count = block.min(y + height - top);
        let strip = image.crop_imm(x, top, width, count).to_rgba8();
        let mut sums = vec![[0u64; 4]; columns as usize];
        for (pixel, column) in strip.pixels().zip((0..width).cycle()) {
            let sum = &mut sums[(column / block) as usize];
            let [r, g, b, a] = pixel.0.map(u64::from);
            for (total, value) in sum.iter_mut().zip([r, g, b]) {
                *total += value * a + 255 * (255 - a);
            }
            sum[3] += 255;
        }
        for (column, sum) in sums.iter().enumerate() {
            let mean = |total: u64| ((total + sum[3] / 2) / sum[3].max(1)) as u8;
            out.put_pixel(column as u32, row, Rgb([mean(sum[0]), mean(sum[1]), mean(sum[2])]));
        }
    }
    out
}

fn shrink(image: RgbImage, width: u32, height: u32) -> RgbImage {
    if image.dimensions() == (width, height) {
        return image;
    }
    image::imageops::resize(&image, width, height, FilterType::Lanczos3)
}
