use std::fs;

use image::{ImageFormat, Rgba, RgbaImage};

use super::*;

fn picture(seed: u32) -> RgbaImage {
    RgbaImage::from_fn(96, 64, |x, y| {
        let value = (x * (seed + 3) / 7) ^ (y * (seed + 5) / 5);
        Rgba([value as u8, (x * 2 + seed) as u8, (y * 3) as u8, 255])
    })
}

struct Folder {
    dir: tempfile::TempDir,
    registry: Registry,
}

impl Folder {
    fn new() -> Self {
        Folder {
            dir: tempfile::tempdir().unwrap(),
            registry: Registry::in_memory().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn save(&self, name: &str, seed: u32, format: ImageFormat) {
        let picture = picture(seed);
        let path = self.path(name);
        match format {
            ImageFormat::Jpeg => image::DynamicImage::ImageRgba8(picture)
                .to_rgb8()
                .save_with_format(path, format)
                .unwrap(),
            _ => picture.save_with_format(path, format).unwrap(),
        }
    }

    fn ingest(&mut self, options: &Options) -> (Summary, Vec<Report>) {
        let mut reports = Vec::new();
        let entries = walk(&[self.dir.path().to_path_buf()]);
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        let summary = ingest(&mut self.registry, entries, options, at, |report| reports.push(report)).unwrap();
        (summary, reports)
    }
}

fn counts(summary: Summary) -> [usize; 4] {
    [summary.added, summary.known, summary.updated, summary.refused]
}

#[test]
fn the_content_decides_the_format_and_a_second_run_knows_all() {
    let mut folder = Folder::new();
    let formats = [
        ImageFormat::Png,
        ImageFormat::Jpeg,
        ImageFormat::WebP,
        ImageFormat::Gif,
        ImageFormat::Tiff,
        ImageFormat::Bmp,
    ];
    for (seed, format) in formats.into_iter().enumerate() {
        // Wrong names, no names.
        folder.save(
            ["a.jpg", "b.png", "c", "d.jpeg", "e.png", "f.data"][seed],
            seed as u32,
            format,
        );
    }
    fs::write(folder.path("notes.txt"), "nothing to see").unwrap();
    let (summary, reports) = folder.ingest(&Options::default());
    assert_eq!(counts(summary), [6, 0, 0, 0], "{reports:?}");
    let (summary, again) = folder.ingest(&Options::default());
    assert_eq!(counts(summary), [0, 6, 0, 0]);
    let digests = |reports: &[Report]| reports.iter().map(|report| report.sha256).collect::<Vec<_>>();
    assert_eq!(digests(&reports), digests(&again));
    assert_eq!(folder.registry.image_count().unwrap(), 6);
}

#[test]
fn what_changed_is_read_again() {
    let mut folder = Folder::new();
    folder.save("a.png", 1, ImageFormat::Png);
    folder.save("b.png", 2, ImageFormat::Png);
    folder.ingest(&Options::default());
    fs::write(folder.path("a.txt"), "a caption").unwrap();
    folder.save("b.png", 3, ImageFormat::Png);
    let (summary, _) = folder.ingest(&Options::default());
    assert_eq!(counts(summary), [1, 0, 1, 0]);
    let options = Options {
        artist: Some("Ann".to_string()),
        ..Options::default()
    };
    let (summary, _) = folder.ingest(&options);
    assert_eq!(counts(summary), [0, 0, 2, 0]);
    assert_eq!(counts(folder.ingest(&options).0), [0, 2, 0, 0]);
}

#[test]
fn both_forms_of_a_caption_count() {
    let mut folder = Folder::new();
    folder.save("a.png", 1, ImageFormat::Png);
    folder.save("b.png", 2, ImageFormat::Png);
    fs::write(folder.path("a.txt"), "short form").unwrap();
    fs::write(folder.path("b.png.caption"), "long form").unwrap();
    let (_, reports) = folder.ingest(&Options::default());
    let captions: Vec<_> = reports
        .iter()
        .map(|report| {
            folder.registry.locations(&report.sha256.unwrap()).unwrap()[0]
                .caption
                .clone()
                .unwrap()
        })
        .collect();
    assert_eq!(captions, ["short form", "long form"]);
}

/// A PNG that announces `width` × `height` and holds next to nothing.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend(width.to_be_bytes());
    header.extend(height.to_be_bytes());
    header.extend([8, 6, 0, 0, 0]);
    let chunk = |data: &[u8]| {
        let crc = crc32(data);
        [&(data.len() as u32 - 4).to_be_bytes(), data, &crc.to_be_bytes()].concat()
    };
    let data = [
        b"IDAT".as_slice(),
        &miniz_oxide::deflate::compress_to_vec_zlib(&[0; 4096], 6),
    ]
    .concat();
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(&header),
        chunk(&data),
        chunk(b"IEND"),
    ]
    .concat()
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}

