//! `assent generate`: labelled pictures from prompts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use burn::tensor::Device;
use indicatif::{ProgressBar, ProgressStyle};

use super::device::DeviceArgs;
use super::error::HintExt;
use super::{Context, Exit, names};
use crate::adapter::{self, AdapterFile, Container};
use crate::digest::Sha256Digest;
use crate::generate::label::UsedAdapter;
use crate::generate::{Drawing, GenerateError, Job, Picture, Seen, Settings, Start};
use crate::lora;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::model::prompt;
use crate::model::samplers::{SamplerChoice, Spread};
use crate::receipt;
use crate::sheet::{Row, Sheet, Tile};
use crate::train::facts::base_facts;

mod label;
mod start;

/// What to draw, with what, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The base model: a diffusers folder, or a checkpoint in one .safetensors file (Stable Diffusion 1.x, 2.x, SDXL)
    #[arg(long, value_name = "DIR|FILE")]
    pub base: PathBuf,
    /// A diffusers folder whose configurations describe a checkpoint that has other heads or groups than the published
    /// models
    #[arg(long, value_name = "DIR")]
    pub base_config: Option<PathBuf>,
    /// An adapter, with its strength behind a colon (1 unless given); may be repeated
    #[arg(long, value_name = "FILE[:WEIGHT]")]
    pub adapter: Vec<OsString>,
    /// What the picture should show; each prompt is a picture of its own
    #[arg(long, value_name = "TEXT", required = true)]
    pub prompt: Vec<String>,
    /// What it should not show
    #[arg(long, value_name = "TEXT")]
    pub negative_prompt: Option<String>,
    /// Which layer of the text encoder is taken, counted from the last, which is 1 [default: 1, for SDXL 2]
    #[arg(long, value_name = "N")]
    pub clip_skip: Option<usize>,
    /// Decides all noise of a prompt's first picture; the next ones count on from here
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Pictures a prompt
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub num_images: u64,
    /// Pictures that are drawn together: faster, and takes more memory. A seed is the same picture in any batch, up to
    /// rounding
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub batch_size: u64,
    /// Steps of the sampler
    #[arg(long, default_value_t = 20)]
    pub steps: usize,
    /// Guidance: how closely it follows the prompt; 1 is none
    #[arg(long, default_value_t = 4.0)]
    pub cfg: f64,
    /// How far the contrast that guidance adds is taken back, 0 to 1 (for v-prediction about 0.7)
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub guidance_rescale: f64,
    /// ddim, euler, euler_ancestral, heun, dpmpp_2m, dpmpp_2m_sde, dpmpp_sde, uni_pc or lcm; also as A1111 (\"DPM++ 2M
    /// Karras\") and diffusers name them
    #[arg(long, value_name = "NAME", default_value = "ddim")]
    pub sampler: String,
    /// How the noise levels are spread: normal, karras, exponential, sgm_uniform, simple or ddim_uniform [default: what
    /// the base says]
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
    /// The part of the steps that is drawn over it, above 0 and up to 1 [default: 0.8, with a mask 1]
    #[arg(long, visible_alias = "denoise", value_name = "SHARE", requires = "init_image")]
    pub strength: Option<f64>,
    /// Where it is drawn over: white pixels; what is black stays
    #[arg(long, value_name = "FILE", requires = "init_image")]
    pub mask: Option<PathBuf>,
    /// Decode in overlapping tiles of so many latent pixels on a side (64 unless given): less memory for large pictures
    #[arg(long, value_name = "LATENTS", num_args = 0..=1, require_equals = true, default_missing_value = "64")]
    pub vae_tiling: Option<usize>,
    /// Write what can be seen so far every N steps, with -preview-STEP before the extension
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub preview_every: Option<u64>,
    /// A contact sheet in the place of pictures: a row a prompt; columns without an adapter, with each, and with all
    #[arg(long, value_name = "FILE", conflicts_with_all = ["output", "num_images", "preview_every"])]
    pub sheet: Option<PathBuf>,
    /// The picture; where there are several, -1, -2, … stand before the extension
    #[arg(short, long, value_name = "FILE", required_unless_present = "sheet")]
    pub output: Option<PathBuf>,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Draws, labels, writes and, where there is a registry that knows the adapter, records. Where there is a registry,
