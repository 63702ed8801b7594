//! What the U-Net and the VAE share: residual blocks and changes of resolution.

use burn::tensor::Tensor;

use super::layers::{Conv2d, Linear, Module, Norm, Visitor, join};
use super::weights::Weights;
use crate::kernels;

/// Two convolutions with norms, the time embedding in between, and a way around them.
#[derive(Debug, Clone)]
pub struct Resnet {
    norm1: Norm,
    conv1: Conv2d,
    time: Option<Linear>,
    norm2: Norm,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
    groups: usize,
}

impl Resnet {
    /// `time` is the width of the time embedding (none in the VAE).
    pub fn load(
        w: &mut Weights,
        path: &str,
        [input, output]: [usize; 2],
        time: Option<usize>,
        groups: usize,
        eps: f64,
    ) -> Self {
        Self {
            norm1: Norm::load(w, &join(path, "norm1"), input, eps),
            conv1: Conv2d::load(w, &join(path, "conv1"), [input, output, 3], 1, 1),
            time: time.map(|width| Linear::load(w, &join(path, "time_emb_proj"), width, output, true)),
            norm2: Norm::load(w, &join(path, "norm2"), output, eps),
            conv2: Conv2d::load(w, &join(path, "conv2"), [output, output, 3], 1, 1),
            shortcut: (input != output)
                .then(|| Conv2d::load(w, &join(path, "conv_shortcut"), [input, output, 1], 1, 0)),
            groups,
        }
    }

    /// # Shapes
    /// `x` `[B, in, H, W]`, `time` `[B, T]` → `[B, out, H, W]`
    #[must_use]
    pub fn forward(&self, x: Tensor<4>, time: Option<&Tensor<2>>) -> Tensor<4> {
        // First, so that nobody else holds `x` afterwards and its memory can be used again.
        let around = match &self.shortcut {
            Some(conv) => conv.forward(x.clone()),
            None => x.clone(),
        };
        let mut h = self.conv1.forward(self.norm1.group(x, self.groups, true));
        if let (Some(layer), Some(time)) = (&self.time, time) {
            let added = layer.forward(kernels::silu(time.clone())); // [B, out]
            h = h + added.unsqueeze_dims::<4>(&[2, 3]);
        }
        around + self.conv2.forward(self.norm2.group(h, self.groups, true))
    }
}

impl Module for Resnet {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.norm1.visit(&join(path, "norm1"), v);
        self.conv1.visit(&join(path, "conv1"), v);
        self.time.visit(&join(path, "time_emb_proj"), v);
        self.norm2.visit(&join(path, "norm2"), v);
        self.conv2.visit(&join(path, "conv2"), v);
        self.shortcut.visit(&join(path, "conv_shortcut"), v);
    }
}

/// Twice the height and width by repeating pixels, then a convolution.
#[derive(Debug, Clone)]
pub struct Upsample(Conv2d);

impl Upsample {
    /// Reads `path.conv`.
    pub fn load(w: &mut Weights, path: &str, channels: usize) -> Self {
        Self(Conv2d::load(w, &join(path, "conv"), [channels, channels, 3], 1, 1))
    }

    /// # Shapes
    /// `[B, C, H, W]` → `[B, C, size.0, size.1]`; the size is `2H, 2W`, or one less each where the skip
    /// connection is of odd size.
    #[must_use]
    pub fn forward(&self, x: Tensor<4>, size: Option<[usize; 2]>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        // Repeating through a broadcast is exact and much cheaper than interpolation, forward and backward.
        let mut doubled = x
            .reshape([b, c, h, 1, w, 1])
            .expand([b, c, h, 2, w, 2])
            .reshape([b, c, 2 * h, 2 * w]);
        if let Some([height, width]) = size {
            // For 2H − 1 rows, PyTorch's nearest row ⌊i·H / (2H − 1)⌋ is ⌊i / 2⌋: the last one is left out.
            doubled = doubled.narrow(2, 0, height).narrow(3, 0, width);
        }
        self.0.forward(doubled)
    }
}

impl Module for Upsample {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.0.visit(&join(path, "conv"), v);
    }
}
