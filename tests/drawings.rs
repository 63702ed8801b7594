//! What `generate` draws from pictures, and what it refuses: image to image, inpainting with both kinds of network and
//! the tiled VAE equal to diffusers (`scripts/parity/make_drawings.py` wrote `tests/fixtures/drawings`), adapters live
//! and merged, contact sheets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assent::adapter;
use assent::generate::{Drawing, Job, Settings, Start, tiles};
use assent::lora;
use assent::model::base::{Base, Encoder};
use assent::model::layers::ParamMut;
use assent::model::params::{collect, to_vec};
use assent::model::pipeline::Pipeline;
use assent::model::weights::{Precision, Saved, save};
use burn::tensor::{DType, Device, Tensor, TensorData};
use image::{Rgb, RgbImage};
use serde::Deserialize;
use serde_json::{Value, json};

/// Of the largest value: float32 in another order of sums, over all steps of a case.
const TOLERANCE: f32 = 2e-5;

/// How far a picture of weights in int8 may be from that of f32, of 255: on average, and anywhere.
const INT8_MEAN: f64 = 1.0;
const INT8_MOST: f64 = 8.0;

#[derive(Deserialize)]
struct Golden {
    size: [usize; 2],
    prompt: String,
    negative_prompt: String,
    tiles: Tiles,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Tiles {
    tile: usize,
    every: usize,
    latent_size: [usize; 2],
    decoded: Vec<f32>,
    encoded: Vec<f32>,
}

#[derive(Deserialize)]
struct Case {
    kind: String,
    sampler: String,
    steps: usize,
    strength: Option<f64>,
    cfg: f64,
    rescale: f64,
    latents: Vec<f32>,
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn model() -> PathBuf {
    fixture("parity/sd15-tiny/model")
}

fn load(path: &Path) -> Pipeline {
    Pipeline::load(&Base::open(path, None).unwrap(), &Device::flex()).unwrap()
}

fn golden() -> Golden {
    serde_json::from_slice(&fs::read(fixture("drawings/cases.json")).unwrap()).unwrap()
}

/// The script's numbers of about unit size.
fn wave(key: usize, count: usize) -> Vec<f32> {
    let value = |j| (1.4 * (12.9898 * (key + 1) as f64 + 78.233 * j as f64).sin()) as f32;
    (0..count).map(value).collect()
}

fn noise(label: &str, _: u64, count: usize) -> Vec<f32> {
    let key = match label {
        "start" => 1,
        "masked" => 2,
        "picture/0" => 3,
        step => 100 + step.strip_prefix("step/").unwrap().parse::<usize>().unwrap(),
    };
    wave(key, count)
}

/// The largest difference, as a share of the largest value.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0, |most: f32, v| most.max(v.abs()));
    let pairs = found.iter().zip(expected);
    pairs.fold(0.0, |most: f32, (a, b)| most.max((a - b).abs())) / largest
}

/// The tiny model with other weights and another configuration of its U-Net.
fn changed(folder: &Path, change: impl FnOnce(&mut Vec<Saved>, &mut Value)) -> PathBuf {
    let base = folder.join("base");
    fs::create_dir_all(base.join("unet")).unwrap();
    for part in ["model_index.json", "scheduler", "text_encoder", "tokenizer", "vae"] {
        symlink(model().join(part), base.join(part)).unwrap();
    }
    let mut weights = collect(&mut load(&model()).unet);
    let mut config = serde_json::from_slice(&fs::read(model().join("unet/config.json")).unwrap()).unwrap();
    change(&mut weights, &mut config);
    save(&base.join("unet/diffusion_pytorch_model.safetensors"), &weights, false).unwrap();
    fs::write(base.join("unet/config.json"), config.to_string()).unwrap();
    base
}

fn weight<'a>(weights: &'a mut [Saved], name: &str) -> &'a mut Saved {
    weights.iter_mut().find(|w| w.name == name).expect(name)
}

