//! Training a small Stable Diffusion from scratch, all its parameters: first the autoencoder, then the U-Net together with
//! the text encoder on the autoencoder's latents.
//!
//! The folder it writes is a diffusers folder. Both parts save their state and continue from it exactly.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::data::{Pictures, batch_at, split};
use super::engine::{Finish, Objective, Plan, run as train};
use super::error::TrainError;
use super::loss::{Batch, HeldOut, diffusion_loss, validate};
use super::optimizer::{AdamWConfig, Schedule};
use super::watch::{Event, Stage};
use crate::digest::{Sha256Digest, write_atomic};
use crate::generate::{Settings, draw};
use crate::lora::frozen;
use crate::model::config::{UNetConfig, VaeConfig, read};
use crate::model::layers::{Module, ParamMut};
use crate::model::params::{collect, for_each, to_vec};
use crate::model::pipeline::Pipeline;
use crate::model::samplers::SamplerKind;
use crate::model::text::TextEncoder;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::{Draws, LoadError, Weights, save};
use crate::sheet::{Row, Sheet, Tile};

/// Settings of one part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Updates.
    pub max_train_steps: u64,
    /// Pictures in a batch.
    pub train_batch_size: usize,
    /// Micro-batches, each of `train_batch_size`, summed for an update.
    pub gradient_accumulation_steps: u64,
    /// Peak learning rate.
    pub learning_rate: f64,
    /// Updates of warm-up.
    pub lr_warmup_steps: u64,
    /// Largest norm of the gradient.
    #[serde(default = "one")]
    pub max_grad_norm: f64,
    /// Decay of the weights' average, which is what is saved.
    #[serde(default = "ema")]
    pub ema_decay: f64,
    /// Share of captions replaced by the empty one.
    #[serde(default)]
    pub caption_dropout_rate: f64,
}

fn one() -> f64 {
    1.0
}

fn ema() -> f64 {
    0.999
}

/// `configs/base.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseConfig {
    /// Name of the snapshot to train on.
    pub snapshot: String,
    /// A diffusers folder with the configurations and the tokenizer; weights in it are not read.
    pub model: PathBuf,
    /// Height and width of the pictures.
    pub resolution: usize,
    /// Decides everything that is random.
    pub seed: u64,
    /// Share of the pictures that is held out.
    pub validation_split: f64,
    /// Updates between two saved states.
    pub save_every_n_steps: u64,
    /// Updates between two validations.
    pub validate_every_n_steps: u64,
    /// Updates between two sheets of samples.
    pub sample_every_n_steps: u64,
    /// What the samples show.
    pub sample_prompts: Vec<String>,
    /// Weight of the latents' divergence from the standard normal distribution.
    pub kl_weight: f64,
    /// The autoencoder.
    pub vae: Part,
    /// The U-Net and the text encoder.
    pub unet: Part,
}

/// What is loaded before either part begins.
pub struct BaseRun<'a> {
    /// The settings.
    pub config: &'a BaseConfig,
    /// The pictures of the snapshot.
    pub pictures: &'a Pictures,
    /// The snapshot's root, which a resumed run must share.
    pub root: Sha256Digest,
    /// Where to compute, without autodiff.
    pub device: &'a Device,
    /// Continue from saved states.
    pub resume: bool,
}

/// Trains the base, or continues training it, into `stage.out`: a diffusers folder when it is complete.
///
/// # Errors
/// If files cannot be read or written, settings do not fit, or the loss is no longer a number.
pub fn train_base(run: &BaseRun<'_>, stage: &mut Stage<'_>) -> Result<Finish, TrainError> {
    copy_template(&run.config.model, stage.out)?;
    let vae = train_vae(run, stage)?;
    if !vae.complete {
        return Ok(vae);
    }
    let mut unet = train_unet(run, stage)?;
    unet.losses.extend(vae.losses);
    Ok(unet)
}

/// Files of the template that are taken as they are.
const TEMPLATE: &[&str] = &[
    "model_index.json",
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json",
    "tokenizer/special_tokens_map.json",
];

fn copy_template(from: &Path, to: &Path) -> Result<(), TrainError> {
    for name in TEMPLATE {
        let (source, target) = (from.join(name), to.join(name));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(TrainError::io(folder))?;
        }
        if *name == "vae/config.json" && target.exists() {
            // It holds the scaling factor that was measured once the autoencoder was trained.
            continue;
        }
        let bytes = fs::read(&source).map_err(TrainError::io(&source))?;
        write_atomic(&target, &bytes).map_err(TrainError::io(&target))?;
    }
    Ok(())
}

