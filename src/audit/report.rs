//! A report: its verdict, and the lines about picture, adapter, snapshot and images.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::finding::{Code, Finding, Severity};
use super::measured::Measured;
use super::superseded::SupersededLine;
use crate::digest::Sha256Digest;
use crate::label::Label;
use crate::receipt::{SetClaims, SnapshotFacts};
use crate::registry::{RegistryError, Role};

/// What an audit comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was looked at holds.
    Clean,
    /// Every link holds, and something must be looked at.
    Findings,
    /// A link is broken: the adapter cannot be shown to be what it claims.
    Invalid,
}

impl Verdict {
    /// Its stable name.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Clean => "clean",
            Verdict::Findings => "findings",
            Verdict::Invalid => "invalid",
        }
    }
}

/// A picture that was drawn.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PictureLine {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// Whether the registry recorded this very file.
    pub recorded: bool,
    /// What its C2PA signature comes to; none where there is no manifest.
    pub signature: Option<SignatureLine>,
    /// Its label: the signed one, where there is one.
    pub label: Option<Label>,
    /// Whether a visible mark was decoded.
    pub mark: bool,
}

impl PictureLine {
    /// Who signed it, as a person reads it.
    pub fn signed(&self) -> String {
        let Some(signature) = &self.signature else {
            return "by nobody: it carries no C2PA manifest".to_owned();
        };
        let key = signature.keyid.map(|id| format!("the key {}", id.short()));
        let who = key.unwrap_or_else(|| "another kind of key".to_owned());
        let name = signature
            .name
            .as_ref()
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        let trust = if signature.trusted {
            "trusted"
        } else {
            "not on the trust list"
        };
        let holds = if signature.holds {
            "it holds"
        } else {
            "it does not hold"
        };
        format!("by {who}{name}, {trust}; {holds}")
    }
}

/// The signature of a picture's manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SignatureLine {
    /// Whether signature and hashes verify.
    pub holds: bool,
    /// The key, where it is one of Ed25519.
    pub keyid: Option<Sha256Digest>,
    /// Whether the key is on the trust list.
    pub trusted: bool,
    /// Whose key it is, by the trust list; of another kind of key, as its certificate says.
    pub name: Option<String>,
}

/// The adapter file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AdapterLine {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// SHA-256 of its tensor region, when it parses.
    pub tensor_sha256: Option<Sha256Digest>,
    /// SHA-256 of its receipt, when it has one.
    pub receipt_sha256: Option<Sha256Digest>,
    /// Tensor digest of the adapter it was converted from.
    pub derived_from: Option<Sha256Digest>,
    /// The adapters that it was computed from, as far as the registry leads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceLine>,
    /// Id of the key that signed its receipt; none when nobody did, or the signature shows nothing.
    pub signer: Option<Sha256Digest>,
}

/// An adapter that another was computed from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SourceLine {
    /// SHA-256 of the file.
    pub sha256: Sha256Digest,
    /// Whether the registry knows it.
    pub known: bool,
    /// SHA-256 of its receipt, where its file is there and the receipt holds.
    pub receipt_sha256: Option<Sha256Digest>,
}

/// The base model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BaseLine {
    /// Overall digest.
    pub sha256: Sha256Digest,
    /// Digest of each file, when the run is known.
    pub files: BTreeMap<String, Sha256Digest>,
}

/// The run that made the adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunLine {
    /// Identity of the run: the digest of its inputs.
    pub id: Sha256Digest,
    /// Optimizer steps.
    pub steps: u64,
    /// The seed.
    pub seed: u64,
    /// The program and its version.
    pub program: String,
    /// When it ended, when the registry knows the run.
    pub finished_at: Option<jiff::Timestamp>,
    /// The settings that shaped the weights.
    pub settings: BTreeMap<String, String>,
    /// A set that was only measured, when the registry knows the run and there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<SnapshotFacts>,
}

/// A set that the adapter was trained on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotLine {
    /// What its pictures were for.
    pub role: Role,
    /// Its name, when the registry knows it.
    pub name: Option<String>,
    /// Its Merkle root.
    pub root: Sha256Digest,
    /// Name of the policy, when known.
    pub policy: Option<String>,
    /// Digest of the policy.
    pub policy_sha256: Sha256Digest,
    /// What the images were cleared for.
    pub purpose: String,
    /// How many it holds.
    pub members: u64,
    /// How many were kept out, by reason code.
    pub excluded: BTreeMap<String, u64>,
    /// Members by licence.
    pub licenses: BTreeMap<String, u64>,
    /// Members by obligation.
    pub obligations: BTreeMap<String, u64>,
    /// Members by what else allows them: the article of an exception, or the basis of a policy.
    pub bases: BTreeMap<String, u64>,
}

