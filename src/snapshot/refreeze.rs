//! Freezing again what remains of a snapshot once some of its pictures may not be used any more. Nothing is ever added.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::create::evidence;
use super::document::{Document, Entry, Exclusion, ExclusionEvidence, LedgerRef};
use super::verify::{Mismatch, member};
use super::{Credit, SnapshotError, check_name};
use crate::consent::{Policy, ReasonCode, decide_for};
use crate::digest::Sha256Digest;
use crate::registry::Registry;

/// Longest name that a derived one begins with, so that a number fits behind it.
const MAX_STEM: usize = 90;

/// What becomes of a snapshot's members today.
#[derive(Debug, Clone)]
pub struct Remains {
    parent: Document,
    policy: Policy,
    ledger: LedgerRef,
    at: Timestamp,
    stay: Vec<Entry>,
    credits: BTreeMap<Sha256Digest, Credit>,
    /// The members that go, with why, sorted by digest. `not_selected` are those that may be used and were named.
    pub gone: Vec<Exclusion>,
}

/// Divides the members of a snapshot into those that go, because its policy refuses them as of `at` or they are
/// among `without`, and those that stay.
///
/// # Errors
/// [`SnapshotError::Mismatch`] if a picture that would stay cannot be found as it was: its absence must be asked for.
pub fn remains(
    registry: &Registry,
    parent: Document,
    without: &BTreeSet<Sha256Digest>,
    at: Timestamp,
) -> Result<Remains, SnapshotError> {
    let policy = Policy::parse(&parent.policy.text)?.for_purpose(parent.purpose)?;
    let head = registry.ledger_head()?;
    let ledger = LedgerRef {
        seq: head.seq,
        head: head.hash,
    };
    let (mut stay, mut gone, mut mismatches) = (Vec::new(), Vec::new(), Vec::new());
    let mut credits = BTreeMap::new();
    let reader = registry.reader()?;
    for entry in &parent.members {
        let known = reader.known(&entry.image)?;
        let decision = known
            .as_ref()
            .map(|known| decide_for(&known.evidence, &policy, parent.purpose, at));
        if let Some(decision) = decision.as_ref().filter(|decision| !decision.allowed) {
            gone.push(Exclusion {
                image: entry.image,
                reason_code: decision.reason_code,
                evidence: evidence(decision),
            });
            continue;
        }
        if without.contains(&entry.image) {
            gone.push(Exclusion {
                image: entry.image,
                reason_code: ReasonCode::NotSelected,
                evidence: vec![ExclusionEvidence {
                    source: "retrain".to_owned(),
                    raw: "named to be left out".to_owned(),
                    rule: "without".to_owned(),
                    holder: None,
                }],
            });
            continue;
        }
        let mut now = entry.clone();
        if let (Some(known), Some(decision)) = (&known, &decision) {
            let credit = Credit::of(&known.image);
            now.consent = decision.record();
            now.credit = Some(credit.digest()?);
            credits.insert(entry.image, credit);
        }
        match member(entry, known, (&policy, parent.purpose), at)? {
            Ok(_) => stay.push(now),
            Err((code, explanation)) => mismatches.push(Mismatch {
                code,
                image: Some(entry.image),
                explanation,
            }),
        }
    }
    drop(reader);
    if !mismatches.is_empty() {
        return Err(SnapshotError::Mismatch {
            name: parent.name,
            mismatches,
        });
    }
    Ok(Remains {
        parent,
        policy,
        ledger,
        at,
        stay,
        credits,
        gone,
    })
}

impl Remains {
    /// The snapshot as it was.
    #[must_use]
    pub fn parent(&self) -> &Document {
        &self.parent
    }

    /// How many members stay.
    #[must_use]
    pub fn stay(&self) -> usize {
        self.stay.len()
    }

    /// Freezes what stays, under the policy it was made under, and names the parent. A snapshot that was frozen so
    /// before, with the same root, is taken again.
    ///
    /// # Errors
    /// [`SnapshotError::Empty`] if nothing stays.
    pub fn freeze(self, registry: &mut Registry) -> Result<Document, SnapshotError> {
        let Remains {
            parent,
            policy,
            ledger,
            at,
            stay,
            credits,
            gone,
        } = self;
        if stay.is_empty() {
            return Err(SnapshotError::Empty {
                policy: policy.name,
                excluded: gone.len(),
            });
        }
        let excluded = parent.excluded.iter().cloned().chain(gone).collect();
        let mut document = Document::new(
            &parent.name,
            &policy,
            parent.selection.clone(),
            (at, ledger),
            stay,
            excluded,
        )?;
        document.parent = Some(parent.root);
        let stem = stem(&parent);
        for number in 2_u32.. {
            let name = format!("{stem}-{number}");
            let Some(taken) = registry.snapshot(&name)? else {
                document.name = name;
                break;
            };
            let same = (taken.parent, taken.root) == (document.parent, document.root);
            if same && taken.policy == document.policy.text && taken.purpose == document.purpose {
                return Document::of(registry, &name);
            }
        }
        check_name(&document.name)?;
        document.store(registry, &credits)?;
        Ok(document)
    }
}

/// What the names of snapshots made from this one begin with: its own, without the number that it may have got so itself.
fn stem(parent: &Document) -> &str {
    let name = parent.name.as_str();
    let numbered = name
        .rsplit_once('-')
        .filter(|(_, number)| parent.parent.is_some() && number.parse::<u32>().is_ok());
    let stem = numbered.map_or(name, |(stem, _)| stem);
    // Names are ASCII.
    stem.get(..MAX_STEM).unwrap_or(stem)
}
