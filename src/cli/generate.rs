//! `assent generate`: labelled pictures from prompts.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use super::device::DeviceArgs;
use super::error::HintExt;
use super::{Context, Exit, names};
use crate::adapter::{self, Container};
use crate::digest::{Sha256Digest, write_atomic};
use crate::generate::label::{Label, UsedAdapter, png};
use crate::generate::{Settings, draw};
use crate::lora;
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::model::prompt;
use crate::model::samplers::SamplerKind;
use crate::receipt;
use crate::registry::NewPicture;
use crate::train::facts::base_facts;

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
    /// Decides the noise it starts from
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Steps of the sampler
    #[arg(long, default_value_t = 20)]
    pub steps: usize,
    /// Guidance: how closely it follows the prompt; 1 is none
    #[arg(long, default_value_t = 4.0)]
    pub cfg: f64,
    /// ddim, euler, dpmpp_2m or dpmpp_2m_karras
    #[arg(long, value_name = "NAME", default_value = "ddim")]
    pub sampler: String,
    /// Width in pixels [default: what the base was trained at]
    #[arg(long)]
    pub width: Option<usize>,
    /// Height in pixels [default: what the base was trained at]
    #[arg(long)]
    pub height: Option<usize>,
    /// The picture; with several prompts, -1, -2, … stand before the extension
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
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
    let device = args.device.get()?;
    let base = Base::open(&args.base, args.base_config.as_deref())?;
    let mut pipeline = Pipeline::load(&base, &device)?;
    let mut used = Vec::new();
    for argument in &args.adapter {
        let (path, weight) = path_and_weight(argument)?;
        let file = adapter::read(&path).with_context(|| format!("cannot use `{}`", path.display()))?;
        lora::attach_pipeline(&mut pipeline, &file, weight)
            .with_context(|| format!("`{}` does not fit `{}`", path.display(), args.base.display()))?;
        let sealed = receipt::open(&Container::read(&path)?)?;
        let sha256 = Sha256Digest::of_file(&path)?;
        used.push(UsedAdapter {
            sha256,
            receipt: sealed.map(|s| s.digest),
            weight,
        });
    }
    let native = pipeline.unet.config().sample_size * pipeline.vae.factor();
    let settings = Settings {
        size: [args.width.unwrap_or(native), args.height.unwrap_or(native)],
        steps: args.steps,
        cfg: args.cfg,
        sampler: args.sampler.parse::<SamplerKind>()?,
        seed: args.seed,
        negative_prompt: args.negative_prompt.clone(),
        clip_skip: args.clip_skip,
    };
    let prompts: Vec<&str> = args.prompt.iter().map(String::as_str).collect();
    for prompt in prompts.iter().copied().chain(args.negative_prompt.as_deref()) {
        let cut = pipeline.cut(prompt);
        if cut > 0 {
            let most = prompt::CHUNK * prompt::CHUNKS;
            context.warn(format_args!(
                "a prompt has more than {most} tokens: its last {cut} have no effect"
            ));
        }
    }
    let bar = if context.progress() {
        ProgressBar::new(args.steps as u64)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{prefix:>9} {wide_bar} {pos}/{len} {eta} left") {
        bar.set_style(style);
    }
    bar.set_prefix("drawing");
    let pictures = draw(&pipeline, &pipeline.unet, &prompts, &settings, &device, &mut |step| {
        bar.set_position(step as u64)
    })?;
    bar.finish_and_clear();

    let base = base_facts(&args.base)?.digest;
    for (i, picture) in pictures.iter().enumerate() {
        let path = numbered(&args.output, i, pictures.len());
        let label = Label::new(prompts[i], i, &settings, base, used.clone());
        let bytes = png(picture, &label)?;
        write_atomic(&path, &bytes)?;
        record(context, &path, &bytes, &used)?;
        if context.json {
            context.json_line(&label)?;
        } else {
            context.line(path.display())?;
        }
    }
    Ok(Exit::Done)
}

/// Records the picture where the registry knows the adapter, so that `affected` finds it.
fn record(context: &Context, path: &Path, bytes: &[u8], used: &[UsedAdapter]) -> Result<()> {
    if !context.registry.exists() {
        return Ok(());
    }
    let mut registry = context.open_registry()?;
    for adapter in used {
        if registry.adapter(&adapter.sha256)?.is_some() {
            let path = context.absolute(path)?;
            let picture = NewPicture {
                sha256: Sha256Digest::of_bytes(bytes),
                adapter: adapter.sha256,
                path,
            };
            registry.add_picture(&picture, context.now)?;
        }
    }
    Ok(())
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
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{}", i + 1));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}
