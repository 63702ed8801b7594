use super::*;
use crate::signals::{self, Trust};

fn label() -> Label {
    Label {
        program: "assent 9.8.7".into(),
        created_at: "2026-03-01T09:00:00Z".parse().unwrap(),
        prompt: "a <fish> & \"chips\" \u{1}\u{fffe}\nat night".into(),
        negative_prompt: "blur".into(),
        clip_skip: None,
        sampler: "ddim".into(),
        steps: 20,
        cfg: 4.1,
        seed: u64::MAX,
        rng: None,
        strength: Some(0.3),
        denoise: None,
        start: Some(Sha256Digest::of_bytes(b"start")),
        size: [128, 96],
        base: Sha256Digest::of_bytes(b"base"),
        vae: Some(Sha256Digest::of_bytes(b"vae")),
        adapters: vec![UsedAdapter {
            sha256: Sha256Digest::of_bytes(b"adapter"),
            receipt: Some(Sha256Digest::of_bytes(b"receipt")),
            snapshot: Some(Sha256Digest::of_bytes(b"root")),
            weight: 0.1 + 0.2,
            clip_weight: Some(0.5),
        }],
        digital_source_type: TRAINED.into(),
        creator: None,
        prompt_writer: None,
        mark: false,
    }
    .rounded()
}

fn image() -> RgbImage {
    RgbImage::from_fn(128, 96, |x, y| {
        image::Rgb([(x * 2) as u8, (y * 2) as u8, (x ^ y) as u8])
    })
}

fn key() -> SecretKey {
    SecretKey::from_random(&[5; 32])
}

const FORMATS: [Format; 3] = [Format::Png, Format::Jpeg, Format::WebP];

#[test]
fn every_format_holds_the_whole_label_with_and_without_a_signature() {
    for format in FORMATS {
        for key in [None, Some(key())] {
            for mark in [false, true] {
                let label = Label { mark, ..label() };
                let bytes = encode(&image(), &label, format, key.as_ref()).unwrap();
                check(&bytes, &image(), &label, format, key.as_ref()).unwrap();
                let other = Label {
                    seed: 1,
                    ..label.clone()
                };
                check(&bytes, &image(), &other, format, key.as_ref()).unwrap_err();
                let found = read(&bytes);
                assert_eq!(found.signed.is_some(), key.is_some());
                assert_eq!(found.source_type.as_deref(), Some(TRAINED));
            }
        }
    }
}

#[test]
fn the_same_label_and_key_give_the_same_bytes() {
    for format in FORMATS {
        let once = encode(&image(), &label(), format, Some(&key())).unwrap();
        assert!(
            once == encode(&image(), &label(), format, Some(&key())).unwrap(),
            "{format:?}"
        );
        let other = SecretKey::from_random(&[6; 32]);
        assert!(once != encode(&image(), &label(), format, Some(&other)).unwrap());
    }
}

#[test]
fn a_file_of_ours_is_recognised_as_made_by_a_machine() {
    for format in FORMATS {
        for key in [None, Some(key())] {
            let bytes = encode(&image(), &label(), format, key.as_ref()).unwrap();
            let found = signals::read(&signals::Sources {
                picture: &bytes,
                digest: Sha256Digest::of_bytes(&bytes),
                reuse: None,
                licensing: &[],
                xmp: None,
                caption: None,
                drawing: None,
                trust: &Trust::default(),
            });
            assert!(found.ai_generated, "{format:?}");
            assert!(found.artists.is_empty(), "nobody is named unless asked for");
            assert!(found.needs_review.is_empty(), "{:?}", found.needs_review);
        }
    }
}

#[test]
fn neither_the_private_key_nor_a_path_is_in_the_file() {
    let bytes = encode(&image(), &label(), Format::Png, Some(&key())).unwrap();
    assert!(!bytes.windows(32).any(|window| window == [5; 32]));
    assert!(bytes.windows(32).any(|window| window == key().public().as_bytes()));
}

#[test]
fn any_changed_byte_of_a_signed_file_is_seen() {
    for format in FORMATS {
        let bytes = encode(&image(), &label(), format, Some(&key())).unwrap();
        // The signature's header has a part that no signature covers: padding, between `pad` and the 64 bytes.
        let find = |from: usize, part: &[u8]| from + bytes[from..].windows(part.len()).position(|w| w == part).unwrap();
        let pad = find(0, b"\x63pad");
        let padding = pad..find(pad, &[0xf6, 0x58, 64]);
        for at in (0..bytes.len()).step_by(bytes.len() / 97) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            let holds = read(&changed)
                .signed
                .is_some_and(|signed| signed.holds() && signed.label.is_some());
            assert!(
                !holds || padding.contains(&at),
                "{format:?}: byte {at} of {}",
                bytes.len()
            );
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let long = Label {
        prompt: "x".repeat(MOST),
        ..label()
    };
    assert!(matches!(
        encode(&image(), &long, Format::Png, None),
        Err(LabelError::TooLong { .. })
    ));
    let narrow = RgbImage::new(32, 32);
    let marked = Label { mark: true, ..label() };
    assert!(matches!(
        encode(&narrow, &marked, Format::Png, None),
        Err(LabelError::TooNarrow { needed: 82, found: 32 })
    ));
    assert!(Format::of_path(Path::new("a.gif")).is_err() && Format::of_path(Path::new("a")).is_err());
    assert_eq!(Format::of_path(Path::new("A.JPG")).unwrap(), Format::Jpeg);
}

#[test]
fn a_file_that_does_not_hold_is_not_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    let digest = write(&path, &image(), &label(), Some(&key())).unwrap();
    assert_eq!(digest, Sha256Digest::of_file(&path).unwrap());
    let refused = write_checked(&folder.path().join("b.png"), b"no picture", |written| {
        check(&std::fs::read(written)?, &image(), &label(), Format::Png, None)
    });
    assert!(matches!(refused, Err(LabelError::NotHeld(_))));
    let names: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["a.png"]);
}

#[test]
fn the_mark_names_what_the_label_names() {
    let mut label = Label { mark: true, ..label() };
    label.adapters.push(UsedAdapter {
        sha256: Sha256Digest::of_bytes(b"second"),
        receipt: None,
        snapshot: None,
        weight: 1.0,
        clip_weight: None,
    });
    for (adapters, count) in [(label.adapters.clone(), 2), (Vec::new(), 1)] {
        let label = Label {
            adapters,
            ..label.clone()
        };
        let marked = mark::below(&image(), &label).unwrap();
        assert_eq!(mark::find(&marked), Some(mark::names(&label)));
        assert_eq!(mark::names(&label).len(), count);
        // What was drawn is whole.
        assert_eq!(image::imageops::crop_imm(&marked, 0, 0, 128, 96).to_image(), image());
    }
    assert_eq!(mark::find(&image()), None);
}
