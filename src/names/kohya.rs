//! kohya's names: paths with underscores for dots. For SDXL they are paths of the original U-Net, and there are two text
//! encoders.
//!
//! Underscores are ambiguous (`down_blocks_0_…` has both kinds), so the way back needs the words that occur in paths.

use super::original::{unet_original, unet_path};

/// Words of module paths that contain underscores themselves, or stand alone.
const WORDS: &[&str] = &[
    "add_embedding",
    "attentions",
    "attn1",
    "attn2",
    "conv",
    "conv1",
    "conv2",
    "conv_in",
    "conv_norm_out",
    "conv_out",
    "conv_shortcut",
    "down_blocks",
    "downsamplers",
    "emb_layers",
    "encoder",
    "fc1",
    "fc2",
    "ff",
    "final_layer_norm",
    "in_layers",
    "input_blocks",
    "k_proj",
    "label_emb",
    "layer_norm1",
    "layer_norm2",
    "layers",
    "linear_1",
    "linear_2",
    "mid_block",
    "middle_block",
    "mlp",
    "net",
    "norm",
    "norm1",
    "norm2",
    "norm3",
    "op",
    "out",
    "out_layers",
    "out_proj",
    "output_blocks",
    "proj",
    "proj_in",
    "proj_out",
    "q_proj",
    "resnets",
    "self_attn",
    "skip_connection",
    "text_model",
    "text_projection",
    "time_emb_proj",
    "time_embed",
    "time_embedding",
    "to_k",
    "to_out",
    "to_q",
    "to_v",
    "transformer_blocks",
    "up_blocks",
    "upsamplers",
    "v_proj",
];

/// Folder of a text encoder in a path, and kohya's prefix for it. Stable Diffusion 1 and 2 have one encoder, which
/// kohya calls `lora_te`; with two they are `lora_te1` and `lora_te2`.
const TEXT: &[(&str, &str)] = &[
    ("text_encoder.", "lora_te_"),
    ("text_encoder.", "lora_te1_"),
    ("text_encoder_2.", "lora_te2_"),
];

/// First words of the original U-Net's names.
const ORIGINAL: &[&str] = &[
    "input_blocks.",
    "middle_block.",
    "output_blocks.",
    "time_embed.",
    "label_emb.",
    "out.",
];

/// kohya's name of the module at `path`, e.g. `lora_unet_down_blocks_0_attentions_0_proj_in`; for SDXL (`xl`) by the
/// original U-Net's names, e.g. `lora_unet_input_blocks_4_1_proj_in`. None if SDXL's U-Net has no such module.
pub fn kohya_name(path: &str, xl: bool) -> Option<String> {
    let underscores = |prefix: &str, path: &str| Some(format!("{prefix}{}", path.replace('.', "_")));
    if let Some(rest) = path.strip_prefix("text_encoder.") {
        return underscores(if xl { "lora_te1_" } else { "lora_te_" }, rest);
    }
    if let Some(rest) = path.strip_prefix("text_encoder_2.") {
        return underscores("lora_te2_", rest);
    }
    match xl {
        true => underscores("lora_unet_", &unet_original(path)?),
        false => underscores("lora_unet_", path),
    }
}

/// Path of the module that kohya calls `name`; none if a word of it is not one of a known module.
pub fn path_of_kohya(name: &str) -> Option<String> {
    // A LyCORIS wrapper around the bare U-Net has a prefix of its own.
    let unet = ["lora_unet_", "lycoris_"];
    if let Some(rest) = unet.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        let path = dotted(rest)?;
        return match ORIGINAL.iter().any(|first| path.starts_with(first)) {
            true => unet_path(&path),
            false => Some(path),
        };
    }
    let (folder, prefix) = TEXT.iter().find(|(_, prefix)| name.starts_with(prefix))?;
    dotted(name.strip_prefix(prefix)?).map(|path| format!("{folder}{path}"))
}

