//! Documents that `assent document` writes, checked by the validators of those who read them: mlcroissant, the schema of
//! CycloneDX, the bindings of SPDX, model-signing and huggingface_hub.
//!
//! Needs Python with the packages in `tests/interop/requirements.txt` (`ASSENT_PYTHON` names the interpreter). Where
//! they are missing the test says so loudly and passes, unless `ASSENT_REQUIRE_PYTHON` is set, as `.ci/run` does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "support/python.rs"]
mod support;
#[path = "audit/world.rs"]
#[allow(dead_code)]
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use p256::pkcs8::{EncodePrivateKey, EncodePublicKey, LineEnding};
use world::World;

const KINDS: [&str; 4] = ["croissant", "cyclonedx", "spdx", "model-card"];
/// What only a provider knows, and what nobody should say.
const TOLD: [&str; 9] = [
    "--names",
    "--provider",
    "Studio \"Ü\" <b>",
    "--url",
    "https://example.org/rings",
    "--license",
    "CC-BY-4.0",
    "--base",
    "example/base",
];

fn run(world: &World, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .current_dir(world.folder.path())
        .env("ASSENT_NOW", "2026-11-22T03:00:00Z")
        .env_remove("ASSENT_REGISTRY")
        .arg("document")
        .args(arguments)
        .output()
        .unwrap()
}

/// Writes a document, and gives its file.
fn write(world: &World, name: &str, arguments: &[&str]) -> PathBuf {
    let output = run(world, &[arguments, &["-q", "-o", name]].concat());
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {says}");
    world.folder.path().join(name)
}

fn check(python: &str, kind: &str, files: &[PathBuf]) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/check_documents.py");
    let output = Command::new(python).arg(script).arg(kind).args(files).output().unwrap();
    let says = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), says)
}

#[test]
fn the_validators_accept_every_document_and_refuse_damaged_ones() {
    let modules = "mlcroissant, cyclonedx.validation.json, spdx_python_model, huggingface_hub";
    let Some(python) = support::python_with(modules) else {
        return;
    };
    let world = World::new();
    for kind in KINDS {
        let mut files = vec![
            write(&world, &format!("{kind}.1"), &[kind, "adapter.safetensors"]),
            write(
                &world,
                &format!("{kind}.2"),
                &[&[kind, "adapter.safetensors"], TOLD.as_slice()].concat(),
            ),
        ];
        if kind != "model-card" {
            files.push(write(&world, &format!("{kind}.3"), &[kind, "set"]));
        }
        if kind != "croissant" {
            let elsewhere = [kind, "adapter.safetensors", "--registry", "none.db"];
            files.push(write(&world, &format!("{kind}.4"), &elsewhere));
        }
        let (valid, says) = check(&python, kind, &files);
        print!("{says}");
        assert!(valid, "{says}");

        // Each a fault that its validator is there to find.
        let (from, to) = match kind {
            "croissant" => ("\"images/sha256\": \"", "\"images/sha1\": \""),
            "cyclonedx" => ("\"alg\": \"SHA-256\"", "\"alg\": \"SHA-257\""),
            "spdx" => (
                "\"relationshipType\": \"trainedOn\"",
                "\"relationshipType\": \"heardOf\"",
            ),
            _ => ("library_name: diffusers", "library_name: {diffusers"),
        };
        let text = fs::read_to_string(&files[0]).unwrap();
        assert!(text.contains(from), "{kind}: {text}");
        let damaged = world.folder.path().join("damaged");
        fs::write(&damaged, text.replacen(from, to, 1)).unwrap();
        let (valid, says) = check(&python, kind, &[damaged]);
        assert!(!valid && says.contains("refused"), "{kind}: {says}");
    }
}

