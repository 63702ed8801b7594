//! The rooms of `src/` use each other in one direction only: a table, and what the sources say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Room → the rooms it may use. `*`: all.
const ARROWS: &[(&str, &[&str])] = &[
    ("digest", &[]),
    ("consent", &["digest"]),
    ("signals", &["digest", "consent"]),
    ("fingerprint", &[]),
    ("keys", &["digest"]),
    ("pixels", &[]),
    ("log", &["digest", "keys"]),
    (
        "registry",
        &["digest", "consent", "signals", "fingerprint", "keys", "log"],
    ),
    (
        "ingest",
        &["digest", "consent", "signals", "fingerprint", "pixels", "registry"],
    ),
    ("snapshot", &["registry", "consent", "digest", "keys"]),
    ("names", &[]),
    ("model", &["kernels", "names"]),
    ("kernels", &[]),
    // Of `adapter` only the plain values that a file holds.
    ("lora", &["model", "kernels", "adapter"]),
    ("adapter", &["digest", "names"]),
    (
        "train",
        &[
            "snapshot", "pixels", "model", "lora", "kernels", "digest", "adapter", "receipt", "consent", "keys",
            // The sample pictures and the loss curve that a run leaves.
            "generate", "sheet",
        ],
    ),
    ("generate", &["model", "lora", "kernels"]),
    ("label", &["digest", "keys", "signals", "sheet", "pixels"]),
    ("receipt", &["digest", "consent", "snapshot", "adapter", "keys"]),
    (
        "audit",
        &[
            "receipt", "adapter", "snapshot", "registry", "consent", "digest", "label", "keys", "sheet",
            // Small copies of the images, where they are asked for.
            "pixels", // The order of what was logged, against its times.
            "log",
        ],
    ),
    // Plain values of what they name; of `snapshot` also its safe Markdown, of `sheet` its safe HTML.
    ("documents", &["digest", "snapshot", "receipt", "keys", "sheet"]),
    (
        "measure",
        &["audit", "digest", "fingerprint", "generate", "model", "pixels", "train"],
    ),
    ("sheet", &[]),
    ("workflow", &[]),
    ("imports", &[]),
    ("cli", &["*"]),
];

/// Crate → the only rooms that may name it.
const CRATES: &[(&str, &[&str])] = &[
    ("rusqlite", &["registry"]),
    ("ed25519_dalek", &["keys"]),
    ("p256", &["keys"]),
    ("pkcs8", &["keys"]),
    ("rpassword", &["cli"]),
    ("c2pa", &["signals", "label"]),
    (
        "burn",
        &["model", "kernels", "lora", "train", "generate", "measure", "cli"],
    ),
    (
        "burn_autodiff",
        &["model", "kernels", "lora", "train", "generate", "measure", "cli"],
    ),
    (
        "burn_flex",
        &["model", "kernels", "lora", "train", "generate", "measure", "cli"],
    ),
    ("nalgebra", &["adapter"]),
    ("clap", &["cli"]),
    ("anyhow", &["cli"]),
    ("indicatif", &["cli"]),
    ("sysinfo", &["cli"]),
    ("fs4", &["cli"]),
    ("prost", &["train"]),
    ("comfy_table", &["cli"]),
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every file of every room, without comments.
fn rooms() -> BTreeMap<String, Vec<(PathBuf, String)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    let mut rooms: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for path in files {
        let inside = path.strip_prefix(&root).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let room = first.trim_end_matches(".rs").to_string();
        if room == "main" || room == "lib" {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default());
        rooms
            .entry(room)
            .or_default()
            .push((inside.to_path_buf(), code.collect::<Vec<_>>().join("\n")));
    }
    rooms
}

/// The rooms that a text names after `crate::`, in paths and in groups: `crate::a::B`, `use crate::{a::B, c}`.
fn used(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        // `$crate::` in a macro is the same; `other_crate::` is not.
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        if !rest.starts_with('{') {
            rooms.insert(word(rest));
            continue;
        }
        let (mut depth, mut start) = (0, true);
        for (place, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
            if depth == 1 && start && (c.is_alphabetic() || c == '_') {
                rooms.insert(word(&rest[place..]));
                start = false;
            }
            start |= depth == 1 && (c == ',' || place == 0);
        }
    }
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// Whether a text names a crate: in a path or in a `use`.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at]
            .chars()
            .next_back()
            .is_none_or(|c| !(c.is_alphanumeric() || c == '_' || c == ':'));
        let import = code[..at].ends_with("use ");
        let after = &code[at + name.len()..];
        before && (after.starts_with("::") || (import && after.starts_with(';')))
    })
}

#[test]
fn arrows_go_one_way() {
    let rooms = rooms();
    let mut wrong = Vec::new();
    for (room, files) in &rooms {
        let Some((_, may)) = ARROWS.iter().find(|(known, _)| known == room) else {
            wrong.push(format!("`{room}` is in no line of the table"));
            continue;
        };
        for (path, code) in files {
            for other in used(code) {
                let allowed = other == *room || may.contains(&"*") || may.contains(&other.as_str());
                if rooms.contains_key(&other) && !allowed {
                    wrong.push(format!("{}: `{room}` may not use `{other}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn crates_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for (room, files) in rooms() {
        for (path, code) in files {
            for (name, may) in CRATES {
                if names(&code, name) && !may.contains(&room.as_str()) {
                    wrong.push(format!("{}: `{room}` may not use the crate `{name}`", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    // Walks down from each room; reaching it again would be a circle.
    fn reaches(from: &str, goal: &str, seen: &mut BTreeSet<String>) -> bool {
        let may = ARROWS
            .iter()
            .find(|(room, _)| *room == from)
            .map(|(_, may)| *may)
            .unwrap_or_default();
        may.iter()
            .any(|next| *next == goal || (seen.insert(next.to_string()) && reaches(next, goal, seen)))
    }
    for (room, _) in ARROWS.iter().filter(|(room, _)| *room != "cli") {
        assert!(!reaches(room, room, &mut BTreeSet::new()), "`{room}` reaches itself");
    }
}

#[test]
fn the_reader_of_sources_reads() {
    let code = "use crate::{digest::{Sha256Digest, merkle}, consent, registry::Registry};\nlet x = crate::model::X;";
    assert_eq!(
        used(code).into_iter().collect::<Vec<_>>(),
        ["consent", "digest", "model", "registry"]
    );
    assert!(used("other_crate::model").is_empty());
    assert!(names("use rusqlite::Connection;", "rusqlite") && names("let a = burn::x();", "burn"));
    assert!(!names("use burning::x;", "burn") && !names("let burn = 1;", "burn") && !names("a::burn::c", "burn"));
}
