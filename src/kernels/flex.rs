//! The kernels as operations of burn's Flex backend, with and without autodiff.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, DispatchDevice, Flex, backend_extension};
use burn::tensor::{Bytes, DType, Device, Shape, Tensor};
use burn_flex::{FlexTensor, Layout};

use super::autodiff::{BackwardFn, record};
use super::products::{Held, conv2d, project};
use super::weight::Weight;
use super::{activation, attention, conv, norm};

/// Whether a device is Flex, with or without autodiff.
pub(super) fn is(device: &Device) -> bool {
    matches!(device.as_dispatch().clone().inner(), DispatchDevice::Flex(_))
}

/// Whether the kernels can take `x`: f32 on Flex.
pub(super) fn takes<const D: usize>(x: &Tensor<D>) -> bool {
    x.dtype() == DType::F32 && is(&x.device())
}

/// Whether the kernels can take `weight` as it is stored: f32, f16 or int8.
pub(super) fn stores<const D: usize>(weight: &Weight<D>) -> bool {
    match weight {
        Weight::Float(tensor) => matches!(tensor.dtype(), DType::F32 | DType::F16),
        Weight::Int8(_) => true,
    }
}

/// The operations of this room that a backend may have.
#[backend_extension(Flex, Autodiff)]
pub(super) trait Kernels: Backend {
    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FloatTensor<Self>;

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self>;

    fn fused_silu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn fused_geglu(x: FloatTensor<Self>) -> FloatTensor<Self>;

    fn tiled_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
        causal: bool,
    ) -> FloatTensor<Self>;

    /// A `bias` without elements stands for none.
    fn tiled_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The same with a frozen weight of bytes, `scales` for their rows.
    fn tiled_linear_int8(
        x: FloatTensor<Self>,
        numbers: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self>;

    /// A `bias` without elements stands for none.
    fn unfolded_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        sizes: conv::Sizes,
    ) -> FloatTensor<Self>;

    /// The same with a frozen weight of bytes, `scales` for their rows.
    fn unfolded_conv2d_int8(
        x: FloatTensor<Self>,
        numbers: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        sizes: conv::Sizes,
    ) -> FloatTensor<Self>;
}

