//! The metadata of a picture in its own words, for whoever reads back what this program wrote.

use super::container::{Blocks, blocks};
use super::{Property, exif, xmp};

/// What stands in a picture's metadata, uninterpreted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// The properties of its XMP packets.
    pub properties: Vec<Property>,
    /// Keyword and text of each text chunk, and of the EXIF fields in which generators leave their parameters.
    pub texts: Vec<(String, String)>,
    /// The file's media type, where it holds a C2PA manifest store.
    pub manifest: Option<&'static str>,
}

/// Reads them from a picture's bytes; what does not parse is left out.
pub fn words(file: &[u8]) -> Words {
    let Blocks {
        xmp: packets,
        exif: fields,
        text,
        manifest,
        ..
    } = blocks(file);
    let fields = fields.into_iter().flat_map(|block| exif::read(block).texts);
    Words {
        properties: packets.iter().flat_map(|packet| xmp::properties(packet).0).collect(),
        texts: text
            .into_iter()
            .chain(fields.map(|(keyword, text)| (keyword.to_owned(), text)))
            .collect(),
        manifest,
    }
}
