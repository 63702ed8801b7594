//! In which order pictures are trained on. Everything random is drawn from the seed and the number of the micro-batch
//! alone, so that a resumed run sees what an unbroken one sees.

use crate::model::weights::Draws;

/// Divides `n` pictures into those trained on and those held out: by a shuffle that depends on the seed alone. At least
/// one picture is held out where `share` is above zero, and at least one is trained on.
#[must_use]
pub fn split(n: usize, share: f64, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let order = permutation(n, seed, "split");
    let held = if share > 0.0 {
        ((n as f64 * share).round() as usize).max(1).min(n.saturating_sub(1))
    } else {
        0
    };
    let mut validation = order[..held].to_vec();
    let mut training = order[held..].to_vec();
    validation.sort_unstable();
    training.sort_unstable();
    (training, validation)
}

/// The places in the training list of micro-batch `index`: epoch after epoch, each in an order of its own.
#[must_use]
pub fn batch_at(n: usize, size: usize, index: u64, seed: u64) -> Vec<usize> {
    stream(n, size, index, (seed, ""))
        .into_iter()
        .map(|(place, _)| place)
        .collect()
}

/// Micro-batch `index` of a stream of `n` places, each with the epoch that it is drawn in.
fn stream(n: usize, size: usize, index: u64, (seed, name): (u64, &str)) -> Vec<(usize, u64)> {
    let mut out = Vec::with_capacity(size);
    let mut order: Option<(u64, Vec<usize>)> = None;
    for k in 0..size as u64 {
        let place = index * size as u64 + k;
        let epoch = place / n as u64;
        if order.as_ref().is_none_or(|(e, _)| *e != epoch) {
            order = Some((epoch, permutation(n, seed, &format!("epoch/{epoch}{name}"))));
        }
        if let Some((_, order)) = &order {
            out.push((order[(place % n as u64) as usize], epoch));
        }
    }
    out
}

/// A picture of a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// Its index.
    pub picture: usize,
    /// Passes over its bucket before this one.
    pub epoch: u64,
}

/// The micro-batches of pictures that come in groups of equal shape.
///
/// Each group is an endless stream, epoch after epoch in an order of its own, cut into micro-batches that are always
/// full: pictures of small groups count as much as others (sd-scripts ends each group's epoch with a smaller batch
/// instead). An epoch of all takes from each group what its stream needs to keep up, in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The pictures of each group, as often as they are repeated.
    groups: Vec<Vec<usize>>,
    size: usize,
    seed: u64,
}

impl Order {
    /// The order of groups of pictures, each with its repeats; groups without pictures are left out.
    #[must_use]
    pub fn new(groups: impl IntoIterator<Item = Vec<(usize, usize)>>, size: usize, seed: u64) -> Self {
        let repeated = |group: Vec<(usize, usize)>| -> Vec<usize> {
            let each = group
                .into_iter()
                .map(|(picture, times)| std::iter::repeat_n(picture, times));
            each.flatten().collect()
        };
        let groups = groups.into_iter().map(repeated).filter(|g| !g.is_empty()).collect();
        Self {
            groups,
            size: size.max(1),
            seed,
        }
    }

