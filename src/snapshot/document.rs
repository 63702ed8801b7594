//! The document of a snapshot: canonical JSON, in the registry as rows and elsewhere as a file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::proof::Leaf;
use super::root::Trees;
use super::{Credit, Selection, SnapshotError, caption_digest, check_name};
use crate::consent::{ConsentRecord, Policy, Purpose, ReasonCode};
use crate::digest::{PixelDigest, Sha256Digest, canonical_digest, canonical_json, merkle, write_atomic};
use crate::registry::{Registry, RegistryError, SnapshotExclusionRow, SnapshotMemberRow, SnapshotRow};

/// What a document begins with.
const FORMAT: &str = "assent.snapshot/2";
/// What one begins with whose root is that of the members alone.
const FIRST_FORMAT: &str = "assent.snapshot/1";
/// A larger file is refused, in bytes: about a million members.
const MAX_BYTES: u64 = 1 << 30;

/// The policy a snapshot was decided under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRef {
    /// Its name.
    pub name: String,
    /// Digest of its text.
    pub digest: Sha256Digest,
    /// Its text: anyone can decide again.
    pub text: String,
}

/// The end of the ledger when a snapshot was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerRef {
    /// The last place; 0 when there was no event.
    pub seq: i64,
    /// The hash of the last event.
    pub head: Sha256Digest,
}

/// A member: a picture that may be used, as it was frozen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Digest of the file.
    pub image: Sha256Digest,
    /// Digest of what it shows.
    pub pixels: PixelDigest,
    /// Its caption.
    pub caption: Option<String>,
    /// The record of the decision that lets it in.
    pub consent: ConsentRecord,
    /// Digest of whom to name for it: a [`Credit`](super::Credit), which stays in the registry. Older snapshots have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<Sha256Digest>,
}

/// A line of the trace that left a picture out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExclusionEvidence {
    /// What it is.
    pub source: String,
    /// The text it was read from, cut to 300 characters.
    pub raw: String,
    /// The rule that read it.
    pub rule: String,
    /// Digest of what held it, or the hash of the event.
    pub holder: Option<Sha256Digest>,
}

/// A picture that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exclusion {
    /// Digest of the file.
    #[serde(rename = "sha256")]
    pub image: Sha256Digest,
    /// Why.
    pub reason_code: ReasonCode,
    /// What says so.
    pub evidence: Vec<ExclusionEvidence>,
}

/// A snapshot, whole. Members and exclusions are sorted by image digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// `assent.snapshot/2`; `assent.snapshot/1` where the root is the Merkle root over the members alone.
    pub format: String,
    /// Its name.
    pub name: String,
    /// What its members may be used for.
    pub purpose: Purpose,
    /// What was decided under.
    pub policy: PolicyRef,
    /// What it was limited to.
    pub selection: Selection,
    /// When it was made.
    pub created_at: Timestamp,
    /// The end of the ledger at that time.
    pub ledger: LedgerRef,
    /// The root of a [`Head`](super::Head) over the members.
    pub root: Sha256Digest,
    /// Root of the snapshot that its members were taken from; none where they were taken from everything registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Sha256Digest>,
    /// The members.
    pub members: Vec<Entry>,
    /// What was left out.
    pub excluded: Vec<Exclusion>,
}

impl Entry {
    /// What the Merkle tree holds of this member.
    pub fn leaf(&self) -> Result<Leaf, SnapshotError> {
        Ok(Leaf {
            image: self.image,
            caption: caption_digest(self.caption.as_deref()),
            consent: self.consent.digest()?,
        })
    }
}

/// The hash of a member's leaf: of the canonical JSON of its three digests.
pub fn leaf(leaf: &Leaf) -> Result<Sha256Digest, SnapshotError> {
    Ok(merkle::leaf(&canonical_json(leaf)?))
}

