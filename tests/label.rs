//! What `assent generate` writes and `assent audit` reads again, through the program as built: every label in every
//! format, the same bytes twice, nothing left where something fails.
//!
//! Readers of others (c2patool, exiftool) look at what was drawn where they are installed. What they said of three files
//! is recorded in `tests/fixtures/label` by `scripts/fixtures/label.sh`, and these files are what is still written,
//! byte for byte.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assent::digest::Sha256Digest;
use assent::keys::SecretKey;
use assent::label::{self, Format, Label, TRAINED, UsedAdapter};
use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

struct Studio(tempfile::TempDir);

impl Studio {
    /// A folder with a key.
    fn new() -> Studio {
        let studio = Studio(tempfile::tempdir().unwrap());
        studio.done(&["-q", "key", "new", "my.key", "--public", "my.pub"]);
        studio
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_assent"))
            .current_dir(self.0.path())
            .env("ASSENT_NOW", "2026-11-22T12:00:00Z")
            .env_remove("ASSENT_REGISTRY")
            .env_remove("ASSENT_KEY")
            .env_remove("ASSENT_MARK")
            .args(arguments)
            .output()
            .unwrap()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(
            out.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        String::from_utf8(out.stdout).unwrap()
    }

    /// Draws with the least work there is.
    fn generate(&self, more: &[&str]) -> Output {
        let base = Path::new(ROOT).join("datasets/base");
        let arguments = ["generate", "--base", base.to_str().unwrap(), "--prompt", "a red boat"];
        let size = ["--steps", "1", "--width", "96", "--height", "64", "--seed", "3"];
        self.run(&[&arguments, size.as_slice(), more].concat())
    }

    fn audit(&self, picture: &str, code: i32) -> Value {
        let out = self.run(&["--json", "audit", picture]);
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{picture}: {stderr}");
        serde_json::from_slice(&out.stdout).unwrap()
    }
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|f| f["code"].as_str().unwrap()).collect()
}

#[test]
fn what_is_drawn_is_signed_read_back_and_the_same_twice() {
    let studio = Studio::new();
    for name in ["a.png", "again.png", "a.jpg", "a.webp"] {
        let out = studio.generate(&["--key", "my.key", "-o", name]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), name);
        assert!(out.stderr.is_empty(), "a signed picture needs no hint");
    }
    let bytes = |name: &str| std::fs::read(studio.path(name)).unwrap();
    assert!(bytes("a.png") == bytes("again.png"));

    // A stranger's file until its key is trusted; no adapter drew it, so there is nothing to follow.
    for name in ["a.png", "a.jpg", "a.webp"] {
        assert_eq!(codes(&studio.audit(name, 1)), ["signer_untrusted"], "{name}");
    }
    studio.done(&["-q", "key", "trust", "my.pub", "--name", "the studio"]);
    for name in ["a.png", "a.jpg", "a.webp"] {
        let report = studio.audit(name, 0);
        assert_eq!(report["verdict"], "clean");
        assert_eq!(report["picture"]["signature"]["name"], "the studio");
        assert_eq!(report["picture"]["label"]["prompt"], "a red boat");
        assert!(report["unchecked"].as_array().unwrap().len() == 2, "{report}");
    }
    // A byte of the pixels.
    let mut changed = bytes("a.jpg");
    let at = changed.len() - 40;
    changed[at] ^= 1;
    std::fs::write(studio.path("changed.jpg"), changed).unwrap();
    let report = studio.audit("changed.jpg", 1);
    assert_eq!(
        (codes(&report), report["verdict"].as_str()),
        (vec!["picture_changed"], Some("invalid"))
    );

    // Registered, it is what it is.
    studio.done(&["-q", "ingest", "a.png"]);
    let images: Value = serde_json::from_str(&studio.done(&["--json", "images"])).unwrap();
    assert_eq!(images["ai_generated"], true);
    assert_eq!(images["artist"], Value::Null, "nobody is named unless asked for");
    outside(&studio);
}

