//! The U-Net's attention: self-attention, cross-attention to the text, and a gated feed-forward (diffusers'
//! `Transformer2DModel`).

use burn::tensor::Tensor;

use super::layers::{Conv2d, Linear, Module, Norm, Visitor, attend, join};
use super::weights::Weights;
use crate::kernels;

/// Shape of one transformer.
#[derive(Debug, Clone, Copy)]
pub struct TransformerConfig {
    /// Channels in and out.
    pub channels: usize,
    /// Heads of each attention.
    pub heads: usize,
    /// Transformer blocks.
    pub depth: usize,
    /// Width of the text embedding.
    pub context: usize,
    /// Groups of the norm before.
    pub groups: usize,
    /// Linear projections instead of 1×1 convolutions.
    pub linear: bool,
}

#[derive(Debug, Clone)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
}

impl Attention {
    fn load(w: &mut Weights, path: &str, width: usize, context: usize, heads: usize) -> Self {
        Self {
            to_q: Linear::load(w, &join(path, "to_q"), width, width, false),
            to_k: Linear::load(w, &join(path, "to_k"), context, width, false),
            to_v: Linear::load(w, &join(path, "to_v"), context, width, false),
            to_out: Linear::load(w, &join(path, "to_out.0"), width, width, true),
            heads,
        }
    }

    fn forward(&self, x: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        let q = self.to_q.forward(x);
        let k = self.to_k.forward(context.clone());
        let v = self.to_v.forward(context.clone());
        self.to_out.forward(attend(q, k, v, self.heads, false))
    }
}

impl Module for Attention {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.to_q.visit(&join(path, "to_q"), v);
        self.to_k.visit(&join(path, "to_k"), v);
        self.to_v.visit(&join(path, "to_v"), v);
        self.to_out.visit(&join(path, "to_out.0"), v);
    }
}

#[derive(Debug, Clone)]
struct Block {
    norm1: Norm,
    attn1: Attention,
    norm2: Norm,
    attn2: Attention,
    norm3: Norm,
    gate: Linear,
    out: Linear,
}

impl Block {
    fn load(w: &mut Weights, path: &str, c: &TransformerConfig) -> Self {
        let width = c.channels;
        let norm = |w: &mut Weights, name: &str| Norm::load(w, &join(path, name), width, 1e-5);
        Self {
            norm1: norm(w, "norm1"),
            attn1: Attention::load(w, &join(path, "attn1"), width, width, c.heads),
            norm2: norm(w, "norm2"),
            attn2: Attention::load(w, &join(path, "attn2"), width, c.context, c.heads),
            norm3: norm(w, "norm3"),
            gate: Linear::load(w, &join(path, "ff.net.0.proj"), width, 8 * width, true),
            out: Linear::load(w, &join(path, "ff.net.2"), 4 * width, width, true),
        }
    }

    fn forward(&self, x: Tensor<3>, context: &Tensor<3>) -> Tensor<3> {
        let h = self.norm1.layer(x.clone());
        let x = x + self.attn1.forward(h.clone(), &h);
        let x = x.clone() + self.attn2.forward(self.norm2.layer(x), context);
        let h = self.gate.forward(self.norm3.layer(x.clone())); // [B, N, 8·C]
        x + self.out.forward(kernels::geglu(h))
    }
}

impl Module for Block {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.norm1.visit(&join(path, "norm1"), v);
        self.attn1.visit(&join(path, "attn1"), v);
        self.norm2.visit(&join(path, "norm2"), v);
        self.attn2.visit(&join(path, "attn2"), v);
        self.norm3.visit(&join(path, "norm3"), v);
        self.gate.visit(&join(path, "ff.net.0.proj"), v);
        self.out.visit(&join(path, "ff.net.2"), v);
    }
}

#[derive(Debug, Clone)]
enum Projection {
    Conv(Conv2d),
    Linear(Linear),
}

impl Projection {
    fn load(w: &mut Weights, path: &str, width: usize, linear: bool) -> Self {
        if linear {
            Self::Linear(Linear::load(w, path, width, width, true))
        } else {
            Self::Conv(Conv2d::load(w, path, [width, width, 1], 1, 0))
        }
    }
}

impl Module for Projection {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        match self {
            Self::Conv(conv) => conv.visit(path, v),
            Self::Linear(linear) => linear.visit(path, v),
        }
    }
}

/// A norm, a projection, transformer blocks over the pixels as tokens, a projection back, and a way around them.
#[derive(Debug, Clone)]
pub struct Transformer {
    norm: Norm,
    proj_in: Projection,
    blocks: Vec<Block>,
    proj_out: Projection,
    groups: usize,
}

impl Transformer {
    /// Reads everything below `path`.
    ///
    /// # Errors
    /// If the heads do not divide the channels.
    pub fn load(w: &mut Weights, path: &str, c: &TransformerConfig) -> Result<Self, String> {
        if c.heads == 0 || !c.channels.is_multiple_of(c.heads) {
            return Err(format!("{} heads do not divide {} channels", c.heads, c.channels));
        }
        Ok(Self {
            norm: Norm::load(w, &join(path, "norm"), c.channels, 1e-6),
            proj_in: Projection::load(w, &join(path, "proj_in"), c.channels, c.linear),
            blocks: (0..c.depth)
                .map(|i| Block::load(w, &format!("{path}.transformer_blocks.{i}"), c))
                .collect(),
            proj_out: Projection::load(w, &join(path, "proj_out"), c.channels, c.linear),
            groups: c.groups,
        })
    }

    /// # Shapes
    /// `x` `[B, C, H, W]`, `context` `[B, N, D]` → `[B, C, H, W]`
    #[must_use]
    pub fn forward(&self, x: Tensor<4>, context: &Tensor<3>) -> Tensor<4> {
        let [b, c, h, w] = x.dims();
        let tokens = |x: Tensor<4>| x.reshape([b, c, h * w]).swap_dims(1, 2); // [B, H·W, C]
        let pixels = |x: Tensor<3>| x.swap_dims(1, 2).reshape([b, c, h, w]);
        let normed = self.norm.group(x.clone(), self.groups, false);
        let mut t = match &self.proj_in {
            Projection::Conv(conv) => tokens(conv.forward(normed)),
            Projection::Linear(linear) => linear.forward(tokens(normed)),
        };
        for block in &self.blocks {
            t = block.forward(t, context);
        }
        x + match &self.proj_out {
            Projection::Conv(conv) => conv.forward(pixels(t)),
            Projection::Linear(linear) => pixels(linear.forward(t)),
        }
    }
}

impl Module for Transformer {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.norm.visit(&join(path, "norm"), v);
        self.proj_in.visit(&join(path, "proj_in"), v);
        self.blocks.visit(&join(path, "transformer_blocks"), v);
        self.proj_out.visit(&join(path, "proj_out"), v);
    }
}
