//! The tools against numpy's SVD of the updates in full: `scripts/parity/make_adapter_tools.py`.

use std::collections::BTreeMap;

use super::factors::Factors;
use super::*;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/adapter-tools");
/// Of the largest value: the factors are stored in f32.
const TOLERANCE: f64 = 1e-6;

fn fixture(name: &str) -> (Container, AdapterFile) {
    let path = format!("{FOLDER}/{name}.safetensors");
    let (container, listing) = open(Path::new(&path)).unwrap();
    (container, listing.known(name).unwrap().adapter)
}

fn derived(by: &str, from: &[(&Container, f64)]) -> Derived {
    let from = from
        .iter()
        .map(|(c, weight)| Source::of(crate::digest::Sha256Digest::of_bytes(&c.to_bytes()), c, *weight))
        .collect();
    Derived {
        by: by.into(),
        program: "assent".into(),
        base: None,
        tuned: None,
        from,
    }
}

/// numpy's numbers by name.
fn expected() -> BTreeMap<String, Vec<f32>> {
    let container = Container::read(Path::new(&format!("{FOLDER}/expected.safetensors"))).unwrap();
    let entries = container.entries().iter();
    entries
        .map(|e| (e.name.clone(), Dtype::F32.widen(container.bytes_of(e))))
        .collect()
}

/// ΔW in full, in row-major order.
fn dense(module: &Module) -> Vec<f64> {
    let f = Factors::of(module).unwrap().unwrap();
    (f.left * f.right).transpose().as_slice().to_vec()
}

fn close(what: &str, found: &[f64], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0.0f64, |m, v| m.max(f64::from(v.abs())));
    for (f, e) in found.iter().zip(expected) {
        assert!(
            (f - f64::from(*e)).abs() <= TOLERANCE * largest,
            "{what}: {f} against {e}"
        );
    }
}

fn key(module: &Module) -> String {
    crate::names::kohya_name(&module.path, false).unwrap()
}

#[test]
fn factors_and_singular_values_are_those_of_the_update_in_full() {
    let expected = expected();
    let (_, a) = fixture("a");
    assert_eq!(a.modules.len(), 5);
    for m in &a.modules {
        let name = format!("A/{}", key(m));
        close(&name, &dense(m), &expected[&name]);
        let found = Factors::of(m).unwrap().unwrap().spectrum(m).unwrap();
        // numpy has as many values as the update has rows or columns; beyond the rank they are rounding.
        let values = &expected[&format!("{name}/values")];
        close(&name, &found.values, &values[..found.values.len()]);
        assert!(values[found.values.len()..].iter().all(|v| *v < 1e-6 * values[0]));
    }
}

#[test]
fn a_cut_is_the_nearest_update_of_its_rank() {
    let expected = expected();
    let (container, a) = fixture("a");
    let derived = derived("resize", &[(&container, 1.0)]);
    let (resized, changes) = resize(&a, Cut::Rank(2), Dtype::F32, &derived, &|| {}).unwrap();
    for ((m, old), change) in resized.modules.iter().zip(&a.modules).zip(&changes) {
        let cut = &expected[&format!("A/{}/rank2", key(m))];
        close(&m.path, &dense(m), cut);
        assert_eq!((m.rank(), change.new_rank, change.old_rank), (2, 2, old.rank()));
        assert!((m.scale() - old.scale()).abs() < 1e-7, "{}", m.path);
        // Kept energy and error are two views of one cut.
        let lost = change.squared_error / change.energy;
        assert!((1.0 - change.kept - lost).abs() < 1e-6, "{change:?}");
        assert_eq!(m.form.shape(), old.form.shape());
    }
    // The same input gives the same bytes; cutting again to the same rank changes none.
    let bytes = |adapter| encode(adapter, Format::Kohya, Dtype::F32).unwrap().to_bytes();
    let again = resize(&a, Cut::Rank(2), Dtype::F32, &derived, &|| {}).unwrap().0;
    assert_eq!(bytes(&again), bytes(&resized));
    let twice = resize(&resized, Cut::Rank(2), Dtype::F32, &derived, &|| {}).unwrap().0;
    assert_eq!(twice.modules, resized.modules);
}

