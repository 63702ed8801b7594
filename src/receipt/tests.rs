use std::collections::BTreeMap;

use super::*;
use crate::adapter::{AdapterFile, Container, Dtype, Format, Module, Weight, encode};
use crate::keys::{Envelope, SecretKey};
use crate::snapshot::Role;

pub(crate) fn inputs() -> RunInputs {
    let counts = |pairs: &[(&str, u64)]| pairs.iter().map(|(k, v)| (k.to_string(), *v)).collect();
    RunInputs {
        program: "assent 0.1.0".into(),
        base: BaseFacts::new([("unet/config.json".into(), Sha256Digest::of_bytes(b"config"))].into()).unwrap(),
        snapshot: SnapshotFacts {
            name: "ink".into(),
            root: Sha256Digest::of_bytes(b"root"),
            members: 3,
            excluded: counts(&[("denied", 2)]),
            licenses: counts(&[("CC0-1.0", 2), ("CC-BY-4.0", 1)]),
            obligations: counts(&[("attribution", 1)]),
            bases: BTreeMap::new(),
        },
        policy: PolicyFacts {
            name: "strict".into(),
            digest: Sha256Digest::of_bytes(b"policy"),
            purpose: "ai_generative_training".into(),
        },
        further: Vec::new(),
        config: Sha256Digest::of_bytes(b"config"),
        settings: [("learning_rate".into(), "0.001".into()), ("rank".into(), "4".into())].into(),
        seed: 7,
        versions: [("burn".into(), "0.22.1".into())].into(),
    }
}

fn container() -> Container {
    let down = Weight::new([1, 2], vec![0.5, 1.0]);
    let up = Weight::new([3, 1], vec![2.0, 3.0, 4.0]);
    let module = Module::lora("mid_block.attentions.0.proj_in", down, up, 1.0);
    let header: BTreeMap<_, _> = [("ss_network_dim".to_owned(), "1".to_owned())].into();
    encode(
        &AdapterFile {
            modules: vec![module],
            header,
        },
        Format::Kohya,
        Dtype::F32,
    )
    .unwrap()
}

#[test]
fn a_sealed_file_comes_back_unchanged_and_in_the_same_bytes() {
    let mut first = container();
    let sealed = seal(&mut first, inputs().claims(30).unwrap()).unwrap();
    let bytes = first.to_bytes();
    let again = Container::from_bytes(bytes.clone(), "test").unwrap();
    assert_eq!(open(&again).unwrap(), Some(sealed.clone()));
    assert_eq!(changes(&again, &sealed).unwrap(), []);
    seal(&mut first, inputs().claims(30).unwrap()).unwrap();
    assert_eq!(first.to_bytes(), bytes);
    assert_eq!(open(&container()).unwrap(), None);
}

/// Whatever byte of the file is changed: it is refused as no file, or the change shows.
#[test]
fn every_changed_byte_shows() {
    let mut container = container();
    seal(&mut container, inputs().claims(30).unwrap()).unwrap();
    let good = container.to_bytes();
    let mut kinds = std::collections::BTreeSet::new();
    for at in 0..good.len() {
        for flip in [1u8, 0x20] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            let Ok(container) = Container::from_bytes(bytes, "test") else {
                continue;
            };
            let shown = match open(&container) {
                Ok(Some(sealed)) => changes(&container, &sealed).unwrap(),
                Ok(None) | Err(_) => vec![Change::Receipt],
            };
            assert!(!shown.is_empty(), "byte {at}, {:?}", good[at] as char);
            kinds.extend(shown);
        }
    }
    assert_eq!(kinds.len(), 3);
}

#[test]
fn the_way_the_header_is_written_counts() {
    let mut container = container();
    seal(&mut container, inputs().claims(30).unwrap()).unwrap();
    let good = container.to_bytes();
    let length = u64::from_le_bytes(*good.first_chunk().unwrap()) as usize;
    let spaced = [
        &(length as u64 + 8).to_le_bytes(),
        &good[8..8 + length],
        &[b' '; 8],
        &good[8 + length..],
    ]
    .concat();
    let container = Container::from_bytes(spaced, "test").unwrap();
    let sealed = open(&container).unwrap().unwrap();
    assert_eq!(changes(&container, &sealed).unwrap(), [Change::Header]);
}

