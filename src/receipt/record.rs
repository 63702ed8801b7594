//! The run record, `run.json`: everything that shaped a run, and how it ended.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Claims, ReceiptError};
use crate::digest::{Sha256Digest, canonical_digest};

/// The format that run records declare.
pub const RUN_FORMAT: &str = "assent.run/1";

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

/// The training set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFacts {
    /// Its name in the registry.
    pub name: String,
    /// Its Merkle root.
    pub root: Sha256Digest,
    /// How many pictures it holds.
    pub members: u64,
    /// How many were kept out, by reason code.
    pub excluded: BTreeMap<String, u64>,
    /// Members by licence (SPDX); `none` for those without.
    pub licenses: BTreeMap<String, u64>,
    /// Members by obligation.
    pub obligations: BTreeMap<String, u64>,
    /// Members by what else allows them: the article of a statutory exception, or a policy's own ground.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<String, u64>,
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
    /// The training set.
    pub snapshot: SnapshotFacts,
    /// The policy.
    pub policy: PolicyFacts,
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
            config: self.config,
            settings: self.settings.clone(),
            seed: self.seed,
            steps,
            versions: self.versions.clone(),
            derived_from: None,
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
    /// [`RUN_FORMAT`].
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
            format: RUN_FORMAT.into(),
            run,
            inputs,
            steps,
            started_at,
            finished_at,
            losses,
            adapter,
            last: None,
        })
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
        if record.format != RUN_FORMAT {
            return Err(ReceiptError::Format {
                what: "run record",
                expected: RUN_FORMAT,
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
