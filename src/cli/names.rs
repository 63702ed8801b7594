//! The check before training and drawing: does a text name an artist who opted out of generative training?

use anyhow::Result;
use serde_json::json;

use super::event::event_line;
use super::{Context, Style};
use crate::consent::{EventKind, Evidence, Mention, Purpose, State, state};
use crate::digest::Sha256Digest;
use crate::registry::{Mentions, Registry};

/// Looks for the names in texts, each with the place where it stands, and shows what it finds; says how much that is.
pub(super) fn opted_out<'t>(
    context: &Context,
    registry: &Registry,
    texts: impl IntoIterator<Item = (String, &'t str)>,
) -> Result<usize> {
    let mentions = registry.mentions()?;
    let mut count = 0;
    for (place, text) in texts {
        for mention in standing(context, &mentions, &place, text) {
            count += 1;
            show(context, registry, &mention)?;
        }
    }
    if count > 0 {
        context.message(format_args!(
            "{} `assent ledger` lists the events; a later grant by the artist or a withdrawal (`assent revoke`) lifts them",
            context.paint_err(Style::Strong, "hint:")
        ));
    }
    Ok(count)
}

/// The mentions in a text of artists whose opt-out stands now.
fn standing(context: &Context, mentions: &Mentions, place: &str, text: &str) -> Vec<Mention> {
    let stands = |mention: &Mention| {
        let about = Evidence {
            ledger: mention.ledger.clone(),
            ..Evidence::none(Sha256Digest::from_bytes([0; 32]))
        };
        state(&about, Purpose::AiGenerativeTraining, context.now) == State::Denied
    };
    mentions.find(place, text).into_iter().filter(stands).collect()
}

fn show(context: &Context, registry: &Registry, mention: &Mention) -> Result<()> {
    let mut opt_outs = mention
        .ledger
        .iter()
        .filter(|entry| entry.event.kind == EventKind::OptOut);
    let last = opt_outs.next_back();
    if context.json {
        return context.json_line(&json!({
            "finding": "names_opted_out_artist", "place": mention.place, "name": mention.name,
            "seq": last.map(|entry| entry.seq), "event": last.map(|entry| entry.hash),
        }));
    }
    let event = match last {
        Some(entry) => registry.event(&entry.hash.to_string())?,
        None => return Ok(()),
    };
    context.line(format_args!(
        "{} {} names `{}`, who opted out: event {} ({}): {}",
        context.paint(Style::Bad, "refused"),
        mention.place,
        mention.name,
        event.seq,
        event.hash.short(),
        event_line(&event.event)
    ))
}