/// The first convolution takes five channels more: mask and masked picture.
fn nine_channels(weights: &mut [Saved], config: &mut Value) {
    config["in_channels"] = json!(9);
    let conv = weight(weights, "conv_in.weight");
    let out = conv.shape[0];
    let further: Vec<f32> = wave(7, out * 5 * 9).iter().map(|v| v / 10.0).collect();
    let rows = conv.values.chunks(4 * 9).zip(further.chunks(5 * 9));
    conv.values = rows.flat_map(|(old, new)| [old, new].concat()).collect();
    conv.shape[1] = 9;
}

#[test]
fn pictures_are_drawn_from_pictures_as_diffusers_does() {
    let folder = tempfile::tempdir().unwrap();
    let golden = golden();
    let four = load(&model());
    let nine = load(&changed(folder.path(), |weights, config| {
        nine_channels(weights, config)
    }));
    let [width, height] = golden.size;
    let planes: Vec<f32> = wave(5, 3 * width * height).iter().map(|v| v / 1.4).collect();
    let lower_right = |i: usize| i / width >= height / 2 && i % width >= width / 2;
    let mask: Vec<bool> = (0..width * height).map(lower_right).collect();
    let device = Device::flex();
    let mut kinds = Vec::new();
    for case in &golden.cases {
        let pipeline = if case.kind == "inpaint9" { &nine } else { &four };
        let settings = Settings {
            size: golden.size,
            steps: case.steps,
            cfg: case.cfg,
            rescale: case.rescale,
            sampler: case.sampler.parse().unwrap(),
            negative_prompt: Some(golden.negative_prompt.clone()),
            ..Settings::default()
        };
        let start = case.strength.map(|strength| Start {
            size: golden.size,
            planes: planes.clone(),
            mask: case.kind.starts_with("inpaint").then(|| mask.clone()),
            strength,
            all_steps: false,
        });
        let drawing = Drawing {
            start: start.as_ref(),
            noise: &noise,
            ..Drawing::new(pipeline, &pipeline.unet, &settings, &device)
        };
        let jobs = Job::each(&[&golden.prompt], 0);
        let latents = to_vec(drawing.latents(&jobs, &mut |_| Ok(())).unwrap());
        let error = error(&latents, &case.latents);
        println!("{:8} {:16} {:?}: {error:.1e}", case.kind, case.sampler, case.strength);
        assert!(error < TOLERANCE, "{} {}: {error}", case.kind, case.sampler);
        kinds.push(case.kind.as_str());
    }
    kinds.dedup();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds, ["image", "inpaint", "inpaint9", "text"]);
}

#[test]
fn the_vae_works_in_tiles_as_diffusers_does() {
    let Tiles {
        tile,
        every,
        latent_size: [h, w],
        decoded,
        encoded,
    } = golden().tiles;
    let (vae, device) = (load(&model()).vae, Device::flex());
    let tensor = |values: Vec<f32>, shape: [usize; 4]| Tensor::<4>::from_data(TensorData::new(values, shape), &device);
    let kept = |x: Tensor<4>| -> Vec<f32> { to_vec(x).into_iter().step_by(every).collect() };
    let out = tiles::decode(&vae, tensor(wave(8, 4 * h * w), [1, 4, h, w]), Some(tile));
    assert!(error(&kept(out), &decoded) < TOLERANCE);
    let picture = wave(9, 3 * 64 * h * w).iter().map(|v| v / 1.4).collect();
    let (mean, log_variance) = tiles::encode(&vae, tensor(picture, [1, 3, 8 * h, 8 * w]), Some(tile));
    assert!(error(&kept(Tensor::cat(vec![mean, log_variance], 1)), &encoded) < TOLERANCE);
}

