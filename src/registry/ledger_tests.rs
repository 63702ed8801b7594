//! Signed events, identifiers and lists: what was signed stays signed, and what names a picture reaches it.
use jiff::Timestamp;

use super::tests::{digest, image, opt_out, time};
use super::*;
use crate::consent::{Authentication, EventKind, State, Target};
use crate::digest::Sha256Digest;
use crate::keys::SecretKey;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_random(&[seed; 32])
}

fn artist(name: &str) -> Target {
    Target::Artist(name.into())
}

fn covered(registry: &Registry, name: &str) -> bool {
    !registry.evidence(&digest(name)).unwrap().ledger.is_empty()
}

fn list(registry: &mut Registry, entries: &[(EntryKind, &str)]) -> ListReport {
    let mut import = registry.begin_list().unwrap();
    for (kind, text) in entries {
        import.add(&ListEntry::new(*kind, text).unwrap()).unwrap();
    }
    let new = NewEvent::new(EventKind::OptOut, None);
    import
        .finish(&new, Some(digest("file")), None, time(3))
        .unwrap()
        .unwrap()
}

#[test]
fn a_signature_is_kept_checked_and_missed_when_changed() {
    let mut registry = Registry::in_memory().unwrap();
    let said = registry.append_event(&opt_out(artist("a")), time(0)).unwrap();
    let signed = registry
        .append_signed(&opt_out(artist("b")), Some(&key(1)), time(1))
        .unwrap();
    let end = NewEvent {
        revokes: Some(signed.hash),
        ..NewEvent::new(EventKind::Revoke, None)
    };
    registry.append_signed(&end, Some(&key(2)), time(2)).unwrap();
    registry.trust_key(&key(2).public(), Some("Mira"), time(0)).unwrap();
    let events = registry.events(EventFilter::default()).unwrap();
    let expected = [Authentication::None, Authentication::Signed, Authentication::Trusted];
    assert_eq!(registry.authentications(&events).unwrap(), expected);
    assert_eq!(events[0], said);
    let report = registry.verify_ledger().unwrap();
    assert_eq!((report.problem, report.signed, report.events), (None, 2, 3));
    assert!(registry.distrust_key(&key(2).public()).unwrap());
    assert_eq!(registry.authentications(&events).unwrap()[2], Authentication::Signed);
    // The chain covers the signer, and the signature is looked at anew.
    let drop = "DROP TRIGGER consent_events_no_update";
    for (sql, place) in [
        ("UPDATE consent_events SET signature = zeroblob(64) WHERE seq = 2", 2),
        ("UPDATE consent_events SET signer = zeroblob(32) WHERE seq = 3", 3),
        (
            "UPDATE consent_events SET signer = NULL, signature = NULL WHERE seq = 2",
            2,
        ),
    ] {
        let batch = format!("BEGIN; {drop}; {sql};");
        registry.connection.execute_batch(&batch).unwrap();
        let problem = registry.verify_ledger().unwrap().problem;
        assert_eq!(problem.map(|(seq, _)| seq), Some(Some(place)), "{sql}");
        registry.connection.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn an_identifier_reaches_creators_and_the_artists_own_pages() {
    let mut registry = Registry::in_memory().unwrap();
    let mut images = [
        image("by-orcid", "/1.png", "https://orcid.org/0000-0002-1825-0097"),
        image("on-page", "/2.png", "Uploader"),
        image("beside-page", "/3.png", "Uploader"),
        image("other", "/4.png", "Other"),
    ];
    images[1].location.source = Some("https://www.deviantart.com/Mira-L/art/1".into());
    images[2].location.source = Some("https://www.deviantart.com/mira-lund/art/1".into());
    registry.add_images(&images, time(0)).unwrap();
    let event = NewEvent {
        aliases: vec!["orcid:0000-0002-1825-0097".into(), "deviantart:mira-l".into()],
        ..opt_out(artist("Mira Lund"))
    };
    registry.append_event(&event, time(1)).unwrap();
    assert!(covered(&registry, "by-orcid") && covered(&registry, "on-page"));
    assert!(!covered(&registry, "beside-page") && !covered(&registry, "other"));
    assert_eq!(registry.reach(&artist("mira lund")).unwrap().images.len(), 2);
    let kinds: Vec<(String, String)> = registry
        .connection
        .prepare("SELECT folded, kind FROM artist_names ORDER BY folded")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    let identifiers: Vec<_> = kinds.iter().filter(|(_, kind)| kind == "identifier").collect();
    assert_eq!(identifiers.len(), 2, "{kinds:?}");
    // A grant reaches by name alone: a page may hold what others made.
    let mut registry = Registry::in_memory().unwrap();
    registry.add_images(&images, time(0)).unwrap();
    let grant = NewEvent {
        kind: EventKind::Grant,
        ..event
    };
    registry.append_event(&grant, time(1)).unwrap();
    assert!(covered(&registry, "by-orcid") && !covered(&registry, "on-page"));
}

#[test]
fn a_list_reaches_by_address_digest_and_name_and_is_brought_in_once() {
    let mut registry = Registry::in_memory().unwrap();
    let names = ["a", "b", "c", "d", "e"];
    let images: Vec<_> = names
        .iter()
        .map(|name| image(name, &format!("/{name}/x.png"), &format!("Artist {name}")))
        .collect();
    registry.add_images(&images, time(0)).unwrap();
    registry.add_aliases("Artist c", &["Cee".into()]).unwrap();
    let pixels = digest("d").to_string();
    let report = list(
        &mut registry,
        &[
            (EntryKind::Source, "http://www.a.example/A/"),
            (EntryKind::Source, "https://a.example/b/x.pn"),
            (EntryKind::Artist, "CEE"),
            (EntryKind::Artist, "cee "),
            (EntryKind::Sha256, &pixels),
            (EntryKind::Perceptual, &"0f".repeat(32)),
        ],
    );
    assert!(!report.known);
    assert_eq!(report.entries.values().sum::<u64>(), 5);
    let found: Vec<bool> = names.iter().map(|name| covered(&registry, name)).collect();
    assert_eq!(found, [true, false, true, true, false]);
    let target = Target::List(report.list);
    assert_eq!(registry.reach(&target).unwrap().images.len(), 3);
    assert_eq!(
        registry.list_entries(EntryKind::Perceptual).unwrap(),
        [("0f".repeat(32), report.list)]
    );
    let again = list(
        &mut registry,
        &[
            (EntryKind::Sha256, &pixels.to_uppercase()),
            (EntryKind::Perceptual, &"0F".repeat(32)),
            (EntryKind::Artist, "Cee"),
            (EntryKind::Source, "https://a.example/a"),
            (EntryKind::Source, "https://a.example/b/x.pn"),
        ],
    );
    assert!(
        again.known,
        "the same entries in another order and case are the same list"
    );
    assert_eq!(again.stored, report.stored);
    assert_eq!(registry.verify_ledger().unwrap().problem, None);
    assert!(registry.connection.execute("DELETE FROM list_entries", []).is_err());
    // Withdrawn, it reaches nothing; brought in again, it is said again.
    let end = NewEvent {
        revokes: Some(report.stored.hash),
        ..NewEvent::new(EventKind::Revoke, None)
    };
    registry.append_event(&end, time(4)).unwrap();
    let evidence = registry.evidence(&digest("a")).unwrap();
    let state = crate::consent::state(&evidence, crate::consent::Purpose::AiTraining, time(5));
    assert_ne!(state, State::Denied);
    // An entry that is taken out of the registry's file shows.
    for sql in [
        "DELETE FROM list_entries WHERE kind = 'artist'",
        "DELETE FROM list_entries",
        "UPDATE list_entries SET value = value || 'x' WHERE kind = 'source'",
    ] {
        let batch = format!("BEGIN; DROP TRIGGER list_entries_no_delete; DROP TRIGGER list_entries_no_update; {sql};");
        registry.connection.execute_batch(&batch).unwrap();
        let triggers = "CREATE TRIGGER list_entries_no_delete BEFORE DELETE ON list_entries BEGIN SELECT 1; END;
                        CREATE TRIGGER list_entries_no_update BEFORE UPDATE ON list_entries BEGIN SELECT 1; END;";
        registry.connection.execute_batch(triggers).unwrap();
        let (_, problem) = registry.verify_ledger().unwrap().problem.unwrap();
        assert!(problem.contains(&report.list.short()), "{problem}");
        registry.connection.execute_batch("ROLLBACK").unwrap();
    }
}

#[test]
fn a_list_that_is_dropped_halfway_leaves_nothing() {
    let mut registry = Registry::in_memory().unwrap();
    let mut import = registry.begin_list().unwrap();
    import.add(&ListEntry::new(EntryKind::Artist, "a").unwrap()).unwrap();
    drop(import);
    let import = registry.begin_list().unwrap();
    let new = NewEvent::new(EventKind::OptOut, None);
    assert_eq!(import.finish(&new, None, None, Timestamp::UNIX_EPOCH).unwrap(), None);
    assert_eq!(registry.ledger_head().unwrap().seq, 0);
    assert!(registry.list_entries(EntryKind::Artist).unwrap().is_empty());
    assert!(!registry.has_list(&Sha256Digest::of_bytes(b"")).unwrap());
}

#[test]
fn a_caption_that_names_an_artist_who_opted_out_is_evidence() {
    let mut registry = Registry::in_memory().unwrap();
    let mut other = image("a", "/a.png", "Somebody");
    other.location.caption = Some("a boat in the style of MIRA_LUND".into());
    registry.add_images(&[other], time(0)).unwrap();
    let mentions = |registry: &Registry| registry.evidence(&digest("a")).unwrap().mentions;
    assert!(mentions(&registry).is_empty());
    let event = NewEvent {
        aliases: vec!["Mira Lund".into(), "https://mira.example/lund".into()],
        ..opt_out(artist("M. L. Sowa"))
    };
    registry.append_event(&event, time(1)).unwrap();
    let grant = NewEvent::new(EventKind::Grant, Some(artist("mira lund")));
    registry.append_event(&grant, time(2)).unwrap();
    let grant = NewEvent::new(EventKind::Grant, Some(Target::Image(digest("a"))));
    registry.append_event(&grant, time(3)).unwrap();
    let found = mentions(&registry);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].place.as_str(), found[0].name.as_str()),
        ("caption", "MIRA_LUND")
    );
    let events: Vec<_> = found[0]
        .ledger
        .iter()
        .map(|entry| (entry.seq, entry.event.kind))
        .collect();
    assert_eq!(
        events,
        [(1, EventKind::OptOut), (2, EventKind::Grant), (3, EventKind::Grant)]
    );
    let prompts = registry.mentions().unwrap();
    assert_eq!(prompts.find("prompt", "M.L. Sowa, boat")[0].ledger.len(), 2);
}

