//! `assent retrain`: a recorded run again, on its own pictures without some of them.

mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::device::DeviceArgs;
use super::error::HintExt;
use super::key::KeyArgs;
use super::recorded::{self, Recorded};
use super::subject::TargetArgs;
use super::train::shards::begin;
use super::train::{CONFIG, Job, record, report, train};
use super::{Context, Exit, Style, Table, pledge};
use crate::consent::{ReasonCode, Target};
use crate::digest::Sha256Digest;
use crate::keys::SecretKey;
use crate::receipt::{Composition, SnapshotFacts};
use crate::registry::{Registry, Role};
use crate::snapshot::{self, Document, Remains, Supersedes};
use crate::train::adapter::Trained;
use crate::train::error::TrainError;
use crate::train::forecast::check_folder;

const HELP: &str = "Base, configuration and seed are those of the run; its sets are frozen anew, under the policies they were \
made under, from their own members. Pictures are only ever taken away. The new receipt names the adapter whose place it \
takes, and `assent audit` of that one says so.

  assent retrain runs/mine                                  # without what is refused today
  assent retrain runs/mine --without artist:\"Ada Example\"   # and without her pictures
  assent retrain runs/mine --without art/07.png --dry-run   # only say what would go

Of an adapter in shards (`shards = N` in the configuration) only the shards that hold any of it are trained again; with \
--drop they are left out instead, at once, and what is left is what a training without their artists gives.";

/// What is said where nobody's pictures go.
const NOTHING: &str = "nothing changes: every picture of the run may still be used, and none was named";

/// What was said with `--without`, and the pictures that it means.
type Without = (String, BTreeSet<Sha256Digest>);

/// What to train again, and without what.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// The adapter: its file, its run's folder or run.json, or a digest that the registry knows; of one in shards the
    /// folder, or its shards.json
    #[arg(value_name = "ADAPTER")]
    pub adapter: PathBuf,
    /// Leave this out as well as what is refused today: artist:NAME, source:PREFIX, collection:NAME, or a picture by
    /// path or digest; may be repeated
    #[arg(long, value_name = "artist:NAME|IMAGE")]
    pub without: Vec<OsString>,
    /// Of an adapter in shards: take out the shards that hold any of it, and train nothing
    #[arg(long, conflicts_with = "resume")]
    pub drop: bool,
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
    if let Some(manifest) = manifest(&registry, &args.adapter)? {
        return shards::run(context, registry, &args, &manifest);
    }
    if args.drop {
        let named = args.adapter.display();
        return Err(anyhow!("--drop needs an adapter in shards, got `{named}`"))
            .hint("name the folder that holds its shards.json, or leave --drop out");
    }
    let recorded = recorded::find(&registry, &args.adapter)?;
    let without = named(context, &registry, &args.without)?;
    let sets = sets(context, &registry, &recorded, &without)?;
    warn_unknown(context, &without, sets.iter());
    let old = of_record(&recorded);
    superseded_already(context, &registry, &old)?;
    if context.json {
        context.json_line(&json!({"event": "retrain", "supersedes": old, "sets": described(&sets)}))?;
    } else {
        context.line(table(context, sets.iter()))?;
    }
    if sets.iter().all(|set| set.remains.gone.is_empty()) {
        context.message(NOTHING);
        return Ok(Exit::Done);
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => beside(&recorded.folder, recorded.record.supersedes.is_some(), args.resume),
    };
    let key = args.key.read(context)?;
    let job = Again {
        args: &args,
        key: key.as_ref(),
        recorded: &recorded,
        out: &out,
    };
    let Some(trained) = again(context, &mut registry, &job, sets)? else {
        return Ok(Exit::Findings);
    };
    if trained.product.is_some() {
        context.message(format_args!(
            "it supersedes the adapter {}, which is left as it is: `assent affected` lists what was made with that",
            old.file.short()
        ));
        pledge::signed(context, key.as_ref());
    }
    Ok(Exit::Done)
}

/// The manifest of shards that is meant by a path, or by the beginning of a digest that the registry knows.
fn manifest(registry: &Registry, named: &Path) -> Result<Option<PathBuf>> {
    if named.exists() {
        return Ok(Composition::at(named));
    }
    let wanted = named.to_string_lossy().to_lowercase();
    let is_meant = |digest: &Sha256Digest| wanted.len() >= 8 && digest.to_string().starts_with(&wanted);
    let mut rows = registry.compositions()?.into_iter();
    Ok(rows.find(|row| is_meant(&row.sha256)).map(|row| row.path))
}

/// A run that is to be made again.
struct Again<'a> {
    args: &'a Args,
    /// What signs, if anything does.
    key: Option<&'a SecretKey>,
    /// The run as it was.
    recorded: &'a Recorded,
    /// The folder of the new one.
    out: &'a Path,
}

