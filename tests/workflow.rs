//! ComfyUI's workflows through the program: the picture of a workflow is that of the same values on the command line,
//! and what cannot be followed is refused before anything is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{Rgba, RgbaImage};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/sd15-tiny");
    fixtures.join(name)
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .args(["-q", "generate"])
        .args(arguments)
        .current_dir(folder)
        .env_remove("ASSENT_REGISTRY")
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn drawn(folder: &Path, arguments: &[&str]) -> (Vec<u8>, String) {
    let output = run(folder, &[arguments, &["-o", "out.png"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let picture = image::open(folder.join("out.png")).unwrap().to_rgb8().into_raw();
    fs::remove_file(folder.join("out.png")).unwrap();
    (picture, said(&output))
}

/// A folder of models as ComfyUI lays them out, and a workflow of a tiny one.
fn studio(folder: &Path) -> Value {
    for kind in ["checkpoints", "loras/styles", "vae"] {
        fs::create_dir_all(folder.join("models").join(kind)).unwrap();
    }
    symlink(fixture("model"), folder.join("models/checkpoints/tiny")).unwrap();
    let lora = folder.join("models/loras/styles/boats.safetensors");
    fs::copy(fixture("lora_kohya.safetensors"), lora).unwrap();
    json!({
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "tiny"}},
        "2": {"class_type": "LoraLoader", "inputs": {"model": ["1", 0], "clip": ["1", 1],
            "lora_name": "styles\\boats.safetensors", "strength_model": 0.8, "strength_clip": 0.5}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["2", 1], "text": "a red boat"}},
        "4": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["2", 1], "text": "fog"}},
        "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 48, "batch_size": 1}},
        "6": {"class_type": "KSampler", "inputs": {"model": ["2", 0], "positive": ["3", 0], "negative": ["4", 0],
            "latent_image": ["5", 0], "seed": 7, "steps": 2, "cfg": 3, "sampler_name": "euler_ancestral",
            "scheduler": "karras", "denoise": 1}},
        "7": {"class_type": "VAEDecode", "inputs": {"samples": ["6", 0], "vae": ["1", 2]}},
        "8": {"class_type": "SaveImage", "inputs": {"images": ["7", 0], "filename_prefix": "ComfyUI"}}
    })
}

fn save(folder: &Path, workflow: &Value) {
    fs::write(folder.join("flow.json"), workflow.to_string()).unwrap();
}

const FLOW: [&str; 2] = ["--workflow", "flow.json"];
const SAME: [&str; 22] = [
    "--base",
    "models/checkpoints/tiny",
    "--adapter",
    "models/loras/styles/boats.safetensors:0.8:0.5",
    "--prompt",
    "a red boat",
    "--negative-prompt",
    "fog",
    "--width",
    "64",
    "--height",
    "48",
    "--seed",
    "7",
    "--steps",
    "2",
    "--cfg",
    "3",
    "--sampler",
    "euler_ancestral",
    "--scheduler=karras",
    "--rng=comfyui",
];

#[test]
fn a_workflow_draws_what_its_values_draw() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    save(at, &studio(at));
    let (picture, said) = drawn(at, &FLOW);
    assert_eq!(said, "");
    assert!(picture == drawn(at, &SAME).0);
    // What stands on the command line counts before the workflow.
    let (other, _) = drawn(
        at,
        &[&FLOW[..], &["--seed", "8", "--cfg", "1", "--prompt", "a tree"]].concat(),
    );
    let same: Vec<&str> = SAME
        .iter()
        .map(|word| match *word {
            "7" => "8",
            "3" => "1",
            "a red boat" => "a tree",
            word => word,
        })
        .collect();
    assert!(other != picture && other == drawn(at, &same).0);
}

/// The base that the program carries, as files, and a workflow out of a picture.
#[test]
fn a_workflow_in_a_picture_draws_with_the_base_of_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut workflow = studio(at);
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets/base");
    symlink(base, at.join("models/checkpoints/demo")).unwrap();
    workflow["1"]["inputs"]["ckpt_name"] = json!("demo");
    for (node, input, slot) in [("3", "clip", 1), ("4", "clip", 1), ("6", "model", 0)] {
        workflow[node]["inputs"][input] = json!(["1", slot]);
    }
    workflow["6"]["inputs"]["steps"] = json!(1);
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, 1, 1);
    encoder
        .add_text_chunk("prompt".to_owned(), workflow.to_string())
        .unwrap();
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
    fs::write(at.join("flow.png"), bytes).unwrap();
    let (picture, said) = drawn(at, &["--workflow", "flow.png"]);
    assert!(
        said.contains("left out, as the picture does not need them: LoraLoader 2"),
        "{said}"
    );
    assert!(picture.len() == 3 * 64 * 48 && picture.iter().any(|v| *v != picture[0]));
}

