//! Pictures as the U-Net sees them: encoded once where they stay as they are, and anew where chance cuts them. Of those
//! that are held out as many are kept as there is room for; the others are read from their files or encoded for each
//! validation.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};

use super::AdapterRun;
use super::texts::Texts;
use crate::model::params::to_vec;
use crate::model::pipeline::Pipeline;
use crate::model::vae::Vae;
use crate::model::weights::Draws;
use crate::pixels::{Placing, mirror};
use crate::train::data::cache::{Found, Store};
use crate::train::data::{Placed, Turn, caption, names_a_side, stack};
use crate::train::error::TrainError;
use crate::train::loss::HeldOut;
use crate::train::masks;
use crate::train::watch::{Event, Stage};

/// Bytes of latents of held-out pictures that a set keeps.
pub(in crate::train) const MOST_HELD: usize = 256 << 20;

/// A set of pictures with their latents.
#[derive(Debug, Clone)]
pub(super) struct Cached {
    pub(super) pictures: Vec<Placed>,
    /// Where latents are kept in files.
    store: Option<Store>,
    /// Of each picture as it is and mirrored, where they are needed.
    latents: Vec<[Option<Vec<f32>>; 2]>,
    /// Whether each may be mirrored.
    mirrors: Vec<bool>,
    /// How much each place counts, `[H, W]` each, where it is not all the same; for pictures that lie in the middle.
    pub(super) masks: Option<Vec<Vec<f32>>>,
    channels: usize,
    factor: usize,
}

/// A picture of a micro-batch.
pub(super) struct Sample {
    /// `[C, H, W]`
    pub(super) latents: Vec<f32>,
    /// `[H, W]`
    pub(super) mask: Option<Vec<f32>>,
    /// What SDXL is told of its size.
    pub(super) size_ids: [f32; 6],
}

/// Encodes pictures.
pub(super) struct Encoder<'a> {
    vae: &'a Vae,
    device: &'a Device,
    seed: u64,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(pipeline: &'a Pipeline, run: &'a AdapterRun<'_>) -> Self {
        Self {
            vae: &pipeline.vae,
            device: run.device,
            seed: run.config.run.seed,
        }
    }

    /// Mean and logarithm of the variance of a picture's latents: `[C, H, W]` each.
    fn distribution(&self, picture: &Placed, placing: &Placing, mirrored: bool) -> Result<[Vec<f32>; 2], TrainError> {
        let pixels = picture.pixels(placing, mirrored)?;
        let [width, height] = placing.size().map(|side| side as usize);
        let batch = stack(std::iter::once(pixels.as_slice()), [3, height, width], self.device);
        let (mean, logvar) = self.vae.encode(batch);
        Ok([to_vec(mean), to_vec(logvar)])
    }

    /// A draw from a distribution, scaled as the U-Net takes it.
    fn draw(&self, [mean, logvar]: [Vec<f32>; 2], draws: &mut Draws) -> Vec<f32> {
        let n = mean.len();
        let tensor = |values: Vec<f32>| Tensor::<1>::from_data(TensorData::new(values, [n]), self.device);
        let noise = tensor(draws.normals(n));
        let latent = tensor(mean) + tensor(logvar).mul_scalar(0.5).exp() * noise;
        to_vec(latent.mul_scalar(self.vae.scaling_factor()))
    }
}

