//! `assent train`: an adapter on a verified snapshot.

mod checks;
mod record;
pub(super) mod shards;
mod watch;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use self::checks::{names_artists, obligations};
pub use self::record::{record, report};
use self::watch::{Lines, Plans};
use super::bar::Bar;
use super::computer::Here;
use super::device::{DeviceArgs, stop_flag};
use super::error::HintExt;
use super::key::KeyArgs;
use super::{Context, Exit, pledge, replay};
use crate::digest::Sha256Digest;
use crate::keys::SecretKey;
use crate::registry::Registry;
use crate::snapshot::{self, Role, Supersedes, VerifiedSnapshot};
use crate::train::adapter::{AdapterRun, Trained, train_adapter};
use crate::train::config::AdapterConfig;
use crate::train::error::TrainError;
use crate::train::forecast::{Start, check_folder};
use crate::train::sets::TrainingSet;
use crate::train::watch::{Stage, Watch};

const SETS: &str = "One snapshot is named by `snapshot = \"NAME\"`; several stand in the shape of sd-scripts' datasets:

  prior_loss_weight = 0.5      # how much the loss of regularization pictures counts

  [[datasets]]                 # options of captions, repeats and masks here are for its subsets,
  shuffle_caption = true       # at the top of the file for all

  [[datasets.subsets]]
  snapshot = \"boats\"
  num_repeats = 10             # how often each picture comes in an epoch

  [[datasets.subsets]]
  snapshot = \"harbours\"
  is_reg = true                # repeated until they are as many as the others of their dataset

Every snapshot is verified first, and each one stands in run.json, receipt, registry and audit.

  shards = 8                   # instead of [[datasets]]: artists are divided into eight shards by a digest of
                               # their names, and an adapter is trained for each; shards.json names them with
                               # their weights (1/8 each, or shard_weight), and is what generate and audit take";

/// What to train and where.
#[derive(Debug, clap::Args)]
#[command(after_long_help = SETS)]
pub struct Args {
    /// The configuration: TOML with kohya's option names
    #[arg(required_unless_present = "replay")]
    pub config: Option<PathBuf>,
    /// Repeat a recorded run and compare, and sign nothing: its folder, its run.json, its adapter, or a digest that the
    /// registry knows
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    pub replay: Option<PathBuf>,
    /// The base of the run that is repeated, where its configuration does not lead to it any more
    #[arg(long, value_name = "DIR|FILE", requires = "replay")]
    pub base: Option<PathBuf>,
    /// Where the adapter, its record and its curves go [default: runs/OUTPUT_NAME]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Continue where the last run into this folder was stopped
    #[arg(long)]
    pub resume: bool,
    /// Print the plan, check it, and end
    #[arg(long)]
    pub dry_run: bool,
    /// Train even if there seems to be too little memory
    #[arg(long)]
    pub ignore_memory: bool,
    #[command(flatten)]
    pub(super) key: KeyArgs,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The configuration as it was given, in the output folder.
pub const CONFIG: &str = "config.toml";

/// A training, ready to begin.
pub(super) struct Job<'a> {
    /// The settings.
    pub config: &'a AdapterConfig,
    /// Digest of their text.
    pub digest: Sha256Digest,
    /// The output folder.
    pub out: &'a Path,
    /// Where to compute.
    pub device: &'a DeviceArgs,
    /// What signs the receipts, if anything does.
    pub key: Option<&'a SecretKey>,
    /// The adapter whose place it takes, if any.
    pub supersedes: Option<Supersedes>,
    /// Whether to continue.
    pub resume: bool,
    /// Whether to end with the plan.
    pub dry_run: bool,
    /// Whether to try with too little memory.
    pub ignore_memory: bool,
}

