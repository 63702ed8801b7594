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
    let name = snapshot_of(&registry, &args.subject)?;
    let found = attributions(&registry, &name)?;
    let text = found.render(args.format.into());
    if let Some(path) = &args.output {
        write_atomic(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
        context.message(format_args!("wrote `{}`: {} works", path.display(), found.works.len()));
    }
    if context.json {
        for work in &found.works {
            context.json_line(work)?;
        }
        context.json_line(&json!({"summary": {
            "snapshot": found.snapshot, "root": found.root, "works": found.works.len(),
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

/// The snapshot meant by its name, or by an adapter that was trained on it.
fn snapshot_of(registry: &Registry, subject: &OsString) -> Result<String> {
    let name = subject.to_string_lossy();
    if check_name(&name).is_ok() && registry.snapshot(&name)?.is_some() {
        return Ok(name.into_owned());
    }
    let Some(path) = super::audit::adapter_at(Path::new(subject)) else {
        return Err(anyhow!("expected a snapshot or an adapter, got `{name}`"))
            .hint("`assent snapshot list` lists the snapshots");
    };
    let sealed = receipt::open(&Container::read(&path)?)?;
    let root = match sealed {
        Some(sealed) => sealed.receipt.claims.snapshot,
        None => {
            let digest = Sha256Digest::of_file(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            let known = registry.adapter(&digest)?;
            known.map(|row| row.snapshot_root).ok_or_else(|| {
                anyhow!(
                    "`{}` carries no receipt, and the registry does not know it",
                    path.display()
                )
            })?
        }
    };
    let row = registry.snapshot_of_root(&root)?;
    let missing = || {
        anyhow!(
            "the registry has no snapshot with the root {root}, which `{}` names",
            path.display()
        )
    };
    row.map(|row| row.name)
        .ok_or_else(missing)
        .hint("name the registry that it was trained with: `--registry FILE`")
}
