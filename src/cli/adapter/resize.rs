//! `assent adapter resize`: an adapter in another rank.

use std::path::PathBuf;

use anyhow::Result;

use super::made::{self, Output};
use crate::adapter::{Cut, Derived, resize};
use crate::cli::{Context, Exit, HintExt};

/// Options of `assent adapter resize`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("cut").required(true).args(["rank", "energy"])))]
pub struct Args {
    /// An adapter, or the folder of a run
    #[arg(value_name = "ADAPTER")]
    pub source: PathBuf,
    /// The new rank; modules of a lower one stay as they are
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
    /// The lowest rank of each module that keeps this share of the sum of its squared singular values, 0 to 1: the
    /// square of what kohya's resize_lora takes for sv_fro
    #[arg(long, value_name = "SHARE")]
    pub energy: Option<f64>,
    /// The file to write, and how
    #[command(flatten)]
    pub output: Output,
}

/// Resizes, and says by kinds of modules what that cost.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let source = made::open(&args.source, 1.0)?;
    let cut = match (args.rank, args.energy) {
        (Some(rank), _) => Cut::Rank(rank),
        (None, share) => Cut::Energy(share.unwrap_or(1.0)),
    };
    let derived = Derived {
        by: "resize".into(),
        program: made::program(),
        base: None,
        tuned: None,
        from: vec![source.from.clone()],
    };
    let dtype = args.output.dtype(&[&source]);
    let adapter = &source.listing.adapter;
    let bar = made::bar(context, "modules", adapter.modules.len());
    let (resized, changes) = resize(adapter, cut, dtype, &derived, &|| bar.inc(1)).hint(made::HINT)?;
    bar.finish_and_clear();
    let written = args.output.write(context, &resized, dtype, &[source])?;
    super::report::show(context, &written, &changes)?;
    Ok(Exit::Done)
}
