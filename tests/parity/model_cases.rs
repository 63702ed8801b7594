//! The networks' cases: ids, embeddings, predictions with and without an adapter, and pictures.

use anyhow::{Context, Result};
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
    let out = predict(&fixture.unet(false)?, fixture, case, &mut |name, value| {
        if wanted && seen.is_ok() {
            let role = format!("probe/{name}");
            seen = match value {
                Probe::Map(x) => check.tensor(&role, x.clone()),
                Probe::Vector(x) => check.tensor(&role, x.clone()),
            };
        }
    })?;
    seen?;
    check.tensor("noise_pred", out)
}

pub fn lora(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let file = adapter::read(&fixture.root.join(case.text("file")?))?;
    let mut unet = fixture.unet(false)?;
    lora_room::attach_modules(&mut unet, &file.modules, case.number("weight")?)?;
    check.tensor("noise_pred", predict(&unet, fixture, case, &mut |_, _| {})?)
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
