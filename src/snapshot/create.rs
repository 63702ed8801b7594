//! Freezing: decide on every registered picture, look whether its file is there, and write down both sides.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::document::{Document, Entry, Exclusion, ExclusionEvidence, LedgerRef};
use super::{SnapshotError, check_name};
use crate::consent::{Decision, Evidence, Policy, ReasonCode, State, decide};
use crate::digest::Sha256Digest;
use crate::registry::{ImageRecord, Registry, fold_name};

/// The longest text of evidence that an exclusion keeps, in characters.
const MAX_RAW: usize = 300;

/// What a snapshot is limited to; empty: every registered picture. What may be used and is not selected is left out as
/// `not_selected`; what is refused keeps its own reason, so that one snapshot tells the whole story.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Only pictures of these artists.
    pub artists: Vec<String>,
    /// Only pictures whose address begins with one of these.
    pub sources: Vec<String>,
}

impl Selection {
    /// Whether a picture is selected; `artists` are the names by which the registry knows the selected artists.
    fn takes(&self, image: &ImageRecord, artists: &BTreeSet<String>) -> bool {
        let by_artist = image.artists.iter().any(|name| artists.contains(&fold_name(name)));
        let from = |prefix: &String| image.sources.iter().any(|source| source.starts_with(prefix.as_str()));
        (self.artists.is_empty() || by_artist) && (self.sources.is_empty() || self.sources.iter().any(from))
    }
}

/// Freezes what may be used under a policy at a time, and stores it under a name that is not taken.
pub fn create(
    registry: &mut Registry,
    name: &str,
    policy: &Policy,
    selection: &Selection,
    at: Timestamp,
) -> Result<Document, SnapshotError> {
    check_name(name)?;
    let mut artists = BTreeSet::new();
    for name in &selection.artists {
        let known = registry
            .artist(name)?
            .map_or_else(|| name.clone(), |artist| artist.name);
        artists.insert(fold_name(&known));
    }
    let head = registry.ledger_head()?;
    let known = registry.known()?;
    let mut judged: Vec<_> = known
        .images
        .par_iter()
        .map(|image| {
            let nothing = Evidence::none(image.sha256);
            let selected = selection.takes(image, &artists);
            judge(
                image,
                known.evidence(&image.sha256).unwrap_or(&nothing),
                policy,
                selected,
                at,
            )
        })
        .collect();

    let (mut members, mut excluded) = (Vec::new(), Vec::new());
    let mut shown = BTreeSet::new();
    // Of several files with the same pixels one is in: one with a caption, and among those the first by digest.
    judged.sort_by_key(|(image, _, _)| (image.caption.is_none(), image.sha256));
    for (image, decision, refusal) in judged {
        let duplicate = policy.refuse_duplicates && refusal.is_none() && !shown.insert(image.pixels);
        match refusal.or(duplicate.then_some(ReasonCode::Duplicate)) {
            Some(reason_code) => {
                excluded.push(Exclusion {
                    image: image.sha256,
                    reason_code,
                    evidence: evidence(&decision),
                });
            }
            None => members.push(Entry {
                image: image.sha256,
                pixels: image.pixels,
                caption: image.caption.clone(),
                consent: decision.record(),
            }),
        }
    }
    if members.is_empty() {
        return Err(SnapshotError::Empty {
            policy: policy.name.clone(),
            excluded: excluded.len(),
        });
    }
    let ledger = LedgerRef {
        seq: head.seq,
        head: head.hash,
    };
    let document = Document::new(name, policy, selection.clone(), (at, ledger), members, excluded)?;
    document.store(registry)?;
    Ok(document)
}

/// The decision on one picture, and why it is not in, if it is not.
fn judge<'a>(
    image: &'a ImageRecord,
    evidence: &Evidence,
    policy: &Policy,
    selected: bool,
    at: Timestamp,
) -> (&'a ImageRecord, Decision, Option<ReasonCode>) {
    let decision = decide(evidence, policy, at);
    let refusal = if !decision.allowed {
        Some(decision.reason_code)
    } else if !selected {
        Some(ReasonCode::NotSelected)
    } else if !image.paths.iter().any(|path| holds(path, &image.sha256)) {
        Some(ReasonCode::FileMissing)
    } else if policy.refuse_without_caption && image.caption.as_deref().is_none_or(|text| text.trim().is_empty()) {
        Some(ReasonCode::CaptionMissing)
    } else {
        None
    };
    (image, decision, refusal)
}

/// Whether the file at a path has this digest now.
pub(super) fn holds(path: &Path, digest: &Sha256Digest) -> bool {
    Sha256Digest::of_file(path).is_ok_and(|found| found == *digest)
}

/// The lines of a trace that a reader needs: what refused, and what the policy did with the rest.
fn evidence(decision: &Decision) -> Vec<ExclusionEvidence> {
    let telling = decision.trace.iter().filter(|line| {
        let refuses = ["_refused", "_in_doubt", "_missing", "not_accepted", "not_readable"];
        matches!(line.state, State::Denied | State::Constrained) || refuses.iter().any(|end| line.rule.ends_with(end))
    });
    let lines = telling
        .filter(|line| line.source != "policy")
        .map(|line| ExclusionEvidence {
            source: line.source.clone(),
            raw: line.raw.chars().take(MAX_RAW).collect(),
            rule: line.rule.to_string(),
            holder: line.holder,
        });
    lines.collect()
}
