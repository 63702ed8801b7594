//! What happened and when: sets frozen, training, pictures drawn, and what was said of the images.
//!
//! The times are those that the registry recorded. The log's entries hold none: only their order is shown by it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Serialize;

use super::report::Report;
use crate::consent::{EventKind, Evidence};
use crate::digest::Sha256Digest;
use crate::receipt::RunRecord;
use crate::registry::{EventFilter, Registry, RegistryError, SnapshotRow};

/// What kind of thing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MomentKind {
    /// A set was frozen.
    Frozen,
    /// A training began.
    TrainingBegan,
    /// A training ended.
    Trained,
    /// Somebody refused.
    OptOut,
    /// Somebody permitted.
    Grant,
    /// An earlier event was ended.
    Revoke,
    /// A person found a doubt unfounded.
    Accept,
    /// A person found a doubt founded.
    Reject,
}

impl MomentKind {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            MomentKind::Frozen => "frozen",
            MomentKind::TrainingBegan => "training_began",
            MomentKind::Trained => "trained",
            MomentKind::OptOut => "opt_out",
            MomentKind::Grant => "grant",
            MomentKind::Revoke => "revoke",
            MomentKind::Accept => "accept",
            MomentKind::Reject => "reject",
        }
    }
}

impl From<EventKind> for MomentKind {
    fn from(kind: EventKind) -> Self {
        match kind {
            EventKind::OptOut => MomentKind::OptOut,
            EventKind::Grant => MomentKind::Grant,
            EventKind::Revoke => MomentKind::Revoke,
            EventKind::Accept => MomentKind::Accept,
            EventKind::Reject => MomentKind::Reject,
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Moment {
    /// When.
    pub at: Timestamp,
    /// What kind of thing.
    pub kind: MomentKind,
    /// What it is about: `snapshot:…`, `run:…` or `ledger:…`.
    pub subject: String,
    /// What a person should know.
    pub says: String,
}

/// The transparency log of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// How many entries it has.
    pub size: u64,
    /// The root over them.
    pub root: Sha256Digest,
    /// How many of its heads were signed here.
    pub signed_heads: usize,
}

/// The images that events of the ledger cover, while they are looked at.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeMap<Sha256Digest, BTreeSet<Sha256Digest>>);

impl Touched {
    /// Takes note of every event about an image, about one like it, or about a name in its caption.
    pub(super) fn add(&mut self, evidence: &Evidence) {
        let near = evidence.neighbours.iter().flat_map(|near| &near.ledger);
        let named = evidence.mentions.iter().flat_map(|mention| &mention.ledger);
        for entry in evidence.ledger.iter().chain(near).chain(named) {
            self.0.entry(entry.hash).or_default().insert(evidence.image);
        }
    }

    /// Writes the events, and those that ended them, into the report.
    pub(super) fn tell(&self, registry: &Registry, report: &mut Report) -> Result<(), RegistryError> {
        for stored in registry.events(EventFilter::default())? {
            let event = &stored.event;
            let of = event.revokes.unwrap_or(stored.hash);
            let Some(images) = self.0.get(&of) else { continue };
            let what = match (&event.target, event.revokes) {
                (Some(target), _) => format!("{} by {} `{}`", event.kind, target.kind(), target.value()),
                (None, Some(ended)) => format!("end of the event {}", ended.short()),
                (None, None) => event.kind.to_string(),
            };
            report.timeline.push(Moment {
                at: event.at,
                kind: event.kind.into(),
                subject: format!("ledger:{}", stored.seq),
                says: format!("{what}: {}", count(images.len())),
            });
        }
        Ok(())
    }
}

fn count(images: usize) -> String {
    match images {
        1 => "1 image here".to_owned(),
        n => format!("{n} images here"),
    }
}

/// That a set was frozen.
pub(super) fn frozen(row: &SnapshotRow, members: usize) -> Moment {
    Moment {
        at: row.created_at,
        kind: MomentKind::Frozen,
        subject: format!("snapshot:{}", row.name),
        says: format!(
            "the set `{}` was frozen: {members} images for {}",
            row.name, row.purpose
        ),
    }
}

/// That a run trained.
pub(super) fn trained(record: &RunRecord) -> [Moment; 2] {
    let moment = |at, kind, says| Moment {
        at,
        kind,
        subject: format!("run:{}", record.run),
        says,
    };
    let end = format!("training ended after {} steps", record.steps);
    [
        moment(
            record.started_at,
            MomentKind::TrainingBegan,
            "training began".to_owned(),
        ),
        moment(record.finished_at, MomentKind::Trained, end),
    ]
}
