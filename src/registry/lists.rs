//! Opt-out lists: one event of the ledger names a list by the digest of its entries, which are rows.
//!
//! An entry covers a picture in one of these ways:
//! - `source`: the picture's address is the entry's or lies beneath it, by whole steps (`/`, `?`, `&`, `#`). Letter
//!   case, scheme, `www.` and fragment do not count.
//! - `sha256`: it is the digest of the file's bytes or of the decoded pixels.
//! - `artist`: it is a name or an identifier of one of its artists, in the form of [`fold_name`].
//! - `perceptual`: a PDQ hash at most 31 bits from that of the picture or of its mirror image, compared by
//!   [`Registry::pair`].

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::ledger::{self, NewEvent, StoredEvent};
use super::reading::Held;
use super::{Registry, RegistryError, Result, artists, fold_name};
use crate::consent::{EventKind, Target, bare_address};
use crate::digest::Sha256Digest;
use crate::keys::SecretKey;

/// The longest value of an entry, in bytes.
const LONGEST: usize = 4096;
/// So many images an entry, and looking up the entries is quicker than reading the digests of all images.
const LOOK_UP: i64 = 4;

/// What an entry of a list names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryKind {
    /// A name or an identifier of an artist.
    Artist,
    /// A perceptual hash.
    Perceptual,
    /// A digest of a file or of its pixels.
    Sha256,
    /// An address.
    Source,
}

impl EntryKind {
    /// Every kind, in the order in which entries are sorted.
    pub const ALL: [EntryKind; 4] = [
        EntryKind::Artist,
        EntryKind::Perceptual,
        EntryKind::Sha256,
        EntryKind::Source,
    ];

    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            EntryKind::Artist => "artist",
            EntryKind::Perceptual => "perceptual",
            EntryKind::Sha256 => "sha256",
            EntryKind::Source => "source",
        }
    }
}

/// An entry in the form in which it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListEntry {
    kind: EntryKind,
    value: String,
}

impl ListEntry {
    /// The entry that this text names.
    ///
    /// # Errors
    /// A sentence that says what was expected.
    pub fn new(kind: EntryKind, text: &str) -> std::result::Result<Self, String> {
        let text = text.trim();
        let shown = || text.chars().take(60).collect::<String>();
        let value = match kind {
            _ if text.len() > LONGEST => {
                return Err(format!("expected at most {LONGEST} bytes, got {}", text.len()));
            }
            EntryKind::Artist => fold_name(text),
            EntryKind::Source => address_key(text),
            EntryKind::Sha256 | EntryKind::Perceptual => {
                let whole = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !whole {
                    let what = match kind {
                        EntryKind::Sha256 => "a SHA-256 as 64 hexadecimal characters",
                        _ => "a PDQ hash as 64 hexadecimal characters",
                    };
                    return Err(format!("expected {what}, got `{}`", shown()));
                }
                text.to_ascii_lowercase()
            }
        };
        let hosted = |value: &str| value.chars().any(char::is_alphanumeric);
        match kind {
            EntryKind::Source if !text.contains("://") || !hosted(&value) => {
                Err(format!("expected an address (`https://…`), got `{}`", shown()))
            }
            EntryKind::Artist if !hosted(&value) => Err(format!("expected a name, got `{}`", shown())),
            _ => Ok(ListEntry { kind, value }),
        }
    }
}

/// What bringing in a list did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReport {
    /// The event that names the list.
    pub stored: StoredEvent,
    /// The digest of its entries.
    pub list: Sha256Digest,
    /// How many entries of each kind it has, each entry once.
    pub entries: BTreeMap<EntryKind, u64>,
    /// Whether an event with this list and these purposes stood already, so that nothing was written.
    pub known: bool,
}

/// A list on its way in. Nothing of it is in the registry before [`ListImport::finish`]; dropping it leaves no trace.
#[derive(Debug)]
pub struct ListImport<'a> {
    transaction: Transaction<'a>,
}

