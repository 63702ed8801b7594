//! `assent retrain`: a recorded run again, on its own pictures without some of them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::device::DeviceArgs;
use super::error::HintExt;
use super::key::KeyArgs;
use super::recorded::{self, Recorded};
use super::subject::TargetArgs;
use super::train::{CONFIG, Job, record, report, train};
use super::{Context, Exit, Style, Table, pledge};
use crate::consent::{ReasonCode, Target};
use crate::digest::{Sha256Digest, write_atomic};
use crate::receipt::SnapshotFacts;
use crate::registry::{Registry, Role};
use crate::snapshot::{self, Document, Remains, Supersedes};
use crate::train::error::TrainError;
use crate::train::forecast::check_folder;

const HELP: &str = "Base, configuration and seed are those of the run; its sets are frozen anew, under the policies they were \
made under, from their own members. Pictures are only ever taken away. The new receipt names the adapter whose place it \
takes, and `assent audit` of that one says so.

  assent retrain runs/mine                                  # without what is refused today
  assent retrain runs/mine --without artist:\"Ada Example\"   # and without her pictures
  assent retrain runs/mine --without art/07.png --dry-run   # only say what would go";

/// What to train again, and without what.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// The adapter: its file, its run's folder or run.json, or a digest that the registry knows
    #[arg(value_name = "ADAPTER")]
    pub adapter: PathBuf,
    /// Leave this out as well as what is refused today: artist:NAME, source:PREFIX, collection:NAME, or a picture by
    /// path or digest; may be repeated
    #[arg(long, value_name = "artist:NAME|IMAGE")]
    pub without: Vec<OsString>,
    /// Where the new adapter goes [default: beside the old run's folder, with a number]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue where the last run into this folder was stopped
    #[arg(long)]
    pub resume: bool,
    /// Say what would be left out, and end
    #[arg(long)]
    pub dry_run: bool,
    /// The configuration of the run, where its folder is gone
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The base of the run, where its configuration does not lead to it any more
    #[arg(long, value_name = "DIR|FILE")]
    pub base: Option<PathBuf>,
    /// Train even if there seems to be too little memory
    #[arg(long)]
    pub ignore_memory: bool,
    #[command(flatten)]
    pub(super) key: KeyArgs,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// A set of the run: by its name then, what it was for (none: it was only measured), and what becomes of it.
struct Set {
    name: String,
    role: Option<Role>,
    remains: Remains,
}

/// Trains again, unless nothing changes; findings where the run names an artist who opted out.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let mut registry = context.open_registry()?;
    let recorded = recorded::find(&registry, &args.adapter)?;
    let (config, text) = recorded::configuration(&recorded, args.config.as_deref(), args.base.as_deref())?;
    let without = named(context, &registry, &args.without)?;
    let sets = sets(context, &registry, &recorded, &without)?;
    for (said, images) in &without {
        let inside = |set: &Set| set.remains.parent().members.iter().any(|m| images.contains(&m.image));
        if !sets.iter().any(inside) {
            context.warn(format_args!("`{said}` is in none of the run's sets"));
        }
    }
    let old = old(&recorded);
    superseded_already(context, &registry, &old)?;
    show(context, &sets, &old)?;
    if sets.iter().all(|set| set.remains.gone.is_empty()) {
        context.message("nothing changes: every picture of the run may still be used, and none was named");
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => beside(&recorded, args.resume),
    };
    check_folder(&out, args.resume)?;
    let key = args.key.read(context)?;
    let (names, measured) = freeze(context, &mut registry, sets)?;
    let config = config.on(&names, measured).map_err(|problem| anyhow!(problem))?;
    let kept = out.join(CONFIG);
    if args.resume && kept.exists() && fs::read(&kept).ok().as_deref() != Some(text.as_bytes()) {
        let what = "its configuration".to_owned();
        return Err(TrainError::OtherRun { path: kept, what }.into());
    }
    let begin = || {
        fs::create_dir_all(&out).with_context(|| format!("cannot make `{}`", out.display()))?;
        write_atomic(&kept, text.as_bytes()).with_context(|| format!("cannot write into `{}`", out.display()))
    };
    let job = Job {
        config: &config,
        digest: recorded.record.inputs.config,
        out: &out,
        device: &args.device,
        key: key.as_ref(),
        supersedes: Some(old),
        resume: args.resume,
        dry_run: false,
        ignore_memory: args.ignore_memory,
    };
    let Some(trained) = train(context, &registry, &job, &begin)? else {
        return Ok(Exit::Findings);
    };
    record(&mut registry, &trained, &out, context)?;
    report(context, &trained, &out)?;
    if trained.product.is_some() {
        context.message(format_args!(
            "it supersedes the adapter {}, which is left as it is: `assent affected` lists what was made with that",
            old.file.short()
        ));
        pledge::signed(context, key.as_ref());
    }
    Ok(Exit::Done)
}

