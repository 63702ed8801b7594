//! A fixture's files: the cases, their tensors, and the parts of the model, each loaded when a case first asks for it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use assent::model::samplers::SamplerChoice;
use assent::model::scheduler::ScheduleConfig;
use assent::model::unet::{Added, UNet};
use assent::model::weights::Precision;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::{Map, Value};

/// One computation: what goes in and what came out of PyTorch.
#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub params: Map<String, Value>,
    pub inputs: BTreeMap<String, String>,
    pub outputs: BTreeMap<String, String>,
    pub values: Map<String, Value>,
    pub scale: BTreeMap<String, f64>,
    /// Only fixtures of full size are without it.
    #[serde(default)]
    pub noise: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
struct Head {
    format: u32,
    kind: String,
    seed: u64,
    cases: Vec<Case>,
}

/// Values and their shape.
pub struct Array {
    pub shape: Vec<usize>,
    pub values: Vec<f32>,
}

pub struct Fixture {
    pub root: PathBuf,
    pub name: String,
    pub kind: String,
    pub seed: u64,
    pub cases: Vec<Case>,
    pub tensors: BTreeMap<String, Array>,
    unets: RefCell<Vec<(bool, Precision, UNet)>>,
}

impl Fixture {
    pub fn open(root: &Path) -> Result<Self> {
        let path = root.join("cases.json");
        let head: Head = serde_json::from_slice(&std::fs::read(&path)?).with_context(|| path.display().to_string())?;
        ensure!(
            head.format == 1,
            "{}: format {}, expected 1",
            path.display(),
            head.format
        );
        let path = root.join("cases.safetensors");
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let mut tensors = BTreeMap::new();
        for (name, view) in SafeTensors::deserialize(&bytes)?.iter() {
            ensure!(
                view.dtype() == Dtype::F32,
                "`{name}` is {:?}, expected f32",
                view.dtype()
            );
            let (values, _) = view.data().as_chunks::<4>();
            let values = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
            let shape = view.shape().to_vec();
            tensors.insert(name.to_owned(), Array { shape, values });
        }
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let fixture = Self::of(&name, head.cases, tensors);
        Ok(Self {
            root: root.to_owned(),
            kind: head.kind,
            seed: head.seed,
            ..fixture
        })
    }

    /// A fixture without a model.
    pub fn of(name: &str, cases: Vec<Case>, tensors: BTreeMap<String, Array>) -> Self {
        Self {
            root: PathBuf::new(),
            name: name.to_owned(),
            kind: String::new(),
            seed: 0,
            cases,
            tensors,
            unets: RefCell::default(),
        }
    }

    /// A folder of the model.
    pub fn part(&self, name: &str) -> PathBuf {
        self.root.join("model").join(name)
    }

    pub fn is_xl(&self) -> bool {
        self.part("text_encoder_2").is_dir()
    }

    pub fn schedule(&self) -> Result<ScheduleConfig> {
        Ok(ScheduleConfig::from_folder(&self.part("scheduler"))?)
    }

    /// A copy of the U-Net, with or without autodiff; copies share their weights.
    pub fn unet(&self, autodiff: bool, precision: Precision) -> Result<UNet> {
        let mut unets = self.unets.borrow_mut();
        let found = unets.iter().find(|(a, p, _)| (*a, *p) == (autodiff, precision));
        if let Some((_, _, unet)) = found {
            return Ok(unet.clone());
        }
        let device = match autodiff {
            false => Device::flex(),
            true => Device::flex().autodiff(),
        };
        let unet = UNet::load(&self.part("unet"), &device, precision)?;
        unets.push((autodiff, precision, unet.clone()));
        Ok(unet)
    }

    fn array(&self, name: &str) -> Result<&Array> {
        self.tensors.get(name).with_context(|| format!("no tensor `{name}`"))
    }
}

impl Case {
    /// An input.
    pub fn input<const D: usize>(&self, fixture: &Fixture, role: &str, device: &Device) -> Result<Tensor<D>> {
        let array = fixture.array(self.inputs.get(role).with_context(|| format!("no input `{role}`"))?)?;
        ensure!(
            array.shape.len() == D,
            "input `{role}` has {} dimensions, expected {D}",
            array.shape.len()
        );
        Ok(Tensor::from_data(
            TensorData::new(array.values.clone(), array.shape.clone()),
            device,
        ))
    }

    /// An input of one dimension.
    pub fn numbers(&self, fixture: &Fixture, role: &str) -> Result<Vec<f32>> {
        Ok(fixture
            .array(self.inputs.get(role).with_context(|| format!("no input `{role}`"))?)?
            .values
            .clone())
    }

    /// The timesteps among the inputs, as whole numbers.
    pub fn timesteps(&self, fixture: &Fixture) -> Result<Vec<usize>> {
        Ok(self
            .numbers(fixture, "timesteps")?
            .iter()
            .map(|t| *t as usize)
            .collect())
    }

    /// What SDXL takes besides.
    pub fn added(&self, fixture: &Fixture, device: &Device) -> Result<Option<Added>> {
        if !self.inputs.contains_key("text_embeds") {
            return Ok(None);
        }
        Ok(Some(Added {
            text_embeds: self.input(fixture, "text_embeds", device)?,
            time_ids: self.input(fixture, "time_ids", device)?,
        }))
    }

    /// How the case keeps the U-Net's weights.
    pub fn weights(&self) -> Result<Precision> {
        match self.params.get("weights").map(Value::as_str) {
            None => Ok(Precision::F32),
            Some(Some("int8")) => Ok(Precision::Int8),
            Some(other) => bail!("no weights `{other:?}`"),
        }
    }

    pub fn text(&self, key: &str) -> Result<&str> {
        self.params
            .get(key)
            .and_then(Value::as_str)
            .with_context(|| format!("no text `{key}` among the params"))
    }

    pub fn number(&self, key: &str) -> Result<f64> {
        self.params
            .get(key)
            .and_then(Value::as_f64)
            .with_context(|| format!("no number `{key}` among the params"))
    }

    pub fn count(&self, key: &str) -> Result<usize> {
        let count = self
            .params
            .get(key)
            .and_then(Value::as_u64)
            .and_then(|n| usize::try_from(n).ok());
        count.with_context(|| format!("no count `{key}` among the params"))
    }

    /// A param that is some serialised value.
    pub fn param<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T> {
        let value = self
            .params
            .get(key)
            .with_context(|| format!("no `{key}` among the params"))?;
        Ok(serde_json::from_value(value.clone())?)
    }

    pub fn sampler(&self) -> Result<SamplerChoice> {
        Ok(self.text("sampler")?.parse()?)
    }
}
