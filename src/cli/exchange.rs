//! `assent ledger import` and `assent ledger check`: events that come from elsewhere.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::event::event_line;
use super::key::public_key;
use super::opt_out_list::bar;
use super::{Context, Exit, HintExt, Style};
use crate::consent::{Authentication, Target};
use crate::registry::{ForeignEvent, Imported, bounded_line};

/// A longer line is not read, in bytes.
const LONGEST_LINE: usize = 1 << 20;

/// Calls `each` with the number of every line that is not empty and the event in it, or what is wrong with it.
fn lines(
    context: &Context,
    path: &Path,
    mut each: impl FnMut(u64, Result<ForeignEvent, String>) -> Result<()>,
) -> Result<()> {
    let about = || format!("cannot read `{}`", path.display());
    let file = File::open(path).with_context(about)?;
    let bar = bar(context, file.metadata().with_context(about)?.len(), "reading");
    let mut reader = BufReader::new(file);
    let mut number = 0;
    while let Some((line, whole)) =
        bounded_line(&mut reader, LONGEST_LINE, |read| bar.inc(read.len() as u64)).with_context(about)?
    {
        number += 1;
        match whole {
            false => each(
                number,
                Err(format!("expected at most {LONGEST_LINE} bytes in a line, got more")),
            )?,
            true if line.trim_ascii().is_empty() => {}
            true => each(number, ForeignEvent::parse(&line))?,
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Appends the events of a file; all that can be are in afterwards, or, when this is interrupted, none.
pub(super) fn import(context: &Context, path: &Path) -> Result<Exit> {
    let mut registry = context.open_or_create_registry()?;
    let mut import = registry.begin_events(context.now)?;
    let (mut added, mut known, mut flagged, mut refused) = (0u64, 0u64, 0u64, 0u64);
    let mut lists = Vec::new();
    lines(context, path, |number, event| {
        let outcome = match event {
            Ok(event) => import.add(event)?,
            Err(problem) => Imported::Refused(problem),
        };
        let (status, stored, reason) = match outcome {
            Imported::Added(stored) => ("added", Some(stored), None),
            Imported::Flagged(stored) => (
                "flagged",
                Some(stored),
                Some("its signature does not verify".to_string()),
            ),
            Imported::Known => ("known", None, None),
            Imported::Refused(reason) => ("refused", None, Some(reason)),
        };
        match status {
            "added" => added += 1,
            "known" => known += 1,
            "flagged" => flagged += 1,
            _ => refused += 1,
        }
        if let Some(Target::List(list)) = stored.as_ref().and_then(|stored| stored.event.target.as_ref()) {
            lists.push(*list);
        }
        if context.json {
            let (seq, hash) = (
                stored.as_ref().map(|stored| stored.seq),
                stored.as_ref().map(|stored| stored.hash),
            );
            return context.json_line(&json!({
                "line": number, "status": status, "seq": seq, "event": hash, "reason": reason,
            }));
        }
        match (&stored, &reason) {
            (Some(stored), Some(reason)) => {
                let what = context.paint(Style::Warn, "flagged");
                context.line(format_args!(
                    "{what} line {number}: {}; {reason}",
                    event_line(&stored.event)
                ))
            }
            (None, Some(reason)) => {
                let what = context.paint(Style::Bad, "refused");
                context.line(format_args!("{what} line {number}: {reason}"))
            }
            (Some(stored), None) if context.verbose => {
                context.line(format_args!("event {}: {}", stored.seq, event_line(&stored.event)))
            }
            _ => Ok(()),
        }
    })?;
    import.finish()?;
    for list in lists {
        if !registry.has_list(&list)? {
            context.warn(format_args!(
                "the entries of the list {} are not here, so it reaches nothing: `assent opt-out --list FILE` brings them",
                list.short()
            ));
        }
    }
    if context.json {
        context.json_line(&json!({"summary": {
            "added": added, "known": known, "flagged": flagged, "refused": refused,
        }}))?;
    } else {
        context.line(format_args!(
            "{added} added, {known} known, {flagged} flagged, {refused} refused"
        ))?;
    }
    Ok(if flagged + refused > 0 {
        Exit::Findings
    } else {
        Exit::Done
    })
}

/// Checks the events of a file with one public key, and says what was signed.
pub(super) fn check(context: &Context, path: &Path, key: &Path) -> Result<Exit> {
    let key = public_key(key)?;
    let raw = hex::encode(key.as_bytes());
    let (mut good, mut bad) = (0u64, 0u64);
    lines(context, path, |number, event| {
        let problem = match &event {
            Err(problem) => Some(problem.clone()),
            Ok(event) => match event.authentication {
                Authentication::None => Some("nobody signed it".to_string()),
                Authentication::Invalid => Some("its signature does not verify".to_string()),
                _ if event.said.signer.as_ref() != Some(&raw) => Some("another key signs it".to_string()),
                _ => None,
            },
        };
        match problem {
            None => good += 1,
            Some(_) => bad += 1,
        }
        let said = event.ok().map(|event| event.said);
        if context.json {
            let ok = problem.is_none();
            return context.json_line(&json!({"line": number, "ok": ok, "problem": problem, "said": said}));
        }
        let what = match &said {
            Some(said) => {
                let (issued, revokes) = (said.issued, said.revokes);
                let event = said.clone().recorded(issued, revokes);
                let note = event.note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
                format!("{issued}  {}{note}", event_line(&event))
            }
            None => "no event".to_string(),
        };
        match problem {
            None => context.line(format_args!(
                "{} line {number}: {what}",
                context.paint(Style::Good, "holds")
            )),
            Some(problem) => {
                let word = context.paint(Style::Bad, "does not hold");
                context.line(format_args!("{word} line {number}: {what}; {problem}"))
            }
        }
    })?;
    if good + bad == 0 {
        return Err(anyhow!("expected exported events, found none in `{}`", path.display()))
            .hint("`assent ledger export` writes them");
    }
    context.message(format_args!("{good} signed by the key {}, {bad} not", key.id().short()));
    Ok(if bad > 0 { Exit::Findings } else { Exit::Done })
}