/// What the run gave.
fn old(recorded: &Recorded) -> Supersedes {
    let facts = &recorded.record.adapter;
    Supersedes {
        file: facts.file,
        tensors: facts.tensors,
        receipt: facts.receipt,
    }
}

/// The pictures that each `--without` means, with what shows the same.
fn named(
    context: &Context,
    registry: &Registry,
    without: &[OsString],
) -> Result<Vec<(String, BTreeSet<Sha256Digest>)>> {
    let images = |said: &OsString| {
        let target = target(said).target(context, registry)?;
        let reach = registry.reach(&target)?;
        let mut images: BTreeSet<_> = reach.images.into_iter().collect();
        images.extend(reach.near_duplicates.into_iter().map(|near| near.0));
        if let Target::Image(image) = target {
            images.insert(image);
        }
        Ok((said.to_string_lossy().into_owned(), images))
    };
    without.iter().map(images).collect()
}

/// `artist:NAME` and its like; anything else is a picture. A file with such a name is meant where there is one.
fn target(said: &OsStr) -> TargetArgs {
    let text = said.to_str().filter(|_| !Path::new(said).exists()).unwrap_or_default();
    let of = |prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
    let mut target = TargetArgs {
        artist: of("artist:"),
        source: of("source:"),
        collection: of("collection:"),
        image: None,
    };
    if target.artist.is_none() && target.source.is_none() && target.collection.is_none() {
        target.image = Some(text.strip_prefix("image:").map_or(said.to_owned(), OsString::from));
    }
    target
}

/// What becomes of each set of the run.
fn sets(
    context: &Context,
    registry: &Registry,
    recorded: &Recorded,
    without: &[(String, BTreeSet<Sha256Digest>)],
) -> Result<Vec<Set>> {
    let record = &recorded.record;
    let trained = record
        .inputs
        .sets()
        .into_iter()
        .map(|set| (set.snapshot, Some(set.role)));
    let measured = record.measured.iter().map(|set| (set.clone(), None));
    let without: BTreeSet<_> = without.iter().flat_map(|(_, images)| images).copied().collect();
    let set = |(facts, role): (SnapshotFacts, Option<Role>)| {
        let parent = Document::of(registry, &facts.name)
            .hint("the run's sets must be in the registry: `assent snapshot import` brings one in")?;
        if parent.root != facts.root {
            return Err(anyhow!(
                "the snapshot `{}` is not the run's: expected the root {}, found {}",
                facts.name,
                facts.root,
                parent.root
            ));
        }
        let remains = snapshot::remains(registry, parent, &without, context.now).hint(
            "what was moved: run `assent ingest` on its folder; what shall not be in any more: name it with --without",
        )?;
        Ok(Set {
            name: facts.name,
            role,
            remains,
        })
    };
    trained.chain(measured).map(set).collect()
}

