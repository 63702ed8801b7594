//! Tables against diffusers' numbers, written out, and every sampler against what it is for.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::model::scheduler::NoiseSchedule;

fn config(more: &str) -> ScheduleConfig {
    let text = format!(
        r#"{{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": false,
            "set_alpha_to_one": false, "steps_offset": 1{more}}}"#
    );
    ScheduleConfig::parse(&text, Path::new("scheduler_config.json")).unwrap()
}

fn wave(frequency: f32) -> Tensor<4> {
    let values: Vec<f32> = (0..36).map(|i| (i as f32 * frequency).sin()).collect();
    Tensor::from_data(TensorData::new(values, [1, 4, 3, 3]), &Device::flex())
}

fn timesteps(kind: SamplerKind, more: &str, steps: usize) -> Vec<f32> {
    kind.build(&config(more), steps).unwrap().timesteps().to_vec()
}

fn assert_near(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (a, b) in found.iter().zip(expected) {
        // diffusers' own f32, give or take a unit in the last place of what the table is made from.
        assert!((a - b).abs() <= 1e-6 * b.abs(), "{found:?} is not {expected:?}");
    }
}

#[test]
fn each_sampler_has_its_own_default_spacing() {
    assert_eq!(
        timesteps(SamplerKind::Ddim, "", 6),
        [831.0, 665.0, 499.0, 333.0, 167.0, 1.0]
    );
    assert_near(
        &timesteps(SamplerKind::Euler, "", 6),
        &[999.0, 799.2, 599.4, 399.6, 199.8, 0.0],
    );
    assert_eq!(
        timesteps(SamplerKind::DpmPp2m, "", 6),
        [999.0, 832.0, 666.0, 500.0, 333.0, 166.0]
    );
    assert_eq!(
        timesteps(SamplerKind::DpmPp2mKarras, "", 6),
        [999.0, 837.0, 594.0, 249.0, 30.0, 0.0]
    );
}

#[test]
fn a_spacing_in_the_configuration_counts_for_all() {
    let leading = r#", "timestep_spacing": "leading""#;
    assert_eq!(
        timesteps(SamplerKind::Euler, leading, 6),
        [831.0, 665.0, 499.0, 333.0, 167.0, 1.0]
    );
    assert_eq!(
        timesteps(SamplerKind::DpmPp2m, leading, 4),
        [801.0, 601.0, 401.0, 201.0]
    );
    let trailing = r#", "timestep_spacing": "trailing""#;
    for kind in [SamplerKind::Ddim, SamplerKind::Euler, SamplerKind::DpmPp2m] {
        assert_eq!(timesteps(kind, trailing, 6), [999.0, 832.0, 666.0, 499.0, 332.0, 166.0]);
    }
    let linspace = r#", "timestep_spacing": "linspace""#;
    assert_eq!(
        timesteps(SamplerKind::Ddim, linspace, 6),
        [999.0, 799.0, 599.0, 400.0, 200.0, 0.0]
    );
    assert_eq!(timesteps(SamplerKind::Ddim, linspace, 1), [0.0]);
}

#[test]
fn sigmas_are_those_of_diffusers() {
    let sigmas = |kind: SamplerKind, steps| kind.build(&config(""), steps).unwrap().sigmas().unwrap().to_vec();
    let euler = [
        14.614_647,
        5.092_418_7,
        2.279_735,
        1.162_866_6,
        0.571_190_2,
        0.029_167_535,
        0.0,
    ];
    assert_near(&sigmas(SamplerKind::Euler, 6), &euler);
    let dpm = [
        14.614_647,
        5.934_704,
        2.918_308_5,
        1.618_279_7,
        0.932_358_4,
        0.492_409_68,
        0.0,
    ];
    assert_near(&sigmas(SamplerKind::DpmPp2m, 6), &dpm);
    let karras = [
        14.614_647,
        6.082_158_6,
        2.232_161_5,
        0.692_573_96,
        0.169_757_96,
        0.029_167_535,
        0.0,
    ];
    assert_near(&sigmas(SamplerKind::DpmPp2mKarras, 6), &karras);
    assert_near(&sigmas(SamplerKind::DpmPp2mKarras, 1), &[14.614_647, 0.0]);
}

