//! Numbers of PyTorch and diffusers, written out; the rest of them is for `tests/parity.rs`.

use std::path::Path;

use burn::tensor::{Device, Tensor};

use super::*;

/// What SD 1.5 says of its schedule.
const SD15: &str = r#"{"_class_name": "PNDMScheduler", "beta_start": 0.00085, "beta_end": 0.012,
    "beta_schedule": "scaled_linear", "num_train_timesteps": 1000, "clip_sample": false, "set_alpha_to_one": false,
    "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null}"#;

fn parse(text: &str) -> Result<ScheduleConfig, ScheduleError> {
    ScheduleConfig::parse(text, Path::new("scheduler_config.json"))
}

fn schedule(text: &str) -> NoiseSchedule {
    NoiseSchedule::new(&parse(text).unwrap())
}

fn near(found: f32, expected: f32) {
    // Two units in the last place: betas and alphas are rounded as there, but perhaps not summed in that order.
    assert!(
        (found - expected).abs() <= 2.5e-7 * expected.abs(),
        "{found} is not {expected}"
    );
}

#[test]
fn alphas_are_those_of_diffusers() {
    let alphas = schedule(SD15);
    assert_eq!(alphas.len(), 1000);
    near(alphas.alphas_cumprod()[0], 0.999_15);
    near(alphas.alphas_cumprod()[500], 0.276_332_47);
    near(alphas.alphas_cumprod()[999], 0.004_660_095);
    // An empty file means linear from 0.0001 to 0.02.
    let linear = schedule("{}");
    near(linear.alphas_cumprod()[0], 0.9999);
    near(linear.alphas_cumprod()[500], 0.077_796_65);
    near(linear.alphas_cumprod()[999], 4.035_830_3e-5);
}

#[test]
fn missing_keys_mean_what_diffusers_takes_them_for() {
    assert_eq!(parse("{}").unwrap(), ScheduleConfig::default());
    let sd15 = parse(SD15).unwrap();
    assert_eq!(sd15.prediction_type, PredictionType::Epsilon);
    assert_eq!(
        (sd15.clip_sample, sd15.set_alpha_to_one, sd15.steps_offset),
        (Some(false), false, 1)
    );
    assert_eq!(sd15.timestep_spacing, None);
    // Null is as good as missing.
    assert_eq!(
        parse(r#"{"beta_schedule": null, "trained_betas": null}"#).unwrap(),
        ScheduleConfig::default()
    );
}

#[test]
fn what_is_not_computed_is_refused_by_key_and_value() {
    for (text, key, found) in [
        (
            r#"{"beta_schedule": "squaredcos_cap_v2"}"#,
            "beta_schedule",
            "squaredcos_cap_v2",
        ),
        (
            r#"{"prediction_type": "flow_prediction"}"#,
            "prediction_type",
            "flow_prediction",
        ),
        (r#"{"timestep_spacing": "karras"}"#, "timestep_spacing", "karras"),
        (r#"{"trained_betas": [0.1]}"#, "trained_betas", "[0.1]"),
        (r#"{"rescale_betas_zero_snr": true}"#, "rescale_betas_zero_snr", "true"),
        (r#"{"num_train_timesteps": 0}"#, "num_train_timesteps", "0"),
        (
            r#"{"num_train_timesteps": 4000000000}"#,
            "num_train_timesteps",
            "4000000000",
        ),
        (r#"{"beta_end": 1.5}"#, "beta_end", "1.5"),
        (r#"{"steps_offset": 1000}"#, "steps_offset", "1000"),
        (r#"{"clip_sample_range": -1}"#, "clip_sample_range", "-1"),
    ] {
        let message = parse(text).unwrap_err().to_string();
        assert!(message.contains(&format!("`{key}` is `{found}`")), "{message}");
        assert!(message.contains("scheduler_config.json"), "{message}");
    }
    assert!(
        parse(r#"{"beta_start": "small"}"#)
            .unwrap_err()
            .to_string()
            .contains("scheduler_config.json")
    );
    assert!(parse("{").is_err());
}

#[test]
fn a_sampler_s_key_does_not_hinder_training() {
    let config = parse(r#"{"algorithm_type": "sde-dpmsolver++"}"#).unwrap();
    assert!(
        config
            .check_sampling()
            .unwrap_err()
            .to_string()
            .contains("sde-dpmsolver++")
    );
    assert!(parse(SD15).unwrap().check_sampling().is_ok());
}

#[test]
fn a_folder_s_file_is_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(
        ScheduleConfig::from_folder(dir.path())
            .unwrap_err()
            .to_string()
            .contains("scheduler_config.json")
    );
    std::fs::write(dir.path().join("scheduler_config.json"), SD15).unwrap();
    assert_eq!(ScheduleConfig::from_folder(dir.path()).unwrap(), parse(SD15).unwrap());
}

#[test]
fn noise_velocity_and_target_go_by_the_sample_s_own_timestep() {
    let device = Device::flex();
    let schedule = schedule(r#"{"prediction_type": "v_prediction"}"#);
    let x = Tensor::<4>::full([2, 1, 1, 1], 2.0, &device);
    let e = Tensor::<4>::full([2, 1, 1, 1], 3.0, &device);
    let values = |t: Tensor<4>| t.into_data().try_to_vec::<f32>().unwrap();
    let noisy = values(schedule.add_noise(x.clone(), e.clone(), &[0, 999]).unwrap());
    let velocity = values(schedule.velocity(x.clone(), e.clone(), &[0, 999]).unwrap());
    for (i, t) in [0, 999].into_iter().enumerate() {
        let (a, b) = schedule.weights(t).unwrap();
        near(a * a + b * b, 1.0);
        near(noisy[i], 2.0 * a + 3.0 * b);
        near(velocity[i], 3.0 * a - 2.0 * b);
    }
    assert_eq!(
        values(schedule.target(x.clone(), e.clone(), &[0, 999]).unwrap()),
        velocity
    );
    assert!(
        schedule
            .add_noise(x.clone(), e.clone(), &[0, 1000])
            .unwrap_err()
            .to_string()
            .contains("1000")
    );
    assert!(
        schedule
            .add_noise(x, e, &[0])
            .unwrap_err()
            .to_string()
            .contains("batch of 2")
    );
}

#[test]
fn min_snr_holds_back_the_clean_timesteps_only() {
    let epsilon = schedule(SD15);
    near(epsilon.snr(999).unwrap(), 0.004_681_913);
    near(epsilon.min_snr_weight(999, 5.0).unwrap(), 1.0);
    let snr = epsilon.snr(0).unwrap();
    assert!((snr - 1175.44).abs() < 0.1, "{snr}");
    near(epsilon.min_snr_weight(0, 5.0).unwrap(), 5.0 / snr);
    let velocity = schedule(r#"{"prediction_type": "v_prediction"}"#);
    let snr = velocity.snr(999).unwrap();
    near(velocity.min_snr_weight(999, 5.0).unwrap(), snr / (snr + 1.0));
}
