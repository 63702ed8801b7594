//! The objectives against their formulas in PyTorch, and the inputs that tests share with scripts.

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use super::aim::{Aim, HuberSchedule, LossType, Weighting};
use super::loss::{Special, measure, reduce, weighed};
use super::{masks, noise};
use crate::model::params::to_vec;
use crate::model::scheduler::{NoiseSchedule, PredictionType, ScheduleConfig};

/// Value `i` of stream `key` in [-1, 1): as `scripts/parity/draws.py` makes it.
pub(super) fn unit(key: u64, i: u64) -> f32 {
    let mixed = (key * 1_000_003 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (((mixed ^ (mixed >> 29)) >> 11) as f64 / (1u64 << 52) as f64 - 1.0) as f32
}

fn units(key: u64, n: u64) -> Vec<f32> {
    (0..n).map(|i| unit(key, i)).collect()
}

/// What `scripts/parity/make_objectives.py` wrote.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/fixtures/objectives/cases.json")).unwrap()
}

fn schedule() -> NoiseSchedule {
    NoiseSchedule::new(&ScheduleConfig {
        beta_start: 0.00085,
        beta_end: 0.012,
        scaled: true,
        ..ScheduleConfig::default()
    })
}

fn near(found: f32, expected: &Value, what: &str) {
    let expected = expected.as_f64().unwrap();
    let off = (f64::from(found) - expected).abs() / expected.abs().max(1e-3);
    assert!(off < 2e-5, "{what}: {found}, expected {expected}");
}

fn all_near(found: &[f32], expected: &Value, what: &str) {
    let expected = expected.as_array().unwrap();
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected.as_f64().unwrap()).abs();
        assert!(off < 2e-6, "{what} {i}: {found}, expected {expected}");
    }
}

#[test]
fn weights_of_timesteps_are_those_of_the_papers() {
    let golden = golden();
    let aim = |weighting| Aim {
        weighting,
        ..Aim::default()
    };
    let plain = aim(Weighting::Even);
    assert!(plain.is_even());
    let aims = [
        ("min_snr", aim(Weighting::MinSnr(5.0))),
        ("debiased", aim(Weighting::Debiased)),
        ("p2", aim(Weighting::P2 { gamma: 0.7, k: 1.5 })),
        ("scaled", Aim { scale_v: true, ..plain }),
        (
            "like_v",
            Aim {
                like_v: Some(0.2),
                ..plain
            },
        ),
    ];
    let mut checked = 0;
    for case in golden["weights"].as_array().unwrap() {
        let prediction = match case["prediction"].as_str().unwrap() {
            "epsilon" => PredictionType::Epsilon,
            "v_prediction" => PredictionType::Velocity,
            _ => PredictionType::Sample,
        };
        let schedule = schedule().predicting(prediction);
        let timestep = case["timestep"].as_u64().unwrap() as usize;
        for (name, aim) in &aims {
            if let Some(expected) = case.get(*name) {
                assert!(!aim.is_even());
                near(
                    aim.weight(&schedule, timestep).unwrap(),
                    expected,
                    &format!("{name} {case}"),
                );
                checked += 1;
            }
        }
    }
    assert_eq!(checked, 8 * (3 * 3 + 2));
}

#[test]
fn thresholds_follow_their_courses() {
    let golden = &golden()["thresholds"];
    for case in golden["cases"].as_array().unwrap() {
        for (name, huber_schedule) in [
            ("constant", HuberSchedule::Constant),
            ("exponential", HuberSchedule::Exponential),
            ("snr", HuberSchedule::Snr),
        ] {
            let aim = Aim {
                huber_schedule,
                huber_c: golden["c"].as_f64().unwrap(),
                huber_scale: golden["scale"].as_f64().unwrap(),
                ..Aim::default()
            };
            let timestep = case["timestep"].as_u64().unwrap() as usize;
            near(aim.threshold(&schedule(), timestep).unwrap(), &case[name], name);
        }
    }
}

#[test]
fn errors_are_measured_as_pytorch_measures_them() {
    let golden = golden();
    for (name, loss) in [
        ("l2", LossType::L2),
        ("l1", LossType::L1),
        ("huber", LossType::Huber),
        ("smooth_l1", LossType::SmoothL1),
    ] {
        let device = Device::flex().autodiff();
        let tensor = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, [2, 3, 8, 8]), &device);
        let prediction = tensor(units(1, 384).into_iter().map(|v| v * 2.0).collect()).require_grad();
        let c = Tensor::<4>::from_data(TensorData::new(vec![0.1f32, 0.6], [2, 1, 1, 1]), &device);
        let error = measure(prediction.clone() - tensor(units(2, 384)), loss, || Ok(c)).unwrap();
        let each = error.reshape([2, -1]).mean_dim(1);
        let gradients = each.clone().sum().backward();
        all_near(&to_vec(each), &golden["losses"][name]["losses"], name);
        let gradient: Vec<f32> = to_vec(prediction.grad(&gradients).unwrap())
            .into_iter()
            .step_by(7)
            .collect();
        all_near(&gradient, &golden["losses"][name]["gradient"], name);
    }
}

