//! The audit of an adapter file.

use std::path::Path;

use jiff::Timestamp;

use super::finding::{Code, Finding};
use super::report::{AdapterLine, Downstream, Report};
use super::{AuditError, file, members, trust};
use crate::consent::Policy;
use crate::digest::Sha256Digest;
use crate::registry::{AdapterRow, Registry, RegistryError, SnapshotRow};
use crate::snapshot::{Document, SnapshotError};

/// Follows an adapter back to the images that trained it. `path` is absolute. Without a registry only what the file
/// proves by itself is checked, and the report says what was not.
///
/// # Errors
/// If the file or the registry cannot be read. A registry that is damaged is a finding.
pub fn audit_adapter(path: &Path, registry: Option<&Registry>, at: Timestamp) -> Result<Report, AuditError> {
    let mut report = Report::empty();
    let opened = file::look(path, &mut report)?;
    match registry {
        None => report
            .unchecked
            .push("run, snapshot, images and today's consent: there is no registry".into()),
        Some(registry) => match follow(registry, &opened, path, at, &mut report) {
            Ok(()) => {}
            Err(error @ SnapshotError::Registry(RegistryError::Damaged { .. } | RegistryError::Sqlite(_))) => {
                report
                    .findings
                    .push(Finding::new(Code::RegistryChanged, "registry", chain_of(&error)));
            }
            Err(error) => return Err(error.into()),
        },
    }
    Ok(report.conclude())
}

/// As [`audit_adapter`], for an adapter whose file is gone or was changed: from what the registry recorded.
///
/// # Errors
/// As [`audit_adapter`].
pub(super) fn audit_recorded(row: &AdapterRow, registry: &Registry, at: Timestamp) -> Result<Report, AuditError> {
    let mut report = Report::empty();
    let opened = file::Opened::recorded(row);
    report.adapter = Some(AdapterLine {
        sha256: row.sha256,
        tensor_sha256: Some(row.tensors),
        receipt_sha256: None,
        derived_from: None,
    });
    let (code, says) = match row.path.is_file() {
        true => (Code::FileChanged, "the adapter's file holds other bytes than drew it"),
        false => (Code::FileMissing, "the adapter's file is not where it was recorded"),
    };
    follow(registry, &opened, &row.path, at, &mut report)?;
    report.findings.push(Finding::new(code, &opened.subject, says));
    report
        .unchecked
        .push("the adapter's receipt: its file is not there as it was".into());
    Ok(report.conclude())
}

/// An error with its causes on one line.
fn chain_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain_of(source)),
        None => error.to_string(),
    }
}

fn follow(
    registry: &Registry,
    opened: &file::Opened,
    path: &Path,
    at: Timestamp,
    report: &mut Report,
) -> Result<(), SnapshotError> {
    trust::registry(registry, report)?;
    let lineage = trust::lineage(registry, opened, path, report)?;
    let record = lineage.as_ref().and_then(|l| l.record.as_ref());
    if let (Some(record), Some(run), Some(base)) = (record, &mut report.run, &mut report.base) {
        run.finished_at = Some(record.finished_at);
        base.files.clone_from(&record.inputs.base.files);
    }
    let claims = opened.sealed.as_ref().map(|s| &s.receipt.claims);
    let Some(root) = claims
        .map(|c| c.snapshot)
        .or_else(|| lineage.as_ref().map(|l| l.row.snapshot_root))
    else {
        report
            .unchecked
            .push("snapshot and images: neither receipt nor registry names a snapshot".into());
        return Ok(());
    };
    let name = record.map(|r| r.inputs.snapshot.name.as_str());
    if let Some(snapshot) = find(registry, &root, name, lineage.is_some(), report)? {
        if let Some(claims) = claims
            && claims.policy != Sha256Digest::of_bytes(snapshot.policy.as_bytes())
        {
            let subject = format!("snapshot:{}", snapshot.name);
            let says = "its policy is another than the one in the receipt";
            report.findings.push(Finding::new(Code::RegistryChanged, subject, says));
        }
        images(registry, &snapshot, path, at, report)?;
        if let Some(line) = &mut report.snapshot {
            line.name = Some(snapshot.name.clone());
            line.policy = Some(snapshot.policy_name.clone());
        }
    }
    if let Some(lineage) = &lineage {
        downstream(registry, &lineage.row.tensors, opened, report)?;
    }
    Ok(())
}

