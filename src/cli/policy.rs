//! `assent policy`: the shipped policies, what is wrong with one, and whether one says what its author meant.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::subject::{Named, PolicyArgs, SHIPPED};
use super::{Context, Exit, Style, Table, policy_count, subject};
use crate::consent::{Obligation, Policy, cases};

/// Options of `assent policy`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the shipped policies
    List,
    /// Print a policy's text
    Show {
        /// A file, or the name of a shipped one
        #[arg(value_name = "POLICY")]
        policy: PathBuf,
    },
    /// Say what is wrong with a policy, or what it accepts; exit code 1 when it is not valid
    Check {
        /// A file, or the name of a shipped one
        #[arg(value_name = "POLICY")]
        policy: PathBuf,
    },
    /// Count how the registered pictures come out, by reason; exit code 1 when none is allowed
    Count(policy_count::Args),
    /// Decide on every case of a table; exit code 1 when one comes out another way than it says
    Test {
        /// A file, or the name of a shipped one
        #[arg(value_name = "POLICY")]
        policy: PathBuf,
        /// The table of cases, as in `configs/cases`
        #[arg(value_name = "CASES")]
        cases: PathBuf,
        /// Add this artist to those whose own works the policy clears; may be repeated
        #[arg(long, value_name = "NAME")]
        own: Vec<String>,
    },
}

/// Does what is asked.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.action {
        Action::List => list(context),
        Action::Show { policy } => {
            let Named { policy, file } = subject::policy(&policy)?;
            match context.json {
                true => context.json_line(&json!({"name": policy.name, "file": file, "text": policy.text}))?,
                false => context.line(policy.text.trim_end())?,
            }
            Ok(Exit::Done)
        }
        Action::Check { policy } => check(context, &policy),
        Action::Count(args) => policy_count::run(context, args),
        Action::Test { policy, cases, own } => test(context, &PolicyArgs { policy, own }, &cases),
    }
}

fn list(context: &Context) -> Result<Exit> {
    let mut table = Table::new(context, ["name", "purposes", "clears"]);
    for (name, text) in SHIPPED {
        let policy = Policy::parse(text).with_context(|| format!("the shipped policy `{name}`"))?;
        if context.json {
            context.json_line(&json!({
                "name": name,
                "description": policy.description,
                "purposes": policy.purposes,
                "use": policy.usage,
                "digest": policy.digest(),
            }))?;
        } else {
            table.row([name.to_string(), purposes(&policy), policy.description]);
        }
    }
    if !context.json {
        context.line(table)?;
    }
    context.message("`assent policy show NAME` prints one; save it under another name to change it");
    Ok(Exit::Done)
}

fn purposes(policy: &Policy) -> String {
    let names: Vec<_> = policy.purposes.iter().map(|purpose| purpose.as_str()).collect();
    names.join(", ")
}

fn duties(list: &[Obligation]) -> String {
    match list {
        [] => "-".to_string(),
        list => list.iter().map(|duty| duty.as_str()).collect::<Vec<_>>().join(", "),
    }
}

