//! `assent train`: an adapter on a verified snapshot.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use super::bar::Bar;
use super::computer::Here;
use super::device::{DeviceArgs, stop_flag};
use super::error::HintExt;
use super::key::KeyArgs;
use super::{Context, Exit, Style, names, plan, pledge, replay};
use crate::consent::Policy;
use crate::digest::{Sha256Digest, write_atomic};
use crate::keys::SecretKey;
use crate::receipt::{self, SnapshotFacts};
use crate::registry::{NewAdapter, NewRun, Registry};
use crate::snapshot::{self, Document, Role, VerifiedSnapshot};
use crate::train::adapter::{AdapterRun, Trained, train_adapter};
use crate::train::config::AdapterConfig;
use crate::train::error::TrainError;
use crate::train::forecast::{Start, check_folder};
use crate::train::sets::TrainingSet;
use crate::train::watch::{Event, Stage, Watch};

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

Every snapshot is verified first, and each one stands in run.json, receipt, registry and audit.";

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
        resume: args.resume,
        dry_run: args.dry_run,
        ignore_memory: args.ignore_memory,
    };
    let begin = || {
        fs::create_dir_all(&out).with_context(|| format!("cannot make `{}`", out.display()))?;
        write_atomic(&kept, &text).with_context(|| format!("cannot write into `{}`", out.display()))
    };
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

/// Whether the trigger phrase, a sample prompt, words that are put into captions, or a caption of any snapshot names an
/// artist who opted out. Captions count unless their snapshot's own policy lets them name such artists.
fn names_artists(context: &Context, registry: &Registry, config: &AdapterConfig) -> Result<bool> {
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
fn obligations(context: &Context, sets: &[TrainingSet<'_>]) {
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

/// Records a finished run and its adapter in the registry.
pub fn record(registry: &mut Registry, trained: &Trained, out: &Path, context: &Context) -> Result<()> {
    let Some(product) = &trained.product else { return Ok(()) };
    let trained_on = product.record.inputs.trained_on();
    let run = NewRun {
        sha256: Sha256Digest::of_bytes(product.record_text.as_bytes()),
        trained_on: trained_on.clone(),
        record: product.record_text.clone(),
        path: context.absolute(out)?,
    };
    registry.add_run(&run, product.record.finished_at)?;
    let adapter = NewAdapter {
        sha256: product.record.adapter.file,
        tensors: product.record.adapter.tensors,
        run: Some(run.sha256),
        trained_on,
        path: context.absolute(&product.path)?,
    };
    registry.add_adapter(&adapter, product.record.finished_at)?;
    if let Some((last, path)) = product.record.last.as_ref().zip(product.last.as_ref()) {
        let last = NewAdapter {
            sha256: last.file,
            tensors: last.tensors,
            path: context.absolute(path)?,
            ..adapter
        };
        registry.add_adapter(&last, product.record.finished_at)?;
    }
    Ok(())
}

fn report(context: &Context, trained: &Trained, out: &Path) -> Result<()> {
    let finish = &trained.finish;
    if !finish.complete {
        context.message(format!(
            "stopped after step {}; the same command with `--resume` goes on",
            finish.step
        ));
        return Ok(());
    }
    if finish.kept_step < finish.step {
        context.message(format!(
            "ended after step {}: no better validation since step {}, whose weights are kept",
            finish.step, finish.kept_step
        ));
    }
    for set in ["held_out", "others"] {
        if let Some((before, after)) = finish.losses.get(&format!("{set}_before")).zip(finish.losses.get(set)) {
            let change = (after / before - 1.0) * 100.0;
            context.message(format!("{set:>9}: loss {before:.4} → {after:.4} ({change:+.1} %)"));
        }
    }
    if let Some(product) = &trained.product {
        let path = out.join("adapter.safetensors");
        let roots = product.record.inputs.trained_on();
        let roots: Vec<_> = roots.iter().map(|set| set.root.to_string()).collect();
        if !context.json {
            context.line(path.display())?;
        }
        context.message(format!(
            "{} modules, {} steps, snapshot root{} {}",
            product.record.adapter.modules,
            finish.step,
            if roots.len() > 1 { "s" } else { "" },
            context.paint_err(Style::Faint, roots.join(" "))
        ));
    }
    Ok(())
}

/// The plan alone, on stdout.
struct Plans<'a>(&'a Context);

impl Watch for Plans<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Plan(plan) = event {
            for line in plan::lines(self.0, plan, false) {
                // A reader that went away has seen enough.
                let _ = self.0.line(line);
            }
        }
    }
}

/// Each event as a line of JSON on stdout; those of steps with the seconds that are left at the pace so far.
struct Lines<'a> {
    context: &'a Context,
    start: Instant,
    done: u64,
    total: u64,
}

impl<'a> Lines<'a> {
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            start: Instant::now(),
            done: 0,
            total: 0,
        }
    }

    fn line(&self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_value(event)?;
        if let (Event::Step { step, .. }, Some(line)) = (event, line.as_object_mut()) {
            let pace = self.start.elapsed().as_secs_f64() / step.saturating_sub(self.done).max(1) as f64;
            let left = pace * self.total.saturating_sub(*step) as f64;
            line.insert("seconds_left".to_owned(), ((left * 10.0).round() / 10.0).into());
        }
        self.context.json_line(&line)
    }
}

impl Watch for Lines<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Phase { total, done, .. } = event {
            (self.start, self.done, self.total) = (Instant::now(), *done, *total);
        }
        // A reader that went away does not end a training; the files are what counts.
        let _ = self.line(event);
    }
}
