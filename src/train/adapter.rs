//! Training an adapter on a verified snapshot: caches, the loop, and the sealed file with its run record.

mod logs;
mod objective;
mod texts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use jiff::Timestamp;

use self::logs::Logs;
use self::objective::{Adapter, cache};
pub(super) use self::texts::MOST_BYTES;
use self::texts::Texts;
use super::config::AdapterConfig;
use super::data::{Entry, Order, caption};
use super::engine::{self, Finish, Plan};
use super::error::TrainError;
use super::forecast::{Forecast, Pictures as Counts, Shapes, Start, check_captions};
use super::networks::Networks;
use super::page::{PAGE, Page, State};
use super::sets::{Gathered, TrainingSet, check_use};
use super::tensorboard::{self, EventFile};
use super::watch::{Curves, Event, Metrics, Stage};
use super::{facts, masks, state};
use crate::adapter::{AdapterFile, Format, encode};
use crate::digest::{Sha256Digest, write_atomic};
use crate::generate::Settings;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::receipt::{AdapterFacts, Claims, LAST_WEIGHTS, RunRecord, SnapshotFacts, WEIGHTS, seal};
use crate::sheet::{Chart, Series, Stroke};
use crate::snapshot::{Role, VerifiedSnapshot};

/// The file of the losses.
const METRICS: &str = "metrics.jsonl";
/// What its state and samples are called.
const NAME: &str = "adapter";
/// The weights that are kept.
const ADAPTER: &str = "adapter.safetensors";
/// The weights after the last update, where others are kept.
const LAST: &str = "adapter-last.safetensors";

/// What a training is given.
pub struct AdapterRun<'a> {
    /// The settings.
    pub config: &'a AdapterConfig,
    /// Digest of the configuration's text.
    pub config_digest: Sha256Digest,
    /// What it is trained on: the sets that the configuration names, in its order ([`AdapterConfig::sets`]).
    pub sets: &'a [TrainingSet<'a>],
    /// A set that is only measured.
    pub others: Option<&'a VerifiedSnapshot>,
    /// Where to compute, without autodiff.
    pub device: &'a Device,
    /// Its name, for the record.
    pub device_name: &'a str,
    /// Continue from the saved state.
    pub resume: bool,
    /// What is known of the computer, and whether to end with the plan.
    pub start: Start<'a>,
    /// The clock, for the record.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
}

/// What a training made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trained {
    /// How the loop ended; the losses are `held_out`, `held_out_before`, `others`, `others_before`.
    pub finish: Finish,
    /// The file and the record, once all updates are done.
    pub product: Option<Product>,
}

/// The artefacts of a finished run.
#[derive(Debug, Clone, PartialEq)]
pub struct Product {
    /// `adapter.safetensors`.
    pub path: PathBuf,
    /// `adapter-last.safetensors`, where it was asked for.
    pub last: Option<PathBuf>,
    /// What was written.
    pub record: RunRecord,
    /// The text of `run.json`.
    pub record_text: String,
}

/// How sample pictures of a run are drawn: the same noise each time.
#[must_use]
pub fn sample_settings(config: &AdapterConfig) -> Settings {
    Settings {
        size: [config.data.resolution; 2],
        cfg: 2.5,
        ..Settings::default()
    }
}

