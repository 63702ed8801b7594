//! Bytes of a file → pixels in memory, refused before anything large is allocated.

use std::fmt;
use std::fs::File;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, GenericImageView, ImageDecoder, ImageFormat, ImageReader};

/// What a picture file may cost at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Width times height.
    pub max_pixels: u64,
    /// Width or height alone.
    pub max_side: u32,
    /// Bytes of the file.
    pub max_file_bytes: u64,
}

impl Default for Limits {
    /// Accepts the largest real drawings that are known (231 megapixels) and refuses what only a bomb needs.
    fn default() -> Self {
        Limits {
            max_pixels: 256_000_000,
            max_side: 65_535,
            max_file_bytes: 512 << 20,
        }
    }
}

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP.
    WebP,
    /// Graphics Interchange Format; the first frame counts.
    Gif,
    /// Tagged Image File Format; the first page counts.
    Tiff,
    /// Windows bitmap.
    Bmp,
}

impl Format {
    /// The stable name, as the registry holds it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Png => "png",
            Format::Jpeg => "jpeg",
            Format::WebP => "webp",
            Format::Gif => "gif",
            Format::Tiff => "tiff",
            Format::Bmp => "bmp",
        }
    }

    /// The format that these first bytes announce.
    pub fn of_bytes(bytes: &[u8]) -> Option<Format> {
        match image::guess_format(bytes).ok()? {
            ImageFormat::Png => Some(Format::Png),
            ImageFormat::Jpeg => Some(Format::Jpeg),
            ImageFormat::WebP => Some(Format::WebP),
            ImageFormat::Gif => Some(Format::Gif),
            ImageFormat::Tiff => Some(Format::Tiff),
            ImageFormat::Bmp => Some(Format::Bmp),
            _ => None,
        }
    }

    /// The name of the picture format that these first bytes announce and that is not read: AVIF, HEIF, JPEG XL.
    pub fn unread(bytes: &[u8]) -> Option<&'static str> {
        if bytes.starts_with(b"\0\0\0\x0cJXL \r\n\x87\n") {
            return Some("JPEG XL");
        }
        // A box `ftyp` with the major brand: ISO/IEC 23008-12 and AV1 Image File Format.
        match (bytes.get(4..8)?, bytes.get(8..12)?) {
            (b"ftyp", b"avif" | b"avis") => Some("AVIF"),
            (
                b"ftyp",
                b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"hevm" | b"hevs" | b"mif1" | b"msf1"
                | b"miaf",
            ) => Some("HEIF"),
            _ => None,
        }
    }

    fn of_image(self) -> ImageFormat {
        match self {
            Format::Png => ImageFormat::Png,
            Format::Jpeg => ImageFormat::Jpeg,
            Format::WebP => ImageFormat::WebP,
            Format::Gif => ImageFormat::Gif,
            Format::Tiff => ImageFormat::Tiff,
            Format::Bmp => ImageFormat::Bmp,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why there are no pixels.
#[derive(Debug, thiserror::Error)]
pub enum PixelsError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not a regular file, so reading it might never end.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// What is not a file.
        path: PathBuf,
    },
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// The content is no picture that is read here.
    #[error("the content is not PNG, JPEG, WebP, GIF, TIFF or BMP")]
    UnknownFormat,
    /// A picture in a format that is not read: its decoders are C libraries, or too young.
    #[error("the content is {0}, which is not read: convert it to PNG or WebP, and keep its metadata")]
    Unread(&'static str),
    /// More bytes than allowed.
    #[error("the file has {found} bytes, the limit is {allowed}")]
    FileTooLarge {
        /// Bytes of the file.
        found: u64,
        /// Bytes allowed.
        allowed: u64,
    },
    /// More pixels than allowed, or none.
    #[error("the picture is {width}x{height}, the limit is {max_side} a side and {max_pixels} pixels")]
    Dimensions {
        /// Width it announces.
        width: u32,
        /// Height it announces.
        height: u32,
        /// Longest side allowed.
        max_side: u32,
        /// Pixels allowed.
        max_pixels: u64,
    },
    /// It announces a size that its bytes cannot fill.
    #[error("the picture announces {width}x{height} in {bytes} bytes: no {format} file compresses that far")]
    Bomb {
        /// Width it announces.
        width: u32,
        /// Height it announces.
        height: u32,
        /// Bytes of the file.
        bytes: u64,
        /// Its format.
        format: Format,
    },
    /// The decoder refused it.
    #[error("the {format} data is damaged: {reason}")]
    Damaged {
        /// Its format.
        format: Format,
        /// What the decoder said.
        reason: String,
    },
}

/// A picture whose header was read and accepted; nothing large is allocated yet.
pub struct Probed<'a> {
    decoder: Box<dyn ImageDecoder + 'a>,
    format: Format,
    width: u32,
    height: u32,
    memory_bytes: u64,
}

