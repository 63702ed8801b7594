//! Random registries: what all images come to when those of a kind are decided at once, and when each is decided by
//! itself, is the same.

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::*;
use crate::consent::{
    Authentication, EventKind, Evidence, Policy, Purpose, ReasonCode, State, Target, decide_for, state,
};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::signals::{Claim, SignalSource};

const ARTISTS: [&str; 5] = ["Mira Lund", "M. Lund", "Ann", "Kai", "https://a.example/artist"];
const SOURCES: [&str; 5] = [
    "https://a.example/art/1",
    "https://A.example/ART",
    "https://a.example/artist",
    "https://b.example/",
    "https://b.example/x",
];
const LICENSES: [&str; 4] = ["CC0-1.0", "CC-BY-4.0", "CC-BY-NC-4.0", "free for all"];
const IMAGES: u8 = 8;

fn time(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

fn digest(number: u8) -> Sha256Digest {
    Sha256Digest::of_bytes(&[number])
}

fn purposes() -> impl Strategy<Value = Vec<Purpose>> {
    prop_oneof![Just(Vec::new()), subsequence(Purpose::ALL.to_vec(), 1..3)]
}

fn claim() -> impl Strategy<Value = Claim> {
    let purpose = prop_oneof![Just(None), select(Purpose::ALL).prop_map(Some)];
    (purpose, select(State::ALL), select(Authentication::ALL), "[ab]").prop_map(
        |(purpose, state, authenticated, raw)| Claim {
            source: SignalSource::IptcDataMining,
            raw,
            purpose,
            state,
            authenticated,
            holder: digest(200),
        },
    )
}

/// A place with a picture: the same path twice is a reading that replaces the first.
fn place() -> impl Strategy<Value = NewImage> {
    let words = (
        subsequence(ARTISTS.to_vec(), 0..3),
        subsequence(LICENSES.to_vec(), 0..3),
        prop::option::of(select(SOURCES.to_vec())),
        prop::option::of(select(vec!["", "Boat"])),
        prop::option::of(select(vec![
            "a boat",
            "by Mira-Lund",
            "MIRALUND",
            "in the style of m. lund",
            "Míra Lund",
        ])),
    );
    let flags = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, claim()),
    );
    (0..IMAGES, 0..10u8, words, flags).prop_map(
        |(image, path, (artists, licenses, source, title, caption), (made, doubt, claim))| {
            NewImage {
                sha256: digest(image),
                // The last two show the same.
                pixels: PixelDigest::from_bytes([image.min(IMAGES - 2); 32]),
                width: 2,
                height: 3,
                format: "png".into(),
                bytes: 9,
                fingerprint: None,
                location: NewLocation {
                    path: format!("/{path}.png").into(),
                    source: source.map(String::from),
                    collection: None,
                    notices: Vec::new(),
                    title: title.map(String::from),
                    caption: caption.map(String::from),
                    artists: artists.into_iter().map(String::from).collect(),
                    licenses: licenses.into_iter().map(|one| (one.into(), "reuse".into())).collect(),
                    ai_generated: made,
                    needs_review: doubt.then(|| format!("what {image} says")).into_iter().collect(),
                    claims: claim.into_iter().collect(),
                    size: 9,
                    modified: 1,
                    context: digest(100),
                },
            }
        },
    )
}

fn target() -> impl Strategy<Value = Target> {
    let prefix = select(vec![
        "https://a.example/",
        "https://a.example/art",
        "https://a.example/art/",
        "https://b",
    ]);
    prop_oneof![
        3 => select(ARTISTS.to_vec()).prop_map(|name| Target::Artist(name.to_uppercase())),
        3 => prefix.prop_map(|prefix| Target::Source(prefix.into())),
        1 => (0..IMAGES).prop_map(|image| Target::Image(digest(image))),
        1 => Just(Target::Collection("drawings".into())),
    ]
}

fn event() -> impl Strategy<Value = NewEvent> {
    let kind = prop_oneof![3 => Just(EventKind::OptOut), 2 => Just(EventKind::Grant)];
    let alias = prop::option::weighted(0.2, select(ARTISTS.to_vec()));
    let until = prop::option::of((0..20i64).prop_map(time));
    (kind, target(), purposes(), alias, until).prop_map(|(kind, target, purposes, alias, until)| {
        let artist = matches!(target, Target::Artist(_));
        NewEvent {
            aliases: alias.filter(|_| artist).map(String::from).into_iter().collect(),
            purposes,
            licensee: (kind == EventKind::Grant).then(|| "Studio".to_string()),
            until: until.filter(|_| kind == EventKind::Grant),
            ..NewEvent::new(kind, Some(target))
        }
    })
}

fn entry() -> impl Strategy<Value = ListEntry> {
    let entry = |kind, text: String| ListEntry::new(kind, &text).unwrap();
    prop_oneof![
        select(ARTISTS.to_vec()).prop_map(move |name| entry(EntryKind::Artist, name.into())),
        (0..IMAGES).prop_map(move |image| entry(EntryKind::Sha256, digest(image).to_string())),
        (0..IMAGES).prop_map(move |image| entry(EntryKind::Sha256, PixelDigest::from_bytes([image; 32]).to_string())),
        select(SOURCES.to_vec()).prop_map(move |source| entry(EntryKind::Source, source.into())),
        (0..2u8).prop_map(move |hash| entry(EntryKind::Perceptual, digest(hash).to_string())),
    ]
}

