//! An adapter's values onto a model's layers, and from there into their weights.

use burn::tensor::{Device, Tensor, TensorData};

use super::LoraError;
use crate::adapter::{self, Form, Weight};
use crate::model::branch::{Branch, Factor, Magnitude, Product, Update};
use crate::model::layers::{Conv2d, Linear, Module, Norm, Visitor};

/// Puts an adapter on a model, `weight` times as strong as it was trained; beside whatever is there already. Changes of
/// biases and normalisations are added to the model's own values at once.
///
/// # Errors
/// If the adapter has a module that the model has not, or one of another shape. The model is then unchanged in part:
/// load it again.
pub fn attach_modules(model: &mut dyn Module, modules: &[adapter::Module], weight: f64) -> Result<(), LoraError> {
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

struct Put<'a> {
    modules: &'a [adapter::Module],
    weight: f64,
    used: Vec<bool>,
    error: Option<LoraError>,
}

impl<'a> Put<'a> {
    /// The module for the layer at `path`, if there is one and it fits a weight of this shape.
    fn find(&mut self, path: &str, weight: &[usize]) -> Option<&'a adapter::Module> {
        let i = self.modules.iter().position(|m| m.path == path)?;
        let module = self.modules.get(i)?;
        *self.used.get_mut(i)? = true;
        if fits(module, weight) {
            return Some(module);
        }
        if self.error.is_none() {
            self.error = Some(misfit(module, weight));
        }
        None
    }

    /// `values` with the module's change of the bias added.
    fn biased(&self, module: &adapter::Module, values: Option<Tensor<1>>, device: &Device) -> Option<Tensor<1>> {
        match &module.bias {
            None => values,
            Some(more) => {
                let more = vector(more, device).mul_scalar(self.weight);
                Some(match values {
                    Some(values) => values + more,
                    None => more,
                })
            }
        }
    }
}

/// Whether a module is for a weight of this shape.
pub(super) fn fits(module: &adapter::Module, weight: &[usize]) -> bool {
    let found = module.form.shape().unwrap_or_default();
    let out = weight.first().copied().unwrap_or(0);
    let inputs = weight.get(1).copied().unwrap_or(out);
    let channels = |on_input: bool| if on_input { inputs } else { out };
    let bias = module.bias.as_ref().is_none_or(|b| b.values.len() == out);
    let lengths = module.magnitude.as_ref();
    let lengths = lengths.is_none_or(|m| m.lengths.values.len() == channels(m.on_input));
    let update = match &module.form {
        Form::Norm { .. } => weight.len() == 1 && found == weight,
        Form::Ia3 { on_input, .. } => weight.len() > 1 && found == [channels(*on_input)],
        Form::Full { diff: None } => true,
        // What is flat on one side fits the same number of columns on the other.
        _ if found.len() == 2 || weight.len() == 2 => flat(&found) == flat(weight),
        _ => found == weight,
    };
    bias && lengths && update
}

/// The refusal of a module that does not fit.
pub(super) fn misfit(module: &adapter::Module, weight: &[usize]) -> LoraError {
    LoraError::Shape {
        path: module.path.clone(),
        expected: weight.to_vec(),
        form: module.form.name(),
        found: module.form.shape().unwrap_or_default(),
    }
}

/// The branch of a module beside a weight; none where it changes the bias alone.
pub(super) fn branch(module: &adapter::Module, weight: f64, device: &Device) -> Option<Branch> {
    Some(Branch {
        update: update(&module.form, device)?,
        magnitude: module.magnitude.as_ref().map(|m| Magnitude {
            lengths: row(&m.lengths, device),
            on_input: m.on_input,
        }),
        scale: f64::from(module.scale()),
        weight,
        dropout: None,
    })
}

