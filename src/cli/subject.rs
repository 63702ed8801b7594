//! What commands are about: pictures by path or digest, policies by file or name, the targets of the ledger.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use super::{Context, HintExt};
use crate::consent::{Policy, Target};
use crate::digest::Sha256Digest;
use crate::registry::Registry;

/// A larger policy is refused, in bytes.
const MAX_POLICY: u64 = 1 << 20;
/// The shipped policies, which need no file.
pub(super) const SHIPPED: [(&str, &str); 4] = [
    ("open-licences", include_str!("../../configs/policy-open-licences.toml")),
    ("opt-in", include_str!("../../configs/policy-opt-in.toml")),
    ("own-works", include_str!("../../configs/policy-own-works.toml")),
    (
        "research-exception",
        include_str!("../../configs/policy-research-exception.toml"),
    ),
];
/// How a message names them.
const SHIPPED_NAMES: &str = "`open-licences`, `opt-in`, `own-works`, `research-exception`";

/// Which policy a command decides under.
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {
    /// The policy: a file, or the name of a shipped one (`assent policy list`)
    #[arg(long, value_name = "FILE", default_value = "open-licences")]
    pub policy: PathBuf,
    /// Add this artist to those whose own works the policy clears (`own.artists`); may be repeated
    #[arg(long, value_name = "NAME")]
    pub own: Vec<String>,
}

/// A policy with the name of the file it was read from.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub policy: Policy,
    pub file: String,
}

impl PolicyArgs {
    /// The policy, with the artists of `--own` written into it.
    pub(super) fn get(&self) -> Result<Named> {
        let mut named = policy(&self.policy)?;
        if !self.own.is_empty() {
            named.policy = named
                .policy
                .with_own(&self.own)
                .hint("`--own NAME` needs a policy with `[own] artists = []`, as `own-works` is")?;
        }
        Ok(named)
    }
}

/// The registered picture meant by a path, a digest, or the first characters (6 or more) of one.
pub(super) fn registered(context: &Context, registry: &Registry, text: &OsString) -> Result<Sha256Digest> {
    let word = text.to_string_lossy();
    if let Ok(digest) = word.parse::<Sha256Digest>() {
        registry.image(&digest)?;
        return Ok(digest);
    }
    let path = Path::new(text);
    if path.is_file() {
        let digest = Sha256Digest::of_file(path).with_context(|| format!("cannot read `{}`", path.display()))?;
        return match registry.image(&digest) {
            Ok(_) => Ok(digest),
            Err(_) => Err(anyhow!("`{}` is not registered, or has changed since", path.display()))
                .hint(format!("run `assent ingest {}`", path.display())),
        };
    }
    if let Some(digest) = registry.image_at(&context.absolute(path)?)? {
        return Ok(digest);
    }
    if word.len() >= 6 && word.chars().all(|c| c.is_ascii_hexdigit()) {
        match registry.images_by_prefix(&word, 2)?.as_slice() {
            [only] => return Ok(*only),
            [] => {}
            _ => return Err(anyhow!("`{word}` begins the digest of several pictures")).hint("give more characters"),
        }
    }
    Err(anyhow!("expected a registered picture, got `{word}`"))
        .hint("name a file, or a digest as `assent images` lists them")
}

/// The policy in a file, or the shipped one of this name.
pub(super) fn policy(path: &Path) -> Result<Named> {
    let shipped = SHIPPED.iter().find(|(known, _)| Path::new(known) == path);
    let (text, file) = match shipped {
        Some((name, text)) if !path.exists() => ((*text).to_string(), format!("policy-{name}.toml")),
        _ => {
            let hint = format!("name a file, or one of the shipped policies: {SHIPPED_NAMES}");
            (text_of("policy", path).hint(hint)?, path.display().to_string())
        }
    };
    let policy = Policy::parse(&text).with_context(|| format!("the policy `{}` is not valid", path.display()))?;
    Ok(Named { policy, file })
}

/// The text of a file of a policy or its cases.
pub(super) fn text_of(what: &str, path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = File::open(path).with_context(|| format!("cannot open the {what} `{}`", path.display()))?;
    let read = file.take(MAX_POLICY + 1).read_to_string(&mut text);
    read.with_context(|| format!("cannot read the {what} `{}`", path.display()))?;
    if text.len() as u64 > MAX_POLICY {
        return Err(anyhow!(
            "expected a {what} of at most {MAX_POLICY} bytes, got more in `{}`",
            path.display()
        ));
    }
    Ok(text)
}

/// Whom or what an event is about: one of these.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct TargetArgs {
    /// Every picture of this artist, under any of their names
    #[arg(long, value_name = "NAME")]
    pub artist: Option<String>,
    /// One picture: a file, or its SHA-256
    #[arg(long, value_name = "PATH|SHA")]
    pub image: Option<OsString>,
    /// Every picture whose source address begins with this
    #[arg(long, value_name = "PREFIX")]
    pub source: Option<String>,
    /// Every picture of this collection, as `assent ingest --collection` named it
    #[arg(long, value_name = "NAME")]
    pub collection: Option<String>,
}

impl TargetArgs {
    /// The target. A picture need not be registered: a refusal may come first.
    pub(super) fn target(&self, context: &Context, registry: &Registry) -> Result<Target> {
        let named = |text: &str, what| match text.trim() {
            "" => Err(anyhow!("expected {what}, got nothing")),
            text => Ok(text.to_string()),
        };
        match (&self.artist, &self.source, &self.collection, &self.image) {
            (Some(name), ..) => Ok(Target::Artist(named(name, "the name of an artist")?)),
            (_, Some(prefix), ..) => Ok(Target::Source(named(prefix, "the beginning of an address")?)),
            (_, _, Some(name), _) => Ok(Target::Collection(named(name, "the name of a collection")?)),
            (_, _, _, Some(text)) => {
                if let Ok(digest) = registered(context, registry, text) {
                    return Ok(Target::Image(digest));
                }
                let whole = text.to_string_lossy().parse::<Sha256Digest>().ok();
                let path = Path::new(text);
                let digest = match whole {
                    Some(digest) => digest,
                    None if path.is_file() => {
                        Sha256Digest::of_file(path).with_context(|| format!("cannot read `{}`", path.display()))?
                    }
                    None => registered(context, registry, text)?,
                };
                context.warn("the picture is not registered: until it is, only this very file is meant");
                Ok(Target::Image(digest))
            }
            (None, None, None, None) => Err(anyhow!(
                "expected one of `--artist`, `--image`, `--source` and `--collection`, got none"
            )),
        }
    }
}
