//! The audit of a picture that was drawn: from its label to the adapter, its receipt, its snapshot, and the images.

use std::path::Path;

use jiff::Timestamp;

use super::finding::{Code, Finding};
use super::lines::{PictureLine, SignatureLine};
use super::report::Report;
use super::{AuditError, adapter, trust};
use crate::digest::Sha256Digest;
use crate::label::{self, Found, Label, Signed, UsedAdapter, mark};
use crate::receipt::RunRecord;
use crate::registry::{PictureRow, Registry};

/// What is known of the picture while it is followed.
struct Case<'a> {
    subject: String,
    found: Found,
    registry: Option<&'a Registry>,
    /// Whether the registry recorded this very file.
    recorded: bool,
    report: Report,
}

/// Follows a picture back to the images that trained what drew it. `path` is absolute. A label is a claim until the
/// registry recorded this very file, or a key that it trusts signed it; what rests on less is a finding.
///
/// # Errors
/// If the registry cannot be read. What is wrong with the picture, and a registry that is damaged, are findings.
pub fn audit_picture(
    path: &Path,
    bytes: &[u8],
    registry: Option<&Registry>,
    at: Timestamp,
) -> Result<Report, AuditError> {
    match follow(path, bytes, registry, at) {
        Err(error) => match error.damage() {
            Some(damage) => Ok(follow(path, bytes, None, at)?.with_broken_registry(damage)),
            None => Err(error),
        },
        report => report,
    }
}

fn follow(path: &Path, bytes: &[u8], registry: Option<&Registry>, at: Timestamp) -> Result<Report, AuditError> {
    let sha256 = Sha256Digest::of_bytes(bytes);
    let image = label::decoded(bytes);
    let mut case = Case {
        subject: format!("picture:{sha256}"),
        found: label::read(bytes),
        registry,
        recorded: false,
        report: Report::empty(),
    };
    let rows = match registry {
        Some(registry) => {
            trust::registry(registry, at, &mut case.report)?;
            let pixels = image.as_ref().map(label::pixel_digest);
            let rows = registry.pictures_like(&sha256, pixels.as_ref(), path)?;
            case.compare(
                &rows,
                &sha256,
                pixels.is_some_and(|p| rows.iter().any(|r| r.picture.pixels == Some(p))),
            );
            rows
        }
        None => Vec::new(),
    };
    let signature = case.signature()?;
    let label = case.found.any_label().cloned();
    for what in label::contradictions(&case.found) {
        case.add(Code::LabelChanged, what.to_owned());
    }
    let seen = image.as_ref().and_then(mark::find);
    case.mark(label.as_ref(), seen.as_deref(), image.is_some());
    case.report.picture = Some(PictureLine {
        sha256,
        recorded: case.recorded,
        signature,
        label: label.clone(),
        mark: seen.is_some(),
    });
    let mut named: Vec<Named> = match (&label, rows.is_empty(), seen) {
        (Some(label), ..) => label.adapters.iter().map(Named::from).collect(),
        (None, true, Some(seen)) => case.of_mark(&seen)?,
        (None, ..) => rows.iter().map(Named::from).collect(),
    };
    if let (Some(registry), Some(label)) = (registry, &label) {
        // A base that adapters were written into is on record by the digest that labels name bases by.
        for row in registry.adapters_of_tensors(&label.base)? {
            if named.iter().all(|used| used.sha256 != row.sha256) {
                named.push(Named {
                    sha256: row.sha256,
                    receipt: None,
                    snapshots: Vec::new(),
                });
            }
        }
    }
    match registry {
        Some(registry) => {
            for used in &named {
                case.follow(registry, used, at)?;
            }
            if named.is_empty() && label.is_some() {
                case.unchecked(
                    "the images: the picture was drawn without an adapter, and nothing leads on from a base",
                );
            }
            if !case.recorded && label.is_some() {
                case.unchecked("whether it was drawn as its label says: this registry did not record it");
            }
        }
        None => case.unchecked("adapter, run, snapshot, images and today's consent: there is no registry"),
    }
    Ok(case.report.conclude())
}

