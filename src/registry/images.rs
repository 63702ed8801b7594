//! Images going in: many at a time, in one transaction.

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Registry, Result};
use super::{locations, near};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::fingerprint::Look;
use crate::signals::Claim;

/// An image as a reading of one file found it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewImage {
    /// Digest of the file's bytes.
    pub sha256: Sha256Digest,
    /// Digest of what it shows.
    pub pixels: PixelDigest,
    /// Width in pixels, as displayed.
    pub width: u32,
    /// Height in pixels, as displayed.
    pub height: u32,
    /// Short name of the format, lower case: `png`, `jpeg`.
    pub format: String,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// What it looks like.
    pub fingerprint: Option<Look>,
    /// Where it was seen, and what was read there.
    pub location: NewLocation,
}

/// A place where an image was seen, and what was read there: in the file, its sidecars, its site, the command line.
#[derive(Debug, Clone, PartialEq)]
pub struct NewLocation {
    /// The absolute path.
    pub path: std::path::PathBuf,
    /// Where the picture comes from, as an address.
    pub source: Option<String>,
    /// The collection that its curator counts it to.
    pub collection: Option<String>,
    /// Copyright notices as they stand in licence files.
    pub notices: Vec<String>,
    /// Its title.
    pub title: Option<String>,
    /// Its caption.
    pub caption: Option<String>,
    /// Who made it, the principal artist first.
    pub artists: Vec<String>,
    /// Licences as SPDX expressions, each with what it was read from (`reuse`, `xmp`, `command_line`).
    pub licenses: Vec<(String, String)>,
    /// Whether it says that a machine made it.
    pub ai_generated: bool,
    /// What did not parse or is in doubt: one line each.
    pub needs_review: Vec<String>,
    /// What it says about consent.
    pub claims: Vec<Claim>,
    /// Size of the file in bytes, to see whether it changed.
    pub size: u64,
    /// Time of its last change in nanoseconds since 1970, to see whether it changed.
    pub modified: i64,
    /// Digest of everything else that was read: sidecars and options.
    pub context: Sha256Digest,
}

/// What an insertion changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddOutcome {
    /// The image is new.
    Added,
    /// The image was known; this place was not, or held something else, or said something else.
    Updated,
    /// Nothing is new but the time of reading.
    Known,
}

impl Registry {
    /// Registers images, all or none of them, and says for each what changed. Run again it changes nothing.
    ///
    /// Denials that were read before stay, even when the file no longer carries them; everything else that was read
    /// at a path is replaced by what this reading found.
    pub fn add_images(&mut self, images: &[NewImage], at: Timestamp) -> Result<Vec<AddOutcome>> {
        let transaction = self.connection.transaction()?;
        let outcomes = images
            .iter()
            .map(|image| add(&transaction, image, at))
            .collect::<Result<_>>()?;
        transaction.commit()?;
        Ok(outcomes)
    }
}

fn add(connection: &Connection, image: &NewImage, at: Timestamp) -> Result<AddOutcome> {
    let known: Option<i64> = connection
        .prepare_cached("SELECT id FROM images WHERE sha256 = ?1")?
        .query_row([image.sha256], |row| row.get(0))
        .optional()?;
    let id = match known {
        Some(id) => id,
        None => {
            connection
                .prepare_cached(
                    "INSERT INTO images (sha256, pixels, width, height, format, bytes, added_at)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    image.sha256,
                    image.pixels,
                    image.width,
                    image.height,
                    image.format,
                    i64::try_from(image.bytes).unwrap_or(i64::MAX),
                    at.to_string(),
                ])?;
            let id = connection.last_insert_rowid();
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO copied SELECT ?1 WHERE EXISTS
                        (SELECT 1 FROM images WHERE pixels = ?1 AND id <> ?2)",
                )?
                .execute(params![image.pixels, id])?;
            id
        }
    };
    if let Some(look) = &image.fingerprint {
        near::record(connection, id, look)?;
    }
    let changed = locations::record(connection, id, &image.location, at)?;
    Ok(match (known, changed) {
        (None, _) => AddOutcome::Added,
        (Some(_), true) => AddOutcome::Updated,
        (Some(_), false) => AddOutcome::Known,
    })
}
