//! The original code's names (CompVis' LDM for Stable Diffusion 1 and 2, Stability's SGM for SDXL, OpenCLIP) and
//! diffusers' for the same modules. The pairs are those of diffusers' `loaders/single_file_utils.py`.
//!
//! Every published model has two residual blocks a level, so that a level takes three places in `input_blocks` (two
//! and the change of resolution) and three in `output_blocks`.

/// Places of one level.
const PLACES: usize = 3;

/// Modules of a U-Net that stand alone.
const ALONE: &[(&str, &str)] = &[
    ("input_blocks.0.0", "conv_in"),
    ("time_embed.0", "time_embedding.linear_1"),
    ("time_embed.2", "time_embedding.linear_2"),
    ("label_emb.0.0", "add_embedding.linear_1"),
    ("label_emb.0.2", "add_embedding.linear_2"),
    ("out.0", "conv_norm_out"),
    ("out.2", "conv_out"),
];

/// Parts of a residual block.
const RESNET: &[(&str, &str)] = &[
    ("in_layers.0", "norm1"),
    ("in_layers.2", "conv1"),
    ("emb_layers.1", "time_emb_proj"),
    ("out_layers.0", "norm2"),
    ("out_layers.3", "conv2"),
    ("skip_connection", "conv_shortcut"),
];

/// Parts of an OpenCLIP block, but for the fused projection of its attention.
const OPEN_CLIP: &[(&str, &str)] = &[
    ("attn.out_proj", "self_attn.out_proj"),
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

fn forth(pairs: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    pairs.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours)
}

fn back(pairs: &[(&'static str, &'static str)], name: &str) -> Option<&'static str> {
    pairs.iter().find(|(_, ours)| *ours == name).map(|(theirs, _)| *theirs)
}

/// The first component as a number, and the rest.
fn number(text: &str) -> Option<(usize, &str)> {
    let (digits, rest) = text.split_once('.')?;
    let plain = (1..=4).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    Some((digits.parse().ok().filter(|_| plain)?, rest))
}

/// The path of the U-Net's module that the original code calls `name` (`input_blocks.4.1.proj_in`).
pub fn unet_path(name: &str) -> Option<String> {
    if let Some(path) = forth(ALONE, name) {
        return Some(path.to_owned());
    }
    let (side, rest) = name.split_once('.')?;
    let (place, rest) = number(rest)?;
    if side == "middle_block" {
        return match place {
            0 | 2 => Some(format!("mid_block.resnets.{}.{}", place / 2, forth(RESNET, rest)?)),
            1 => Some(format!("mid_block.attentions.0.{rest}")),
            _ => None,
        };
    }
    let (part, rest) = number(rest)?;
    let (side, place) = match side {
        "input_blocks" => ("down", place.checked_sub(1)?),
        "output_blocks" => ("up", place),
        _ => return None,
    };
    let (level, layer) = (place / PLACES, place % PLACES);
    match (side, part, rest) {
        ("down", 0, "op") if layer == PLACES - 1 => Some(format!("down_blocks.{level}.downsamplers.0.conv")),
        ("up", 1 | 2, "conv") if layer == PLACES - 1 => Some(format!("up_blocks.{level}.upsamplers.0.conv")),
        (_, 0, _) => Some(format!(
            "{side}_blocks.{level}.resnets.{layer}.{}",
            forth(RESNET, rest)?
        )),
        (_, 1, _) => Some(format!("{side}_blocks.{level}.attentions.{layer}.{rest}")),
        _ => None,
    }
}

