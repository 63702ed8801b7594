//! Images coming out, with everything that was read where they were seen. These functions only read.

use std::collections::HashMap;
use std::path::PathBuf;

use rusqlite::params;

use super::values::{path_of, texts};
use super::{Registry, RegistryError, Result, fold_name};
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

impl Registry {
    /// The image with this digest.
    pub fn image(&self, sha256: &Sha256Digest) -> Result<ImageRecord> {
        let filter = ImageFilter {
            sha256: Some(*sha256),
            ..ImageFilter::default()
        };
        self.images(&filter)?.pop().ok_or(RegistryError::NoSuchImage(*sha256))
    }

    /// How many images there are.
    pub fn image_count(&self) -> Result<u32> {
        Ok(self
            .connection
            .query_row("SELECT count(*) FROM images", [], |row| row.get(0))?)
    }

    /// The images whose digest begins with these hexadecimal characters, at most `limit` of them.
    pub fn images_by_prefix(&self, prefix: &str, limit: u32) -> Result<Vec<Sha256Digest>> {
        let mut query = self.connection.prepare(
            "SELECT sha256 FROM images WHERE substr(lower(hex(sha256)), 1, length(?1)) = ?1 ORDER BY sha256 LIMIT ?2",
        )?;
        let rows = query.query_map(params![prefix.to_ascii_lowercase(), limit], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The images that the filter lets through, sorted by digest.
    pub fn images(&self, filter: &ImageFilter) -> Result<Vec<ImageRecord>> {
        let mut query = self.connection.prepare(
            "SELECT id, sha256, pixels, width, height, format, bytes FROM images
             WHERE ?1 IS NULL OR sha256 = ?1 ORDER BY sha256",
        )?;
        let mut images: Vec<(i64, ImageRecord)> = query
            .query_map([filter.sha256], |row| {
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
                    title: None,
                    caption: None,
                    ai_generated: false,
                    needs_review: Vec::new(),
                };
                Ok((row.get(0)?, record))
            })?
            .collect::<rusqlite::Result<_>>()?;
        // One image is asked for by itself, all of them table by table.
        let only = match (&filter.sha256, images.as_slice()) {
            (Some(_), [(id, _)]) => Some(*id),
            _ => None,
        };
        let places: HashMap<i64, usize> = images.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
        self.read_locations(only, &places, &mut images)?;
        self.read_artists(only, &places, &mut images)?;
        self.read_licenses(only, &places, &mut images)?;
        let mut images: Vec<_> = images.into_iter().map(|(_, image)| image).collect();
        if let Some(name) = &filter.artist {
            let known = self.artist(name)?.map(|artist| fold_name(&artist.name));
            images.retain(|image| image.artists.iter().any(|artist| Some(fold_name(artist)) == known));
        }
        if let Some(license) = &filter.license {
            let part = |text: &str| {
                text.split([' ', '(', ')'])
                    .any(|word| word.eq_ignore_ascii_case(license))
            };
            images.retain(|image| {
                image
                    .licenses
                    .iter()
                    .any(|fact| fact.expression.eq_ignore_ascii_case(license) || part(&fact.expression))
            });
        }
        Ok(images)
    }

    fn read_locations(
        &self,
        only: Option<i64>,
        places: &HashMap<i64, usize>,
        images: &mut [(i64, ImageRecord)],
    ) -> Result<()> {
        let mut query = self.connection.prepare(&format!(
            "SELECT image_id, path, source, title, caption, ai_generated, needs_review FROM locations {} ORDER BY id",
            if only.is_some() {
                "WHERE image_id = ?1"
            } else {
                "WHERE ?1 IS NULL"
            }
        ))?;
        let mut rows = query.query([only])?;
        while let Some(row) = rows.next()? {
            let Some(image) = places.get(&row.get(0)?).and_then(|at| images.get_mut(*at)) else {
                continue;
            };
            let image = &mut image.1;
            image.paths.push(path_of(row.get(1)?));
            if let Some(source) = row.get::<_, Option<String>>(2)?
                && !image.sources.contains(&source)
            {
                image.sources.push(source);
            }
            if image.title.is_none() {
                image.title = row.get(3)?;
            }
            if image.caption.is_none() {
                image.caption = row.get(4)?;
            }
            image.ai_generated |= row.get::<_, bool>(5)?;
            for reason in texts(&row.get::<_, String>(6)?)? {
                if !image.needs_review.contains(&reason) {
                    image.needs_review.push(reason);
                }
            }
        }
        Ok(())
    }

    fn read_artists(
        &self,
        only: Option<i64>,
        places: &HashMap<i64, usize>,
        images: &mut [(i64, ImageRecord)],
    ) -> Result<()> {
        let mut query = self.connection.prepare(&format!(
            "SELECT image_id, artists.name FROM locations JOIN location_artists ON location_id = locations.id
             JOIN artists ON artists.id = artist_id {} ORDER BY locations.id, position",
            if only.is_some() {
                "WHERE image_id = ?1"
            } else {
                "WHERE ?1 IS NULL"
            }
        ))?;
        let mut rows = query.query([only])?;
        while let Some(row) = rows.next()? {
            let Some((_, image)) = places.get(&row.get(0)?).and_then(|at| images.get_mut(*at)) else {
                continue;
            };
            let name: String = row.get(1)?;
            if !image.artists.contains(&name) {
                image.artists.push(name);
            }
        }
        Ok(())
    }

    fn read_licenses(
        &self,
        only: Option<i64>,
        places: &HashMap<i64, usize>,
        images: &mut [(i64, ImageRecord)],
    ) -> Result<()> {
        let mut query = self.connection.prepare(&format!(
            "SELECT DISTINCT image_id, expression, licenses.source FROM licenses
             JOIN locations ON location_id = locations.id {} ORDER BY image_id, expression, licenses.source",
            if only.is_some() {
                "WHERE image_id = ?1"
            } else {
                "WHERE ?1 IS NULL"
            }
        ))?;
        let mut rows = query.query([only])?;
        while let Some(row) = rows.next()? {
            let Some((_, image)) = places.get(&row.get(0)?).and_then(|at| images.get_mut(*at)) else {
                continue;
            };
            image.licenses.push(LicenseFact {
                expression: row.get(1)?,
                source: row.get(2)?,
            });
        }
        Ok(())
    }
}