    /// Pictures of an epoch, with their repeats.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.iter().map(Vec::len).sum()
    }

    /// Whether there is nothing to train on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Micro-batches of a group before an epoch.
    fn before(&self, group: &[usize], epoch: u64) -> u64 {
        (epoch * group.len() as u64).div_ceil(self.size as u64)
    }

    /// Micro-batches of all groups before an epoch.
    #[must_use]
    pub fn batches_before(&self, epoch: u64) -> u64 {
        self.groups.iter().map(|group| self.before(group, epoch)).sum()
    }

    /// Micro-batch `index`: pictures of one group.
    #[must_use]
    pub fn batch(&self, index: u64) -> Vec<Turn> {
        let (group, index) = match self.groups.len() {
            0 => return Vec::new(),
            1 => (0, index),
            _ => self.find(index),
        };
        let name = match self.groups.len() {
            1 => String::new(),
            _ => format!("/{group}"),
        };
        let group = &self.groups[group];
        let turns = stream(group.len(), self.size, index, (self.seed, &name));
        let turn = |(place, epoch): (usize, u64)| Turn {
            picture: group[place],
            epoch,
        };
        turns.into_iter().map(turn).collect()
    }

    /// The group of micro-batch `index`, and its number in the group's stream.
    fn find(&self, index: u64) -> (usize, u64) {
        // An epoch has at least a batch for each `size` pictures, and at most one more for each group.
        let most = index.saturating_add(1).saturating_mul(self.size as u64) / self.len() as u64 + 1;
        let (mut low, mut high) = (0, most);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.batches_before(middle) <= index {
                true => low = middle,
                false => high = middle - 1,
            }
        }
        let batches: Vec<(usize, u64)> = self
            .groups
            .iter()
            .enumerate()
            .flat_map(|(at, group)| {
                (self.before(group, low)..self.before(group, low + 1)).map(move |batch| (at, batch))
            })
            .collect();
        let order = permutation(batches.len(), self.seed, &format!("epoch/{low}/batches"));
        batches[order[(index - self.batches_before(low)) as usize]]
    }
}

/// 0..n in an order that depends on the seed and the label alone.
fn permutation(n: usize, seed: u64, label: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Draws::new(seed, label).shuffle(&mut order);
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_holds_every_picture_once() {
        let mut seen: Vec<usize> = (0..5).flat_map(|i| batch_at(10, 2, i, 7)).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..10).collect::<Vec<_>>());
        assert_ne!(batch_at(10, 10, 0, 7), batch_at(10, 10, 1, 7));
        assert_eq!(batch_at(3, 8, 4, 7), batch_at(3, 8, 4, 7));
    }

    #[test]
    fn a_split_is_whole_and_disjoint() {
        let (train, held) = split(24, 0.2, 3);
        assert_eq!((train.len(), held.len()), (19, 5));
        let mut all = [train, held].concat();
        all.sort_unstable();
        assert_eq!(all, (0..24).collect::<Vec<_>>());
        assert_eq!(split(1, 0.5, 3).0.len(), 1);
        assert_eq!(split(5, 0.0, 3).1.len(), 0);
    }

    #[test]
    fn one_group_is_one_stream() {
        let order = Order::new([(0..10).map(|i| (i, 1)).collect(), vec![]], 3, 7);
        for index in [0, 3, 50] {
            let pictures: Vec<usize> = order.batch(index).iter().map(|turn| turn.picture).collect();
            assert_eq!(pictures, batch_at(10, 3, index, 7));
        }
    }

    #[test]
    fn every_group_keeps_up_and_batches_are_of_one_group() {
        // 7, 1 and 3 pictures; the second is there twice.
        let groups = [
            (0..7).map(|i| (i, 1)).collect::<Vec<_>>(),
            vec![(7, 2)],
            vec![(8, 1), (9, 1), (10, 1)],
        ];
        let order = Order::new(groups, 4, 9);
        assert_eq!(order.len(), 12);
        let epochs = 20;
        let mut counts = [0usize; 11];
        let mut sequence = Vec::new();
        for index in 0..order.batches_before(epochs) {
            let batch = order.batch(index);
            assert_eq!(batch.len(), 4);
            let group = |turn: &Turn| [7, 8].iter().filter(|first| turn.picture >= **first).count();
            assert!(batch.iter().all(|turn| group(turn) == group(&batch[0])), "{batch:?}");
            assert!(batch.iter().all(|turn| turn.epoch <= epochs + 2));
            batch.iter().for_each(|turn| counts[turn.picture] += 1);
            sequence.push(group(&batch[0]));
        }
        for (picture, count) in counts.into_iter().enumerate() {
            let expected = if picture == 7 { 40 } else { 20 };
            // A full batch may be begun and not needed to its end.
            assert!((expected..expected + 4).contains(&count), "{picture}: {count}");
        }
        assert!(sequence.windows(2).any(|pair| pair[0] > pair[1]), "groups are mixed");
        assert_eq!(order.batch(17), order.clone().batch(17));
    }
}
