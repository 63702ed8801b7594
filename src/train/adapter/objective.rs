//! What an adapter's training minimises, measures and draws.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use super::latents::{Cached, Encoder, Measured};
use super::texts::Texts;
use super::{AdapterRun, sample_settings};
use crate::generate::{Drawing, Job};
use crate::model::layers::ParamMut;
use crate::model::params::to_vec;
use crate::model::pipeline::Pipeline;
use crate::model::recompute::Tape;
use crate::model::weights::Draws;
use crate::sheet::{Row, Sheet, Tile};
use crate::train::aim::Aim;
use crate::train::config::Target;
use crate::train::data::{Moment, Order, Turn, caption, silent, stack};
use crate::train::engine::Objective;
use crate::train::error::TrainError;
use crate::train::loss::{Batch, Caption, Example, Special, conditions, diffusion_loss, validate, weighed};
use crate::train::max_norm::Length;
use crate::train::networks::Networks;
use crate::train::noise;
use crate::train::timesteps::Timesteps;

/// The adapter on its base, and what it learns from.
#[derive(Clone)]
pub(super) struct Adapter<'a> {
    pub(super) run: &'a AdapterRun<'a>,
    pub(super) pipeline: Pipeline,
    pub(super) networks: Networks,
    pub(super) cached: Arc<Cached>,
    pub(super) texts: Arc<Texts>,
    pub(super) order: Arc<Order>,
    /// How much the loss of each picture counts; empty where all count the same.
    pub(super) prior: Arc<Vec<f32>>,
    /// The held-out sets.
    pub(super) sets: Arc<Vec<Measured>>,
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

impl Adapter<'_> {
    /// What the captions of a micro-batch say. Whether each is left out is drawn from `draws`, always; what else is drawn
    /// has draws of its own.
    fn captions(&self, micro_batch: u64, turns: &[Turn], draws: &mut Draws) -> Vec<String> {
        let c = self.run.config;
        let mut words = Draws::new(c.run.seed, &format!("adapter/{micro_batch}/captions"));
        let mut one = |turn: &Turn| {
            let entry = &self.cached.pictures[turn.picture].entry;
            let dropped = draws.uniform() < entry.subset.caption_dropout_rate;
            if dropped || silent(&entry.subset, turn.epoch) {
                return String::new();
            }
            let moment = Moment {
                draws: &mut words,
                step: micro_batch / c.optimisation.gradient_accumulation_steps.max(1),
                total: c.optimisation.max_train_steps,
            };
            let trigger = c.run.trigger_phrase.as_deref();
            caption(&entry.subset, trigger, &entry.caption, Some(moment))
        };
        turns.iter().map(&mut one).collect()
    }
}

impl Objective for Adapter<'_> {
    fn params(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
        self.networks.for_each(f);
    }

    fn rate(&self, name: &str) -> f64 {
        self.networks.rate(self.run.config, name)
    }

    fn loss(&mut self, micro_batch: u64, tape: &mut Tape) -> Result<Tensor<1>, TrainError> {
        let (c, device) = (self.run.config, self.run.device.clone().autodiff());
        self.networks.roll(micro_batch);
        let turns = self.order.batch(micro_batch);
        let indices: Vec<usize> = turns.iter().map(|turn| turn.picture).collect();
        let [channels, height, width] = turns.first().map_or([0; 3], |turn| self.cached.shape(turn.picture));
        let mut draws = Draws::new(c.run.seed, &format!("adapter/{micro_batch}"));
        let (timesteps, chances) = self.timesteps.draw(turns.len(), &mut draws);
        let texts = self.captions(micro_batch, &turns, &mut draws);
        let shape = [turns.len(), channels, height, width];
        let plain = draws.normals(shape.iter().product());
        let encoder = Encoder::new(&self.pipeline, self.run);
        let samples = self.cached.samples(&encoder, micro_batch, &turns)?;
        let latents: Vec<&[f32]> = samples.iter().map(|sample| sample.latents.as_slice()).collect();
        let (noise, input) = noises(&c.target, (c.run.seed, micro_batch), &latents.concat(), shape, plain);
        let tensor = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, shape), &device);
        let masks = samples.iter().filter_map(|sample| sample.mask.as_deref());
        let mask = self
            .cached
            .masks
            .as_ref()
            .map(|_| stack(masks, [1, height, width], &device));
        let size_ids: Vec<[f32; 6]> = samples.iter().map(|sample| sample.size_ids).collect();
        let words: Vec<&str> = texts.iter().map(String::as_str).collect();
        let unet = &self.networks.unet;
        let (context, added) = match self.networks.conditions(&words, &size_ids, tape) {
            Some(fresh) => fresh,
            None => {
                let embedded: Vec<Arc<Caption>> = texts.iter().map(|text| self.texts.get(text)).collect();
                conditions(embedded.iter().map(|c| &**c), unet, &size_ids, &device)
            }
        };
        let batch = Batch {
            latents: stack(latents.into_iter(), [channels, height, width], &device),
            noise: tensor(noise),
            timesteps,
            context,
            added,
            special: Special {
                input_noise: input.map(tensor),
                mask,
                weights: weighed(chances, &self.prior, &indices),
            },
        };
        let (loss, per_sample) = diffusion_loss(unet, &self.pipeline.schedule, &batch, &self.aim, tape)?;
        if self.timesteps.learns() {
            self.seen = batch.timesteps.into_iter().zip(to_vec(per_sample)).collect();
        }
        Ok(loss)
    }

    fn lengths(&mut self) -> Result<Vec<Length>, TrainError> {
        self.networks.lengths()
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
        let encoder = Encoder::new(&self.pipeline, self.run);
        let measure = |held: &Measured| {
            let of = |i: usize| {
                let text = &held.texts[i];
                Ok::<_, TrainError>(Example {
                    latents: held.cached.in_the_middle(&encoder, held.places[i])?,
                    caption: match self.networks.trains_text() {
                        true => Arc::new(now.embed(&[text.as_str()], device).into()),
                        false => self.texts.get(text),
                    },
                })
            };
            let loss = validate(&now.unet, &now.schedule, (&held.set, &of), 32, device)?;
            Ok((held.set.name.clone(), loss))
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
        let [width, height] = c.data.resolution.sides();
        let tiles = drawn
            .iter()
            .map(|p| Tile::from_planes(width, height, &p.planes).map(Some))
            .collect::<Result<_, _>>()?;
        let sheet = Sheet {
            title: format!("{} · step {step}", c.run.output_name),
            columns: c.run.sample_prompts.clone(),
            rows: vec![Row {
                label: String::new(),
                tiles,
            }],
            side: width.max(height),
        };
        Ok(Some(sheet.png()?))
    }
}
