//! The profiles that ImageMagick and others write into text: `Raw profile type NAME`, in hexadecimal.

use super::{Blocks, photoshop};

/// What the keyword of such a text begins with.
pub(super) const KEYWORD: &str = "Raw profile type ";

/// Reads the profile called `name`: a line with the name, a line with the length, lines of hexadecimal digits.
pub(super) fn read(name: &str, text: &[u8], blocks: &mut Blocks) {
    let known = ["exif", "app1", "xmp", "iptc", "8bim"];
    if !known.iter().any(|known| name.eq_ignore_ascii_case(known)) {
        return;
    }
    match unpacked(text) {
        Some(bytes) => add(&bytes, blocks),
        // A denial may have stood here.
        None => blocks.problem(format!("the raw profile `{name}` is no hexadecimal text of its length")),
    }
}

fn unpacked(text: &[u8]) -> Option<Vec<u8>> {
    let mut lines = text.trim_ascii_start().splitn(3, |&byte| byte == b'\n').skip(1);
    let length: usize = std::str::from_utf8(lines.next()?.trim_ascii()).ok()?.parse().ok()?;
    let digits: Vec<u8> = lines
        .next()
        .unwrap_or_default()
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let bytes = hex::decode(digits).ok()?;
    (bytes.len() == length).then_some(bytes)
}

/// The content says what it is: the names are used for several things.
fn add(bytes: &[u8], blocks: &mut Blocks) {
    let bytes = bytes.strip_prefix(b"Photoshop 3.0\0").unwrap_or(bytes);
    match bytes {
        [b'E', b'x', b'i', b'f', 0, _, exif @ ..] => blocks.add_exif(exif),
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => blocks.add_exif(bytes),
        [b'8', b'B', b'I', b'M', ..] => photoshop::read(bytes, blocks),
        [0x1c, ..] => blocks.add_iptc(bytes),
        _ => blocks.add_xmp(bytes.strip_prefix(b"http://ns.adobe.com/xap/1.0/\0").unwrap_or(bytes)),
    }
}
