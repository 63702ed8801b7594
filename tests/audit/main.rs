//! The audit from the adapter file to today's consent, on a registry, a snapshot and an adapter made here: what it
//! says when nothing changed, and that no change goes unseen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cli;
mod derived;
mod hostile;
mod page;
mod picture;
mod sets;
mod signed;
mod world;

use assent::adapter::{Container, Dtype};
use assent::audit::{Code, Report, Severity, Verdict, audit_adapter, audit_image, downstream, html};
use assent::consent::Target;
use assent::receipt;
use assent::registry::Registry;
use world::{World, container, opt_out, time};

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|f| f.code).collect()
}

#[test]
fn nothing_changed_is_clean_and_names_every_image() {
    let world = World::new();
    let report = world.audit();
    assert_eq!(report.findings, []);
    assert_eq!(report.verdict, Verdict::Clean);
    assert_eq!(report.unchecked, [""; 0]);
    let artists: Vec<_> = report.images.iter().map(|i| i.artist.as_deref().unwrap()).collect();
    assert_eq!(artists, ["Ann", "Ann", "Bea <b>"]);
    assert!(
        report
            .images
            .iter()
            .all(|i| i.allowed_now && i.consent_then == i.consent_now)
    );
    assert_eq!(report.excluded.len(), 1);
    assert_eq!(report.excluded[0].reason_code, "denied_by_artist");
    assert_eq!(report.snapshot.as_ref().unwrap().name.as_deref(), Some("set"));
    assert_eq!(report.base.as_ref().unwrap().files.len(), 1);
    assert_eq!(
        report.downstream.iter().map(|d| d.kind).collect::<Vec<_>>(),
        ["picture"]
    );
    let page = html::page(&report, None, "adapter.safetensors", "0");
    assert!(page.contains("Bea &lt;b&gt;") && !page.contains("Bea <b>"));
    assert!(page.contains(&report.adapter.unwrap().sha256.to_string()));
    assert!(!page.contains("http"), "the page needs nothing from elsewhere");
}

#[test]
fn an_opt_out_after_training_names_image_and_adapter() {
    let world = World::new();
    opt_out(&mut world.registry(), "Ann", 8);
    let report = world.audit();
    assert_eq!(report.verdict, Verdict::Findings);
    assert_eq!(codes(&report), [Code::ConsentWithdrawn; 2]);
    let mut subjects: Vec<_> = report.findings.iter().map(|f| f.subject.clone()).collect();
    let mut expected: Vec<_> = world.images[..2].iter().map(|i| format!("image:{i}")).collect();
    subjects.sort();
    expected.sort();
    assert_eq!(subjects, expected);
    for finding in &report.findings {
        assert_eq!(finding.severity, Severity::Error);
        assert!(
            finding.explanation.contains("adapter.safetensors"),
            "{}",
            finding.explanation
        );
        assert!(
            finding.explanation.contains("denied_by_artist"),
            "{}",
            finding.explanation
        );
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["verdict"], "findings");
    assert_eq!(json["findings"][0]["code"], "consent_withdrawn");
    assert_eq!(json["findings"][0]["severity"], "error");

    let of_image = audit_image(&world.images[0], &world.registry(), time(9)).unwrap();
    assert_eq!(codes(&of_image), [Code::ConsentWithdrawn]);
    assert!(of_image.findings[0].explanation.contains("adapter.safetensors"));
    let untouched = audit_image(&world.images[2], &world.registry(), time(9)).unwrap();
    assert_eq!(untouched.verdict, Verdict::Clean);
}

#[test]
fn what_is_downstream_of_an_artist_an_image_and_a_source() {
    let world = World::new();
    let registry = world.registry();
    let kinds = |target: Target| {
        downstream(&registry, &target)
            .unwrap()
            .into_iter()
            .map(|d| d.kind)
            .collect::<Vec<_>>()
    };
    for target in [
        Target::Artist("ANN".into()),
        Target::Image(world.images[2]),
        Target::Source("https://example.org/gallery/".into()),
    ] {
        assert_eq!(kinds(target), ["snapshot", "adapter", "picture"]);
    }
    assert!(kinds(Target::Artist("Cy".into())).is_empty());
}

#[test]
fn every_changed_byte_of_the_file_is_invalid() {
    let world = World::new();
    let good = std::fs::read(&world.adapter).unwrap();
    let registry = world.registry();
    let mut seen = std::collections::BTreeSet::new();
    // Every seventh byte, and each of the last ones, which are the tensors.
    for at in (0..good.len()).filter(|at| at % 7 == 0 || at + 20 > good.len()) {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        std::fs::write(&world.adapter, &bytes).unwrap();
        for registry in [None, Some(&registry)] {
            let report = audit_adapter(&world.adapter, registry, time(9)).unwrap();
            assert_eq!(report.verdict, Verdict::Invalid, "byte {at}");
            seen.extend(codes(&report));
        }
    }
    for code in [
        Code::TensorsChanged,
        Code::HeaderChanged,
        Code::ReceiptChanged,
        Code::AdapterMalformed,
    ] {
        assert!(seen.contains(&code), "{code:?} was never found");
    }
}

