//! Files made to break the readers of metadata: they may cost a line, not a panic, not memory without bound.
//!
//! The allocator of this test counts; a reading may hold a fixed amount beside the file itself.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use assent::digest::Sha256Digest;
use assent::signals::{Metadata, Sources, Trust, read};
use proptest::prelude::*;

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all calls go to the system's allocator unchanged; only sizes are counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static TRUST: LazyLock<Trust> = LazyLock::new(Trust::default);
/// One reading at a time: the counts are of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// What a reading may hold beside the file: blocks of 32 MiB, their text, and the properties in it.
const MOST_MEMORY: usize = 64 << 20;
/// In a build without optimization, on a busy machine.
const MOST_TIME: Duration = Duration::from_secs(30);

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn all(bytes: &[u8]) -> Metadata {
    read(&Sources {
        picture: bytes,
        digest: Sha256Digest::of_bytes(bytes),
        reuse: Some(bytes),
        licensing: &[],
        xmp: Some(bytes),
        caption: Some(bytes),
        drawing: Some(bytes),
        trust: &TRUST,
    })
}

fn picture(bytes: &[u8]) -> Metadata {
    read(&Sources {
        picture: bytes,
        digest: Sha256Digest::from_bytes([0; 32]),
        reuse: None,
        licensing: &[],
        xmp: None,
        caption: None,
        drawing: None,
        trust: &TRUST,
    })
}

/// Reads within bounds; returns what was found.
fn bounded(name: &str, bytes: &[u8]) -> Metadata {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let started = Instant::now();
    let found = picture(bytes);
    let took = started.elapsed();
    let held = PEAK.load(Ordering::Relaxed) - before;
    assert!(held <= MOST_MEMORY, "{name}: held {held} bytes");
    assert!(took <= MOST_TIME, "{name}: took {took:?}");
    assert!(
        found.needs_review.len() <= 100 && found.artists.len() <= 64 && found.claims.len() <= 300,
        "{name}"
    );
    found
}

fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    [&(data.len() as u32).to_be_bytes(), kind.as_slice(), data, &[0; 4]].concat()
}

fn png(chunks: &[u8]) -> Vec<u8> {
    [b"\x89PNG\r\n\x1a\n", chunks, &chunk(b"IEND", b"")].concat()
}

fn xmp(inside: &str) -> Vec<u8> {
    let packet = format!(
        r#"<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:p="http://ns.useplus.org/ldf/xmp/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">{inside}</rdf:RDF></x:xmpmeta>"#
    );
    png(&chunk(
        b"iTXt",
        &[b"XML:com.adobe.xmp\0\0\0\0\0", packet.as_bytes()].concat(),
    ))
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6)
}

/// A directory of `entries` entries, each of tag `tag` and type `kind`, `count` long, at `offset`.
fn tiff(tag: u16, kind: u16, count: u32, offset: u32, entries: u16, tail: &[u8]) -> Vec<u8> {
    let mut file = b"II\x2a\0\x08\0\0\0".to_vec();
    file.extend(entries.to_le_bytes());
    for _ in 0..entries {
        file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
        file.extend([count.to_le_bytes(), offset.to_le_bytes()].concat());
    }
    // The next directory is this one again.
    file.extend(8u32.to_le_bytes());
    file.extend(tail);
    file
}

#[test]
fn bombs_cost_a_line_each() {
    let _alone = alone();
    let zeros = packed(&vec![b'a'; 256 << 20]);
    let bomb = chunk(b"zTXt", &[b"Comment\0\0".as_slice(), &zeros].concat());
    assert!(!bounded("zlib bomb", &png(&bomb)).needs_review.is_empty());
    assert!(
        !bounded("many zlib bombs", &png(&bomb.repeat(40)))
            .needs_review
            .is_empty()
    );
    let fits = packed(&vec![b'a'; 7 << 20]);
    let fits = chunk(b"zTXt", &[b"Comment\0\0".as_slice(), &fits].concat());
    assert!(
        !bounded("many that nearly fit", &png(&fits.repeat(40)))
            .needs_review
            .is_empty()
    );
    let small = chunk(b"tEXt", b"Title\0a").repeat(400_000);
    assert!(!bounded("many small chunks", &png(&small)).needs_review.is_empty());
    let keyword = chunk(b"tEXt", &vec![b'a'; 32 << 20]);
    bounded("a keyword without end", &png(&keyword));
    let profile = [
        b"Raw profile type exif\0\nexif\n 4000000000\n".as_slice(),
        &b"00".repeat(3 << 20),
    ]
    .concat();
    assert!(
        !bounded("a profile that lies about its length", &png(&chunk(b"tEXt", &profile)))
            .needs_review
            .is_empty()
    );
}

