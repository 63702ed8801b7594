//! Bases as people have them: the layouts of one model load as the same model, draw the same picture, and what is no
//! base is refused with a sentence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/prompts.rs"]
mod prompts;
#[path = "support/python.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assent::adapter::{self, AdapterFile, Dtype, Weight};
use assent::model::base::Base;
use assent::model::layers::Module;
use assent::model::params::collect;
use assent::model::pipeline::Pipeline;
use assent::model::weights::{Saved, save};
use burn::tensor::Device;

fn load(path: &Path) -> Pipeline {
    Pipeline::load(&Base::open(path, None).unwrap(), &Device::flex()).unwrap()
}

/// Every parameter of every network: names, shapes and bits.
fn assert_same(one: &mut Pipeline, other: &mut Pipeline, what: &str) {
    fn same(a: &mut dyn Module, b: &mut dyn Module, what: &str) {
        let (a, b) = (collect(a), collect(b));
        assert!(!a.is_empty() && a.len() == b.len(), "{what}");
        for (a, b) in a.iter().zip(&b) {
            assert_eq!((&a.name, &a.shape), (&b.name, &b.shape), "{what}");
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert!(bits(&a.values) == bits(&b.values), "{what}: {} differs", a.name);
        }
    }
    same(&mut one.unet, &mut other.unet, what);
    same(&mut one.vae, &mut other.vae, what);
    same(&mut one.text, &mut other.text, what);
    assert_eq!(one.second.is_some(), other.second.is_some(), "{what}");
    if let (Some(a), Some(b)) = (&mut one.second, &mut other.second) {
        same(&mut a.text, &mut b.text, what);
    }
    assert_eq!(one.family, other.family, "{what}");
    assert_eq!(one.schedule_config, other.schedule_config, "{what}");
    assert_eq!(one.unet.config().sample_size, other.unet.config().sample_size, "{what}");
}

fn generate(base: &Path, output: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .args([
            "generate",
            "--prompt",
            "a (red:1.3) boat",
            "--steps",
            "2",
            "--width",
            "64",
            "--height",
            "64",
        ])
        .arg("--base")
        .arg(base)
        .arg("-o")
        .arg(output)
        .args(more)
        .current_dir(output.parent().unwrap())
        .env_remove("ASSENT_REGISTRY")
        .output()
        .unwrap()
}

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path).unwrap().to_rgb8().into_raw()
}

#[test]
fn every_layout_of_a_base_is_the_same_model() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bases = std::env::var_os("ASSENT_TEST_BASES").map_or_else(|| folder.path().join("bases"), PathBuf::from);
    if !bases.exists() {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/make_bases.py");
        let made = Command::new(python).arg(script).arg(&bases).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    for kind in ["sd15", "sd2", "sdxl"] {
        let root = bases.join(kind);
        let mut model = load(&root.join("model"));
        for layout in ["single.safetensors", "sharded", "variant", "old"] {
            assert_same(&mut model, &mut load(&root.join(layout)), &format!("{kind}/{layout}"));
        }
        prompts::check(&model, &root);
        prompts::check(&load(&root.join("single.safetensors")), &root);

        let (one, other) = (folder.path().join("folder.png"), folder.path().join("single.png"));
        for (base, picture) in [("model", &one), ("single.safetensors", &other)] {
            let out = generate(&root.join(base), picture, &[]);
            assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        }
        let drawn = pixels(&one);
        assert!(drawn == pixels(&other), "{kind}: the pictures differ");
        assert!(
            drawn.iter().any(|v| *v != drawn[0]),
            "{kind}: the picture is of one colour"
        );
        println!("{kind}: four layouts are one model");
    }
    let bf16 = bases.join("sd15");
    assert_same(
        &mut load(&bf16.join("bf16")),
        &mut load(&bf16.join("bf16.safetensors")),
        "bf16",
    );
}

fn tensor(name: &str) -> Saved {
    Saved {
        name: name.to_owned(),
        shape: vec![2],
        values: vec![1.0, 2.0],
    }
}

#[test]
fn what_is_no_base_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.safetensors");
    let unet = "model.diffusion_model.input_blocks.0.0.weight";
    for (keys, expected) in [
        (
            vec!["lora_unet_mid_block_attentions_0_proj_in.lora_up.weight"],
            "it is an adapter; hint: give it with --adapter",
        ),
        (
            vec!["model.diffusion_model.joint_blocks.0.x"],
            "it is Stable Diffusion 3",
        ),
        (vec!["double_blocks.0.x"], "it is Flux"),
        (vec!["down_blocks.0.resnets.0.conv1.weight"], "it is a U-Net alone"),
        (vec!["a", "b"], "found `a`, `b`"),
        (vec![], "found no tensors"),
        (vec![unet], "it has a U-Net and no text encoder"),
        (
            vec![unet, "conditioner.embedders.0.model.ln_final.bias"],
            "it is SDXL's refiner",
        ),
        (
            vec![unet, "cond_stage_model.transformer.x", "control_model.x", "a"],
            "it looks like Stable Diffusion 1.x, with 2 keys that are no part of it: a, control_model.x",
        ),
        (vec![unet, "cond_stage_model.transformer.x"], "--base-config"),
    ] {
        let tensors: Vec<Saved> = keys.iter().map(|key| tensor(key)).collect();
        save(&base, &tensors, false).unwrap();
        let out = generate(&base, &folder.path().join("x.png"), &[]);
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{keys:?}: {text}");
        assert!(text.contains(expected), "{keys:?}: {text}");
        assert!(!folder.path().join("x.png").exists());
    }
}

#[test]
fn an_adapter_for_another_kind_of_base_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.safetensors");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/sd15-tiny/model");
    let module = |path: &str, n: usize| {
        let (down, up) = (Weight::new([1, n], vec![0.1; n]), Weight::new([n, 1], vec![0.1; n]));
        adapter::Module::lora(path, down, up, 1.0)
    };
    let block = "down_blocks.1.attentions.0.transformer_blocks";
    for (modules, expected) in [
        (
            vec![module(&format!("{block}.1.attn1.to_q"), 12)],
            "it is for SDXL, the base is Stable Diffusion 1.x",
        ),
        (
            vec![module(&format!("{block}.0.attn1.to_q"), 640)],
            "made for another base",
        ),
        (
            vec![module("down_blocks.9.attentions.0.proj_in", 12)],
            "are not in this model",
        ),
    ] {
        let file = AdapterFile {
            modules,
            ..AdapterFile::default()
        };
        adapter::write_kohya(&path, &file, Dtype::F32).unwrap();
        let out = generate(
            &base,
            &folder.path().join("x.png"),
            &["--adapter", path.to_str().unwrap()],
        );
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
        assert!(!folder.path().join("x.png").exists());
    }
}
