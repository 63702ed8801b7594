//! PNG: `iTXt`, `tEXt` and `zTXt` chunks, `eXIf`, and whether there is `caBX`.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::{Blocks, latin1, profile, split, until_zero};

const XMP_KEYWORD: &str = "XML:com.adobe.xmp";

pub(super) fn read(file: &[u8], blocks: &mut Blocks) {
    let mut rest = file.get(8..).unwrap_or_default();
    while let Some((head, after)) = rest.split_first_chunk::<8>() {
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let Some((data, after)) = split(after, length) else {
            return blocks.problem("the last PNG chunk is cut off");
        };
        match &head[4..] {
            b"iTXt" => international(data, blocks),
            b"tEXt" => {
                if let Some((keyword, text)) = keyword(data) {
                    add(&keyword, text, blocks);
                }
            }
            b"zTXt" => {
                if let Some((keyword, [0, packed @ ..])) = keyword(data)
                    && let Some(text) = inflate(packed, blocks)
                {
                    add(&keyword, &text, blocks);
                }
            }
            b"eXIf" => blocks.add_exif(data.strip_prefix(b"Exif\0\0").unwrap_or(data)),
            b"caBX" => blocks.add_manifest("image/png", data.len()),
            b"IEND" => return,
            _ => {}
        }
        rest = after.get(4..).unwrap_or_default();
    }
}

/// keyword, 0, compressed or not, method, language, 0, translated keyword, 0, text in UTF-8.
fn international(data: &[u8], blocks: &mut Blocks) {
    let Some((keyword, [compressed, _, rest @ ..])) = keyword(data) else {
        return;
    };
    let Some((_, rest)) = until_zero(rest) else { return };
    let Some((_, text)) = until_zero(rest) else { return };
    match compressed {
        0 => add(&keyword, text, blocks),
        _ => {
            if let Some(text) = inflate(text, blocks) {
                add(&keyword, &text, blocks);
            }
        }
    }
}

/// The keyword that a text chunk begins with, and what follows it. The specification allows 79 bytes.
fn keyword(data: &[u8]) -> Option<(String, &[u8])> {
    let (keyword, _) = until_zero(data.get(..80).unwrap_or(data))?;
    Some((latin1(keyword), data.get(keyword.len() + 1..)?))
}

fn add(keyword: &str, bytes: &[u8], blocks: &mut Blocks) {
    // Some writers put the packet into a plain text chunk; a refusal counts there too.
    if keyword == XMP_KEYWORD {
        blocks.add_xmp(bytes);
    } else if let Some(name) = keyword.strip_prefix(profile::KEYWORD) {
        profile::read(name, bytes, blocks);
    } else {
        blocks.add_text(keyword.to_string(), bytes);
    }
}

fn inflate(packed: &[u8], blocks: &mut Blocks) -> Option<Vec<u8>> {
    let room = blocks.room();
    match decompress_to_vec_zlib_with_limit(packed, room) {
        Ok(text) => Some(text),
        Err(error) => {
            // A denial may have stood here. What it would have taken is taken from what is left, so that a file of
            // bombs ends soon.
            blocks.held += room;
            blocks.problem(format!(
                "a compressed PNG text chunk does not unpack: {}",
                error.status as i8
            ));
            None
        }
    }
}
