//! An adapter of two snapshots, of which one held pictures for regularization: neither is ever left out.

use assent::adapter::Container;
use assent::audit::{Code, Severity, Verdict, audit_adapter, audit_image, downstream, html};
use assent::consent::Target;
use assent::receipt::{self, Claims};
use assent::registry::Role;

use super::codes;
use super::world::{World, opt_out, time};

#[test]
fn every_set_is_followed_to_its_images() {
    let world = World::of_two_sets();
    let report = world.audit();
    assert_eq!(report.findings, []);
    let sets: Vec<_> = report.sets().map(|s| (s.name.as_deref(), s.role, s.members)).collect();
    let expected = [(Some("set"), Role::Training, 3), (Some("reg"), Role::Regularization, 1)];
    assert_eq!(sets, expected);
    assert_eq!(
        report.images_heading(),
        "Images that trained it (4, 1 of them for regularization)"
    );
    let dee = report.images.iter().find(|i| i.sha256 == world.images[4]).unwrap();
    assert_eq!(dee.place.as_ref().unwrap().to_string(), "reg (regularization)");
    // The second set left out all that the first one holds: that is not kept out of the adapter.
    assert!(report.excluded.iter().all(|line| line.sha256 == world.images[3]));
    assert_eq!(report.excluded_heading(), "Images that were kept out (1)");
    let page = html::page(&report, None, "adapter.safetensors", "0");
    for set in report.sets() {
        assert!(page.contains(&set.root.to_string()));
    }
    assert!(page.contains("reg (regularization)") && page.contains("for ai_generative_training as regularization"));
}

#[test]
fn an_opt_out_of_a_regularization_picture_reaches_the_adapter() {
    let world = World::of_two_sets();
    opt_out(&mut world.registry(), "Dee", 8);
    let report = world.audit();
    assert_eq!(codes(&report), [Code::ConsentWithdrawn]);
    let says = &report.findings[0].explanation;
    assert!(says.contains("as a regularization picture"), "{says}");
    let kinds: Vec<_> = downstream(&world.registry(), &Target::Artist("Dee".into()))
        .unwrap()
        .into_iter()
        .map(|line| (line.kind, line.path.is_some()))
        .collect();
    assert_eq!(kinds, [("snapshot", false), ("adapter", true), ("picture", true)]);
    let image = audit_image(&world.images[4], &world.registry(), time(9)).unwrap();
    assert_eq!(image.verdict, Verdict::Findings);
    assert!(image.findings[0].explanation.contains("`adapter.safetensors`"));
}

/// What somebody could write who has the file and not its run: each under a receipt that holds by itself.
#[test]
fn a_receipt_that_says_less_than_its_run_is_found_out() {
    type Edit = fn(&mut Claims);
    let edits: [(&str, Edit); 6] = [
        ("a set taken out", |claims| claims.further.clear()),
        ("fewer pictures", |claims| claims.further[0].members = 0),
        ("another licence", |claims| {
            claims.further[0].licenses = [("CC0-1.0".to_owned(), 1)].into();
        }),
        ("no obligation", |claims| claims.further[0].obligations.clear()),
        ("another role", |claims| claims.further[0].role = Role::Training),
        ("the first set's count", |claims| claims.members = 1),
    ];
    for (what, edit) in edits {
        for converted in [false, true] {
            let world = World::of_two_sets();
            let mut container = Container::read(&world.adapter).unwrap();
            let sealed = receipt::open(&container).unwrap().unwrap();
            let mut claims = sealed.receipt.claims;
            edit(&mut claims);
            // A converted file is expected to be another one than the registry knows.
            claims.derived_from = converted.then_some(sealed.receipt.tensors);
            receipt::seal(&mut container, claims).unwrap();
            container.write(&world.adapter).unwrap();
            assert_eq!(
                audit_adapter(&world.adapter, None, time(9)).unwrap().verdict,
                Verdict::Clean
            );
            let report = world.audit();
            assert_eq!(report.verdict, Verdict::Invalid, "{what}");
            assert!(
                codes(&report).contains(&Code::ReceiptChanged),
                "{what}: {:?}",
                report.findings
            );
            // Whatever the receipt says, the images are all there.
            let named = report.images.iter().filter(|i| i.sha256 == world.images[4]).count();
            assert!(named > 0 && report.images.len() >= 4, "{what}");
        }
    }
}

#[test]
fn a_set_that_the_registry_lost_is_found_out() {
    for table in ["adapter_snapshots", "run_snapshots"] {
        let world = World::of_two_sets();
        world.tamper(&format!(
            "DROP TRIGGER {table}_no_delete; DELETE FROM {table} WHERE role = 'regularization'"
        ));
        let report = world.audit();
        assert_eq!(report.images.len(), 4, "{table}");
        let lost = |f: &&assent::audit::Finding| f.severity == Severity::Invalid && !f.subject.starts_with("registry");
        assert!(
            report.findings.iter().any(|f| lost(&f)),
            "{table}: {:?}",
            report.findings
        );
    }
}

#[test]
fn a_registry_that_does_not_know_the_snapshot_says_so_for_each() {
    let world = World::of_two_sets();
    let empty = assent::registry::Registry::in_memory().unwrap();
    let report = audit_adapter(&world.adapter, Some(&empty), time(9)).unwrap();
    let unknown = report.findings.iter().filter(|f| f.code == Code::SnapshotUnknown);
    assert_eq!(unknown.count(), 2);
    let alone = audit_adapter(&world.adapter, None, time(9)).unwrap();
    assert_eq!((alone.verdict, alone.sets().count()), (Verdict::Clean, 2));
}