/// What SGM calls the module of SDXL's U-Net at `path`: the way back from [`unet_path`]. Every level of SDXL that is
/// followed by an upsampling attends to the text.
pub fn unet_original(path: &str) -> Option<String> {
    if let Some(name) = back(ALONE, path) {
        return Some(name.to_owned());
    }
    let (side, rest) = path.split_once('.')?;
    if side == "mid_block" {
        let (group, rest) = rest.split_once('.')?;
        let (i, rest) = number(rest)?;
        return match (group, i) {
            ("resnets", 0 | 1) => Some(format!("middle_block.{}.{}", 2 * i, back(RESNET, rest)?)),
            ("attentions", 0) => Some(format!("middle_block.1.{rest}")),
            _ => None,
        };
    }
    let (level, rest) = number(rest)?;
    let (group, rest) = rest.split_once('.')?;
    let (layer, rest) = number(rest)?;
    let first = level * PLACES;
    let (blocks, first) = match side {
        "down_blocks" => ("input_blocks", first + 1),
        "up_blocks" => ("output_blocks", first),
        _ => return None,
    };
    match (group, layer, rest) {
        ("downsamplers", 0, "conv") => Some(format!("{blocks}.{}.0.op", first + PLACES - 1)),
        ("upsamplers", 0, "conv") => Some(format!("{blocks}.{}.2.conv", first + PLACES - 1)),
        ("resnets", _, _) => Some(format!("{blocks}.{}.0.{}", first + layer, back(RESNET, rest)?)),
        ("attentions", _, _) => Some(format!("{blocks}.{}.1.{rest}", first + layer)),
        _ => None,
    }
}

/// The path of the VAE's module that the original code calls `name` (`decoder.up.3.block.0.conv1`), in a VAE of
/// `levels` levels: the original counts the decoder's from the last.
pub fn vae_path(name: &str, levels: usize) -> Option<String> {
    if name == "quant_conv" || name == "post_quant_conv" {
        return Some(name.to_owned());
    }
    let (half, rest) = name.split_once('.')?;
    if !matches!(half, "encoder" | "decoder") {
        return None;
    }
    let resnet = |part: &str| match part {
        "nin_shortcut" => Some("conv_shortcut".to_owned()),
        "norm1" | "norm2" | "conv1" | "conv2" => Some(part.to_owned()),
        _ => None,
    };
    let path = match rest {
        "conv_in" | "conv_out" => rest.to_owned(),
        "norm_out" => "conv_norm_out".to_owned(),
        _ => match rest.split_once('.')? {
            ("mid", rest) => match rest.split_once('.')? {
                ("block_1", part) => format!("mid_block.resnets.0.{}", resnet(part)?),
                ("block_2", part) => format!("mid_block.resnets.1.{}", resnet(part)?),
                ("attn_1", part) => {
                    let pairs = [
                        ("norm", "group_norm"),
                        ("q", "to_q"),
                        ("k", "to_k"),
                        ("v", "to_v"),
                        ("proj_out", "to_out.0"),
                    ];
                    format!("mid_block.attentions.0.{}", forth(&pairs, part)?)
                }
                _ => return None,
            },
            (side @ ("down" | "up"), rest) => {
                let (level, rest) = number(rest)?;
                let level = match side {
                    "up" => levels.checked_sub(level + 1)?,
                    _ => level,
                };
                match rest {
                    "downsample.conv" => format!("down_blocks.{level}.downsamplers.0.conv"),
                    "upsample.conv" => format!("up_blocks.{level}.upsamplers.0.conv"),
                    _ => {
                        let (i, part) = number(rest.strip_prefix("block.")?)?;
                        format!("{side}_blocks.{level}.resnets.{i}.{}", resnet(part)?)
                    }
                }
            }
            _ => return None,
        },
    };
    Some(format!("{half}.{path}"))
}

/// What a key of a checkpoint holds, in diffusers' and transformers' names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    /// One tensor.
    Tensor(String),
    /// Three tensors, one below the other.
    Fused([String; 3]),
    /// The transpose of the tensor.
    Transposed(String),
    /// Known, and needed for nothing here.
    Unneeded,
}

/// Explains `key` of a text encoder that transformers saved, with or without the `text_model.` prefix.
pub fn clip(key: &str) -> Key {
    let bare = key.strip_prefix("text_model.").unwrap_or(key);
    if bare.ends_with("position_ids") {
        Key::Unneeded
    } else if bare.starts_with("text_projection") {
        Key::Tensor(bare.to_owned())
    } else {
        Key::Tensor(format!("text_model.{bare}"))
    }
}

