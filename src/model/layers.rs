//! The layers of a Stable Diffusion model, named and shaped as PyTorch names and shapes them.
//!
//! A layer holds plain tensors; what to do with them by name (save, train, adapt) goes through [`Visitor`].
//! Adapters lie beside a linear or convolution layer as [`Branch`]es.

use burn::tensor::Tensor;

use super::branch::{Branch, Site};
use super::weights::{Init, Weights};
use crate::kernels::{self, Int8, Weight};

/// A parameter of any of the ranks that occur.
pub enum ParamMut<'a> {
    /// A bias or a norm's weight.
    One(&'a mut Tensor<1>),
    /// A matrix or an embedding table.
    Two(&'a mut Tensor<2>),
    /// A convolution's kernel.
    Four(&'a mut Tensor<4>),
    /// A layer's weight in one byte a number, which is never trained.
    Int8(&'a mut Int8),
}

/// What walks over a model's layers with their paths (`down_blocks.0.resnets.0.conv1`).
///
/// The default methods pass each layer's own parameters to [`Visitor::param`]; a branch is not a parameter of the layer.
pub trait Visitor {
    /// A parameter, with its full name (`….conv1.weight`).
    fn param(&mut self, _name: &str, _param: ParamMut<'_>) {}

    /// A linear layer.
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        let weight = match &mut layer.weight {
            Weight::Float(tensor) => ParamMut::Two(tensor),
            Weight::Int8(int8) => ParamMut::Int8(int8),
        };
        self.param(&format!("{path}.weight"), weight);
        if let Some(bias) = &mut layer.bias {
            self.param(&format!("{path}.bias"), ParamMut::One(bias));
        }
    }

    /// A convolution.
    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        let weight = match &mut layer.weight {
            Weight::Float(tensor) => ParamMut::Four(tensor),
            Weight::Int8(int8) => ParamMut::Int8(int8),
        };
        self.param(&format!("{path}.weight"), weight);
        self.param(&format!("{path}.bias"), ParamMut::One(&mut layer.bias));
    }

    /// A group or layer norm.
    fn norm(&mut self, path: &str, layer: &mut Norm) {
        self.param(&format!("{path}.weight"), ParamMut::One(&mut layer.weight));
        self.param(&format!("{path}.bias"), ParamMut::One(&mut layer.bias));
    }

    /// An embedding table.
    fn embedding(&mut self, path: &str, layer: &mut Embedding) {
        self.param(&format!("{path}.weight"), ParamMut::Two(&mut layer.weight));
    }
}

/// Something a [`Visitor`] can walk over.
pub trait Module {
    /// Walks over all layers below `path` (empty at the root), always in the same order.
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor);
}

impl<M: Module> Module for Vec<M> {
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        for (i, module) in self.iter_mut().enumerate() {
            module.visit(&join(path, &i.to_string()), visitor);
        }
    }
}

impl<M: Module> Module for Option<M> {
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        if let Some(module) = self {
            module.visit(path, visitor);
        }
    }
}

/// `path.name`, or `name` at the root.
#[must_use]
pub fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// `y = x·Wᵀ + b`.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Weight<2>,
    /// `[out]`
    pub bias: Option<Tensor<1>>,
    /// Adapters at work on this layer.
    pub branches: Vec<Branch>,
}

impl Linear {
    /// Reads `path.weight` and, if `bias`, `path.bias`.
    pub fn load(weights: &mut Weights, path: &str, input: usize, output: usize, bias: bool) -> Self {
        let init = Init::Uniform((1.0 / input as f64).sqrt());
        Self {
            weight: weights.hold(&join(path, "weight"), [output, input], init),
            bias: bias.then(|| weights.take(&join(path, "bias"), [output], Init::Zeros)),
            branches: Vec::new(),
        }
    }

    /// # Shapes
    /// `[…, in]` → `[…, out]`
    #[must_use]
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let mut dims = x.dims();
        let input = dims[D - 1];
        let rows = dims.iter().product::<usize>() / input;
        let x = x.reshape([rows, input]);
        let base = |bias| kernels::linear(x.clone(), self.weight.clone(), bias); // [rows, out]
        let own = self.branches.iter().any(Branch::takes_base).then(|| base(None));
        let mut y = match (&own, &self.bias) {
            (Some(own), Some(bias)) => own.clone() + bias.clone().unsqueeze(),
            (Some(own), None) => own.clone(),
            (None, bias) => base(bias.clone()),
        };
        for branch in &self.branches {
            if let Some(more) = branch.forward(&x, own.as_ref(), self) {
                y = y + more;
            }
        }
        dims[D - 1] = self.weight.dims()[0];
        y.reshape(dims)
    }
}

impl Site<2> for Linear {
    fn weight(&self) -> Tensor<2> {
        self.weight.widened()
    }

    fn own(&self, x: Tensor<2>) -> Tensor<2> {
        kernels::linear(x, self.weight.clone(), None)
    }

    fn apply(&self, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        kernels::linear(x, weight, None)
    }

    fn mix(&self, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
        self.apply(x, weight)
    }
}

impl Module for Linear {
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.linear(path, self);
    }
}