/// Splits at those underscores that stand between words, the longest word first.
fn dotted(mut rest: &str) -> Option<String> {
    let mut path = Vec::new();
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = Some(digits).filter(|n| (1..=4).contains(n));
        let word = WORDS.iter().filter(|w| rest.starts_with(**w)).map(|w| w.len());
        let length = word
            .chain(number)
            .filter(|n| matches!(rest.as_bytes().get(*n), None | Some(b'_')))
            .max()?;
        path.push(rest.get(..length)?);
        match rest.get(length + 1..) {
            None => return Some(path.join(".")),
            Some(more) => rest = more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways() {
        for (path, name) in [
            (
                "down_blocks.0.attentions.0.proj_in",
                "lora_unet_down_blocks_0_attentions_0_proj_in",
            ),
            (
                "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
                "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
            ),
            (
                "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
                "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_ff_net_0_proj",
            ),
            (
                "down_blocks.1.resnets.0.conv_shortcut",
                "lora_unet_down_blocks_1_resnets_0_conv_shortcut",
            ),
            (
                "up_blocks.2.resnets.0.time_emb_proj",
                "lora_unet_up_blocks_2_resnets_0_time_emb_proj",
            ),
            (
                "down_blocks.0.downsamplers.0.conv",
                "lora_unet_down_blocks_0_downsamplers_0_conv",
            ),
            (
                "text_encoder.text_model.encoder.layers.11.self_attn.out_proj",
                "lora_te_text_model_encoder_layers_11_self_attn_out_proj",
            ),
            (
                "down_blocks.0.attentions.0.transformer_blocks.0.norm3",
                "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_norm3",
            ),
            ("mid_block.attentions.0.norm", "lora_unet_mid_block_attentions_0_norm"),
            ("conv_norm_out", "lora_unet_conv_norm_out"),
            (
                "text_encoder.text_model.encoder.layers.0.layer_norm2",
                "lora_te_text_model_encoder_layers_0_layer_norm2",
            ),
        ] {
            assert_eq!(kohya_name(path, false).as_deref(), Some(name));
            assert_eq!(path_of_kohya(name).as_deref(), Some(path));
        }
    }

    #[test]
    fn sdxl_has_the_original_names_and_two_encoders() {
        for (path, name) in [
            (
                "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
                "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            ),
            (
                "mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
                "lora_unet_middle_block_1_transformer_blocks_9_ff_net_0_proj",
            ),
            (
                "down_blocks.0.resnets.1.conv1",
                "lora_unet_input_blocks_2_0_in_layers_2",
            ),
            ("down_blocks.0.downsamplers.0.conv", "lora_unet_input_blocks_3_0_op"),
            ("up_blocks.1.upsamplers.0.conv", "lora_unet_output_blocks_5_2_conv"),
            (
                "up_blocks.2.resnets.2.conv_shortcut",
                "lora_unet_output_blocks_8_0_skip_connection",
            ),
            (
                "mid_block.resnets.1.time_emb_proj",
                "lora_unet_middle_block_2_emb_layers_1",
            ),
            ("conv_out", "lora_unet_out_2"),
            (
                "down_blocks.0.resnets.1.norm2",
                "lora_unet_input_blocks_2_0_out_layers_0",
            ),
            ("text_encoder_2.text_projection", "lora_te2_text_projection"),
            (
                "text_encoder.text_model.encoder.layers.11.self_attn.out_proj",
                "lora_te1_text_model_encoder_layers_11_self_attn_out_proj",
            ),
            (
                "text_encoder_2.text_model.encoder.layers.3.mlp.fc1",
                "lora_te2_text_model_encoder_layers_3_mlp_fc1",
            ),
        ] {
            assert_eq!(kohya_name(path, true).as_deref(), Some(name));
            assert_eq!(path_of_kohya(name).as_deref(), Some(path));
        }
        assert_eq!(kohya_name("somewhere.else", true), None);
    }

    #[test]
    fn what_is_no_module_has_no_path() {
        for name in [
            "lora_unet_",
            "lora_unet_down_blocks_0_",
            "lora_unet_downblocks_0",
            "down_blocks_0",
            "lora_te_x",
            "lora_unet_input_blocks_1",
            "lora_unet_middle_block_7_in_layers_2",
        ] {
            assert_eq!(path_of_kohya(name), None, "{name}");
        }
    }
}
