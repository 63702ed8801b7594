//! A snapshot in parts, one for each shard of artists, so that a part never depends on who is in another.

use std::collections::BTreeMap;

use super::document::Entry;
use super::{Credit, Document, SnapshotError, check_name};
use crate::consent::Policy;
use crate::digest::Sha256Digest;
use crate::registry::{Registry, fold_name};

/// What the digest that places an artist begins with.
const PLACE: &str = "assent.shard/1\n";
/// Longest name that the name of a part begins with.
const MAX_STEM: usize = 80;

/// The shard, from 1 to `shards`, of a picture by these artists: the first 64 bits of the SHA-256 of a name, modulo the
/// number of shards. Of several artists the name counts that is first in the alphabet, of none the empty one; so the place
/// depends on nobody else, and on no order.
#[must_use]
pub fn shard_of(artists: &[String], shards: u32) -> u32 {
    let name = artists.iter().map(|name| fold_name(name)).min().unwrap_or_default();
    let digest = Sha256Digest::of_bytes(format!("{PLACE}{name}").as_bytes());
    let number = digest.as_bytes()[..8]
        .iter()
        .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let place = number % u64::from(shards.max(1));
    u32::try_from(place).unwrap_or(0) + 1
}

/// The part of a shard, not yet stored.
#[derive(Debug, Clone)]
pub struct Part {
    /// The number of the shard.
    pub shard: u32,
    /// Its snapshot, under the name `SET.KofN`.
    pub document: Document,
    credits: BTreeMap<Sha256Digest, Credit>,
}

impl Part {
    /// Stores it; one that is stored already is left as it is.
    ///
    /// # Errors
    /// If the registry fails, or a part of this name holds other members: its artists got other names since.
    pub fn freeze(&self, registry: &mut Registry) -> Result<(), SnapshotError> {
        self.document.store(registry, &self.credits)
    }
}

/// The part of each shard that has any members.
///
/// Members, captions and records of consent are those of the set, made when it was made; who was left out stands in the
/// set alone, so that a part says nothing of others.
///
/// # Errors
/// If the registry cannot be read.
pub fn parts(registry: &Registry, set: &Document, shards: u32) -> Result<Vec<Part>, SnapshotError> {
    let policy = Policy::parse(&set.policy.text)?.for_purpose(set.purpose)?;
    let mut credits: BTreeMap<Sha256Digest, Credit> = BTreeMap::new();
    for row in registry.snapshot_members(&set.name)? {
        // What does not parse is nobody's name; the digest beside it stays.
        let credit = row.credit.and_then(|text| serde_json::from_str(&text).ok());
        credits.extend(credit.map(|credit| (row.sha256, credit)));
    }
    let mut members: BTreeMap<u32, Vec<Entry>> = BTreeMap::new();
    let reader = registry.reader()?;
    for member in &set.members {
        let image = reader.image(&member.image)?;
        let artists = image.map(|image| image.artists).unwrap_or_default();
        let shard = shard_of(&artists, shards);
        members.entry(shard).or_default().push(member.clone());
    }
    let stem = set.name.get(..MAX_STEM).unwrap_or(&set.name);
    let part = |(shard, members): (u32, Vec<Entry>)| {
        let name = format!("{stem}.{shard}of{shards}");
        check_name(&name)?;
        let own = |member: &Entry| Some((member.image, credits.get(&member.image)?.clone()));
        let credits = members.iter().filter_map(own).collect();
        let made = (set.created_at, set.ledger);
        let mut document = Document::new(&name, &policy, set.selection.clone(), made, members, Vec::new())?;
        document.parent = Some(set.root);
        Ok(Part {
            shard,
            document,
            credits,
        })
    };
    members.into_iter().map(part).collect()
}
