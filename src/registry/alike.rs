//! Which registered images show the same thing as one of them.

use std::cell::OnceCell;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Registry, RegistryError, Result};
use crate::digest::Sha256Digest;
use crate::fingerprint::{DOUBTFUL, Fingerprint, Index, SAME};

/// Another image that shows the same thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Alike {
    /// Its digest.
    pub image: Sha256Digest,
    /// Its row.
    pub id: i64,
    /// How many bits apart the two are; 0 when their pixels are the same.
    pub distance: u32,
    /// Whether the distance is one at which a person should look.
    pub doubtful: bool,
}

/// Ready to find what is alike.
#[derive(Default)]
pub(super) struct Likeness {
    index: OnceCell<Index<Sha256Digest>>,
}

impl Likeness {
    /// The images that show the same thing as this one, sorted by digest.
    pub fn of(&self, connection: &Connection, image: i64) -> Result<Vec<Alike>> {
        let (own, print): (Sha256Digest, Option<Vec<u8>>) = connection
            .prepare_cached("SELECT sha256, fingerprint FROM images WHERE id = ?1")?
            .query_row([image], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut alike = std::collections::BTreeMap::new();
        if let Some(bytes) = print {
            for near in self.index(connection)?.near(&read(&bytes)?, DOUBTFUL) {
                alike.insert(near.key, near.distance);
            }
        }
        // The same pixels are the same picture, however little there is to see on it.
        let sql = "SELECT sha256 FROM images WHERE pixels = (SELECT pixels FROM images WHERE id = ?1)";
        for same in connection.prepare_cached(sql)?.query_map([image], |row| row.get(0))? {
            alike.insert(same?, 0);
        }
        alike.remove(&own);
        let mut found = Vec::with_capacity(alike.len());
        for (image, distance) in alike {
            let sql = "SELECT id FROM images WHERE sha256 = ?1";
            let id = connection
                .prepare_cached(sql)?
                .query_row(params![image], |row| row.get(0))
                .optional()?;
            found.extend(id.map(|id| Alike {
                image,
                id,
                distance,
                doubtful: distance > SAME,
            }));
        }
        Ok(found)
    }

    fn index(&self, connection: &Connection) -> Result<&Index<Sha256Digest>> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = Index::new(fingerprints(connection)?);
        Ok(self.index.get_or_init(|| index))
    }
}

impl Registry {
    /// The fingerprints of all images that have one, sorted by digest.
    pub fn fingerprints(&self) -> Result<Vec<(Sha256Digest, Fingerprint)>> {
        fingerprints(&self.connection)
    }
}

fn fingerprints(connection: &Connection) -> Result<Vec<(Sha256Digest, Fingerprint)>> {
    let mut query =
        connection.prepare("SELECT sha256, fingerprint FROM images WHERE fingerprint IS NOT NULL ORDER BY sha256")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
    rows.map(|row| {
        let (sha256, bytes): (Sha256Digest, Vec<u8>) = row?;
        Ok((sha256, read(&bytes)?))
    })
    .collect()
}

fn read(bytes: &[u8]) -> Result<Fingerprint> {
    Fingerprint::from_bytes(bytes).map_err(|error| RegistryError::Damaged {
        expected: "a fingerprint of this version (`assent ingest` makes it anew)",
        found: error.to_string(),
    })
}
