//! Artists and the names they are known by.

use rusqlite::{Connection, OptionalExtension, params};

use super::{Registry, Result};
use crate::consent::{identifier, own_addresses};

/// An artist with every name they are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artist {
    /// The name first seen.
    pub name: String,
    /// Every name, the first included, sorted.
    pub names: Vec<String>,
}

/// The form in which names are compared: lower case, single spaces, no control characters; an identifier (an address,
/// an ORCID, an account) in its own one form, so that a picture whose creator is given so is found too.
pub fn fold_name(name: &str) -> String {
    if let Some(identifier) = as_identifier(name) {
        return identifier;
    }
    let clean: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clean
        .split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The one form of a name that is an identifier; none for a name as people write it.
pub(super) fn as_identifier(name: &str) -> Option<String> {
    // Most names are none: the look at the characters is much cheaper than the reading.
    let may = name.contains([':', '@']) || name.bytes().filter(u8::is_ascii_digit).count() >= 9;
    may.then(|| identifier(name).ok()).flatten()
}

/// The addresses, as `bare_address` gives them, below which everything is clearly by the artist of these names.
pub(super) fn addresses_of<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Vec<String> {
    let identifiers = names.into_iter().filter_map(|name| as_identifier(name.as_ref()));
    identifiers.flat_map(|identifier| own_addresses(&identifier)).collect()
}

impl Registry {
    /// The artist known by this name or alias, whatever its letter case and spaces.
    pub fn artist(&self, name: &str) -> Result<Option<Artist>> {
        let Some(id) = find(&self.connection, name)? else {
            return Ok(None);
        };
        let primary = self
            .connection
            .query_row("SELECT name FROM artists WHERE id = ?1", [id], |row| row.get(0))?;
        Ok(Some(Artist {
            name: primary,
            names: names(&self.connection, id)?,
        }))
    }

    /// Records that an artist is known by these names too; makes the artist when unknown.
    ///
    /// A name that was taken for another artist joins the two: a refusal by one is then a refusal by both.
    pub fn add_aliases(&mut self, name: &str, aliases: &[String]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        add_aliases(&transaction, name, aliases)?;
        transaction.commit()?;
        Ok(())
    }
}

/// The artist of this name, made when unknown.
pub(super) fn ensure(connection: &Connection, name: &str) -> Result<i64> {
    if let Some(id) = find(connection, name)? {
        return Ok(id);
    }
    connection
        .prepare_cached("INSERT INTO artists (name) VALUES (?1)")?
        .execute([name.trim()])?;
    let id = connection.last_insert_rowid();
    add_name(connection, name, id)?;
    Ok(id)
}

fn add_name(connection: &Connection, name: &str, artist: i64) -> Result<()> {
    let kind = if as_identifier(name).is_some() {
        "identifier"
    } else {
        "name"
    };
    connection
        .prepare_cached("INSERT INTO artist_names (folded, name, artist_id, kind) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![fold_name(name), name.trim(), artist, kind])?;
    Ok(())
}

pub(super) fn add_aliases(connection: &Connection, name: &str, aliases: &[String]) -> Result<()> {
    let artist = ensure(connection, name)?;
    for alias in aliases {
        match find(connection, alias)? {
            Some(known) if known == artist => {}
            // Two names that were taken for two artists are one from now on.
            Some(other) => {
                let move_to = |sql: &str| connection.execute(sql, params![artist, other]);
                move_to("UPDATE artist_names SET artist_id = ?1 WHERE artist_id = ?2")?;
                move_to("UPDATE location_artists SET artist_id = ?1 WHERE artist_id = ?2")?;
                connection.execute("DELETE FROM artists WHERE id = ?1", [other])?;
            }
            None => add_name(connection, alias, artist)?,
        }
    }
    Ok(())
}

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<i64>> {
    let mut query = connection.prepare_cached("SELECT artist_id FROM artist_names WHERE folded = ?1")?;
    Ok(query.query_row([fold_name(name)], |row| row.get(0)).optional()?)
}

pub(super) fn names(connection: &Connection, artist: i64) -> Result<Vec<String>> {
    let mut query = connection.prepare_cached("SELECT name FROM artist_names WHERE artist_id = ?1 ORDER BY name")?;
    let names = query
        .query_map([artist], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(names)
}
