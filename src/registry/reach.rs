//! What an opt-out reaches, and what was made of it.

use std::collections::BTreeSet;

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, params};

use super::coverage::{fold_address, meant};
use super::{AdapterRow, Registry, Result, artists, lists, near};
use crate::consent::Target;
use crate::digest::Sha256Digest;

/// What an event or an artist reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The images it names.
    pub images: Vec<Sha256Digest>,
    /// Those that show the same thing as one of these: the copy, the image it shows, and how many bits apart.
    pub near_duplicates: Vec<(Sha256Digest, Sha256Digest, u32)>,
    /// Those of which a person should say whether they do, in the same form.
    pub doubtful: Vec<(Sha256Digest, Sha256Digest, u32)>,
    /// Snapshots that hold any of the images or near-duplicates: name and root.
    pub snapshots: Vec<(String, Sha256Digest)>,
    /// Adapters that were trained on such a snapshot.
    pub adapters: Vec<Sha256Digest>,
}

impl Registry {
    /// What an opt-out of this target reaches: images, their near-duplicates, and what was made of them.
    pub fn reach(&self, target: &Target) -> Result<Reach> {
        self.compared()?;
        let connection = &self.connection;
        let mut direct = BTreeSet::new();
        for id in covered(connection, target)? {
            let digest: Sha256Digest = connection
                .prepare_cached("SELECT sha256 FROM images WHERE id = ?1")?
                .query_row([id], |row| row.get(0))?;
            direct.insert((digest, id));
        }
        let mut reach = Reach::default();
        for (shown, id) in &direct {
            reach.images.push(*shown);
            for alike in near::alike(connection, *id)? {
                let copy = (alike.image, *shown, alike.distance);
                match (direct.contains(&(alike.image, alike.id)), alike.doubtful) {
                    (true, _) => {}
                    (false, true) => reach.doubtful.push(copy),
                    (false, false) => reach.near_duplicates.push(copy),
                }
            }
        }
        reach.near_duplicates.sort_unstable();
        reach.doubtful.sort_unstable();
        let mut snapshots = BTreeSet::new();
        let mut query = connection.prepare("SELECT snapshot_id FROM snapshot_members WHERE sha256 = ?1")?;
        for image in reach
            .images
            .iter()
            .chain(reach.near_duplicates.iter().map(|near| &near.0))
        {
            for snapshot in query.query_map([image], |row| row.get::<_, i64>(0))? {
                snapshots.insert(snapshot?);
            }
        }
        for id in snapshots {
            let sql = "SELECT name, root FROM snapshots WHERE id = ?1";
            reach
                .snapshots
                .push(connection.query_row(sql, [id], |row| Ok((row.get(0)?, row.get(1)?)))?);
        }
        let made = |adapter: &&AdapterRow| {
            let on = adapter.trained_on.iter();
            on.into_iter()
                .any(|set| reach.snapshots.iter().any(|(_, root)| *root == set.root))
        };
        let adapters = self.adapters()?;
        reach.adapters = adapters.iter().filter(made).map(|adapter| adapter.sha256).collect();
        Ok(reach)
    }
}

/// The rows of the images that a refusal by this target covers.
fn covered(connection: &Connection, target: &Target) -> Result<BTreeSet<i64>> {
    let mut found = BTreeSet::new();
    match target {
        Target::Image(digest) => {
            let sql = "SELECT id FROM images WHERE sha256 = ?1";
            found.extend(
                connection
                    .query_row(sql, [digest], |row| row.get::<_, i64>(0))
                    .optional()?,
            );
        }
        Target::Artist(name) => {
            let sql = "SELECT image_id FROM location_artists WHERE artist_id = ?1";
            let mut query = connection.prepare_cached(sql)?;
            let mut known = vec![name.clone()];
            for artist in meant(connection, std::iter::once(name.as_str()))? {
                known.extend(artists::names(connection, artist)?);
                for image in query.query_map([artist], |row| row.get(0))? {
                    found.insert(image?);
                }
            }
            found.extend(lists::beneath(connection, &artists::addresses_of(known))?);
        }
        Target::Source(prefix) => {
            let prefix = fold_address(prefix);
            let sql = "SELECT image_id FROM image_addresses WHERE address >= ?1 AND address < ?2";
            let mut query = connection.prepare_cached(sql)?;
            for image in query.query_map(params![prefix, after_all(&prefix)], |row| row.get(0))? {
                found.insert(image?);
            }
        }
        Target::Collection(name) => {
            let sql = "SELECT image_id FROM locations WHERE collection = ?1";
            for image in connection.prepare_cached(sql)?.query_map([name], |row| row.get(0))? {
                found.insert(image?);
            }
        }
        Target::List(list) => {
            let covering = lists::covering(connection)?.into_iter();
            found.extend(
                covering
                    .filter(|(_, lists)| lists.contains(list))
                    .map(|(image, _)| image),
            );
        }
    }
    Ok(found)
}

/// The first value after all texts that begin with this one. It is an empty blob when no text is: blobs come after texts.
pub(super) fn after_all(prefix: &str) -> Value {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // The next character, past the gap that UTF-16 left.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            characters.push(next);
            return Value::Text(characters.into_iter().collect());
        }
    }
    Value::Blob(Vec::new())
}
