//! `assent attributions`: whom to name for everything that a training set holds.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::{Context, Exit, HintExt};
use crate::adapter::Container;
use crate::digest::{Sha256Digest, write_atomic};
use crate::receipt;
use crate::registry::Registry;
use crate::snapshot::{Format, attributions, check_name};

/// Options of `assent attributions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of a snapshot, an adapter, or the folder of a run
    #[arg(value_name = "SNAPSHOT|ADAPTER")]
    pub subject: OsString,
    /// How to write them
    #[arg(long, value_enum, default_value_t)]
    pub format: Written,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The formats by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Written {
    /// Plain text
    #[default]
    Text,
    /// A page that needs nothing else
    Html,
    /// Markdown
    Markdown,
}

impl From<Written> for Format {
    fn from(written: Written) -> Format {
        match written {
            Written::Text => Format::Text,
            Written::Html => Format::Html,
            Written::Markdown => Format::Markdown,
        }
    }
}

/// Writes them; findings when an author must be named and none is known.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let registry = context.open_registry()?;
    let (first, others) = snapshots_of(&registry, &args.subject)?;
    let mut found = attributions(&registry, &first)?;
    for name in &others {
        found = found.and(attributions(&registry, name)?);
    }
    let text = found.render(args.format.into());
    if let Some(path) = &args.output {
        write_atomic(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
        context.message(format_args!("wrote `{}`: {} works", path.display(), found.works.len()));
    }
    if context.json {
        for work in &found.works {
            context.json_line(work)?;
        }
        let (snapshot, root) = found.snapshots.first().cloned().unzip();
        let further = found.snapshots.iter().skip(1);
        let further: Vec<_> = further
            .map(|(name, root)| json!({"snapshot": name, "root": root}))
            .collect();
        context.json_line(&json!({"summary": {
            "snapshot": snapshot, "root": root, "further": further, "works": found.works.len(),
            "unnamed": found.unnamed(), "not_frozen": found.not_frozen(),
        }}))?;
    } else if args.output.is_none() {
        context.line(text.trim_end())?;
    }
    match found.unnamed() {
        0 => Ok(Exit::Done),
        some => {
            context.warn(format_args!("{some} works must name an author, and none is known"));
            Ok(Exit::Findings)
        }
    }
}

/// The snapshot meant by its name, or every one that an adapter was trained on: the first, and the others.
fn snapshots_of(registry: &Registry, subject: &OsString) -> Result<(String, Vec<String>)> {
    let name = subject.to_string_lossy();
    if check_name(&name).is_ok() && registry.snapshot(&name)?.is_some() {
        return Ok((name.into_owned(), Vec::new()));
    }
    let Some(path) = super::audit::adapter_at(Path::new(subject)) else {
        return Err(anyhow!("expected a snapshot or an adapter, got `{name}`"))
            .hint("`assent snapshot list` lists the snapshots");
    };
    let sealed = receipt::open(&Container::read(&path)?)?;
    let trained_on = match sealed {
        Some(sealed) => sealed.receipt.claims.trained_on(),
        None => {
            let digest = Sha256Digest::of_file(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let known = registry.adapter(&digest)?;
            known.map(|row| row.trained_on).ok_or_else(|| {
                anyhow!(
                    "`{}` carries no receipt, and the registry does not know it",
                    path.display()
                )
            })?
        }
    };
    let mut names = Vec::new();
    for set in trained_on {
        let row = registry.snapshot_of_root(&set.root)?;
        let missing = || {
            anyhow!(
                "the registry has no snapshot with the root {}, which `{}` names",
                set.root,
                path.display()
            )
        };
        let row = row
            .ok_or_else(missing)
            .hint("name the registry that it was trained with: `--registry FILE`")?;
        if !names.contains(&row.name) {
            names.push(row.name);
        }
    }
    let first = (!names.is_empty()).then(|| names.remove(0));
    let first = first.ok_or_else(|| anyhow!("the registry names no snapshot for `{}`", path.display()))?;
    Ok((first, names))
}