/// An adapter that a label or the registry names.
struct Named {
    sha256: Sha256Digest,
    receipt: Option<Sha256Digest>,
    /// Roots; empty where nothing names any.
    snapshots: Vec<Sha256Digest>,
}

impl From<&UsedAdapter> for Named {
    fn from(used: &UsedAdapter) -> Self {
        Named {
            sha256: used.sha256,
            receipt: used.receipt,
            snapshots: used.snapshots().collect(),
        }
    }
}

impl From<&PictureRow> for Named {
    fn from(row: &PictureRow) -> Self {
        Named {
            sha256: row.picture.adapter,
            receipt: None,
            snapshots: Vec::new(),
        }
    }
}

impl Case<'_> {
    fn add(&mut self, code: Code, says: String) {
        // Some of it may be a stranger's words, and go to a terminal.
        let says = says.replace(char::is_control, " ");
        self.report.findings.push(Finding::new(code, &self.subject, says));
    }

    fn unchecked(&mut self, what: &str) {
        self.report.unchecked.push(what.to_owned());
    }

    /// Compares the file with what the registry recorded: the very file, its pixels in another, or another in its place.
    fn compare(&mut self, rows: &[PictureRow], sha256: &Sha256Digest, same_pixels: bool) {
        let Some(row) = rows.first() else { return };
        let before = row.picture.sha256.short();
        if rows.iter().any(|row| row.picture.sha256 == *sha256) {
            self.recorded = true;
        } else if !same_pixels {
            let says = format!("the registry recorded another picture here, the file {before}; it was changed since");
            self.add(Code::PictureChanged, says);
        } else if self.found.is_empty() {
            let says = format!("its label was taken off: the registry recorded these pixels in the file {before}");
            self.add(Code::LabelRemoved, says);
        } else if !self.is_trusted() {
            let says = format!("it is not the label that was written: the registry recorded these pixels in {before}");
            self.add(Code::LabelChanged, says);
        }
    }

    /// Whether a key on the trust list signed it, and everything verifies.
    fn is_trusted(&self) -> bool {
        let key = self.found.signed.as_ref().filter(|s| s.holds()).and_then(|s| s.key);
        let list = self.registry.and_then(|registry| registry.trusted_keys().ok());
        key.is_some_and(|key| list.unwrap_or_default().iter().any(|trusted| trusted.key == key))
    }

    /// What the signature comes to, with the findings about it.
    fn signature(&mut self) -> Result<Option<SignatureLine>, AuditError> {
        let Some(signed) = self.found.signed.clone() else {
            match (self.recorded, &self.found.label) {
                (true, _) => {}
                (false, Some(_)) => {
                    let says = "its label is not signed, so whoever has a text editor may have written it";
                    self.add(Code::LabelUnsigned, says.to_owned());
                }
                (false, None) => self.no_label(),
            }
            return Ok(None);
        };
        let keys = self
            .registry
            .map(Registry::trusted_keys)
            .transpose()?
            .unwrap_or_default();
        let trusted = keys.iter().find(|trusted| Some(trusted.key) == signed.key);
        if !signed.holds() {
            self.broken(&signed);
        } else if signed.label.is_none() {
            self.no_label();
        } else if trusted.is_none() && !self.recorded {
            let who = match &signed.key {
                Some(key) => format!("the key {}", key.id().short()),
                None => format!("`{}`", signed.signer.as_deref().unwrap_or("an unknown signer")),
            };
            let says = format!("{who} signed it, which is not on the trust list; `assent key trust` puts a key there");
            self.add(Code::SignerUntrusted, says);
        }
        Ok(Some(SignatureLine {
            holds: signed.holds(),
            keyid: signed.key.map(|key| key.id()),
            trusted: trusted.is_some(),
            // A certificate may say any name; it counts for kinds of keys that no list here holds.
            name: match signed.key {
                Some(_) => trusted.and_then(|trusted| trusted.name.clone()),
                None => signed.signer,
            },
        }))
    }

    fn no_label(&mut self) {
        let says = "it carries no label of this program, so nothing says what drew it";
        self.add(Code::LabelMissing, says.to_owned());
    }

    fn broken(&mut self, signed: &Signed) {
        if signed.is_changed() {
            let says = "its bytes are not those that were signed: pixels or labels were changed since";
            self.add(Code::PictureChanged, says.to_owned());
        }
        let others: Vec<String> = signed
            .problems
            .iter()
            .filter(|_| !signed.is_changed() || signed.problems.len() > 1)
            .map(|problem| format!("{} ({})", problem.explanation, problem.code))
            .collect();
        if !others.is_empty() {
            self.add(
                Code::ManifestInvalid,
                format!("its manifest does not verify: {}", others.join("; ")),
            );
        }
    }

    /// Compares the mark that is seen with the one that the label speaks of.
    fn mark(&mut self, label: Option<&Label>, seen: Option<&[mark::Name]>, decodes: bool) {
        let says = match (label, seen) {
            (Some(label), Some(seen)) if mark::names(label) != seen => "its visible mark names others than its label",
            (Some(label), None) if label.mark && decodes => "its label speaks of a visible mark, and none is found",
            _ if !decodes => "its pixels do not decode",
            _ => return,
        };
        let code = if decodes {
            Code::LabelChanged
        } else {
            Code::PictureChanged
        };
        self.add(code, says.to_owned());
    }

    /// The adapters that a mark names, where it is all there is: as on a print. Anybody can draw a mark.
    fn of_mark(&mut self, seen: &[mark::Name]) -> Result<Vec<Named>, AuditError> {
        let Some(registry) = self.registry else {
            return Ok(Vec::new());
        };
        let mut named = Vec::new();
        for name in seen {
            let found = match name {
                mark::Name::Receipt(digest) => Some((adapter_of_receipt(registry, digest)?, *digest)),
                mark::Name::Adapter(digest) => Some((Some(*digest), *digest)),
                mark::Name::Base(_) => None,
            };
            match found {
                Some((Some(sha256), _)) => named.push(Named {
                    sha256,
                    receipt: None,
                    snapshots: Vec::new(),
                }),
                Some((None, digest)) => {
                    let says = "the registry knows no adapter with the receipt that the visible mark names".to_owned();
                    let subject = format!("receipt:{digest}");
                    self.report
                        .findings
                        .push(Finding::new(Code::AdapterUnknown, subject, says));
                }
                None => {}
            }
        }
        self.unchecked("whether what its visible mark names drew it: the mark is all there is");
        Ok(named)
    }

    /// Adds what the audit of an adapter finds. The first adapter's chain is the report's own.
    fn follow(&mut self, registry: &Registry, used: &Named, at: Timestamp) -> Result<(), AuditError> {
        let Some(row) = registry.adapter(&used.sha256)? else {
            let says = "the registry does not know this adapter, which the picture names".to_owned();
            let subject = format!("adapter:{}", used.sha256);
            self.report
                .findings
                .push(Finding::new(Code::AdapterUnknown, subject, says));
            return Ok(());
        };
        let here = Sha256Digest::of_file(&row.path).is_ok_and(|found| found == row.sha256);
        let audit = match here {
            true => adapter::audit_adapter(&row.path, Some(registry), at)?,
            false => adapter::audit_recorded(&row, registry, at)?,
        };
        let receipt = audit.adapter.as_ref().and_then(|line| line.receipt_sha256);
        if here && used.receipt.is_some() && used.receipt != receipt {
            self.add(
                Code::LabelChanged,
                "it names a receipt that is not its adapter's".to_owned(),
            );
        }
        if !used.snapshots.is_empty() && !used.snapshots.iter().eq(row.trained_on.iter().map(|set| &set.root)) {
            self.add(
                Code::LabelChanged,
                "it names other snapshots than its adapter was trained on".to_owned(),
            );
        }
        self.report.absorb(audit);
        Ok(())
    }
}

/// The adapter that a run's record names with this receipt.
fn adapter_of_receipt(registry: &Registry, receipt: &Sha256Digest) -> Result<Option<Sha256Digest>, AuditError> {
    let records = registry
        .runs()?
        .into_iter()
        .filter_map(|row| RunRecord::parse(&row.run.record).ok());
    Ok(records
        .map(|record| record.adapter)
        .find(|adapter| adapter.receipt == *receipt)
        .map(|adapter| adapter.file))
}
