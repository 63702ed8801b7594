//! `assent explain`: why a picture may be used, or may not: every piece of evidence, the rule that read it, the outcome.

use std::ffi::OsString;

use anyhow::Result;
use serde_json::json;

use super::images::{States, style};
use super::subject::{Named, PolicyArgs};
use super::{Context, Exit, Style, Table, subject};
use crate::consent::{Authentication, Decision, Obligation, PolicyLine, Purpose, ReasonCode, TraceLine, decide_for};

/// What is said where no line of the policy decided.
const DENIAL: &str = "This rule stands above every policy: none can switch it off.";
/// … and where a person may say that the two are different pictures.
const LIKENESS: &str = "If it shows something else, `assent review accept` records who says so, and why.";

/// Options of `assent explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file, a SHA-256, or the first characters of one
    #[arg(value_name = "PATH|SHA")]
    pub image: OsString,
    #[command(flatten)]
    pub policy: PolicyArgs,
    /// Decide on this purpose instead of the policy's
    #[arg(long, value_name = "PURPOSE")]
    pub purpose: Option<Purpose>,
}

/// Explains; findings when the picture is refused.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let Named { policy, file } = args.policy.get()?;
    let registry = context.open_registry()?;
    let sha256 = subject::registered(context, &registry, &args.image)?;
    let image = registry.image(&sha256)?;
    let evidence = registry.evidence(&sha256)?;
    let states = States::of(&evidence, context);
    let decision = decide_for(&evidence, &policy, args.purpose.unwrap_or(policy.purpose), context.now);
    let policy_line = policy.deciding_line(&decision);
    let exit = if decision.allowed { Exit::Done } else { Exit::Findings };
    if context.json {
        context.json_line(&json!({
            "sha256": sha256,
            "states": states,
            "policy": policy.name,
            "purpose": decision.purpose,
            "decision": {
                "allowed": decision.allowed,
                "reason_code": decision.reason_code,
                "obligations": decision.obligations,
                "licenses": decision.licenses,
                "basis": decision.basis,
                "state": decision.state,
            },
            "policy_file": file,
            "policy_line": policy_line,
            "jurisdiction": policy.jurisdiction,
            "trace": decision.trace,
        }))?;
        return Ok(exit);
    }
    let by = image
        .artists
        .first()
        .map(|name| format!(", by {name}"))
        .unwrap_or_default();
    let name = context.paint(Style::Strong, super::images::name(&image));
    let size = format!("{}x{} {}", image.width, image.height, image.format);
    context.line(format_args!("{name}  {size}{by}"))?;
    context.line(context.paint(Style::Faint, sha256))?;
    let (color, verdict) = if decision.allowed {
        (Style::Good, "allowed")
    } else {
        (Style::Bad, "refused")
    };
    let verdict = context.paint(color, verdict);
    let (purpose, code) = (decision.purpose, decision.reason_code);
    context.line(format_args!(
        "\n{verdict} for {purpose} under the policy `{}`: {code}",
        policy.name
    ))?;
    context.line(format_args!("{}.", sentence(code)))?;
    match &policy_line {
        None if code == ReasonCode::DeniedNearDuplicate && !equal_pixels(&decision) => context.line(LIKENESS)?,
        None => context.line(DENIAL)?,
        Some(PolicyLine { line: Some(line), text }) => context.line(format_args!("{file}:{line}  {text}"))?,
        Some(PolicyLine { line: None, text }) => {
            context.line(format_args!("{file}  does not say; the default is `{text}`"))?;
        }
    }
    if let Some(basis) = &decision.basis {
        context.line(format_args!("Basis: {basis}."))?;
    }
    if !decision.obligations.is_empty() {
        let duties: Vec<_> = decision.obligations.iter().map(|duty| duty_of(*duty)).collect();
        context.line(format_args!("Whoever uses it must {}.", duties.join(", and ")))?;
    }
    if let Some(note) = policy.jurisdiction.as_ref() {
        context.line(format_args!("Jurisdiction: {note}"))?;
    }
    context.line("")?;
    context.line(trace_table(context, &decision))?;
    let each: Vec<_> = Purpose::ALL
        .iter()
        .map(|purpose| {
            format!(
                "{purpose} {}",
                context.paint(style(states.get(*purpose)), states.get(*purpose))
            )
        })
        .collect();
    context.line(format_args!("\nBefore any policy: {}", each.join(", ")))?;
    Ok(exit)
}

