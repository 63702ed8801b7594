//! `assent review`: the pictures that a person should look at, and what people said who did.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::event::report;
use super::images::name;
use super::key::KeyArgs;
use super::sheet::{self, Contacts};
use super::{Context, Exit, HintExt, Style, Table, subject};
use crate::consent::{Doubt, EventKind, Likeness, Target, doubts};
use crate::digest::Sha256Digest;
use crate::registry::{ImageRecord, NewEvent, Reader, Registry};

/// Doubts in the table for people; `--json` lists all.
const LISTED: usize = 500;
/// Characters of a text in the table.
const TEXT: usize = 70;

/// Options of `assent review`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Draw the pictures in doubt beside those they look like: a PNG
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Say that the open doubts about a picture are unfounded; later ones stand
    Accept(Answer),
    /// Say that a picture is to be refused
    Reject(Answer),
}

#[derive(Debug, clap::Args)]
struct Answer {
    /// A file, a SHA-256, or the first characters of one
    #[arg(value_name = "PATH|SHA")]
    image: OsString,
    /// Why: the ledger keeps it
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    key: KeyArgs,
}

/// Lists the queue, or records an answer.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.action {
        None => queue(context, args.sheet),
        Some(Action::Accept(answer)) => record(context, EventKind::Accept, answer),
        Some(Action::Reject(answer)) => record(context, EventKind::Reject, answer),
    }
}

fn queue(context: &Context, sheet: Option<PathBuf>) -> Result<Exit> {
    let registry = context.open_registry()?;
    let mut contacts = sheet.as_ref().map(|_| Contacts::new(["in doubt", "refused"]));
    let mut table = Table::new(context, ["picture", "doubt", "distance", "other picture", "because"]);
    let (mut pictures, mut listed) = (0_usize, 0_usize);
    let bar = match context.progress() {
        true => ProgressBar::new_spinner().with_message("pictures in doubt"),
        false => ProgressBar::hidden(),
    };
    let reader = registry.reader()?;
    for known in reader.in_doubt() {
        let known = known?;
        bar.tick();
        let doubts = doubts(&known.evidence, context.now);
        if doubts.is_empty() {
            continue;
        }
        pictures += 1;
        if context.json {
            context.json_line(&listed_json(&reader, &known.image, &doubts)?)?;
        }
        for doubt in &doubts {
            listed += 1;
            let wanted = !context.json && listed <= LISTED;
            let drawn = contacts.as_ref().is_some_and(|contacts| !contacts.is_full());
            let other = match &doubt.other {
                Some(like) if wanted || drawn => reader.image(&like.image)?,
                _ => None,
            };
            if wanted {
                table.styled_row(row(context, &known.image, doubt, other.as_ref()));
            }
            if let Some(contacts) = &mut contacts {
                contacts.row(label(&known.image.sha256, doubt), [Some(&known.image), other.as_ref()]);
            }
        }
    }
    bar.finish_and_clear();
    if !context.json && listed > 0 {
        context.line(table)?;
    }
    if listed > LISTED && !context.json {
        let hidden = listed - LISTED;
        context.message(format_args!(
            "{hidden} more doubts are not listed here; `--json` lists all"
        ));
    }
    let of = registry.image_count()?;
    context.message(format_args!("{pictures} of {of} pictures to look at"));
    if let (Some(contacts), Some(path)) = (contacts, &sheet) {
        contacts.write(context, path, "doubts")?;
    }
    Ok(Exit::Done)
}

