//! The tensors of the adapter on a model, by name: for an optimizer, and as values for a file.

use burn::tensor::Tensor;

use crate::adapter::{self, Form, Weight};
use crate::model::branch::{Branch, Factor, Product, Update};
use crate::model::layers::{Conv2d, Linear, Module, ParamMut, Visitor, join};
use crate::model::params::to_vec;

/// Calls `f` with every tensor of every adapter on the model, in the model's order: a LoRA's are called
/// `PATH.lora_A.weight` and `PATH.lora_B.weight`, others as in LyCORIS' files (`PATH.hada_w1_a`). With several adapters
/// on a layer only the first is shown: that is the one under training.
pub fn for_each(model: &mut dyn Module, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
    model.visit("", &mut Branches(f));
}

struct Branches<'f>(&'f mut dyn FnMut(&str, ParamMut<'_>));

impl Branches<'_> {
    fn of(&mut self, path: &str, branches: &mut [Branch]) {
        for (name, tensor) in branches.first_mut().map(Branch::tensors).into_iter().flatten() {
            (self.0)(&join(path, name), ParamMut::Two(tensor));
        }
    }
}

impl Visitor for Branches<'_> {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        self.of(path, &mut layer.branches);
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        self.of(path, &mut layer.branches);
    }
}

/// The adapter on the model as values for a file, sorted by path: the first of each layer.
#[must_use]
pub fn extract(model: &mut dyn Module) -> Vec<adapter::Module> {
    let mut read = Read(Vec::new());
    model.visit("", &mut read);
    read.0.sort_by(|a, b| a.path.cmp(&b.path));
    read.0
}

struct Read(Vec<adapter::Module>);

impl Read {
    /// The branch beside a weight whose kernel has this shape: empty for a linear layer.
    fn push(&mut self, path: &str, branches: &[Branch], kernel: &[usize]) {
        let Some(branch) = branches.first() else { return };
        let ones: Vec<usize> = kernel.iter().map(|_| 1).collect();
        let with = |tensor: &Tensor<2>, kernel: &[usize]| {
            let [rows, columns] = tensor.dims();
            let places: usize = kernel.iter().product();
            let shape = [&[rows, columns / places.max(1)], kernel].concat();
            Weight::new(shape, to_vec(tensor.clone()))
        };
        let product = |p: &Product| adapter::Product {
            a: with(&p.a, &[]),
            b: with(&p.b, &[]),
            core: p.core.as_ref().map(|core| with(core, kernel)),
        };
        let factor = |f: &Factor, kernel: &[usize]| match f {
            Factor::Whole(w) => adapter::Factor::Whole(with(w, kernel)),
            Factor::Product(p) => adapter::Factor::Product(product(p)),
        };
        let form = match &branch.update {
            Update::Lora { down, up, mid } => Form::Lora {
                down: with(down, if mid.is_some() { &ones } else { kernel }),
                up: with(up, &ones),
                mid: mid.as_ref().map(|mid| with(mid, kernel)),
            },
            Update::Loha { first, second } => Form::Loha {
                first: product(first),
                second: product(second),
            },
            Update::Lokr { first, second } => Form::Lokr {
                first: factor(first, &[]),
                second: factor(second, kernel),
            },
            Update::Full(diff) => Form::Full {
                diff: Some(with(diff, kernel)),
            },
            Update::Gain { gain, on_input } => Form::Ia3 {
                gain: Weight::new([gain.dims()[1]], to_vec(gain.clone())),
                on_input: *on_input,
            },
        };
        let mut module = adapter::Module {
            path: path.to_owned(),
            form,
            alpha: 1.0,
            bias: None,
            magnitude: branch.magnitude.as_ref().map(|m| {
                let n = m.lengths.dims()[1];
                let across = if m.on_input { [1, n] } else { [n, 1] };
                adapter::Magnitude {
                    lengths: Weight::new([&across[..], &ones].concat(), to_vec(m.lengths.clone())),
                    on_input: m.on_input,
                }
            }),
        };
        module.alpha = (branch.scale * module.rank() as f64) as f32;
        self.0.push(module);
    }
}

impl Visitor for Read {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        self.push(path, &layer.branches, &[]);
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        let [_, _, kh, kw] = layer.weight.dims();
        self.push(path, &layer.branches, &[kh, kw]);
    }
}
