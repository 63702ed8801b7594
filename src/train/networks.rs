//! The networks that carry the adapter under training: the U-Net, and the text encoders where they are trained too.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::config::AdapterConfig;
use super::error::TrainError;
use super::max_norm::Length;
use crate::adapter;
use crate::lora::{self, Census, LoraError, Recipe, frozen};
use crate::model::layers::{Module, ParamMut, join};
use crate::model::params::lifted;
use crate::model::pipeline::Pipeline;
use crate::model::recompute::Tape;
use crate::model::unet::{Added, UNet};

/// What the paths of a text encoder's layers begin with.
const TEXT: [&str; 2] = ["text_encoder", "text_encoder_2"];
/// Layers of a text encoder's block that have an adapter: four of its attention, two of its feed-forward part.
const OF_A_BLOCK: usize = 6;

/// The networks with the adapter on them, in autodiff.
#[derive(Clone)]
pub(super) struct Networks {
    /// The U-Net.
    pub unet: UNet,
    /// A pipeline whose text encoders are in autodiff with the adapter on them, where they are trained.
    texts: Option<Box<Pipeline>>,
    recipe: Arc<Recipe>,
    /// The adapter as it started, where that was a part of the base's weights.
    start: Option<Arc<Vec<adapter::Module>>>,
    /// Factor on the learning rate of the text encoders.
    text_rate: f64,
    seed: u64,
    device: Device,
}

impl Networks {
    /// Takes the base's networks into autodiff, where they share its memory, puts the adapter on them, and counts: a run
    /// with fewer modules than there should be would fail silently. Returns the numbers of modules found and expected too.
    pub fn new(pipeline: &Pipeline, c: &AdapterConfig, device: &Device) -> Result<(Self, [usize; 2]), TrainError> {
        let device = device.clone().autodiff();
        let mut networks = Self {
            unet: lifted(&pipeline.unet),
            texts: None,
            start: None,
            recipe: Arc::new(c.network.recipe().map_err(TrainError::Setting)?),
            text_rate: c.network.text_encoder_lr.map_or(1.0, |lr| lr / c.optimisation.peak()),
            seed: c.run.seed,
            device,
        };
        if c.network.train_text_encoder {
            let mut texts = pipeline.clone();
            texts.text = lifted(&pipeline.text);
            if let Some(second) = &mut texts.second {
                second.text = lifted(&second.text);
            }
            networks.texts = Some(Box::new(texts));
        }
        let mut usual = networks.recipe.targets.expected(Census::of(networks.unet.config()));
        if let Some(texts) = &networks.texts {
            let second = texts.second.iter().map(|second| &second.text);
            let layers = std::iter::once(&texts.text).chain(second);
            usual += OF_A_BLOCK * layers.map(|text| text.config().num_hidden_layers).sum::<usize>();
        }
        let (recipe, seed) = (networks.recipe.clone(), networks.seed);
        let found = lora::attach(&mut networks.parts(), &recipe, seed)?.len();
        let chosen = !recipe.include.is_empty() || !recipe.exclude.is_empty();
        let expected = match c.network.target_count {
            Some(count) => count,
            None if chosen => found.max(1),
            None => usual,
        };
        if found != expected {
            return Err(LoraError::Count { expected, found }.into());
        }
        if recipe.start.changes_base() {
            networks.start = Some(Arc::new(networks.extract()));
        }
        Ok((networks, [found, expected]))
    }

    /// The networks with what their layers' paths begin with.
    fn parts(&mut self) -> Vec<(&'static str, &mut dyn Module)> {
        let mut parts: Vec<(&str, &mut dyn Module)> = vec![("", &mut self.unet)];
        if let Some(texts) = &mut self.texts {
            parts.push((TEXT[0], &mut texts.text));
            if let Some(second) = &mut texts.second {
                parts.push((TEXT[1], &mut second.text));
            }
        }
        parts
    }

    /// Calls `f` with every tensor under training.
    pub fn for_each(&mut self, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
        for (part, model) in self.parts() {
            lora::for_each(model, &mut |name, param| f(&join(part, name), param));
        }
    }

    /// Factor on the learning rate of a tensor.
    pub fn rate(&self, c: &AdapterConfig, name: &str) -> f64 {
        let part = TEXT.iter().any(|part| name.starts_with(part));
        c.network.rate(&self.recipe, name) * if part { self.text_rate } else { 1.0 }
    }

    /// Decides what a micro-batch leaves out.
    pub fn roll(&mut self, micro_batch: u64) {
        let seed = self.seed;
        for (part, model) in self.parts() {
            lora::roll(part, model, seed, micro_batch);
        }
    }

    /// Whether captions have to be embedded again for every step.
    pub fn trains_text(&self) -> bool {
        self.texts.is_some()
    }

    /// Captions as the U-Net takes them, in autodiff; none where the text encoders are not trained, so that cached
    /// embeddings serve.
    pub fn conditions(
        &self,
        captions: &[&str],
        size_ids: &[[f32; 6]],
        tape: &mut Tape,
    ) -> Option<(Tensor<3>, Option<Added>)> {
        let embedded = self.texts.as_ref()?.embed_on(tape, captions, &self.device);
        Some((embedded.context, Pipeline::added(embedded.pooled, size_ids)))
    }

    /// A pipeline with the networks as they are now, out of autodiff: for validation and samples.
    pub fn at_rest(&self, pipeline: &Pipeline) -> Pipeline {
        let mut rest = pipeline.clone();
        rest.unet = frozen(&self.unet);
        if let Some(texts) = &self.texts {
            rest.text = frozen(&texts.text);
            if let (Some(rest), Some(second)) = (&mut rest.second, &texts.second) {
                rest.text = frozen(&second.text);
            }
        }
        rest
    }

    /// How long the updates of all modules are, with their scales.
    pub fn lengths(&mut self) -> Result<Vec<Length>, TrainError> {
        let modules = self.extract();
        let length = |module: &adapter::Module| {
            Ok(Length {
                prefix: format!("{}.", module.path),
                norm: adapter::energy(module)?.unwrap_or(0.0).sqrt(),
            })
        };
        modules.par_iter().map(length).collect()
    }

    /// The adapter as values for a file, sorted by path. Where it started as a part of the base's weights, its file says
    /// what has changed since, so that it fits the base as it was: that has twice the rank.
    pub fn learned(&self) -> Vec<adapter::Module> {
        let now = self.extract();
        let Some(start) = &self.start else { return now };
        let paired = now.into_iter().zip(start.iter());
        paired.map(|(now, start)| now.since(start)).collect()
    }

    fn extract(&self) -> Vec<adapter::Module> {
        let mut copy = self.clone();
        let mut all = Vec::new();
        for (part, model) in copy.parts() {
            for mut module in lora::extract(model) {
                module.path = join(part, &module.path);
                all.push(module);
            }
        }
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }
}
