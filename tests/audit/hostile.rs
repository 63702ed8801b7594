//! Bad input: a log that was tampered with, files cut off, a registry from elsewhere, a clock that went back. Each is a
//! finding, never an error and never clean.

use assent::audit::{Code, Report, Severity, Verdict, audit_adapter, audit_image, audit_picture};
use assent::digest::Sha256Digest;
use assent::keys::SecretKey;
use assent::log::Checkpoint;
use assent::registry::{NewAdapter, Registry};
use assent::snapshot::{self, Selection};

use super::codes;
use super::world::{World, opt_out, time};

const POLICY: &str = include_str!("../../configs/policy-open-licences.toml");

fn sign_head(registry: &mut Registry, size: u64) {
    let root = registry.log().unwrap().root(size).unwrap();
    let origin = "example.org/log".to_owned();
    let head = Checkpoint { origin, size, root };
    let note = head.sign(&SecretKey::from_random(&[5; 32])).unwrap();
    registry.add_log_head(&note).unwrap();
}

#[test]
fn a_log_that_was_tampered_with_is_invalid() {
    let update = "DROP TRIGGER log_entries_no_update; UPDATE log_entries SET entry = ";
    for sql in [
        format!("{update} CAST('no entry' AS BLOB) WHERE place = 1"),
        format!("{update} zeroblob(0)"),
        format!("{update} CAST(replace(CAST(entry AS TEXT), 'snapshot', 'snapshots') AS BLOB)"),
        // Two entries changed places: only a signed head shows it.
        format!(
            "CREATE TEMP TABLE was AS SELECT place, entry FROM log_entries;
             {update} (SELECT was.entry FROM was WHERE was.place = 3 - log_entries.place)"
        ),
        "DROP TRIGGER log_entries_no_delete; DELETE FROM log_entries WHERE place = 2".to_owned(),
        "DROP TRIGGER log_entries_no_delete; DELETE FROM log_entries".to_owned(),
        "INSERT INTO log_entries (place, entry) SELECT 3, CAST(replace(CAST(entry AS TEXT), 'a', 'b') AS BLOB) FROM log_entries LIMIT 1"
            .to_owned(),
        "INSERT INTO log_heads (note) VALUES (x'00ff')".to_owned(),
        "DROP TRIGGER log_heads_no_update; UPDATE log_heads SET note = CAST(replace(CAST(note AS TEXT), '2', '1') AS BLOB)"
            .to_owned(),
    ] {
        let world = World::new();
        sign_head(&mut world.registry(), 2);
        assert_eq!(world.audit().verdict, Verdict::Clean);
        world.tamper(&sql);
        let report = world.audit();
        assert_eq!(report.verdict, Verdict::Invalid, "{sql}");
        assert!(codes(&report).contains(&Code::LogBroken), "{sql}: {:?}", report.findings);
    }
}

#[test]
fn a_file_cut_off_anywhere_is_invalid() {
    let world = World::new();
    let good = std::fs::read(&world.adapter).unwrap();
    let registry = world.registry();
    for length in 0..good.len() {
        std::fs::write(&world.adapter, &good[..length]).unwrap();
        let report = audit_adapter(&world.adapter, None, time(9)).unwrap();
        assert_eq!(codes(&report), [Code::AdapterMalformed], "{length} bytes");
        // With a registry it takes longer and says the same.
        if length < 16 || length % 97 == 0 || length + 8 > good.len() {
            let report = audit_adapter(&world.adapter, Some(&registry), time(9)).unwrap();
            assert_eq!(report.verdict, Verdict::Invalid, "{length} bytes");
            assert!(codes(&report).contains(&Code::AdapterMalformed), "{length} bytes");
        }
    }
}

#[test]
fn a_registry_from_another_machine_finds_no_file() {
    let world = World::new();
    let other = tempfile::tempdir().unwrap();
    for name in ["assent.db", "adapter.safetensors"] {
        std::fs::copy(world.folder.path().join(name), other.path().join(name)).unwrap();
    }
    drop(world);
    let registry = Registry::open(&other.path().join("assent.db")).unwrap();
    let adapter = other.path().join("adapter.safetensors");
    let report = audit_adapter(&adapter, Some(&registry), time(9)).unwrap();
    assert_eq!(report.verdict, Verdict::Findings);
    assert_eq!(codes(&report), [Code::FileMissing; 3]);
    // A registry that knows nothing of it.
    let empty = Registry::open(&other.path().join("empty.db")).unwrap();
    let report = audit_adapter(&adapter, Some(&empty), time(9)).unwrap();
    assert_eq!(report.verdict, Verdict::Findings);
    assert_eq!(codes(&report), [Code::SnapshotUnknown, Code::AdapterUnknown]);
    assert!(!report.unchecked.is_empty());
}

/// The subjects of what is said about the clock; there is nothing else.
fn clock(report: &Report) -> Vec<String> {
    assert_eq!(report.verdict, Verdict::Findings, "{:?}", report.findings);
    let of_clock = report.findings.iter().filter(|f| f.code == Code::ClockBack);
    assert_eq!(of_clock.clone().count(), report.findings.len(), "{:?}", report.findings);
    assert!(report.findings.iter().all(|f| f.severity == Severity::Warning));
    of_clock
        .map(|f| f.subject.split(':').next().unwrap().to_owned())
        .collect()
}

