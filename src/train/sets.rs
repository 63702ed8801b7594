//! The sets that a run trains on, each verified: their pictures one after the other, which of them are held out, and how
//! often each comes in an epoch.

use std::collections::{BTreeMap, BTreeSet};

use super::config::{AdapterConfig, Source};
use super::data::{Entry, split};
use super::error::TrainError;
use crate::consent::{Obligation, Use};
use crate::digest::Sha256Digest;
use crate::snapshot::{Role, VerifiedSnapshot};

/// A verified snapshot, and what its pictures are for.
#[derive(Debug, Clone, Copy)]
pub struct TrainingSet<'a> {
    /// What for.
    pub role: Role,
    /// The snapshot.
    pub snapshot: &'a VerifiedSnapshot,
}

/// Which of the pictures to be learned a run holds out: those of all its sets in their order, each picture once.
#[must_use]
pub fn held_out(learned: impl Iterator<Item = Sha256Digest>, share: f64, seed: u64) -> BTreeSet<Sha256Digest> {
    let mut seen = BTreeSet::new();
    let distinct: Vec<Sha256Digest> = learned.filter(|image| seen.insert(*image)).collect();
    let held = split(distinct.len(), share, seed).1;
    held.into_iter().map(|at| distinct[at]).collect()
}

/// Refuses a commercial run on pictures that oblige to non-commercial use, in whichever of its sets.
///
/// # Errors
/// If the configuration is for commercial use and any member is not.
pub fn check_use(config: &AdapterConfig, sets: &[TrainingSet<'_>]) -> Result<(), TrainError> {
    if config.run.usage != Some(Use::Commercial) {
        return Ok(());
    }
    let mut members = BTreeMap::new();
    for member in sets.iter().flat_map(|set| set.snapshot.members()) {
        *members.entry(member.image).or_insert(false) |= member.obligations.contains(&Obligation::NonCommercial);
    }
    let mut bound = members.iter().filter(|(_, bound)| **bound).map(|(image, _)| image);
    match bound.next() {
        None => Ok(()),
        Some(first) => Err(TrainError::NotForCommercialUse {
            count: 1 + bound.count(),
            members: members.len(),
            first: first.short(),
        }),
    }
}

/// The pictures of all sources of a configuration, one source after the other.
#[derive(Debug, Clone, Default)]
pub struct Gathered {
    /// The pictures.
    pub entries: Vec<Entry>,
    /// For each the number of its source.
    pub of: Vec<usize>,
}

/// What an epoch holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Places of pictures, and how often each comes; those to be learned first.
    pub turns: Vec<(usize, usize)>,
    /// How many pictures each source has, but for those held out.
    pub of_source: Vec<usize>,
    /// How many pictures are to be learned.
    pub learned: usize,
    /// How many regularization pictures come at all.
    pub regularization: usize,
    /// How many regularization pictures do not, since there are more of them than of the others.
    pub left_over: usize,
}

