//! The mark that people see: a strip below the picture with words and a QR code of the receipts' digests.
//!
//! The strip is added, so nothing that was drawn is hidden. The code says `ASSENT:` and then, divided by `+`, a name
//! for each adapter: `RECEIPT:` and the digest of its receipt, or `ADAPTER:` and that of its file where it has none;
//! without an adapter `BASE:` and the digest of the base. These are the characters that QR codes hold most densely.

use std::panic::{AssertUnwindSafe, catch_unwind};

use image::{GrayImage, Rgb, RgbImage};
use qrcode::{Color, EcLevel, QrCode};

use super::{Label, LabelError};
use crate::digest::Sha256Digest;
use crate::sheet::{Line, write_lines};

const PREFIX: &str = "ASSENT:";
/// Light modules around the code (ISO/IEC 18004).
const QUIET: u32 = 4;
/// Pixels of a module, at least: fewer do not survive a camera.
const LEAST: u32 = 2;
/// The strip's part of the picture's shorter side, where that leaves modules large enough.
const PART: u32 = 8;
/// Codes of a picture that are looked at.
const MOST: usize = 64;
const PAPER: Rgb<u8> = Rgb([255; 3]);
const INK: Rgb<u8> = Rgb([0; 3]);

/// What a mark names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Name {
    /// The receipt of an adapter.
    Receipt(Sha256Digest),
    /// The file of an adapter without a receipt.
    Adapter(Sha256Digest),
    /// A base, where there was no adapter.
    Base(Sha256Digest),
}

impl Name {
    fn text(self) -> String {
        let (kind, digest) = match self {
            Name::Receipt(digest) => ("RECEIPT", digest),
            Name::Adapter(digest) => ("ADAPTER", digest),
            Name::Base(digest) => ("BASE", digest),
        };
        format!("{kind}:{}", digest.to_string().to_ascii_uppercase())
    }

    fn parse(text: &str) -> Option<Self> {
        let (kind, digest) = text.split_once(':')?;
        let digest = digest.to_ascii_lowercase().parse().ok()?;
        match kind {
            "RECEIPT" => Some(Name::Receipt(digest)),
            "ADAPTER" => Some(Name::Adapter(digest)),
            "BASE" => Some(Name::Base(digest)),
            _ => None,
        }
    }
}

/// What the mark of a label names.
#[must_use]
pub fn names(label: &Label) -> Vec<Name> {
    if label.adapters.is_empty() {
        return vec![Name::Base(label.base)];
    }
    let name = |used: &super::UsedAdapter| used.receipt.map_or(Name::Adapter(used.sha256), Name::Receipt);
    label.adapters.iter().map(name).collect()
}

/// The code of what a label names.
pub(super) fn code(label: &Label) -> Result<QrCode, LabelError> {
    let names: Vec<String> = names(label).iter().map(|name| name.text()).collect();
    let text = PREFIX.to_owned() + &names.join("+");
    QrCode::with_error_correction_level(&text, EcLevel::M).map_err(|e| LabelError::Encode(e.to_string()))
}

/// The picture with its mark below; where it is narrower than the mark, with paper beside it.
pub(super) fn below(image: &RgbImage, label: &Label) -> Result<RgbImage, LabelError> {
    let (width, height) = image.dimensions();
    let code = code(label)?;
    let modules = code.width() as u32;
    let pixels = (width.min(height) / PART / (modules + 2 * QUIET)).max(LEAST);
    let side = (modules + 2 * QUIET) * pixels;
    // Half as much again is room for two letters.
    let across = width.max(side + side / 2);
    let mut marked = RgbImage::from_pixel(across, height + side, PAPER);
    image::imageops::replace(&mut marked, image, 0, 0);
    let colours = code.to_colors();
    let (left, top) = (across - side + QUIET * pixels, height + QUIET * pixels);
    for y in 0..modules * pixels {
        for x in 0..modules * pixels {
            if colours[((y / pixels) * modules + x / pixels) as usize] == Color::Dark {
                marked.put_pixel(left + x, top + y, INK);
            }
        }
    }
    let (first, second) = (f64::from(side) / 4.0, f64::from(side) / 7.0);
    let gap = QUIET * pixels;
    let room = (across - side).saturating_sub(gap);
    let line = |text: String, size: f64, middle: u32| Line {
        text,
        size,
        left: gap,
        middle: height + middle,
        width: room,
    };
    let what = match names(label).first() {
        Some(Name::Receipt(digest)) => format!("receipt {}", digest.short()),
        Some(Name::Adapter(digest)) => format!("adapter {}", digest.short()),
        Some(Name::Base(digest)) => format!("base {}", digest.short()),
        None => String::new(),
    };
    // The words are about seven times as wide as they are high; two letters of them fit beside any code.
    let mut lines = vec![line("AI".to_owned(), first, side / 3)];
    if f64::from(room) >= 7.0 * first {
        lines = vec![
            line("AI-generated".to_owned(), first, side / 3),
            line(format!("{}, {what}", label.program), second, side * 2 / 3),
        ];
    }
    write_lines(&mut marked, &lines)?;
    Ok(marked)
}

/// What the mark in a picture names; none where no code of this program is found. The picture may be a stranger's: a
/// panic in the reader of codes is a code that was not found.
#[must_use]
pub fn find(image: &RgbImage) -> Option<Vec<Name>> {
    catch_unwind(AssertUnwindSafe(|| found(image))).ok().flatten()
}

fn found(image: &RgbImage) -> Option<Vec<Name>> {
    let grey: GrayImage = image::imageops::grayscale(image);
    let (width, height) = (grey.width() as usize, grey.height() as usize);
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| grey.as_raw()[y * width + x]);
    prepared.detect_grids().into_iter().take(MOST).find_map(|grid| {
        let (_, text) = grid.decode().ok()?;
        text.strip_prefix(PREFIX)?.split('+').map(Name::parse).collect()
    })
}
