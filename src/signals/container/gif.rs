//! GIF: the application extensions of XMP, C2PA and ImageMagick, and comments.

use super::{Blocks, MOST_BLOCK, photoshop, split};

/// The packet stands there raw, followed by 1, 255, 254, … 1, 0: whoever walks it as sub-blocks of any length lands
/// on its end.
const TRAILER: usize = 257;

pub(super) fn read(file: &[u8], blocks: &mut Blocks) {
    if walk(file, blocks).is_none() {
        blocks.problem("the GIF is cut off");
    }
}

fn walk(file: &[u8], blocks: &mut Blocks) -> Option<()> {
    let flags = *file.get(10)?;
    let mut rest = file.get(13..)?;
    if flags & 0x80 != 0 {
        rest = rest.get(color_table(flags)..)?;
    }
    loop {
        match rest {
            [0x3b, ..] => return Some(()),
            [0x2c, after @ ..] => {
                let (descriptor, after) = split(after, 9)?;
                let flags = descriptor[8];
                let after = if flags & 0x80 != 0 {
                    after.get(color_table(flags)..)?
                } else {
                    after
                };
                rest = sub_blocks(after.get(1..)?)?.1;
            }
            [0x21, 0xff, 11, after @ ..] => {
                let (name, after) = split(after, 11)?;
                let (data, next) = sub_blocks(after)?;
                match name {
                    b"XMP DataXMP" => {
                        blocks.add_xmp(data.get(..data.len().saturating_sub(TRAILER)).unwrap_or_default());
                    }
                    b"MGKIPTC0000" => blocks.add_iptc(&joined(data)),
                    b"MGK8BIM0000" => photoshop::read(&joined(data), blocks),
                    _ if name.starts_with(b"C2PA_GIF") => blocks.add_manifest("image/gif", data.len()),
                    _ => {}
                }
                rest = next;
            }
            [0x21, kind, after @ ..] => {
                let (data, next) = sub_blocks(after)?;
                if *kind == 0xfe {
                    blocks.add_text("Comment".to_string(), &joined(data));
                }
                rest = next;
            }
            _ => return None,
        }
    }
}

fn color_table(flags: u8) -> usize {
    3 << ((flags & 7) + 1)
}

/// What the sub-blocks hold, without their length bytes, as far as a block is read.
fn joined(mut blocks: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len().min(MOST_BLOCK));
    while bytes.len() <= MOST_BLOCK
        && let Some((&length, rest)) = blocks.split_first()
    {
        let (block, rest) = split(rest, usize::from(length)).unwrap_or((rest, &[]));
        bytes.extend_from_slice(block);
        blocks = rest;
    }
    bytes
}

/// The sub-blocks with their length bytes, without the last zero, and what follows them.
fn sub_blocks(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        let length = usize::from(*bytes.get(at)?);
        if length == 0 {
            return Some((&bytes[..at], &bytes[at + 1..]));
        }
        at += length + 1;
    }
}
