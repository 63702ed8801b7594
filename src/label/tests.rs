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
            further: Vec::new(),
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
    let many = Label {
        mark: true,
        adapters: vec![label().adapters[0].clone(); 60],
        ..label()
    };
    assert!(matches!(fits(&many, Format::Png), Err(LabelError::Encode(_))));
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
        further: Vec::new(),
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
    // The smallest and the largest.
    for (width, height) in [(8, 8), (40, 300), (1024, 1024)] {
        let picture = RgbImage::from_pixel(width, height, image::Rgb([90, 20, 10]));
        let marked = mark::below(&picture, &label).unwrap();
        assert_eq!(mark::find(&marked), Some(mark::names(&label)), "{width}×{height}");
    }
}

/// A picture with the beginnings of codes in it, or of noise.
fn strange(seed: u64) -> RgbImage {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let (width, height) = (1 + (next() % 90) as u32, 1 + (next() % 90) as u32);
    let marked = mark::below(&image(), &Label { mark: true, ..label() }).unwrap();
    let (left, top, flips) = ((next() % 120) as u32, (next() % 160) as u32, next() % 400);
    let mut cut = image::imageops::crop_imm(&marked, left, top, width, height).to_image();
    for _ in 0..flips {
        let (x, y) = ((next() % 200) as u32, (next() % 200) as u32);
        if x < cut.width() && y < cut.height() {
            let value = (next() % 2 * 255) as u8;
            cut.put_pixel(x, y, image::Rgb([value; 3]));
        }
    }
    cut
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(64))]

    #[test]
    fn no_picture_makes_the_readers_panic(seed: u64, at: usize, byte: u8, cut: usize, format in 0..3_usize) {
        // Nothing but the whole mark is a mark.
        let picture = strange(seed);
        if let Some(names) = mark::find(&picture) {
            proptest::prop_assert_eq!(names, mark::names(&label()));
        }
        let mut bytes = signed_once()[format].clone();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.truncate(length - cut % 200);
        let found = read(&bytes);
        let _ = contradictions(&found);
        // Cut or changed, it does not hold; one byte of padding aside.
        if cut % 200 > 0 {
            proptest::prop_assert!(!found.signed.is_some_and(|signed| signed.holds()));
        }
        let _ = decoded(&bytes);
    }
}

fn signed_once() -> &'static [Vec<u8>; 3] {
    static FILES: std::sync::OnceLock<[Vec<u8>; 3]> = std::sync::OnceLock::new();
    FILES.get_or_init(|| FORMATS.map(|format| encode(&image(), &label(), format, Some(&key())).unwrap()))
}
