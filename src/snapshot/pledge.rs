//! Pledges: what a snapshot holds from an address, stated so that whoever owns the address can keep and check it.
//!
//! An in-toto statement (<https://in-toto.io/Statement/v1>) about the snapshot's root, in a DSSE envelope when a key
//! signs it. It says only what the registry can know: the addresses that were recorded with pictures. How many of the
//! snapshot's pictures have none is counted and said.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::SnapshotError;
use super::document::{Document, PolicyRef};
use crate::consent::Purpose;
use crate::digest::Sha256Digest;
use crate::keys::Statement;
use crate::registry::{Registry, fold_address};

/// What the predicate is called.
pub const PLEDGE_PREDICATE: &str = "urn:assent:pledge:1";

/// An in-toto statement that holds a pledge; its subject is the snapshot, with the root as the digest.
pub type Pledge = Statement<Pledged>;

/// What a snapshot holds from an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pledged {
    /// The beginning of the addresses that are meant, in any letter case.
    pub source: String,
    /// The digests of the pictures from there that the snapshot holds, sorted; empty: it holds none.
    pub held: Vec<Sha256Digest>,
    /// How many pictures it holds.
    pub members: u64,
    /// How many of them have no address on record: of these nothing is known.
    pub without_address: u64,
    /// How many pictures from there it left out.
    pub left_out: u64,
    /// Digest of the snapshot's whole document.
    pub document: Sha256Digest,
    /// The policy it was made under.
    pub policy: String,
    /// Digest of that policy's text.
    pub policy_digest: Sha256Digest,
    /// What the snapshot is for.
    pub purpose: Purpose,
    /// When the snapshot was made.
    pub snapshot_made_at: Timestamp,
    /// When this is stated.
    pub stated_at: Timestamp,
}

/// States what a snapshot holds from the addresses that begin with `source`.
pub fn pledge(registry: &Registry, name: &str, source: &str, at: Timestamp) -> Result<Pledge, SnapshotError> {
    let (document, digest) = Document::stored(registry, name)?;
    let prefix = fold_address(source);
    let reader = registry.reader()?;
    let addresses = |image: &Sha256Digest| -> Result<Vec<String>, SnapshotError> {
        Ok(reader.image(image)?.map(|image| image.sources).unwrap_or_default())
    };
    let from_there = |addresses: &[String]| addresses.iter().any(|one| fold_address(one).starts_with(&prefix));
    let (mut held, mut without_address, mut left_out) = (Vec::new(), 0, 0);
    for member in &document.members {
        let addresses = addresses(&member.image)?;
        without_address += u64::from(addresses.is_empty());
        if from_there(&addresses) {
            held.push(member.image);
        }
    }
    for exclusion in &document.excluded {
        left_out += u64::from(from_there(&addresses(&exclusion.image)?));
    }
    let PolicyRef {
        name: policy,
        digest: policy_digest,
        ..
    } = document.policy;
    let said = Pledged {
        source: source.to_string(),
        held,
        members: document.members.len() as u64,
        without_address,
        left_out,
        document: digest,
        policy,
        policy_digest,
        purpose: document.purpose,
        snapshot_made_at: document.created_at,
        stated_at: at,
    };
    Ok(Statement::about(&document.name, document.root, PLEDGE_PREDICATE, said))
}

impl Pledge {
    /// The pledge in this JSON.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(json: &[u8]) -> Result<Pledge, String> {
        let pledge = Statement::read(json, PLEDGE_PREDICATE)?;
        let said: &Pledged = &pledge.predicate;
        let sorted = said.held.windows(2).all(|pair| pair[0] < pair[1]);
        let few = said.held.len() as u64 <= said.members;
        match pledge.subject.len() {
            1 if sorted && few => Ok(pledge),
            1 => Err("expected the digests sorted, each once, and no more than the snapshot has".to_string()),
            _ => Err("expected one subject, the snapshot".to_string()),
        }
    }

    /// What it states, in a sentence or two for people.
    pub fn sentence(&self) -> String {
        let said = &self.predicate;
        let (name, root) = self.first().unwrap_or(("", said.document));
        let held = match said.held.len() {
            0 => "no picture".to_string(),
            1 => "1 picture".to_string(),
            many => format!("{many} pictures"),
        };
        let unknown = match said.without_address {
            0 => "Each of them has an address on record.".to_string(),
            1 => "1 of them has no address on record, so nothing is known of where it comes from.".to_string(),
            many => format!("{many} of them have no address on record, so nothing is known of where they come from."),
        };
        format!(
            "The snapshot `{name}` (root {}) holds {held} from `{}`, of {} in all. {unknown}",
            root.short(),
            said.source,
            said.members
        )
    }
}
