//! The transparency log from end to end: appended to by itself, published, read by another program, kept against swaps.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assent::digest::Sha256Digest;
use assent::keys::SecretKey;
use assent::registry::{NewAdapter, Registry, Role, TrainedOn};
use rusqlite::Connection;

struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// A registry with a log of so many adapters, and a key.
    fn new(adapters: u32) -> World {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
        };
        for (name, byte) in [("log", 3), ("other", 4)] {
            let key = SecretKey::from_random(&[byte; 32]);
            key.write_new(&world.path(&format!("{name}.key")), None).unwrap();
            std::fs::write(world.path(&format!("{name}.pem")), key.public().to_pem().unwrap()).unwrap();
        }
        world.add(0..adapters);
        world
    }

    fn add(&self, adapters: std::ops::Range<u32>) {
        let mut registry = Registry::open(&self.path("assent.db")).unwrap();
        for number in adapters {
            let adapter = NewAdapter {
                sha256: Sha256Digest::of_bytes(&number.to_be_bytes()),
                tensors: Sha256Digest::of_bytes(b"tensors"),
                run: None,
                trained_on: vec![TrainedOn {
                    root: Sha256Digest::of_bytes(b"root"),
                    role: Role::Training,
                }],
                path: "/adapter.safetensors".into(),
            };
            registry
                .add_adapter(&adapter, "2026-01-01T00:00:00Z".parse().unwrap())
                .unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &str) -> (i32, String) {
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_assent"))
            .current_dir(self.folder.path())
            .env_remove("ASSENT_KEY")
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
        (status.code().unwrap(), text)
    }

    fn tamper(&self, sql: &str) {
        Connection::open(self.path("assent.db"))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    }
}

fn digest(number: u32) -> String {
    Sha256Digest::of_bytes(&number.to_be_bytes()).to_string()
}

#[test]
fn another_program_reads_what_is_published() {
    let world = World::new(300);
    let (code, said) = world.run("log export site --key log.key --origin example.org/log --json");
    assert_eq!(code, 0, "{said}");
    let export: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&export["size"], &export["written"]), (&300.into(), &5.into()));
    let (code, said) = world.run(&format!("log prove {} --key log.key -o p.tlog-proof", digest(277)));
    assert_eq!(code, 0, "{said}");
    // The same log grown: full tiles stay, the folder gets what is new.
    let keep = world.path("old");
    std::fs::copy(world.path("site/checkpoint"), &keep).unwrap();
    world.add(300..520);
    let (code, said) = world.run("log export site --key log.key --json");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\"kept\":2"), "{said}");
    let (code, said) = world.run("log continue old --key log.key -o grown");
    assert_eq!(code, 0, "{said}");
    let (code, said) = world.run("--registry none.db log check grown --head old --key log.pem");
    assert_eq!((code, said.contains("of 520 entries continues")), (0, true), "{said}");
    let (code, said) = world.run(&format!(
        "--registry none.db log check p.tlog-proof --key log.pem --about {}",
        digest(277)
    ));
    assert_eq!((code, said.contains("of 300 entries")), (0, true), "{said}");
    for wrong in [
        format!("log check p.tlog-proof --key log.pem --about {}", digest(1)),
        "log check p.tlog-proof --key other.pem".to_string(),
        "log check grown --head old --key other.pem".to_string(),
        "log check grown --head site/checkpoint --key log.pem".to_string(),
    ] {
        let (code, said) = world.run(&wrong);
        assert_eq!((code, said.contains("shows nothing")), (1, true), "{wrong}: {said}");
    }
    let Some(python) = python::python_with("cryptography") else {
        return;
    };
    // Partial tiles of the smaller log may stay; the reader counts files, so it gets a folder of its own.
    let (code, said) = world.run("log export fresh --key log.key --json");
    assert_eq!(code, 0, "{said}");
    let export: serde_json::Value = serde_json::from_str(&said).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/read_log.py");
    let read = |folder: &str| {
        Command::new(&python)
            .arg(&script)
            .args([
                world.path(folder),
                export["verifier_key"].as_str().unwrap().into(),
                world.path("p.tlog-proof"),
            ])
            .output()
            .unwrap()
    };
    let Output { status, stdout, stderr } = read("fresh");
    let (said, why) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{why}");
    assert!(
        said.starts_with(&format!("520 {}", export["root"].as_str().unwrap())),
        "{said}"
    );
    assert!(said.contains(&digest(277)), "{said}");
    let tile = world.path("fresh/tile/0/001");
    let mut bytes = std::fs::read(&tile).unwrap();
    bytes[77] ^= 1;
    std::fs::write(&tile, bytes).unwrap();
    assert!(!read("fresh").status.success(), "a changed tile is seen by it too");
    let (code, said) = world.run("log export fresh --key log.key");
    assert_eq!((code, said.contains("another log's tile")), (1, true), "{said}");
}

