//! What the near-duplicate search catches on real pictures, change by change, beside PDQ and a 64-bit pHash: a table in
//! Markdown.
//!
//! `cargo run --release -- DRAWINGS [PHOTOS [EVERY]]`: the PNG files of both folders, in the order of their paths, of the
//! drawings every `EVERY`th. The same files give the same table.
#![allow(dead_code, unused_imports)]

#[path = "../../../src/fingerprint/mod.rs"]
mod fingerprint;
mod phash;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use fingerprint::{DOUBTFUL, Look, PDQ_DISTANCE, PDQ_QUALITY, PdqPrint, SAME, Sketch};
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{DynamicImage, Rgb, RgbImage, RgbaImage};
use phash::{PHASH_DISTANCE, Phash};
use rayon::prelude::*;

/// Pictures are first made no larger than this along their longer side.
const SIDE: u32 = 512;

/// A picture as each of the three sees it.
struct Seen {
    look: Look,
    phash: Phash,
}

/// Whether each of them takes two pictures for the same; ours also for doubtful.
#[derive(Default, Clone, Copy)]
struct Counts {
    of: usize,
    same: usize,
    doubtful: usize,
    pdq: usize,
    phash: usize,
}

impl Counts {
    fn add(&mut self, a: &Seen, b: &Seen) {
        let distance = a.look.print.distance(&b.look.print);
        self.of += 1;
        self.same += usize::from(distance.is_some_and(|distance| distance <= SAME));
        self.doubtful += usize::from(distance.is_some_and(|distance| distance > SAME));
        self.pdq += usize::from(pdq(a, b));
        self.phash += usize::from(a.phash.distance(&b.phash) <= PHASH_DISTANCE);
    }

    fn sum(self, other: Counts) -> Counts {
        Counts {
            of: self.of + other.of,
            same: self.same + other.same,
            doubtful: self.doubtful + other.doubtful,
            pdq: self.pdq + other.pdq,
            phash: self.phash + other.phash,
        }
    }
}

/// As PDQ is used: both pictures say enough, and the hashes, or one and that of the other's mirror image, are near.
fn pdq(a: &Seen, b: &Seen) -> bool {
    let usable = |seen: &Seen| seen.look.pdq.filter(|pdq| pdq.quality >= PDQ_QUALITY);
    let (Some(a), Some(b)) = (usable(a), usable(b)) else {
        return false;
    };
    [b.upright, b.mirrored]
        .iter()
        .any(|hash| a.upright.distance(hash) <= PDQ_DISTANCE)
}

fn see(picture: &RgbImage) -> Seen {
    let (width, height) = picture.dimensions();
    let mut sketch = Sketch::new(width, height);
    sketch.rows(0, DynamicImage::ImageRgb8(picture.clone()).to_rgba8().as_raw());
    Seen {
        look: sketch.finish(),
        phash: Phash::of(picture),
    }
}

/// The changes, each with what it makes of a picture.
type Change = (&'static str, fn(&RgbImage) -> RgbImage);

const CHANGES: [Change; 21] = [
    ("JPEG, quality 50", |p| jpeg(p, 50)),
    ("JPEG, quality 20", |p| jpeg(p, 20)),
    ("half the size", |p| scale(p, 0.5)),
    ("a quarter of the size", |p| scale(p, 0.25)),
    ("mirrored", imageops::flip_horizontal),
    ("grey", |p| DynamicImage::ImageLuma8(imageops::grayscale(p)).to_rgb8()),
    ("brighter by 30 of 255", |p| imageops::brighten(p, 30)),
    ("more contrast (25)", |p| imageops::contrast(p, 25.0)),
    ("black border of 4 %", border),
    ("crop of 5 % at the left", |p| crop(p, [0.05, 0.0, 0.0, 0.0])),
    ("crop of 5 % at the top", |p| crop(p, [0.0, 0.05, 0.0, 0.0])),
    ("crop of 5 % at the left and top", |p| crop(p, [0.05, 0.05, 0.0, 0.0])),
    ("crop of 5 % at every side", |p| crop(p, [0.05; 4])),
    ("crop of 10 % at the left", |p| crop(p, [0.1, 0.0, 0.0, 0.0])),
    ("crop of 10 % at the bottom", |p| crop(p, [0.0, 0.0, 0.0, 0.1])),
    ("crop of 10 % at the left and top", |p| crop(p, [0.1, 0.1, 0.0, 0.0])),
    ("crop of 10 % at every side", |p| crop(p, [0.1; 4])),
    ("crop of 7 %, mirrored, half, JPEG 50", |p| {
        let part = imageops::flip_horizontal(&crop(p, [0.07, 0.02, 0.0, 0.03]));
        jpeg(&scale(&part, 0.5), 50)
    }),
    ("crop of 20 % at the left", |p| crop(p, [0.2, 0.0, 0.0, 0.0])),
    ("turned by 90°", imageops::rotate90),
    ("turned by 5°, corners white", turn),
];

fn jpeg(picture: &RgbImage, quality: u8) -> RgbImage {
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_with_encoder(JpegEncoder::new_with_quality(&mut bytes, quality))
        .expect("a picture of this size can be encoded");
    image::load_from_memory(bytes.get_ref())
        .expect("it was just encoded")
        .to_rgb8()
}

fn scale(picture: &RgbImage, factor: f32) -> RgbImage {
    let side = |side: u32| ((side as f32 * factor) as u32).max(1);
    imageops::resize(
        picture,
        side(picture.width()),
        side(picture.height()),
        FilterType::CatmullRom,
    )
}

/// Without these shares of its sides: left, top, right, bottom.
fn crop(picture: &RgbImage, [left, top, right, bottom]: [f32; 4]) -> RgbImage {
    let (width, height) = (picture.width() as f32, picture.height() as f32);
    let length = |side: f32, shares: f32| ((1.0 - shares) * side).max(1.0) as u32;
    let (x, y) = ((left * width) as u32, (top * height) as u32);
    imageops::crop_imm(picture, x, y, length(width, left + right), length(height, top + bottom)).to_image()
}

fn border(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let wide = (width / 25).max(1);
    let mut framed = RgbImage::new(width + 2 * wide, height + 2 * wide);
    imageops::replace(&mut framed, picture, i64::from(wide), i64::from(wide));
    framed
}

fn turn(picture: &RgbImage) -> RgbImage {
    let (width, height) = picture.dimensions();
    let (sin, cos) = 5f32.to_radians().sin_cos();
    RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as f32 - width as f32 / 2.0, y as f32 - height as f32 / 2.0);
        let from = (
            x * cos + y * sin + width as f32 / 2.0,
            y * cos - x * sin + height as f32 / 2.0,
        );
        let inside = from.0 >= 0.0 && from.1 >= 0.0 && from.0 < width as f32 && from.1 < height as f32;
        if inside {
            *picture.get_pixel(from.0 as u32, from.1 as u32)
        } else {
            Rgb([255; 3])
        }
    })
}

