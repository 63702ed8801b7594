//! From a picture to the adapter that drew it, and to the images: what it says when nothing changed, and that a changed
//! pixel, a label that was taken off and one that somebody made up are findings, never clean.

use std::path::{Path, PathBuf};

use assent::audit::{Code, Report, Verdict, audit_picture};
use assent::digest::{PixelDigest, Sha256Digest};
use assent::keys::SecretKey;
use assent::label::{self, Format, Label, TRAINED, UsedAdapter};
use assent::registry::{NewPicture, Registry};
use image::{Rgb, RgbImage};

use super::world::{World, opt_out, time};

fn key() -> SecretKey {
    SecretKey::from_random(&[3; 32])
}

fn image() -> RgbImage {
    RgbImage::from_fn(96, 64, |x, y| Rgb([(x * 2) as u8, (y * 3) as u8, 90]))
}

fn label_of(world: &World) -> Label {
    let sealed = world.audit();
    Label {
        program: "assent 1.2.3".into(),
        created_at: time(6),
        prompt: "a boat".into(),
        negative_prompt: String::new(),
        clip_skip: None,
        sampler: "ddim".into(),
        steps: 2,
        cfg: 4.0,
        seed: 7,
        rng: None,
        strength: None,
        denoise: None,
        start: None,
        size: [96, 64],
        base: Sha256Digest::of_bytes(b"base"),
        vae: None,
        adapters: vec![UsedAdapter {
            sha256: sealed.adapter.as_ref().unwrap().sha256,
            receipt: sealed.adapter.as_ref().unwrap().receipt_sha256,
            snapshot: Some(sealed.snapshot.as_ref().unwrap().root),
            further: Vec::new(),
            weight: 0.8,
            clip_weight: None,
        }],
        digital_source_type: TRAINED.into(),
        creator: None,
        prompt_writer: None,
        mark: false,
    }
}

struct Drawn {
    world: World,
    path: PathBuf,
}

impl Drawn {
    /// A picture as `generate` writes and records it.
    fn new(key: Option<&SecretKey>, label: impl FnOnce(&mut Label), recorded: bool) -> Drawn {
        let world = World::new();
        let mut said = label_of(&world);
        label(&mut said);
        let path = world.folder.path().join("drawn.png");
        let sha256 = label::write(&path, &image(), &said, key).unwrap();
        let drawn = Drawn { world, path };
        if recorded {
            let pixels = label::decoded(&drawn.bytes()).map(|image| label::pixel_digest(&image));
            let picture = NewPicture {
                sha256,
                pixels,
                adapter: drawn.world.audit().adapter.unwrap().sha256,
                path: drawn.path.clone(),
            };
            drawn.world.registry().add_picture(&picture, time(6)).unwrap();
        }
        drawn
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(&self.path).unwrap()
    }

    fn audit(&self) -> Report {
        self.audit_of(&self.path, &self.bytes())
    }

    fn audit_of(&self, path: &Path, bytes: &[u8]) -> Report {
        audit_picture(path, bytes, Some(&self.world.registry()), time(9)).unwrap()
    }

    fn trust(&self) {
        self.world
            .registry()
            .trust_key(&key().public(), Some("the studio"), time(7))
            .unwrap();
    }
}

fn codes(report: &Report) -> Vec<Code> {
    report.findings.iter().map(|f| f.code).collect()
}

/// The pixels of a file, without anything that was said of them.
fn stripped(bytes: &[u8]) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    image::load_from_memory(bytes)
        .unwrap()
        .write_to(&mut out, image::ImageFormat::Png)
        .unwrap();
    out.into_inner()
}

#[test]
fn a_recorded_picture_leads_to_adapter_snapshot_and_images() {
    for key in [None, Some(key())] {
        let drawn = Drawn::new(key.as_ref(), |_| {}, true);
        let report = drawn.audit();
        assert_eq!((codes(&report), report.verdict), (vec![], Verdict::Clean));
        assert_eq!(report.images.len(), 3);
        assert_eq!(report.excluded.len(), 1);
        assert_eq!(report.snapshot.as_ref().unwrap().name.as_deref(), Some("set"));
        assert_eq!(
            report.adapter.as_ref().unwrap().sha256,
            label_of(&drawn.world).adapters[0].sha256
        );
        let picture = report.picture.unwrap();
        assert!(picture.recorded);
        assert_eq!(
            picture.signature.map(|s| (s.holds, s.trusted)),
            key.map(|_| (true, false))
        );
        assert_eq!(picture.label.unwrap().prompt, "a boat");

        opt_out(&mut drawn.world.registry(), "Bea <b>", 8);
        let report = drawn.audit();
        assert_eq!(codes(&report), [Code::ConsentWithdrawn]);
        assert!(report.findings[0].explanation.contains("b.png"));
    }
}

