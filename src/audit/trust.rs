//! Whether the registry itself can be believed: the file, the ledger's chain, and what it says of one adapter.

use std::path::Path;

use jiff::Timestamp;

use super::file::Opened;
use super::finding::{Code, Finding};
use super::report::Report;
use super::timeline::LogLine;
use super::times;
use crate::digest::Sha256Digest;
use crate::receipt::{Claims, LAST_WEIGHTS, RunRecord, WEIGHTS};
use crate::registry::{AdapterRow, EventFilter, Registry, RegistryError};
use crate::snapshot::{Document, SnapshotError};

/// Checks what holds for every audit: pages and triggers of the file, the chain of the consent ledger, the log, and the
/// order of their times.
pub(super) fn registry(registry: &Registry, at: Timestamp, report: &mut Report) -> Result<(), RegistryError> {
    for problem in registry.problems()? {
        report
            .findings
            .push(Finding::new(Code::RegistryChanged, "registry", problem));
    }
    if let Some((seq, what)) = registry.verify_ledger()?.problem {
        let place = seq.map(|seq| format!("event {seq}: ")).unwrap_or_default();
        report
            .findings
            .push(Finding::new(Code::LedgerBroken, "ledger", format!("{place}{what}")));
    }
    let log = registry.verify_log()?;
    report.log = Some(LogLine {
        size: log.size,
        root: log.root,
        signed_heads: log.heads,
    });
    for problem in log.problems {
        report.findings.push(Finding::new(Code::LogBroken, "log", problem));
    }
    times::registry(registry, at, report)
}

/// What is wrong with a snapshot: its root, its digest as it was stored, and the ledger it saw.
pub(super) fn document(
    registry: &Registry,
    document: &Document,
    stored: &Sha256Digest,
) -> Result<Vec<String>, SnapshotError> {
    let mut problems: Vec<String> = document.check()?.into_iter().collect();
    let found = document.digest()?;
    if found != *stored {
        problems.push(format!("expected a document with the digest {stored}, found {found}"));
    }
    let seen = document.ledger;
    let events = registry.events(EventFilter {
        after: seen.seq.saturating_sub(1),
    })?;
    let head = events
        .iter()
        .find(|event| event.seq == seen.seq)
        .map(|event| event.hash);
    if seen.seq > 0 && head != Some(seen.head) {
        problems.push(format!(
            "the ledger's event {} is not the one it was made after",
            seen.seq
        ));
    }
    Ok(problems)
}

/// What the registry knows of an adapter file.
pub(super) struct Lineage {
    /// Its row.
    pub row: AdapterRow,
    /// The record of its run, when it holds.
    pub record: Option<RunRecord>,
}

