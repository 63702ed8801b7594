//! `assent document model-signing`: a signature of an adapter, or of the folder that it is published in.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use walkdir::WalkDir;

use super::super::audit::adapter_at;
use super::super::key::{PassphraseArgs, opened};
use super::super::{Context, HintExt};
use crate::digest::Sha256Digest;
use crate::documents::{self, Files, IGNORED};
use crate::keys::EcdsaKey;

/// A folder of more files is refused.
const MAX_FILES: usize = 100_000;

/// The bundle for an adapter file or a folder; a `signature` in the folder is left out of itself.
pub(super) fn bundle(
    context: &Context,
    subject: &Path,
    key: Option<(&Path, &PassphraseArgs)>,
    signature: Option<&Path>,
) -> Result<String> {
    let (key, passphrase) = key
        .ok_or_else(|| anyhow!("expected a key to sign with, got none"))
        .hint("give `--key FILE`; `openssl ecparam -name prime256v1 -genkey -noout -out FILE` makes one")?;
    let adapter = adapter_at(subject)
        .ok_or_else(|| {
            anyhow!(
                "expected an adapter or a folder that holds one, got `{}`",
                subject.display()
            )
        })
        .hint("name a `.safetensors` file, or a folder with an `adapter.safetensors`")?;
    // What is not what its receipt says is not signed.
    super::model(None, &adapter)?;
    let make = "model signing verifies no Ed25519; `openssl ecparam -name prime256v1 -genkey` makes a key";
    let (key, exposed) = opened(passphrase, key, make, |passphrase| EcdsaKey::read(key, passphrase))?;
    if exposed {
        context.warn("others than its owner may read the key");
    }
    let files = match subject.is_dir() {
        true => folder(context, subject, signature)?,
        false => Files {
            name: name_of(context, subject)?,
            digests: [(".".to_string(), digest(subject)?)].into(),
            ignored: Vec::new(),
        },
    };
    Ok(documents::model_signing(&files, &key)?)
}

/// Every file in a folder, but what versions it and the signature itself.
fn folder(context: &Context, root: &Path, signature: Option<&Path>) -> Result<Files> {
    let mut ignored: Vec<String> = IGNORED.iter().map(|name| (*name).to_string()).collect();
    if let Some(path) = signature
        && let Ok(inside) = context.absolute(path)?.strip_prefix(context.absolute(root)?)
    {
        ignored.push(slashed(inside)?);
    }
    let mut digests = BTreeMap::new();
    for entry in WalkDir::new(root).min_depth(1).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot read `{}`", root.display()))?;
        let name = slashed(entry.path().strip_prefix(root).unwrap_or(entry.path()))?;
        let left_out = |path: &String| {
            name == *path
                || name
                    .strip_prefix(path.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
        };
        if ignored.iter().any(left_out) || entry.file_type().is_dir() {
            continue;
        }
        if !entry.file_type().is_file() {
            return Err(anyhow!("expected files and folders, found `{name}`, which is neither"))
                .hint("a link is not signed: put the file itself there");
        }
        if digests.len() == MAX_FILES {
            return Err(anyhow!(
                "expected at most {MAX_FILES} files, found more in `{}`",
                root.display()
            ));
        }
        digests.insert(name, digest(entry.path())?);
    }
    Ok(Files {
        name: name_of(context, root)?,
        digests,
        ignored,
    })
}

fn digest(path: &Path) -> Result<Sha256Digest> {
    Sha256Digest::of_file(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The last part of a path, without what leads there.
fn name_of(context: &Context, path: &Path) -> Result<String> {
    let whole = context.absolute(path)?;
    let name = whole.file_name().map(PathBuf::from).unwrap_or_default();
    slashed(&name)
}

/// A path inside a folder as text with slashes.
fn slashed(path: &Path) -> Result<String> {
    let parts = path.components().map(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    let parts: Option<Vec<&str>> = parts.collect();
    parts
        .map(|parts| parts.join("/"))
        .ok_or_else(|| anyhow!("expected a path in UTF-8 inside the folder, got `{}`", path.display()))
}
