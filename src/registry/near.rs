//! Pictures that look alike: every new one is compared with all others once, and the pairs are kept.
//!
//! Equal pixels are no pairs of the table: `images.pixels` says so, and a thousand copies would be a million pairs.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Registry, RegistryError, Result};
use crate::digest::Sha256Digest;
use crate::fingerprint::{DOUBTFUL, Fingerprint, FingerprintError, Index, SAME, VERSION};

/// Pictures compared in one transaction: little is lost when somebody kills it.
const BATCH: usize = 1024;

/// Two pictures that look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NearPair {
    /// One of them.
    pub image: Sha256Digest,
    /// The other.
    pub other: Sha256Digest,
    /// How many bits apart they are; 0 when their pixels are equal.
    pub distance: u32,
}

/// Another image that looks like one.
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

impl Registry {
    /// How many pictures were not yet compared with the others.
    pub fn unpaired(&self) -> Result<u64> {
        let sql = "SELECT count(*) FROM fingerprints WHERE paired = 0";
        let count: i64 = self.connection.query_row(sql, [], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Compares every picture that was not yet with all others and keeps the pairs; calls `progress` with the number
    /// of those done. Killed in between, it goes on where it was.
    pub fn pair(&self, mut progress: impl FnMut(u64)) -> Result<()> {
        // Within a moment that is held for reading nothing is written; whoever began it did this before.
        if !self.connection.is_autocommit() {
            return Ok(());
        }
        let mut query = self
            .connection
            .prepare("SELECT image_id FROM fingerprints WHERE paired = 0 ORDER BY image_id")?;
        let new: Vec<i64> = query
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if new.is_empty() {
            return Ok(());
        }
        let index = self.index()?;
        for batch in new.chunks(BATCH) {
            let transaction = self.connection.unchecked_transaction()?;
            for id in batch {
                let print = print_of(&transaction, *id)?;
                for near in index.near(&print, DOUBTFUL) {
                    if near.key != *id {
                        transaction
                            .prepare_cached("INSERT OR IGNORE INTO near (a, b, distance) VALUES (?1, ?2, ?3)")?
                            .execute(params![near.key.min(*id), near.key.max(*id), near.distance])?;
                    }
                }
                transaction
                    .prepare_cached("UPDATE fingerprints SET paired = 1 WHERE image_id = ?1")?
                    .execute([id])?;
            }
            transaction.commit()?;
            progress(batch.len() as u64);
        }
        Ok(())
    }

    /// All pairs of pictures at most `distance` apart, sorted, each once: `image < other`. Those of equal pixels are 0
    /// apart. Pictures that wait for it are compared first.
    pub fn near_pairs(&self, distance: u32) -> Result<Vec<NearPair>> {
        self.pair(|_| {})?;
        let mut query = self.connection.prepare(
            "SELECT x.sha256, y.sha256, min(distance) FROM (
                SELECT a, b, distance FROM near WHERE distance <= ?1
                UNION ALL SELECT x.id, y.id, 0 FROM images AS x JOIN images AS y ON x.pixels = y.pixels AND x.id < y.id
             ) JOIN images AS x ON x.id = a JOIN images AS y ON y.id = b GROUP BY a, b",
        )?;
        let rows = query.query_map([distance], |row| {
            let (x, y): (Sha256Digest, Sha256Digest) = (row.get(0)?, row.get(1)?);
            Ok(NearPair {
                image: x.min(y),
                other: x.max(y),
                distance: row.get(2)?,
            })
        })?;
        let mut pairs: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
        pairs.sort_unstable();
        Ok(pairs)
    }

    /// The fingerprints of all images that have one.
    fn index(&self) -> Result<Index<i64>> {
        let mut query = self.connection.prepare("SELECT image_id, print FROM fingerprints")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut prints = BTreeMap::new();
        for row in rows {
            let (id, bytes) = row?;
            prints.insert(id, Fingerprint::from_bytes(&bytes).map_err(damaged)?);
        }
        Ok(Index::new(prints))
    }
}

/// The images that look like this one, sorted by digest: those found by their fingerprints, and at distance 0 those of
/// equal pixels, however little there is to see on them.
pub(super) fn alike(connection: &Connection, image: i64) -> Result<Vec<Alike>> {
    let mut query = connection.prepare_cached(
        "SELECT sha256, id, min(distance) FROM (
            SELECT b AS other, distance FROM near WHERE a = ?1
            UNION ALL SELECT a, distance FROM near WHERE b = ?1
            UNION ALL SELECT id, 0 FROM images
                WHERE pixels = (SELECT pixels FROM images WHERE id = ?1) AND id <> ?1
         ) JOIN images ON id = other GROUP BY id ORDER BY sha256",
    )?;
    let rows = query.query_map([image], |row| {
        let distance = row.get(2)?;
        Ok(Alike {
            image: row.get(0)?,
            id: row.get(1)?,
            distance,
            doubtful: distance > SAME,
        })
    })?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Keeps what an image looks like. One that changed is compared anew.
pub(super) fn record(connection: &Connection, image: i64, print: &Fingerprint) -> Result<()> {
    let bytes = print.to_bytes();
    let known: Option<Vec<u8>> = connection
        .prepare_cached("SELECT print FROM fingerprints WHERE image_id = ?1")?
        .query_row([image], |row| row.get(0))
        .optional()?;
    if known.as_ref() == Some(&bytes) {
        return Ok(());
    }
    // Same bytes of the file, so only what another version of the program computes otherwise can differ.
    connection
        .prepare_cached("DELETE FROM near WHERE a = ?1 OR b = ?1")?
        .execute([image])?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO fingerprints (image_id, version, print, paired) VALUES (?1, ?2, ?3, 0)",
        )?
        .execute(params![image, VERSION, bytes])?;
    Ok(())
}

fn print_of(connection: &Connection, image: i64) -> Result<Fingerprint> {
    let bytes: Vec<u8> = connection
        .prepare_cached("SELECT print FROM fingerprints WHERE image_id = ?1")?
        .query_row([image], |row| row.get(0))?;
    Fingerprint::from_bytes(&bytes).map_err(damaged)
}

fn damaged(error: FingerprintError) -> RegistryError {
    RegistryError::Damaged {
        expected: "a fingerprint of this version (`assent ingest` makes it anew)",
        found: error.to_string(),
    }
}
