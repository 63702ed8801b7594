//! Which adapters take the place of one that was audited, and whose place it takes itself.
//!
//! A run that was made again without some of its pictures names the adapter that it gave before. From the old one the
//! registry leads to the new one; from the new one its receipt leads back, step by step, and each step is compared with
//! what the registry recorded: nothing may have been added to the sets.

use std::collections::BTreeSet;

use serde::Serialize;

use super::file::Opened;
use super::finding::{Code, Finding, Severity};
use super::report::Report;
use super::trust::Lineage;
use crate::digest::Sha256Digest;
use crate::receipt::RunRecord;
use crate::registry::{AdapterRow, Registry, RegistryError, TrainedOn};
use crate::snapshot::Supersedes;

/// Longest chain that is followed back.
const MOST: usize = 64;

/// An adapter whose place the audited one takes, directly or by others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SupersededLine {
    /// What the later receipt says of it.
    #[serde(flatten)]
    pub adapter: Supersedes,
    /// Where its file was written, when the registry knows it.
    pub path: Option<String>,
    /// How many of the pictures that trained it did not train the audited one; none when its sets are not here.
    pub left_out: Option<u64>,
}

/// What the receipt alone says, where there is no registry to follow it with.
pub(super) fn claimed(opened: &Opened, report: &mut Report) {
    let first = opened.sealed.as_ref().and_then(|s| s.receipt.claims.supersedes);
    report.supersedes.extend(first.map(|adapter| SupersededLine {
        adapter,
        path: None,
        left_out: None,
    }));
}

/// Looks both ways, once the report knows what was found about the pictures.
pub(super) fn look(
    registry: &Registry,
    opened: &Opened,
    lineage: Option<&Lineage>,
    report: &mut Report,
) -> Result<(), RegistryError> {
    if let Some(lineage) = lineage {
        successors(registry, &lineage.row, opened, report)?;
    }
    let claimed = opened.sealed.as_ref().and_then(|s| s.receipt.claims.supersedes);
    let run = lineage.and_then(|lineage| lineage.row.run);
    let recorded = match run {
        Some(run) => registry.supersedes(&run)?,
        None => None,
    };
    // Without the file itself the registry's word is all there is; without a run the receipt's.
    if opened.sealed.is_some() && run.is_some() && claimed != recorded {
        let says = "receipt and registry name different adapters whose place it takes";
        report
            .findings
            .push(Finding::new(Code::RegistryChanged, &opened.subject, says));
    }
    let Some(first) = claimed.or(recorded) else {
        return Ok(());
    };
    let sets = match (lineage, &opened.sealed) {
        (Some(lineage), _) => lineage.row.trained_on.clone(),
        (None, Some(sealed)) => sealed.receipt.claims.trained_on(),
        (None, None) => Vec::new(),
    };
    back(registry, first, &sets, opened, report)
}

/// The finding that another adapter took its place: worse where pictures of it may not be used any more.
fn successors(
    registry: &Registry,
    row: &AdapterRow,
    opened: &Opened,
    report: &mut Report,
) -> Result<(), RegistryError> {
    let withdrawn = report.findings.iter().any(|f| f.code == Code::ConsentWithdrawn);
    let ours = members(registry, &row.trained_on)?;
    for by in registry.superseded_by(row)? {
        let theirs = members(registry, &by.trained_on)?;
        let without = match (&ours, &theirs) {
            (Some(ours), Some(theirs)) => format!(", without {} of its pictures", ours.difference(theirs).count()),
            _ => String::new(),
        };
        let mut finding = Finding::new(
            Code::AdapterSuperseded,
            &opened.subject,
            format!(
                "its run was made again{without}: the adapter {} (`{}`) takes its place",
                by.sha256,
                by.path.display()
            ),
        );
        if withdrawn {
            finding.severity = Severity::Error;
        }
        report.findings.push(finding);
    }
    Ok(())
}

/// The chain back, each step compared with what was recorded.
fn back(
    registry: &Registry,
    first: Supersedes,
    sets: &[TrainedOn],
    opened: &Opened,
    report: &mut Report,
) -> Result<(), RegistryError> {
    let ours = members(registry, sets)?;
    let mut next = Some(first);
    while let Some(old) = next {
        let seen = report.supersedes.iter().any(|line| line.adapter == old);
        if seen || report.supersedes.len() == MOST {
            let says = "the chain of the adapters whose place it takes does not end";
            report
                .findings
                .push(Finding::new(Code::SuccessionBroken, &opened.subject, says));
            return Ok(());
        }
        let row = registry.adapter(&old.file)?;
        let theirs = match &row {
            Some(row) => members(registry, &row.trained_on)?,
            None => None,
        };
        let both = ours.as_ref().zip(theirs.as_ref());
        report.supersedes.push(SupersededLine {
            adapter: old,
            path: row.as_ref().map(|row| row.path.display().to_string()),
            left_out: both.map(|(ours, theirs)| theirs.difference(ours).count() as u64),
        });
        let mut broken = |says: String| {
            report
                .findings
                .push(Finding::new(Code::SuccessionBroken, &opened.subject, says));
        };
        let short = old.file.short();
        if let Some(added) = both.and_then(|(ours, theirs)| ours.difference(theirs).next()) {
            broken(format!(
                "the picture {} trained it, and not the adapter {short} whose place it takes: nothing may be added",
                added.short()
            ));
        }
        let Some(row) = row else {
            report.unchecked.push(format!(
                "the adapter {short} whose place it takes: the registry does not know it"
            ));
            return Ok(());
        };
        let record = match row.run {
            Some(run) => registry.run(&run)?,
            None => None,
        };
        let record = record.and_then(|run| RunRecord::parse(&run.run.record).ok());
        let facts = record.as_ref().map(|record| &record.adapter);
        let receipt = facts.is_some_and(|facts| facts.file == old.file && facts.receipt != old.receipt);
        if row.tensors != old.tensors || receipt {
            broken(format!(
                "the adapter {short} whose place it takes has other tensors or another receipt than it says"
            ));
        }
        next = match row.run {
            Some(run) => registry.supersedes(&run)?,
            None => None,
        };
    }
    Ok(())
}

/// The pictures of these sets; none where a set is not here.
fn members(registry: &Registry, sets: &[TrainedOn]) -> Result<Option<BTreeSet<Sha256Digest>>, RegistryError> {
    let mut all = BTreeSet::new();
    for set in sets {
        let Some(snapshot) = registry.snapshot_of_root(&set.root)? else {
            return Ok(None);
        };
        let rows = registry.snapshot_members(&snapshot.name)?;
        all.extend(rows.into_iter().map(|member| member.sha256));
    }
    Ok(Some(all))
}