fn plan(run: &BaseRun<'_>, name: &str, part: &Part) -> Result<Plan, TrainError> {
    let c = run.config;
    // Each part continues whatever becomes of the settings of the other.
    let settings = (
        &c.snapshot,
        c.resolution,
        c.seed,
        c.validation_split,
        c.kl_weight,
        part,
        run.root,
    );
    let text = serde_json::to_vec(&settings).map_err(|e| TrainError::Setting(e.to_string()))?;
    Ok(Plan {
        name: name.to_owned(),
        metrics: format!("metrics-{name}.jsonl"),
        identity: Sha256Digest::of_bytes(&text).to_string(),
        max_train_steps: part.max_train_steps,
        learning_rate: part.learning_rate,
        lr_scheduler: Schedule::Cosine,
        lr_warmup_steps: part.lr_warmup_steps,
        gradient_accumulation_steps: part.gradient_accumulation_steps,
        max_grad_norm: part.max_grad_norm,
        adam: AdamWConfig::default(),
        ema_decay: Some(part.ema_decay),
        save_every_n_steps: c.save_every_n_steps,
        validate_every_n_steps: c.validate_every_n_steps,
        sample_every_n_steps: c.sample_every_n_steps,
    })
}

fn unsupported(path: PathBuf) -> impl Fn(String) -> TrainError {
    move |message| {
        TrainError::Load(LoadError::Config {
            path: path.clone(),
            message,
        })
    }
}

#[derive(Clone)]
struct Autoencoder<'a> {
    run: &'a BaseRun<'a>,
    vae: Vae,
    training: Vec<usize>,
    held: Vec<usize>,
}

/// The error of a reconstruction: of each pixel, and of the differences of neighbours, which keeps outlines sharp.
fn sharp_error(error: Tensor<4>) -> Tensor<1> {
    let [_, _, h, w] = error.dims();
    let rows = error.clone().narrow(2, 1, h - 1) - error.clone().narrow(2, 0, h - 1);
    let columns = error.clone().narrow(3, 1, w - 1) - error.clone().narrow(3, 0, w - 1);
    error.abs().mean() + (rows.abs().mean() + columns.abs().mean()).mul_scalar(0.5)
}

impl Objective for Autoencoder<'_> {
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
        for_each(&mut self.vae, f);
    }

    fn loss(&mut self, micro_batch: u64) -> Result<Tensor<1>, TrainError> {
        let (c, device) = (self.run.config, self.run.device.clone().autodiff());
        let places = batch_at(self.training.len(), c.vae.train_batch_size, micro_batch, c.seed);
        let indices: Vec<usize> = places.iter().map(|&p| self.training[p]).collect();
        let x = self.run.pictures.batch(&indices, &device);
        let (mean, logvar) = self.vae.encode(x.clone());
        let dims = mean.dims();
        let noise = Draws::new(c.seed, &format!("vae/{micro_batch}")).normals(dims.iter().product());
        let noise = Tensor::from_data(TensorData::new(noise, dims), &device);
        let z = mean.clone() + logvar.clone().mul_scalar(0.5).exp() * noise;
        let kl = (mean.square() + logvar.clone().exp() - logvar - 1.0)
            .mean()
            .mul_scalar(0.5);
        Ok(sharp_error(self.vae.decode(z) - x) + kl.mul_scalar(c.kl_weight))
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        let vae = frozen(&self.vae);
        let (mut total, mut n) = (0.0, 0);
        for part in self.held.chunks(16).take(16) {
            let x = self.run.pictures.batch(part, self.run.device);
            let error = vae.decode(vae.encode(x.clone()).0) - x;
            total += f64::from(to_vec(sharp_error(error))[0]) * part.len() as f64;
            n += part.len();
        }
        Ok(vec![("reconstruction".to_owned(), total / n.max(1) as f64)])
    }

    fn sample(&mut self, _step: u64) -> Result<Option<Vec<u8>>, TrainError> {
        let vae = frozen(&self.vae);
        let shown = &self.held[..self.held.len().min(10)];
        let x = self.run.pictures.batch(shown, self.run.device);
        let side = self.run.pictures.size as u32;
        let row = |label: &str, planes: Vec<f32>| -> Result<Row, TrainError> {
            let tiles = planes
                .chunks(3 * (side * side) as usize)
                .map(|p| Tile::from_planes(side, side, p).map(Some))
                .collect::<Result<_, _>>()?;
            Ok(Row {
                label: label.to_owned(),
                tiles,
            })
        };
        let rows = vec![
            row("held out", to_vec(x.clone()))?,
            row("decoded", to_vec(vae.decode(vae.encode(x).0)))?,
        ];
        let sheet = Sheet {
            title: "autoencoder".to_owned(),
            columns: vec![],
            rows,
            side,
        };
        Ok(Some(sheet.png()?))
    }
}

