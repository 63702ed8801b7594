//! The built-in font (DejaVu Sans), so that letters look the same on every machine.

use plotters::style::{FontDesc, FontFamily, FontStyle, IntoFont, RGBColor, TextStyle, register_font};
use std::sync::Once;

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
