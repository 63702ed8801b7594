//! The transparency log as rows: appended to within the transaction that it tells of, and recomputed.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::{Registry, RegistryError, Result, trained_on};
use crate::digest::Sha256Digest;
use crate::log::{Checkpoint, Entry, MAX_ENTRY_BYTES, Note, Tree};

/// What recomputing the log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogReport {
    /// How many entries there are.
    pub size: u64,
    /// The root over them.
    pub root: Sha256Digest,
    /// How many signed heads were compared.
    pub heads: usize,
    /// What is wrong, a sentence each; nothing when the log holds.
    pub problems: Vec<String>,
}

/// Appends an entry.
pub(super) fn append(connection: &Connection, entry: &Entry) -> Result<()> {
    let bytes = entry.bytes()?;
    if bytes.len() > MAX_ENTRY_BYTES {
        return Err(RegistryError::Damaged {
            expected: "an entry that the log can hold, of at most 65535 bytes",
            found: format!("{} bytes", bytes.len()),
        });
    }
    let mut insert = connection.prepare_cached(
        "INSERT INTO log_entries (place, entry) VALUES ((SELECT coalesce(max(place), 0) + 1 FROM log_entries), ?1)",
    )?;
    insert.execute([bytes])?;
    Ok(())
}

/// What the rows say should be in the log, with how people call it.
fn expected(connection: &Connection) -> Result<Vec<(Entry, String)>> {
    let mut entries = Vec::new();
    let mut query = connection.prepare("SELECT root, document, name FROM snapshots ORDER BY id")?;
    let rows = query.query_map([], |row| {
        let (root, document) = (row.get(0)?, row.get(1)?);
        Ok((Entry::Snapshot { root, document }, row.get::<_, String>(2)?))
    })?;
    for row in rows {
        let (entry, name) = row?;
        entries.push((entry, format!("the snapshot `{name}`")));
    }
    let mut query = connection.prepare("SELECT sha256, tensors FROM adapters ORDER BY id")?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        let (file, tensors): (Sha256Digest, _) = row?;
        let sets = trained_on::read(connection, trained_on::Of::Adapter, &file)?;
        let trained_on = sets.iter().map(|set| set.root).collect();
        let entry = Entry::Adapter {
            file,
            tensors,
            trained_on,
        };
        entries.push((entry, format!("the adapter {}", file.short())));
    }
    Ok(entries)
}

/// Begins the log of a registry that had none with what is there.
pub(super) fn complete(connection: &Connection) -> Result<()> {
    let known: i64 = connection.query_row("SELECT count(*) FROM log_entries", [], |row| row.get(0))?;
    if known == 0 {
        for (entry, _) in expected(connection)? {
            append(connection, &entry)?;
        }
    }
    Ok(())
}

impl Registry {
    /// The log.
    pub fn log(&self) -> Result<Tree> {
        let mut query = self
            .connection
            .prepare("SELECT entry FROM log_entries ORDER BY place")?;
        let rows = query.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
        Ok(rows.collect::<rusqlite::Result<Tree>>()?)
    }

