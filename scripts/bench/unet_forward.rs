//! assent's side of `scripts/bench/unet_forward.py`: forward passes of a U-Net on inputs from a file.
//!
//! `bench_unet_forward --unet FOLDER --inputs FILE --out FILE --steps N --threads T --weights f32|f16|int8`: one line of JSON
//! with the seconds of each pass; what the last pass gave goes to `--out` as safetensors.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use assent::model::params::to_vec;
use assent::model::unet::{Added, UNet};
use assent::model::weights::Precision;
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize_to_file};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given: BTreeMap<&str, &str> = arguments
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[name, value]| (name.as_str(), value.as_str()))
        .collect();
    let of = |name: &str| given.get(name).copied().with_context(|| format!("expected `{name}`"));
    let steps: usize = of("--steps")?.parse()?;
    rayon::ThreadPoolBuilder::new()
        .num_threads(of("--threads")?.parse()?)
        .build_global()?;

    let device = Device::flex();
    let precision = match of("--weights")? {
        "int8" => Precision::Int8,
        "f16" => Precision::F16,
        _ => Precision::F32,
    };
    let start = Instant::now();
    let unet = UNet::load(Path::new(of("--unet")?), &device, precision)?;
    let load = start.elapsed().as_secs_f64();

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
    let context = Tensor::<3>::from_data(tensor("encoder_hidden_states")?, &device);
    let timesteps = to_vec(Tensor::<1>::from_data(tensor("timesteps")?, &device));
    let added = match tensor("text_embeds") {
        Ok(embeds) => Some(Added {
            text_embeds: Tensor::<2>::from_data(embeds, &device),
            time_ids: Tensor::<2>::from_data(tensor("time_ids")?, &device),
        }),
        Err(_) => None,
    };

    let (mut seconds, mut last) = (Vec::new(), None);
    for _ in 0..=steps {
        let start = Instant::now();
        let out = unet.forward(sample.clone(), &timesteps, &context, added.as_ref());
        seconds.push(start.elapsed().as_secs_f64());
        last = Some(out);
    }
    let out = last.context("expected at least one pass")?;
    let shape = out.dims().to_vec();
    let bytes: Vec<u8> = to_vec(out).iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, shape, &bytes)?;
    serialize_to_file([("out", view)], None, Path::new(of("--out")?))?;
    println!("{}", serde_json::json!({ "seconds": seconds, "load": load }));
    Ok(())
}
