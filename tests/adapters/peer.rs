//! Files that assent writes, loaded by LyCORIS: each layer computes the same there.

use std::path::Path;
use std::process::Command;

use assent::adapter::{self, AdapterFile, Dtype};
use assent::lora;
use assent::model::params::to_vec;
use assent::model::weights::Draws;
use burn::tensor::Device;

use crate::fresh::{RECIPES, recipe};
use crate::net::{Net, TOLERANCE, Tensors, error};
use crate::support;

#[test]
fn lycoris_computes_the_same_with_adapters_of_ours() {
    let Some(python) = support::python_with("torch, safetensors, peft, lycoris") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (tensors, device) = (Tensors::read(), Device::flex());
    let (mut arguments, mut ours) = (Vec::new(), Vec::new());
    for name in RECIPES {
        let mut net = Net::load(&device.clone().autodiff());
        lora::attach(&mut [("", &mut net)], &recipe(name), 7).unwrap();
        lora::for_each(&mut net, &mut |key, mut param| {
            let shake = Draws::new(11, key).normals(param.values().len());
            let values = param.values().into_iter().zip(shake);
            let lengths = key.ends_with("dora_scale");
            let values = values.map(|(v, s)| if lengths { v * (1.0 + 0.1 * s) } else { v + 0.3 * s });
            param.set(values.collect(), false);
        });
        let file = AdapterFile {
            modules: lora::extract(&mut net),
            ..AdapterFile::default()
        };
        let path = folder.path().join(format!("{name}.safetensors"));
        adapter::write_kohya(&path, &file, Dtype::F32).unwrap();
        arguments.push(format!("{name}={}", path.display()));
        let mut read = Net::load(&device);
        lora::attach_modules(&mut read, &adapter::read(&path).unwrap().modules, 1.0).unwrap();
        for (layer, out) in read.run(&tensors, &device) {
            ours.push((format!("{name}/{layer}"), to_vec(out)));
        }
    }
    let outputs = folder.path().join("outputs.safetensors");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/check_lycoris.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&outputs)
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let theirs = Tensors::of(&outputs);
    for (name, values) in ours {
        let off = error(&values, theirs.values(&name));
        assert!(off <= TOLERANCE, "{name}: {off:e}");
    }
}
