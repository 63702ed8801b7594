//! Adapters of every kind that others wrote (LyCORIS, PEFT, diffusers): each layer computes what it computes there, live
//! and merged, and each tensor has the gradient it has there. `scripts/parity/make_adapters.py` makes the fixture.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assent::adapter::{self, AdapterFile, Dtype};
use assent::lora;
use assent::model::layers::{Conv2d, Linear, Module, Norm, Visitor};
use assent::model::params::to_vec;
use assent::model::weights::Weights;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

/// Of the greatest magnitude in an output or a gradient.
const TOLERANCE: f32 = 1e-5;

const Q: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
const PROJ: &str = "down_blocks.0.attentions.0.proj_in";
const CONV: &str = "down_blocks.0.resnets.0.conv1";
const DOWN: &str = "down_blocks.0.downsamplers.0.conv";
const GROUP: &str = "down_blocks.0.attentions.0.norm";
const LAYER: &str = "down_blocks.0.attentions.0.transformer_blocks.0.norm1";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapters")
}

/// The fixture's layers, each with its own input.
#[derive(Clone)]
struct Net {
    q: Linear,
    convs: Vec<(&'static str, Conv2d)>,
    group: Norm,
    layer: Norm,
}

impl Net {
    fn load(device: &Device) -> Self {
        let mut w = Weights::open(&folder().join("base.safetensors"), device).unwrap();
        let net = Self {
            q: Linear::load(&mut w, Q, 12, 20, false),
            convs: vec![
                (PROJ, Conv2d::load(&mut w, PROJ, [8, 12, 1], 1, 0)),
                (CONV, Conv2d::load(&mut w, CONV, [8, 12, 3], 1, 1)),
                (DOWN, Conv2d::load(&mut w, DOWN, [8, 6, 3], 2, 1)),
            ],
            group: Norm::load(&mut w, GROUP, 8, 1e-5),
            layer: Norm::load(&mut w, LAYER, 12, 1e-5),
        };
        w.finish().unwrap();
        net
    }

    fn run(&self, tensors: &Tensors, device: &Device) -> Vec<(&'static str, Flat)> {
        let vectors: Tensor<2> = tensors.get("input/vectors", device);
        let maps: Tensor<4> = tensors.get("input/maps", device);
        let flat = |t: Tensor<4>| t.clone().reshape([t.shape().num_elements()]);
        let q = self.q.forward(vectors.clone());
        let layer = self.layer.layer(vectors.unsqueeze());
        let mut out = vec![
            (Q, q.clone().reshape([q.shape().num_elements()])),
            (GROUP, flat(self.group.group(maps.clone(), 4, false))),
            (LAYER, layer.clone().reshape([layer.shape().num_elements()])),
        ];
        out.extend(
            self.convs
                .iter()
                .map(|(path, conv)| (*path, flat(conv.forward(maps.clone())))),
        );
        out
    }
}

type Flat = Tensor<1>;

impl Module for Net {
    fn visit(&mut self, _: &str, v: &mut dyn Visitor) {
        self.q.visit(Q, v);
        self.convs.iter_mut().for_each(|(path, conv)| conv.visit(path, v));
        self.group.visit(GROUP, v);
        self.layer.visit(LAYER, v);
    }
}

struct Tensors(BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    fn read() -> Self {
        let bytes = std::fs::read(folder().join("cases.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = |data: &[u8]| data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let all = file.iter().map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
            (name.to_owned(), (view.shape().to_vec(), values(view.data())))
        });
        Self(all.collect())
    }

    fn values(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("no `{name}`")).1
    }

    fn get<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = &self.0[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }
}

#[derive(Deserialize)]
struct Case {
    file: String,
    gradients: Vec<String>,
}

fn cases() -> BTreeMap<String, Case> {
    let text = std::fs::read(folder().join("cases.json")).unwrap();
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&text).unwrap();
    assert_eq!(cases.len(), 25);
    cases
}

fn read(case: &Case) -> AdapterFile {
    adapter::read(&folder().join(&case.file)).unwrap()
}

/// The greatest difference, as a share of the greatest magnitude expected.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    worst / scale
}

fn compare(name: &str, net: &Net, tensors: &Tensors, what: &str) {
    for (path, out) in net.run(tensors, &Device::flex()) {
        let error = error(&to_vec(out), tensors.values(&format!("{name}/out/{path}")));
        assert!(error <= TOLERANCE, "{name}, {what}: `{path}` is off by {error:e}");
    }
}

