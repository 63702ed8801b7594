//! The second part: the U-Net together with the text encoder, on the autoencoder's latents.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::{BaseRun, plan, unsupported};
use crate::generate::{Drawing, Job, Settings};
use crate::lora::frozen;
use crate::model::config::{UNetConfig, read};
use crate::model::layers::{Module, ParamMut};
use crate::model::params::{collect, for_each, to_vec};
use crate::model::pipeline::Pipeline;
use crate::model::recompute::Tape;
use crate::model::scheduler::ScheduleError;
use crate::model::text::TextEncoder;
use crate::model::unet::UNet;
use crate::model::vae::Vae;
use crate::model::weights::{Draws, Precision, Weights, save};
use crate::sheet::{Row, Sheet, Tile};
use crate::train::aim::Aim;
use crate::train::data::{batch_at, split, stack};
use crate::train::engine::{self, Finish, Objective};
use crate::train::error::TrainError;
use crate::train::loss::{Batch, Caption, Example, HeldOut, Special, diffusion_loss, validate};
use crate::train::watch::{Event, Stage};

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

    fn loss(&mut self, micro_batch: u64, tape: &mut Tape) -> Result<Tensor<1>, TrainError> {
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
            latents: stack(indices.iter().map(|&i| self.latents[i].as_slice()), self.shape, &device),
            noise: Tensor::from_data(TensorData::new(noise, [indices.len(), a, b, d]), &device),
            timesteps,
            context: self.pipeline.text.forward_on(tape, &rows, &device).last,
            added: None,
            special: Special::default(),
        };
        let (unet, schedule) = (&self.pipeline.unet, &self.pipeline.schedule);
        Ok(diffusion_loss(unet, schedule, &batch, &Aim::default(), tape)?.0)
    }

    fn validate(&mut self) -> Result<Vec<(String, f64)>, TrainError> {
        let (unet, text, device) = (
            frozen(&self.pipeline.unet),
            frozen(&self.pipeline.text),
            self.run.device,
        );
        let shown = &self.held[..self.held.len().min(MEASURED)];
        let mut set = HeldOut::default();
        for &i in shown {
            set.ids.push(self.run.pictures.ids[i].clone());
            set.shapes.push(self.shape);
            set.size_ids.push(Pipeline::uncropped([self.run.pictures.size; 2]));
        }
        let of = |at: usize| {
            let i = shown[at];
            let caption = Caption {
                context: to_vec(text.forward(&self.tokens[i..=i], device).last),
                pooled: Vec::new(),
            };
            Ok::<_, ScheduleError>(Example {
                latents: self.latents[i].clone(),
                caption: Arc::new(caption),
            })
        };
        Ok(vec![(
            "held_out".to_owned(),
            validate(&unet, &self.pipeline.schedule, (&set, &of), 32, device)?,
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
            cfg: 4.0,
            ..Settings::default()
        };
        let pictures = Drawing::new(&pipeline, &pipeline.unet, &settings, self.run.device)
            .draw(&Job::each(&prompts, self.run.config.seed), &mut |_| Ok(()))?;
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

/// Trains the U-Net and the text encoder on the latents of the trained autoencoder.
///
/// # Errors
/// As [`super::train_base`].
pub(super) fn train(run: &BaseRun<'_>, stage: &mut Stage<'_>) -> Result<Finish, TrainError> {
    let device = run.device.clone().autodiff();
    let vae = Vae::load(&stage.out.join("vae"), run.device, Precision::F32)?;
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
    let (finish, _) = engine::run(&mut objective, &plan(run, "unet", &run.config.unet)?, run.resume, stage)?;
    let write = |name: &str, module: &mut dyn Module| save(&stage.out.join(name), &collect(module), true);
    write(
        "unet/diffusion_pytorch_model.safetensors",
        &mut frozen(&objective.pipeline.unet),
    )?;
    write("text_encoder/model.safetensors", &mut frozen(&objective.pipeline.text))?;
    Ok(finish)
}
