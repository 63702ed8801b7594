//! Weights that nobody can use, through the program: each costs a sentence and exit code 2, and nothing is written.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use assent::model::base::Base;
use assent::model::layers::Module;
use assent::model::params::collect;
use assent::model::pipeline::Pipeline;
use assent::model::weights::{Saved, save};
use burn::tensor::Device;

fn fixture(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/sd15-tiny");
    fixtures.join(name)
}

const PARTS: [&str; 5] = ["model_index.json", "scheduler", "text_encoder", "tokenizer", "vae"];
const UNET: &str = "unet/diffusion_pytorch_model.safetensors";

/// The tiny model as links, but for the U-Net's folder, which holds its configuration alone.
fn base(folder: &Path) -> PathBuf {
    let base = folder.join("base");
    fs::create_dir_all(base.join("unet")).unwrap();
    for part in PARTS {
        symlink(fixture("model").join(part), base.join(part)).unwrap();
    }
    fs::copy(fixture("model/unet/config.json"), base.join("unet/config.json")).unwrap();
    base
}

fn names(folder: &Path) -> Vec<PathBuf> {
    let mut names: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    names.sort();
    names
}

/// Draws, and expects a refusal that says all of this and leaves nothing behind.
fn refused(folder: &Path, arguments: &[&str], expected: &[&str], what: &str) {
    let before = names(folder);
    let output = Command::new(env!("CARGO_BIN_EXE_assent"))
        .args([
            "-q", "generate", "--prompt", "a boat", "--steps", "1", "--width", "64", "--height", "64", "-o", "x.png",
        ])
        .args(arguments)
        .current_dir(folder)
        .env_remove("ASSENT_REGISTRY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{what}: {said}");
    assert!(
        said.starts_with("error: ") && said.lines().count() <= 3,
        "{what}: {said}"
    );
    assert!(said.len() < 2000, "{what}: {said}");
    for words in expected {
        assert!(said.contains(words), "{what}: expected `{words}`: {said}");
    }
    assert!(output.stdout.is_empty(), "{what}");
    assert_eq!(names(folder), before, "{what}");
}

/// A file with this header, and so many bytes behind it.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [length.as_slice(), header.as_bytes(), &vec![0; data]].concat()
}

/// A header that claims to be longer.
fn claiming(length: u64) -> Vec<u8> {
    [length.to_le_bytes().as_slice(), b"{}"].concat()
}

