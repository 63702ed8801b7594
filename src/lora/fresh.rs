//! Fresh adapters: which tensors they have on a layer, and how these start.

use burn::tensor::{Device, Tensor, TensorData};

use super::recipe::{Algo, Recipe, Start, factorization};
use super::{LoraError, decompose};
use crate::kernels::Weight;
use crate::model::branch::{Branch, Dropout, Factor, Magnitude, Product, Update};
use crate::model::layers::{Conv2d, Linear, Module, Visitor, join};
use crate::model::weights::Draws;

/// Puts fresh adapters on every layer of the models that the recipe covers; each model comes with what its paths begin
/// with, such as `text_encoder`, or nothing for the U-Net. One factor of each is zero, so that the model is unchanged
/// at first; the values of the others depend on the seed and the module's path alone. The new tensors ask for gradients.
///
/// Returns the paths of the adapted modules.
///
/// # Errors
/// If a pattern of the recipe fits no layer: it is then a mistake.
pub fn attach(models: &mut [(&str, &mut dyn Module)], recipe: &Recipe, seed: u64) -> Result<Vec<String>, LoraError> {
    let mut fresh = Fresh {
        recipe,
        seed,
        paths: Vec::new(),
        all: Vec::new(),
        error: None,
    };
    for (part, model) in models {
        model.visit(part, &mut fresh);
    }
    match (fresh.error, recipe.idle(&fresh.all)) {
        (Some(error), _) => Err(error),
        (None, Some(pattern)) => Err(LoraError::Pattern(pattern.to_owned())),
        (None, None) => Ok(fresh.paths),
    }
}

struct Fresh<'a> {
    recipe: &'a Recipe,
    seed: u64,
    paths: Vec<String>,
    /// Every layer that could have an adapter.
    all: Vec<String>,
    error: Option<LoraError>,
}

/// A layer's weight `[out, inputs·kernel²]`.
struct Shape {
    out: usize,
    inputs: usize,
    kernel: usize,
}

impl Fresh<'_> {
    /// A fresh branch beside a weight, which it may change.
    fn branch<const D: usize>(&mut self, path: &str, shape: &Shape, weight: &mut Weight<D>) -> Option<Branch> {
        self.all.push(path.to_owned());
        if !self.recipe.covers(path) {
            return None;
        }
        self.paths.push(path.to_owned());
        let (rank, scale) = self.recipe.size(path, shape.kernel);
        let columns = shape.inputs * shape.kernel * shape.kernel;
        let flat = |weight: &Weight<D>| weight.widened().reshape([shape.out, columns]);
        // Those of the weight as it is now.
        let lengths = self.recipe.dora.then(|| {
            let lengths = flat(weight).square().sum_dim(1).sqrt().transpose();
            lengths.detach().require_grad()
        });
        let start = Tensors {
            path,
            seed: self.seed,
            device: weight.device(),
        };
        let tucker = self.recipe.tucker && shape.kernel > 1;
        let update = match self.recipe.algo {
            Algo::Lora if self.recipe.start.changes_base() => {
                let most = shape.out.min(columns);
                if rank > most {
                    let path = path.to_owned();
                    self.error.get_or_insert(LoraError::Rank { path, most, rank });
                    return None;
                }
                let (update, rest) = self.taken_from(path, rank, scale, &flat(weight));
                *weight = weight.replaced(rest.reshape(weight.dims()));
                update
            }
            Algo::Lora => lora(&start, shape, rank, tucker, self.recipe.start),
            Algo::Loha => loha(&start, shape, rank, tucker),
            Algo::Lokr { factor, decompose_both } => lokr(&start, shape, (rank, tucker), factor, decompose_both),
        };
        // LyCORIS has no scale where both factors are whole.
        let whole = matches!(
            update,
            Update::Lokr {
                first: Factor::Whole(_),
                second: Factor::Whole(_)
            }
        );
        Some(Branch {
            update,
            magnitude: lengths.map(|lengths| Magnitude {
                lengths,
                on_input: false,
            }),
            scale: if whole { 1.0 } else { scale },
            weight: 1.0,
            dropout: self.recipe.drop.any().then(|| Dropout {
                neurons: self.recipe.drop.neurons,
                ranks: self.recipe.drop.ranks,
                modules: self.recipe.drop.modules,
                draws: Draws::new(self.seed, path),
            }),
        })
    }
}

impl Fresh<'_> {
    /// A LoRA that starts as a part of the weight, and the rest of the weight.
    fn taken_from(&self, path: &str, rank: usize, scale: f64, weight: &Tensor<2>) -> (Update, Tensor<2>) {
        let mut draws = Draws::new(self.seed, &join(path, "start"));
        let (down, up) = match self.recipe.start {
            Start::Olora => decompose::first(weight, rank),
            _ => decompose::strongest(weight, rank, scale, &mut draws),
        };
        let device = weight.device();
        let track = |t: Tensor<2>| Tensor::<2>::from_data(t.into_data(), &device);
        let (down, up) = (track(down), track(up));
        let part = up.clone().matmul(down.clone()).mul_scalar(scale);
        let rest = (weight.clone() - part).detach();
        let update = Update::Lora {
            down: down.require_grad(),
            up: up.require_grad(),
            mid: None,
        };
        (update, rest)
    }
}

impl Visitor for Fresh<'_> {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        let [out, inputs] = layer.weight.dims();
        let shape = Shape { out, inputs, kernel: 1 };
        let branch = self.branch(path, &shape, &mut layer.weight);
        layer.branches.extend(branch);
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        let [out, inputs, kernel, _] = layer.weight.dims();
        let shape = Shape { out, inputs, kernel };
        let branch = self.branch(path, &shape, &mut layer.weight);
        layer.branches.extend(branch);
    }
}

