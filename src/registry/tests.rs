//! The registry in memory: what goes in comes out, once, and what must not change does not.
use jiff::Timestamp;
use rusqlite::Connection;

use super::*;
use crate::consent::{Authentication, EventKind, Purpose, State, Target};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::signals::{Claim, SignalSource};

pub(super) fn time(day: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + day * 86_400).unwrap()
}

pub(super) fn digest(name: &str) -> Sha256Digest {
    Sha256Digest::of_bytes(name.as_bytes())
}

pub(super) fn image(name: &str, path: &str, artist: &str) -> NewImage {
    NewImage {
        sha256: digest(name),
        pixels: PixelDigest::from_bytes(*digest(name).as_bytes()),
        width: 2,
        height: 3,
        format: "png".into(),
        bytes: 9,
        fingerprint: None,
        location: NewLocation {
            path: path.into(),
            source: Some(format!("https://a.example{path}")),
            collection: None,
            notices: Vec::new(),
            title: None,
            caption: None,
            artists: vec![artist.into()],
            licenses: vec![("CC0-1.0".into(), "reuse".into())],
            ai_generated: false,
            needs_review: Vec::new(),
            claims: Vec::new(),
            size: 9,
            modified: 1,
            context: digest("context"),
        },
    }
}

fn claim(state: State) -> Claim {
    Claim {
        source: SignalSource::IptcDataMining,
        raw: state.to_string(),
        purpose: None,
        state,
        authenticated: Authentication::None,
        holder: digest("holder"),
    }
}

pub(super) fn opt_out(target: Target) -> NewEvent {
    NewEvent::new(EventKind::OptOut, Some(target))
}

#[test]
fn an_image_is_held_once_however_often_it_is_read() {
    let mut registry = Registry::in_memory().unwrap();
    let first = image("a", "/a.png", "Mira");
    let outcome = |registry: &mut Registry, image: &NewImage| registry.add_images(std::slice::from_ref(image), time(0));
    assert_eq!(outcome(&mut registry, &first).unwrap(), [AddOutcome::Added]);
    assert_eq!(outcome(&mut registry, &first).unwrap(), [AddOutcome::Known]);
    assert_eq!(
        outcome(&mut registry, &image("a", "/b.png", "Mira")).unwrap(),
        [AddOutcome::Updated]
    );
    assert_eq!(registry.image_count().unwrap(), 1);
    assert_eq!(registry.image(&first.sha256).unwrap().paths.len(), 2);
    // Another picture takes the place of the first.
    assert_eq!(
        outcome(&mut registry, &image("b", "/a.png", "Mira")).unwrap(),
        [AddOutcome::Added]
    );
    assert_eq!(registry.image_at("/a.png".as_ref()).unwrap(), Some(digest("b")));
    assert_eq!(
        registry.image(&first.sha256).unwrap().paths,
        [std::path::PathBuf::from("/b.png")]
    );
}

#[test]
fn a_dropped_licence_goes_a_dropped_denial_stays() {
    let mut registry = Registry::in_memory().unwrap();
    let mut read = image("a", "/a.png", "Mira");
    read.location.claims = vec![claim(State::Denied), claim(State::Granted)];
    registry.add_images(&[read.clone()], time(0)).unwrap();
    read.location.claims.clear();
    read.location.licenses.clear();
    registry.add_images(&[read.clone()], time(1)).unwrap();
    let evidence = registry.evidence(&read.sha256).unwrap();
    assert!(evidence.licenses.is_empty());
    let kept: Vec<_> = evidence
        .statements
        .iter()
        .map(|said| (said.state, said.current))
        .collect();
    assert_eq!(kept, [(State::Denied, false), (State::Granted, false)]);
    assert_eq!(
        crate::consent::state(&evidence, Purpose::AiTraining, time(2)),
        State::Denied
    );
    let erased = registry
        .connection
        .execute("DELETE FROM signals WHERE state = 'denied'", []);
    assert!(erased.is_err());
}

