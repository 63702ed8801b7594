//! One picture with its sidecars → everything they say about it.

use exif::{In, Tag, Value};

use super::claims::{claims, shortened};
use super::container::{Blocks, blocks};
use super::xmp::{Property, properties};
use super::{Metadata, generated, license};
use crate::digest::Sha256Digest;

const DC: &str = "purl.org/dc/elements/1.1";
const RIGHTS: &str = "ns.adobe.com/xap/1.0/rights";
const CC: [&str; 2] = ["creativecommons.org/ns", "web.resource.org/cc"];

/// The bytes that belong to one picture.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The picture's file.
    pub picture: &'a [u8],
    /// Its digest.
    pub digest: Sha256Digest,
    /// Its REUSE sidecar, `NAME.license`.
    pub reuse: Option<&'a [u8]>,
    /// Its XMP sidecar, `NAME.xmp`.
    pub xmp: Option<&'a [u8]>,
    /// Its caption sidecar, `.txt` or `.caption`.
    pub caption: Option<&'a [u8]>,
}

/// Everything the picture and its sidecars say. Never fails: what cannot be read is named in
/// [`Metadata::needs_review`].
pub fn read(sources: &Sources) -> Metadata {
    let mut found = Metadata::default();
    if let Some(sidecar) = sources.reuse {
        let reuse = license::reuse(sidecar);
        reuse
            .holders
            .into_iter()
            .for_each(|holder| add_artist(&mut found, &holder));
        reuse
            .licenses
            .into_iter()
            .for_each(|license| add_license(&mut found, license, "reuse"));
        found.needs_review.extend(reuse.problems);
    }
    let Blocks {
        xmp,
        exif,
        text,
        problems,
        ..
    } = blocks(sources.picture);
    found.needs_review.extend(problems);
    for packet in &xmp {
        read_xmp(packet, sources.digest, &mut found);
    }
    if let Some(packet) = sources.xmp {
        read_xmp(packet, Sha256Digest::of_bytes(packet), &mut found);
    }
    for block in exif {
        read_exif(block, &mut found);
    }
    for (keyword, text) in &text {
        match keyword.as_str() {
            "Author" | "Artist" => add_artist(&mut found, text),
            "Title" => add_title(&mut found, text),
            _ => {}
        }
        found.ai_generated |= generated::by_text(keyword, text);
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

fn read_xmp(packet: &[u8], holder: Sha256Digest, found: &mut Metadata) {
    let (properties, problem) = properties(packet);
    found.needs_review.extend(problem);
    for claim in claims(&properties, holder, &mut found.needs_review) {
        if !found.claims.contains(&claim) {
            found.claims.push(claim);
        }
    }
    found.ai_generated |= properties.iter().any(generated::by_property);
    for Property {
        namespace, name, value, ..
    } in properties.iter().filter(|property| property.direct)
    {
        match (namespace.as_str(), name.as_str()) {
            (DC, "creator") => add_artist(found, value),
            (DC, "title") => add_title(found, value),
            (RIGHTS, "WebStatement" | "UsageTerms") | (DC, "rights") => {
                license::named(value)
                    .into_iter()
                    .for_each(|license| add_license(found, license, "xmp"));
            }
            (space, "license") if CC.contains(&space) => match license::named(value) {
                Some(license) => add_license(found, license, "xmp"),
                None => found
                    .needs_review
                    .push(format!("`cc:license` names no known licence: `{}`", shortened(value))),
            },
            _ => {}
        }
    }
}

fn read_exif(block: Vec<u8>, found: &mut Metadata) {
    let exif = match exif::Reader::new().continue_on_error(true).read_raw(block) {
        Ok(exif) => Some(exif),
        Err(error) => {
            // Cameras write damaged blocks; what can be read of them is read.
            let mut problems = String::new();
            let exif = error.distill_partial_result(|errors| {
                problems = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            });
            if exif.is_err() || !problems.is_empty() {
                found
                    .needs_review
                    .push(shortened(&format!("EXIF does not parse: {problems}")));
            }
            exif.ok()
        }
    };
    let Some(exif) = exif else { return };
    let text = |tag| {
        exif.get_field(tag, In::PRIMARY)
            .map(|field| joined(&field.value))
            .filter(|text| !text.is_empty())
    };
    if let Some(artist) = text(Tag::Artist) {
        artist.split(';').for_each(|artist| add_artist(found, artist));
    }
    if let Some(license) = text(Tag::Copyright).as_deref().and_then(license::named) {
        add_license(found, license, "exif");
    }
    if let Some(comment) = text(Tag::UserComment) {
        found.ai_generated |= generated::by_text("UserComment", &comment);
    }
}

/// ASCII values and comments as text.
fn joined(value: &Value) -> String {
    let bytes = match value {
        Value::Ascii(parts) => parts.join(&b' '),
        // Eight bytes name the encoding; UTF-16 has a zero in every second byte of plain text.
        Value::Undefined(bytes, _) => bytes
            .get(8..)
            .unwrap_or_default()
            .iter()
            .copied()
            .filter(|&b| b != 0)
            .collect(),
        _ => return String::new(),
    };
    String::from_utf8_lossy(&bytes)
        .trim_matches(|c: char| c == '\0' || c.is_whitespace())
        .to_string()
}

fn add_artist(found: &mut Metadata, name: &str) {
    let name = shortened(&name.split_whitespace().collect::<Vec<_>>().join(" "));
    let name = name.replace(|c: char| c.is_control(), "");
    if !name.is_empty() && !found.artists.contains(&name) {
        found.artists.push(name);
    }
}

fn add_title(found: &mut Metadata, title: &str) {
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    if found.title.is_none() && !title.is_empty() {
        found.title = Some(shortened(&title));
    }
}

fn add_license(found: &mut Metadata, license: String, source: &str) {
    let entry = (license, source.to_string());
    if !found.licenses.contains(&entry) {
        found.licenses.push(entry);
    }
}
