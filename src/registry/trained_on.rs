//! Which snapshots a run or an adapter was trained on, and what for.

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::Result;
use super::values::word;
use crate::digest::Sha256Digest;

/// What the pictures of a snapshot are for in a training. Either way they shape the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The adapter is to learn them.
    Training,
    /// They hold the adapter to what the base draws anyway (prior preservation).
    Regularization,
}

impl Role {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Training => "training",
            Role::Regularization => "regularization",
        }
    }

    /// The role of this stable name.
    pub fn parse(name: &str) -> Option<Self> {
        [Role::Training, Role::Regularization]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A snapshot that something was trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrainedOn {
    /// Its Merkle root.
    pub root: Sha256Digest,
    /// What its pictures were for.
    pub role: Role,
}

/// Whose snapshots are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Run,
    Adapter,
}

impl Of {
    fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Of::Run => ("run_snapshots", "run_id", "runs"),
            Of::Adapter => ("adapter_snapshots", "adapter_id", "adapters"),
        }
    }
}

/// Stores what the row with this digest was trained on; what is stored already stays.
pub(super) fn store(connection: &Connection, of: Of, sha256: &Sha256Digest, sets: &[TrainedOn]) -> Result<()> {
    let (table, key, owner) = of.names();
    let mut insert = connection.prepare_cached(&format!(
        "INSERT INTO {table} ({key}, place, root, role)
         VALUES ((SELECT id FROM {owner} WHERE sha256 = ?1), ?2, ?3, ?4) ON CONFLICT DO NOTHING"
    ))?;
    for (place, set) in (0_i64..).zip(sets) {
        insert.execute(params![sha256, place, set.root, set.role.as_str()])?;
    }
    Ok(())
}

/// What the row with this digest was trained on, in the order of its record.
pub(super) fn read(connection: &Connection, of: Of, sha256: &Sha256Digest) -> Result<Vec<TrainedOn>> {
    let (table, key, owner) = of.names();
    let mut query = connection.prepare_cached(&format!(
        "SELECT root, role FROM {table} WHERE {key} = (SELECT id FROM {owner} WHERE sha256 = ?1) ORDER BY place"
    ))?;
    let rows = query.query_map([sha256], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (root, role) = row?;
        let role = word(&role, "`training` or `regularization`", Role::parse)?;
        Ok(TrainedOn { root, role })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::registry::{APPLICATION_ID, MIGRATIONS, NewAdapter, Registry};

    fn on(root: u8, role: Role) -> TrainedOn {
        TrainedOn {
            root: Sha256Digest::from_bytes([root; 32]),
            role,
        }
    }

    #[test]
    fn what_was_trained_on_one_snapshot_before_still_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assent.db");
        let connection = Connection::open(&path).unwrap();
        let before = MIGRATIONS
            .iter()
            .position(|step| step.contains("run_snapshots"))
            .unwrap();
        for step in &MIGRATIONS[..before] {
            connection.execute_batch(step).unwrap();
        }
        let root = "07".repeat(32);
        connection
            .execute_batch(&format!(
                "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {before};
                 INSERT INTO runs (sha256, snapshot_root, record, path, finished_at)
                 VALUES (zeroblob(32), x'{root}', '', x'2f', '2026-01-01T00:00:00Z');
                 INSERT INTO adapters (sha256, tensors, run_id, snapshot_root, path, created_at)
                 VALUES (zeroblob(32), zeroblob(32), 1, x'{root}', x'2f', '2026-01-01T00:00:00Z');"
            ))
            .unwrap();
        drop(connection);
        let registry = Registry::open(&path).unwrap();
        assert_eq!(registry.problems().unwrap(), [""; 0]);
        assert_eq!(registry.runs().unwrap()[0].run.trained_on, [on(7, Role::Training)]);
        assert_eq!(registry.adapters().unwrap()[0].trained_on, [on(7, Role::Training)]);
    }

    #[test]
    fn sets_are_kept_in_order_and_do_not_change() {
        let mut registry = Registry::in_memory().unwrap();
        let mut adapter = NewAdapter {
            sha256: Sha256Digest::from_bytes([1; 32]),
            tensors: Sha256Digest::from_bytes([2; 32]),
            run: None,
            trained_on: vec![on(9, Role::Training), on(3, Role::Regularization)],
            path: PathBuf::from("/a"),
        };
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let known = adapter.trained_on.clone();
        registry.add_adapter(&adapter, at).unwrap();
        adapter.trained_on = vec![on(4, Role::Training)];
        registry.add_adapter(&adapter, at).unwrap();
        assert_eq!(registry.adapters().unwrap()[0].trained_on, known);
        for sql in [
            "DELETE FROM adapter_snapshots",
            "UPDATE adapter_snapshots SET role = 'training'",
        ] {
            assert!(registry.connection.execute_batch(sql).is_err(), "{sql}");
        }
    }
}
