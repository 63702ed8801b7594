//! Snapshots over real files and a registry in memory.
mod parts;
mod refreeze;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use proptest::prelude::*;

use super::root::Trees;
use super::*;
use crate::consent::{ConsentRecord, EventKind, Policy, Purpose, ReasonCode, Target};
use crate::digest::{PixelDigest, canonical_json};
use crate::keys::{PublicKey, SecretKey};
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

/// The document as it was before places were part of the root.
fn first_format(mut document: Document) -> Document {
    document.format = "assent.snapshot/1".into();
    document.root = document.computed_root().unwrap();
    document
}

#[test]
fn a_snapshot_of_the_first_format_is_kept_checked_and_proven_as_it_was() {
    let document = first_format(document_of(&[[1; 32], [2; 32], [3; 32]].into()));
    assert_eq!(
        document.root.to_string(),
        "0f4678172bf1e8a3d6ae351e4b4647e556abe64ad40a3568e7ac2f2d1a349791",
        "what the first version computed"
    );
    let mut registry = Registry::in_memory().unwrap();
    import(&mut registry, &document).unwrap();
    let again = Document::of(&registry, "p").unwrap();
    assert_eq!((again.check().unwrap(), &again), (None, &document));
    let second = document_of(&[[1; 32], [2; 32], [3; 32]].into());
    assert_ne!(second.root, document.root);
    for (image, named) in [([2; 32], 0), ([9; 32], 1), ([0; 32], 1)] {
        let proof = prove(&again, &Sha256Digest::from_bytes(image)).unwrap();
        assert_eq!((proof.check(), proof.named()), (Ok(()), named));
        let bytes = proof.bytes().unwrap();
        assert!(bytes.starts_with(br#"{"format":"assent.proof/1""#));
        assert_eq!(Proof::parse(&bytes), Ok(proof));
    }
}

#[test]
fn an_answer_says_whose_word_it_is_and_holds_only_for_its_snapshot() {
    let document = document_of(&[[1; 32], [2; 32]].into());
    let alike = Alike {
        distance: Some(3),
        same: 14,
        limit: 22,
        compared: 2,
        not_compared: 0,
    };
    assert!(alike.sentence().contains("the signer's word"));
    let image = Sha256Digest::from_bytes([7; 32]);
    let mut answer = Answer::of(&document, &image, Some(alike), time(1)).unwrap();
    let key = SecretKey::from_random(&[5; 32]);
    let sign = |answer: &Answer| canonical_json(&answer.sign(&key).unwrap()).unwrap();
    assert_eq!(Answer::verify(&sign(&answer), &key.public()), Ok(answer.clone()));
    let other = SecretKey::from_random(&[6; 32]);
    assert!(
        Answer::verify(&sign(&answer), &other.public())
            .unwrap_err()
            .contains("no signature")
    );
    answer.subject[0].digest.sha256 = image;
    assert!(Answer::verify(&sign(&answer), &key.public()).is_err());
}

proptest! {
    // Each case turns some tens of thousands of bits; eight of them meet most shapes of tree up to the size below.
    #![proptest_config(ProptestConfig::with_cases(8))]

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
            prop_assert_eq!(proof.included(), images.contains(image.as_bytes()));
            prop_assert_eq!(proof.check(), Ok(()));
            prop_assert_eq!(proof.named(), 0);
            let bytes = proof.bytes().unwrap();
            prop_assert_eq!(&Proof::parse(&bytes).unwrap(), &proof);
            let text = String::from_utf8(bytes.clone()).unwrap();
            for other in images.iter().map(|bytes| Sha256Digest::from_bytes(*bytes)).filter(|other| *other != image) {
                prop_assert!(!text.contains(&other.to_string()), "no other picture is named");
            }
            // Every bit of the file, of the picture and of the root counts.
            let holds = |bytes: &[u8], image: &Sha256Digest, root: &Sha256Digest| {
                Proof::parse(bytes).is_ok_and(|proof| {
                    proof.check().is_ok() && proof.image() == *image && proof.root() == *root
                })
            };
            prop_assert!(holds(&bytes, &image, &document.root));
            for bit in 0..8 * bytes.len() {
                let mut bent = bytes.clone();
                bent[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!holds(&bent, &image, &document.root), "bit {} of {}", bit, text);
            }
            for bit in 0..256 {
                prop_assert!(!holds(&bytes, &turned(&image, bit), &document.root));
                prop_assert!(!holds(&bytes, &image, &turned(&document.root, bit)));
            }
        }
        // A member cannot be shown to be absent, not even by what shows it in a snapshot without it.
        let mut without = images.clone();
        without.remove(member.as_bytes());
        if let Proof::Places(mut forged) = prove(&document_of(&without), &member).unwrap() {
            prop_assert_eq!(Proof::Places(forged.clone()).check(), Ok(()));
            forged.root = document.root;
            prop_assert!(Proof::Places(forged.clone()).check().is_err());
            forged.head = Trees::of(&document.members).unwrap().head;
            prop_assert!(Proof::Places(forged).check().is_err());
        }
    }

    #[test]
    fn every_bit_of_a_signed_answer_and_of_its_key_counts(
        images in prop::collection::btree_set(any::<[u8; 32]>(), 1..6),
        asked in any::<[u8; 32]>(),
        secret in any::<[u8; 32]>(),
        bits in prop::collection::vec(any::<prop::sample::Index>(), 64),
    ) {
        let document = document_of(&images);
        let key = SecretKey::from_random(&secret);
        let answer = Answer::of(&document, &Sha256Digest::from_bytes(asked), None, time(1)).unwrap();
        let mut bytes = canonical_json(&answer.sign(&key).unwrap()).unwrap();
        bytes.push(b'\n');
        prop_assert!(Answer::verify(&bytes, &key.public()).is_ok());
        for bit in bits.iter().map(|bit| bit.index(8 * bytes.len())).chain(8 * (bytes.len() - 1)..8 * bytes.len()) {
            let mut bent = bytes.clone();
            bent[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Answer::verify(&bent, &key.public()).is_err(), "bit {}", bit);
        }
        for bit in 0..256 {
            let mut public = *key.public().as_bytes();
            public[bit / 8] ^= 1 << (bit % 8);
            if let Ok(public) = PublicKey::from_bytes(&public) {
                prop_assert!(Answer::verify(&bytes, &public).is_err());
            }
        }
    }
}

fn turned(digest: &Sha256Digest, bit: usize) -> Sha256Digest {
    let mut bytes = *digest.as_bytes();
    bytes[bit / 8] ^= 1 << (bit % 8);
    Sha256Digest::from_bytes(bytes)
}
