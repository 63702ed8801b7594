//! Module names: diffusers' paths with dots, kohya's names with underscores.
//!
//! Underscores are ambiguous (`down_blocks_0_…` has both kinds), so the way back needs the words that occur in paths.

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
    "conv_out",
    "conv_shortcut",
    "down_blocks",
    "downsamplers",
    "encoder",
    "fc1",
    "fc2",
    "ff",
    "k_proj",
    "layers",
    "linear_1",
    "linear_2",
    "mid_block",
    "mlp",
    "net",
    "out_proj",
    "proj",
    "proj_in",
    "proj_out",
    "q_proj",
    "resnets",
    "self_attn",
    "text_model",
    "time_emb_proj",
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

/// kohya's name of the module at `path`, e.g. `lora_unet_down_blocks_0_attentions_0_proj_in`. `two_encoders` tells
/// whether the model has a second text encoder.
pub fn kohya_name(path: &str, two_encoders: bool) -> String {
    let (prefix, rest) = match (path.strip_prefix("text_encoder."), path.strip_prefix("text_encoder_2.")) {
        (Some(rest), _) => (if two_encoders { "lora_te1_" } else { "lora_te_" }, rest),
        (_, Some(rest)) => ("lora_te2_", rest),
        _ => ("lora_unet_", path),
    };
    format!("{prefix}{}", rest.replace('.', "_"))
}

/// Path of the module that kohya calls `name`; none if a word of it is not one of a diffusers module.
pub fn path_of_kohya(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("lora_unet_") {
        return dotted(rest);
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
        ] {
            assert_eq!(kohya_name(path, false), name);
            assert_eq!(path_of_kohya(name).as_deref(), Some(path));
        }
        let second = "text_encoder_2.text_model.encoder.layers.3.mlp.fc1";
        assert_eq!(kohya_name(second, true), "lora_te2_text_model_encoder_layers_3_mlp_fc1");
        assert_eq!(path_of_kohya(&kohya_name(second, true)).as_deref(), Some(second));
    }

    #[test]
    fn what_is_no_module_has_no_path() {
        for name in [
            "lora_unet_",
            "lora_unet_down_blocks_0_",
            "lora_unet_downblocks_0",
            "down_blocks_0",
            "lora_te_x",
        ] {
            assert_eq!(path_of_kohya(name), None, "{name}");
        }
    }
}