#[test]
fn what_is_dated_before_what_it_follows_is_found() {
    // Trained before the set was frozen; ended before it began, and recorded before the set.
    assert_eq!(clock(&World::at_hours([4, 3, 5]).audit()), ["run"]);
    assert_eq!(clock(&World::at_hours([3, 5, 4]).audit()), ["run"]);
    // Recorded before the set too, by the order of the log.
    assert_eq!(clock(&World::at_hours([6, 4, 5]).audit()), ["adapter", "run"]);

    // Now is before what was recorded.
    let world = World::new();
    let early = audit_adapter(&world.adapter, Some(&world.registry()), time(4)).unwrap();
    assert_eq!(clock(&early), ["clock"]);

    // A set frozen after an event that is dated later.
    opt_out(&mut world.registry(), "Nobody here", 8);
    let policy = assent::consent::Policy::parse(POLICY).unwrap();
    snapshot::create(&mut world.registry(), "late", &policy, &Selection::default(), time(7)).unwrap();
    assert_eq!(clock(&world.audit()), ["snapshot"]);

    // A head signed after one of more entries.
    let world = World::new();
    for size in [2, 1] {
        sign_head(&mut world.registry(), size);
    }
    assert_eq!(clock(&world.audit()), ["log"]);

    // An adapter logged after one that is dated later.
    let world = World::new();
    let row = NewAdapter {
        sha256: Sha256Digest::of_bytes(b"earlier"),
        tensors: Sha256Digest::of_bytes(b"tensors"),
        run: None,
        trained_on: Vec::new(),
        path: "/nowhere".into(),
    };
    world.registry().add_adapter(&row, time(4)).unwrap();
    assert_eq!(clock(&world.audit()), ["adapter"]);
}

#[test]
fn an_event_dated_before_the_one_it_follows_is_found() {
    let world = World::new();
    opt_out(&mut world.registry(), "Nobody here", 8);
    // Somebody wrote both anew, with hashes that hold: the chain alone shows nothing.
    let registry = world.registry();
    let events = registry.events(assent::registry::EventFilter::default()).unwrap();
    let mut event = events[1].event.clone();
    event.at = time(1);
    let hash = event.hash(2, &events[0].hash).unwrap();
    drop(registry);
    world.tamper(&format!(
        "DROP TRIGGER consent_events_no_update;
         UPDATE consent_events SET at = '{}', hash = x'{hash}' WHERE seq = 2;
         CREATE TRIGGER consent_events_no_update BEFORE UPDATE ON consent_events
         BEGIN
             SELECT raise(ABORT, 'the consent ledger is append-only');
         END;",
        event.at
    ));
    let report = world.audit();
    assert_ne!(report.verdict, Verdict::Clean);
    let found = report.findings.iter().find(|f| f.code == Code::ClockBack);
    assert_eq!(found.unwrap().subject, "ledger:2", "{:?}", report.findings);
}

#[test]
fn values_that_do_not_parse_are_findings_whatever_is_audited() {
    for sql in [
        "DROP TRIGGER snapshots_no_update; UPDATE snapshots SET created_at = 'yesterday'",
        "DROP TRIGGER snapshots_no_update; UPDATE snapshots SET purpose = 'any'",
        "DROP TRIGGER snapshots_no_update; UPDATE snapshots SET policy = 'x = ['",
        "DROP TRIGGER snapshot_members_no_update; UPDATE snapshot_members SET consent = '{'",
        "DROP TRIGGER consent_events_no_update; UPDATE consent_events SET at = '2026-13-01T00:00:00Z'",
        "DROP TRIGGER consent_events_no_update; UPDATE consent_events SET purposes = 'all'",
        "UPDATE runs SET record = '{}'",
        "UPDATE runs SET finished_at = ''",
        "UPDATE adapters SET created_at = 'x'",
        "UPDATE pictures SET created_at = 'x'",
        "DROP TABLE pictures",
        "DROP TABLE snapshot_exclusions",
        "DROP TABLE log_heads",
    ] {
        let world = World::new();
        world.tamper(sql);
        let registry = world.registry();
        let adapter = audit_adapter(&world.adapter, Some(&registry), time(9)).unwrap();
        assert_eq!(adapter.verdict, Verdict::Invalid, "{sql}: {:?}", adapter.findings);
        let image = audit_image(&world.images[0], &registry, time(9)).unwrap();
        let path = world.folder.path().join("picture.png");
        let picture = audit_picture(&path, b"picture", Some(&registry), time(9)).unwrap();
        assert_ne!(picture.verdict, Verdict::Clean, "{sql}");
        // What an image does not depend on is left to the audit of what does.
        let of_run = sql.contains("runs") || sql.contains("pictures");
        assert!(
            of_run || image.verdict == Verdict::Invalid,
            "{sql}: {:?}",
            image.findings
        );
    }
}