/// The values of `tensor` in order, copied only where they are not so already.
pub(super) fn in_order(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The values of a tensor that [`in_order`] gave.
pub(super) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// A tensor of `values`, in order.
pub(super) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// The values of a tensor where they lie, if nobody else holds them and they are all that lies there.
fn alone(tensor: &mut FlexTensor) -> Option<&mut [f32]> {
    let bytes = tensor.layout().shape().num_elements() * size_of::<f32>();
    let whole = tensor.is_contiguous() && tensor.bytes().len() == bytes;
    if whole { tensor.try_storage_mut::<f32>() } else { None }
}

/// Changes the values of `gradient` where they lie if nobody else holds them, or those of a copy.
fn in_place<T>(gradient: FlexTensor, change: impl FnOnce(&mut [f32]) -> T) -> (FlexTensor, T) {
    let mut gradient = gradient;
    if let Some(values) = alone(&mut gradient) {
        let extra = change(values);
        return (gradient, extra);
    }
    let shape = gradient.layout().shape().clone();
    let gradient = in_order(gradient);
    let mut copy = values(&gradient).to_vec();
    let extra = change(&mut copy);
    (tensor(copy, shape), extra)
}

fn group_sizes(x: &FlexTensor, groups: usize, eps: f64, silu: bool) -> norm::Groups {
    let shape = x.layout().shape();
    norm::Groups {
        channels: shape[1] / groups,
        groups,
        plane: shape[2] * shape[3],
        eps,
        silu,
    }
}

fn group_norm(inputs: [FlexTensor; 3], groups: usize, eps: f64, silu: bool) -> (FlexTensor, BackwardFn<3>) {
    let [x, weight, bias] = inputs.map(in_order);
    let shape = x.layout().shape().clone();
    let sizes = group_sizes(&x, groups, eps, silu);
    let (y, seen) = norm::group(values(&x), values(&weight), values(&bias), sizes);
    let y = tensor(y, shape);
    let backward = move |gradient: FlexTensor| {
        let back = |gradient: &mut [f32]| {
            norm::group_backward(values(&x), values(&weight), values(&bias), sizes, &seen, gradient)
        };
        let (dx, (d_weight, d_bias)) = in_place(gradient, back);
        let shape = weight.layout().shape().clone();
        [
            Some(dx),
            Some(tensor(d_weight, shape.clone())),
            Some(tensor(d_bias, shape)),
        ]
    };
    (y, Arc::new(backward))
}

/// The same where no gradient is wanted: over the input itself, if nobody else holds it.
fn group_norm_alone(inputs: [FlexTensor; 3], groups: usize, eps: f64, silu: bool) -> FlexTensor {
    let [mut x, weight, bias] = inputs.map(in_order);
    let sizes = group_sizes(&x, groups, eps, silu);
    if let Some(x_values) = alone(&mut x) {
        norm::group_over(x_values, values(&weight), values(&bias), sizes);
        return x;
    }
    group_norm([x, weight, bias], groups, eps, silu).0
}

fn layer_norm(inputs: [FlexTensor; 3], eps: f64) -> (FlexTensor, BackwardFn<3>) {
    let [x, weight, bias] = inputs.map(in_order);
    let (y, seen) = norm::layer(values(&x), values(&weight), values(&bias), eps);
    let y = tensor(y, x.layout().shape().clone());
    let backward = move |gradient: FlexTensor| {
        let back = |gradient: &mut [f32]| norm::layer_backward(values(&x), values(&weight), &seen, gradient);
        let (dx, (d_weight, d_bias)) = in_place(gradient, back);
        let shape = weight.layout().shape().clone();
        [
            Some(dx),
            Some(tensor(d_weight, shape.clone())),
            Some(tensor(d_bias, shape)),
        ]
    };
    (y, Arc::new(backward))
}

fn silu(x: FlexTensor) -> (FlexTensor, BackwardFn<1>) {
    let x = in_order(x);
    let y = tensor(activation::silu(values(&x)), x.layout().shape().clone());
    let backward = move |gradient: FlexTensor| {
        let (dx, ()) = in_place(gradient, |gradient| activation::silu_backward(values(&x), gradient));
        [Some(dx)]
    };
    (y, Arc::new(backward))
}

fn geglu(x: FlexTensor) -> (FlexTensor, BackwardFn<1>) {
    let x = in_order(x);
    let mut shape = x.layout().shape().clone();
    let channels = shape[2] / 2;
    shape[2] = channels;
    let y = tensor(activation::geglu(values(&x), channels), shape);
    let backward = move |gradient: FlexTensor| {
        let gradient = in_order(gradient);
        let dx = activation::geglu_backward(values(&x), values(&gradient), channels);
        [Some(tensor(dx, x.layout().shape().clone()))]
    };
    (y, Arc::new(backward))
}

/// `[batch, heads, tokens, width]` with the numbers of a token side by side, copied only where they are not so already.
fn by_token(tensor: FlexTensor) -> FlexTensor {
    let layout = tensor.layout();
    let fits = layout.strides().last() == Some(&1) && layout.strides().iter().all(|stride| *stride >= 0);
    if fits { tensor } else { tensor.to_contiguous() }
}

fn tokens(tensor: &FlexTensor) -> attention::Tokens<'_> {
    let layout = tensor.layout();
    let stride = |axis: usize| layout.strides()[axis].unsigned_abs();
    attention::Tokens {
        data: &tensor.storage::<f32>()[layout.start_offset()..],
        strides: [stride(0), stride(1), stride(2)],
    }
}

fn from_tokens(made: attention::Made, shape: [usize; 4]) -> FlexTensor {
    let [picture, head, token] = made.strides.map(|stride| stride as isize);
    let layout = Layout::new(Shape::new(shape), vec![picture, head, token, 1], 0);
    FlexTensor::new(Bytes::from_elems(made.data), layout, DType::F32)
}

