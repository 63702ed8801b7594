//! `assent generate`: labelled pictures from prompts.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};

use super::device::DeviceArgs;
use super::error::HintExt;
use super::{Context, Exit, names};
use crate::digest::Sha256Digest;
use crate::generate::{Drawing, GenerateError, Job, Picture, Rng, Seen, Settings, Start};
use crate::label::UsedAdapter;
use crate::lora;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::model::prompt;
use crate::model::samplers::{SamplerChoice, Spread};
use crate::model::vae::Vae;
use crate::model::weights::Precision;
use crate::sheet::{Row, Sheet, Tile};
use crate::train::facts::base_facts;

mod adapters;
mod files;
mod label;
mod start;
mod workflow;

use adapters::Adapter;
pub(super) use adapters::behind;

/// The types that weights can have in memory.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub enum Stored {
    /// Four bytes a number
    F32,
    /// Half the memory, a little slower; numbers are rounded where the file has more digits
    F16,
}

impl From<Stored> for Precision {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::F32 => Self::F32,
            Stored::F16 => Self::F16,
        }
    }
}

/// What to draw, with what, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The base model: a diffusers folder, or a checkpoint in one .safetensors file (Stable Diffusion 1.x, 2.x, SDXL)
    #[arg(long, value_name = "DIR|FILE", required_unless_present = "workflow")]
    pub base: Option<PathBuf>,
    /// A diffusers folder whose configurations describe a checkpoint that has other heads or groups than the published
    /// models
    #[arg(long, value_name = "DIR")]
    pub base_config: Option<PathBuf>,
    /// A VAE in the place of the base's own, in one .safetensors file
    #[arg(long, value_name = "FILE")]
    pub vae: Option<PathBuf>,
    /// An adapter, with its strength behind a colon (1 unless given), and that on the text encoders behind another one
    /// (the same unless given); may be repeated
    #[arg(long, value_name = "FILE[:WEIGHT[:CLIP]]")]
    pub adapter: Vec<OsString>,
    /// What the picture should show; each prompt is a picture of its own
    #[arg(long, value_name = "TEXT", required_unless_present = "workflow")]
    pub prompt: Vec<String>,
    /// What it should not show
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Which layer of the text encoder is taken, counted from the last, which is 1 [default: 1, for SDXL 2]
    #[arg(long, value_name = "N")]
    pub clip_skip: Option<usize>,
    /// Decides all noise of a prompt's first picture; the next ones count on from here [default: 0]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Whose random numbers: own, cpu (PyTorch's, as A1111 draws them with its setting CPU) or comfyui (PyTorch's, as
    /// ComfyUI draws them) [default: own, for a workflow comfyui]
    #[arg(long, value_name = "NAME")]
    pub rng: Option<Rng>,
    /// Pictures a prompt [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub num_images: Option<u64>,
    /// Pictures that are drawn together: faster, and takes more memory. A seed is the same picture in any batch, up to
    /// rounding
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub batch_size: u64,
    /// Steps of the sampler [default: 20]
    #[arg(long)]
    pub steps: Option<usize>,
    /// Guidance: how closely it follows the prompt; 1 is none [default: 4]
    #[arg(long)]
    pub cfg: Option<f64>,
    /// How far the contrast that guidance adds is taken back, 0 to 1 (for v-prediction about 0.7)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub guidance_rescale: f64,
    /// ddim, euler, euler_ancestral, heun, dpmpp_2m, dpmpp_2m_sde, dpmpp_sde, uni_pc or lcm; also as A1111 ("DPM++ 2M
    /// Karras") and diffusers name them [default: ddim]
    #[arg(long, value_name = "NAME")]
    pub sampler: Option<String>,
    /// How the noise levels are spread, as ComfyUI does: normal, karras, exponential, sgm_uniform, simple, ddim_uniform,
    /// beta, linear_quadratic or kl_optimal [default: what the base says]
    #[arg(long, value_name = "NAME")]
    pub scheduler: Option<String>,
    /// Width in pixels [default: what the base was trained at, or the initial picture's]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels [default: what the base was trained at, or the initial picture's]
    #[arg(long)]
    pub height: Option<usize>,
    /// A picture to start from, of the size of what is drawn
    #[arg(long, value_name = "FILE")]
    pub init_image: Option<PathBuf>,
    /// The part of the steps that is drawn over it, above 0 and up to 1, as A1111 and diffusers count [default: 0.8, with
    /// a mask 1]
    #[arg(long, value_name = "SHARE", conflicts_with = "denoise")]
    pub strength: Option<f64>,
    /// The same as ComfyUI counts: all steps are taken, of a run that is longer by so much
    #[arg(long, value_name = "SHARE")]
    pub denoise: Option<f64>,
    /// Where it is drawn over: white pixels; what is black stays
    #[arg(long, value_name = "FILE", requires = "init_image")]
    pub mask: Option<PathBuf>,
    /// Decode in overlapping tiles of so many latent pixels on a side (64 unless given): less memory for large pictures
    #[arg(long, value_name = "LATENTS", num_args = 0..=1, require_equals = true, default_missing_value = "64")]
    pub vae_tiling: Option<usize>,
    /// How the weights lie in memory; the arithmetic is f32 whatever they are
    #[arg(long, value_enum, default_value_t = Stored::F32)]
    pub weights: Stored,
    /// Write what can be seen so far every N steps, with -preview-STEP before the extension
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub preview_every: Option<u64>,
    /// Add the adapters to the base's weights before drawing, in the place of computing them beside each layer: quicker
    /// steps, the same pictures up to rounding
    #[arg(long, requires = "adapter")]
    pub merge: bool,
    /// A contact sheet in the place of pictures: a row a prompt; columns without an adapter, with each, and with all
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "num_images", "preview_every"])]
    pub sheet: Option<PathBuf>,
    /// The picture: .png, .jpg or .webp; where there are several, -1, -2, … stand before the extension
    #[arg(short, long, value_name = "FILE", required_unless_present = "sheet")]
    pub output: Option<PathBuf>,
    /// What to draw, from a file
    #[command(flatten)]
    pub workflow: workflow::WorkflowArgs,
    /// What is said of them
    #[command(flatten)]
    pub label: label::LabelArgs,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

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

impl Args {
    fn sampler(&self) -> Result<SamplerChoice> {
        let name = self.sampler.as_deref().unwrap_or("ddim");
        let choice: SamplerChoice = name.parse()?;
        let Some(scheduler) = &self.scheduler else {
            return Ok(choice);
        };
        let spread: Spread = scheduler.parse()?;
        if choice.spread.is_some_and(|named| named != spread) {
            bail!("--sampler `{name}` and --scheduler `{scheduler}` contradict each other");
        }
        Ok(SamplerChoice {
            spread: Some(spread),
            ..choice
        })
    }
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