fn train_vae(run: &BaseRun<'_>, stage: &mut Stage<'_>) -> Result<Finish, TrainError> {
    let path = stage.out.join("vae/config.json");
    let mut config: VaeConfig = read(&path)?;
    let device = run.device.clone().autodiff();
    let vae = Vae::build(&config, &mut Weights::fresh(run.config.seed, &device)).map_err(unsupported(path.clone()))?;
    let (training, held) = split(run.pictures.len(), run.config.validation_split, run.config.seed);
    let mut objective = Autoencoder {
        run,
        vae,
        training,
        held,
    };
    let weights = stage.out.join("vae/diffusion_pytorch_model.safetensors");
    let finish = train(&mut objective, &plan(run, "vae", &run.config.vae)?, run.resume, stage)?;
    if finish.complete {
        let mut vae = frozen(&objective.vae);
        save(&weights, &collect(&mut vae), true)?;
        config.scaling_factor = 1.0 / deviation(run, &vae, &objective.training);
        let text = serde_json::to_string_pretty(&config).map_err(|e| TrainError::Setting(e.to_string()))?
            + "
";
        write_atomic(&path, text.as_bytes()).map_err(TrainError::io(&path))?;
    }
    Ok(finish)
}

/// The standard deviation of the latents of (at most 512) pictures: with its inverse as scaling factor the U-Net sees
/// latents of about unit variance (Rombach et al. 2022, appendix G).
fn deviation(run: &BaseRun<'_>, vae: &Vae, training: &[usize]) -> f64 {
    let mut values = Vec::new();
    for part in training[..training.len().min(512)].chunks(16) {
        values.extend(to_vec(vae.encode(run.pictures.batch(part, run.device)).0));
    }
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    (values.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n)
        .sqrt()
        .max(1e-6)
}

#[derive(Clone)]
struct Diffusion<'a> {
    run: &'a BaseRun<'a>,
    pipeline: Pipeline,
    /// Scaled latents of every picture.
    latents: Arc<Vec<Vec<f32>>>,
    shape: [usize; 3],
    tokens: Arc<Vec<Vec<u32>>>,
    training: Vec<usize>,
    held: Vec<usize>,
}

/// Held-out pictures that are measured: more would take longer than they tell.
const MEASURED: usize = 64;

