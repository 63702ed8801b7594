//! `assent ingest`: registers pictures with what is said about them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Context, Exit, HintExt, Style};
use crate::ingest::{Options, Report, Status, Summary, ingest, walk};
use crate::pixels::Limits;
use crate::registry::Registry;
use crate::signals::{self, Trust};

/// Register pictures, their signals, licences and fingerprints
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Pictures, and folders of pictures
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Who made all of them, before whatever the files say
    #[arg(long, value_name = "NAME")]
    artist: Option<String>,
    /// Their licence as an SPDX expression, before whatever the files say
    #[arg(long, value_name = "SPDX")]
    license: Option<String>,
    /// Where they come from
    #[arg(long, value_name = "URL")]
    source: Option<String>,
    /// Certificates (PEM) whose signatures count as trusted
    #[arg(long, value_name = "FILE", env = "ASSENT_TRUST")]
    trust: Option<PathBuf>,
    /// The collection that they are counted to, for opt-outs and grants that name one
    #[arg(long, value_name = "NAME")]
    collection: Option<String>,
    /// Extension of the caption files beside the pictures [default: txt, then caption]
    #[arg(long, value_name = "EXT")]
    captions: Vec<String>,
    /// The largest picture that is decoded, in megapixels
    #[arg(long, value_name = "MEGAPIXELS", default_value_t = 256)]
    max_pixels: u64,
    /// The largest file that is read, in mebibytes
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    max_file: u64,
    /// What the files and pictures of all workers may hold together, in mebibytes
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u64,
    /// Workers [default: one a core]
    #[arg(short, long, value_name = "N")]
    jobs: Option<usize>,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let started = Instant::now();
    let options = options(&args)?;
    for path in &args.paths {
        // A link in a circle exists, and costs a message later.
        if path.symlink_metadata().is_err() {
            bail!("there is no `{}`", path.display());
        }
    }
    let mut registry = context.open_or_create_registry()?;
    let entries = walk(&args.paths);
    let bar = if context.progress() {
        ProgressBar::new_spinner()
    } else {
        ProgressBar::hidden()
    };
    // How many there are is known only when the last was found.
    bar.set_style(ProgressStyle::with_template(
        "{spinner} {pos} pictures  {per_sec}  {elapsed}",
    )?);
    bar.enable_steady_tick(Duration::from_millis(200));

    let mut failed = None;
    let summary = ingest(&mut registry, entries, &options, context.now, |report| {
        bar.inc(1);
        // The pictures are registered whether or not anybody still reads the list.
        if failed.is_none() {
            failed = bar.suspend(|| show(context, &report)).err();
        }
    })?;
    bar.finish_and_clear();
    compare(context, &registry)?;
    match failed {
        Some(error) => return Err(error),
        None => conclude(context, &summary, started.elapsed())?,
    }
    Ok(if summary.refused > 0 {
        Exit::Findings
    } else {
        Exit::Done
    })
}

/// Compares the new pictures with all others. Whoever is stopped in it loses nothing: the next reader goes on.
fn compare(context: &Context, registry: &Registry) -> Result<()> {
    let waiting = registry.unpaired()?;
    let bar = if context.progress() && waiting > 0 {
        ProgressBar::new(waiting)
    } else {
        ProgressBar::hidden()
    };
    bar.set_style(ProgressStyle::with_template(
        "looking for copies  {bar:40} {pos}/{len}  {eta} left",
    )?);
    registry.pair(|done| bar.inc(done))?;
    bar.finish_and_clear();
    Ok(())
}

fn options(args: &Args) -> Result<Options> {
    let license = match &args.license {
        Some(text) => match signals::expression(text) {
            Some(license) => Some(license),
            None => {
                return Err(anyhow::anyhow!("`{text}` is no SPDX licence expression"))
                    .hint("use an identifier such as `CC-BY-4.0` or `CC0-1.0`, or `LicenseRef-NAME` for your own");
            }
        },
        None => None,
    };
    let collection = args.collection.as_deref().map(str::trim);
    if collection == Some("") {
        bail!("expected the name of a collection, got nothing");
    }
    let defaults = Options::default();
    let captions = match args.captions.as_slice() {
        [] => defaults.captions,
        given => given
            .iter()
            .map(|extension| extension.trim_start_matches('.').to_string())
            .collect(),
    };
    Ok(Options {
        artist: args.artist.clone(),
        license,
        source: args.source.clone(),
        collection: collection.map(str::to_string),
        captions,
        trust: trust(args.trust.as_deref())?,
        limits: Limits {
            max_pixels: args.max_pixels.saturating_mul(1_000_000),
            max_file_bytes: args.max_file.saturating_mul(1 << 20),
            ..defaults.limits
        },
        memory: args.memory.saturating_mul(1 << 20),
        jobs: args.jobs.unwrap_or(defaults.jobs),
        // What lies loose in a home or among temporary files is no site of its own.
        boundaries: std::env::home_dir().into_iter().chain([std::env::temp_dir()]).collect(),
    })
}

/// Reads the trust list; nobody is trusted without one.
fn trust(path: Option<&Path>) -> Result<Trust> {
    let Some(path) = path else {
        return Ok(Trust::default());
    };
    let pem = std::fs::read_to_string(path)
        .map_err(|error| anyhow::anyhow!("cannot read the trust list `{}`: {error}", path.display()))
        .hint("name a file of certificates in PEM with `--trust FILE`, or unset `ASSENT_TRUST`")?;
    Trust::new(&pem)
        .map_err(|error| anyhow::anyhow!("the trust list `{}` cannot be used: {error}", path.display()))
        .hint("it holds the root certificates, each between BEGIN CERTIFICATE and END CERTIFICATE")
}

fn show(context: &Context, report: &Report) -> Result<()> {
    let path = report.path.to_string_lossy();
    if context.json {
        return context.json_line(&json!({
            "path": path,
            "status": report.status,
            "sha256": report.sha256.map(|digest| digest.to_string()),
            "reason": report.reason,
        }));
    }
    if report.status == Status::Refused {
        let reason = report.reason.as_deref().unwrap_or("no reason");
        context.line(format!("{} {path}: {reason}", context.paint(Style::Bad, "refused")))?;
    } else if context.verbose {
        let digest = report.sha256.map(|digest| digest.short()).unwrap_or_default();
        context.line(format!(
            "{} {path} {digest}",
            format!("{:?}", report.status).to_lowercase()
        ))?;
    }
    Ok(())
}

fn conclude(context: &Context, summary: &Summary, took: Duration) -> Result<()> {
    let seconds = (took.as_secs_f64() * 1000.0).round() / 1000.0;
    let Summary {
        added,
        known,
        updated,
        refused,
    } = *summary;
    if context.json {
        return context.json_line(&json!({"summary": {
            "added": added, "known": known, "updated": updated, "refused": refused, "seconds": seconds,
        }}));
    }
    let files = added + known + updated + refused;
    let rate = files as f64 / took.as_secs_f64().max(0.001);
    context.line(format!(
        "{added} added, {updated} updated, {known} known, {refused} refused in {seconds:.1} s ({rate:.0} files a second)"
    ))
}