impl Registry {
    /// Begins to bring in a list. Entries wait in a temporary table on the disk: memory does not grow with them.
    pub fn begin_list(&mut self) -> Result<ListImport<'_>> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch("CREATE TEMP TABLE staged (kind TEXT NOT NULL, value TEXT NOT NULL) STRICT")?;
        Ok(ListImport { transaction })
    }

    /// Every entry of a kind with the digest of its list, sorted, each once.
    pub fn list_entries(&self, kind: EntryKind) -> Result<Vec<(String, Sha256Digest)>> {
        let sql = "SELECT value, list FROM list_entries WHERE kind = ?1 ORDER BY value, list";
        let mut query = self.connection.prepare_cached(sql)?;
        let rows = query.query_map([kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether the entries of this list are here. An event from another ledger brings none.
    pub fn has_list(&self, list: &Sha256Digest) -> Result<bool> {
        let sql = "SELECT EXISTS (SELECT 1 FROM list_entries WHERE list = ?1)";
        Ok(self.connection.query_row(sql, [list], |row| row.get(0))?)
    }
}

impl ListImport<'_> {
    /// Adds an entry.
    pub fn add(&mut self, entry: &ListEntry) -> Result<()> {
        self.transaction
            .prepare_cached("INSERT INTO temp.staged (kind, value) VALUES (?1, ?2)")?
            .execute(params![entry.kind.as_str(), entry.value])?;
        Ok(())
    }

    /// Writes the entries and the event that names them, all or nothing. `evidence` is the digest of the file, whose
    /// name and bytes `new.evidence` holds when they are to be kept. Without a single entry there is no list: none.
    pub fn finish(
        self,
        new: &NewEvent,
        evidence: Option<Sha256Digest>,
        key: Option<&SecretKey>,
        at: Timestamp,
    ) -> Result<Option<ListReport>> {
        let (list, entries) = self.digest()?;
        if entries.is_empty() {
            return Ok(None);
        }
        let mut event = new.event(at);
        event.target = Some(Target::List(list));
        event.evidence = evidence;
        let known = standing(&self.transaction, &event)?;
        let stored = match known {
            Some(known) => known,
            None => {
                if let Some((name, bytes)) = &new.evidence {
                    ledger::keep(&self.transaction, name, bytes)?;
                }
                self.transaction.execute(
                    "INSERT OR IGNORE INTO list_entries (list, kind, value)
                     SELECT DISTINCT ?1, kind, value FROM temp.staged ORDER BY kind, value",
                    [list],
                )?;
                let stored = ledger::append(&self.transaction, event, key)?;
                self.transaction.execute_batch("DROP TABLE temp.staged")?;
                self.transaction.commit()?;
                return Ok(Some(ListReport {
                    stored,
                    list,
                    entries,
                    known: false,
                }));
            }
        };
        Ok(Some(ListReport {
            stored,
            list,
            entries,
            known: true,
        }))
    }

    /// The digest of the staged entries, and how many there are of each kind.
    fn digest(&self) -> Result<(Sha256Digest, BTreeMap<EntryKind, u64>)> {
        let mut hasher = hasher();
        let mut counts = BTreeMap::new();
        let sql = "SELECT DISTINCT kind, value FROM temp.staged ORDER BY kind, value";
        let mut query = self.transaction.prepare(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (kind, value) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
            update(&mut hasher, kind, value);
            if let Some(kind) = EntryKind::ALL.into_iter().find(|known| known.as_str() == kind) {
                *counts.entry(kind).or_default() += 1;
            }
        }
        Ok((Sha256Digest::from_bytes(hasher.finalize().into()), counts))
    }
}

impl From<rusqlite::types::FromSqlError> for RegistryError {
    fn from(error: rusqlite::types::FromSqlError) -> Self {
        RegistryError::Sqlite(error.into())
    }
}

/// The event that says the same of the same list and was not ended.
fn standing(connection: &Connection, event: &crate::consent::Event) -> Result<Option<StoredEvent>> {
    let list = event.target.as_ref().map(Target::value);
    let sql = "SELECT seq FROM consent_events AS said WHERE kind = ?1 AND target_kind = 'list' AND target = ?2
               AND NOT EXISTS (SELECT 1 FROM consent_events AS later WHERE later.revokes = said.hash) ORDER BY seq";
    let mut query = connection.prepare(sql)?;
    let places = query.query_map(params![EventKind::OptOut.as_str(), list], |row| row.get::<_, i64>(0))?;
    for place in places {
        if let Some((_, stored)) = ledger::events(connection, place? - 1, 1)?.pop() {
            let stored = stored?;
            let here = !stored.event.imported && stored.event.purposes == event.purposes;
            if here {
                return Ok(Some(stored));
            }
        }
    }
    Ok(None)
}

/// SHA-256 over a first line and then a line `kind value` for each entry, sorted by bytes, each once.
fn hasher() -> Sha256 {
    let mut hasher = Sha256::new();
    hasher.update(b"assent.list/1\n");
    hasher
}

fn update(hasher: &mut Sha256, kind: &str, value: &str) {
    for part in [kind, " ", value, "\n"] {
        hasher.update(part.as_bytes());
    }
}

/// The first list whose entries do not have its digest any more.
pub(super) fn changed(connection: &Connection) -> Result<Option<Sha256Digest>> {
    let mut hashers: BTreeMap<Sha256Digest, Sha256> = BTreeMap::new();
    // The primary key has this order, so that one pass serves every list.
    let mut query = connection.prepare("SELECT list, kind, value FROM list_entries ORDER BY kind, value, list")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let hasher = hashers.entry(row.get(0)?).or_insert_with(hasher);
        update(hasher, row.get_ref(1)?.as_str()?, row.get_ref(2)?.as_str()?);
    }
    let whole = |(list, hasher): (Sha256Digest, Sha256)| (list, Sha256Digest::from_bytes(hasher.finalize().into()));
    let mut present = BTreeSet::new();
    for (list, found) in hashers.into_iter().map(whole) {
        if list != found {
            return Ok(Some(list));
        }
        present.insert(list.to_string());
    }
    let sql = "SELECT DISTINCT target FROM consent_events WHERE target_kind = 'list' AND imported = 0";
    let mut query = connection.prepare(sql)?;
    for list in query.query_map([], |row| row.get::<_, String>(0))? {
        let list = list?;
        if !present.contains(&list) {
            return Ok(list.parse().ok());
        }
    }
    Ok(None)
}