#[test]
fn regularization_pictures_count_as_pytorch_counts_them() {
    let golden = &golden()["prior"];
    let device = Device::flex().autodiff();
    let tensor = |values: Vec<f32>| Tensor::<4>::from_data(TensorData::new(values, [4, 3, 8, 8]), &device);
    let prediction = tensor(units(21, 768).into_iter().map(|v| v * 2.0).collect()).require_grad();
    let weight = golden["weight"].as_f64().unwrap() as f32;
    // By the places of the pictures: the first and the last are to be learned.
    let special = Special {
        weights: weighed(None, &[1.0, weight, weight, 1.0], &[0, 1, 2, 3]),
        ..Special::default()
    };
    let aim = Aim {
        weighting: Weighting::MinSnr(5.0),
        ..Aim::default()
    };
    let timesteps: Vec<usize> = serde_json::from_value(golden["timesteps"].clone()).unwrap();
    let difference = prediction.clone() - tensor(units(22, 768));
    let (loss, _) = reduce(difference, (&schedule(), &timesteps), &aim, &special).unwrap();
    let gradients = loss.backward();
    near(to_vec(loss)[0], &golden["loss"], "loss");
    let gradient = to_vec(prediction.grad(&gradients).unwrap());
    let gradient: Vec<f32> = gradient.into_iter().step_by(7).collect();
    all_near(&gradient, &golden["gradient"], "gradient");
    // The chance of a timestep counts besides.
    assert_eq!(
        weighed(Some(vec![2.0, 4.0]), &[1.0, 0.5], &[1, 0]),
        Some(vec![1.0, 4.0])
    );
    assert_eq!(weighed(Some(vec![2.0]), &[], &[0]), Some(vec![2.0]));
}

#[test]
fn noises_are_those_of_the_formulas() {
    let golden = &golden()["noises"];
    let (shape, latents, shifts) = ([2, 3, 8, 8], units(4, 384), units(5, 6));
    for (name, strength) in [
        ("offset", (0.1, None)),
        ("adaptive", (0.1, Some(0.5))),
        ("adaptive_negative", (0.02, Some(-0.5))),
    ] {
        let mut found = units(3, 384);
        noise::offset(&mut found, &latents, shape, strength, &shifts);
        all_near(&found, &golden[name], name);
    }
    let coarse: Vec<_> = [[8, 8], [3, 3], [1, 2]]
        .into_iter()
        .enumerate()
        .map(|(i, size)| (size, units(10 + i as u64, 6 * (size[0] * size[1]) as u64)))
        .collect();
    let mut found = units(3, 384);
    noise::pyramid(&mut found, shape, &coarse, 0.4);
    all_near(&found, &golden["pyramid"], "pyramid");
    let found = noise::perturbed(&units(3, 384), &units(6, 384), 0.1);
    all_near(&found, &golden["perturbed"], "perturbed");
    all_near(&masks::averaged(&units(7, 256), 16, 4), &golden["mask"], "mask");
}

#[test]
fn levels_shrink_at_least_twofold_and_end_at_one() {
    for seed in 0..50 {
        let mut draws = crate::model::weights::Draws::new(seed, "levels");
        let sizes = noise::levels(64, 48, 8, &mut draws);
        assert_eq!(sizes[0], [64, 48]);
        for (i, size) in sizes.iter().enumerate() {
            let most = 2usize.pow(i as u32);
            assert!(size[0] <= 64 / most && size[1] <= (48 / most).max(1) && size[1] >= 48 / 4usize.pow(i as u32));
        }
        assert!(sizes.len() == 8 || sizes[sizes.len() - 1].contains(&1));
        assert!(sizes[..sizes.len() - 1].iter().all(|size| !size.contains(&1)));
    }
}

#[test]
fn a_schedule_can_end_in_noise_alone() {
    let golden = golden();
    let schedule = schedule().predicting(PredictionType::Velocity).zero_terminal_snr();
    let timesteps = golden["timesteps"].as_array().unwrap();
    let found: Vec<f32> = timesteps
        .iter()
        .map(|t| schedule.alphas_cumprod()[t.as_u64().unwrap() as usize])
        .collect();
    all_near(&found, &golden["zero_terminal"], "ᾱ");
    assert_eq!(schedule.alphas_cumprod().last(), Some(&0.0));
    let aim = |weighting, scale_v| Aim {
        weighting,
        scale_v,
        huber_c: 0.1,
        ..Aim::default()
    };
    for weighting in [
        Weighting::MinSnr(5.0),
        Weighting::Debiased,
        Weighting::P2 { gamma: 1.0, k: 1.0 },
    ] {
        for scale_v in [false, true] {
            assert!(aim(weighting, scale_v).weight(&schedule, 999).unwrap().is_finite());
        }
    }
    near(
        aim(Weighting::Even, false).threshold(&schedule, 999).unwrap(),
        &0.1.into(),
        "c",
    );
}
