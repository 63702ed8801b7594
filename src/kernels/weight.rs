//! The weight of a linear layer or a convolution as it lies in memory: f32, f16, or one byte a number.

use burn::tensor::{DType, Device, Int, Shape, Tensor, TensorData};
use rayon::prelude::*;

use super::simd::{LANES, per_instruction_set};

/// Largest number of an [`Int8`]. -128 is left out, so that the numbers are as many on both sides.
const MOST: f32 = 127.0;

/// A weight `[out, in]` or `[out, in, k, k]`. All arithmetic with it is f32.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one a layer, and tensors are handles")]
pub enum Weight<const D: usize> {
    /// f32 or f16.
    Float(Tensor<D>),
    /// One byte a number, for weights that are not trained.
    Int8(Int8),
}

impl<const D: usize> From<Tensor<D>> for Weight<D> {
    fn from(tensor: Tensor<D>) -> Self {
        Self::Float(tensor)
    }
}

impl<const D: usize> Weight<D> {
    /// Its shape.
    #[must_use]
    pub fn dims(&self) -> [usize; D] {
        match self {
            Weight::Float(tensor) => tensor.dims(),
            Weight::Int8(int8) => int8.shape.dims(),
        }
    }

    /// Where it lies.
    #[must_use]
    pub fn device(&self) -> Device {
        match self {
            Weight::Float(tensor) => tensor.device(),
            Weight::Int8(int8) => int8.scales.device(),
        }
    }

    /// As floating-point numbers: f32 in the place of int8.
    pub(super) fn float(&self) -> Tensor<D> {
        match self {
            Weight::Float(tensor) => tensor.clone(),
            Weight::Int8(int8) => int8.widened().reshape(int8.shape.dims::<D>()),
        }
    }

    /// All of it in f32: for what looks at one layer at a time.
    #[must_use]
    pub fn widened(&self) -> Tensor<D> {
        self.float().cast(DType::F32)
    }

    /// A changed weight for the place of this one, in f16 where this is. It is not rounded to int8 again: a change of less
    /// than half a step would be lost.
    #[must_use]
    pub fn replaced(&self, by: Tensor<D>) -> Self {
        match self {
            Weight::Float(tensor) => Weight::Float(by.cast(tensor.dtype())),
            Weight::Int8(_) => Weight::Float(by),
        }
    }
}

/// A frozen weight in one byte a number, symmetric, with a scale for each output channel: `w ≈ q · scale`, `scale` being
/// the channel's largest magnitude / 127 and `q` the quotient rounded half to even (as optimum-quanto's `qint8` with
/// `axis=0`). A channel of zeros has the scale 0.
#[derive(Debug, Clone)]
pub struct Int8 {
    /// `[out, in·k·k]`
    pub(super) numbers: Tensor<2, Int>,
    /// `[out]`
    pub(super) scales: Tensor<1>,
    shape: Shape,
}

impl Int8 {
    /// Rounds finite values of this shape, in row-major order.
    #[must_use]
    pub fn round(values: &[f32], shape: &[usize], device: &Device) -> Self {
        let out = shape.first().copied().unwrap_or(1);
        let width = values.len() / out.max(1);
        let mut numbers = vec![0_i8; values.len()];
        let rows = numbers
            .par_chunks_mut(width.max(1))
            .zip(values.par_chunks(width.max(1)));
        let scales: Vec<f32> = rows.map(|(numbers, values)| round_row(values, numbers)).collect();
        Self {
            numbers: Tensor::from_data(TensorData::new(numbers, [out, width]), (device, DType::I8)),
            scales: Tensor::from_data(TensorData::new(scales, [out]), device),
            shape: Shape::new_raw(shape.iter().copied().collect()),
        }
    }

    /// Other values of the same shape, rounded anew.
    #[must_use]
    pub fn rounded(&self, values: &[f32]) -> Self {
        Self::round(values, &self.shape, &self.scales.device())
    }

    /// The same taken out of autodiff.
    #[must_use]
    pub fn inner(&self) -> Self {
        let Self { numbers, scales, shape } = self.clone();
        match scales.is_autodiff() {
            true => Self {
                numbers: numbers.inner(),
                scales: scales.inner(),
                shape,
            },
            false => Self { numbers, scales, shape },
        }
    }

    /// The same in autodiff, without a gradient.
    #[must_use]
    pub fn autodiff(&self) -> Self {
        Self {
            numbers: self.numbers.clone().autodiff(),
            scales: self.scales.clone().autodiff(),
            shape: self.shape.clone(),
        }
    }

    /// The weight's shape.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shape.num_elements() + self.scales.shape().num_elements() * size_of::<f32>()
    }

    /// The numbers `[out, in·k·k]` and the scales `[out]`.
    #[must_use]
    pub fn parts(&self) -> (Tensor<2, Int>, Tensor<1>) {
        (self.numbers.clone(), self.scales.clone())
    }

    /// The values that it stands for, `[out, in·k·k]`.
    #[must_use]
    pub fn widened(&self) -> Tensor<2> {
        let [out] = self.scales.dims();
        self.numbers.clone().float().cast(DType::F32) * self.scales.clone().reshape([out, 1])
    }
}

/// Rounds one channel and gives its scale.
fn round_row(values: &[f32], numbers: &mut [i8]) -> f32 {
    let mut most = 0.0;
    greatest(values, &mut most);
    let scale = most / MOST;
    if scale > 0.0 {
        round(values, scale, numbers);
    }
    scale
}

per_instruction_set!(
    /// The largest magnitude.
    fn greatest(values: &[f32], most: &mut f32) = greatest_body
);
per_instruction_set!(
    /// `values / scale`, rounded.
    fn round(values: &[f32], scale: f32, numbers: &mut [i8]) = round_body
);

#[inline(always)]
fn greatest_body(values: &[f32], most: &mut f32) {
    // A comparison in the place of `max`, and lanes, so that the loop becomes vector instructions.
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = greater(*lane, value.abs());
        }
    }
    let rest = rest.iter().map(|value| value.abs());
    *most = lanes.into_iter().chain(rest).fold(0.0, greater);
}

#[inline(always)]
fn round_body(values: &[f32], scale: f32, numbers: &mut [i8]) {
    for (number, value) in numbers.iter_mut().zip(values) {
        *number = (value / scale).round_ties_even().clamp(-MOST, MOST) as i8;
    }
}