/// Which lists name which images, by the rows of the images; by hashes only those that were compared.
pub(super) fn covering(connection: &Connection) -> Result<HashMap<i64, BTreeSet<Sha256Digest>>> {
    let mut covering: HashMap<i64, BTreeSet<Sha256Digest>> = HashMap::new();
    let any: Option<i64> = connection
        .query_row("SELECT 1 FROM list_entries LIMIT 1", [], |row| row.get(0))
        .optional()?;
    if any.is_none() {
        return Ok(covering);
    }
    let mut add = |image, list| {
        covering.entry(image).or_default().insert(list);
    };
    covered_digests(connection, &mut add)?;
    covered_artists(connection, &mut add)?;
    covered_addresses(connection, &mut add)?;
    covered_hashes(connection, &mut add)?;
    Ok(covering)
}

/// The images that hashes of a list name, as the comparison found them.
fn covered_hashes(connection: &Connection, add: &mut impl FnMut(i64, Sha256Digest)) -> Result<()> {
    let mut query = connection.prepare_cached(
        "SELECT image_id, list FROM listed
         CROSS JOIN list_entries ON kind = 'perceptual' AND list_entries.value = listed.value",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        add(row.get(0)?, row.get(1)?);
    }
    Ok(())
}

/// The images whose artists are in a list: only the names are compared, each once.
fn covered_artists(connection: &Connection, add: &mut impl FnMut(i64, Sha256Digest)) -> Result<()> {
    let mut query = connection.prepare_cached(
        "SELECT image_id, list FROM
            (SELECT DISTINCT artist_id, list FROM artist_names
             CROSS JOIN list_entries ON list_entries.kind = 'artist' AND value = folded) AS listed
         CROSS JOIN location_artists ON location_artists.artist_id = listed.artist_id",
    )?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        add(row.get(0)?, row.get(1)?);
    }
    Ok(())
}

