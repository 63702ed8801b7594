//! The built-in font (DejaVu Sans), so that letters look the same on every machine.

use image::RgbImage;
use plotters::prelude::{BitMapBackend, IntoDrawingArea};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontDesc, FontFamily, FontStyle, IntoFont, RGBColor, TextStyle, register_font};
use std::sync::Once;

use super::SheetError;

const FAMILY: &str = "assent";

/// Ink of titles and labels.
pub(super) const INK: RGBColor = RGBColor(0x22, 0x26, 0x2e);

/// The built-in font at `size` pixels.
pub(super) fn font(size: f64) -> FontDesc<'static> {
    static READY: Once = Once::new();
    READY.call_once(|| {
        // A refusal would leave text undrawn, which the tests of this room would see.
        let _ = register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular());
    });
    (FontFamily::Name(FAMILY), size).into_font()
}

/// The built-in font at `size` pixels, in the ink of labels.
pub(super) fn style(size: f64) -> TextStyle<'static> {
    TextStyle::from(font(size)).color(&INK)
}

/// `text`, or as much of it as fits in `width` pixels, with a mark that it was cut.
pub(super) fn fit(text: &str, size: f64, width: u32) -> String {
    let fits = |text: &str| font(size).box_size(text).is_ok_and(|(w, _)| w <= width);
    if fits(text) {
        return text.to_owned();
    }
    let mut cut: String = text.to_owned();
    while cut.pop().is_some() {
        let short = format!("{}…", cut.trim_end());
        if fits(&short) {
            return short;
        }
    }
    String::new()
}

/// A line of text on a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// What it says; cut where it is longer than its room.
    pub text: String,
    /// Height of its letters in pixels.
    pub size: f64,
    /// Where it begins, in pixels from the left.
    pub left: u32,
    /// Its middle, in pixels from the top.
    pub middle: u32,
    /// Its room in pixels.
    pub width: u32,
}

/// Writes lines of text onto a picture, in the built-in font.
///
/// # Errors
/// If the plotting backend refuses.
pub fn write_lines(image: &mut RgbImage, lines: &[Line]) -> Result<(), SheetError> {
    let drawn = |e: &dyn std::fmt::Display| SheetError::Draw(e.to_string());
    let size = image.dimensions();
    let area = BitMapBackend::with_buffer(image, size).into_drawing_area();
    for line in lines {
        let text = fit(&line.text, line.size, line.width);
        let style = style(line.size).pos(Pos::new(HPos::Left, VPos::Center));
        area.draw_text(&text, &style, (line.left as i32, line.middle as i32))
            .map_err(|e| drawn(&e))?;
    }
    area.present().map_err(|e| drawn(&e))
}