#[test]
fn a_picture_from_elsewhere_is_as_good_as_its_signer() {
    let drawn = Drawn::new(Some(&key()), |_| {}, false);
    assert_eq!(codes(&drawn.audit()), [Code::SignerUntrusted]);
    drawn.trust();
    let report = drawn.audit();
    assert_eq!((codes(&report), report.images.len()), (vec![], 3));
    assert!(report.unchecked[0].contains("did not record it"));
    assert_eq!(
        report.picture.unwrap().signature.unwrap().name.as_deref(),
        Some("the studio")
    );

    let unsigned = Drawn::new(None, |_| {}, false);
    assert_eq!(codes(&unsigned.audit()), [Code::LabelUnsigned]);
    assert_eq!(unsigned.audit().verdict, Verdict::Findings);
    let alone = audit_picture(&unsigned.path, &unsigned.bytes(), None, time(9)).unwrap();
    assert_eq!(codes(&alone), [Code::LabelUnsigned]);
    assert!(alone.unchecked[0].contains("no registry"));
    let empty = Registry::in_memory().unwrap();
    let signed = audit_picture(&drawn.path, &drawn.bytes(), Some(&empty), time(9)).unwrap();
    assert_eq!(codes(&signed), [Code::AdapterUnknown, Code::SignerUntrusted]);
}

#[test]
fn a_changed_pixel_is_seen_with_and_without_a_signature() {
    for (signed, recorded) in [(true, true), (true, false), (false, true)] {
        let drawn = Drawn::new(signed.then(key).as_ref(), |_| {}, recorded);
        drawn.trust();
        let mut other = image();
        other.put_pixel(5, 5, Rgb([0, 0, 0]));
        let changed = label::encode(&other, &label_of(&drawn.world), Format::Png, None).unwrap();
        // The label of the first with other pixels: as an editor would write it, beside the manifest.
        let changed = if signed {
            grafted(&changed, &drawn.bytes())
        } else {
            changed
        };
        let report = drawn.audit_of(&drawn.path, &changed);
        assert!(
            codes(&report).contains(&Code::PictureChanged),
            "{signed} {recorded}: {report:#?}"
        );
        assert_eq!(report.verdict, Verdict::Invalid);
    }
    // Any byte of the pixels.
    let drawn = Drawn::new(Some(&key()), |_| {}, true);
    let bytes = drawn.bytes();
    let at = bytes.windows(4).position(|w| w == b"IDAT").unwrap() + 20;
    let mut changed = bytes.clone();
    changed[at] ^= 1;
    assert!(codes(&drawn.audit_of(&drawn.path, &changed)).contains(&Code::PictureChanged));
}

/// `to` with the manifest of `from`, both PNG.
fn grafted(to: &[u8], from: &[u8]) -> Vec<u8> {
    let at = from.windows(4).position(|w| w == b"caBX").unwrap() - 4;
    let length = u32::from_be_bytes(from[at..at + 4].try_into().unwrap()) as usize + 12;
    let mut grafted = to.to_vec();
    let place = at.min(33);
    grafted.splice(place..place, from[at..at + length].iter().copied());
    grafted
}

#[test]
fn a_label_that_was_taken_off_is_missed() {
    let drawn = Drawn::new(Some(&key()), |_| {}, true);
    let bare = stripped(&drawn.bytes());
    // Wherever the copy lies.
    for path in [drawn.path.clone(), drawn.world.folder.path().join("copy.png")] {
        let report = drawn.audit_of(&path, &bare);
        assert_eq!(
            (codes(&report), report.verdict),
            (vec![Code::LabelRemoved, Code::LabelMissing], Verdict::Invalid)
        );
        assert_eq!(report.images.len(), 3, "the registry knows what drew these pixels");
    }
    // Only the manifest.
    let unsigned = label::encode(&image(), &label_of(&drawn.world), Format::Png, None).unwrap();
    assert_eq!(
        codes(&drawn.audit_of(&drawn.path, &unsigned)),
        [Code::LabelChanged, Code::LabelUnsigned]
    );
    // Where nobody recorded it.
    let elsewhere = Drawn::new(Some(&key()), |_| {}, false);
    assert_eq!(codes(&elsewhere.audit_of(&elsewhere.path, &bare)), [Code::LabelMissing]);
}

