//! What is known of images, in rows that they share: see `migrations/0007_classes.sql`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::coverage::fold_address;
use super::evidence::statements;
use super::reading::{Held, Key, held};
use super::values::{json_of, time};
use super::{RegistryError, Result, fold_name};
use crate::consent::{Authentication, Evidence, LicenseFact, Purpose, State, Statement};
use crate::digest::Sha256Digest;

/// Images listed at once, when those of an older registry get their facts.
const BATCH: i64 = 4096;

/// What deciding needs to know of an image beside the ledger and its neighbours. Texts on which no decision depends
/// are left out: of them every image has its own.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Facts {
    licenses: Vec<(String, String)>,
    said: BTreeSet<Said>,
    /// Whether anybody is named as its maker; `artist_sets` says who.
    pub artist: bool,
    title: bool,
    ai_generated: bool,
    needs_review: bool,
}

/// A statement without its text and its holder.
#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    source: String,
    purpose: Option<Purpose>,
    state: State,
    authentication: Authentication,
    current: bool,
    /// When it was first read, of what permits: a policy may ask that it is not too long ago. Of all that one run of
    /// ingest read it is the same.
    read_at: Option<Timestamp>,
}

/// Stands for a text that is there and on which nothing depends.
pub(super) const SOME: &str = "\0";

impl Facts {
    fn of(held: &Held, statements: &[Statement]) -> Facts {
        let image = &held.record;
        let said = statements.iter().map(|statement| Said {
            source: statement.source.clone(),
            purpose: statement.purpose,
            state: statement.state,
            authentication: statement.authentication,
            current: statement.current,
            read_at: (statement.state == State::Granted).then_some(statement.read_at),
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

    /// The facts in a row.
    pub fn parse(text: &str) -> Result<Facts> {
        serde_json::from_str(text).map_err(|_| RegistryError::Damaged {
            expected: "the facts about an image as JSON",
            found: text.chars().take(120).collect(),
        })
    }

    /// Whether a statement with the images denies something.
    pub fn deny(&self) -> bool {
        self.said.iter().any(|said| said.state == State::Denied)
    }

    /// Evidence on which every decision comes out as on that of the images, as of a time not before any statement and
    /// with nothing in the ledger about them.
    pub fn evidence(&self) -> Evidence {
        let nowhere = Sha256Digest::from_bytes([0; 32]);
        let statement = |said: &Said| Statement {
            source: said.source.clone(),
            raw: String::new(),
            purpose: said.purpose,
            state: said.state,
            authentication: said.authentication,
            holder: nowhere,
            read_at: said.read_at.unwrap_or(Timestamp::MIN),
            current: said.current,
        };
        let license = |(expression, source): &(String, String)| LicenseFact {
            expression: expression.clone(),
            source: source.clone(),
        };
        let some = |there: bool| there.then(|| SOME.to_string());
        Evidence {
            statements: self.said.iter().map(statement).collect(),
            licenses: self.licenses.iter().map(license).collect(),
            artists: some(self.artist).into_iter().collect(),
            title: some(self.title),
            ai_generated: self.ai_generated,
            needs_review: some(self.needs_review).into_iter().collect(),
            ..Evidence::none(nowhere)
        }
    }
}

/// Makes the rows of an image agree with what is known of it; `gone` is the address that a place of it had.
pub(super) fn refresh(connection: &Connection, image: i64, gone: Option<&str>) -> Result<()> {
    let Some(held) = held(connection, Key::Row(image))? else {
        return Ok(());
    };
    let statements = statements(connection, image)?;
    let facts = Facts::of(&held, &statements);
    let denies = facts.deny();
    let facts = serde_json::to_string(&facts).map_err(|_| RegistryError::Damaged {
        expected: "facts that JSON can hold",
        found: held.record.sha256.to_string(),
    })?;
    let latest = statements.iter().map(|statement| statement.read_at).max();
    let facts = intern(connection, &facts, latest, denies)?;
    let artists = artist_set(connection, &held.record.artists)?;
    connection
        .prepare_cached(
            "INSERT INTO image_facts (image_id, facts_id, artists_id) VALUES (?1, ?2, ?3)
             ON CONFLICT DO UPDATE SET facts_id = ?2, artists_id = ?3 WHERE (facts_id, artists_id) <> (?2, ?3)",
        )?
        .execute([image, facts, artists])?;
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
fn intern(connection: &Connection, facts: &str, latest: Option<Timestamp>, denies: bool) -> Result<i64> {
    let found: Option<(i64, Option<String>)> = connection
        .prepare_cached("SELECT id, latest FROM facts WHERE facts = ?1")?
        .query_row([facts], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((id, known)) = found else {
        connection
            .prepare_cached("INSERT INTO facts (facts, latest, denies) VALUES (?1, ?2, ?3)")?
            .execute(params![facts, latest.map(|at| at.to_string()), denies])?;
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

/// The row of a set of artists, made when there is none.
fn artist_set(connection: &Connection, artists: &[String]) -> Result<i64> {
    let names: BTreeSet<_> = artists.iter().map(|name| fold_name(name)).collect();
    let names: Vec<_> = names.into_iter().collect();
    let text = json_of(&names);
    let found = connection
        .prepare_cached("SELECT id FROM artist_sets WHERE names = ?1")?
        .query_row([&text], |row| row.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO artist_sets (names) VALUES (?1)")?
        .execute([&text])?;
    let id = connection.last_insert_rowid();
    for name in names {
        connection
            .prepare_cached("INSERT INTO artist_set_names (folded, set_id) VALUES (?1, ?2)")?
            .execute(params![name, id])?;
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
