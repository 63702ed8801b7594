//! `assent audit`: which images trained an adapter, under which consent, and what has changed since; the same for the
//! adapter that drew a picture; or where one image went.

mod composition;
mod measure;
mod show;

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

pub(super) use show::show;

use super::bar::Bar;
use super::key::public_key;
use super::{Context, Exit, HintExt, subject};
use crate::audit::{
    Report, Thumbnails, Verdict, audit_adapter, audit_image, audit_picture, audit_recorded, audit_signed, html,
};
use crate::digest::{Sha256Digest, write_atomic};
use crate::keys::PublicKey;
use crate::label;
use crate::pixels::{Format, Limits, read_file};
use crate::receipt::Composition;
use crate::registry::{Registry, RegistryError};
use crate::train::watch::{Event, Watch};

/// Options of `assent audit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An adapter, the folder of a run or of an adapter in shards, a picture that was drawn, or a registered picture: a
    /// file or a SHA-256
    #[arg(value_name = "ADAPTER|IMAGE")]
    pub subject: OsString,
    /// Write the report as one HTML page as well
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Show small copies of the images that trained it on the page; nothing of those that were kept out
    #[arg(long, requires = "html")]
    pub thumbnails: bool,
    /// The public key that must have signed an adapter's receipt
    #[arg(long, value_name = "PUBLIC")]
    pub key: Option<PathBuf>,
    /// Measure the adapter on its base
    #[command(flatten)]
    pub measure: measure::MeasureArgs,
}

/// Audits; findings when something does not hold.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let named = Path::new(&args.subject);
    let key = args.key.as_deref().map(public_key).transpose()?;
    if let Some(manifest) = Composition::at(named) {
        return composition::run(context, &args, &manifest, key.as_ref());
    }
    let report = match adapter_at(named) {
        Some(path) => {
            let report = adapter(context, &path, key.as_ref())?;
            match args.measure.measure {
                true => measure::measured(context, &args.measure, &path, report)?,
                false => report,
            }
        }
        None if args.measure.measure => {
            return Err(anyhow!("--measure asks for an adapter")).hint("name its file or the folder of its run");
        }
        None if key.is_some() => {
            return Err(anyhow!("expected an adapter with `--key`, got `{}`", named.display()))
                .hint("a picture's signer is looked for on the trust list: `assent key trust`");
        }
        None => match picture(context, named)? {
            Some(report) => report,
            None => recorded(context, &args.subject)?,
        },
    };
    if let Some(path) = &args.html {
        let thumbnails = args.thumbnails.then(|| thumbnails(context, &report)).transpose()?;
        let page = html::page(
            &report,
            thumbnails.as_ref(),
            &named.to_string_lossy(),
            env!("CARGO_PKG_VERSION"),
        );
        write_atomic(path, page.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
        context.message(format_args!("wrote {}", path.display()));
    }
    if context.json {
        context.json_line(&report)?;
    } else {
        show(context, &report, &named.to_string_lossy())?;
    }
    Ok(if report.verdict == Verdict::Clean {
        Exit::Done
    } else {
        Exit::Findings
    })
}

/// Small copies of the images, as far as there is a registry that knows their places.
fn thumbnails(context: &Context, report: &Report) -> Result<Thumbnails> {
    let registry = match context.registry.exists().then(|| Registry::open(&context.registry)) {
        Some(Ok(registry)) => registry,
        // What is wrong with it is a finding.
        Some(Err(_)) | None => {
            context.warn("no thumbnails: there is no registry that knows where the images are");
            return Ok(Thumbnails::default());
        }
    };
    let mut bar = Bar::new(context);
    let made = Thumbnails::of(report, &registry, |done, total| {
        bar.event(&match done {
            0 => Event::Phase {
                name: "images".to_owned(),
                total: total as u64,
                done: 0,
            },
            _ => Event::Tick,
        })
    })?;
    drop(bar);
    if made.left_out() > 0 {
        context.warn(format_args!(
            "{} images are not shown on the page, to keep it small",
            made.left_out()
        ));
    }
    Ok(made)
}

