//! A picture → how much each place of it counts.

use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, GrayImage, Luma};

use super::{Decoded, Limits, PixelsError, Placing, decode_file};

/// Where a mask comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The picture's own opacity.
    Alpha,
    /// The red values of a picture made for it.
    Red,
}

/// Reads the mask at `path` as shares: `[height, width]`, rows from the top, 0 to 1, placed as [`super::planes`] places the
/// picture. What lies beside the picture counts nothing.
pub fn load_mask(path: &Path, channel: Channel, placing: &Placing, limits: &Limits) -> Result<Vec<f32>, PixelsError> {
    Ok(mask(&decode_file(path, limits)?, channel, placing))
}

/// The mask of a decoded picture; as [`load_mask`].
pub fn mask(picture: &Decoded, channel: Channel, placing: &Placing) -> Vec<f32> {
    let (width, height) = picture.dimensions();
    let laid = placing.of([width, height]);
    let whole = values(picture.image(), channel, laid.part);
    let small = image::imageops::resize(&whole, laid.scaled[0], laid.scaled[1], FilterType::Triangle);
    let mut canvas = GrayImage::new(laid.size[0], laid.size[1]);
    image::imageops::replace(&mut canvas, &small, laid.at[0], laid.at[1]);
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
    use crate::pixels::Fit;

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
        let read = |channel, fit| {
            let placing = Placing::Fit { fit, size: [4, 4] };
            load_mask(&path, channel, &placing, &Limits::default()).unwrap()
        };
        let row = |mask: &[f32], y: usize| mask[4 * y..4 * y + 4].to_vec();
        let padded = read(Channel::Alpha, Fit::PadWhite);
        assert_eq!(row(&padded, 0), [0.0; 4], "beside the picture");
        assert!(row(&padded, 1)[0] < 0.1 && row(&padded, 1)[3] > 0.9);
        let cropped = read(Channel::Alpha, Fit::CropCentre);
        assert_eq!(row(&cropped, 0), [0.0, 0.0, 1.0, 1.0]);
        assert_eq!(row(&read(Channel::Red, Fit::CropCentre), 3), [1.0, 1.0, 0.0, 0.0]);
    }
}
