//! Fresh adapters: the tensors that LyCORIS gives them, gradients by small differences, dropout, patterns.

use std::collections::BTreeMap;
use std::path::Path;

use assent::adapter::{self, AdapterFile, Dtype};
use assent::lora::{self, Algo, Drop, Recipe, Rule, Start};
use assent::model::params::to_vec;
use assent::model::weights::Draws;
use burn::tensor::{Device, Tensor, TensorData};

use crate::net::{CONV, Case, DOWN, Net, PROJ, Q, Tensors, cases, error, folder, read};

/// The fixture's recipes: rank 3 and alpha 2 unless said otherwise, on every layer.
pub fn recipe(name: &str) -> Recipe {
    let lokr = |factor, decompose_both| Algo::Lokr { factor, decompose_both };
    let (algo, rank) = match name.split('_').next().unwrap() {
        "loha" => (Algo::Loha, 3),
        "lokr" if name == "lokr_both" => (lokr(4, true), 1),
        "lokr" if name == "lokr_tucker" => (lokr(2, false), 1),
        "lokr" => (lokr(2, false), 2),
        _ => (Algo::Lora, 3),
    };
    Recipe {
        algo,
        tucker: name.ends_with("tucker"),
        dora: name.ends_with("dora"),
        rank_stabilised: name.ends_with("rs"),
        include: vec![Rule::new("*", ()).unwrap()],
        ..Recipe::lora(rank, 2.0)
    }
}

pub const RECIPES: [&str; 10] = [
    "locon",
    "locon_tucker",
    "locon_rs",
    "locon_dora",
    "loha",
    "loha_tucker",
    "loha_dora",
    "lokr",
    "lokr_both",
    "lokr_tucker",
];

fn keys(path: &Path) -> BTreeMap<String, Vec<usize>> {
    let container = adapter::Container::read(path).unwrap();
    let entries = container.entries().iter();
    entries.map(|e| (e.name.clone(), e.shape.clone())).collect()
}

