//! A snapshot in parts by artist.

use super::*;

#[test]
fn an_artist_has_one_place_whoever_else_is_there() {
    let of = |names: &[&str], shards| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        shard_of(&names, shards)
    };
    // Numbers that must never change: an adapter of a shard is only that of the same pictures while they hold.
    for (names, shards, expected) in [
        (&["Ada Example"][..], 4, 1),
        (&["ada  EXAMPLE"], 4, 1),
        (&["Ben Example", "Ada Example"], 4, 1),
        (&["Ada Example", "Ben Example"], 4, 1),
        (&["Ben Example"], 4, 3),
        (&[], 4, 4),
        (&["Ada Example"], 1, 1),
    ] {
        assert_eq!(of(names, shards), expected, "{names:?} of {shards}");
    }
    let mut counts = [0; 8];
    for i in 0..800 {
        counts[of(&[&format!("artist {i}")], 8) as usize - 1] += 1;
    }
    assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
}

#[test]
fn the_parts_of_the_others_are_the_same_without_an_artist() {
    let world = |with: &[&str], out: Option<&str>| {
        let mut world = World::new();
        for (name, artist, pixels) in [
            ("a.png", "Ada Example", 1),
            ("b.png", "Ada Example", 2),
            ("c.png", "Ben Example", 3),
            ("d.png", "Tove", 4),
            ("e.png", "Una", 5),
        ] {
            if with.contains(&artist) {
                world.add(name, artist, Some("CC0-1.0"), pixels);
            }
        }
        out.iter().for_each(|artist| world.opt_out(artist, 0));
        let set = world.create("set", 1);
        let found = parts(&world.registry, &set, 16).unwrap();
        let members: usize = found.iter().map(|part| part.document.members.len()).sum();
        assert_eq!(members, set.members.len());
        for part in &found {
            // The second time it is there.
            part.freeze(&mut world.registry).unwrap();
            part.freeze(&mut world.registry).unwrap();
        }
        for Part {
            shard, document: part, ..
        } in &found
        {
            assert_eq!(part.name, format!("set.{shard}of16"));
            assert_eq!((part.parent, part.excluded.len()), (Some(set.root), 0));
            assert_eq!(world.mismatches(&part.name, 2), []);
            assert_eq!(&Document::of(&world.registry, &part.name).unwrap(), part);
        }
        let roots = found.into_iter().map(|part| (part.shard, part.document.root));
        roots.collect::<std::collections::BTreeMap<_, _>>()
    };
    let all = ["Ada Example", "Ben Example", "Tove", "Una"];
    let whole = world(&all, None);
    assert_eq!(whole.len(), 4, "{whole:?}");
    let mut rest = whole.clone();
    rest.remove(&shard_of(&["Ada Example".to_owned()], 16)).unwrap();
    assert_eq!(world(&all[1..], None), rest, "never there");
    assert_eq!(world(&all, Some("Ada Example")), rest, "refused before");
}
