use proptest::prelude::*;

use super::*;

fn module(path: &str, rank: usize, alpha: f32, kernel: Option<usize>) -> Module {
    let (input, output) = (6, 5);
    let tail = |k: usize| if kernel.is_some() { vec![k, k] } else { vec![] };
    let down_shape = [vec![rank, input], tail(kernel.unwrap_or(1))].concat();
    let up_shape = [vec![output, rank], tail(1)].concat();
    let values = |n: usize, from: f32| (0..n).map(|i| from + i as f32 / 8.0).collect::<Vec<_>>();
    let down = values(down_shape.iter().product(), -1.0);
    let up = values(up_shape.iter().product(), 0.5);
    Module::lora(path, Weight::new(down_shape, down), Weight::new(up_shape, up), alpha)
}

/// The values of a LoRA's first matrix.
fn down(module: &mut Module) -> &mut Vec<f32> {
    match &mut module.form {
        Form::Lora { down, .. } => &mut down.values,
        other => panic!("{other:?}"),
    }
}

fn adapter() -> AdapterFile {
    let te = "text_encoder.text_model.encoder.layers.0.mlp.fc1";
    AdapterFile {
        modules: vec![
            module("down_blocks.0.attentions.0.proj_in", 4, 2.0, Some(1)),
            module(
                "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
                4,
                2.0,
                None,
            ),
            module("down_blocks.0.resnets.0.conv1", 2, 1.0, Some(3)),
            module(te, 4, 4.0, None),
        ],
        header: [("ss_network_dim", "4"), ("zeta", "2"), ("alpha", "1")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
    }
}

#[test]
fn both_layouts_come_back_as_they_went() {
    let original = adapter();
    for format in [Format::Kohya, Format::Peft] {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let container = encode(&original, format, dtype).unwrap();
            let again = Container::from_bytes(container.to_bytes(), "test").unwrap();
            assert_eq!(again, container);
            let listing = decode(&again, "test").unwrap();
            assert_eq!((listing.format, listing.dtype), (format, Some(dtype)));
            assert!(listing.unknown.is_empty());
            // The values of `module` are exact in all three types.
            assert_eq!(listing.adapter.modules, original.modules, "{format} {dtype}");
            assert_eq!(listing.adapter.header["zeta"], "2");
        }
    }
}

#[test]
fn the_same_adapter_gives_the_same_bytes_with_sorted_keys() {
    let bytes = encode(&adapter(), Format::Kohya, Dtype::F16).unwrap().to_bytes();
    assert_eq!(bytes, encode(&adapter(), Format::Kohya, Dtype::F16).unwrap().to_bytes());
    let header = String::from_utf8_lossy(&bytes[8..]).into_owned();
    let at = |needle: &str| header.find(needle).unwrap();
    assert!(at("\"alpha\":\"1\"") < at("\"format\"") && at("\"ss_network_dim\"") < at("\"zeta\""));
    assert!(header.starts_with("{\"__metadata__\":{"));
}

#[test]
fn the_hashes_in_the_header_are_those_of_the_tensor_region() {
    let container = encode(&adapter(), Format::Kohya, Dtype::F32).unwrap();
    let bytes = container.to_bytes();
    let header = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let digest = crate::digest::Sha256Digest::of_bytes(&bytes[8 + header..]);
    assert_eq!(container.metadata["sshs_model_hash"], digest.to_string());
    assert_eq!(container.metadata["modelspec.hash_sha256"], format!("0x{digest}"));
    assert!(!container.entries().is_empty() && container.tensor_digest() == digest);
    let alpha = container.entries().iter().find(|e| e.name.ends_with(".alpha")).unwrap();
    assert_eq!(alpha.shape, [0usize; 0]);
}