fn row(
    context: &Context,
    image: &ImageRecord,
    doubt: &Doubt,
    other: Option<&ImageRecord>,
) -> [(Option<Style>, String); 5] {
    let (what, style, distance) = match doubt.other {
        None => ("did not parse or is unclear", Style::Warn, "-".to_string()),
        Some(Likeness {
            doubtful: true,
            distance,
            ..
        }) => ("may show the same", Style::Warn, distance.to_string()),
        Some(like) => ("shows the same: refused", Style::Bad, like.distance.to_string()),
    };
    let titled = |image: &ImageRecord| {
        let path = image
            .paths
            .first()
            .map(|path| sheet::near_here(path).display().to_string());
        format!("{}  {}", image.sha256.short(), path.unwrap_or_else(|| name(image)))
    };
    [
        (None, titled(image)),
        (Some(style), what.to_string()),
        (None, distance),
        (None, other.map_or_else(|| "-".to_string(), titled)),
        (
            None,
            shortened(&doubt.text, if context.verbose { usize::MAX } else { TEXT }),
        ),
    ]
}

/// A text of strangers in one line, its digests as short as those beside it.
fn shortened(text: &str, limit: usize) -> String {
    let digest = |part: &str| {
        part.parse::<Sha256Digest>()
            .map_or(part.to_string(), |digest| digest.short())
    };
    let text = text.split('`').map(digest).collect::<Vec<_>>().join("`");
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = plain.take(limit).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

fn label(image: &Sha256Digest, doubt: &Doubt) -> String {
    match doubt.other {
        Some(like) => format!("{}  {}", image.short(), like.distance),
        None => image.short(),
    }
}

fn listed_json(reader: &Reader<'_>, image: &ImageRecord, doubts: &[Doubt]) -> Result<Value> {
    let each = |doubt: &Doubt| -> Result<Value> {
        let other = match &doubt.other {
            Some(like) => reader.image(&like.image)?,
            None => None,
        };
        Ok(json!({
            "matter": doubt.matter,
            "kind": doubt.kind(),
            "text": doubt.text,
            "distance": doubt.other.map(|like| like.distance),
            "doubtful": doubt.other.map(|like| like.doubtful),
            "other": doubt.other.map(|like| like.image),
            "other_paths": other.as_ref().map(paths).unwrap_or_default(),
        }))
    };
    Ok(json!({
        "sha256": image.sha256,
        "paths": paths(image),
        "doubts": doubts.iter().map(each).collect::<Result<Vec<_>>>()?,
    }))
}

fn paths(image: &ImageRecord) -> Vec<String> {
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    image.paths.iter().map(text).collect()
}

fn record(context: &Context, kind: EventKind, answer: Answer) -> Result<Exit> {
    if answer.reason.trim().is_empty() {
        return Err(anyhow!("expected a reason, got nothing"));
    }
    let key = answer.key.read(context)?;
    let mut registry = context.open_registry()?;
    let image = subject::registered(context, &registry, &answer.image)?;
    let open = doubts(&registry.evidence(&image)?, context.now);
    // A rejection needs no doubt; nothing that nobody asked is accepted.
    if open.is_empty() && kind == EventKind::Accept {
        return Err(nothing_open(&registry, &image)?)
            .hint("`assent review` lists what is open; `assent revoke EVENT` ends a review that was recorded before");
    }
    let event = NewEvent {
        matters: open.iter().map(|doubt| doubt.matter.clone()).collect(),
        note: Some(answer.reason),
        ..NewEvent::new(kind, Some(Target::Image(image)))
    };
    let stored = registry.append_signed(&event, key.as_ref(), context.now)?;
    let exit = report(context, &stored, None)?;
    if !context.json {
        for doubt in &open {
            let text = shortened(&doubt.text, TEXT);
            let line = match doubt.other {
                Some(like) => format!("distance {} from {}: {text}", like.distance, like.image.short()),
                None => text,
            };
            context.line(format_args!("  {line}"))?;
        }
    }
    Ok(exit)
}

/// Why there is nothing to accept.
fn nothing_open(registry: &Registry, image: &Sha256Digest) -> Result<anyhow::Error> {
    let evidence = registry.evidence(image)?;
    let short = image.short();
    Ok(match evidence.neighbours.iter().find(|near| near.distance == 0) {
        Some(same) => anyhow!(
            "no doubt about {short} is open; it does not differ from {}, which was refused, and no person can say otherwise",
            same.image.short()
        ),
        None => anyhow!("no doubt about {short} is open"),
    })
}
