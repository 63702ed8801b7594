//! The few operations that decide how fast training is on a processor: normalisation, activations, attention and
//! convolutions. Each stands beside a plain burn version ([`reference`](mod@reference)) that other devices run and that
//! the tests compare with. Knows tensors only: no model, no files. Makes no artefact.

mod activation;
mod attention;
mod autodiff;
mod conv;
mod flex;
mod linear;
mod matrix;
pub mod memory;
mod norm;
mod products;
pub mod reference;
mod simd;
mod stored;
#[cfg(test)]
mod tests;
mod weight;
#[cfg(test)]
mod weight_tests;

use burn::backend::Dispatch;
use burn::tensor::{Device, Tensor};

use flex::Kernels;
pub use weight::{Int8, Weight};

/// Whether a device has the kernels of this room: only the CPU has.
#[must_use]
pub fn has(device: &Device) -> bool {
    flex::is(device)
}

/// Group normalisation with an affine map, followed by SiLU when `silu` is set.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`, channels divisible by `groups`; weight, bias: `[channels]`; output as x
pub fn group_norm(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, groups: usize, eps: f64, silu: bool) -> Tensor<4> {
    let [_, channels, height, width] = x.dims();
    let fits = groups > 0 && channels.is_multiple_of(groups) && channels * height * width > 0;
    if !(fits && flex::takes(&x)) {
        return reference::group_norm(x, weight, bias, groups, eps, silu);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_group_norm(x, weight, bias, groups, eps, silu))
}

/// Layer normalisation over the last dimension, with an affine map.
///
/// # Shapes
/// - x: `[batch, tokens, channels]`; weight, bias: `[channels]`; output as x
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    if x.dims()[2] == 0 || !flex::takes(&x) {
        return reference::layer_norm(x, weight, bias, eps);
    }
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::fused_layer_norm(x, weight, bias, eps))
}

/// `x * sigmoid(x)`, element by element.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if !flex::takes(&x) {
        return reference::silu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_silu(x.into_dispatch()))
}

/// Splits the last dimension in halves `hidden` and `gate` and gives `hidden * gelu(gate)`, with the exact GELU
/// (error function, never its tanh approximation).
///
/// # Shapes
/// - x: `[batch, tokens, 2 * channels]`; output: `[batch, tokens, channels]`
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    let width = x.dims()[2];
    if width == 0 || !width.is_multiple_of(2) || !flex::takes(&x) {
        return reference::geglu(x);
    }
    Tensor::from_dispatch(Dispatch::fused_geglu(x.into_dispatch()))
}

/// Scaled dot product attention: `softmax(q · kᵀ * scale) · v`. With `causal`, query `i` sees the keys `0..=i` only.
///
/// # Shapes
/// - q: `[batch, heads, queries, size]`; k, v: `[batch, heads, keys, size]`; output as q
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64, causal: bool) -> Tensor<4> {
    let ([batch, heads, _, width], keys) = (q.dims(), k.dims());
    let fits = keys == v.dims() && [keys[0], keys[1], keys[3]] == [batch, heads, width];
    let filled = q.shape().num_elements() > 0 && k.shape().num_elements() > 0;
    if !(fits && filled && flex::takes(&q)) {
        return reference::attention(q, k, v, scale, causal);
    }
    let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
    Tensor::from_dispatch(Dispatch::tiled_attention(q, k, v, scale as f32, causal))
}

/// `x · weightᵀ + bias`. The weight may be f16 or int8; it is widened as it is needed.
///
/// # Shapes
/// - x: `[rows, inputs]`; weight: `[outputs, inputs]`; bias: `[outputs]`; output: `[rows, outputs]`
pub fn linear(x: Tensor<2>, weight: impl Into<Weight<2>>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let weight = weight.into();
    let filled = x.shape().num_elements() > 0 && !weight.dims().contains(&0);
    if !(filled && x.dims()[1] == weight.dims()[1] && flex::takes(&x) && flex::stores(&weight)) {
        return reference::linear(x, weight.float(), bias);
    }
    let bias = bias.unwrap_or_else(|| Tensor::empty([0], &x.device().inner()));
    let (x, bias) = (x.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(match weight {
        Weight::Float(weight) => Dispatch::tiled_linear(x, weight.into_dispatch(), bias),
        Weight::Int8(Int8 { numbers, scales, .. }) => {
            Dispatch::tiled_linear_int8(x, numbers.into_dispatch(), scales.into_dispatch(), bias)
        }
    })
}

/// Two-dimensional convolution with one stride and one zero padding for both axes. The weight may be
/// f16 or int8; it is widened as it is needed.
///
/// # Shapes
/// - x: `[batch, in, height, width]`; weight: `[out, in, kernel height, kernel width]`; bias: `[out]`
/// - output: `[batch, out, (height + 2 * padding - kernel height) / stride + 1, …]`
pub fn conv2d(
    x: Tensor<4>,
    weight: impl Into<Weight<4>>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    let weight = weight.into();
    let ([batch, inputs, height, width], [outputs, depth, tall, wide]) = (x.dims(), weight.dims());
    let kernel = [tall, wide];
    let sizes = conv::Sizes {
        batch,
        inputs,
        height,
        width,
        outputs,
        kernel,
        stride,
        padding,
    };
    let filled = x.shape().num_elements() > 0 && !weight.dims().contains(&0);
    if !(filled && depth == inputs && sizes.output().is_some() && flex::takes(&x) && flex::stores(&weight)) {
        return reference::conv2d(x, weight.float(), bias, stride, padding);
    }
    let bias = bias.unwrap_or_else(|| Tensor::empty([0], &x.device().inner()));
    let (x, bias) = (x.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(match weight {
        Weight::Float(weight) => Dispatch::unfolded_conv2d(x, weight.into_dispatch(), bias, sizes),
        Weight::Int8(Int8 { numbers, scales, .. }) => {
            Dispatch::unfolded_conv2d_int8(x, numbers.into_dispatch(), scales.into_dispatch(), bias, sizes)
        }
    })
}
