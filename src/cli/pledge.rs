//! `assent snapshot pledge`, checking what it wrote, and what all signed statements share.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::key::{KeyArgs, public_key};
use super::{Context, Exit, HintExt, Style};
use crate::digest::{Sha256Digest, canonical_json, write_atomic};
use crate::keys::{Envelope, STATEMENT_PAYLOAD_TYPE, SecretKey, Statement};
use crate::snapshot::Pledge;

/// What is said of a statement without a signature.
pub(super) const NOBODY: &str = "nobody signed it, so anybody can have written it";
/// What is said where a signature cannot be checked, and what to do then.
pub(super) const NO_KEY: &str = "expected the public key of whoever signed it, got none";
pub(super) const GIVE_KEY: &str = "give it with `--key PUBLIC.pem`";

/// States what a snapshot holds from a source.
pub(super) fn pledge(
    context: &Context,
    name: &str,
    source: &str,
    output: Option<PathBuf>,
    key: &KeyArgs,
) -> Result<Exit> {
    if source.trim().is_empty() {
        return Err(anyhow!("expected the beginning of an address, got nothing"));
    }
    let key = key.read(context)?;
    let registry = context.open_registry()?;
    let stated = crate::snapshot::pledge(&registry, name, source.trim(), context.now);
    let stated = stated.hint("`assent snapshot list` lists them")?;
    write(context, &stated, key.as_ref(), output)?;
    context.message(stated.sentence());
    signed(context, key.as_ref());
    Ok(Exit::Done)
}

/// Writes a statement, in an envelope when there is a key, to a file or to stdout.
pub(super) fn write<P: Serialize + DeserializeOwned>(
    context: &Context,
    statement: &Statement<P>,
    key: Option<&SecretKey>,
    output: Option<PathBuf>,
) -> Result<()> {
    let mut bytes = match key {
        Some(key) => canonical_json(&statement.sign(key)?)?,
        None => statement.bytes()?,
    };
    match output {
        None => context.line(String::from_utf8_lossy(&bytes)),
        Some(path) => {
            bytes.push(b'\n');
            write_atomic(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))
        }
    }
}

/// Says who signed what was written, if anybody did.
pub(super) fn signed(context: &Context, key: Option<&SecretKey>) {
    match key {
        Some(key) => context.message(format_args!("signed by the key {}", key.public().id().short())),
        None => context.message("it is not signed: `--key FILE` or `$ASSENT_KEY` signs it"),
    }
}

/// Checks a pledge with a public key, and says what it states.
pub(super) fn check(
    context: &Context,
    (pledge, envelope): (&Pledge, Option<&Envelope>),
    root: Option<Sha256Digest>,
    key: Option<&Path>,
) -> Result<Exit> {
    let key = key.map(public_key).transpose()?;
    let found = pledge.first().map(|(_, root)| root);
    let problem = match (envelope, &key) {
        (None, _) => Some(NOBODY.to_string()),
        (Some(_), None) => return Err(anyhow!(NO_KEY)).hint(GIVE_KEY),
        (Some(envelope), Some(key)) => {
            let verified = envelope.verify(STATEMENT_PAYLOAD_TYPE, key);
            verified.err().map(|error| error.to_string())
        }
    };
    let other_root = || match (root, found) {
        (Some(root), Some(found)) if root != found => Some(format!("expected the root {root}, got {found}")),
        _ => None,
    };
    let problem = problem.or_else(other_root);
    if context.json {
        context.json_line(&json!({
            "ok": problem.is_none(), "problem": problem, "pledge": pledge.predicate,
            "snapshot": pledge.first().map(|(name, _)| name), "root": found,
            "keyid": key.map(|key| key.id()),
        }))?;
    } else {
        match &problem {
            None => context.line(context.paint(Style::Good, "the pledge holds: its signature verifies"))?,
            Some(problem) => {
                context.line(format_args!(
                    "{}: {problem}",
                    context.paint(Style::Bad, "the pledge shows nothing")
                ))?;
            }
        }
        let said = &pledge.predicate;
        context.line(format_args!("stated {}: {}", said.stated_at, pledge.sentence()))?;
        for image in &said.held {
            context.line(format_args!("  {image}"))?;
        }
    }
    Ok(if problem.is_none() { Exit::Done } else { Exit::Findings })
}
