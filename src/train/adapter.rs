//! Training an adapter on a verified snapshot: caches, the loop, and the sealed file with its run record.

use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use jiff::Timestamp;

use super::config::AdapterConfig;
use super::data::{Pictures, batch_at, split, stack};
use super::engine::{self, Finish, Objective, Plan};
use super::error::TrainError;
use super::facts;
use super::loss::{Batch, Caption, HeldOut, conditions, diffusion_loss, validate};
use super::networks::Networks;
use super::watch::{Curves, Event, Metrics, Stage};
use crate::adapter::{AdapterFile, Format, encode};
use crate::digest::{Sha256Digest, write_atomic};
use crate::generate::{Drawing, Job, Settings};
use crate::model::base::Base;
use crate::model::layers::ParamMut;
use crate::model::params::to_vec;
use crate::model::pipeline::Pipeline;
use crate::model::weights::Draws;
use crate::receipt::{AdapterFacts, RunRecord, seal};
use crate::sheet::{Chart, Row, Series, Sheet, Stroke, Tile};
use crate::snapshot::VerifiedSnapshot;

/// The file of the losses.
const METRICS: &str = "metrics.jsonl";

/// What a training is given.
pub struct AdapterRun<'a> {
    /// The settings.
    pub config: &'a AdapterConfig,
    /// Digest of the configuration's text.
    pub config_digest: Sha256Digest,
    /// The training set.
    pub snapshot: &'a VerifiedSnapshot,
    /// A set that is only measured.
    pub others: Option<&'a VerifiedSnapshot>,
    /// Where to compute, without autodiff.
    pub device: &'a Device,
    /// Its name, for the record.
    pub device_name: &'a str,
    /// Continue from the saved state.
    pub resume: bool,
    /// The clock, for the record.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
}

/// What a training made.
#[derive(Debug, Clone, PartialEq)]
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
    /// What was written.
    pub record: RunRecord,
    /// The text of `run.json`.
    pub record_text: String,
}

/// A set of pictures as the U-Net sees them.
#[derive(Debug, Clone)]
struct Cached {
    ids: Vec<String>,
    latents: Vec<Vec<f32>>,
    shape: [usize; 3],
    size: [usize; 2],
    captions: Vec<Caption>,
    texts: Vec<String>,
}

impl Cached {
    fn held_out(&self, name: &str, places: &[usize]) -> (HeldOut, Vec<String>) {
        let set = HeldOut {
            name: name.to_owned(),
            ids: places.iter().map(|&i| self.ids[i].clone()).collect(),
            latents: places.iter().map(|&i| self.latents[i].clone()).collect(),
            shape: self.shape,
            size: self.size,
            captions: places.iter().map(|&i| self.captions[i].clone()).collect(),
        };
        (set, places.iter().map(|&i| self.texts[i].clone()).collect())
    }
}

/// Latents (a draw from each picture's distribution, decided by its digest and the seed) and embeddings, once.
fn cache(
    pipeline: &Pipeline,
    pictures: &Pictures,
    seed: u64,
    device: &Device,
    stage: &mut Stage<'_>,
) -> Result<Cached, TrainError> {
    stage.tell(&Event::Phase {
        name: "caching".to_owned(),
        total: pictures.len() as u64,
        done: 0,
    });
    let mut cached = Cached {
        ids: pictures.ids.clone(),
        latents: Vec::new(),
        shape: [0; 3],
        size: [pictures.size; 2],
        captions: Vec::new(),
        texts: pictures.captions.clone(),
    };
    for i in 0..pictures.len() {
        let (mean, logvar) = pipeline.vae.encode(pictures.batch(&[i], device));
        let [_, c, h, w] = mean.dims();
        cached.shape = [c, h, w];
        let noise = Draws::new(seed, &format!("latent/{}", pictures.ids[i])).normals(c * h * w);
        let noise = Tensor::from_data(TensorData::new(noise, [1, c, h, w]), device);
        let latent = (mean + logvar.mul_scalar(0.5).exp() * noise).mul_scalar(pipeline.vae.scaling_factor());
        cached.latents.push(to_vec(latent));
        cached
            .captions
            .push(pipeline.embed(&[&pictures.captions[i]], device).into());
        stage.tell(&Event::Tick);
    }
    Ok(cached)
}