#[test]
fn fresh_adapters_have_the_tensors_that_lycoris_gives_them_and_change_nothing() {
    let (tensors, cases) = (Tensors::read(), cases());
    let device = Device::flex().autodiff();
    let bare = Net::load(&device).run(&tensors, &device);
    for name in RECIPES {
        let mut net = Net::load(&device);
        let paths = lora::attach(&mut [("", &mut net)], &recipe(name), 7).unwrap();
        assert_eq!(paths, [Q, PROJ, CONV, DOWN]);
        for ((path, found), (_, expected)) in net.run(&tensors, &device).into_iter().zip(&bare) {
            let error = error(&to_vec(found), &to_vec(expected.clone()));
            assert!(error < 1e-6, "{name}: `{path}` moves by {error:e} at once");
        }
        let file = AdapterFile {
            modules: lora::extract(&mut net),
            ..AdapterFile::default()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fresh.safetensors");
        adapter::write_kohya(&path, &file, Dtype::F32).unwrap();
        let theirs = folder_keys(&cases[name]);
        assert_eq!(keys(&path), theirs, "{name}");
        let alphas = |file: &AdapterFile| file.modules.iter().map(|m| m.scale()).collect::<Vec<_>>();
        assert_eq!(alphas(&file), alphas(&read(&cases[name])), "{name}");
    }
}

fn folder_keys(case: &Case) -> BTreeMap<String, Vec<usize>> {
    keys(&folder().join(&case.file))
}

/// The loss Σ output · probe, and its gradient, of an adapter with the values of `at`.
fn loss(net: &Net, tensors: &Tensors, device: &Device) -> Tensor<1> {
    let out = net.run(tensors, device).into_iter().map(|(path, out)| {
        let probe = TensorData::new(tensors.values(&format!("probe/{path}")).to_vec(), out.shape());
        (out * Tensor::from_data(probe, device)).sum()
    });
    out.reduce(|a, b| a + b).unwrap()
}

#[test]
fn gradients_are_those_of_small_differences_with_dropout_too() {
    let (tensors, device) = (Tensors::read(), Device::flex().autodiff());
    let dropped = Drop {
        neurons: 0.3,
        ranks: 0.2,
        modules: 0.2,
    };
    for name in RECIPES {
        let drop = match name.ends_with("dora") {
            true => Drop::default(),
            false => dropped,
        };
        let mut net = Net::load(&device);
        lora::attach(&mut [("", &mut net)], &Recipe { drop, ..recipe(name) }, 7).unwrap();
        lora::roll("", &mut net, 7, 3);
        // Nothing is zero, and DoRA's lengths stay lengths.
        lora::for_each(&mut net, &mut |key, mut param| {
            let shake = Draws::new(11, key).normals(param.values().len());
            let values = param.values().into_iter().zip(shake);
            let values = values.map(|(v, s)| {
                if key.ends_with("dora_scale") {
                    v * (1.0 + 0.1 * s)
                } else {
                    v + 0.3 * s
                }
            });
            param.set(values.collect(), true);
        });
        let total = loss(&net, &tensors, &device);
        assert_eq!(
            to_vec(loss(&net, &tensors, &device)),
            to_vec(total.clone()),
            "the same draws"
        );
        let mut found = total.backward().into();
        let mut gradients: BTreeMap<String, Vec<f32>> = BTreeMap::new();
        lora::for_each(&mut net, &mut |key, param| {
            // A module that is left out has none.
            gradients.extend(param.gradient(&mut found).map(|g| (key.to_owned(), g)));
        });
        let (mut ahead, mut checked) = (net.clone(), 0);
        for (key, gradient) in &gradients {
            let direction = Draws::new(13, key).normals(gradient.len());
            let mut at = |by: f32| {
                lora::for_each(&mut ahead, &mut |other, mut param| {
                    if other == key {
                        let moved = param.values().into_iter().zip(&direction).map(|(v, d)| v + by * d);
                        param.set(moved.collect(), true);
                    }
                });
                let value = f64::from(to_vec(loss(&ahead, &tensors, &device))[0]);
                lora::for_each(&mut ahead, &mut |other, mut param| {
                    if other == key {
                        let back = param.values().into_iter().zip(&direction).map(|(v, d)| v - by * d);
                        param.set(back.collect(), true);
                    }
                });
                value
            };
            let step = 1e-2;
            let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
            let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            let scale = gradient.iter().map(|g| f64::from(g * g)).sum::<f64>().sqrt();
            assert!(
                (slope - expected).abs() < 1e-2 * scale.max(1.0),
                "{name} {key}: {slope} for {expected}"
            );
            checked += 1;
        }
        assert!(checked >= 3, "{name}: {checked}");
    }
}

#[test]
fn dropout_follows_its_seed_keeps_the_mean_and_ends_with_the_training() {
    let (tensors, device) = (Tensors::read(), Device::flex().autodiff());
    let with = |drop: Drop, micro_batch: u64| {
        let mut net = Net::load(&device);
        lora::attach_modules(&mut net, &[], 1.0).unwrap();
        lora::attach(
            &mut [("", &mut net)],
            &Recipe {
                drop,
                ..recipe("locon")
            },
            7,
        )
        .unwrap();
        lora::for_each(&mut net, &mut |key, mut param| {
            let values = Draws::new(5, key).normals(param.values().len());
            param.set(values, true);
        });
        lora::roll("", &mut net, 7, micro_batch);
        net
    };
    let q = |net: &Net| to_vec(net.q.forward(tensors.get::<2>("input/vectors", &device)));
    let base = q(&Net::load(&device));
    let whole = q(&with(Drop::default(), 0));
    for drop in [
        Drop {
            neurons: 0.4,
            ..Drop::default()
        },
        Drop {
            ranks: 0.4,
            ..Drop::default()
        },
        Drop {
            modules: 0.4,
            ..Drop::default()
        },
    ] {
        assert_eq!(q(&with(drop, 1)), q(&with(drop, 1)));
        let mut some = (0..8).map(|k| q(&with(drop, k)));
        let first = some.next().unwrap();
        assert!(some.any(|other| other != first), "{drop:?}");
        assert_eq!(
            q(&lora::frozen(&with(drop, 1))),
            whole,
            "nothing is left out when it is measured"
        );
        // The mean over many draws is the whole update, times the share of modules that are there.
        let n = 3000;
        let mut mean = vec![0.0f32; base.len()];
        let mut net = with(drop, 0);
        for k in 0..n {
            lora::roll("", &mut net, 7, k);
            for (m, v) in mean.iter_mut().zip(q(&net)) {
                *m += v / n as f32;
            }
        }
        let update: Vec<f32> = mean.iter().zip(&base).map(|(m, b)| m - b).collect();
        let kept = 1.0 - drop.modules as f32;
        let expected: Vec<f32> = whole.iter().zip(&base).map(|(w, b)| kept * (w - b)).collect();
        assert!(
            error(&update, &expected) < 0.06,
            "{drop:?}: {}",
            error(&update, &expected)
        );
    }
}

#[test]
fn patterns_choose_layers_and_their_sizes() {
    let device = Device::flex().autodiff();
    let attach = |recipe: &Recipe| {
        let mut net = Net::load(&device);
        let paths = lora::attach(&mut [("", &mut net)], recipe, 7)?;
        Ok::<_, lora::LoraError>((paths, lora::extract(&mut net)))
    };
    let rule = |pattern: &str| Rule::new(pattern, ()).unwrap();
    let recipe = Recipe {
        include: vec![rule("*resnets*"), rule("*.to_q")],
        exclude: vec![rule("*.proj_in")],
        conv: Some((2, 1.0)),
        ranks: vec![Rule::new("*.attn1.*", 5).unwrap()],
        alphas: vec![Rule::new("*.attn1.*", 10.0).unwrap()],
        start: Start::Gaussian,
        ..Recipe::lora(4, 4.0)
    };
    let (paths, modules) = attach(&recipe).unwrap();
    assert_eq!(paths, [Q, CONV]);
    let sizes: Vec<_> = modules.iter().map(|m| (m.path.as_str(), m.rank(), m.alpha)).collect();
    assert_eq!(sizes, [(Q, 5, 10.0), (CONV, 2, 1.0)]);
    // What a kind covers without patterns.
    assert_eq!(attach(&Recipe::lora(4, 4.0)).unwrap().0, [Q, PROJ]);
    let idle = Recipe {
        exclude: vec![rule("*.attn3.*")],
        ..Recipe::lora(4, 4.0)
    };
    let text = attach(&idle).unwrap_err().to_string();
    assert!(text.contains("`*.attn3.*` fits no layer"), "{text}");
}

#[test]
fn starts_from_the_weight_take_out_what_peft_takes_and_are_learned_from() {
    let (tensors, device) = (Tensors::read(), Device::flex().autodiff());
    for (start, name) in [(Start::Pissa, "pissa"), (Start::Olora, "olora")] {
        let recipe = Recipe {
            start,
            include: vec![Rule::new("*", ()).unwrap()],
            ..Recipe::lora(3, 5.0)
        };
        let bare = Net::load(&device);
        let mut net = bare.clone();
        lora::attach(&mut [("", &mut net)], &recipe, 7).unwrap();
        let taken = bare.q.weight.widened() - net.q.weight.widened();
        let off = error(&to_vec(taken), tensors.values(&format!("start/{name}")));
        assert!(off < 1e-5, "{name}: {off:e}");
        let outputs = |net: &Net| {
            net.run(&tensors, &device)
                .into_iter()
                .map(|(_, out)| to_vec(out))
                .collect::<Vec<_>>()
        };
        for (found, expected) in outputs(&net).iter().zip(outputs(&bare)) {
            assert!(error(found, &expected) < 1e-5, "{name} changes nothing at first");
        }
        // After some learning, the file fits the base as it was.
        let start = lora::extract(&mut net);
        lora::for_each(&mut net, &mut |key, mut param| {
            let moved = param
                .values()
                .into_iter()
                .zip(Draws::new(3, key).normals(param.values().len()));
            param.set(moved.map(|(v, d)| v + 0.1 * d).collect(), true);
        });
        let learned: Vec<_> = lora::extract(&mut net)
            .into_iter()
            .zip(&start)
            .map(|(now, start)| now.since(start))
            .collect();
        assert!(learned.iter().all(|m| m.rank() == 6 && m.check().is_ok()));
        let mut again = bare.clone();
        lora::attach_modules(&mut again, &learned, 1.0).unwrap();
        for ((found, expected), bare) in outputs(&again).iter().zip(outputs(&net)).zip(outputs(&bare)) {
            assert!(error(found, &expected) < 1e-5, "{name}");
            // Norms have no adapter.
            assert!(error(&bare, &expected) > 1e-3 || bare == expected);
        }
    }
    let large = Recipe {
        start: Start::Olora,
        ..Recipe::lora(13, 13.0)
    };
    let refused = lora::attach(&mut [("", &mut Net::load(&device))], &large, 7).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("at most 12 to start from its weight, found 13"),
        "{refused}"
    );
}
