//! The products with a layer's weight, linear and convolution, as operations of burn's Flex backend.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::Shape;
use burn_flex::FlexTensor;

use super::autodiff::BackwardFn;
use super::flex::{in_order, tensor, values};
use super::stored::Stored;
use super::{conv, linear};

/// A weight on Flex.
pub(super) enum Held {
    /// f32 or f16.
    Float(FlexTensor),
    /// Bytes `[out, in·k·k]`, and a scale for each row.
    Int8 { numbers: FlexTensor, scales: FlexTensor },
}

impl Held {
    fn in_order(self) -> Self {
        match self {
            Held::Float(weight) => Held::Float(in_order(weight)),
            Held::Int8 { numbers, scales } => Held::Int8 {
                numbers: in_order(numbers),
                scales: in_order(scales),
            },
        }
    }

    fn shape(&self) -> Shape {
        match self {
            Held::Float(weight) => weight.layout().shape().clone(),
            Held::Int8 { numbers, .. } => numbers.layout().shape().clone(),
        }
    }

    /// The numbers of a weight that is in order.
    fn stored(&self) -> Stored<'_> {
        match self {
            Held::Float(weight) => match weight.as_slice::<half::f16>() {
                Some(values) => Stored::F16(values),
                None => Stored::F32(values(weight)),
            },
            Held::Int8 { numbers, scales } => Stored::I8 {
                numbers: numbers.as_slice().unwrap_or_default(),
                scales: values(scales),
            },
        }
    }

    /// The same in f32; copied only where they are not.
    fn widened(&self) -> Cow<'_, [f32]> {
        let shape = self.shape();
        self.stored().widened(shape.num_elements() / shape[0].max(1))
    }
}

/// `tracked`: whether x, weight and bias need a gradient; bytes have none. What no gradient needs is not kept.
pub(super) fn conv2d(
    inputs: [FlexTensor; 2],
    weight: Held,
    sizes: conv::Sizes,
    tracked: [bool; 3],
) -> (FlexTensor, BackwardFn<3>) {
    let [x_shape, bias_shape] = inputs.each_ref().map(|input| input.layout().shape().clone());
    let ([x, bias], weight) = (inputs.map(in_order), weight.in_order());
    let weight_shape = weight.shape();
    let y = conv::forward(values(&x), &weight.widened(), values(&bias), &sizes);
    let [rows, columns] = sizes.output().unwrap_or_default();
    let y = tensor(y, Shape::new([sizes.batch, sizes.outputs, rows, columns]));
    let (x, weight) = (tracked[1].then_some(x), tracked[0].then_some(weight));
    let backward = move |gradient: FlexTensor| {
        let gradient = in_order(gradient);
        let dy = conv::Gradient::new(values(&gradient), &sizes);
        let [x_shape, weight_shape, bias_shape] = [&x_shape, &weight_shape, &bias_shape].map(Shape::clone);
        let dx = weight
            .as_ref()
            .map(|weight| tensor(conv::input_gradient(&dy, &weight.widened(), &sizes), x_shape));
        let d_weight = x
            .as_ref()
            .map(|x| tensor(conv::weight_gradient(values(x), &dy, &sizes), weight_shape));
        let d_bias = tracked[2].then(|| tensor(conv::bias_gradient(&dy, &sizes), bias_shape));
        [dx, d_weight, d_bias]
    };
    (y, Arc::new(backward))
}

/// `tracked`: whether x, weight and bias need a gradient; bytes have none. What no gradient needs is not kept.
pub(super) fn project(inputs: [FlexTensor; 2], weight: Held, tracked: [bool; 3]) -> (FlexTensor, BackwardFn<3>) {
    let [x_shape, bias_shape] = inputs.each_ref().map(|input| input.layout().shape().clone());
    let ([x, bias], weight) = (inputs.map(in_order), weight.in_order());
    let weight_shape = weight.shape();
    let sizes = linear::Sizes {
        rows: x_shape[0],
        inputs: x_shape[1],
        outputs: weight_shape[0],
    };
    let y = linear::forward(values(&x), weight.stored(), values(&bias), sizes);
    let y = tensor(y, Shape::new([sizes.rows, sizes.outputs]));
    let (x, weight) = (tracked[1].then_some(x), tracked[0].then_some(weight));
    let backward = move |gradient: FlexTensor| {
        let gradient = in_order(gradient);
        let dy = values(&gradient);
        let [x_shape, weight_shape, bias_shape] = [&x_shape, &weight_shape, &bias_shape].map(Shape::clone);
        let dx = weight
            .as_ref()
            .map(|weight| tensor(linear::input_gradient(dy, weight.stored(), sizes), x_shape));
        let d_weight = x
            .as_ref()
            .map(|x| tensor(linear::weight_gradient(values(x), dy, sizes), weight_shape));
        let d_bias = tracked[2].then(|| tensor(linear::bias_gradient(dy, sizes), bias_shape));
        [dx, d_weight, d_bias]
    };
    (y, Arc::new(backward))
}
