use std::collections::BTreeMap;

use super::*;

/// A container of tensors of ones.
fn ones(tensors: &[(&str, &[usize])]) -> Container {
    let entry = |(key, shape): &(&str, &[usize])| {
        let values = vec![1.0; shape.iter().product()];
        let bytes = Dtype::F32.narrow(&values).unwrap();
        ((*key).to_owned(), (Dtype::F32, shape.to_vec(), bytes))
    };
    Container::new(BTreeMap::new(), tensors.iter().map(entry).collect())
}

/// Every program's names for a module lead to the same adapter.
#[test]
fn all_layouts_of_a_module_are_one() {
    let path = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q";
    let original = "input_blocks.4.1.transformer_blocks.0.attn1.to_q";
    for (name, [down, up], format) in [
        (
            format!("lora_unet_{}", path.replace('.', "_")),
            [".lora_down.weight", ".lora_up.weight"],
            Format::Kohya,
        ),
        (
            format!("lora_unet_{}", original.replace('.', "_")),
            [".lora_down.weight", ".lora_up.weight"],
            Format::Kohya,
        ),
        (
            format!("lycoris_{}", path.replace('.', "_")),
            [".lora_down.weight", ".lora_up.weight"],
            Format::Kohya,
        ),
        (
            format!("diffusion_model.{original}"),
            [".lora_down.weight", ".lora_up.weight"],
            Format::Kohya,
        ),
        (
            format!("unet.{path}"),
            [".lora_A.weight", ".lora_B.weight"],
            Format::Peft,
        ),
        (
            format!("unet.{path}"),
            [".lora.down.weight", ".lora.up.weight"],
            Format::Peft,
        ),
        (
            format!("base_model.model.{path}"),
            [".lora_A.default.weight", ".lora_B.default.weight"],
            Format::Peft,
        ),
        (
            path.replace(".to_q", ".processor.to_q"),
            ["_lora.down.weight", "_lora.up.weight"],
            Format::Peft,
        ),
    ] {
        let file = ones(&[(&format!("{name}{down}"), &[2, 6]), (&format!("{name}{up}"), &[5, 2])]);
        let listing = decode(&file, "test").unwrap().known("test").unwrap();
        let expected = Module::lora(
            path,
            Weight::new([2, 6], vec![1.0; 12]),
            Weight::new([5, 2], vec![1.0; 10]),
            2.0,
        );
        assert_eq!(
            (listing.adapter.modules, listing.format),
            (vec![expected], format),
            "{name}{down}"
        );
    }
}

#[test]
fn parts_that_make_no_update_are_refused_by_name() {
    let q = "lora_unet_mid_block_attentions_0_proj_in";
    let key = |part: &str| format!("{q}.{part}");
    for (parts, expected) in [
        (
            &[("hada_w1_a", &[4, 2][..]), ("hada_w1_b", &[2, 4])][..],
            "four matrices",
        ),
        (&[("lokr_w1", &[2, 2])], "both factors"),
        (&[("lora_down.weight", &[2, 4]), ("diff", &[4, 4])], "both matrices"),
        (
            &[
                ("lora_down.weight", &[2, 4]),
                ("lora_up.weight", &[4, 2]),
                ("lokr_w1", &[2, 2]),
            ],
            "the parts of one lora update",
        ),
        (
            &[
                ("lora_down.weight", &[2, 4]),
                ("lora_up.weight", &[4, 2]),
                ("diff", &[4, 4]),
            ],
            "the parts of one lora update",
        ),
        (
            &[("lora_down.weight", &[2, 4]), ("lora_up.weight", &[4, 3])],
            "expected down [r, in]",
        ),
        (
            &[("lokr_w1", &[2, 2]), ("lokr_w2_a", &[2, 3]), ("lokr_w2_b", &[4, 2])],
            "w1 [a, b]",
        ),
        (&[("weight", &[4]), ("alpha", &[])], "that none explains"),
        (&[("oft_blocks", &[4, 2, 2])], "that none explains"),
        (&[("alpha", &[])], "both matrices"),
    ] {
        let named: Vec<_> = parts.iter().map(|(part, shape)| (key(part), *shape)).collect();
        let tensors: Vec<_> = named.iter().map(|(key, shape)| (key.as_str(), *shape)).collect();
        let error = decode(&ones(&tensors), "test").and_then(|listing| listing.known("test"));
        let text = error.unwrap_err().to_string();
        assert!(text.contains(expected), "{parts:?}: {text}");
    }
}

#[test]
fn the_configuration_of_peft_says_what_the_tensors_do_not() {
    let path = "mid_block.attentions.0.proj_in";
    let file = ones(&[
        (&format!("base_model.model.{path}.lora_A.weight"), &[4, 6]),
        (&format!("base_model.model.{path}.lora_B.weight"), &[5, 4]),
    ]);
    let scale = |config: &str| {
        let listing = decode_beside(&file, "test", Some(config)).map_err(|e| e.to_string())?;
        Ok::<_, String>(listing.adapter.modules[0].scale())
    };
    for (config, expected) in [
        ("{}", 1.0),
        (r#"{"r": 4, "lora_alpha": 8}"#, 2.0),
        (r#"{"r": 4, "lora_alpha": 8, "use_rslora": true}"#, 4.0),
        (r#"{"lora_alpha": 8, "alpha_pattern": {"proj_in": 2}}"#, 0.5),
        (r#"{"lora_alpha": 8, "alpha_pattern": {"^proj_in": 2}}"#, 2.0),
        (r#"{"lora_alpha": 8, "alpha_pattern": {"roj_in": 2}}"#, 2.0),
        (r#"{"lora_alpha": 0}"#, 1.0),
        (r#"{"lora_alpha": 8, "init_lora_weights": true}"#, 2.0),
    ] {
        assert_eq!(scale(config), Ok(expected), "{config}");
    }
    for (config, expected) in [
        (r#"{"lora_alpha": "much"}"#, "expected a number"),
        (r#"{"alpha_pattern": {"proj_.*": 2}}"#, "expression"),
        (r#"{"use_dora": true}"#, "lora_magnitude_vector"),
        (r#"{"fan_in_fan_out": true}"#, "fan_in_fan_out"),
        (r#"{"init_lora_weights": "pissa_niter_4"}"#, "changes the base"),
        ("[]", "adapter_config.json"),
    ] {
        let text = scale(config).unwrap_err();
        assert!(text.contains(expected), "{config}: {text}");
    }
}