impl Cached {
    /// Latents (a draw from each picture's distribution, decided by its digest and the seed) and masks. Those of pictures
    /// that are cut by chance are left out, unless they are `held` to be measured. Embeddings of captions that stay as they
    /// are are made too, as far as there is room for them. Of the `held` ones no more latents than fit into `most` bytes are
    /// kept.
    pub(super) fn new(
        pictures: Vec<Placed>,
        (held, most): (&[usize], usize),
        (pipeline, texts, store): (&Pipeline, &Texts, Option<&Store>),
        run: &AdapterRun<'_>,
        stage: &mut Stage<'_>,
    ) -> Result<Self, TrainError> {
        stage.tell(&Event::Phase {
            name: "caching".to_owned(),
            total: pictures.len() as u64,
            done: 0,
        });
        let encoder = Encoder::new(pipeline, run);
        let trigger = run.config.run.trigger_phrase.as_deref();
        let mut cached = Self {
            latents: Vec::with_capacity(pictures.len()),
            mirrors: Vec::with_capacity(pictures.len()),
            masks: None,
            channels: 1,
            factor: pipeline.vae.factor(),
            store: store.cloned(),
            pictures,
        };
        let mut room = most;
        for (i, picture) in cached.pictures.iter().enumerate() {
            let (subset, held) = (&picture.entry.subset, held.contains(&i));
            let text = caption(subset, trigger, &picture.entry.caption, None);
            let mirrors = !held && subset.flip_aug && !(subset.flip_aug_keeps_sides && names_a_side(&text));
            let ways = [held || !subset.random_crop, mirrors && !subset.random_crop];
            let mut latents = [None, None];
            for mirrored in [false, true] {
                let spared = held && room == 0 && store.is_none();
                if ways[usize::from(mirrored)] && !spared {
                    let mut warn = |text| stage.tell(&Event::Warning { text });
                    let whole = whole(&encoder, (picture, mirrored), store, &mut warn)?;
                    let bytes = size_of_val(whole.as_slice());
                    if held && bytes > room {
                        room = 0;
                        continue;
                    }
                    room -= if held { bytes } else { 0 };
                    latents[usize::from(mirrored)] = Some(whole);
                }
            }
            cached.latents.push(latents);
            cached.mirrors.push(mirrors);
            texts.prepare(&text, subset.varies(), stage)?;
            stage.tell(&Event::Tick);
        }
        let area = |picture: &Placed| {
            picture
                .bucket()
                .iter()
                .map(|side| *side as usize / cached.factor)
                .product::<usize>()
        };
        let first = cached
            .pictures
            .iter()
            .zip(&cached.latents)
            .find_map(|(picture, latents)| {
                let values = latents.iter().flatten().next()?;
                Some(values.len() / area(picture).max(1))
            });
        cached.channels = first.unwrap_or(pipeline.unet.config().in_channels);
        let mask = |picture: &Placed| {
            let source = picture.entry.subset.masks();
            source
                .map(|source| masks::load(&picture.entry, source, &picture.centre(), cached.factor))
                .transpose()
        };
        let masks = cached
            .pictures
            .iter()
            .map(mask)
            .collect::<Result<Vec<_>, TrainError>>()?;
        if masks.iter().any(Option::is_some) {
            let even = |picture: &Placed| vec![1.0; area(picture)];
            let masks = masks.into_iter().zip(&cached.pictures);
            cached.masks = Some(
                masks
                    .map(|(mask, picture)| mask.unwrap_or_else(|| even(picture)))
                    .collect(),
            );
        }
        Ok(cached)
    }

    /// Channels, height and width of a picture's latents.
    pub(super) fn shape(&self, picture: usize) -> [usize; 3] {
        let [width, height] = self.pictures[picture].bucket().map(|side| side as usize / self.factor);
        [self.channels, height, width]
    }

    /// The pictures of a micro-batch: whether each is mirrored and where it is cut is drawn from the seed and the number.
    pub(super) fn samples(
        &self,
        encoder: &Encoder<'_>,
        micro_batch: u64,
        turns: &[Turn],
    ) -> Result<Vec<Sample>, TrainError> {
        let draws = |what: &str| Draws::new(encoder.seed, &format!("adapter/{micro_batch}/{what}"));
        let (mut flips, mut crops, mut noise) = (draws("flips"), draws("crops"), draws("latents"));
        let mut one = |turn: &Turn| {
            let (i, picture) = (turn.picture, &self.pictures[turn.picture]);
            let flipped = flips.uniform() < 0.5;
            let mirrored = flipped && self.mirrors[i];
            let size_ids = picture.size_ids(mirrored);
            let mut mask = self.masks.as_ref().map(|masks| masks[i].clone());
            let latents = match &self.latents[i][usize::from(mirrored)] {
                Some(latents) if !picture.entry.subset.random_crop => latents.clone(),
                _ => {
                    let placing = picture.somewhere(&mut crops);
                    if let Some(source) = picture.entry.subset.masks() {
                        mask = Some(masks::load(&picture.entry, source, &placing, self.factor)?);
                    }
                    encoder.draw(encoder.distribution(picture, &placing, mirrored)?, &mut noise)
                }
            };
            if let (Some(mask), true) = (&mut mask, mirrored) {
                mirror(mask, self.shape(i)[2]);
            }
            Ok(Sample {
                latents,
                mask,
                size_ids,
            })
        };
        turns.iter().map(&mut one).collect()
    }

