//! A model's parameters by name, whatever their rank: read to the host, set, tracked for gradients, taken out of autodiff.
//! Weights in one byte a number are never under training.

use burn::tensor::{Tensor, TensorData};

use super::layers::{Module, ParamMut, Visitor};
use super::recompute::Found;
use super::weights::Saved;

/// Does the same thing to a tensor of any rank, and another to bytes.
macro_rules! each_rank {
    ($param:expr, $tensor:ident => $body:expr, $int8:pat => $other:expr) => {
        match $param {
            ParamMut::One($tensor) => $body,
            ParamMut::Two($tensor) => $body,
            ParamMut::Four($tensor) => $body,
            ParamMut::Int8($int8) => $other,
        }
    };
}

impl ParamMut<'_> {
    /// Its shape.
    #[must_use]
    pub fn shape(&self) -> Vec<usize> {
        each_rank!(self, t => t.dims().to_vec(), q => q.shape().to_vec())
    }

    /// Bytes that it takes as it is stored.
    #[must_use]
    pub fn bytes(&self) -> usize {
        each_rank!(self, t => t.shape().num_elements() * t.dtype().size(), q => q.bytes())
    }

    /// Its values in row-major order.
    #[must_use]
    pub fn values(&self) -> Vec<f32> {
        each_rank!(self, t => to_vec(Tensor::clone(t)), q => to_vec(q.widened()))
    }

    /// Sets its values, on the device it is on; `track` asks autodiff for its gradient, which bytes have not.
    pub fn set(&mut self, values: Vec<f32>, track: bool) {
        each_rank!(self, t => {
            let fresh = Tensor::from_data(TensorData::new(values, t.dims()), &t.device());
            **t = if track { fresh.require_grad() } else { fresh };
        }, q => **q = q.rounded(&values));
    }

    /// Asks autodiff for its gradient, which bytes have not.
    pub fn track(&mut self) {
        each_rank!(self, t => **t = t.clone().detach().require_grad(), _ => ());
    }

    /// Whether it is under training.
    #[must_use]
    pub fn is_tracked(&self) -> bool {
        each_rank!(self, t => t.is_tracked(), _ => false)
    }

    /// Takes it out of autodiff.
    pub fn freeze(&mut self) {
        each_rank!(self, t => if t.is_autodiff() { **t = t.clone().inner() }, q => **q = q.inner());
    }

    /// Takes it into autodiff, where it shares its memory and needs no gradient.
    pub fn lift(&mut self) {
        each_rank!(self, t => if !t.is_autodiff() { **t = Tensor::from_inner(t.clone()) }, q => **q = q.autodiff());
    }

    /// Its gradient in row-major order, if the loss reached it.
    #[must_use]
    pub fn gradient(&self, gradients: &mut Found) -> Option<Vec<f32>> {
        each_rank!(self, t => gradients.take(&**t).map(to_vec), _ => None)
    }
}

/// A tensor's values in row-major order.
#[must_use]
pub fn to_vec<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    // A float tensor converted to f32 always yields f32 values; the iterator is the same data, slower.
    data.try_to_vec().unwrap_or_else(|_| data.iter::<f32>().collect())
}

struct Each<'f>(&'f mut dyn FnMut(&str, ParamMut<'_>));

impl Visitor for Each<'_> {
    fn param(&mut self, name: &str, param: ParamMut<'_>) {
        (self.0)(name, param);
    }
}

/// Calls `f` with each parameter of a model, in the model's order.
pub fn for_each(module: &mut dyn Module, f: &mut dyn FnMut(&str, ParamMut<'_>)) {
    module.visit("", &mut Each(f));
}

/// All parameters of a model on the host, in the model's order.
#[must_use]
pub fn collect(module: &mut dyn Module) -> Vec<Saved> {
    let mut out = Vec::new();
    for_each(module, &mut |name, param| {
        out.push(Saved {
            name: name.to_owned(),
            shape: param.shape(),
            values: param.values(),
        });
    });
    out
}

/// A copy of a model in autodiff that shares all values with it and has no gradients of its own.
#[must_use]
pub fn lifted<M: Module + Clone>(model: &M) -> M {
    let mut copy = model.clone();
    for_each(&mut copy, &mut |_, mut param| param.lift());
    copy
}