#[test]
fn an_adapter_draws_the_same_live_and_merged_into_the_base() {
    let folder = tempfile::tempdir().unwrap();
    let file = adapter::read(&fixture("parity/sd15-tiny/locon_kohya.safetensors")).unwrap();
    let strength = 0.6;
    let merged = changed(folder.path(), |weights, _| {
        for module in &file.modules {
            let target = weight(weights, &format!("{}.weight", module.path));
            let adapter::Form::Lora { down, up, .. } = &module.form else {
                panic!("`{}` is no LoRA", module.path);
            };
            let (rank, out) = (down.shape[0], up.shape[0]);
            let row = down.values.len() / rank;
            assert_eq!((target.shape[0], target.values.len()), (out, out * row));
            let scale = strength * module.alpha / rank as f32;
            for (i, value) in target.values.iter_mut().enumerate() {
                let (o, j) = (i / row, i % row);
                let sum: f32 = (0..rank)
                    .map(|r| up.values[o * rank + r] * down.values[r * row + j])
                    .sum();
                *value += scale * sum;
            }
        }
    });
    let bare = load(&model());
    let mut live = bare.clone();
    lora::attach_pipeline(&mut live, &file, [f64::from(strength); 2]).unwrap();
    let mut inside = live.clone();
    lora::merge_pipeline(&mut inside);
    let device = Device::flex();
    let settings = Settings {
        size: [64, 64],
        steps: 2,
        cfg: 3.0,
        ..Settings::default()
    };
    let draw = |pipeline: &Pipeline| {
        let drawing = Drawing::new(pipeline, &pipeline.unet, &settings, &device);
        to_vec(
            drawing
                .latents(&Job::each(&["a red boat"], 3), &mut |_| Ok(()))
                .unwrap(),
        )
    };
    let expected = draw(&load(&merged));
    assert!(error(&draw(&live), &expected) < TOLERANCE);
    assert!(error(&draw(&inside), &expected) < TOLERANCE);
    assert!(error(&draw(&bare), &expected) > 10.0 * TOLERANCE);
}

#[test]
fn a_seed_draws_the_same_in_any_batch_up_to_rounding() {
    let (pipeline, device) = (load(&model()), Device::flex());
    let settings = Settings {
        size: [64, 64],
        steps: 2,
        cfg: 3.0,
        sampler: "euler_ancestral".parse().unwrap(),
        ..Settings::default()
    };
    let drawing = Drawing::new(&pipeline, &pipeline.unet, &settings, &device);
    let jobs = Job::each(&["a red boat", "a (blue:1.2) tree"], 3);
    let draw = |jobs: &[Job<'_>]| to_vec(drawing.latents(jobs, &mut |_| Ok(())).unwrap());
    let together = draw(&jobs);
    let (first, second) = together.split_at(together.len() / 2);
    assert!(error(&draw(&jobs[..1]), first) < TOLERANCE);
    assert!(error(&draw(&jobs[1..]), second) < TOLERANCE);
    assert!(error(first, second) > 10.0 * TOLERANCE);
}

/// `assent generate` with the smallest work there is.
fn generate(folder: &Path, base: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .args(["-q", "generate", "--prompt", "a red boat", "--steps", "2"])
        .arg("--base")
        .arg(base)
        .args(more)
        .current_dir(folder)
        .env_remove("ASSENT_REGISTRY")
        .output()
        .unwrap()
}

#[test]
fn what_cannot_be_drawn_is_refused_with_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let grey = |w, h, name: &str| RgbImage::from_pixel(w, h, Rgb([128; 3])).save(at.join(name)).unwrap();
    grey(64, 64, "start.png");
    grey(32, 64, "small.png");
    let line = |at: u32| move |x, _| if x == at { Rgb([255; 3]) } else { Rgb([0; 3]) };
    RgbImage::from_fn(64, 64, line(9)).save(at.join("line.png")).unwrap();
    let nan = |weights: &mut Vec<Saved>, _: &mut Value| weight(weights, "conv_out.weight").values[0] = f32::NAN;
    let broken = changed(&at.join("broken"), nan);
    let huge = changed(&at.join("huge"), |weights, _| {
        weight(weights, "conv_out.weight").values.fill(f32::MAX)
    });
    let inpainting = changed(&at.join("inpainting"), |weights, config| nine_channels(weights, config));
    let key = "lora_unet_mid_block_attentions_0_proj_in";
    let tensor = |name: &str, shape: &[usize], value: f32| Saved {
        name: format!("{key}.{name}"),
        shape: shape.to_vec(),
        values: vec![value; shape.iter().product()],
    };
    let adapter = [
        tensor("lora_down.weight", &[1, 24, 1, 1], f32::NAN),
        tensor("lora_up.weight", &[24, 1, 1, 1], 1.0),
        tensor("alpha", &[], 1.0),
    ];
    save(&at.join("nan.safetensors"), &adapter, false).unwrap();
    let start = ["--init-image", "start.png"];
    let size = ["--width", "64", "--height", "64"];
    for (base, more, expected) in [
        (
            &model(),
            [&start[..], &["--mask", "small.png"]].concat(),
            "is 32×64, the picture `start.png` 64×64",
        ),
        (
            &model(),
            [&start[..], &["--mask", "line.png"]].concat(),
            "of each 8×8 pixels the first one does",
        ),
        (
            &model(),
            [&start[..], &["--width", "128"]].concat(),
            "the picture is 64×64, the drawing 128×64",
        ),
        (
            &model(),
            vec!["--width", "60", "--height", "64"],
            "multiples of 8, found 60×64",
        ),
        (
            &model(),
            [&start[..], &["--strength", "0"]].concat(),
            "above 0 and up to 1, got 0",
        ),
        (
            &model(),
            [&start[..], &["--strength", "1.5"]].concat(),
            "above 0 and up to 1, got 1.5",
        ),
        (
            &model(),
            [&start[..], &["--strength", "nan"]].concat(),
            "above 0 and up to 1, got NaN",
        ),
        (
            &model(),
            [&start[..], &["--strength", "0.4"]].concat(),
            "leaves none of 2 steps",
        ),
        (
            &model(),
            [&size[..], &["--adapter", "nan.safetensors"]].concat(),
            "not finite",
        ),
        (&broken, size.to_vec(), "conv_out.weight (holds NaN or infinity)"),
        (&huge, size.to_vec(), "output at step 0 is not finite"),
        (&inpainting, size.to_vec(), "made for inpainting"),
        (&inpainting, start.to_vec(), "made for inpainting"),
    ] {
        let out = generate(at, base, &[&more[..], &["-o", "x.png"]].concat());
        let text = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{more:?}: {text}");
        assert!(text.contains(expected), "{more:?}: {text}");
        assert!(!at.join("x.png").exists(), "{more:?}");
    }
}