fn check(context: &Context, path: &std::path::Path) -> Result<Exit> {
    // A file that cannot be read is no finding; a policy that does not parse is what this command reports.
    let named = match subject::policy(path) {
        Ok(named) => named,
        Err(error) => {
            let Some(problem) = error.downcast_ref::<crate::consent::PolicyError>() else {
                return Err(error);
            };
            let text = problem.to_string();
            match context.json {
                true => context.json_line(&json!({"ok": false, "problem": text}))?,
                false => context.line(format_args!("{}: {text}", context.paint(Style::Bad, "not valid")))?,
            }
            return Ok(Exit::Findings);
        }
    };
    let policy = named.policy;
    if context.json {
        let licenses: Vec<_> = policy
            .licenses
            .iter()
            .map(|entry| json!({"license": entry.id, "obligations": entry.obligations}))
            .collect();
        context.json_line(&json!({
            "ok": true, "name": policy.name, "digest": policy.digest(), "purposes": policy.purposes,
            "use": policy.usage, "licenses": licenses, "own": policy.own_artists,
            "exception": policy.exception.as_ref().map(|law| law.citation()),
            "basis": policy.silence_basis, "valid_from": policy.valid_from, "valid_until": policy.valid_until,
            "jurisdiction": policy.jurisdiction,
        }))?;
        return Ok(Exit::Done);
    }
    let good = context.paint(Style::Good, "valid");
    context.line(format_args!(
        "{good}: `{}` decides on {}",
        policy.name,
        purposes(&policy)
    ))?;
    let mut accepts = Vec::new();
    if policy.ledger_grants {
        let proof: Vec<_> = policy.grant_proof.iter().map(|proof| proof.as_str()).collect();
        accepts.push(format!("grants in the ledger ({})", proof.join(", ")));
    }
    if !policy.signal_grants.is_empty() {
        let strength: Vec<_> = policy.signal_grants.iter().map(|one| one.as_str()).collect();
        accepts.push(format!("grants in files ({})", strength.join(", ")));
    }
    if !policy.own_artists.is_empty() {
        accepts.push(format!("the works of {}", policy.own_artists.join(", ")));
    }
    accepts.extend(policy.licenses.iter().map(|entry| match entry.obligations.as_slice() {
        [] => format!("licence {}", entry.id),
        list => format!("licence {}, which obliges to {}", entry.id, duties(list)),
    }));
    if let Some(law) = &policy.exception {
        accepts.push(format!(
            "{}, which obliges to {}",
            law.citation(),
            duties(&law.obligations)
        ));
    }
    if let Some(basis) = &policy.silence_basis {
        accepts.push(format!("silence: {basis}"));
    }
    for line in accepts {
        context.line(format_args!("  accepts {line}"))?;
    }
    Ok(Exit::Done)
}

fn test(context: &Context, policy: &PolicyArgs, path: &std::path::Path) -> Result<Exit> {
    let Named { policy, file } = policy.get()?;
    let text = subject::text_of("table of cases", path)?;
    let cases = cases::parse(&text).with_context(|| format!("`{}` is no table of cases", path.display()))?;
    let mut table = Table::new(context, ["case", "expected", "decided", "obligations", "line"]);
    let mut wrong = 0;
    for case in &cases {
        let (decision, as_expected) = case.run(&policy);
        wrong += usize::from(!as_expected);
        let line = policy.deciding_line(&decision);
        if context.json {
            context.json_line(&json!({
                "case": case.name, "ok": as_expected, "expected": case.expected, "reason_code": decision.reason_code,
                "allowed": decision.allowed, "obligations": decision.obligations,
                "expected_obligations": case.obligations, "policy_line": line,
            }))?;
            continue;
        }
        let place = line
            .and_then(|line| line.line)
            .map_or("-".to_string(), |line| line.to_string());
        let (style, mark) = match as_expected {
            true => (Style::Good, String::new()),
            false => (Style::Bad, "  <- differs".to_string()),
        };
        let expected = match &case.obligations {
            Some(list) if !as_expected && *list != decision.obligations => {
                format!("{} ({})", case.expected, duties(list))
            }
            _ => case.expected.to_string(),
        };
        table.styled_row([
            (None, case.name.clone()),
            (None, expected),
            (Some(style), format!("{}{mark}", decision.reason_code)),
            (None, duties(&decision.obligations)),
            (Some(Style::Faint), place),
        ]);
    }
    let summary = json!({"summary": {"cases": cases.len(), "wrong": wrong, "policy": policy.name}});
    match context.json {
        true => context.json_line(&summary)?,
        false => {
            context.line(table)?;
            let (style, word) = match wrong {
                0 => (Style::Good, "as they should".to_string()),
                1 => (Style::Bad, "1 comes out another way".to_string()),
                many => (Style::Bad, format!("{many} come out another way")),
            };
            let word = context.paint(style, word);
            context.line(format_args!("\n{} cases under {file}: {word}", cases.len()))?;
        }
    }
    Ok(if wrong == 0 { Exit::Done } else { Exit::Findings })
}
