//! `assent opt-out --list FILE`: many refusals at once, as one event.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::event::{event_json, event_line, reach_json, show_reach};
use super::{Context, Exit, HintExt, Style};
use crate::consent::Target;
use crate::keys::SecretKey;
use crate::registry::{ListFile, ListReport, NewEvent};

/// A list up to this size is kept as evidence, byte for byte; of a larger one, its digest. In bytes.
const KEPT: u64 = 1 << 20;
/// So many bad lines are named; `--json` and `-v` name all.
const NAMED: u64 = 20;

/// Brings in a list; `new` is the event without its target.
pub(super) fn bring_in(context: &Context, path: &Path, new: NewEvent, key: Option<&SecretKey>) -> Result<Exit> {
    let about = || format!("cannot read the list `{}`", path.display());
    let file = File::open(path).with_context(about)?;
    let size = file.metadata().with_context(about)?.len();
    let mut registry = context.open_or_create_registry()?;
    let bar = bar(context, size, "reading");
    let mut list = ListFile::new(BufReader::with_capacity(1 << 16, file));
    let mut import = registry.begin_list()?;
    let mut bad = 0u64;
    while let Some(line) = list.next_line().with_context(about)? {
        for entry in &line.entries {
            import.add(entry)?;
        }
        for problem in &line.problems {
            if context.json {
                context.json_line(&json!({"line": line.number, "problem": problem}))?;
            } else if context.verbose || bad < NAMED {
                bar.suspend(|| context.warn(format_args!("line {}: {problem}", line.number)));
            }
        }
        bad += u64::from(!line.problems.is_empty());
        bar.set_position(list.bytes());
    }
    bar.finish_and_clear();
    if bad > NAMED && !context.verbose && !context.json {
        context.warn(format_args!("and {} more lines: `-v` names them all", bad - NAMED));
    }
    if !list.ignored().is_empty() {
        let columns: Vec<_> = list.ignored().iter().map(|name| format!("`{name}`")).collect();
        context.message(format_args!("not read: the columns {}", columns.join(", ")));
    }
    let digest = list.digest();
    let kept = if list.bytes() <= KEPT {
        fs::read(path).ok()
    } else {
        None
    };
    let kept = kept.filter(|bytes| crate::digest::Sha256Digest::of_bytes(bytes) == digest);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let new = NewEvent {
        evidence: kept.map(|bytes| (name.unwrap_or_default(), bytes)),
        ..new
    };
    let Some(report) = import.finish(&new, Some(digest), key, context.now)? else {
        return Err(anyhow!("expected a list of refusals, found no entry that can be read in `{}`", path.display()))
            .hint("write CSV with a header (`url`, `sha256`, `phash`, `artist`), JSON Lines with these keys, or an entry a line");
    };
    let reach = registry.reach(&Target::List(report.list))?;
    show(context, &report, bad, &reach)?;
    Ok(if bad > 0 { Exit::Findings } else { Exit::Done })
}

fn show(context: &Context, report: &ListReport, bad: u64, reach: &crate::registry::Reach) -> Result<()> {
    let counts = report.entries.iter();
    if context.json {
        let entries: serde_json::Map<String, Value> = counts
            .map(|(kind, count)| (kind.as_str().to_string(), json!(count)))
            .collect();
        let mut value = event_json(&report.stored);
        value["list"] = json!({"sha256": report.list, "entries": entries, "bad_lines": bad, "known": report.known});
        value["reaches"] = reach_json(reach);
        return context.json_line(&value);
    }
    let stored = &report.stored;
    let known = if report.known { ", as before" } else { "" };
    context.line(format_args!(
        "event {} ({}): {}{known}",
        stored.seq,
        stored.hash.short(),
        event_line(&stored.event)
    ))?;
    let counts: Vec<_> = counts
        .map(|(kind, count)| format!("{count} {}", kind.as_str()))
        .collect();
    context.line(format_args!("entries: {}", counts.join(", ")))?;
    if bad > 0 {
        let text = format!("{bad} lines could not be read, or not wholly; the others are in");
        context.line(context.paint(Style::Warn, text))?;
    }
    show_reach(context, reach)
}

/// A bar over the bytes of a file, when there are enough of them to wait for.
pub(super) fn bar(context: &Context, bytes: u64, what: &'static str) -> ProgressBar {
    if !context.progress() || bytes < 4 << 20 {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix:>9} {wide_bar} {bytes}/{total_bytes} {eta} left");
    let bar = ProgressBar::new(bytes).with_prefix(what);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