impl Probed<'_> {
    /// Width and height that the header announces, before orientation.
    pub fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// Width and height once it is upright.
    pub fn upright(&mut self) -> [u32; 2] {
        use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
        match self.decoder.orientation() {
            Ok(Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH) => [self.height, self.width],
            _ => [self.width, self.height],
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// An upper estimate of the bytes that decoding holds at once.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes
    }

    /// Decodes and turns the picture upright.
    pub fn decode(mut self) -> Result<Decoded, PixelsError> {
        let format = self.format;
        let damaged = |error: image::ImageError| PixelsError::Damaged {
            format,
            reason: error.to_string(),
        };
        // A damaged EXIF block says nothing about the pixels.
        let orientation = self.decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut image = DynamicImage::from_decoder(self.decoder).map_err(damaged)?;
        image.apply_orientation(orientation);
        Ok(Decoded { image, format })
    }
}

/// Reads the header of the picture in `bytes` and holds it against `limits`.
pub fn probe<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Probed<'a>, PixelsError> {
    if bytes.is_empty() {
        return Err(PixelsError::Empty);
    }
    let file_bytes = bytes.len() as u64;
    if file_bytes > limits.max_file_bytes {
        return Err(PixelsError::FileTooLarge {
            found: file_bytes,
            allowed: limits.max_file_bytes,
        });
    }
    let format = Format::of_bytes(bytes)
        .ok_or_else(|| Format::unread(bytes).map_or(PixelsError::UnknownFormat, PixelsError::Unread))?;
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.of_image());
    let mut allowed = image::Limits::no_limits();
    // The widest pixel is four floats; text and profile chunks are held against the same number.
    allowed.max_alloc = Some(limits.max_pixels.saturating_mul(16).max(64 << 20));
    reader.limits(allowed);
    let decoder = reader.into_decoder().map_err(|error| PixelsError::Damaged {
        format,
        reason: error.to_string(),
    })?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 || width.max(height) > limits.max_side || pixels > limits.max_pixels {
        return Err(PixelsError::Dimensions {
            width,
            height,
            max_side: limits.max_side,
            max_pixels: limits.max_pixels,
        });
    }
    // Deflate, the densest of these codecs on flat colour, needs at least one bit for about 1,032 bits; one-bit
    // pixels of a flat picture therefore fit about 8,300 in a byte. Beyond twice that the data cannot be there.
    if pixels / file_bytes > 16_384 && format != Format::WebP {
        return Err(PixelsError::Bomb {
            width,
            height,
            bytes: file_bytes,
            format,
        });
    }
    let total = decoder.total_bytes();
    // What the decoders hold beside their output: progressive JPEG its coefficients, WebP and GIF a second plane.
    let memory_bytes = match format {
        Format::Png | Format::Bmp => total,
        Format::Jpeg => total.saturating_mul(3),
        Format::WebP | Format::Gif | Format::Tiff => total.saturating_mul(2),
    };
    Ok(Probed {
        decoder: Box::new(decoder),
        format,
        width,
        height,
        memory_bytes,
    })
}