/// Trains an adapter into `stage.out`: `adapter.safetensors`, `run.json`, `metrics.jsonl`, `loss.png`, `run.html`,
/// `samples/`, `state/`, and where it is asked for `adapter-last.safetensors`.
///
/// # Errors
/// Before the first step where anything does not fit; later if files cannot be written or the loss is no longer a number.
pub fn train_adapter(run: &AdapterRun<'_>, stage: &mut Stage<'_>) -> Result<Trained, TrainError> {
    let (c, device) = (run.config, run.device);
    check_use(c, run.sets)?;
    let gathered = Gathered::new(c, run.sets)?;
    let started = (run.clock)();
    // Before the base takes its part.
    let memory_available = run.start.computer.memory();
    let base = Base::open(&c.run.pretrained_model_name_or_path, None)?.stored_as(c.run.base_precision.into());
    let mut pipeline = Pipeline::load(&base, device)?;
    if pipeline.inpaints() {
        return Err(TrainError::Setting(format!(
            "pretrained_model_name_or_path: expected a base that draws from text, got one for inpainting (its U-Net takes \
             {} channels); hint: train on the base it was made from",
            pipeline.unet.config().in_channels
        )));
    }
    if !c.data.resolution.is_multiple_of(pipeline.vae.factor()) {
        let factor = pipeline.vae.factor();
        return Err(TrainError::Setting(format!(
            "resolution: expected a multiple of {factor}, found {}",
            c.data.resolution
        )));
    }
    let others = run
        .others
        .map(|set| {
            Entry::of(
                set,
                &c.sources.first().map(|first| first.options.clone()).unwrap_or_default(),
            )
        })
        .transpose()?;
    let (kept, held) = gathered.divide(&c.sources, c.data.validation_split, c.run.seed);
    let epoch = gathered.epoch(&c.sources, &kept);
    pipeline.schedule = c
        .target
        .schedule(&pipeline.schedule_config)
        .map_err(TrainError::Setting)?;
    // Samples are drawn as the adapter is to be used.
    pipeline.schedule_config.prediction_type = pipeline.schedule.prediction_type();
    let timesteps = c
        .target
        .timesteps(pipeline.schedule.len())
        .map_err(TrainError::Setting)?;
    let trigger = c.run.trigger_phrase.as_deref();
    let entries = &gathered.entries;
    let cut = entries.iter().filter(|entry| !entry.subset.allow_long_captions);
    let cut = cut.map(|entry| {
        (
            entry.path.display(),
            caption(&entry.subset, trigger, &entry.caption, None),
        )
    });
    check_captions(&pipeline, cut)?;
    let (mut networks, modules) = Networks::new(&pipeline, c, device)?;
    let mut forecast = Forecast {
        pictures: Counts {
            trained: epoch.learned as u64,
            regularization: epoch.regularization as u64,
            held_out: held.len() as u64,
            others: others.as_ref().map_or(0, Vec::len) as u64,
        },
        epoch: epoch.turns.iter().map(|(_, times)| *times as u64).sum(),
        sizes: [(format!("{0}x{0}", c.data.resolution), entries.len() as u64)].into(),
        memory_available,
        ..Forecast::default()
    };
    run.sets.iter().for_each(|set| forecast.exclude(set.snapshot));
    let side = c.data.resolution / pipeline.vae.factor();
    let shapes = Shapes {
        latents: [side; 2],
        pictures: [c.data.resolution; 2],
        count: (entries.len() + others.as_ref().map_or(0, Vec::len)) as u64,
    };
    look_ahead(run, &mut forecast, (&pipeline, &mut networks, modules), &shapes, stage)?;
    if run.start.only_plan {
        return Ok(Trained::default());
    }
    let texts = Arc::new(Texts::new(&pipeline, device));
    let Gathered { entries, of } = gathered;
    let mut cached = cache(&pipeline, entries, &texts, run, stage)?;
    cached.masks = masks::load(&cached.entries, c.data.resolution, cached.shape[1], c.data.fit.into())?;
    let mut sets = Vec::new();
    if !held.is_empty() {
        sets.push(cached.held_out("held_out", &held, &texts, trigger));
    }
    if let Some(others) = others {
        let all: Vec<usize> = (0..others.len()).collect();
        sets.push(cache(&pipeline, others, &texts, run, stage)?.held_out("others", &all, &texts, trigger));
    }

    pipeline.vae.pages().rest();
    pipeline.rest_text();
    let mut inputs = facts::inputs(c, run.config_digest, run.sets, (&epoch, held.len()), run.device_name)?;
    if let Some(masks) = &cached.masks {
        inputs
            .settings
            .insert("masks".to_owned(), masks::digest(masks).to_string());
    }
    let plan = plan(c, inputs.identity()?)?;
    inputs.claims(0)?.check()?;
    if epoch.left_over > 0 {
        stage.tell(&Event::Warning {
            text: format!(
                "{} regularization pictures are not used: in their dataset there are fewer to be learned",
                epoch.left_over
            ),
        });
    }
    let images = epoch.learned;
    let order = Order::new([epoch.turns], c.data.train_batch_size, c.run.seed);
    let mut objective = Adapter {
        run,
        texts,
        pipeline,
        networks,
        cached: Arc::new(cached),
        order: Arc::new(order),
        prior: Arc::new(prior(c, &of)),
        sets: Arc::new(sets),
        aim: c.target.aim(),
        timesteps,
        seen: Vec::new(),
    };
    let page = Page {
        title: c.run.output_name.clone(),
        inputs: inputs.clone(),
        total: plan.course.total,
        metrics: METRICS.to_owned(),
        samples: plan.name.clone(),
    };
    page.write(stage.out, State::Running)?;
    let events = match &c.run.logging_dir {
        Some(folder) => {
            let folder = tensorboard::folder(folder, &c.run.log_prefix, started);
            Some(EventFile::create(&folder, c, images, run.clock)?)
        }
        None => None,
    };
    let mut logs = Logs {
        next: &mut *stage.watch,
        out: stage.out,
        page: Some(&page),
        events,
    };
    let mut logged = Stage {
        out: stage.out,
        watch: &mut logs,
        stop: stage.stop,
    };
    let (finish, optimizer) = engine::run(&mut objective, &plan, run.resume, &mut logged)?;
    curve(c, stage)?;
    if !finish.complete {
        page.write(stage.out, State::Stopped)?;
        return Ok(Trained { finish, product: None });
    }

    objective.pipeline.check_files()?;
    let header = |steps| facts::header(c, &inputs, &objective.pipeline, (images, steps));
    let (at, kept) = (stage.out.join(ADAPTER), finish.kept_step);
    let facts = keep(&objective, header(kept)?, inputs.claims(kept)?, &at)?;
    let mut wrote = vec![ADAPTER];
    let mut last = None;
    if c.run.save_last_weights {
        engine::show_last(&mut objective, &optimizer);
        let header = facts::header(c, &inputs, &objective.pipeline, (images, finish.step))?;
        let mut claims = inputs.claims(finish.step)?;
        claims.settings.insert(WEIGHTS.to_owned(), LAST_WEIGHTS.to_owned());
        last = Some(keep(&objective, header, claims, &stage.out.join(LAST))?);
        wrote.push(LAST);
    }
    let mut record = RunRecord::new(
        inputs,
        finish.kept_step,
        (started, (run.clock)()),
        finish.losses.clone(),
        facts,
    )?;
    record.last = last;
    record.measured = run.others.map(|set| SnapshotFacts::of(set.document()));
    let record_text = record.to_json()?;
    write_atomic(&stage.out.join("run.json"), record_text.as_bytes())
        .map_err(TrainError::io(&stage.out.join("run.json")))?;
    page.write(stage.out, State::Done(&record))?;
    wrote.extend(["run.json", "loss.png", PAGE]);
    for file in wrote {
        stage.tell(&Event::Wrote { file: file.to_owned() });
    }
    Ok(Trained {
        finish,
        product: Some(Product {
            path: at,
            last: record.last.as_ref().map(|_| stage.out.join(LAST)),
            record,
            record_text,
        }),
    })
}

