//! Labelling a picture, writing it and recording it.

use std::path::Path;

use anyhow::Result;
use clap::builder::FalseyValueParser;
use image::RgbImage;

use super::{Args, Studio};
use crate::cli::Context;
use crate::cli::key::KeyArgs;
use crate::digest::Sha256Digest;
use crate::generate::{Job, Picture};
use crate::keys::SecretKey;
use crate::label::{self, COMPOSITE, Format, Label, TRAINED, UsedAdapter};
use crate::registry::NewPicture;

/// What is said of the pictures. XMP, parameters and, with a key, a C2PA manifest are always written.
#[derive(Debug, clap::Args)]
pub struct LabelArgs {
    /// The key that signs
    #[command(flatten)]
    key: KeyArgs,
    /// Put a visible mark below each picture: \"AI-generated\", and a QR code of the adapter's receipt digest
    #[arg(long, env = "ASSENT_MARK", value_parser = FalseyValueParser::new())]
    mark: bool,
    /// No visible mark, even where $ASSENT_MARK asks for one; what programs read is written all the same
    #[arg(long)]
    no_label: bool,
    /// Name this creator in the file (dc:creator); nobody is named unless asked for
    #[arg(long, value_name = "NAME")]
    creator: Option<String>,
    /// Name who wrote the prompt in the file
    #[arg(long, value_name = "NAME")]
    prompt_writer: Option<String>,
}

/// What all pictures of a call are labelled with.
pub(super) struct Labels {
    key: Option<SecretKey>,
    mark: bool,
    creator: Option<String>,
    prompt_writer: Option<String>,
    start: Option<Sha256Digest>,
}

impl Args {
    /// Reads what is asked for, and the key; `start` is the picture that a workflow starts from.
    pub(super) fn labels(&self, context: &Context, start: Option<&Path>) -> Result<Labels> {
        let said = &self.label;
        let key = said.key.read(context)?;
        if key.is_none() {
            context.message(
                "the pictures are labelled and not signed: `assent key new FILE` makes a key, `--key FILE` signs with it",
            );
        }
        Ok(Labels {
            key,
            mark: said.mark && !said.no_label,
            creator: said.creator.clone(),
            prompt_writer: said.prompt_writer.clone(),
            start: self
                .init_image
                .as_deref()
                .or(start)
                .map(Sha256Digest::of_file)
                .transpose()?,
        })
    }
}

impl Studio<'_> {
    /// Refuses labels that will not fit, before anything is drawn.
    pub(super) fn fits(&self, path: &Path, jobs: &[Job<'_>], used: &[UsedAdapter]) -> Result<()> {
        let format = Format::of_path(path)?;
        for job in jobs {
            label::fits(&self.label(job, used), format)?;
        }
        Ok(())
    }

    /// Labels and writes a picture; `counts` says whether it is one of the results.
    pub(super) fn write(
        &self,
        path: &Path,
        picture: &Picture,
        job: &Job<'_>,
        used: &[UsedAdapter],
        counts: bool,
    ) -> Result<()> {
        let label = self.label(job, used);
        let side = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let [width, height] = picture.size;
        let image = RgbImage::from_raw(side(width), side(height), picture.rgb());
        let image = image.ok_or_else(|| anyhow::anyhow!("expected {width}×{height} pixels, found others"))?;
        let sha256 = label::write(path, &image, &label, self.labels.key.as_ref())?;
        record(self.context, path, sha256, used, &self.base)?;
        match (counts, self.context.json) {
            (true, true) => self.context.json_line(&label),
            (true, false) => self.context.line(path.display()),
            (false, _) => Ok(()),
        }
    }

    fn label(&self, job: &Job<'_>, used: &[UsedAdapter]) -> Label {
        let settings = self.settings;
        // Where a mask keeps a part of another picture, only the rest is a machine's.
        let part = self.start.is_some_and(|start| start.mask.is_some());
        Label {
            program: concat!("assent ", env!("CARGO_PKG_VERSION")).to_owned(),
            created_at: self.context.now,
            prompt: job.prompt.to_owned(),
            negative_prompt: settings.negative_prompt.clone().unwrap_or_default(),
            clip_skip: settings.clip_skip,
            sampler: settings.sampler.to_string(),
            steps: settings.steps,
            cfg: settings.cfg,
            seed: job.seed,
            rng: settings.rng.label().map(str::to_owned),
            strength: self.start.filter(|start| !start.all_steps).map(|start| start.strength),
            denoise: self.start.filter(|start| start.all_steps).map(|start| start.strength),
            start: self.labels.start,
            size: settings.size,
            base: self.base,
            vae: self.vae,
            adapters: used.to_vec(),
            digital_source_type: if part { COMPOSITE } else { TRAINED }.to_owned(),
            creator: self.labels.creator.clone(),
            prompt_writer: self.labels.prompt_writer.clone(),
            mark: self.labels.mark,
        }
        .rounded()
    }
}

/// Records the picture where the registry knows the adapter, or a base that adapters were written into, so that
/// `affected` and `audit` find it.
fn record(
    context: &Context,
    path: &Path,
    sha256: Sha256Digest,
    used: &[UsedAdapter],
    base: &Sha256Digest,
) -> Result<()> {
    if !context.registry.exists() {
        return Ok(());
    }
    let mut registry = context.open_registry()?;
    let mut drew = Vec::new();
    for adapter in used {
        drew.extend(registry.adapter(&adapter.sha256)?);
    }
    drew.extend(registry.adapters_of_tensors(base)?);
    if drew.is_empty() {
        return Ok(());
    }
    let pixels = label::decoded(&std::fs::read(path)?).map(|image| label::pixel_digest(&image));
    for row in drew {
        let picture = NewPicture {
            sha256,
            pixels,
            adapter: row.sha256,
            path: context.absolute(path)?,
        };
        registry.add_picture(&picture, context.now)?;
    }
    Ok(())
}
