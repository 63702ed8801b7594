//! `assent ledger`: the consent events, their chain, their export.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::event::{event_json, event_line, proven};
use super::{Context, Exit, Style, Table};
use crate::consent::EventKind;
use crate::digest::write_atomic;
use crate::registry::{EventFilter, Registry};

/// Options of `assent ledger`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Recompute the chain; exit code 1 names the first event that is broken
    Verify,
    /// Write every event with its hash, one JSON object a line
    Export {
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// Lists, verifies or exports.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let registry = context.open_registry()?;
    match args.action {
        None => list(context, &registry),
        Some(Action::Verify) => verify(context, &registry),
        Some(Action::Export { output }) => export(context, &registry, output),
    }
}

fn list(context: &Context, registry: &Registry) -> Result<Exit> {
    let events = registry.events(EventFilter::default())?;
    let mut table = Table::new(context, ["event", "hash", "recorded", "what", "evidence", "note"]);
    let authentications = registry.authentications(&events)?;
    for (stored, authentication) in events.iter().zip(authentications) {
        if context.json {
            let mut value = event_json(stored);
            value["authentication"] = json!(authentication);
            context.json_line(&value)?;
            continue;
        }
        let color = match stored.event.kind {
            EventKind::OptOut | EventKind::Reject => Style::Bad,
            EventKind::Grant | EventKind::Accept => Style::Good,
            EventKind::Revoke => Style::Warn,
        };
        table.styled_row([
            (None, stored.seq.to_string()),
            (Some(Style::Faint), stored.hash.short()),
            (None, stored.event.at.to_string()),
            (Some(color), format!("{}{}", event_line(stored), proven(authentication))),
            (
                Some(Style::Faint),
                stored
                    .event
                    .evidence
                    .map_or_else(|| "-".into(), |digest| digest.short()),
            ),
            (None, stored.event.note.clone().unwrap_or_default()),
        ]);
    }
    if !context.json && !events.is_empty() {
        context.line(table)?;
    }
    context.message(format_args!("{} events", events.len()));
    Ok(Exit::Done)
}

fn verify(context: &Context, registry: &Registry) -> Result<Exit> {
    let report = registry.verify_ledger()?;
    let ok = report.problem.is_none();
    if context.json {
        let problem = report
            .problem
            .as_ref()
            .map(|(seq, explanation)| json!({"seq": seq, "explanation": explanation}));
        context.json_line(&json!({"ok": ok, "events": report.events, "head": report.head, "problem": problem}))?;
    } else if let Some((seq, explanation)) = &report.problem {
        let place = seq.map(|seq| format!(" at event {seq}")).unwrap_or_default();
        context.line(context.paint(Style::Bad, format!("the ledger is broken{place}: {explanation}")))?;
    } else {
        let whole = context.paint(Style::Good, "the ledger is whole");
        context.line(format_args!("{whole}: {} events, head {}", report.events, report.head))?;
    }
    Ok(if ok { Exit::Done } else { Exit::Findings })
}

fn export(context: &Context, registry: &Registry, output: Option<PathBuf>) -> Result<Exit> {
    let mut text = String::new();
    for stored in registry.events(EventFilter::default())? {
        text.push_str(&serde_json::to_string(&event_json(&stored))?);
        text.push('\n');
    }
    match output {
        None if text.is_empty() => {}
        None => context.line(text.trim_end())?,
        Some(path) => {
            write_atomic(&path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
            context.message(format_args!(
                "wrote {} events to `{}`",
                text.lines().count(),
                path.display()
            ));
        }
    }
    Ok(Exit::Done)
}