#[derive(Clone)]
struct Adapter<'a> {
    run: &'a AdapterRun<'a>,
    pipeline: Pipeline,
    networks: Networks,
    cached: Arc<Cached>,
    empty: Arc<Caption>,
    training: Arc<Vec<usize>>,
    /// The held-out sets, each with its captions' texts.
    sets: Arc<Vec<(HeldOut, Vec<String>)>>,
}

impl Objective for Adapter<'_> {
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
        self.networks.for_each(f);
    }

    fn rate(&self, name: &str) -> f64 {
        self.networks.rate(self.run.config, name)
    }

    fn loss(&mut self, micro_batch: u64) -> Result<Tensor<1>, TrainError> {
        let (c, device) = (self.run.config, self.run.device.clone().autodiff());
        self.networks.roll(micro_batch);
        let places = batch_at(self.training.len(), c.data.train_batch_size, micro_batch, c.run.seed);
        let indices: Vec<usize> = places.iter().map(|&p| self.training[p]).collect();
        let mut draws = Draws::new(c.run.seed, &format!("adapter/{micro_batch}"));
        let steps = self.pipeline.schedule.len();
        let timesteps: Vec<usize> = indices.iter().map(|_| draws.below(steps)).collect();
        let captions: Vec<(&str, &Caption)> = indices
            .iter()
            .map(|&i| {
                let dropped = draws.uniform() < c.data.caption_dropout_rate;
                if dropped {
                    ("", &*self.empty)
                } else {
                    (self.cached.texts[i].as_str(), &self.cached.captions[i])
                }
            })
            .collect();
        let [a, b, d] = self.cached.shape;
        let noise = draws.normals(indices.len() * a * b * d);
        let (texts, embedded): (Vec<&str>, Vec<&Caption>) = captions.into_iter().unzip();
        let fresh = self.networks.conditions(&texts, self.cached.size);
        let unet = &self.networks.unet;
        let (context, added) =
            fresh.unwrap_or_else(|| conditions(embedded.into_iter(), unet, self.cached.size, &device));
        let batch = Batch {
            latents: stack(
                indices.iter().map(|&i| self.cached.latents[i].as_slice()),
                self.cached.shape,
                &device,
            ),
            noise: Tensor::from_data(TensorData::new(noise, [indices.len(), a, b, d]), &device),
            timesteps,
            context,
            added,
        };
        Ok(diffusion_loss(unet, &self.pipeline.schedule, &batch, c.target.min_snr_gamma)?.0)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        let (now, device) = (self.networks.at_rest(&self.pipeline), self.run.device);
        let measure = |(set, texts): &(HeldOut, Vec<String>)| {
            let mut set = set.clone();
            if self.networks.trains_text() {
                let embed = |text: &String| now.embed(&[text.as_str()], device).into();
                set.captions = texts.iter().map(embed).collect();
            }
            let loss = validate(&now.unet, &now.schedule, &set, 32, device)?;
            Ok((set.name, loss))
        };
        self.sets.iter().map(measure).collect()
    }

    fn sample(&mut self, step: u64) -> Result<Option<Vec<u8>>, TrainError> {
        let c = self.run.config;
        if c.run.sample_prompts.is_empty() {
            return Ok(None);
        }
        let prompts: Vec<&str> = c.run.sample_prompts.iter().map(String::as_str).collect();
        let settings = sample_settings(c);
        let now = self.networks.at_rest(&self.pipeline);
        let drawn = Drawing::new(&now, &now.unet, &settings, self.run.device)
            .draw(&Job::each(&prompts, c.run.seed), &mut |_| Ok(()))?;
        let side = c.data.resolution as u32;
        let tiles = drawn
            .iter()
            .map(|p| Tile::from_planes(side, side, &p.planes).map(Some))
            .collect::<Result<_, _>>()?;
        let sheet = Sheet {
            title: format!("{} · step {step}", c.run.output_name),
            columns: c.run.sample_prompts.clone(),
            rows: vec![Row {
                label: String::new(),
                tiles,
            }],
            side,
        };
        Ok(Some(sheet.png()?))
    }
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