/// Where a picture stands in a larger one.
fn find(whole: &RgbImage, part: &RgbImage) -> Option<(u32, u32)> {
    let same = |a: &Rgb<u8>, b: &Rgb<u8>| a.0.iter().zip(b.0).all(|(a, b)| a.abs_diff(b) <= 1);
    let here = |x, y| {
        part.enumerate_pixels()
            .all(|(i, j, p)| same(whole.get_pixel(x + i, y + j), p))
    };
    let places =
        (0..=whole.height() - part.height()).flat_map(|y| (0..=whole.width() - part.width()).map(move |x| (x, y)));
    places.into_iter().find(|&(x, y)| here(x, y))
}

#[test]
fn a_sheet_shows_what_each_adapter_draws_and_both_together() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let adapters = ["lora", "locon"].map(|name| {
        symlink(
            fixture(&format!("parity/sd15-tiny/{name}_kohya.safetensors")),
            at.join(name),
        )
        .unwrap();
        ["--adapter".to_owned(), format!("{name}:0.8")]
    });
    let [one, other] = adapters.each_ref().map(|a| a.each_ref().map(String::as_str));
    let draw = |adapters: &[&str], to: [&str; 2]| {
        let size = ["--width", "64", "--height", "64", "--seed", "5"];
        let out = generate(at, &model(), &[&size[..], adapters, &to[..]].concat());
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        image::open(at.join(to[1])).unwrap().to_rgb8()
    };
    let both = [one, other].concat();
    let sheet = draw(&both, ["--sheet", "sheet.png"]);
    let columns = [&[][..], &one, &other, &both].map(|adapters| draw(adapters, ["-o", "one.png"]));
    let places = columns
        .each_ref()
        .map(|picture| find(&sheet, picture).expect("in the sheet"));
    assert!(places.is_sorted_by(|a, b| a.0 < b.0 && a.1 == b.1), "{places:?}");
}

