//! `assent adapter resize`: an adapter in another rank.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::made::{self, Output};
use crate::adapter::{Cut, Derived, Resized, resize};
use crate::cli::{Context, Exit, HintExt, Table};

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
        from: vec![source.from.clone()],
    };
    let dtype = args.output.dtype(&[&source]);
    let adapter = &source.listing.adapter;
    let bar = made::bar(context, adapter.modules.len());
    let (resized, changes) = resize(adapter, cut, dtype, &derived, &|| bar.inc(1)).hint(made::HINT)?;
    bar.finish_and_clear();
    let written = args.output.write(context, &resized, dtype, &[source])?;
    let mut kinds: BTreeMap<&str, Vec<&Resized>> = BTreeMap::new();
    for change in &changes {
        kinds.entry(made::kind(&change.module)).or_default().push(change);
    }
    let all: Vec<&Resized> = changes.iter().collect();
    if context.json {
        let kinds: BTreeMap<_, _> = kinds.iter().map(|(kind, changes)| (kind, summary(changes))).collect();
        context.json_line(&json!({
            "written": written,
            "kinds": kinds,
            "all": summary(&all),
            "modules": changes,
        }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(
        context,
        ["modules", "count", "rank", "new rank", "kept energy", "error"],
    );
    for (kind, changes) in kinds.into_iter().chain([("all", all)]) {
        table.row([
            kind.to_owned(),
            changes.len().to_string(),
            range(changes.iter().map(|c| c.old_rank)),
            range(changes.iter().map(|c| c.new_rank)),
            format!("{:.4}", kept(&changes)),
            format!("{:.2e}", error(&changes)),
        ]);
    }
    context.line(table)?;
    Ok(Exit::Done)
}

fn summary(changes: &[&Resized]) -> serde_json::Value {
    json!({"modules": changes.len(), "kept": kept(changes), "error": error(changes)})
}

/// Share of the energy of all modules together that was kept.
fn kept(changes: &[&Resized]) -> f64 {
    let energy: f64 = changes.iter().map(|c| c.energy).sum();
    match energy {
        0.0 => 1.0,
        energy => changes.iter().map(|c| c.energy * c.kept).sum::<f64>() / energy,
    }
}

/// Frobenius norm of what changed, over that of the updates.
fn error(changes: &[&Resized]) -> f64 {
    let energy: f64 = changes.iter().map(|c| c.energy).sum();
    match energy {
        0.0 => 0.0,
        energy => (changes.iter().map(|c| c.squared_error).sum::<f64>() / energy).sqrt(),
    }
}

fn range(ranks: impl Iterator<Item = usize> + Clone) -> String {
    match (ranks.clone().min(), ranks.max()) {
        (Some(least), Some(most)) if least < most => format!("{least} to {most}"),
        (_, most) => most.unwrap_or(0).to_string(),
    }
}