#[test]
fn a_share_of_the_energy_gives_the_ranks_that_numpy_finds() {
    let text = std::fs::read_to_string(format!("{FOLDER}/expected.json")).unwrap();
    let numbers: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (container, a) = fixture("a");
    let derived = derived("resize", &[(&container, 1.0)]);
    for share in [0.5, 0.9, 0.99] {
        let (resized, changes) = resize(&a, Cut::Energy(share), Dtype::F32, &derived, &|| {}).unwrap();
        for (m, change) in resized.modules.iter().zip(&changes) {
            let wanted = &numbers[key(m)]["ranks"][share.to_string()];
            assert_eq!(wanted.as_u64(), Some(m.rank() as u64), "{} {share}", m.path);
            assert!(change.kept >= share);
        }
    }
    // All of the energy: every rank that there is, and so the bytes as they are.
    let (whole, _) = resize(&a, Cut::Energy(1.0), Dtype::F32, &derived, &|| {}).unwrap();
    for (m, old) in whole.modules.iter().zip(&a.modules) {
        assert_eq!(m.rank(), old.rank());
        assert!(m == old || old.form.name() == "locon-tucker", "{}", m.path);
    }
}

#[test]
fn the_header_keeps_what_holds_and_names_its_source() {
    let (container, a) = fixture("a");
    assert!(a.header.contains_key("assent.receipt") && a.header.contains_key("sshs_legacy_hash"));
    let derived = derived("resize", &[(&container, 1.0)]);
    let (resized, _) = resize(&a, Cut::Rank(2), Dtype::F16, &derived, &|| {}).unwrap();
    let written = encode(&resized, Format::Kohya, Dtype::F16).unwrap();
    let h = &written.metadata;
    assert_eq!(h["ss_base_model_version"], "sd_v1");
    assert_eq!(h["modelspec.trigger_phrase"], "a sketch");
    assert_eq!(h["ss_network_dim"], "2");
    assert_eq!(h["ss_network_alpha"], "Dynamic");
    assert_eq!(h["sshs_model_hash"], written.tensor_digest().to_string());
    assert!(!h.contains_key("assent.receipt") && !h.contains_key("sshs_legacy_hash"));
    let says = Derived::of_header(h).unwrap();
    assert_eq!(says, derived);
    assert_eq!(says.from[0].tensors, container.tensor_digest());
    // What was reported is what stands in the file, rounded to 16 bits.
    assert_eq!(decode(&written, "test").unwrap().adapter.modules, resized.modules);
}

#[test]
fn signs_are_fixed() {
    let (_, a) = fixture("a");
    for m in &a.modules {
        let spectrum = Factors::of(m).unwrap().unwrap().spectrum(m).unwrap();
        for column in spectrum.u.column_iter() {
            let most = column.iter().copied().max_by(|x, y| x.abs().total_cmp(&y.abs()));
            assert!(most.unwrap() > 0.0);
        }
    }
}

#[test]
fn what_cannot_be_resized_is_refused() {
    let (container, a) = fixture("a");
    let derived = derived("resize", &[(&container, 1.0)]);
    let refusal =
        |adapter: &AdapterFile, cut, dtype| resize(adapter, cut, dtype, &derived, &|| {}).unwrap_err().to_string();
    let says = refusal(&a, Cut::Rank(0), Dtype::F32);
    assert_eq!(says, "rank: expected 1 to 4, the largest rank in the file, found 0");
    assert!(refusal(&a, Cut::Rank(5), Dtype::F32).ends_with("found 5"));
    for share in [0.0, -1.0, 1.5, f64::NAN] {
        let says = refusal(&a, Cut::Energy(share), Dtype::F32);
        assert_eq!(
            says,
            format!("energy: expected a share above 0 and up to 1, found {share}")
        );
    }
    let with = |change: &dyn Fn(&mut Module)| {
        let mut a = a.clone();
        change(&mut a.modules[0]);
        refusal(&a, Cut::Rank(2), Dtype::F16)
    };
    let up = |m: &mut Module, v| match &mut m.form {
        Form::Lora { up, .. } => up.values[3] = v,
        other => panic!("{other:?}"),
    };
    assert!(with(&|m| up(m, f32::NAN)).contains("not finite"));
    let says = with(&|m| up(m, 1e30));
    assert!(says.contains("not finite as f16"), "{says}");
    let dora = with(&|m| {
        m.magnitude = Some(Magnitude {
            lengths: Weight::new([20, 1], vec![1.0; 20]),
            on_input: false,
        });
    });
    assert!(dora.contains("found DoRA"), "{dora}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/adapters/full.safetensors");
    let mut full = read(Path::new(path)).unwrap();
    full.modules.push(a.modules[0].clone());
    let says = refusal(&full, Cut::Rank(1), Dtype::F32);
    assert!(says.ends_with("a LoHa or a LoKr, found full"), "{says}");
}

#[test]
fn an_update_of_nothing_keeps_all_of_it() {
    let (container, mut a) = fixture("a");
    a.modules.truncate(1);
    if let Form::Lora { up, .. } = &mut a.modules[0].form {
        up.values.fill(0.0);
    }
    let derived = derived("resize", &[(&container, 1.0)]);
    for cut in [Cut::Rank(1), Cut::Energy(0.5)] {
        let (resized, changes) = resize(&a, cut, Dtype::F32, &derived, &|| {}).unwrap();
        assert_eq!((resized.modules[0].rank(), changes[0].kept), (1, 1.0));
        assert!(dense(&resized.modules[0]).iter().all(|v| *v == 0.0));
    }
}

