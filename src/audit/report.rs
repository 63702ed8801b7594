//! A report: its verdict, and what it holds.

use std::collections::BTreeSet;

use serde::Serialize;

use super::finding::{Code, Finding, Severity};
use super::lines::{AdapterLine, BaseLine, Downstream, ExcludedLine, ImageLine, PictureLine, RunLine, SnapshotLine};
use super::measured::Measured;
use super::shares::{Share, shares};
use super::superseded::SupersededLine;
use super::timeline::{LogLine, Moment};
use crate::receipt::SetClaims;
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
    /// How many of them are under each licence, the most first; none: under no licence that is known.
    pub licenses: Vec<Share>,
    /// How many of them each artist made, the most first; none: nobody knows who.
    pub artists: Vec<Share>,
    /// The images that were kept out of each set and are in no other, by reason.
    pub excluded: Vec<ExcludedLine>,
    /// What happened, the earliest first: sets frozen, training, and what was said of the images.
    pub timeline: Vec<Moment>,
    /// The transparency log as it stands; none where no registry was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogLine>,
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
            licenses: Vec::new(),
            artists: Vec::new(),
            excluded: Vec::new(),
            timeline: Vec::new(),
            log: None,
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
        self.timeline.extend(other.timeline);
        self.log = self.log.take().or(other.log);
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
        (self.licenses, self.artists) = shares(&self.images);
        self.timeline.sort();
        self.timeline.dedup();
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