/// The adapter file meant by a path: the file itself, or that of a run's folder.
pub(super) fn adapter_at(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.join("adapter.safetensors")).filter(|file| file.is_file());
    }
    // By name, or by the brace with which the header of every safetensors file begins.
    let mut start = [0; 9];
    let mut braced = || {
        std::fs::File::open(path)
            .and_then(|mut f| f.read_exact(&mut start))
            .is_ok()
            && start[8] == b'{'
    };
    let named = path.extension().is_some_and(|e| e == "safetensors");
    (path.is_file() && (named || braced())).then(|| path.to_owned())
}

/// The audit of a picture file that was drawn, or that nobody registered; none for a registered image that says nothing
/// of how it was drawn, and for what is no picture.
fn picture(context: &Context, path: &Path) -> Result<Option<Report>> {
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = read_file(path, &Limits::default())?;
    if Format::of_bytes(&bytes).is_none() {
        return Ok(None);
    }
    let absolute = context.absolute(path)?;
    let registry = context.registry.exists().then(|| Registry::open(&context.registry));
    let registry = match registry.transpose() {
        Ok(registry) => registry,
        Err(error @ RegistryError::TooNew { .. }) => return Err(error.into()),
        Err(error) => {
            let report = audit_picture(&absolute, &bytes, None, context.now)?;
            return Ok(Some(report.with_broken_registry(&error)));
        }
    };
    let Some(registry) = registry else {
        return Ok(Some(audit_picture(&absolute, &bytes, None, context.now)?));
    };
    let sha256 = Sha256Digest::of_bytes(&bytes);
    let registered = registry.image(&sha256).is_ok();
    let drawn =
        label::read(&bytes).any_label().is_some() || !registry.pictures_like(&sha256, None, &absolute)?.is_empty();
    if registered && !drawn {
        return Ok(None);
    }
    if registered {
        context.message(format_args!(
            "it is registered as well: `assent audit {}` follows it as an image",
            sha256.short()
        ));
    }
    Ok(Some(audit_picture(&absolute, &bytes, Some(&registry), context.now)?))
}

/// The audit of what only the registry knows by this name: an image, an adapter or a picture by its digest.
fn recorded(context: &Context, subject: &OsString) -> Result<Report> {
    let registry = context.open_registry()?;
    let error = match subject::registered(context, &registry, subject) {
        Ok(image) => return Ok(audit_image(&image, &registry, context.now)?),
        Err(error) => error,
    };
    let Ok(digest) = subject.to_string_lossy().parse::<Sha256Digest>() else {
        return Err(error);
    };
    let gone =
        |what: &str, path: &Path| Err(anyhow!("the {what} is no longer at `{}`", path.display())).hint("name its file");
    if let Some(row) = registry.adapter(&digest)? {
        return match row.path.is_file() {
            true => Ok(audit_adapter(&row.path, Some(&registry), context.now)?),
            false if row.path.is_dir() => Ok(audit_recorded(&row, &registry, context.now)?),
            false => gone("adapter", &row.path),
        };
    }
    // The digest alone: no file lies at an empty path.
    let rows = registry.pictures_like(&digest, None, Path::new(""))?;
    match rows.first().map(|row| &row.picture.path) {
        Some(path) if path.is_file() => {
            let bytes = read_file(path, &Limits::default())?;
            Ok(audit_picture(path, &bytes, Some(&registry), context.now)?)
        }
        Some(path) => gone("picture", path),
        None => Err(error),
    }
}

fn adapter(context: &Context, path: &Path, key: Option<&PublicKey>) -> Result<Report> {
    let absolute = context.absolute(path)?;
    if !context.registry.exists() {
        return Ok(audit_signed(&absolute, None, key, context.now)?);
    }
    match Registry::open(&context.registry) {
        Ok(registry) => Ok(audit_signed(&absolute, Some(&registry), key, context.now)?),
        Err(error @ RegistryError::TooNew { .. }) => Err(error.into()),
        // A registry that no longer opens is what an audit is there to report.
        Err(error) => Ok(audit_signed(&absolute, None, key, context.now)?.with_broken_registry(&error)),
    }
}
