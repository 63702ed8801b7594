//! The `config.json` files of a diffusers folder.
//!
//! Unknown keys are passed over (diffusers adds some with every version); what changes the arithmetic and is not
//! supported is refused by name when a model is built.

use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::weights::LoadError;

/// One number for all blocks, or one for each.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerBlock {
    /// The same everywhere.
    One(usize),
    /// In the order of the down blocks.
    Each(Vec<usize>),
}

impl PerBlock {
    /// The number of block `i`; the last one where the list is too short.
    #[must_use]
    pub fn at(&self, i: usize) -> usize {
        match self {
            Self::One(n) => *n,
            Self::Each(list) => list.get(i).or(list.last()).copied().unwrap_or(1),
        }
    }
}

/// `unet/config.json` of a `UNet2DConditionModel`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UNetConfig {
    /// Always `UNet2DConditionModel`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Latent height and width the model was trained at.
    pub sample_size: usize,
    /// Latent channels in.
    pub in_channels: usize,
    /// Latent channels out.
    pub out_channels: usize,
    /// `cos` before `sin` in the time embedding.
    pub flip_sin_to_cos: bool,
    /// Shift of the time embedding's frequencies.
    pub freq_shift: f64,
    /// From the finest level down.
    pub down_block_types: Vec<String>,
    /// From the coarsest level up.
    pub up_block_types: Vec<String>,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Resnets in a down block; an up block has one more.
    pub layers_per_block: usize,
    /// `silu` is the only one supported.
    pub act_fn: String,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Epsilon of the resnets' norms.
    pub norm_eps: f64,
    /// Width of the text embedding.
    pub cross_attention_dim: usize,
    /// Named so, and yet the number of heads.
    pub attention_head_dim: PerBlock,
    /// Overrides `attention_head_dim` where it is there.
    pub num_attention_heads: Option<PerBlock>,
    /// Transformer blocks in each attention.
    pub transformer_layers_per_block: PerBlock,
    /// Linear instead of 1×1 convolution around the transformer blocks.
    pub use_linear_projection: bool,
    /// `text_time` in SDXL.
    pub addition_embed_type: Option<String>,
    /// Width of each of SDXL's Fourier time ids.
    pub addition_time_embed_dim: Option<usize>,
    /// Width of SDXL's added embedding before its first layer.
    pub projection_class_embeddings_input_dim: Option<usize>,
}

impl Default for UNetConfig {
    fn default() -> Self {
        let cross = "CrossAttnDownBlock2D".to_owned();
        let up = "CrossAttnUpBlock2D".to_owned();
        Self {
            class_name: "UNet2DConditionModel".to_owned(),
            sample_size: 64,
            in_channels: 4,
            out_channels: 4,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            down_block_types: vec![cross.clone(), cross.clone(), cross, "DownBlock2D".to_owned()],
            up_block_types: vec!["UpBlock2D".to_owned(), up.clone(), up.clone(), up],
            block_out_channels: vec![320, 640, 1280, 1280],
            layers_per_block: 2,
            act_fn: "silu".to_owned(),
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: 1280,
            attention_head_dim: PerBlock::One(8),
            num_attention_heads: None,
            transformer_layers_per_block: PerBlock::One(1),
            use_linear_projection: false,
            addition_embed_type: None,
            addition_time_embed_dim: None,
            projection_class_embeddings_input_dim: None,
        }
    }
}

/// `vae/config.json` of an `AutoencoderKL`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct VaeConfig {
    /// Always `AutoencoderKL`.
    #[serde(rename = "_class_name")]
    pub class_name: String,
    /// Colour channels in.
    pub in_channels: usize,
    /// Colour channels out.
    pub out_channels: usize,
    /// One for each level; only their number counts here.
    pub down_block_types: Vec<String>,
    /// One for each level.
    pub up_block_types: Vec<String>,
    /// Channels of each level.
    pub block_out_channels: Vec<usize>,
    /// Resnets in a down block; an up block has one more.
    pub layers_per_block: usize,
    /// Channels of the latent.
    pub latent_channels: usize,
    /// Groups of every group norm.
    pub norm_num_groups: usize,
    /// Picture height and width the model was trained at.
    pub sample_size: usize,
    /// What latents are multiplied by before they go to the U-Net.
    pub scaling_factor: f64,
    /// `silu` is the only one supported.
    pub act_fn: String,
}

impl Default for VaeConfig {
    fn default() -> Self {
        Self {
            class_name: "AutoencoderKL".to_owned(),
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec!["DownEncoderBlock2D".to_owned()],
            up_block_types: vec!["UpDecoderBlock2D".to_owned()],
            block_out_channels: vec![64],
            layers_per_block: 1,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 32,
            scaling_factor: 0.18215,
            act_fn: "silu".to_owned(),
        }
    }
}

