//! Which layers of a U-Net an adapter goes on.

use crate::model::layers::{Conv2d, Linear, Module, Visitor};

/// The sets of layers that the field knows, each holding the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Targets {
    /// Attention, feed-forward, `proj_in` and `proj_out` of every `Transformer2DModel`: kohya's `networks.lora`.
    Attention,
}

impl Targets {
    /// Whether the layer at `path` gets an adapter.
    #[must_use]
    pub fn covers(self, path: &str) -> bool {
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

    /// How many modules of a U-Net with these transformers it covers: `proj_in`, `proj_out`, and for each block two
    /// attentions of four layers and two feed-forward layers.
    #[must_use]
    pub fn expected(self, transformers: usize, blocks: usize) -> usize {
        2 * transformers + 10 * blocks
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
        }
    }
}
