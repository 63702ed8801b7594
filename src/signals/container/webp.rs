//! WebP: the RIFF chunks `XMP ` and `EXIF`, and whether there is `C2PA`.

use super::{Blocks, split};

pub(super) fn read(file: &[u8], blocks: &mut Blocks) {
    let mut rest = file.get(12..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some((data, next)) = split(after, length) else {
            return blocks.problem("the last WebP chunk is cut off");
        };
        match &head[..4] {
            // Four letters; some writers end them with a zero byte.
            b"XMP " | b"XMP\0" => blocks.add_xmp(data),
            b"EXIF" => blocks.add_exif(data.strip_prefix(b"Exif\0\0").unwrap_or(data)),
            b"C2PA" => blocks.add_manifest("image/webp", data.len()),
            _ => {}
        }
        // Chunks begin at even offsets.
        rest = next.get(length % 2..).unwrap_or_default();
    }
}
