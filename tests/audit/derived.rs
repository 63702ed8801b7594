//! Adapters without a receipt of their own, which name those that they were computed from.

use std::path::{Path, PathBuf};

use assent::adapter::{Container, DERIVED_KEY, Derived, Dtype, Source};
use assent::audit::{Code, Verdict, audit_adapter};
use assent::digest::Sha256Digest;
use assent::receipt;
use assent::registry::NewAdapter;

use crate::codes;
use crate::world::{World, container, opt_out, time};

/// What a file that says it was resized from the world's adapter would be, with other weights or the same.
fn computed(world: &World, name: &str, dtype: Dtype, from: &[&Path]) -> PathBuf {
    let mut made = container(dtype);
    let sources = from.iter().map(|path| {
        let container = Container::read(path).unwrap();
        Source {
            receipt: receipt::open(&container).unwrap().map(|sealed| sealed.digest),
            ..Source::of(Sha256Digest::of_file(path).unwrap(), &container, 1.0)
        }
    });
    let derived = Derived {
        by: "resize".into(),
        program: "assent test".into(),
        base: None,
        tuned: None,
        from: sources.collect(),
    };
    made.metadata.insert(DERIVED_KEY.into(), derived.text());
    let path = world.folder.path().join(name);
    made.write(&path).unwrap();
    path
}

#[test]
fn the_sources_receipts_lead_to_the_images() {
    let world = World::new();
    let path = computed(&world, "half.safetensors", Dtype::F16, &[&world.adapter]);
    let report = audit_adapter(&path, Some(&world.registry()), time(9)).unwrap();
    assert_eq!(codes(&report), [Code::DerivedAdapter, Code::AdapterUnknown]);
    assert_eq!(report.verdict, Verdict::Findings);
    assert_eq!(report.images.len(), 3);
    assert_eq!(report.snapshot.as_ref().unwrap().name.as_deref(), Some("set"));
    let sources = &report.adapter.as_ref().unwrap().sources;
    assert!(sources.len() == 1 && sources[0].known && sources[0].receipt_sha256.is_some());

    // On record, and computed from what was computed.
    let mut registry = world.registry();
    let row = registry.adapters().unwrap().remove(0);
    let written = Container::read(&path).unwrap();
    let new = NewAdapter {
        sha256: Sha256Digest::of_file(&path).unwrap(),
        tensors: written.tensor_digest(),
        run: None,
        trained_on: row.trained_on,
        path: path.clone(),
    };
    registry.add_adapter(&new, time(7)).unwrap();
    let report = audit_adapter(&path, Some(&registry), time(9)).unwrap();
    assert_eq!((codes(&report), report.images.len()), (vec![Code::DerivedAdapter], 3));
    let again = computed(&world, "again.safetensors", Dtype::Bf16, &[&path]);
    let report = audit_adapter(&again, Some(&registry), time(9)).unwrap();
    assert_eq!(report.images.len(), 3);
    assert_eq!(report.adapter.as_ref().unwrap().sources.len(), 2);

    // A refusal reaches it through its sources.
    opt_out(&mut registry, "Ann", 8);
    let report = audit_adapter(&again, Some(&registry), time(9)).unwrap();
    assert!(codes(&report).contains(&Code::ConsentWithdrawn));
    assert_eq!(report.verdict, Verdict::Findings);
}

#[test]
fn what_cannot_be_followed_is_said() {
    let world = World::new();
    let stranger = world.folder.path().join("stranger.safetensors");
    container(Dtype::Bf16).write(&stranger).unwrap();
    let path = computed(&world, "half.safetensors", Dtype::F16, &[&world.adapter, &stranger]);
    let report = audit_adapter(&path, Some(&world.registry()), time(9)).unwrap();
    assert_eq!(report.images.len(), 3);
    assert!(
        report
            .unchecked
            .iter()
            .any(|line| line.contains("the registry does not know it"))
    );

    std::fs::remove_file(&world.adapter).unwrap();
    let report = audit_adapter(&path, Some(&world.registry()), time(9)).unwrap();
    assert_eq!(report.images.len(), 3);
    assert!(
        report
            .unchecked
            .iter()
            .any(|line| line.contains("not where it was recorded"))
    );
}

#[test]
fn a_receipt_that_was_taken_off_is_not_excused_by_naming_a_source() {
    let world = World::new();
    // The same weights, which the registry knows with their receipt.
    let path = computed(&world, "bare.safetensors", Dtype::F32, &[&world.adapter]);
    let report = audit_adapter(&path, Some(&world.registry()), time(9)).unwrap();
    assert!(codes(&report).contains(&Code::HeaderChanged));
    assert_eq!(report.verdict, Verdict::Invalid);
    // No source at all is no excuse either.
    let path = computed(&world, "none.safetensors", Dtype::F16, &[]);
    let report = audit_adapter(&path, None, time(9)).unwrap();
    assert_eq!(
        (codes(&report), report.verdict),
        (vec![Code::ReceiptMissing], Verdict::Invalid)
    );
}
