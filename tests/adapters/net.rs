//! The layers of the fixture, and what the peers found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assent::adapter::{self, AdapterFile};
use assent::model::layers::{Conv2d, Linear, Module, Norm, Visitor};
use assent::model::weights::Weights;
use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;

/// Of the greatest magnitude in an output or a gradient.
pub const TOLERANCE: f32 = 1e-5;

pub const Q: &str = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";
pub const PROJ: &str = "down_blocks.0.attentions.0.proj_in";
pub const CONV: &str = "down_blocks.0.resnets.0.conv1";
pub const DOWN: &str = "down_blocks.0.downsamplers.0.conv";
pub const GROUP: &str = "down_blocks.0.attentions.0.norm";
pub const LAYER: &str = "down_blocks.0.attentions.0.transformer_blocks.0.norm1";

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/adapters")
}

/// The fixture's layers, each with its own input.
#[derive(Clone)]
pub struct Net {
    pub q: Linear,
    convs: Vec<(&'static str, Conv2d)>,
    group: Norm,
    layer: Norm,
}

impl Net {
    pub fn load(device: &Device) -> Self {
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

    pub fn run(&self, tensors: &Tensors, device: &Device) -> Vec<(&'static str, Flat)> {
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

pub type Flat = Tensor<1>;

impl Module for Net {
    fn visit(&mut self, _: &str, v: &mut dyn Visitor) {
        self.q.visit(Q, v);
        self.convs.iter_mut().for_each(|(path, conv)| conv.visit(path, v));
        self.group.visit(GROUP, v);
        self.layer.visit(LAYER, v);
    }
}

pub struct Tensors(pub BTreeMap<String, (Vec<usize>, Vec<f32>)>);

impl Tensors {
    pub fn read() -> Self {
        Self::of(&folder().join("cases.safetensors"))
    }

    pub fn of(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let values = |data: &[u8]| data.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        let all = file.iter().map(|(name, view)| {
            assert_eq!(view.dtype(), safetensors::Dtype::F32, "{name}");
            (name.to_owned(), (view.shape().to_vec(), values(view.data())))
        });
        Self(all.collect())
    }

    pub fn values(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("no `{name}`")).1
    }

    pub fn get<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let (shape, values) = &self.0[name];
        Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
    }
}

#[derive(Deserialize)]
pub struct Case {
    pub file: String,
    pub gradients: Vec<String>,
}

pub fn cases() -> BTreeMap<String, Case> {
    let text = std::fs::read(folder().join("cases.json")).unwrap();
    let cases: BTreeMap<String, Case> = serde_json::from_slice(&text).unwrap();
    assert_eq!(cases.len(), 25);
    cases
}

pub fn read(case: &Case) -> AdapterFile {
    adapter::read(&folder().join(&case.file)).unwrap()
}

/// The greatest difference, as a share of the greatest magnitude expected.
pub fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let worst = worst.fold(0.0f32, |m, d| if d.is_nan() { f32::INFINITY } else { m.max(d) });
    worst / scale
}
