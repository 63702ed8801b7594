//! The page: charts, timeline, chain and small copies, all in one file that needs nothing else.

use assent::audit::{MomentKind, Thumb, Thumbnails, html};

use super::world::{World, opt_out, time};
use assent::audit::audit_adapter;

#[test]
fn charts_count_and_the_timeline_tells_what_touches_the_images() {
    let world = World::of_two_sets();
    opt_out(&mut world.registry(), "Bea <b>", 8);
    opt_out(&mut world.registry(), "Nobody here", 8);
    let report = world.audit();
    let shares = |of: &[assent::audit::Share]| -> Vec<(Option<String>, u64)> {
        of.iter().map(|share| (share.name.clone(), share.images)).collect()
    };
    assert_eq!(shares(&report.licenses), [(Some("CC-BY-4.0".to_owned()), 3), (None, 1)]);
    let artist = |name: &str, n| (Some(name.to_owned()), n);
    assert_eq!(
        shares(&report.artists),
        [artist("Ann", 2), artist("Bea <b>", 1), artist("Dee", 1)]
    );
    let kinds: Vec<_> = report.timeline.iter().map(|moment| (moment.at, moment.kind)).collect();
    assert_eq!(
        kinds,
        [
            (time(3), MomentKind::Frozen),
            (time(3), MomentKind::Frozen),
            (time(4), MomentKind::TrainingBegan),
            (time(5), MomentKind::Trained),
            // Not what was said of others: Cy, who was kept out, and nobody.
            (time(8), MomentKind::OptOut),
        ]
    );
    assert_eq!(report.timeline[4].says, "opt_out by artist `Bea <b>`: 1 image here");
    let log = report.log.as_ref().unwrap();
    assert_eq!((log.size, log.signed_heads), (3, 0));

    let page = html::page(&report, None, "adapter.safetensors", "0");
    assert!(page.contains("svg class=\"bars\"") && page.contains("svg class=\"lanes\""));
    for stranger in ["Bea <b>", "<script", "http:", "https:", "src=", "url(", "@import"] {
        assert!(!page.contains(stranger), "{stranger}");
    }
    // From base to adapter, in this order.
    let places: Vec<_> = ["Base model", "Snapshot", "Run", "Receipt", "Adapter"]
        .iter()
        .map(|name| page.find(&format!("<b>{name}</b><code>")).unwrap())
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}

#[test]
fn thumbnails_say_what_they_cannot_show() {
    let world = World::new();
    std::fs::remove_file(world.folder.path().join("a1.png")).unwrap();
    std::fs::write(world.folder.path().join("a2.png"), "another").unwrap();
    opt_out(&mut world.registry(), "Bea <b>", 8);
    let report = world.audit();
    let made = Thumbnails::of(&report, &world.registry(), |_, _| {}).unwrap();
    assert_eq!(made.get(&world.images[0]), Some(&Thumb::Missing));
    assert_eq!(made.get(&world.images[1]), Some(&Thumb::Changed));
    assert!(matches!(made.get(&world.images[2]), Some(Thumb::Refused(_))));
    assert_eq!(made.get(&world.images[3]), None, "what was kept out is not copied");
    let page = html::page(&report, Some(&made), "adapter.safetensors", "0");
    for says in [
        "the file is gone",
        "the file holds another picture now",
        "not shown: the content is not PNG",
        "thumb refused",
    ] {
        assert!(page.contains(says), "{says}");
    }
    // With no registry nothing is known of images, and the page is made all the same.
    let alone = audit_adapter(&world.adapter, None, time(9)).unwrap();
    assert!(!html::page(&alone, Some(&Thumbnails::default()), "a", "0").contains("<h2>How they look"));
}
