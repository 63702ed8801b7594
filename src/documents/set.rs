//! A training set as documents speak of it.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::digest::{CanonicalError, Sha256Digest, canonical_json};
use crate::receipt::{SetClaims, SetFacts};
use crate::snapshot::{Attributions, Document, Role};

/// What is known of a member's file besides its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Short name of its format, e.g. `png`.
    pub format: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A set member by member, as only the registry has it.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The snapshot.
    pub document: Document,
    /// Whom to name for its members.
    pub attributions: Attributions,
    /// Their files, as far as they are registered.
    pub pictures: BTreeMap<Sha256Digest, Picture>,
}

/// A training set: the counts and digests that a receipt holds, and its members where the registry has them.
#[derive(Debug, Clone)]
pub struct Set {
    /// What it was for, its root, and pictures by licence, obligation and so on.
    pub claims: SetClaims,
    /// The members.
    pub whole: Option<Whole>,
}

impl Set {
    /// The set of a snapshot.
    pub fn of_snapshot(role: Role, whole: Whole) -> Set {
        Set {
            claims: SetFacts::of(role, &whole.document).claims(),
            whole: Some(whole),
        }
    }

    /// What people call it: its name, or the beginning of its root.
    pub(super) fn name(&self) -> String {
        match &self.whole {
            Some(whole) => whole.document.name.clone(),
            None => format!("training set {}", self.claims.snapshot.short()),
        }
    }

    /// When it was frozen.
    pub(super) fn frozen_at(&self) -> Option<Timestamp> {
        self.whole.as_ref().map(|whole| whole.document.created_at)
    }

    /// SHA-256 of the file that `assent snapshot export` writes for it.
    pub(super) fn file(&self) -> Result<Option<Sha256Digest>, CanonicalError> {
        let Some(whole) = &self.whole else { return Ok(None) };
        let mut bytes = canonical_json(&whole.document)?;
        bytes.push(b'\n');
        Ok(Some(Sha256Digest::of_bytes(&bytes)))
    }

    /// The licences of its members, each once, sorted.
    pub(super) fn license_expressions(&self) -> Vec<&str> {
        let each = self.claims.licenses.keys().map(String::as_str);
        each.filter(|license| *license != "none").collect()
    }

    /// How many pictures were kept out because somebody refused their use.
    pub(super) fn refused(&self) -> u64 {
        let refused = self.claims.excluded.iter().filter(|(code, _)| is_refusal(code));
        refused.map(|(_, count)| count).sum()
    }

    /// How its members were chosen, in sentences.
    pub(super) fn chosen(&self) -> String {
        let mut says = format!(
            "Pictures were registered from files together with the licences, refusals and permissions found in them, \
             beside them and on their sites, and with those recorded by their makers. Those that a written policy \
             (SHA-256 {}) cleared for {} were frozen; denials count before everything else, and reach near-duplicates.",
            self.claims.policy, self.claims.purpose
        );
        match self.claims.excluded.values().sum::<u64>() {
            0 => says.push_str(" None was kept out."),
            some => says.push_str(&format!(" Kept out: {some} ({}).", counted(&self.claims.excluded))),
        }
        says
    }
}

/// Whether a picture was kept out for this reason because somebody refused its use.
pub(super) fn is_refusal(code: &str) -> bool {
    code.starts_with("denied_") || code == "names_opted_out_artist"
}

/// Counts as text: `denied_by_artist 2, duplicate 1`.
pub(super) fn counted(counts: &BTreeMap<String, u64>) -> String {
    let each = counts.iter().map(|(what, count)| format!("{what} {count}"));
    each.collect::<Vec<_>>().join(", ")
}
