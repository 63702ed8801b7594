//! The optimizers against the PyTorch classes whose names they bear.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::golden::unit;
use super::*;

/// What `scripts/parity/make_optimizers.py` wrote.
fn golden() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/optimizers/optimizers.json")).unwrap()
}

fn method(case: &Value) -> Method {
    let arguments = case["arguments"].clone();
    match case["optimizer"].as_str().unwrap() {
        "AdamW" => Method::AdamW(serde_json::from_value(arguments).unwrap()),
        "AdamW8bit" => Method::AdamW8bit(serde_json::from_value(arguments).unwrap()),
        "Lion" => Method::Lion(serde_json::from_value(arguments).unwrap()),
        "Adafactor" => Method::Adafactor(serde_json::from_value(arguments).unwrap()),
        "Prodigy" => Method::Prodigy(serde_json::from_value(arguments).unwrap()),
        "AdamWScheduleFree" => Method::ScheduleFree(serde_json::from_value(arguments).unwrap()),
        other => panic!("{other}"),
    }
}

fn start(case: &Value) -> Optimizer {
    let mut optimizer = Optimizer::new(method(case), None);
    for (k, shape) in case["shapes"].as_array().unwrap().iter().enumerate() {
        let shape: Vec<usize> = serde_json::from_value(shape.clone()).unwrap();
        let n = shape.iter().product::<usize>() as u64;
        let values = (0..n).map(|i| unit(100 + k as u64, i)).collect();
        optimizer.add(&format!("p{k}"), shape, values, 1.0);
    }
    optimizer
}

/// Gradients of very different sizes, so that scales matter.
fn gradients(optimizer: &Optimizer, step: u64) -> Gradients {
    let one = |(k, (name, slot)): (usize, (&String, &Slot))| {
        let size = [1.0, 1e-3, 30.0][k % 3];
        let stream = 1000 * (k as u64 + 1) + step;
        // Half of it always the same, so that there is somewhere to go.
        let values = (0..slot.value.len() as u64).map(|i| (unit(stream, i) + unit(50 + k as u64, i)) * size);
        (name.clone(), values.collect())
    };
    optimizer.slots.iter().enumerate().map(one).collect()
}

/// Weights of a few places.
fn seen(values: &[f32], every: usize) -> Vec<f32> {
    values.iter().step_by(every).copied().collect()
}

#[test]
fn twenty_updates_are_those_of_the_classes_of_that_name() {
    let golden = golden();
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 14);
    let mut worst = BTreeMap::<String, f64>::new();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let (every, lr) = (case["every"].as_u64().unwrap() as usize, case["lr"].as_f64().unwrap());
        let mut optimizer = start(case);
        let begin = optimizer.clone();
        for step in 0..20 {
            let gradients = gradients(&optimizer, step);
            optimizer.update(&gradients, lr);
            optimizer.average(&gradients);
            for (what, view) in [
                (
                    "weights",
                    (|_, slot| slot.value.clone()) as fn(&Optimizer, &Slot) -> Vec<f32>,
                ),
                ("kept", Optimizer::kept),
            ] {
                let Some(expected) = case[what].get(step.to_string()) else {
                    continue;
                };
                for (k, expected) in expected.as_array().unwrap().iter().enumerate() {
                    let key = format!("p{k}");
                    let found = seen(&view(&optimizer, &optimizer.slots[&key]), every);
                    let first = seen(&begin.slots[&key].value, every);
                    let expected = expected.as_array().unwrap();
                    assert_eq!(found.len(), expected.len(), "{name}");
                    // Relative to the way that the weights have gone so far.
                    let number = |v: &Value| v.as_f64().unwrap();
                    let way = expected
                        .iter()
                        .zip(&first)
                        .map(|(e, f)| (number(e) - f64::from(*f)).abs());
                    let way = way.fold(0.0, f64::max);
                    let off = found
                        .iter()
                        .zip(expected)
                        .map(|(f, e)| (f64::from(*f) - number(e)).abs());
                    let off = off.fold(0.0, f64::max) / way.max(1e-3);
                    let most = worst.entry(name.to_owned()).or_default();
                    *most = most.max(off);
                }
            }
        }
    }
    println!("{worst:#?}");
    for (name, off) in worst {
        assert!(off < 3e-5, "{name}: off by {off:e} of the way");
    }
}

