//! `assent snapshot pledge`, and checking what it wrote.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::key::{KeyArgs, public_key};
use super::{Context, Exit, HintExt, Style};
use crate::digest::{Sha256Digest, write_atomic};
use crate::keys::{Envelope, MAX_ENVELOPE_BYTES};
use crate::snapshot::{PLEDGE_PAYLOAD_TYPE, Pledge};

/// A pledge as it stands in a file.
pub(super) struct InFile {
    pledge: Pledge,
    envelope: Option<Envelope>,
}

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
    let payload = stated.bytes()?;
    let mut bytes = match &key {
        Some(key) => {
            let mut envelope = serde_json::to_value(Envelope::sign(PLEDGE_PAYLOAD_TYPE, payload, key))?;
            envelope.sort_all_objects();
            serde_json::to_vec(&envelope)?
        }
        None => payload,
    };
    match output {
        None => context.line(String::from_utf8_lossy(&bytes))?,
        Some(path) => {
            bytes.push(b'\n');
            write_atomic(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        }
    }
    context.message(stated.sentence());
    match key {
        Some(key) => context.message(format_args!("signed by the key {}", key.public().id().short())),
        None => context.message("it is not signed: `--key FILE` or `$ASSENT_KEY` signs it"),
    }
    Ok(Exit::Done)
}

/// The pledge in a file; none when the file holds something else, such as a proof.
pub(super) fn in_file(path: &Path) -> Result<Option<InFile>> {
    let about = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(about)?;
    file.take(MAX_ENVELOPE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(about)?;
    let Ok(Value::Object(fields)) = serde_json::from_slice(&bytes) else {
        return Ok(None);
    };
    let parse = |json: &[u8]| {
        Pledge::parse(json)
            .map_err(|problem| anyhow!(problem))
            .with_context(about)
    };
    if fields.contains_key("_type") {
        let pledge = parse(&bytes)?;
        return Ok(Some(InFile { pledge, envelope: None }));
    }
    if !fields.contains_key("payload") {
        return Ok(None);
    }
    let envelope = Envelope::parse(&bytes).with_context(about)?;
    let pledge = parse(&envelope.payload)?;
    Ok(Some(InFile {
        pledge,
        envelope: Some(envelope),
    }))
}

/// Checks a pledge with a public key, and says what it states.
pub(super) fn check(context: &Context, file: &InFile, root: Option<Sha256Digest>, key: Option<&Path>) -> Result<Exit> {
    let key = key.map(public_key).transpose()?;
    let found = file.pledge.snapshot().map(|(_, root)| root);
    let problem = match (&file.envelope, &key) {
        (None, _) => Some("nobody signed it, so anybody can have written it".to_string()),
        (Some(_), None) => {
            return Err(anyhow!(
                "expected the public key of whoever signed the pledge, got none"
            ))
            .hint("give it with `--key PUBLIC.pem`");
        }
        (Some(envelope), Some(key)) => envelope
            .verify(PLEDGE_PAYLOAD_TYPE, key)
            .err()
            .map(|error| error.to_string()),
    };
    let other_root = || match (root, found) {
        (Some(root), Some(found)) if root != found => Some(format!("expected the root {root}, got {found}")),
        _ => None,
    };
    let problem = problem.or_else(other_root);
    if context.json {
        context.json_line(&json!({
            "ok": problem.is_none(), "problem": problem, "pledge": file.pledge.predicate,
            "snapshot": file.pledge.snapshot().map(|(name, _)| name), "root": found,
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
        let said = &file.pledge.predicate;
        context.line(format_args!("stated {}: {}", said.stated_at, file.pledge.sentence()))?;
        for image in &said.held {
            context.line(format_args!("  {image}"))?;
        }
    }
    Ok(if problem.is_none() { Exit::Done } else { Exit::Findings })
}
