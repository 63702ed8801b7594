//! `assent generate`: labelled pictures from prompts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};

use super::error::HintExt;
use super::{Context, Exit, names};
use crate::digest::Sha256Digest;
use crate::generate::{Drawing, GenerateError, Job, Picture, Seen, Settings, Start};
use crate::label::UsedAdapter;
use crate::lora;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::model::prompt;
use crate::model::vae::Vae;
use crate::sheet::{Row, Sheet, Tile};
use crate::train::facts::base_facts;

mod adapters;
mod args;
mod files;
mod label;
mod start;
mod workflow;

use adapters::Adapter;
pub(super) use adapters::{behind, path_and_strengths};
pub use args::Args;

/// Draws, labels, writes and, where there is a registry that knows the adapter, records. Where there is a registry,
/// nothing is drawn from a prompt that names an artist who opted out.
pub fn run(context: &Context, mut args: Args) -> Result<Exit> {
    let filled = match args.workflow.workflow.clone() {
        Some(file) => workflow::fill(context, &file, &mut args)?,
        None => workflow::Filled::default(),
    };
    if context.registry.exists() {
        let prompts = args.prompt.iter().enumerate();
        let prompts = prompts.map(|(at, prompt)| (format!("prompt {}", at + 1), prompt.as_str()));
        if names::opted_out(context, &context.open_registry()?, prompts)? > 0 {
            return Ok(Exit::Findings);
        }
    }
    let sampler = args.sampler()?;
    let labels = args.labels(context, filled.picture.as_deref())?;
    let device = args.device.get()?;
    if args.merge && matches!(args.weights, args::Stored::Int8) {
        return Err(anyhow::anyhow!(
            "--merge: weights in int8 are not merged, since their steps would swallow what an adapter changes"
        ))
        .hint("leave --merge out, or take --weights f16");
    }
    let mut start = match &args.init_image {
        Some(picture) => Some(start::read(picture, args.mask.as_deref())?),
        None => filled.start,
    };
    match &mut start {
        Some(start) => {
            (start.strength, start.all_steps) = start::amount(args.strength, args.denoise, start.mask.is_some())?;
        }
        None if args.strength.is_some() || args.denoise.is_some() => {
            return Err(anyhow::anyhow!("--strength and --denoise need a picture to start from"))
                .hint("give it with --init-image");
        }
        None => {}
    }
    let path = args.base.clone().unwrap_or_default();
    let base = Base::open(&path, args.base_config.as_deref())?.stored_as(args.weights.into());
    // The digest takes about as long as reading the weights, so both go on at once.
    let (pipeline, facts) = rayon::join(|| Pipeline::load(&base, &device), || base_facts(&path));
    let (mut pipeline, facts) = (pipeline?, facts?);
    if let Some(file) = &args.vae {
        pipeline.vae = Vae::load_file(file, pipeline.vae.config(), &device, args.weights.into())?;
    }
    if filled.zeros && !(pipeline.second.is_some() && pipeline.zero_empty) {
        bail!("the workflow has zeros in the place of a negative prompt, which only SDXL takes");
    }
    let adapters = adapters::read(&args.adapter)?;
    let native = pipeline.unet.config().sample_size * pipeline.vae.factor();
    let [width, height] = start.as_ref().map_or([native; 2], |start| start.size);
    let settings = Settings {
        size: [args.width.unwrap_or(width), args.height.unwrap_or(height)],
        steps: args.steps.unwrap_or(20),
        cfg: args.cfg.unwrap_or(4.0),
        rescale: args.guidance_rescale,
        sampler,
        negative_prompt: args.negative_prompt.clone(),
        clip_skip: args.clip_skip,
        vae_tile: args.vae_tiling,
        rng: args.rng.unwrap_or_default(),
    };
    for prompt in args.prompt.iter().chain(&args.negative_prompt) {
        let cut = pipeline.cut(prompt);
        if cut > 0 {
            let most = prompt::CHUNK * prompt::CHUNKS;
            context.warn(format_args!(
                "a prompt has more than {most} tokens: its last {cut} have no effect"
            ));
        }
    }
    let studio = Studio {
        context,
        base: facts.digest,
        vae: args.vae.as_deref().map(Sha256Digest::of_file).transpose()?,
        settings: &settings,
        start: start.as_ref(),
        device: &device,
        batch: args.batch_size as usize,
        labels,
    };
    let path = path.display();
    let seed = args.seed.unwrap_or(0);
    let with = |adapters: &[Adapter]| {
        let mut pipeline = pipeline.clone();
        for adapter in adapters {
            lora::attach_pipeline(&mut pipeline, &adapter.file, adapter.strengths())
                .with_context(|| format!("`{}` does not fit `{path}`", adapter.path.display()))?;
        }
        if args.merge {
            lora::merge_pipeline(&mut pipeline);
        }
        Ok(pipeline)
    };
    match (&args.sheet, &args.output) {
        (Some(sheet), _) => studio.sheet(sheet, &args.prompt, seed, &adapters, &with)?,
        (None, Some(output)) => {
            let jobs: Vec<Job> = args
                .prompt
                .iter()
                .flat_map(|prompt| (0..args.num_images.unwrap_or(1)).map(move |i| (prompt, i)))
                .map(|(prompt, i)| Job {
                    prompt,
                    seed: seed.wrapping_add(i),
                })
                .collect();
            let used: Vec<UsedAdapter> = adapters.iter().map(|a| a.used.clone()).collect();
            studio.pictures(output, &with(&adapters)?, &jobs, &used, args.preview_every)?;
        }
        (None, None) => {}
    }
    Ok(Exit::Done)
}

