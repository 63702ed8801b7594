//! `assent snapshot`: freeze a training set, look at it, verify it, compare two, prove what is in one.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::explain::sentence;
use super::key::KeyArgs;
use super::subject::PolicyArgs;
use super::{Context, Exit, HintExt, Style, Table};
use super::{pledge, proof};
use crate::consent::{Obligation, Purpose, ReasonCode};
use crate::snapshot::{self, Document, Selection, SnapshotError};

/// Options of `assent snapshot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Freeze what may be used under a policy
    Create {
        /// Its name: letters, digits, `.`, `_`, `-`
        name: String,
        /// The policy: a file, or the name of a shipped one (`assent policy list`)
        #[arg(long, value_name = "FILE")]
        policy: PathBuf,
        /// Add this artist to those whose own works the policy clears; may be repeated
        #[arg(long, value_name = "NAME")]
        own: Vec<String>,
        /// Freeze for this one of the policy's purposes instead of its first
        #[arg(long, value_name = "PURPOSE")]
        purpose: Option<Purpose>,
        /// Only pictures of this artist; may be repeated
        #[arg(long = "artist", value_name = "NAME")]
        artists: Vec<String>,
        /// Only pictures whose source address begins with this; may be repeated
        #[arg(long = "source", value_name = "PREFIX")]
        sources: Vec<String>,
    },
    /// List the snapshots
    List,
    /// Show what is in and what was left out
    Show {
        /// Its name
        name: String,
    },
    /// Hash the files and decide consent again, now; exit code 1 when anything differs
    Verify {
        /// Its name
        name: String,
    },
    /// Show what changed from one to another; exit code 1 when they differ
    Diff {
        /// The earlier one
        #[arg(value_name = "A")]
        first: String,
        /// The later one
        #[arg(value_name = "B")]
        second: String,
    },
    /// Write a proof that a picture is in, or is not; signed when a key is configured
    Prove {
        /// The snapshot
        name: String,
        /// A file, or a SHA-256
        #[arg(value_name = "PATH|SHA")]
        image: OsString,
        /// Say as well how near the members come to what it shows; needs the file
        #[arg(long)]
        alike: bool,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// State what it holds from a site, signed when a key is configured
    Pledge {
        /// Its name
        name: String,
        /// The beginning of the site's addresses
        #[arg(long, value_name = "PREFIX")]
        source: String,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        #[command(flatten)]
        key: KeyArgs,
    },
    /// Check a proof or a pledge; needs no registry
    Check(proof::CheckArgs),
    /// Write the whole snapshot as one JSON document
    Export {
        /// Its name
        name: String,
        /// The file
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Bring in a snapshot that `export` wrote; `verify` then says whether its files are here
    Import {
        /// The file
        file: PathBuf,
    },
}

/// Does what is asked.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.action {
        Action::Create {
            name,
            policy,
            own,
            purpose,
            artists,
            sources,
        } => {
            snapshot::check_name(&name)?;
            let policy = PolicyArgs { policy, own }.get()?.policy;
            let purpose = purpose.unwrap_or(policy.purpose);
            let policy = policy.for_purpose(purpose)?;
            let mut registry = context.open_registry()?;
            let selection = Selection { artists, sources };
            let made = snapshot::create(&mut registry, &name, &policy, &selection, context.now);
            let document = match made {
                Err(error @ SnapshotError::Empty { .. }) => {
                    return Err(error).hint("`assent explain IMAGE` says why a picture is refused");
                }
                other => other?,
            };
            show(context, &document)?;
            Ok(Exit::Done)
        }
        Action::List => list(context),
        Action::Show { name } => {
            show(context, &named(context, &name)?)?;
            Ok(Exit::Done)
        }
        Action::Verify { name } => verify(context, &name),
        Action::Diff { first, second } => diff(context, &named(context, &first)?, &named(context, &second)?),
        Action::Prove {
            name,
            image,
            alike,
            output,
            key,
        } => proof::prove(context, &named(context, &name)?, (&image, alike), output, &key),
        Action::Pledge {
            name,
            source,
            output,
            key,
        } => pledge::pledge(context, &name, &source, output, &key),
        Action::Check(args) => proof::check(context, &args),
        Action::Export { name, output } => {
            named(context, &name)?.write(&output)?;
            context.message(format_args!("wrote `{}`", output.display()));
            Ok(Exit::Done)
        }
        Action::Import { file } => {
            let document = Document::read(&file)?;
            snapshot::import(&mut context.open_or_create_registry()?, &document)?;
            show(context, &document)?;
            Ok(Exit::Done)
        }
    }
}

fn named(context: &Context, name: &str) -> Result<Document> {
    let registry = context.open_registry()?;
    Document::of(&registry, name).hint("`assent snapshot list` lists them")
}

fn list(context: &Context) -> Result<Exit> {
    let registry = context.open_registry()?;
    let mut table = Table::new(context, ["name", "root", "policy", "purpose", "created"]);
    let rows = registry.snapshots()?;
    for row in &rows {
        if context.json {
            context.json_line(&json!({
                "name": row.name, "root": row.root, "policy": row.policy_name, "purpose": row.purpose,
                "created_at": row.created_at,
            }))?;
        } else {
            let (policy, purpose) = (row.policy_name.clone(), row.purpose.to_string());
            table.row([
                row.name.clone(),
                row.root.short(),
                policy,
                purpose,
                row.created_at.to_string(),
            ]);
        }
    }
    if !context.json && !rows.is_empty() {
        context.line(table)?;
    }
    context.message(format_args!("{} snapshots", rows.len()));
    Ok(Exit::Done)
}

