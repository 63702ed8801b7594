//! What is known of images, in rows that they share: see `migrations/0007_classes.sql`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::coverage::fold_address;
use super::evidence::statements;
use super::reading::{Held, Key, held};
use super::values::time;
use super::{RegistryError, Result};
use crate::consent::{Authentication, Purpose, State, Statement};

/// Images listed at once, when those of an older registry get their facts.
const BATCH: i64 = 4096;

/// What deciding needs to know of an image beside the ledger and its neighbours. Texts on which no decision depends
/// are left out: of them every image has its own.
#[derive(Serialize)]
pub(super) struct Facts {
    licenses: Vec<(String, String)>,
    said: BTreeSet<Said>,
    artist: bool,
    title: bool,
    ai_generated: bool,
    needs_review: bool,
}

/// A statement without its text, its holder and its time.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct Said {
    source: String,
    purpose: Option<Purpose>,
    state: State,
    authentication: Authentication,
    current: bool,
}

impl Facts {
    fn of(held: &Held, statements: &[Statement]) -> Facts {
        let image = &held.record;
        let said = statements.iter().map(|statement| Said {
            source: statement.source.clone(),
            purpose: statement.purpose,
            state: statement.state,
            authentication: statement.authentication,
            current: statement.current,
        });
        let licenses = image.licenses.iter();
        Facts {
            licenses: licenses
                .map(|fact| (fact.expression.clone(), fact.source.clone()))
                .collect(),
            said: said.collect(),
            artist: image.artists.iter().any(|name| !name.trim().is_empty()),
            title: image.title.as_deref().is_some_and(|title| !title.trim().is_empty()),
            ai_generated: image.ai_generated,
            needs_review: !image.needs_review.is_empty(),
        }
    }
}

/// Makes the rows of an image agree with what is known of it; `gone` is the address that a place of it had.
pub(super) fn refresh(connection: &Connection, image: i64, gone: Option<&str>) -> Result<()> {
    let Some(held) = held(connection, Key::Row(image))? else {
        return Ok(());
    };
    let statements = statements(connection, image)?;
    let facts = serde_json::to_string(&Facts::of(&held, &statements)).map_err(|_| RegistryError::Damaged {
        expected: "facts that JSON can hold",
        found: held.record.sha256.to_string(),
    })?;
    let latest = statements.iter().map(|statement| statement.read_at).max();
    let facts = intern(connection, &facts, latest)?;
    connection
        .prepare_cached(
            "INSERT INTO image_facts (image_id, facts_id) VALUES (?1, ?2)
             ON CONFLICT DO UPDATE SET facts_id = ?2 WHERE facts_id <> ?2",
        )?
        .execute([image, facts])?;
    let addresses: BTreeSet<_> = held.record.sources.iter().map(|source| fold_address(source)).collect();
    if let Some(gone) = gone.map(fold_address).filter(|gone| !addresses.contains(gone)) {
        connection
            .prepare_cached("DELETE FROM image_addresses WHERE address = ?1 AND image_id = ?2")?
            .execute(params![gone, image])?;
    }
    for address in addresses {
        connection
            .prepare_cached("INSERT OR IGNORE INTO image_addresses (address, image_id) VALUES (?1, ?2)")?
            .execute(params![address, image])?;
    }
    Ok(())
}

/// The row of these facts, made when there is none.
fn intern(connection: &Connection, facts: &str, latest: Option<Timestamp>) -> Result<i64> {
    let found: Option<(i64, Option<String>)> = connection
        .prepare_cached("SELECT id, latest FROM facts WHERE facts = ?1")?
        .query_row([facts], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, known)) = found else {
        connection
            .prepare_cached("INSERT INTO facts (facts, latest) VALUES (?1, ?2)")?
            .execute(params![facts, latest.map(|at| at.to_string())])?;
        return Ok(connection.last_insert_rowid());
    };
    let known = known.as_deref().map(time).transpose()?;
    if latest > known {
        connection
            .prepare_cached("UPDATE facts SET latest = ?2 WHERE id = ?1")?
            .execute(params![id, latest.map(|at| at.to_string())])?;
    }
    Ok(id)
}

/// Gives facts to the images of a registry that had none yet.
pub(super) fn complete(connection: &Connection) -> Result<()> {
    let mut query = connection.prepare(
        "SELECT id FROM images WHERE id > ?1 AND id NOT IN (SELECT image_id FROM image_facts) ORDER BY id LIMIT ?2",
    )?;
    let mut last = 0;
    loop {
        let images: Vec<i64> = query
            .query_map([last, BATCH], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        for image in &images {
            refresh(connection, *image, None)?;
        }
        match images.last() {
            Some(image) => last = *image,
            None => return Ok(()),
        }
    }
}
