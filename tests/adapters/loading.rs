//! Each layer computes what it computes where the file was written, live and merged, and each tensor has the gradient it
//! has there.

use assent::adapter::{self, Dtype};
use assent::lora;
use assent::model::params::to_vec;
use burn::tensor::{Device, Tensor, TensorData};

use crate::net::{Net, TOLERANCE, Tensors, cases, error, read};

fn compare(name: &str, net: &Net, tensors: &Tensors, what: &str) {
    for (path, out) in net.run(tensors, &Device::flex()) {
        let error = error(&to_vec(out), tensors.values(&format!("{name}/out/{path}")));
        assert!(error <= TOLERANCE, "{name}, {what}: `{path}` is off by {error:e}");
    }
}

#[test]
fn every_layer_computes_what_it_computes_where_the_file_was_written() {
    let (tensors, device) = (Tensors::read(), Device::flex());
    compare("base", &Net::load(&device), &tensors, "bare");
    for (name, case) in cases() {
        let file = read(&case);
        let mut live = Net::load(&device);
        lora::attach_modules(&mut live, &file.modules, 1.0).unwrap();
        let moved = live
            .run(&tensors, &device)
            .into_iter()
            .filter(|(path, out)| error(&to_vec(out.clone()), tensors.values(&format!("base/out/{path}"))) > 1e-3);
        assert_eq!(moved.count(), file.modules.len(), "{name} changes every layer it names");
        compare(&name, &live, &tensors, "live");
        let mut merged = live.clone();
        lora::merge(&mut merged);
        compare(&name, &merged, &tensors, "merged");

        // Written again in kohya's layout, and in PEFT's where it has a place for it.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("again.safetensors");
        let mut written = vec![adapter::write_kohya(&path, &file, Dtype::F32).map(|_| adapter::read(&path).unwrap())];
        let plain = |m: &adapter::Module| {
            let out = m.magnitude.as_ref().is_none_or(|m| !m.on_input);
            out && matches!(m.form, adapter::Form::Lora { mid: None, .. })
        };
        let peft = adapter::write_peft(&path, &file, Dtype::F32);
        assert_eq!(peft.is_ok(), file.modules.iter().all(plain), "{name}");
        written.extend(peft.is_ok().then(|| Ok(adapter::read(&path).unwrap())));
        for again in written {
            let mut net = Net::load(&device);
            lora::attach_modules(&mut net, &again.unwrap().modules, 1.0).unwrap();
            compare(&name, &net, &tensors, "written again");
        }
    }
}

/// An adapter made of others, without a base's name.
fn derived(by: &str) -> adapter::Derived {
    adapter::Derived {
        by: by.into(),
        program: "assent".into(),
        base: None,
        tuned: None,
        from: Vec::new(),
    }
}

#[test]
fn a_lora_of_full_rank_made_of_lycoris_forms_computes_the_same() {
    let (tensors, device) = (Tensors::read(), Device::flex());
    let cases = cases();
    let names = ["loha", "loha_tucker", "lokr", "lokr_both", "lokr_tucker", "lokr_whole"];
    for name in names {
        let file = read(&cases[name]);
        let whole = adapter::Cut::Energy(1.0);
        let (resized, changes) = adapter::resize(&file, whole, Dtype::F32, &derived("resize"), &|| {}).unwrap();
        assert!(changes.iter().all(|c| c.squared_error <= 1e-12 * c.energy), "{name}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resized.safetensors");
        for peft in [false, true] {
            match peft {
                true => adapter::write_peft(&path, &resized, Dtype::F32).map(drop).unwrap(),
                false => adapter::write_kohya(&path, &resized, Dtype::F32).map(drop).unwrap(),
            }
            let again = adapter::read(&path).unwrap();
            for module in &again.modules {
                let adapter::Form::Lora { down, mid: None, .. } = &module.form else {
                    panic!("{name}: `{}` is no LoRA", module.path);
                };
                let flat = module.path.ends_with("to_q");
                assert_eq!(down.shape.len(), if flat { 2 } else { 4 }, "{name}: `{}`", module.path);
            }
            let mut net = Net::load(&device);
            lora::attach_modules(&mut net, &again.modules, 1.0).unwrap();
            compare(name, &net, &tensors, "as a LoRA");
        }
    }
    // And the sum of two forms is one LoRA.
    let (loha, lokr) = (read(&cases["loha"]), read(&cases["lokr"]));
    let parts = [(&loha, 0.7), (&lokr, -0.4)];
    let (sum, _) = adapter::merge(&parts, None, Dtype::F32, &derived("merge"), &|| {}).unwrap();
    let [mut one, mut two] = [Net::load(&device), Net::load(&device)];
    lora::attach_modules(&mut one, &sum.modules, 1.0).unwrap();
    for (file, weight) in parts {
        lora::attach_modules(&mut two, &file.modules, weight).unwrap();
    }
    for ((path, a), (_, b)) in one.run(&tensors, &device).into_iter().zip(two.run(&tensors, &device)) {
        assert!(error(&to_vec(a), &to_vec(b)) <= TOLERANCE, "{path}");
    }
}