#[test]
fn bad_files_cost_a_reason_each_and_nothing_else() {
    let mut folder = Folder::new();
    folder.save("good.png", 1, ImageFormat::Png);
    let whole = fs::read(folder.path("good.png")).unwrap();
    fs::write(folder.path("empty.png"), b"").unwrap();
    fs::write(folder.path("cut.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.path("text.jpg"), b"no picture at all").unwrap();
    fs::write(folder.path("wide.png"), bomb(60_000, 60_000)).unwrap();
    fs::write(folder.path("dense.png"), bomb(15_000, 15_000)).unwrap();
    fs::write(folder.path("none.png"), bomb(0, 7)).unwrap();
    let heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic".as_slice();
    fs::write(folder.path("phone.png"), heic).unwrap();
    fs::write(folder.path("phone.dat"), heic).unwrap();
    fs::write(folder.path("film.dat"), b"\0\0\0\x18ftypisom\0\0\0\0mp42").unwrap();
    fs::create_dir(folder.path("folder.png")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.dir.path(), folder.path("loop.png")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(folder.path("nowhere"), folder.path("lost.png")).unwrap();
    let (summary, reports) = folder.ingest(&Options::default());
    let reason = |name: &str| {
        let found = reports.iter().find(|report| report.path.ends_with(name));
        found
            .and_then(|report| report.reason.clone())
            .unwrap_or_else(|| panic!("`{name}` has no reason"))
    };
    for (name, expected) in [
        ("empty.png", "empty"),
        ("cut.png", "damaged"),
        ("text.jpg", "not PNG"),
        ("phone.png", "HEIF, which is not read: convert it"),
        ("phone.dat", "HEIF"),
        ("wide.png", "60000x60000"),
        ("dense.png", "compresses"),
        ("folder.png", "folder"),
        #[cfg(unix)]
        ("loop.png", "circle"),
        #[cfg(unix)]
        ("lost.png", "cannot be read"),
    ] {
        assert!(reason(name).contains(expected), "{name}: {}", reason(name));
    }
    reason("none.png");
    assert!(!reports.iter().any(|report| report.path.ends_with("film.dat")));
    assert_eq!(summary.added, 1);
    assert_eq!(summary.refused, reports.len() - 1);
}

#[cfg(unix)]
#[test]
fn paths_may_be_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let mut folder = Folder::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9 \xff\n.png");
    picture(1)
        .save_with_format(folder.dir.path().join(name), ImageFormat::Png)
        .unwrap();
    let (summary, reports) = folder.ingest(&Options::default());
    assert_eq!(counts(summary), [1, 0, 0, 0]);
    let known = folder.registry.known_location(&folder.dir.path().join(name)).unwrap();
    assert!(known.is_some());
    assert_eq!(reports[0].path.file_name(), Some(name));
}

#[test]
fn a_small_budget_only_takes_longer() {
    let mut folder = Folder::new();
    for seed in 0..40 {
        folder.save(&format!("{seed}.png"), seed, ImageFormat::Png);
    }
    let options = Options {
        memory: 1,
        jobs: 4,
        ..Options::default()
    };
    assert_eq!(counts(folder.ingest(&options).0), [40, 0, 0, 0]);
}

#[test]
fn the_digest_of_pixels_is_the_one_everybody_else_computes() {
    let mut folder = Folder::new();
    folder.save("a.png", 4, ImageFormat::Png);
    folder.save("b.bmp", 4, ImageFormat::Bmp);
    let (_, reports) = folder.ingest(&Options::default());
    let expected = crate::digest::PixelDigest::of_rgba(96, 64, picture(4).as_raw());
    for report in reports {
        assert_eq!(folder.registry.image(&report.sha256.unwrap()).unwrap().pixels, expected);
    }
}

#[test]
fn a_changed_site_file_has_only_the_pictures_of_its_site_read_again() {
    let mut folder = Folder::new();
    fs::create_dir_all(folder.path("site/art/deep")).unwrap();
    fs::create_dir_all(folder.path("other")).unwrap();
    folder.save("site/art/deep/a.png", 1, ImageFormat::Png);
    folder.save("other/b.png", 2, ImageFormat::Png);
    let dir = folder.dir.path().to_path_buf();
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    let paths = [folder.path("site/art/deep"), folder.path("other")];
    let registry = &mut folder.registry;
    let mut run = || {
        let mut states = Vec::new();
        let at = Timestamp::from_second(1_700_000_000).unwrap();
        ingest(registry, walk(&paths), &Options::default(), at, |report| {
            states.push(report.status)
        })
        .unwrap();
        states
    };
    write("site/ai.txt", "User-Agent: *\nDisallow: *.jpg\n");
    assert_eq!(run(), [Status::Added, Status::Added]);
    assert_eq!(run(), [Status::Known, Status::Known]);
    let changes = [
        // The root of the site lies above what is ingested.
        ("site/ai.txt", "User-Agent: *\nDisallow: *.png # now\n"),
        ("site/robots.txt", "License: https://example.org/rsl/all.xml"),
        (
            "site/art/index.html",
            "<meta name=robots content=noai><img src=deep/a.png>",
        ),
        ("site/art/deep/a.png.headers", "Content-Usage: Train-AI=y"),
    ];
    for (name, text) in changes {
        write(name, text);
        assert_eq!(run(), [Status::Updated, Status::Known], "{name}");
        assert_eq!(run(), [Status::Known, Status::Known], "{name}");
    }
    // What no picture of the site is described by changes nothing.
    write("site/art/notes.txt", "x");
    assert_eq!(run(), [Status::Known, Status::Known]);

    let image = folder.registry.image_at(&paths[0].join("a.png")).unwrap().unwrap();
    let evidence = folder.registry.evidence(&image).unwrap();
    let said = |source: &str| {
        let said = evidence.statements.iter().filter(|said| said.source == source);
        said.map(|said| said.state.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(said("ai_txt"), ["denied"; 2]);
    assert_eq!(said("no_ai"), ["denied"; 2]);
    assert_eq!(said("rsl"), ["constrained"; 3]);
    assert_eq!(said("aipref"), ["unspecified"]);
    assert_eq!(evidence.needs_review.len(), 2, "{:?}", evidence.needs_review);
}
