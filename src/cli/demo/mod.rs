//! `assent demo`: the whole job on the sample art and the small base model, told step by step.

mod assets;
mod curate;
mod learn;
mod story;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::device::{DeviceArgs, stop_flag};
use super::{Context, Exit, HintExt};
use crate::audit::{Thumbnails, audit_adapter, html};
use crate::digest::write_atomic;
use crate::registry::Registry;
use assets::Assets;
use learn::Studio;
use story::Story;

/// Do the whole job on sample art: register, refuse, freeze, train, draw, audit
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where everything is written
    #[arg(long, value_name = "DIR", default_value = "demo-out")]
    out: PathBuf,
    /// The project's folder, which holds the sample art and the base model [default: found beside the program]
    #[arg(long, value_name = "DIR")]
    assets: Option<PathBuf>,
    /// Where to compute
    #[command(flatten)]
    device: DeviceArgs,
}

/// What the demo writes, and removes when it runs again.
const WRITTEN: [&str; 12] = [
    "assent.db",
    "assent.db-wal",
    "assent.db-shm",
    "adapter.safetensors",
    "run.json",
    "metrics.jsonl",
    "loss.png",
    "before-after.png",
    "audit.html",
    "demo.json",
    "samples",
    "state",
];
/// Marks a folder that the demo wrote and may write again.
const MARK: &str = ".assent-demo";

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let assets = Assets::find(args.assets.as_deref(), Path::new("."))?;
    prepare(&args.out)?;
    let story = Story::new(context);
    context.line(format!(
        "assent demo: about 2 minutes on two cores. It writes to `{}`.",
        args.out.display()
    ))?;
    let mut registry = Registry::open(&args.out.join("assent.db"))?;
    curate::curate(context, &story, &mut registry, &assets.sample, &assets.policy)?;
    let stop = stop_flag()?;
    let studio = Studio {
        context,
        story: &story,
        assets: &assets,
        out: &args.out,
        device: &args.device,
        stop: &stop,
    };
    if studio.learn(&mut registry)? != Exit::Done {
        return Ok(Exit::Findings);
    }
    audit(context, &story, &registry, &args.out)?;
    story.end(&args.out)?;
    Ok(Exit::Done)
}

/// Says which pictures trained the adapter and which were kept out, and writes the same as a page.
fn audit(context: &Context, story: &Story<'_>, registry: &Registry, out: &Path) -> Result<()> {
    story.chapter("Audit the adapter")?;
    let path = context.absolute(&out.join("adapter.safetensors"))?;
    let report = audit_adapter(&path, Some(registry), context.now)?;
    let thumbnails = Thumbnails::of(&report, registry, |_, _| {})?;
    let page = html::page(
        &report,
        Some(&thumbnails),
        "adapter.safetensors",
        env!("CARGO_PKG_VERSION"),
    );
    write_atomic(&out.join("audit.html"), page.as_bytes()).context("cannot write `audit.html`")?;
    super::audit::show(context, &report, "adapter.safetensors")
}

/// Makes the folder, or removes what an earlier demo wrote there, and nothing else.
fn prepare(out: &Path) -> Result<()> {
    let cannot = || format!("cannot use `{}`", out.display());
    let strangers = match fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some() && !out.join(MARK).exists(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(cannot),
    };
    if strangers {
        return Err(anyhow!("`{}` is not empty, and no demo wrote it", out.display()))
            .hint("name another folder with `--out DIR`");
    }
    for path in WRITTEN.map(|name| out.join(name)) {
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        match removed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).with_context(cannot),
            _ => {}
        }
    }
    fs::create_dir_all(out).with_context(cannot)?;
    fs::write(
        out.join(MARK),
        "assent demo writes this folder anew each time it runs\n",
    )
    .with_context(cannot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_a_demo_wrote_is_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        prepare(&out).unwrap();
        fs::write(out.join("run.json"), "old").unwrap();
        fs::write(out.join("mine"), "mine").unwrap();
        prepare(&out).unwrap();
        assert!(!out.join("run.json").exists());
        assert!(out.join("mine").exists());
        fs::remove_file(out.join(MARK)).unwrap();
        assert!(prepare(&out).unwrap_err().to_string().contains("no demo wrote it"));
        assert!(out.join("mine").exists());
    }
}