/// Whether a refused picture has the very pixels, which no review overrules.
fn equal_pixels(decision: &Decision) -> bool {
    let equal = |line: &TraceLine| line.rule == "near_duplicate_of_denied" && line.raw.starts_with("distance 0;");
    decision.trace.iter().any(equal)
}

fn trace_table(context: &Context, decision: &Decision) -> Table {
    let mut table = Table::new(context, ["evidence", "text", "speaks of", "comes to", "rule"]);
    for line in decision.trace.iter().filter(|line| line.source != "policy") {
        let source = match line.source.split_once(':') {
            Some(("near_duplicate", digest)) => format!("near-duplicate {}", &digest[..digest.len().min(12)]),
            Some(("ledger", seq)) => format!("ledger event {seq}"),
            Some(("license", from)) => format!("licence ({from})"),
            _ => line.source.clone(),
        };
        let source = match line.authentication {
            Some(Authentication::Signed) => format!("{source} (signed)"),
            Some(Authentication::Trusted) => format!("{source} (signed, trusted)"),
            Some(Authentication::Invalid) => format!("{source} (signature broken)"),
            Some(Authentication::None) | None => source,
        };
        let limit = if context.verbose { usize::MAX } else { 70 };
        let mut raw: String = line
            .raw
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(limit)
            .collect();
        if raw.len() < line.raw.len() {
            raw.push('…');
        }
        let fact = line.source.starts_with("license:") || line.purpose.is_none() && line.holder.is_none();
        table.styled_row([
            (None, source),
            (None, raw),
            (
                None,
                line.purpose
                    .map_or(if fact { "-" } else { "everything" }.to_string(), |p| p.to_string()),
            ),
            (
                Some(style(line.state)),
                if fact { "-".to_string() } else { line.state.to_string() },
            ),
            (Some(Style::Faint), line.rule.to_string()),
        ]);
    }
    if decision.trace.len() <= 1 {
        table.row([
            "none".to_string(),
            "nobody said anything, and no licence was found".to_string(),
            String::new(),
            String::new(),
            String::new(),
        ]);
    }
    table
}

/// A reason code in a sentence.
pub(super) fn sentence(code: ReasonCode) -> &'static str {
    match code {
        ReasonCode::GrantedByArtist => "A grant stands in the ledger",
        ReasonCode::GrantedBySignal => "A grant comes with the picture, authenticated as the policy asks",
        ReasonCode::LicenseAccepted => "Nobody refused it, and the policy accepts its licence",
        ReasonCode::OwnWork => "Its artist is one whose own works the policy clears",
        ReasonCode::StatutoryException => "Nobody refused it, and a statutory exception covers the purpose",
        ReasonCode::UnspecifiedAccepted => "Nobody said anything, and the policy names a basis on which that suffices",
        ReasonCode::RejectedInReview => "A person looked at it and refused it",
        ReasonCode::NamesOptedOutArtist => "Its caption names an artist who opted out",
        ReasonCode::LicenseNotProven => "Its licence stands only where the policy does not look",
        ReasonCode::AttributionMissing => "Whoever uses it must name its author or title, and these are not known",
        ReasonCode::PolicyNotInForce => "The policy does not hold at this time",
        ReasonCode::DeniedByArtist => "An opt-out stands in the ledger",
        ReasonCode::DeniedBySignal => "A machine-readable refusal was found with it",
        ReasonCode::DeniedNearDuplicate => "It shows the same thing as a picture that was refused",
        ReasonCode::Constrained => "It may be used only under conditions that are not known to be met",
        ReasonCode::AiGenerated => "It says that a machine made it",
        ReasonCode::NeedsReview => "Something about it is in doubt: a person should look at it first",
        ReasonCode::LicenseMissing => "It carries no licence, and nobody granted its use",
        ReasonCode::LicenseNotAccepted => "The policy does not accept its licence",
        ReasonCode::GrantNotAuthenticated => "It carries a grant, but not one authenticated as the policy asks",
        ReasonCode::Unspecified => "Nobody said that it may be used",
        ReasonCode::FileMissing => "No file holds it any more",
        ReasonCode::CaptionMissing => "It has no caption, and the policy asks for one",
        ReasonCode::Duplicate => "Another member has the same pixels",
        ReasonCode::NotSelected => "It may be used, but the snapshot is limited to others",
    }
}

fn duty_of(duty: Obligation) -> &'static str {
    match duty {
        Obligation::Attribution => "name its author",
        Obligation::ShareAlike => "share the result under the same terms",
        Obligation::NonCommercial => "make no commercial use of it",
        Obligation::NoDerivatives => "share no changed version",
        Obligation::Notice => "keep the notice of its licence",
    }
}