#[test]
fn hostile_xml_costs_a_line() {
    let _alone = alone();
    let mut files = vec![
        ("deep", xmp(&"<dc:x>".repeat(1 << 20))),
        ("wide", xmp(&"<dc:x>y</dc:x>".repeat(1 << 19))),
        ("empty and wide", xmp(&"<a/>".repeat(1 << 20))),
        (
            "a long value",
            xmp(&format!("<dc:title>{}</dc:title>", "a".repeat(7 << 20))),
        ),
        ("an entity", xmp("<dc:title>&a;</dc:title>")),
    ];
    let names: String = (0..100_000)
        .map(|n| format!(r#" xmlns:n{n}="u{n}" n{n}:a="b""#))
        .collect();
    files.push(("namespaces", xmp(&format!("<rdf:Description{names}/>"))));
    let constrained =
        r#"<rdf:Description p:DataMining="DMI-PROHIBITED-SEECONSTRAINT" p:OtherConstraints="CONDITION"/>"#;
    let constrained = constrained.replace("CONDITION", &"c".repeat(3000)).repeat(2000);
    files.push(("conditions", xmp(&constrained)));
    for (name, file) in files {
        assert!(
            !bounded(name, &file).needs_review.is_empty() || name == "a long value" || name == "conditions",
            "{name}"
        );
    }
    // A refusal after more statements than anybody makes.
    let words: String = (0..2000)
        .map(|n| format!(r#"<rdf:Description p:DataMining="DMI-NONE-{n}"/>"#))
        .collect();
    let many = xmp(&format!(
        r#"{words}<rdf:Description p:DataMining="DMI-PROHIBITED"/><rdf:Description p:DataMining="DMI-ALLOWED"/>"#
    ));
    let found = bounded("many statements", &many);
    assert_eq!(found.claims.len(), 257);
    assert_eq!(found.claims.last().unwrap().raw, "DMI-PROHIBITED");
    assert!(
        found
            .needs_review
            .iter()
            .any(|line| line.contains("more than 256 statements"))
    );
}

#[test]
fn lengths_and_loops_lead_nowhere() {
    let _alone = alone();
    let tail = vec![b' '; 1 << 20];
    for tag in [700u16, 33723, 34377, 52545, 34665, 330, 315] {
        for (count, offset) in [(u32::MAX, 8), (1 << 20, 200), (4, u32::MAX), (0x4000_0000, 0)] {
            bounded(&format!("tag {tag}"), &tiff(tag, 4, count, offset, 4096, &tail));
        }
        bounded("points at itself", &tiff(tag, 4, 1, 8, 60_000, &tail));
    }
    let resources = [
        b"\xff\xd8\xff\xed\xff\xffPhotoshop 3.0\0".as_slice(),
        &b"8BIM\x04\x04\0\0\0\0\0\0".repeat(5000),
    ]
    .concat();
    bounded("many resources", &resources);
    bounded(
        "a RIFF chunk of 4 GiB",
        b"RIFF\xff\xff\xff\xffWEBPEXIF\xff\xff\xff\xffabc",
    );
    bounded(
        "a GIF of comments",
        &[
            b"GIF89a\x01\0\x01\0\0\0\0".as_slice(),
            &b"\x21\xfe\xffaa".repeat(200_000),
        ]
        .concat(),
    );
    let kind = b"jumdc2pa\0\x11\0\x10\x80\0\0\xaa\08\x9bq\x03c2pa\0";
    let mut boxes = Vec::new();
    for _ in 0..5000 {
        let inside = [&(kind.len() as u32 + 4).to_be_bytes(), kind.as_slice(), &boxes].concat();
        boxes = [&(inside.len() as u32 + 8).to_be_bytes(), b"jumb".as_slice(), &inside].concat();
    }
    let found = bounded("boxes in boxes", &png(&chunk(b"caBX", &boxes)));
    assert!(found.needs_review[0].contains("depth"), "{:?}", found.needs_review);
    let jumbf = [
        b"\x7f\xff\xff\xffjumb\0\0\0\x1ejumdc2pa\0\x11\0\x10\x80\0\0\xaa\08\x9bq\x03c2pa\0".as_slice(),
        &tail,
    ]
    .concat();
    assert!(
        !bounded("a box of 2 GiB", &png(&chunk(b"caBX", &jumbf)))
            .needs_review
            .is_empty()
    );
}

/// Files of every container and reader, small enough to be read often.
static REAL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signals");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let read = |path: &std::path::PathBuf| std::fs::read(path).unwrap();
    paths.iter().map(read).filter(|file| file.len() < 5000).collect()
});

static SIGNED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/signals");
    [
        "c2pa-not-allowed.jpg",
        "c2pa-not-allowed.webp",
        "c2pa-not-allowed.tif",
        "c2pa-not-allowed.gif",
        "c2pa-ingredient-denied.png",
    ]
    .iter()
    .map(|name| std::fs::read(folder.join(name)).unwrap())
    .collect()
});