/// The tensors of one layer, each drawn under its own name.
struct Tensors<'a> {
    path: &'a str,
    seed: u64,
    device: Device,
}

impl Tensors<'_> {
    fn of(&self, name: &str, shape: [usize; 2], draw: impl Fn(&mut Draws) -> f64) -> Tensor<2> {
        let mut draws = Draws::new(self.seed, &join(self.path, name));
        let [m, n] = shape;
        let values: Vec<f32> = (0..m * n).map(|_| draw(&mut draws) as f32).collect();
        Tensor::from_data(TensorData::new(values, shape), &self.device).require_grad()
    }

    /// Uniform as Kaiming's with a = √5, which is ±1/√fan-in: the columns.
    fn kaiming(&self, name: &str, shape: [usize; 2]) -> Tensor<2> {
        let bound = (1.0 / shape[1] as f64).sqrt();
        self.of(name, shape, |draws| (2.0 * draws.uniform() - 1.0) * bound)
    }

    fn normal(&self, name: &str, shape: [usize; 2], deviation: f64) -> Tensor<2> {
        self.of(name, shape, |draws| draws.normal() * deviation)
    }

    fn zeros(&self, shape: [usize; 2]) -> Tensor<2> {
        Tensor::zeros(shape, &self.device).require_grad()
    }
}

fn lora(t: &Tensors<'_>, s: &Shape, rank: usize, tucker: bool, start: Start) -> Update {
    let area = s.kernel * s.kernel;
    let columns = if tucker { s.inputs } else { s.inputs * area };
    Update::Lora {
        down: match start {
            Start::Gaussian => t.normal("lora_A", [rank, columns], 1.0 / rank as f64),
            _ => t.kaiming("lora_A", [rank, columns]),
        },
        up: t.zeros([s.out, rank]),
        mid: tucker.then(|| t.kaiming("lora_mid", [rank, rank * area])),
    }
}

/// The deviations are LyCORIS'.
fn loha(t: &Tensors<'_>, s: &Shape, rank: usize, tucker: bool) -> Update {
    let area = s.kernel * s.kernel;
    let (columns, out) = match tucker {
        true => (s.inputs, [rank, s.out]),
        false => (s.inputs * area, [s.out, rank]),
    };
    let core = |name| tucker.then(|| t.normal(name, [rank, rank * area], 0.1));
    Update::Loha {
        first: Product {
            a: t.normal("hada_w1_a", out, 0.1),
            b: t.normal("hada_w1_b", [rank, columns], 1.0),
            core: core("hada_t1"),
        },
        second: Product {
            a: t.zeros(out),
            b: t.normal("hada_w2_b", [rank, columns], 1.0),
            core: core("hada_t2"),
        },
    }
}

fn lokr(t: &Tensors<'_>, s: &Shape, (rank, tucker): (usize, bool), factor: i64, decompose_both: bool) -> Update {
    let area = s.kernel * s.kernel;
    let (in_small, in_large) = factorization(s.inputs, factor);
    let (out_small, out_large) = factorization(s.out, factor);
    let first = if decompose_both && 2 * rank < out_small.max(in_small) {
        Factor::Product(Product {
            a: t.kaiming("lokr_w1_a", [out_small, rank]),
            b: t.kaiming("lokr_w1_b", [rank, in_small]),
            core: None,
        })
    } else {
        Factor::Whole(t.kaiming("lokr_w1", [out_small, in_small]))
    };
    let second = if 2 * rank >= out_large.max(in_large) {
        Factor::Whole(t.zeros([out_large, in_large * area]))
    } else if tucker {
        Factor::Product(Product {
            a: t.kaiming("lokr_w2_a", [rank, out_large]),
            b: t.zeros([rank, in_large]),
            core: Some(t.kaiming("lokr_t2", [rank, rank * area])),
        })
    } else {
        Factor::Product(Product {
            a: t.kaiming("lokr_w2_a", [out_large, rank]),
            b: t.zeros([rank, in_large * area]),
            core: None,
        })
    };
    Update::Lokr { first, second }
}

/// Decides for every adapter on the model what a micro-batch leaves out of it, by the seed, the number of the
/// micro-batch and the path.
pub fn roll(part: &str, model: &mut dyn Module, seed: u64, micro_batch: u64) {
    model.visit(part, &mut Roll { seed, micro_batch });
}

struct Roll {
    seed: u64,
    micro_batch: u64,
}

/// Takes the dropout off every adapter: outside of training nothing is left out.
pub(super) fn keep_all(model: &mut dyn Module) {
    model.visit("", &mut Keep);
}

struct Keep;

impl Visitor for Keep {
    fn linear(&mut self, _: &str, layer: &mut Linear) {
        layer.branches.iter_mut().for_each(|branch| branch.dropout = None);
    }

    fn conv(&mut self, _: &str, layer: &mut Conv2d) {
        layer.branches.iter_mut().for_each(|branch| branch.dropout = None);
    }
}

impl Roll {
    fn of(&self, path: &str, branches: &mut [Branch]) {
        for dropout in branches.iter_mut().filter_map(|branch| branch.dropout.as_mut()) {
            dropout.draws = Draws::new(self.seed, &format!("dropout/{}/{path}", self.micro_batch));
        }
    }
}

impl Visitor for Roll {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        self.of(path, &mut layer.branches);
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        self.of(path, &mut layer.branches);
    }
}
