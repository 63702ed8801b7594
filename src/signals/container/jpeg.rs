//! JPEG: XMP, extended XMP and EXIF in APP1 segments, IPTC in APP13, C2PA in APP11, comments.

use std::collections::BTreeMap;

use super::{Blocks, MOST_BLOCK, photoshop, split};

const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const EXTENDED_XMP: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";
const EXIF: &[u8] = b"Exif\0\0";
const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";
/// Where the type of a JUMBF box begins in an APP11 segment: after `JP`, an instance, a number, and the heads of the
/// box and of its description.
const JUMBF_TYPE: usize = 24;

pub(super) fn read(file: &[u8], blocks: &mut Blocks) {
    let mut extended: BTreeMap<[u8; 32], Vec<(u32, &[u8])>> = BTreeMap::new();
    let mut resources = Vec::new();
    let mut rest = file.get(2..).unwrap_or_default();
    while let [0xff, marker, after @ ..] = rest {
        match marker {
            // Fill bytes, and markers without a segment.
            0xff => {
                rest = &rest[1..];
                continue;
            }
            0x01 | 0xd0..=0xd7 => {
                rest = after;
                continue;
            }
            // The picture itself begins, or the file ends: metadata stands before.
            0xda | 0xd9 => break,
            _ => {}
        }
        let Some((length, _)) = after.split_first_chunk::<2>() else {
            break;
        };
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((segment, next)) = split(after, length) else {
            blocks.problem("the last JPEG segment is cut off");
            break;
        };
        let data = segment.get(2..).unwrap_or_default();
        match marker {
            0xe1 => {
                if let Some(packet) = data.strip_prefix(XMP) {
                    blocks.add_xmp(packet);
                } else if let Some(part) = data.strip_prefix(EXTENDED_XMP) {
                    if let Some((head, bytes)) = part.split_first_chunk::<40>()
                        && let (Some(id), Some(at)) = (head.first_chunk::<32>(), head.last_chunk::<4>())
                    {
                        extended.entry(*id).or_default().push((u32::from_be_bytes(*at), bytes));
                    }
                } else if let Some(exif) = data.strip_prefix(EXIF) {
                    blocks.add_exif(exif);
                }
            }
            // The first segment names the type; each one belongs to some box.
            0xeb if data.starts_with(b"JP") => {
                let kind = data.get(JUMBF_TYPE..).unwrap_or_default();
                if kind.starts_with(b"c2pa") || blocks.manifest.is_some() {
                    blocks.add_manifest("image/jpeg", data.len());
                }
            }
            0xed => {
                // One resource may be spread over several segments.
                if let Some(part) = data.strip_prefix(PHOTOSHOP)
                    && resources.len() + part.len() <= MOST_BLOCK
                {
                    resources.extend_from_slice(part);
                }
            }
            0xfe => blocks.add_text("Comment".to_string(), data),
            _ => {}
        }
        if length < 2 {
            blocks.problem("a JPEG segment has no length");
            break;
        }
        rest = next;
    }
    photoshop::read(&resources, blocks);
    for (_, mut parts) in extended {
        parts.sort_by_key(|(at, _)| *at);
        let mut packet = Vec::new();
        for (at, bytes) in parts {
            if at as usize != packet.len() || packet.len() + bytes.len() > MOST_BLOCK {
                blocks.problem("the parts of an extended XMP packet do not fit together");
                break;
            }
            packet.extend_from_slice(bytes);
        }
        blocks.add_xmp(&packet);
    }
}
