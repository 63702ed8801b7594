//! The audit of an adapter file.

use std::path::Path;

use jiff::Timestamp;

use super::finding::{Code, Finding};
use super::lines::{AdapterLine, Downstream};
use super::report::Report;
use super::timeline::Touched;
use super::trust::Lineage;
use super::{AuditError, derived, file, members, superseded, timeline, times, trust};
use crate::consent::Policy;
use crate::digest::Sha256Digest;
use crate::keys::PublicKey;
use crate::receipt::{Claims, SetClaims, SetFacts};
use crate::registry::{AdapterRow, Registry, RegistryError, Role, SnapshotRow, TrainedOn};
use crate::snapshot::{Document, SnapshotError};

/// Follows an adapter back to the images that trained it. `path` is absolute. Without a registry only what the file
/// proves by itself is checked, and the report says what was not.
///
/// # Errors
/// If the file or the registry cannot be read. A registry that is damaged is a finding.
pub fn audit_adapter(path: &Path, registry: Option<&Registry>, at: Timestamp) -> Result<Report, AuditError> {
    audit_signed(path, registry, None, at)
}

/// As [`audit_adapter`], for whoever knows which key must have signed the receipt.
///
/// # Errors
/// As [`audit_adapter`].
pub fn audit_signed(
    path: &Path,
    registry: Option<&Registry>,
    expected: Option<&PublicKey>,
    at: Timestamp,
) -> Result<Report, AuditError> {
    let mut report = Report::empty();
    let opened = file::look(path, &mut report)?;
    by(&opened, registry, expected, &mut report);
    match registry {
        None => {
            superseded::claimed(&opened, &mut report);
            let what = "run, snapshot, images and today's consent: there is no registry";
            report.unchecked.push(what.into());
        }
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

/// Whether the right key signed the receipt: the one that is expected, or else one on the trust list, unless the adapter
/// was made here.
fn by(opened: &file::Opened, registry: Option<&Registry>, expected: Option<&PublicKey>, report: &mut Report) {
    let subject = &opened.subject;
    // What cannot be read is a finding of its own.
    let list = registry
        .and_then(|registry| registry.trusted_keys().ok())
        .unwrap_or_default();
    let trusted = list.iter().find(|one| Some(one.key) == opened.signer);
    if let Some(signed) = report.adapter.as_mut().and_then(|line| line.signed.as_mut()) {
        signed.known = trusted.is_some() || expected == opened.signer.as_ref();
        signed.name = trusted.and_then(|one| one.name.clone());
    }
    match (expected, opened.signer, registry) {
        (Some(expected), found, _) if found != Some(*expected) => {
            let who = found.map_or("nobody".to_owned(), |key| format!("the key {}", key.id().short()));
            let says = format!(
                "expected a receipt signed by the key {}, found one by {who}",
                expected.id().short()
            );
            report.findings.push(Finding::new(Code::SignerOther, subject, says));
        }
        (None, Some(key), Some(registry)) => {
            let recorded = registry.adapter(&opened.sha256).is_ok_and(|row| row.is_some());
            if trusted.is_none() && !recorded {
                let says = format!(
                    "the key {} signed its receipt, which is not on the trust list; `assent key trust` puts a key there",
                    key.id().short()
                );
                report.findings.push(Finding::new(Code::SignerUntrusted, subject, says));
            }
        }
        _ => {}
    }
}

/// As [`audit_adapter`], for an adapter whose file is gone or was changed, or for a base in a folder that adapters were
/// written into: from what the registry recorded.
///
/// # Errors
/// As [`audit_adapter`].
pub fn audit_recorded(row: &AdapterRow, registry: &Registry, at: Timestamp) -> Result<Report, AuditError> {
    let mut report = Report::empty();
    let opened = file::Opened::recorded(row);
    report.adapter = Some(AdapterLine {
        sha256: row.sha256,
        tensor_sha256: Some(row.tensors),
        receipt_sha256: None,
        derived_from: None,
        sources: Vec::new(),
        signer: None,
        signed: None,
    });
    let (code, says, unchecked) = match (row.path.is_dir(), row.path.is_file()) {
        (true, _) => (
            Code::DerivedAdapter,
            "it is a base that adapters were written into, and has no receipt: the registry recorded what trained them",
            "whether the base's files are those that were recorded, and the receipts of the adapters in it",
        ),
        (_, true) => (
            Code::FileChanged,
            "the adapter's file holds other bytes than drew it",
            "the adapter's receipt: its file is not there as it was",
        ),
        (_, false) => (
            Code::FileMissing,
            "the adapter's file is not where it was recorded",
            "the adapter's receipt: its file is not there as it was",
        ),
    };
    follow(registry, &opened, &row.path, at, &mut report)?;
    report.findings.push(Finding::new(code, &opened.subject, says));
    report.unchecked.push(unchecked.into());
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
    trust::registry(registry, at, report)?;
    let lineage = trust::lineage(registry, opened, path, report)?;
    let record = lineage.as_ref().and_then(|l| l.record.as_ref());
    if let (Some(record), Some(run), Some(base)) = (record, &mut report.run, &mut report.base) {
        run.finished_at = Some(record.finished_at);
        report.timeline.extend(timeline::trained(record));
        run.measured.clone_from(&record.measured);
        base.files.clone_from(&record.inputs.base.files);
    }
    if let Some(record) = record {
        times::run(record, report);
    }
    let claims = opened.sealed.as_ref().map(|s| &s.receipt.claims);
    let mut sets = asked(claims, lineage.as_ref());
    if let Some(derived) = &opened.derived {
        for (on, claims) in derived::sources(registry, derived, report)? {
            if sets.iter().all(|known| known.on != on) {
                let name = None;
                sets.push(Asked { on, claims, name });
            }
        }
    }
    if sets.is_empty() {
        report
            .unchecked
            .push("snapshot and images: neither receipt nor registry names a snapshot".into());
        return Ok(());
    }
    let mut touched = Touched::default();
    for set in &sets {
        if let Some(snapshot) = find(registry, set, lineage.is_some(), report)? {
            if let Some(record) = record {
                times::after(record, &snapshot, report);
            }
            images(registry, (&snapshot, set), path, at, &mut touched, report)?;
        }
    }
    touched.tell(registry, report)?;
    superseded::look(registry, opened, lineage.as_ref(), report)?;
    if let Some(lineage) = &lineage {
        downstream(registry, &lineage.row.tensors, opened, report)?;
    }
    Ok(())
}

/// A set that is to be looked at.
struct Asked {
    on: TrainedOn,
    /// What the receipt says of it.
    claims: Option<SetClaims>,
    /// Its name in the run's record.
    name: Option<String>,
}

/// Every set that receipt, registry or run record name: one that was taken out of one of them is still looked at.
fn asked(claims: Option<&Claims>, lineage: Option<&Lineage>) -> Vec<Asked> {
    let record = lineage.and_then(|l| l.record.as_ref());
    let recorded = record.map(|record| record.inputs.sets()).unwrap_or_default();
    let claimed = claims.map(Claims::sets).unwrap_or_default();
    let mut sets: Vec<Asked> = Vec::new();
    let of_receipt = claimed.iter().map(SetClaims::trained_on);
    let of_row = lineage.iter().flat_map(|l| l.row.trained_on.iter().copied());
    // Two snapshots may have one root: the record says which it was, or that it was both.
    let of_record = recorded.iter().map(|set| set.claims().trained_on());
    for on in of_receipt.chain(of_row).chain(of_record) {
        if sets.iter().any(|known| known.on == on) {
            continue;
        }
        let claims = claimed.iter().find(|set| set.trained_on() == on);
        let mut names = recorded.iter().filter(|set| set.claims().trained_on() == on);
        let name = names.next().map(|set| set.snapshot.name.clone());
        sets.push(Asked {
            on,
            claims: claims.cloned(),
            name,
        });
    }
    sets
}

/// The snapshot with this root; one of the run's name where the root is gone.
fn find(
    registry: &Registry,
    set: &Asked,
    trained_here: bool,
    report: &mut Report,
) -> Result<Option<SnapshotRow>, RegistryError> {
    // Two snapshots may have one root: the run says which it was.
    let (root, name) = (&set.on.root, set.name.as_deref());
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
    (row, set): (&SnapshotRow, &Asked),
    path: &Path,
    at: Timestamp,
    touched: &mut Touched,
    report: &mut Report,
) -> Result<(), SnapshotError> {
    let subject = format!("snapshot:{}", row.name);
    let document = Document::of(registry, &row.name)?;
    let problems = trust::document(registry, &document, &row.document)?;
    report.timeline.push(timeline::frozen(row, document.members.len()));
    let facts = SetFacts::of(set.on.role, &document);
    match &set.claims {
        Some(claims) if claims.policy != facts.policy.digest => {
            let says = "its policy is another than the one in the receipt";
            report
                .findings
                .push(Finding::new(Code::RegistryChanged, &subject, says));
        }
        Some(claims) if problems.is_empty() => {
            report.findings.extend(miscounted(claims, &facts, set.name.is_some()));
        }
        _ => {}
    }
    for problem in problems {
        report
            .findings
            .push(Finding::new(Code::RegistryChanged, &subject, problem));
    }
    let line = report.set_line(set.claims.clone().unwrap_or_else(|| SetClaims {
        snapshot: set.on.root,
        ..facts.claims()
    }));
    line.name = Some(row.name.clone());
    line.policy = Some(row.policy_name.clone());
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
    let purpose = match set.on.role {
        Role::Training => "",
        Role::Regularization => " as a regularization picture",
    };
    let trained = format!("the adapter `{name}` ({digest}){purpose}");
    let scope = members::Scope {
        reader: &reader,
        document: &document,
        policy: &policy,
        at,
        trained: &trained,
        role: set.on.role,
    };
    members::members(&scope, touched, report)?;
    members::excluded(&scope, report)?;
    Ok(())
}

/// What the receipt counts otherwise than the snapshot does. Of two snapshots with one root, the one that was meant is
/// known by its name alone, and they may have left out different pictures.
fn miscounted(claims: &SetClaims, facts: &SetFacts, by_name: bool) -> Option<Finding> {
    let found = facts.claims();
    let mut differ = Vec::new();
    if claims.members != found.members {
        differ.push(format!("{} pictures, not {}", found.members, claims.members));
    }
    for (what, said, there) in [
        ("licences", &claims.licenses, &found.licenses),
        ("obligations", &claims.obligations, &found.obligations),
        ("grounds", &claims.bases, &found.bases),
        ("pictures kept out", &claims.excluded, &found.excluded),
    ] {
        if said != there && (by_name || what != "pictures kept out") {
            differ.push(format!("other {what}"));
        }
    }
    let subject = format!("snapshot:{}", facts.snapshot.name);
    let says = || format!("the receipt counts otherwise: the snapshot has {}", differ.join(", "));
    (!differ.is_empty()).then(|| Finding::new(Code::ReceiptChanged, subject, says()))
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
                superseded_by: None,
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
            superseded_by: None,
        });
    }
    Ok(())
}
