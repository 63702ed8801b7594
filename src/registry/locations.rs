//! Locations: where images were seen, and what was read there.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::images::NewLocation;
use super::values::{json_of, path_bytes, path_of};
use super::{Registry, Result, artists, facts};
use crate::digest::Sha256Digest;

/// What is known of a file that was read before: enough to see that nothing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLocation {
    /// Digest of the image it held.
    pub sha256: Sha256Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its last change, in nanoseconds since 1970.
    pub modified: i64,
    /// Digest of everything else that was read: sidecars and options.
    pub context: Sha256Digest,
}

/// A place where an image was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The absolute path.
    pub path: PathBuf,
    /// Where the picture comes from, as an address.
    pub source: Option<String>,
    /// The caption found there.
    pub caption: Option<String>,
}

impl Registry {
    /// What is known of the file at this absolute path, if it was read before.
    pub fn known_location(&self, path: &Path) -> Result<Option<KnownLocation>> {
        let mut query = self.connection.prepare_cached(
            "SELECT sha256, size, modified, context FROM locations JOIN images ON images.id = image_id WHERE path = ?1",
        )?;
        let known = query.query_row([path_bytes(path)], |row| {
            let size: i64 = row.get(1)?;
            Ok(KnownLocation {
                sha256: row.get(0)?,
                size: size.unsigned_abs(),
                modified: row.get(2)?,
                context: row.get(3)?,
            })
        });
        Ok(known.optional()?)
    }

    /// The image that was seen at this absolute path.
    pub fn image_at(&self, path: &Path) -> Result<Option<Sha256Digest>> {
        let sql = "SELECT sha256 FROM locations JOIN images ON images.id = image_id WHERE path = ?1";
        Ok(self
            .connection
            .query_row(sql, [path_bytes(path)], |row| row.get(0))
            .optional()?)
    }

    /// Where an image was seen, in the order in which the places were first read.
    pub fn locations(&self, image: &Sha256Digest) -> Result<Vec<Location>> {
        let mut query = self.connection.prepare_cached(
            "SELECT path, source, caption FROM locations WHERE image_id = (SELECT id FROM images WHERE sha256 = ?1)
             ORDER BY id",
        )?;
        let rows = query.query_map([image], |row| {
            Ok(Location {
                path: path_of(row.get(0)?),
                source: row.get(1)?,
                caption: row.get(2)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }
}

/// Records what was read at a place; says whether anything there is new.
pub(super) fn record(connection: &Connection, image: i64, new: &NewLocation, at: Timestamp) -> Result<bool> {
    let known: Option<Before> = connection
        .prepare_cached("SELECT id, image_id, source, size, modified, context FROM locations WHERE path = ?1")?
        .query_row([path_bytes(&new.path)], |row| {
            Ok(Before {
                id: row.get(0)?,
                image: row.get(1)?,
                source: row.get(2)?,
                reading: (row.get(3)?, row.get(4)?, row.get(5)?),
            })
        })
        .optional()?;
    let size = i64::try_from(new.size).unwrap_or(i64::MAX);
    let values = params![
        image,
        path_bytes(&new.path),
        new.source,
        new.title,
        new.caption,
        new.ai_generated,
        json_of(&new.needs_review),
        size,
        new.modified,
        new.context,
        at.to_string(),
        new.collection,
        json_of(&new.notices),
    ];
    let (id, changed) = match &known {
        Some(before) => {
            connection
                .prepare_cached(
                    "UPDATE locations SET image_id = ?1, source = ?3, title = ?4, caption = ?5, ai_generated = ?6,
                        needs_review = ?7, size = ?8, modified = ?9, context = ?10, seen_at = ?11,
                        collection = ?12, notices = ?13 WHERE path = ?2",
                )?
                .execute(values)?;
            let same = before.image == image && before.reading == (size, new.modified, new.context);
            (before.id, !same)
        }
        None => {
            connection
                .prepare_cached(
                    "INSERT INTO locations (image_id, path, source, title, caption, ai_generated, needs_review, size,
                        modified, context, seen_at, collection, notices)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                )?
                .execute(values)?;
            (connection.last_insert_rowid(), true)
        }
    };
    read_there(connection, image, id, new)?;
    claims(connection, image, id, new, at)?;
    let gone = known.as_ref().and_then(|before| before.source.as_deref());
    match known.as_ref().filter(|before| before.image != image) {
        // The image that was there before loses what was read there.
        Some(before) => {
            facts::refresh(connection, before.image, gone)?;
            facts::refresh(connection, image, None)?;
        }
        None => facts::refresh(connection, image, gone)?,
    }
    Ok(changed)
}

/// What a place held when it was read before.
struct Before {
    id: i64,
    image: i64,
    source: Option<String>,
    /// Size, time of the last change and context.
    reading: (i64, i64, Sha256Digest),
}

/// Replaces the artists and licences of a place.
fn read_there(connection: &Connection, image: i64, location: i64, new: &NewLocation) -> Result<()> {
    connection
        .prepare_cached("DELETE FROM location_artists WHERE location_id = ?1")?
        .execute([location])?;
    connection
        .prepare_cached("DELETE FROM licenses WHERE location_id = ?1")?
        .execute([location])?;
    let named = new.artists.iter().filter(|name| !name.trim().is_empty());
    for (position, name) in (0i64..).zip(named) {
        let artist = artists::ensure(connection, name)?;
        connection
            .prepare_cached(
                "INSERT INTO location_artists (location_id, position, artist_id, image_id) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![location, position, artist, image])?;
    }
    for (expression, source) in &new.licenses {
        connection
            .prepare_cached("INSERT OR IGNORE INTO licenses (location_id, expression, source) VALUES (?1, ?2, ?3)")?
            .execute(params![location, expression, source])?;
    }
    Ok(())
}

/// Adds the claims of a place; those of earlier readings that it no longer makes lose `current`.
fn claims(connection: &Connection, image: i64, location: i64, new: &NewLocation, at: Timestamp) -> Result<()> {
    connection
        .prepare_cached("UPDATE signals SET current = 0 WHERE location_id = ?1")?
        .execute([location])?;
    for claim in &new.claims {
        connection
            .prepare_cached(
                "INSERT INTO signals (image_id, location_id, source, raw, purpose, state, authentication, holder,
                    read_at, current) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 1)
                 ON CONFLICT DO UPDATE SET current = 1",
            )?
            .execute(params![
                image,
                location,
                claim.source.as_str(),
                claim.raw,
                claim.purpose.map_or("all", |purpose| purpose.as_str()),
                claim.state.as_str(),
                claim.authenticated.as_str(),
                claim.holder,
                at.to_string(),
            ])?;
    }
    Ok(())
}
