//! An EXIF block → artist, copyright, title and the comments in which generators leave their parameters.

use ::exif::{Context, Exif, Field, In, Tag, Value};

use super::claims::shortened;
use super::container;

/// Windows' own title and author, in UTF-16.
const XP_TITLE: u16 = 0x9c9b;
const XP_AUTHOR: u16 = 0x9c9d;

/// What the block says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// `Artist`, several of them divided by semicolons, and Windows' `XPAuthor`.
    pub artists: Vec<String>,
    /// `Copyright`.
    pub copyright: Option<String>,
    /// Windows' `XPTitle`.
    pub title: Option<String>,
    /// Texts in which generators leave their parameters, by keyword.
    pub texts: Vec<(&'static str, String)>,
    /// What does not parse.
    pub problem: Option<String>,
}

/// Reads a block that begins with its TIFF header.
pub(super) fn read(block: Vec<u8>) -> Facts {
    let mut facts = Facts::default();
    let exif = match ::exif::Reader::new().continue_on_error(true).read_raw(block) {
        Ok(exif) => Some(exif),
        Err(error) => {
            // Cameras write damaged blocks; what can be read of them is read.
            let mut problems = error.to_string();
            let exif = error.distill_partial_result(|errors| {
                let mut each: Vec<String> = errors.iter().map(ToString::to_string).collect();
                each.sort();
                each.dedup();
                problems = each.join("; ");
            });
            facts.problem = Some(shortened(&format!("EXIF does not parse: {problems}")));
            exif.ok()
        }
    };
    let Some(exif) = exif else { return facts };
    let text = |tag| {
        let field = exif.get_field(tag, In::PRIMARY)?;
        Some(decoded(field, &exif)).filter(|text| !text.is_empty())
    };
    let windows = |number| text(Tag(Context::Tiff, number));
    for artists in [text(Tag::Artist), windows(XP_AUTHOR)].into_iter().flatten() {
        facts.artists.extend(artists.split(';').map(str::to_string));
    }
    facts.copyright = text(Tag::Copyright);
    facts.title = windows(XP_TITLE);
    let texts = [
        (Tag::UserComment, "UserComment"),
        (Tag::ImageDescription, "Description"),
        (Tag::Software, "Software"),
        // ComfyUI's node for WebP puts `prompt:{…}` and `workflow:{…}` here.
        (Tag::Make, "workflow"),
        (Tag::Model, "prompt"),
    ];
    facts.texts = texts
        .into_iter()
        .filter_map(|(tag, keyword)| Some((keyword, text(tag)?)))
        .collect();
    facts
}

fn decoded(field: &Field, exif: &Exif) -> String {
    let text = match &field.value {
        Value::Ascii(parts) => parts
            .iter()
            .map(|part| container::text(part))
            .collect::<Vec<_>>()
            .join(" "),
        Value::Byte(bytes) => utf16(bytes, true),
        // Eight bytes name the encoding.
        Value::Undefined(bytes, _) => match bytes.split_first_chunk::<8>() {
            Some((b"UNICODE\0", text)) => utf16(text, exif.little_endian()),
            Some((_, text)) => container::text(text),
            None => String::new(),
        },
        _ => String::new(),
    };
    text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_string()
}

/// UTF-16 in the order in which it has more zero high bytes; writers do not keep to the order of the block.
fn utf16(bytes: &[u8], little: bool) -> String {
    let zeros = |odd: usize| bytes.iter().skip(odd).step_by(2).filter(|&&byte| byte == 0).count();
    let little = match zeros(1).cmp(&zeros(0)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Equal => little,
        std::cmp::Ordering::Greater => true,
    };
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| match little {
            true => u16::from_le_bytes([pair[0], pair[1]]),
            false => u16::from_be_bytes([pair[0], pair[1]]),
        })
        .collect();
    String::from_utf16_lossy(&units)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utf16_in_the_order_of_its_zeros() {
        let units: Vec<u16> = "Steps: 20".encode_utf16().collect();
        let big: Vec<u8> = units.iter().flat_map(|unit| unit.to_be_bytes()).collect();
        let little: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        for claimed in [true, false] {
            assert_eq!(utf16(&big, claimed), "Steps: 20");
            assert_eq!(utf16(&little, claimed), "Steps: 20");
        }
        assert_eq!(utf16(&[0x53, 0x4e], true), "\u{4e53}");
        assert_eq!(utf16(&[0x53, 0x4e], false), "\u{534e}");
    }
}
