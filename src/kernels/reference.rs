//! Every operation of this room written with plain burn operations: what a device without a kernel runs, and what the
//! kernels are tested against.

use burn::tensor::activation::{gelu, sigmoid, softmax};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{Bool, Tensor, module};

/// Group normalisation with an affine map, then SiLU when `silu` is set.
///
/// # Shapes
/// - x: `[batch, channels, height, width]`; weight, bias: `[channels]`; output as x
pub fn group_norm(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, groups: usize, eps: f64, silu: bool) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let grouped = x.reshape([batch * groups, channels / groups.max(1) * height * width]);
    let mean = grouped.clone().mean_dim(1);
    let centred = grouped - mean;
    let variance = centred.clone().powi_scalar(2).mean_dim(1);
    let normal = (centred / (variance + eps).sqrt()).reshape([batch, channels, height, width]);
    let y = normal * weight.reshape([1, channels, 1, 1]) + bias.reshape([1, channels, 1, 1]);
    if silu { self::silu(y) } else { y }
}

/// Layer normalisation over the last dimension, with an affine map.
///
/// # Shapes
/// - x: `[batch, tokens, channels]`; weight, bias: `[channels]`; output as x
pub fn layer_norm(x: Tensor<3>, weight: Tensor<1>, bias: Tensor<1>, eps: f64) -> Tensor<3> {
    let mean = x.clone().mean_dim(2);
    let centred = x - mean;
    let variance = centred.clone().powi_scalar(2).mean_dim(2);
    centred / (variance + eps).sqrt() * weight.unsqueeze() + bias.unsqueeze()
}

/// `x * sigmoid(x)`, element by element.
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone() * sigmoid(x)
}

/// The exact (error function) GELU, element by element.
pub fn exact_gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    gelu(x)
}

/// Splits the last dimension in halves `hidden` and `gate`: `hidden * gelu(gate)` with the exact GELU.
///
/// # Shapes
/// - x: `[batch, tokens, 2 * channels]`; output: `[batch, tokens, channels]`
pub fn geglu(x: Tensor<3>) -> Tensor<3> {
    let half = x.dims()[2] / 2;
    let hidden = x.clone().narrow(2, 0, half);
    let gate = x.narrow(2, half, half);
    hidden * gelu(gate)
}

/// Scaled dot product attention; `causal` lets query `i` see the keys `0..=i` only.
///
/// # Shapes
/// - q: `[batch, heads, queries, size]`; k, v: `[batch, heads, keys, size]`; output as q
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, scale: f64, causal: bool) -> Tensor<4> {
    let [_, _, queries, _] = q.dims();
    let [_, _, keys, _] = k.dims();
    let scores = q.matmul(k.transpose()) * scale;
    let scores = if causal {
        let hidden = Tensor::<2, Bool>::tril_mask([queries, keys], 0, &scores.device());
        scores.mask_fill(hidden.unsqueeze(), f32::NEG_INFINITY)
    } else {
        scores
    };
    softmax(scores, 3).matmul(v)
}

/// `x · weightᵀ + bias`; a weight of another type is brought to that of `x`.
///
/// # Shapes
/// - x: `[rows, inputs]`; weight: `[outputs, inputs]`; bias: `[outputs]`; output: `[rows, outputs]`
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let weight = weight.cast(x.dtype());
    let y = x.matmul(weight.transpose());
    match bias {
        Some(bias) => y + bias.unsqueeze(),
        None => y,
    }
}

/// Two-dimensional convolution with one stride and one zero padding for both axes.
///
/// # Shapes
/// - x: `[batch, in, height, width]`; weight: `[out, in, kernel height, kernel width]`; bias: `[out]`
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    let weight = weight.cast(x.dtype());
    module::conv2d(x, weight, bias, ConvOptions::new([stride; 2], [padding; 2], [1, 1], 1))
}