    /// The latents of a picture that lies in the middle and is not mirrored: those that are kept, or made again.
    pub(super) fn in_the_middle(&self, encoder: &Encoder<'_>, picture: usize) -> Result<Vec<f32>, TrainError> {
        match &self.latents[picture][0] {
            Some(latents) => Ok(latents.clone()),
            // A damaged file was told of before the first step, or will be when a run begins.
            None => whole(
                encoder,
                (&self.pictures[picture], false),
                self.store.as_ref(),
                &mut |_| {},
            ),
        }
    }
}

/// Held-out pictures of a set.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) set: HeldOut,
    pub(super) cached: Arc<Cached>,
    /// Their places.
    pub(super) places: Vec<usize>,
    /// Their captions: whole and in their order.
    pub(super) texts: Vec<String>,
}

impl Measured {
    pub(super) fn new(name: &str, cached: Arc<Cached>, places: Vec<usize>, trigger: Option<&str>) -> Self {
        let pictures = || places.iter().map(|&i| &cached.pictures[i]);
        let set = HeldOut {
            name: name.to_owned(),
            ids: pictures().map(|picture| picture.entry.image.to_string()).collect(),
            shapes: places.iter().map(|&i| cached.shape(i)).collect(),
            size_ids: pictures().map(|picture| picture.size_ids(false)).collect(),
        };
        let texts = pictures()
            .map(|picture| caption(&picture.entry.subset, trigger, &picture.entry.caption, None))
            .collect();
        Self {
            set,
            cached,
            places,
            texts,
        }
    }
}

/// Latents of a picture that lies in the middle: a draw that its digest and the seed decide, from the distribution that
/// is in a file or computed.
fn whole(
    encoder: &Encoder<'_>,
    (picture, mirrored): (&Placed, bool),
    store: Option<&Store>,
    warn: &mut dyn FnMut(String),
) -> Result<Vec<f32>, TrainError> {
    let name = if mirrored { "/mirrored" } else { "" };
    let mut draws = Draws::new(encoder.seed, &format!("latent/{}{name}", picture.entry.image));
    let distribution = kept(encoder, (picture, mirrored), store, warn)?;
    Ok(encoder.draw(distribution, &mut draws))
}

/// The distribution of a picture that lies in the middle: from its file where there is one, and into it.
fn kept(
    encoder: &Encoder<'_>,
    (picture, mirrored): (&Placed, bool),
    store: Option<&Store>,
    warn: &mut dyn FnMut(String),
) -> Result<[Vec<f32>; 2], TrainError> {
    let placing = picture.centre();
    let Some(store) = store else {
        return encoder.distribution(picture, &placing, mirrored);
    };
    let key = store.key(&(picture.entry.image, format!("{placing:?}"), mirrored))?;
    match store.read(&key) {
        Found::Parts(parts) => {
            if let Ok(both @ [_, _]) = <[Vec<f32>; 2]>::try_from(parts) {
                return Ok(both);
            }
        }
        Found::Broken(name) => warn(format!("`{name}` in the cache is damaged: it is computed again")),
        Found::Nothing => {}
    }
    let fresh = encoder.distribution(picture, &placing, mirrored)?;
    store.write(&key, &[&fresh[0], &fresh[1]])?;
    Ok(fresh)
}

#[cfg(test)]
mod tests;
