//! `assent train` with `shards = N`: an adapter for each shard of artists, and the manifest that composes them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::super::{Context, Exit, HintExt, pledge};
use super::{CONFIG, Job, record, report, train};
use crate::digest::{Sha256Digest, write_atomic};
use crate::receipt::{COMPOSITION, COMPOSITION_FORMAT, Composition, RunRecord, Shard, shard_folder};
use crate::registry::{NewComposition, Registry};
use crate::snapshot::{self, Document};
use crate::train::error::TrainError;
use crate::train::forecast::check_folder;

/// Freezes the part of each shard and trains its adapter, one after the other, all with the same settings and seed.
pub(super) fn run(context: &Context, registry: &mut Registry, job: &Job<'_>, text: &[u8]) -> Result<Exit> {
    free(job.out, job.resume)?;
    let run = &job.config.run;
    let (Some(shards), Some(source)) = (run.shards, job.config.sources.first()) else {
        return Err(anyhow!("expected `shards` and one set, found none"));
    };
    let set = Document::of(registry, &source.snapshot).hint("`assent snapshot list` lists them")?;
    let parts = snapshot::parts(registry, &set, shards)?;
    for part in &parts {
        let (name, members) = (&part.document.name, part.document.members.len());
        context.message(format_args!(
            "shard {} of {shards}: {members} pictures in `{name}`",
            part.shard
        ));
    }
    if job.dry_run {
        return Ok(Exit::Done);
    }
    let mut adapters = Vec::new();
    let mut base = None;
    for part in &parts {
        part.freeze(registry).hint(
            "its artists are known by other names since it was frozen: freeze the set anew, under another name",
        )?;
        let folder = shard_folder(job.out, part.shard);
        let ours = |record: &RunRecord| {
            (record.inputs.snapshot.root, record.inputs.config) == (part.document.root, job.digest)
        };
        let done = finished(&folder).filter(|record| job.resume && ours(record));
        let trained = match done {
            Some(record) => record,
            None => {
                check_folder(&folder, job.resume)?;
                let name = std::slice::from_ref(&part.document.name);
                let config = job.config.clone().on(name, run.validation_snapshot.clone());
                let config = config.map_err(|problem| anyhow!(problem))?;
                context.message(format_args!("shard {} of {shards}:", part.shard));
                let begin = || begin(&folder, text);
                let job = Job {
                    config: &config,
                    out: &folder,
                    ..*job
                };
                let Some(trained) = train(context, registry, &job, &begin)? else {
                    return Ok(Exit::Findings);
                };
                record(registry, &trained, &folder, context)?;
                report(context, &trained, &folder)?;
                match trained.product {
                    Some(product) => product.record,
                    // It said how to go on.
                    None => return Ok(Exit::Done),
                }
            }
        };
        base = Some(trained.inputs.base.digest);
        adapters.push(entry(part.shard, &trained, run.weight_of_shard().to_string()));
    }
    let Some(base) = base else {
        return Err(anyhow!("there is nothing to train on"));
    };
    let composition = Composition {
        format: COMPOSITION_FORMAT.to_owned(),
        shards,
        base,
        config: job.digest,
        adapters,
    };
    write(context, registry, job.out, &composition, None)?;
    pledge::signed(context, job.key);
    Ok(Exit::Done)
}

/// Makes the folder of a run, with its configuration.
pub(in crate::cli) fn begin(folder: &Path, text: &[u8]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    write_atomic(&folder.join(CONFIG), text).with_context(|| format!("cannot write into `{}`", folder.display()))
}

/// Refuses a folder that holds another composition, unless that is to be continued.
pub(in crate::cli) fn free(out: &Path, resume: bool) -> Result<()> {
    match out.join(COMPOSITION).exists() && !resume {
        true => Err(TrainError::Occupied {
            path: out.to_owned(),
            trace: COMPOSITION.to_owned(),
        }
        .into()),
        false => Ok(check_folder(out, resume)?),
    }
}

/// The record of a run that ended in this folder and whose adapter is still as it wrote it.
pub(in crate::cli) fn finished(folder: &Path) -> Option<RunRecord> {
    let text = fs::read_to_string(folder.join("run.json")).ok()?;
    let record = RunRecord::parse(&text).ok()?;
    let found = Sha256Digest::of_file(&folder.join("adapter.safetensors")).ok()?;
    (found == record.adapter.file).then_some(record)
}

/// What the manifest says of a shard whose adapter this run made.
pub(in crate::cli) fn entry(shard: u32, record: &RunRecord, weight: String) -> Shard {
    Shard {
        shard,
        file: record.adapter.file,
        tensors: record.adapter.tensors,
        receipt: record.adapter.receipt,
        snapshot: record.inputs.snapshot.root,
        weight,
    }
}

/// Writes the manifest, records it with what it takes the place of, and says where it is.
pub(in crate::cli) fn write(
    context: &Context,
    registry: &mut Registry,
    out: &Path,
    composition: &Composition,
    supersedes: Option<Sha256Digest>,
) -> Result<()> {
    let (path, bytes) = (out.join(COMPOSITION), composition.bytes()?);
    write_atomic(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
    let adapters = composition.adapters.iter();
    let row = NewComposition {
        sha256: Sha256Digest::of_bytes(&bytes),
        path: context.absolute(&path)?,
        adapters: adapters.map(|one| (one.shard, one.file, one.weight.clone())).collect(),
        supersedes,
    };
    registry.add_composition(&row, context.clock())?;
    if context.json {
        return context.json_line(&json!({
            "event": "composition", "path": path.display().to_string(), "sha256": row.sha256, "supersedes": supersedes,
            "composition": composition,
        }));
    }
    context.line(path.display())?;
    context.message(format_args!(
        "{} of {} shards hold artists; `assent generate --adapter {}` uses them together",
        composition.adapters.len(),
        composition.shards,
        out.display()
    ));
    Ok(())
}
