//! Adapters of every kind written into bases of every layout: what is read again is what the adapters do live.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/python.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assent::adapter::{self, AdapterFile, Dtype, Factor, Form, Magnitude, Module, Product, Weight};
use assent::digest::Sha256Digest;
use assent::lora;
use assent::model::base::Base;
use assent::model::params::{collect, to_vec};
use assent::model::pipeline::Pipeline;
use assent::model::weights::{Checkpoint, Draws, Saved, save};
use assent::registry::{NewAdapter, Registry, Role, TrainedOn};
use burn::tensor::{Device, Tensor, TensorData};

fn load(path: &Path) -> Pipeline {
    Pipeline::load(&Base::open(path, None).unwrap(), &Device::flex()).unwrap()
}

fn networks(p: &mut Pipeline) -> Vec<Saved> {
    let mut all = collect(&mut p.unet);
    all.extend(collect(&mut p.text));
    if let Some(second) = &mut p.second {
        all.extend(collect(&mut second.text));
    }
    all.extend(collect(&mut p.vae));
    all
}

fn assert_same(one: &mut Pipeline, other: &mut Pipeline, what: &str) {
    let (a, b) = (networks(one), networks(other));
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(&b) {
        assert_eq!((&a.name, &a.shape), (&b.name, &b.shape), "{what}");
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert!(bits(&a.values) == bits(&b.values), "{what}: {} differs", a.name);
    }
}

fn weight(name: &str, shape: &[usize]) -> Weight {
    let values = Draws::new(8, name).normals(shape.iter().product());
    Weight::new(shape, values.into_iter().map(|v| 0.1 * v).collect())
}

/// A module of each form, on layers that every kind of base has.
fn of_every_form(p: &mut Pipeline) -> AdapterFile {
    let mut shapes = std::collections::BTreeMap::new();
    let mut note = |part: &str, all: Vec<Saved>| {
        for saved in all {
            shapes.insert(format!("{part}{}", saved.name), saved.shape);
        }
    };
    note("", collect(&mut p.unet));
    note("text_encoder.", collect(&mut p.text));
    if let Some(second) = &mut p.second {
        note("text_encoder_2.", collect(&mut second.text));
    }
    let shape = |path: &str| shapes[&format!("{path}.weight")].clone();
    let lora = |path: &str| {
        let shape = shape(path);
        let up = [&[shape[0], 2][..], &vec![1; shape.len() - 2]].concat();
        let down = [&[2][..], &shape[1..]].concat();
        Module::lora(path, weight(&format!("{path} down"), &down), weight(path, &up), 1.0)
    };
    let other = |path: &str, form: Form| Module { form, ..lora(path) };
    let product = |name: &str, [m, n]: [usize; 2]| Product {
        a: weight(&format!("{name} a"), &[m, 2]),
        b: weight(&format!("{name} b"), &[2, n]),
        core: None,
    };
    let attention = shapes
        .keys()
        .find_map(|key| key.strip_suffix(".transformer_blocks.0.attn1.to_q.weight"))
        .unwrap()
        .to_owned();
    let at = |name: &str| format!("{attention}.transformer_blocks.0.{name}");
    let [out, input] = [shape(&at("attn1.to_k"))[0], shape(&at("attn1.to_k"))[1]];
    let mut modules = vec![
        lora("down_blocks.0.resnets.0.conv1"),
        lora("down_blocks.0.downsamplers.0.conv"),
        lora("mid_block.resnets.0.time_emb_proj"),
        lora(&format!("{attention}.proj_in")),
        lora(&at("attn1.to_q")),
        other(
            &at("attn1.to_k"),
            Form::Loha {
                first: product("one", [out, input]),
                second: product("two", [out, input]),
            },
        ),
        other(
            &at("attn1.to_v"),
            Form::Lokr {
                first: Factor::Whole(weight("small", &[4, 4])),
                second: Factor::Product(product("large", [out / 4, input / 4])),
            },
        ),
        Module {
            magnitude: Some(Magnitude {
                lengths: Weight::new([out, 1], (0..out).map(|i| 1.0 + i as f32 / 64.0).collect()),
                on_input: false,
            }),
            ..lora(&at("attn1.to_out.0"))
        },
        Module {
            bias: Some(weight("bias", &shape(&at("ff.net.2"))[..1])),
            ..other(
                &at("ff.net.2"),
                Form::Full {
                    diff: Some(weight("diff", &shape(&at("ff.net.2")))),
                },
            )
        },
        Module {
            bias: Some(weight("shift", &shape(&at("norm2")))),
            ..Module {
                form: Form::Norm {
                    diff: weight("gain", &shape(&at("norm2"))),
                },
                ..lora(&at("attn1.to_q"))
            }
        },
        other(
            &at("attn2.to_v"),
            Form::Ia3 {
                gain: weight("ia3", &[shape(&at("attn2.to_v"))[0]]),
                on_input: false,
            },
        ),
    ];
    modules[9].path = at("norm2");
    let parts = if p.second.is_some() {
        vec!["text_encoder", "text_encoder_2"]
    } else {
        vec!["text_encoder"]
    };
    for part in parts {
        let layer = format!("{part}.text_model.encoder.layers.0");
        modules
            .extend(["self_attn.q_proj", "self_attn.v_proj", "mlp.fc1"].map(|name| lora(&format!("{layer}.{name}"))));
    }
    modules.sort_by(|a, b| a.path.cmp(&b.path));
    AdapterFile {
        modules,
        ..AdapterFile::default()
    }
}

