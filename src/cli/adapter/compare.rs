//! `assent adapter compare`: how far two adapters are from each other.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::made::{self, figure, kind};
use crate::adapter::{Compared, Geometry, compare};
use crate::cli::{Context, Exit, Style, Table};

/// How many of the most different modules are shown, unless more is asked for.
const SHOWN: usize = 5;

/// Options of `assent adapter compare`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An adapter, or the folder of a run
    #[arg(value_name = "A")]
    pub first: PathBuf,
    /// Another
    #[arg(value_name = "B")]
    pub second: PathBuf,
}

/// Findings where they differ.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let (a, b) = (made::open(&args.first, 1.0)?, made::open(&args.second, 1.0)?);
    let found = compare(&a.listing.adapter, &b.listing.adapter)?;
    let exit = if found.equal() { Exit::Done } else { Exit::Findings };
    let tensors_equal = a.from.tensors == b.from.tensors;
    let all: Geometry = found.both.iter().filter_map(|m| m.geometry).sum();
    let mut ordered: Vec<&Compared> = found.both.iter().collect();
    // Those that cannot be measured first, then by falling distance.
    let far = |m: &Compared| m.geometry.map_or(f64::INFINITY, |g| g.distance().unwrap_or(f64::MAX));
    ordered.sort_by(|a, b| far(b).total_cmp(&far(a)).then(a.module.cmp(&b.module)));
    if context.json {
        let modules: Vec<_> = ordered
            .iter()
            .map(|m| {
                json!({
                    "module": m.module,
                    "equal": m.equal,
                    "cosine": m.geometry.and_then(|g| g.cosine()),
                    "distance": m.geometry.and_then(|g| g.distance()),
                })
            })
            .collect();
        context.json_line(&json!({
            "equal": found.equal(),
            "tensors_equal": tensors_equal,
            "cosine": all.cosine(),
            "distance": all.distance(),
            "modules": modules,
            "only_first": found.only_first,
            "only_second": found.only_second,
        }))?;
        return Ok(exit);
    }
    let says = match (tensors_equal, found.equal()) {
        (true, true) => context.paint(Style::Good, "the same tensors, byte by byte"),
        (_, true) => context.paint(Style::Good, "the same values, stored in another way"),
        (_, false) => {
            let differ = found.both.iter().filter(|m| !m.equal).count();
            let says = format!("{differ} of the {} modules that both have differ", found.both.len());
            context.paint(Style::Warn, says)
        }
    };
    context.line(says)?;
    for (which, only) in [("first", &found.only_first), ("second", &found.only_second)] {
        if !only.is_empty() {
            let shown = if context.verbose { only.len() } else { SHOWN };
            let mut names: Vec<&str> = only.iter().take(shown).map(String::as_str).collect();
            if only.len() > shown {
                names.push("…");
            }
            context.line(format_args!("{} only in the {which}: {}", only.len(), names.join(", ")))?;
        }
    }
    let mut kinds: BTreeMap<&str, Vec<Geometry>> = BTreeMap::new();
    for m in &found.both {
        if let Some(g) = m.geometry {
            kinds.entry(kind(&m.module)).or_default().push(g);
        }
    }
    let mut table = Table::new(context, ["modules", "count", "cosine", "distance"]);
    let measured = kinds.values().map(Vec::len).sum::<usize>();
    for (kind, of) in &kinds {
        let [cosine, distance] = cells(of.iter().copied().sum());
        table.row([(*kind).to_owned(), of.len().to_string(), cosine, distance]);
    }
    let [cosine, distance] = cells(all);
    table.row(["all".into(), measured.to_string(), cosine, distance]);
    context.line(format_args!("\n{table}"))?;
    if exit == Exit::Findings {
        let shown = if context.verbose { ordered.len() } else { SHOWN };
        let mut table = Table::new(context, ["most different", "cosine", "distance"]);
        for m in ordered.iter().filter(|m| !m.equal).take(shown) {
            let [cosine, distance] = m.geometry.map_or_else(|| ["not measured".into(), String::new()], cells);
            table.row([m.module.clone(), cosine, distance]);
        }
        context.line(format_args!("\n{table}"))?;
    }
    Ok(exit)
}

/// Cosine and distance.
fn cells(g: Geometry) -> [String; 2] {
    let or_none = |v: Option<String>| v.unwrap_or_else(|| "none".into());
    [
        or_none(g.cosine().map(|c| format!("{c:.4}"))),
        or_none(g.distance().map(figure)),
    ]
}