/// Freezes what stays of the sets, trains on it, and records the run; none where it names an artist who opted out.
fn again(context: &Context, registry: &mut Registry, again: &Again<'_>, sets: Vec<Set>) -> Result<Option<Trained>> {
    let Again {
        args,
        key,
        recorded,
        out,
    } = *again;
    let (config, text) = recorded::configuration(recorded, args.config.as_deref(), args.base.as_deref())?;
    check_folder(out, args.resume)?;
    let (names, measured) = freeze(context, registry, sets)?;
    let config = config.on(&names, measured).map_err(|problem| anyhow!(problem))?;
    let kept = out.join(CONFIG);
    if args.resume && kept.exists() && fs::read(&kept).ok().as_deref() != Some(text.as_bytes()) {
        let what = "its configuration".to_owned();
        return Err(TrainError::OtherRun { path: kept, what }.into());
    }
    let job = Job {
        config: &config,
        digest: recorded.record.inputs.config,
        out,
        device: &args.device,
        key,
        supersedes: Some(of_record(recorded)),
        resume: args.resume,
        dry_run: false,
        ignore_memory: args.ignore_memory,
    };
    let Some(trained) = train(context, registry, &job, &|| begin(out, text.as_bytes()))? else {
        return Ok(None);
    };
    record(registry, &trained, out, context)?;
    report(context, &trained, out)?;
    Ok(Some(trained))
}

/// What a run gave.
fn of_record(recorded: &Recorded) -> Supersedes {
    let facts = &recorded.record.adapter;
    Supersedes {
        file: facts.file,
        tensors: facts.tensors,
        receipt: facts.receipt,
    }
}

/// Says which `--without` is about none of the sets.
fn warn_unknown<'s>(context: &Context, without: &[Without], sets: impl Iterator<Item = &'s Set> + Clone) {
    for (said, images) in without {
        let inside = |set: &Set| set.remains.parent().members.iter().any(|m| images.contains(&m.image));
        if !sets.clone().any(inside) {
            context.warn(format_args!("`{said}` is in none of the run's sets"));
        }
    }
}

/// The pictures that each `--without` means, with what shows the same.
fn named(context: &Context, registry: &Registry, without: &[OsString]) -> Result<Vec<Without>> {
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
fn sets(context: &Context, registry: &Registry, recorded: &Recorded, without: &[Without]) -> Result<Vec<Set>> {
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

/// The first folder beside the old one that is not there; of those that are, to resume, the last. The number that the old
/// one got when it was itself trained again is counted on.
fn beside(old: &Path, again: bool, resume: bool) -> PathBuf {
    let name = old.file_name().unwrap_or(OsStr::new("run"));
    let numbered = name.to_str().and_then(|name| name.rsplit_once('-'));
    let numbered = numbered.filter(|(_, number)| again && number.parse::<u32>().is_ok());
    let stem = numbered.map_or(name, |(stem, _)| OsStr::new(stem));
    let folder = |number: u32| {
        let mut name = stem.to_owned();
        name.push(format!("-{number}"));
        old.with_file_name(name)
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

/// What goes from each set, and why, for programs.
fn described(sets: &[Set]) -> Vec<Value> {
    let gone = |set: &Set| -> Vec<Value> {
        let gone = set.remains.gone.iter();
        gone.map(|one| json!({"sha256": one.image, "reason_code": one.reason_code}))
            .collect()
    };
    let set = |set: &Set| {
        json!({
            "snapshot": set.name, "role": set.role.map_or("measured", Role::as_str),
            "members": set.remains.parent().members.len(), "stay": set.remains.stay(), "gone": gone(set),
        })
    };
    sets.iter().map(set).collect()
}

/// The same for people.
fn table<'s>(context: &Context, sets: impl Iterator<Item = &'s Set>) -> Table {
    let mut table = Table::new(context, ["set", "for", "members", "stay", "go", "because"]);
    for set in sets {
        let mut reasons: BTreeMap<ReasonCode, usize> = BTreeMap::new();
        for one in &set.remains.gone {
            *reasons.entry(one.reason_code).or_default() += 1;
        }
        let told = reasons.iter().map(|(reason, count)| match reason {
            ReasonCode::NotSelected => format!("{count} named"),
            other => format!("{count} {other}"),
        });
        table.row([
            set.name.clone(),
            set.role.map_or("measured", Role::as_str).to_owned(),
            set.remains.parent().members.len().to_string(),
            set.remains.stay().to_string(),
            set.remains.gone.len().to_string(),
            told.collect::<Vec<_>>().join(", "),
        ]);
    }
    table
}