/// The snapshot with this root; one of the run's name where the root is gone.
fn find(
    registry: &Registry,
    root: &Sha256Digest,
    name: Option<&str>,
    trained_here: bool,
    report: &mut Report,
) -> Result<Option<SnapshotRow>, RegistryError> {
    // Two snapshots may have one root: the run says which it was.
    let named = name.map(|name| registry.snapshot(name)).transpose()?.flatten();
    if let Some(row) = named.as_ref().filter(|row| row.root == *root) {
        return Ok(Some(row.clone()));
    }
    if let Some(row) = registry.snapshot_of_root(root)? {
        return Ok(Some(row));
    }
    let subject = format!("snapshot:{root}");
    if let Some(row) = named {
        let says = format!("expected the root {root} for `{}`, found {}", row.name, row.root);
        report.findings.push(Finding::new(Code::RegistryChanged, subject, says));
        return Ok(Some(row));
    }
    // A snapshot is never deleted, so where the adapter was trained here it was there.
    let (code, says) = match trained_here {
        true => (
            Code::RegistryChanged,
            "the registry knows the adapter, and its snapshot is gone",
        ),
        false => (
            Code::SnapshotUnknown,
            "the registry has no snapshot with the root that the receipt names",
        ),
    };
    report.findings.push(Finding::new(code, subject, says));
    report
        .unchecked
        .push("the images: the snapshot is not in the registry".into());
    Ok(None)
}

fn images(
    registry: &Registry,
    row: &SnapshotRow,
    path: &Path,
    at: Timestamp,
    report: &mut Report,
) -> Result<(), SnapshotError> {
    let subject = format!("snapshot:{}", row.name);
    let document = Document::of(registry, &row.name)?;
    for problem in trust::document(registry, &document, &row.document)? {
        report
            .findings
            .push(Finding::new(Code::RegistryChanged, &subject, problem));
    }
    let policy = match Policy::parse(&document.policy.text) {
        Ok(policy) => policy,
        Err(error) => {
            let says = format!("its policy does not parse: {error}");
            report.findings.push(Finding::new(Code::RegistryChanged, subject, says));
            return Ok(());
        }
    };
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let digest = report.adapter.as_ref().map(|a| a.sha256.short()).unwrap_or_default();
    let reader = registry.reader()?;
    let trained = format!("the adapter `{name}` ({digest})");
    let scope = members::Scope {
        reader: &reader,
        document: &document,
        policy: &policy,
        at,
        trained: &trained,
    };
    members::members(&scope, report)?;
    members::excluded(&scope, report)?;
    Ok(())
}

/// Conversions of the adapter and pictures made with it.
fn downstream(
    registry: &Registry,
    tensors: &Sha256Digest,
    opened: &file::Opened,
    report: &mut Report,
) -> Result<(), RegistryError> {
    for row in registry.adapters()? {
        if row.tensors == *tensors
            && row.sha256 != opened.sha256
            && report.findings.iter().all(|f| f.subject != opened.subject)
        {
            let (id, path) = (row.sha256.to_string(), Some(row.path.display().to_string()));
            report.downstream.push(Downstream {
                kind: "adapter",
                id,
                path,
            });
        }
    }
    for picture in registry.pictures(Some(&opened.sha256))? {
        let (id, path) = (
            picture.picture.sha256.to_string(),
            Some(picture.picture.path.display().to_string()),
        );
        report.downstream.push(Downstream {
            kind: "picture",
            id,
            path,
        });
    }
    Ok(())
}