#[test]
fn a_missing_or_zero_alpha_is_scale_one() {
    let mut zero = adapter();
    zero.modules.truncate(1);
    let mut container = encode(&zero, Format::Kohya, Dtype::F32).unwrap();
    let rebuild = |keep_alpha: bool, c: &Container| {
        let tensors = c
            .entries()
            .iter()
            .filter(|e| keep_alpha || !e.name.ends_with(".alpha"))
            .map(|e| {
                let bytes = if e.name.ends_with(".alpha") {
                    vec![0; 4]
                } else {
                    c.bytes_of(e).to_vec()
                };
                (e.name.clone(), (Dtype::F32, e.shape.clone(), bytes))
            });
        Container::new(c.metadata.clone(), tensors.collect())
    };
    for keep in [true, false] {
        let listing = decode(&rebuild(keep, &container), "test").unwrap();
        assert_eq!(listing.adapter.modules[0].scale(), 1.0);
    }
    // PEFT without its header entry: the alpha is the rank as well.
    container = encode(&zero, Format::Peft, Dtype::F32).unwrap();
    assert_eq!(decode(&container, "test").unwrap().adapter.modules[0].scale(), 0.5);
    container.metadata.remove("lora_adapter_metadata");
    assert_eq!(decode(&container, "test").unwrap().adapter.modules[0].scale(), 1.0);
}

#[test]
fn sdxl_is_written_with_the_original_names() {
    let xl = AdapterFile {
        modules: vec![
            module(
                "down_blocks.1.attentions.0.transformer_blocks.1.attn1.to_q",
                4,
                2.0,
                None,
            ),
            module("up_blocks.0.upsamplers.0.conv", 2, 1.0, Some(3)),
        ],
        header: BTreeMap::new(),
    };
    assert!(xl.is_xl() && !adapter().is_xl());
    let container = encode(&xl, Format::Kohya, Dtype::F32).unwrap();
    let keys: Vec<&str> = container.entries().iter().map(|e| e.name.as_str()).collect();
    assert!(
        keys.contains(&"lora_unet_input_blocks_4_1_transformer_blocks_1_attn1_to_q.alpha"),
        "{keys:?}"
    );
    assert!(
        keys.contains(&"lora_unet_output_blocks_2_2_conv.lora_up.weight"),
        "{keys:?}"
    );
    assert_eq!(decode(&container, "test").unwrap().adapter.modules, xl.modules);
}

#[test]
fn what_is_no_adapter_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let container = encode(&adapter(), Format::Kohya, Dtype::F32).unwrap();
    let mut tensors: BTreeMap<_, _> = container
        .entries()
        .iter()
        .map(|e| {
            (
                e.name.clone(),
                (Dtype::F32, e.shape.clone(), container.bytes_of(e).to_vec()),
            )
        })
        .collect();
    tensors.insert(
        "lora_unet_mid_block_attentions_0_proj_in.oft_blocks".into(),
        (Dtype::F32, vec![1], vec![0; 4]),
    );
    Container::new(BTreeMap::new(), tensors.clone()).write(&path).unwrap();
    let error = read(&path).unwrap_err();
    assert!(matches!(&error, AdapterError::UnknownKeys { shown, count: 1, .. } if shown.ends_with("oft_blocks`")));

    let strange = tensors
        .iter()
        .map(|(k, v)| (k.replace("lora_", "x_"), v.clone()))
        .collect();
    Container::new(BTreeMap::new(), strange).write(&path).unwrap();
    let text = read(&path).unwrap_err().to_string();
    assert!(
        text.contains("found 13 that none explains: `x_te_") && text.contains(", …; hint"),
        "{text}"
    );

    tensors.retain(|k, _| !k.ends_with("oft_blocks") && !k.ends_with("proj_in.lora_up.weight"));
    Container::new(BTreeMap::new(), tensors).write(&path).unwrap();
    assert!(matches!(read(&path).unwrap_err(), AdapterError::Module { module, .. } if module.ends_with("proj_in")));

    let mut broken = adapter();
    down(&mut broken.modules[1])[3] = f32::NAN;
    assert!(matches!(
        write_kohya(&path, &broken, Dtype::F32),
        Err(AdapterError::NotFinite {
            tensor: "lora_down.weight",
            ..
        })
    ));
    down(&mut broken.modules[1])[3] = 1e6;
    assert!(matches!(
        write_peft(&path, &broken, Dtype::F16),
        Err(AdapterError::NotFinite { dtype: Dtype::F16, .. })
    ));
    down(&mut broken.modules[1]).pop();
    assert!(matches!(
        write_peft(&path, &broken, Dtype::F32),
        Err(AdapterError::Module { .. })
    ));
}

