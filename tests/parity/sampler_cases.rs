//! The noise schedule's cases, and whole sampling runs with guidance.

use std::path::Path;

use anyhow::{Result, ensure};
use assent::model::samplers::Sampler;
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
fn tables(sampler: &dyn Sampler) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("timesteps".to_owned(), json!(sampler.timesteps()));
    out.insert("init_noise_sigma".to_owned(), json!(sampler.init_noise_sigma()));
    if let Some(sigmas) = sampler.sigmas() {
        out.insert("sigmas".to_owned(), json!(sigmas));
    }
    out
}

pub fn sampler(fixture: &Fixture, case: &Case, check: &mut Check<'_>) -> Result<()> {
    let kind = case.sampler()?;
    let whole = ScheduleConfig::parse(&case.param::<Value>("config")?.to_string(), Path::new("params.config"))?;
    let short = fixture.schedule()?;
    let steps = case.count("steps")?;
    let mut sampler = kind.build(&whole, steps)?;
    let same = tables(&*kind.build(&short, steps)?) == tables(&*sampler);
    ensure!(
        same,
        "the model's own scheduler_config.json gives other tables than params.config"
    );

    for (key, value) in tables(&*sampler) {
        check.value(&key, &value)?;
    }
    let mut more = Map::new();
    for steps in case.param::<Vec<usize>>("tables")? {
        more.insert(steps.to_string(), tables(&*kind.build(&whole, steps)?).into());
    }
    check.value("tables", &more.into())?;

    let device = Device::flex();
    let unet = fixture.unet(false)?;
    let guidance = case.number("guidance")?;
    let twice = |x: Tensor<4>| Tensor::cat(vec![x.clone(), x], 0);
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

    let mut latents: Tensor<4> = case.input(fixture, "latents", &device)?;
    latents = latents.mul_scalar(sampler.init_noise_sigma());
    let mut trace = Vec::new();
    for (i, t) in sampler.timesteps().to_vec().into_iter().enumerate() {
        let input = twice(sampler.scale_input(i, latents.clone())?);
        let mut halves = unet
            .forward(input, &[t], &context, added.as_ref())
            .chunk(2, 0)
            .into_iter();
        let (Some(uncond), Some(cond)) = (halves.next(), halves.next()) else {
            anyhow::bail!("the prediction has no two halves");
        };
        let output = uncond.clone() + (cond - uncond).mul_scalar(guidance);
        latents = sampler.step(i, output, latents)?;
        trace.push(latents.clone());
    }
    check.tensor("trace", Tensor::<4>::stack::<5>(trace, 0))?;
    check.tensor("latents", latents)
}
