//! The sets of pictures that a run was trained on: what the record and the receipt say of each.
//!
//! Record and receipt name the first set where runs of one set always had it, and the others under `further`, which runs
//! of one set do not have: their bytes and identities are what they were before there could be several.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Claims, PolicyFacts, RunInputs};
use crate::digest::Sha256Digest;
use crate::snapshot::{Document, Role, TrainedOn};

/// Pictures by a word that says something of them.
pub type Counts = BTreeMap<String, u64>;

/// The pictures of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// Its name in the registry.
    pub name: String,
    /// Its Merkle root.
    pub root: Sha256Digest,
    /// How many pictures it holds.
    pub members: u64,
    /// How many were kept out, by reason code.
    pub excluded: Counts,
    /// Members by licence (SPDX); `none` for those without.
    pub licenses: Counts,
    /// Members by obligation.
    pub obligations: Counts,
    /// Members by what else allows them: the article of a statutory exception, or a policy's own ground.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: Counts,
}

impl SnapshotFacts {
    /// What there is to say of a snapshot: all of it follows from its document.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        let mut facts = SnapshotFacts {
            name: document.name.clone(),
            root: document.root,
            members: document.members.len() as u64,
            excluded: Counts::new(),
            licenses: Counts::new(),
            obligations: Counts::new(),
            bases: Counts::new(),
        };
        let count = |counts: &mut Counts, what: String| *counts.entry(what).or_default() += 1;
        for exclusion in &document.excluded {
            count(&mut facts.excluded, exclusion.reason_code.to_string());
        }
        for consent in document.members.iter().map(|member| &member.consent) {
            let license = match consent.licenses.as_slice() {
                [] => "none".to_owned(),
                several => several.join(" AND "),
            };
            count(&mut facts.licenses, license);
            for obligation in &consent.obligations {
                count(&mut facts.obligations, obligation.to_string());
            }
            if let Some(basis) = &consent.basis {
                count(&mut facts.bases, basis.clone());
            }
        }
        facts
    }
}

impl PolicyFacts {
    /// The policy that a snapshot was decided under.
    #[must_use]
    pub fn of(document: &Document) -> Self {
        PolicyFacts {
            name: document.policy.name.clone(),
            digest: document.policy.digest,
            purpose: document.purpose.to_string(),
        }
    }
}

/// A set in the record of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetFacts {
    /// What its pictures were for.
    pub role: Role,
    /// Its pictures.
    pub snapshot: SnapshotFacts,
    /// What cleared them.
    pub policy: PolicyFacts,
}

impl SetFacts {
    /// What there is to say of a snapshot that serves this.
    #[must_use]
    pub fn of(role: Role, document: &Document) -> Self {
        SetFacts {
            role,
            snapshot: SnapshotFacts::of(document),
            policy: PolicyFacts::of(document),
        }
    }

    /// What the receipt says of it: all but the names.
    #[must_use]
    pub fn claims(&self) -> SetClaims {
        let SnapshotFacts {
            name: _,
            root,
            members,
            excluded,
            licenses,
            obligations,
            bases,
        } = self.snapshot.clone();
        SetClaims {
            role: self.role,
            snapshot: root,
            members,
            excluded,
            policy: self.policy.digest,
            purpose: self.policy.purpose.clone(),
            licenses,
            obligations,
            bases,
        }
    }
}

/// A set in a receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetClaims {
    /// What its pictures were for.
    pub role: Role,
    /// Merkle root of the snapshot.
    pub snapshot: Sha256Digest,
    /// Pictures in the snapshot.
    pub members: u64,
    /// Pictures kept out, by reason code.
    pub excluded: Counts,
    /// Digest of the policy that decided.
    pub policy: Sha256Digest,
    /// What the pictures were cleared for.
    pub purpose: String,
    /// Pictures by licence (SPDX); `none` for those without.
    pub licenses: Counts,
    /// Pictures by obligation that follows the adapter.
    pub obligations: Counts,
    /// Pictures by what else allows them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: Counts,
}

impl SetClaims {
    /// The snapshot and what it was for.
    #[must_use]
    pub fn trained_on(&self) -> TrainedOn {
        TrainedOn {
            root: self.snapshot,
            role: self.role,
        }
    }
}

impl RunInputs {
    /// Every set that the run was trained on, the first one first.
    #[must_use]
    pub fn sets(&self) -> Vec<SetFacts> {
        let first = SetFacts {
            role: Role::Training,
            snapshot: self.snapshot.clone(),
            policy: self.policy.clone(),
        };
        std::iter::once(first).chain(self.further.iter().cloned()).collect()
    }

    /// Their roots and roles.
    #[must_use]
    pub fn trained_on(&self) -> Vec<TrainedOn> {
        self.sets().iter().map(|set| set.claims().trained_on()).collect()
    }
}

impl Claims {
    /// Every set that the adapter was trained on, the first one first.
    #[must_use]
    pub fn sets(&self) -> Vec<SetClaims> {
        let first = SetClaims {
            role: Role::Training,
            snapshot: self.snapshot,
            members: self.members,
            excluded: self.excluded.clone(),
            policy: self.policy,
            purpose: self.purpose.clone(),
            licenses: self.licenses.clone(),
            obligations: self.obligations.clone(),
            bases: self.bases.clone(),
        };
        std::iter::once(first).chain(self.further.iter().cloned()).collect()
    }

    /// Their roots and roles.
    #[must_use]
    pub fn trained_on(&self) -> Vec<TrainedOn> {
        self.sets().iter().map(SetClaims::trained_on).collect()
    }

    /// One of the counts over all sets; a picture in two of them counts in each.
    #[must_use]
    pub fn summed(&self, counts: impl Fn(&SetClaims) -> &Counts) -> Counts {
        let mut sum = Counts::new();
        for set in &self.sets() {
            for (what, number) in counts(set) {
                let so_far = sum.entry(what.clone()).or_default();
                *so_far = so_far.saturating_add(*number);
            }
        }
        sum
    }
}
