//! Low-rank adapters on a model's layers: which layers get one, how they start, attaching, reading them back.
//!
//! The layers themselves do the arithmetic (`model::layers::LowRank`), in activation space. Knows the adapter's values
//! (`adapter::LoraModule`) and the model; no files, no training loop.

mod targets;

use burn::tensor::{Device, Tensor, TensorData};

pub use targets::{Targets, module_paths};

use crate::adapter::{AdapterFile, LoraModule};
use crate::model::base::Family;
use crate::model::layers::{Conv2d, Linear, LowRank, Module, ParamMut, Visitor, join};
use crate::model::params::to_vec;
use crate::model::pipeline::Pipeline;
use crate::model::weights::Draws;

/// Why an adapter could not be put on a model.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum LoraError {
    /// An adapter for another kind of base.
    #[error("it is for {adapter}, the base is {base}; hint: use it with the kind of base that it was trained on")]
    Family {
        /// What the adapter is for.
        adapter: Family,
        /// What the base is.
        base: Family,
    },
    /// Modules of the adapter that the model does not have.
    #[error("{count} of the adapter's modules are not in this model: {shown}; hint: is it made for another base?")]
    Unknown {
        /// How many.
        count: usize,
        /// The first of them.
        shown: String,
    },
    /// A module whose shapes are not those of the model's layer.
    #[error(
        "module `{path}`: expected down {expected_down:?} and up {expected_up:?}, found {down:?} and {up:?}; hint: is it \
         made for another base?"
    )]
    Shape {
        /// Which module.
        path: String,
        /// What the layer needs.
        expected_down: Vec<usize>,
        /// What the layer needs.
        expected_up: Vec<usize>,
        /// What the adapter has.
        down: Vec<usize>,
        /// What the adapter has.
        up: Vec<usize>,
    },
    /// Fewer modules than the configuration of the model says there are.
    #[error("expected {expected} modules to adapt, found {found}; a run with fewer would fail silently")]
    Count {
        /// By the configuration.
        expected: usize,
        /// In the model.
        found: usize,
    },
}

/// Puts fresh adapters of `rank` and `alpha` on every targeted layer, as kohya and PEFT start them: down uniform as
/// Kaiming's with a = √5, which is ±1/√fan-in; up zero, so that the model is unchanged at first. The values depend on
/// the seed and the module's path alone. The new tensors ask for gradients.
///
/// Returns the paths of the adapted modules.
pub fn attach(model: &mut dyn Module, targets: Targets, rank: usize, alpha: f64, seed: u64) -> Vec<String> {
    let mut fresh = Fresh {
        targets,
        rank,
        scale: alpha / rank as f64,
        seed,
        paths: Vec::new(),
    };
    model.visit("", &mut fresh);
    fresh.paths
}

struct Fresh {
    targets: Targets,
    rank: usize,
    scale: f64,
    seed: u64,
    paths: Vec<String>,
}

impl Fresh {
    fn down<const D: usize>(&self, path: &str, shape: [usize; D], device: &Device) -> Tensor<D> {
        let fan_in: usize = shape[1..].iter().product();
        let bound = (1.0 / fan_in as f64).sqrt();
        let mut draws = Draws::new(self.seed, &join(path, "lora_A"));
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| ((2.0 * draws.uniform() - 1.0) * bound) as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), device).require_grad()
    }
}

impl Visitor for Fresh {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        if self.targets.covers(path) {
            let ([output, input], device) = (layer.weight.dims(), layer.weight.device());
            let down = self.down(path, [self.rank, input], &device);
            let up = Tensor::zeros([output, self.rank], &device).require_grad();
            layer.branches.push(LowRank::Linear {
                down,
                up,
                scale: self.scale,
            });
            self.paths.push(path.to_owned());
        }
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        if self.targets.covers(path) {
            let ([output, input, kh, kw], device) = (layer.weight.dims(), layer.weight.device());
            let down = self.down(path, [self.rank, input, kh, kw], &device);
            let up = Tensor::zeros([output, self.rank, 1, 1], &device).require_grad();
            layer.branches.push(LowRank::Conv {
                down,
                up,
                scale: self.scale,
            });
            self.paths.push(path.to_owned());
        }
    }
}

/// Puts an adapter on a model, `weight` times as strong as it was trained; beside whatever is there already.
///
/// # Errors
/// If the adapter has a module that the model has not, or one of another shape. The model is then unchanged in part:
/// load it again.
pub fn attach_modules(model: &mut dyn Module, modules: &[LoraModule], weight: f64) -> Result<(), LoraError> {
    let mut put = Put {
        modules,
        weight,
        used: vec![false; modules.len()],
        error: None,
    };
    model.visit("", &mut put);
    if let Some(error) = put.error {
        return Err(error);
    }
    let unknown: Vec<&str> = put
        .used
        .iter()
        .zip(modules)
        .filter(|(used, _)| !**used)
        .map(|(_, m)| m.path.as_str())
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(LoraError::Unknown {
        count: unknown.len(),
        shown: unknown.iter().take(3).copied().collect::<Vec<_>>().join(", "),
    })
}

