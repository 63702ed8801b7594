//! The audit of an adapter in shards, as people and programs read it.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::Args;
use crate::audit::{CompositionReport, Finding, Severity, Verdict, audit_composition};
use crate::cli::{Context, Exit, HintExt, Style, Table};
use crate::keys::PublicKey;
use crate::registry::{Registry, RegistryError};

/// Audits the manifest and every adapter that it names.
pub(super) fn run(context: &Context, args: &Args, manifest: &Path, key: Option<&PublicKey>) -> Result<Exit> {
    if args.html.is_some() || args.measure.measure {
        return Err(anyhow!("--html and --measure are about one adapter, got one in shards"))
            .hint("name the folder of a shard, e.g. `shard-1` beside its shards.json");
    }
    let path = context.absolute(manifest)?;
    let audit = |registry| audit_composition(&path, registry, key, context.now);
    let report = match context.registry.exists().then(|| Registry::open(&context.registry)) {
        None => audit(None)?,
        Some(Ok(registry)) => audit(Some(&registry))?,
        Some(Err(error @ RegistryError::TooNew { .. })) => return Err(error.into()),
        // A registry that no longer opens is what an audit is there to report.
        Some(Err(error)) => audit(None)?.with_broken_registry(&error),
    };
    match context.json {
        true => context.json_line(&report)?,
        false => show(context, &report, manifest)?,
    }
    Ok(match report.verdict {
        Verdict::Clean => Exit::Done,
        _ => Exit::Findings,
    })
}

fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Clean => Style::Good,
        Verdict::Findings => Style::Warn,
        Verdict::Invalid => Style::Bad,
    }
}

fn show(context: &Context, report: &CompositionReport, manifest: &Path) -> Result<()> {
    context.line(format_args!(
        "{}  {}",
        context.paint(Style::Strong, "Audit"),
        manifest.display()
    ))?;
    context.line(format_args!(
        "{}: {} of {} shards are there",
        context.paint(style(report.verdict), report.verdict.as_str()),
        report.shards.len(),
        report.of
    ))?;
    let told = |finding: &Finding| -> Result<()> {
        let style = match finding.severity {
            Severity::Warning => Style::Warn,
            _ => Style::Bad,
        };
        context.line(format_args!(
            "\n{} {}",
            context.paint(style, finding.code.as_str()),
            finding.subject
        ))?;
        context.line(format_args!("  {}", finding.explanation))
    };
    let of_shards = report.shards.iter().filter_map(|shard| shard.report.as_ref());
    let all = report
        .findings
        .iter()
        .chain(of_shards.flat_map(|report| &report.findings));
    let mut shown: Vec<&Finding> = Vec::new();
    for finding in all {
        // What is wrong with the registry is found in each shard.
        if !shown.contains(&finding) {
            told(finding)?;
            shown.push(finding);
        }
    }
    let mut table = Table::new(context, ["shard", "weight", "verdict", "adapter", "images", "set"]);
    for shard in &report.shards {
        let Some(one) = &shard.report else { continue };
        let adapter = one.adapter.as_ref().map(|adapter| adapter.sha256.short());
        let set = one.sets().next().and_then(|set| set.name.clone());
        table.styled_row([
            (None, shard.shard.to_string()),
            (None, shard.weight.clone()),
            (Some(style(one.verdict)), one.verdict.as_str().to_owned()),
            (None, adapter.unwrap_or_default()),
            (None, one.images.len().to_string()),
            (None, set.unwrap_or_default()),
        ]);
    }
    context.line(format_args!("\n{table}"))?;
    context.message("`assent audit` of a shard's folder says which images trained it");
    Ok(())
}
