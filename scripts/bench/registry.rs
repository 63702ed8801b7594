//! `bench_registry make N FILE` makes a registry of N rows that are drawn from a seed, through the insertion that
//! ingest uses; `bench_registry run NAME FILE` does one thing with it and prints a line: name, milliseconds by
//! the clock and of the processor, the most memory the process held in mebibytes, and what came out. `registry.sh` makes the table of both.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use assent::consent::{Authentication, EventKind, Policy, Purpose, State, Target, decide};
use assent::digest::{PixelDigest, Sha256Digest};
use assent::registry::{EntryKind, ImageFilter, ListEntry, NewEvent, NewImage, NewLocation, Registry};
use assent::signals::{Claim, SignalSource};
use jiff::Timestamp;

/// Images a transaction.
const BATCH: usize = 8192;
/// Entries of the opt-out list.
const ENTRIES: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["make", rows, file] => make(rows.parse().expect("a number of rows"), Path::new(file)),
        ["run", name, file] => run(name, Path::new(file)),
        _ => panic!("expected `make N FILE` or `run NAME FILE`"),
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

/// SplitMix64 of a number: as good as drawn, and the same in every run.
fn draw(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn digest(row: u64) -> Sha256Digest {
    Sha256Digest::of_bytes(&row.to_le_bytes())
}

fn source(row: u64) -> String {
    format!(
        "https://host{}.example/gallery/{}/work-{row}.png",
        draw(row) % 997,
        draw(row + 1) % 50
    )
}

fn image(row: u64, rows: u64) -> NewImage {
    let any = draw(row ^ 0x5eed);
    let license = [
        "CC0-1.0",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "CC-BY-NC-4.0",
        "LicenseRef-Unclear",
    ][(any % 5) as usize];
    let claim = |state, purpose| Claim {
        source: SignalSource::IptcDataMining,
        raw: format!("DMI of picture {row}"),
        purpose,
        state,
        authenticated: Authentication::None,
        holder: digest(row),
    };
    // One in a hundred shows what another does.
    let shown = if any % 100 == 7 { row / 2 } else { row };
    let artists = rows / 20;
    NewImage {
        sha256: digest(row),
        pixels: PixelDigest::from_bytes(*digest(shown ^ (1 << 40)).as_bytes()),
        width: 640,
        height: 480,
        format: "png".into(),
        bytes: 10_000 + any % 90_000,
        fingerprint: None,
        location: NewLocation {
            path: format!("/art/{:03}/{:03}/work-{row}.png", row % 1000, row / 1000 % 1000).into(),
            source: (any % 10 != 3).then(|| source(row)),
            collection: None,
            notices: Vec::new(),
            title: any.is_multiple_of(3).then(|| format!("Work {row}")),
            caption: Some(format!(
                "a drawing of a boat on a lake, number {row}, with a red sail and two birds above"
            )),
            artists: match any % 7 {
                0 => Vec::new(),
                _ => vec![format!("Artist {}", draw(any) % artists.max(1))],
            },
            licenses: match any % 11 {
                0 => Vec::new(),
                _ => vec![(license.into(), "reuse".into())],
            },
            ai_generated: any.is_multiple_of(97),
            needs_review: any
                .is_multiple_of(101)
                .then(|| format!("the XMP of picture {row} does not parse"))
                .into_iter()
                .collect(),
            claims: match any % 40 {
                0 => vec![claim(State::Denied, Some(Purpose::AiGenerativeTraining))],
                1 => vec![claim(State::Granted, None)],
                2 => vec![claim(State::Constrained, None)],
                _ => Vec::new(),
            },
            size: 10_000,
            modified: row as i64,
            context: digest(0),
        },
    }
}

fn make(rows: u64, file: &Path) {
    let mut registry = Registry::open(file).unwrap();
    let started = Instant::now();
    let all: Vec<u64> = (0..rows).collect();
    for batch in all.chunks(BATCH) {
        let images: Vec<_> = batch.iter().map(|row| image(*row, rows)).collect();
        registry.add_images(&images, now()).unwrap();
    }
    let mut say = |kind, target| {
        registry
            .append_event(&NewEvent::new(kind, Some(target)), now())
            .unwrap();
    };
    for artist in 0..100 {
        say(EventKind::OptOut, Target::Artist(format!("artist {}", artist * 31)));
    }
    for artist in 0..20 {
        say(EventKind::Grant, Target::Artist(format!("artist {}", artist * 31 + 5)));
    }
    for host in 0..30 {
        say(
            EventKind::OptOut,
            Target::Source(format!("https://host{host}.example/gallery/1")),
        );
    }
    for row in 0..200 {
        say(EventKind::OptOut, Target::Image(digest(row * 37)));
    }
    let seconds = started.elapsed().as_secs_f64();
    eprintln!("{rows} rows in {seconds:.1} s ({:.0} a second)", rows as f64 / seconds);
}

fn run(name: &str, file: &Path) {
    let opened = Instant::now();
    let mut registry = Registry::open(file).unwrap();
    let open = opened.elapsed();
    let policy = Policy::parse(include_str!("../../configs/policy-open-licences.toml")).unwrap();
    let (started, worked) = (Instant::now(), processor());
    let outcome = match name {
        "open" => format!("{:.1} ms", open.as_secs_f64() * 1000.0),
        "decide" => {
            let mut reasons: BTreeMap<_, u64> = BTreeMap::new();
            let mut classes = 0;
            let reader = registry.reader().unwrap();
            let count = |evidence: &_, images| {
                classes += 1;
                *reasons
                    .entry(decide(evidence, &policy, now()).reason_code.as_str())
                    .or_default() += images;
            };
            reader.classes(now(), &policy.own_artists, count).unwrap();
            format!("{classes} classes, {reasons:?}")
        }
        "decide-each" => {
            let mut reasons: BTreeMap<_, u64> = BTreeMap::new();
            for page in registry.reader().unwrap().pages(ImageFilter::default()) {
                for known in page.unwrap() {
                    let reason = decide(&known.evidence, &policy, now()).reason_code.as_str();
                    *reasons.entry(reason).or_default() += 1;
                }
            }
            format!("{reasons:?}")
        }
        "explain" => {
            let evidence = registry.evidence(&digest(37 * 5)).unwrap();
            decide(&evidence, &policy, now()).reason_code.to_string()
        }
        "reach-artist" => format!("{} images", reached(&registry, Target::Artist("artist 31".into()))),
        "reach-source" => format!(
            "{} images",
            reached(&registry, Target::Source("https://host9.example/".into()))
        ),
        "reach-image" => format!("{} images", reached(&registry, Target::Image(digest(99)))),
        "opt-out" => {
            let event = NewEvent::new(EventKind::OptOut, Some(Target::Artist("artist 77".into())));
            let stored = registry.append_event(&event, now()).unwrap();
            format!(
                "event {}, {} images",
                stored.seq,
                reached(&registry, Target::Artist("artist 77".into()))
            )
        }
        "list" => {
            let mut import = registry.begin_list().unwrap();
            for entry in 0..ENTRIES {
                // One in a thousand names a picture that is here.
                let row = if entry % 1000 == 0 { entry } else { entry + (1 << 32) };
                let (kind, text) = match entry % 2 {
                    0 => (EntryKind::Source, source(row)),
                    _ => (EntryKind::Sha256, digest(row).to_string()),
                };
                import.add(&ListEntry::new(kind, &text).unwrap()).unwrap();
            }
            import
                .finish(&NewEvent::new(EventKind::OptOut, None), None, None, now())
                .unwrap();
            format!("{ENTRIES} entries")
        }
        other => panic!("there is no `{other}`"),
    };
    let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
    let worked = processor() - worked;
    println!(
        "{name:14} {milliseconds:10.1} ms {worked:10.1} ms {:6.0} MiB  {outcome}",
        peak()
    );
}

fn reached(registry: &Registry, target: Target) -> usize {
    registry.reach(&target).unwrap().images.len()
}

/// Milliseconds of a processor that this thread had, whatever else the machine does.
fn processor() -> f64 {
    let times = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = times
        .split_whitespace()
        .next()
        .and_then(|time| time.parse::<f64>().ok());
    nanoseconds.unwrap_or(f64::NAN) / 1e6
}

/// The most memory this process held, in mebibytes.
fn peak() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    kibibytes.unwrap_or(f64::NAN) / 1024.0
}
