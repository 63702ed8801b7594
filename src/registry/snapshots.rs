//! Snapshots as rows: written once, in one transaction, and read.

use jiff::Timestamp;
use rusqlite::{OptionalExtension, Row, params};

use super::values::{time, word};
use super::{Registry, RegistryError, Result, log};
use crate::consent::{Purpose, ReasonCode};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::log::Entry;

/// A snapshot without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its name.
    pub name: String,
    /// The number of its document's format, which says what the root is computed from.
    pub format: u32,
    /// The root over its members.
    pub root: Sha256Digest,
    /// Digest of its canonical document.
    pub document: Sha256Digest,
    /// Name of its policy.
    pub policy_name: String,
    /// Text of its policy.
    pub policy: String,
    /// What it is for.
    pub purpose: Purpose,
    /// What it was limited to, as JSON.
    pub selection: String,
    /// The end of the ledger when it was made: place and hash.
    pub ledger: (i64, Sha256Digest),
    /// When it was made.
    pub created_at: Timestamp,
    /// Root of the snapshot that its members were taken from, if any.
    pub parent: Option<Sha256Digest>,
}

/// A member of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMemberRow {
    /// The image.
    pub sha256: Sha256Digest,
    /// What it shows.
    pub pixels: PixelDigest,
    /// Its caption when the snapshot was made.
    pub caption: Option<String>,
    /// Canonical JSON of its consent record.
    pub consent: String,
    /// Digest of whom to name for it.
    pub credit_digest: Option<Sha256Digest>,
    /// Canonical JSON of whom to name for it, where it was frozen here.
    pub credit: Option<String>,
}

/// An image that was left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotExclusionRow {
    /// The image.
    pub sha256: Sha256Digest,
    /// Why.
    pub reason_code: ReasonCode,
    /// Canonical JSON of the lines of the trace that say so.
    pub evidence: String,
}

impl Registry {
    /// Stores a snapshot, once: one of this name with the same document is left as it is, with another refused.
    pub fn add_snapshot(
        &mut self,
        snapshot: &SnapshotRow,
        members: &[SnapshotMemberRow],
        excluded: &[SnapshotExclusionRow],
    ) -> Result<()> {
        if let Some(known) = self.snapshot(&snapshot.name)? {
            return match known.document == snapshot.document {
                true => Ok(()),
                false => Err(RegistryError::SnapshotExists {
                    name: known.name,
                    found: known.root,
                }),
            };
        }
        let transaction = self.connection.transaction()?;
        transaction.execute(
            "INSERT INTO snapshots (name, root, document, policy_name, policy, purpose, ledger_seq, ledger_head,
                created_at, selection, format, parent) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
            params![
                snapshot.name,
                snapshot.root,
                snapshot.document,
                snapshot.policy_name,
                snapshot.policy,
                snapshot.purpose.as_str(),
                snapshot.ledger.0,
                snapshot.ledger.1,
                snapshot.created_at.to_string(),
                snapshot.selection,
                snapshot.format,
                snapshot.parent,
            ],
        )?;
        let id = transaction.last_insert_rowid();
        let (root, document) = (snapshot.root, snapshot.document);
        log::append(&transaction, &Entry::Snapshot { root, document })?;
        for member in members {
            transaction
                .prepare_cached(
                    "INSERT INTO snapshot_members (snapshot_id, sha256, pixels, caption, consent, credit_digest, credit)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                )?
                .execute(params![
                    id,
                    member.sha256,
                    member.pixels,
                    member.caption,
                    member.consent,
                    member.credit_digest,
                    member.credit
                ])?;
        }
        for exclusion in excluded {
            transaction
                .prepare_cached(
                    "INSERT INTO snapshot_exclusions (snapshot_id, sha256, reason_code, evidence)
                     VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    id,
                    exclusion.sha256,
                    exclusion.reason_code.as_str(),
                    exclusion.evidence
                ])?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// The snapshot of this name.
    pub fn snapshot(&self, name: &str) -> Result<Option<SnapshotRow>> {
        self.snapshot_where("name = ?1", params![name])
    }

    /// The first snapshot with this root.
    pub fn snapshot_of_root(&self, root: &Sha256Digest) -> Result<Option<SnapshotRow>> {
        self.snapshot_where("root = ?1", params![root])
    }

    /// All snapshots, in the order in which they were made.
    pub fn snapshots(&self) -> Result<Vec<SnapshotRow>> {
        let mut query = self.connection.prepare(&format!("{SELECT} ORDER BY id"))?;
        let rows = query.query_map([], |row| Ok(snapshot_of(row)))?;
        rows.map(|row| row?).collect()
    }

    /// The members of a snapshot, sorted by image digest.
    pub fn snapshot_members(&self, name: &str) -> Result<Vec<SnapshotMemberRow>> {
        let mut query = self.connection.prepare(
            "SELECT sha256, pixels, caption, consent, credit_digest, credit FROM snapshot_members
             WHERE snapshot_id = (SELECT id FROM snapshots WHERE name = ?1) ORDER BY sha256",
        )?;
        let rows = query.query_map([name], |row| {
            Ok(SnapshotMemberRow {
                sha256: row.get(0)?,
                pixels: row.get(1)?,
                caption: row.get(2)?,
                consent: row.get(3)?,
                credit_digest: row.get(4)?,
                credit: row.get(5)?,
            })
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// What a snapshot left out, sorted by image digest.
    pub fn snapshot_exclusions(&self, name: &str) -> Result<Vec<SnapshotExclusionRow>> {
        let mut query = self.connection.prepare(
            "SELECT sha256, reason_code, evidence FROM snapshot_exclusions
             WHERE snapshot_id = (SELECT id FROM snapshots WHERE name = ?1) ORDER BY sha256",
        )?;
        let rows = query.query_map([name], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?)))?;
        rows.map(|row| {
            let (sha256, reason, evidence) = row?;
            let reason_code = word(&reason, "a reason code", ReasonCode::parse)?;
            Ok(SnapshotExclusionRow {
                sha256,
                reason_code,
                evidence,
            })
        })
        .collect()
    }

    /// Every membership: name and root of the snapshot, and the image.
    pub fn memberships(&self) -> Result<Vec<(String, Sha256Digest, Sha256Digest)>> {
        let mut query = self.connection.prepare(
            "SELECT name, root, sha256 FROM snapshot_members JOIN snapshots ON snapshots.id = snapshot_id
             ORDER BY snapshots.id, sha256",
        )?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn snapshot_where(&self, condition: &str, values: &[&dyn rusqlite::ToSql]) -> Result<Option<SnapshotRow>> {
        let sql = format!("{SELECT} WHERE {condition} ORDER BY id LIMIT 1");
        self.connection
            .query_row(&sql, values, |row| Ok(snapshot_of(row)))
            .optional()?
            .transpose()
    }
}

const SELECT: &str = "SELECT name, root, document, policy_name, policy, purpose, ledger_seq, ledger_head, created_at,
                      selection, format, parent FROM snapshots";

fn snapshot_of(row: &Row<'_>) -> Result<SnapshotRow> {
    Ok(SnapshotRow {
        name: row.get(0)?,
        root: row.get(1)?,
        document: row.get(2)?,
        policy_name: row.get(3)?,
        policy: row.get(4)?,
        purpose: word(&row.get::<_, String>(5)?, "a purpose", Purpose::parse)?,
        ledger: (row.get(6)?, row.get(7)?),
        created_at: time(&row.get::<_, String>(8)?)?,
        selection: row.get(9)?,
        format: row.get(10)?,
        parent: row.get(11)?,
    })
}
