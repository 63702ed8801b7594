//! All images at once, those together about which a decision comes out the same.
//!
//! Every image has a row of facts and a set of artists in `image_facts`. Of most images nothing else is known, so that
//! they are counted by their facts. The others are those by artists of whom an event speaks, those that an event about
//! an address, a collection or a list touches, and those that look like a picture that somebody spoke against: each is
//! looked up, and decided with all others of the same combination. Images of which an event speaks by name are few, and
//! are gathered one by one. Memory holds a few numbers for each image that is looked up, and nothing for the rest.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension, params};

use super::coverage::{fold_address, reaches};
use super::evidence::Reader;
use super::facts::{Facts, SOME};
use super::reach::after_all;
use super::reading::{Key, held};
use super::values::{texts, time};
use super::{Result, artists};
use crate::consent::{EventKind, Evidence, Neighbour, Target};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::fingerprint::SAME;

/// Marks an image that is gathered by itself, instead of the place of an event.
const ALONE: u32 = u32::MAX;

/// What decides about an image, its neighbours aside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Class {
    facts: i64,
    profile: usize,
    /// Places of the events that touch it, sorted.
    events: Vec<u32>,
}

/// What is known of a set of artists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Profile {
    /// Places of the events that cover everything they made, sorted.
    events: Vec<usize>,
    /// Their names, where these matter.
    names: Vec<String>,
}

/// A row of facts.
struct Known {
    evidence: Evidence,
    artist: bool,
    denies: bool,
    /// Whether a statement was read after the time of the decision.
    later: bool,
}