#[test]
fn every_layer_computes_what_it_computes_where_the_file_was_written() {
    let (tensors, device) = (Tensors::read(), Device::flex());
    compare("base", &Net::load(&device), &tensors, "bare");
    for (name, case) in cases() {
        let file = read(&case);
        let mut live = Net::load(&device);
        lora::attach_modules(&mut live, &file.modules, 1.0).unwrap();
        let moved = live
            .run(&tensors, &device)
            .into_iter()
            .filter(|(path, out)| error(&to_vec(out.clone()), tensors.values(&format!("base/out/{path}"))) > 1e-3);
        assert_eq!(moved.count(), file.modules.len(), "{name} changes every layer it names");
        compare(&name, &live, &tensors, "live");
        let mut merged = live.clone();
        lora::merge(&mut merged);
        compare(&name, &merged, &tensors, "merged");

        // Written again in kohya's layout, and in PEFT's where it has a place for it.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("again.safetensors");
        let mut written = vec![adapter::write_kohya(&path, &file, Dtype::F32).map(|_| adapter::read(&path).unwrap())];
        let plain = |m: &adapter::Module| {
            let out = m.magnitude.as_ref().is_none_or(|m| !m.on_input);
            out && matches!(m.form, adapter::Form::Lora { mid: None, .. })
        };
        let peft = adapter::write_peft(&path, &file, Dtype::F32);
        assert_eq!(peft.is_ok(), file.modules.iter().all(plain), "{name}");
        written.extend(peft.is_ok().then(|| Ok(adapter::read(&path).unwrap())));
        for again in written {
            let mut net = Net::load(&device);
            lora::attach_modules(&mut net, &again.unwrap().modules, 1.0).unwrap();
            compare(&name, &net, &tensors, "written again");
        }
    }
}

#[test]
fn several_adapters_at_several_weights_are_the_same_live_and_merged_in_any_order() {
    let (tensors, device) = (Tensors::read(), Device::flex());
    let cases = cases();
    let parts = [
        ("locon_dora", 0.7),
        ("loha", -0.4),
        ("ia3", 0.5),
        ("full", 0.3),
        ("norm", 2.0),
    ];
    let with = |order: &[usize]| {
        let mut net = Net::load(&device);
        for i in order {
            lora::attach_modules(&mut net, &read(&cases[parts[*i].0]).modules, parts[*i].1).unwrap();
        }
        net
    };
    let values = |net: &Net| {
        net.run(&tensors, &device)
            .into_iter()
            .map(|(_, out)| to_vec(out))
            .collect::<Vec<_>>()
    };
    let live = values(&with(&[0, 1, 2, 3, 4]));
    let mut merged = with(&[0, 1, 2, 3, 4]);
    lora::merge(&mut merged);
    for other in [values(&with(&[4, 2, 0, 3, 1])), values(&merged)] {
        for (a, b) in live.iter().zip(&other) {
            assert!(error(b, a) <= TOLERANCE);
        }
    }
    // Each weight counts: what each adds alone, times its weight, is what all add together.
    let base = values(&Net::load(&device));
    let mut sum = base.clone();
    for (name, weight) in parts {
        let mut net = Net::load(&device);
        lora::attach_modules(&mut net, &read(&cases[name]).modules, 1.0).unwrap();
        for ((total, alone), base) in sum.iter_mut().zip(values(&net)).zip(&base) {
            for ((t, a), b) in total.iter_mut().zip(alone).zip(base) {
                *t += weight as f32 * (a - b);
            }
        }
    }
    for (a, b) in live.iter().zip(&sum) {
        assert!(error(b, a) <= TOLERANCE);
    }
}

#[test]
fn every_tensor_has_the_gradient_that_the_peer_finds() {
    let (tensors, device) = (Tensors::read(), Device::flex().autodiff());
    let mut compared = 0;
    for (name, case) in cases() {
        // Norms are changed in place and never trained; a LoKr without a rank takes PEFT's scale into its first factor.
        if case.gradients.is_empty() || ["norm", "full", "peft_lokr_whole"].contains(&name.as_str()) {
            continue;
        }
        let mut net = Net::load(&device);
        lora::attach_modules(&mut net, &read(&case).modules, 1.0).unwrap();
        lora::for_each(&mut net, &mut |_, mut param| param.track());
        let out = net.run(&tensors, &device);
        let loss = out
            .into_iter()
            .map(|(path, out)| {
                let probe = TensorData::new(tensors.values(&format!("probe/{path}")).to_vec(), out.shape());
                (out * Tensor::from_data(probe, &device)).sum()
            })
            .reduce(|a, b| a + b)
            .unwrap();
        let mut gradients = loss.backward();
        let mut seen = Vec::new();
        lora::for_each(&mut net, &mut |key, param| {
            // What the peer's backward pass is known to get wrong is not in the fixture.
            if !case.gradients.iter().any(|named| named == key) {
                return;
            }
            let gradient = param
                .gradient(&mut gradients)
                .unwrap_or_else(|| panic!("{name}: `{key}` has none"));
            let error = error(&gradient, tensors.values(&format!("{name}/grad/{key}")));
            assert!(
                error <= TOLERANCE,
                "{name}: the gradient of `{key}` is off by {error:e}"
            );
            seen.push(key.to_owned());
        });
        seen.sort();
        assert_eq!(seen, case.gradients, "{name}");
        compared += seen.len();
    }
    assert!(compared > 150, "{compared} gradients");
}
