//! CLIP's text encoder (Radford et al. 2021, arXiv:2103.00020), as transformers' `CLIPTextModel` builds it.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation, module::embedding};

use super::config::{self, TextConfig};
use super::layers::{Embedding, Linear, Module, Norm, Visitor, attend, join};
use super::recompute::Tape;
use super::weights::{Checkpoint, LoadError, Pages, Precision, Weights};
use crate::names;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Activation {
    /// x · σ(1.702 x)
    QuickGelu,
    /// x · Φ(x)
    Gelu,
}

#[derive(Debug, Clone)]
struct Layer {
    norm1: Norm,
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    norm2: Norm,
    fc1: Linear,
    fc2: Linear,
    heads: usize,
    activation: Activation,
}

impl Layer {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let h = self.norm1.layer(x.clone());
        let (q, k, v) = (self.q.forward(h.clone()), self.k.forward(h.clone()), self.v.forward(h));
        let x = x + self.out.forward(attend(q, k, v, self.heads, true));
        let h = self.fc1.forward(self.norm2.layer(x.clone()));
        let h = match self.activation {
            Activation::QuickGelu => h.clone() * activation::sigmoid(h.mul_scalar(1.702)),
            Activation::Gelu => activation::gelu(h),
        };
        x + self.fc2.forward(h)
    }
}

impl Module for Layer {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        self.norm1.visit(&join(path, "layer_norm1"), v);
        self.q.visit(&join(path, "self_attn.q_proj"), v);
        self.k.visit(&join(path, "self_attn.k_proj"), v);
        self.v.visit(&join(path, "self_attn.v_proj"), v);
        self.out.visit(&join(path, "self_attn.out_proj"), v);
        self.norm2.visit(&join(path, "layer_norm2"), v);
        self.fc1.visit(&join(path, "mlp.fc1"), v);
        self.fc2.visit(&join(path, "mlp.fc2"), v);
    }
}

/// What the encoder makes of a row of tokens.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// `[B, N, D]`: the last hidden state, after the final layer norm. SD 1.x and 2.x take this one.
    pub last: Tensor<3>,
    /// `[B, N, D]` each: what came out of the embedding and of every layer, without the final norm.
    states: Vec<Tensor<3>>,
    /// `[B, P]`: `last` at the end-of-text token, projected where the model has a projection.
    pub pooled: Tensor<2>,
}

impl Encoded {
    /// What came out of the layer that is the `n`th from the last, which is 1, without the final norm; out of the
    /// embedding where there are not so many. SDXL takes 2.
    #[must_use]
    pub fn hidden(&self, n: usize) -> Tensor<3> {
        let place = self.states.len().saturating_sub(n.max(1));
        self.states.get(place).unwrap_or(&self.last).clone()
    }
}

/// The text encoder.
#[derive(Debug, Clone)]
pub struct TextEncoder {
    config: TextConfig,
    tokens: Embedding,
    positions: Embedding,
    layers: Vec<Layer>,
    norm: Norm,
    projection: Option<Linear>,
    pages: Pages,
}

impl TextEncoder {
    /// Reads `config.json` and the weights (`model`, in any of their layouts) in a folder, with or without the `text_model.`
    /// prefix.
    ///
    /// # Errors
    /// If a file cannot be read, the configuration is not supported, or the weights do not fit it.
    pub fn load(folder: &Path, device: &Device, precision: Precision) -> Result<Self, LoadError> {
        let config: TextConfig = config::read(&folder.join("config.json"))?;
        let checkpoint = Arc::new(Checkpoint::of_part(folder, "model")?);
        let mut weights = Weights::of(&checkpoint, device, &names::clip).stored_as(precision);
        let model = Self::build(&config, &mut weights).or_else(|m| config::refuse(&folder.join("config.json"), m))?;
        weights.finish()?;
        Ok(model)
    }