fn exported(stored: &StoredEvent, ended: Option<Sha256Digest>) -> String {
    let value = match stored.envelope(ended).unwrap() {
        Some(envelope) => serde_json::json!({ "envelope": envelope }),
        None => serde_json::json!({"said": crate::consent::Said::of(&stored.event, ended)}),
    };
    value.to_string()
}

fn export(registry: &Registry) -> Vec<String> {
    let mut said = SaidDigests::default();
    let events = registry.events(EventFilter::default()).unwrap();
    events
        .iter()
        .map(|stored| exported(stored, said.ended(stored).unwrap()))
        .collect()
}

/// What becomes of each line: `a`dded, `f`lagged, `k`nown, `r`efused, or `-` when it does not parse.
fn bring(registry: &mut Registry, lines: &[String]) -> String {
    let mut import = registry.begin_events(time(50)).unwrap();
    let outcomes = lines.iter().map(|line| match ForeignEvent::parse(line.as_bytes()) {
        Err(_) => '-',
        Ok(event) => match import.add(event).unwrap() {
            Imported::Added(_) => 'a',
            Imported::Flagged(_) => 'f',
            Imported::Known => 'k',
            Imported::Refused(_) => 'r',
        },
    });
    let outcomes = outcomes.collect();
    import.finish().unwrap();
    outcomes
}