/// Freezes what stays of each set that loses anything, and gives the names that the run is repeated on.
fn freeze(context: &Context, registry: &mut Registry, sets: Vec<Set>) -> Result<(Vec<String>, Option<String>)> {
    if let Some(empty) = sets.iter().find(|set| set.role.is_some() && set.remains.stay() == 0) {
        return Err(anyhow!("nothing of the set `{}` may be used any more", empty.name)).hint(
            "where it is the only one, there is nothing left to train on; else take it out of the configuration and \
             run `assent train`",
        );
    }
    let (mut names, mut measured) = (Vec::new(), None);
    for set in sets {
        let name = match (set.remains.gone.is_empty(), set.remains.stay()) {
            (true, _) => set.name,
            // Only ever measured: the run goes on without.
            (false, 0) => {
                context.warn(format_args!(
                    "nothing of `{}`, which was only measured, may be used any more: the run goes on without it",
                    set.name
                ));
                continue;
            }
            (false, _) => {
                let document = set.remains.freeze(registry)?;
                context.message(format_args!(
                    "froze `{}` with {} members, root {}",
                    document.name,
                    document.members.len(),
                    context.paint_err(Style::Faint, document.root)
                ));
                document.name
            }
        };
        match set.role {
            Some(_) => names.push(name),
            None => measured = Some(name),
        }
    }
    Ok((names, measured))
}

/// The first folder beside the old one that is not there; of those that are, to resume, the last.
fn beside(recorded: &Recorded, resume: bool) -> PathBuf {
    let name = recorded.folder.file_name().unwrap_or(OsStr::new("run"));
    // The number that it got when it was itself trained again is counted on.
    let numbered = name.to_str().and_then(|name| name.rsplit_once('-'));
    let numbered = numbered.filter(|(_, n)| recorded.record.supersedes.is_some() && n.parse::<u32>().is_ok());
    let stem = numbered.map_or(name, |(stem, _)| OsStr::new(stem));
    let folder = |number: u32| {
        let mut name = stem.to_owned();
        name.push(format!("-{number}"));
        recorded.folder.with_file_name(name)
    };
    let free = (2..).find(|number| !folder(*number).exists()).unwrap_or(2);
    folder(if resume { (free - 1).max(2) } else { free })
}

fn superseded_already(context: &Context, registry: &Registry, old: &Supersedes) -> Result<()> {
    let Some(row) = registry.adapter(&old.file)? else {
        return Ok(());
    };
    for by in registry.superseded_by(&row)? {
        context.message(format_args!(
            "it is superseded already by the adapter {} (`{}`)",
            by.sha256.short(),
            by.path.display()
        ));
    }
    Ok(())
}

/// What goes from each set, and why.
fn show(context: &Context, sets: &[Set], old: &Supersedes) -> Result<()> {
    if context.json {
        let sets: Vec<_> = sets
            .iter()
            .map(|set| {
                let gone = set.remains.gone.iter();
                let gone: Vec<_> = gone
                    .map(|one| json!({"sha256": one.image, "reason_code": one.reason_code}))
                    .collect();
                json!({"snapshot": set.name, "role": set.role.map_or("measured", Role::as_str),
                    "members": set.remains.parent().members.len(), "stay": set.remains.stay(), "gone": gone})
            })
            .collect();
        return context.json_line(&json!({"event": "retrain", "supersedes": old, "sets": sets}));
    }
    let mut table = Table::new(context, ["set", "for", "members", "stay", "go", "because"]);
    for set in sets {
        let mut reasons: Vec<ReasonCode> = set.remains.gone.iter().map(|one| one.reason_code).collect();
        reasons.sort_unstable();
        reasons.dedup();
        let count = |reason: &ReasonCode| {
            let of = set.remains.gone.iter().filter(|one| one.reason_code == *reason).count();
            match reason {
                ReasonCode::NotSelected => format!("{of} named"),
                other => format!("{of} {other}"),
            }
        };
        table.row([
            set.name.clone(),
            set.role.map_or("measured", Role::as_str).to_owned(),
            set.remains.parent().members.len().to_string(),
            set.remains.stay().to_string(),
            set.remains.gone.len().to_string(),
            reasons.iter().map(count).collect::<Vec<_>>().join(", "),
        ]);
    }
    context.line(table)
}
