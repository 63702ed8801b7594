//! Freezing: decide on every registered picture, look whether its file is there, and write down both sides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use jiff::Timestamp;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::document::{Document, Entry, Exclusion, ExclusionEvidence, LedgerRef};
use super::{Credit, SnapshotError, check_name};
use crate::consent::{Decision, Policy, ReasonCode, State, decide};
use crate::digest::Sha256Digest;
use crate::registry::{ImageFilter, ImageRecord, Known, Registry, fold_name};

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
    let (mut candidates, mut excluded) = (Vec::new(), Vec::new());
    for page in registry.reader()?.pages(ImageFilter::default()) {
        let judged: Vec<_> = page?
            .into_par_iter()
            .map(|known| judge(known, policy, |image| selection.takes(image, &artists), at))
            .collect();
        for one in judged {
            match one? {
                Judged::In(candidate) => candidates.push(*candidate),
                Judged::Out(exclusion) => excluded.push(exclusion),
            }
        }
    }
    // Of several files with the same pixels one is in: one with a caption, and among those the first by digest.
    candidates.sort_by_key(|(member, _, _)| (member.caption.is_none(), member.image));
    let mut shown = BTreeSet::new();
    let mut members = Vec::with_capacity(candidates.len());
    let mut credits = BTreeMap::new();
    for (member, credit, exclusion) in candidates {
        if policy.refuse_duplicates && !shown.insert(member.pixels) {
            excluded.push(exclusion);
        } else {
            credits.insert(member.image, credit);
            members.push(member);
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
    document.store(registry, &credits)?;
    Ok(document)
}

/// What became of one picture.
enum Judged {
    /// It may be in, and how it is left out should another file with the same pixels be in.
    In(Box<(Entry, Credit, Exclusion)>),
    /// It is left out.
    Out(Exclusion),
}

fn judge(
    known: Known,
    policy: &Policy,
    selected: impl Fn(&ImageRecord) -> bool,
    at: Timestamp,
) -> Result<Judged, SnapshotError> {
    let Known { image, evidence: found } = known;
    let decision = decide(&found, policy, at);
    let refusal = if !decision.allowed {
        Some(decision.reason_code)
    } else if !selected(&image) {
        Some(ReasonCode::NotSelected)
    } else if !image.paths.iter().any(|path| holds(path, &image.sha256)) {
        Some(ReasonCode::FileMissing)
    } else if policy.refuse_without_caption && image.caption.as_deref().is_none_or(|text| text.trim().is_empty()) {
        Some(ReasonCode::CaptionMissing)
    } else {
        None
    };
    let exclusion = Exclusion {
        image: image.sha256,
        reason_code: refusal.unwrap_or(ReasonCode::Duplicate),
        evidence: evidence(&decision),
    };
    Ok(match refusal {
        Some(_) => Judged::Out(exclusion),
        None => {
            let credit = Credit::of(&image);
            let member = Entry {
                image: image.sha256,
                pixels: image.pixels,
                caption: image.caption,
                consent: decision.record(),
                credit: Some(credit.digest()?),
            };
            Judged::In(Box::new((member, credit, exclusion)))
        }
    })
}

/// Whether the file at a path has this digest now.
pub(super) fn holds(path: &Path, digest: &Sha256Digest) -> bool {
    Sha256Digest::of_file(path).is_ok_and(|found| found == *digest)
}

/// The lines of a trace that a reader needs: what refused, and what the policy did with the rest.
pub(super) fn evidence(decision: &Decision) -> Vec<ExclusionEvidence> {
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
