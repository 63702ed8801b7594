//! Training an adapter on a verified snapshot: caches, the loop, and the sealed file with its run record.

mod ahead;
mod latents;
mod logs;
mod objective;
mod texts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use jiff::Timestamp;

use self::ahead::{Kind, store};
pub(super) use self::latents::MOST_HELD;
use self::latents::{Cached, Measured};
use self::logs::Logs;
use self::objective::Adapter;
pub(super) use self::texts::MOST_BYTES;
use self::texts::Texts;
use super::config::AdapterConfig;
use super::data::{Entry, Order, Placed, counts, groups};
use super::engine::{self, Finish, Plan};
use super::error::TrainError;
use super::forecast::{Forecast, Pictures as Counts, Start};
use super::networks::Networks;
use super::page::{PAGE, Page, State};
use super::sets::{Gathered, TrainingSet, check_use};
use super::tensorboard::{self, EventFile};
use super::watch::{Curves, Event, Metrics, Stage};
use super::{facts, masks};
use crate::adapter::{AdapterFile, Format, encode};
use crate::digest::{Sha256Digest, write_atomic};
use crate::generate::Settings;
use crate::keys::SecretKey;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::receipt::{
    AdapterFacts, Claims, LAST_WEIGHTS, PROVENANCE_EXTENSION, RunRecord, SnapshotFacts, Supersedes, WEIGHTS, bundle,
    lay_beside, seal, sign,
};
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
    /// What signs the receipts, if anything does.
    pub key: Option<&'a SecretKey>,
    /// The adapter whose place this one takes, if any.
    pub supersedes: Option<Supersedes>,
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
        size: config.data.resolution.size(),
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
    ahead::divides(c, pipeline.vae.factor())?;
    let options = c.sources.first().map(|first| first.options.clone()).unwrap_or_default();
    let others = run.others.map(|set| Placed::all(Entry::of(set, &options)?, &c.data));
    let others = others.transpose()?;
    let (kept, held) = gathered.divide(&c.sources, c.data.validation_split, c.run.seed);
    let epoch = gathered.epoch(&c.sources, &kept);
    let Gathered { entries, of } = gathered;
    let pictures = Placed::all(entries, &c.data)?;
    let buckets = counts(&pictures, &epoch.turns);
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
    ahead::check_lengths(c, &pipeline, &pictures)?;
    let (mut networks, modules) = Networks::new(&pipeline, c, device)?;
    let mut forecast = Forecast {
        pictures: Counts {
            trained: epoch.learned as u64,
            regularization: epoch.regularization as u64,
            held_out: held.len() as u64,
            others: others.as_ref().map_or(0, Vec::len) as u64,
        },
        epoch: epoch.turns.iter().map(|(_, times)| *times as u64).sum(),
        memory_available,
        ..Forecast::default()
    };
    let shapes = ahead::count(run, &mut forecast, &pictures, others.as_deref(), pipeline.vae.factor());
    ahead::look(run, &mut forecast, (&pipeline, &mut networks, modules), &shapes, stage)?;
    if run.start.only_plan {
        return Ok(Trained::default());
    }
    let base_facts = facts::base_facts(&c.run.pretrained_model_name_or_path)?;
    let latents = store(run, stage.out, &base_facts, Kind::Latents)?;
    let texts = Texts::new(
        &pipeline,
        device,
        store(run, stage.out, &base_facts, Kind::Texts)?,
        !c.network.train_text_encoder,
    );
    let texts = Arc::new(texts);
    let tools = (&pipeline, &*texts, latents.as_ref());
    let cached = Arc::new(Cached::new(pictures, (&held, MOST_HELD), tools, run, stage)?);
    let mut sets = Vec::new();
    let held_out = held.len();
    if !held.is_empty() {
        sets.push(Measured::new("held_out", cached.clone(), held, trigger));
    }
    if let Some(others) = others {
        let all: Vec<usize> = (0..others.len()).collect();
        let others = Cached::new(others, (&all, MOST_HELD), tools, run, stage)?;
        sets.push(Measured::new("others", Arc::new(others), all, trigger));
    }

    pipeline.vae.pages().rest();
    pipeline.rest_text();
    let base_facts = (run.config_digest, base_facts);
    let mut inputs = facts::inputs(c, base_facts, run.sets, (&epoch, held_out), run.device_name)?;
    if let Some(masks) = &cached.masks {
        inputs
            .settings
            .insert("masks".to_owned(), masks::digest(masks).to_string());
    }
    let plan = plan(c, inputs.identity()?, forecast.side_by_side)?;
    let claims = |steps| -> Result<Claims, TrainError> {
        let supersedes = run.supersedes;
        Ok(Claims {
            supersedes,
            ..inputs.claims(steps)?
        })
    };
    claims(0)?.check()?;
    if epoch.left_over > 0 {
        stage.tell(&Event::Warning {
            text: format!(
                "{} regularization pictures are not used: in their dataset there are fewer to be learned",
                epoch.left_over
            ),
        });
    }
    let images = epoch.learned;
    let groups = groups(&cached.pictures, &epoch.turns);
    let order = Order::new(groups.into_values(), c.data.train_batch_size, c.run.seed);
    let mut objective = Adapter {
        run,
        texts,
        pipeline,
        networks,
        cached,
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
    let header = |steps| facts::header(c, &inputs, &objective.pipeline, (&epoch, &buckets, steps));
    let (at, kept) = (stage.out.join(ADAPTER), finish.kept_step);
    let facts = keep(&objective, header(kept)?, claims(kept)?, &at)?;
    let mut wrote = vec![ADAPTER.to_owned()];
    let mut last = None;
    if c.run.save_last_weights {
        engine::show_last(&mut objective, &optimizer);
        let header = facts::header(c, &inputs, &objective.pipeline, (&epoch, &buckets, finish.step))?;
        let mut claims = claims(finish.step)?;
        claims.settings.insert(WEIGHTS.to_owned(), LAST_WEIGHTS.to_owned());
        last = Some(keep(&objective, header, claims, &stage.out.join(LAST))?);
        wrote.push(LAST.to_owned());
    }
    let mut record = RunRecord::new(
        inputs,
        finish.kept_step,
        (started, (run.clock)()),
        finish.losses.clone(),
        facts,
    )?
    .superseding(run.supersedes);
    record.last = last;
    record.measured = run.others.map(|set| SnapshotFacts::of(set.document()));
    let record_text = record.to_json()?;
    write_atomic(&stage.out.join("run.json"), record_text.as_bytes())
        .map_err(TrainError::io(&stage.out.join("run.json")))?;
    page.write(stage.out, State::Done(&record))?;
    if run.key.is_some() {
        let bundles: Vec<_> = wrote
            .iter()
            .map(|file| format!("{file}.{PROVENANCE_EXTENSION}"))
            .collect();
        wrote.extend(bundles);
    }
    wrote.extend(["run.json", "loss.png", PAGE].map(str::to_owned));
    for file in wrote {
        stage.tell(&Event::Wrote { file });
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

/// Writes the weights that lie on the model, with their receipt, and signed with the bundle beside them.
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
    if let Some(key) = objective.run.key {
        sign(&mut container, &sealed, key)?;
    }
    let written = container.write(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let bundle = objective.run.key.map(|key| bundle(&sealed, &name, written.file, key));
    lay_beside(path, bundle.transpose()?.as_deref()).map_err(TrainError::io(path))?;
    Ok(AdapterFacts {
        file: written.file,
        tensors: written.tensors,
        receipt: sealed.digest,
        modules: adapter.modules.len() as u64,
    })
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

fn plan(c: &AdapterConfig, run: Sha256Digest, side_by_side: u64) -> Result<Plan, TrainError> {
    Ok(Plan {
        name: NAME.to_owned(),
        metrics: METRICS.to_owned(),
        identity: run.to_string(),
        course: c.optimisation.course(),
        gradient_accumulation_steps: c.optimisation.gradient_accumulation_steps,
        side_by_side: usize::try_from(side_by_side).unwrap_or(1),
        gradient_checkpointing: c.optimisation.gradient_checkpointing,
        max_grad_norm: c.optimisation.max_grad_norm,
        scale_weight_norms: c.optimisation.scale_weight_norms,
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