#[test]
fn a_sum_is_exact_until_it_is_cut() {
    let expected = expected();
    let ((first, a), (second, b)) = (fixture("a"), fixture("b"));
    let derived = derived("merge", &[(&first, 0.7), (&second, -0.4)]);
    let parts = [(&a, 0.7), (&b, -0.4)];
    let (whole, changes) = merge(&parts, None, Dtype::F32, &derived, &|| {}).unwrap();
    let (cut, _) = merge(&parts, Some(3), Dtype::F32, &derived, &|| {}).unwrap();
    assert_eq!((whole.modules.len(), cut.modules.len()), (5, 5));
    for (m, c) in whole.modules.iter().zip(&cut.modules) {
        let name = format!("sum/{}", key(m));
        close(&name, &dense(m), &expected[&name]);
        close(&name, &dense(c), &expected[&format!("{name}/rank3")]);
        assert_eq!(c.rank(), 3, "{name}");
    }
    // Rank 4 and 2 beside each other, and a module that only one has.
    let ranks: Vec<usize> = whole.modules.iter().map(Module::rank).collect();
    assert_eq!(ranks, [6, 8, 8, 4, 6]);
    assert!(
        changes
            .iter()
            .all(|c| c.kept == 1.0 && c.squared_error < 1e-12 * c.energy)
    );
    let h = &whole.header;
    assert_eq!(h["modelspec.trigger_phrase"], "a sketch, in ink");
    assert_eq!(h["ss_base_model_version"], "sd_v1");
    assert_eq!(Derived::of_header(h), Some(derived));
    assert!(!h.contains_key("assent.receipt"));
    // The values of a single adapter come through as they are.
    let text = a.modules.iter().find(|m| m.path.starts_with("text_encoder")).unwrap();
    let alone = AdapterFile {
        modules: vec![text.clone()],
        header: a.header.clone(),
    };
    let one = derived_of_one(&first);
    let (same, _) = merge(&[(&alone, 1.0)], None, Dtype::F32, &one, &|| {}).unwrap();
    let (Form::Lora { down: was, .. }, Form::Lora { down: is, .. }) = (&text.form, &same.modules[0].form) else {
        panic!("no LoRA")
    };
    assert_eq!(was, is);
}

fn derived_of_one(container: &Container) -> Derived {
    derived("merge", &[(container, 1.0)])
}

#[test]
fn adapters_that_do_not_belong_together_are_refused() {
    let ((first, a), (_, b)) = (fixture("a"), fixture("b"));
    let derived = derived_of_one(&first);
    let refusal = |parts: &[(&AdapterFile, f64)], rank| {
        merge(parts, rank, Dtype::F32, &derived, &|| {})
            .unwrap_err()
            .to_string()
    };
    let mut other = b.clone();
    other
        .header
        .insert("ss_base_model_version".into(), "sdxl_base_v1-0".into());
    let says = refusal(&[(&a, 1.0), (&other, 1.0)], None);
    assert_eq!(
        says,
        "adapters: expected all for one kind of model, found sd_v1 and sdxl_base_v1-0"
    );
    for weight in [0.0, f64::NAN, f64::INFINITY] {
        assert!(refusal(&[(&a, weight)], None).starts_with("weight: expected a number other than 0"));
    }
    for rank in [0, 9] {
        let says = refusal(&[(&a, 1.0), (&b, 1.0)], Some(rank));
        let wanted = format!("rank: expected 1 to 8, the largest sum of the ranks of a module, found {rank}");
        assert_eq!(says, wanted);
    }
    let mut wide = b.clone();
    wide.modules[0] = Module::lora(
        &wide.modules[0].path,
        Weight::new([1, 24], vec![1.0; 24]),
        Weight::new([20, 1], vec![1.0; 20]),
        1.0,
    );
    let says = refusal(&[(&a, 1.0), (&wide, 1.0)], None);
    assert!(
        says.ends_with("expected an update of the size [20, 12] in every adapter, found [20, 24]"),
        "{says}"
    );
    // Beyond what 16 bits hold.
    let error = merge(&[(&a, 1e9)], None, Dtype::F16, &derived, &|| {}).unwrap_err();
    assert!(matches!(error, AdapterError::NotFinite { .. }));
}

