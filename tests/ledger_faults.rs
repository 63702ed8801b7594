//! The ledger under kills, full disks and hostile files: what was recorded stays, what comes in comes in whole or not.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use assent::consent::{Event, EventKind, Purpose, Said, Target};
use assent::registry::{EntryKind, EventFilter, NewEvent, Registry};

const ENTRIES: usize = 60_000;
const EVENTS: usize = 6_000;

fn assent(registry: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assent"));
    command
        .env_remove("ASSENT_KEY")
        .arg("-q")
        .arg("--registry")
        .arg(registry)
        .args(arguments);
    command
}

/// A registry with one event in it.
fn registry(path: &Path) {
    let mut registry = Registry::open(path).unwrap();
    let event = NewEvent::new(EventKind::OptOut, Some(Target::Artist("Mira Lund".into())));
    registry
        .append_event(&event, "2026-01-01T00:00:00Z".parse().unwrap())
        .unwrap();
}

/// How many events and entries there are; the ledger must be whole.
fn counts(path: &Path) -> (usize, usize) {
    let registry = Registry::open(path).unwrap();
    assert_eq!(registry.verify_ledger().unwrap().problem, None);
    assert_eq!(registry.problems().unwrap(), Vec::<String>::new());
    let events = registry.events(EventFilter::default()).unwrap().len();
    (events, registry.list_entries(EntryKind::Source).unwrap().len())
}

fn list(path: &Path) {
    let mut text = String::from("url\n");
    for number in 0..ENTRIES {
        writeln!(text, "https://host{}.example/{:x}/{number}", number % 97, number * 7919).unwrap();
    }
    std::fs::write(path, text).unwrap();
}

fn events(path: &Path) {
    let mut text = String::new();
    for number in 0..EVENTS {
        let event = Event {
            at: "2025-01-01T00:00:00Z".parse().unwrap(),
            kind: EventKind::OptOut,
            target: Some(Target::Artist(format!("Artist {number}"))),
            aliases: Vec::new(),
            purposes: Purpose::ALL.to_vec(),
            licensee: None,
            until: None,
            evidence: None,
            note: None,
            revokes: None,
            scope: None,
            valid_from: None,
            matters: Vec::new(),
            issued: None,
            imported: false,
            signer: None,
        };
        let said = serde_json::to_string(&Said::of(&event, None)).unwrap();
        writeln!(text, "{{\"said\":{said}}}").unwrap();
    }
    std::fs::write(path, text).unwrap();
}

/// Kills the command at several moments; each time nothing of it is in, or all.
fn killed(path: &Path, arguments: &[&str], nothing: (usize, usize), all: (usize, usize)) {
    for milliseconds in [20, 80, 200, 500, 1100] {
        let mut child = assent(path, arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = counts(path);
        assert!(found == nothing || found == all, "{found:?} after {milliseconds} ms");
    }
    let output = assent(path, arguments).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(counts(path), all);
    // Once more changes nothing.
    assert_eq!(assent(path, arguments).output().unwrap().status.code(), Some(0));
    assert_eq!(counts(path), all);
}

#[test]
fn a_killed_import_is_in_whole_or_not_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("a.db"), folder.path().join("list.csv"));
    registry(&path);
    list(&file);
    killed(
        &path,
        &["opt-out", "--list", file.to_str().unwrap()],
        (1, 0),
        (2, ENTRIES),
    );
    let file = folder.path().join("events.jsonl");
    events(&file);
    killed(
        &path,
        &["ledger", "import", file.to_str().unwrap()],
        (2, ENTRIES),
        (2 + EVENTS, ENTRIES),
    );
}

/// Runs with files limited to so many blocks of 512 bytes: a write beyond fails as on a full disk.
fn on_a_full_disk(path: &Path, blocks: u32, arguments: &[&str]) -> Output {
    let command = assent(path, arguments);
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""))
        .arg("sh");
    shell.arg(command.get_program()).args(command.get_args());
    shell.output().unwrap()
}

#[test]
fn a_full_disk_costs_a_message_and_nothing_that_was_there() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("a.db"), folder.path().join("list.csv"));
    registry(&path);
    list(&file);
    let before = counts(&path);
    let events_file = folder.path().join("events.jsonl");
    events(&events_file);
    for arguments in [
        ["opt-out", "--list", file.to_str().unwrap()],
        ["ledger", "import", events_file.to_str().unwrap()],
    ] {
        let output = on_a_full_disk(&path, 1200, &arguments);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
        assert!(text.starts_with("error: "), "{text}");
        assert_eq!(counts(&path), before, "{arguments:?}");
    }
    assert_eq!(
        assent(&path, &["opt-out", "--list", file.to_str().unwrap()])
            .output()
            .unwrap()
            .status
            .code(),
        Some(0)
    );
    assert_eq!(counts(&path), (2, ENTRIES));
}

#[test]
fn bad_lines_without_end_are_counted_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("a.db"), folder.path().join("list.csv"));
    let mut text = String::from("sha256,artist\n");
    text.push_str(&"zz,\n".repeat(ENTRIES));
    text.push_str(",Mira Lund\n");
    text.push_str(&"\"".repeat(200_000));
    std::fs::write(&file, &text).unwrap();
    let output = assent(&path, &["opt-out", "--list", file.to_str().unwrap()])
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(
        out.contains(&format!("{} lines could not be read", ENTRIES + 1)),
        "{out}"
    );
    assert!(
        err.lines().count() < 30 && err.contains("line 2: expected a SHA-256"),
        "{err}"
    );
    std::fs::write(&file, "sha256\n".to_string() + &"zz\n".repeat(1000)).unwrap();
    let output = assent(&path, &["opt-out", "--list", file.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(counts(&path).0, 1);
}

#[test]
fn a_cut_export_brings_in_what_is_whole_and_the_rest_later() {
    let folder = tempfile::tempdir().unwrap();
    let (path, file) = (folder.path().join("a.db"), folder.path().join("events.jsonl"));
    events(&file);
    let whole = std::fs::read(&file).unwrap();
    std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let run = || {
        assent(&path, &["ledger", "import", file.to_str().unwrap(), "--json"])
            .output()
            .unwrap()
    };
    let output = run();
    assert_eq!(output.status.code(), Some(1));
    let summary = String::from_utf8(output.stdout).unwrap();
    assert!(
        summary.lines().last().unwrap().contains("\"refused\":1"),
        "{summary:.300}"
    );
    let half = counts(&path).0;
    assert!(half > EVENTS / 3 && half < EVENTS);
    std::fs::write(&file, &whole).unwrap();
    assert_eq!(run().status.code(), Some(0));
    assert_eq!(counts(&path).0, EVENTS);
}