#[test]
fn a_picture_leads_to_the_artist_who_says_no() {
    let studio = Studio::new();
    let root = Path::new(ROOT).join("datasets");
    let from = |part: &str| root.join(part).to_str().unwrap().to_owned();
    studio.done(&["-q", "ingest", &from("sample/bexley-odum")]);
    studio.done(&["-q", "snapshot", "create", "set", "--policy", "open-licences"]);
    let config = format!(
        "output_name = \"tiny\"\npretrained_model_name_or_path = {:?}\nsnapshot = \"set\"\nresolution = 64\n\
         network_dim = 2\nnetwork_alpha = 2\nlearning_rate = 1e-3\nmax_train_steps = 1\ntrain_batch_size = 1\nseed = 7\n",
        from("base")
    );
    std::fs::write(studio.path("tiny.toml"), config).unwrap();
    studio.done(&["-q", "train", "tiny.toml", "--out", "run"]);
    let adapter = "run/adapter.safetensors:0.8";
    let out = studio.generate(&["--key", "my.key", "--mark", "--adapter", adapter, "-o", "boat.png"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));

    let report = studio.audit("boat.png", 0);
    let label = &report["picture"]["label"]["adapters"][0];
    assert_eq!(label["receipt"], report["adapter"]["receipt_sha256"]);
    assert_eq!(label["snapshot"], report["snapshot"]["root"]);
    assert_eq!(
        (&report["picture"]["recorded"], &report["picture"]["mark"]),
        (&true.into(), &true.into())
    );
    let images = report["images"].as_array().unwrap();
    assert!(
        !images.is_empty() && images.iter().all(|image| image["artist"] == "Bexley Odum"),
        "{images:?}"
    );
    // By the digest of the file too.
    let digest = report["picture"]["sha256"].as_str().unwrap();
    assert_eq!(studio.audit(digest, 0)["images"], report["images"]);

    studio.done(&["-q", "opt-out", "--artist", "Bexley Odum"]);
    let report = studio.audit("boat.png", 1);
    assert_eq!(report["verdict"], "findings");
    assert!(codes(&report).iter().all(|code| *code == "consent_withdrawn"));
    assert_eq!(codes(&report).len(), images.len());

    // What a website leaves of it: pixels. They are known, and what was said of them is missed.
    let bare = image::open(studio.path("boat.png")).unwrap().to_rgb8();
    bare.save(studio.path("bare.png")).unwrap();
    let report = studio.audit("bare.png", 1);
    assert_eq!(codes(&report)[0], "label_removed");
    assert_eq!(report["images"].as_array().unwrap().len(), images.len());
}

