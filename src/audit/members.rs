//! The images of a snapshot: whether each is still the file it was, and whether it would still be allowed.

use std::path::PathBuf;

use jiff::Timestamp;

use super::finding::{Code, Finding};
use super::lines::{ExcludedLine, ImageLine, Place};
use super::report::Report;
use super::timeline::Touched;
use crate::consent::{Decision, Policy, State, decide_for};
use crate::digest::Sha256Digest;
use crate::registry::{ImageRecord, Reader, RegistryError, Role};
use crate::snapshot::{Document, ExclusionEvidence};

/// What is to be said of a snapshot's images.
pub(super) struct Scope<'a> {
    /// What the registry knows, at one moment.
    pub reader: &'a Reader<'a>,
    /// The snapshot.
    pub document: &'a Document,
    /// Its policy.
    pub policy: &'a Policy,
    /// The time for which consent is decided.
    pub at: Timestamp,
    /// How findings name what was trained on it.
    pub trained: &'a str,
    /// What the snapshot's pictures were for.
    pub role: Role,
}

impl Scope<'_> {
    fn place(&self) -> Place {
        Place {
            snapshot: self.document.name.clone(),
            role: self.role,
        }
    }
}

/// Fills in the members with their consent then and now, and the findings about them.
pub(super) fn members(scope: &Scope, touched: &mut Touched, report: &mut Report) -> Result<(), RegistryError> {
    for member in &scope.document.members {
        let subject = format!("image:{}", member.image);
        let then = member.consent.reason_code.as_str();
        let known = scope.reader.known(&member.image)?;
        if let Some(known) = &known {
            touched.add(&known.evidence);
        }
        let image = known.as_ref().map(|known| &known.image);
        let name = image.map_or_else(|| member.image.short(), name_of);
        let decision = known
            .as_ref()
            .map(|known| decide_for(&known.evidence, scope.policy, scope.document.purpose, scope.at));
        if let Some(decision) = decision.as_ref().filter(|d| !d.allowed) {
            report
                .findings
                .push(withdrawn(&subject, &name, scope.trained, then, decision));
        }
        match image {
            None => {
                let says = format!("the registry no longer holds {name}, which trained {}", scope.trained);
                report
                    .findings
                    .push(Finding::new(Code::RegistryChanged, &subject, says));
            }
            Some(image) => report.findings.extend(file(&subject, image)),
        }
        report.images.push(ImageLine {
            sha256: member.image,
            paths: image.map(paths).unwrap_or_default(),
            artist: image.and_then(|i| i.artists.first().cloned()),
            license: image.and_then(ImageRecord::license),
            caption: member.caption.clone(),
            place: Some(scope.place()),
            consent_then: then.to_owned(),
            consent_now: decision
                .as_ref()
                .map_or("unknown", |d| d.reason_code.as_str())
                .to_owned(),
            allowed_now: decision.is_some_and(|d| d.allowed),
        });
    }
    Ok(())
}

/// Fills in what was kept out, and why.
pub(super) fn excluded(scope: &Scope, report: &mut Report) -> Result<(), RegistryError> {
    for exclusion in &scope.document.excluded {
        let image = scope.reader.image(&exclusion.image)?;
        let image = image.as_ref();
        report.excluded.push(ExcludedLine {
            place: scope.place(),
            sha256: exclusion.image,
            paths: image.map(paths).unwrap_or_default(),
            artist: image.and_then(|i| i.artists.first().cloned()),
            license: image.and_then(ImageRecord::license),
            reason_code: exclusion.reason_code.as_str().to_owned(),
            because: because(&exclusion.evidence),
        });
    }
    Ok(())
}

/// The finding that an image which trained something may not be used any more.
pub(super) fn withdrawn(subject: &str, image: &str, trained: &str, then: &str, now: &Decision) -> Finding {
    // The line that refused: a denial if there is one, else what the policy read last before it decided.
    let line = now
        .trace
        .iter()
        .find(|line| line.state == State::Denied)
        .or_else(|| now.trace.iter().rev().nth(1));
    let says = line
        .map(|line| format!(" ({}: {})", line.source, line.raw))
        .unwrap_or_default();
    let explanation = format!(
        "{image} trained {trained}; it was {then} when the snapshot was made and is {} now{says}",
        now.reason_code
    );
    Finding::new(Code::ConsentWithdrawn, subject, explanation)
}

/// The image as people know it: its file's name, or its digest.
pub(super) fn name_of(image: &ImageRecord) -> String {
    match image.paths.last().and_then(|path| path.file_name()) {
        Some(name) => format!("`{}`", name.to_string_lossy()),
        None => image.sha256.short(),
    }
}

/// Its paths, for people.
pub(super) fn paths(image: &ImageRecord) -> Vec<String> {
    image.paths.iter().map(|path| path.display().to_string()).collect()
}

/// The finding that no file holds the image any more.
pub(super) fn file(subject: &str, image: &ImageRecord) -> Option<Finding> {
    let here: Vec<&PathBuf> = image.paths.iter().filter(|path| path.is_file()).collect();
    if here
        .iter()
        .any(|path| Sha256Digest::of_file(path).is_ok_and(|found| found == image.sha256))
    {
        return None;
    }
    let name = name_of(image);
    Some(match here.is_empty() {
        true => Finding::new(
            Code::FileMissing,
            subject,
            format!("{name} is at none of the places where it was seen"),
        ),
        false => Finding::new(
            Code::FileChanged,
            subject,
            format!("{name} holds other bytes than were trained on"),
        ),
    })
}

/// What the lines of a trace say, in short.
fn because(evidence: &[ExclusionEvidence]) -> String {
    let said = evidence.iter().map(|line| {
        // A near-duplicate's digest is of no use to a reader; the number of an event is.
        let source = if line.source.starts_with("near_duplicate:") {
            "near_duplicate"
        } else {
            line.source.as_str()
        };
        format!("{source}: {}", line.raw)
    });
    said.collect::<Vec<_>>().join("; ")
}
