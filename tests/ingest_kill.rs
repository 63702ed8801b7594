//! `assent ingest` that ends early, killed or for want of room on the disk, loses nothing that was registered before, and
//! run again ends with every picture once.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ops::Range;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use image::{Rgb, RgbImage};

const PICTURES: usize = 600;

fn ingest(registry: &Path, folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assent"));
    command
        .args(["--json", "--registry"])
        .arg(registry)
        .arg("ingest")
        .arg(folder);
    command.stderr(Stdio::null());
    command
}

fn draw(folder: &Path, pictures: Range<usize>) {
    for index in pictures {
        let seed = (index as u32).wrapping_mul(2_654_435) + 1;
        let picture = RgbImage::from_fn(160, 120, |x, y| {
            Rgb([(x.wrapping_mul(seed) % 251) as u8, (y ^ seed) as u8, index as u8])
        });
        picture.save(folder.join(format!("{index}.png"))).unwrap();
    }
}

#[test]
fn a_killed_ingest_is_finished_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pictures");
    std::fs::create_dir(&folder).unwrap();
    draw(&folder, 0..PICTURES);
    let registry = dir.path().join("assent.db");
    // Several moments, so that at least one falls between two batches on a fast machine and on a slow one.
    for milliseconds in [15, 60, 140, 300] {
        let mut child = ingest(&registry, &folder).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let output = ingest(&registry, &folder).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), PICTURES + 1);
    let summary = &lines[PICTURES]["summary"];
    let count = |status: &str| summary[status].as_u64().unwrap() as usize;
    assert_eq!(count("added") + count("known"), PICTURES, "{summary}");
    assert_eq!(count("refused") + count("updated"), 0, "{summary}");

    let known = assent::registry::Registry::open(&registry).unwrap();
    assert_eq!(known.image_count().unwrap() as usize, PICTURES);
    for index in 0..PICTURES {
        let place = known.known_location(&folder.join(format!("{index}.png"))).unwrap();
        assert!(place.is_some(), "{index}.png");
    }
    let again = String::from_utf8(ingest(&registry, &folder).output().unwrap().stdout).unwrap();
    assert!(
        again.lines().last().unwrap().contains(&format!("\"known\":{PICTURES}")),
        "{again}"
    );
}

#[test]
fn a_full_disk_stops_with_a_message_and_loses_nothing() {
    const BEFORE: usize = 40;
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("pictures");
    std::fs::create_dir(&folder).unwrap();
    draw(&folder, 0..BEFORE);
    let registry = dir.path().join("assent.db");
    assert_eq!(ingest(&registry, &folder).output().unwrap().status.code(), Some(0));
    let whole = |registry: &Path| {
        let registry = assent::registry::Registry::open(registry).unwrap();
        assert_eq!(registry.problems().unwrap(), Vec::<String>::new());
        for index in 0..BEFORE {
            let place = registry.known_location(&folder.join(format!("{index}.png"))).unwrap();
            let image = registry.image(&place.unwrap().sha256).unwrap();
            assert_eq!((image.width, image.height), (160, 120));
        }
        registry.image_count().unwrap() as usize
    };
    assert_eq!(whole(&registry), BEFORE);

    draw(&folder, BEFORE..PICTURES);
    // No file may become larger than this, as if the disk had no more room: 64 blocks of 512 bytes.
    let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" --registry \"$1\" ingest \"$2\"";
    let output = Command::new("sh")
        .args(["-c", limited, env!("CARGO_BIN_EXE_assent")])
        .args([&registry, &folder])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("error"), "{message}");
    assert!(whole(&registry) < PICTURES, "the limit was never reached");

    assert_eq!(ingest(&registry, &folder).output().unwrap().status.code(), Some(0));
    assert_eq!(whole(&registry), PICTURES);
}
