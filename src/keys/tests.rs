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
    key.write_new(&path, None).unwrap();
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
    key(1).write_new(&path, None).unwrap();
    assert!(matches!(key(2).write_new(&path, None), Err(KeyError::Exists { .. })));
    let (read, exposed) = SecretKey::read(&path, None).unwrap();
    assert_eq!(read.public(), key(1).public());
    assert!(!exposed);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SecretKey::read(&path, None).unwrap().1);
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
            matches!(SecretKey::read(&path, None), Err(KeyError::NotAKey { .. })),
            "{text:.60}"
        );
    }
    std::fs::write(&path, public).unwrap();
    assert!(PublicKey::read(&path).is_ok());
    assert!(SecretKey::read(&path, None).is_err());
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

/// The text of a file with these parameters, and a key that nobody can open.
fn absurd(scheme: pkcs8::pkcs5::pbes2::Parameters) -> String {
    let info = pkcs8::EncryptedPrivateKeyInfo {
        encryption_algorithm: scheme.into(),
        encrypted_data: &[7; 64],
    };
    let document = pkcs8::der::SecretDocument::encode_msg(&info).unwrap();
    let pem = document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap();
    pem.to_string()
}

#[test]
fn a_key_under_a_passphrase_opens_with_it_alone_and_openssl_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("me.key");
    let lock = |passphrase| Lock {
        passphrase,
        random: &[9; 32],
    };
    key(1).write_new(&path, Some(&lock(b"a long passphrase"))).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert!(matches!(SecretKey::read(&path, None), Err(KeyError::Locked { .. })));
    assert!(matches!(
        SecretKey::read(&path, Some(b"another")),
        Err(KeyError::Passphrase { .. })
    ));
    let (read, exposed) = SecretKey::read(&path, Some(b"a long passphrase")).unwrap();
    assert_eq!((read.public(), exposed), (key(1).public(), false));
    let openssl = |arguments: &[&str]| std::process::Command::new("openssl").args(arguments).output();
    let named = path.to_str().unwrap();
    if let Ok(output) = openssl(&["pkey", "-pubout", "-in", named, "-passin", "pass:a long passphrase"]) {
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            key(1).public().to_pem().unwrap()
        );
    }
    // The same passphrase and random bytes give the same file; others take its place whole.
    read.rewrite(&path, Some(&lock(b"a long passphrase"))).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    read.rewrite(&path, None).unwrap();
    assert_eq!(SecretKey::read(&path, None).unwrap().0.public(), key(1).public());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    // What OpenSSL locks by default: PBKDF2.
    let theirs = folder.path().join("theirs.key");
    let made = openssl(&[
        "pkey",
        "-in",
        named,
        "-aes256",
        "-passout",
        "pass:x",
        "-out",
        theirs.to_str().unwrap(),
    ]);
    if made.is_ok_and(|output| output.status.success()) {
        assert_eq!(
            SecretKey::read(&theirs, Some(b"x")).unwrap().0.public(),
            key(1).public()
        );
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_file_that_asks_for_hours_or_gigabytes_is_refused() {
    use pkcs8::pkcs5::pbes2::{EncryptionScheme, Kdf, Parameters, ScryptParams};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.key");
    let iv = &[0; 16];
    let scrypt = |cost_parameter, block_size, parallelization| Parameters {
        kdf: Kdf::Scrypt(ScryptParams {
            salt: b"salt",
            cost_parameter,
            block_size,
            parallelization,
            key_length: None,
        }),
        encryption: EncryptionScheme::Aes256Cbc { iv },
    };
    let mut files: Vec<String> = [
        (1 << 20, 8, 1),
        (1 << 14, 8, 400),
        (2, u16::MAX, u16::MAX),
        (u64::MAX, u16::MAX, u16::MAX),
        (1 << 63, 1, 1),
        (0, 8, 1),
        (1, 8, 1),
        (12_345, 8, 1),
    ]
    .map(|(n, r, p)| absurd(scrypt(n, r, p)))
    .to_vec();
    files.push(absurd(
        Parameters::pbkdf2_sha256_aes256cbc(20_000_000, b"salt", iv).unwrap(),
    ));
    for text in &files {
        std::fs::write(&path, text).unwrap();
        let found = SecretKey::read(&path, Some(b"x"));
        assert!(matches!(found, Err(KeyError::LockedOtherwise { .. })), "{found:?}");
    }
    // No parameters of zero either, and nothing that is cut off.
    for text in [
        absurd(scrypt(16, 0, 1)),
        absurd(scrypt(16, 1, 0)),
        files[0][..files[0].len() / 2].to_owned(),
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_owned(),
    ] {
        std::fs::write(&path, &text).unwrap();
        assert!(SecretKey::read(&path, Some(b"x")).is_err());
    }
}