/// The images whose file or pixels are in a list. Both sides are sorted: where a list is long, they are read side by
/// side, each once; the entries of a short one are looked up.
fn covered_digests(connection: &Connection, add: &mut impl FnMut(i64, Sha256Digest)) -> Result<()> {
    let listed = "SELECT count(*) FROM list_entries WHERE kind = 'sha256'";
    let listed: i64 = connection.query_row(listed, [], |row| row.get(0))?;
    let images: i64 = connection.query_row("SELECT ifnull(max(id), 0) FROM images", [], |row| row.get(0))?;
    for (looked_up, sorted) in [
        (
            "SELECT id, list FROM list_entries CROSS JOIN images ON sha256 = unhex(value) WHERE kind = 'sha256'",
            "SELECT sha256, id FROM images ORDER BY sha256",
        ),
        (
            "SELECT id, list FROM list_entries CROSS JOIN images ON pixels = unhex(value) WHERE kind = 'sha256'",
            "SELECT pixels, id FROM images ORDER BY pixels",
        ),
    ] {
        if listed < images / LOOK_UP {
            let mut query = connection.prepare_cached(looked_up)?;
            let mut rows = query.query([])?;
            while let Some(row) = rows.next()? {
                add(row.get(0)?, row.get(1)?);
            }
        } else if listed > 0 {
            side_by_side(connection, sorted, add)?;
        }
    }
    Ok(())
}

/// Reads the digests of the lists beside those of the images, which `sorted` selects with their rows.
fn side_by_side(connection: &Connection, sorted: &str, add: &mut impl FnMut(i64, Sha256Digest)) -> Result<()> {
    let mut entries =
        connection.prepare("SELECT value, list FROM list_entries WHERE kind = 'sha256' ORDER BY value")?;
    let mut images = connection.prepare(sorted)?;
    let (mut entries, mut images) = (entries.query([])?, images.query([])?);
    // Images can have the same pixels, and several lists the same digest.
    let (mut value, mut lists) = ([0; 32], Vec::new());
    let mut entry = entries.next()?;
    while let Some(image) = images.next()? {
        let digest = image.get_ref(0)?.as_blob()?;
        while let Some(row) = entry {
            let mut next = [0; 32];
            hex::decode_to_slice(row.get_ref(0)?.as_str()?, &mut next).map_err(|_| RegistryError::Damaged {
                expected: "the digest of an entry as 64 hexadecimal characters",
                found: row.get_ref(0).map_or(String::new(), |found| format!("{found:?}")),
            })?;
            if digest < next.as_slice() {
                break;
            }
            if value != next {
                lists.clear();
            }
            value = next;
            lists.push(row.get(1)?);
            entry = entries.next()?;
        }
        if digest == value.as_slice() {
            for list in &lists {
                add(image.get(1)?, *list);
            }
        }
    }
    Ok(())
}

/// The images whose addresses lie beneath those of a list.
fn covered_addresses(connection: &Connection, add: &mut impl FnMut(i64, Sha256Digest)) -> Result<()> {
    // Eight bytes an entry: what is not among these hashes is in no list, and nearly no address is.
    let random = RandomState::new();
    let mut listed: HashSet<u64> = HashSet::new();
    let mut query = connection.prepare("SELECT DISTINCT value FROM list_entries WHERE kind = 'source'")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        listed.insert(random.hash_one(row.get_ref(0)?.as_str()?));
    }
    if listed.is_empty() {
        return Ok(());
    }
    let mut query = connection.prepare("SELECT address, image_id FROM image_addresses")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let address = address_key(row.get_ref(0)?.as_str()?);
        for step in steps(&address).filter(|step| listed.contains(&random.hash_one(step))) {
            for list in with(connection, EntryKind::Source, step)? {
                add(row.get(1)?, list);
            }
        }
    }
    Ok(())
}

