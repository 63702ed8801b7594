//! A picture → how much each place of it counts.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, Luma};

use super::{Decoded, Fit, Limits, PixelsError, decode_file};

/// Where a mask comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The picture's own opacity.
    Alpha,
    /// The red values of a picture made for it.
    Red,
}

/// Reads the mask at `path` as `size` × `size` shares: `[size, size]`, rows from the top, 0 to 1, placed as
/// [`super::load_square`] places the picture. What lies beside the picture counts nothing.
pub fn load_mask(path: &Path, channel: Channel, size: u32, fit: Fit, limits: &Limits) -> Result<Vec<f32>, PixelsError> {
    Ok(mask(&decode_file(path, limits)?, channel, size, fit))
}

/// The mask of a decoded picture; as [`load_mask`].
pub fn mask(picture: &Decoded, channel: Channel, size: u32, fit: Fit) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let (long, short) = (width.max(height), width.min(height));
    let scaled =
        |side: u32| ((f64::from(side) * f64::from(size) / f64::from(long)).round() as u32).clamp(1, size.max(1));
    let (x, y, w, h, to_w, to_h) = match fit {
        Fit::PadWhite => (0, 0, width, height, scaled(width), scaled(height)),
        Fit::CropCentre => ((width - short) / 2, (height - short) / 2, short, short, size, size),
    };
    let whole = values(picture.image(), channel, [x, y, w, h]);
    let small = image::imageops::resize(&whole, to_w, to_h, FilterType::Triangle);
    let mut canvas = GrayImage::new(size, size);
    let (left, top) = (i64::from((size - to_w) / 2), i64::from((size - to_h) / 2));
    image::imageops::replace(&mut canvas, &small, left, top);
    canvas.pixels().map(|p| f32::from(p.0[0]) / 255.0).collect()
}

/// One channel of a part of a picture; row by row, so that it is never copied as a whole in four.
fn values(image: &DynamicImage, channel: Channel, [x, y, w, h]: [u32; 4]) -> GrayImage {
    let mut out = GrayImage::new(w, h);
    for row in 0..h {
        let strip = image.crop_imm(x, y + row, w, 1).to_rgba8();
        for (column, pixel) in (0..w).zip(strip.pixels()) {
            let value = match channel {
                Channel::Alpha => pixel.0[3],
                Channel::Red => pixel.0[0],
            };
            out.put_pixel(column, row, Luma([value]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use image::{Rgba, RgbaImage};

    use super::*;

    #[test]
    fn a_mask_lies_where_its_picture_lies() {
        // Left half red and transparent, right half blue and opaque; twice as wide as high.
        let drawn = RgbaImage::from_fn(8, 4, |x, _| match x {
            0..4 => Rgba([255, 0, 0, 0]),
            _ => Rgba([0, 0, 255, 255]),
        });
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.png");
        drawn.save(&path).unwrap();
        let read = |channel, fit| load_mask(&path, channel, 4, fit, &Limits::default()).unwrap();
        let row = |mask: &[f32], y: usize| mask[4 * y..4 * y + 4].to_vec();
        let padded = read(Channel::Alpha, Fit::PadWhite);
        assert_eq!(row(&padded, 0), [0.0; 4], "beside the picture");
        assert!(row(&padded, 1)[0] < 0.1 && row(&padded, 1)[3] > 0.9);
        let cropped = read(Channel::Alpha, Fit::CropCentre);
        assert_eq!(row(&cropped, 0), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(row(&read(Channel::Red, Fit::CropCentre), 3), [1.0, 1.0, 0.0, 0.0]);
    }
}