#[test]
fn an_opt_out_reaches_every_name_and_copy_of_an_artist() {
    let mut registry = Registry::in_memory().unwrap();
    let mut copy = image("c", "/c.png", "Stranger");
    copy.pixels = image("a", "", "").pixels;
    let images = [image("a", "/a.png", "Mira Lund"), image("b", "/b.png", "M. Lund"), copy];
    registry.add_images(&images, time(0)).unwrap();
    let target = Target::Artist("mira  LUND".into());
    assert_eq!(registry.reach(&target).unwrap().images, [digest("a")]);
    let event = NewEvent {
        aliases: vec!["M. Lund".into()],
        ..opt_out(target.clone())
    };
    registry.append_event(&event, time(1)).unwrap();
    let reach = registry.reach(&target).unwrap();
    let mut direct = [digest("a"), digest("b")];
    direct.sort();
    assert_eq!(reach.images, direct);
    assert_eq!(reach.near_duplicates, [(digest("c"), digest("a"), 0)]);
    for name in ["a", "b", "c"] {
        let evidence = registry.evidence(&digest(name)).unwrap();
        assert_eq!(
            crate::consent::state(&evidence, Purpose::AiInference, time(2)),
            State::Denied,
            "{name}"
        );
    }
}

#[test]
fn a_refused_address_covers_more_than_a_granted_one() {
    let mut registry = Registry::in_memory().unwrap();
    registry
        .add_images(&[image("a", "/artist/a.png", "Mira")], time(0))
        .unwrap();
    let covered = |registry: &Registry| registry.evidence(&digest("a")).unwrap().ledger.len();
    let target = Target::Source("https://a.example/art".into());
    registry
        .append_event(&NewEvent::new(EventKind::Grant, Some(target.clone())), time(1))
        .unwrap();
    assert_eq!(covered(&registry), 0, "`/art` grants nothing of `/artist`");
    registry.append_event(&opt_out(target), time(2)).unwrap();
    assert_eq!(covered(&registry), 1);
}

