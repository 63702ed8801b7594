//! `assent policy count`: how the registered pictures come out under a policy, by reason.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use super::subject::PolicyArgs;
use super::{Context, Exit, Style, Table};
use crate::consent::{Decision, Purpose, ReasonCode, decide_for};

/// Options of `assent policy count`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The policy: a file, or the name of a shipped one
    #[arg(value_name = "POLICY")]
    policy: PathBuf,
    /// Add this artist to those whose own works the policy clears (`own.artists`); may be repeated
    #[arg(long, value_name = "NAME")]
    own: Vec<String>,
    /// Decide on this purpose instead of the policy's
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<Purpose>,
}

/// Counts; findings when nothing may be used.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let named = PolicyArgs {
        policy: args.policy,
        own: args.own,
    };
    let policy = named.get()?.policy;
    let purpose = args.purpose.unwrap_or(policy.purpose);
    let registry = context.open_registry()?;
    let started = Instant::now();
    let mut reasons: BTreeMap<ReasonCode, (bool, u64)> = BTreeMap::new();
    let mut classes = 0;
    registry
        .reader()?
        .classes(context.now, &policy.own_artists, |evidence, images| {
            let Decision {
                reason_code, allowed, ..
            } = decide_for(evidence, &policy, purpose, context.now);
            classes += 1;
            reasons.entry(reason_code).or_insert((allowed, 0)).1 += images;
        })?;
    let took = started.elapsed();
    let sum = |wanted| -> u64 {
        let counts = reasons.values().filter(|(allowed, _)| *allowed == wanted);
        counts.map(|(_, images)| images).sum()
    };
    let (allowed, refused) = (sum(true), sum(false));
    if context.json {
        let counts: BTreeMap<_, _> = reasons
            .iter()
            .map(|(code, (_, images))| (code.as_str(), images))
            .collect();
        context.json_line(&json!({
            "policy": policy.name,
            "purpose": purpose,
            "images": allowed + refused,
            "allowed": allowed,
            "refused": refused,
            "reasons": counts,
        }))?;
    } else {
        let mut table = Table::new(context, ["outcome", "reason", "images"]);
        for (code, (allowed, images)) in &reasons {
            let outcome = match allowed {
                true => (Some(Style::Good), "allowed".to_string()),
                false => (Some(Style::Bad), "refused".to_string()),
            };
            table.styled_row([outcome, (None, code.to_string()), (None, images.to_string())]);
        }
        context.line(table)?;
    }
    context.message(format_args!(
        "{} pictures ({allowed} allowed, {refused} refused) in {:.1} ms, by {classes} decisions",
        allowed + refused,
        took.as_secs_f64() * 1000.0,
    ));
    Ok(if allowed == 0 { Exit::Findings } else { Exit::Done })
}