/// Explains `key` of an OpenCLIP text encoder; none if it is not part of one.
pub fn open_clip(key: &str) -> Option<Key> {
    let tensor = |path: String| Some(Key::Tensor(format!("text_model.{path}")));
    match key {
        "token_embedding.weight" => tensor("embeddings.token_embedding.weight".to_owned()),
        "positional_embedding" => tensor("embeddings.position_embedding.weight".to_owned()),
        "ln_final.weight" | "ln_final.bias" => tensor(key.replace("ln_final", "final_layer_norm")),
        "text_projection" => Some(Key::Transposed("text_projection.weight".to_owned())),
        "logit_scale" | "attn_mask" => Some(Key::Unneeded),
        _ => {
            let (layer, rest) = number(key.strip_prefix("transformer.resblocks.")?)?;
            let layer = format!("encoder.layers.{layer}");
            match rest {
                "attn.in_proj_weight" | "attn.in_proj_bias" => {
                    let end = rest.strip_prefix("attn.in_proj_")?;
                    let of = |x: &str| format!("text_model.{layer}.self_attn.{x}_proj.{end}");
                    Some(Key::Fused([of("q"), of("k"), of("v")]))
                }
                _ => {
                    let (part, end) = rest.rsplit_once('.')?;
                    tensor(format!("{layer}.{}.{end}", forth(OPEN_CLIP, part)?))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unet_goes_both_ways() {
        for (name, path) in [
            ("input_blocks.0.0", "conv_in"),
            ("input_blocks.1.0.in_layers.2", "down_blocks.0.resnets.0.conv1"),
            ("input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv"),
            (
                "input_blocks.4.1.transformer_blocks.1.attn1.to_q",
                "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
            ),
            (
                "input_blocks.8.0.skip_connection",
                "down_blocks.2.resnets.1.conv_shortcut",
            ),
            ("middle_block.0.emb_layers.1", "mid_block.resnets.0.time_emb_proj"),
            ("middle_block.1.proj_out", "mid_block.attentions.0.proj_out"),
            ("middle_block.2.out_layers.3", "mid_block.resnets.1.conv2"),
            ("output_blocks.2.2.conv", "up_blocks.0.upsamplers.0.conv"),
            ("output_blocks.8.0.out_layers.0", "up_blocks.2.resnets.2.norm2"),
            ("label_emb.0.2", "add_embedding.linear_2"),
            ("out.0", "conv_norm_out"),
        ] {
            assert_eq!(unet_path(name).as_deref(), Some(path));
            assert_eq!(unet_original(path).as_deref(), Some(name));
        }
        // Where a level does not attend, the upsampling follows the residual block at once.
        assert_eq!(unet_path("output_blocks.2.1.conv"), unet_path("output_blocks.2.2.conv"));
        for name in [
            "",
            "input_blocks.0.1",
            "input_blocks.x.0.op",
            "input_blocks.1.0.op",
            "output_blocks.1.1",
            "middle_block.3.in_layers.0",
            "joint_blocks.0.x",
        ] {
            assert_eq!(unet_path(name), None, "{name}");
        }
    }

    #[test]
    fn the_decoder_of_the_vae_counts_backwards() {
        let path = |name: &str| vae_path(name, 4).unwrap_or_default();
        assert_eq!(
            path("encoder.down.0.block.1.conv1"),
            "encoder.down_blocks.0.resnets.1.conv1"
        );
        assert_eq!(
            path("decoder.up.3.block.2.nin_shortcut"),
            "decoder.up_blocks.0.resnets.2.conv_shortcut"
        );
        assert_eq!(
            path("decoder.up.1.upsample.conv"),
            "decoder.up_blocks.2.upsamplers.0.conv"
        );
        assert_eq!(
            path("decoder.mid.attn_1.proj_out"),
            "decoder.mid_block.attentions.0.to_out.0"
        );
        assert_eq!(path("encoder.norm_out"), "encoder.conv_norm_out");
        assert_eq!(vae_path("decoder.up.4.block.0.conv1", 4), None);
        assert_eq!(vae_path("loss.logvar", 4), None);
    }

    #[test]
    fn open_clip_has_one_projection_for_three() {
        let fused = open_clip("transformer.resblocks.2.attn.in_proj_bias");
        let stem = "text_model.encoder.layers.2.self_attn";
        let three = ["q", "k", "v"].map(|x| format!("{stem}.{x}_proj.bias"));
        assert_eq!(fused, Some(Key::Fused(three)));
        assert_eq!(
            open_clip("transformer.resblocks.0.mlp.c_fc.weight"),
            Some(Key::Tensor("text_model.encoder.layers.0.mlp.fc1.weight".to_owned()))
        );
        assert_eq!(open_clip("visual.conv1.weight"), None);
        assert_eq!(clip("embeddings.position_ids"), Key::Unneeded);
    }
}
