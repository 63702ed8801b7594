//! A run that was recorded: found by what people call it, with its configuration and base as they were.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::error::HintExt;
use super::train::CONFIG;
use crate::digest::Sha256Digest;
use crate::receipt::RunRecord;
use crate::registry::Registry;
use crate::train::config::AdapterConfig;
use crate::train::facts::base_facts;

/// A recorded run, and the folder that it wrote.
pub(super) struct Recorded {
    /// What it wrote down of itself.
    pub record: RunRecord,
    /// Where it was written to.
    pub folder: PathBuf,
}

/// The run meant by a folder, a `run.json`, an adapter's file, or the beginning of a digest that the registry knows.
pub(super) fn find(registry: &Registry, named: &Path) -> Result<Recorded> {
    let file = if named.is_dir() {
        named.join("run.json")
    } else {
        named.to_owned()
    };
    if file.is_file() && file.extension().is_some_and(|extension| extension == "json") {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
        let record = RunRecord::parse(&text).with_context(|| format!("`{}`", file.display()))?;
        let folder = file.parent().unwrap_or(Path::new(".")).to_owned();
        return Ok(Recorded { record, folder });
    }
    if named.is_dir() {
        return Err(anyhow!(
            "there is no run in `{}`: it holds no `run.json`",
            named.display()
        ))
        .hint("a run writes its record at its end; `assent train --resume` goes on with one that was stopped");
    }
    let wanted = match file.is_file() {
        true => Sha256Digest::of_file(&file)?.to_string(),
        false => named.to_string_lossy().to_lowercase(),
    };
    let is_meant = |digest: &Sha256Digest| wanted.len() >= 8 && digest.to_string().starts_with(&wanted);
    let adapters = registry.adapters()?.into_iter();
    let runs: Vec<_> = adapters
        .filter(|adapter| is_meant(&adapter.sha256) || is_meant(&adapter.tensors))
        .filter_map(|adapter| adapter.run)
        .collect();
    // A run that was repeated is recorded for each time; the last one's folder is the likeliest to be there.
    let row = registry
        .runs()?
        .into_iter()
        .rfind(|row| runs.contains(&row.run.sha256) || is_meant(&row.run.sha256));
    let Some(row) = row else {
        return Err(anyhow!("no recorded run is meant by `{}`", named.display()))
            .hint("name a run's folder, its run.json, its adapter, or eight digits of a digest in the registry");
    };
    Ok(Recorded {
        record: RunRecord::parse(&row.run.record)?,
        folder: row.run.path,
    })
}

/// The configuration of the run, as it was recorded, with its paths found.
/// `given` is its file where it is not in the run's folder, `base` the base where it was moved. Its snapshots are those
/// that the run's record names: a run that was made again without some pictures has the same configuration and others.
pub(super) fn configuration(
    recorded: &Recorded,
    given: Option<&Path>,
    base: Option<&Path>,
) -> Result<(AdapterConfig, String)> {
    let kept = recorded.folder.join(CONFIG);
    let file = given.unwrap_or(&kept);
    let hint = "name the configuration that it was trained with";
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read the run's configuration `{}`", file.display()))
        .hint(hint)?;
    let (found, expected) = (Sha256Digest::of_bytes(text.as_bytes()), recorded.record.inputs.config);
    if found != expected {
        return Err(anyhow!(
            "`{}` is not the run's configuration: expected {expected}, found {found}",
            file.display()
        ))
        .hint(hint);
    }
    let plain = AdapterConfig::parse(&text).map_err(|e| anyhow!("`{}`: {e}", file.display()))?;
    let mut config = match given {
        Some(file) => plain.placed(file.parent().unwrap_or(Path::new("."))),
        // It was moved into the run's folder, so its paths may mean something from here, or from a folder above the run's.
        // What is found so is compared by digest.
        None => {
            let run = std::path::absolute(&recorded.folder)?;
            let folders = std::iter::once(Path::new("")).chain(run.ancestors());
            let there = |folder: &&Path| folder.join(&plain.run.pretrained_model_name_or_path).exists();
            let folder = folders.clone().find(there).unwrap_or(Path::new("")).to_owned();
            plain.placed(&folder)
        }
    };
    if let Some(base) = base {
        config.run.pretrained_model_name_or_path = base.to_owned();
    }
    let inputs = &recorded.record.inputs;
    let sets: Vec<String> = inputs.sets().into_iter().map(|set| set.snapshot.name).collect();
    let measured = recorded.record.measured.as_ref().map(|set| set.name.clone());
    let config = config.on(&sets, measured).map_err(|problem| anyhow!(problem))?;
    same_base(&config, recorded)?;
    Ok((config, text))
}

/// Refuses another base than the run's: nothing could be learned from it.
fn same_base(config: &AdapterConfig, recorded: &Recorded) -> Result<()> {
    let path = &config.run.pretrained_model_name_or_path;
    let expected = recorded.record.inputs.base.digest;
    let hint = "name the base of that run with --base DIR|FILE";
    if !path.exists() {
        return Err(anyhow!("there is no base at `{}`", path.display())).hint(hint);
    }
    let found = base_facts(path)?.digest;
    if found != expected {
        return Err(anyhow!(
            "`{}` is not the run's base: expected {expected}, found {found}",
            path.display()
        ))
        .hint(hint);
    }
    Ok(())
}