fn assent(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .args(args)
        .current_dir(folder)
        .env_remove("ASSENT_REGISTRY")
        .output()
        .unwrap()
}

fn done(out: &Output) {
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
}

/// The U-Net's output on the inputs that diffusers is given.
fn output(pipeline: &Pipeline, inputs: &[Saved; 3]) -> Vec<f32> {
    let device = Device::flex();
    let [sample, steps, context] = inputs;
    let sample = Tensor::<4>::from_data(TensorData::new(sample.values.clone(), [2, 4, 8, 8]), &device);
    let context = Tensor::<3>::from_data(
        TensorData::new(context.values.clone(), [2, 7, context.shape[2]]),
        &device,
    );
    to_vec(pipeline.unet.forward(sample, &steps.values, &context, None))
}

#[test]
fn a_baked_base_is_the_base_with_its_adapters() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let bases = std::env::var_os("ASSENT_TEST_BASES").map_or_else(|| folder.path().join("bases"), PathBuf::from);
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    if !bases.exists() {
        let script = scripts.join("make_bases.py");
        let made = Command::new(&python).arg(script).arg(&bases).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let at = |name: &str| folder.path().join(name);
    for kind in ["sd15", "sd2", "sdxl"] {
        let root = bases.join(kind);
        let mut live = load(&root.join("model"));
        let file = of_every_form(&mut live);
        adapter::write_kohya(&at("a.safetensors"), &file, Dtype::F32).unwrap();
        let file = adapter::read(&at("a.safetensors")).unwrap();
        lora::attach_pipeline(&mut live, &file, [0.8, 0.5]).unwrap();
        let mut merged = live.clone();
        lora::merge_pipeline(&mut merged);
        for layout in ["model", "single.safetensors", "sharded", "variant"] {
            let (base, name) = (root.join(layout), format!("{kind}-{layout}"));
            let base = base.to_str().unwrap();
            let args = [
                "adapter",
                "bake",
                "a.safetensors:0.8:0.5",
                "--base",
                base,
                "-o",
                &name,
                "--dtype",
                "f32",
            ];
            done(&assent(folder.path(), &args));
            assert_same(&mut merged, &mut load(&at(&name)), &name);
        }

        // Without a type each tensor keeps its own, and its name.
        let single = root.join("single.safetensors");
        let args = [
            "adapter",
            "bake",
            "a.safetensors:0",
            "--base",
            single.to_str().unwrap(),
            "-o",
            "again.safetensors",
        ];
        done(&assent(folder.path(), &args));
        let (was, is) = (
            Checkpoint::open(&single).unwrap(),
            Checkpoint::open(&at("again.safetensors")).unwrap(),
        );
        assert!(was.keys().eq(is.keys()));
        let region = |path: &Path| {
            let bytes = std::fs::read(path).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..].to_vec()
        };
        assert!(region(&single).len() == region(&at("again.safetensors")).len());
        let derived: adapter::Derived = serde_json::from_str(is.metadata(adapter::DERIVED_KEY).unwrap()).unwrap();
        assert_eq!((derived.by.as_str(), derived.from.len()), ("bake", 1));
        assert!(derived.base.is_some());

        if kind == "sdxl" {
            continue;
        }
        // diffusers computes with the baked U-Net what is computed here with the adapter beside the base.
        let width = live.unet.config().cross_attention_dim;
        let inputs = [
            ("sample", vec![2, 4, 8, 8]),
            ("timesteps", vec![2]),
            ("encoder_hidden_states", vec![2, 7, width]),
        ]
        .map(|(name, shape): (&str, Vec<usize>)| Saved {
            name: name.to_owned(),
            values: match name {
                "timesteps" => vec![3.0, 801.0],
                _ => Draws::new(3, name).normals(shape.iter().product()),
            },
            shape,
        });
        save(&at("inputs.safetensors"), &inputs, false).unwrap();
        let checked = Command::new(&python)
            .arg(scripts.join("check_lora.py"))
            .arg(at(&format!("{kind}-model")).join("unet"))
            .args([at("inputs.safetensors"), at("outputs.safetensors")])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        let theirs = Checkpoint::open(&at("outputs.safetensors")).unwrap();
        let theirs = theirs.values("base").unwrap().unwrap();
        let ours = output(&live, &inputs);
        let most = ours.iter().fold(0.0f32, |most, v| most.max(v.abs()));
        let off = ours
            .iter()
            .zip(&theirs)
            .fold(0.0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 1e-4 * most, "{kind}: off by {off:e} of {most:e}");
        println!("{kind}: diffusers is off by {off:e} of {most:e}");
    }

    // What was baked is extracted again, from other layouts too.
    let model = bases.join("sd15/model");
    let single = bases.join("sd15/single.safetensors");
    let every = of_every_form(&mut load(&model));
    let plain = AdapterFile {
        modules: every
            .modules
            .into_iter()
            .filter(|m| matches!(m.form, Form::Lora { .. }) && m.magnitude.is_none())
            .collect(),
        ..AdapterFile::default()
    };
    adapter::write_kohya(&at("plain.safetensors"), &plain, Dtype::F32).unwrap();
    let (model, single) = (model.to_str().unwrap(), single.to_str().unwrap());
    done(&assent(
        folder.path(),
        &["adapter", "bake", "plain.safetensors", "--base", model, "-o", "tuned"],
    ));
    let args = [
        "--rank",
        "2",
        "--conv-rank",
        "2",
        "--min-diff",
        "1e-6",
        "-o",
        "extracted.safetensors",
    ];
    done(&assent(
        folder.path(),
        &[&["adapter", "extract", "tuned", "--base", single][..], &args].concat(),
    ));
    let found = adapter::read(&at("extracted.safetensors")).unwrap();
    let paths = |file: &AdapterFile| file.modules.iter().map(|m| m.path.clone()).collect::<Vec<_>>();
    assert_eq!(paths(&found), paths(&plain));
    let with = |file: &AdapterFile| {
        let mut pipeline = load(Path::new(model));
        lora::attach_pipeline(&mut pipeline, file, [1.0; 2]).unwrap();
        lora::merge_pipeline(&mut pipeline);
        networks(&mut pipeline)
    };
    for (a, b) in with(&plain).iter().zip(&with(&found)) {
        let off = a
            .values
            .iter()
            .zip(&b.values)
            .fold(0.0f32, |off, (a, b)| off.max((a - b).abs()));
        assert!(off < 2e-6, "{}: off by {off:e}", a.name);
    }

    // The picture is that of the base with the adapter beside it.
    let base = bases.join("sd15/model");
    let draw = |base: &str, out: &str, more: &[&str]| {
        let args = [
            "generate", "--prompt", "a boat", "--steps", "2", "--width", "64", "--height", "64", "--base",
        ];
        done(&assent(folder.path(), &[&args[..], &[base, "-o", out], more].concat()));
        image::open(at(out)).unwrap().to_rgb8().into_raw()
    };
    let args = [
        "adapter",
        "bake",
        "a.safetensors",
        "--base",
        base.to_str().unwrap(),
        "-o",
        "baked",
    ];
    let file = of_every_form(&mut load(&base));
    adapter::write_kohya(&at("a.safetensors"), &file, Dtype::F32).unwrap();
    done(&assent(folder.path(), &args));
    let beside = draw(base.to_str().unwrap(), "beside.png", &["--adapter", "a.safetensors"]);
    let alone = draw(base.to_str().unwrap(), "alone.png", &[]);
    let baked = draw("baked", "baked.png", &[]);
    let off = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(off(&beside, &baked) <= 1, "{}", off(&beside, &baked));
    assert!(off(&alone, &baked) > 1);
}

