//! Pictures that look alike, and pictures that a list names by a perceptual hash: every new one is compared with all
//! others once, and what was found is kept.
//!
//! Equal pixels are no pairs of the table: `images.pixels` says so, and a thousand copies would be a million pairs.

use std::collections::BTreeMap;

use rayon::prelude::*;
use rusqlite::{Connection, OptionalExtension, params};

use super::{Registry, RegistryError, Result};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::fingerprint::{Codes, Fingerprint, Index, Look, PDQ_QUALITY, Pdq, PdqIndex, SAME, VERSION};

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

/// How near the members of a snapshot come to a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest {
    /// The least distance, at most [`DOUBTFUL`](crate::fingerprint::DOUBTFUL) bits; none when nothing is that near.
    pub distance: Option<u32>,
    /// Members that the picture was compared with.
    pub compared: u64,
    /// Members that it could not be compared with: they, or the picture, show too little, or are not registered here.
    pub not_compared: u64,
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
        let sql = "SELECT count(*) FROM fingerprints WHERE paired = 0 AND version = ?1";
        let count: i64 = self.connection.query_row(sql, [VERSION], |row| row.get(0))?;
        Ok(count.unsigned_abs())
    }

    /// Compares every picture that was not yet with all others and with the hashes of lists, and keeps what it finds;
    /// calls `progress` with the number of those done. Killed in between, it goes on where it was.
    pub fn pair(&self, mut progress: impl FnMut(u64)) -> Result<()> {
        // Within a moment that is held for reading nothing is written; whoever began it did this before.
        if !self.connection.is_autocommit() {
            return Ok(());
        }
        self.search_new_values()?;
        let new: Vec<i64> = self
            .connection
            .prepare("SELECT image_id FROM fingerprints WHERE paired = 0 AND version = ?1 ORDER BY image_id")?
            .query_map([VERSION], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        if new.is_empty() {
            return Ok(());
        }
        let index = self.index()?;
        let lists = self.values("SELECT value FROM searched_values")?;
        for batch in new.chunks(BATCH) {
            let transaction = self.connection.unchecked_transaction()?;
            let prints = batch
                .iter()
                .map(|id| Ok((*id, print_of(&transaction, *id)?)))
                .collect::<Result<Vec<_>>>()?;
            let search = |(_, print): &(i64, Fingerprint)| match print.is_usable() {
                true => index.candidates(print),
                false => Vec::new(),
            };
            let candidates: Vec<Vec<i64>> = prints.par_iter().map(search).collect();
            for ((id, print), candidates) in prints.iter().zip(candidates) {
                for other in candidates.into_iter().filter(|other| other != id) {
                    if let Some(distance) = print.distance(&print_of(&transaction, other)?) {
                        transaction
                            .prepare_cached("INSERT OR IGNORE INTO near (a, b, distance) VALUES (?1, ?2, ?3)")?
                            .execute(params![other.min(*id), other.max(*id), distance])?;
                    }
                }
                if !lists.is_empty()
                    && let Some(hashes) = hashes_of(&transaction, *id)?
                {
                    list(&transaction, *id, &hashes, &lists)?;
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

    /// As [`Registry::pair`], for whoever decides by the pairs: also an error when a picture cannot be compared because
    /// another version of the program registered it.
    pub(super) fn compared(&self) -> Result<()> {
        self.pair(|_| {})?;
        let sql = "SELECT version FROM fingerprints WHERE version <> ?1 LIMIT 1";
        let stale: Option<u8> = self.connection.query_row(sql, [VERSION], |row| row.get(0)).optional()?;
        match stale {
            Some(found) => Err(RegistryError::Damaged {
                expected: "fingerprints of this version (`assent ingest` of the same folders makes them anew)",
                found: format!("one of version {found}"),
            }),
            None => Ok(()),
        }
    }

    /// All pairs of pictures at most `distance` apart, sorted, each once: `image < other`. Those of equal pixels are 0
    /// apart. Pictures that wait for it are compared first.
    pub fn near_pairs(&self, distance: u32) -> Result<Vec<NearPair>> {
        self.compared()?;
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

    /// How near the members of a snapshot come to a picture with these digests and this look; the picture itself is
    /// left out.
    pub fn nearest_member(
        &self,
        snapshot: &str,
        image: &Sha256Digest,
        (pixels, print): (&PixelDigest, &Fingerprint),
    ) -> Result<Nearest> {
        let mut query = self.connection.prepare(
            "SELECT snapshot_members.pixels, print FROM snapshot_members
             LEFT JOIN images ON images.sha256 = snapshot_members.sha256 LEFT JOIN prints ON image_id = images.id
             WHERE snapshot_id = (SELECT id FROM snapshots WHERE name = ?1) AND snapshot_members.sha256 <> ?2",
        )?;
        let mut rows = query.query(params![snapshot, image])?;
        let mut nearest = Nearest {
            distance: None,
            compared: 0,
            not_compared: 0,
        };
        while let Some(row) = rows.next()? {
            let (other, bytes): (PixelDigest, Option<Vec<u8>>) = (row.get(0)?, row.get(1)?);
            let other_print = bytes.and_then(|bytes| Fingerprint::from_bytes(&bytes).ok());
            let distance = match other_print.filter(|other| other.is_usable() && print.is_usable()) {
                _ if other == *pixels => Some(0),
                Some(other) => print.distance(&other),
                None => {
                    nearest.not_compared += 1;
                    continue;
                }
            };
            nearest.compared += 1;
            nearest.distance = nearest.distance.into_iter().chain(distance).min();
        }
        Ok(nearest)
    }

    /// Looks among the pictures that were compared for the hashes of lists that came since.
    fn search_new_values(&self) -> Result<()> {
        let new = self.values(
            "SELECT DISTINCT value FROM list_entries WHERE kind = 'perceptual'
             AND NOT EXISTS (SELECT 1 FROM searched_values WHERE searched_values.value = list_entries.value)",
        )?;
        if new.is_empty() {
            return Ok(());
        }
        let transaction = self.connection.unchecked_transaction()?;
        let mut last = 0;
        loop {
            let mut query = transaction.prepare_cached(
                "SELECT image_id, pdq, pdq_mirrored FROM fingerprints
                 WHERE image_id > ?1 AND pdq IS NOT NULL AND paired = 1 ORDER BY image_id LIMIT ?2",
            )?;
            let page: Vec<(i64, [Pdq; 2])> = query
                .query_map(params![last, BATCH as i64], |row| {
                    Ok((row.get(0)?, [pdq_of(row.get(1)?), pdq_of(row.get(2)?)]))
                })?
                .collect::<rusqlite::Result<_>>()?;
            for (id, hashes) in &page {
                list(&transaction, *id, hashes, &new)?;
            }
            match page.last() {
                Some((id, _)) => last = *id,
                None => break,
            }
        }
        transaction.execute(
            "INSERT OR IGNORE INTO searched_values (value)
             SELECT DISTINCT value FROM list_entries WHERE kind = 'perceptual'",
            [],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// The hashes that this query names.
    fn values(&self, sql: &str) -> Result<PdqIndex> {
        let mut query = self.connection.prepare(sql)?;
        let texts = query
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok(PdqIndex::new(texts.iter().filter_map(|text| text.parse().ok())))
    }

    /// The codes of all pictures that say enough.
    fn index(&self) -> Result<Index<i64>> {
        let mut query = self
            .connection
            .prepare("SELECT image_id, core, mirrored FROM fingerprints WHERE core IS NOT NULL AND version = ?1")?;
        let rows = query.query_map([VERSION], |row| {
            let (core, mirrored): (i64, i64) = (row.get(1)?, row.get(2)?);
            let codes = Codes {
                core: core.cast_unsigned(),
                mirrored: mirrored.cast_unsigned(),
            };
            Ok((row.get(0)?, codes))
        })?;
        Ok(Index::new(rows.collect::<rusqlite::Result<Vec<_>>>()?))
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
pub(super) fn record(connection: &Connection, image: i64, look: &Look) -> Result<()> {
    let bytes = look.print.to_bytes();
    let known: Option<Vec<u8>> = connection
        .prepare_cached("SELECT print FROM prints WHERE image_id = ?1")?
        .query_row([image], |row| row.get(0))
        .optional()?;
    if known.as_ref() == Some(&bytes) {
        return Ok(());
    }
    // Same bytes of the file, so only what another version of the program computes otherwise can differ.
    for sql in [
        "DELETE FROM near WHERE a = ?1 OR b = ?1",
        "DELETE FROM listed WHERE image_id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([image])?;
    }
    let codes = look.print.codes();
    let pdq = look.pdq.filter(|pdq| pdq.quality >= PDQ_QUALITY);
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO fingerprints (image_id, version, core, mirrored, pdq, pdq_mirrored, paired)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)",
        )?
        .execute(params![
            image,
            VERSION,
            codes.map(|codes| codes.core.cast_signed()),
            codes.map(|codes| codes.mirrored.cast_signed()),
            pdq.map(|pdq| pdq_bytes(&pdq.upright)),
            pdq.map(|pdq| pdq_bytes(&pdq.mirrored)),
        ])?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO prints (image_id, print) VALUES (?1, ?2)")?
        .execute(params![image, bytes])?;
    Ok(())
}

/// Keeps the hashes of lists that name an image.
fn list(connection: &Connection, image: i64, hashes: &[Pdq; 2], lists: &PdqIndex) -> Result<()> {
    let mut nearest = BTreeMap::new();
    for (value, distance) in hashes.iter().flat_map(|hash| lists.near(hash)) {
        let least = nearest.entry(value).or_insert(distance);
        *least = distance.min(*least);
    }
    for (value, distance) in nearest {
        connection
            .prepare_cached("INSERT OR IGNORE INTO listed (image_id, value, distance) VALUES (?1, ?2, ?3)")?
            .execute(params![image, value.to_string(), distance])?;
    }
    Ok(())
}

fn print_of(connection: &Connection, image: i64) -> Result<Fingerprint> {
    let bytes: Vec<u8> = connection
        .prepare_cached("SELECT print FROM prints WHERE image_id = ?1")?
        .query_row([image], |row| row.get(0))?;
    Fingerprint::from_bytes(&bytes).map_err(|error| RegistryError::Damaged {
        expected: "a fingerprint of this version",
        found: error.to_string(),
    })
}

/// The PDQ hashes of an image, upright and mirrored.
fn hashes_of(connection: &Connection, image: i64) -> Result<Option<[Pdq; 2]>> {
    let sql = "SELECT pdq, pdq_mirrored FROM fingerprints WHERE image_id = ?1 AND pdq IS NOT NULL";
    let mut query = connection.prepare_cached(sql)?;
    let hashes = query.query_row([image], |row| Ok([pdq_of(row.get(0)?), pdq_of(row.get(1)?)]));
    Ok(hashes.optional()?)
}

fn pdq_bytes(hash: &Pdq) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (two, word) in bytes.chunks_exact_mut(2).zip(hash.0) {
        two.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

fn pdq_of(bytes: [u8; 32]) -> Pdq {
    Pdq(std::array::from_fn(|at| {
        u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]])
    }))
}
