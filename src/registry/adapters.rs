//! What was made from snapshots: runs, adapters, pictures.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, ToSql, params};

use super::trained_on::{Of, TrainedOn, read, store};
use super::values::{path_bytes, path_of, time};
use super::{Registry, Result, Supersedes, log, superseded};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::log::Entry;

/// A training run, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRun {
    /// Digest of its record as it was written.
    pub sha256: Sha256Digest,
    /// The snapshots it trained on, in the order of its record.
    pub trained_on: Vec<TrainedOn>,
    /// Its record, as JSON.
    pub record: String,
    /// The folder of its artefacts.
    pub path: PathBuf,
    /// The adapter whose place its own takes, where it was made again without some of its pictures.
    pub supersedes: Option<Supersedes>,
}

/// A recorded run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// What was recorded.
    pub run: NewRun,
    /// When.
    pub finished_at: Timestamp,
}

/// An adapter, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAdapter {
    /// Digest of its file.
    pub sha256: Sha256Digest,
    /// Digest of its tensors, whatever its header says.
    pub tensors: Sha256Digest,
    /// Digest of the record of the run that made it.
    pub run: Option<Sha256Digest>,
    /// The snapshots it was trained on, in the order of its record.
    pub trained_on: Vec<TrainedOn>,
    /// Its file.
    pub path: PathBuf,
}

/// A recorded adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdapterRow {
    /// Digest of its file.
    pub sha256: Sha256Digest,
    /// Digest of its tensors.
    pub tensors: Sha256Digest,
    /// Digest of the record of the run that made it.
    pub run: Option<Sha256Digest>,
    /// The snapshots it was trained on, in the order of its record.
    pub trained_on: Vec<TrainedOn>,
    /// Its file when it was recorded.
    pub path: PathBuf,
    /// When it was recorded.
    pub created_at: Timestamp,
}

/// A picture made with an adapter, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPicture {
    /// Digest of its file.
    pub sha256: Sha256Digest,
    /// Digest of its pixels; none for pictures that were recorded before those were kept.
    pub pixels: Option<PixelDigest>,
    /// Digest of the adapter's file.
    pub adapter: Sha256Digest,
    /// Its file.
    pub path: PathBuf,
}

/// A recorded picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureRow {
    /// What was recorded.
    pub picture: NewPicture,
    /// When.
    pub created_at: Timestamp,
}