#[test]
fn states_of_eight_bits_take_a_quarter() {
    let bytes = |method: Method| {
        let mut optimizer = Optimizer::new(method, None);
        optimizer.add("w", vec![64, 80], vec![0.0; 5120], 1.0);
        optimizer.state_bytes()
    };
    assert_eq!(bytes(Method::AdamW(AdamWConfig::default())), 8 * 5120);
    // A byte for each value and four for each 256, twice.
    assert_eq!(
        bytes(Method::AdamW8bit(AdamW8bitConfig::default())),
        2 * (5120 + 4 * 20)
    );
    assert_eq!(bytes(Method::Adafactor(AdafactorConfig::default())), 4 * (64 + 80));
}

#[test]
fn every_state_is_the_same_after_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    for case in golden()["cases"].as_array().unwrap() {
        let lr = case["lr"].as_f64().unwrap();
        let mut whole = start(case);
        whole.note_best();
        for step in 0..3 {
            let gradients = gradients(&whole, step);
            whole.update(&gradients, lr);
            whole.average(&gradients);
        }
        let mut parts = Vec::new();
        whole.visit(&mut |name, part| parts.push((name, part)));
        super::super::state::store(folder.path(), "adapter", "run", 3, parts).unwrap();

        let mut resumed = start(case);
        resumed.note_best();
        let mut parts = Vec::new();
        resumed.visit(&mut |name, part| parts.push((name, part)));
        let mark = super::super::state::find(folder.path(), "adapter", "run")
            .unwrap()
            .unwrap();
        super::super::state::restore(folder.path(), &mark, parts).unwrap();
        resumed.step = mark.step;
        for step in 3..5 {
            let gradients = gradients(&whole, step);
            whole.update(&gradients, lr);
            whole.average(&gradients);
            resumed.update(&gradients, lr);
            resumed.average(&gradients);
        }
        assert_eq!(whole.shared.map(f64::to_bits), resumed.shared.map(f64::to_bits));
        assert!(whole.slots == resumed.slots, "{}", case["name"]);
        assert!(super::super::state::find(folder.path(), "adapter", "other").is_err());
    }
}

#[test]
fn the_first_update_is_the_learning_rate() {
    let config = AdamWConfig {
        weight_decay: 0.0,
        ..AdamWConfig::default()
    };
    let mut adam = Optimizer::new(Method::AdamW(config), None);
    adam.add("w", vec![2], vec![1.0, 1.0], 1.0);
    adam.add("faster", vec![1], vec![1.0], 4.0);
    let gradients = [("w".to_owned(), vec![0.5, -3.0]), ("faster".to_owned(), vec![0.1])];
    adam.update(&BTreeMap::from(gradients), 0.1);
    let w = &adam.slots["w"].value;
    assert!((w[0] - 0.9).abs() < 1e-6 && (w[1] - 1.1).abs() < 1e-6, "{w:?}");
    assert!((adam.slots["faster"].value[0] - 0.6).abs() < 4e-6);
}

#[test]
fn clips_to_the_norm_and_leaves_small_ones() {
    let mut g = BTreeMap::from([("a".to_owned(), vec![3.0]), ("b".to_owned(), vec![4.0])]);
    assert!((clip(&mut g, 1.0) - 5.0).abs() < 1e-9);
    assert!((norm(&g) - 1.0).abs() < 1e-5);
    assert!((clip(&mut g, 10.0) - 1.0).abs() < 1e-5);
    assert!((norm(&g) - 1.0).abs() < 1e-5);
}