#[test]
fn the_ledger_cannot_be_changed_and_shows_when_it_was() {
    let mut registry = Registry::in_memory().unwrap();
    for name in ["a", "b", "c"] {
        registry
            .append_event(&opt_out(Target::Artist(name.into())), time(5))
            .unwrap();
    }
    let early = registry
        .append_event(&opt_out(Target::Image(digest("d"))), time(1))
        .unwrap();
    assert_eq!(early.event.at, time(5), "never before the event before");
    assert_eq!(registry.verify_ledger().unwrap().problem, None);
    for sql in [
        "UPDATE consent_events SET note = 'x' WHERE seq = 2",
        "DELETE FROM consent_events WHERE seq = 4",
        "INSERT OR REPLACE INTO consent_events SELECT * FROM consent_events WHERE seq = 2",
    ] {
        assert!(registry.connection.execute(sql, []).is_err(), "{sql}");
    }
    let drop = "DROP TRIGGER consent_events_no_update; DROP TRIGGER consent_events_no_delete;";
    for (sql, place) in [
        ("UPDATE consent_events SET note = 'x' WHERE seq = 2", Some(2)),
        ("UPDATE consent_events SET at = 'yesterday' WHERE seq = 3", Some(3)),
        ("UPDATE consent_events SET purposes = '[]' WHERE seq = 1", Some(1)),
        ("DELETE FROM consent_events WHERE seq = 2", Some(3)),
        ("DELETE FROM consent_events WHERE seq = 4", Some(4)),
        ("SELECT 1", None),
    ] {
        registry
            .connection
            .execute_batch(&format!("BEGIN; {drop} {sql};"))
            .unwrap();
        let problem = registry.verify_ledger().unwrap().problem;
        assert_eq!(problem.map(|(seq, _)| seq), Some(place), "{sql}");
        registry.connection.execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(registry.verify_ledger().unwrap().problem, None);
}

#[test]
fn only_what_stands_can_be_revoked_and_only_once() {
    let mut registry = Registry::in_memory().unwrap();
    let event = registry
        .append_event(&opt_out(Target::Artist("a".into())), time(0))
        .unwrap();
    let end = NewEvent {
        revokes: Some(event.hash),
        ..NewEvent::new(EventKind::Revoke, None)
    };
    let ended = registry.append_event(&end, time(1)).unwrap();
    assert!(matches!(
        registry.append_event(&end, time(2)),
        Err(RegistryError::NotRevocable { seq: 1, .. })
    ));
    let again = NewEvent {
        revokes: Some(ended.hash),
        ..end
    };
    assert!(matches!(
        registry.append_event(&again, time(2)),
        Err(RegistryError::NotRevocable { seq: 2, .. })
    ));
    assert_eq!(registry.event("1").unwrap(), event);
    assert_eq!(registry.event(&ended.hash.to_string()[..8]).unwrap(), ended);
    assert!(registry.event("7").is_err());
}

#[test]
fn evidence_is_kept_and_a_changed_document_shows() {
    let mut registry = Registry::in_memory().unwrap();
    let event = NewEvent {
        evidence: Some(("letter.txt".into(), b"no".to_vec())),
        ..opt_out(Target::Artist("a".into()))
    };
    let stored = registry.append_event(&event, time(0)).unwrap();
    let kept = registry.evidence_document(&stored.event.evidence.unwrap()).unwrap();
    assert_eq!(kept, Some(("letter.txt".into(), b"no".to_vec())));
    registry
        .connection
        .execute_batch("DROP TRIGGER evidence_no_update; UPDATE evidence SET bytes = x'00'")
        .unwrap();
    assert!(registry.verify_ledger().unwrap().problem.is_some());
}

#[test]
fn a_new_file_gets_every_step_and_opens_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assent.db");
    drop(Registry::open(&path).unwrap());
    let again = Registry::open(&path).unwrap();
    assert_eq!(again.schema_version().unwrap() as usize, MIGRATIONS.len());
}

#[test]
fn what_is_no_registry_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "not a database at all, but longer than a header of one hundred bytes ".repeat(4),
    )
    .unwrap();
    assert!(matches!(Registry::open(&text), Err(RegistryError::Open { .. })));
    let other = folder.path().join("other.db");
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t (x)")
        .unwrap();
    assert!(matches!(
        Registry::open(&other),
        Err(RegistryError::NotARegistry { .. })
    ));
    let later = folder.path().join("later.db");
    drop(Registry::open(&later).unwrap());
    Connection::open(&later)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert!(matches!(
        Registry::open(&later),
        Err(RegistryError::TooNew { found: 99, .. })
    ));
}

#[test]
fn a_registry_of_before_gets_facts_and_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assent.db");
    let connection = Connection::open(&path).unwrap();
    let before = MIGRATIONS.iter().position(|step| step.contains("image_facts")).unwrap();
    for step in &MIGRATIONS[..before] {
        connection.execute_batch(step).unwrap();
    }
    let place =
        "x'2f612e706e67', 'https://A.example/a.png', NULL, NULL, 0, '[]', 9, 1, zeroblob(32), '2026-01-01T00:00:00Z'";
    connection
        .execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {before};
             INSERT INTO images VALUES (1, randomblob(32), zeroblob(32), 2, 3, 'png', 9, '2026-01-01T00:00:00Z');
             INSERT INTO locations (image_id, path, source, title, caption, ai_generated, needs_review, size, modified,
                context, seen_at) VALUES (1, {place});
             INSERT INTO artists VALUES (1, 'Mira');
             INSERT INTO artist_names (folded, name, artist_id) VALUES ('mira', 'Mira', 1);
             INSERT INTO location_artists VALUES (1, 0, 1);"
        ))
        .unwrap();
    drop(connection);
    let registry = Registry::open(&path).unwrap();
    let reached = |target: Target| registry.reach(&target).unwrap().images.len();
    assert_eq!(reached(Target::Artist("MIRA".into())), 1);
    assert_eq!(reached(Target::Source("https://a.example/".into())), 1);
    assert_eq!(reached(Target::Source("https://b.example/".into())), 0);
    let facts: String = registry
        .connection
        .query_row("SELECT facts FROM facts JOIN image_facts ON facts_id = id", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert!(facts.contains("\"artist\":true"), "{facts}");
}