impl Visitor for Put<'_> {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        if let Some(module) = self.find(path, &layer.weight.dims()) {
            let device = layer.weight.device();
            layer.branches.extend(branch(module, self.weight, &device));
            layer.bias = self.biased(module, layer.bias.take(), &device);
        }
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        if let Some(module) = self.find(path, &layer.weight.dims()) {
            let device = layer.weight.device();
            layer.branches.extend(branch(module, self.weight, &device));
            if let Some(bias) = self.biased(module, Some(layer.bias.clone()), &device) {
                layer.bias = bias;
            }
        }
    }

    fn norm(&mut self, path: &str, layer: &mut Norm) {
        let Some(module) = self.find(path, &layer.weight.dims()) else {
            return;
        };
        let device = layer.weight.device();
        if let Form::Norm { diff } = &module.form {
            layer.weight = layer.weight.clone() + vector(diff, &device).mul_scalar(self.weight);
        }
        if let Some(bias) = self.biased(module, Some(layer.bias.clone()), &device) {
            layer.bias = bias;
        }
    }
}

/// The first dimension, and the product of the others.
fn flat(shape: &[usize]) -> Option<(usize, usize)> {
    let (rows, rest) = shape.split_first()?;
    Some((*rows, rest.iter().product()))
}

fn update(form: &Form, device: &Device) -> Option<Update> {
    let product = |p: &adapter::Product| Product {
        a: matrix(&p.a, device),
        b: matrix(&p.b, device),
        core: p.core.as_ref().map(|core| matrix(core, device)),
    };
    let factor = |f: &adapter::Factor| match f {
        adapter::Factor::Whole(w) => Factor::Whole(matrix(w, device)),
        adapter::Factor::Product(p) => Factor::Product(product(p)),
    };
    Some(match form {
        Form::Lora { down, up, mid } => Update::Lora {
            down: matrix(down, device),
            up: matrix(up, device),
            mid: mid.as_ref().map(|mid| matrix(mid, device)),
        },
        Form::Loha { first, second } => Update::Loha {
            first: product(first),
            second: product(second),
        },
        Form::Lokr { first, second } => Update::Lokr {
            first: factor(first),
            second: factor(second),
        },
        Form::Full { diff } => Update::Full(matrix(diff.as_ref()?, device)),
        Form::Norm { .. } => return None,
        Form::Ia3 { gain, on_input } => Update::Gain {
            gain: row(gain, device),
            on_input: *on_input,
        },
    })
}

/// `[m, …]` → `[m, n]`
fn matrix(weight: &Weight, device: &Device) -> Tensor<2> {
    let (rows, columns) = flat(&weight.shape).unwrap_or((1, weight.values.len()));
    Tensor::from_data(TensorData::new(weight.values.clone(), [rows, columns]), device)
}

/// `[1, n]`
fn row(weight: &Weight, device: &Device) -> Tensor<2> {
    let n = weight.values.len();
    Tensor::from_data(TensorData::new(weight.values.clone(), [1, n]), device)
}

pub(super) fn vector(weight: &Weight, device: &Device) -> Tensor<1> {
    let n = weight.values.len();
    Tensor::from_data(TensorData::new(weight.values.clone(), [n]), device)
}

/// Adds to each layer's weight what the adapters on it do, and takes them off. Every one of several adapters is relative
/// to the weight as it was, so that their order does not matter. A weight in int8 becomes f32.
pub fn merge(model: &mut dyn Module) {
    model.visit("", &mut Merge);
}

struct Merge;

/// `weight` `[out, in·k·k]` with what the branches do to it, which are taken away; nothing without branches.
pub(super) fn sum(branches: &mut Vec<Branch>, weight: &Tensor<2>, inputs: usize) -> Option<Tensor<2>> {
    let changes = branches.drain(..).map(|branch| branch.merged(weight.clone(), inputs));
    changes
        .reduce(|sum, change| sum + change)
        .map(|sum| sum + weight.clone())
}

impl Visitor for Merge {
    fn linear(&mut self, _: &str, layer: &mut Linear) {
        if layer.branches.is_empty() {
            return;
        }
        let [_, inputs] = layer.weight.dims();
        if let Some(weight) = sum(&mut layer.branches, &layer.weight.widened(), inputs) {
            layer.weight = layer.weight.replaced(weight);
        }
    }

    fn conv(&mut self, _: &str, layer: &mut Conv2d) {
        if layer.branches.is_empty() {
            return;
        }
        let shape @ [out, inputs, kh, kw] = layer.weight.dims();
        let flat = layer.weight.widened().reshape([out, inputs * kh * kw]);
        if let Some(weight) = sum(&mut layer.branches, &flat, inputs) {
            layer.weight = layer.weight.replaced(weight.reshape(shape));
        }
    }
}
