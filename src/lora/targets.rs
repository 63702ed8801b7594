//! Which layers of a network an adapter goes on.

use crate::model::config::UNetConfig;
use crate::model::layers::{Conv2d, Linear, Module, Visitor};

/// The sets of layers that the field knows, each holding the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// Attention, feed-forward, `proj_in` and `proj_out` of every `Transformer2DModel`: kohya's `networks.lora`.
    Attention,
    /// The same, and every convolution and time projection of the residual blocks, downsamplers and upsamplers: kohya's
    /// `networks.lora` with a `conv_dim`, and LyCORIS.
    Convolutions,
    /// Attention and feed-forward of a text encoder.
    Text,
}

/// How many of what there is in a U-Net.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// `Transformer2DModel`s.
    pub transformers: usize,
    /// Transformer blocks in all of them.
    pub blocks: usize,
    /// Residual blocks.
    pub residuals: usize,
    /// Residual blocks with a convolution on the way past.
    pub shortcuts: usize,
    /// Downsamplers and upsamplers.
    pub resamplers: usize,
}

impl Census {
    /// By the configuration, which the model that was built is compared with.
    #[must_use]
    pub fn of(config: &UNetConfig) -> Self {
        let channels = &config.block_out_channels;
        let (levels, layers) = (channels.len(), config.layers_per_block);
        let depth = |level| config.transformer_layers_per_block.at(level);
        let mut all = Self {
            transformers: 1,
            blocks: depth(levels.saturating_sub(1)),
            residuals: 2,
            shortcuts: 0,
            resamplers: 2 * levels.saturating_sub(1),
        };
        for (level, kind) in config.down_block_types.iter().enumerate() {
            all.residuals += layers;
            // The first block of a level changes the number of channels.
            all.shortcuts += usize::from(level > 0 && channels.get(level) != channels.get(level - 1));
            if kind.starts_with("CrossAttn") {
                all.transformers += layers;
                all.blocks += layers * depth(level);
            }
        }
        for (place, kind) in config.up_block_types.iter().enumerate() {
            // What came by the way down is laid beside the input of each, so each has more channels than it gives.
            all.residuals += layers + 1;
            all.shortcuts += layers + 1;
            if kind.starts_with("CrossAttn") {
                all.transformers += layers + 1;
                all.blocks += (layers + 1) * depth(levels.saturating_sub(place + 1));
            }
        }
        all
    }
}

impl Targets {
    /// Whether the layer at `path` gets an adapter.
    #[must_use]
    pub fn covers(self, path: &str) -> bool {
        match self {
            Targets::Attention => Self::attends(path),
            Targets::Convolutions => Self::attends(path) || Self::convolves(path),
            Targets::Text => {
                let names = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"];
                path.starts_with("text_model.encoder.layers.")
                    && path.rsplit_once('.').is_some_and(|(_, name)| names.contains(&name))
            }
        }
    }

    fn convolves(path: &str) -> bool {
        let Some((owner, name)) = path.rsplit_once('.') else {
            return false;
        };
        let within = |group: &str| {
            owner
                .rsplit_once('.')
                .is_some_and(|(before, _)| before.ends_with(group))
        };
        match name {
            "conv1" | "conv2" | "conv_shortcut" | "time_emb_proj" => within(".resnets"),
            "conv" => within(".downsamplers") || within(".upsamplers"),
            _ => false,
        }
    }

    fn attends(path: &str) -> bool {
        let Some((_, inner)) = path.split_once("attentions.") else {
            return false;
        };
        let Some((_, layer)) = inner.split_once('.') else {
            return false;
        };
        if layer == "proj_in" || layer == "proj_out" {
            return true;
        }
        let mut parts = layer.splitn(3, '.');
        if parts.next() != Some("transformer_blocks") {
            return false;
        }
        let inside = parts.nth(1).unwrap_or("");
        let attention = ["to_q", "to_k", "to_v", "to_out.0"];
        match inside.split_once('.') {
            Some(("attn1" | "attn2", name)) => attention.contains(&name),
            _ => inside == "ff.net.0.proj" || inside == "ff.net.2",
        }
    }

    /// How many modules of such a U-Net it covers: `proj_in`, `proj_out`, and for each block two attentions of four layers
    /// and two feed-forward layers; two convolutions and a time projection of each residual block, and what lies past it.
    #[must_use]
    pub fn expected(self, unet: Census) -> usize {
        let attention = 2 * unet.transformers + 10 * unet.blocks;
        match self {
            Targets::Attention => attention,
            Targets::Convolutions => attention + 3 * unet.residuals + unet.shortcuts + unet.resamplers,
            Targets::Text => 0,
        }
    }
}

/// The paths of all linear and convolution layers, in the model's order.
#[must_use]
pub fn module_paths(model: &mut dyn Module) -> Vec<String> {
    let mut paths = Paths(Vec::new());
    model.visit("", &mut paths);
    paths.0
}

struct Paths(Vec<String>);

impl Visitor for Paths {
    fn linear(&mut self, path: &str, _: &mut Linear) {
        self.0.push(path.to_owned());
    }

    fn conv(&mut self, path: &str, _: &mut Conv2d) {
        self.0.push(path.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_what_kohya_covers() {
        for (path, covered) in [
            ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", true),
            ("mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0", true),
            ("up_blocks.3.attentions.2.proj_in", true),
            ("down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj", true),
            ("down_blocks.1.attentions.0.transformer_blocks.11.ff.net.2", true),
            ("down_blocks.1.attentions.0.transformer_blocks.0.norm1", false),
            ("down_blocks.1.resnets.0.conv1", false),
            ("down_blocks.0.downsamplers.0.conv", false),
            ("time_embedding.linear_1", false),
            ("conv_in", false),
        ] {
            assert_eq!(Targets::Attention.covers(path), covered, "{path}");
            let convolution = path.contains("resnets") || path.contains("samplers");
            assert_eq!(Targets::Convolutions.covers(path), covered || convolution, "{path}");
            assert!(!Targets::Text.covers(path));
        }
        for (path, covered) in [
            ("text_model.encoder.layers.0.self_attn.q_proj", true),
            ("text_model.encoder.layers.11.mlp.fc2", true),
            ("text_model.embeddings.token_embedding", false),
            ("text_projection", false),
        ] {
            assert_eq!(Targets::Text.covers(path), covered, "{path}");
        }
    }

    #[test]
    fn stable_diffusion_1_has_as_many_as_kohya_finds() {
        let census = Census::of(&UNetConfig::default());
        assert_eq!(Targets::Attention.expected(census), 192);
        assert_eq!(Targets::Convolutions.expected(census), 278);
    }
}