fn attend(inputs: [FlexTensor; 3], scale: f32, causal: bool) -> (FlexTensor, BackwardFn<3>) {
    let [q, k, v] = inputs.map(by_token);
    let [batch, heads, queries, width] = q.layout().shape().dims();
    let keys = k.layout().shape()[2];
    let sizes = attention::Sizes {
        batch,
        heads,
        queries,
        keys,
        width,
        scale,
        causal,
    };
    let (made, softmax) = attention::forward(tokens(&q), tokens(&k), tokens(&v), &sizes);
    let y = from_tokens(made, [batch, heads, queries, width]);
    let kept = y.clone();
    let backward = move |gradient: FlexTensor| {
        let gradient = by_token(gradient);
        let all = [tokens(&q), tokens(&k), tokens(&v), tokens(&kept), tokens(&gradient)];
        let [dq, dk, dv] = attention::backward(all, &softmax, &sizes);
        let of_keys = [batch, heads, keys, width];
        [
            Some(from_tokens(dq, [batch, heads, queries, width])),
            Some(from_tokens(dk, of_keys)),
            Some(from_tokens(dv, of_keys)),
        ]
    };
    (y, Arc::new(backward))
}

impl Kernels for Flex {
    fn tiled_linear(x: FlexTensor, weight: FlexTensor, bias: FlexTensor) -> FlexTensor {
        project([x, bias], Held::Float(weight), [false; 3]).0
    }

    fn tiled_linear_int8(x: FlexTensor, numbers: FlexTensor, scales: FlexTensor, bias: FlexTensor) -> FlexTensor {
        project([x, bias], Held::Int8 { numbers, scales }, [false; 3]).0
    }

    fn tiled_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, scale: f32, causal: bool) -> FlexTensor {
        attend([q, k, v], scale, causal).0
    }

    fn unfolded_conv2d(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, sizes: conv::Sizes) -> FlexTensor {
        conv2d([x, bias], Held::Float(weight), sizes, [false; 3]).0
    }

    fn unfolded_conv2d_int8(
        x: FlexTensor,
        numbers: FlexTensor,
        scales: FlexTensor,
        bias: FlexTensor,
        sizes: conv::Sizes,
    ) -> FlexTensor {
        conv2d([x, bias], Held::Int8 { numbers, scales }, sizes, [false; 3]).0
    }

    fn fused_group_norm(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FlexTensor {
        group_norm_alone([x, weight, bias], groups, eps, silu)
    }

    fn fused_layer_norm(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, eps: f64) -> FlexTensor {
        layer_norm([x, weight, bias], eps).0
    }

    fn fused_silu(x: FlexTensor) -> FlexTensor {
        silu(x).0
    }

    fn fused_geglu(x: FlexTensor) -> FlexTensor {
        geglu(x).0
    }
}

impl<C: CheckpointStrategy> Kernels for Autodiff<Flex, C> {
    fn tiled_linear(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], |[x, weight, bias], tracked| {
            project([x, bias], Held::Float(weight), tracked)
        })
    }

    fn tiled_linear_int8(
        x: FloatTensor<Self>,
        numbers: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, scales, bias], |[x, scales, bias], [of_x, _, of_bias]| {
            project([x, bias], Held::Int8 { numbers, scales }, [of_x, false, of_bias])
        })
    }

    fn tiled_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        scale: f32,
        causal: bool,
    ) -> FloatTensor<Self> {
        record::<C, 3>([q, k, v], |inputs, _| attend(inputs, scale, causal))
    }

    fn unfolded_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        sizes: conv::Sizes,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], |[x, weight, bias], tracked| {
            conv2d([x, bias], Held::Float(weight), sizes, tracked)
        })
    }

    fn unfolded_conv2d_int8(
        x: FloatTensor<Self>,
        numbers: IntTensor<Self>,
        scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        sizes: conv::Sizes,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, scales, bias], |[x, scales, bias], [of_x, _, of_bias]| {
            conv2d([x, bias], Held::Int8 { numbers, scales }, sizes, [of_x, false, of_bias])
        })
    }

    fn fused_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        silu: bool,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], |inputs, _| group_norm(inputs, groups, eps, silu))
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        eps: f64,
    ) -> FloatTensor<Self> {
        record::<C, 3>([x, weight, bias], |inputs, _| layer_norm(inputs, eps))
    }

    fn fused_silu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, 1>([x], |[x], _| silu(x))
    }

    fn fused_geglu(x: FloatTensor<Self>) -> FloatTensor<Self> {
        record::<C, 1>([x], |[x], _| geglu(x))
    }
}