#[test]
fn addresses_follow_the_places() {
    let mut registry = Registry::in_memory().unwrap();
    let reached = |registry: &Registry, prefix: &str| {
        let reach = registry.reach(&Target::Source(prefix.into())).unwrap();
        reach.images
    };
    registry
        .add_images(&[image("a", "/a.png", "Mira"), image("b", "/b.png", "Mira")], time(0))
        .unwrap();
    let mut both = [digest("a"), digest("b")];
    both.sort();
    assert_eq!(reached(&registry, "HTTPS://A.example/"), both);
    assert_eq!(reached(&registry, ""), both);
    assert_eq!(reached(&registry, "\u{10ffff}"), []);
    // The file at `/a.png` now holds the other picture, which comes from both addresses.
    registry.add_images(&[image("b", "/a.png", "Mira")], time(1)).unwrap();
    assert_eq!(reached(&registry, "https://a.example/"), [digest("b")]);
    assert_eq!(reached(&registry, "https://a.example/a"), [digest("b")]);
    assert_eq!(reached(&registry, "https://a.example/z"), []);
    let mut moved = image("b", "/a.png", "Mira");
    moved.location.source = None;
    registry.add_images(&[moved], time(2)).unwrap();
    assert_eq!(reached(&registry, "https://a.example/a"), []);
    assert_eq!(reached(&registry, "https://a.example/b"), [digest("b")]);
}

#[test]
fn beginnings_are_found_without_looking_at_every_key() {
    use std::collections::BTreeSet;
    let keys: BTreeSet<String> = ["", "a", "ab", "abc", "abd", "abz", "b", "é", "éa", "aé"]
        .map(String::from)
        .into();
    for address in ["", "a", "abcd", "abda", "aby", "éab", "aéx", "zz", "abz"] {
        let found = coverage::beginnings(address, |bound, included| {
            use std::ops::Bound::{Excluded, Included, Unbounded};
            let end = if included { Included(bound) } else { Excluded(bound) };
            let last = keys.range::<str, _>((Unbounded, end)).next_back();
            Ok(last.map(|key| key.as_str().into()))
        });
        let mut expected: Vec<_> = keys.iter().filter(|key| address.starts_with(key.as_str())).collect();
        expected.reverse();
        assert_eq!(
            found.unwrap(),
            expected.iter().map(|key| key.as_str()).collect::<Vec<_>>(),
            "{address}"
        );
    }
}

#[test]
fn pages_hold_every_image_once_in_order() {
    let mut registry = Registry::in_memory().unwrap();
    let images: Vec<_> = (0..2500)
        .map(|number| {
            image(
                &number.to_string(),
                &format!("/{number}.png"),
                if number % 3 == 0 { "Mira" } else { "Ann" },
            )
        })
        .collect();
    registry.add_images(&images, time(0)).unwrap();
    let listed = |filter| -> Vec<_> {
        let reader = registry.reader().unwrap();
        let pages: Vec<_> = reader.pages(filter).map(|page| page.unwrap()).collect();
        pages.into_iter().flatten().map(|known| known.image.sha256).collect()
    };
    let mut all: Vec<_> = images.iter().map(|image| image.sha256).collect();
    all.sort();
    assert_eq!(listed(ImageFilter::default()), all);
    let of = |artist: &str| ImageFilter {
        artist: Some(artist.into()),
        ..ImageFilter::default()
    };
    assert_eq!(listed(of("mira")).len(), 834);
    assert_eq!(listed(of("nobody")), []);
}