#[test]
fn malformed_files_are_refused_without_a_panic() {
    let good = encode(&adapter(), Format::Kohya, Dtype::F32).unwrap().to_bytes();
    let huge = [&(u64::MAX).to_le_bytes()[..], &good[8..]].concat();
    let long = [&(HEADER_LIMIT + 1).to_le_bytes()[..], &good[8..]].concat();
    for (what, bytes) in [
        ("empty", vec![]),
        ("short", good[..7].to_vec()),
        ("cut", good[..good.len() - 1].to_vec()),
        ("longer", [&good[..], &[0]].concat()),
        ("huge header", huge),
        ("header beyond the limit", long),
        ("no json", [&8u64.to_le_bytes()[..], b"notjson!"].concat()),
    ] {
        assert!(Container::from_bytes(bytes, what).is_err(), "{what}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_an_error_or_an_adapter(at in 0usize..400, byte: u8) {
        let mut bytes = encode(&adapter(), Format::Kohya, Dtype::F16).unwrap().to_bytes();
        bytes[at] = byte;
        if let Ok(container) = Container::from_bytes(bytes, "test") {
            let _ = decode(&container, "test");
        }
    }
}

/// The header that other tools read is complete and gives nothing away.
#[test]
fn the_header_has_what_other_tools_read() {
    let facts = TrainingFacts {
        title: "ink".into(),
        description: "drawings".into(),
        version: "0.1.0".into(),
        base_version: "sd_v1".into(),
        architecture: "stable-diffusion-v1".into(),
        prediction: "epsilon".into(),
        base: crate::digest::Sha256Digest::of_bytes(b"base"),
        run: crate::digest::Sha256Digest::of_bytes(b"run"),
        rank: 4,
        alpha: 2.0,
        network_module: "networks.lora".into(),
        network_args: BTreeMap::new(),
        dropout: 0.0,
        resolution: (64, 64),
        images: 10,
        buckets: vec![([64, 64], 10)],
        batch: 4,
        steps: 30,
        max_steps: 40,
        seed: 7,
        optimisation: Optimisation {
            optimizer: "AdamW".into(),
            learning_rate: 1e-3,
            schedule: "cosine".into(),
            warmup_steps: 3,
            accumulation: 1,
            checkpointing: false,
            max_grad_norm: Some(1.0),
            scale_weight_norms: None,
            caption_dropout: 0.1,
            min_snr_gamma: None,
            noise_offset: None,
        },
        trigger: None,
        license: Some("CC0-1.0".into()),
        times: None,
    };
    let header = facts.header();
    for key in ["sai_model_spec", "architecture", "implementation", "title"] {
        assert!(header.contains_key(&format!("modelspec.{key}")), "{key}");
    }
    assert_eq!(header["ss_num_batches_per_epoch"], "3");
    assert_eq!((&*header["ss_epoch"], &*header["ss_num_epochs"]), ("10", "14"));
    assert_eq!(header["ss_min_snr_gamma"], "None");
    assert!(!header.contains_key("ss_training_started_at"));
    let timed = TrainingFacts {
        times: Some((0, 60)),
        ..facts
    }
    .header();
    assert_eq!(timed["modelspec.date"], "1970-01-01T00:01:00Z");
}
