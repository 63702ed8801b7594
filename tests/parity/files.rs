//! The files of a fixture that hold the same thing in two layouts.

use anyhow::{Result, ensure};
use assent::adapter::{self, AdapterFile, Format, encode};
use assent::generate::{Drawing, Job, Settings};
use assent::model::base::Base;
use assent::model::layers::Module;
use assent::model::params::collect;
use assent::model::pipeline::Pipeline;
use assent::model::samplers::SamplerKind;
use burn::tensor::Device;

use crate::fixture::Fixture;

/// Each pair of files that is there, and whether both hold the same.
pub fn check(fixture: &Fixture) -> Vec<(&'static str, Result<()>)> {
    let mut out = Vec::new();
    if fixture.root.join("lora_peft.safetensors").exists() {
        out.push(("files/adapters", adapters(fixture)));
    }
    if fixture.root.join("single.safetensors").exists() {
        out.push(("files/single", single(fixture)));
    }
    out
}

/// A network's parameters: names, shapes and values.
fn parameters(module: &mut dyn Module) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    collect(module)
        .into_iter()
        .map(|p| (p.name, p.shape, p.values))
        .collect()
}

/// The single file is the folder bit for bit: every parameter of every network, the schedule, and a picture drawn by both.
fn single(fixture: &Fixture) -> Result<()> {
    let device = Device::flex();
    let model = fixture.root.join("model");
    let load = |base: &Base| Pipeline::load(base, &device);
    let mut folder = load(&Base::open(&model, None)?)?;
    let mut file = load(&Base::open(&fixture.root.join("single.safetensors"), Some(&model))?)?;
    ensure!(
        folder.family == file.family,
        "{} is read as {}",
        folder.family,
        file.family
    );
    ensure!(folder.schedule_config == file.schedule_config, "the schedules differ");
    let same = |a: &mut dyn Module, b: &mut dyn Module, name: &str| {
        let (a, b) = (parameters(a), parameters(b));
        ensure!(!a.is_empty() && a == b, "the {name} differs");
        Ok(())
    };
    same(&mut folder.unet, &mut file.unet, "U-Net")?;
    same(&mut folder.vae, &mut file.vae, "VAE")?;
    same(&mut folder.text, &mut file.text, "text encoder")?;
    if let (Some(a), Some(b)) = (&mut folder.second, &mut file.second) {
        same(&mut a.text, &mut b.text, "second text encoder")?;
    }
    let settings = Settings {
        size: [64, 48],
        steps: 2,
        cfg: 3.0,
        sampler: SamplerKind::Euler.into(),
        ..Settings::default()
    };
    let job = Job {
        prompt: "a (red:1.3) boat!",
        seed: 1,
    };
    let draw = |p: &Pipeline| Drawing::new(p, &p.unet, &settings, &device).draw(&[job], &mut |_| Ok(()));
    ensure!(draw(&folder)? == draw(&file)?, "the pictures differ");
    Ok(())
}

/// The adapter in PEFT's layout is the one in kohya's, and what is written of it has the keys of the file that was read.
fn adapters(fixture: &Fixture) -> Result<()> {
    let of = |name: &str| adapter::read(&fixture.root.join(name));
    let (kohya, peft) = (of("lora_kohya.safetensors")?, of("lora_peft.safetensors")?);
    ensure!(kohya.modules == peft.modules, "lora_kohya and lora_peft differ");
    for (name, format) in [
        ("lora_kohya.safetensors", Format::Kohya),
        ("locon_full_kohya.safetensors", Format::Kohya),
        ("lora_peft.safetensors", Format::Peft),
    ] {
        let read = adapter::Container::read(&fixture.root.join(name))?;
        // Without the header, so that the layout is known from the modules alone.
        let bare = AdapterFile {
            modules: of(name)?.modules,
            ..AdapterFile::default()
        };
        let written = encode(&bare, format, adapter::Dtype::F32)?;
        ensure!(
            written.entries() == read.entries() && written.tensor_digest() == read.tensor_digest(),
            "`{name}` is written otherwise than it was read"
        );
    }
    Ok(())
}