#[test]
fn a_conversion_names_what_it_was_made_from_and_a_changed_file_is_not_converted() {
    let mut source = container();
    let sealed = seal(&mut source, inputs().claims(30).unwrap()).unwrap();
    let mut once = container();
    let first = reseal(&source, &mut once).unwrap().unwrap();
    assert_eq!(first.receipt.claims.derived_from, Some(sealed.receipt.tensors));
    let mut twice = container();
    let second = reseal(&once, &mut twice).unwrap().unwrap();
    assert_eq!(second.receipt.claims.derived_from, Some(sealed.receipt.tensors));
    source.metadata.insert("ss_network_dim".into(), "2".into());
    assert!(matches!(reseal(&source, &mut once), Err(ReceiptError::Broken { found }) if found == "header_changed"));
    assert_eq!(reseal(&container(), &mut once).unwrap(), None);
}

#[test]
fn a_receipt_is_short_and_holds_no_path() {
    let mut long = inputs();
    let receipt = seal(&mut container(), long.claims(30).unwrap()).unwrap().receipt;
    assert!(receipt.bytes().unwrap().len() < 4096);
    long.settings.insert("base".into(), "somewhere/on/this/machine".into());
    let refused = seal(&mut container(), long.claims(30).unwrap());
    assert!(matches!(refused, Err(ReceiptError::Path { key }) if key == "base"));
}

#[test]
fn a_run_record_comes_back_and_one_with_other_inputs_is_refused() {
    let digest = Sha256Digest::of_bytes(b"x");
    let adapter = AdapterFacts {
        file: digest,
        tensors: digest,
        receipt: digest,
        modules: 192,
    };
    let times = (
        "2026-01-02T03:04:05Z".parse().unwrap(),
        "2026-01-02T03:05:05Z".parse().unwrap(),
    );
    let losses = [("validation".to_owned(), 0.125)].into();
    let record = RunRecord::new(inputs(), 30, times, losses, adapter).unwrap();
    let text = record.to_json().unwrap();
    assert_eq!(RunRecord::parse(&text).unwrap(), record);
    assert!(RunRecord::parse(&text.replace("\"seed\": 7", "\"seed\": 8")).is_err());
    assert!(RunRecord::parse(&text.replace("assent.run/1", "assent.run/9")).is_err());
}

/// What runs of one set wrote before there could be several: the same bytes and the same identities today.
#[test]
fn one_set_is_written_as_ever() {
    // The digest of the canonical JSON of what such a run had, computed elsewhere.
    let identity = "552d6249a412230dd7460d7abda3b5325d37b170a7db86d954c56628d6a3d74c";
    assert_eq!(inputs().identity().unwrap().to_string(), identity);
    let receipt = seal(&mut container(), inputs().claims(30).unwrap()).unwrap().receipt;
    let value: serde_json::Value = serde_json::from_slice(&receipt.bytes().unwrap()).unwrap();
    assert_eq!(value["format"], "assent.receipt/1");
    let keys: Vec<_> = value["claims"].as_object().unwrap().keys().collect();
    let expected = "base config excluded licenses members obligations policy program purpose run seed settings snapshot steps \
                    versions";
    assert_eq!(keys, expected.split(' ').collect::<Vec<_>>());
}

