//! Spreads, and samplers on them, against the numbers of `ComfyUI`'s own functions.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{assert_near, parse, unit};
use crate::model::params::to_vec;
use crate::model::samplers::{Sampler, SamplerChoice, SamplerKind, Spread};
use crate::model::scheduler::NoiseSchedule;

/// What `scripts/parity/make_comfyui.py` wrote.
#[derive(Deserialize)]
struct Golden {
    base: Map<String, Value>,
    own_differ_by: f64,
    spreads: Vec<Table>,
    traces: Vec<Trace>,
}

#[derive(Deserialize)]
struct Table {
    spread: String,
    steps: usize,
    sigmas: Vec<f64>,
    timesteps: Vec<f64>,
    init: f64,
}

#[derive(Deserialize)]
struct Trace {
    sampler: String,
    spread: String,
    steps: usize,
    trace: Vec<[f64; 2]>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../tests/fixtures/samplers/comfyui.json")).unwrap()
}

fn sampler(golden: &Golden, kind: &str, spread: &str, steps: usize) -> Sampler {
    let choice = SamplerChoice {
        spread: Some(spread.parse().unwrap()),
        ..kind.parse().unwrap()
    };
    Sampler::new(choice, &parse(&golden.base), steps, 0).unwrap()
}

/// The timestep of a sigma, between two of the training.
fn exact(alphas: &[f32], sigma: f64) -> f64 {
    let logs = alphas.iter().map(|a| f64::from(((1.0 - a) / a).sqrt()).ln());
    let logs: Vec<f64> = logs.collect();
    let low = logs.partition_point(|log| *log <= sigma.ln()).clamp(1, logs.len() - 1) - 1;
    low as f64 + ((sigma.ln() - logs[low]) / (logs[low + 1] - logs[low])).clamp(0.0, 1.0)
}

#[test]
fn spreads_are_those_of_comfyui() {
    let golden = golden();
    let alphas = NoiseSchedule::new(&parse(&golden.base)).alphas_cumprod().to_vec();
    let (mut seen, mut ties) = (Vec::new(), 0);
    for table in &golden.spreads {
        let what = format!("{} in {} steps", table.spread, table.steps);
        let sampler = sampler(&golden, "euler", &table.spread, table.steps);
        assert_eq!(sampler.sigmas().len(), table.sigmas.len(), "{what}");
        for (a, b) in sampler.sigmas().iter().zip(&table.sigmas) {
            assert!((f64::from(*a) - b).abs() <= 2e-6 * b, "{what}: {a} is not {b}");
        }
        assert_eq!(sampler.timesteps().len(), table.timesteps.len(), "{what}");
        for ((a, b), sigma) in sampler.timesteps().iter().zip(&table.timesteps).zip(&table.sigmas) {
            let between = exact(&alphas, *sigma);
            let tie = (between.fract() - 0.5).abs() < 1e-3;
            let either = [between.floor(), between.ceil()].contains(b);
            assert!(
                f64::from(*a) == *b || (tie && either),
                "{what}: {a} is not {b}, at {between}"
            );
            ties += usize::from(tie);
        }
        assert_near(&[sampler.init_noise_sigma()], &[table.init], 1e-6, &what);
        seen.push(table.spread.clone());
    }
    assert!((1..20).contains(&ties), "{ties}");
    seen.dedup();
    for spread in Spread::ALL {
        assert!(seen.iter().any(|name| name == spread.as_str()), "{spread}");
    }
    // Its own table of the training is kept in f64 until the end, which is all that it differs by.
    assert!(golden.own_differ_by < 1.5e-5);
}

/// Also where a spread has another number of steps than it was asked for.
#[test]
fn the_last_steps_are_the_end_of_the_table() {
    let golden = golden();
    for table in golden.spreads.iter().filter(|table| table.steps > 2) {
        let choice = SamplerChoice {
            kind: SamplerKind::Euler,
            spread: Some(table.spread.parse().unwrap()),
        };
        let last = Sampler::last(choice, &parse(&golden.base), table.steps, 4).unwrap();
        let end = &table.sigmas[table.sigmas.len() - 5..];
        assert_near(last.sigmas(), end, 2e-6, &table.spread);
        assert_eq!(last.timesteps().len(), 4);
    }
}

#[test]
fn samplers_on_spreads_give_the_numbers_of_comfyui() {
    let golden = golden();
    let mut worst = 0.0f64;
    for case in &golden.traces {
        let what = format!("{} {} {}", case.sampler, case.spread, case.steps);
        let mut sampler = sampler(&golden, &case.sampler, &case.spread, case.steps);
        // The shares of signal and noise in the latents: ComfyUI's have a signal of 1.
        let scale = |sampler: &Sampler, i: usize| match case.sampler.parse::<SamplerChoice>().unwrap().kind {
            kind if kind.explodes() || i == sampler.timesteps().len() => 1.0,
            _ => f64::from(sampler.sigmas()[i]).hypot(1.0),
        };
        let two = matches!(sampler_kind(&case.sampler), SamplerKind::Heun | SamplerKind::DpmPpSde);
        let mut sample = unit(900).mul_scalar(sampler.init_noise_sigma());
        let mut step = 0;
        for (i, t) in sampler.timesteps().to_vec().into_iter().enumerate() {
            let input = sampler.scale_input(i, sample.clone()).unwrap();
            let output = (input.mul_scalar(1.7f32) + t * 0.003).sin();
            sample = sampler.step(i, output, sample, Some(unit(i))).unwrap();
            // ComfyUI shows the sample of whole steps.
            if two && i % 2 == 0 && i + 1 < sampler.timesteps().len() {
                continue;
            }
            let shown = to_vec(sample.clone().mul_scalar(scale(&sampler, i + 1) as f32));
            worst = worst.max(assert_near(
                &shown,
                &case.trace[step],
                1e-5,
                &format!("{what}, step {step}"),
            ));
            step += 1;
        }
        assert_eq!(step, case.trace.len(), "{what}");
    }
    println!("{} traces, worst {worst:.1e}", golden.traces.len());
}

fn sampler_kind(name: &str) -> SamplerKind {
    name.parse::<SamplerChoice>().unwrap().kind
}
