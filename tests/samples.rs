//! The sample art in the repository is what its generator draws, byte for byte, and nothing else lies beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "../scripts/draw_samples/art/mod.rs"]
mod art;

use std::{collections::BTreeSet, fs, path::Path};

const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/datasets/sample");

#[test]
fn committed_pictures_are_drawn_again_byte_for_byte() {
    // Every seventh picture meets every artist and most subjects; the last three are the special cases.
    let plan = art::plan();
    let special = plan.len() - 3;
    for (_, entry) in plan.iter().enumerate().filter(|(i, _)| i % 7 == 0 || *i >= special) {
        for (path, drawn) in art::files(entry).unwrap() {
            let committed = fs::read(Path::new(SAMPLE).join(&path)).unwrap_or_else(|e| panic!("{path}: {e}"));
            assert!(
                committed == drawn,
                "{path} differs: run `cargo run --release --example draw_samples`"
            );
        }
    }
}

#[test]
fn folder_holds_what_the_generator_writes_and_nothing_else() {
    let mut on_disk = BTreeSet::new();
    for folder in fs::read_dir(SAMPLE)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
    {
        for file in fs::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            on_disk.insert(path.strip_prefix(SAMPLE).unwrap().to_str().unwrap().to_owned());
        }
    }
    let drawn = art::plan()
        .iter()
        .flat_map(|entry| art::files(entry).unwrap())
        .map(|(path, _)| path)
        .collect();
    assert_eq!(on_disk, drawn);
}
