//! Which events of the ledger cover which images. These functions only read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rusqlite::Connection;

use super::ledger::{EVENT, event_of};
use super::reading::Held;
use super::values::time;
use super::{Result, StoredEvent, TrustedKey, artists, fold_name, lists, trust};
use crate::consent::{EventKind, LedgerEntry, Target, bare_address};
use crate::digest::Sha256Digest;

/// The form in which addresses are compared where somebody refuses: letter by letter in lower case.
pub fn fold_address(address: &str) -> String {
    address.chars().flat_map(char::to_lowercase).collect()
}

/// Every key that an address begins with, the longest first.
///
/// Of the keys up to the address in their order, the last either begins it, or shares with it all that any shorter one
/// can: so each look goes to the next candidate, not to the next key.
pub(super) fn beginnings<'k>(
    address: &str,
    mut last_up_to: impl FnMut(&str, bool) -> Result<Option<std::borrow::Cow<'k, str>>>,
) -> Result<Vec<std::borrow::Cow<'k, str>>> {
    let mut found = Vec::new();
    let (mut bound, mut included) = (address.to_string(), true);
    while let Some(key) = last_up_to(&bound, included)? {
        if address.starts_with(&*key) {
            (bound, included) = (key.to_string(), false);
            found.push(key);
        } else {
            let shared = address.char_indices().zip(key.chars());
            let end = shared
                .take_while(|((_, a), b)| a == b)
                .last()
                .map_or(0, |((at, c), _)| at + c.len_utf8());
            (bound, included) = (address[..end].to_string(), true);
        }
    }
    Ok(found)
}

/// The events that speak of more than one image, ready to be asked which of them cover one. Those about single images
/// are looked up.
pub(super) struct Coverage {
    /// In the order of the ledger; the others name them by their places here.
    pub events: Vec<LedgerEntry>,
    revoked: HashMap<Sha256Digest, Timestamp>,
    pub by_artist: HashMap<i64, Vec<usize>>,
    by_address: BTreeMap<String, Vec<usize>>,
    by_collection: HashMap<String, Vec<usize>>,
    /// Addresses below which everything is clearly by an artist who refused: see `consent::own_addresses`.
    by_own_address: HashMap<String, Vec<usize>>,
    by_list: HashMap<Sha256Digest, Vec<usize>>,
    trusted: Vec<TrustedKey>,
}

impl Coverage {
    /// Reads the ledger.
    pub fn of(connection: &Connection) -> Result<Coverage> {
        let mut coverage = Coverage {
            events: Vec::new(),
            revoked: revocations(connection)?,
            by_artist: HashMap::new(),
            by_address: BTreeMap::new(),
            by_collection: HashMap::new(),
            by_own_address: HashMap::new(),
            by_list: HashMap::new(),
            trusted: trust::keys(connection)?,
        };
        let sql = format!("{EVENT} WHERE target_kind IN ('artist', 'source', 'collection', 'list') ORDER BY seq");
        let mut query = connection.prepare_cached(&sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let stored = event_of(row)?;
            let place = coverage.events.len();
            match &stored.event.target {
                Some(Target::Artist(name)) => {
                    let names = std::iter::once(name).chain(&stored.event.aliases);
                    let mut known: BTreeSet<_> = names.clone().cloned().collect();
                    for artist in meant(connection, names.map(String::as_str))? {
                        coverage.by_artist.entry(artist).or_default().push(place);
                        known.extend(artists::names(connection, artist)?);
                    }
                    // A page may hold what others made, too: enough for a refusal, not for a grant.
                    let refusal = stored.event.kind == EventKind::OptOut;
                    for own in artists::addresses_of(known.iter().filter(|_| refusal)) {
                        coverage.by_own_address.entry(own).or_default().push(place);
                    }
                }
                Some(Target::List(list)) => coverage.by_list.entry(*list).or_default().push(place),
                Some(Target::Source(prefix)) => {
                    let places = coverage.by_address.entry(fold_address(prefix)).or_default();
                    places.push(place);
                }
                Some(Target::Collection(name)) => {
                    coverage.by_collection.entry(name.clone()).or_default().push(place);
                }
                Some(Target::Image(_)) | None => {}
            }
            let entry = coverage.entry(connection, stored)?;
            coverage.events.push(entry);
        }
        Ok(coverage)
    }

    /// The events that speak of more than one image, in the order of the ledger.
    pub fn events(&self) -> &[LedgerEntry] {
        &self.events
    }