/// Trains, records the run and the adapter in the registry, and says how the losses ended; or repeats a run.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    if let Some(named) = &args.replay {
        return replay::run(context, &args, named);
    }
    let Some(file) = &args.config else {
        bail!("expected a configuration, or --replay RUN");
    };
    let (config, digest) = AdapterConfig::read(file)?;
    let out = args
        .out
        .unwrap_or_else(|| Path::new("runs").join(&config.run.output_name));
    check_folder(&out, args.resume)?;
    let key = args.key.read(context)?;
    let mut registry = context.open_registry()?;
    let kept = out.join(CONFIG);
    let text = fs::read(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    if args.resume && kept.exists() && fs::read(&kept).ok().as_ref() != Some(&text) {
        let what = "its configuration".to_owned();
        return Err(TrainError::OtherRun { path: kept, what }.into());
    }
    let job = Job {
        config: &config,
        digest,
        out: &out,
        device: &args.device,
        key: key.as_ref(),
        supersedes: None,
        resume: args.resume,
        dry_run: args.dry_run,
        ignore_memory: args.ignore_memory,
    };
    if config.run.shards.is_some() {
        return shards::run(context, &mut registry, &job, &text);
    }
    let begin = || shards::begin(&out, &text);
    let Some(trained) = train(context, &registry, &job, &begin)? else {
        return Ok(Exit::Findings);
    };
    if !args.dry_run {
        record(&mut registry, &trained, &out, context)?;
        report(context, &trained, &out)?;
    }
    if trained.product.is_some() {
        pledge::signed(context, key.as_ref());
    }
    Ok(Exit::Done)
}

/// Trains, unless somebody who opted out is named, which is told. `begin` is called before anything is written.
pub(super) fn train(
    context: &Context,
    registry: &Registry,
    job: &Job<'_>,
    begin: &dyn Fn() -> Result<()>,
) -> Result<Option<Trained>> {
    let config = job.config;
    if names_artists(context, registry, config)? {
        return Ok(None);
    }
    let clock = || context.clock();
    let stop = stop_flag()?;
    let mut watch: Box<dyn Watch> = match (context.json, job.dry_run) {
        (true, _) => Box::new(Lines::new(context)),
        (false, true) => Box::new(Plans(context)),
        (false, false) => Box::new(Bar::new(context)),
    };
    let device = job.device.get()?;
    let computer = Here {
        out: job.out.to_owned(),
        on_processor: job.device.name() == "flex",
        start: Instant::now(),
    };
    let verify = |name: &str| -> Result<VerifiedSnapshot> {
        snapshot::verify(registry, name, context.now).hint(format!(
            "run `assent snapshot verify {name}` to see what changed since it was frozen"
        ))
    };
    let others = config.run.validation_snapshot.as_deref().map(verify).transpose()?;
    let sets = verified(config, verify)?;
    let sets = training_sets(&sets);
    let run = AdapterRun {
        config,
        config_digest: job.digest,
        sets: &sets,
        others: others.as_ref(),
        device: &device,
        device_name: &job.device.name(),
        key: job.key,
        supersedes: job.supersedes,
        resume: job.resume,
        start: Start {
            computer: &computer,
            ignore_memory: job.ignore_memory,
            only_plan: job.dry_run,
        },
        clock: &clock,
    };
    obligations(context, &sets);
    if !job.dry_run {
        begin()?;
    }
    let mut stage = Stage {
        out: job.out,
        watch: watch.as_mut(),
        stop: &stop,
    };
    Ok(Some(train_adapter(&run, &mut stage)?))
}

/// Each snapshot that a configuration trains on, verified, with what its pictures are for.
pub fn verified(
    config: &AdapterConfig,
    verify: impl Fn(&str) -> Result<VerifiedSnapshot>,
) -> Result<Vec<(Role, VerifiedSnapshot)>> {
    let sets = config.sets().into_iter();
    sets.map(|(name, role)| Ok((role, verify(name)?))).collect()
}

/// The same as a training takes them.
pub fn training_sets(verified: &[(Role, VerifiedSnapshot)]) -> Vec<TrainingSet<'_>> {
    let set = |(role, snapshot)| TrainingSet { role, snapshot };
    verified.iter().map(|(role, snapshot)| set((*role, snapshot))).collect()
}