#[test]
fn several_sets_are_another_format_and_none_is_lost() {
    let mut several = inputs();
    let further = SetFacts {
        role: Role::Regularization,
        snapshot: SnapshotFacts {
            name: "plain".into(),
            root: Sha256Digest::of_bytes(b"other root"),
            ..several.snapshot.clone()
        },
        policy: several.policy.clone(),
    };
    several.further = vec![further];
    assert_ne!(several.identity().unwrap(), inputs().identity().unwrap());
    let claims = several.claims(30).unwrap();
    let on: Vec<_> = claims.trained_on().iter().map(|set| (set.root, set.role)).collect();
    let expected = [
        (Sha256Digest::of_bytes(b"root"), Role::Training),
        (Sha256Digest::of_bytes(b"other root"), Role::Regularization),
    ];
    assert_eq!(on, expected);
    assert_eq!(several.trained_on(), claims.trained_on());
    assert_eq!(claims.summed(|set| &set.obligations)["attribution"], 2);

    let mut container = container();
    let sealed = seal(&mut container, claims).unwrap();
    assert_eq!(sealed.receipt.format, RECEIPT_FORMAT_SETS);
    assert_eq!(open(&container).unwrap().unwrap(), sealed);
    let text = String::from_utf8(sealed.receipt.bytes().unwrap()).unwrap();
    // A reader of the first format alone refuses it; one set under the second format is none of ours.
    assert!(Receipt::parse(&text.replace(RECEIPT_FORMAT_SETS, RECEIPT_FORMAT)).is_err());
    let mut one = sealed.receipt.clone();
    one.claims.further.clear();
    assert!(Receipt::parse(&String::from_utf8(one.bytes().unwrap()).unwrap()).is_err());
}

