//! Pixels and texts → the bytes of a PNG, JPEG or WebP file.

use std::path::Path;

use ::exif::experimental::Writer;
use ::exif::{Field, In, Tag, Value};
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, RgbImage};
use image_webp::{ColorType, WebPEncoder};

use super::LabelError;

/// Few would see a difference, and it is what the web interfaces write.
const JPEG_QUALITY: u8 = 95;
/// What stands before XMP in a JPEG's APP1 segment.
const XMP_SIGNATURE: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
/// Bytes of a JPEG segment after its marker, with the two of the length.
const MOST_SEGMENT: usize = 0xffff;

/// A format of pictures that holds a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// PNG.
    Png,
    /// JPEG, at quality 95.
    Jpeg,
    /// WebP without loss.
    WebP,
}

impl Format {
    /// The format that a path ends in.
    ///
    /// # Errors
    /// If it ends in no extension that is known.
    pub fn of_path(path: &Path) -> Result<Self, LabelError> {
        let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
        match extension.to_str() {
            Some("png") => Ok(Format::Png),
            Some("jpg" | "jpeg") => Ok(Format::Jpeg),
            Some("webp") => Ok(Format::WebP),
            _ => Err(LabelError::Format(path.display().to_string())),
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        self.of_image().to_mime_type()
    }

    /// Whether the pixels come back as they were.
    pub(super) fn is_lossless(self) -> bool {
        self != Format::Jpeg
    }

    pub(super) fn of_image(self) -> ImageFormat {
        match self {
            Format::Png => ImageFormat::Png,
            Format::Jpeg => ImageFormat::Jpeg,
            Format::WebP => ImageFormat::WebP,
        }
    }
}

pub(super) fn encode(image: &RgbImage, format: Format, xmp: &str, parameters: &str) -> Result<Vec<u8>, LabelError> {
    match format {
        Format::Png => png(image, xmp, parameters).map_err(|e| LabelError::Encode(e.to_string())),
        Format::Jpeg => jpeg(image, xmp, parameters),
        Format::WebP => webp(image, xmp, parameters),
    }
}

fn png(image: &RgbImage, xmp: &str, parameters: &str) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, image.width(), image.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.add_itxt_chunk("XML:com.adobe.xmp".to_owned(), xmp.to_owned())?;
    encoder.add_itxt_chunk("parameters".to_owned(), parameters.to_owned())?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(image.as_raw())?;
    writer.finish()?;
    Ok(bytes)
}

fn jpeg(image: &RgbImage, xmp: &str, parameters: &str) -> Result<Vec<u8>, LabelError> {
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .write_image(image.as_raw(), image.width(), image.height(), ExtendedColorType::Rgb8)
        .map_err(|e| LabelError::Encode(e.to_string()))?;
    // After the two bytes that begin the file and, where it is, the segment that JFIF wants first.
    let at = match bytes.get(2..6) {
        Some(&[0xff, 0xe0, high, low]) => 4 + usize::from(u16::from_be_bytes([high, low])),
        _ => 2,
    };
    let mut segments = segment(&[b"Exif\0\0".as_slice(), &user_comment(parameters)?].concat())?;
    segments.extend(segment(&[XMP_SIGNATURE, xmp.as_bytes()].concat())?);
    bytes.splice(at..at, segments);
    Ok(bytes)
}

/// An APP1 segment.
fn segment(data: &[u8]) -> Result<Vec<u8>, LabelError> {
    let most = MOST_SEGMENT - 2;
    let length = u16::try_from(data.len() + 2).map_err(|_| LabelError::TooLong {
        found: data.len(),
        most,
    })?;
    Ok([&[0xff, 0xe1], length.to_be_bytes().as_slice(), data].concat())
}

fn webp(image: &RgbImage, xmp: &str, parameters: &str) -> Result<Vec<u8>, LabelError> {
    let mut bytes = Vec::new();
    let mut encoder = WebPEncoder::new(&mut bytes);
    encoder.set_exif_metadata(user_comment(parameters)?);
    encoder.set_xmp_metadata(xmp.as_bytes().to_vec());
    encoder
        .encode(image.as_raw(), image.width(), image.height(), ColorType::Rgb8)
        .map_err(|e| LabelError::Encode(e.to_string()))?;
    Ok(bytes)
}

/// An EXIF block with the parameters as `UserComment`, where A1111 writes them in files that are no PNG.
fn user_comment(parameters: &str) -> Result<Vec<u8>, LabelError> {
    let mut comment = b"UNICODE\0".to_vec();
    comment.extend(parameters.encode_utf16().flat_map(u16::to_be_bytes));
    let field = Field {
        tag: Tag::UserComment,
        ifd_num: In::PRIMARY,
        value: Value::Undefined(comment, 0),
    };
    let mut writer = Writer::new();
    writer.push_field(&field);
    let mut block = std::io::Cursor::new(Vec::new());
    writer
        .write(&mut block, false)
        .map_err(|e| LabelError::Encode(e.to_string()))?;
    Ok(block.into_inner())
}
