//! Keys and envelopes: what one key signs verifies under its public half and under nothing else.
use proptest::prelude::*;

use super::*;

const TYPE: &str = "application/vnd.example+json";

fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

#[test]
fn keys_agree_with_rfc_8032_and_with_openssl() {
    // RFC 8032, 7.1, TEST 2.
    let mut seed = [0; 32];
    hex::decode_to_slice(
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        &mut seed,
    )
    .unwrap();
    let key = SecretKey::from_random(&seed);
    assert_eq!(
        hex::encode(key.public().as_bytes()),
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    );
    assert_eq!(
        hex::encode(key.sign(&[0x72])),
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
         085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.key");
    key.write_new(&path).unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        command.args(arguments).arg("-in").arg(&path).output()
    };
    // Where there is no OpenSSL, what it said once stands for it.
    let expected = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n\
                    -----END PUBLIC KEY-----\n";
    assert_eq!(key.public().to_pem().unwrap(), expected);
    if let Ok(output) = run(&["pkey", "-pubout"]) {
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
    if let Ok(output) = run(&["pkey", "-pubout", "-outform", "DER"]) {
        assert_eq!(Sha256Digest::of_bytes(&output.stdout), key.public().id());
    }
}

#[test]
fn a_private_key_is_its_owners_alone_and_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.key");
    key(1).write_new(&path).unwrap();
    assert!(matches!(key(2).write_new(&path), Err(KeyError::Exists { .. })));
    let (read, exposed) = SecretKey::read(&path).unwrap();
    assert_eq!(read.public(), key(1).public());
    assert!(!exposed);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SecretKey::read(&path).unwrap().1);
    }
}

#[test]
fn what_is_no_key_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.pem");
    let public = key(1).public().to_pem().unwrap();
    let x25519 = public.replace("K2Vw", "K2Vu");
    for text in [
        "",
        "-----BEGIN PUBLIC KEY-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        &public[..public.len() / 2],
        &x25519,
        &"A".repeat(100_000),
    ] {
        std::fs::write(&path, text).unwrap();
        assert!(
            matches!(PublicKey::read(&path), Err(KeyError::NotAKey { .. })),
            "{text:.60}"
        );
        assert!(
            matches!(SecretKey::read(&path), Err(KeyError::NotAKey { .. })),
            "{text:.60}"
        );
    }
    std::fs::write(&path, public).unwrap();
    assert!(PublicKey::read(&path).is_ok());
    assert!(SecretKey::read(&path).is_err());
    assert!(matches!(PublicKey::read(folder.path()), Err(KeyError::File { .. })));
    // The neutral element, under which a signature of anything can be made.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert!(PublicKey::from_bytes(&neutral).is_err());
}

#[test]
fn an_envelope_survives_json_and_names_what_is_wrong() {
    let envelope = Envelope::sign(TYPE, b"{}".to_vec(), &key(1));
    let json = serde_json::to_vec(&envelope).unwrap();
    assert_eq!(Envelope::parse(&json).unwrap(), envelope);
    assert_eq!(envelope.verify(TYPE, &key(1).public()).unwrap(), b"{}");
    let other = envelope.verify("text/plain", &key(1).public());
    assert!(matches!(other, Err(EnvelopeError::Type { .. })));
    for count in [0, 17] {
        let mut many = envelope.clone();
        many.signatures = vec![envelope.signatures[0].clone(); count];
        let found = many.verify(TYPE, &key(1).public());
        assert_eq!(found, Err(EnvelopeError::Count(count)));
    }
    // The key's name is a hint: a wrong one neither helps nor harms.
    let mut renamed = envelope.clone();
    renamed.signatures[0].keyid = key(2).public().id().to_string();
    assert!(renamed.verify(TYPE, &key(1).public()).is_ok());
    assert!(renamed.verify(TYPE, &key(2).public()).is_err());
    for text in ["", "[]", "{}", &String::from_utf8_lossy(&json)[..40]] {
        assert!(Envelope::parse(text.as_bytes()).is_err(), "{text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn every_changed_bit_is_refused(seed: [u8; 32], payload in proptest::collection::vec(any::<u8>(), 1..200), at: usize) {
        let key = SecretKey::from_random(&seed);
        let public = key.public();
        let envelope = Envelope::sign(TYPE, payload.clone(), &key);
        prop_assert!(envelope.verify(TYPE, &public).is_ok());
        let flip = |bytes: &mut [u8]| {
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        };
        let mut changed = envelope.clone();
        flip(&mut changed.payload);
        prop_assert!(changed.verify(TYPE, &public).is_err());
        let mut changed = envelope.clone();
        flip(&mut changed.signatures[0].sig);
        prop_assert!(changed.verify(TYPE, &public).is_err());
        let mut kind = TYPE.as_bytes().to_vec();
        flip(&mut kind);
        let mut changed = envelope.clone();
        changed.payload_type = String::from_utf8_lossy(&kind).into_owned();
        prop_assert!(changed.verify(TYPE, &public).is_err());
        prop_assert!(changed.verify(&changed.payload_type, &public).is_err());
        let mut bytes = *public.as_bytes();
        flip(&mut bytes);
        if let Ok(other) = PublicKey::from_bytes(&bytes) {
            prop_assert!(envelope.verify(TYPE, &other).is_err());
        }
    }
}

#[test]
fn every_single_bit_of_one_envelope_counts() {
    let key = key(7);
    let envelope = Envelope::sign(TYPE, br#"{"kind":"grant"}"#.to_vec(), &key);
    let flipped = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    for bit in 0..envelope.payload.len() * 8 {
        let payload = flipped(&envelope.payload, bit);
        let changed = Envelope {
            payload,
            ..envelope.clone()
        };
        assert!(changed.verify(TYPE, &key.public()).is_err(), "payload bit {bit}");
    }
    for bit in 0..64 * 8 {
        let mut changed = envelope.clone();
        changed.signatures[0].sig = flipped(&envelope.signatures[0].sig, bit);
        assert!(changed.verify(TYPE, &key.public()).is_err(), "signature bit {bit}");
    }
    for bit in 0..32 * 8 {
        let bytes = flipped(key.public().as_bytes(), bit).try_into().unwrap();
        let verifies = PublicKey::from_bytes(&bytes).is_ok_and(|other| envelope.verify(TYPE, &other).is_ok());
        assert!(!verifies, "key bit {bit}");
    }
}