impl Registry {
    /// Records a run; one with the same record is left as it is.
    pub fn add_run(&mut self, run: &NewRun, at: Timestamp) -> Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO runs (sha256, record, path, finished_at) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (sha256) DO NOTHING",
            params![run.sha256, run.record, path_bytes(&run.path), at.to_string()],
        )?;
        store(&transaction, Of::Run, &run.sha256, &run.trained_on)?;
        if let Some(old) = &run.supersedes {
            superseded::store(&transaction, &run.sha256, old)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Records an adapter; one with the same file digest only gets its new path.
    pub fn add_adapter(&mut self, adapter: &NewAdapter, at: Timestamp) -> Result<()> {
        let transaction = self.connection.transaction()?;
        let sql = "SELECT count(*) FROM adapters WHERE sha256 = ?1";
        let known: i64 = transaction.query_row(sql, [adapter.sha256], |row| row.get(0))?;
        if known == 0 {
            let entry = Entry::Adapter {
                file: adapter.sha256,
                tensors: adapter.tensors,
                trained_on: adapter.trained_on.iter().map(|set| set.root).collect(),
            };
            log::append(&transaction, &entry)?;
        }
        transaction.execute(
            "INSERT INTO adapters (sha256, tensors, run_id, path, created_at)
             VALUES (?1, ?2, (SELECT id FROM runs WHERE sha256 = ?3), ?4, ?5)
             ON CONFLICT (sha256) DO UPDATE SET path = excluded.path",
            params![
                adapter.sha256,
                adapter.tensors,
                adapter.run,
                path_bytes(&adapter.path),
                at.to_string(),
            ],
        )?;
        store(&transaction, Of::Adapter, &adapter.sha256, &adapter.trained_on)?;
        transaction.commit()?;
        Ok(())
    }

    /// Records a picture; one with the same digest only gets its new path.
    pub fn add_picture(&mut self, picture: &NewPicture, at: Timestamp) -> Result<()> {
        self.connection.execute(
            "INSERT INTO pictures (sha256, adapter_sha256, path, created_at, pixels) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET path = excluded.path, pixels = excluded.pixels",
            params![
                picture.sha256,
                picture.adapter,
                path_bytes(&picture.path),
                at.to_string(),
                picture.pixels,
            ],
        )?;
        Ok(())
    }

    /// All runs, in the order in which they were recorded.
    pub fn runs(&self) -> Result<Vec<RunRow>> {
        self.run_rows(None)
    }

    /// The first record of the run with this digest.
    pub fn run(&self, sha256: &Sha256Digest) -> Result<Option<RunRow>> {
        Ok(self.run_rows(Some(sha256))?.into_iter().next())
    }

    fn run_rows(&self, sha256: Option<&Sha256Digest>) -> Result<Vec<RunRow>> {
        let mut query = self.connection.prepare(
            "SELECT sha256, record, path, finished_at FROM runs WHERE ?1 IS NULL OR sha256 = ?1 ORDER BY id",
        )?;
        let rows = query.query_map([sha256], |row| {
            let run = NewRun {
                sha256: row.get(0)?,
                trained_on: Vec::new(),
                record: row.get(1)?,
                path: path_of(row.get(2)?),
                supersedes: None,
            };
            Ok((run, row.get::<_, String>(3)?))
        })?;
        rows.map(|row| {
            let (mut run, at) = row?;
            run.trained_on = read(&self.connection, Of::Run, &run.sha256)?;
            run.supersedes = superseded::read(&self.connection, &run.sha256)?;
            Ok(RunRow {
                run,
                finished_at: time(&at)?,
            })
        })
        .collect()
    }

    /// All adapters, in the order in which they were recorded.
    pub fn adapters(&self) -> Result<Vec<AdapterRow>> {
        let mut query = self.connection.prepare(&format!("{ADAPTERS} ORDER BY adapters.id"))?;
        let rows = query.query_map([], |row| Ok(self.adapter_of(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The adapter whose file has this digest.
    pub fn adapter(&self, sha256: &Sha256Digest) -> Result<Option<AdapterRow>> {
        let sql = format!("{ADAPTERS} WHERE adapters.sha256 = ?1");
        self.connection
            .query_row(&sql, [sha256], |row| Ok(self.adapter_of(row)))
            .optional()?
            .transpose()
    }

    /// The adapters whose tensors have this digest, whatever their headers say.
    pub fn adapters_of_tensors(&self, tensors: &Sha256Digest) -> Result<Vec<AdapterRow>> {
        Ok(self
            .adapters()?
            .into_iter()
            .filter(|adapter| adapter.tensors == *tensors)
            .collect())
    }

    /// The pictures made with an adapter, or all, in the order in which they were recorded.
    pub fn pictures(&self, adapter: Option<&Sha256Digest>) -> Result<Vec<PictureRow>> {
        self.picture_rows("?1 IS NULL OR adapter_sha256 = ?1", params![adapter])
    }

    /// The pictures recorded as this file; else those with these pixels; else those that were written here.
    pub fn pictures_like(
        &self,
        sha256: &Sha256Digest,
        pixels: Option<&PixelDigest>,
        path: &Path,
    ) -> Result<Vec<PictureRow>> {
        let mut rows = self.picture_rows("sha256 = ?1", params![sha256])?;
        if rows.is_empty() {
            rows = self.picture_rows("pixels = ?1", params![pixels])?;
        }
        if rows.is_empty() {
            rows = self.picture_rows("path = ?1", params![path_bytes(path)])?;
        }
        Ok(rows)
    }

    fn picture_rows(&self, which: &str, values: &[&dyn ToSql]) -> Result<Vec<PictureRow>> {
        let mut query = self.connection.prepare(&format!(
            "SELECT sha256, adapter_sha256, path, created_at, pixels FROM pictures
             WHERE {which} ORDER BY created_at, sha256",
        ))?;
        let rows = query.query_map(values, |row| {
            let picture = NewPicture {
                sha256: row.get(0)?,
                adapter: row.get(1)?,
                path: path_of(row.get(2)?),
                pixels: row.get(4)?,
            };
            Ok((picture, row.get::<_, String>(3)?))
        })?;
        rows.map(|row| {
            let (picture, at) = row?;
            Ok(PictureRow {
                picture,
                created_at: time(&at)?,
            })
        })
        .collect()
    }

    fn adapter_of(&self, row: &Row<'_>) -> Result<AdapterRow> {
        let sha256 = row.get(0)?;
        Ok(AdapterRow {
            sha256,
            tensors: row.get(1)?,
            run: row.get(2)?,
            trained_on: read(&self.connection, Of::Adapter, &sha256)?,
            path: path_of(row.get(3)?),
            created_at: time(&row.get::<_, String>(4)?)?,
        })
    }
}

const ADAPTERS: &str = "SELECT adapters.sha256, tensors, runs.sha256, adapters.path, created_at
                        FROM adapters LEFT JOIN runs ON runs.id = run_id";