#[test]
fn weights_in_f16_draw_what_they_draw_in_f32_and_in_int8_nearly() {
    let folder = tempfile::tempdir().unwrap();
    let drawn = |weights: &str| {
        let output = folder.path().join(format!("{weights}.png"));
        let run = Command::new(env!("CARGO_BIN_EXE_assent"))
            .args([
                "-q", "generate", "--prompt", "a boat", "--steps", "2", "--cfg", "3", "--width", "64", "--height", "64",
            ])
            .args(["--weights", weights, "--base"])
            .arg(model())
            .arg("--adapter")
            .arg(fixture("parity/sd15-tiny/lora_kohya.safetensors"))
            .arg("-o")
            .arg(&output)
            .current_dir(folder.path())
            .env_remove("ASSENT_REGISTRY")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        image::open(&output).unwrap().to_rgb8().into_raw()
    };
    let [wide, half, byte] = ["f32", "f16", "int8"].map(drawn);
    // The model's numbers are all exact in f16, so not a bit may differ.
    assert!(half == wide);
    let off: Vec<f64> = wide.iter().zip(&byte).map(|(a, b)| f64::from(a.abs_diff(*b))).collect();
    let (mean, most) = (
        off.iter().sum::<f64>() / off.len() as f64,
        off.iter().copied().fold(0.0, f64::max),
    );
    assert!(
        mean > 0.0 && mean < INT8_MEAN && most <= INT8_MOST,
        "off by {mean} of 255, at most {most}"
    );

    let load = |precision| {
        let base = Base::open(&model(), None).unwrap().stored_as(precision);
        base.unet(&Device::flex()).unwrap()
    };
    let mut unet = load(Precision::F16);
    let (mut narrow, mut wide) = (0, 0);
    assent::model::params::for_each(&mut unet, &mut |name, param| match param {
        ParamMut::One(_) => {}
        ParamMut::Two(t) if t.dtype() == DType::F16 => narrow += 1,
        ParamMut::Four(t) if t.dtype() == DType::F16 => narrow += 1,
        _ => wide += usize::from(!name.is_empty()),
    });
    assert!(narrow > 100 && wide == 0, "{narrow} in f16, {wide} not");

    // A byte for each number of the layers, four for each of their output channels; the edges of the network and what is
    // no matrix stay as they are.
    let mut wide = BTreeMap::new();
    assent::model::params::for_each(&mut load(Precision::F32), &mut |name, param| {
        wide.insert(name.to_owned(), (param.shape(), param.bytes()));
    });
    let (mut bytes, mut floats) = (0, 0);
    assent::model::params::for_each(&mut load(Precision::Int8), &mut |name, param| {
        let (shape, before) = &wide[name];
        assert_eq!(param.shape(), *shape, "{name}");
        let edge = ["conv_in.weight", "conv_out.weight"].contains(&name);
        if shape.len() == 1 || edge {
            floats += 1;
            assert_eq!(param.bytes(), *before, "{name}");
        } else {
            bytes += 1;
            assert_eq!(param.bytes(), before / 4 + 4 * shape[0], "{name}");
        }
    });
    assert!(bytes > 100 && floats > 100, "{bytes} in int8, {floats} not");

    // The text encoder's layers are rounded too, its tables are not; of the VAE nothing is.
    let base = Base::open(&model(), None).unwrap().stored_as(Precision::Int8);
    let rounded = |module: &mut dyn assent::model::layers::Module| {
        let mut names = Vec::new();
        assent::model::params::for_each(module, &mut |name, param| {
            if matches!(param, ParamMut::Int8(_)) {
                names.push(name.to_owned());
            }
        });
        names
    };
    let device = Device::flex();
    let text = rounded(&mut base.text(Encoder::First, &device).unwrap());
    assert!(
        text.len() >= 6 && text.iter().all(|name| name.contains(".layers.")),
        "{text:?}"
    );
    assert!(rounded(&mut base.vae(&device).unwrap()).is_empty());
}

#[test]
fn weights_in_int8_are_not_merged() {
    let out = generate(
        tempfile::tempdir().unwrap().path(),
        &model(),
        &[
            "--weights",
            "int8",
            "--merge",
            "--adapter",
            fixture("parity/sd15-tiny/lora_kohya.safetensors").to_str().unwrap(),
            "-o",
            "one.png",
        ],
    );
    let told = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{told}");
    assert!(told.contains("--merge: weights in int8 are not merged"), "{told}");
}
