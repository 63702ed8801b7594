//! Pictures that nobody takes for one another, of as many artists as a test asks for, and what the program says of them.
#![allow(dead_code)]

use std::fs;

use assent::receipt::RunRecord;
use serde_json::Value;

use super::studio::Studio;

pub const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/policy-open-licences.toml");

/// Registers so many pictures of each artist, `works/NAME-0.png` and on, and freezes them all as `works`. What a picture
/// shows depends on its artist's name and its number alone.
pub fn add(studio: &Studio, artists: &[(&str, usize)]) {
    fs::create_dir_all(studio.at("works")).unwrap();
    for (artist, count) in artists {
        for i in 0..*count {
            let name = artist.split(' ').next().unwrap().to_lowercase();
            let mut state = artist.bytes().fold(17 + i as u32, |sum, byte| {
                sum.wrapping_mul(16_777_619) ^ u32::from(byte)
            });
            let blocks: Vec<u8> = (0..64)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            let picture = image::RgbImage::from_fn(32, 32, |x, y| {
                let shade = blocks[(y / 4 * 8 + x / 4) as usize];
                image::Rgb([shade, 255 - shade, shade / 2])
            });
            let path = studio.at("works").join(format!("{name}-{i}.png"));
            picture.save(&path).unwrap();
            fs::write(path.with_extension("txt"), format!("blocks number {i}")).unwrap();
            let license = format!("SPDX-FileCopyrightText: {artist}\nSPDX-License-Identifier: CC0-1.0\n");
            fs::write(studio.at("works").join(format!("{name}-{i}.png.license")), license).unwrap();
        }
    }
    studio.ok(&["ingest", "works"]);
}

/// Freezes the pictures of these artists.
pub fn freeze(studio: &Studio, name: &str, artists: &[&str]) {
    let mut arguments = vec!["snapshot", "create", name, "--policy", POLICY];
    arguments.extend(artists.iter().flat_map(|artist| ["--artist", artist]));
    studio.ok(&arguments);
}

/// The last line that a command says with `--json`, where it ends with this code.
pub fn json(studio: &Studio, arguments: &[&str], code: i32) -> Value {
    let output = studio.run(&[&["--json", "-q"], arguments].concat());
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    let said = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(said.lines().last().unwrap()).unwrap()
}

/// All that a command tells people.
pub fn told(studio: &Studio, arguments: &[&str], code: i32) -> String {
    let output = studio.run(arguments);
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    told
}

/// The record of a run.
pub fn record(studio: &Studio, run: &str) -> RunRecord {
    RunRecord::parse(&String::from_utf8(studio.bytes(run, "run.json")).unwrap()).unwrap()
}