#[test]
fn a_picture_of_a_baked_base_leads_back_to_what_trained_the_adapters_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let json = |args: &[&str], code: i32| -> Vec<serde_json::Value> {
        let out = assent(folder.path(), &[&["--json"], args].concat());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
        let text = String::from_utf8(out.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    // One picture of Ann trained the adapter, as the registry has it.
    std::fs::create_dir(at("art")).unwrap();
    image::RgbImage::from_fn(64, 64, |x, y| image::Rgb([x as u8, y as u8, 7]))
        .save(at("art/a.png"))
        .unwrap();
    let sidecar = "SPDX-FileCopyrightText: 2026 Ann\nSPDX-License-Identifier: CC0-1.0\n";
    std::fs::write(at("art/a.png.license"), sidecar).unwrap();
    std::fs::write(at("art/a.txt"), "a boat").unwrap();
    done(&assent(folder.path(), &["ingest", "art"]));
    done(&assent(
        folder.path(),
        &["snapshot", "create", "set", "--policy", "open-licences"],
    ));
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/sd15-tiny/model");
    let file = of_every_form(&mut load(&base));
    adapter::write_kohya(&at("a.safetensors"), &file, Dtype::F32).unwrap();
    let container = adapter::Container::read(&at("a.safetensors")).unwrap();
    {
        let mut registry = Registry::open(&at("assent.db")).unwrap();
        let root = registry.snapshot("set").unwrap().unwrap().root;
        let row = NewAdapter {
            sha256: Sha256Digest::of_file(&at("a.safetensors")).unwrap(),
            tensors: container.tensor_digest(),
            run: None,
            trained_on: vec![TrainedOn {
                root,
                role: Role::Training,
            }],
            path: at("a.safetensors"),
        };
        let now = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second()).unwrap();
        registry.add_adapter(&row, now).unwrap();
    }
    let base = base.to_str().unwrap();
    json(&["adapter", "bake", "a.safetensors", "--base", base, "-o", "baked"], 0);
    let size = ["--steps", "1", "--width", "64", "--height", "64", "-o", "drawn.png"];
    let draw = ["generate", "--prompt", "a boat", "--base", "baked"];
    done(&assent(folder.path(), &[&draw[..], &size].concat()));

    let kinds = |lines: &[serde_json::Value]| -> Vec<String> {
        lines
            .iter()
            .map(|line| line["kind"].as_str().unwrap().to_owned())
            .collect()
    };
    let lines = json(&["affected", "--artist", "Ann"], 0);
    assert_eq!(kinds(&lines), ["snapshot", "adapter", "adapter", "picture"]);
    assert!(lines[2]["path"].as_str().unwrap().ends_with("/baked"));
    assert!(lines[3]["path"].as_str().unwrap().ends_with("drawn.png"));

    let report = json(&["audit", "drawn.png"], 1).remove(0);
    assert_eq!(report["findings"][0]["code"], "derived_adapter", "{report:#}");
    assert_eq!(report["findings"].as_array().unwrap().len(), 1);
    assert_eq!(report["images"][0]["artist"], "Ann");
    // The same by the digest of the base, and where another registry recorded no picture.
    let digest = lines[2]["id"].as_str().unwrap();
    assert_eq!(json(&["audit", digest], 1)[0]["images"][0]["artist"], "Ann");

    done(&assent(folder.path(), &["opt-out", "--artist", "Ann"]));
    let report = json(&["audit", "drawn.png"], 1).remove(0);
    assert_eq!(report["findings"][0]["code"], "consent_withdrawn");
}