#[test]
fn what_is_swapped_later_is_found() {
    let free =
        "DROP TRIGGER log_entries_no_update; DROP TRIGGER log_entries_no_delete; DROP TRIGGER log_heads_no_delete;";
    // A row without its entry, an entry without its row, a cut end, a swapped entry under a head that was signed.
    for (sql, found) in [
        (
            "UPDATE adapters SET sha256 = zeroblob(32) WHERE id = 3",
            "is not in the log as it is here",
        ),
        (
            "UPDATE adapters SET tensors = zeroblob(32) WHERE id = 3",
            "is not here any more",
        ),
        (
            "DELETE FROM log_entries WHERE place = 9",
            "9 entries were written, 8 are there",
        ),
        (
            "UPDATE log_entries SET entry = x'7b7d' WHERE place = 2",
            "entry 1: expected",
        ),
    ] {
        let world = World::new(9);
        let (code, said) = world.run("log verify");
        assert_eq!((code, said.contains("the log holds: 9 entries")), (0, true), "{said}");
        world.tamper(&format!("{free} {sql}"));
        let (code, said) = world.run("log verify");
        assert_eq!((code, said.contains(found)), (1, true), "{sql}: {said}");
        let (code, said) = world.run("log head --key log.key");
        assert_eq!((code, said.contains("nothing was signed")), (1, true), "{sql}: {said}");
    }
    // Whoever rewrites entry and row alike is found by the head that is kept here, and by one kept elsewhere.
    let world = World::new(9);
    assert_eq!(world.run("log head --key log.key -o kept").0, 0);
    assert_eq!(world.run("log verify --head kept --key log.pem").0, 0);
    let other = Sha256Digest::of_bytes(b"another");
    world.tamper(&format!(
        "{free} UPDATE log_entries SET entry = CAST(replace(CAST(entry AS TEXT), '{}', '{other}') AS BLOB);
         UPDATE adapters SET sha256 = x'{other}' WHERE sha256 = x'{}'",
        digest(4),
        digest(4)
    ));
    let (code, said) = world.run("log verify");
    assert_eq!(
        (code, said.contains("the head of 9 entries that was signed")),
        (1, true),
        "{said}"
    );
    world.tamper("DELETE FROM log_heads");
    assert_eq!(world.run("log verify").0, 0, "alone, a rewritten log shows nothing");
    let (code, said) = world.run("log verify --head kept --key log.pem");
    assert_eq!((code, said.contains("it was rewritten")), (1, true), "{said}");
    let (code, said) = world.run("log verify --head kept --key other.pem");
    assert_eq!((code, said.contains("no signature")), (1, true), "{said}");
    let (code, said) = world.run("log continue kept --key log.key");
    assert_eq!((code, said.contains("it was rewritten")), (1, true), "{said}");
    assert_eq!(world.run("log head").0, 2, "a head needs a key");
}
