//! `assent train-base`: a small base model from nothing, on a snapshot.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::bar::Bar;
use super::device::{DeviceArgs, stop_flag};
use super::error::HintExt;
use super::{Context, Exit};
use crate::digest::{Sha256Digest, write_atomic};
use crate::pixels::Fit;
use crate::snapshot;
use crate::train::base::{BaseConfig, BaseRun, train_base};
use crate::train::data::Pictures;
use crate::train::facts::BaseRecord;
use crate::train::watch::Stage;

/// What to train and where.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration, e.g. configs/base.toml
    pub config: PathBuf,
    /// Where the diffusers folder, the states and the curves go
    #[arg(long, value_name = "DIR", default_value = "base")]
    pub out: PathBuf,
    /// Continue where the last run into this folder was stopped
    #[arg(long)]
    pub resume: bool,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// Trains the base, or continues.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let text = fs::read_to_string(&args.config).with_context(|| format!("cannot read `{}`", args.config.display()))?;
    let mut config: BaseConfig = toml::from_str(&text).with_context(|| format!("`{}`", args.config.display()))?;
    let beside = args.config.parent().unwrap_or(Path::new("."));
    config.model = beside.join(&config.model);

    let registry = context.open_registry()?;
    let snapshot = snapshot::verify(&registry, &config.snapshot, context.now)
        .hint("run `assent snapshot verify NAME` to see what changed")?;
    context.message(format!(
        "{} pictures in snapshot `{}`",
        snapshot.members().len(),
        snapshot.name()
    ));
    let pictures = Pictures::load(&snapshot, config.resolution, Fit::PadWhite)?;
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make `{}`", args.out.display()))?;
    let (device, stop) = (args.device.get()?, stop_flag()?);
    let run = BaseRun {
        config: &config,
        pictures: &pictures,
        root: snapshot.root(),
        device: &device,
        resume: args.resume,
    };
    let finish = {
        let mut bar = Bar::new(context);
        train_base(
            &run,
            &mut Stage {
                out: &args.out,
                watch: &mut bar,
                stop: &stop,
            },
        )?
    };
    if finish.complete {
        let config_digest = Sha256Digest::of_bytes(text.as_bytes());
        let facts = (config_digest, config.seed);
        let record = BaseRecord::new(&args.out, facts, &snapshot, &finish.losses, &args.device.name())?;
        write_atomic(&args.out.join("receipt.json"), record.to_json()?.as_bytes())?;
        context.line(args.out.join("receipt.json").display())?;
    } else {
        context.message(format!(
            "stopped after step {}; the same command with --resume goes on",
            finish.step
        ));
    }
    for (name, loss) in &finish.losses {
        context.message(format!("{name} {loss:.4}"));
    }
    Ok(Exit::Done)
}
