//! Everything that is known, gathered for deciding: which events cover which image, and which images show the same
//! thing as one that somebody spoke against. These functions only read.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;

use super::values::{time, word};
use super::{EventFilter, ImageFilter, ImageRecord, Registry, RegistryError, Result, StoredEvent, fold_name};
use crate::consent::{Authentication, EventKind, Evidence, LedgerEntry, Neighbour, Purpose, State, Statement, Target};
use crate::digest::Sha256Digest;
use crate::fingerprint::{DOUBTFUL, Fingerprint, Index, SAME};

/// Every image with the evidence about it, read at one moment.
#[derive(Debug, Clone)]
pub struct Known {
    /// The images, sorted by digest.
    pub images: Vec<ImageRecord>,
    evidence: BTreeMap<Sha256Digest, Evidence>,
}

/// What an event or an artist reaches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// The images it names.
    pub images: Vec<Sha256Digest>,
    /// Those that show the same thing as one of these: the copy, the image it shows, and how many bits apart.
    pub near_duplicates: Vec<(Sha256Digest, Sha256Digest, u32)>,
    /// Those of which a person should say whether they do, in the same form.
    pub doubtful: Vec<(Sha256Digest, Sha256Digest, u32)>,
    /// Snapshots that hold any of the images or near-duplicates: name and root.
    pub snapshots: Vec<(String, Sha256Digest)>,
    /// Adapters that were trained on such a snapshot.
    pub adapters: Vec<Sha256Digest>,
}

impl Known {
    /// The evidence about an image.
    pub fn evidence(&self, image: &Sha256Digest) -> Option<&Evidence> {
        self.evidence.get(image)
    }
}

impl Registry {
    /// The evidence about one image.
    pub fn evidence(&self, image: &Sha256Digest) -> Result<Evidence> {
        self.known()?
            .evidence
            .remove(image)
            .ok_or(RegistryError::NoSuchImage(*image))
    }

    /// Every image with the evidence about it.
    pub fn known(&self) -> Result<Known> {
        let images = self.images(&ImageFilter::default())?;
        let mut statements = self.statements()?;
        let ledger = Ledger::of(self)?;
        let mut evidence = BTreeMap::new();
        for image in &images {
            let gathered = Evidence {
                statements: statements.remove(&image.sha256).unwrap_or_default(),
                ledger: ledger.covering(image),
                licenses: image.licenses.clone(),
                artists: image.artists.clone(),
                title: image.title.clone(),
                ai_generated: image.ai_generated,
                needs_review: image.needs_review.clone(),
                ..Evidence::none(image.sha256)
            };
            evidence.insert(image.sha256, gathered);
        }
        let spoken_against: Vec<_> = evidence.values().filter(|known| any_denial(known)).cloned().collect();
        for (copy, shown, distance, doubtful) in
            self.near(&images, spoken_against.iter().map(|known| known.image).collect())?
        {
            let source = spoken_against.iter().find(|known| known.image == shown);
            if let (Some(known), Some(source)) = (evidence.get_mut(&copy), source) {
                known.neighbours.push(Neighbour {
                    image: shown,
                    distance,
                    doubtful,
                    statements: source.statements.clone(),
                    ledger: source.ledger.clone(),
                });
            }
        }
        Ok(Known { images, evidence })
    }

    /// What an opt-out of this target reaches: images, their near-duplicates, and what was made of them.
    pub fn reach(&self, target: &Target) -> Result<Reach> {
        let images = self.images(&ImageFilter::default())?;
        let names = Ledger::names(self)?;
        let covered = |image: &&ImageRecord| covers(target, &[], image, &names, true);
        let direct: BTreeSet<_> = images.iter().filter(covered).map(|image| image.sha256).collect();
        let mut reach = Reach {
            images: direct.iter().copied().collect(),
            ..Reach::default()
        };
        for (copy, shown, distance, doubtful) in self.near(&images, reach.images.clone())? {
            match (direct.contains(&copy), doubtful) {
                (true, _) => {}
                (false, true) => reach.doubtful.push((copy, shown, distance)),
                (false, false) => reach.near_duplicates.push((copy, shown, distance)),
            }
        }
        let reached: BTreeSet<_> = direct
            .into_iter()
            .chain(reach.near_duplicates.iter().map(|near| near.0))
            .collect();
        for (name, root, image) in self.memberships()? {
            if reached.contains(&image) && !reach.snapshots.iter().any(|known| known.0 == name) {
                reach.snapshots.push((name, root));
            }
        }
        for adapter in self.adapters()? {
            if reach.snapshots.iter().any(|(_, root)| *root == adapter.snapshot_root) {
                reach.adapters.push(adapter.sha256);
            }
        }
        Ok(reach)
    }

    /// The fingerprints of all images that have one, sorted by digest.
    pub fn fingerprints(&self) -> Result<Vec<(Sha256Digest, Fingerprint)>> {
        let mut query = self
            .connection
            .prepare("SELECT sha256, fingerprint FROM images WHERE fingerprint IS NOT NULL ORDER BY sha256")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        rows.map(|row| {
            let (sha256, bytes): (Sha256Digest, Vec<u8>) = row?;
            let damaged = |error: crate::fingerprint::FingerprintError| RegistryError::Damaged {
                expected: "a fingerprint of this version (`assent ingest` makes it anew)",
                found: error.to_string(),
            };
            Ok((sha256, Fingerprint::from_bytes(&bytes).map_err(damaged)?))
        })
        .collect()
    }

