//! What an adapter knows, measured on the weights themselves: whether it tells the pictures that it was trained on from
//! others, and whether it draws them again.
//!
//! A declaration says which pictures trained an adapter; these numbers say whether the weights agree. Each picture's loss is
//! taken with the base alone and with the adapter, at the same timesteps with the same noises, so that what both find hard
//! cancels out (calibration by a reference model: Carlini et al. 2022, "Membership inference attacks from first
//! principles"; losses of diffusion models at fixed timesteps: Carlini et al. 2023, "Extracting training data from diffusion
//! models", whose distance over tiles compares drawings with pictures too).
//!
//! Makes [`Measured`]; what follows from it is for `audit` to say.

mod likeness;
pub mod statistics;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;

use crate::audit::{ArtistTest, Gain, Group, Measured, Separation};
use crate::digest::Sha256Digest;
use crate::fingerprint::{Fingerprint, SAME};
use crate::generate::GenerateError;
use crate::model::params::to_vec;
use crate::model::pipeline::Pipeline;
use crate::model::scheduler::ScheduleError;
use crate::pixels::{self, Fit, Limits, PixelsError};
use crate::train::loss::{Caption, Example, HeldOut, losses, timesteps};
use statistics::{area, greater, holm, roc, true_positives};

/// Timesteps at which each picture is asked about: the middles of so many equal parts of the schedule.
const TIMESTEPS: usize = 8;
/// Questions that the network answers at once.
const BATCH: usize = 8;
/// Fewer pictures of a kind say too little to compare them.
const LEAST: usize = 4;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// A picture cannot be read.
    #[error("cannot measure the picture {}: {source}", .sha256.short())]
    Picture {
        /// Which.
        sha256: Sha256Digest,
        /// Why.
        source: PixelsError,
    },
    /// There is nothing to compare.
    #[error(
        "there are {trained} pictures that trained it and {others} others to compare them with; expected 1 or more of each"
    )]
    Few {
        /// Those that were trained on.
        trained: usize,
        /// The others.
        others: usize,
    },
    /// A timestep is outside the schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Drawing failed.
    #[error(transparent)]
    Generate(#[from] GenerateError),
}

/// A picture that is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Subject {
    /// Digest of the file.
    pub sha256: Sha256Digest,
    /// A file that holds it.
    pub path: PathBuf,
    /// Its caption; empty if it has none.
    pub caption: String,
    /// Who made it.
    pub artist: Option<String>,
    /// What it was to the training.
    pub group: Group,
}

/// How to measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Side of the pictures in pixels, as in the training.
    pub size: usize,
    /// How they become square, as in the training.
    pub fit: Fit,
    /// Noises at each timestep.
    pub noises: usize,
    /// Captions of which drawings are made; half as many again of pictures that were kept out.
    pub captions: usize,
    /// Drawings of each, with the adapter and with the base.
    pub drawings: usize,
    /// Steps of a drawing.
    pub steps: usize,
}

/// The pictures as the networks see them.
struct Seen<'a> {
    subjects: Vec<&'a Subject>,
    /// As the autoencoder gives them back: `[3, size, size]` in [-1, 1] each.
    drawable: Vec<Vec<f32>>,
    prints: Vec<Fingerprint>,
    /// `[C, H, W]` each, scaled.
    latents: Vec<Vec<f32>>,
    shape: [usize; 3],
}