    /// Builds the model that the configuration describes.
    ///
    /// # Errors
    /// A sentence about what is not supported.
    pub fn build(config: &TextConfig, w: &mut Weights) -> Result<Self, String> {
        let activation = match config.hidden_act.as_str() {
            "quick_gelu" => Activation::QuickGelu,
            "gelu" => Activation::Gelu,
            other => return Err(format!("hidden_act: expected `quick_gelu` or `gelu`, found `{other}`")),
        };
        config.check()?;
        let d = config.hidden_size;
        if config.num_attention_heads == 0 || !d.is_multiple_of(config.num_attention_heads) {
            return Err(format!("{} heads do not divide {d}", config.num_attention_heads));
        }
        let eps = config.layer_norm_eps;
        let layers = (0..config.num_hidden_layers)
            .map(|i| {
                let path = format!("text_model.encoder.layers.{i}");
                let linear = |w: &mut Weights, name: &str, input: usize, output: usize| {
                    Linear::load(w, &join(&path, name), input, output, true)
                };
                Layer {
                    norm1: Norm::load(w, &join(&path, "layer_norm1"), d, eps),
                    q: linear(w, "self_attn.q_proj", d, d),
                    k: linear(w, "self_attn.k_proj", d, d),
                    v: linear(w, "self_attn.v_proj", d, d),
                    out: linear(w, "self_attn.out_proj", d, d),
                    norm2: Norm::load(w, &join(&path, "layer_norm2"), d, eps),
                    fc1: linear(w, "mlp.fc1", d, config.intermediate_size),
                    fc2: linear(w, "mlp.fc2", config.intermediate_size, d),
                    heads: config.num_attention_heads,
                    activation,
                }
            })
            .collect();
        let embeddings = "text_model.embeddings";
        let positions = config.max_position_embeddings;
        Ok(Self {
            tokens: Embedding::load(w, &join(embeddings, "token_embedding"), config.vocab_size, d),
            positions: Embedding::load(w, &join(embeddings, "position_embedding"), positions, d),
            layers,
            norm: Norm::load(w, "text_model.final_layer_norm", d, eps),
            projection: config
                .projects()
                .then(|| Linear::load(w, "text_projection", d, config.projection_dim, false)),
            config: config.clone(),
            pages: w.pages(),
        })
    }

    /// The weights that stayed in their files.
    #[must_use]
    pub fn pages(&self) -> &Pages {
        &self.pages
    }

    /// The configuration.
    #[must_use]
    pub fn config(&self) -> &TextConfig {
        &self.config
    }

    /// Encodes rows of token ids, all of one length of at most `max_position_embeddings`.
    #[must_use]
    pub fn forward(&self, rows: &[Vec<u32>], device: &Device) -> Encoded {
        self.forward_on(&mut Tape::new(false), rows, device)
    }

    /// As [`TextEncoder::forward`], with the layers as parts of `tape`.
    pub fn forward_on(&self, tape: &mut Tape, rows: &[Vec<u32>], device: &Device) -> Encoded {
        let (batch, n) = (rows.len(), rows.first().map_or(0, Vec::len));
        let flat: Vec<i64> = rows.iter().flatten().map(|&id| i64::from(id)).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(flat, [batch, n]), device);
        let positions = self.positions.weight.clone().narrow(0, 0, n).cast(DType::F32);
        let tokens = embedding(self.tokens.weight.clone(), ids).cast(DType::F32);
        let mut x = tokens + positions.unsqueeze::<3>(); // [B, N, D]
        let mut states = vec![x.clone()];
        for layer in &self.layers {
            x = tape.part(layer, x, Layer::forward);
            states.push(x.clone());
        }
        let last = self.normed(x);
        let ends = rows.iter().map(|row| self.end_of(row));
        let pooled = Tensor::cat(
            ends.enumerate()
                .map(|(i, end)| last.clone().slice([i..i + 1, end..end + 1]))
                .collect(),
            0,
        );
        let pooled = pooled.reshape([batch, self.config.hidden_size]);
        let pooled = match &self.projection {
            Some(layer) => layer.forward(pooled),
            None => pooled,
        };
        Encoded { last, states, pooled }
    }

    /// The final layer norm.
    ///
    /// # Shapes
    /// `[B, N, D]` → `[B, N, D]`
    #[must_use]
    pub fn normed(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.norm.layer(hidden)
    }

    /// Where the row is pooled. Configurations that say `eos_token_id: 2` predate transformers' knowledge of the real
    /// id: there the largest id counts.
    fn end_of(&self, row: &[u32]) -> usize {
        let wanted = if self.config.eos_token_id == 2 {
            row.iter().copied().max().unwrap_or(0)
        } else {
            self.config.eos_token_id
        };
        row.iter().position(|&id| id == wanted).unwrap_or(0)
    }
}

impl Module for TextEncoder {
    fn visit(&mut self, path: &str, v: &mut dyn Visitor) {
        let root = join(path, "text_model");
        self.tokens.visit(&join(&root, "embeddings.token_embedding"), v);
        self.positions.visit(&join(&root, "embeddings.position_embedding"), v);
        self.layers.visit(&join(&root, "encoder.layers"), v);
        self.norm.visit(&join(&root, "final_layer_norm"), v);
        self.projection.visit(&join(path, "text_projection"), v);
    }
}