#[test]
fn a_changed_header_under_a_new_receipt_is_still_seen_by_the_registry() {
    let world = World::new();
    let mut container = Container::read(&world.adapter).unwrap();
    let claims = receipt::open(&container).unwrap().unwrap().receipt.claims;
    container.metadata.insert("ss_network_dim".into(), "64".into());
    receipt::seal(&mut container, claims).unwrap();
    container.write(&world.adapter).unwrap();
    assert_eq!(
        audit_adapter(&world.adapter, None, time(9)).unwrap().verdict,
        Verdict::Clean
    );
    assert_eq!(codes(&world.audit()), [Code::HeaderChanged]);
}

#[test]
fn a_changed_registry_is_invalid() {
    for (sql, expected) in [
        ("DROP TRIGGER snapshot_members_no_update", Code::RegistryChanged),
        (
            "DROP TRIGGER snapshot_members_no_update; UPDATE snapshot_members SET caption = 'another'",
            Code::RegistryChanged,
        ),
        (
            "DROP TRIGGER snapshot_members_no_delete; DELETE FROM snapshot_members WHERE rowid IN (1)",
            Code::RegistryChanged,
        ),
        (
            "DROP TRIGGER snapshots_no_update; UPDATE snapshots SET root = zeroblob(32)",
            Code::RegistryChanged,
        ),
        (
            "UPDATE runs SET record = replace(record, '\"seed\": 1', '\"seed\": 2')",
            Code::RegistryChanged,
        ),
        ("UPDATE adapters SET sha256 = zeroblob(32)", Code::RegistryChanged),
        ("UPDATE adapters SET tensors = zeroblob(32)", Code::RegistryChanged),
        (
            "DROP TRIGGER adapter_snapshots_no_update; UPDATE adapter_snapshots SET root = zeroblob(32)",
            Code::RegistryChanged,
        ),
        (
            "DROP TRIGGER run_snapshots_no_delete; DELETE FROM run_snapshots",
            Code::RegistryChanged,
        ),
        (
            "DROP TRIGGER consent_events_no_update; UPDATE consent_events SET target = 'Di'",
            Code::LedgerBroken,
        ),
    ] {
        let world = World::new();
        // A table without rowids has no such column: that statement only drops its trigger then.
        world.tamper(&sql.replace("rowid IN (1)", "sha256 = (SELECT min(sha256) FROM snapshot_members)"));
        let report = world.audit();
        assert_eq!(report.verdict, Verdict::Invalid, "{sql}");
        assert!(codes(&report).contains(&expected), "{sql}: {:?}", report.findings);
    }
}

#[test]
fn lost_and_changed_files_are_findings() {
    let world = World::new();
    std::fs::remove_file(world.folder.path().join("a1.png")).unwrap();
    std::fs::write(world.folder.path().join("b.png"), "other").unwrap();
    let report = world.audit();
    let mut found = codes(&report);
    found.sort();
    assert_eq!(found, [Code::FileMissing, Code::FileChanged]);
    assert_eq!(report.verdict, Verdict::Findings);
}

#[test]
fn without_a_registry_the_receipt_speaks_and_the_rest_is_named_as_unchecked() {
    let world = World::new();
    let alone = audit_adapter(&world.adapter, None, time(9)).unwrap();
    assert_eq!(alone.verdict, Verdict::Clean);
    assert_eq!(alone.snapshot.as_ref().unwrap().members, 3);
    assert_eq!(alone.unchecked.len(), 1);

    let empty = Registry::in_memory().unwrap();
    let elsewhere = audit_adapter(&world.adapter, Some(&empty), time(9)).unwrap();
    assert_eq!(codes(&elsewhere), [Code::SnapshotUnknown, Code::AdapterUnknown]);
    assert_eq!(elsewhere.verdict, Verdict::Findings);

    container(Dtype::F32).write(&world.adapter).unwrap();
    let bare = audit_adapter(&world.adapter, None, time(9)).unwrap();
    assert_eq!(
        (codes(&bare), bare.verdict),
        (vec![Code::ReceiptMissing], Verdict::Invalid)
    );
}

#[test]
fn a_conversion_leads_to_the_same_images() {
    let world = World::new();
    let mut converted = container(Dtype::F16);
    receipt::reseal(&Container::read(&world.adapter).unwrap(), &mut converted)
        .unwrap()
        .unwrap();
    let path = world.folder.path().join("half.safetensors");
    converted.write(&path).unwrap();
    let report = audit_adapter(&path, Some(&world.registry()), time(9)).unwrap();
    assert_eq!(report.findings, []);
    assert_eq!(report.images.len(), 3);
}
