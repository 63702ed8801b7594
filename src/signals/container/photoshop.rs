//! Photoshop's image resources, as JPEG (APP13), TIFF (tag 34377) and raw profiles hold them.

use super::{Blocks, split};

const IPTC: u16 = 0x0404;
const EXIF: u16 = 0x0422;
const XMP: u16 = 0x0424;

/// Reads resources: `8BIM`, an identifier, a name and the data with its length, each padded to an even length.
pub(super) fn read(resources: &[u8], blocks: &mut Blocks) {
    if !blocks.admit("Photoshop's data", resources.len()) {
        return;
    }
    let mut rest = resources;
    while !rest.is_empty() {
        let Some((id, data, next)) = resource(rest) else {
            // What follows the last resource is padding, unless it begins like one.
            if rest.starts_with(b"8BIM") {
                blocks.problem("a Photoshop resource is cut off");
            }
            return;
        };
        match id {
            IPTC => blocks.add_iptc(data),
            EXIF => blocks.add_exif(data),
            XMP => blocks.add_xmp(data),
            _ => {}
        }
        rest = next;
    }
}

fn resource(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.strip_prefix(b"8BIM")?.split_first_chunk::<3>()?;
    // The length of the name is a byte; both together are even.
    let (_, rest) = split(rest, usize::from(head[2]) | 1)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (data, rest) = split(rest, length)?;
    // The last one may lack its padding.
    let rest = rest.get(length % 2..).unwrap_or_default();
    Some((u16::from_be_bytes([head[0], head[1]]), data, rest))
}
