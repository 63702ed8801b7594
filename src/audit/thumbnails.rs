//! Small copies of the images that trained an adapter, for the page: made only when they are asked for.
//!
//! They are read from the places where the registry last saw the files, and only where a file still holds the bytes
//! that were trained on. Images that were kept out are never copied.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, ExtendedColorType, ImageEncoder, RgbImage};

use super::report::Report;
use crate::digest::Sha256Digest;
use crate::pixels::{self, Limits};
use crate::registry::{Registry, RegistryError};

/// The longer side, in pixels.
const SIDE: u32 = 144;
/// JPEG's quality.
const QUALITY: u8 = 78;
/// Most pictures that are shown.
const MOST: usize = 500;
/// Most bytes of all pictures, before base64.
const MOST_BYTES: usize = 8 << 20;
/// What one file may cost. Larger ones are said to be too large: a page needs no poster.
const LIMITS: Limits = Limits {
    max_pixels: 100_000_000,
    max_side: 32_768,
    max_file_bytes: 128 << 20,
};

/// What stands in the place of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Thumb {
    /// A JPEG as a `data:` address.
    Picture(String),
    /// The registry's places hold no file.
    Missing,
    /// Files are there, and none holds the bytes that were trained on.
    Changed,
    /// It does not decode, or not within the limits.
    Refused(String),
    /// There were enough pictures.
    LeftOut,
}

/// Small copies by the digest of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thumbnails(BTreeMap<Sha256Digest, Thumb>);

impl Thumbnails {
    /// Reads every image of the report that trained something; those that may not be used any more come first.
    /// `step` is called with how many are done and how many there are.
    ///
    /// # Errors
    /// If the registry cannot be read. What is wrong with a file stands in its place.
    pub fn of(report: &Report, registry: &Registry, mut step: impl FnMut(usize, usize)) -> Result<Self, RegistryError> {
        let mut images: Vec<_> = report.images.iter().map(|i| (i.allowed_now, i.sha256)).collect();
        images.sort_unstable();
        images.dedup();
        let (mut made, mut bytes, total) = (BTreeMap::new(), 0, images.len());
        let reader = registry.reader()?;
        for (at, (_, sha256)) in images.into_iter().enumerate() {
            step(at, total);
            let thumb = match at < MOST && bytes < MOST_BYTES {
                true => match reader.image(&sha256)? {
                    Some(image) => shrunk(&image.paths, &sha256),
                    None => Thumb::Missing,
                },
                false => Thumb::LeftOut,
            };
            if let Thumb::Picture(address) = &thumb {
                bytes += address.len() / 4 * 3;
            }
            made.insert(sha256, thumb);
        }
        step(total, total);
        Ok(Thumbnails(made))
    }

    /// What stands in the place of this image; none where it is not to have one.
    pub fn get(&self, image: &Sha256Digest) -> Option<&Thumb> {
        self.0.get(image)
    }

    /// How many were left out because there were enough.
    pub fn left_out(&self) -> usize {
        self.0.values().filter(|thumb| **thumb == Thumb::LeftOut).count()
    }
}

fn shrunk(paths: &[PathBuf], sha256: &Sha256Digest) -> Thumb {
    let mut found = Thumb::Missing;
    for path in paths.iter().filter(|path| path.is_file()) {
        let bytes = match pixels::read_file(path, &LIMITS) {
            Ok(bytes) => bytes,
            Err(error) => {
                found = Thumb::Refused(error.to_string());
                continue;
            }
        };
        if Sha256Digest::of_bytes(&bytes) != *sha256 {
            found = Thumb::Changed;
            continue;
        }
        let decoded = pixels::decode(&bytes, &LIMITS).map_err(|error| error.to_string());
        return match decoded.and_then(|decoded| encoded(decoded.image()).map_err(|error| error.to_string())) {
            Ok(jpeg) => Thumb::Picture(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg))),
            Err(reason) => Thumb::Refused(reason),
        };
    }
    found
}

/// A JPEG of the picture made small, on white where it is transparent.
fn encoded(image: &DynamicImage) -> Result<Vec<u8>, image::ImageError> {
    let small = image.thumbnail(SIDE, SIDE).to_rgba8();
    let opaque = RgbImage::from_fn(small.width(), small.height(), |x, y| {
        let [r, g, b, a] = small.get_pixel(x, y).0.map(u32::from);
        let over = |c: u32| u8::try_from((c * a + 255 * (255 - a) + 127) / 255).unwrap_or(255);
        image::Rgb([over(r), over(g), over(b)])
    });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).write_image(
        opaque.as_raw(),
        opaque.width(),
        opaque.height(),
        ExtendedColorType::Rgb8,
    )?;
    Ok(jpeg)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bytes_that_were_trained_on_are_shown() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let mut png = Vec::new();
        let wide = image::RgbaImage::from_fn(600, 300, |x, _| image::Rgba([255, 0, 0, if x < 300 { 255 } else { 0 }]));
        DynamicImage::from(wide)
            .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
            .unwrap();
        let digest = Sha256Digest::of_bytes(&png);
        std::fs::write(at("good"), &png).unwrap();
        std::fs::write(at("other"), b"another").unwrap();
        std::fs::write(at("cut"), &png[..png.len() / 2]).unwrap();
        assert_eq!(shrunk(&[at("gone")], &digest), Thumb::Missing);
        assert_eq!(shrunk(&[at("gone"), at("other")], &digest), Thumb::Changed);
        let refused = |name: &str, bytes: &[u8]| shrunk(&[at(name)], &Sha256Digest::of_bytes(bytes));
        assert!(matches!(refused("other", b"another"), Thumb::Refused(_)));
        assert!(matches!(refused("cut", &png[..png.len() / 2]), Thumb::Refused(_)));

        let Thumb::Picture(address) = shrunk(&[at("other"), at("good")], &digest) else {
            panic!("a picture is there");
        };
        let jpeg = STANDARD
            .decode(address.strip_prefix("data:image/jpeg;base64,").unwrap())
            .unwrap();
        let small = image::load_from_memory(&jpeg).unwrap().to_rgb8();
        assert_eq!(small.dimensions(), (144, 72));
        let (left, right) = (small.get_pixel(20, 36).0, small.get_pixel(120, 36).0);
        assert!(left[0] > 240 && left[1] < 20, "{left:?}");
        assert!(
            right.iter().all(|c| *c > 245),
            "what is transparent is white: {right:?}"
        );
    }
}