/// The PNG files beneath a folder, sorted. Links are not followed.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.expect("a folder can be read").path()) {
            if path.is_symlink() {
                continue;
            } else if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "png") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A picture over white, no larger than [`SIDE`]; none when it cannot be read or is larger than 32 megapixels.
fn open(path: &Path) -> Option<RgbImage> {
    let (width, height) = image::image_dimensions(path).ok()?;
    if u64::from(width) * u64::from(height) > 32_000_000 {
        return None;
    }
    let rgba: RgbaImage = image::open(path).ok()?.to_rgba8();
    let flat = RgbImage::from_fn(width, height, |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u32::from);
        Rgb([r, g, b].map(|c| ((c * a + 255 * (255 - a)) / 255) as u8))
    });
    let longer = width.max(height);
    Some(if longer > SIDE {
        scale(&flat, SIDE as f32 / longer as f32)
    } else {
        flat
    })
}

/// Prints the table of a folder's pictures.
fn table(name: &str, paths: &[PathBuf]) {
    let pictures: Vec<(RgbImage, Seen)> = paths
        .par_iter()
        .filter_map(|path| open(path))
        .map(|picture| {
            let seen = see(&picture);
            (picture, seen)
        })
        .collect();
    let read = pictures.len();
    let pictures: Vec<_> = pictures
        .into_iter()
        .filter(|(_, seen)| seen.look.print.is_usable())
        .collect();
    println!("\n{name}: {read} pictures, {} with enough to see.\n", pictures.len());
    println!("| change | same | doubtful | missed | PDQ alone | pHash alone |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut all = Counts::default();
    for (change, make) in CHANGES {
        let counts = pictures
            .par_iter()
            .map(|(picture, seen)| {
                let mut counts = Counts::default();
                counts.add(seen, &see(&make(picture)));
                counts
            })
            .reduce(Counts::default, Counts::sum);
        row(change, counts, 100.0, 1, " %");
        all = all.sum(counts);
    }
    row("**all of these**", all, 100.0, 1, " %");
    let pairs = (0..pictures.len())
        .into_par_iter()
        .map(|one| {
            let mut counts = Counts::default();
            for other in 0..one {
                counts.add(&pictures[one].1, &pictures[other].1);
            }
            counts
        })
        .reduce(Counts::default, Counts::sum);
    println!(
        "\nAmong their {} pairs of different files, taken for alike (all of them, and of 10,000):\n",
        pairs.of
    );
    println!("| | same | doubtful | PDQ alone | pHash alone |");
    println!("|---|---:|---:|---:|---:|");
    let Counts {
        same,
        doubtful,
        pdq,
        phash,
        ..
    } = pairs;
    println!("| pairs | {same} | {doubtful} | {pdq} | {phash} |");
    let of = |count: usize| count as f64 * 10_000.0 / pairs.of.max(1) as f64;
    println!(
        "| of 10,000 | {:.2} | {:.2} | {:.2} | {:.2} |",
        of(same),
        of(doubtful),
        of(pdq),
        of(phash)
    );
}

fn row(name: &str, counts: Counts, of: f64, digits: usize, unit: &str) {
    let share = |count: usize| format!("{:.digits$}{unit}", count as f64 * of / counts.of.max(1) as f64);
    let missed = counts.of - counts.same - counts.doubtful;
    let cells = [counts.same, counts.doubtful, missed, counts.pdq, counts.phash].map(share);
    println!("| {name} | {} |", cells.join(" | "));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(drawings) = arguments.first() else {
        eprintln!("expected a folder of drawings, then perhaps one of photos and how many drawings to pass over");
        std::process::exit(2);
    };
    let every = arguments
        .get(2)
        .and_then(|text| text.parse().ok())
        .unwrap_or(27usize)
        .max(1);
    let chosen: Vec<_> = files(Path::new(drawings))
        .into_iter()
        .skip(every / 2)
        .step_by(every)
        .collect();
    table("Drawings", &chosen);
    if let Some(photos) = arguments.get(1) {
        table("Photos", &files(Path::new(photos)));
    }
}
