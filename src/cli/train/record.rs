//! What stays of a finished run: its rows in the registry, and what is told of it.

use std::path::Path;

use anyhow::Result;

use super::super::{Context, Style};
use crate::digest::Sha256Digest;
use crate::registry::{NewAdapter, NewRun, Registry};
use crate::train::adapter::Trained;

/// Records a finished run and its adapter in the registry.
pub fn record(registry: &mut Registry, trained: &Trained, out: &Path, context: &Context) -> Result<()> {
    let Some(product) = &trained.product else { return Ok(()) };
    let trained_on = product.record.inputs.trained_on();
    let run = NewRun {
        sha256: Sha256Digest::of_bytes(product.record_text.as_bytes()),
        trained_on: trained_on.clone(),
        record: product.record_text.clone(),
        path: context.absolute(out)?,
        supersedes: product.record.supersedes,
    };
    registry.add_run(&run, product.record.finished_at)?;
    let adapter = NewAdapter {
        sha256: product.record.adapter.file,
        tensors: product.record.adapter.tensors,
        run: Some(run.sha256),
        trained_on,
        path: context.absolute(&product.path)?,
    };
    registry.add_adapter(&adapter, product.record.finished_at)?;
    if let Some((last, path)) = product.record.last.as_ref().zip(product.last.as_ref()) {
        let last = NewAdapter {
            sha256: last.file,
            tensors: last.tensors,
            path: context.absolute(path)?,
            ..adapter
        };
        registry.add_adapter(&last, product.record.finished_at)?;
    }
    Ok(())
}

/// Tells how a run ended.
pub fn report(context: &Context, trained: &Trained, out: &Path) -> Result<()> {
    let finish = &trained.finish;
    if !finish.complete {
        context.message(format!(
            "stopped after step {}; the same command with `--resume` goes on",
            finish.step
        ));
        return Ok(());
    }
    if finish.kept_step < finish.step {
        context.message(format!(
            "ended after step {}: no better validation since step {}, whose weights are kept",
            finish.step, finish.kept_step
        ));
    }
    for set in ["held_out", "others"] {
        if let Some((before, after)) = finish.losses.get(&format!("{set}_before")).zip(finish.losses.get(set)) {
            let change = (after / before - 1.0) * 100.0;
            context.message(format!("{set:>9}: loss {before:.4} → {after:.4} ({change:+.1} %)"));
        }
    }
    if let Some(product) = &trained.product {
        let path = out.join("adapter.safetensors");
        let roots = product.record.inputs.trained_on();
        let roots: Vec<_> = roots.iter().map(|set| set.root.to_string()).collect();
        if !context.json {
            context.line(path.display())?;
        }
        context.message(format!(
            "{} modules, {} steps, snapshot root{} {}",
            product.record.adapter.modules,
            finish.step,
            if roots.len() > 1 { "s" } else { "" },
            context.paint_err(Style::Faint, roots.join(" "))
        ));
    }
    Ok(())
}