/// Puts an adapter on the networks of a pipeline that it is for: the U-Net, and the text encoders where it has modules
/// of theirs; so many times as strong as it was trained on the one and on the others.
///
/// # Errors
/// As [`attach_modules`], and if its header or its names say that it is for another kind of base.
pub fn attach_pipeline(pipeline: &mut Pipeline, file: &AdapterFile, [weight, clip]: [f64; 2]) -> Result<(), LoraError> {
    let stated = file.header.get("ss_base_model_version").map(String::as_str);
    let family = match stated {
        _ if file.is_xl() => Some(Family::Xl),
        Some(version) if version.starts_with("sd_v1") => Some(Family::Sd1),
        Some(version) if version.starts_with("sd_v2") => Some(Family::Sd2),
        _ => None,
    };
    if let Some(adapter) = family.filter(|family| *family != pipeline.family) {
        return Err(LoraError::Family {
            adapter,
            base: pipeline.family,
        });
    }
    let mut parts: [Vec<LoraModule>; 3] = Default::default();
    for module in &file.modules {
        let (part, path) = match (
            module.path.strip_prefix("text_encoder."),
            module.path.strip_prefix("text_encoder_2."),
        ) {
            (Some(rest), _) => (1, rest),
            (_, Some(rest)) if pipeline.second.is_some() => (2, rest),
            _ => (0, module.path.as_str()),
        };
        parts[part].push(LoraModule {
            path: path.to_owned(),
            ..module.clone()
        });
    }
    let [unet, first, second] = &parts;
    attach_modules(&mut pipeline.unet, unet, weight)?;
    attach_modules(&mut pipeline.text, first, clip)?;
    match &mut pipeline.second {
        Some(other) => attach_modules(&mut other.text, second, clip),
        None => Ok(()),
    }
}

struct Put<'a> {
    modules: &'a [LoraModule],
    weight: f64,
    used: Vec<bool>,
    error: Option<LoraError>,
}

impl<'a> Put<'a> {
    fn find(&mut self, path: &str) -> Option<&'a LoraModule> {
        let i = self.modules.iter().position(|m| m.path == path)?;
        self.used[i] = true;
        Some(&self.modules[i])
    }

    /// Whether the module fits a layer with a weight of this shape.
    fn fits(&mut self, module: &LoraModule, weight: &[usize]) -> bool {
        let rank = module.down_shape.first().copied().unwrap_or(0);
        let expected_down: Vec<usize> = std::iter::once(rank).chain(weight[1..].iter().copied()).collect();
        let mut expected_up = vec![weight[0], rank];
        expected_up.extend(weight[2..].iter().map(|_| 1));
        let fits = rank > 0 && module.down_shape == expected_down && module.up_shape == expected_up;
        if !fits && self.error.is_none() {
            self.error = Some(LoraError::Shape {
                path: module.path.clone(),
                expected_down,
                expected_up,
                down: module.down_shape.clone(),
                up: module.up_shape.clone(),
            });
        }
        fits
    }
}

fn tensor<const D: usize>(values: &[f32], shape: &[usize], device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape.to_vec()), device)
}

impl Visitor for Put<'_> {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        let Some(m) = self.find(path) else { return };
        if self.fits(m, &layer.weight.dims()) {
            let device = layer.weight.device();
            layer.branches.push(LowRank::Linear {
                down: tensor(&m.down, &m.down_shape, &device),
                up: tensor(&m.up, &m.up_shape, &device),
                scale: f64::from(m.scale()) * self.weight,
            });
        }
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        let Some(m) = self.find(path) else { return };
        if self.fits(m, &layer.weight.dims()) {
            let device = layer.weight.device();
            layer.branches.push(LowRank::Conv {
                down: tensor(&m.down, &m.down_shape, &device),
                up: tensor(&m.up, &m.up_shape, &device),
                scale: f64::from(m.scale()) * self.weight,
            });
        }
    }
}

/// Calls `f` with both tensors of every adapter on the model, as `PATH.lora_A.weight` and `PATH.lora_B.weight`, in the
/// model's order. With several adapters on a layer only the first is shown: that is the one under training.
pub fn for_each(model: &mut dyn Module, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
    model.visit("", &mut Branches(f));
}

struct Branches<'f>(&'f mut dyn FnMut(&str, ParamMut<'_>));

impl Visitor for Branches<'_> {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        if let Some(LowRank::Linear { down, up, .. }) = layer.branches.first_mut() {
            (self.0)(&join(path, "lora_A.weight"), ParamMut::Two(down));
            (self.0)(&join(path, "lora_B.weight"), ParamMut::Two(up));
        }
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        if let Some(LowRank::Conv { down, up, .. }) = layer.branches.first_mut() {
            (self.0)(&join(path, "lora_A.weight"), ParamMut::Four(down));
            (self.0)(&join(path, "lora_B.weight"), ParamMut::Four(up));
        }
    }
}

/// The adapter on the model as values for a file, sorted by path.
#[must_use]
pub fn extract(model: &mut dyn Module) -> Vec<LoraModule> {
    let mut read = Read(Vec::new());
    model.visit("", &mut read);
    read.0.sort_by(|a, b| a.path.cmp(&b.path));
    read.0
}

struct Read(Vec<LoraModule>);

impl Read {
    fn push<const D: usize>(&mut self, path: &str, down: &Tensor<D>, up: &Tensor<D>, scale: f64) {
        self.0.push(LoraModule {
            path: path.to_owned(),
            down: to_vec(down.clone()),
            down_shape: down.dims().to_vec(),
            up: to_vec(up.clone()),
            up_shape: up.dims().to_vec(),
            alpha: (scale * down.dims()[0] as f64) as f32,
        });
    }
}

impl Visitor for Read {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        if let Some(LowRank::Linear { down, up, scale }) = layer.branches.first() {
            self.push(path, down, up, *scale);
        }
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        if let Some(LowRank::Conv { down, up, scale }) = layer.branches.first() {
            self.push(path, down, up, *scale);
        }
    }
}

/// Takes a model and its adapters out of autodiff, for validation and sampling: a copy that shares all values.
#[must_use]
pub fn frozen<M: Module + Clone>(model: &M) -> M {
    let mut copy = model.clone();
    crate::model::params::for_each(&mut copy, &mut |_, mut param| param.freeze());
    for_each(&mut copy, &mut |_, mut param| param.freeze());
    copy
}
