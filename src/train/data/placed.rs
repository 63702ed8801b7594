//! Pictures with their places in the buckets.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::buckets::{BucketCount, Buckets, Spot, size_ids};
use super::entry::Entry;
use crate::model::weights::Draws;
use crate::pixels::{self, Limits, Placing, mirror};
use crate::train::config::{Data, Fit};
use crate::train::error::TrainError;

/// A picture and the size that it is trained in.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The picture.
    pub entry: Entry,
    /// Upright width and height of its file.
    original: [u32; 2],
    spot: Spot,
    /// Where it lies unless chance decides.
    centre: Placing,
}

impl Placed {
    /// Reads how large pictures are and puts each into its bucket.
    ///
    /// # Errors
    /// The first picture that cannot be read, that was changed, or that no bucket takes.
    pub fn all(entries: Vec<Entry>, data: &Data) -> Result<Vec<Self>, TrainError> {
        let buckets = Buckets::new(data);
        entries
            .into_par_iter()
            .map(|entry| Self::new(entry, data, &buckets))
            .collect()
    }

    fn new(entry: Entry, data: &Data, buckets: &Buckets) -> Result<Self, TrainError> {
        let limits = Limits::default();
        let bytes = entry.bytes()?;
        let original = pixels::probe(&bytes, &limits).map(|mut probed| probed.upright());
        let original = original.map_err(|source| entry.unread(source))?;
        let size = data.resolution.sides();
        let spot = match data.enable_bucket || entry.subset.random_crop {
            true => buckets
                .of(original)
                .filter(|spot| spot.resized.iter().all(|side| *side <= limits.max_side)),
            false => Some(Spot {
                bucket: size,
                resized: size,
            }),
        };
        let Some(spot) = spot else {
            return Err(TrainError::NoBucket {
                path: entry.path,
                width: original[0],
                height: original[1],
            });
        };
        let centre = match data.enable_bucket || entry.subset.random_crop {
            true => Placing::centre(spot.resized, spot.bucket),
            false => Placing::Fit {
                fit: data.fit().into(),
                size,
            },
        };
        let original = match (data.enable_bucket || entry.subset.random_crop, data.fit()) {
            // Nothing of it is cut off, and the bars beside it are no part of it.
            (false, Fit::PadWhite) => size,
            _ => original,
        };
        Ok(Self {
            entry,
            original,
            spot,
            centre,
        })
    }

    /// Width and height that it is trained in.
    #[must_use]
    pub fn bucket(&self) -> [u32; 2] {
        self.spot.bucket
    }

    /// Where it lies when nothing is left to chance.
    #[must_use]
    pub fn centre(&self) -> Placing {
        self.centre
    }

    /// A part of it that is drawn, first from the left, then from the top.
    #[must_use]
    pub fn somewhere(&self, draws: &mut Draws) -> Placing {
        let Spot { bucket, resized } = self.spot;
        let corner = [0, 1].map(|side| draws.below((resized[side].saturating_sub(bucket[side])) as usize + 1) as u32);
        Placing::Cover {
            resized,
            corner,
            size: bucket,
        }
    }

    /// What SDXL is told of its size, its crop and its bucket.
    #[must_use]
    pub fn size_ids(&self, mirrored: bool) -> [f32; 6] {
        size_ids(self.original, self.spot.bucket, mirrored)
    }

    /// `[3, height, width]` in [-1, 1].
    ///
    /// # Errors
    /// If it cannot be read, or was changed.
    pub fn pixels(&self, placing: &Placing, mirrored: bool) -> Result<Vec<f32>, TrainError> {
        let mut values = pixels::planes(&self.entry.decode()?, placing);
        if mirrored {
            mirror(&mut values, placing.size()[0] as usize);
        }
        Ok(values)
    }
}

/// Pictures and how often each comes, by bucket, in the order of the buckets' widths and heights.
#[must_use]
pub fn groups(pictures: &[Placed], turns: &[(usize, usize)]) -> BTreeMap<[u32; 2], Vec<(usize, usize)>> {
    let mut groups: BTreeMap<[u32; 2], Vec<(usize, usize)>> = BTreeMap::new();
    for turn in turns {
        groups.entry(pictures[turn.0].bucket()).or_default().push(*turn);
    }
    groups
}

/// How many pictures each bucket has, given how often each comes.
#[must_use]
pub fn counts(pictures: &[Placed], turns: &[(usize, usize)]) -> Vec<BucketCount> {
    let count = |([width, height], group): ([u32; 2], Vec<(usize, usize)>)| BucketCount {
        width,
        height,
        pictures: group.len(),
        turns: group.iter().map(|(_, times)| times).sum(),
    };
    groups(pictures, turns).into_iter().map(count).collect()
}
