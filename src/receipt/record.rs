//! The run record, `run.json`: everything that shaped a run, and how it ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Claims, ReceiptError, SetFacts, SnapshotFacts, Supersedes};
use crate::digest::{Sha256Digest, canonical_digest};

/// The format that run records of one set declare.
pub const RUN_FORMAT: &str = "assent.run/1";
/// The format of those of several sets: whoever knows the first format alone must not take one set for all.
pub const RUN_FORMAT_SETS: &str = "assent.run/2";
/// The format of those that name the adapter whose place theirs takes, whatever the number of sets.
pub const RUN_FORMAT_SUPERSEDES: &str = "assent.run/3";

/// The format of a record with these inputs.
fn format(inputs: &RunInputs, supersedes: Option<&Supersedes>) -> &'static str {
    match (supersedes, inputs.further.is_empty()) {
        (Some(_), _) => RUN_FORMAT_SUPERSEDES,
        (None, false) => RUN_FORMAT_SETS,
        (None, true) => RUN_FORMAT,
    }
}

/// The base model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseFacts {
    /// Digest over the names and digests of the files.
    pub digest: Sha256Digest,
    /// Each file by its name inside the model's folder, with slashes, e.g. `unet/config.json`.
    pub files: BTreeMap<String, Sha256Digest>,
}

impl BaseFacts {
    /// The facts of these files.
    pub fn new(files: BTreeMap<String, Sha256Digest>) -> Result<Self, ReceiptError> {
        Ok(BaseFacts {
            digest: canonical_digest(&files)?,
            files,
        })
    }
}

/// The policy that decided about consent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFacts {
    /// Its name.
    pub name: String,
    /// SHA-256 of its text.
    pub digest: Sha256Digest,
    /// What it was asked about.
    pub purpose: String,
}

/// Everything that determines the weights a run gives on one machine: no time, no place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInputs {
    /// The program and its version.
    pub program: String,
    /// The base model.
    pub base: BaseFacts,
    /// The training set; of several the first.
    pub snapshot: SnapshotFacts,
    /// The policy that cleared it.
    pub policy: PolicyFacts,
    /// The other sets that were trained on: see [`RunInputs::sets`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub further: Vec<SetFacts>,
    /// SHA-256 of the configuration's text.
    pub config: Sha256Digest,
    /// The settings that shape the weights; numbers as text, no paths.
    pub settings: BTreeMap<String, String>,
    /// The seed.
    pub seed: u64,
    /// Versions of what computes, e.g. `burn`; also `device` and `threads`.
    pub versions: BTreeMap<String, String>,
}

impl RunInputs {
    /// The identity of the run: the digest of its inputs. Equal identities mean equal adapters on one machine.
    pub fn identity(&self) -> Result<Sha256Digest, ReceiptError> {
        Ok(canonical_digest(self)?)
    }

    /// What the receipt says of a run with these inputs after `steps` optimizer steps.
    pub fn claims(&self, steps: u64) -> Result<Claims, ReceiptError> {
        Ok(Claims {
            program: self.program.clone(),
            run: self.identity()?,
            base: self.base.digest,
            snapshot: self.snapshot.root,
            members: self.snapshot.members,
            excluded: self.snapshot.excluded.clone(),
            policy: self.policy.digest,
            purpose: self.policy.purpose.clone(),
            licenses: self.snapshot.licenses.clone(),
            obligations: self.snapshot.obligations.clone(),
            bases: self.snapshot.bases.clone(),
            further: self.further.iter().map(SetFacts::claims).collect(),
            config: self.config,
            settings: self.settings.clone(),
            seed: self.seed,
            steps,
            versions: self.versions.clone(),
            derived_from: None,
            supersedes: None,
        })
    }
}

/// What a run wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdapterFacts {
    /// SHA-256 of the file.
    pub file: Sha256Digest,
    /// SHA-256 of its tensor region.
    pub tensors: Sha256Digest,
    /// SHA-256 of the receipt in its header.
    pub receipt: Sha256Digest,
    /// Modules it adapts.
    pub modules: u64,
}

/// One training, start to end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`RUN_FORMAT`], [`RUN_FORMAT_SETS`] or [`RUN_FORMAT_SUPERSEDES`].
    pub format: String,
    /// [`RunInputs::identity`] of `inputs`.
    pub run: Sha256Digest,
    /// What determined it.
    pub inputs: RunInputs,
    /// Optimizer steps done.
    pub steps: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The losses at the end (and at the start, where measured), by name, e.g. `validation`, `validation_base`.
    pub losses: BTreeMap<String, f64>,
    /// What it wrote.
    pub adapter: AdapterFacts,
    /// The weights after the last update, where they were written beside others that are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<AdapterFacts>,
    /// A set that was only measured: its pictures shaped no weight.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<SnapshotFacts>,
    /// The adapter whose place its own takes. It shapes no weight, so it is none of the inputs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supersedes: Option<Supersedes>,
}

impl RunRecord {
    /// The record of a finished run.
    pub fn new(
        inputs: RunInputs,
        steps: u64,
        (started_at, finished_at): (Timestamp, Timestamp),
        losses: BTreeMap<String, f64>,
        adapter: AdapterFacts,
    ) -> Result<Self, ReceiptError> {
        let run = inputs.identity()?;
        Ok(RunRecord {
            format: format(&inputs, None).into(),
            run,
            inputs,
            steps,
            started_at,
            finished_at,
            losses,
            adapter,
            last: None,
            measured: None,
            supersedes: None,
        })
    }

    /// The same for an adapter that takes another's place.
    #[must_use]
    pub fn superseding(mut self, old: Option<Supersedes>) -> Self {
        self.supersedes = old;
        self.format = format(&self.inputs, old.as_ref()).into();
        self
    }

    /// The bytes of `run.json`: indented, keys in one order, a line feed at the end.
    pub fn to_json(&self) -> Result<String, ReceiptError> {
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .map_err(|e| ReceiptError::Malformed {
                what: "run record",
                reason: e.to_string(),
            })
    }

    /// Parses `run.json`, and refuses one whose identity is not that of its inputs.
    pub fn parse(text: &str) -> Result<Self, ReceiptError> {
        let malformed = |reason: String| ReceiptError::Malformed {
            what: "run record",
            reason,
        };
        let record: RunRecord = serde_json::from_str(text).map_err(|e| malformed(e.to_string()))?;
        let expected = format(&record.inputs, record.supersedes.as_ref());
        if record.format != expected {
            return Err(ReceiptError::Format {
                what: "run record",
                expected,
                found: record.format,
            });
        }
        let identity = record.inputs.identity()?;
        if identity != record.run {
            return Err(malformed(format!(
                "expected run `{identity}` from its inputs, found `{}`",
                record.run
            )));
        }
        Ok(record)
    }
}
