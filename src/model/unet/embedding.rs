//! What tells the U-Net how much noise there is, and SDXL which picture it is part of.

use burn::tensor::{Device, Tensor, TensorData};

use crate::kernels;
use crate::model::layers::{Linear, Module, Visitor, join};
use crate::model::weights::Weights;

/// What SDXL adds to the time embedding.
#[derive(Debug, Clone)]
pub struct Added {
    /// `[B, P]`, the pooled text.
    pub text_embeds: Tensor<2>,
    /// `[B, 6]`: original height and width, crop top and left, target height and width.
    pub time_ids: Tensor<2>,
}

/// Two linear layers with SiLU between them.
#[derive(Debug, Clone)]
pub(super) struct Mlp {
    linear_1: Linear,
    linear_2: Linear,
}

impl Mlp {
    pub(super) fn load(w: &mut Weights, path: &str, input: usize, output: usize) -> Self {
        Self {
            linear_1: Linear::load(w, &join(path, "linear_1"), input, output, true),
            linear_2: Linear::load(w, &join(path, "linear_2"), output, output, true),
        }
    }

    pub(super) fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.linear_2.forward(kernels::silu(self.linear_1.forward(x)))
    }
}

impl Module for Mlp {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.linear_1.visit(&join(path, "linear_1"), v);
        self.linear_2.visit(&join(path, "linear_2"), v);
    }
}

/// The sinusoidal embedding of timesteps (Vaswani et al. 2017), computed in f64 on the host.
///
/// # Shapes
/// `n` steps → `[n, width]`
pub(super) fn sinusoids(steps: &[f32], width: usize, cos_first: bool, shift: f64, device: &Device) -> Tensor<2> {
    let half = width / 2;
    let mut values = Vec::with_capacity(steps.len() * width);
    for &step in steps {
        let angle = |i: usize| f64::from(step) * (-(10000_f64.ln()) * i as f64 / (half as f64 - shift)).exp();
        let cos = (0..half).map(|i| angle(i).cos() as f32);
        let sin = (0..half).map(|i| angle(i).sin() as f32);
        if cos_first {
            values.extend(cos.chain(sin))
        } else {
            values.extend(sin.chain(cos))
        }
        values.extend((2 * half..width).map(|_| 0.0));
    }
    Tensor::from_data(TensorData::new(values, [steps.len(), width]), device)
}