#[test]
fn what_cannot_be_baked_is_refused_and_nothing_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/sd15-tiny/model");
    let base = base.to_str().unwrap();
    let (down, up) = (weight("down", &[1, 640]), weight("up", &[640, 1]));
    let write = |path: &str, bias: Option<Weight>| {
        let module = Module {
            bias,
            ..Module::lora(path, down.clone(), up.clone(), 1.0)
        };
        let file = AdapterFile {
            modules: vec![module],
            ..AdapterFile::default()
        };
        adapter::write_kohya(&folder.path().join("a.safetensors"), &file, Dtype::F32).unwrap();
    };
    let attention = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
    for (path, expected) in [
        ("down_blocks.9.attentions.0.proj_in", "are not in this model"),
        (attention, "made for another base"),
    ] {
        write(path, None);
        let out = assent(
            folder.path(),
            &["adapter", "bake", "a.safetensors", "--base", base, "-o", "out"],
        );
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{text}");
        assert!(text.contains(expected), "{text}");
        let left: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["a.safetensors"]);
    }
    std::fs::create_dir(folder.path().join("full")).unwrap();
    std::fs::write(folder.path().join("full/x"), "x").unwrap();
    let out = assent(
        folder.path(),
        &["adapter", "bake", "a.safetensors", "--base", base, "-o", "full"],
    );
    assert!(String::from_utf8_lossy(&out.stderr).contains("is there already"));
}
