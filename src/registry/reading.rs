//! Images coming out, with everything that was read where they were seen. These functions only read.

use std::path::PathBuf;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::values::{path_of, texts};
use super::{Registry, RegistryError, Result, artists};
use crate::consent::LicenseFact;
use crate::digest::{PixelDigest, Sha256Digest};

/// Which images to list; empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilter {
    /// Only this one.
    pub sha256: Option<Sha256Digest>,
    /// Only those of this artist, under any of their names.
    pub artist: Option<String>,
    /// Only those with this licence, as an SPDX expression or a part of one.
    pub license: Option<String>,
}

/// An image with everything that was read where it was seen, in the order in which the places were first read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// Digest of its bytes.
    pub sha256: Sha256Digest,
    /// Digest of what it shows.
    pub pixels: PixelDigest,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Short name of its format.
    pub format: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Absolute paths.
    pub paths: Vec<PathBuf>,
    /// Addresses it comes from.
    pub sources: Vec<String>,
    /// Who made it, the principal artist first, each by the name first seen.
    pub artists: Vec<String>,
    /// Its licences.
    pub licenses: Vec<LicenseFact>,
    /// Copyright notices as they stand in licence files.
    pub notices: Vec<String>,
    /// The collections that its curators named for it.
    pub collections: Vec<String>,
    /// Its title.
    pub title: Option<String>,
    /// Its caption: the first there is.
    pub caption: Option<String>,
    /// Whether any of its places says that a machine made it.
    pub ai_generated: bool,
    /// What did not parse or is in doubt.
    pub needs_review: Vec<String>,
}

impl ImageRecord {
    /// Its licences as one expression: all of them apply. None when it has none.
    pub fn license(&self) -> Option<String> {
        let mut expressions: Vec<_> = self.licenses.iter().map(|fact| fact.expression.as_str()).collect();
        expressions.sort_unstable();
        expressions.dedup();
        match expressions.as_slice() {
            [] => None,
            [only] => Some((*only).to_string()),
            several => Some(
                several
                    .iter()
                    .map(|one| format!("({one})"))
                    .collect::<Vec<_>>()
                    .join(" AND "),
            ),
        }
    }
}

/// An image as the registry holds it, with what only the registry needs to know of it.
pub(super) struct Held {
    /// Its row.
    pub id: i64,
    /// The rows of its artists.
    pub artists: Vec<i64>,
    /// What there is to tell.
    pub record: ImageRecord,
}

impl Registry {
    /// The image with this digest.
    pub fn image(&self, sha256: &Sha256Digest) -> Result<ImageRecord> {
        match held(&self.connection, Key::Digest(*sha256))? {
            Some(held) => Ok(held.record),
            None => Err(RegistryError::NoSuchImage(*sha256)),
        }
    }

    /// How many images there are.
    pub fn image_count(&self) -> Result<u32> {
        Ok(self
            .connection
            .query_row("SELECT count(*) FROM images", [], |row| row.get(0))?)
    }