/// What happens to a registry, a step a day.
#[derive(Debug, Clone)]
enum Step {
    Read(Vec<NewImage>),
    Say(Box<NewEvent>),
    /// Ends one of the events, if it can be ended.
    Revoke(usize),
    /// The curator puts a place into the collection.
    Collect(u8),
    /// A list of refusals: an artist, a picture by its digest, an address.
    List(Vec<ListEntry>),
    /// Two pictures look alike, so many bits apart.
    Near(u8, u8, u32),
    /// A picture looks like what a hash of a list stands for.
    Listed(u8, u8),
    /// A person looked at a picture in doubt; the other is one it looks like.
    Review(EventKind, u8, u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => vec(place(), 1..6).prop_map(Step::Read),
        3 => event().prop_map(|event| Step::Say(Box::new(event))),
        1 => (0..4usize).prop_map(Step::Revoke),
        1 => (0..10u8).prop_map(Step::Collect),
        2 => (0..IMAGES, 0..IMAGES, 10..30u32).prop_map(|(a, b, distance)| Step::Near(a, b, distance)),
        1 => vec(entry(), 1..3).prop_map(Step::List),
        1 => (0..IMAGES, 0..2u8).prop_map(|(image, hash)| Step::Listed(image, hash)),
        1 => (select(vec![EventKind::Accept, EventKind::Reject]), 0..IMAGES, 0..IMAGES)
            .prop_map(|(kind, image, other)| Step::Review(kind, image, other)),
    ];
    vec(step, 1..14)
}

fn registry(steps: &[Step]) -> Registry {
    let mut registry = Registry::in_memory().unwrap();
    for (day, step) in (0..).zip(steps) {
        let at = time(day);
        match step {
            Step::Read(images) => drop(registry.add_images(images, at).unwrap()),
            Step::Say(event) => drop(registry.append_event(event, at).unwrap()),
            Step::Revoke(place) => {
                let events = registry.events(EventFilter::default()).unwrap();
                let end = NewEvent {
                    revokes: events.get(*place).map(|event| event.hash),
                    ..NewEvent::new(EventKind::Revoke, None)
                };
                if end.revokes.is_some() {
                    let _ = registry.append_event(&end, at);
                }
            }
            Step::Collect(path) => {
                let path = format!("/{path}.png").into_bytes();
                let sql = "UPDATE locations SET collection = 'drawings' WHERE path = ?1";
                registry.connection.execute(sql, [path]).unwrap();
            }
            Step::List(entries) => {
                let mut import = registry.begin_list().unwrap();
                for entry in entries {
                    import.add(entry).unwrap();
                }
                let event = NewEvent::new(EventKind::OptOut, None);
                import.finish(&event, None, None, at).unwrap();
            }
            Step::Near(a, b, distance) => {
                let sql = "INSERT OR IGNORE INTO near (a, b, distance)
                           SELECT x.id, y.id, ?3 FROM images AS x, images AS y
                           WHERE x.sha256 = ?1 AND y.sha256 = ?2 AND x.id < y.id";
                let pair = rusqlite::params![digest(*a), digest(*b), distance];
                registry.connection.execute(sql, pair).unwrap();
            }
            Step::Listed(image, hash) => {
                let sql = "INSERT OR IGNORE INTO listed (image_id, value, distance)
                           SELECT id, ?2, 9 FROM images WHERE sha256 = ?1";
                let listed = rusqlite::params![digest(*image), digest(*hash).to_string()];
                registry.connection.execute(sql, listed).unwrap();
            }
            Step::Review(kind, image, other) => {
                let event = NewEvent {
                    matters: vec![
                        format!("what {image} says"),
                        format!("near_duplicate:{}", digest(*other)),
                    ],
                    ..NewEvent::new(*kind, Some(Target::Image(digest(*image))))
                };
                registry.append_event(&event, at).unwrap();
            }
        }
    }
    registry
}

/// Every outcome there is about some evidence: the states before any policy and the reasons under each.
fn outcomes(evidence: &Evidence, policies: &[Policy], at: Timestamp) -> Vec<(Option<ReasonCode>, State)> {
    let mut outcomes = Vec::new();
    for purpose in Purpose::ALL {
        outcomes.push((None, state(evidence, *purpose, at)));
        for policy in policies {
            let decision = decide_for(evidence, policy, *purpose, at);
            outcomes.push((Some(decision.reason_code), decision.state));
        }
    }
    outcomes
}

fn policies() -> Vec<Policy> {
    let shipped = [
        include_str!("../../configs/policy-opt-in.toml"),
        include_str!("../../configs/policy-open-licences.toml"),
        include_str!("../../configs/policy-research-exception.toml"),
    ];
    let lenient = "name = \"lenient\"\npurpose = \"ai_training\"\n[refuse]\nai_generated = false\nneeds_review = false\n\
                   [grants]\nlicensees = [\"studio\"]\nsignals = [\"none\"]\nmax_age_days = 4\n\
                   [own]\nartists = [\"Ann\"]\n[attribution]\nrequire_title = true\n\
                   [licenses.accept]\n\"CC-BY-4.0\" = [\"attribution\"]\n";
    let texts = shipped.into_iter().chain([lenient]);
    texts.map(|text| Policy::parse(text).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn classes_decide_as_each_image_does(steps in steps(), day in -3..20i64) {
        let (registry, policies, at) = (registry(&steps), policies(), time(day));
        let reader = registry.reader().unwrap();
        let mut expected: BTreeMap<_, u64> = BTreeMap::new();
        for page in reader.pages(ImageFilter::default()) {
            for known in page.unwrap() {
                *expected.entry(outcomes(&known.evidence, &policies, at)).or_default() += 1;
            }
        }
        let mut found: BTreeMap<_, u64> = BTreeMap::new();
        let own = ["Ann".to_string()];
        let count = |evidence: &Evidence, images| {
            *found.entry(outcomes(evidence, &policies, at)).or_default() += images;
        };
        reader.classes(at, &own, count).unwrap();
        prop_assert_eq!(found, expected);
    }
}
