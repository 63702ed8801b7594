//! What cutting to a rank did, by kinds of modules.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::json;

use super::made::{figure, kind};
use crate::adapter::Resized;
use crate::cli::{Context, Table};

/// Shows ranks, kept energy and error; `written` is what JSON says of the file.
pub fn show(context: &Context, written: &serde_json::Value, changes: &[Resized]) -> Result<()> {
    let mut kinds: BTreeMap<&str, Vec<&Resized>> = BTreeMap::new();
    for change in changes {
        kinds.entry(kind(&change.module)).or_default().push(change);
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
        return Ok(());
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
            figure(error(&changes)),
        ]);
    }
    context.line(table)
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
