//! What an adapter's training minimises, measures and draws.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::{AdapterRun, sample_settings};
use crate::generate::{Drawing, Job};
use crate::model::layers::ParamMut;
use crate::model::params::to_vec;
use crate::model::pipeline::Pipeline;
use crate::model::weights::Draws;
use crate::sheet::{Row, Sheet, Tile};
use crate::train::aim::Aim;
use crate::train::config::Target;
use crate::train::data::{Pictures, batch_at, stack};
use crate::train::engine::Objective;
use crate::train::error::TrainError;
use crate::train::loss::{Batch, Caption, HeldOut, Special, conditions, diffusion_loss, validate};
use crate::train::networks::Networks;
use crate::train::noise;
use crate::train::timesteps::Timesteps;
use crate::train::watch::{Event, Stage};

/// A set of pictures as the U-Net sees them.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    ids: Vec<String>,
    latents: Vec<Vec<f32>>,
    /// `[C, H, W]`
    pub(super) shape: [usize; 3],
    size: [usize; 2],
    captions: Vec<Caption>,
    texts: Vec<String>,
    /// How much each place counts, `[H, W]` each, where it is not all the same.
    pub(super) masks: Option<Vec<Vec<f32>>>,
}

impl Cached {
    pub(super) fn held_out(&self, name: &str, places: &[usize]) -> (HeldOut, Vec<String>) {
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
pub(super) fn cache(
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
        masks: None,
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

/// The adapter on its base, and what it learns from.
#[derive(Clone)]
pub(super) struct Adapter<'a> {
    pub(super) run: &'a AdapterRun<'a>,
    pub(super) pipeline: Pipeline,
    pub(super) networks: Networks,
    pub(super) cached: Arc<Cached>,
    pub(super) empty: Arc<Caption>,
    pub(super) training: Arc<Vec<usize>>,
    /// The held-out sets, each with its captions' texts.
    pub(super) sets: Arc<Vec<(HeldOut, Vec<String>)>>,
    pub(super) aim: Aim,
    pub(super) timesteps: Timesteps,
    /// Timestep and loss of each sample of the last micro-batch, where they are learned from.
    pub(super) seen: Vec<(usize, f32)>,
}

/// The noise of a micro-batch, and that of its input where it is another. The plain noise is drawn before; what is added
/// has draws of its own, so that each option leaves the others' numbers as they are.
fn noises(
    target: &Target,
    (seed, micro_batch): (u64, u64),
    latents: &[f32],
    shape: noise::Shape,
    mut plain: Vec<f32>,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let draws = |what: &str| Draws::new(seed, &format!("adapter/{micro_batch}/{what}"));
    let [batch, channels, height, width] = shape;
    let strength = |draws: &mut Draws, most: f64, random: bool| {
        let share = if random { draws.uniform() } else { 1.0 };
        (share * most) as f32
    };
    if let Some(most) = target.noise_offset {
        let mut draws = draws("noise_offset");
        let strength = strength(&mut draws, most, target.noise_offset_random_strength);
        let shifts = draws.normals(batch * channels);
        noise::offset(
            &mut plain,
            latents,
            shape,
            (strength, target.adaptive_noise_scale.map(|scale| scale as f32)),
            &shifts,
        );
    }
    if target.multires_noise_iterations > 0 {
        let mut draws = draws("multires_noise");
        let sizes = noise::levels(height, width, target.multires_noise_iterations, &mut draws);
        let coarse: Vec<_> = sizes
            .into_iter()
            .map(|size| (size, draws.normals(batch * channels * size[0] * size[1])))
            .collect();
        noise::pyramid(
            &mut plain,
            shape,
            &coarse,
            target.multires_noise_discount.unwrap_or(0.3),
        );
    }
    let input = target.ip_noise_gamma.map(|most| {
        let mut draws = draws("ip_noise");
        let strength = strength(&mut draws, most, target.ip_noise_gamma_random_strength);
        noise::perturbed(&plain, &draws.normals(plain.len()), strength)
    });
    (plain, input)
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
        let (timesteps, chances) = self.timesteps.draw(indices.len(), &mut draws);
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
        let shape = [indices.len(), a, b, d];
        let plain = draws.normals(shape.iter().product());
        let latents: Vec<&[f32]> = indices.iter().map(|&i| self.cached.latents[i].as_slice()).collect();
        let (noise, input) = noises(&c.target, (c.run.seed, micro_batch), &latents.concat(), shape, plain);
        let tensor = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, shape), &device);
        let mask = self.cached.masks.as_ref().map(|masks| {
            let rows = indices.iter().map(|&i| masks[i].as_slice());
            stack(rows, [1, b, d], &device)
        });
        let (texts, embedded): (Vec<&str>, Vec<&Caption>) = captions.into_iter().unzip();
        let fresh = self.networks.conditions(&texts, self.cached.size);
        let unet = &self.networks.unet;
        let (context, added) =
            fresh.unwrap_or_else(|| conditions(embedded.into_iter(), unet, self.cached.size, &device));
        let batch = Batch {
            latents: stack(latents.into_iter(), self.cached.shape, &device),
            noise: tensor(noise),
            timesteps,
            context,
            added,
            special: Special {
                input_noise: input.map(tensor),
                mask,
                weights: chances,
            },
        };
        let (loss, per_sample) = diffusion_loss(unet, &self.pipeline.schedule, &batch, &self.aim)?;
        if self.timesteps.learns() {
            self.seen = batch.timesteps.into_iter().zip(to_vec(per_sample)).collect();
        }
        Ok(loss)
    }

    fn take_seen(&mut self) -> Vec<(usize, f32)> {
        std::mem::take(&mut self.seen)
    }

    fn learn(&mut self, seen: &[(usize, f32)]) {
        self.timesteps.learn(seen);
    }

    fn memory(&mut self) -> Option<&mut Vec<f64>> {
        self.timesteps.memory()
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
