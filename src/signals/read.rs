//! One picture with its sidecars → everything they say about it.

use super::claims::shortened;
use super::container::{Blocks, blocks};
use super::licensing::Covering;
use super::{Metadata, Trust, facts, iptc, licensing, manifest, svg};
use crate::digest::Sha256Digest;

/// The bytes that belong to one picture.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The picture's file.
    pub picture: &'a [u8],
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its REUSE sidecar, `NAME.license`.
    pub reuse: Option<&'a [u8]>,
    /// The licence files above it, nearest first.
    pub licensing: &'a [Covering<'a>],
    /// Its XMP sidecar, `NAME.xmp`.
    pub xmp: Option<&'a [u8]>,
    /// Its caption sidecar, `.txt` or `.caption`.
    pub caption: Option<&'a [u8]>,
    /// The SVG it was made from, `NAME.svg`, or the beginning of it.
    pub drawing: Option<&'a [u8]>,
    /// Whose signatures count as trusted.
    pub trust: &'a Trust,
}

/// Everything the picture and its sidecars say. Never fails: what cannot be read is named in
/// [`Metadata::needs_review`].
pub fn read(sources: &Sources) -> Metadata {
    let mut found = Metadata::default();
    licensing::read(sources.reuse, sources.licensing, &mut found);
    let Blocks {
        xmp,
        exif,
        iptc,
        text,
        manifest,
        problems,
        ..
    } = blocks(sources.picture);
    problems.into_iter().for_each(|problem| found.add_review(problem));
    if let Some(kind) = manifest {
        manifest::read(sources.picture, kind, sources.digest, sources.trust, &mut found);
    }
    for packet in &xmp {
        facts::add_xmp(packet, sources.digest, &mut found);
    }
    if let Some(packet) = sources.xmp {
        facts::add_xmp(packet, Sha256Digest::of_bytes(packet), &mut found);
    }
    for block in exif {
        facts::add_exif(block, &mut found);
    }
    for records in &iptc {
        facts::add_iptc(iptc::read(records), &mut found);
    }
    for (keyword, text) in &text {
        facts::add_text(keyword, text, &mut found);
    }
    if let Some(drawing) = sources.drawing {
        svg::add(drawing, &mut found);
    }
    if let Some(caption) = sources.caption {
        let caption = String::from_utf8_lossy(caption);
        let caption = caption
            .trim_start_matches('\u{feff}')
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        found.caption = (!caption.is_empty()).then(|| shortened(&caption));
    }
    found
}
