//! What is checked, counted and opened before anything is computed.

use std::path::Path;

use super::{AdapterRun, NAME};
use crate::model::pipeline::Pipeline;
use crate::receipt::BaseFacts;
use crate::train::config::AdapterConfig;
use crate::train::data::cache::Store;
use crate::train::data::{Placed, caption, counts};
use crate::train::error::TrainError;
use crate::train::forecast::{Forecast, Shapes, check_captions};
use crate::train::networks::Networks;
use crate::train::watch::{Event, Stage};
use crate::train::{facts, state};

/// Refuses sizes that the VAE does not divide.
pub(super) fn divides(c: &AdapterConfig, factor: usize) -> Result<(), TrainError> {
    let mut sides = c.data.resolution.size().map(|side| ("resolution", side)).to_vec();
    if c.data.enable_bucket {
        sides.push(("bucket_reso_steps", c.data.bucket_reso_steps as usize));
    }
    match sides.iter().find(|(_, side)| !side.is_multiple_of(factor)) {
        Some((key, side)) => Err(TrainError::Setting(format!(
            "{key}: expected a multiple of {factor}, found {side}"
        ))),
        None => Ok(()),
    }
}

/// Refuses captions that no tokenizer has room for, unless they are allowed.
pub(super) fn check_lengths(c: &AdapterConfig, pipeline: &Pipeline, pictures: &[Placed]) -> Result<(), TrainError> {
    let trigger = c.run.trigger_phrase.as_deref();
    let strict = pictures.iter().map(|picture| &picture.entry);
    let strict = strict.filter(|entry| !entry.subset.allow_long_captions);
    let texts = strict.map(|entry| {
        let whole = caption(&entry.subset, trigger, &entry.caption, None);
        (entry.path.display(), whole)
    });
    check_captions(pipeline, texts)
}

/// Counts the pictures of a run by size into its plan, and says what is largest.
pub(super) fn count(
    run: &AdapterRun<'_>,
    plan: &mut Forecast,
    pictures: &[Placed],
    others: Option<&[Placed]>,
    factor: usize,
) -> Shapes {
    let others = others.unwrap_or_default();
    let everything: Vec<(usize, usize)> = (0..pictures.len()).map(|i| (i, 1)).collect();
    let buckets = counts(pictures, &everything).into_iter();
    plan.sizes = buckets
        .map(|b| (format!("{}x{}", b.width, b.height), b.pictures as u64))
        .collect();
    run.sets.iter().for_each(|set| plan.exclude(set.snapshot));
    let all = || pictures.iter().chain(others);
    let area = |size: &[u32; 2]| u64::from(size[0]) * u64::from(size[1]);
    let largest = all().map(Placed::bucket).max_by_key(area).unwrap_or_default();
    let [width, height] = largest.map(|side| side as usize);
    Shapes {
        latents: [height / factor, width / factor],
        pictures: [height, width],
        count: all().map(|picture| 1 + u64::from(picture.entry.subset.flip_aug)).sum(),
    }
}

/// What is kept in files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Distributions of latents.
    Latents,
    /// Embeddings of captions.
    Texts,
}

/// The files of the cache, where the configuration wants them.
pub(super) fn store(
    run: &AdapterRun<'_>,
    out: &Path,
    base: &BaseFacts,
    kind: Kind,
) -> Result<Option<Store>, TrainError> {
    let data = &run.config.data;
    let (wanted, name, parts): (bool, _, &[&str]) = match kind {
        Kind::Latents => (data.cache_latents_to_disk, "latents", &["vae/"]),
        Kind::Texts => (
            data.cache_text_encoder_outputs_to_disk,
            "text",
            &["text_encoder", "tokenizer", "model_index.json"],
        ),
    };
    if !wanted {
        return Ok(None);
    }
    let folder = data.cache_dir.clone().unwrap_or_else(|| out.join("cache"));
    let precision = facts::name_of(&run.config.run.base_precision);
    Store::open(folder, name, base, parts, (&precision, run.device_name)).map(Some)
}

/// Completes the plan, tells it, and refuses what there is no room for.
pub(super) fn look(
    run: &AdapterRun<'_>,
    plan: &mut Forecast,
    (pipeline, networks, [found, expected]): (&Pipeline, &mut Networks, [usize; 2]),
    shapes: &Shapes,
    stage: &mut Stage<'_>,
) -> Result<(), TrainError> {
    let c = run.config;
    let batch = c.data.train_batch_size as u64 * c.optimisation.gradient_accumulation_steps;
    plan.modules = found as u64;
    plan.modules_expected = expected as u64;
    plan.steps = c.optimisation.max_train_steps;
    plan.done = match run.resume {
        true => state::step(&stage.out.join("state"), NAME),
        false => 0,
    };
    plan.pictures_per_step = batch;
    plan.epochs = (plan.steps * batch) as f64 / plan.epoch.max(1) as f64;
    plan.disk_available = run.start.computer.disk();
    plan.measure(run, pipeline, networks, shapes)?;
    let room = plan.check(run.start.ignore_memory);
    if room.is_ok() {
        plan.rehearse(run, pipeline, networks, shapes)?;
    }
    stage.tell(&Event::Plan(Box::new(plan.clone())));
    room
}