#[test]
fn a_workflow_draws_over_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut workflow = studio(at);
    fs::create_dir(at.join("input")).unwrap();
    // Transparent where it is drawn anew.
    let pixel = |x: u32, y: u32| Rgba([(4 * x) as u8, (5 * y) as u8, 90, if x < 32 { 255 } else { 0 }]);
    RgbaImage::from_fn(64, 48, pixel)
        .save(at.join("input/boat.png"))
        .unwrap();
    workflow["5"] = json!({"class_type": "SetLatentNoiseMask", "inputs": {"samples": ["9", 0], "mask": ["10", 1]}});
    workflow["9"] = json!({"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["1", 2]}});
    workflow["10"] = json!({"class_type": "LoadImage", "inputs": {"image": "boat.png"}});
    workflow["6"]["inputs"]["denoise"] = json!(0.5);
    save(at, &workflow);
    let (picture, said) = drawn(at, &FLOW);
    assert!(
        said.contains("SetLatentNoiseMask 5: the mask's edge is hard here"),
        "{said}"
    );
    image::DynamicImage::ImageRgba8(RgbaImage::from_fn(64, 48, pixel))
        .to_rgb8()
        .save(at.join("start.png"))
        .unwrap();
    RgbaImage::from_fn(
        64,
        48,
        |x, _| if x < 32 { Rgba([0, 0, 0, 255]) } else { Rgba([255; 4]) },
    )
    .save(at.join("mask.png"))
    .unwrap();
    let from = ["--init-image", "start.png", "--mask", "mask.png"];
    let (same, _) = drawn(at, &[&SAME[..], &from, &["--denoise", "0.5"]].concat());
    assert!(picture == same);
    // As diffusers counts, the same part of the noise is one step.
    let (other, _) = drawn(at, &[&SAME[..], &from, &["--strength", "0.5"]].concat());
    assert!(picture != other);
}

#[test]
fn what_cannot_be_followed_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let workflow = studio(at);
    fs::write(at.join("secret.safetensors"), "").unwrap();
    let with = |node: &str, input: &str, value: Value| {
        let mut changed = workflow.clone();
        changed[node]["inputs"][input] = value;
        changed
    };
    let mut unknown = with("6", "model", json!(["20", 0]));
    unknown["20"] = json!({"class_type": "FreeU_V2", "inputs": {"model": ["21", 0]}, "_meta": {"title": "better"}});
    unknown["21"] = json!({"class_type": "ModelSamplingDiscrete", "inputs": {"model": ["2", 0]}});
    let mut zeros = workflow.clone();
    zeros["4"] = json!({"class_type": "ConditioningZeroOut", "inputs": {"conditioning": ["3", 0]}});
    for (workflow, message) in [
        (unknown, "FreeU_V2 20 (\"better\"), ModelSamplingDiscrete 21"),
        (zeros, "zeros in the place of a negative prompt, which only SDXL takes"),
        (
            with("1", "ckpt_name", json!("other.safetensors")),
            "there is no checkpoint `other.safetensors` in `models/checkpoints`",
        ),
        (
            with("1", "ckpt_name", json!("../../secret.safetensors")),
            "expected a file below the folder",
        ),
        (
            with("2", "lora_name", json!("..\\..\\secret.safetensors")),
            "expected a file below the folder",
        ),
        (
            with("2", "lora_name", json!("/etc/passwd")),
            "expected a file below the folder",
        ),
        (
            with("6", "sampler_name", json!("dpm_adaptive")),
            "`dpm_adaptive` is no sampler",
        ),
        (with("6", "scheduler", json!("ays")), "`ays` is no scheduler"),
        (with("5", "width", json!(60)), "multiples of 8, found 60×48"),
    ] {
        save(at, &workflow);
        let output = run(at, &[&FLOW[..], &["-o", "x.png"]].concat());
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(message), "{}\nis not\n{message}", said(&output));
        assert!(!at.join("x.png").exists());
    }
    let output = run(at, &["--workflow", "nothing.json", "-o", "x.png"]);
    assert!(
        output.status.code() == Some(2) && said(&output).contains("nothing.json"),
        "{}",
        said(&output)
    );
}
