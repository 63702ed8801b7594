//! The audit of an image: where it went, and whether it might still go there.

use jiff::Timestamp;

use super::finding::{Code, Finding};
use super::lines::{Downstream, ImageLine};
use super::report::Report;
use super::timeline::Touched;
use super::{AuditError, members, timeline, trust};
use crate::consent::{ConsentRecord, Policy, Target, decide_for};
use crate::digest::Sha256Digest;
use crate::registry::{ImageRecord, Registry};

/// Follows a registered image to every snapshot, adapter and picture downstream of it.
///
/// # Errors
/// If the registry does not know the image or cannot be read. A registry that is damaged is a finding.
pub fn audit_image(sha256: &Sha256Digest, registry: &Registry, at: Timestamp) -> Result<Report, AuditError> {
    match follow(sha256, registry, at) {
        Err(error) => match error.damage() {
            Some(damage) => Ok(Report::empty().with_broken_registry(damage)),
            None => Err(error),
        },
        report => report,
    }
}

fn follow(sha256: &Sha256Digest, registry: &Registry, at: Timestamp) -> Result<Report, AuditError> {
    let mut report = Report::empty();
    trust::registry(registry, at, &mut report)?;
    let image = registry.image(sha256)?;
    let subject = format!("image:{sha256}");
    let name = members::name_of(&image);
    let evidence = registry.evidence(sha256)?;
    report.findings.extend(members::file(&subject, &image));
    report.downstream = downstream(registry, &Target::Image(*sha256))?;
    let adapters = registry.adapters()?;
    let mut line = ImageLine {
        sha256: *sha256,
        paths: members::paths(&image),
        artist: image.artists.first().cloned(),
        license: ImageRecord::license(&image),
        caption: image.caption.clone(),
        place: None,
        consent_then: "in no snapshot".into(),
        consent_now: "in no snapshot".into(),
        allowed_now: false,
    };
    for snapshot in registry.snapshots()? {
        let rows = registry.snapshot_members(&snapshot.name)?;
        let count = rows.len();
        let Some(member) = rows.into_iter().find(|member| member.sha256 == *sha256) else {
            continue;
        };
        let place = format!("snapshot:{}", snapshot.name);
        report.timeline.push(timeline::frozen(&snapshot, count));
        let parsed = (
            serde_json::from_str::<ConsentRecord>(&member.consent),
            Policy::parse(&snapshot.policy),
        );
        let (Ok(then), Ok(policy)) = parsed else {
            let says = "its consent record or its policy does not parse";
            report.findings.push(Finding::new(Code::RegistryChanged, place, says));
            continue;
        };
        let now = decide_for(&evidence, &policy, then.purpose, at);
        line.consent_then = then.reason_code.as_str().to_owned();
        line.consent_now = now.reason_code.as_str().to_owned();
        line.allowed_now = now.allowed;
        if now.allowed {
            continue;
        }
        let mut trained: Vec<String> = adapters
            .iter()
            .filter(|adapter| adapter.trained_on.iter().any(|set| set.root == snapshot.root))
            .map(|adapter| {
                let file = adapter.path.file_name().unwrap_or_default().to_string_lossy();
                format!("the adapter `{file}` ({})", adapter.sha256.short())
            })
            .collect();
        if trained.is_empty() {
            trained.push(format!("nothing yet, and is in the snapshot `{}`", snapshot.name));
        }
        for adapter in trained {
            report.findings.push(members::withdrawn(
                &subject,
                &name,
                &adapter,
                then.reason_code.as_str(),
                &now,
            ));
        }
    }
    let mut touched = Touched::default();
    touched.add(&evidence);
    touched.tell(registry, &mut report)?;
    report.images.push(line);
    Ok(report.conclude())
}

/// Every snapshot, adapter and picture that an artist, image or source is in.
///
/// # Errors
/// If the registry cannot be read.
pub fn downstream(registry: &Registry, target: &Target) -> Result<Vec<Downstream>, AuditError> {
    let reach = registry.reach(target)?;
    let mut lines: Vec<Downstream> = reach
        .snapshots
        .iter()
        .map(|(name, _)| Downstream {
            kind: "snapshot",
            id: name.clone(),
            path: None,
            superseded_by: None,
        })
        .collect();
    for row in registry
        .adapters()?
        .iter()
        .filter(|row| reach.adapters.contains(&row.sha256))
    {
        let path = Some(row.path.display().to_string());
        lines.push(Downstream {
            kind: "adapter",
            id: row.sha256.to_string(),
            path,
            superseded_by: registry.superseded_by(row)?.first().map(|by| by.sha256.to_string()),
        });
        for picture in registry.pictures(Some(&row.sha256))? {
            let path = Some(picture.picture.path.display().to_string());
            lines.push(Downstream {
                kind: "picture",
                id: picture.picture.sha256.to_string(),
                path,
                superseded_by: None,
            });
        }
    }
    for row in registry.compositions()? {
        if row.adapters.iter().any(|adapter| reach.adapters.contains(adapter)) {
            lines.push(Downstream {
                kind: "composition",
                id: row.sha256.to_string(),
                path: Some(row.path.display().to_string()),
                superseded_by: row.superseded_by.first().map(ToString::to_string),
            });
        }
    }
    lines.dedup();
    Ok(lines)
}