/// Measures an adapter: `base` is the model alone, `adapted` the same with the adapter on it. `tell` hears what is being
/// done, how much of it is done, and of how much.
///
/// # Errors
/// If a picture cannot be read, there is nothing to compare, or the model fails.
pub fn measure(
    base: &Pipeline,
    adapted: &Pipeline,
    subjects: &[Subject],
    options: &Options,
    device: &Device,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<Measured, MeasureError> {
    let (seen, alike) = look(base, subjects, options, device, tell)?;
    let count = |group: Group| seen.subjects.iter().filter(|s| s.group == group).count();
    let trained = count(Group::Trained);
    if trained == 0 || trained == seen.subjects.len() {
        return Err(MeasureError::Few {
            trained,
            others: seen.subjects.len() - trained,
        });
    }
    let mut each = |pipeline: &Pipeline, what: &str| each(pipeline, &seen, options.noises, device, what, tell);
    let (without, with) = (each(base, "base")?, each(adapted, "adapter")?);
    let gains: Vec<Gain> = seen
        .subjects
        .iter()
        .zip(without.iter().zip(&with))
        .map(|(subject, (&base, &adapter))| Gain {
            sha256: subject.sha256,
            artist: subject.artist.clone(),
            group: subject.group,
            base,
            adapter,
            gain: (base / adapter.max(f64::MIN_POSITIVE)).ln(),
        })
        .collect();
    let likenesses = likeness::likenesses((base, adapted), &seen, &gains, options, device, tell)?;
    let held_out = count(Group::HeldOut);
    let mut limits = limits(held_out, count(Group::Refused));
    if alike > 0 {
        limits.push(format!(
            "{alike} of the pictures that were kept out show the same as one that was trained on, and were left aside"
        ));
    }
    let mut measured = Measured {
        questions: TIMESTEPS * options.noises,
        separations: separations(&gains),
        artists: artists(&gains),
        images: gains,
        likenesses,
        limits,
    };
    measured
        .images
        .sort_by(|a, b| b.gain.total_cmp(&a.gain).then(a.sha256.cmp(&b.sha256)));
    Ok(measured)
}

/// Reads and encodes the pictures; those that were kept out and show the same as one that was trained on are left aside,
/// and counted.
fn look<'a>(
    base: &Pipeline,
    subjects: &'a [Subject],
    options: &Options,
    device: &Device,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<(Seen<'a>, usize), MeasureError> {
    let limits = Limits::default();
    let read = |subject: &Subject| {
        pixels::load_square(&subject.path, options.size as u32, options.fit, &limits).map_err(|source| {
            MeasureError::Picture {
                sha256: subject.sha256,
                source,
            }
        })
    };
    let planes = subjects
        .par_iter()
        .map(read)
        .collect::<Result<Vec<Vec<f32>>, MeasureError>>()?;
    let prints: Vec<Fingerprint> = planes
        .par_iter()
        .map(|p| likeness::fingerprint(p, options.size))
        .collect();
    let own: Vec<usize> = (0..subjects.len())
        .filter(|&i| subjects[i].group == Group::Trained)
        .collect();
    let same = |i: usize| {
        own.iter()
            .any(|&t| prints[i].distance(&prints[t]).is_some_and(|distance| distance <= SAME))
    };
    let kept: Vec<usize> = (0..subjects.len())
        .into_par_iter()
        .filter(|&i| subjects[i].group != Group::Refused || !same(i))
        .collect();
    let mut seen = Seen {
        subjects: kept.iter().map(|&i| &subjects[i]).collect(),
        drawable: Vec::new(),
        prints: kept.iter().map(|&i| prints[i].clone()).collect(),
        latents: Vec::new(),
        shape: [0; 3],
    };
    for &i in &kept {
        tell("encoding", seen.latents.len(), kept.len());
        let picture = TensorData::new(planes[i].clone(), [1, 3, options.size, options.size]);
        let (mean, _) = base.vae.encode(Tensor::from_data(picture, device));
        let [_, c, h, w] = mean.dims();
        seen.shape = [c, h, w];
        if options.captions > 0 {
            seen.drawable.push(to_vec(base.vae.decode(mean.clone())));
        }
        seen.latents.push(to_vec(mean.mul_scalar(base.vae.scaling_factor())));
    }
    base.vae.pages().rest();
    Ok((seen, subjects.len() - kept.len()))
}

/// The mean loss of each picture over all timesteps and noises.
fn each(
    pipeline: &Pipeline,
    seen: &Seen<'_>,
    noises: usize,
    device: &Device,
    what: &str,
    tell: &mut dyn FnMut(&str, usize, usize),
) -> Result<Vec<f64>, MeasureError> {
    let side = |at: usize| seen.shape[at] * pipeline.vae.factor();
    let set = HeldOut {
        name: what.to_owned(),
        ids: seen.subjects.iter().map(|s| s.sha256.to_string()).collect(),
        shapes: vec![seen.shape; seen.latents.len()],
        size_ids: vec![Pipeline::uncropped([side(2), side(1)]); seen.latents.len()],
    };
    let captions: Vec<Arc<Caption>> = seen
        .subjects
        .iter()
        .map(|s| Arc::new(pipeline.embed(&[&s.caption], device).into()))
        .collect();
    let of = |i: usize| {
        Ok::<_, ScheduleError>(Example {
            latents: seen.latents[i].clone(),
            caption: captions[i].clone(),
        })
    };
    pipeline.rest_text();
    let at = timesteps(&pipeline.schedule, TIMESTEPS);
    let n = set.ids.len();
    let mut sums = vec![0.0; n];
    for k in 0..noises {
        let label = format!("measure/{k}");
        let found = losses(
            &pipeline.unet,
            &pipeline.schedule,
            (&set, &of),
            (&label, &at),
            BATCH,
            device,
            &mut |done| tell(what, k * n + done, noises * n),
        )?;
        for (sum, losses) in sums.iter_mut().zip(found.chunks(TIMESTEPS)) {
            *sum += losses.iter().sum::<f64>();
        }
    }
    Ok(sums.into_iter().map(|sum| sum / (noises * TIMESTEPS) as f64).collect())
}

fn of(gains: &[Gain], group: Group) -> Vec<f64> {
    gains.iter().filter(|g| g.group == group).map(|g| g.gain).collect()
}

fn separations(gains: &[Gain]) -> Vec<Separation> {
    let trained = of(gains, Group::Trained);
    let against = |group: Group| {
        let others = of(gains, group);
        let curve = roc(&trained, &others);
        (!others.is_empty()).then(|| Separation {
            against: group,
            trained: trained.len(),
            others: others.len(),
            auc: area(&curve),
            true_positives: true_positives(&curve),
            p_value: greater(&trained, &others),
            roc: curve,
        })
    };
    [Group::HeldOut, Group::Refused]
        .into_iter()
        .filter_map(against)
        .collect()
}

/// Whether the kept-out pictures of each artist gained more than the held-out ones of the training set, which are of its
/// style and were not trained on.
fn artists(gains: &[Gain]) -> Vec<ArtistTest> {
    let held_out = of(gains, Group::HeldOut);
    let mut by: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for gain in gains.iter().filter(|g| g.group == Group::Refused) {
        if let Some(artist) = &gain.artist {
            by.entry(artist).or_default().push(gain.gain);
        }
    }
    let p_values: Vec<Option<f64>> = by
        .values()
        .map(|own| {
            (held_out.len().min(own.len()) >= LEAST)
                .then(|| greater(own, &held_out))
                .flatten()
        })
        .collect();
    let mut corrected = holm(&p_values.iter().flatten().copied().collect::<Vec<f64>>()).into_iter();
    by.into_iter()
        .zip(p_values)
        .map(|((artist, own), p_value)| ArtistTest {
            artist: artist.to_owned(),
            images: own.len(),
            gain: own.iter().sum::<f64>() / own.len() as f64,
            p_value,
            p_corrected: p_value.and_then(|_| corrected.next()),
        })
        .collect()
}

fn limits(held_out: usize, refused: usize) -> Vec<String> {
    let mut limits = vec![
        "A gain says that the adapter knows a picture better than its base does: because it was trained on it, on others like \
         it, or on its style. Only the comparison with pictures held out of the same set tells these apart."
            .to_owned(),
        "An adapter that was trained little, or on much, may show no difference: that nothing was found does not prove that \
         a picture was not used."
            .to_owned(),
    ];
    if held_out < LEAST {
        limits.push(format!(
            "{held_out} pictures of the training set were held out, too few to tell an artist's style from his pictures; \
             train with validation_split to have some"
        ));
    }
    let most = held_out.max(refused);
    if most < 100 {
        limits.push(format!(
            "With {most} other pictures no share of false positives below {:.1} % can be told from none.",
            100.0 / most.max(1) as f64
        ));
    }
    limits
}