#[test]
fn events_go_from_ledger_to_ledger_once_and_stay_signed() {
    let mut home = Registry::in_memory().unwrap();
    let refusal = home
        .append_signed(&opt_out(artist("a")), Some(&key(1)), time(0))
        .unwrap();
    home.append_event(&opt_out(artist("b")), time(1)).unwrap();
    let end = NewEvent {
        revokes: Some(refusal.hash),
        ..NewEvent::new(EventKind::Revoke, None)
    };
    home.append_signed(&end, Some(&key(1)), time(2)).unwrap();
    home.append_signed(
        &NewEvent::new(EventKind::Grant, Some(artist("a"))),
        Some(&key(1)),
        time(3),
    )
    .unwrap();
    let lines = export(&home);
    // Into another ledger, where other events came first.
    let mut away = Registry::in_memory().unwrap();
    away.append_event(&opt_out(artist("z")), time(9)).unwrap();
    assert_eq!(bring(&mut away, &lines), "aaaa");
    assert_eq!(bring(&mut away, &lines), "kkkk");
    let events = away.events(EventFilter::default()).unwrap();
    assert_eq!(events.len(), 5);
    assert!(
        events[1..]
            .iter()
            .all(|stored| stored.event.imported && stored.event.at == time(50))
    );
    assert_eq!(events[1].event.issued, Some(time(0)), "when it was said is kept");
    assert_eq!(
        events[3].event.revokes,
        Some(events[1].hash),
        "the revocation ends the event as it is here"
    );
    let report = away.verify_ledger().unwrap();
    assert_eq!((report.problem, report.signed, report.flagged), (None, 3, vec![]));
    // And back: what came from here is known, whatever place it has there.
    assert_eq!(bring(&mut home, &export(&away)), "akkkk");
}

