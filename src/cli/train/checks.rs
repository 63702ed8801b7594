//! What is told before the first step: names of artists who opted out, and what the adapter will oblige to.

use anyhow::Result;

use super::super::{Context, HintExt, names};
use crate::consent::Policy;
use crate::receipt::{self, SnapshotFacts};
use crate::registry::Registry;
use crate::snapshot::Document;
use crate::train::config::AdapterConfig;
use crate::train::sets::TrainingSet;

/// Whether the trigger phrase, a sample prompt, words that are put into captions, or a caption of any snapshot names an
/// artist who opted out. Captions count unless their snapshot's own policy lets them name such artists.
pub(super) fn names_artists(context: &Context, registry: &Registry, config: &AdapterConfig) -> Result<bool> {
    let mut captions = Vec::new();
    for (name, _) in config.sets() {
        let document = Document::of(registry, name).hint("`assent snapshot list` lists them")?;
        if !Policy::parse(&document.policy.text)?.refuse_names {
            continue;
        }
        for member in document.members {
            if let Some(caption) = member.caption {
                captions.push((format!("the caption of {}", member.image.short()), caption));
            }
        }
    }
    let trigger = config
        .run
        .trigger_phrase
        .iter()
        .map(|text| ("`trigger_phrase`".to_string(), text.as_str()));
    let title = [("`output_name`".to_string(), config.run.output_name.as_str())];
    let prompts = config.run.sample_prompts.iter().enumerate();
    let prompts = prompts.map(|(at, text)| (format!("sample prompt {}", at + 1), text.as_str()));
    let captions = captions.iter().map(|(of, caption)| (of.clone(), caption.as_str()));
    let words = config.sources.iter().flat_map(|source| source.options.words());
    let words = words.map(|(key, text)| (format!("`{key}`"), text));
    let texts = trigger.chain(title).chain(prompts).chain(words).chain(captions);
    Ok(names::opted_out(context, registry, texts)? > 0)
}

/// Says before the first step what the adapter will oblige to, for each set that obliges to anything.
pub(super) fn obligations(context: &Context, sets: &[TrainingSet<'_>]) {
    let facts: Vec<_> = sets
        .iter()
        .map(|set| SnapshotFacts::of(set.snapshot.document()))
        .collect();
    let several = facts.len() > 1;
    let of = |facts: &SnapshotFacts| match several {
        true => format!(" (`{}`)", facts.name),
        false => String::new(),
    };
    if facts.iter().all(|facts| facts.obligations.is_empty()) {
        context.message("the adapter will oblige whoever uses it to: nothing");
    }
    for facts in facts {
        if !facts.obligations.is_empty() {
            let carries = receipt::counted(&facts.obligations);
            let of = of(&facts);
            context.message(format_args!(
                "the adapter will oblige whoever uses it to{of}: {carries}"
            ));
        }
        if !facts.bases.is_empty() {
            let of = of(&facts);
            context.message(format_args!("it rests on{of}: {}", receipt::counted(&facts.bases)));
        }
    }
}
