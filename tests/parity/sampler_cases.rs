//! The noise schedule's cases, and whole sampling runs with guidance.

use std::path::Path;

use anyhow::{Result, ensure};
use assent::generate::{Guide, denoise};
use assent::model::samplers::{Sampler, SamplerChoice, SamplerKind};
use assent::model::scheduler::{NoiseSchedule, ScheduleConfig};
use assent::model::unet::Added;
use burn::tensor::{Device, Tensor};
use serde_json::{Map, Value, json};

use crate::check::Check;
use crate::fixture::{Case, Fixture};

pub fn scheduler(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let device = Device::flex();
    let schedule = NoiseSchedule::new(&fixture.schedule()?);
    let timesteps = case.timesteps(fixture)?;
    let sample: Tensor<4> = case.input(fixture, "sample", &device)?;
    let noise: Tensor<4> = case.input(fixture, "noise", &device)?;
    check.output("alphas_cumprod", &[schedule.len()], schedule.alphas_cumprod())?;
    check.tensor("noisy", schedule.add_noise(sample.clone(), noise.clone(), &timesteps)?)?;
    check.tensor("velocity", schedule.velocity(sample, noise, &timesteps)?)?;
    let snr = timesteps
        .iter()
        .map(|t| schedule.snr(*t))
        .collect::<Result<Vec<f32>, _>>()?;
    check.output("snr", &[snr.len()], &snr)
}

/// A sampler's tables, as the fixture states them.
fn tables(choice: SamplerChoice, config: &ScheduleConfig, steps: usize) -> Result<Map<String, Value>> {
    let sampler = Sampler::new(choice, config, steps, 0)?;
    let mut out = Map::new();
    out.insert("timesteps".to_owned(), json!(sampler.timesteps()));
    out.insert("init_noise_sigma".to_owned(), json!(sampler.init_noise_sigma()));
    // diffusers' DDIM has no such table.
    if choice.kind != SamplerKind::Ddim {
        out.insert("sigmas".to_owned(), json!(sampler.sigmas()));
    }
    Ok(out)
}

pub fn sampler(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let kind = case.sampler()?;
    let whole = ScheduleConfig::parse(&case.param::<Value>("config")?.to_string(), Path::new("params.config"))?;
    let short = fixture.schedule()?;
    let steps = case.count("steps")?;
    let mut sampler = Sampler::new(kind, &whole, steps, 0)?;
    let same = tables(kind, &short, steps)? == tables(kind, &whole, steps)?;
    ensure!(
        same,
        "the model's own scheduler_config.json gives other tables than params.config"
    );

    for (key, value) in tables(kind, &whole, steps)? {
        check.value(&key, &value)?;
    }
    let mut more = Map::new();
    for steps in case.param::<Vec<usize>>("tables")? {
        more.insert(steps.to_string(), tables(kind, &whole, steps)?.into());
    }
    check.value("tables", &more.into())?;

    let device = Device::flex();
    let unet = fixture.unet(false, case.weights()?)?;
    let guidance = case.number("guidance")?;
    let context: Tensor<3> = Tensor::cat(
        vec![
            case.input(fixture, "uncond", &device)?,
            case.input(fixture, "cond", &device)?,
        ],
        0,
    );
    let added = if fixture.is_xl() {
        let ids: Tensor<2> = case.input(fixture, "time_ids", &device)?;
        let pooled = ["uncond_pooled", "cond_pooled"].map(|role| case.input::<2>(fixture, role, &device));
        let text_embeds = Tensor::cat(pooled.into_iter().collect::<Result<Vec<_>>>()?, 0);
        Some(Added {
            text_embeds,
            time_ids: Tensor::cat(vec![ids.clone(), ids], 0),
        })
    } else {
        None
    };

    let latents: Tensor<4> = case.input(fixture, "latents", &device)?;
    let latents = latents.mul_scalar(sampler.init_noise_sigma());
    let guide = Guide {
        context,
        added,
        cfg: guidance,
        rescale: 0.0,
        extra: None,
        restore: None,
    };
    let mut trace = Vec::new();
    // None of the fixtures' samplers adds noise.
    let no_noise = |_| Tensor::zeros(latents.dims(), &device);
    let latents = denoise(
        &unet,
        &mut sampler,
        latents.clone(),
        &guide,
        &no_noise,
        &mut |_, _, x| {
            trace.push(x.clone());
            Ok(())
        },
    )?;
    check.tensor("trace", Tensor::<4>::stack::<5>(trace, 0))?;
    check.tensor("latents", latents)
}
