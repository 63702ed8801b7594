//! `assent adapter`: tools on adapter files.

mod bake;
mod compare;
mod extract;
mod made;
mod merge;
mod report;
mod resize;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde_json::json;

use super::{Context, Exit, HintExt, Style, Table};
use crate::adapter::{self, Module};
use crate::receipt;

/// Options of `assent adapter`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The tools.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show what an adapter file holds: layout, modules, header, receipt
    Inspect {
        /// An adapter, or the folder of a run
        #[arg(value_name = "ADAPTER")]
        path: PathBuf,
    },
    /// Write an adapter in a lower rank, by singular values (LoRA and LoCon)
    Resize(resize::Args),
    /// Write the weighted sum of adapters as one (LoRA and LoCon)
    Merge(merge::Args),
    /// Write what a tuned model changed in its base as an adapter
    Extract(extract::Args),
    /// Write adapters of any kind into the weights of a base
    Bake(bake::Args),
    /// Say how far two adapters are from each other; exit code 1 when they differ
    Compare(compare::Args),
}

/// Runs the tool.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.command {
        Command::Inspect { path } => inspect(context, &path),
        Command::Resize(args) => resize::run(context, args),
        Command::Merge(args) => merge::run(context, args),
        Command::Extract(args) => extract::run(context, args),
        Command::Bake(args) => bake::run(context, args),
        Command::Compare(args) => compare::run(context, args),
    }
}

/// Findings when the file holds what no layout explains, or is not what its receipt says.
fn inspect(context: &Context, path: &std::path::Path) -> Result<Exit> {
    let path = super::audit::adapter_at(path)
        .ok_or_else(|| anyhow!("`{}` is no adapter file", path.display()))
        .hint("name a `.safetensors` file, or the folder of a run")?;
    let (container, listing) = adapter::open(&path)?;
    let sealed = receipt::open(&container)?;
    let changes = match &sealed {
        Some(sealed) => receipt::changes(&container, sealed)?
            .into_iter()
            .map(|c| c.as_str())
            .collect(),
        None => Vec::new(),
    };
    let modules = &listing.adapter.modules;
    let mut ranks: BTreeMap<usize, usize> = BTreeMap::new();
    for m in modules.iter().filter(|m| m.form.has_rank()) {
        *ranks.entry(m.rank()).or_default() += 1;
    }
    let mut forms: BTreeMap<String, usize> = BTreeMap::new();
    modules.iter().for_each(|m| *forms.entry(form(m)).or_default() += 1);
    let rank = ranks.iter().max_by_key(|(_, n)| **n).map(|(rank, _)| *rank);
    let exit = if listing.unknown.is_empty() && changes.is_empty() {
        Exit::Done
    } else {
        Exit::Findings
    };
    if context.json {
        context.json_line(&json!({
            "format": listing.format,
            "dtype": listing.dtype,
            "rank": rank,
            "modules": modules.len(),
            "forms": forms,
            "header": container.metadata,
            "tensor_sha256": container.tensor_digest(),
            "receipt": sealed.as_ref().map(|s| &s.receipt),
            "receipt_sha256": sealed.as_ref().map(|s| s.digest),
            "changes": changes,
            "unknown": listing.unknown,
        }))?;
        return Ok(exit);
    }
    let dtype = listing.dtype.map_or_else(|| "mixed types".into(), |d| d.to_string());
    let shown = ranks
        .iter()
        .map(|(rank, n)| format!("{n} of rank {rank}"))
        .collect::<Vec<_>>();
    let shown = match shown.as_slice() {
        [] => String::new(),
        ranks => format!(": {}", ranks.join(", ")),
    };
    context.line(format_args!(
        "{} layout, {dtype}, {} modules{shown}",
        listing.format,
        modules.len()
    ))?;
    if forms.keys().any(|form| form != "lora") {
        let kinds: Vec<String> = forms.iter().map(|(form, n)| format!("{n} {form}")).collect();
        context.line(format_args!("updates  {}", kinds.join(", ")))?;
    }
    context.line(format_args!("tensors  {}", container.tensor_digest()))?;
    match (&sealed, changes.as_slice()) {
        (None, _) => context.line(context.paint(Style::Warn, "it carries no receipt"))?,
        (Some(s), []) => context.line(format_args!("receipt  {} holds", s.digest))?,
        (Some(s), list) => {
            let what = context.paint(Style::Bad, list.join(", "));
            context.line(format_args!("receipt  {} does not hold: {what}", s.digest))?;
        }
    }
    if let Some(claims) = sealed.as_ref().map(|sealed| &sealed.receipt.claims) {
        for (what, counts) in [
            ("obliges to", claims.summed(|set| &set.obligations)),
            ("rests on", claims.summed(|set| &set.bases)),
        ] {
            if !counts.is_empty() {
                context.line(format_args!("{what}  {}", receipt::counted(&counts)))?;
            }
        }
    }
    let mut header = Table::new(context, ["header", "value"]);
    for (key, value) in &container.metadata {
        let mut short: String = value.chars().take(100).collect();
        if short.len() < value.len() {
            short.push('…');
        }
        header.row([key.clone(), if context.verbose { value.clone() } else { short }]);
    }
    context.line(format_args!("\n{header}"))?;
    if context.verbose {
        context.line(format_args!("\n{}", table(context, modules)))?;
    }
    for key in &listing.unknown {
        context.warn(format_args!("`{key}` is no part of an adapter"));
    }
    Ok(exit)
}

/// What the field calls the module's update.
fn form(m: &Module) -> String {
    let dora = if m.magnitude.is_some() { " with dora" } else { "" };
    format!("{}{dora}", m.form.name())
}

fn table(context: &Context, modules: &[Module]) -> Table {
    let mut table = Table::new(context, ["module", "form", "parts", "alpha"]);
    for m in modules {
        let parts: Vec<String> = m
            .form
            .parts()
            .iter()
            .map(|(name, w)| format!("{name} {:?}", w.shape))
            .collect();
        table.row([m.path.clone(), form(m), parts.join(" "), m.alpha.to_string()]);
    }
    table
}
