//! The registry: one SQLite file that knows every image, what was said about it, and what was made from it.
//!
//! The only user of rusqlite; never touches tensors. Opening it brings the schema up to date (`migrations/`). Each
//! method is one query or one transaction, so whoever is killed in the middle leaves the file whole. The consent
//! ledger and the snapshots are append-only, and SQLite itself refuses to change them.

mod adapters;
mod artists;
#[cfg(test)]
mod class_tests;
mod classes;
mod compositions;
mod coverage;
mod error;
mod evidence;
mod exchange;
mod facts;
mod health;
mod images;
mod ledger;
#[cfg(test)]
mod ledger_tests;
mod list_file;
mod lists;
mod locations;
mod log;
mod mentions;
mod near;
mod reach;
mod reading;
mod review;
mod snapshots;
mod superseded;
#[cfg(test)]
mod tests;
mod trained_on;
mod trust;
mod values;
mod verify;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

pub use adapters::{AdapterRow, NewAdapter, NewPicture, NewRun, PictureRow, RunRow};
pub use artists::{Artist, fold_name};
pub use compositions::{CompositionRow, NewComposition};
pub use coverage::fold_address;
pub use error::RegistryError;
pub use evidence::{Known, Reader};
pub use exchange::{EventImport, ForeignEvent, Imported};
pub use images::{AddOutcome, NewImage, NewLocation};
pub use ledger::{EventFilter, LedgerHead, MAX_EVIDENCE_BYTES, NewEvent, StoredEvent};
pub use list_file::{ListFile, ListLine, bounded_line};
pub use lists::{EntryKind, ListEntry, ListImport, ListReport};
pub use locations::{KnownLocation, Location};
pub use log::LogReport;
pub use mentions::Mentions;
pub use near::{NearPair, Nearest};
pub use reach::Reach;
pub use reading::{ImageFilter, ImageRecord};
pub use snapshots::{SnapshotExclusionRow, SnapshotMemberRow, SnapshotRow};
pub use superseded::Supersedes;
pub use trained_on::{Role, TrainedOn};
pub use trust::TrustedKey;
pub use verify::{LedgerReport, SaidDigests};

/// What an error of this room carries besides a value.
pub type Result<T> = std::result::Result<T, RegistryError>;

/// Marks a SQLite file as a registry ("asnt").
const APPLICATION_ID: i32 = 0x6173_6e74;

/// Pages of the file that are held in memory, in kibibytes.
const CACHE: i64 = 16 << 10;

/// Prepared statements that are kept: more than the program has, as a registration alone uses some thirty in turn.
const STATEMENTS: usize = 256;

/// The schema, one step a file; a step that has been released is never edited.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_initial.sql"),
    include_str!("migrations/0002_ledger.sql"),
    include_str!("migrations/0003_snapshots_runs.sql"),
    include_str!("migrations/0004_snapshot_selection.sql"),
    include_str!("migrations/0005_consent_in_full.sql"),
    include_str!("migrations/0006_near.sql"),
    include_str!("migrations/0007_classes.sql"),
    include_str!("migrations/0008_notices.sql"),
    include_str!("migrations/0009_credits.sql"),
    include_str!("migrations/0010_review.sql"),
    include_str!("migrations/0011_picture_pixels.sql"),
    include_str!("migrations/0012_sets.sql"),
    include_str!("migrations/0013_snapshot_format.sql"),
    include_str!("migrations/0014_log.sql"),
    include_str!("migrations/0015_supersedes.sql"),
    include_str!("migrations/0016_compositions.sql"),
];

/// An open registry.
#[derive(Debug)]
pub struct Registry {
    connection: Connection,
}

impl Registry {
    /// Opens the registry in this file; makes it when the file is missing or empty.
    pub fn open(path: &Path) -> Result<Self> {
        let open = |source| RegistryError::Open {
            path: path.to_path_buf(),
            source,
        };
        let connection = Connection::open(path).map_err(open)?;
        // A file that is no database shows itself at the first read.
        let _: i64 = connection
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(open)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        Self::prepare(connection, path)
    }

    /// An empty registry that is gone when dropped, for tests.
    pub fn in_memory() -> Result<Self> {
        let path = Path::new(":memory:");
        let open = |source| RegistryError::Open {
            path: path.to_path_buf(),
            source,
        };
        Self::prepare(Connection::open_in_memory().map_err(open)?, path)
    }

    fn prepare(mut connection: Connection, path: &Path) -> Result<Self> {
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.pragma_update(None, "foreign_keys", true)?;
        connection.pragma_update(None, "recursive_triggers", true)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -CACHE)?;
        // Someone else's database may define functions in its views and triggers; ours needs none.
        connection.pragma_update(None, "trusted_schema", false)?;
        migrate(&mut connection, path)?;
        Ok(Registry { connection })
    }

    /// How many steps of schema this registry has.
    pub fn schema_version(&self) -> Result<u32> {
        Ok(self
            .connection
            .pragma_query_value(None, "user_version", |row| row.get(0))?)
    }
}

/// Applies the steps that the file does not have yet, all in one transaction.
fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    // Immediate: two programs that open a new file at once take turns.
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: u32 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i32 = transaction.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: u32 = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(RegistryError::NotARegistry {
            path: path.to_path_buf(),
        });
    }
    let latest = u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX);
    if version > latest {
        return Err(RegistryError::TooNew {
            path: path.to_path_buf(),
            found: version,
            expected: latest,
        });
    }
    for step in &MIGRATIONS[version as usize..] {
        transaction.execute_batch(step)?;
    }
    if version < latest {
        facts::complete(&transaction)?;
        log::complete(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", latest)?;
    }
    transaction.commit()?;
    Ok(())
}
