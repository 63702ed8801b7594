//! What a `ComfyUI` workflow asks for, where the command line does not say otherwise.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Args;
use super::files::{self, Kind};
use super::start;
use crate::cli::Context;
use crate::cli::error::HintExt;
use crate::generate::{Rng, Start};
use crate::workflow::{self, Canvas, Lora, Plan};

/// Where a workflow and the files that it names are.
#[derive(Debug, clap::Args)]
pub struct WorkflowArgs {
    /// A ComfyUI workflow, as JSON in the editor's format or the API's, or in a PNG that ComfyUI wrote. What stands
    /// beside it on the command line counts before it
    #[arg(long, value_name = "FILE")]
    pub workflow: Option<PathBuf>,
    /// Where the models that a workflow names are, as ComfyUI lays them out: checkpoints, loras and vae
    #[arg(long, value_name = "DIR", default_value = "models", requires = "workflow")]
    pub models: PathBuf,
    /// Where the pictures that a workflow names are
    #[arg(long, value_name = "DIR", default_value = "input", requires = "workflow")]
    pub input_directory: PathBuf,
}

/// What a workflow asks for that has no word on the command line.
#[derive(Debug, Default)]
pub struct Filled {
    /// The picture that it starts from, where the command line names none.
    pub start: Option<Start>,
    /// The file of that picture.
    pub picture: Option<PathBuf>,
    /// Whether zeros stand in the place of a negative prompt.
    pub zeros: bool,
}

/// Fills in what the command line does not say.
pub fn fill(context: &Context, file: &Path, args: &mut Args) -> Result<Filled> {
    let read = || anyhow::Ok(workflow::read(&files::bytes(file)?)?);
    let plan = read().with_context(|| format!("cannot follow the workflow `{}`", file.display()))?;
    for note in &plan.notes {
        context.warn(format_args!("workflow: {note}"));
    }
    let WorkflowArgs {
        models,
        input_directory,
        ..
    } = &args.workflow;
    if args.base.is_none() {
        let found = files::find(models, Kind::Checkpoint, &plan.checkpoint)
            .hint("give the checkpoint with --base, or the folder that it is in with --models")?;
        args.base = Some(noted(context, found));
    }
    if args.adapter.is_empty() {
        for lora in &plan.loras {
            let found = files::find(models, Kind::Lora, &lora.name)
                .hint("give the adapters with --adapter, or the folder that they are in with --models")?;
            args.adapter.push(with_strengths(noted(context, found), lora));
        }
    }
    if args.vae.is_none()
        && let Some(vae) = &plan.vae
    {
        let found = files::find(models, Kind::Vae, vae)
            .hint("give the VAE with --vae, or the folder that it is in with --models")?;
        args.vae = Some(noted(context, found));
    }
    if let Some(tile) = plan.vae_tile {
        args.vae_tiling = args.vae_tiling.or(Some(tile / 8));
    }
    let mut file = None;
    let start = match &plan.canvas {
        _ if args.init_image.is_some() => None,
        Canvas::Empty { width, height, count } => {
            args.width = args.width.or(Some(*width));
            args.height = args.height.or(Some(*height));
            args.num_images = args.num_images.or(Some(*count as u64));
            None
        }
        Canvas::Picture { image, mask } => {
            let open = |name: &str| {
                files::find(input_directory, Kind::Picture, name)
                    .map(|found| found.path)
                    .hint("give the picture with --init-image, or the folder that it is in with --input-directory")
            };
            let (picture, holder) = (open(image)?, mask.as_ref().map(|mask| open(&mask.image)).transpose()?);
            let mask = mask.as_ref().zip(holder.as_deref());
            let start = start::of_workflow(&picture, mask)?;
            file = Some(picture);
            Some(start)
        }
    };
    let zeros = args.negative_prompt.is_none() && plan.negative.is_none();
    take(args, plan);
    Ok(Filled {
        start,
        picture: file,
        zeros,
    })
}

/// Says so where a file stands in for the one that is named.
fn noted(context: &Context, found: files::Found) -> PathBuf {
    if let Some(note) = found.note {
        context.warn(format_args!("workflow: {note}"));
    }
    found.path
}

fn with_strengths(path: PathBuf, lora: &Lora) -> OsString {
    let mut argument = path.into_os_string();
    argument.push(format!(":{}:{}", lora.model, lora.clip));
    argument
}

/// The values that need no file.
fn take(args: &mut Args, plan: Plan) {
    if args.prompt.is_empty() {
        args.prompt = vec![plan.prompt];
    }
    if args.negative_prompt.is_none() {
        args.negative_prompt = plan.negative;
    }
    args.clip_skip = args.clip_skip.or(plan.clip_skip);
    args.seed = args.seed.or(Some(plan.seed));
    args.rng = args.rng.or(Some(Rng::ComfyUi));
    args.steps = args.steps.or(Some(plan.steps));
    args.cfg = args.cfg.or(Some(plan.cfg));
    if args.sampler.is_none() {
        args.sampler = Some(plan.sampler);
        args.scheduler.get_or_insert(plan.scheduler);
    }
    if args.strength.is_none() && matches!(plan.canvas, Canvas::Picture { .. }) {
        args.denoise = args.denoise.or(Some(plan.denoise));
    }
}
