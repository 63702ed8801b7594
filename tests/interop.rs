//! Adapters that assent writes, loaded by diffusers and PEFT: the same U-Net gives the same output there.
//!
//! Needs Python with the packages in `tests/interop/requirements.txt` (`ASSENT_PYTHON` names the interpreter). Where
//! they are missing the test says so loudly and passes, unless `ASSENT_REQUIRE_PYTHON` is set, as `.ci/run` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/python.rs"]
mod support;

use std::path::Path;
use std::process::Command;

use assent::adapter::{self, AdapterFile, Dtype, Format};
use assent::lora::{self, Recipe};
use assent::model::config::{PerBlock, UNetConfig};
use assent::model::params::{collect, to_vec};
use assent::model::unet::UNet;
use assent::model::weights::{Draws, Saved, Weights, save};
use burn::tensor::{Device, Tensor, TensorData};

/// Required by the project: far below what changes a picture, far above what f32 loses (about 1e-6 of the scale).
const TOLERANCE: f32 = 1e-3;
const RANK: usize = 4;
const ALPHA: f64 = 2.0;

#[test]
fn diffusers_computes_the_same_with_an_adapter_of_ours() {
    let Some(python) = support::python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let device = Device::flex();

    // A U-Net of SD 1.5's architecture, small, with weights from a seed, in a diffusers folder.
    let config = UNetConfig {
        sample_size: 8,
        block_out_channels: vec![16, 32, 64, 64],
        norm_num_groups: 4,
        cross_attention_dim: 24,
        attention_head_dim: PerBlock::One(2),
        ..UNetConfig::default()
    };
    let mut unet = UNet::build(&config, &mut Weights::fresh(11, &device)).unwrap();
    std::fs::create_dir(at("unet")).unwrap();
    std::fs::write(at("unet/config.json"), serde_json::to_vec(&config).unwrap()).unwrap();
    save(
        &at("unet/diffusion_pytorch_model.safetensors"),
        &collect(&mut unet),
        false,
    )
    .unwrap();

    let inputs = [
        ("sample", vec![2, 4, 8, 8]),
        ("timesteps", vec![2]),
        ("encoder_hidden_states", vec![2, 7, 24]),
    ]
    .map(|(name, shape): (&str, Vec<usize>)| {
        let normal = Draws::new(3, name).normals(shape.iter().product());
        let values = if name == "timesteps" { vec![3.0, 801.0] } else { normal };
        Saved {
            name: name.into(),
            shape,
            values,
        }
    });
    save(&at("inputs.safetensors"), &inputs, false).unwrap();
    let run = |unet: &UNet| {
        let tensor = |i: usize| TensorData::new(inputs[i].values.clone(), inputs[i].shape.clone());
        let sample = Tensor::<4>::from_data(tensor(0), &device);
        to_vec(unet.forward(
            sample,
            &inputs[1].values,
            &Tensor::<3>::from_data(tensor(2), &device),
            None,
        ))
    };
    let base = run(&unet);

    // Adapters whose up matrices are not zero, each read back from its file before assent uses it.
    let mut modules = adapter_modules(&config);
    modules.sort_by(|a, b| a.path.cmp(&b.path));
    let file = AdapterFile {
        modules,
        header: [("ss_network_dim".into(), RANK.to_string())].into(),
    };
    let mut ours = vec![("base".to_owned(), base)];
    let mut arguments = Vec::new();
    for (format, dtype) in [
        (Format::Kohya, Dtype::F32),
        (Format::Kohya, Dtype::F16),
        (Format::Peft, Dtype::F32),
    ] {
        let (name, path) = (
            format!("{format}_{dtype}"),
            at(&format!("{format}_{dtype}.safetensors")),
        );
        adapter::encode(&file, format, dtype).unwrap().write(&path).unwrap();
        let read = adapter::read(&path).unwrap();
        let mut adapted = unet.clone();
        lora::attach_modules(&mut adapted, &read.modules, 1.0).unwrap();
        arguments.push(format!("{name}={}", path.display()));
        ours.push((name, run(&adapted)));
    }

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/check_lora.py");
    let output = Command::new(python)
        .arg(script)
        .args([at("unet"), at("inputs.safetensors"), at("outputs.safetensors")])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let bytes = std::fs::read(at("outputs.safetensors")).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    for (name, ours_values) in &ours {
        let view = theirs.tensor(name).unwrap();
        let values: Vec<f32> = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let worst = distance(ours_values, &values);
        let effect = distance(ours_values, &ours[0].1);
        println!("{name}: worst difference {worst:.1e}, the adapter moves the output by up to {effect:.1e}");
        assert!(worst <= TOLERANCE, "{name}: {worst}");
        assert!(
            name == "base" || effect > 50.0 * TOLERANCE,
            "{name}: the adapter does too little to be seen"
        );
    }
}

fn adapter_modules(config: &UNetConfig) -> Vec<adapter::Module> {
    // Fresh adapters ask for gradients, so this copy is on a device that can give them.
    let mut adapted = UNet::build(config, &mut Weights::fresh(11, &Device::flex().autodiff())).unwrap();
    let paths = lora::attach(&mut [("", &mut adapted)], &Recipe::lora(RANK, ALPHA), 5).unwrap();
    let mut modules = lora::extract(&mut adapted);
    assert_eq!(modules.len(), paths.len());
    assert_eq!(modules.len(), 192, "SD 1.5 has 192 modules to adapt");
    for module in &mut modules {
        let adapter::Form::Lora { up, .. } = &mut module.form else {
            panic!("`{}` is no LoRA", module.path);
        };
        let normals = Draws::new(9, &module.path).normals(up.values.len());
        up.values = normals.into_iter().map(|v| 0.3 * v).collect();
    }
    modules
}

/// The greatest difference between two outputs of equal length.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}