fn show(context: &Context, document: &Document) -> Result<()> {
    if context.json {
        return context.json_line(&shown(document)?);
    }
    let name = context.paint(Style::Strong, &document.name);
    let (policy, purpose) = (&document.policy.name, document.purpose);
    context.line(format_args!(
        "{name}  for {purpose} under the policy `{policy}`, made {}",
        document.created_at
    ))?;
    context.line(format_args!("root {}", document.root))?;
    if let Some(parent) = document.parent {
        context.line(format_args!("from {parent}"))?;
    }
    let members = context.paint(Style::Good, format!("{} in", document.members.len()));
    let excluded = context.paint(Style::Bad, format!("{} left out", document.excluded.len()));
    context.line(format_args!("\n{members}, {excluded}."))?;
    let mut grounds: BTreeMap<String, usize> = BTreeMap::new();
    let mut obligations: Vec<Obligation> = Vec::new();
    for member in &document.members {
        let consent = &member.consent;
        let under = if consent.licenses.is_empty() {
            String::new()
        } else {
            format!(" {}", consent.licenses.join(" AND "))
        };
        *grounds.entry(format!("{}{under}", consent.reason_code)).or_default() += 1;
        obligations.extend(&consent.obligations);
    }
    for (ground, count) in &grounds {
        context.line(format_args!("{count:>7}  {ground}"))?;
    }
    obligations.sort_unstable();
    obligations.dedup();
    if !obligations.is_empty() {
        let words: Vec<_> = obligations.iter().map(|duty| duty.as_str()).collect();
        context.line(format_args!("         obligations: {}", words.join(", ")))?;
    }
    let mut reasons: BTreeMap<ReasonCode, usize> = BTreeMap::new();
    for exclusion in &document.excluded {
        *reasons.entry(exclusion.reason_code).or_default() += 1;
    }
    if !reasons.is_empty() {
        context.line("\nLeft out:")?;
    }
    for (reason, count) in &reasons {
        let code = context.paint(Style::Bad, format!("{reason:<24}"));
        context.line(format_args!("{count:>7}  {code}{}", sentence(*reason)))?;
    }
    if context.verbose {
        for exclusion in &document.excluded {
            let why = exclusion
                .evidence
                .first()
                .map(|line| line.raw.as_str())
                .unwrap_or_default();
            context.line(format_args!(
                "  {}  {}  {why}",
                exclusion.image.short(),
                exclusion.reason_code
            ))?;
        }
    }
    Ok(())
}

fn shown(document: &Document) -> Result<Value> {
    let mut members = Vec::new();
    for member in &document.members {
        let leaf = member.leaf()?;
        members.push(json!({
            "sha256": member.image,
            "pixels": member.pixels,
            "caption": member.caption,
            "caption_digest": leaf.caption,
            "consent_digest": leaf.consent,
            "reason_code": member.consent.reason_code,
            "licenses": member.consent.licenses,
            "obligations": member.consent.obligations,
        }));
    }
    Ok(json!({
        "name": document.name,
        "root": document.root,
        "parent": document.parent,
        "policy": document.policy.name,
        "policy_digest": document.policy.digest,
        "purpose": document.purpose,
        "selection": document.selection,
        "created_at": document.created_at,
        "ledger": document.ledger,
        "members": members,
        "excluded": document.excluded,
    }))
}

fn verify(context: &Context, name: &str) -> Result<Exit> {
    let registry = context.open_registry()?;
    let (members, mismatches) = match snapshot::verify(&registry, name, context.now) {
        Ok(verified) => (verified.members().len(), Vec::new()),
        Err(SnapshotError::Mismatch { mismatches, .. }) => (0, mismatches),
        Err(error) => return Err(error).hint("`assent snapshot list` lists them"),
    };
    let root = Document::of(&registry, name)?.root;
    let ok = mismatches.is_empty();
    if context.json {
        context.json_line(&json!({"ok": ok, "name": name, "root": root, "mismatches": mismatches}))?;
    } else if ok {
        let good = context.paint(Style::Good, "verified");
        context.line(format_args!(
            "{good}: {members} files are what they were, and all may be used"
        ))?;
        context.line(format_args!("root {root}"))?;
    } else {
        let bad = context.paint(Style::Bad, "does not verify");
        context.line(format_args!("`{name}` {bad} ({})", mismatches.len()))?;
        for mismatch in &mismatches {
            context.line(format_args!("  {}", mismatch.explanation))?;
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Findings })
}

fn diff(context: &Context, first: &Document, second: &Document) -> Result<Exit> {
    let found = snapshot::diff(first, second)?;
    let exit = if found.is_empty() { Exit::Done } else { Exit::Findings };
    if context.json {
        context.json_line(&json!({"a": first.root, "b": second.root, "diff": found}))?;
        return Ok(exit);
    }
    let changed = |sign: &str, style, list: &[snapshot::Changed]| -> Result<()> {
        for one in list {
            let why = one.reason_code.map_or("not seen", |code| code.as_str());
            context.line(format_args!("{} {}  ({why})", context.paint(style, sign), one.sha256))?;
        }
        Ok(())
    };
    changed("+", Style::Good, &found.added)?;
    changed("-", Style::Bad, &found.removed)?;
    for (what, list) in [("caption", &found.recaptioned), ("grounds", &found.reconsented)] {
        for image in list {
            context.line(format_args!("~ {image}  (other {what})"))?;
        }
    }
    if found.policy_changed {
        context.line(format_args!(
            "~ the policy: `{}`, then `{}`",
            first.policy.name, second.policy.name
        ))?;
    }
    context.message(format_args!(
        "{} added, {} removed",
        found.added.len(),
        found.removed.len()
    ));
    Ok(exit)
}