    /// The heads that were signed, in the order of their signing, as notes.
    pub fn log_heads(&self) -> Result<Vec<Vec<u8>>> {
        let mut query = self.connection.prepare("SELECT note FROM log_heads ORDER BY id")?;
        let rows = query.query_map([], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Keeps a signed head; one that is kept already is left.
    pub fn add_log_head(&mut self, head: &Note) -> Result<()> {
        self.connection.execute(
            "INSERT INTO log_heads (note) SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM log_heads WHERE note = ?1)",
            params![head.bytes()],
        )?;
        Ok(())
    }

    /// Recomputes the log and compares it with what it tells of and with every head that was signed.
    pub fn verify_log(&self) -> Result<LogReport> {
        let tree = self.log()?;
        let mut report = LogReport {
            size: tree.size(),
            root: tree.root(tree.size()).unwrap_or_else(|| Sha256Digest::of_bytes(&[])),
            heads: 0,
            problems: Vec::new(),
        };
        let problems = &mut report.problems;
        let written: i64 = self
            .connection
            .query_row(
                "SELECT seq FROM sqlite_sequence WHERE name = 'log_entries'",
                [],
                |row| row.get(0),
            )
            .optional()?
            .unwrap_or(0);
        if written.unsigned_abs() != tree.size() {
            problems.push(format!("{written} entries were written, {} are there", tree.size()));
        }
        let mut logged: BTreeMap<Entry, u64> = BTreeMap::new();
        for (place, entry) in tree.entries() {
            match entry {
                Ok(entry) => drop(logged.insert(entry, place)),
                Err(error) => problems.push(format!("entry {place}: {error}")),
            }
        }
        for (entry, name) in expected(&self.connection)? {
            if logged.remove(&entry).is_none() {
                problems.push(format!(
                    "{name} is not in the log as it is here: it was changed or put here since"
                ));
            }
        }
        for (entry, place) in logged {
            let (kind, subject) = (entry.kind(), entry.subject());
            problems.push(format!(
                "entry {place}: the {kind} {subject} is not here any more as it was logged"
            ));
        }
        for note in self.log_heads()? {
            report.heads += 1;
            match Note::parse(&note).and_then(|note| Checkpoint::of(&note)) {
                Err(error) => problems.push(format!("a signed head: {error}")),
                Ok(head) if tree.root(head.size) == Some(head.root) => {}
                Ok(head) => problems.push(format!(
                    "the head of {} entries that was signed is not the beginning of the log any more",
                    head.size
                )),
            }
        }
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{APPLICATION_ID, MIGRATIONS, NewAdapter, Role, TrainedOn};

    fn adapter(byte: u8) -> NewAdapter {
        NewAdapter {
            sha256: Sha256Digest::from_bytes([byte; 32]),
            tensors: Sha256Digest::from_bytes([2; 32]),
            run: None,
            trained_on: vec![TrainedOn {
                root: Sha256Digest::from_bytes([9; 32]),
                role: Role::Training,
            }],
            path: "/a".into(),
        }
    }

    #[test]
    fn each_adapter_is_logged_once_and_nothing_is_taken_back() {
        let mut registry = Registry::in_memory().unwrap();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        for byte in [1, 3, 1] {
            registry.add_adapter(&adapter(byte), at).unwrap();
        }
        let report = registry.verify_log().unwrap();
        assert_eq!((report.size, report.problems), (2, Vec::new()));
        for sql in [
            "DELETE FROM log_entries",
            "UPDATE log_entries SET entry = x'00'",
            "INSERT OR REPLACE INTO log_entries (place, entry) VALUES (1, x'00')",
        ] {
            assert!(registry.connection.execute_batch(sql).is_err(), "{sql}");
        }
    }

    #[test]
    fn what_was_there_before_there_was_a_log_begins_it() {
        let folder = tempfile::tempdir().unwrap();
        let [path, today] = ["assent.db", "today.db"].map(|name| folder.path().join(name));
        let mut registry = Registry::open(&today).unwrap();
        registry
            .add_adapter(&adapter(1), "2026-01-01T00:00:00Z".parse().unwrap())
            .unwrap();
        drop(registry);
        let before = MIGRATIONS.iter().position(|step| step.contains("log_entries")).unwrap();
        let old = rusqlite::Connection::open(&path).unwrap();
        MIGRATIONS[..before]
            .iter()
            .for_each(|step| old.execute_batch(step).unwrap());
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.pragma_update(None, "user_version", before as i64).unwrap();
        old.execute("ATTACH ?1 AS today", [today.to_str().unwrap()]).unwrap();
        old.execute("INSERT INTO adapters SELECT * FROM today.adapters", [])
            .unwrap();
        drop(old);
        let registry = Registry::open(&path).unwrap();
        let report = registry.verify_log().unwrap();
        assert_eq!((report.size, report.problems), (1, Vec::new()));
        assert_eq!(registry.problems().unwrap(), [""; 0]);
    }
}