/// `text_encoder/config.json` of a `CLIPTextModel`, with or without projection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextConfig {
    /// `["CLIPTextModel"]` or `["CLIPTextModelWithProjection"]`.
    pub architectures: Vec<String>,
    /// Always `clip_text_model`.
    pub model_type: String,
    /// Width of the embedding.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads of each layer.
    pub num_attention_heads: usize,
    /// `quick_gelu` or `gelu`.
    pub hidden_act: String,
    /// Width of the pooled vector.
    pub projection_dim: usize,
    /// Tokens known.
    pub vocab_size: usize,
    /// Tokens in a row.
    pub max_position_embeddings: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// Begin of text.
    pub bos_token_id: u32,
    /// End of text; 2 is a legacy value that means: pool at the largest id.
    pub eos_token_id: u32,
    /// Padding.
    pub pad_token_id: u32,
}

/// Most layers, blocks or levels: far more than any published model has.
const MOST_LAYERS: usize = 256;
/// Greatest width or number of entries.
const MOST_WIDE: usize = 1 << 20;

/// Refuses counts that would take for ever and widths whose products overflow.
fn within(counts: &[(&str, usize, usize)]) -> Result<(), String> {
    match counts.iter().find(|(_, n, most)| n > most) {
        None => Ok(()),
        Some((key, n, most)) => Err(format!("{key}: expected at most {most}, found {n}")),
    }
}

impl UNetConfig {
    /// Refuses numbers that no model has.
    pub(super) fn check(&self) -> Result<(), String> {
        let depth = match &self.transformer_layers_per_block {
            PerBlock::One(n) => *n,
            PerBlock::Each(list) => list.iter().copied().max().unwrap_or(1),
        };
        let widest = self.block_out_channels.iter().copied().max().unwrap_or(0);
        within(&[
            ("block_out_channels", self.block_out_channels.len(), MOST_LAYERS),
            ("block_out_channels", widest, MOST_WIDE),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("transformer_layers_per_block", depth, MOST_LAYERS),
            ("in_channels", self.in_channels, MOST_WIDE),
            ("out_channels", self.out_channels, MOST_WIDE),
            ("cross_attention_dim", self.cross_attention_dim, MOST_WIDE),
            (
                "addition_time_embed_dim",
                self.addition_time_embed_dim.unwrap_or(0),
                MOST_WIDE,
            ),
            (
                "projection_class_embeddings_input_dim",
                self.projection_class_embeddings_input_dim.unwrap_or(0),
                MOST_WIDE,
            ),
        ])
    }
}

impl VaeConfig {
    /// Refuses numbers that no model has.
    pub(super) fn check(&self) -> Result<(), String> {
        let widest = self.block_out_channels.iter().copied().max().unwrap_or(0);
        within(&[
            // A level halves the picture, so that more than these would leave nothing of it.
            ("block_out_channels", self.block_out_channels.len(), 16),
            ("block_out_channels", widest, MOST_WIDE),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("latent_channels", self.latent_channels, MOST_WIDE),
            ("in_channels", self.in_channels, MOST_WIDE),
            ("out_channels", self.out_channels, MOST_WIDE),
        ])
    }
}

impl TextConfig {
    /// Whether the pooled vector goes through a projection.
    #[must_use]
    pub fn projects(&self) -> bool {
        self.architectures.iter().any(|a| a == "CLIPTextModelWithProjection")
    }

    /// Refuses numbers that no model has.
    pub(super) fn check(&self) -> Result<(), String> {
        within(&[
            ("num_hidden_layers", self.num_hidden_layers, MOST_LAYERS),
            ("hidden_size", self.hidden_size, MOST_WIDE),
            ("intermediate_size", self.intermediate_size, MOST_WIDE),
            ("projection_dim", self.projection_dim, MOST_WIDE),
            ("vocab_size", self.vocab_size, MOST_WIDE),
            ("max_position_embeddings", self.max_position_embeddings, MOST_WIDE),
        ])
    }
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            architectures: vec!["CLIPTextModel".to_owned()],
            model_type: "clip_text_model".to_owned(),
            hidden_size: 512,
            intermediate_size: 2048,
            num_hidden_layers: 12,
            num_attention_heads: 8,
            hidden_act: "quick_gelu".to_owned(),
            projection_dim: 512,
            vocab_size: 49408,
            max_position_embeddings: 77,
            layer_norm_eps: 1e-5,
            bos_token_id: 49406,
            eos_token_id: 49407,
            pad_token_id: 1,
        }
    }
}

/// Reads a configuration.
///
/// # Errors
/// If the file cannot be read or is not what it should be.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, LoadError> {
    let text = std::fs::read(path).map_err(|source| LoadError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|e| LoadError::Config {
        path: path.to_owned(),
        message: e.to_string(),
    })
}

/// Refuses a configuration with a sentence.
pub(super) fn refuse<T>(path: &Path, message: impl Into<String>) -> Result<T, LoadError> {
    Err(LoadError::Config {
        path: path.to_owned(),
        message: message.into(),
    })
}
