//! `assent retrain` of an adapter in shards: what holds the pictures in question is dropped, or trained again alone.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::{Again, Args, Set, again, beside, described, named, of_record, sets, table};
use crate::cli::error::HintExt;
use crate::cli::recorded::{self, Recorded};
use crate::cli::train::CONFIG;
use crate::cli::train::shards::{entry, finished, free, write};
use crate::cli::{Context, Exit, pledge};
use crate::digest::{Sha256Digest, write_atomic};
use crate::receipt::{Composition, Shard, bundle_path, shard_folder};
use crate::registry::{NewAdapter, Registry};

/// What a shard's folder keeps besides its adapter.
const KEPT: [&str; 4] = ["run.json", CONFIG, "metrics.jsonl", "loss.png"];

/// A shard as it is, and what becomes of its sets.
struct Old {
    shard: Shard,
    recorded: Recorded,
    sets: Vec<Set>,
}

impl Old {
    /// Whether a picture goes that shaped its weights.
    fn changes(&self) -> bool {
        let trained = self.sets.iter().filter(|set| set.role.is_some());
        trained.into_iter().any(|set| !set.remains.gone.is_empty())
    }

    /// Whether nothing of it may be used any more.
    fn is_empty(&self) -> bool {
        let mut trained = self.sets.iter().filter(|set| set.role.is_some());
        trained.any(|set| set.remains.stay() == 0)
    }
}

/// Writes the composition anew into a folder of its own; shards that lose nothing come along as they are.
pub(super) fn run(context: &Context, mut registry: Registry, args: &Args, manifest: &Path) -> Result<Exit> {
    let (old, digest) = Composition::read(manifest)?;
    let folder = manifest.parent().unwrap_or(Path::new("."));
    let without = named(context, &registry, &args.without)?;
    let mut shards = Vec::new();
    for shard in &old.adapters {
        let recorded = same(&registry, shard, folder)?;
        let sets = sets(context, &registry, &recorded, &without)?;
        shards.push(Old {
            shard: shard.clone(),
            recorded,
            sets,
        });
    }
    super::warn_unknown(context, &without, shards.iter().flat_map(|old| &old.sets));
    if context.json {
        let lines: Vec<_> = shards
            .iter()
            .map(|old| json!({"shard": old.shard.shard, "sets": described(&old.sets)}))
            .collect();
        context.json_line(&json!({"event": "retrain", "supersedes": digest, "shards": lines}))?;
    } else {
        context.line(table(context, shards.iter().flat_map(|old| &old.sets)))?;
    }
    if !shards.iter().any(Old::changes) {
        context.message(super::NOTHING);
        return Ok(Exit::Done);
    }
    if shards.iter().all(|old| old.changes() && (args.drop || old.is_empty())) {
        return Err(anyhow!("every shard would be dropped"))
            .hint("there is nothing left to compose: delete the adapter");
    }
    if args.dry_run {
        return Ok(Exit::Done);
    }
    let out = match &args.out {
        Some(out) => out.clone(),
        None => {
            let again = registry
                .compositions()?
                .iter()
                .any(|row| row.superseded_by.contains(&digest));
            beside(&context.absolute(folder)?, again, args.resume)
        }
    };
    free(&out, args.resume)?;
    let key = args.key.read(context)?;
    let mut new = old.clone();
    new.adapters.clear();
    let (mut forgotten, mut trained_again) = (Vec::new(), false);
    for old in shards {
        let (number, target) = (old.shard.shard, shard_folder(&out, old.shard.shard));
        if !old.changes() {
            bring(context, &mut registry, &old.shard, folder, &target)?;
            new.adapters.push(old.shard);
            continue;
        }
        forgotten.push(old.shard.folder(folder).display().to_string());
        if args.drop || old.is_empty() {
            let trained = old.sets.iter().filter(|set| set.role.is_some());
            let innocent: usize = trained.map(|set| set.remains.stay()).sum();
            let with = match innocent {
                0 => String::new(),
                some => format!(", and with it {some} pictures that may still be used"),
            };
            context.message(format_args!("shard {number} of {}: dropped{with}", new.shards));
            continue;
        }
        context.message(format_args!("shard {number} of {}: trained again", new.shards));
        let supersedes = Some(of_record(&old.recorded));
        let done = finished(&target).filter(|record| args.resume && record.supersedes == supersedes);
        let record = match done {
            Some(record) => record,
            None => {
                let job = Again {
                    args,
                    key: key.as_ref(),
                    recorded: &old.recorded,
                    out: &target,
                };
                let Some(trained) = again(context, &mut registry, &job, old.sets)? else {
                    return Ok(Exit::Findings);
                };
                match trained.product {
                    Some(product) => product.record,
                    None => return Ok(Exit::Done),
                }
            }
        };
        trained_again = true;
        new.adapters.push(entry(number, &record, old.shard.weight));
    }
    write(context, &mut registry, &out, &new, Some(digest))?;
    context.message(format_args!(
        "what was is left as it is: to forget it, delete {}",
        forgotten
            .iter()
            .map(|path| format!("`{path}`"))
            .collect::<Vec<_>>()
            .join(", ")
    ));
    if trained_again {
        pledge::signed(context, key.as_ref());
    }
    Ok(Exit::Done)
}

/// The run of a shard, whose adapter must be the one that the manifest names.
fn same(registry: &Registry, shard: &Shard, folder: &Path) -> Result<Recorded> {
    let file = shard.path(folder);
    let found = Sha256Digest::of_file(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let recorded = recorded::find(registry, &shard.folder(folder))?;
    match found == shard.file && recorded.record.adapter.file == shard.file {
        true => Ok(recorded),
        false => Err(anyhow!(
            "`{}` is not the adapter that the manifest names",
            file.display()
        ))
        .hint("`assent audit` of the manifest says what was changed"),
    }
}

/// Copies a shard's folder, but for checkpoints and samples, and tells the registry where its adapter is now.
fn bring(context: &Context, registry: &mut Registry, shard: &Shard, folder: &Path, target: &Path) -> Result<()> {
    let source = shard.folder(folder);
    fs::create_dir_all(target).with_context(|| format!("cannot make `{}`", target.display()))?;
    let file = shard.path(folder);
    let bundle = bundle_path(&file);
    let kept = KEPT.iter().map(|name| source.join(name)).chain([bundle, file]);
    for from in kept.filter(|path| path.is_file()) {
        let to = target.join(from.file_name().unwrap_or_default());
        let bytes = fs::read(&from).with_context(|| format!("cannot read `{}`", from.display()))?;
        write_atomic(&to, &bytes).with_context(|| format!("cannot write `{}`", to.display()))?;
    }
    if let Some(row) = registry.adapter(&shard.file)? {
        let moved = NewAdapter {
            sha256: row.sha256,
            tensors: row.tensors,
            run: row.run,
            trained_on: row.trained_on,
            path: context.absolute(&target.join("adapter.safetensors"))?,
        };
        registry.add_adapter(&moved, context.now)?;
    }
    Ok(())
}