/// Trains an adapter into `stage.out`: `adapter.safetensors`, `run.json`, `metrics.jsonl`, `loss.png`, `samples/`,
/// `state/`.
///
/// # Errors
/// Before the first step where anything does not fit; later if files cannot be written or the loss is no longer a number.
pub fn train_adapter(run: &AdapterRun<'_>, stage: &mut Stage<'_>) -> Result<Trained, TrainError> {
    let (c, device) = (run.config, run.device);
    facts::check_use(c, run.snapshot)?;
    let started = (run.clock)();
    let base = Base::open(&c.run.pretrained_model_name_or_path, None)?;
    let pipeline = Pipeline::load(&base, device)?;
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
    let load =
        |set: &VerifiedSnapshot| Pictures::load(set, c.data.resolution, c.data.fit.into(), c.data.allow_empty_captions);
    let pictures = load(run.snapshot)?;
    let cached = cache(&pipeline, &pictures, c.run.seed, device, stage)?;
    let (training, held) = split(pictures.len(), c.data.validation_split, c.run.seed);
    let mut sets = Vec::new();
    if !held.is_empty() {
        sets.push(cached.held_out("held_out", &held));
    }
    if let Some(others) = run.others {
        let pictures = load(others)?;
        let all: Vec<usize> = (0..pictures.len()).collect();
        sets.push(cache(&pipeline, &pictures, c.run.seed, device, stage)?.held_out("others", &all));
    }

    let (mut networks, modules) = Networks::new(&base, &pipeline, c, device)?;
    stage.tell(&Event::Adapted {
        modules: modules as u64,
        parameters: networks.parameters(),
    });
    let inputs = facts::inputs(
        c,
        run.config_digest,
        run.snapshot,
        (training.len(), held.len()),
        run.device_name,
    )?;
    let plan = plan(c, inputs.identity()?)?;
    let images = training.len();
    let mut objective = Adapter {
        run,
        empty: Arc::new(pipeline.embed(&[""], device).into()),
        pipeline,
        networks,
        cached: Arc::new(cached),
        training: Arc::new(training),
        sets: Arc::new(sets),
    };
    let (finish, _) = engine::run(&mut objective, &plan, run.resume, stage)?;
    curve(c, stage)?;
    if !finish.complete {
        return Ok(Trained { finish, product: None });
    }

    let adapter = AdapterFile {
        modules: objective.networks.extract(),
        header: facts::header(c, &inputs, &objective.pipeline, (images, finish.step))?,
    };
    let mut container = encode(&adapter, Format::Kohya, c.run.save_precision.into())?;
    let sealed = seal(&mut container, inputs.claims(finish.step)?)?;
    let path = stage.out.join("adapter.safetensors");
    let written = container.write(&path)?;
    let facts = AdapterFacts {
        file: written.file,
        tensors: written.tensors,
        receipt: sealed.digest,
        modules: adapter.modules.len() as u64,
    };
    let record = RunRecord::new(
        inputs,
        finish.step,
        (started, (run.clock)()),
        finish.losses.clone(),
        facts,
    )?;
    let record_text = record.to_json()?;
    write_atomic(&stage.out.join("run.json"), record_text.as_bytes())
        .map_err(TrainError::io(&stage.out.join("run.json")))?;
    for file in ["adapter.safetensors", "run.json", "loss.png"] {
        stage.tell(&Event::Wrote { file: file.to_owned() });
    }
    Ok(Trained {
        finish,
        product: Some(Product {
            path,
            record,
            record_text,
        }),
    })
}

fn plan(c: &AdapterConfig, run: Sha256Digest) -> Result<Plan, TrainError> {
    Ok(Plan {
        name: "adapter".to_owned(),
        metrics: METRICS.to_owned(),
        identity: run.to_string(),
        course: c.optimisation.course(),
        gradient_accumulation_steps: c.optimisation.gradient_accumulation_steps,
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
    let Curves { train, validation } = Metrics::read(&stage.out.join(METRICS))?;
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
        title: format!("{}: loss by step", config.run.output_name),
        series,
    };
    write_atomic(&stage.out.join("loss.png"), &chart.png()?).map_err(TrainError::io(&stage.out.join("loss.png")))
}
