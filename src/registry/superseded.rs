//! Which adapter takes the place of which: a run that was made again without some of its pictures names the adapter that
//! the first one gave.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{AdapterRow, Registry, Result};
use crate::digest::Sha256Digest;

/// The adapter whose place another takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supersedes {
    /// SHA-256 of its file.
    pub file: Sha256Digest,
    /// SHA-256 of its tensor region.
    pub tensors: Sha256Digest,
    /// SHA-256 of the receipt in its header.
    pub receipt: Sha256Digest,
}

/// Stores what the run with this digest supersedes; what is stored already stays.
pub(super) fn store(connection: &Connection, run: &Sha256Digest, old: &Supersedes) -> Result<()> {
    connection.execute(
        "INSERT INTO run_supersedes (run_id, file, tensors, receipt)
         VALUES ((SELECT id FROM runs WHERE sha256 = ?1), ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        params![run, old.file, old.tensors, old.receipt],
    )?;
    Ok(())
}

/// What the run with this digest supersedes.
pub(super) fn read(connection: &Connection, run: &Sha256Digest) -> Result<Option<Supersedes>> {
    let mut query = connection.prepare_cached(
        "SELECT file, tensors, receipt FROM run_supersedes WHERE run_id = (SELECT id FROM runs WHERE sha256 = ?1)",
    )?;
    let row = query.query_row([run], |row| {
        Ok(Supersedes {
            file: row.get(0)?,
            tensors: row.get(1)?,
            receipt: row.get(2)?,
        })
    });
    Ok(row.optional()?)
}

impl Registry {
    /// What the run with this record supersedes.
    pub fn supersedes(&self, run: &Sha256Digest) -> Result<Option<Supersedes>> {
        read(&self.connection, run)
    }

    /// The adapters that take the place of this one, one of each run, in the order in which they were recorded. Where one
    /// file of a run is superseded, its conversions and its last weights are too.
    pub fn superseded_by(&self, adapter: &AdapterRow) -> Result<Vec<AdapterRow>> {
        let mut query = self.connection.prepare_cached(
            "SELECT DISTINCT min(adapters.id) OVER (PARTITION BY adapters.run_id), first_value(adapters.sha256)
                    OVER (PARTITION BY adapters.run_id ORDER BY adapters.id)
             FROM run_supersedes JOIN adapters USING (run_id)
             WHERE run_supersedes.tensors = ?1 OR run_supersedes.tensors IN
                (SELECT tensors FROM adapters WHERE run_id = (SELECT id FROM runs WHERE sha256 = ?2))
             ORDER BY 1",
        )?;
        let rows = query.query_map(params![adapter.tensors, adapter.run], |row| row.get(1))?;
        let digests: Vec<Sha256Digest> = rows.collect::<rusqlite::Result<_>>()?;
        let mut found = Vec::new();
        for digest in digests {
            found.extend(self.adapter(&digest)?);
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{NewAdapter, NewRun};

    fn digest(byte: u8) -> Sha256Digest {
        Sha256Digest::from_bytes([byte; 32])
    }

    /// Records a run and its adapters: each a file, with these tensors.
    fn run(registry: &mut Registry, number: u8, supersedes: Option<Supersedes>, adapters: &[(u8, u8)]) {
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let run = NewRun {
            sha256: digest(number),
            trained_on: Vec::new(),
            record: String::new(),
            path: "/run".into(),
            supersedes,
        };
        registry.add_run(&run, at).unwrap();
        for (file, tensors) in adapters {
            let adapter = NewAdapter {
                sha256: digest(*file),
                tensors: digest(*tensors),
                run: Some(digest(number)),
                trained_on: Vec::new(),
                path: "/adapter".into(),
            };
            registry.add_adapter(&adapter, at).unwrap();
        }
    }

    fn old(file: u8, tensors: u8) -> Supersedes {
        Supersedes {
            file: digest(file),
            tensors: digest(tensors),
            receipt: digest(99),
        }
    }

    #[test]
    fn whatever_a_superseded_run_gave_is_superseded() {
        let mut registry = Registry::in_memory().unwrap();
        // A run with its adapter and a conversion; made again; and that once more, in two ways.
        run(&mut registry, 1, None, &[(11, 21), (12, 22)]);
        run(&mut registry, 2, Some(old(11, 21)), &[(13, 23), (14, 24)]);
        run(&mut registry, 3, Some(old(13, 23)), &[(15, 25)]);
        run(&mut registry, 4, Some(old(13, 23)), &[(16, 26)]);
        run(&mut registry, 5, None, &[(17, 27)]);
        let by = |file: u8| -> Vec<Sha256Digest> {
            let row = registry.adapter(&digest(file)).unwrap().unwrap();
            let rows = registry.superseded_by(&row).unwrap();
            rows.iter().map(|row| row.sha256).collect()
        };
        for (file, expected) in [
            (11, vec![13]),
            (12, vec![13]),
            (13, vec![15, 16]),
            (14, vec![15, 16]),
            (15, vec![]),
            (17, vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(digest).collect();
            assert_eq!(by(file), expected, "{file}");
        }
        assert_eq!(registry.supersedes(&digest(3)).unwrap(), Some(old(13, 23)));
        assert_eq!(registry.supersedes(&digest(1)).unwrap(), None);
        assert_eq!(registry.runs().unwrap()[1].run.supersedes, Some(old(11, 21)));
        for sql in ["DELETE FROM run_supersedes", "UPDATE run_supersedes SET file = tensors"] {
            assert!(registry.connection.execute_batch(sql).is_err(), "{sql}");
        }
    }
}
