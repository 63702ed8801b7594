//! The digests from base and snapshot to the adapter: as boxes that follow from each other, and as a list in full.

use std::fmt::Write;

use super::Safe;
use crate::audit::{Report, Severity};
use crate::digest::Sha256Digest;
use crate::receipt::counted;

/// One thing in the chain.
struct Link {
    name: &'static str,
    digest: Sha256Digest,
    says: String,
    /// `broken`, where an invalid finding is about it, `unknown`, where nothing vouches for it, `aside`, where it shaped
    /// nothing, or nothing.
    class: &'static str,
}

/// Writes the chain, unless an image was asked about, which has none.
pub(super) fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let stages = stages(report);
    if stages.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>The chain</h2><div class=\"card\"><ol class=\"flow\">")?;
    for (at, links) in stages.iter().enumerate() {
        if at > 0 {
            writeln!(out, "<li class=\"to\" aria-hidden=\"true\">→</li>")?;
        }
        writeln!(out, "<li>")?;
        for Link {
            name, digest, class, ..
        } in links
        {
            let short = digest.short();
            writeln!(
                out,
                "<div class=\"box {class}\"><b>{name}</b><code>{short}</code></div>"
            )?;
        }
        writeln!(out, "</li>")?;
    }
    writeln!(out, "</ol><ol class=\"chain\">")?;
    for Link {
        name,
        digest,
        says,
        class,
    } in stages.iter().flatten()
    {
        writeln!(
            out,
            "<li class=\"{class}\"><b>{name}</b> <code>{digest}</code><p class=\"soft\">{}</p></li>",
            Safe(says)
        )?;
    }
    writeln!(out, "</ol></div>")
}

/// What follows from what: each stage from the one before.
fn stages(report: &Report) -> Vec<Vec<Link>> {
    let broken = |subjects: &[&str]| {
        let hit = report
            .findings
            .iter()
            .any(|f| f.severity == Severity::Invalid && subjects.iter().any(|subject| f.subject.starts_with(subject)));
        if hit { "broken" } else { "" }
    };
    let link = |name, digest, says, class| Link {
        name,
        digest,
        says,
        class,
    };
    let mut sources = Vec::new();
    if let Some(base) = &report.base {
        let says = format!("{} files named in the run record", base.files.len());
        sources.push(link("Base model", base.sha256, says, ""));
    }
    for set in report.sets() {
        let kept_out: u64 = set.excluded.values().sum();
        let mut says = format!(
            "{}{} images for {}{}, {kept_out} kept out; policy {}",
            set.name.as_ref().map(|name| format!("“{name}”, ")).unwrap_or_default(),
            set.members,
            set.purpose,
            set.served(),
            set.policy.clone().unwrap_or_else(|| set.policy_sha256.short()),
        );
        for (what, counts) in [("obliges to", &set.obligations), ("rests on", &set.bases)] {
            if !counts.is_empty() {
                says.push_str(&format!("; {what} {}", counted(counts)));
            }
        }
        let class = broken(&["snapshot:", "registry", "ledger", "log"]);
        sources.push(link("Snapshot", set.root, says, class));
    }
    if let Some(measured) = report.run.as_ref().and_then(|run| run.measured.as_ref()) {
        let says = format!("“{}”, {} images that trained nothing", measured.name, measured.members);
        sources.push(link("Only measured", measured.root, says, "aside"));
    }
    for old in &report.supersedes {
        let says = match old.left_out {
            Some(pictures) => format!("trained on {pictures} more pictures, none of which is in this one"),
            None => "its sets are not here".to_owned(),
        };
        sources.push(link("Takes the place of", old.adapter.file, says, "aside"));
    }
    let mut stages = vec![sources];
    if let Some(run) = &report.run {
        let end = run.finished_at.map(|at| format!(", finished {at}")).unwrap_or_default();
        let says = format!("{}, {} steps, seed {}{end}", run.program, run.steps, run.seed);
        stages.push(vec![link("Run", run.id, says, broken(&["run:"]))]);
    }
    if let Some(adapter) = &report.adapter {
        let sources = adapter.sources.iter().map(|source| {
            let (says, class) = match source.known {
                true => ("an adapter that it was computed from", ""),
                false => (
                    "an adapter that it was computed from, which the registry does not know",
                    "unknown",
                ),
            };
            link("Source", source.sha256, says.to_owned(), class)
        });
        stages.push(sources.collect());
        if let Some(receipt) = adapter.receipt_sha256 {
            let (says, class) = match (adapter.signer, &adapter.signed) {
                (Some(key), Some(signed)) if signed.known => {
                    (format!("signed by the key {key}, {}", signed.says()), "")
                }
                (Some(key), Some(signed)) => (format!("signed by the key {key}, {}", signed.says()), "unknown"),
                _ => ("signed by nobody".to_owned(), ""),
            };
            let class = match broken(&["adapter:"]) {
                "" => class,
                broken => broken,
            };
            stages.push(vec![link("Receipt", receipt, says, class)]);
        }
        let mut files = vec![link(
            "Adapter",
            adapter.sha256,
            "the file".to_owned(),
            broken(&["adapter:"]),
        )];
        if let Some(digest) = adapter.tensor_sha256 {
            let from = adapter
                .derived_from
                .map(|d| format!(", converted from the adapter with the tensors {d}"));
            let says = format!("its weights{}", from.unwrap_or_default());
            files.push(link("Tensors", digest, says, broken(&["adapter:"])));
        }
        stages.push(files);
    }
    if let Some(picture) = &report.picture {
        let drawn = picture.label.as_ref().map(|l| {
            format!(
                "; drawn {} by {}, seed {}: {}",
                l.created_at, l.program, l.seed, l.prompt
            )
        });
        let says = format!("Signed {}{}", picture.signed(), drawn.unwrap_or_default());
        stages.push(vec![link("Picture", picture.sha256, says, broken(&["picture:"]))]);
    }
    stages.retain(|links| !links.is_empty());
    stages
}
