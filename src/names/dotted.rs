//! Names of modules with dots, as diffusers, PEFT and ComfyUI write them in adapters.

use super::original::unet_path;

/// Folder of a text encoder in a path, and the prefixes that say so: diffusers', and ComfyUI's by the kind of encoder.
const TEXT: &[(&str, &str)] = &[
    ("text_encoder.", "text_encoder."),
    ("text_encoder_2.", "text_encoder_2."),
    ("text_encoder.", "text_encoders.clip_l.transformer."),
    ("text_encoder.", "text_encoders.clip_h.transformer."),
    ("text_encoder_2.", "text_encoders.clip_g.transformer."),
];

/// First words of a U-Net's paths, by which a name without any prefix is known.
const UNET: &[&str] = &["down_blocks.", "mid_block.", "up_blocks."];

/// Path of the module that an adapter names with dots; none if the name is of no known layout.
///
/// diffusers says `unet.…`, `text_encoder.…`; PEFT's own files say `base_model.model.…` of the one model they wrap;
/// ComfyUI says `diffusion_model.…` with the original U-Net's names. In diffusers before 0.17 the attention's processor
/// owns the matrices: `….attn1.processor.to_q`.
pub fn path_of_dotted(name: &str) -> Option<String> {
    if let Some(original) = name.strip_prefix("diffusion_model.") {
        return unet_path(original);
    }
    for (folder, prefix) in TEXT {
        if let Some(path) = name.strip_prefix(prefix) {
            return filled(path).map(|path| format!("{folder}{}", without_processor(path, true)));
        }
    }
    if let Some(path) = name.strip_prefix("base_model.model.") {
        return filled(path).map(|path| match path.starts_with("text_model.") {
            true => format!("text_encoder.{path}"),
            false => path.to_owned(),
        });
    }
    let path = match name.strip_prefix("unet.") {
        // A U-Net that PEFT had wrapped when diffusers saved it.
        Some(path) => path.strip_prefix("base_model.model.").unwrap_or(path),
        None => UNET.iter().any(|first| name.starts_with(first)).then_some(name)?,
    };
    filled(path).map(|path| without_processor(path, false))
}

fn filled(path: &str) -> Option<&str> {
    (!path.is_empty()).then_some(path)
}

/// The path of the layer that a processor's matrix belongs to.
fn without_processor(path: &str, text: bool) -> String {
    let Some((owner, name)) = path.rsplit_once('.') else {
        return path.to_owned();
    };
    let layer = match (name, text) {
        ("to_out", false) => "to_out.0",
        ("to_q", true) => "q_proj",
        ("to_k", true) => "k_proj",
        ("to_v", true) => "v_proj",
        ("to_out", true) => "out_proj",
        (name, _) => name,
    };
    format!("{}.{layer}", owner.strip_suffix(".processor").unwrap_or(owner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_leads_to_the_same_paths() {
        let q = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
        let out = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0";
        let text = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj";
        for (name, path) in [
            (format!("unet.{q}"), q),
            (q.to_owned(), q),
            (format!("base_model.model.{q}"), q),
            (format!("unet.base_model.model.{q}"), q),
            (
                "diffusion_model.input_blocks.4.1.transformer_blocks.0.attn1.to_q".to_owned(),
                q,
            ),
            (
                "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.processor.to_q".to_owned(),
                q,
            ),
            (
                "mid_block.attentions.0.transformer_blocks.0.attn2.processor.to_out".to_owned(),
                out,
            ),
            (format!("unet.{out}"), out),
            (text.to_owned(), text),
            (
                "text_encoder.text_model.encoder.layers.0.self_attn.to_q".to_owned(),
                text,
            ),
            (
                "base_model.model.text_model.encoder.layers.0.self_attn.q_proj".to_owned(),
                text,
            ),
            (
                "text_encoders.clip_l.transformer.text_model.encoder.layers.0.self_attn.q_proj".to_owned(),
                text,
            ),
            (
                "text_encoders.clip_g.transformer.text_model.encoder.layers.3.mlp.fc1".to_owned(),
                "text_encoder_2.text_model.encoder.layers.3.mlp.fc1",
            ),
        ] {
            assert_eq!(path_of_dotted(&name).as_deref(), Some(path), "{name}");
        }
        for name in [
            "unet.",
            "transformer.x.to_q",
            "lora_unet_mid_block",
            "diffusion_model.double_blocks.0.x",
            "",
        ] {
            assert_eq!(path_of_dotted(name), None, "{name}");
        }
    }
}
