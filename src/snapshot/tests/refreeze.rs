//! What remains of a snapshot when pictures of it may not be used any more.

use std::collections::BTreeSet;

use super::*;

/// The images that go, with why.
fn gone(remains: &Remains) -> Vec<(Sha256Digest, ReasonCode)> {
    remains.gone.iter().map(|one| (one.image, one.reason_code)).collect()
}

fn images(document: &Document) -> BTreeSet<Sha256Digest> {
    document.members.iter().map(|member| member.image).collect()
}

#[test]
fn what_is_refused_and_what_is_named_goes_and_nothing_is_added() {
    let mut world = World::new();
    let ours = world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    let named = world.add("b.png", "Mira", Some("CC0-1.0"), 2);
    let refused = world.add("c.png", "Tove", Some("CC0-1.0"), 3);
    let before = world.add("d.png", "Una", None, 4);
    let parent = world.create("set", 1);
    let later = world.add("e.png", "Mira", Some("CC0-1.0"), 5);
    let left = |world: &World, without: &[Sha256Digest], day| {
        let parent = Document::of(&world.registry, "set").unwrap();
        remains(&world.registry, parent, &without.iter().copied().collect(), time(day)).unwrap()
    };
    assert_eq!(gone(&left(&world, &[], 2)), []);
    assert_eq!(gone(&left(&world, &[later, before], 2)), [], "only members go");

    world.opt_out("tove", 3);
    let today = left(&world, &[named], 4);
    let mut expected = vec![(named, ReasonCode::NotSelected), (refused, ReasonCode::DeniedByArtist)];
    expected.sort();
    let mut found = gone(&today);
    found.sort();
    assert_eq!((found, today.stay()), (expected, 1));
    let document = today.freeze(&mut world.registry).unwrap();
    assert_eq!((document.name.as_str(), document.parent), ("set-2", Some(parent.root)));
    assert_eq!(images(&document), [ours].into());
    let kept_out: BTreeSet<_> = document.excluded.iter().map(|one| one.image).collect();
    assert_eq!(kept_out, [named, refused, before].into());
    assert_eq!(document.check().unwrap(), None);
    assert_eq!(Document::of(&world.registry, "set-2").unwrap(), document);
    assert_eq!(world.mismatches("set-2", 5), []);
    let path = world.path("set-2.json");
    document.write(&path).unwrap();
    assert_eq!(Document::read(&path).unwrap(), document);

    // The same again is the same snapshot; another remainder gets the next name, and so does one of a remainder.
    let again = left(&world, &[named], 6).freeze(&mut world.registry).unwrap();
    assert_eq!(again, document);
    let other = left(&world, &[], 6).freeze(&mut world.registry).unwrap();
    assert_eq!((other.name.as_str(), other.members.len()), ("set-3", 2));
    let third = remains(&world.registry, other, &[named].into(), time(6)).unwrap();
    let third = third.freeze(&mut world.registry).unwrap();
    assert_eq!((third.name.as_str(), third.root), ("set-4", document.root));

    let all = left(&world, &[ours, named], 6).freeze(&mut world.registry);
    assert!(matches!(all, Err(SnapshotError::Empty { excluded: 3, .. })));
}

#[test]
fn a_picture_that_is_not_there_any_more_is_not_left_out_in_silence() {
    let mut world = World::new();
    let kept = world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    let lost = world.add("b.png", "Mira", Some("CC0-1.0"), 2);
    let parent = world.create("set", 1);
    std::fs::remove_file(world.path("b.png")).unwrap();
    let missing = remains(&world.registry, parent.clone(), &BTreeSet::new(), time(2));
    match missing {
        Err(SnapshotError::Mismatch { mismatches, .. }) => {
            assert_eq!(mismatches.len(), 1);
            assert_eq!(
                (mismatches[0].code, mismatches[0].image),
                (MismatchCode::FileMissing, Some(lost))
            );
        }
        other => panic!("{other:?}"),
    }
    let named = remains(&world.registry, parent, &[lost].into(), time(2)).unwrap();
    assert_eq!(images(&named.freeze(&mut world.registry).unwrap()), [kept].into());
}

#[test]
fn names_stay_legal() {
    let mut world = World::new();
    let one = world.add("a.png", "Mira", Some("CC0-1.0"), 1);
    world.add("b.png", "Mira", Some("CC0-1.0"), 2);
    for (name, expected) in [
        ("set-2", "set-2-2".to_owned()),
        (&"x".repeat(100), format!("{}-2", "x".repeat(90))),
    ] {
        let parent = world.create(name, 1);
        let rest = remains(&world.registry, parent, &[one].into(), time(2)).unwrap();
        assert_eq!(rest.freeze(&mut world.registry).unwrap().name, expected);
    }
}