    /// The images whose digest begins with these hexadecimal characters, at most `limit` of them.
    pub fn images_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Sha256Digest>> {
        if prefix.len() > 64 || !prefix.chars().all(|c| c.is_ascii_hexdigit()) {
            return Ok(Vec::new());
        }
        let end = |fill: &str| hex::decode(format!("{prefix}{}", fill.repeat(64 - prefix.len()))).unwrap_or_default();
        let mut query = self
            .connection
            .prepare("SELECT sha256 FROM images WHERE sha256 BETWEEN ?1 AND ?2 ORDER BY sha256 LIMIT ?3")?;
        let rows = query.query_map(params![end("0"), end("f"), limit], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The images that the filter lets through, sorted by digest.
    pub fn images(&self, filter: &ImageFilter) -> Result<Vec<ImageRecord>> {
        let mut images = Vec::new();
        let mut last = None;
        loop {
            let chunk = page(&self.connection, filter, last.as_ref())?;
            let Some(end) = chunk.end else { return Ok(images) };
            last = Some(end);
            images.extend(chunk.held.into_iter().map(|held| held.record));
        }
    }
}

/// Some of the images, in the order of their digests.
pub(super) struct Page {
    /// Those that the filter lets through.
    pub held: Vec<Held>,
    /// The last digest that was looked at; none when there was none left.
    pub end: Option<Sha256Digest>,
}

/// Images looked at for a page.
const PAGE: u32 = 1024;

/// The images after a digest that the filter lets through, a page of them.
pub(super) fn page(connection: &Connection, filter: &ImageFilter, after: Option<&Sha256Digest>) -> Result<Page> {
    let of_artist = "sha256 > ?1 AND id IN (SELECT image_id FROM location_artists WHERE artist_id = ?2)";
    let (condition, value): (&str, Value) = match (&filter.sha256, &filter.artist) {
        (Some(only), _) => ("sha256 > ?1 AND sha256 = ?2", Value::Blob(only.as_bytes().to_vec())),
        (None, Some(name)) => match artists::find(connection, name)? {
            Some(artist) => (of_artist, Value::Integer(artist)),
            None => ("false", Value::Null),
        },
        (None, None) => ("sha256 > ?1", Value::Null),
    };
    let sql = format!("SELECT sha256 FROM images WHERE {condition} AND ?2 IS ?2 ORDER BY sha256 LIMIT {PAGE}");
    let after = after.map_or(&[] as &[u8], |digest| digest.as_bytes());
    let digests: Vec<Sha256Digest> = connection
        .prepare_cached(&sql)?
        .query_map(params![after, value], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut page = Page {
        held: Vec::with_capacity(digests.len()),
        end: digests.last().copied(),
    };
    for digest in digests {
        if let Some(held) = held(connection, Key::Digest(digest))?
            && passes(&held.record, filter)
        {
            page.held.push(held);
        }
    }
    Ok(page)
}

/// Whether the licence and the artist are those asked for.
fn passes(image: &ImageRecord, filter: &ImageFilter) -> bool {
    let Some(license) = &filter.license else { return true };
    let part = |text: &str| {
        text.split([' ', '(', ')'])
            .any(|word| word.eq_ignore_ascii_case(license))
    };
    let named = |fact: &LicenseFact| fact.expression.eq_ignore_ascii_case(license) || part(&fact.expression);
    image.licenses.iter().any(named)
}

/// How an image is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key {
    /// By the digest of its bytes.
    Digest(Sha256Digest),
    /// By its row.
    Row(i64),
}

/// One image with everything that was read where it was seen.
pub(super) fn held(connection: &Connection, key: Key) -> Result<Option<Held>> {
    let read = |row: &Row<'_>| {
        let bytes: i64 = row.get(6)?;
        let record = ImageRecord {
            sha256: row.get(1)?,
            pixels: row.get(2)?,
            width: row.get(3)?,
            height: row.get(4)?,
            format: row.get(5)?,
            bytes: bytes.unsigned_abs(),
            paths: Vec::new(),
            sources: Vec::new(),
            artists: Vec::new(),
            licenses: Vec::new(),
            notices: Vec::new(),
            collections: Vec::new(),
            title: None,
            caption: None,
            ai_generated: false,
            needs_review: Vec::new(),
        };
        Ok(Held {
            id: row.get(0)?,
            artists: Vec::new(),
            record,
        })
    };
    let columns = "SELECT id, sha256, pixels, width, height, format, bytes FROM images";
    let found = match key {
        Key::Digest(digest) => connection
            .prepare_cached(&format!("{columns} WHERE sha256 = ?1"))?
            .query_row([digest], read),
        Key::Row(id) => connection
            .prepare_cached(&format!("{columns} WHERE id = ?1"))?
            .query_row([id], read),
    };
    let Some(mut held) = found.optional()? else {
        return Ok(None);
    };
    read_locations(connection, &mut held)?;
    read_artists(connection, &mut held)?;
    held.record.licenses = connection
        .prepare_cached(
            "SELECT DISTINCT expression, licenses.source FROM licenses JOIN locations ON location_id = locations.id
             WHERE image_id = ?1 ORDER BY expression, licenses.source",
        )?
        .query_map([held.id], |row| {
            Ok(LicenseFact {
                expression: row.get(0)?,
                source: row.get(1)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Some(held))
}

fn read_locations(connection: &Connection, held: &mut Held) -> Result<()> {
    let mut query = connection.prepare_cached(
        "SELECT path, source, title, caption, ai_generated, needs_review, collection, notices FROM locations
         WHERE image_id = ?1 ORDER BY id",
    )?;
    let mut rows = query.query([held.id])?;
    let image = &mut held.record;
    while let Some(row) = rows.next()? {
        image.paths.push(path_of(row.get(0)?));
        if let Some(source) = row.get::<_, Option<String>>(1)?
            && !image.sources.contains(&source)
        {
            image.sources.push(source);
        }
        if image.title.is_none() {
            image.title = row.get(2)?;
        }
        if image.caption.is_none() {
            image.caption = row.get(3)?;
        }
        image.ai_generated |= row.get::<_, bool>(4)?;
        for reason in texts(&row.get::<_, String>(5)?)? {
            if !image.needs_review.contains(&reason) {
                image.needs_review.push(reason);
            }
        }
        if let Some(collection) = row.get::<_, Option<String>>(6)?
            && !image.collections.contains(&collection)
        {
            image.collections.push(collection);
        }
        for notice in texts(&row.get::<_, String>(7)?)? {
            if !image.notices.contains(&notice) {
                image.notices.push(notice);
            }
        }
    }
    Ok(())
}

fn read_artists(connection: &Connection, held: &mut Held) -> Result<()> {
    let mut query = connection.prepare_cached(
        "SELECT artists.id, artists.name FROM locations JOIN location_artists ON location_id = locations.id
         JOIN artists ON artists.id = artist_id WHERE locations.image_id = ?1 ORDER BY locations.id, position",
    )?;
    let mut rows = query.query([held.id])?;
    while let Some(row) = rows.next()? {
        let (id, name): (i64, String) = (row.get(0)?, row.get(1)?);
        if !held.artists.contains(&id) {
            held.artists.push(id);
        }
        if !held.record.artists.contains(&name) {
            held.record.artists.push(name);
        }
    }
    Ok(())
}