#[test]
fn model_signing_accepts_a_signature_and_no_other_file_or_key() {
    let Some(python) = support::python_with("model_signing") else {
        return;
    };
    let world = World::new();
    let at = |name: &str| world.folder.path().join(name);
    for (name, byte) in [("ours", 7), ("other", 8)] {
        let key = p256::SecretKey::from_slice(&[byte; 32]).unwrap();
        fs::write(at(&format!("{name}.key")), key.to_pkcs8_pem(LineEnding::LF).unwrap()).unwrap();
        let public = key.public_key().to_public_key_pem(LineEnding::LF).unwrap();
        fs::write(at(&format!("{name}.pem")), public).unwrap();
    }
    let verify = |model: &str, signature: &str, key: &str| {
        let output = Command::new(&python)
            .args(["-m", "model_signing", "verify", "key"])
            .arg(at(model))
            .arg("--signature")
            .arg(at(signature))
            .arg("--public_key")
            .arg(at(key))
            .output()
            .unwrap();
        let says = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        println!("{model} {key}: {}", says.trim_end());
        assert_eq!(
            output.status.success(),
            says.contains("Verification succeeded"),
            "{says}"
        );
        says
    };

    // One file.
    let sign = ["model-signing", "adapter.safetensors", "--key", "ours.key"];
    let signature = write(&world, "adapter.sig", &sign);
    assert_eq!(
        fs::read(&signature).unwrap(),
        fs::read(write(&world, "again.sig", &sign)).unwrap()
    );
    assert!(verify("adapter.safetensors", "adapter.sig", "ours.pem").contains("succeeded"));
    assert!(verify("adapter.safetensors", "adapter.sig", "other.pem").contains("Key mismatch"));

    // A folder, with its signature in it.
    fs::create_dir_all(at("published/docs")).unwrap();
    fs::copy(at("adapter.safetensors"), at("published/adapter.safetensors")).unwrap();
    fs::write(at("published/docs/README.md"), "# rings").unwrap();
    write(
        &world,
        "published/model.sig",
        &["model-signing", "published", "--key", "ours.key"],
    );
    assert!(verify("published", "published/model.sig", "ours.pem").contains("succeeded"));
    fs::write(at("published/docs/README.md"), "# wings").unwrap();
    assert!(verify("published", "published/model.sig", "ours.pem").contains("Hash mismatch for 'docs/README.md'"));

    // A changed adapter fits its signature no more, and is not signed again.
    let mut bytes = fs::read(at("adapter.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(at("adapter.safetensors"), bytes).unwrap();
    assert!(verify("adapter.safetensors", "adapter.sig", "ours.pem").contains("Hash mismatch for '.'"));
    let refused = run(&world, &sign);
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        refused.status.code() == Some(2) && says.contains("tensors_changed"),
        "{says}"
    );
}

#[test]
fn no_document_names_a_path_or_anybody_unasked() {
    let world = World::new();
    let folder = world.folder.path().display().to_string();
    for kind in ["croissant", "cyclonedx", "spdx", "model-card", "eu-summary"] {
        let bare = fs::read_to_string(write(&world, "bare", &[kind, "adapter.safetensors"])).unwrap();
        assert!(!bare.contains(&folder), "{kind}");
        for word in ["Ann", "Bea", "a drawing", "example.org"] {
            // Words of the formats' own, such as `Annotation`, are not names.
            let own = bare.replace("Annotation", "").replace("annotation", "");
            assert!(!own.contains(word), "{kind} says `{word}`: {bare}");
        }
        let named = [&[kind, "adapter.safetensors"], TOLD.as_slice()].concat();
        assert!(
            !fs::read_to_string(write(&world, "named", &named))
                .unwrap()
                .contains(&folder),
            "{kind}"
        );
    }
    let named = fs::read_to_string(write(&world, "named", &["croissant", "set", "--names"])).unwrap();
    assert!(named.contains("Ann") && named.contains("a drawing, a1.png"));
}

#[test]
fn what_cannot_be_written_is_refused_with_a_hint() {
    let world = World::new();
    for (arguments, expected) in [
        (vec!["croissant", "nothing"], "expected a snapshot or an adapter"),
        (
            vec!["model-card", "set"],
            "expected an adapter to write a model card on",
        ),
        (
            vec!["croissant", "adapter.safetensors", "--registry", "none.db"],
            "a snapshot of this registry",
        ),
        (
            vec!["spdx", "set", "--license", "free for all"],
            "expected a licence as an SPDX expression",
        ),
        (vec!["model-signing", "set", "--key", "none.pem"], "expected an adapter"),
        (
            vec!["model-signing", "adapter.safetensors"],
            "expected a key to sign with",
        ),
    ] {
        let output = run(&world, &arguments);
        let says = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {says}");
        assert!(says.contains(expected), "{arguments:?}: {says}");
    }
}