impl Document {
    /// A document with its members sorted and its root computed.
    pub(super) fn new(
        name: &str,
        policy: &Policy,
        selection: Selection,
        (created_at, ledger): (Timestamp, LedgerRef),
        mut members: Vec<Entry>,
        mut excluded: Vec<Exclusion>,
    ) -> Result<Document, SnapshotError> {
        members.sort_by_key(|member| member.image);
        excluded.sort_by_key(|exclusion| exclusion.image);
        let mut document = Document {
            format: FORMAT.to_string(),
            name: name.to_string(),
            purpose: policy.purpose,
            policy: PolicyRef {
                name: policy.name.clone(),
                digest: policy.digest(),
                text: policy.text.clone(),
            },
            selection,
            created_at,
            ledger,
            root: Sha256Digest::of_bytes(&[]),
            parent: None,
            members,
            excluded,
        };
        document.root = document.computed_root()?;
        Ok(document)
    }

    /// Whether its root is that of the members alone.
    pub(super) fn is_first_format(&self) -> bool {
        self.format == FIRST_FORMAT
    }

    /// The root of its members, by the rules of its format.
    pub(super) fn computed_root(&self) -> Result<Sha256Digest, SnapshotError> {
        match self.is_first_format() {
            true => Ok(merkle::root(&self.leaves()?)),
            false => Trees::of(&self.members)?.head.root(),
        }
    }

    /// The hashes of the members' leaves, in order.
    pub fn leaves(&self) -> Result<Vec<Sha256Digest>, SnapshotError> {
        self.members.iter().map(|member| leaf(&member.leaf()?)).collect()
    }

    /// The SHA-256 of its canonical JSON.
    pub fn digest(&self) -> Result<Sha256Digest, SnapshotError> {
        Ok(canonical_digest(self)?)
    }

    /// What is wrong with it by itself, if anything: order, digests, root.
    pub fn check(&self) -> Result<Option<String>, SnapshotError> {
        let sorted = self.members.windows(2).all(|pair| pair[0].image < pair[1].image)
            && self.excluded.windows(2).all(|pair| pair[0].image < pair[1].image);
        let found = self.computed_root()?;
        let foreign = self.members.iter().find(|member| {
            let consent = &member.consent;
            consent.image != member.image || consent.purpose != self.purpose || consent.policy != self.policy.digest
        });
        Ok(if self.format != FORMAT && !self.is_first_format() {
            Some(format!("expected the format `{FORMAT}`, got `{}`", self.format))
        } else if !sorted {
            Some("expected members and exclusions sorted by digest, each once".to_string())
        } else if Sha256Digest::of_bytes(self.policy.text.as_bytes()) != self.policy.digest {
            Some("the text of its policy does not have the digest it names".to_string())
        } else if let Some(member) = foreign {
            Some(format!(
                "the consent record of {} is about something else",
                member.image.short()
            ))
        } else if found != self.root {
            Some(format!(
                "expected the root {}, got {} from its members",
                self.root.short(),
                found.short()
            ))
        } else {
            None
        })
    }

    /// The snapshot of this name.
    pub fn of(registry: &Registry, name: &str) -> Result<Document, SnapshotError> {
        Ok(Self::stored(registry, name)?.0)
    }

    /// The snapshot of this name, and the digest its document had when it was stored.
    pub(super) fn stored(registry: &Registry, name: &str) -> Result<(Document, Sha256Digest), SnapshotError> {
        let row = registry
            .snapshot(name)?
            .ok_or_else(|| SnapshotError::Unknown { name: name.to_string() })?;
        let mut members = Vec::new();
        for member in registry.snapshot_members(name)? {
            let consent =
                serde_json::from_str(&member.consent).map_err(|_| damaged("a consent record", &member.consent))?;
            members.push(Entry {
                image: member.sha256,
                pixels: member.pixels,
                caption: member.caption,
                consent,
                credit: member.credit_digest,
            });
        }
        let mut excluded = Vec::new();
        for exclusion in registry.snapshot_exclusions(name)? {
            let text = &exclusion.evidence;
            let evidence = serde_json::from_str(text).map_err(|_| damaged("evidence of an exclusion", text))?;
            excluded.push(Exclusion {
                image: exclusion.sha256,
                reason_code: exclusion.reason_code,
                evidence,
            });
        }
        let selection = serde_json::from_str(&row.selection).map_err(|_| damaged("a selection", &row.selection))?;
        let format = match row.format {
            1 => FIRST_FORMAT,
            2 => FORMAT,
            other => return Err(damaged("a snapshot of format 1 or 2", &other.to_string())),
        };
        let document = Document {
            format: format.to_string(),
            name: row.name,
            purpose: row.purpose,
            policy: PolicyRef {
                name: row.policy_name,
                digest: Sha256Digest::of_bytes(row.policy.as_bytes()),
                text: row.policy,
            },
            selection,
            created_at: row.created_at,
            ledger: LedgerRef {
                seq: row.ledger.0,
                head: row.ledger.1,
            },
            root: row.root,
            parent: row.parent,
            members,
            excluded,
        };
        Ok((document, row.document))
    }

