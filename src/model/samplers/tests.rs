//! Every sampler against the numbers of its class in diffusers, and against what it is for.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::*;
use crate::model::params::to_vec;
use crate::model::scheduler::NoiseSchedule;

mod comfyui;

/// What `scripts/parity/make_samplers.py` wrote.
#[derive(Deserialize)]
struct Golden {
    base: Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    sampler: String,
    config: Map<String, Value>,
    steps: usize,
    skipped: usize,
    init: f64,
    timesteps: Vec<f64>,
    trace: Vec<[f64; 2]>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../tests/fixtures/samplers/cases.json")).unwrap()
}

fn parse(keys: &Map<String, Value>) -> ScheduleConfig {
    let text = serde_json::to_string(keys).unwrap();
    ScheduleConfig::parse(&text, Path::new("scheduler_config.json")).unwrap()
}

/// The usual configuration, with more keys.
fn config(more: &str) -> ScheduleConfig {
    let mut keys = golden().base;
    keys.extend(serde_json::from_str::<Map<String, Value>>(more).unwrap());
    parse(&keys)
}

fn tensor(values: &[f64]) -> Tensor<4> {
    let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    let shape = [1, 1, 1, values.len()];
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The script's formula for noise.
fn unit(key: usize) -> Tensor<4> {
    tensor(&[0.0, 1.0].map(|j| 1.4 * (12.9898 * (key as f64 + 1.0) + 78.233 * j).sin()))
}

fn sampler(name: &str, more: &str, steps: usize) -> Sampler {
    Sampler::new(name.parse().unwrap(), &config(more), steps, 0).unwrap()
}

fn assert_near(found: &[f32], expected: &[f64], tolerance: f64, what: &str) -> f64 {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1e-3f64, |a, b| a.max(b.abs()));
    let worst = found
        .iter()
        .zip(expected)
        .map(|(a, b)| (f64::from(*a) - b).abs() / scale)
        .fold(0.0, f64::max);
    assert!(worst <= tolerance, "{what}: {worst:.1e}: {found:?} is not {expected:?}");
    worst
}

/// Runs a case; the worst difference of a sample, in parts of its greatest value.
fn follow(case: &Case, config: &ScheduleConfig) -> f64 {
    let what = format!("{} {:?} {} steps", case.sampler, case.config, case.steps);
    let mut sampler = Sampler::new(case.sampler.parse().unwrap(), config, case.steps, case.skipped).unwrap();
    assert_near(&[sampler.init_noise_sigma()], &[case.init], 1e-6, &what);
    assert_near(sampler.timesteps(), &case.timesteps, 1e-6, &what);
    let mut sample = match case.skipped {
        0 => unit(900).mul_scalar(sampler.init_noise_sigma()),
        _ => sampler.noised(0, unit(900), unit(901)).unwrap(),
    };
    let mut worst = 0.0f64;
    for (i, t) in sampler.timesteps().to_vec().into_iter().enumerate() {
        let input = sampler.scale_input(i, sample.clone()).unwrap();
        let output = (input.mul_scalar(1.7f32) + t * 0.003).sin();
        sample = sampler.step(i, output, sample, Some(unit(i))).unwrap();
        // PyTorch's own rounding in f32, which a network as steep as this one makes up to ten times as large.
        worst = worst.max(assert_near(
            &to_vec(sample.clone()),
            &case.trace[i],
            1e-5,
            &format!("{what}, step {i}"),
        ));
    }
    worst
}

#[test]
fn every_sampler_gives_the_numbers_of_its_class_in_diffusers() {
    let golden = golden();
    let mut worst = BTreeMap::<&str, (usize, f64)>::new();
    for case in &golden.cases {
        let mut keys = golden.base.clone();
        keys.extend(case.config.clone());
        let of_case = follow(case, &parse(&keys));
        let entry = worst.entry(&case.sampler).or_default();
        *entry = (entry.0 + 1, entry.1.max(of_case));
    }
    for (name, (cases, worst)) in &worst {
        println!("{name:16} {cases:3} cases, worst {worst:.1e}");
    }
    assert_eq!(worst.len(), SamplerKind::ALL.len());
}

/// With a network that knows the clean picture, each sampler ends at it, whatever it starts from.
#[test]
fn a_perfect_network_is_followed_to_the_clean_sample() {
    for prediction in ["epsilon", "v_prediction", "sample"] {
        let more = format!(
            r#"{{"prediction_type": "{prediction}", "timestep_spacing": "trailing", "set_alpha_to_one": true}}"#
        );
        let config = config(&more);
        let schedule = NoiseSchedule::new(&config);
        for kind in SamplerKind::ALL {
            for spread in [None].into_iter().chain(Spread::ALL.map(Some)) {
                for steps in [1, 4, 20] {
                    let mut sampler = Sampler::new(SamplerChoice { kind, spread }, &config, steps, 0).unwrap();
                    let clean = tensor(&[0.7, -0.4]);
                    let mut latents = unit(900).mul_scalar(sampler.init_noise_sigma());
                    for (i, t) in sampler.timesteps().to_vec().into_iter().enumerate() {
                        let input = sampler.scale_input(i, latents.clone()).unwrap();
                        // What the sampler itself takes for the shares of signal and noise here.
                        let [a, b] = sampler.steps[i]
                            .noised
                            .map(|v| v as f32 * sampler.steps[i].scale as f32);
                        if spread.is_none() && !kind.explodes() && t.fract() == 0.0 {
                            let (signal, noise) = schedule.weights(t as usize).unwrap();
                            assert!((signal - a).abs() < 1e-5 && (noise - b).abs() < 1e-5, "{kind} at {t}");
                        }
                        let epsilon = (input.clone() - clean.clone().mul_scalar(a)).div_scalar(b);
                        let output = match config.prediction_type {
                            PredictionType::Epsilon => epsilon,
                            PredictionType::Velocity => epsilon.mul_scalar(a) - clean.clone().mul_scalar(b),
                            PredictionType::Sample => clean.clone(),
                        };
                        latents = sampler.step(i, output, latents, Some(unit(i))).unwrap();
                    }
                    let worst = (latents - clean).abs().max().into_scalar::<f32>();
                    // LCM gives back its sample near timestep 0 by design, with the noise of timestep 0, 0.03.
                    // The noise that the others divide out was rounded at a signal of 1/15 of it.
                    let bound = if kind == SamplerKind::Lcm { 5e-2 } else { 3e-5 };
                    assert!(worst < bound, "{kind} {spread:?} {prediction} {steps}: {worst}");
                }
            }
        }
    }
}

