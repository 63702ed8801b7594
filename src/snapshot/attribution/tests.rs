use std::path::Path;

use jiff::Timestamp;

use super::*;
use crate::consent::Policy;
use crate::digest::PixelDigest;
use crate::registry::{NewImage, NewLocation};
use crate::snapshot::{Selection, create, import};

const POLICY: &str = "name = \"p\"\npurpose = \"ai_generative_training\"\n\
    [licenses.accept]\n\"CC0-1.0\" = []\n\"CC-BY-SA-4.0\" = [\"attribution\", \"share_alike\"]\n";

fn add(registry: &mut Registry, folder: &Path, name: &str, credit: Credit, license: &str) {
    let path = folder.join(name);
    std::fs::write(&path, name).unwrap();
    let sha256 = Sha256Digest::of_bytes(name.as_bytes());
    let image = NewImage {
        sha256,
        pixels: PixelDigest::from_bytes(*sha256.as_bytes()),
        width: 1,
        height: 1,
        format: "png".into(),
        bytes: 1,
        fingerprint: None,
        location: NewLocation {
            path,
            source: credit.source,
            collection: None,
            notices: credit.notices,
            title: credit.title,
            caption: None,
            artists: credit.authors,
            licenses: vec![(license.to_string(), "reuse".to_string())],
            ai_generated: false,
            needs_review: Vec::new(),
            claims: Vec::new(),
            size: 1,
            modified: 0,
            context: sha256,
        },
    };
    registry.add_images(&[image], Timestamp::UNIX_EPOCH).unwrap();
}

fn credit(title: &str, authors: &[&str], source: &str) -> Credit {
    Credit {
        title: (!title.is_empty()).then(|| title.to_string()),
        authors: authors.iter().map(|name| name.to_string()).collect(),
        source: (!source.is_empty()).then(|| source.to_string()),
        notices: Vec::new(),
    }
}

/// A work of two hands, each with a notice.
fn boat() -> Credit {
    Credit {
        notices: vec!["2026 Ana Vale".to_string(), "2025 Mira".to_string()],
        ..credit("Boat", &["Ana Vale", "Mira"], "javascript:x")
    }
}

/// Three works of two licences, one with names that try to be markup.
fn world(folder: &Path) -> (Registry, Document) {
    let mut registry = Registry::in_memory().unwrap();
    let hostile = credit(
        "<script>alert(1)</script> [x](javascript:y)\n# *",
        &["Eve \"E\" & <b>"],
        "https://a.org/<x>?q=\")&r",
    );
    add(&mut registry, folder, "a.png", hostile, "CC-BY-SA-4.0");
    add(&mut registry, folder, "b.png", boat(), "CC-BY-SA-4.0");
    add(
        &mut registry,
        folder,
        "c.png",
        credit("", &[], "https://a.org/c"),
        "CC0-1.0",
    );
    let policy = Policy::parse(POLICY).unwrap();
    let document = create(
        &mut registry,
        "set",
        &policy,
        &Selection::default(),
        Timestamp::UNIX_EPOCH,
    )
    .unwrap();
    (registry, document)
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/attributions")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap(), "{name}");
}

#[test]
fn each_format_is_what_it_was_and_holds_no_markup_of_strangers() {
    let folder = tempfile::tempdir().unwrap();
    let (registry, _) = world(folder.path());
    let found = attributions(&registry, "set").unwrap();
    let (text, html, markdown) = (
        found.render(Format::Text),
        found.render(Format::Html),
        found.render(Format::Markdown),
    );
    assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains("href=\"javascript"));
    let unescaped = markdown.replace("\\<", "").replace("\\]", "");
    assert!(!unescaped.contains("<script") && !unescaped.contains("](javascript"));
    golden("set.txt", &text);
    golden("set.html", &html);
    golden("set.md", &markdown);
}

#[test]
fn names_stay_as_they_were_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let (mut registry, _) = world(folder.path());
    let before = attributions(&registry, "set").unwrap();
    assert_eq!((before.not_frozen(), before.unnamed()), (0, 0));
    add(
        &mut registry,
        folder.path(),
        "b.png",
        credit("Ship", &["Somebody"], ""),
        "CC-BY-SA-4.0",
    );
    let after = attributions(&registry, "set").unwrap();
    assert_eq!(before, after);
    assert!(crate::snapshot::verify(&registry, "set", Timestamp::UNIX_EPOCH).is_ok());
}

#[test]
fn a_snapshot_from_a_file_takes_names_from_the_registry_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (_, document) = world(folder.path());
    let text = serde_json::to_string(&document).unwrap();
    assert!(!text.contains("Ana Vale"), "a document holds no names: {text}");
    let mut elsewhere = Registry::in_memory().unwrap();
    import(&mut elsewhere, &document).unwrap();
    let unknown = attributions(&elsewhere, "set").unwrap();
    assert_eq!((unknown.not_frozen(), unknown.unnamed()), (3, 2));
    assert!(
        unknown
            .render(Format::Text)
            .contains("Names of 3 of 3 works are those known now")
    );
    add(&mut elsewhere, folder.path(), "b.png", boat(), "CC0-1.0");
    let same = attributions(&elsewhere, "set").unwrap();
    assert_eq!(
        same.not_frozen(),
        2,
        "the digest says that these are the names that were frozen"
    );
}

#[test]
fn a_document_without_credits_keeps_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let (_, mut document) = world(folder.path());
    document.members.iter_mut().for_each(|member| member.credit = None);
    assert!(!serde_json::to_string(&document).unwrap().contains("credit"));
    let mut registry = Registry::in_memory().unwrap();
    import(&mut registry, &document).unwrap();
    assert_eq!(Document::of(&registry, "set").unwrap(), document);
}

#[test]
fn licences_have_one_address() {
    for (id, url) in [
        ("CC0-1.0", Some("https://creativecommons.org/publicdomain/zero/1.0/")),
        ("CC-PDM-1.0", Some("https://creativecommons.org/publicdomain/mark/1.0/")),
        ("CC-BY-4.0", Some("https://creativecommons.org/licenses/by/4.0/")),
        (
            "CC-BY-NC-SA-3.0",
            Some("https://creativecommons.org/licenses/by-nc-sa/3.0/"),
        ),
        ("CC-BY-3.0-DE", Some("https://creativecommons.org/licenses/by/3.0/de/")),
        ("CC-PDDC", Some("https://spdx.org/licenses/CC-PDDC.html")),
        ("MIT", Some("https://spdx.org/licenses/MIT.html")),
        ("LicenseRef-Public-Domain", None),
        ("\"><script>", None),
    ] {
        assert_eq!(license_url(id).as_deref(), url, "{id}");
    }
}
