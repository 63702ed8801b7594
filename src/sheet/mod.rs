//! Pictures about the work: contact sheets and curves, from plain values to the bytes of a PNG or to SVG, and text made
//! safe for a page.
//!
//! It knows neither burn nor the registry, reads no file and no system font (a font is built in), and writes nothing:
//! the caller stores the bytes. The same values give the same bytes.

mod bars;
mod chart;
mod contact;
mod html;
mod text;

pub use bars::{Bars, Lane, Lanes};
pub use chart::{Chart, Series, Stroke};
pub use contact::{Row, Sheet, Tile};
pub use html::Escaped;
pub use text::{Line, write_lines};

/// Why a picture could not be drawn.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// A tile whose number of values does not fit its size.
    #[error("a tile of {width}×{height} pixels needs {expected} values, got {found}")]
    TileSize {
        /// Columns.
        width: u32,
        /// Rows.
        height: u32,
        /// Three values a pixel.
        expected: usize,
        /// Values given.
        found: usize,
    },
    /// A picture of no or of too many pixels.
    #[error("a picture of {width}×{height} pixels is not within 1 to {limit} on each side")]
    Extent {
        /// Columns asked for.
        width: u64,
        /// Rows asked for.
        height: u64,
        /// The largest side that is drawn.
        limit: u32,
    },
    /// A chart without one finite point.
    #[error("the chart `{title}` has no finite point to draw")]
    NoPoints {
        /// The chart's title.
        title: String,
    },
    /// The plotting backend refused.
    #[error("cannot draw: {0}")]
    Draw(String),
    /// The PNG encoder refused.
    #[error("cannot encode the picture as PNG: {0}")]
    Encode(#[from] image::ImageError),
}

/// The largest side of a picture, in pixels.
const LIMIT: u32 = 16_384;

/// Encodes RGB bytes, row by row, as PNG.
fn encode(width: u32, height: u32, pixels: &[u8]) -> Result<Vec<u8>, SheetError> {
    use image::{ExtendedColorType, ImageEncoder, codecs::png};
    let mut bytes = Vec::new();
    png::PngEncoder::new_with_quality(&mut bytes, png::CompressionType::Default, png::FilterType::Adaptive)
        .write_image(pixels, width, height, ExtendedColorType::Rgb8)?;
    Ok(bytes)
}

/// A buffer of one colour for a picture of this size.
fn blank(width: u64, height: u64, colour: [u8; 3]) -> Result<(u32, u32, Vec<u8>), SheetError> {
    let side = |value: u64| u32::try_from(value).ok().filter(|v| (1..=LIMIT).contains(v));
    match (side(width), side(height)) {
        (Some(w), Some(h)) => Ok((w, h, colour.repeat(w as usize * h as usize))),
        _ => Err(SheetError::Extent {
            width,
            height,
            limit: LIMIT,
        }),
    }
}