/// Readers that are not this program, where they are installed.
fn outside(studio: &Studio) {
    let pem = studio.done(&["key", "certificate", "my.key"]);
    std::fs::write(studio.path("my.pem"), pem).unwrap();
    let tool = std::env::var("C2PATOOL").unwrap_or_else(|_| "c2patool".to_owned());
    let tool = Some(tool).filter(|tool| Command::new(tool).arg("--version").output().is_ok());
    for name in ["a.png", "a.jpg", "a.webp"] {
        let Some(tool) = &tool else { break };
        let read = |more: &[&str]| -> Value {
            let out = Command::new(tool)
                .current_dir(studio.0.path())
                .arg(name)
                .args(more)
                .output()
                .unwrap();
            serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        assert_eq!(read(&[])["validation_state"], "Valid", "{name}");
        let listed = read(&["trust", "--trust_anchors", "my.pem"]);
        assert_eq!(
            listed["validation_state"], "Trusted",
            "{name}: {}",
            listed["validation_status"]
        );
    }
    for name in ["a.png", "a.jpg", "a.webp"] {
        let Ok(out) = Command::new("exiftool")
            .current_dir(studio.0.path())
            .args(["-j", "-G1", name])
            .output()
        else {
            break;
        };
        let found: Value = serde_json::from_slice(&out.stdout).unwrap();
        let field = |name: &str| found[0][name].as_str().unwrap_or_default();
        assert!(
            field("XMP-iptcExt:AISystemUsed").starts_with("assent; base sha256:"),
            "{name}"
        );
        assert_eq!(field("XMP-iptcExt:AIPromptInformation"), "a red boat");
        assert_eq!(field("XMP-iptcExt:AISystemVersionUsed"), env!("CARGO_PKG_VERSION"));
        assert!(field("XMP-iptcExt:DigitalSourceType").ends_with("/trainedAlgorithmicMedia"));
        assert_eq!(found[0]["XMP-dc:Creator"], Value::Null);
    }
}

#[test]
fn without_a_key_the_label_is_there_and_a_sentence_says_how_to_sign() {
    let studio = Studio::new();
    let out = studio.generate(&[
        "--mark",
        "--creator",
        "Ann",
        "--prompt-writer",
        "Bea",
        "-o",
        "marked.png",
    ]);
    assert!(out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("`--key FILE` signs with it"));
    let report = studio.audit("marked.png", 1);
    assert_eq!(codes(&report), ["label_unsigned"]);
    assert_eq!(
        (&report["picture"]["mark"], &report["picture"]["signature"]),
        (&Value::Bool(true), &Value::Null)
    );
    assert_eq!(report["picture"]["label"]["creator"], "Ann");
    let marked = image::open(studio.path("marked.png")).unwrap();
    assert_eq!((marked.width(), marked.height()), (123, 64 + 82));

    // The visible part alone can be switched off.
    assert!(
        studio
            .generate(&["-q", "--mark", "--no-label", "-o", "plain.png"])
            .status
            .success()
    );
    let plain = studio.audit("plain.png", 1);
    assert_eq!(
        (codes(&plain), plain["picture"]["mark"].as_bool()),
        (vec!["label_unsigned"], Some(false))
    );
    assert_eq!(image::open(studio.path("plain.png")).unwrap().height(), 64);

    // Anybody's picture without a label.
    image::RgbImage::new(8, 8).save(studio.path("other.png")).unwrap();
    assert_eq!(codes(&studio.audit("other.png", 1)), ["label_missing"]);
    let page = studio.run(&["audit", "marked.png", "--html", "page.html"]);
    assert_eq!(page.status.code(), Some(1));
    let text = String::from_utf8(page.stdout).unwrap();
    assert!(text.contains("label_unsigned") && text.contains("by nobody"), "{text}");
    let page = std::fs::read_to_string(studio.path("page.html")).unwrap();
    assert!(page.contains("label_unsigned") && page.contains("a red boat"));
}

#[test]
fn what_cannot_be_labelled_is_not_drawn_and_leaves_no_file() {
    let studio = Studio::new();
    let before = || std::fs::read_dir(studio.0.path()).unwrap().count();
    let count = before();
    std::fs::write(studio.path("bad.key"), "no key").unwrap();
    let long = "x".repeat(40_000);
    for (arguments, says) in [
        (["-o", "a.gif", "-q"].as_slice(), ".png, .jpg, .jpeg or .webp"),
        (&["-o", "a.png", "--key", "bad.key"], "holds no key"),
        (&["-o", "a.jpg", "--negative-prompt", &long], "give shorter prompts"),
        (&["-o", "nowhere/a.png"], "cannot write the picture"),
    ] {
        let out = studio.generate(arguments);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
    }
    assert_eq!(before(), count + 1, "only the key that is none was added");
}

/// A picture and a label that no program's version and no machine changes.
fn fixed() -> (image::RgbImage, Label, SecretKey) {
    let label = Label {
        program: "assent 1.2.3".into(),
        created_at: "2026-11-22T12:00:00Z".parse().unwrap(),
        prompt: "a (red:1.3) boat, \"Anna\" & <sea>".into(),
        negative_prompt: "blur".into(),
        clip_skip: Some(2),
        sampler: "dpmpp_2m".into(),
        steps: 30,
        cfg: 7.5,
        seed: 1_234_567_890_123,
        rng: None,
        strength: None,
        denoise: None,
        start: None,
        size: [96, 64],
        base: Sha256Digest::of_bytes(b"base"),
        vae: None,
        adapters: vec![UsedAdapter {
            sha256: Sha256Digest::of_bytes(b"adapter"),
            receipt: Some(Sha256Digest::of_bytes(b"receipt")),
            snapshot: Some(Sha256Digest::of_bytes(b"snapshot")),
            further: Vec::new(),
            weight: 0.8,
            clip_weight: None,
        }],
        digital_source_type: TRAINED.into(),
        creator: Some("Ann Example".into()),
        prompt_writer: Some("Bea Example".into()),
        mark: true,
    };
    let image = image::RgbImage::from_fn(96, 64, |x, y| image::Rgb([(x * 2) as u8, (y * 4) as u8, 128]));
    (image, label, SecretKey::from_random(&[42; 32]))
}

#[test]
fn readers_of_others_took_what_is_still_written() {
    let (image, label, key) = fixed();
    // The script sets this to write the files anew, and then asks the others.
    let anew = std::env::var_os("ASSENT_LABEL_FIXTURES").map(PathBuf::from);
    let folder = anew
        .clone()
        .unwrap_or_else(|| Path::new(ROOT).join("tests/fixtures/label"));
    let write = |name: &str, bytes: &[u8]| anew.as_ref().map(|to| std::fs::write(to.join(name), bytes).unwrap());
    write("certificate.pem", key.certificate_pem().unwrap().as_bytes());
    for (name, format) in [
        ("drawn.png", Format::Png),
        ("drawn.jpg", Format::Jpeg),
        ("drawn.webp", Format::WebP),
    ] {
        let bytes = label::encode(&image, &label, format, Some(&key)).unwrap();
        write(name, &bytes);
        let recorded = std::fs::read(folder.join(name)).unwrap();
        assert!(bytes == recorded, "{name} is another: run scripts/fixtures/label.sh");
        if anew.is_some() {
            continue;
        }
        let said = |by: &str| -> Value {
            let text = std::fs::read_to_string(folder.join(format!("{name}.{by}.json"))).unwrap();
            serde_json::from_str(&text).unwrap()
        };
        let c2pa = said("c2patool");
        assert_eq!(
            c2pa["validation_state"], "Trusted",
            "{name}, with its certificate on the list"
        );
        let manifest = &c2pa["manifests"][c2pa["active_manifest"].as_str().unwrap()];
        let relations = manifest["ingredients"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| (&i["title"], &i["relationship"]));
        assert_eq!(
            relations
                .map(|(title, relation)| format!("{title} {relation}"))
                .collect::<Vec<_>>(),
            ["\"base model\" \"inputTo\"", "\"LoRA adapter\" \"inputTo\""]
        );
        let assertion = |label: &str| {
            let all = manifest["assertions"].as_array().unwrap();
            all.iter().find(|a| a["label"] == label).unwrap()["data"].clone()
        };
        let action = &assertion("c2pa.actions.v2")["actions"][0];
        assert_eq!(
            (&action["action"], &action["digitalSourceType"]),
            (&"c2pa.created".into(), &TRAINED.into())
        );
        assert_eq!(
            assertion("assent.label")["adapters"][0]["receipt"],
            Sha256Digest::of_bytes(b"receipt").to_string()
        );

        let exif = said("exiftool");
        let field = |name: &str| exif[0][name].as_str().unwrap_or_default().to_owned();
        assert_eq!(field("XMP-iptcExt:DigitalSourceType"), TRAINED);
        assert_eq!(field("XMP-iptcExt:AISystemVersionUsed"), "1.2.3");
        assert!(field("XMP-iptcExt:AISystemUsed").contains(&Sha256Digest::of_bytes(b"adapter").to_string()));
        assert_eq!(field("XMP-iptcExt:AIPromptWriterName"), "Bea Example");
        assert_eq!(
            field("XMP-iptcExt:AIPromptInformation"),
            "a (red:1.3) boat, \"Anna\" & <sea>\nNegative prompt: blur"
        );
        assert_eq!(field("XMP-dc:Creator"), "Ann Example");
        let parameters = if format == Format::Png {
            "PNG:Parameters"
        } else {
            "ExifIFD:UserComment"
        };
        assert!(
            field(parameters).contains("\nSteps: 30, Sampler: dpmpp_2m, CFG scale: 7.5, Seed: 1234567890123, "),
            "{name}"
        );
    }
}
