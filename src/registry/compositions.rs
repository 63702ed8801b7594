//! Adapters that were trained in shards: the manifests that were written, and which takes the place of which.

use std::path::PathBuf;

use jiff::Timestamp;
use rusqlite::params;

use super::values::{path_bytes, path_of, time};
use super::{Registry, Result};
use crate::digest::Sha256Digest;

/// A manifest, to be recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewComposition {
    /// Digest of its file.
    pub sha256: Sha256Digest,
    /// Its file.
    pub path: PathBuf,
    /// Number, digest of the adapter's file and weight of each shard that is there.
    pub adapters: Vec<(u32, Sha256Digest, String)>,
    /// Digest of the manifest whose place it takes, if any.
    pub supersedes: Option<Sha256Digest>,
}

/// A recorded manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompositionRow {
    /// Digest of its file.
    pub sha256: Sha256Digest,
    /// Its file when it was last recorded.
    pub path: PathBuf,
    /// The digests of the adapters' files, by shard.
    pub adapters: Vec<Sha256Digest>,
    /// Digests of the manifests that take its place.
    pub superseded_by: Vec<Sha256Digest>,
    /// When it was first recorded.
    pub created_at: Timestamp,
}

impl Registry {
    /// Records a manifest; one with the same digest only gets its new path.
    pub fn add_composition(&mut self, composition: &NewComposition, at: Timestamp) -> Result<()> {
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO compositions (sha256, path, created_at) VALUES (?1, ?2, ?3)
             ON CONFLICT (sha256) DO UPDATE SET path = excluded.path",
            params![composition.sha256, path_bytes(&composition.path), at.to_string()],
        )?;
        for (shard, adapter, weight) in &composition.adapters {
            transaction.execute(
                "INSERT INTO composition_adapters (composition_id, shard, adapter, weight)
                 VALUES ((SELECT id FROM compositions WHERE sha256 = ?1), ?2, ?3, ?4) ON CONFLICT DO NOTHING",
                params![composition.sha256, shard, adapter, weight],
            )?;
        }
        if let Some(old) = composition.supersedes.filter(|old| *old != composition.sha256) {
            transaction.execute(
                "INSERT INTO composition_supersedes (new, old) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                params![composition.sha256, old],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// All manifests, in the order in which they were recorded.
    pub fn compositions(&self) -> Result<Vec<CompositionRow>> {
        let mut query = self
            .connection
            .prepare("SELECT id, sha256, path, created_at FROM compositions ORDER BY id")?;
        let mut adapters = self
            .connection
            .prepare("SELECT adapter FROM composition_adapters WHERE composition_id = ?1 ORDER BY shard")?;
        let mut by = self
            .connection
            .prepare("SELECT new FROM composition_supersedes WHERE old = ?1 ORDER BY new")?;
        let rows = query.query_map([], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get(1)?,
                row.get(2)?,
                row.get::<_, String>(3)?,
            ))
        })?;
        rows.map(|row| {
            let (id, sha256, path, at) = row?;
            let adapters = adapters.query_map([id], |row| row.get(0))?;
            let by = by.query_map([sha256], |row| row.get(0))?;
            Ok(CompositionRow {
                sha256,
                path: path_of(path),
                adapters: adapters.collect::<rusqlite::Result<_>>()?,
                superseded_by: by.collect::<rusqlite::Result<_>>()?,
                created_at: time(&at)?,
            })
        })
        .collect()
    }

    /// The manifest with this digest.
    pub fn composition(&self, sha256: &Sha256Digest) -> Result<Option<CompositionRow>> {
        Ok(self.compositions()?.into_iter().find(|row| row.sha256 == *sha256))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_kept_with_what_takes_their_place() {
        let digest = |byte: u8| Sha256Digest::from_bytes([byte; 32]);
        let mut registry = Registry::in_memory().unwrap();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let whole = NewComposition {
            sha256: digest(1),
            path: "/a/shards.json".into(),
            adapters: vec![(1, digest(11), "0.5".into()), (2, digest(12), "0.5".into())],
            supersedes: None,
        };
        let without = NewComposition {
            sha256: digest(2),
            path: "/b/shards.json".into(),
            adapters: vec![(2, digest(12), "0.5".into())],
            supersedes: Some(digest(1)),
        };
        for one in [&whole, &without, &without] {
            registry.add_composition(one, at).unwrap();
        }
        let moved = NewComposition {
            path: "/c/shards.json".into(),
            ..whole.clone()
        };
        registry.add_composition(&moved, at).unwrap();
        let rows = registry.compositions().unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!((&rows[0].path, &rows[0].superseded_by), (&moved.path, &vec![digest(2)]));
        assert_eq!(rows[0].adapters, [digest(11), digest(12)]);
        assert_eq!((&rows[1].adapters, rows[1].superseded_by.len()), (&vec![digest(12)], 0));
        assert_eq!(registry.composition(&digest(3)).unwrap(), None);
        for sql in [
            "DELETE FROM compositions",
            "UPDATE compositions SET sha256 = zeroblob(32)",
            "DELETE FROM composition_adapters",
            "UPDATE composition_adapters SET weight = '2'",
            "DELETE FROM composition_supersedes",
            "UPDATE composition_supersedes SET old = new",
        ] {
            assert!(registry.connection.execute_batch(sql).is_err(), "{sql}");
        }
    }
}