    /// Which images show the same thing as one of `shown`: `(image, shown, distance, in doubt)`, sorted.
    fn near(
        &self,
        images: &[ImageRecord],
        shown: Vec<Sha256Digest>,
    ) -> Result<Vec<(Sha256Digest, Sha256Digest, u32, bool)>> {
        if shown.is_empty() {
            return Ok(Vec::new());
        }
        let prints = self.fingerprints()?;
        let by_digest: HashMap<_, _> = prints.iter().map(|(key, print)| (*key, print.clone())).collect();
        let index = Index::new(prints);
        let pixels: HashMap<_, _> = images.iter().map(|image| (image.sha256, image.pixels)).collect();
        let mut same: HashMap<_, Vec<_>> = HashMap::new();
        for image in images {
            same.entry(image.pixels).or_default().push(image.sha256);
        }
        let mut near = BTreeMap::new();
        for shown in shown {
            let found = by_digest
                .get(&shown)
                .map(|print| index.near(print, DOUBTFUL))
                .unwrap_or_default();
            for other in found {
                near.insert((other.key, shown), other.distance);
            }
            // The same pixels are the same picture, however little there is to see on it.
            for copy in pixels
                .get(&shown)
                .and_then(|pixels| same.get(pixels))
                .into_iter()
                .flatten()
            {
                near.insert((*copy, shown), 0);
            }
        }
        let others = near.into_iter().filter(|((copy, shown), _)| copy != shown);
        Ok(others
            .map(|((copy, shown), distance)| (copy, shown, distance, distance > SAME))
            .collect())
    }

    fn statements(&self) -> Result<HashMap<Sha256Digest, Vec<Statement>>> {
        let mut query = self.connection.prepare(
            "SELECT sha256, source, raw, purpose, state, authentication, holder, min(read_at), max(current)
             FROM signals JOIN images ON images.id = image_id
             GROUP BY image_id, source, raw, purpose, state, authentication, holder
             ORDER BY image_id, min(signals.id)",
        )?;
        let mut statements: HashMap<_, Vec<_>> = HashMap::new();
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let purpose: String = row.get(3)?;
            let statement = Statement {
                source: row.get(1)?,
                raw: row.get(2)?,
                purpose: match purpose.as_str() {
                    "all" => None,
                    other => Some(word(other, "a purpose", Purpose::parse)?),
                },
                state: word(&row.get::<_, String>(4)?, "a state", State::parse)?,
                authentication: word(&row.get::<_, String>(5)?, "an authentication", Authentication::parse)?,
                holder: row.get(6)?,
                read_at: time(&row.get::<_, String>(7)?)?,
                current: row.get(8)?,
            };
            statements.entry(row.get(0)?).or_default().push(statement);
        }
        Ok(statements)
    }
}

fn any_denial(evidence: &Evidence) -> bool {
    evidence
        .statements
        .iter()
        .any(|statement| statement.state == State::Denied)
        || evidence
            .ledger
            .iter()
            .any(|entry| entry.event.kind == EventKind::OptOut)
}

/// The ledger, ready to be asked which events cover an image.
struct Ledger {
    events: Vec<(StoredEvent, Option<Timestamp>)>,
    /// Folded name → folded primary name of the artist.
    names: HashMap<String, String>,
}

impl Ledger {
    fn of(registry: &Registry) -> Result<Ledger> {
        let events = registry.events(EventFilter::default())?;
        let ended: HashMap<_, _> = events
            .iter()
            .filter_map(|event| Some((event.event.revokes?, event.event.at)))
            .collect();
        let events = events.into_iter().filter(|event| event.event.kind != EventKind::Revoke);
        let events = events
            .map(|event| (event.clone(), ended.get(&event.hash).copied()))
            .collect();
        Ok(Ledger {
            events,
            names: Self::names(registry)?,
        })
    }

    fn names(registry: &Registry) -> Result<HashMap<String, String>> {
        let mut query = registry
            .connection
            .prepare("SELECT folded, artists.name FROM artist_names JOIN artists ON artists.id = artist_id")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, fold_name(&row.get::<_, String>(1)?))))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    fn covering(&self, image: &ImageRecord) -> Vec<LedgerEntry> {
        let mut covering = Vec::new();
        for (stored, revoked_at) in &self.events {
            let Some(target) = &stored.event.target else { continue };
            let refusal = stored.event.kind == EventKind::OptOut;
            if covers(target, &stored.event.aliases, image, &self.names, refusal) {
                covering.push(LedgerEntry {
                    seq: stored.seq,
                    hash: stored.hash,
                    event: stored.event.clone(),
                    subject: match target {
                        Target::Artist(name) => primary(name, &self.names),
                        other => other.value(),
                    },
                    revoked_at: *revoked_at,
                    authentication: Authentication::None,
                });
            }
        }
        covering
    }
}

/// The folded primary name of the artist known by this name.
fn primary(name: &str, names: &HashMap<String, String>) -> String {
    let folded = fold_name(name);
    names.get(&folded).cloned().unwrap_or(folded)
}

/// Whether an event with this target covers an image. A refusal of an address covers every address that begins with
/// it, in any letter case; a grant only whole steps of the path, as written.
fn covers(
    target: &Target,
    aliases: &[String],
    image: &ImageRecord,
    names: &HashMap<String, String>,
    refusal: bool,
) -> bool {
    match target {
        Target::Image(digest) => *digest == image.sha256,
        Target::Artist(name) => {
            let meant: BTreeSet<_> = std::iter::once(name)
                .chain(aliases)
                .map(|name| primary(name, names))
                .collect();
            image
                .artists
                .iter()
                .any(|artist| meant.contains(&primary(artist, names)))
        }
        Target::Collection(_) | Target::List(_) => false,
        Target::Source(prefix) => image.sources.iter().any(|source| match refusal {
            true => source.to_lowercase().starts_with(&prefix.to_lowercase()),
            false => source
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with(['/', '?', '#'])),
        }),
    }
}