impl Reader<'_> {
    /// Calls `visit` with evidence and how many images it decides about, as of `at`, until every image is counted.
    ///
    /// The evidence stands for that of the images in [`crate::consent::decide`] with any purpose and with any policy
    /// whose own artists are among `own`; texts, digests and names in it are not theirs.
    pub fn classes(&self, at: Timestamp, own: &[String], mut visit: impl FnMut(&Evidence, u64)) -> Result<()> {
        let known = self.known_facts(at)?;
        let (profiles, sets) = self.profiles(own)?;
        let touched = self.touched()?;
        let scene = Scene {
            reader: self,
            known,
            profiles,
            sets,
            touched,
        };
        let of_artists = scene.of_artists()?;
        let near = scene.near(&of_artists)?;
        let mut others: Vec<i64> = of_artists.iter().map(|(image, _)| *image).collect();
        others.extend(scene.touched.iter().map(|(image, _)| *image));
        others.extend(near.iter().map(|one| one.image));
        others.extend(scene.read_later()?);
        others.sort_unstable();
        others.dedup();
        let mut plain = scene.totals()?;
        let mut special: BTreeMap<(Class, BTreeSet<(Class, bool)>), u64> = BTreeMap::new();
        let mut near = near.as_slice();
        for image in others {
            let class = scene.class_of(image)?;
            if let Some(total) = plain.get_mut(&class.facts) {
                *total = total.saturating_sub(1);
            }
            // Both are in the order of rows, and every image of the one is among the others.
            let (beside, rest) = near.split_at(near.partition_point(|one| one.image <= image));
            near = rest;
            let mut neighbours = BTreeSet::new();
            for one in beside {
                neighbours.insert((scene.class_of(one.other)?, one.doubtful));
            }
            if scene.alone(&class) || neighbours.iter().any(|(other, _)| scene.alone(other)) {
                if let Some(held) = held(self.connection, Key::Row(image))? {
                    visit(&self.gather(held)?.evidence, 1);
                }
                continue;
            }
            *special.entry((class, neighbours)).or_default() += 1;
        }
        for (facts, count) in plain.into_iter().filter(|(_, count)| *count > 0) {
            let class = Class {
                facts,
                profile: 0,
                events: Vec::new(),
            };
            visit(&scene.evidence(&class, &BTreeSet::new()), count);
        }
        for ((class, neighbours), count) in special {
            visit(&scene.evidence(&class, &neighbours), count);
        }
        Ok(())
    }

    fn known_facts(&self, at: Timestamp) -> Result<HashMap<i64, Known>> {
        let mut query = self.connection.prepare_cached("SELECT id, facts, latest FROM facts")?;
        let mut rows = query.query([])?;
        let mut known = HashMap::new();
        while let Some(row) = rows.next()? {
            let facts = Facts::parse(&row.get::<_, String>(1)?)?;
            let latest = row.get::<_, Option<String>>(2)?.map(|text| time(&text)).transpose()?;
            let one = Known {
                evidence: facts.evidence(),
                artist: facts.artist,
                denies: facts.deny(),
                later: latest.is_some_and(|latest| latest > at),
            };
            known.insert(row.get(0)?, one);
        }
        Ok(known)
    }

    /// The profiles that occur, the first for artists of whom nobody speaks, and those of the sets with others.
    fn profiles(&self, own: &[String]) -> Result<(Vec<Profile>, HashMap<i64, usize>)> {
        let connection = self.connection;
        let mut owners = BTreeSet::new();
        for name in own {
            owners.extend(artists::find(connection, name)?);
        }
        let mut sets = BTreeSet::new();
        let spoken_of = self.coverage.by_artist.keys().chain(&owners);
        for artist in spoken_of {
            let mut query = connection.prepare_cached(
                "SELECT set_id FROM artist_names JOIN artist_set_names ON artist_set_names.folded = artist_names.folded
                 WHERE artist_id = ?1",
            )?;
            for set in query.query_map([artist], |row| row.get::<_, i64>(0))? {
                sets.insert(set?);
            }
        }
        let plain = Profile {
            events: Vec::new(),
            names: vec![SOME.to_string()],
        };
        let mut profiles = vec![plain.clone()];
        let mut places = BTreeMap::from([(plain, 0)]);
        let mut of_set = HashMap::new();
        for set in sets {
            let profile = self.profile(set, &owners)?;
            let next = profiles.len();
            let place = *places.entry(profile.clone()).or_insert(next);
            if place == next {
                profiles.push(profile);
            }
            of_set.insert(set, place);
        }
        Ok((profiles, of_set))
    }

    fn profile(&self, set: i64, owners: &BTreeSet<i64>) -> Result<Profile> {
        let names: String = self
            .connection
            .prepare_cached("SELECT names FROM artist_sets WHERE id = ?1")?
            .query_row([set], |row| row.get(0))?;
        let (mut events, mut display, mut owned) = (BTreeSet::new(), Vec::new(), false);
        for name in texts(&names)? {
            let Some(artist) = artists::find(self.connection, &name)? else {
                continue;
            };
            events.extend(self.coverage.by_artist.get(&artist).into_iter().flatten().copied());
            owned |= owners.contains(&artist);
            let name: String = self
                .connection
                .prepare_cached("SELECT name FROM artists WHERE id = ?1")?
                .query_row([artist], |row| row.get(0))?;
            display.push(name);
        }
        Ok(Profile {
            events: events.into_iter().collect(),
            names: if owned { display } else { vec![SOME.to_string()] },
        })
    }

    /// The images that events name otherwise than by their artists, each with the place of the event: sorted.
    fn touched(&self) -> Result<Vec<(i64, u32)>> {
        let mut touched = Vec::new();
        for (place, entry) in (0u32..).zip(&self.coverage.events) {
            match &entry.event.target {
                Some(Target::Source(prefix)) => {
                    let prefix = fold_address(prefix);
                    let mut query = self
                        .connection
                        .prepare_cached("SELECT image_id FROM image_addresses WHERE address >= ?1 AND address < ?2")?;
                    let mut rows = query.query(params![prefix, after_all(&prefix)])?;
                    while let Some(row) = rows.next()? {
                        let image = row.get(0)?;
                        if entry.event.kind == EventKind::OptOut || self.granted(image, place)? {
                            touched.push((image, place));
                        }
                    }
                }
                Some(Target::Collection(name)) => {
                    let mut query = self
                        .connection
                        .prepare_cached("SELECT image_id FROM locations WHERE collection = ?1")?;
                    for image in query.query_map([name], |row| row.get(0))? {
                        touched.push((image?, place));
                    }
                }
                _ => {}
            }
        }
        self.coverage.listed(self.connection, &mut touched)?;
        self.captioned(&mut touched)?;
        let mut query = self.connection.prepare_cached(
            "SELECT images.id FROM consent_events CROSS JOIN images ON sha256 = unhex(target)
             WHERE target_kind = 'image'",
        )?;
        for image in query.query_map([], |row| row.get(0))? {
            touched.push((image?, ALONE));
        }
        touched.sort_unstable();
        touched.dedup();
        Ok(touched)
    }

    /// Adds the images with a caption that names an artist who refused.
    fn captioned(&self, touched: &mut Vec<(i64, u32)>) -> Result<()> {
        if self.mentions.is_empty() {
            return Ok(());
        }
        let sql = "SELECT image_id, caption FROM locations WHERE caption IS NOT NULL";
        let mut query = self.connection.prepare_cached(sql)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            if self.mentions.may_name(row.get_ref(1)?.as_str()?) {
                touched.push((row.get(0)?, ALONE));
            }
        }
        Ok(())
    }

    /// Whether a grant about an address covers an image: it is compared as written.
    fn granted(&self, image: i64, place: u32) -> Result<bool> {
        let entry = &self.coverage.events[place as usize];
        let mut query = self
            .connection
            .prepare_cached("SELECT source FROM locations WHERE image_id = ?1 AND source IS NOT NULL")?;
        let mut rows = query.query([image])?;
        while let Some(row) = rows.next()? {
            if reaches(entry, &row.get::<_, String>(0)?) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// An image beside one that somebody spoke against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Beside {
    image: i64,
    other: i64,
    doubtful: bool,
}

/// Everything that the passes over the images look up.
struct Scene<'a> {
    reader: &'a Reader<'a>,
    known: HashMap<i64, Known>,
    profiles: Vec<Profile>,
    sets: HashMap<i64, usize>,
    touched: Vec<(i64, u32)>,
}