#[test]
fn euler_starts_from_more_noise_where_the_spacing_is_leading() {
    let sigma = |more: &str| Euler::new(&config(more), 6).unwrap().init_noise_sigma();
    assert_near(&[sigma("")], &[14.614_647]);
    let leading = Euler::new(&config(r#", "timestep_spacing": "leading""#), 6).unwrap();
    let most = leading.sigmas().unwrap()[0];
    assert_near(&[leading.init_noise_sigma()], &[(most * most + 1.0).sqrt()]);
    // By its configuration, Euler takes Karras' sigmas too; its timesteps stay between whole ones.
    let karras = Euler::new(&config(r#", "use_karras_sigmas": true"#), 6).unwrap();
    assert_near(
        karras.sigmas().unwrap(),
        DpmPp2m::new(&config(r#", "use_karras_sigmas": true"#), 6)
            .unwrap()
            .sigmas()
            .unwrap(),
    );
    assert!(karras.timesteps()[2].fract() != 0.0);
}

/// With a network that knows the clean picture, each sampler ends at it, whatever it starts from.
#[test]
fn a_perfect_network_is_followed_to_the_clean_sample() {
    for prediction in ["epsilon", "v_prediction"] {
        let more = format!(r#", "prediction_type": "{prediction}", "timestep_spacing": "trailing""#);
        let mut config = config(&more);
        config.set_alpha_to_one = true;
        let schedule = NoiseSchedule::new(&config);
        for kind in SamplerKind::ALL {
            for steps in [1, 4, 20] {
                let mut sampler = kind.build(&config, steps).unwrap();
                let clean = wave(0.7);
                let noise = wave(2.3);
                let mut latents = noise.mul_scalar(sampler.init_noise_sigma());
                for (i, t) in sampler.timesteps().to_vec().into_iter().enumerate() {
                    let input = sampler.scale_input(i, latents.clone()).unwrap();
                    // The signal's share at a fractional timestep is what the sampler's own sigma says.
                    let (a, b) = match sampler.sigmas() {
                        Some(sigmas) => (
                            1.0 / (1.0 + sigmas[i] * sigmas[i]).sqrt(),
                            sigmas[i] / (1.0 + sigmas[i] * sigmas[i]).sqrt(),
                        ),
                        None => schedule.weights(t as usize).unwrap(),
                    };
                    let epsilon = (input.clone() - clean.clone().mul_scalar(a)).div_scalar(b);
                    let output = match config.prediction_type {
                        crate::model::scheduler::PredictionType::Epsilon => epsilon,
                        _ => epsilon.mul_scalar(a) - clean.clone().mul_scalar(b),
                    };
                    latents = sampler.step(i, output, latents).unwrap();
                }
                let worst = (latents - clean).abs().max().into_scalar::<f32>();
                // The noise that is divided out was rounded at a signal of 1/15 of it.
                assert!(worst < 2e-5, "{kind} {prediction} {steps}: {worst}");
            }
        }
    }
}

#[test]
fn clipping_bounds_the_clean_sample() {
    let device = Device::flex();
    let mut config = config("");
    config.clip_sample = Some(1.0);
    config.set_alpha_to_one = true;
    let mut sampler = Ddim::new(&config, 1).unwrap();
    let big = Tensor::<4>::full([1, 1, 1, 1], 100.0, &device);
    let out = sampler.step(0, big.zeros_like(), big).unwrap().into_scalar::<f32>();
    assert_near(&[out], &[1.0]);
}

#[test]
fn steps_that_cannot_be_are_refused() {
    let refused = |kind: SamplerKind, more: &str, steps| kind.build(&config(more), steps).err().map(|e| e.to_string());
    for kind in SamplerKind::ALL {
        assert!(refused(kind, "", 0).unwrap().contains("cannot sample in 0 steps"));
        assert!(refused(kind, "", 1001).unwrap().contains("1001 steps"));
        assert!(
            refused(kind, r#", "use_beta_sigmas": true"#, 5)
                .unwrap()
                .contains("use_beta_sigmas")
        );
    }
    // Leading with an offset: 1000 steps would begin at timestep 1000.
    assert!(
        refused(SamplerKind::Ddim, "", 1000)
            .unwrap()
            .contains("expected 1 to 999")
    );
    assert!(refused(SamplerKind::Ddim, "", 999).is_none());
    let device = Device::flex();
    let x = Tensor::<4>::zeros([1, 1, 1, 1], &device);
    for kind in SamplerKind::ALL {
        let mut sampler = kind.build(&config(""), 3).unwrap();
        assert!(sampler.step(3, x.clone(), x.clone()).is_err());
    }
    let mut dpm = DpmPp2m::new(&config(""), 3).unwrap();
    dpm.step(0, x.clone(), x.clone()).unwrap();
    assert!(
        dpm.step(2, x.clone(), x.clone())
            .unwrap_err()
            .to_string()
            .contains("expected 1")
    );
    dpm.step(0, x.clone(), x).unwrap();
}

#[test]
fn names_go_both_ways() {
    for kind in SamplerKind::ALL {
        assert_eq!(kind.to_string().parse::<SamplerKind>().unwrap(), kind);
    }
    assert!(
        "plms"
            .parse::<SamplerKind>()
            .unwrap_err()
            .to_string()
            .contains("ddim, euler")
    );
}
