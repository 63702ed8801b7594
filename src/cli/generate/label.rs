//! Labelling a picture, writing it and recording it.

use std::path::Path;

use anyhow::Result;

use super::Studio;
use crate::cli::Context;
use crate::digest::{Sha256Digest, write_atomic};
use crate::generate::label::{Label, UsedAdapter, png};
use crate::generate::{Job, Picture};
use crate::registry::NewPicture;

impl Studio<'_> {
    /// Labels and writes a picture; `counts` says whether it is one of the results.
    pub(super) fn write(
        &self,
        path: &Path,
        picture: &Picture,
        job: &Job<'_>,
        used: &[UsedAdapter],
        counts: bool,
    ) -> Result<()> {
        let strength = self.start.map(|start| start.strength);
        let label = Label {
            vae: self.vae,
            ..Label::new(job, strength, self.settings, self.base, used.to_vec())
        };
        let bytes = png(picture, &label)?;
        write_atomic(path, &bytes)?;
        record(self.context, path, &bytes, used)?;
        match (counts, self.context.json) {
            (true, true) => self.context.json_line(&label),
            (true, false) => self.context.line(path.display()),
            (false, _) => Ok(()),
        }
    }
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
