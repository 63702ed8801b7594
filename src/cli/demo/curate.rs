//! The first half of the demo: register, hear a refusal, decide, freeze.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::story::Story;
use crate::cli::Context;
use crate::consent::{EventKind, Policy, Purpose, ReasonCode, Target};
use crate::digest::Sha256Digest;
use crate::ingest::{Options, ingest, walk};
use crate::registry::{NewEvent, Registry};
use crate::snapshot::{Document, Exclusion, Selection, create};

/// Whose style the adapter learns.
pub(super) const CHOSEN: &str = "Lumen Okafor";
/// Who refuses through the ledger.
pub(super) const REFUSING: &str = "Mirek Sowa";
/// Whose pictures are only measured with, never trained on.
const OTHERS: [&str; 3] = ["Pia Brandvold", "Tessa Quill", "Bexley Odum"];

/// Registers the sample art, files the refusal, and freezes what is left.
pub(super) fn curate(
    context: &Context,
    story: &Story<'_>,
    registry: &mut Registry,
    sample: &Path,
    policy: &Path,
) -> Result<()> {
    story.chapter("Register the sample art, with what its makers say")?;
    let names = register(context, story, registry, sample)?;

    story.chapter(&format!("{REFUSING} refuses: an opt-out into the ledger"))?;
    refuse(context, story, registry)?;

    let text = std::fs::read_to_string(policy).with_context(|| format!("cannot read `{}`", policy.display()))?;
    let policy = Policy::parse(&text)?;
    story.chapter(&format!(
        "Decide under the policy `{}`, and freeze what may be used",
        policy.name
    ))?;
    let mut freeze = |name: &str, artists: &[&str]| {
        let selection = Selection {
            artists: artists.iter().map(|artist| (*artist).to_string()).collect(),
            ..Selection::default()
        };
        create(registry, name, &policy, &selection, context.now)
    };
    let Document {
        members,
        excluded,
        root,
        ..
    } = freeze("night-rings", &[CHOSEN])?;
    story.line(format!(
        "snapshot `night-rings`: {} pictures, all by {CHOSEN}, root {}",
        members.len(),
        root.short()
    ))?;
    story.line(format!("kept out: {} pictures", excluded.len()))?;
    for (reason, excluded) in by_reason(&excluded) {
        story.line(format!(
            "  {:>3}  {reason:<21} {}",
            excluded.len(),
            example(&excluded, &names)
        ))?;
    }
    let others = freeze("others", &OTHERS)?;
    story.line(format!(
        "snapshot `others`: {} pictures, to measure with, not to train on",
        others.members.len()
    ))
}

/// Registers; returns the names below the sample folder by digest.
fn register(
    context: &Context,
    story: &Story<'_>,
    registry: &mut Registry,
    sample: &Path,
) -> Result<BTreeMap<Sha256Digest, PathBuf>> {
    let entries: Vec<_> = walk(&[sample.to_path_buf()]).collect();
    let bar = story.bar(entries.len() as u64, "pictures");
    let mut names = BTreeMap::new();
    let mut refused = Vec::new();
    let summary = ingest(
        registry,
        entries.into_iter(),
        &Options::default(),
        context.now,
        |report| {
            bar.inc(1);
            let name = report.path.strip_prefix(sample).unwrap_or(&report.path).to_path_buf();
            match report.sha256 {
                Some(digest) => drop(names.insert(digest, name)),
                None => refused.push((name, report.reason.unwrap_or_default())),
            }
        },
    )?;
    bar.finish_and_clear();
    for (name, reason) in refused {
        context.warn(format!("{}: {reason}", name.display()));
    }
    story.line(format!(
        "{} pictures registered, {} refused as unreadable",
        summary.added, summary.refused
    ))?;
    Ok(names)
}

fn refuse(context: &Context, story: &Story<'_>, registry: &mut Registry) -> Result<()> {
    let target = Target::Artist(REFUSING.to_string());
    let mut event = NewEvent::new(EventKind::OptOut, Some(target.clone()));
    event.purposes = vec![Purpose::AiTraining, Purpose::AiGenerativeTraining];
    let stored = registry.append_event(&event, context.now)?;
    let reach = registry.reach(&target)?;
    story.line(format!(
        "event {}: it reaches {} pictures by the artist and {} that {} the same thing under another name",
        stored.seq,
        reach.images.len(),
        reach.near_duplicates.len(),
        if reach.near_duplicates.len() == 1 {
            "shows"
        } else {
            "show"
        },
    ))
}

/// The exclusions by reason, in the order of the reasons' names.
fn by_reason(excluded: &[Exclusion]) -> BTreeMap<&'static str, Vec<&Exclusion>> {
    let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for exclusion in excluded {
        reasons
            .entry(ReasonCode::as_str(exclusion.reason_code))
            .or_default()
            .push(exclusion);
    }
    reasons
}

/// The first of the pictures by name, and what says no to it.
fn example(excluded: &[&Exclusion], names: &BTreeMap<Sha256Digest, PathBuf>) -> String {
    let name = |digest: &Sha256Digest| {
        names
            .get(digest)
            .map_or_else(|| digest.short(), |path| path.display().to_string())
    };
    let Some(first) = excluded.iter().min_by_key(|exclusion| name(&exclusion.image)) else {
        return String::new();
    };
    let shown = |source: &str| {
        source
            .strip_prefix("near_duplicate:")
            .and_then(|digest| digest.parse().ok())
    };
    let copies = matches!(
        first.reason_code,
        ReasonCode::DeniedNearDuplicate | ReasonCode::NeedsReview
    );
    let why = match first.reason_code {
        ReasonCode::AiGenerated => "says that a machine made it".to_string(),
        ReasonCode::LicenseMissing => "carries no licence".to_string(),
        ReasonCode::NotSelected => "may be used, but was not asked for".to_string(),
        _ => match first
            .evidence
            .iter()
            .find(|line| shown(&line.source).is_some() == copies)
        {
            Some(line) => match shown(&line.source) {
                Some(original) => format!("looks like {} ({})", name(&original), line.raw),
                None => format!("{} ({})", line.source, line.raw),
            },
            None => return name(&first.image),
        },
    };
    format!("{}: {why}", name(&first.image))
}