/// A known table of k-diffusion: Karras' sigmas of Stable Diffusion in 6 steps.
#[test]
fn karras_sigmas_are_those_of_k_diffusion() {
    let karras = [
        14.614_647,
        6.082_158_6,
        2.232_161_5,
        0.692_573_96,
        0.169_757_96,
        0.029_167_535,
        0.0,
    ];
    assert_near(sampler("euler_karras", "{}", 6).sigmas(), &karras, 1e-6, "karras");
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let refused = |kind: SamplerKind, more: &str, steps, skipped| {
        let sampler = Sampler::new(kind.into(), &config(more), steps, skipped);
        sampler.err().map(|e| e.to_string())
    };
    for kind in SamplerKind::ALL {
        assert!(refused(kind, "{}", 0, 0).unwrap().contains("cannot sample in 0 steps"));
        assert!(refused(kind, "{}", 1001, 0).unwrap().contains("1001 steps"));
        assert!(refused(kind, "{}", 5, 5).is_some());
        assert!(
            refused(kind, r#"{"use_beta_sigmas": true}"#, 5, 0)
                .unwrap()
                .contains("use_beta_sigmas")
        );
    }
    // Leading with an offset: 1000 steps would begin at timestep 1000.
    assert!(
        refused(SamplerKind::Ddim, "{}", 1000, 0)
            .unwrap()
            .contains("expected 1 to 999")
    );
    assert!(refused(SamplerKind::Ddim, "{}", 999, 0).is_none());
    assert!(
        refused(SamplerKind::Lcm, "{}", 51, 0)
            .unwrap()
            .contains("expected 1 to 50")
    );
    for kind in SamplerKind::ALL {
        let mut s = sampler(kind.as_str(), "{}", 3);
        let past = s.timesteps().len();
        assert!(s.step(past, unit(0), unit(1), None).is_err());
        s.step(0, unit(0), unit(1), Some(unit(2))).unwrap();
        let skipping = s.step(2, unit(0), unit(1), Some(unit(2))).unwrap_err();
        assert!(skipping.to_string().contains("expected 1"));
        // Number 0 begins anew.
        s.step(0, unit(0), unit(1), Some(unit(2))).unwrap();
    }
    let mut ancestral = sampler("euler_ancestral", "{}", 3);
    assert!(ancestral.wants_noise(0).unwrap() && !ancestral.wants_noise(2).unwrap());
    assert!(
        ancestral
            .step(0, unit(0), unit(1), None)
            .unwrap_err()
            .to_string()
            .contains("needs noise")
    );
}

#[test]
fn names_of_three_programs_mean_the_same() {
    for kind in SamplerKind::ALL {
        for spread in [None].into_iter().chain(Spread::ALL.map(Some)) {
            let choice = SamplerChoice { kind, spread };
            assert_eq!(choice.to_string().parse::<SamplerChoice>().unwrap(), choice);
        }
    }
    let is = |name: &str, kind, spread| {
        assert_eq!(
            name.parse::<SamplerChoice>().unwrap(),
            SamplerChoice { kind, spread },
            "{name}"
        );
    };
    is("dpmpp_2m_karras", SamplerKind::DpmPp2m, Some(Spread::Karras));
    is("DPM++ 2M Karras", SamplerKind::DpmPp2m, Some(Spread::Karras));
    is(
        "DPM++ 2M SDE Exponential",
        SamplerKind::DpmPp2mSde,
        Some(Spread::Exponential),
    );
    is("DPM++ SDE", SamplerKind::DpmPpSde, None);
    is("Euler a", SamplerKind::EulerAncestral, None);
    is("EulerAncestralDiscreteScheduler", SamplerKind::EulerAncestral, None);
    is("DPMSolverMultistepScheduler", SamplerKind::DpmPp2m, None);
    is("UniPCMultistep", SamplerKind::UniPc, None);
    let message = "plms".parse::<SamplerChoice>().unwrap_err().to_string();
    assert!(
        message.contains("ddim, euler") && message.contains("normal, karras"),
        "{message}"
    );
    is("dpmpp_2m_sde_gpu", SamplerKind::DpmPp2mSde, None);
    is("uni_pc_bh2", SamplerKind::UniPc, None);
    is("DPM++ SDE KL Optimal", SamplerKind::DpmPpSde, Some(Spread::KlOptimal));
    for (name, spread) in [
        ("Karras", Spread::Karras),
        ("SGM Uniform", Spread::SgmUniform),
        ("Uniform", Spread::Normal),
        ("DDIM", Spread::DdimUniform),
    ] {
        assert_eq!(name.parse::<Spread>().unwrap(), spread);
    }
    assert!("align_your_steps".parse::<Spread>().is_err());
}