/// Finds the adapter in the registry and compares what both say. A file that was changed is still found by the tensors
/// that its receipt names, and one that does not parse by its path.
pub(super) fn lineage(
    registry: &Registry,
    opened: &Opened,
    path: &Path,
    report: &mut Report,
) -> Result<Option<Lineage>, RegistryError> {
    let whole = report
        .findings
        .iter()
        .all(|f| f.subject != opened.subject || f.code == Code::DerivedAdapter);
    let receipt = opened.sealed.as_ref().map(|sealed| &sealed.receipt);
    let origin = receipt.and_then(|r| r.claims.derived_from);
    let rows = registry.adapters()?;
    let by = |matches: &dyn Fn(&AdapterRow) -> bool| rows.iter().find(|row| matches(row)).cloned();
    let exact = by(&|row| row.sha256 == opened.sha256);
    let known = exact.is_some();
    let row = exact
        .or_else(|| by(&|row| Some(row.tensors) == opened.tensors))
        .or_else(|| by(&|row| Some(row.tensors) == receipt.map(|r| r.tensors)))
        .or_else(|| by(&|row| Some(row.tensors) == origin))
        .or_else(|| if whole { None } else { by(&|row| row.path == path) });
    let Some(row) = row else {
        if whole {
            let says = match &opened.derived {
                None => "the registry does not know this adapter: its receipt is all there is",
                Some(_) => "the registry does not know this adapter: that it was made from these is all that is said",
            };
            report
                .findings
                .push(Finding::new(Code::AdapterUnknown, &opened.subject, says.to_owned()));
        }
        return Ok(None);
    };
    let record = run(registry, &row, report)?;
    let converted = origin.is_some() && origin != opened.tensors;
    if known {
        let mut differs = |what: &str| {
            let says = format!("the registry has {what} for this file");
            report
                .findings
                .push(Finding::new(Code::RegistryChanged, &opened.subject, says));
        };
        // A base is on record by the digest that receipts name it by, which is not that of its tensors.
        let baked = opened.derived.as_ref().is_some_and(|derived| derived.by == "bake");
        if !baked && opened.tensors.is_some_and(|tensors| tensors != row.tensors) {
            differs("other tensors");
        }
        if receipt.is_some_and(|r| r.claims.trained_on() != row.trained_on) {
            differs("other snapshots");
        }
    } else if whole && !converted && origin.is_none() {
        // Weights that are known, in a file that is not: the run record tells which of the two was changed.
        let ours = record
            .as_ref()
            .is_some_and(|record| record.adapter.file == opened.sha256);
        let (code, says) = match ours {
            true => (
                Code::RegistryChanged,
                "the registry has another digest for this file than its own run record",
            ),
            false => (
                Code::HeaderChanged,
                "the registry knows these weights in a file with another header",
            ),
        };
        report.findings.push(Finding::new(code, &opened.subject, says));
    } else if !whole && !known {
        let says = format!("the registry knows it as the file {}", row.sha256);
        // Which part differs: tensors, or else the header.
        let code = match opened.tensors {
            Some(tensors) if tensors == row.tensors => Code::HeaderChanged,
            Some(_) if receipt.is_some() => Code::TensorsChanged,
            _ => Code::AdapterMalformed,
        };
        if !report.findings.iter().any(|f| f.code == code) && !converted {
            report.findings.push(Finding::new(code, &opened.subject, says));
        }
    }
    if let (Some(record), Some(receipt)) = (&record, receipt)
        && let Some(says) = contradiction(record, &receipt.claims)
    {
        report
            .findings
            .push(Finding::new(Code::ReceiptChanged, &opened.subject, says));
    }
    Ok(Some(Lineage { row, record }))
}

/// How a receipt differs from what the record of its run says.
fn contradiction(record: &RunRecord, claims: &Claims) -> Option<String> {
    if record.run != claims.run {
        return Some("the receipt is of another run than the one the registry has for this adapter".into());
    }
    // The last weights, beside better ones, have their own number of steps.
    let last = record.last.is_some() && claims.settings.get(WEIGHTS).is_some_and(|which| which == LAST_WEIGHTS);
    let steps = if last { claims.steps } else { record.steps };
    let mut expected = record.inputs.claims(steps).ok()?;
    expected.derived_from = claims.derived_from;
    expected.supersedes = record.supersedes;
    if last {
        expected.settings.insert(WEIGHTS.to_owned(), LAST_WEIGHTS.to_owned());
    }
    if expected == *claims {
        return None;
    }
    let (ours, theirs) = (record.inputs.trained_on().len(), claims.trained_on().len());
    let sets = match ours == theirs {
        true => String::new(),
        false => format!(": it names {theirs} of {ours} sets"),
    };
    Some(format!(
        "the receipt does not say of its run what the run's own record says{sets}"
    ))
}

/// The record of the run that made an adapter, if the registry still holds it as it was written.
fn run(registry: &Registry, row: &AdapterRow, report: &mut Report) -> Result<Option<RunRecord>, RegistryError> {
    let Some(wanted) = row.run else {
        report
            .unchecked
            .push("the run: the registry holds no record of it".into());
        return Ok(None);
    };
    let Some(run) = registry.run(&wanted)? else {
        return Ok(None);
    };
    let subject = format!("run:{wanted}");
    let mut changed = |says: String| {
        report
            .findings
            .push(Finding::new(Code::RegistryChanged, &subject, says))
    };
    let found = Sha256Digest::of_bytes(run.run.record.as_bytes());
    if found != wanted {
        changed(format!("expected a run record with the digest {wanted}, found {found}"));
    }
    let record = match RunRecord::parse(&run.run.record) {
        Ok(record) => record,
        Err(error) => {
            changed(error.to_string());
            return Ok(None);
        }
    };
    if record.inputs.trained_on() != row.trained_on || run.run.trained_on != row.trained_on {
        changed("run and adapter name different snapshots".into());
    }
    Ok(Some(record))
}