/// Bytes set, a part repeated, the end cut off.
fn damaged(file: &[u8], changes: &[(prop::sample::Index, u8)], again: (usize, usize), keep: usize) -> Vec<u8> {
    let mut file = file.to_vec();
    for (at, byte) in changes {
        let at = at.index(file.len());
        file[at] = *byte;
    }
    let start = again.0 % file.len();
    let part = file[start..(start + again.1).min(file.len())].to_vec();
    file.splice(start..start, part);
    file.truncate(keep);
    file
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_after_any_beginning(which in 0usize..14, bytes in proptest::collection::vec(any::<u8>(), 0..900)) {
        let starts: [&[u8]; 14] = [
            b"", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n\0\0\x01\0iTXt", b"\x89PNG\r\n\x1a\n\0\0\0\x80caBX",
            b"\xff\xd8\xff\xe1", b"\xff\xd8\xff\xed\x01\0Photoshop 3.0\08BIM\x04\x04\0\0\0\0\0\x80\x1c\x02\x50",
            b"\xff\xd8\xff\xe1\x01\0Exif\0\0MM\0\x2a\0\0\0\x08", b"\xff\xd8\xff\xe1\x01\0http://ns.adobe.com/xmp/extension/\0",
            b"RIFF\0\0\0\0WEBPEXIF", b"GIF89a", b"II\x2a\0\x08\0\0\0\x04\0", b"MM\0\x2b\0\x08\0\0\0\0\0\0\0\0\0\x10",
            b"<svg xmlns:r='http://www.w3.org/1999/02/22-rdf-syntax-ns#'><r:RDF>", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><",
        ];
        let _alone = alone();
        all(&[starts[which], &bytes].concat());
    }

    #[test]
    fn any_damage_to_files_of_others(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        again in (0usize..5000, 0usize..300),
        keep in 0usize..8000,
    ) {
        let _alone = alone();
        all(&damaged(&REAL[which.index(REAL.len())], &changes, again, keep));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_damage_to_a_manifest_makes_no_grant_of_a_refusal(
        which in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        again in (0usize..20_000, 0usize..60),
        keep in 8000usize..40_000,
    ) {
        let _alone = alone();
        let found = picture(&damaged(&SIGNED[which.index(SIGNED.len())], &changes, again, keep));
        prop_assert!(found.claims.iter().all(|claim| claim.state != assent::consent::State::Granted));
    }
}
