//! `assent opt-out`, `assent grant`, `assent revoke`: events for the consent ledger.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::key::KeyArgs;
use super::subject::TargetArgs;
use super::{Context, Exit, HintExt, Style, opt_out_list};
use crate::consent::{Authentication, Event, EventKind, Purpose, Scope, Target, identifier};
use crate::registry::{MAX_EVIDENCE_BYTES, NewEvent, Reach, StoredEvent};

/// Options of `assent opt-out`.
#[derive(Debug, clap::Args)]
pub struct OptOut {
    #[command(flatten)]
    target: TargetArgs,
    /// Everything that a list names: CSV with a header, JSON Lines, or an address, a digest or a name a line
    #[arg(long, value_name = "FILE", group = "TargetArgs", conflicts_with = "evidence")]
    list: Option<PathBuf>,
    /// Another name of the artist; may be repeated
    #[arg(long = "alias", value_name = "NAME", requires = "artist")]
    aliases: Vec<String>,
    /// An identifier of the artist: an address of theirs, an ORCID, `ulan:NUMBER`, `@name@host`, `deviantart:name`; may
    /// be repeated
    #[arg(long = "id", value_name = "ID", requires = "artist", value_parser = identified)]
    identifiers: Vec<String>,
    /// Only this purpose; may be repeated [default: all]
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<Purpose>,
    /// The document that shows it (a letter, a screenshot); the registry keeps it
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `assent grant`.
#[derive(Debug, clap::Args)]
pub struct Grant {
    #[command(flatten)]
    target: TargetArgs,
    /// Another name of the artist; may be repeated
    #[arg(long = "alias", value_name = "NAME", requires = "artist")]
    aliases: Vec<String>,
    /// An identifier of the artist: an address of theirs, an ORCID, `ulan:NUMBER`, `@name@host`, `deviantart:name`; may
    /// be repeated
    #[arg(long = "id", value_name = "ID", requires = "artist", value_parser = identified)]
    identifiers: Vec<String>,
    /// To whom it is given
    #[arg(long, value_name = "NAME")]
    licensee: String,
    /// Only for this purpose; may be repeated [default: all]
    #[arg(long = "purpose", value_name = "PURPOSE")]
    purposes: Vec<Purpose>,
    /// Only for this use: `personal` earns nothing, `commercial` may [default: any]
    #[arg(long, value_name = "SCOPE")]
    scope: Option<Scope>,
    /// The first day of it (2026-01-31, in UTC), or the moment it begins (RFC 3339) [default: now]
    #[arg(long, value_name = "DATE", value_parser = from)]
    from: Option<Timestamp>,
    /// The last day of it (2027-12-31, in UTC), or the moment it ends (RFC 3339)
    #[arg(long, value_name = "DATE", value_parser = until)]
    until: Option<Timestamp>,
    /// The agreement; the registry keeps it
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Options of `assent revoke`.
#[derive(Debug, clap::Args)]
pub struct Revoke {
    /// The number or the hash of an opt-out, a grant or a review, as `assent ledger` lists them
    #[arg(value_name = "EVENT")]
    event: String,
    /// The document that shows it; the registry keeps it
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
    /// Free text
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
}

/// Records a refusal.
pub fn opt_out(context: &Context, args: OptOut) -> Result<Exit> {
    let key = args.key.read(context)?;
    if let Some(path) = &args.list {
        let event = NewEvent {
            purposes: args.purposes,
            note: args.note,
            ..NewEvent::new(EventKind::OptOut, None)
        };
        return opt_out_list::bring_in(context, path, event, key.as_ref());
    }
    let mut registry = context.open_or_create_registry()?;
    let target = args.target.target(context, &registry)?;
    let event = NewEvent {
        aliases: names(args.aliases, args.identifiers),
        purposes: args.purposes,
        evidence: args.evidence.as_deref().map(document).transpose()?,
        note: args.note,
        ..NewEvent::new(EventKind::OptOut, Some(target.clone()))
    };
    let stored = registry.append_signed(&event, key.as_ref(), context.now)?;
    report(context, &stored, Some(&registry.reach(&target)?))
}

/// Records a permission.
pub fn grant(context: &Context, args: Grant) -> Result<Exit> {
    if args.licensee.trim().is_empty() {
        return Err(anyhow!("expected the name of a licensee, got nothing"));
    }
    if let (Some(from), Some(until)) = (args.from, args.until)
        && from >= until
    {
        return Err(anyhow!(
            "expected a grant that ends after it begins, got one from {from} until {until}"
        ));
    }
    let key = args.key.read(context)?;
    let mut registry = context.open_or_create_registry()?;
    let target = args.target.target(context, &registry)?;
    let event = NewEvent {
        aliases: names(args.aliases, args.identifiers),
        purposes: args.purposes,
        licensee: Some(args.licensee),
        scope: args.scope,
        valid_from: args.from,
        until: args.until,
        evidence: Some(document(&args.evidence)?),
        note: args.note,
        ..NewEvent::new(EventKind::Grant, Some(target))
    };
    let stored = registry.append_signed(&event, key.as_ref(), context.now)?;
    report(context, &stored, None)
}

/// Ends an opt-out, a grant or a review.
pub fn revoke(context: &Context, args: Revoke) -> Result<Exit> {
    let key = args.key.read(context)?;
    let mut registry = context.open_registry()?;
    let ended = registry.event(&args.event).hint("`assent ledger` lists the events")?;
    let event = NewEvent {
        evidence: args.evidence.as_deref().map(document).transpose()?,
        note: args.note,
        purposes: ended.event.purposes.clone(),
        revokes: Some(ended.hash),
        ..NewEvent::new(EventKind::Revoke, None)
    };
    let stored = registry.append_signed(&event, key.as_ref(), context.now)?;
    let reach = match (&ended.event.kind, &ended.event.target) {
        (EventKind::Grant, Some(target)) => Some(registry.reach(target)?),
        _ => None,
    };
    report(context, &stored, reach.as_ref())
}

/// An event as JSON.
pub(super) fn event_json(stored: &StoredEvent) -> Value {
    let event = &stored.event;
    json!({
        "event": stored.hash,
        "seq": stored.seq,
        "at": event.at,
        "kind": event.kind,
        "target": event.target.as_ref().map(|target| json!({"kind": target.kind(), "value": target.value()})),
        "aliases": event.aliases,
        "purposes": event.purposes,
        "licensee": event.licensee,
        "until": event.until,
        "evidence": event.evidence,
        "note": event.note,
        "revokes": event.revokes,
        "scope": event.scope,
        "valid_from": event.valid_from,
        "issued": event.issued,
        "imported": event.imported,
        "matters": event.matters,
        "signer": event.signer,
        "previous": stored.previous,
    })
}

/// An event in a line.
pub(super) fn event_line(event: &Event) -> String {
    let about = event.target.as_ref().map(|target| match target {
        Target::Image(digest) => format!("image {}", digest.short()),
        Target::List(digest) => format!("list {}", digest.short()),
        other => format!("{} `{}`", other.kind(), other.value()),
    });
    let mut line = match (event.kind, about) {
        (EventKind::OptOut, Some(about)) => format!("{about} opts out"),
        (EventKind::Grant, Some(about)) => {
            format!(
                "{about} is granted to `{}`",
                event.licensee.as_deref().unwrap_or("nobody")
            )
        }
        (EventKind::Accept, Some(about)) => format!("{about} is accepted in review"),
        (EventKind::Reject, Some(about)) => format!("{about} is rejected in review"),
        (_, Some(about)) => about,
        (_, None) => format!(
            "event {} is revoked",
            event.revokes.map(|hash| hash.short()).unwrap_or_default()
        ),
    };
    if !event.aliases.is_empty() {
        line.push_str(&format!(" (also {})", event.aliases.join(", ")));
    }
    if event.purposes.len() < Purpose::ALL.len() {
        let purposes: Vec<_> = event.purposes.iter().map(|purpose| purpose.as_str()).collect();
        line.push_str(&format!(" for {}", purposes.join(", ")));
    }
    if let Some(scope) = event.scope {
        line.push_str(&format!(", {scope} use"));
    }
    if let Some(from) = event.valid_from {
        line.push_str(&format!(" from {from}"));
    }
    if let Some(until) = event.until {
        line.push_str(&format!(" until {until}"));
    }
    line
}

/// How far the origin of an event is proven, as people read it; nothing for one that is not signed.
pub(super) fn proven(authentication: Authentication) -> &'static str {
    match authentication {
        Authentication::None => "",
        Authentication::Invalid => ", signature does not verify",
        Authentication::Signed => ", signed",
        Authentication::Trusted => ", signed by a trusted key",
    }
}

/// Names and identifiers as one list of names.
fn names(aliases: Vec<String>, identifiers: Vec<String>) -> Vec<String> {
    aliases.into_iter().chain(identifiers).collect()
}

fn identified(text: &str) -> Result<String, String> {
    identifier(text).map_err(|error| error.to_string())
}

/// Prints an event that was recorded, and what it reaches.
pub(super) fn report(context: &Context, stored: &StoredEvent, reach: Option<&Reach>) -> Result<Exit> {
    if context.json {
        let mut value = event_json(stored);
        if let (Some(reach), Some(fields)) = (reach, value.as_object_mut()) {
            fields.insert("reaches".into(), reach_json(reach));
        }
        context.json_line(&value)?;
        return Ok(Exit::Done);
    }
    context.line(format_args!(
        "event {} ({}): {}",
        stored.seq,
        stored.hash.short(),
        event_line(&stored.event)
    ))?;
    if let Some(key) = stored.signer() {
        context.line(format_args!("signed by the key {}", key.id().short()))?;
    }
    if let Some(reach) = reach {
        show_reach(context, reach)?;
    }
    Ok(Exit::Done)
}

/// What an event reaches, and what was made of that.
pub(super) fn show_reach(context: &Context, reach: &Reach) -> Result<()> {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    context.line(format_args!(
        "It reaches {} and {}.",
        count(reach.images.len(), "picture"),
        count(reach.near_duplicates.len(), "near-duplicate")
    ))?;
    for (copy, shown, distance) in &reach.near_duplicates {
        context.line(format_args!(
            "  {} shows the same as {} (distance {distance})",
            copy.short(),
            shown.short()
        ))?;
    }
    for (copy, shown, distance) in &reach.doubtful {
        let line = format!(
            "  {} may show the same as {} (distance {distance}): look",
            copy.short(),
            shown.short()
        );
        context.line(context.paint(Style::Warn, line))?;
    }
    for (name, _) in &reach.snapshots {
        context.line(context.paint(
            Style::Warn,
            format!("  the snapshot `{name}` holds some: it no longer verifies"),
        ))?;
    }
    for adapter in &reach.adapters {
        context.line(context.paint(
            Style::Bad,
            format!("  the adapter {} was trained on some", adapter.short()),
        ))?;
    }
    Ok(())
}

pub(super) fn reach_json(reach: &Reach) -> Value {
    let pairs = |pairs: &[_]| {
        let pair = |(copy, of, distance): &(_, _, u32)| json!({"sha256": copy, "of": of, "distance": distance});
        pairs.iter().map(pair).collect::<Vec<_>>()
    };
    json!({
        "images": reach.images,
        "near_duplicates": pairs(&reach.near_duplicates),
        "doubtful": pairs(&reach.doubtful),
        "snapshots": reach.snapshots.iter().map(|(name, root)| json!({"name": name, "root": root})).collect::<Vec<_>>(),
        "adapters": reach.adapters,
    })
}

/// The name and the bytes of a document.
fn document(path: &Path) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(|| format!("cannot open the evidence `{}`", path.display()))?;
    // One byte more than is kept, so that the registry sees what is too large.
    let read = file.take(MAX_EVIDENCE_BYTES + 1).read_to_end(&mut bytes);
    read.with_context(|| format!("cannot read the evidence `{}`", path.display()))?;
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    Ok((name, bytes))
}

/// The moment a grant begins: a date is its first day.
fn from(text: &str) -> Result<Timestamp, String> {
    let first = text
        .parse::<Date>()
        .ok()
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    match (text.parse::<Timestamp>(), first) {
        (Ok(time), _) => Ok(time),
        (_, Some(first)) => Ok(first.timestamp()),
        _ => Err(format!(
            "expected a date (2026-01-31) or a time (2026-01-31T12:00:00Z), got `{text}`"
        )),
    }
}

/// The moment a grant ends: a date is its last day.
fn until(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    let after = text.parse::<Date>().ok().and_then(|date| date.tomorrow().ok());
    let moment = after
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok())
        .map(|zoned| zoned.timestamp());
    moment.ok_or_else(|| format!("expected a date (2027-12-31) or a time (2027-12-31T12:00:00Z), got `{text}`"))
}
