//! `assent audit`: which images trained an adapter, under which consent, and what has changed since; the same for the
//! adapter that drew a picture; or where one image went.

mod measure;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::key::public_key;
use super::{Context, Exit, HintExt, Style, Table, subject};
use crate::audit::{
    PictureLine, Place, Report, Severity, Verdict, audit_adapter, audit_image, audit_picture, audit_signed, html,
};
use crate::digest::{Sha256Digest, write_atomic};
use crate::keys::PublicKey;
use crate::label;
use crate::pixels::{Format, Limits, read_file};
use crate::receipt::counted;
use crate::registry::{Registry, RegistryError};

/// Options of `assent audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An adapter, the folder of a run, a picture that was drawn, or a registered picture: a file or a SHA-256
    #[arg(value_name = "ADAPTER|IMAGE")]
    pub subject: OsString,
    /// Write the report as one HTML page as well
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// The public key that must have signed an adapter's receipt
    #[arg(long, value_name = "PUBLIC")]
    pub key: Option<PathBuf>,
    /// Measure the adapter on its base
    #[command(flatten)]
    pub measure: measure::MeasureArgs,
}

/// Audits; findings when something does not hold.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let named = Path::new(&args.subject);
    let key = args.key.as_deref().map(public_key).transpose()?;
    let report = match adapter_at(named) {
        Some(path) => {
            let report = adapter(context, &path, key.as_ref())?;
            match args.measure.measure {
                true => measure::measured(context, &args.measure, &path, report)?,
                false => report,
            }
        }
        None if args.measure.measure => {
            return Err(anyhow!("--measure asks for an adapter")).hint("name its file or the folder of its run");
        }
        None if key.is_some() => {
            return Err(anyhow!("expected an adapter with `--key`, got `{}`", named.display()))
                .hint("a picture's signer is looked for on the trust list: `assent key trust`");
        }
        None => match picture(context, named)? {
            Some(report) => report,
            None => recorded(context, &args.subject)?,
        },
    };
    if let Some(path) = &args.html {
        let page = html::page(&report, &named.to_string_lossy(), env!("CARGO_PKG_VERSION"));
        write_atomic(path, page.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
        context.message(format_args!("wrote {}", path.display()));
    }
    if context.json {
        context.json_line(&report)?;
    } else {
        show(context, &report, &named.to_string_lossy())?;
    }
    Ok(if report.verdict == Verdict::Clean {
        Exit::Done
    } else {
        Exit::Findings
    })
}

/// The adapter file meant by a path: the file itself, or that of a run's folder.
pub(super) fn adapter_at(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.join("adapter.safetensors")).filter(|file| file.is_file());
    }
    // By name, or by the brace with which the header of every safetensors file begins.
    let mut start = [0; 9];
    let mut braced = || {
        std::fs::File::open(path)
            .and_then(|mut f| f.read_exact(&mut start))
            .is_ok()
            && start[8] == b'{'
    };
    let named = path.extension().is_some_and(|e| e == "safetensors");
    (path.is_file() && (named || braced())).then(|| path.to_owned())
}

/// The audit of a picture file that was drawn, or that nobody registered; none for a registered image that says nothing
/// of how it was drawn, and for what is no picture.
fn picture(context: &Context, path: &Path) -> Result<Option<Report>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = read_file(path, &Limits::default())?;
    if Format::of_bytes(&bytes).is_none() {
        return Ok(None);
    }
    let absolute = context.absolute(path)?;
    let registry = context.registry.exists().then(|| Registry::open(&context.registry));
    let registry = match registry.transpose() {
        Ok(registry) => registry,
        Err(error @ RegistryError::TooNew { .. }) => return Err(error.into()),
        Err(error) => {
            let report = audit_picture(&absolute, &bytes, None, context.now)?;
            return Ok(Some(report.with_broken_registry(&error)));
        }
    };
    let Some(registry) = registry else {
        return Ok(Some(audit_picture(&absolute, &bytes, None, context.now)?));
    };
    let sha256 = Sha256Digest::of_bytes(&bytes);
    let registered = registry.image(&sha256).is_ok();
    let drawn =
        label::read(&bytes).any_label().is_some() || !registry.pictures_like(&sha256, None, &absolute)?.is_empty();
    if registered && !drawn {
        return Ok(None);
    }
    if registered {
        context.message(format_args!(
            "it is registered as well: `assent audit {}` follows it as an image",
            sha256.short()
        ));
    }
    Ok(Some(audit_picture(&absolute, &bytes, Some(&registry), context.now)?))
}

/// The audit of what only the registry knows by this name: an image, an adapter or a picture by its digest.
fn recorded(context: &Context, subject: &OsString) -> Result<Report> {
    let registry = context.open_registry()?;
    let error = match subject::registered(context, &registry, subject) {
        Ok(image) => return Ok(audit_image(&image, &registry, context.now)?),
        Err(error) => error,
    };
    let Ok(digest) = subject.to_string_lossy().parse::<Sha256Digest>() else {
        return Err(error);
    };
    let gone =
        |what: &str, path: &Path| Err(anyhow!("the {what} is no longer at `{}`", path.display())).hint("name its file");
    if let Some(row) = registry.adapter(&digest)? {
        return match row.path.is_file() {
            true => Ok(audit_adapter(&row.path, Some(&registry), context.now)?),
            false => gone("adapter", &row.path),
        };
    }
    // The digest alone: no file lies at an empty path.
    let rows = registry.pictures_like(&digest, None, Path::new(""))?;
    match rows.first().map(|row| &row.picture.path) {
        Some(path) if path.is_file() => {
            let bytes = read_file(path, &Limits::default())?;
            Ok(audit_picture(path, &bytes, Some(&registry), context.now)?)
        }
        Some(path) => gone("picture", path),
        None => Err(error),
    }
}

fn adapter(context: &Context, path: &Path, key: Option<&PublicKey>) -> Result<Report> {
    let absolute = context.absolute(path)?;
    if !context.registry.exists() {
        return Ok(audit_signed(&absolute, None, key, context.now)?);
    }
    match Registry::open(&context.registry) {
        Ok(registry) => Ok(audit_signed(&absolute, Some(&registry), key, context.now)?),
        Err(error @ RegistryError::TooNew { .. }) => Err(error.into()),
        // A registry that no longer opens is what an audit is there to report.
        Err(error) => Ok(audit_signed(&absolute, None, key, context.now)?.with_broken_registry(&error)),
    }
}

/// Writes the report as people read it.
pub(super) fn show(context: &Context, report: &Report, named: &str) -> Result<()> {
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
        context.line(super::affected::table(context, &report.downstream))?;
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
            format!("signed by the key {}", id.short())
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
