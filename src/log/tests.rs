//! Notes, heads and proofs against published values and against every changed bit.

use proptest::prelude::*;

use super::*;
use crate::digest::Sha256Digest;
use crate::keys::{PublicKey, SecretKey};

fn key() -> SecretKey {
    SecretKey::from_random(&[7; 32])
}

fn tree(size: u8) -> Tree {
    let entry = |byte| Entry::Snapshot {
        root: Sha256Digest::of_bytes(&[byte]),
        document: Sha256Digest::from_bytes([byte; 32]),
    };
    (0..size).map(|byte| entry(byte).bytes().unwrap()).collect()
}

fn head(tree: &Tree, size: u64) -> Checkpoint {
    Checkpoint {
        origin: "example.org/log".into(),
        size,
        root: tree.root(size).unwrap(),
    }
}

#[test]
fn a_note_and_its_key_are_those_of_other_programs() {
    // The example of golang.org/x/mod/sumdb/note.
    let note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\
                \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
    let encoded = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, encoded).unwrap();
    let key = PublicKey::from_bytes(bytes[1..].try_into().unwrap()).unwrap();
    assert_eq!(
        verifier_key("PeterNeumann", &key),
        format!("PeterNeumann+c74f20a3+{encoded}")
    );
    let parsed = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(parsed.verify("PeterNeumann", &key), Ok(()));
    assert_eq!(parsed.bytes(), note.as_bytes());
    assert!(matches!(parsed.verify("Another", &key), Err(LogError::Unsigned { .. })));
    let changed = Note::parse(note.replace("answer", "problem").as_bytes()).unwrap();
    assert!(matches!(changed.verify("PeterNeumann", &key), Err(LogError::Forged(_))));
    // The example of the specification of checkpoints, whose key it does not give.
    let example = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
                   \u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";
    let head = Checkpoint::of(&Note::parse(example.as_bytes()).unwrap()).unwrap();
    assert_eq!(
        (head.origin.as_str(), head.size),
        ("example.com/behind-the-sofa", 20_852_163)
    );
}

