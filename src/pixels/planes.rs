//! A picture → the planes of numbers that a model is trained on.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, Rgb, RgbImage};

use super::{Decoded, Fit, Limits, PixelsError, Placing, decode_file};

/// Reads the picture at `path` as `size` × `size` pixels: `[3, size, size]`, as [`planes`] does.
pub fn load_square(path: &Path, size: u32, fit: Fit, limits: &Limits) -> Result<Vec<f32>, PixelsError> {
    let placing = Placing::Fit { fit, size: [size; 2] };
    Ok(planes(&decode_file(path, limits)?, &placing))
}

/// A decoded picture as it is placed: `[3, height, width]`, red, green, blue planes, rows from the top, values in [-1, 1]
/// (−1 black, 1 white). What is transparent is white, and so is what lies beside the picture.
pub fn planes(picture: &Decoded, placing: &Placing) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let laid = placing.of([width, height]);
    let [w, h] = laid.scaled;
    let small = shrink(on_white(picture.image(), laid.part, w.max(h)), w, h);
    let [width, height] = laid.size;
    let flat = match (laid.at, laid.size == laid.scaled) {
        ([0, 0], true) => small,
        _ => {
            let mut canvas = RgbImage::from_pixel(width, height, Rgb([255; 3]));
            image::imageops::replace(&mut canvas, &small, laid.at[0], laid.at[1]);
            canvas
        }
    };
    let plane = width as usize * height as usize;
    let mut values = vec![0.0; plane * 3];
    for (index, pixel) in flat.pixels().enumerate() {
        for channel in 0..3 {
            values[channel * plane + index] = f32::from(pixel.0[channel]) / 127.5 - 1.0;
        }
    }
    values
}

/// A part (left, top, width, height) laid on white, averaged in whole blocks down to about four times `size`: a drawing
/// of 231 megapixels never exists a second time.
fn on_white(image: &DynamicImage, [x, y, width, height]: [u32; 4], size: u32) -> RgbImage {
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