/// Files that are no safetensors files, or not whole.
fn hostile(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let tensor = |fields: &str| format!(r#"{{"a":{{{fields}}}}}"#);
    vec![
        ("an empty file", vec![]),
        ("seven bytes", vec![0; 7]),
        ("a header of no bytes", vec![0; 8]),
        ("a picture", b"\x89PNG\r\n\x1a\n and what follows".to_vec()),
        ("a header as long as there are numbers", claiming(u64::MAX)),
        ("a header longer than the file", claiming(whole.len() as u64)),
        ("a file cut in its header", whole[..200].to_vec()),
        ("a file cut in its data", whole[..whole.len() - 1].to_vec()),
        ("a file with more behind it", [whole, b"more"].concat()),
        ("a header of another kind", with_header("[1, 2]", 0)),
        (
            "a header that is no text",
            [[4, 0, 0, 0, 0, 0, 0, 0].as_slice(), b"\xff\xfe{}"].concat(),
        ),
        ("a header without end", with_header(&"[".repeat(100_000), 0)),
        (
            "an unknown type",
            with_header(&tensor(r#""dtype":"F12","shape":[1],"data_offsets":[0,4]"#), 4),
        ),
        (
            "a shape of another size",
            with_header(&tensor(r#""dtype":"F32","shape":[2],"data_offsets":[0,4]"#), 4),
        ),
        (
            "a shape that no number holds",
            with_header(
                &tensor(r#""dtype":"F32","shape":[4294967296,4294967296,4],"data_offsets":[0,4]"#),
                4,
            ),
        ),
        (
            "a negative shape",
            with_header(&tensor(r#""dtype":"F32","shape":[-1],"data_offsets":[0,4]"#), 4),
        ),
        (
            "a tensor behind the end",
            with_header(&tensor(r#""dtype":"F32","shape":[1],"data_offsets":[4,8]"#), 4),
        ),
        (
            "a tensor backwards",
            with_header(&tensor(r#""dtype":"F32","shape":[1],"data_offsets":[4,0]"#), 4),
        ),
        (
            "two tensors in one place",
            with_header(
                r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#,
                4,
            ),
        ),
    ]
}

#[test]
fn broken_files_cost_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let whole = fs::read(fixture("lora_kohya.safetensors")).unwrap();
    let base = base(at);
    fs::write(at.join("broken.safetensors"), "").unwrap();
    fs::write(base.join(UNET), "").unwrap();
    let good = fixture("model");
    let good = good.to_str().unwrap();
    for (what, bytes) in hostile(&whole) {
        fs::write(at.join("broken.safetensors"), &bytes).unwrap();
        fs::write(base.join(UNET), &bytes).unwrap();
        let named = ["`broken.safetensors`"];
        refused(
            at,
            &["--base", "broken.safetensors"],
            &named,
            &format!("{what} as a base"),
        );
        refused(at, &["--base", "base"], &[UNET], &format!("{what} as a U-Net"));
        refused(
            at,
            &["--base", good, "--vae", "broken.safetensors"],
            &named,
            &format!("{what} as a VAE"),
        );
        refused(
            at,
            &["--base", good, "--adapter", "broken.safetensors"],
            &named,
            &format!("{what} as an adapter"),
        );
    }
}

#[test]
fn values_that_are_no_numbers_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut good = Pipeline::load(&Base::open(&fixture("model"), None).unwrap(), &Device::flex()).unwrap();
    let spoil = |network: &mut dyn Module, name: &str, value: f32, file: &Path| {
        let mut weights: Vec<Saved> = collect(network);
        let tensor = weights.iter_mut().find(|weight| weight.name == name).expect(name);
        *tensor.values.last_mut().unwrap() = value;
        save(file, &weights, false).unwrap();
    };
    let base = base(at);
    let unet = "mid_block.resnets.0.conv1.weight";
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        spoil(&mut good.unet, unet, value, &base.join(UNET));
        refused(
            at,
            &["--base", "base"],
            &[UNET, unet, "holds NaN or infinity"],
            "in a U-Net",
        );
    }
    let (decoder, file) = ("decoder.conv_out.bias", at.join("vae.safetensors"));
    spoil(&mut good.vae, decoder, f32::NAN, &file);
    let (model, hole) = (fixture("model"), "holds NaN or infinity");
    let model = model.to_str().unwrap();
    refused(
        at,
        &["--base", model, "--vae", "vae.safetensors"],
        &["vae.safetensors", decoder, hole],
        "in a VAE",
    );

    let key = "lora_unet_mid_block_attentions_0_proj_in";
    let module = "mid_block.attentions.0.proj_in";
    let tensor = |name: &str, shape: &[usize], value: f32| Saved {
        name: format!("{key}.{name}"),
        shape: shape.to_vec(),
        values: vec![value; shape.iter().product()],
    };
    for (down, alpha) in [(f32::NAN, 1.0), (1.0, f32::NAN)] {
        let adapter = [
            tensor("lora_down.weight", &[1, 24, 1, 1], down),
            tensor("lora_up.weight", &[24, 1, 1, 1], 1.0),
            tensor("alpha", &[], alpha),
        ];
        save(&at.join("nan.safetensors"), &adapter, false).unwrap();
        refused(
            at,
            &["--base", model, "--adapter", "nan.safetensors"],
            &["nan.safetensors", module],
            "in an adapter",
        );
    }
}

/// Half a file, of a base that begins as a whole one does.
#[test]
fn a_checkpoint_that_was_cut_short_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let tensors = [
        "model.diffusion_model.input_blocks.0.0.weight",
        "cond_stage_model.transformer.x",
    ]
    .map(|name| Saved {
        name: name.to_owned(),
        shape: vec![1000],
        values: vec![0.5; 1000],
    });
    let path = at.join("base.safetensors");
    save(&path, &tensors, false).unwrap();
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    refused(
        at,
        &["--base", "base.safetensors"],
        &["hint: was the copy or the download cut short?"],
        "half of it",
    );
}