/// Writes the weights that lie on the model, with their receipt.
fn keep(
    objective: &Adapter<'_>,
    header: BTreeMap<String, String>,
    claims: Claims,
    path: &Path,
) -> Result<AdapterFacts, TrainError> {
    let adapter = AdapterFile {
        modules: objective.networks.learned(),
        header,
    };
    let mut container = encode(&adapter, Format::Kohya, objective.run.config.run.save_precision.into())?;
    let sealed = seal(&mut container, claims)?;
    let written = container.write(path)?;
    Ok(AdapterFacts {
        file: written.file,
        tensors: written.tensors,
        receipt: sealed.digest,
        modules: adapter.modules.len() as u64,
    })
}

/// Completes the plan, tells it, and refuses what there is no room for.
fn look_ahead(
    run: &AdapterRun<'_>,
    plan: &mut Forecast,
    (pipeline, networks, [found, expected]): (&Pipeline, &mut Networks, [usize; 2]),
    shapes: &Shapes,
    stage: &mut Stage<'_>,
) -> Result<(), TrainError> {
    let c = run.config;
    let batch = c.data.train_batch_size as u64 * c.optimisation.gradient_accumulation_steps;
    plan.modules = found as u64;
    plan.modules_expected = expected as u64;
    plan.steps = c.optimisation.max_train_steps;
    plan.done = match run.resume {
        true => state::step(&stage.out.join("state"), NAME),
        false => 0,
    };
    plan.pictures_per_step = batch;
    plan.epochs = (plan.steps * batch) as f64 / plan.epoch.max(1) as f64;
    plan.disk_available = run.start.computer.disk();
    plan.measure(run, pipeline, networks, shapes)?;
    let room = plan.check(run.start.ignore_memory);
    if room.is_ok() {
        plan.rehearse(run, pipeline, networks, shapes)?;
    }
    stage.tell(&Event::Plan(Box::new(plan.clone())));
    room
}