#[test]
fn a_label_that_somebody_made_up_is_not_believed() {
    let forge = |change: fn(&mut Label)| {
        let drawn = Drawn::new(Some(&key()), change, false);
        drawn.trust();
        codes(&drawn.audit())
    };
    assert_eq!(
        forge(|l| l.adapters[0].receipt = Some(Sha256Digest::of_bytes(b"x"))),
        [Code::LabelChanged]
    );
    assert_eq!(
        forge(|l| l.adapters[0].snapshot = Some(Sha256Digest::of_bytes(b"x"))),
        [Code::LabelChanged]
    );
    assert_eq!(
        forge(|l| l.adapters[0].sha256 = Sha256Digest::of_bytes(b"x")),
        [Code::AdapterUnknown]
    );

    // Another's key over the pixels that were recorded.
    let drawn = Drawn::new(Some(&key()), |_| {}, true);
    drawn.trust();
    let thief = SecretKey::from_random(&[9; 32]);
    let mut said = label_of(&drawn.world);
    said.adapters.clear();
    let forged = label::encode(&image(), &said, Format::Png, Some(&thief)).unwrap();
    let report = drawn.audit_of(&drawn.path, &forged);
    assert_eq!(codes(&report), [Code::LabelChanged, Code::SignerUntrusted]);
    // A manifest over another label than the XMP's.
    let changed = {
        let other = Label {
            seed: 8,
            ..label_of(&drawn.world)
        };
        grafted(
            &label::encode(&image(), &other, Format::Png, None).unwrap(),
            &drawn.bytes(),
        )
    };
    let report = drawn.audit_of(&drawn.path, &changed);
    assert!(codes(&report).contains(&Code::LabelChanged) && codes(&report).contains(&Code::PictureChanged));
}

#[test]
fn a_mark_must_say_what_the_label_says() {
    let marked = |l: &mut Label| l.mark = true;
    let drawn = Drawn::new(Some(&key()), marked, true);
    let report = drawn.audit();
    assert_eq!(codes(&report), []);
    assert!(report.picture.unwrap().mark);
    // All that is left is the mark, as on a print.
    let printed = stripped(&Drawn::new(None, marked, false).bytes());
    let report = drawn.audit_of(Path::new("/print.png"), &printed);
    assert_eq!(
        (codes(&report), report.images.len()),
        (vec![Code::LabelRemoved, Code::LabelMissing], 3)
    );
    let elsewhere = Drawn::new(None, marked, false);
    let report = elsewhere.audit_of(Path::new("/print.png"), &printed);
    assert_eq!((codes(&report), report.images.len()), (vec![Code::LabelMissing], 3));
    assert!(report.unchecked[0].contains("the mark is all there is"));
    // The mark cut off, the label left as it was.
    let whole = Drawn::new(None, marked, false);
    let bytes = whole.bytes();
    let cut = image::load_from_memory(&bytes)
        .unwrap()
        .crop_imm(0, 0, 96, 64)
        .to_rgb8();
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 96, 64);
    encoder.set_color(png::ColorType::Rgb);
    let reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
    for chunk in &reader.info().utf8_text {
        encoder
            .add_itxt_chunk(chunk.keyword.clone(), chunk.get_text().unwrap())
            .unwrap();
    }
    encoder.write_header().unwrap().write_image_data(cut.as_raw()).unwrap();
    let report = whole.audit_of(&whole.path, &out);
    assert_eq!(codes(&report), [Code::LabelChanged, Code::LabelUnsigned]);
}

#[test]
fn an_adapter_whose_file_is_gone_is_followed_as_far_as_the_registry_reaches() {
    let drawn = Drawn::new(Some(&key()), |_| {}, true);
    std::fs::remove_file(&drawn.world.adapter).unwrap();
    let report = drawn.audit();
    assert_eq!((codes(&report), report.images.len()), (vec![Code::FileMissing], 3));
    assert!(report.unchecked.iter().any(|what| what.contains("receipt")));
}

#[test]
fn pictures_recorded_before_their_pixels_were_kept_are_still_found_by_file_and_place() {
    let drawn = Drawn::new(None, |_| {}, true);
    drawn.world.tamper("UPDATE pictures SET pixels = NULL");
    assert_eq!(codes(&drawn.audit()), []);
    let bare = stripped(&drawn.bytes());
    assert_eq!(
        codes(&drawn.audit_of(&drawn.path, &bare)),
        [Code::PictureChanged, Code::LabelMissing]
    );
    assert_ne!(label::pixel_digest(&image()), PixelDigest::of_rgba(1, 1, &[0; 4]));
}