impl Scene<'_> {
    fn connection(&self) -> &Connection {
        self.reader.connection
    }

    /// How many images there are of each row of facts.
    fn totals(&self) -> Result<BTreeMap<i64, u64>> {
        let sql = "SELECT facts_id, count(*) FROM image_facts GROUP BY facts_id";
        let mut query = self.connection().prepare_cached(sql)?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The images by artists of whom an event speaks, or whose names matter, each with its profile.
    fn of_artists(&self) -> Result<Vec<(i64, usize)>> {
        let mut query = self
            .connection()
            .prepare_cached("SELECT image_id FROM image_facts WHERE artists_id = ?1")?;
        let mut images = Vec::new();
        for (set, profile) in &self.sets {
            for image in query.query_map([set], |row| row.get(0))? {
                images.push((image?, *profile));
            }
        }
        Ok(images)
    }

    /// The images of which something was read after the time of the decision.
    fn read_later(&self) -> Result<Vec<i64>> {
        let later = self.known.iter().filter(|(_, known)| known.later);
        self.with_facts(later.map(|(facts, _)| *facts))
    }

    fn with_facts(&self, facts: impl Iterator<Item = i64>) -> Result<Vec<i64>> {
        let mut query = self
            .connection()
            .prepare_cached("SELECT image_id FROM image_facts WHERE facts_id = ?1")?;
        let mut images = Vec::new();
        for facts in facts {
            for image in query.query_map([facts], |row| row.get(0))? {
                images.push(image?);
            }
        }
        Ok(images)
    }

    fn class_of(&self, image: i64) -> Result<Class> {
        let sql = "SELECT facts_id, artists_id FROM image_facts WHERE image_id = ?1";
        let found: Option<(i64, i64)> = self
            .connection()
            .prepare_cached(sql)?
            .query_row([image], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let (facts, set) = found.unwrap_or_default();
        let begin = self.touched.partition_point(|one| one.0 < image);
        let end = self.touched.partition_point(|one| one.0 <= image);
        Ok(Class {
            facts,
            profile: self.sets.get(&set).copied().unwrap_or(0),
            events: self.touched[begin..end].iter().map(|(_, event)| *event).collect(),
        })
    }

    fn later(&self, facts: i64) -> bool {
        self.known.get(&facts).is_none_or(|known| known.later)
    }

    /// Whether only the image itself can tell how it is decided.
    fn alone(&self, class: &Class) -> bool {
        class.events.contains(&ALONE) || self.later(class.facts)
    }

    /// The images beside those that somebody spoke against, sorted.
    fn near(&self, of_artists: &[(i64, usize)]) -> Result<Vec<Beside>> {
        let mut beside = Vec::new();
        if !self.reader.refused {
            return Ok(beside);
        }
        let refusal = |place: usize| self.reader.coverage.events[place].event.kind == EventKind::OptOut;
        let denying = self.known.iter().filter(|(_, known)| known.denies);
        let mut spoken = self.with_facts(denying.map(|(facts, _)| *facts))?;
        let refuse = |profile: usize| self.profiles[profile].events.iter().any(|place| refusal(*place));
        spoken.extend(
            of_artists
                .iter()
                .filter(|(_, profile)| refuse(*profile))
                .map(|(image, _)| image),
        );
        let refused = |place: u32| place == ALONE || refusal(place as usize);
        spoken.extend(
            self.touched
                .iter()
                .filter(|(_, place)| refused(*place))
                .map(|(image, _)| image),
        );
        spoken.sort_unstable();
        spoken.dedup();
        self.looking_alike(&spoken, &mut beside)?;
        self.equal_pixels(&spoken, &mut beside)?;
        // Of two ways in which they are alike the nearer counts.
        beside.sort_unstable();
        beside.dedup_by_key(|one| (one.image, one.other));
        Ok(beside)
    }

    fn looking_alike(&self, spoken: &[i64], beside: &mut Vec<Beside>) -> Result<()> {
        let spoken_against = |image: i64| spoken.binary_search(&image).is_ok();
        let mut query = self.connection().prepare_cached("SELECT a, b, distance FROM near")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let (a, b) = (row.get(0)?, row.get(1)?);
            let doubtful = row.get::<_, u32>(2)? > SAME;
            for (image, other) in [(a, b), (b, a)] {
                if spoken_against(other) {
                    beside.push(Beside { image, other, doubtful });
                }
            }
        }
        Ok(())
    }

    fn equal_pixels(&self, spoken: &[i64], beside: &mut Vec<Beside>) -> Result<()> {
        let mut query = self.connection().prepare_cached("SELECT pixels FROM copied")?;
        let mut of_pixels = self
            .connection()
            .prepare_cached("SELECT id FROM images WHERE pixels = ?1")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let pixels: PixelDigest = row.get(0)?;
            let group = of_pixels.query_map([pixels], |row| row.get(0))?;
            let group: Vec<i64> = group.collect::<rusqlite::Result<_>>()?;
            self.equal(&group, spoken, beside)?;
        }
        Ok(())
    }

    /// Of a thousand copies of which the same was said two tell it all: one of them is another than the image.
    fn equal(&self, group: &[i64], spoken: &[i64], beside: &mut Vec<Beside>) -> Result<()> {
        let mut telling: BTreeMap<Class, Vec<i64>> = BTreeMap::new();
        for image in group.iter().filter(|image| spoken.binary_search(image).is_ok()) {
            let images = telling.entry(self.class_of(*image)?).or_default();
            if images.len() < 2 {
                images.push(*image);
            }
        }
        for image in group {
            let others = telling.values().flatten().filter(|other| *other != image);
            beside.extend(others.map(|other| Beside {
                image: *image,
                other: *other,
                doubtful: false,
            }));
        }
        Ok(())
    }

    fn evidence(&self, class: &Class, others: &BTreeSet<(Class, bool)>) -> Evidence {
        let nowhere = Sha256Digest::from_bytes([0; 32]);
        let Some(known) = self.known.get(&class.facts) else {
            return Evidence::none(nowhere);
        };
        let profile = &self.profiles[class.profile];
        let events = &self.reader.coverage.events;
        let touching = class.events.iter().map(|place| *place as usize);
        let places: BTreeSet<_> = profile.events.iter().copied().chain(touching).collect();
        let neighbours = others.iter().map(|(other, doubtful)| {
            let other = self.evidence(other, &BTreeSet::new());
            Neighbour {
                image: nowhere,
                distance: 0,
                doubtful: *doubtful,
                statements: other.statements,
                ledger: other.ledger,
            }
        });
        Evidence {
            ledger: places.into_iter().map(|place| events[place].clone()).collect(),
            artists: if known.artist {
                profile.names.clone()
            } else {
                Vec::new()
            },
            neighbours: neighbours.collect(),
            ..known.evidence.clone()
        }
    }
}