    /// Stores it, once, with whom to name for its members, where that is known.
    pub(super) fn store(
        &self,
        registry: &mut Registry,
        credits: &BTreeMap<Sha256Digest, Credit>,
    ) -> Result<(), SnapshotError> {
        let row = SnapshotRow {
            name: self.name.clone(),
            format: if self.is_first_format() { 1 } else { 2 },
            root: self.root,
            document: self.digest()?,
            policy_name: self.policy.name.clone(),
            policy: self.policy.text.clone(),
            purpose: self.purpose,
            selection: text_of(&self.selection)?,
            ledger: (self.ledger.seq, self.ledger.head),
            created_at: self.created_at,
            parent: self.parent,
        };
        let member = |member: &Entry| {
            Ok(SnapshotMemberRow {
                sha256: member.image,
                pixels: member.pixels,
                caption: member.caption.clone(),
                consent: text_of(&member.consent)?,
                credit_digest: member.credit,
                credit: credits.get(&member.image).map(text_of).transpose()?,
            })
        };
        let exclusion = |exclusion: &Exclusion| {
            Ok(SnapshotExclusionRow {
                sha256: exclusion.image,
                reason_code: exclusion.reason_code,
                evidence: text_of(&exclusion.evidence)?,
            })
        };
        let members = self
            .members
            .iter()
            .map(member)
            .collect::<Result<Vec<_>, SnapshotError>>()?;
        let excluded = self
            .excluded
            .iter()
            .map(exclusion)
            .collect::<Result<Vec<_>, SnapshotError>>()?;
        Ok(registry.add_snapshot(&row, &members, &excluded)?)
    }

    /// Reads a document from a file and checks it by itself.
    pub fn read(path: &Path) -> Result<Document, SnapshotError> {
        let file = |source| SnapshotError::File {
            path: path.to_path_buf(),
            source,
        };
        let wrong = |expected: &str, found: String| SnapshotError::Document {
            path: path.to_path_buf(),
            expected: expected.to_string(),
            found,
        };
        let mut text = String::new();
        File::open(path)
            .map_err(file)?
            .take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(file)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(wrong(&format!("at most {MAX_BYTES} bytes"), "more".to_string()));
        }
        let document: Document =
            serde_json::from_str(&text).map_err(|error| wrong("a snapshot document", error.to_string()))?;
        check_name(&document.name)?;
        match document.check()? {
            None => Ok(document),
            Some(problem) => Err(wrong("a document that agrees with itself", problem)),
        }
    }

    /// Writes its canonical JSON, and a line end, to a file.
    pub fn write(&self, path: &Path) -> Result<(), SnapshotError> {
        let mut bytes = canonical_json(self)?;
        bytes.push(b'\n');
        write_atomic(path, &bytes).map_err(|source| SnapshotError::File {
            path: path.to_path_buf(),
            source,
        })
    }
}

/// Brings a document from elsewhere into a registry. It says nothing of the files: `verify` does.
pub fn import(registry: &mut Registry, document: &Document) -> Result<(), SnapshotError> {
    check_name(&document.name)?;
    if let Some(problem) = document.check()? {
        let expected = "a document that agrees with itself".to_string();
        return Err(SnapshotError::Document {
            path: document.name.clone().into(),
            expected,
            found: problem,
        });
    }
    document.store(registry, &BTreeMap::new())
}

fn text_of<T: Serialize>(value: &T) -> Result<String, SnapshotError> {
    Ok(String::from_utf8_lossy(&canonical_json(value)?).into_owned())
}

fn damaged(expected: &'static str, found: &str) -> SnapshotError {
    RegistryError::Damaged {
        expected,
        found: found.chars().take(120).collect(),
    }
    .into()
}
