//! An audit as people read it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use super::measure;
use crate::audit::{PictureLine, Place, Report, Severity, Verdict};
use crate::cli::{Context, Style, Table};
use crate::receipt::counted;

/// Writes the report as people read it.
pub(in crate::cli) fn show(context: &Context, report: &Report, named: &str) -> Result<()> {
    let (style, says) = match report.verdict {
        Verdict::Clean => (Style::Good, "everything that was looked at holds"),
        Verdict::Findings if report.is_derived() => (
            Style::Warn,
            "no link of the proof is broken, and the adapter has none of its own",
        ),
        Verdict::Findings => (
            Style::Warn,
            "every link of the proof holds, and something must be looked at",
        ),
        Verdict::Invalid => (Style::Bad, "a link of the proof is broken"),
    };
    context.line(format_args!("{}  {named}", context.paint(Style::Strong, "Audit")))?;
    context.line(format_args!(
        "{}: {says}",
        context.paint(style, report.verdict.as_str())
    ))?;
    for finding in &report.findings {
        let style = if finding.severity == Severity::Warning {
            Style::Warn
        } else {
            Style::Bad
        };
        context.line(format_args!(
            "\n{} {}",
            context.paint(style, finding.code.as_str()),
            finding.subject
        ))?;
        context.line(format_args!("  {}", finding.explanation))?;
    }
    chain(context, report)?;
    images(context, report)?;
    excluded(context, report)?;
    if !report.downstream.is_empty() {
        context.line(format_args!("\n{}", context.paint(Style::Strong, "Made from it")))?;
        context.line(crate::cli::affected::table(context, &report.downstream))?;
    }
    if let Some(found) = &report.measured {
        measure::show(context, found)?;
    }
    for what in &report.unchecked {
        context.line(format_args!("\n{} {what}", context.paint(Style::Warn, "not checked:")))?;
    }
    Ok(())
}

/// What the label says, and on whose word.
fn drawn(context: &Context, picture: &PictureLine) -> Result<()> {
    // A label may be a stranger's: nothing in it steers the terminal.
    let row = |name: &str, says: String| {
        context.line(format_args!(
            "{} {}",
            context.paint(Style::Faint, format_args!("{name:<9}")),
            says.replace(char::is_control, " ")
        ))
    };
    context.line("")?;
    let recorded = if picture.recorded {
        "recorded here"
    } else {
        "not recorded here"
    };
    row("picture", format!("{}  {recorded}", picture.sha256.short()))?;
    row("signed", picture.signed())?;
    let Some(label) = &picture.label else { return Ok(()) };
    row(
        "drawn",
        format!("{} by {}, seed {}", label.created_at, label.program, label.seed),
    )?;
    row("prompt", label.prompt.clone())?;
    row("base", label.base.short())?;
    for used in &label.adapters {
        let receipt = used.receipt.map(|digest| format!(", receipt {}", digest.short()));
        let says = format!(
            "{} × {}{}",
            used.sha256.short(),
            used.weight,
            receipt.unwrap_or_default()
        );
        row("adapter", says)?;
    }
    Ok(())
}

fn chain(context: &Context, report: &Report) -> Result<()> {
    if let Some(picture) = &report.picture {
        drawn(context, picture)?;
    }
    let Some(adapter) = &report.adapter else { return Ok(()) };
    context.line("")?;
    let row = |name: &str, digest: String, more: String| {
        context.line(format_args!(
            "{} {digest}  {more}",
            context.paint(Style::Faint, format_args!("{name:<9}"))
        ))
    };
    row("adapter", adapter.sha256.short(), String::new())?;
    if let Some(digest) = adapter.receipt_sha256 {
        let signed = adapter.signer.map_or("signed by nobody".into(), |id| {
            let more = adapter.signed.as_ref().map(|signed| format!(", {}", signed.says()));
            format!("signed by the key {}{}", id.short(), more.unwrap_or_default())
        });
        row("receipt", digest.short(), signed)?;
    }
    if let Some(run) = &report.run {
        let end = run.finished_at.map(|at| format!(", finished {at}")).unwrap_or_default();
        row(
            "run",
            run.id.short(),
            format!("{}, {} steps, seed {}{end}", run.program, run.steps, run.seed),
        )?;
    }
    for old in &report.supersedes {
        let without = match old.left_out {
            Some(pictures) => format!("trained on {pictures} more pictures, none of which is in this one"),
            None => "its sets are not here".to_owned(),
        };
        let path = old.path.as_ref().map(|path| format!(", `{path}`")).unwrap_or_default();
        row("replaces", old.adapter.file.short(), format!("{without}{path}"))?;
    }
    if let Some(base) = &report.base {
        row("base", base.sha256.short(), String::new())?;
    }
    for s in report.sets() {
        let kept_out: u64 = s.excluded.values().sum();
        let name = s.name.as_ref().map(|name| format!("`{name}`: ")).unwrap_or_default();
        let policy = s
            .policy
            .as_ref()
            .map(|policy| format!(", policy `{policy}`"))
            .unwrap_or_default();
        let more = format!(
            "{name}{} images for {}{}, {kept_out} kept out{policy}",
            s.members,
            s.purpose,
            s.served()
        );
        row("snapshot", s.root.short(), more)?;
        if !s.obligations.is_empty() {
            row("obliges", "to".into(), counted(&s.obligations))?;
        }
        if !s.bases.is_empty() {
            row("rests", "on".into(), counted(&s.bases))?;
        }
    }
    if let Some(measured) = report.run.as_ref().and_then(|run| run.measured.as_ref()) {
        let more = format!("`{}`: {} images that trained nothing", measured.name, measured.members);
        row("measured", measured.root.short(), more)?;
    }
    Ok(())
}