impl Objective for Diffusion<'_> {
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
        for_each(&mut self.pipeline.unet, &mut |name, param| {
            f(&format!("unet/{name}"), param)
        });
        for_each(&mut self.pipeline.text, &mut |name, param| {
            f(&format!("text_encoder/{name}"), param)
        });
    }

    fn loss(&mut self, micro_batch: u64) -> Result<Tensor<1>, TrainError> {
        let (c, device) = (self.run.config, self.run.device.clone().autodiff());
        let places = batch_at(self.training.len(), c.unet.train_batch_size, micro_batch, c.seed);
        let indices: Vec<usize> = places.iter().map(|&p| self.training[p]).collect();
        let mut draws = Draws::new(c.seed, &format!("unet/{micro_batch}"));
        let steps = self.pipeline.schedule.len();
        let timesteps: Vec<usize> = indices.iter().map(|_| draws.below(steps)).collect();
        let empty = self.pipeline.tokens("");
        let rows: Vec<Vec<u32>> = indices
            .iter()
            .map(|&i| {
                if draws.uniform() < c.unet.caption_dropout_rate {
                    empty.clone()
                } else {
                    self.tokens[i].clone()
                }
            })
            .collect();
        let [a, b, d] = self.shape;
        let noise = draws.normals(indices.len() * a * b * d);
        let batch = Batch {
            latents: super::data::stack(indices.iter().map(|&i| self.latents[i].as_slice()), self.shape, &device),
            noise: Tensor::from_data(TensorData::new(noise, [indices.len(), a, b, d]), &device),
            timesteps,
            context: self.pipeline.text.forward(&rows, &device).last,
        };
        Ok(diffusion_loss(&self.pipeline.unet, &self.pipeline.schedule, &batch, None)?.0)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        let (unet, text, device) = (
            frozen(&self.pipeline.unet),
            frozen(&self.pipeline.text),
            self.run.device,
        );
        let shown = &self.held[..self.held.len().min(MEASURED)];
        let mut set = HeldOut {
            shape: self.shape,
            ..HeldOut::default()
        };
        for &i in shown {
            set.ids.push(self.run.pictures.ids[i].clone());
            set.latents.push(self.latents[i].clone());
            set.contexts
                .push(to_vec(text.forward(&self.tokens[i..=i], device).last));
        }
        Ok(vec![(
            "held_out".to_owned(),
            validate(&unet, &self.pipeline.schedule, &set, 32, device)?,
        )])
    }

    fn sample(&mut self, _step: u64) -> Result<Option<Vec<u8>>, TrainError> {
        let mut pipeline = self.pipeline.clone();
        pipeline.unet = frozen(&self.pipeline.unet);
        pipeline.text = frozen(&self.pipeline.text);
        let prompts: Vec<&str> = self.run.config.sample_prompts.iter().map(String::as_str).collect();
        let side = self.run.pictures.size;
        let settings = Settings {
            size: [side, side],
            steps: 20,
            cfg: 4.0,
            sampler: SamplerKind::Ddim,
            seed: self.run.config.seed,
            negative_prompt: String::new(),
        };
        let pictures = draw(
            &pipeline,
            &pipeline.unet,
            &prompts,
            &settings,
            self.run.device,
            &mut |_| {},
        )?;
        let tiles = pictures
            .iter()
            .map(|p| Tile::from_planes(side as u32, side as u32, &p.planes).map(Some))
            .collect::<Result<_, _>>()?;
        let rows = vec![Row {
            label: String::new(),
            tiles,
        }];
        let sheet = Sheet {
            title: "base".to_owned(),
            columns: self.run.config.sample_prompts.clone(),
            rows,
            side: side as u32,
        };
        Ok(Some(sheet.png()?))
    }
}

fn train_unet(run: &BaseRun<'_>, stage: &mut Stage<'_>) -> Result<Finish, TrainError> {
    let device = run.device.clone().autodiff();
    let vae = Vae::load(&stage.out.join("vae"), run.device)?;
    stage.tell(&Event::Phase {
        name: "latents".to_owned(),
        total: run.pictures.len() as u64,
        done: 0,
    });
    let mut latents = Vec::with_capacity(run.pictures.len());
    let mut shape = [0; 3];
    let all: Vec<usize> = (0..run.pictures.len()).collect();
    for part in all.chunks(16) {
        let mean = vae
            .encode(run.pictures.batch(part, run.device))
            .0
            .mul_scalar(vae.scaling_factor());
        let [_, c, h, w] = mean.dims();
        shape = [c, h, w];
        latents.extend(to_vec(mean).chunks(c * h * w).map(<[f32]>::to_vec));
        part.iter().for_each(|_| stage.tell(&Event::Tick));
    }

    let mut fresh = Weights::fresh(run.config.seed, &device);
    let (unet_path, text_path) = (
        stage.out.join("unet/config.json"),
        stage.out.join("text_encoder/config.json"),
    );
    let unet_config: UNetConfig = read(&unet_path)?;
    let unet = UNet::build(&unet_config, &mut fresh).map_err(unsupported(unet_path))?;
    let text = TextEncoder::build(&read(&text_path)?, &mut fresh).map_err(unsupported(text_path))?;
    let pipeline = Pipeline::assemble(stage.out, text, unet, vae)?;
    let tokens = Arc::new(run.pictures.captions.iter().map(|c| pipeline.tokens(c)).collect());
    let latents = Arc::new(latents);
    let (training, held) = split(run.pictures.len(), run.config.validation_split, run.config.seed);
    let mut objective = Diffusion {
        run,
        pipeline,
        latents,
        shape,
        tokens,
        training,
        held,
    };
    let finish = train(&mut objective, &plan(run, "unet", &run.config.unet)?, run.resume, stage)?;
    let write = |name: &str, module: &mut dyn Module| save(&stage.out.join(name), &collect(module), true);
    write(
        "unet/diffusion_pytorch_model.safetensors",
        &mut frozen(&objective.pipeline.unet),
    )?;
    write("text_encoder/model.safetensors", &mut frozen(&objective.pipeline.text))?;
    Ok(finish)
}
