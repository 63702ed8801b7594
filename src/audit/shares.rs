//! How many images there are of each licence and of each artist.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::lines::ImageLine;
use crate::digest::Sha256Digest;

/// How many images share something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Share {
    /// What they share; none where it is not known.
    pub name: Option<String>,
    /// How many there are.
    pub images: u64,
}

/// Licences and artists of the images that trained something, the largest share first. An image in two sets counts once,
/// and one that was only asked about not at all.
pub(super) fn shares(images: &[ImageLine]) -> (Vec<Share>, Vec<Share>) {
    let trained = || images.iter().filter(|image| image.place.is_some());
    (
        counted(trained().map(|image| (image.sha256, image.license.as_deref()))),
        counted(trained().map(|image| (image.sha256, image.artist.as_deref()))),
    )
}

fn counted<'a>(of: impl Iterator<Item = (Sha256Digest, Option<&'a str>)>) -> Vec<Share> {
    let mut seen = BTreeSet::new();
    let mut counts: BTreeMap<Option<&str>, u64> = BTreeMap::new();
    for (image, name) in of {
        if seen.insert(image) {
            *counts.entry(name).or_default() += 1;
        }
    }
    let share = |(name, images): (Option<&str>, u64)| Share {
        name: name.map(str::to_owned),
        images,
    };
    let mut shares: Vec<_> = counts.into_iter().map(share).collect();
    shares.sort_by_key(|share| Reverse(share.images));
    shares
}
