//! A file → the label that is in it, and what its signature comes to.

use image::RgbImage;

use super::packet::{IPTC_EXT, PROPERTY};
use super::{Label, Signed, manifest};
use crate::digest::PixelDigest;
use crate::pixels::{Limits, decode};
use crate::signals::{LABEL_NAMESPACE, words};

/// What is drawn fits, with a mark below.
const LIMITS: Limits = Limits {
    max_pixels: 80_000_000,
    max_side: 20_000,
    max_file_bytes: 512 << 20,
};

/// What a file says of how it was made. All of it is a claim, unless it is signed by somebody who is believed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Found {
    /// The label in its XMP, where this program wrote one.
    pub label: Option<Label>,
    /// IPTC's `DigitalSourceType` in its XMP.
    pub source_type: Option<String>,
    /// The parameters that users of A1111 know.
    pub parameters: Option<String>,
    /// Its C2PA manifest.
    pub signed: Option<Signed>,
}

impl Found {
    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Found::default()
    }

    /// The label: the signed one if there is one.
    #[must_use]
    pub fn any_label(&self) -> Option<&Label> {
        self.signed
            .as_ref()
            .and_then(|s| s.label.as_ref())
            .or(self.label.as_ref())
    }
}

/// Reads the label in a picture's bytes.
#[must_use]
pub fn read(bytes: &[u8]) -> Found {
    let words = words(bytes);
    let value = |namespace: &str, name: &str| {
        let mut of = words.properties.iter().filter(|p| p.direct && p.is(namespace, name));
        of.next().map(|property| property.value.clone())
    };
    let parameters = words
        .texts
        .iter()
        .find(|(keyword, _)| keyword == "parameters" || keyword == "UserComment");
    Found {
        label: value(LABEL_NAMESPACE, PROPERTY).and_then(|json| Label::parse(&json)),
        source_type: value(IPTC_EXT, "DigitalSourceType"),
        parameters: parameters.map(|(_, text)| text.trim().to_owned()),
        signed: words.manifest.map(|kind| manifest::read(bytes, kind)),
    }
}

/// The pixels of a picture file of any format that is read, upright; none where it does not decode, or has more pixels
/// than this program draws.
#[must_use]
pub fn decoded(bytes: &[u8]) -> Option<RgbImage> {
    decode(bytes, &LIMITS).ok().map(|decoded| decoded.image().to_rgb8())
}

/// The digest by which a picture is found again whatever its metadata say; as of its pixels without transparency.
#[must_use]
pub fn pixel_digest(image: &RgbImage) -> PixelDigest {
    let rgba: Vec<u8> = image.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2], 255]).collect();
    PixelDigest::of_rgba(image.width(), image.height(), &rgba)
}