    /// The events that cover an image, in the order of the ledger.
    pub fn covering(&self, connection: &Connection, image: &Held) -> Result<Vec<LedgerEntry>> {
        let mut places = BTreeSet::new();
        for artist in &image.artists {
            places.extend(self.by_artist.get(artist).into_iter().flatten());
        }
        for source in &image.record.sources {
            for place in self.beginning(source)? {
                if reaches(&self.events[*place], source) {
                    places.insert(place);
                }
            }
            places.extend(self.beneath(source));
        }
        if !self.by_list.is_empty() {
            for list in lists::naming(connection, image)? {
                places.extend(self.by_list.get(&list).into_iter().flatten());
            }
        }
        for collection in &image.record.collections {
            places.extend(self.by_collection.get(collection).into_iter().flatten());
        }
        let mut covering: Vec<_> = places.into_iter().map(|place| self.events[*place].clone()).collect();
        let sql = format!("{EVENT} WHERE target_kind = 'image' AND target = ?1");
        let mut query = connection.prepare_cached(&sql)?;
        let mut rows = query.query([image.record.sha256.to_string()])?;
        while let Some(row) = rows.next()? {
            covering.push(self.entry(connection, event_of(row)?)?);
        }
        covering.sort_by_key(|entry| entry.seq);
        Ok(covering)
    }

    /// Adds the images that lists name, and those beneath the own addresses of artists who refused, each with the place
    /// of the event.
    pub fn listed(&self, connection: &Connection, touched: &mut Vec<(i64, u32)>) -> Result<()> {
        let place = |place: &usize| u32::try_from(*place).unwrap_or(u32::MAX - 1);
        if !self.by_list.is_empty() {
            for (image, lists) in lists::covering(connection)? {
                let places = lists.iter().filter_map(|list| self.by_list.get(list)).flatten();
                touched.extend(places.map(|one| (image, place(one))));
            }
        }
        if !self.by_own_address.is_empty() {
            let mut query = connection.prepare_cached("SELECT address, image_id FROM image_addresses")?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                let image = row.get(1)?;
                let places = self.beneath(row.get_ref(0)?.as_str()?);
                touched.extend(places.into_iter().map(|one| (image, place(one))));
            }
        }
        Ok(())
    }

    /// The refusals by artists whose own address this one lies beneath, by whole steps.
    fn beneath(&self, source: &str) -> Vec<&usize> {
        if self.by_own_address.is_empty() {
            return Vec::new();
        }
        let address = bare_address(source).unwrap_or_default();
        let found = lists::steps(&address).filter_map(|step| self.by_own_address.get(step));
        found.flatten().collect()
    }

    /// The events about an address that this one begins with, in lower case.
    fn beginning(&self, source: &str) -> Result<impl Iterator<Item = &usize>> {
        if self.by_address.is_empty() {
            return Ok(Vec::new().into_iter());
        }
        let found = beginnings(&fold_address(source), |bound, included| {
            use std::ops::Bound::{Excluded, Included, Unbounded};
            let end = if included { Included(bound) } else { Excluded(bound) };
            let last = self.by_address.range::<str, _>((Unbounded, end)).next_back();
            Ok(last.map(|(key, _)| key.as_str().into()))
        })?;
        let places: Vec<_> = found
            .iter()
            .filter_map(|key| self.by_address.get(&**key))
            .flatten()
            .collect();
        Ok(places.into_iter())
    }

    fn entry(&self, connection: &Connection, stored: StoredEvent) -> Result<LedgerEntry> {
        let subject = match &stored.event.target {
            Some(Target::Artist(name)) => primary(connection, name)?,
            Some(other) => other.value(),
            None => String::new(),
        };
        Ok(LedgerEntry {
            seq: stored.seq,
            hash: stored.hash,
            subject,
            revoked_at: self.revoked.get(&stored.hash).copied(),
            authentication: stored.authentication(None, &self.trusted)?,
            event: stored.event,
        })
    }
}

/// Whether an event about an address, in lower case the beginning of this one, covers it. A refusal covers every
/// address that begins with its own, in any letter case; a grant only whole steps of the path, as written.
pub(super) fn reaches(entry: &LedgerEntry, source: &str) -> bool {
    let Some(Target::Source(prefix)) = &entry.event.target else {
        return false;
    };
    entry.event.kind == EventKind::OptOut
        || source
            .strip_prefix(prefix.as_str())
            .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with(['/', '?', '#']))
}

/// The rows of the artists known by these names.
pub(super) fn meant<'n>(connection: &Connection, names: impl Iterator<Item = &'n str>) -> Result<BTreeSet<i64>> {
    let mut meant = BTreeSet::new();
    for name in names {
        meant.extend(artists::find(connection, name)?);
    }
    Ok(meant)
}

/// The folded primary name of the artist known by this name.
fn primary(connection: &Connection, name: &str) -> Result<String> {
    let Some(artist) = artists::find(connection, name)? else {
        return Ok(fold_name(name));
    };
    let sql = "SELECT name FROM artists WHERE id = ?1";
    let primary: String = connection.prepare_cached(sql)?.query_row([artist], |row| row.get(0))?;
    Ok(fold_name(&primary))
}

fn revocations(connection: &Connection) -> Result<HashMap<Sha256Digest, Timestamp>> {
    let sql = "SELECT revokes, at FROM consent_events WHERE revokes IS NOT NULL ORDER BY seq";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
    rows.map(|row| {
        let (event, at) = row?;
        Ok((event, time(&at)?))
    })
    .collect()
}
