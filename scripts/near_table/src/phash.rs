//! The usual 64-bit pHash: a grey picture of 32 × 32, its cosine transform, the 8 × 8 lowest frequencies against their
//! median.

use image::RgbImage;
use image::imageops::{self, FilterType};

/// Two pictures at most so many bits apart count as the same.
pub const PHASH_DISTANCE: u32 = 10;

const SIDE: usize = 32;

/// A hash of 64 bits.
pub struct Phash(u64);

impl Phash {
    /// The hash of a picture.
    pub fn of(picture: &RgbImage) -> Phash {
        let small = imageops::resize(
            &imageops::grayscale(picture),
            SIDE as u32,
            SIDE as u32,
            FilterType::Lanczos3,
        );
        let wave = |frequency: usize, point: usize| {
            (std::f64::consts::PI * frequency as f64 * (2 * point + 1) as f64 / (2 * SIDE) as f64).cos()
        };
        let mut values = [0.0f64; 64];
        for (at, value) in values.iter_mut().enumerate() {
            for (x, y, pixel) in small.enumerate_pixels() {
                *value += f64::from(pixel.0[0]) * wave(at % 8, x as usize) * wave(at / 8, y as usize);
            }
        }
        let mut sorted = values;
        sorted.sort_by(f64::total_cmp);
        let median = (sorted[31] + sorted[32]) / 2.0;
        Phash(
            values
                .iter()
                .rev()
                .fold(0, |bits, value| bits << 1 | u64::from(*value > median)),
        )
    }

    /// How many bits differ.
    pub fn distance(&self, other: &Phash) -> u32 {
        (self.0 ^ other.0).count_ones()
    }
}
