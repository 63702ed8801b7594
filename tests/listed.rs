//! A list that names a picture by the PDQ hash of its re-encode denies it, whichever of the two came first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::process::Command;

use assent::fingerprint::{PDQ_DISTANCE, PDQ_QUALITY, PdqPrint, Sketch};
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, Rgb, RgbImage};
use serde_json::Value;

struct Place {
    dir: tempfile::TempDir,
    /// The hash of the picture's re-encode.
    list: PathBuf,
}

impl Place {
    /// A folder with a picture, one that shows something else, and a list with the hash of the first's re-encode.
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("pictures");
        std::fs::create_dir(&folder).unwrap();
        let (shown, other) = (draw(7), draw(1234));
        for (name, picture) in [("shown", &shown), ("other", &other)] {
            let path = folder.join(name).with_extension("png");
            picture.save(&path).unwrap();
            std::fs::write(path.with_extension("png.license"), "SPDX-License-Identifier: CC0-1.0\n").unwrap();
        }
        let mut bytes = std::io::Cursor::new(Vec::new());
        shown
            .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, 40))
            .unwrap();
        let again = image::load_from_memory(bytes.get_ref()).unwrap().to_rgb8();
        let again = image::imageops::resize(&again, 200, 150, image::imageops::FilterType::Triangle);
        let hash = pdq(&again);
        let distance = |picture| pdq(picture).upright.distance(&hash.upright);
        assert!(hash.quality >= PDQ_QUALITY && pdq(&shown).quality >= PDQ_QUALITY);
        // A list of equal digests alone would not name it.
        assert!((1..=PDQ_DISTANCE).contains(&distance(&shown)), "{}", distance(&shown));
        assert!(distance(&other) > PDQ_DISTANCE, "{}", distance(&other));
        let list = dir.path().join("list.csv");
        std::fs::write(&list, format!("pdq\n{}\n", hash.upright)).unwrap();
        Place { dir, list }
    }

    fn assent(&self, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
        let output = Command::new(env!("CARGO_BIN_EXE_assent"))
            .args(["--json", "--registry"])
            .arg(self.dir.path().join("assent.db"))
            .args(arguments)
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let values = lines.lines().map(|line| serde_json::from_str(line).unwrap());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{arguments:?}: {errors}");
        (output.status.code(), values.collect())
    }

    fn ingest(&self) {
        let folder = self.dir.path().join("pictures");
        assert_eq!(self.assent(&["ingest", folder.to_str().unwrap()]).0, Some(0));
    }

    fn opt_out(&self) -> Value {
        let (code, mut values) = self.assent(&["opt-out", "--list", self.list.to_str().unwrap()]);
        assert_eq!(code, Some(0));
        values.remove(0)
    }

    fn reason(&self, name: &str) -> String {
        let path = self.dir.path().join("pictures").join(name);
        let (_, values) = self.assent(&["explain", path.to_str().unwrap()]);
        values[0]["decision"]["reason_code"].as_str().unwrap().to_string()
    }

    fn check(&self) {
        assert_eq!(self.reason("shown.png"), "denied_by_artist");
        assert_eq!(self.reason("other.png"), "license_accepted");
        let (_, values) = self.assent(&["policy", "count", "open-licences"]);
        assert_eq!(values[0]["reasons"]["denied_by_artist"], 1, "{}", values[0]);
    }
}

fn pdq(picture: &RgbImage) -> PdqPrint {
    let (width, height) = picture.dimensions();
    let mut sketch = Sketch::new(width, height);
    sketch.rows(0, DynamicImage::ImageRgb8(picture.clone()).to_rgba8().as_raw());
    sketch.finish().pdq.unwrap()
}

/// Forty rectangles drawn from a seed.
fn draw(seed: u32) -> RgbImage {
    let mut state = seed;
    let mut next = |below: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % below
    };
    let mut picture = RgbImage::from_pixel(320, 240, Rgb([255; 3]));
    for _ in 0..40 {
        let (x, y, wide, high) = (next(300), next(220), 10 + next(90), 10 + next(90));
        let colour = Rgb([next(256) as u8, next(256) as u8, next(256) as u8]);
        for (column, row) in (x..(x + wide).min(320)).flat_map(|x| (y..(y + high).min(240)).map(move |y| (x, y))) {
            picture.put_pixel(column, row, colour);
        }
    }
    picture
}

#[test]
fn a_list_after_the_picture() {
    let place = Place::new();
    place.ingest();
    assert_eq!(place.reason("shown.png"), "license_accepted");
    let said = place.opt_out();
    assert_eq!(said["reaches"]["images"].as_array().map_or(0, Vec::len), 1, "{said}");
    place.check();
}

#[test]
fn a_list_before_the_picture() {
    let place = Place::new();
    place.opt_out();
    place.ingest();
    place.check();
}