/// Decodes the picture in `bytes` within `limits`, upright.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, PixelsError> {
    probe(bytes, limits)?.decode()
}

/// Reads and decodes the picture at `path` within `limits`, upright.
pub fn decode_file(path: &Path, limits: &Limits) -> Result<Decoded, PixelsError> {
    decode(&read_file(path, limits)?, limits)
}

/// The bytes of the regular file at `path`, never more than `limits` allow.
pub fn read_file(path: &Path, limits: &Limits) -> Result<Vec<u8>, PixelsError> {
    let failed = |source| PixelsError::Read {
        path: path.to_path_buf(),
        source,
    };
    // Asked before opening: opening a named pipe would wait for a writer.
    let found = std::fs::metadata(path).map_err(failed)?;
    if !found.is_file() {
        return Err(PixelsError::NotAFile {
            path: path.to_path_buf(),
        });
    }
    if found.len() > limits.max_file_bytes {
        return Err(PixelsError::FileTooLarge {
            found: found.len(),
            allowed: limits.max_file_bytes,
        });
    }
    let mut bytes = Vec::with_capacity(found.len() as usize + 1);
    // The file may grow while it is read.
    let file = File::open(path).map_err(failed)?;
    file.take(limits.max_file_bytes + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > limits.max_file_bytes {
        return Err(PixelsError::FileTooLarge {
            found: bytes.len() as u64,
            allowed: limits.max_file_bytes,
        });
    }
    Ok(bytes)
}

/// A decoded, upright picture, kept in the pixel type of its file.
pub struct Decoded {
    image: DynamicImage,
    format: Format,
}

impl Decoded {
    /// Width and height in pixels, upright.
    pub fn dimensions(&self) -> (u32, u32) {
        self.image.dimensions()
    }

    /// The format of its file.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The pixels.
    pub fn image(&self) -> &DynamicImage {
        &self.image
    }

    /// Calls `rows(first, rgba)` for strips of whole rows from top to bottom: `rgba` holds 8-bit RGBA, not
    /// premultiplied, `4 * width` bytes a row. Never holds more than one strip beside the picture.
    pub fn for_each_strip(&self, mut rows: impl FnMut(u32, &[u8])) {
        let (width, height) = self.dimensions();
        let row_bytes = width as usize * 4;
        // Large enough for the hasher to work on many blocks at once, small enough to stay in the second cache.
        let strip_rows = (STRIP_BYTES / row_bytes.max(1)).max(1);
        if let DynamicImage::ImageRgba8(image) = &self.image {
            for (index, strip) in image.as_raw().chunks(strip_rows * row_bytes).enumerate() {
                rows((index * strip_rows) as u32, strip);
            }
            return;
        }
        let mut buffer = Vec::with_capacity(strip_rows * row_bytes);
        let mut first = 0;
        while first < height {
            let count = (strip_rows as u32).min(height - first);
            let range = |channels: usize| {
                let start = first as usize * width as usize * channels;
                start..start + count as usize * width as usize * channels
            };
            buffer.clear();
            match &self.image {
                DynamicImage::ImageLuma8(image) => {
                    buffer.extend(image.as_raw()[range(1)].iter().flat_map(|&l| [l, l, l, 255]));
                }
                DynamicImage::ImageLumaA8(image) => {
                    buffer.extend(
                        image.as_raw()[range(2)]
                            .chunks_exact(2)
                            .flat_map(|p| [p[0], p[0], p[0], p[1]]),
                    );
                }
                DynamicImage::ImageRgb8(image) => {
                    buffer.extend(
                        image.as_raw()[range(3)]
                            .chunks_exact(3)
                            .flat_map(|p| [p[0], p[1], p[2], 255]),
                    );
                }
                other => buffer.extend_from_slice(other.crop_imm(0, first, width, count).to_rgba8().as_raw()),
            }
            rows(first, &buffer);
            first += count;
        }
    }
}

const STRIP_BYTES: usize = 256 << 10;