#[test]
fn several_adapters_at_several_weights_are_the_same_live_and_merged_in_any_order() {
    let (tensors, device) = (Tensors::read(), Device::flex());
    let cases = cases();
    let parts = [
        ("locon_dora", 0.7),
        ("loha", -0.4),
        ("ia3", 0.5),
        ("full", 0.3),
        ("norm", 2.0),
    ];
    let with = |order: &[usize]| {
        let mut net = Net::load(&device);
        for i in order {
            lora::attach_modules(&mut net, &read(&cases[parts[*i].0]).modules, parts[*i].1).unwrap();
        }
        net
    };
    let values = |net: &Net| {
        net.run(&tensors, &device)
            .into_iter()
            .map(|(_, out)| to_vec(out))
            .collect::<Vec<_>>()
    };
    let live = values(&with(&[0, 1, 2, 3, 4]));
    let mut merged = with(&[0, 1, 2, 3, 4]);
    lora::merge(&mut merged);
    for other in [values(&with(&[4, 2, 0, 3, 1])), values(&merged)] {
        for (a, b) in live.iter().zip(&other) {
            assert!(error(b, a) <= TOLERANCE);
        }
    }
    // Each weight counts: what each adds alone, times its weight, is what all add together.
    let base = values(&Net::load(&device));
    let mut sum = base.clone();
    for (name, weight) in parts {
        let mut net = Net::load(&device);
        lora::attach_modules(&mut net, &read(&cases[name]).modules, 1.0).unwrap();
        for ((total, alone), base) in sum.iter_mut().zip(values(&net)).zip(&base) {
            for ((t, a), b) in total.iter_mut().zip(alone).zip(base) {
                *t += weight as f32 * (a - b);
            }
        }
    }
    for (a, b) in live.iter().zip(&sum) {
        assert!(error(b, a) <= TOLERANCE);
    }
}

#[test]
fn every_tensor_has_the_gradient_that_the_peer_finds() {
    let (tensors, device) = (Tensors::read(), Device::flex().autodiff());
    let mut compared = 0;
    for (name, case) in cases() {
        // Norms are changed in place and never trained; a LoKr without a rank takes PEFT's scale into its first factor.
        if case.gradients.is_empty() || ["norm", "full", "peft_lokr_whole"].contains(&name.as_str()) {
            continue;
        }
        let mut net = Net::load(&device);
        lora::attach_modules(&mut net, &read(&case).modules, 1.0).unwrap();
        lora::for_each(&mut net, &mut |_, mut param| param.track());
        let out = net.run(&tensors, &device);
        let loss = out
            .into_iter()
            .map(|(path, out)| {
                let probe = TensorData::new(tensors.values(&format!("probe/{path}")).to_vec(), out.shape());
                (out * Tensor::from_data(probe, &device)).sum()
            })
            .reduce(|a, b| a + b)
            .unwrap();
        let mut gradients = loss.backward().into();
        let mut seen = Vec::new();
        lora::for_each(&mut net, &mut |key, param| {
            // What the peer's backward pass is known to get wrong is not in the fixture.
            if !case.gradients.iter().any(|named| named == key) {
                return;
            }
            let gradient = param
                .gradient(&mut gradients)
                .unwrap_or_else(|| panic!("{name}: `{key}` has none"));
            let error = error(&gradient, tensors.values(&format!("{name}/grad/{key}")));
            assert!(
                error <= TOLERANCE,
                "{name}: the gradient of `{key}` is off by {error:e}"
            );
            seen.push(key.to_owned());
        });
        seen.sort();
        assert_eq!(seen, case.gradients, "{name}");
        compared += seen.len();
    }
    assert!(compared > 150, "{compared} gradients");
}