/// How much the loss of each picture counts, given the number of its source; nothing where all count the same.
fn prior(c: &AdapterConfig, of: &[usize]) -> Vec<f32> {
    if c.target.prior_loss_weight == 1.0 || !c.regularizes() {
        return Vec::new();
    }
    let weight = |&source: &usize| match c.sources[source].role {
        Role::Training => 1.0,
        Role::Regularization => c.target.prior_loss_weight as f32,
    };
    of.iter().map(weight).collect()
}

fn plan(c: &AdapterConfig, run: Sha256Digest) -> Result<Plan, TrainError> {
    Ok(Plan {
        name: NAME.to_owned(),
        metrics: METRICS.to_owned(),
        identity: run.to_string(),
        course: c.optimisation.course(),
        gradient_accumulation_steps: c.optimisation.gradient_accumulation_steps,
        gradient_checkpointing: c.optimisation.gradient_checkpointing,
        max_grad_norm: c.optimisation.max_grad_norm,
        method: c.optimisation.method().map_err(TrainError::Setting)?,
        ema_decay: c.optimisation.ema_decay,
        early_stopping: c.optimisation.early_stopping(),
        save_every_n_steps: c.run.save_every_n_steps,
        validate_every_n_steps: c.run.validate_every_n_steps,
        sample_every_n_steps: c.run.sample_every_n_steps,
    })
}

/// `loss.png`: the losses by step.
fn curve(config: &AdapterConfig, stage: &Stage<'_>) -> Result<(), TrainError> {
    let Curves { train, validation, .. } = Metrics::read(&stage.out.join(METRICS))?;
    if train.is_empty() {
        return Ok(());
    }
    let mut series = vec![Series {
        name: "training".to_owned(),
        points: train,
        stroke: Stroke::Noisy,
    }];
    for (set, points) in validation {
        series.push(Series {
            name: set.replace('_', " "),
            points,
            stroke: Stroke::Marked,
        });
    }
    let chart = Chart {
        along: "step".to_owned(),
        title: format!("{}: loss by step", config.run.output_name),
        values: "loss".to_owned(),
        series,
    };
    write_atomic(&stage.out.join("loss.png"), &chart.png()?).map_err(TrainError::io(&stage.out.join("loss.png")))
}
