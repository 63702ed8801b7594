//! `assent ledger`: the consent events, their chain, their way from ledger to ledger.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::event::{event_json, event_line, proven};
use super::{Context, Exit, HintExt, Style, Table, exchange};
use crate::consent::{EventKind, Said};
use crate::digest::write_atomic;
use crate::registry::{EventFilter, Registry, SaidDigests};

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
    /// Write every event, one JSON object a line; signed ones in a DSSE envelope that needs no registry to check
    Export {
        /// Only this event: its number or its hash
        #[arg(value_name = "EVENT")]
        event: Option<String>,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Append what another ledger exported, each event once; exit code 1 when some are refused or flagged
    Import {
        /// The file
        file: PathBuf,
    },
    /// Check exported events with the public key alone; exit code 1 when one does not verify. Needs no registry
    Check {
        /// The file
        file: PathBuf,
        /// The public key of whoever is said to have signed them
        #[arg(long, value_name = "PUBLIC")]
        key: PathBuf,
    },
}

/// Does what is asked.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.action {
        None => list(context, &context.open_registry()?),
        Some(Action::Verify) => verify(context, &context.open_registry()?),
        Some(Action::Export { event, output }) => export(context, &context.open_registry()?, event, output),
        Some(Action::Import { file }) => exchange::import(context, &file),
        Some(Action::Check { file, key }) => exchange::check(context, &file, &key),
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
            (
                Some(color),
                format!("{}{}", event_line(&stored.event), proven(authentication)),
            ),
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
        context.json_line(&json!({
            "ok": ok, "events": report.events, "signed": report.signed, "flagged": report.flagged,
            "head": report.head, "problem": problem,
        }))?;
    } else if let Some((seq, explanation)) = &report.problem {
        let place = seq.map(|seq| format!(" at event {seq}")).unwrap_or_default();
        context.line(context.paint(Style::Bad, format!("the ledger is broken{place}: {explanation}")))?;
    } else {
        let whole = context.paint(Style::Good, "the ledger is whole");
        let signed = match report.signed {
            0 => String::new(),
            signed => format!(" ({signed} signed)"),
        };
        context.line(format_args!(
            "{whole}: {} events{signed}, head {}",
            report.events, report.head
        ))?;
        for seq in &report.flagged {
            let text = format!("  event {seq} came with a signature that does not verify; it counts as a refusal");
            context.line(context.paint(Style::Warn, text))?;
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Findings })
}

fn export(context: &Context, registry: &Registry, only: Option<String>, output: Option<PathBuf>) -> Result<Exit> {
    let only = match only {
        Some(text) => Some(registry.event(&text).hint("`assent ledger` lists the events")?.seq),
        None => None,
    };
    let mut text = String::new();
    let mut digests = SaidDigests::default();
    for stored in registry.events(EventFilter::default())? {
        let ended = digests.ended(&stored)?;
        if only.is_some_and(|seq| seq != stored.seq) {
            continue;
        }
        let mut value = event_json(&stored);
        match stored.envelope(ended)? {
            Some(envelope) => value["envelope"] = json!(envelope),
            None => value["said"] = json!(Said::of(&stored.event, ended)),
        }
        value.sort_all_objects();
        text.push_str(&serde_json::to_string(&value)?);
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