/// What all pictures of a call are drawn with.
struct Studio<'a> {
    context: &'a Context,
    base: Sha256Digest,
    vae: Option<Sha256Digest>,
    settings: &'a Settings,
    start: Option<&'a Start>,
    device: &'a Device,
    batch: usize,
    labels: label::Labels,
}

impl Studio<'_> {
    fn drawing<'b>(&'b self, pipeline: &'b Pipeline) -> Drawing<'b> {
        Drawing {
            start: self.start,
            ..Drawing::new(pipeline, &pipeline.unet, self.settings, self.device)
        }
    }

    fn bar(&self) -> ProgressBar {
        let bar = if self.context.progress() {
            ProgressBar::new(1)
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{prefix:>9} {wide_bar} {pos}/{len} {eta} left") {
            bar.set_style(style);
        }
        bar.set_prefix("drawing");
        bar
    }

    /// Draws the jobs batch by batch, and writes each batch's pictures once it is done.
    fn pictures(
        &self,
        output: &Path,
        pipeline: &Pipeline,
        jobs: &[Job<'_>],
        used: &[UsedAdapter],
        preview_every: Option<u64>,
    ) -> Result<()> {
        self.fits(output, jobs, used)?;
        let drawing = self.drawing(pipeline);
        let bar = self.bar();
        for (at, batch) in jobs.chunks(self.batch).enumerate() {
            let first = at * self.batch;
            let file = |i: usize| numbered(output, first + i, jobs.len());
            let pictures = drawing.draw(batch, &mut |seen| {
                progress(&bar, first, batch.len(), jobs.len(), seen);
                let due = preview_every.is_some_and(|n| (seen.done as u64).is_multiple_of(n) && seen.done < seen.of);
                let (true, Some(clean)) = (due, seen.clean) else {
                    return Ok(());
                };
                for (i, picture) in drawing.pictures(clean.clone())?.iter().enumerate() {
                    let path = suffixed(&file(i), &format!("-preview-{}", seen.done));
                    self.write(&path, picture, &batch[i], used, false)
                        .map_err(|e| GenerateError::Watch(format!("{e:#}")))?;
                }
                Ok(())
            })?;
            for (i, picture) in pictures.iter().enumerate() {
                bar.suspend(|| self.write(&file(i), picture, &batch[i], used, true))?;
            }
        }
        bar.finish_and_clear();
        Ok(())
    }

    /// Draws each prompt without an adapter, with each adapter, and with all of them, from the same noise.
    fn sheet(
        &self,
        output: &Path,
        prompts: &[String],
        seed: u64,
        adapters: &[Adapter],
        with: &dyn Fn(&[Adapter]) -> Result<Pipeline>,
    ) -> Result<()> {
        let mut columns = vec![("no adapter".to_owned(), &adapters[..0])];
        for (i, adapter) in adapters.iter().enumerate() {
            let stem = adapter.path.file_stem().unwrap_or_default().to_string_lossy();
            columns.push((format!("{stem} × {}", adapter.used.weight), &adapters[i..=i]));
        }
        if adapters.len() > 1 {
            columns.push(("all together".to_owned(), adapters));
        }
        let [width, height] = self.settings.size;
        let mut sheet = Sheet {
            title: format!("seed {seed}, {}, {} steps", self.settings.sampler, self.settings.steps),
            columns: columns.iter().map(|(name, _)| name.clone()).collect(),
            rows: prompts
                .iter()
                .map(|prompt| Row {
                    label: prompt.clone(),
                    tiles: vec![None; columns.len()],
                })
                .collect(),
            side: width.max(height).clamp(64, 512) as u32,
        };
        // A sheet that is too large, or whose label is, is refused before anything is drawn for it.
        sheet.png()?;
        let all = prompts.join(" | ");
        let used: Vec<UsedAdapter> = adapters.iter().map(|a| a.used.clone()).collect();
        let whole = Job { prompt: &all, seed };
        self.fits(output, &[whole], &used)?;
        let jobs: Vec<Job> = prompts.iter().map(|prompt| Job { prompt, seed }).collect();
        let total = jobs.len() * columns.len();
        let bar = self.bar();
        for (column, (_, adapters)) in columns.iter().enumerate() {
            let pipeline = with(adapters)?;
            let drawing = self.drawing(&pipeline);
            for (at, batch) in jobs.chunks(self.batch).enumerate() {
                let first = at * self.batch;
                let pictures = drawing.draw(batch, &mut |seen| {
                    progress(&bar, column * jobs.len() + first, batch.len(), total, seen);
                    Ok(())
                })?;
                for (i, picture) in pictures.iter().enumerate() {
                    let tile = Tile::from_planes(width as u32, height as u32, &picture.planes)?;
                    sheet.rows[first + i].tiles[column] = Some(tile);
                }
            }
        }
        bar.finish_and_clear();
        let png = image::load_from_memory(&sheet.png()?)?.to_rgb8();
        self.write(output, &Picture::of_rgb(&png), &whole, &used, true)
    }
}

/// Shows how far all pictures are, in evaluations of the network.
fn progress(bar: &ProgressBar, first: usize, batch: usize, pictures: usize, seen: &Seen<'_>) {
    let scale = seen.of as u64;
    bar.set_length(pictures as u64 * scale);
    bar.set_position(first as u64 * scale + batch as u64 * seen.done as u64);
}

/// The path itself, or with a number before the extension.
fn numbered(path: &Path, i: usize, n: usize) -> PathBuf {
    if n == 1 {
        return path.to_owned();
    }
    suffixed(path, &format!("-{}", i + 1))
}

/// The path with something before the extension.
fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(suffix);
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