impl From<SetClaims> for SnapshotLine {
    /// What a receipt claims, or would; the names are not in it.
    fn from(set: SetClaims) -> Self {
        SnapshotLine {
            role: set.role,
            name: None,
            root: set.snapshot,
            policy: None,
            policy_sha256: set.policy,
            purpose: set.purpose,
            members: set.members,
            excluded: set.excluded,
            licenses: set.licenses,
            obligations: set.obligations,
            bases: set.bases,
        }
    }
}

impl SnapshotLine {
    /// What a sentence on it adds, where it is not what is to be learned.
    pub fn served(&self) -> &'static str {
        match self.role {
            Role::Training => "",
            Role::Regularization => " as regularization",
        }
    }
}

/// An image that trained the adapter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ImageLine {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Where it was last seen; empty when nowhere.
    pub paths: Vec<String>,
    /// Who made it.
    pub artist: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// The caption it was trained with.
    pub caption: Option<String>,
    /// The snapshot it was trained from, and what for; none when an image was asked about.
    #[serde(flatten)]
    pub place: Option<Place>,
    /// Why it was allowed then.
    pub consent_then: String,
    /// The reason code now.
    pub consent_now: String,
    /// Whether the policy would still allow it.
    pub allowed_now: bool,
}

/// Where an image stands in a training.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Name of the snapshot.
    pub snapshot: String,
    /// What its pictures were for.
    pub role: Role,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.role {
            Role::Training => f.write_str(&self.snapshot),
            Role::Regularization => write!(f, "{} (regularization)", self.snapshot),
        }
    }
}

/// An image that was kept out of one of the sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExcludedLine {
    /// Of which snapshot, and what its pictures were for.
    #[serde(flatten)]
    pub place: Place,
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// Where it was last seen.
    pub paths: Vec<String>,
    /// Who made it.
    pub artist: Option<String>,
    /// Its licence.
    pub license: Option<String>,
    /// Why it was kept out.
    pub reason_code: String,
    /// What said so.
    pub because: String,
}

/// Something made from an image or an adapter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Downstream {
    /// `snapshot`, `adapter` or `picture`.
    pub kind: &'static str,
    /// A snapshot's name, or the digest of a file.
    pub id: String,
    /// Where it was written; none for a snapshot.
    pub path: Option<String>,
    /// Digest of the adapter that takes its place, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub superseded_by: Option<String>,
}

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// What it comes to.
    pub verdict: Verdict,
    /// What does not hold, the worst first.
    pub findings: Vec<Finding>,
    /// The picture, when one that was drawn was asked about.
    pub picture: Option<PictureLine>,
    /// The adapter; none when an image was asked about. Of several at work on a picture the first.
    pub adapter: Option<AdapterLine>,
    /// The base model, as far as the receipt tells.
    pub base: Option<BaseLine>,
    /// The adapters whose place it takes, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<SupersededLine>,
    /// The run.
    pub run: Option<RunLine>,
    /// The training set; of several the first.
    pub snapshot: Option<SnapshotLine>,
    /// The other sets that the adapter was trained on.
    pub further: Vec<SnapshotLine>,
    /// The images that trained it, by artist and licence.
    pub images: Vec<ImageLine>,
    /// The images that were kept out of each set and are in no other, by reason.
    pub excluded: Vec<ExcludedLine>,
    /// What was made from it.
    pub downstream: Vec<Downstream>,
    /// What was measured, when that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
    /// What could not be checked, and why.
    pub unchecked: Vec<String>,
}

impl Report {
    /// Every set that the adapter was trained on.
    pub fn sets(&self) -> impl Iterator<Item = &SnapshotLine> {
        self.snapshot.iter().chain(&self.further)
    }

    /// Whether the adapter was computed from others and has no receipt of its own.
    #[must_use]
    pub fn is_derived(&self) -> bool {
        self.findings.iter().any(|f| f.code == Code::DerivedAdapter)
    }

