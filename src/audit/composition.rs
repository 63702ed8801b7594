//! The audit of an adapter that was trained in shards: its manifest, and each shard's adapter as ever.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;

use super::adapter::audit_signed;
use super::finding::{Code, Finding, Severity};
use super::report::{Report, Verdict};
use super::{AuditError, file};
use crate::digest::Sha256Digest;
use crate::keys::PublicKey;
use crate::receipt::{Composition, Shard};
use crate::registry::{Registry, RegistryError};

/// What the audit of an adapter in shards found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompositionReport {
    /// What it comes to: the worst of all.
    pub verdict: Verdict,
    /// SHA-256 of the manifest.
    pub composition: Sha256Digest,
    /// How many shards artists were divided into.
    pub of: u32,
    /// What does not hold between the manifest and its adapters; of an adapter by itself see its report.
    pub findings: Vec<Finding>,
    /// The shards that are there.
    pub shards: Vec<ShardReport>,
}

/// One shard of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShardReport {
    /// Its number.
    pub shard: u32,
    /// How strong it is.
    pub weight: String,
    /// The audit of its adapter; none where its file is gone.
    pub report: Option<Report>,
}

impl CompositionReport {
    /// As it is when the registry is there and cannot be opened: nothing that it should prove can be shown.
    #[must_use]
    pub fn with_broken_registry(mut self, error: &RegistryError) -> Self {
        let broken = Finding::new(Code::RegistryChanged, "registry", error.to_string());
        self.findings.insert(0, broken);
        self.verdict = Verdict::Invalid;
        self
    }
}

/// Audits the manifest at this path, which is absolute, and each adapter that it names.
///
/// # Errors
/// If the manifest does not parse, or as for an adapter.
pub fn audit_composition(
    path: &Path,
    registry: Option<&Registry>,
    expected: Option<&PublicKey>,
    at: Timestamp,
) -> Result<CompositionReport, AuditError> {
    let (manifest, digest) = Composition::read(path)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut report = CompositionReport {
        verdict: Verdict::Clean,
        composition: digest,
        of: manifest.shards,
        findings: Vec::new(),
        shards: Vec::new(),
    };
    for shard in &manifest.adapters {
        let file = shard.path(folder);
        let subject = format!("shard:{}", shard.shard);
        let audited = match file.is_file() {
            true => {
                let audited = audit_signed(&file, registry, expected, at)?;
                report.findings.extend(other(shard, &manifest, &file, &subject)?);
                Some(audited)
            }
            false => {
                let says = "its adapter's file is not there";
                report.findings.push(Finding::new(Code::FileMissing, subject, says));
                None
            }
        };
        report.shards.push(ShardReport {
            shard: shard.shard,
            weight: shard.weight.clone(),
            report: audited,
        });
    }
    report.findings.extend(shared(&report.shards));
    if let Some(registry) = registry {
        recorded(registry, &mut report)?;
    }
    report
        .findings
        .sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
    let own = match report.findings.first().map(|finding| finding.severity) {
        None => Verdict::Clean,
        Some(Severity::Invalid) => Verdict::Invalid,
        Some(Severity::Warning | Severity::Error) => Verdict::Findings,
    };
    let all = report.shards.iter().filter_map(|shard| shard.report.as_ref());
    let bad = |verdict: &Verdict| match verdict {
        Verdict::Clean => 0,
        Verdict::Findings => 1,
        Verdict::Invalid => 2,
    };
    report.verdict = all
        .map(|report| report.verdict)
        .chain([own])
        .max_by_key(bad)
        .unwrap_or(own);
    Ok(report)
}

/// How an adapter is another than the manifest says.
fn other(shard: &Shard, manifest: &Composition, path: &Path, subject: &str) -> Result<Vec<Finding>, AuditError> {
    let mut alone = Report::empty();
    let opened = file::look(path, &mut alone)?;
    let mut found = Vec::new();
    let mut says = |code, text: &str| found.push(Finding::new(code, subject, text));
    if opened.tensors != Some(shard.tensors) {
        says(
            Code::TensorsChanged,
            "its weights are not those that the manifest names",
        );
    } else if opened.sha256 != shard.file {
        says(
            Code::HeaderChanged,
            "its header is not that of the file that the manifest names",
        );
    }
    if let Some(sealed) = &opened.sealed {
        let claims = &sealed.receipt.claims;
        let same = (sealed.digest, claims.snapshot, claims.base, claims.config)
            == (shard.receipt, shard.snapshot, manifest.base, manifest.config);
        if !same || !claims.further.is_empty() {
            says(
                Code::ReceiptChanged,
                "its receipt is another, or is about another set, base or configuration than the manifest's",
            );
        }
    }
    Ok(found)
}

/// Pictures that trained several shards: dropping one of them would not forget them.
fn shared(shards: &[ShardReport]) -> Vec<Finding> {
    let mut first: BTreeMap<Sha256Digest, u32> = BTreeMap::new();
    let mut found = Vec::new();
    for shard in shards {
        for image in shard.report.iter().flat_map(|report| &report.images) {
            let known = *first.entry(image.sha256).or_insert(shard.shard);
            if known != shard.shard {
                let says = format!("it trained the shards {known} and {}", shard.shard);
                found.push(Finding::new(
                    Code::ShardsOverlap,
                    format!("image:{}", image.sha256),
                    says,
                ));
            }
        }
    }
    found
}

/// What the registry knows of the manifest.
fn recorded(registry: &Registry, report: &mut CompositionReport) -> Result<(), AuditError> {
    let subject = format!("composition:{}", report.composition);
    let Some(row) = registry.composition(&report.composition)? else {
        let says = "the registry does not know this manifest: what its adapters say is all there is";
        report.findings.push(Finding::new(Code::AdapterUnknown, subject, says));
        return Ok(());
    };
    let all = report.shards.iter().filter_map(|shard| shard.report.as_ref());
    let withdrawn = all
        .flat_map(|report| &report.findings)
        .any(|f| f.code == Code::ConsentWithdrawn);
    for by in row.superseded_by {
        let path = registry.composition(&by)?.map(|row| row.path.display().to_string());
        let at = path.map(|path| format!(" (`{path}`)")).unwrap_or_default();
        let says = format!("{by}{at} takes its place: a shard was dropped, or trained again");
        let mut finding = Finding::new(Code::AdapterSuperseded, &subject, says);
        if withdrawn {
            finding.severity = Severity::Error;
        }
        report.findings.push(finding);
    }
    Ok(())
}