/// nothing is drawn from a prompt that names an artist who opted out.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    if context.registry.exists() {
        let prompts = args.prompt.iter().enumerate();
        let prompts = prompts.map(|(at, prompt)| (format!("prompt {}", at + 1), prompt.as_str()));
        if names::opted_out(context, &context.open_registry()?, prompts)? > 0 {
            return Ok(Exit::Findings);
        }
    }
    let sampler = args.sampler()?;
    let device = args.device.get()?;
    let start = args
        .init_image
        .as_ref()
        .map(|picture| start::read(picture, args.mask.as_deref(), args.strength))
        .transpose()?;
    let base = Base::open(&args.base, args.base_config.as_deref())?;
    let pipeline = Pipeline::load(&base, &device)?;
    let adapters = args.adapters()?;
    let native = pipeline.unet.config().sample_size * pipeline.vae.factor();
    let [width, height] = start.as_ref().map_or([native; 2], |start| start.size);
    let settings = Settings {
        size: [args.width.unwrap_or(width), args.height.unwrap_or(height)],
        steps: args.steps,
        cfg: args.cfg,
        rescale: args.guidance_rescale,
        sampler,
        negative_prompt: args.negative_prompt.clone(),
        clip_skip: args.clip_skip,
        vae_tile: args.vae_tiling,
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
        base: base_facts(&args.base)?.digest,
        settings: &settings,
        start: start.as_ref(),
        device: &device,
        batch: args.batch_size as usize,
    };
    let path = args.base.display();
    let with = |adapters: &[Adapter]| {
        let mut pipeline = pipeline.clone();
        for adapter in adapters {
            lora::attach_pipeline(&mut pipeline, &adapter.file, adapter.used.weight)
                .with_context(|| format!("`{}` does not fit `{path}`", adapter.path.display()))?;
        }
        Ok(pipeline)
    };
    match (&args.sheet, &args.output) {
        (Some(sheet), _) => studio.sheet(sheet, &args.prompt, args.seed, &adapters, &with)?,
        (None, Some(output)) => {
            let jobs: Vec<Job> = args
                .prompt
                .iter()
                .flat_map(|prompt| (0..args.num_images).map(move |i| (prompt, i)))
                .map(|(prompt, i)| Job {
                    prompt,
                    seed: args.seed.wrapping_add(i),
                })
                .collect();
            let used: Vec<UsedAdapter> = adapters.iter().map(|a| a.used.clone()).collect();
            studio.pictures(output, &with(&adapters)?, &jobs, &used, args.preview_every)?;
        }
        (None, None) => {}
    }
    Ok(Exit::Done)
}

/// An adapter that was read.
struct Adapter {
    path: PathBuf,
    file: AdapterFile,
    used: UsedAdapter,
}

impl Args {
    fn sampler(&self) -> Result<SamplerChoice> {
        let choice: SamplerChoice = self.sampler.parse()?;
        let Some(name) = &self.scheduler else { return Ok(choice) };
        let spread: Spread = name.parse()?;
        if choice.spread.is_some_and(|named| named != spread) {
            bail!(
                "--sampler `{}` and --scheduler `{name}` contradict each other",
                self.sampler
            );
        }
        Ok(SamplerChoice {
            spread: Some(spread),
            ..choice
        })
    }

    fn adapters(&self) -> Result<Vec<Adapter>> {
        let read = |argument: &OsString| {
            let (path, weight) = path_and_weight(argument)?;
            let file = adapter::read(&path).with_context(|| format!("cannot use `{}`", path.display()))?;
            let sealed = receipt::open(&Container::read(&path)?)?;
            let used = UsedAdapter {
                sha256: Sha256Digest::of_file(&path)?,
                receipt: sealed.map(|s| s.digest),
                weight,
            };
            Ok(Adapter { path, file, used })
        };
        self.adapter.iter().map(read).collect()
    }
}

/// What all pictures of a call are drawn with.
struct Studio<'a> {
    context: &'a Context,
    base: Sha256Digest,
    settings: &'a Settings,
    start: Option<&'a Start>,
    device: &'a Device,
    batch: usize,
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
        // A sheet that is too large is refused before anything is drawn for it.
        sheet.png()?;
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
        let all = prompts.join(" | ");
        let used: Vec<UsedAdapter> = adapters.iter().map(|a| a.used.clone()).collect();
        self.write(output, &Picture::of_rgb(&png), &Job { prompt: &all, seed }, &used, true)
    }
}

/// Shows how far all pictures are, in evaluations of the network.
fn progress(bar: &ProgressBar, first: usize, batch: usize, pictures: usize, seen: &Seen<'_>) {
    let scale = seen.of as u64;
    bar.set_length(pictures as u64 * scale);
    bar.set_position(first as u64 * scale + batch as u64 * seen.done as u64);
}

/// `FILE` or `FILE:WEIGHT`.
fn path_and_weight(argument: &OsString) -> Result<(PathBuf, f64)> {
    let bytes = argument.as_bytes();
    let path = |bytes: &[u8]| PathBuf::from(OsString::from_vec(bytes.to_vec()));
    let whole = path(bytes);
    if whole.exists() {
        return Ok((whole, 1.0));
    }
    if let Some(colon) = bytes.iter().rposition(|&b| b == b':') {
        let weight = std::str::from_utf8(&bytes[colon + 1..])
            .ok()
            .and_then(|text| text.parse::<f64>().ok());
        match weight {
            Some(weight) if weight.is_finite() => return Ok((path(&bytes[..colon]), weight)),
            _ => bail!(
                "--adapter: expected FILE or FILE:WEIGHT, found `{}`",
                argument.to_string_lossy()
            ),
        }
    }
    Err(anyhow::anyhow!("there is no adapter at `{}`", whole.display())).hint("give the path of a .safetensors file")
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