#[test]
fn a_signed_receipt_names_its_key_and_holds_for_its_file_alone() {
    let (key, other) = (SecretKey::from_random(&[1; 32]), SecretKey::from_random(&[2; 32]));
    let mut container = container();
    let sealed = seal(&mut container, inputs().claims(30).unwrap()).unwrap();
    assert!(signer(&container, &sealed).is_none());
    sign(&mut container, &sealed, &key).unwrap();
    assert_eq!(
        changes(&container, &sealed).unwrap(),
        [],
        "the receipt does not cover its signature"
    );
    assert_eq!(signer(&container, &sealed), Some(Ok(key.public())));
    let length = container.metadata[PROVENANCE_KEY].len();
    assert!(length < 4096, "{length} bytes");
    sign(&mut container, &sealed, &other).unwrap();
    assert_eq!(
        signer(&container, &sealed),
        Some(Ok(other.public())),
        "the last signer counts"
    );

    let file = Sha256Digest::of_bytes(b"file");
    let beside = bundle(&sealed, "adapter.safetensors", file, &key).unwrap();
    assert_eq!(bundle_signer(&beside, &sealed, file), Ok(key.public()));
    assert!(
        bundle_signer(&beside, &sealed, sealed.digest)
            .unwrap_err()
            .contains("another file")
    );
    // What SLSA and in-toto ask for is there, under their names.
    let envelope: serde_json::Value = serde_json::from_slice(&beside).unwrap();
    assert_eq!(envelope["payloadType"], "application/vnd.in-toto+json");
    let payload = Envelope::parse(&beside).unwrap().payload;
    let said: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(said["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(said["predicateType"], "https://slsa.dev/provenance/v1");
    assert_eq!(said["subject"][0]["digest"]["sha256"], file.to_string());
    let definition = &said["predicate"]["buildDefinition"];
    assert_eq!(definition["resolvedDependencies"][0]["name"], "base");
    assert!(said["predicate"]["runDetails"]["builder"]["id"].is_string());

    // Under another receipt, or with another payload, it shows nothing.
    let mut claims = sealed.receipt.claims.clone();
    claims.seed += 1;
    let mut changed = container.clone();
    let text = changed.metadata[PROVENANCE_KEY].clone();
    let again = seal(&mut changed, claims).unwrap();
    assert!(
        signer(&changed, &again).is_none(),
        "a new receipt takes the old signature away"
    );
    changed.metadata.insert(PROVENANCE_KEY.into(), text);
    assert!(
        signer(&changed, &again)
            .unwrap()
            .unwrap_err()
            .contains("another receipt")
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

    #[test]
    fn broken_receipts_and_signatures_are_refused_without_a_panic(
        noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        cut in proptest::prelude::any::<proptest::sample::Index>(),
        bit in 0u8..8,
    ) {
        let key = SecretKey::from_random(&[1; 32]);
        let mut container = container();
        let sealed = seal(&mut container, inputs().claims(30).unwrap()).unwrap();
        let file = Sha256Digest::of_bytes(b"file");
        let beside = bundle(&sealed, "adapter.safetensors", file, &key).unwrap();
        let text = sealed.receipt.bytes().unwrap();
        for whole in [&text, &beside] {
            let at = cut.index(whole.len() - 1);
            let mut bent = whole.clone();
            bent[at] ^= 1 << bit;
            for broken in [&whole[..at], &bent, &noise] {
                let text = String::from_utf8_lossy(broken);
                let _ = (Receipt::parse(&text), RunRecord::parse(&text));
                let mut other = container.clone();
                other.metadata.insert(PROVENANCE_KEY.into(), text.into_owned());
                proptest::prop_assert!(signer(&other, &sealed).unwrap().is_err());
                let keyid = String::from_utf8_lossy(whole).find("keyid").unwrap_or(usize::MAX);
                // Which key it was is a hint that nothing is decided by; everything else counts.
                if at < keyid || at > keyid + 80 {
                    proptest::prop_assert!(bundle_signer(broken, &sealed, file).is_err(), "{} {}", at, bit);
                }
            }
        }
    }
}

#[test]
fn no_bundle_of_an_earlier_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter.safetensors");
    lay_beside(&adapter, None).unwrap();
    lay_beside(&adapter, Some(b"{}\n")).unwrap();
    assert_eq!(std::fs::read(bundle_path(&adapter)).unwrap(), b"{}\n");
    lay_beside(&adapter, None).unwrap();
    assert!(!bundle_path(&adapter).exists());
}

#[test]
fn what_takes_the_place_of_another_says_so_in_a_format_of_its_own() {
    let old = Supersedes {
        file: Sha256Digest::of_bytes(b"file"),
        tensors: Sha256Digest::of_bytes(b"tensors"),
        receipt: Sha256Digest::of_bytes(b"receipt"),
    };
    let plain = inputs().claims(30).unwrap();
    let claims = Claims {
        supersedes: Some(old),
        ..plain.clone()
    };
    assert_eq!(claims.run, plain.run, "it shapes no weight");
    for (claims, format) in [(plain, RECEIPT_FORMAT), (claims, RECEIPT_FORMAT_SUPERSEDES)] {
        let mut container = container();
        let sealed = seal(&mut container, claims).unwrap();
        assert_eq!(sealed.receipt.format, format);
        let text = container.metadata[RECEIPT_KEY].clone();
        assert_eq!(text.contains("supersedes"), format == RECEIPT_FORMAT_SUPERSEDES);
        assert_eq!(changes(&container, &open(&container).unwrap().unwrap()).unwrap(), []);
        // In the other format it is refused, so that nobody who knows only that one overlooks what it says.
        let other = match format {
            RECEIPT_FORMAT => RECEIPT_FORMAT_SUPERSEDES,
            _ => RECEIPT_FORMAT,
        };
        assert!(matches!(
            Receipt::parse(&text.replace(format, other)),
            Err(ReceiptError::Format { .. })
        ));
    }
    let times = (
        "2026-01-01T00:00:00Z".parse().unwrap(),
        "2026-01-01T00:00:01Z".parse().unwrap(),
    );
    let adapter = AdapterFacts {
        file: old.file,
        tensors: old.tensors,
        receipt: old.receipt,
        modules: 1,
    };
    let record = RunRecord::new(inputs(), 30, times, BTreeMap::new(), adapter).unwrap();
    for (record, format) in [
        (record.clone(), RUN_FORMAT),
        (record.superseding(Some(old)), RUN_FORMAT_SUPERSEDES),
    ] {
        let text = record.to_json().unwrap();
        assert_eq!(RunRecord::parse(&text).unwrap(), record);
        assert_eq!(record.format, format);
        let other = text.replace(format, "assent.run/2");
        assert!(matches!(RunRecord::parse(&other), Err(ReceiptError::Format { .. })));
    }
}