impl Gathered {
    /// The members of each source's snapshot.
    ///
    /// # Errors
    /// If `sets` are not those that the configuration names, so that nothing is trained on that is not recorded, or a
    /// picture has no caption.
    pub fn new(config: &AdapterConfig, sets: &[TrainingSet<'_>]) -> Result<Self, TrainError> {
        let given: Vec<_> = sets.iter().map(|set| (set.snapshot.name(), set.role)).collect();
        let named = config.sets();
        if given != named {
            return Err(TrainError::Setting(format!(
                "expected the snapshots {named:?}, found {given:?}"
            )));
        }
        let mut gathered = Self::default();
        for (number, source) in config.sources.iter().enumerate() {
            let set = sets.iter().find(|set| set.snapshot.name() == source.snapshot);
            let entries = set.map(|set| Entry::of(set.snapshot, &source.options)).transpose()?;
            gathered.entries.extend(entries.unwrap_or_default());
            gathered.of.resize(gathered.entries.len(), number);
        }
        Ok(gathered)
    }

    fn role(&self, sources: &[Source], place: usize) -> Role {
        sources[self.of[place]].role
    }

    /// Divides the pictures that are to be learned into those trained on and those held out. A picture that stands in
    /// several sets is held out of all of them, and is no regularization picture either. The first list
    /// holds the regularization pictures too, which are never held out by themselves.
    #[must_use]
    pub fn divide(&self, sources: &[Source], share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
        let learned = |place: &usize| self.role(sources, *place) == Role::Training;
        let learned: Vec<usize> = (0..self.entries.len()).filter(learned).collect();
        let mut images = held_out(learned.iter().map(|&place| self.entries[place].image), share, seed);
        let kept = |place: &usize| !images.contains(&self.entries[*place].image);
        let kept = (0..self.entries.len()).filter(kept).collect();
        // Each stands at the first of its places.
        let held = learned
            .into_iter()
            .filter(|&place| images.remove(&self.entries[place].image));
        (kept, held.collect())
    }

    /// How often each of these pictures comes in an epoch: one to be learned as often as its `num_repeats` say, and a
    /// regularization picture as often as sd-scripts lets it (`DreamBoothDataset`): in each dataset they are gone through
    /// in their order, first with their own repeats and then once more each, until they are as many as the others.
    #[must_use]
    pub fn epoch(&self, sources: &[Source], places: &[usize]) -> Epoch {
        let repeats = |place: usize| sources[self.of[place]].options.num_repeats;
        let (learned, others): (Vec<usize>, Vec<usize>) = places
            .iter()
            .partition(|&&place| self.role(sources, place) == Role::Training);
        let mut of_source = vec![0; sources.len()];
        places.iter().for_each(|&place| of_source[self.of[place]] += 1);
        let mut epoch = Epoch {
            of_source,
            turns: learned.iter().map(|&place| (place, repeats(place))).collect(),
            learned: learned.len(),
            ..Epoch::default()
        };
        let of_dataset = |places: &[usize], number: usize| -> Vec<usize> {
            let inside = |place: &&usize| sources[self.of[**place]].dataset == number;
            places.iter().filter(inside).copied().collect()
        };
        let datasets: BTreeSet<usize> = sources.iter().map(|source| source.dataset).collect();
        for number in datasets {
            let wanted = of_dataset(&learned, number).into_iter().map(repeats).sum();
            let others = of_dataset(&others, number);
            let own: Vec<usize> = others.iter().map(|&place| repeats(place)).collect();
            let times = balanced(&own, wanted);
            epoch.regularization += times.len();
            epoch.left_over += others.len() - times.len();
            epoch.turns.extend(others.into_iter().zip(times));
        }
        epoch
    }
}

/// How often each of the first regularization pictures comes, given the repeats that each has of its own and the number
/// of turns that the others have; those behind do not come.
fn balanced(own: &[usize], wanted: usize) -> Vec<usize> {
    let (mut times, mut sum) = (Vec::new(), 0);
    for &repeats in own {
        if sum >= wanted {
            return times;
        }
        times.push(repeats);
        sum += repeats;
    }
    if times.is_empty() {
        return times;
    }
    let missing = wanted.saturating_sub(sum);
    let (each, first) = (missing / times.len(), missing % times.len());
    for (at, times) in times.iter_mut().enumerate() {
        *times += each + usize::from(at < first);
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    /// sd-scripts' own loop, as it is published: `n` counts up while the pictures are gone through.
    fn published(own: &[usize], wanted: usize) -> Vec<usize> {
        let (mut times, mut n, mut first) = (vec![0; own.len()], 0, true);
        while n < wanted {
            for (times, own) in times.iter_mut().zip(own) {
                let more = if first { *own } else { 1 };
                *times += more;
                n += more;
                if n >= wanted {
                    break;
                }
            }
            first = false;
        }
        times.into_iter().filter(|times| *times > 0).collect()
    }

    #[test]
    fn the_balance_is_that_of_sd_scripts() {
        for own in [&[1][..], &[1, 1, 1], &[2, 5, 1, 3], &[7, 1], &[1; 13]] {
            for wanted in 0..40 {
                assert_eq!(balanced(own, wanted), published(own, wanted), "{own:?} for {wanted}");
            }
        }
        assert_eq!(balanced(&[], 5), [0; 0]);
        assert_eq!(balanced(&[1, 1, 1], 8), [3, 3, 2]);
    }

    fn source(dataset: usize, role: Role, num_repeats: usize) -> Source {
        let options = toml::from_str(&format!("num_repeats = {num_repeats}")).unwrap();
        Source {
            snapshot: String::new(),
            role,
            dataset,
            subset: 0,
            options: std::sync::Arc::new(options),
        }
    }

    /// Pictures by a number each, in these sources.
    fn gathered(sources: &[Source], pictures: &[&[u8]]) -> Gathered {
        let mut all = Gathered::default();
        for (number, pictures) in pictures.iter().enumerate() {
            for picture in *pictures {
                all.entries.push(Entry {
                    image: crate::digest::Sha256Digest::from_bytes([*picture; 32]),
                    path: format!("{picture}.png").into(),
                    caption: String::new(),
                    subset: sources[number].options.clone(),
                });
                all.of.push(number);
            }
        }
        all
    }

    #[test]
    fn each_dataset_is_balanced_by_itself() {
        let (learn, keep) = (Role::Training, Role::Regularization);
        let sources = [
            source(0, learn, 2),
            source(0, keep, 1),
            source(1, learn, 1),
            source(1, keep, 1),
            source(0, learn, 1),
        ];
        let all = gathered(&sources, &[&[1, 2], &[3, 4], &[5], &[6, 7], &[8]]);
        let places: Vec<usize> = (0..8).collect();
        let epoch = all.epoch(&sources, &places);
        let turns = [(0, 2), (1, 2), (4, 1), (7, 1), (2, 3), (3, 2), (5, 1)];
        assert_eq!(epoch.turns, turns);
        assert_eq!((epoch.learned, epoch.regularization, epoch.left_over), (4, 3, 1));
        assert_eq!(epoch.of_source, [2, 2, 1, 2, 1]);
    }

    #[test]
    fn what_is_held_out_is_in_no_set() {
        let sources = [
            source(0, Role::Training, 1),
            source(0, Role::Training, 1),
            source(0, Role::Regularization, 1),
        ];
        let all = gathered(&sources, &[&[1, 2, 3, 4], &[3, 4, 5, 6], &[1, 3, 5, 9]]);
        let mut held_ever = BTreeSet::new();
        for seed in 0..20 {
            let (kept, held) = all.divide(&sources, 0.5, seed);
            assert_eq!(held.len(), 3);
            let images = |places: &[usize]| -> BTreeSet<_> { places.iter().map(|&p| all.entries[p].image).collect() };
            let (kept, held) = (images(&kept), images(&held));
            assert!(kept.is_disjoint(&held));
            assert_eq!(kept.len() + held.len(), 7);
            held_ever.extend(held);
        }
        assert_eq!(held_ever.len(), 6, "a regularization picture alone is never held out");
        // One set is divided as ever.
        let one = gathered(&sources[..1], &[&[1, 2, 3, 4, 5]]);
        let (kept, held) = one.divide(&sources[..1], 0.4, 3);
        assert_eq!((kept, held), split(5, 0.4, 3));
    }
}