/// The lists that name one image; by a hash only when it was compared.
pub(super) fn naming(connection: &Connection, image: &Held) -> Result<BTreeSet<Sha256Digest>> {
    let record = &image.record;
    let mut lists = BTreeSet::new();
    for digest in [record.sha256.to_string(), record.pixels.to_string()] {
        lists.extend(with(connection, EntryKind::Sha256, &digest)?);
    }
    for artist in &image.artists {
        for name in artists::names(connection, *artist)? {
            lists.extend(with(connection, EntryKind::Artist, &fold_name(&name))?);
        }
    }
    for source in &record.sources {
        for step in steps(&address_key(source)) {
            lists.extend(with(connection, EntryKind::Source, step)?);
        }
    }
    let sql = "SELECT value FROM listed WHERE image_id = ?1";
    let mut query = connection.prepare_cached(sql)?;
    let mut rows = query.query([image.id])?;
    while let Some(row) = rows.next()? {
        lists.extend(with(connection, EntryKind::Perceptual, row.get_ref(0)?.as_str()?)?);
    }
    Ok(lists)
}

/// The lists with this entry.
fn with(connection: &Connection, kind: EntryKind, value: &str) -> Result<Vec<Sha256Digest>> {
    let sql = "SELECT list FROM list_entries WHERE kind = ?1 AND value = ?2";
    let mut query = connection.prepare_cached(sql)?;
    let rows = query.query_map([kind.as_str(), value], |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The rows of the images whose address lies beneath one of these, by whole steps.
pub(super) fn beneath(connection: &Connection, addresses: &[String]) -> Result<Vec<i64>> {
    let mut found = Vec::new();
    if addresses.is_empty() {
        return Ok(found);
    }
    let mut query = connection.prepare("SELECT address, image_id FROM image_addresses")?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let address = bare_address(row.get_ref(0)?.as_str()?).unwrap_or_default();
        if steps(&address).any(|step| addresses.iter().any(|own| own == step)) {
            found.push(row.get(1)?);
        }
    }
    Ok(found)
}

/// An address in the form in which entries are compared: lower case, without scheme, `www.`, fragment and last `/`.
pub(super) fn address_key(address: &str) -> String {
    let lower = fold_spaces(address).to_lowercase();
    let rest = ["https://", "http://"]
        .iter()
        .find_map(|scheme| lower.strip_prefix(scheme))
        .unwrap_or(&lower);
    let rest = rest.split('#').next().unwrap_or_default();
    rest.strip_prefix("www.")
        .unwrap_or(rest)
        .trim_end_matches('/')
        .to_string()
}

/// Without white space at the ends, and without control characters.
fn fold_spaces(text: &str) -> String {
    text.trim().chars().filter(|c| !c.is_control()).collect()
}

/// An address and everything it lies beneath, by whole steps, the shortest first.
pub(super) fn steps(address: &str) -> impl Iterator<Item = &str> {
    let cuts = address.match_indices(['/', '?', '&']).map(|(at, _)| at);
    cuts.chain([address.len()])
        .map(|at| address[..at].trim_end_matches('/'))
        .filter(|step| !step.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_lies_beneath_whole_steps_only() {
        let key = address_key("HTTPS://www.Host.example/Art/a.png?size=1&x=2#top");
        assert_eq!(key, "host.example/art/a.png?size=1&x=2");
        let found: Vec<_> = steps(&key).collect();
        assert_eq!(
            found,
            [
                "host.example",
                "host.example/art",
                "host.example/art/a.png",
                "host.example/art/a.png?size=1",
                "host.example/art/a.png?size=1&x=2"
            ]
        );
    }

    #[test]
    fn an_entry_is_what_it_says_or_a_sentence() {
        let value = |kind, text: &str| ListEntry::new(kind, text).map(|entry| entry.value);
        assert_eq!(value(EntryKind::Artist, " Mira  LUND "), Ok("mira lund".into()));
        assert_eq!(
            value(EntryKind::Artist, "https://orcid.org/0000-0002-1825-0097"),
            Ok("orcid:0000-0002-1825-0097".into())
        );
        assert_eq!(value(EntryKind::Source, "https://A.example/"), Ok("a.example".into()));
        for (kind, text) in [
            (EntryKind::Artist, " \u{7}"),
            (EntryKind::Source, "a.example"),
            (EntryKind::Source, "https://"),
            (EntryKind::Sha256, "abc"),
            (EntryKind::Perceptual, &"g".repeat(64)),
            (EntryKind::Artist, &"a".repeat(5000)),
        ] {
            let sentence = value(kind, text).unwrap_err();
            assert!(sentence.starts_with("expected "), "{sentence}");
        }
    }
}