    /// The line of this set; a new one where there is none.
    pub(super) fn set_line(&mut self, set: SetClaims) -> &mut SnapshotLine {
        let wanted = set.trained_on();
        let same = |line: &SnapshotLine| (line.root, line.role) == (wanted.root, wanted.role);
        let first = self.snapshot.get_or_insert_with(|| set.clone().into());
        if same(first) {
            return first;
        }
        let at = self.further.iter().position(same).unwrap_or(self.further.len());
        if at == self.further.len() {
            self.further.push(set.into());
        }
        &mut self.further[at]
    }

    /// What stands above the images: how many there are, and how many of them served as regularisation or were only
    /// measured.
    pub fn images_heading(&self) -> String {
        if self.adapter.is_none() {
            return "The image".to_owned();
        }
        let distinct = |role: Option<Role>| {
            let of_role = |i: &&ImageLine| role.is_none() || i.place.as_ref().map(|place| place.role) == role;
            let lines = self.images.iter().filter(of_role);
            lines.map(|image| image.sha256).collect::<BTreeSet<_>>().len()
        };
        let mut said = vec![distinct(None).to_string()];
        let regularization = distinct(Some(Role::Regularization));
        if regularization > 0 {
            said.push(format!("{regularization} of them for regularization"));
        }
        let held_out = self.run.as_ref().and_then(|run| run.settings.get("images_held_out"));
        if let Some(n) = held_out.filter(|n| *n != "0") {
            said.push(format!("{n} of them held out to measure"));
        }
        format!("Images that trained it ({})", said.join(", "))
    }

    /// What stands above the images that were kept out.
    pub fn excluded_heading(&self) -> String {
        let distinct: BTreeSet<_> = self.excluded.iter().map(|line| line.sha256).collect();
        format!("Images that were kept out ({})", distinct.len())
    }

    /// A report on nothing yet.
    pub(super) fn empty() -> Self {
        Report {
            verdict: Verdict::Clean,
            findings: Vec::new(),
            picture: None,
            adapter: None,
            base: None,
            supersedes: Vec::new(),
            run: None,
            snapshot: None,
            further: Vec::new(),
            images: Vec::new(),
            excluded: Vec::new(),
            downstream: Vec::new(),
            measured: None,
            unchecked: Vec::new(),
        }
    }

    /// Takes over what another report found out: the chain unless there is one already, and everything else.
    pub(super) fn absorb(&mut self, other: Report) {
        if self.adapter.is_none() {
            self.adapter = other.adapter;
            self.base = other.base;
            self.supersedes = other.supersedes;
            self.run = other.run;
            self.snapshot = other.snapshot;
            self.further = other.further;
        }
        self.findings.extend(other.findings);
        self.images.extend(
            other
                .images
                .into_iter()
                .filter(|i| !self.images.contains(i))
                .collect::<Vec<_>>(),
        );
        let new = |e: &ExcludedLine| !self.excluded.contains(e);
        self.excluded
            .extend(other.excluded.into_iter().filter(new).collect::<Vec<_>>());
        self.unchecked.extend(other.unchecked);
    }

    /// As it is when the registry is there and cannot be opened: nothing that it should prove can be shown.
    pub fn with_broken_registry(mut self, error: &RegistryError) -> Self {
        let cause = std::error::Error::source(error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        self.findings.push(Finding::new(
            Code::RegistryChanged,
            "registry",
            format!("{error}{cause}"),
        ));
        self.unchecked = vec!["run, snapshot, images and today's consent: the registry cannot be read".into()];
        self.conclude()
    }

    /// Sorts everything and draws the verdict.
    pub(super) fn conclude(mut self) -> Self {
        self.findings
            .sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
        self.findings.dedup();
        self.images
            .sort_by(|a, b| (&a.artist, &a.license, &a.paths).cmp(&(&b.artist, &b.license, &b.paths)));
        // What one set left out may stand in another: then it trained the adapter.
        let trained: BTreeSet<_> = self.images.iter().map(|image| image.sha256).collect();
        self.excluded.retain(|line| !trained.contains(&line.sha256));
        self.excluded
            .sort_by(|a, b| (&a.reason_code, &a.artist, &a.paths).cmp(&(&b.reason_code, &b.artist, &b.paths)));
        self.downstream.sort();
        self.downstream.dedup();
        self.verdict = match self.findings.first().map(|f| f.severity) {
            None => Verdict::Clean,
            Some(Severity::Invalid) => Verdict::Invalid,
            Some(Severity::Warning | Severity::Error) => Verdict::Findings,
        };
        self
    }
}