#[test]
fn what_permits_needs_its_signature_what_refuses_does_not() {
    let mut home = Registry::in_memory().unwrap();
    let refusal = home
        .append_signed(&opt_out(artist("a")), Some(&key(1)), time(0))
        .unwrap();
    let grant = NewEvent::new(EventKind::Grant, Some(artist("a")));
    let grant = home.append_signed(&grant, Some(&key(1)), time(1)).unwrap();
    let forged = |stored: &StoredEvent| {
        let mut forged = stored.clone();
        forged.signature.as_mut().unwrap()[3] ^= 1;
        exported(&forged, None)
    };
    let mut away = Registry::in_memory().unwrap();
    assert_eq!(
        bring(&mut away, &[forged(&refusal), forged(&grant), forged(&refusal)]),
        "frk"
    );
    let report = away.verify_ledger().unwrap();
    assert_eq!((report.problem, report.signed, report.flagged), (None, 0, vec![1]));
    let events = away.events(EventFilter::default()).unwrap();
    assert_eq!(away.authentications(&events).unwrap(), [Authentication::Invalid]);
    // The real one is not taken for the forged one.
    assert_eq!(
        bring(&mut away, &[exported(&refusal, None), exported(&grant, None)]),
        "aa"
    );
    // Only who refused can lift it from another ledger; nobody can lift it unsigned.
    let end = NewEvent {
        revokes: Some(refusal.hash),
        ..NewEvent::new(EventKind::Revoke, None)
    };
    let mut lines = Vec::new();
    for other in [None, Some(key(2)), Some(key(1))] {
        let folder = tempfile::tempdir().unwrap();
        let mut copy = Registry::open(&folder.path().join("a.db")).unwrap();
        copy.append_signed(&opt_out(artist("a")), Some(&key(1)), time(0))
            .unwrap();
        copy.append_signed(&end, other.as_ref(), time(2)).unwrap();
        lines.push(export(&copy).pop().unwrap());
    }
    assert_eq!(bring(&mut away, &lines), "rra");
    assert_eq!(
        bring(&mut Registry::in_memory().unwrap(), &lines),
        "rrr",
        "what it ends is not there"
    );
}

#[test]
fn every_changed_byte_of_an_exported_grant_is_noticed() {
    let mut home = Registry::in_memory().unwrap();
    let grant = NewEvent {
        licensee: Some("Studio".into()),
        ..NewEvent::new(EventKind::Grant, Some(artist("a")))
    };
    let stored = home.append_signed(&grant, Some(&key(1)), time(1)).unwrap();
    let envelope = stored.envelope(None).unwrap().unwrap();
    for at in 0..envelope.payload.len() {
        let mut changed = envelope.clone();
        changed.payload[at] ^= 1;
        let line = serde_json::to_string(&changed).unwrap();
        let verifies =
            ForeignEvent::parse(line.as_bytes()).is_ok_and(|event| event.authentication == Authentication::Signed);
        assert!(!verifies, "byte {at}");
    }
    for line in [
        "",
        "{}",
        "[]",
        "{\"envelope\":{}}",
        "{\"said\":{}}",
        "{\"payload\":\"\"}",
        "null",
        "{\"said\":null}",
    ] {
        assert!(ForeignEvent::parse(line.as_bytes()).is_err(), "{line}");
    }
    // Deeper than any event is.
    assert!(ForeignEvent::parse("[".repeat(100_000).as_bytes()).is_err());
}

#[test]
fn a_grant_said_before_a_refusal_lifts_nothing_however_late_it_comes_in() {
    let mut home = Registry::in_memory().unwrap();
    for day in [1, 9] {
        let grant = NewEvent::new(EventKind::Grant, Some(artist("Mira")));
        home.append_signed(&grant, Some(&key(1)), time(day)).unwrap();
    }
    let lines = export(&home);
    let mut away = Registry::in_memory().unwrap();
    away.add_images(&[image("a", "/a.png", "Mira")], time(0)).unwrap();
    away.append_event(&opt_out(artist("Mira")), time(5)).unwrap();
    let state = |away: &Registry| {
        let evidence = away.evidence(&digest("a")).unwrap();
        crate::consent::state(&evidence, crate::consent::Purpose::AiTraining, time(60))
    };
    assert_eq!(bring(&mut away, &lines[..1]), "a");
    assert_eq!(state(&away), State::Denied);
    assert_eq!(bring(&mut away, &lines), "ka");
    assert_eq!(state(&away), State::Granted);
}
