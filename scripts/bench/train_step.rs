//! assent's side of `scripts/bench/train_step.py`: LoRA training steps on a U-Net and inputs from files.
//!
//! `bench_train_step --unet FOLDER --inputs FILE --rank R --steps N --accumulate M --threads T --weights f32|f16|int8`: one
//! line of JSON with the seconds and the loss of each step, and the bytes that the U-Net's weights take. The micro-batches
//! of a step run one after the other, as `train` does with a U-Net of real size.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use assent::kernels::memory;
use assent::lora::{self, Recipe};
use assent::model::params::{for_each, to_vec};
use assent::model::recompute::Tape;
use assent::model::unet::UNet;
use assent::model::weights::Precision;
use assent::train::optimizer::{AdamWConfig, Gradients, Method, Optimizer, accumulate, clip};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> = arguments
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[name, value]| (name.as_str(), value.as_str()))
        .collect();
    let of = |name: &str| given.get(name).copied().with_context(|| format!("expected `{name}`"));
    let (rank, steps): (usize, usize) = (of("--rank")?.parse()?, of("--steps")?.parse()?);
    let micro_batches: usize = of("--accumulate")?.parse()?;
    // As `train` does.
    memory::share();
    rayon::ThreadPoolBuilder::new()
        .num_threads(of("--threads")?.parse()?)
        .build_global()?;

    let device = Device::flex().autodiff();
    let precision = match of("--weights")? {
        "int8" => Precision::Int8,
        "f16" => Precision::F16,
        _ => Precision::F32,
    };
    let mut unet = UNet::load(Path::new(of("--unet")?), &device, precision)?;
    let mut held = 0;
    for_each(&mut unet, &mut |_, param| held += param.bytes());
    let modules = lora::attach(&mut [("", &mut unet)], &Recipe::lora(rank, rank as f64), 0)?.len();
    let mut adam = Optimizer::new(Method::AdamW(AdamWConfig::default()), None);
    lora::for_each(&mut unet, &mut |name, param| {
        adam.add(name, param.shape(), param.values(), 1.0)
    });

    let bytes = std::fs::read(of("--inputs")?)?;
    let file = SafeTensors::deserialize(&bytes)?;
    let tensor = |name: &str| -> Result<TensorData> {
        let view = file.tensor(name)?;
        let values: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        Ok(TensorData::new(values, view.shape().to_vec()))
    };
    let sample = Tensor::<4>::from_data(tensor("sample")?, &device);
    let noise = Tensor::<4>::from_data(tensor("noise")?, &device);
    let context = Tensor::<3>::from_data(tensor("encoder_hidden_states")?, &device);
    let timesteps = to_vec(Tensor::<1>::from_data(tensor("timesteps")?, &device));

    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for _ in 0..=steps {
        let start = Instant::now();
        let (mut gradients, mut mean) = (Gradients::new(), 0.0);
        for _ in 0..micro_batches {
            let mut tape = Tape::new(given.contains_key("--checkpointing"));
            let prediction = unet.forward_on(&mut tape, sample.clone(), &timesteps, &context, None);
            let loss = (prediction - noise.clone()).square().mean();
            let mut found = tape.backward(&loss);
            let mut one = Gradients::new();
            lora::for_each(&mut unet, &mut |name, param| {
                if let Some(gradient) = param.gradient(&mut found) {
                    one.insert(name.to_owned(), gradient);
                }
            });
            accumulate(&mut gradients, one, 1.0 / micro_batches as f32);
            mean += to_vec(loss)[0] / micro_batches as f32;
        }
        clip(&mut gradients, 1.0);
        adam.update(&gradients, 1e-4);
        lora::for_each(&mut unet, &mut |name, mut param| {
            if let Some(slot) = adam.slots.get(name) {
                param.set(slot.value.clone(), true);
            }
        });
        losses.push(mean);
        seconds.push(start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        serde_json::json!({ "seconds": seconds, "losses": losses, "modules": modules, "held": held })
    );
    Ok(())
}