#[test]
fn what_is_no_head_and_no_proof_is_refused() {
    let key = key();
    for name in ["", "a b", "a+b", "a\nb", "a\u{2003}b"] {
        assert!(Note::sign("text\n".into(), name, &key).is_err(), "{name:?}");
    }
    let hash = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    for text in [
        "o\n01\nHASH\n",
        "o\n+1\nHASH\n",
        "o\n1\nHASH\n\n",
        "o\n1\nshort\n",
        "\n1\nHASH\n",
        "o\n1\n",
        "o\n1\nHASH",
    ] {
        let note = Note::sign(text.replace("HASH", hash), "o", &key).unwrap();
        assert!(Checkpoint::of(&note).is_err(), "{text:?}");
    }
    for bytes in [
        &b""[..],
        b"\n",
        b"\n\n",
        b"a\n\n",
        b"a\n\nb\n",
        b"\xff\n\n",
        b"a\t\n\n\xe2\x80\x94 n AAAAAA==\n",
    ] {
        assert!(Note::parse(bytes).is_err());
        assert!(Inclusion::parse(bytes).is_err());
        assert!(Consistency::parse(bytes).is_err());
    }
    assert!(Entry::parse(br#"{"kind":"snapshot"}"#).is_err());
    assert!(Entry::parse(&[b'['; 1 << 17]).is_err());
}

#[test]
fn a_swapped_entry_breaks_every_kept_head() {
    let key = key();
    let honest = tree(9);
    let kept = head(&honest, 5);
    let swapped: Tree = (0..9)
        .map(|at| honest.entry(if at == 3 { 8 } else { at }).unwrap().to_vec())
        .collect();
    let (old, checkpoint) = (5, head(&swapped, 9).sign(&key).unwrap());
    for path in [swapped.consistency(5, 9).unwrap(), honest.consistency(5, 9).unwrap()] {
        let proof = Consistency {
            old,
            path,
            checkpoint: checkpoint.clone(),
        };
        let error = proof.verify(&kept, &key.public()).unwrap_err();
        assert_eq!(error, LogError::Inconsistent { first: 5, second: 9 });
    }
}

#[test]
fn tiles_hold_the_tree() {
    let tree: Tree = (0..70_000u32).map(|n| n.to_be_bytes().to_vec()).collect();
    let files = tree.tiles();
    let count = |start: &str| files.iter().filter(|(path, _)| path.starts_with(start)).count();
    // The example of the specification: 273 full tiles and one of 112, one full and one of 17, one of 1.
    assert_eq!(
        (count("tile/0/"), count("tile/1/"), count("tile/2/"), count("tile/3/")),
        (274, 2, 1, 0)
    );
    assert_eq!(count("tile/entries/"), 274);
    for (name, size) in [
        ("tile/0/273.p/112", 112),
        ("tile/1/000", 256),
        ("tile/1/001.p/17", 17),
        ("tile/2/000.p/1", 1),
    ] {
        let found = files.iter().find(|(path, _)| path == name).unwrap();
        assert_eq!(found.1.len(), 32 * size, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3))]

    #[test]
    fn no_bit_of_a_proof_of_its_head_or_of_the_key_can_be_another(size in 1u8..40, at in 0u8..40, first in 0u8..40) {
        let (key, tree) = (key(), tree(size));
        let (at, first, size) = (u64::from(at % size), u64::from(first % (size + 1)), u64::from(size));
        let checkpoint = head(&tree, size).sign(&key).unwrap();
        let inclusion = Inclusion {
            entry: tree.entry(at).unwrap().to_vec(),
            index: at,
            path: tree.inclusion(at, size).unwrap().path,
            checkpoint: checkpoint.clone(),
        };
        let (entry, kept) = (Entry::parse(tree.entry(at).unwrap()).unwrap(), head(&tree, first));
        let consistency = Consistency { old: first, path: tree.consistency(first, size).unwrap(), checkpoint };
        prop_assert_eq!(Inclusion::parse(&inclusion.bytes()).unwrap(), inclusion.clone());
        prop_assert_eq!(inclusion.verify(&key.public()).unwrap().0, entry);
        prop_assert_eq!(Consistency::parse(&consistency.bytes()).unwrap(), consistency.clone());
        prop_assert!(consistency.verify(&kept, &key.public()).is_ok());
        for (bytes, holds) in [
            (inclusion.bytes(), &(|bytes: &[u8]| Inclusion::parse(bytes).is_ok_and(|p| p.verify(&key.public()).is_ok())) as &dyn Fn(&[u8]) -> bool),
            (consistency.bytes(), &|bytes: &[u8]| Consistency::parse(bytes).is_ok_and(|p| p.verify(&kept, &key.public()).is_ok())),
        ] {
            // Signatures are slow without optimisation: every thirteenth bit of each file.
            for bit in (0..8 * bytes.len()).step_by(13) {
                let mut bent = bytes.clone();
                bent[bit / 8] ^= 1 << (bit % 8);
                prop_assert!(!holds(&bent), "bit {} of {}", bit, String::from_utf8_lossy(&bytes));
            }
        }
        let other = SecretKey::from_random(&[8; 32]).public();
        prop_assert!(inclusion.verify(&other).is_err());
        prop_assert!(consistency.verify(&kept, &other).is_err());
    }

    #[test]
    fn anything_at_all_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "(old [0-9]{1,3}|[a-z +/=]{0,9}|\u{2014} [a-z]{0,3} [A-Za-z]{0,12}|\n){0,20}") {
        for bytes in [bytes.as_slice(), text.as_bytes()] {
            let _ = (Note::parse(bytes), Inclusion::parse(bytes), Consistency::parse(bytes), Entry::parse(bytes));
        }
    }
}
