//! Snapshots over real files and a registry in memory.
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::consent::{ConsentRecord, EventKind, Policy, Purpose, ReasonCode, Target};
use crate::digest::PixelDigest;
use crate::registry::{NewEvent, NewImage, NewLocation, Registry};

fn time(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

fn policy() -> Policy {
    Policy::parse(include_str!("../../configs/policy-open-licences.toml")).unwrap()
}

struct World {
    folder: tempfile::TempDir,
    registry: Registry,
}

impl World {
    fn new() -> Self {
        World {
            folder: tempfile::tempdir().unwrap(),
            registry: Registry::in_memory().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Registers a file whose bytes are its name and whose pixels are `pixels`.
    fn add(&mut self, name: &str, artist: &str, license: Option<&str>, pixels: u8) -> Sha256Digest {
        let path = self.path(name);
        std::fs::write(&path, name).unwrap();
        let sha256 = Sha256Digest::of_bytes(name.as_bytes());
        let image = NewImage {
            sha256,
            pixels: PixelDigest::from_bytes([pixels; 32]),
            width: 1,
            height: 1,
            format: "png".into(),
            bytes: 1,
            fingerprint: None,
            location: NewLocation {
                path,
                source: None,
                collection: None,
                notices: Vec::new(),
                title: None,
                caption: Some(format!("a picture of {name}")),
                artists: vec![artist.into()],
                licenses: license
                    .map(|text| (text.to_string(), "reuse".to_string()))
                    .into_iter()
                    .collect(),
                ai_generated: false,
                needs_review: Vec::new(),
                claims: Vec::new(),
                size: 1,
                modified: 0,
                context: sha256,
            },
        };
        self.registry.add_images(&[image], time(0)).unwrap();
        sha256
    }

    fn opt_out(&mut self, artist: &str, day: i64) {
        let event = NewEvent::new(EventKind::OptOut, Some(Target::Artist(artist.into())));
        self.registry.append_event(&event, time(day)).unwrap();
    }

    fn create(&mut self, name: &str, day: i64) -> Document {
        create(&mut self.registry, name, &policy(), &Selection::default(), time(day)).unwrap()
    }

    fn mismatches(&self, name: &str, day: i64) -> Vec<MismatchCode> {
        match verify(&self.registry, name, time(day)) {
            Ok(_) => Vec::new(),
            Err(SnapshotError::Mismatch { mismatches, .. }) => mismatches.iter().map(|found| found.code).collect(),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn both_sides_are_written_down_and_verify() {
    let mut world = World::new();
    let free = world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    let bare = world.add("b.png", "Mira", None, 2);
    let refused = world.add("c.png", "Tove", Some("CC0-1.0"), 3);
    let copy = world.add("d.png", "Stranger", Some("CC0-1.0"), 3);
    let twin = world.add("e.png", "Mira", Some("CC0-1.0"), 1);
    let gone = world.add("f.png", "Mira", Some("CC0-1.0"), 4);
    std::fs::remove_file(world.path("f.png")).unwrap();
    world.opt_out("tove", 1);
    let document = world.create("first", 2);
    let left = |image| {
        document
            .excluded
            .iter()
            .find(|found| found.image == image)
            .map(|found| found.reason_code)
    };
    assert_eq!(left(bare), Some(ReasonCode::LicenseMissing));
    assert_eq!(left(refused), Some(ReasonCode::DeniedByArtist));
    assert_eq!(left(copy), Some(ReasonCode::DeniedNearDuplicate));
    assert_eq!(left(gone), Some(ReasonCode::FileMissing));
    assert_eq!(left(twin.max(free)), Some(ReasonCode::Duplicate));
    assert_eq!(
        document.members.iter().map(|member| member.image).collect::<Vec<_>>(),
        [twin.min(free)]
    );
    let verified = verify(&world.registry, "first", time(3)).unwrap();
    assert_eq!(
        (verified.root(), verified.members().len(), verified.excluded().len()),
        (document.root, 1, 5)
    );
    assert_eq!(verified.members()[0].license.as_deref(), Some("CC0-1.0"));
    assert_eq!(verified.members()[0].artist.as_deref(), Some("Mira"));
}

#[test]
fn a_selection_leaves_the_rest_out_and_refusals_keep_their_reason() {
    let mut world = World::new();
    let chosen = world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    let other = world.add("b.png", "Tove", Some("CC0-1.0"), 2);
    let bare = world.add("c.png", "Tove", None, 3);
    world.registry.add_aliases("Mira", &["M. Lund".into()]).unwrap();
    let selection = Selection {
        artists: vec!["m. lund".into()],
        sources: Vec::new(),
    };
    let document = create(&mut world.registry, "mira", &policy(), &selection, time(2)).unwrap();
    assert_eq!(
        document.members.iter().map(|member| member.image).collect::<Vec<_>>(),
        [chosen]
    );
    let mut left: Vec<_> = document
        .excluded
        .iter()
        .map(|found| (found.image, found.reason_code))
        .collect();
    left.sort_by_key(|(_, reason)| *reason);
    assert_eq!(
        left,
        [(bare, ReasonCode::LicenseMissing), (other, ReasonCode::NotSelected)]
    );
    assert_eq!(world.mismatches("mira", 3), []);
}

#[test]
fn the_same_registry_gives_the_same_document() {
    let mut world = World::new();
    world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    world.add("b.png", "Mira", Some("CC-BY-4.0"), 2);
    let first = world.create("first", 2);
    world.opt_out("somebody else", 3);
    let second = world.create("second", 4);
    assert_eq!(first.root, second.root, "the root holds neither time nor name");
    assert!(diff(&first, &second).unwrap().is_empty());
    let taken = create(&mut world.registry, "first", &policy(), &Selection::default(), time(9));
    assert!(matches!(taken, Err(SnapshotError::Registry(_))), "a name is taken once");
}

#[test]
fn what_changed_since_is_named() {
    let mut world = World::new();
    for (name, artist, pixels) in [
        ("a.png", "Mira", 1),
        ("b.png", "Tove", 2),
        ("c.png", "Mira", 3),
        ("d.png", "Mira", 4),
    ] {
        world.add(name, artist, Some("CC0-1.0"), pixels);
    }
    let first = world.create("first", 2);
    assert_eq!(world.mismatches("first", 2), []);
    std::fs::remove_file(world.path("a.png")).unwrap();
    std::fs::write(world.path("c.png"), "other bytes").unwrap();
    world.opt_out("Tove", 3);
    let mut found = world.mismatches("first", 4);
    found.sort();
    assert_eq!(
        found,
        [
            MismatchCode::FileMissing,
            MismatchCode::FileChanged,
            MismatchCode::ConsentWithdrawn
        ]
    );
    assert!(world.mismatches("first", 2).contains(&MismatchCode::ClockBeforeLedger));
    let second = world.create("second", 5);
    let changed = diff(&first, &second).unwrap();
    let reasons: Vec<_> = changed
        .removed
        .iter()
        .filter_map(|removed| removed.reason_code)
        .collect();
    assert_eq!((reasons.len(), changed.added.len()), (3, 0));
    assert!(reasons.contains(&ReasonCode::DeniedByArtist));
}

#[test]
fn a_document_goes_through_a_file_and_a_changed_one_is_refused() {
    let mut world = World::new();
    world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    let document = world.create("first", 2);
    let path = world.path("snapshot.json");
    document.write(&path).unwrap();
    assert_eq!(Document::read(&path).unwrap(), document);
    let mut elsewhere = Registry::in_memory().unwrap();
    import(&mut elsewhere, &document).unwrap();
    import(&mut elsewhere, &document).unwrap();
    assert_eq!(Document::of(&elsewhere, "first").unwrap(), document);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(!text.contains(world.folder.path().to_str().unwrap()), "no local path");
    for (from, to) in [
        ("a picture of", "a painting of"),
        ("license_accepted", "granted_by_artist"),
        ("open-licences\",", "closed\","),
    ] {
        assert!(text.contains(from), "{from}");
        std::fs::write(&path, text.replace(from, to)).unwrap();
        let changed = Document::read(&path);
        let name_only = to.starts_with("closed");
        assert_eq!(changed.is_ok(), name_only, "{from}");
    }
}

#[test]
fn names_that_could_be_paths_are_refused() {
    for name in ["", ".", "..", ".hidden", "a/b", "a\\b", "-rf", "a b", "é", "a\0"] {
        assert!(check_name(name).is_err(), "{name:?}");
    }
    check_name("base-2026.01_a").unwrap();
    assert!(Document::read(Path::new("/nonexistent/snapshot.json")).is_err());
}

fn document_of(images: &std::collections::BTreeSet<[u8; 32]>) -> Document {
    let policy = policy();
    let members = images.iter().map(|bytes| {
        let image = Sha256Digest::from_bytes(*bytes);
        Entry {
            image,
            pixels: PixelDigest::from_bytes(*bytes),
            caption: None,
            consent: ConsentRecord {
                image,
                purpose: Purpose::AiGenerativeTraining,
                policy: policy.digest(),
                reason_code: ReasonCode::LicenseAccepted,
                obligations: Vec::new(),
                licenses: Vec::new(),
                basis: None,
                evidence: Vec::new(),
            },
            credit: None,
        }
    });
    let ledger = LedgerRef {
        seq: 0,
        head: Sha256Digest::from_bytes([0; 32]),
    };
    Document::new(
        "p",
        &policy,
        Selection::default(),
        (time(0), ledger),
        members.collect(),
        Vec::new(),
    )
    .unwrap()
}

proptest! {
    // Each case hashes some hundreds of records; sixty-four of them meet every shape of tree up to the size below.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn membership_and_its_absence_are_proven_and_neither_can_be_turned(
        images in prop::collection::btree_set(any::<[u8; 32]>(), 1..12),
        asked in any::<[u8; 32]>(),
        pick in any::<prop::sample::Index>(),
    ) {
        let document = document_of(&images);
        let member = document.members[pick.index(document.members.len())].image;
        let asked = Sha256Digest::from_bytes(asked);
        for image in [member, asked] {
            let proof = prove(&document, &image).unwrap();
            prop_assert_eq!(proof.included, images.contains(image.as_bytes()));
            prop_assert_eq!(proof.check(), Ok(()));
            let again: Proof = serde_json::from_slice(&serde_json::to_vec(&proof).unwrap()).unwrap();
            prop_assert_eq!(&again, &proof);
            let turned = Proof { included: !proof.included, ..proof.clone() };
            prop_assert!(turned.check().is_err());
            let other_root = Proof { root: Sha256Digest::of_bytes(b"other"), ..proof.clone() };
            prop_assert!(other_root.check().is_err());
        }
        // A member cannot be shown to be absent with the leaves around it.
        let mut without = images.clone();
        without.remove(member.as_bytes());
        if !without.is_empty() {
            let mut forged = prove(&document_of(&without), &member).unwrap();
            forged.root = document.root;
            prop_assert!(forged.check().is_err());
        }
    }
}