/// A two-dimensional convolution with a bias and a square kernel.
#[derive(Debug, Clone)]
pub struct Conv2d {
    /// `[out, in, k, k]`
    pub weight: Weight<4>,
    /// `[out]`
    pub bias: Tensor<1>,
    /// Step in both directions.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// Adapters at work on this layer.
    pub branches: Vec<Branch>,
}

impl Conv2d {
    /// Reads `path.weight` and `path.bias` of a `k`×`k` convolution.
    pub fn load(
        weights: &mut Weights,
        path: &str,
        [input, output, k]: [usize; 3],
        stride: usize,
        padding: usize,
    ) -> Self {
        let init = Init::Uniform((1.0 / (input * k * k) as f64).sqrt());
        Self {
            weight: weights.hold(&join(path, "weight"), [output, input, k, k], init),
            bias: weights.take(&join(path, "bias"), [output], Init::Zeros),
            stride,
            padding,
            branches: Vec::new(),
        }
    }

    /// # Shapes
    /// `[B, in, H, W]` → `[B, out, H', W']`
    #[must_use]
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let mut y = kernels::conv2d(
            x.clone(),
            self.weight.clone(),
            Some(self.bias.clone()),
            self.stride,
            self.padding,
        );
        let own = self.branches.iter().any(Branch::takes_base).then(|| {
            let [out] = self.bias.dims();
            y.clone() - self.bias.clone().reshape([1, out, 1, 1])
        });
        for branch in &self.branches {
            if let Some(more) = branch.forward(&x, own.as_ref(), self) {
                y = y + more;
            }
        }
        y
    }
}

impl Site<4> for Conv2d {
    fn weight(&self) -> Tensor<2> {
        let [out, input, kh, kw] = self.weight.dims();
        self.weight.widened().reshape([out, input * kh * kw])
    }

    fn own(&self, x: Tensor<4>) -> Tensor<4> {
        kernels::conv2d(x, self.weight.clone(), None, self.stride, self.padding)
    }

    fn apply(&self, x: Tensor<4>, weight: Tensor<2>) -> Tensor<4> {
        let [_, _, kh, kw] = self.weight.dims();
        let kernel = weight.reshape([-1, x.dims()[1] as i32, kh as i32, kw as i32]);
        kernels::conv2d(x, kernel, None, self.stride, self.padding)
    }

    fn mix(&self, x: Tensor<4>, weight: Tensor<2>) -> Tensor<4> {
        let [m, n] = weight.dims();
        kernels::conv2d(x, weight.reshape([m, n, 1, 1]), None, 1, 0)
    }
}

impl Module for Conv2d {
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.conv(path, self);
    }
}

/// The weight and bias of a group norm or a layer norm; the caller says which it is.
#[derive(Debug, Clone)]
pub struct Norm {
    /// `[channels]`
    pub weight: Tensor<1>,
    /// `[channels]`
    pub bias: Tensor<1>,
    /// Added to the variance.
    pub eps: f64,
}

impl Norm {
    /// Reads `path.weight` and `path.bias`.
    pub fn load(weights: &mut Weights, path: &str, channels: usize, eps: f64) -> Self {
        Self {
            weight: weights.take(&join(path, "weight"), [channels], Init::Ones),
            bias: weights.take(&join(path, "bias"), [channels], Init::Zeros),
            eps,
        }
    }

    /// Group norm over `[B, C, H, W]`, followed by SiLU if `silu`.
    #[must_use]
    pub fn group(&self, x: Tensor<4>, groups: usize, silu: bool) -> Tensor<4> {
        kernels::group_norm(x, self.weight.clone(), self.bias.clone(), groups, self.eps, silu)
    }

    /// Layer norm over the last dimension of `[B, N, C]`.
    #[must_use]
    pub fn layer(&self, x: Tensor<3>) -> Tensor<3> {
        kernels::layer_norm(x, self.weight.clone(), self.bias.clone(), self.eps)
    }
}

impl Module for Norm {
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.norm(path, self);
    }
}

/// A table of vectors.
#[derive(Debug, Clone)]
pub struct Embedding {
    /// `[entries, width]`
    pub weight: Tensor<2>,
}

impl Embedding {
    /// Reads `path.weight`.
    pub fn load(weights: &mut Weights, path: &str, entries: usize, width: usize) -> Self {
        Self {
            weight: weights.take(&join(path, "weight"), [entries, width], Init::Normal(0.02)),
        }
    }
}

impl Module for Embedding {
    fn visit(&mut self, path: &str, visitor: &mut dyn Visitor) {
        visitor.embedding(path, self);
    }
}

/// Splits the width of `[B, N, H·d]` into heads, attends, and joins the heads again.
///
/// # Shapes
/// `q` `[B, N, H·d]`, `k` and `v` `[B, M, H·d]` → `[B, N, H·d]`
#[must_use]
pub fn attend(q: Tensor<3>, k: Tensor<3>, v: Tensor<3>, heads: usize, causal: bool) -> Tensor<3> {
    let [batch, n, width] = q.dims();
    let d = width / heads;
    let split = |x: Tensor<3>| {
        let m = x.dims()[1];
        x.reshape([batch, m, heads, d]).swap_dims(1, 2)
    };
    let out = kernels::attention(split(q), split(k), split(v), (d as f64).powf(-0.5), causal);
    out.swap_dims(1, 2).reshape([batch, n, width])
}
