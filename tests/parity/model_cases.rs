//! The networks' cases: ids, embeddings, predictions with and without an adapter, and pictures.

use anyhow::{Context, Result, bail, ensure};
use assent::kernels::Weight;
use assent::model::layers::{Conv2d, Linear, Module, Visitor};
use assent::model::params::to_vec;
use assent::model::text::TextEncoder;
use assent::model::tokenizer::{Padding, Tokenizer};
use assent::model::unet::{Probe, UNet};
use assent::model::vae::Vae;
use assent::model::weights::Precision;
use assent::{adapter, lora as lora_room};
use burn::tensor::{Device, Tensor};
use serde_json::json;

use crate::check::Check;
use crate::fixture::{Case, Fixture};

/// Length of an encoder's input.
const TOKENS: usize = 77;

/// The model's tokenizers, with the suffix of their folder.
fn tokenizers(fixture: &Fixture) -> Result<Vec<(&'static str, Tokenizer)>> {
    let suffixes: &[&str] = if fixture.is_xl() { &["", "_2"] } else { &[""] };
    let open = |s: &&'static str| Ok((*s, Tokenizer::from_folder(&fixture.part(&format!("tokenizer{s}")))?));
    suffixes.iter().map(open).collect()
}

pub fn tokenizer(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let texts: Vec<String> = case.param("texts")?;
    for (suffix, tokenizer) in tokenizers(fixture)? {
        let ids: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode(text)).collect();
        let padding = match fixture.kind.as_str() {
            "sd2" => Padding::Zero,
            "sdxl" if suffix == "_2" => Padding::Zero,
            _ => Padding::End,
        };
        let built_in = Tokenizer::clip(padding)?;
        for (text, ids) in texts.iter().zip(&ids) {
            anyhow::ensure!(
                built_in.encode(text) == *ids,
                "the built-in tokenizer reads {text:?} otherwise"
            );
        }
        anyhow::ensure!(
            built_in.pad() == tokenizer.pad(),
            "the built-in tokenizer pads otherwise"
        );
        check.value(&format!("ids{suffix}"), &json!(ids))?;
    }
    Ok(())
}

pub fn text(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let device = Device::flex();
    let prompts: Vec<String> = case.param("prompts")?;
    let mut hidden = Vec::new();
    let mut pooled = None;
    for (suffix, tokenizer) in tokenizers(fixture)? {
        let ids: Vec<Vec<u32>> = prompts
            .iter()
            .map(|text| tokenizer.encode_padded(text, TOKENS))
            .collect();
        check.value(&format!("input_ids{suffix}"), &json!(ids))?;
        let encoder = TextEncoder::load(&fixture.part(&format!("text_encoder{suffix}")), &device, Precision::F32)?;
        let encoded = encoder.forward(&ids, &device);
        hidden.push(if fixture.is_xl() {
            encoded.hidden(2)
        } else {
            encoded.last
        });
        pooled = Some(encoded.pooled);
    }
    check.tensor("prompt_embeds", Tensor::cat(hidden, 2))?;
    if fixture.is_xl() {
        check.tensor("pooled", pooled.context("no encoder")?)?;
    }
    Ok(())
}

/// The prediction for a case's inputs.
fn predict(unet: &UNet, fixture: &Fixture, case: &Case, probe: &mut dyn FnMut(&str, Probe<'_>)) -> Result<Tensor<4>> {
    let device = Device::flex();
    Ok(unet.forward_probed(
        case.input(fixture, "sample", &device)?,
        &case.numbers(fixture, "timesteps")?,
        &case.input(fixture, "encoder_hidden_states", &device)?,
        case.added(fixture, &device)?.as_ref(),
        probe,
    ))
}

pub fn unet(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let wanted = case.param::<bool>("probes")?;
    let mut seen = Ok(());
    let out = predict(
        &fixture.unet(false, case.weights()?)?,
        fixture,
        case,
        &mut |name, value| {
            if wanted && seen.is_ok() {
                let role = format!("probe/{name}");
                seen = match value {
                    Probe::Map(x) => check.tensor(&role, x.clone()),
                    Probe::Vector(x) => check.tensor(&role, x.clone()),
                };
            }
        },
    )?;
    seen?;
    check.tensor("noise_pred", out)
}

pub fn lora(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let file = adapter::read(&fixture.root.join(case.text("file")?))?;
    let mut unet = fixture.unet(false, case.weights()?)?;
    lora_room::attach_modules(&mut unet, &file.modules, case.number("weight")?)?;
    check.tensor("noise_pred", predict(&unet, fixture, case, &mut |_, _| {})?)
}

/// The layers of these paths, each run on an input of its own.
struct Layers<'c, 'a> {
    fixture: &'a Fixture,
    case: &'a Case,
    check: &'c mut Check<'a>,
    count: usize,
    failed: Result<()>,
}

impl Layers<'_, '_> {
    fn compare<const D: usize>(
        &mut self,
        path: &str,
        weight: &Weight<D>,
        forward: impl FnOnce(Tensor<D>) -> Tensor<D>,
    ) -> Result<()> {
        if !self.case.inputs.contains_key(path) {
            return Ok(());
        }
        self.count += 1;
        let Weight::Int8(int8) = weight else {
            bail!("the weight of `{path}` is not in int8");
        };
        let (numbers, scales) = int8.parts();
        for (role, shape, found) in [
            ("numbers", numbers.dims().to_vec(), to_vec(numbers.float())),
            ("scales", scales.dims().to_vec(), to_vec(scales)),
        ] {
            let role = format!("{role}/{path}");
            ensure!(self.check.expected(&role, &shape)? == found, "{role} differ");
        }
        let x = self
            .case
            .input(self.fixture, path, &Device::flex().autodiff())?
            .require_grad();
        let y = forward(x.clone());
        let gradients = (y.clone().square().sum() / 2.0).backward();
        let dx = x.grad(&gradients).context("no gradient")?;
        self.check.tensor(&format!("dx/{path}"), dx)?;
        self.check.tensor(&format!("y/{path}"), y)
    }
}

impl Visitor for Layers<'_, '_> {
    fn linear(&mut self, path: &str, layer: &mut Linear) {
        if self.failed.is_ok() {
            self.failed = self.compare(path, &layer.weight, |x| layer.forward(x));
        }
    }

    fn conv(&mut self, path: &str, layer: &mut Conv2d) {
        if self.failed.is_ok() {
            self.failed = self.compare(path, &layer.weight, |x| layer.forward(x));
        }
    }
}

pub fn int8<'a>(fixture: &'a Fixture, case: &'a Case, check: &mut Check<'a>) -> Result<()> {
    let mut layers = Layers {
        fixture,
        case,
        check,
        count: 0,
        failed: Ok(()),
    };
    fixture.unet(true, Precision::Int8)?.visit("", &mut layers);
    layers.failed?;
    ensure!(layers.count == case.inputs.len(), "not all layers were found");
    Ok(())
}

pub fn vae(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let device = Device::flex();
    let vae = Vae::load(&fixture.part("vae"), &device, Precision::F32)?;
    let mut probes = Vec::new();
    let mut keep = |name: &str, x: &Tensor<4>| probes.push((format!("probe/{name}"), x.clone()));
    let (mean, logvar) = vae.encode_probed(case.input(fixture, "image", &device)?, &mut keep);
    let decoded = vae.decode_probed(case.input(fixture, "latents", &device)?, &mut keep);
    for (role, x) in probes {
        check.tensor(&role, x)?;
    }
    check.tensor("mean", mean)?;
    check.tensor("logvar", logvar)?;
    check.tensor("decoded", decoded)
}