/// The images in groups of one artist, licence and consent.
fn images(context: &Context, report: &Report) -> Result<()> {
    if report.images.is_empty() {
        return Ok(());
    }
    let heading = report.images_heading();
    context.line(format_args!("\n{}", context.paint(Style::Strong, heading)))?;
    let mut groups: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for i in &report.images {
        let key = (
            i.artist.clone(),
            i.license.clone(),
            !i.allowed_now,
            i.consent_then.clone(),
            i.consent_now.clone(),
            i.place.as_ref(),
        );
        groups
            .entry(key)
            .or_default()
            .push(file_name(&i.paths, &i.sha256.short()));
    }
    let mut table = Table::new(context, ["artist", "licence", "images", "then", "now", "files"]);
    for ((artist, license, refused, then, now, place), files) in groups {
        table.styled_row([
            (None, artist.unwrap_or_else(|| "unknown".into())),
            (None, license.unwrap_or_else(|| "none".into())),
            (None, files.len().to_string()),
            (None, then),
            (Some(if refused { Style::Bad } else { Style::Good }), now),
            (Some(Style::Faint), of_set(report, place, some(context, &files))),
        ]);
    }
    context.line(table)
}

/// The files with the set that they stand in, where there are several.
fn of_set(report: &Report, place: Option<&Place>, files: String) -> String {
    match place {
        Some(place) if report.sets().count() > 1 => format!("{place}: {files}"),
        _ => files,
    }
}

/// What was kept out, in groups of one reason and artist.
fn excluded(context: &Context, report: &Report) -> Result<()> {
    if report.excluded.is_empty() {
        return Ok(());
    }
    let heading = report.excluded_heading();
    context.line(format_args!("\n{}", context.paint(Style::Strong, heading)))?;
    let mut groups: BTreeMap<_, (Vec<String>, &str)> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for e in &report.excluded {
        let group = groups
            .entry((&e.reason_code, &e.artist))
            .or_insert((Vec::new(), &e.because));
        // The same image may have been left out of several sets.
        let file = file_name(&e.paths, &e.sha256.short());
        if seen.insert((&e.reason_code, e.sha256)) {
            group.0.push(file);
        }
    }
    let mut table = Table::new(context, ["why", "artist", "images", "what said so", "files"]);
    for ((reason, artist), (files, because)) in groups {
        let mut short: String = because.chars().take(80).collect();
        if short.len() < because.len() {
            short.push('…');
        }
        table.styled_row([
            (Some(Style::Warn), reason.clone()),
            (None, artist.clone().unwrap_or_else(|| "unknown".into())),
            (None, files.len().to_string()),
            (None, short),
            (Some(Style::Faint), some(context, &files)),
        ]);
    }
    context.line(table)
}

fn file_name(paths: &[String], otherwise: &str) -> String {
    let name = paths.last().and_then(|path| Path::new(path).file_name());
    name.map_or_else(|| otherwise.to_owned(), |name| name.to_string_lossy().into_owned())
}

/// The first few names, or all of them when asked to say more.
fn some(context: &Context, files: &[String]) -> String {
    const FEW: usize = 3;
    if context.verbose || files.len() <= FEW + 1 {
        return files.join(", ");
    }
    let shown = files.iter().take(FEW).cloned().collect::<Vec<_>>().join(", ");
    format!("{shown} and {} more", files.len() - FEW)
}
