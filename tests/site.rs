//! What the program makes of copies of sites and of licence files: a row for everything that can stand beside a picture.
//!
//! States are those of `ai_training`, `ai_generative_training`, `data_mining` and `ai_inference`: granted, denied,
//! constrained, or `-` for unspecified.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const PURPOSES: [&str; 4] = ["ai_training", "ai_generative_training", "data_mining", "ai_inference"];
const PICTURE: &str = "site/art/a.png";

/// Files under the folder of a test, with their contents.
type Files = &'static [(&'static str, &'static str)];

/// A folder with one picture in a copy of a site, and a registry.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let world = World {
            folder: tempfile::tempdir().unwrap(),
        };
        let picture = image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
        fs::create_dir_all(world.path("site/art")).unwrap();
        picture.save(world.path(PICTURE)).unwrap();
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, files: Files) {
        for (name, text) in files {
            let path = self.path(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // Spelt out, the tags would be taken for those of this file.
            fs::write(path, text.replace("SPDX_", "SPDX-")).unwrap();
        }
    }

    fn run(&self, arguments: &[&str]) -> Vec<Value> {
        let output = Command::new(env!("CARGO_BIN_EXE_assent"))
            .env("ASSENT_REGISTRY", self.path("registry.db"))
            // Folders for temporary files end the search upwards; this one holds nothing.
            .env("TMPDIR", self.folder.path().parent().unwrap())
            .current_dir(self.folder.path())
            .args(["--json", "-q"])
            .args(arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_ne!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ingest(&self, path: &str) -> String {
        self.run(&["ingest", path])[0]["status"].as_str().unwrap().to_string()
    }

    fn explain(&self) -> Value {
        self.run(&["explain", PICTURE]).remove(0)
    }
}

fn states(explained: &Value) -> String {
    let short = |purpose: &&str| match explained["states"][*purpose].as_str().unwrap() {
        "unspecified" => '-',
        state => state.chars().next().unwrap(),
    };
    PURPOSES.iter().map(short).collect()
}

const TDM_1: &str = r#"[{"location": "/art/", "tdm-reservation": 1}]"#;

/// Files beside and above the picture; the states; what the trace must name as a source, with a part of its text.
const SIGNALS: &[(Files, &str, &str, &str)] = &[
    (
        &[("site/robots.txt", "User-agent: *\nContent-Usage: /art/ train-ai=n\n")],
        "-d--",
        "aipref",
        "train-ai=n",
    ),
    (
        &[(
            "site/robots.txt",
            "User-agent: *\nContent-Usage: train-ai=n\nContent-Usage: /art/*.png$ train-ai=y\n",
        )],
        "-g--",
        "aipref",
        "train-ai=y",
    ),
    (
        &[("site/robots.txt", "User-agent: *\nContent-Usage: / Train-AI=n\n")],
        "----",
        "aipref",
        "Train-AI=n",
    ),
    (
        &[(
            "site/art/a.png.headers",
            "HTTP/2 200\r\nContent-Usage: train-ai=y, train-ai=n\r\n",
        )],
        "-d--",
        "aipref",
        "train-ai=n",
    ),
    (
        &[(
            "site/robots.txt",
            "User-agent: *\nContent-Signal: search=yes, ai-train=no, ai-input=yes\n",
        )],
        "dd-g",
        "content_signal",
        "ai-train=no",
    ),
    (
        &[(
            "site/robots.txt",
            "User-agent: *\nContent-Signal: ai-train=yes, ai-input=no\n",
        )],
        "gg-d",
        "content_signal",
        "ai-input=no",
    ),
    (
        &[(
            "site/art/a.png.headers",
            "HTTP/1.1 200 OK\nX-Robots-Tag: anybot: NoAI, nofollow\n",
        )],
        "dd--",
        "no_ai",
        "X-Robots-Tag: anybot: NoAI",
    ),
    (
        &[("site/art/a.png.headers", "X-Robots-Tag: noimageai")],
        "dd--",
        "no_ai",
        "noimageai",
    ),
    (
        &[("site/art/a.png.html", "<meta name=ROBOTS content='index, NoML'>")],
        "dd--",
        "no_ai",
        "NoML",
    ),
    (
        &[("site/art/a.html", "<meta name=robots content=noimageai>")],
        "dd--",
        "no_ai",
        "noimageai",
    ),
    (
        &[
            ("site/robots.txt", ""),
            (
                "site/index.html",
                "<meta name=robots content=noai><img src='art/a.png'>",
            ),
        ],
        "dd--",
        "no_ai",
        "noai",
    ),
    (
        &[(
            "site/art/index.html",
            "<meta name=robots content=noai><img src='/a.png'><img src=./a.png>",
        )],
        "dd--",
        "no_ai",
        "noai",
    ),
    (
        &[(
            "site/ai.txt",
            "# Spawning AI\nUser-Agent: *\nDisallow: *.PNG\nAllow: *.txt\n",
        )],
        "dd--",
        "ai_txt",
        "Disallow: *.PNG",
    ),
    (
        &[("site/ai.txt", "User-Agent: *\nDisallow: /\nDisallow: *\n")],
        "dd--",
        "ai_txt",
        "Disallow",
    ),
    (
        &[("site/ai.txt", "User-Agent: *\nAllow: *.png\n")],
        "----",
        "ai_txt",
        "Allow: *.png",
    ),
    (
        &[("site/ai.txt", "## Who we are\nPainters.\n")],
        "----",
        "ai_txt",
        "ai.txt",
    ),
    (
        &[(
            "site/robots.txt",
            "User-agent: GPTBot\nUser-agent: CCBot\nDisallow: /art/\n",
        )],
        "----",
        "robots_txt",
        "collection refused to CCBot, GPTBot",
    ),
    (
        &[
            (
                "site/robots.txt",
                "License: https://example.org/rsl/license.xml\nUser-agent: *\nAllow: /\n",
            ),
            (
                "site/rsl/license.xml",
                "<rsl xmlns='https://rslstandard.org/rsl'><content url='/art/'><license><prohibits type='usage'>ai-all</prohibits></license></content></rsl>",
            ),
        ],
        "dd-d",
        "rsl",
        "prohibits ai-all",
    ),
    (
        &[
            ("site/robots.txt", "License: https://example.org/license.xml\n"),
            (
                "site/license.xml",
                "<rsl xmlns='https://rslstandard.org/rsl'><content url='/'><license><permits type='usage'>ai-train ai-input</permits><payment type='training'/></license></content></rsl>",
            ),
        ],
        "cc-c",
        "rsl",
        "payment: training",
    ),
    (
        &[
            ("site/robots.txt", "License: https://example.org/license.xml\n"),
            (
                "site/license.xml",
                "<rsl xmlns='https://rslstandard.org/rsl'><content url='/'><license><permits type='usage'>all</permits></license></content></rsl>",
            ),
        ],
        "gggg",
        "rsl",
        "permits all",
    ),
    (
        &[("site/robots.txt", "License: https://elsewhere.example/royalty.xml\n")],
        "cc-c",
        "rsl",
        "not in this copy",
    ),
    (
        &[("site/.well-known/tdmrep.json", TDM_1)],
        "ddd-",
        "tdm_rep_file",
        "tdm-reservation: 1",
    ),
    (
        &[("site/tdmrep.json", TDM_1)],
        "ddd-",
        "tdm_rep_file",
        "tdm-reservation: 1",
    ),
    (
        &[(
            "site/tdmrep.json",
            r#"[{"location": "/art/*.jpg$", "tdm-reservation": 1}, {"location": "/", "tdm-reservation": 0}]"#,
        )],
        "--g-",
        "tdm_rep_file",
        "tdm-reservation: 0",
    ),
    (
        &[(
            "site/tdmrep.json",
            r#"[{"location": "/", "tdm-reservation": 1, "tdm-policy": "https://example.org/p.json"}]"#,
        )],
        "ccc-",
        "tdm_rep_file",
        "tdm-policy: https://example.org/p.json",
    ),
    (
        &[
            ("site/tdmrep.json", TDM_1),
            ("site/art/a.png.headers", "tdm-reservation: 0"),
        ],
        "--g-",
        "tdm_rep_file",
        "overridden by the response header",
    ),
    (
        &[(
            "site/art/a.png.headers",
            "TDM-Reservation: 1\nTDM-Policy: https://example.org/p",
        )],
        "ccc-",
        "tdm_rep_header",
        "tdm-policy",
    ),
    (
        &[
            ("site/art/a.png.headers", "tdm-reservation: 0"),
            ("site/art/a.png.html", "<meta name='tdm-reservation' content='1'>"),
        ],
        "ddd-",
        "tdm_rep_html",
        "tdm-reservation: 1",
    ),
    (
        &[
            ("site/art/a.png.html", "<meta name='tdm-reservation' content='1'>"),
            (
                "site/art/a.png.xmp",
                "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><rdf:Description rdf:about='' xmlns:t='http://www.w3.org/ns/tdmrep/' t:reservation='0'/></rdf:RDF></x:xmpmeta>",
            ),
        ],
        "--g-",
        "tdm_rep_html",
        "overridden by the picture's own metadata",
    ),
];

#[test]
fn explain_shows_every_signal_that_stands_beside_a_picture() {
    for (files, expected, source, text) in SIGNALS {
        let world = World::new();
        world.write(files);
        // What a site says does not depend on where in its copy the ingest begins.
        assert_eq!(
            world.ingest(if expected.contains('d') { PICTURE } else { "site" }),
            "added"
        );
        let explained = world.explain();
        assert_eq!(states(&explained), *expected, "{files:?}: {explained:#}");
        let trace = explained["trace"].as_array().unwrap();
        let shown = |line: &&Value| line["source"] == *source && line["raw"].as_str().unwrap().contains(text);
        assert!(trace.iter().find(shown).is_some(), "{files:?}: {explained:#}");
    }
}

/// Files; the licence; the artists; how many lines are for a person to see.
const LICENCES: &[(Files, Option<&str>, &[&str], usize)] = &[
    (
        &[(
            "site/art/a.png.license",
            "SPDX_FileCopyrightText: 2020-2024 Ann Other <a@example.org>\nSPDX_License-Identifier: CC-BY-4.0\n",
        )],
        Some("CC-BY-4.0"),
        &["Ann Other"],
        0,
    ),
    (
        &[
            (
                "site/art/a.png.license",
                "SPDX_FileCopyrightText: © 2020 Ann\nSPDX_License-Identifier: CC-BY-4.0\n",
            ),
            (
                "site/REUSE.toml",
                "version = 1\n[[annotations]]\npath = \"art/**\"\nSPDX_FileCopyrightText = \"Joe\"\nSPDX_License-Identifier = \"MIT\"\n",
            ),
        ],
        Some("CC-BY-4.0"),
        &["Ann"],
        0,
    ),
    (
        &[
            ("site/art/a.png.license", "SPDX_License-Identifier: CC-BY-4.0\n"),
            (
                "site/REUSE.toml",
                "version = 1\n[[annotations]]\npath = [\"b\", \"art/*.png\"]\nprecedence = \"override\"\nSPDX_License-Identifier = \"CC0-1.0\"\n",
            ),
        ],
        Some("CC0-1.0"),
        &[],
        0,
    ),
    (
        &[
            (
                "site/art/REUSE.toml",
                "version = 1\n[[annotations]]\npath = \"*\"\nprecedence = \"aggregate\"\nSPDX_License-Identifier = \"MIT\"\n",
            ),
            (
                "site/REUSE.toml",
                "version = 1\n[[annotations]]\npath = \"**\"\nSPDX_FileCopyrightText = [\"2019 Jane\", \"Joe\"]\nSPDX_License-Identifier = \"ISC\"\n",
            ),
        ],
        Some("(ISC) AND (MIT)"),
        &["Jane", "Joe"],
        0,
    ),
    (
        &[(
            "site/.reuse/dep5",
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: 2019 Nobody\nLicense: MIT\n\nFiles: art/*\nCopyright: 2019 Jane Doe\nLicense: CC0-1.0\n",
        )],
        Some("CC0-1.0"),
        &["Jane Doe"],
        0,
    ),
    (
        &[(
            "site/debian/copyright",
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: 2019 Jane Doe\nLicense: GPL-2+ or Expat\n",
        )],
        Some("GPL-2.0-or-later OR MIT"),
        &["Jane Doe"],
        0,
    ),
    (&[("site/REUSE.toml", "version = 1\n[[annotations]\n")], None, &[], 1),
    (
        &[(
            "site/REUSE.toml",
            "version = 1\n[[annotations]]\npath = \"**\"\nSPDX_License-Identifier = \"as you like\"\n",
        )],
        None,
        &[],
        1,
    ),
];

#[test]
fn licence_files_are_facts_with_the_order_that_their_specifications_give() {
    for (files, license, artists, review) in LICENCES {
        let world = World::new();
        world.write(files);
        assert_eq!(world.ingest("site/art"), "added");
        let image = world.run(&["images"]).remove(0);
        assert_eq!(image["license"].as_str(), *license, "{files:?}: {image:#}");
        let found: Vec<&str> = image["artists"]
            .as_array()
            .unwrap()
            .iter()
            .map(|name| name.as_str().unwrap())
            .collect();
        assert_eq!(found, *artists, "{files:?}");
        assert_eq!(
            image["review"].as_array().unwrap().len(),
            *review,
            "{files:?}: {image:#}"
        );
        // A licence is never a state.
        assert_eq!(states(&world.explain()), "----");
        if !artists.is_empty() {
            assert!(!image["notices"].as_array().unwrap().is_empty(), "{image:#}");
        }
    }
}

#[test]
fn what_does_not_parse_is_never_a_grant_and_is_for_review() {
    let broken: &[Files] = &[
        &[("site/robots.txt", "User-agent: *\nContent-Usage: / TRAIN-AI=y")],
        &[("site/robots.txt", "User-agent: *\nContent-Signal: ai-train")],
        &[("site/ai.txt", "Training = allowed")],
        &[("site/tdmrep.json", "{\"location\": \"/\", \"tdm-reservation\": 0}")],
        &[("site/art/a.png.headers", "tdm-reservation: no")],
        &[("site/art/a.png.html", "<meta name=tdm-reservation content=free>")],
        &[
            ("site/robots.txt", "License: https://example.org/l.xml"),
            ("site/l.xml", "<rsl>"),
        ],
    ];
    for files in broken {
        let world = World::new();
        world.write(files);
        world.ingest("site");
        assert_eq!(states(&world.explain()), "----", "{files:?}");
        let image = world.run(&["images"]).remove(0);
        assert_eq!(image["needs_review"], true, "{files:?}: {image:#}");
    }
}

#[test]
fn a_refusal_that_a_page_drops_stays() {
    let world = World::new();
    world.write(&[("site/ai.txt", "User-Agent: *\nDisallow: *.png\n")]);
    assert_eq!(world.ingest("site"), "added");
    assert_eq!(world.ingest("site"), "known");
    world.write(&[("site/ai.txt", "User-Agent: *\nAllow: *.png\n\n")]);
    assert_eq!(world.ingest("site"), "updated");
    assert_eq!(states(&world.explain()), "dd--");
    fs::remove_file(world.path("site/ai.txt")).unwrap();
    assert_eq!(world.ingest("site"), "updated");
    assert_eq!(states(&world.explain()), "dd--");
}

#[test]
fn a_collection_is_refused_by_its_name() {
    let world = World::new();
    let added = world.run(&["ingest", "site", "--collection", " gallery "]);
    assert_eq!(added[0]["status"], "added");
    assert_eq!(world.run(&["images"])[0]["collections"][0], "gallery");
    world.run(&["opt-out", "--collection", "gallery"]);
    assert_eq!(states(&world.explain()), "dddd");
}

#[test]
fn hostile_copies_cost_a_line_and_lead_nowhere() {
    let world = World::new();
    world.write(&[
        (
            "secret.xml",
            "<rsl xmlns='https://rslstandard.org/rsl'><content url='/'><license/></content></rsl>",
        ),
        (
            "site/robots.txt",
            "License: https://example.org/../secret.xml\nLicense: /art/../../secret.xml\n",
        ),
    ]);
    fs::create_dir_all(world.path("site/ai.txt")).unwrap();
    fs::write(world.path("site/tdmrep.json"), "[".repeat(1 << 20)).unwrap();
    fs::write(world.path("site/art/a.png.headers"), vec![b'x'; 3 << 20]).unwrap();
    fs::write(world.path("site/art/index.html"), "<div>".repeat(400_000)).unwrap();
    fs::write(world.path("site/REUSE.toml"), "a = ".to_string() + &"[".repeat(500_000)).unwrap();
    assert_eq!(world.ingest("site"), "added");
    let explained = world.explain();
    // Terms that are not there are conditions, not grants.
    assert_eq!(states(&explained), "cc-c", "{explained:#}");
    let image = world.run(&["images"]).remove(0);
    assert_eq!(image["review"].as_array().unwrap().len(), 6, "{image:#}");
    assert!(Path::new(&world.path("secret.xml")).exists());
}