#[test]
fn cosines_and_distances_are_those_of_the_updates_in_full() {
    let text = std::fs::read_to_string(format!("{FOLDER}/expected.json")).unwrap();
    let numbers: serde_json::Value = serde_json::from_str(&text).unwrap();
    let ((_, a), (_, b)) = (fixture("a"), fixture("b"));
    let found = compare(&a, &b).unwrap();
    assert!(!found.equal());
    assert_eq!(
        (found.both.len(), found.only_first.len(), found.only_second.len()),
        (4, 1, 0)
    );
    for m in &found.both {
        let wanted = &numbers[crate::names::kohya_name(&m.module, false).unwrap()];
        let g = m.geometry.unwrap();
        for (found, name) in [(g.cosine(), "cosine"), (g.distance(), "distance")] {
            assert!(
                (found.unwrap() - wanted[name].as_f64().unwrap()).abs() < 1e-9,
                "{} {name}",
                m.module
            );
        }
    }
    let same = compare(&a, &a).unwrap();
    assert!(same.equal());
    for m in &same.both {
        let g = m.geometry.unwrap();
        assert!(g.distance().unwrap() < 1e-7 && (g.cosine().unwrap() - 1.0).abs() < 1e-12);
    }
    let nothing = Geometry {
        first: 0.0,
        second: 1.0,
        product: 0.0,
    };
    assert_eq!((nothing.cosine(), nothing.distance()), (None, None));
    assert_eq!(Geometry::default().distance(), Some(0.0));
}

/// The difference that a module is.
fn difference(module: &Module, values: &[f32]) -> Difference {
    Difference {
        path: module.path.clone(),
        shape: module.form.shape().unwrap(),
        values: values.to_vec(),
    }
}

#[test]
fn an_extract_is_numpys_cut_of_the_difference() {
    let (_, a) = fixture("a");
    let expected = expected();
    for module in &a.modules {
        let name = key(module);
        let full = &expected[&format!("A/{name}")];
        let (made, change) = extract(&difference(module, full), Cut::Rank(2), Dtype::F32).unwrap();
        close(&name, &dense(&made), &expected[&format!("A/{name}/rank2")]);
        assert_eq!((made.rank(), made.path.as_str()), (2, module.path.as_str()));
        assert_eq!(made.form.shape(), module.form.shape());
        let values = &expected[&format!("A/{name}/values")];
        let energy = |values: &[f32]| values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
        let kept = energy(&values[..2]) / energy(values);
        assert!((change.kept - kept).abs() < 1e-6, "{name}: {} and {kept}", change.kept);
        let lost = 1.0 - kept;
        assert!((change.squared_error / change.energy - lost).abs() < 1e-6);
        // By kept energy, the ranks that numpy counts.
        let numbers: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(format!("{FOLDER}/expected.json")).unwrap()).unwrap();
        for (share, rank) in numbers[&name]["ranks"].as_object().unwrap() {
            let cut = Cut::Energy(share.parse().unwrap());
            let (_, change) = extract(&difference(module, full), cut, Dtype::F32).unwrap();
            assert_eq!(change.new_rank as u64, rank.as_u64().unwrap(), "{name} {share}");
        }
    }
}

#[test]
fn an_extract_of_a_large_difference_is_that_of_the_whole_decomposition() {
    // Falls off slowly, so that what is left out is nearly as strong as what is kept.
    let (m, n) = (136usize, 150usize);
    let noise = |i: usize| (i as f64 * 12.9898).sin() * 43758.5453 % 1.0;
    let left = nalgebra::DMatrix::from_fn(m, m, |i, j| noise(i * m + j) * 0.97f64.powi(j as i32));
    let right = nalgebra::DMatrix::from_fn(m, n, |i, j| noise(7 + i * n + j));
    let whole = &left * &right;
    let values: Vec<f32> = whole.transpose().iter().map(|v| *v as f32).collect();
    let exact = whole.svd(false, false).singular_values;
    let energy = |k: usize| exact.iter().take(k).map(|s| s * s).sum::<f64>() / exact.norm_squared();
    let change = Difference {
        path: "mid_block.attentions.0.proj_in".into(),
        shape: vec![m, n],
        values,
    };
    let (_, by_rank) = extract(&change, Cut::Rank(12), Dtype::F32).unwrap();
    assert!(
        (by_rank.kept - energy(12)).abs() < 1e-6,
        "{} and {}",
        by_rank.kept,
        energy(12)
    );
    assert!((by_rank.squared_error / by_rank.energy - (1.0 - energy(12))).abs() < 1e-6);
    for share in [0.5, 0.9] {
        let (_, by_energy) = extract(&change, Cut::Energy(share), Dtype::F32).unwrap();
        let least = (1..=m).find(|k| energy(*k) >= share).unwrap();
        assert_eq!(by_energy.new_rank, least, "{share}");
    }
    for cut in [Cut::Rank(0), Cut::Energy(0.0), Cut::Energy(1.5)] {
        assert!(extract(&change, cut, Dtype::F32).is_err());
    }
}
