//! Private keys under a passphrase, as people use them: made, used, changed and opened again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn assent(folder: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_assent"))
        .current_dir(folder)
        .env("ASSENT_NOW", "2026-03-01T09:00:00Z")
        .env_remove("ASSENT_KEY")
        .env_remove("ASSENT_KEY_PASSPHRASE_FILE")
        .env_remove("ASSENT_REGISTRY")
        .stdin(Stdio::null())
        .args(arguments.split_whitespace())
        .output()
        .unwrap()
}

#[test]
fn a_passphrase_is_asked_for_wherever_the_key_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let run = |arguments: &str, code: i32| {
        let output = assent(folder.path(), arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments}: {said}");
        (String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    for (name, text) in [
        ("pass", "correct horse\r\nnot this\n"),
        ("other", "battery"),
        ("empty", "\nx"),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    let (public, _) = run("key new me.key --passphrase-file pass", 0);
    assert!(
        std::fs::read_to_string(at("me.key"))
            .unwrap()
            .contains("BEGIN ENCRYPTED PRIVATE KEY")
    );
    assert_eq!(run("key show me.key --passphrase-file pass", 0).0, public);
    for (arguments, says) in [
        ("key show me.key", "is under a passphrase"),
        ("key show me.key --passphrase-file other", "does not open"),
        ("key show me.key --passphrase-file empty", "empty line"),
        (
            "key show me.key --passphrase-file nowhere",
            "cannot read the passphrase",
        ),
        ("key new more.key --passphrase", "no terminal"),
        ("opt-out --artist Ann --key me.key", "is under a passphrase"),
        (
            "opt-out --artist Ann --key me.key --passphrase-file other",
            "does not open",
        ),
    ] {
        let said = run(arguments, 2).1;
        assert!(said.contains(says), "{arguments}: {said}");
    }
    assert!(!at("more.key").exists());
    run("opt-out --artist Ann --key me.key --passphrase-file pass", 0);
    assert!(run("ledger", 0).0.contains("signed"));

    run(
        "key passphrase me.key --passphrase-file pass --new-passphrase-file other",
        0,
    );
    assert!(
        run("key show me.key --passphrase-file pass", 2)
            .1
            .contains("does not open")
    );
    assert_eq!(run("key show me.key --passphrase-file other", 0).0, public);
    run("key passphrase me.key --passphrase-file pass --remove", 2);
    run("key passphrase me.key --passphrase-file other --remove", 0);
    assert_eq!(run("key show me.key", 0).0, public);
    run("key passphrase me.key --new-passphrase-file pass", 0);
    assert_eq!(run("key show me.key --passphrase-file pass", 0).0, public);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(at("me.key")).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
