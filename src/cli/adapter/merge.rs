//! `assent adapter merge`: the weighted sum of several adapters.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use anyhow::{Result, anyhow};

use super::made::{self, Output, Read};
use crate::adapter::{Derived, merge};
use crate::cli::generate::behind;
use crate::cli::{Context, Exit, HintExt};

/// Most adapters in one sum.
const SOURCES_LIMIT: usize = 64;

/// Options of `assent adapter merge`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Adapters, each with what it is multiplied by [default: 1]
    #[arg(value_name = "FILE[:WEIGHT]", required = true)]
    pub sources: Vec<OsString>,
    /// Cut the sum to this rank by singular values [default: keep all of it, in the sum of the ranks]
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
    /// The file to write, and how
    #[command(flatten)]
    pub output: Output,
}

/// Merges, and says by kinds of modules what that cost.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    if args.sources.len() > SOURCES_LIMIT {
        return Err(anyhow!(
            "expected at most {SOURCES_LIMIT} adapters, found {}",
            args.sources.len()
        ))
        .hint("merge some of them first, and the results then");
    }
    let sources = args.sources.iter().map(|s| open(s)).collect::<Result<Vec<_>>>()?;
    let derived = Derived {
        by: "merge".into(),
        program: made::program(),
        base: None,
        tuned: None,
        from: sources.iter().map(|s| s.from.clone()).collect(),
    };
    let dtype = args.output.dtype(&sources.iter().collect::<Vec<_>>());
    let adapters: Vec<_> = sources.iter().map(|s| (&s.listing.adapter, s.from.weight)).collect();
    let mut bases: Vec<_> = adapters
        .iter()
        .filter_map(|(a, _)| a.header.get("ss_new_sd_model_hash"))
        .collect();
    bases.sort();
    bases.dedup();
    if bases.len() > 1 {
        context.warn("their headers name different base models: the sum may fit none of them");
    }
    let paths: std::collections::BTreeSet<_> = adapters
        .iter()
        .flat_map(|(a, _)| a.modules.iter().map(|m| &m.path))
        .collect();
    let bar = made::bar(context, "modules", paths.len());
    let (merged, changes) = merge(&adapters, args.rank, dtype, &derived, &|| bar.inc(1)).hint(made::HINT)?;
    bar.finish_and_clear();
    let written = args.output.write(context, &merged, dtype, &sources)?;
    super::report::show(context, &written, &changes)?;
    Ok(Exit::Done)
}

/// `FILE` or `FILE:WEIGHT`; a file with a colon in its name counts as it is.
fn open(argument: &OsStr) -> Result<Read> {
    match behind(argument).filter(|_| !Path::new(argument).exists()) {
        Some((path, weight)) => made::open(Path::new(path), weight),
        None => made::open(Path::new(argument), 1.0),
    }
}
