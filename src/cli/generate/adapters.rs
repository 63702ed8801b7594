//! Adapters and their strengths, from arguments.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::adapter::{self, AdapterFile};
use crate::cli::error::HintExt;
use crate::digest::Sha256Digest;
use crate::label::UsedAdapter;
use crate::receipt::{self, Composition};

/// An adapter that was read.
pub struct Adapter {
    pub path: PathBuf,
    pub file: AdapterFile,
    pub used: UsedAdapter,
}

impl Adapter {
    /// How strong it is on the U-Net and on the text encoders.
    pub fn strengths(&self) -> [f64; 2] {
        [self.used.weight, self.used.clip_weight.unwrap_or(self.used.weight)]
    }
}

/// Reads the adapters of `FILE`, `FILE:WEIGHT` or `FILE:WEIGHT:CLIP`. A manifest of shards, or the folder that holds it,
/// stands for the adapters that it names, each with its weight there times that of the argument.
pub fn read(arguments: &[OsString]) -> Result<Vec<Adapter>> {
    let mut files = Vec::new();
    for argument in arguments {
        let (path, strengths) = path_and_strengths(argument)?;
        let Some(manifest) = Composition::at(&path) else {
            files.push((path, strengths));
            continue;
        };
        let unusable = || format!("cannot use `{}`", manifest.display());
        let (composition, _) = Composition::read(&manifest).with_context(unusable)?;
        let folder = manifest.parent().unwrap_or(Path::new("."));
        for shard in &composition.adapters {
            let (path, weight) = (shard.path(folder), shard.strength()?);
            let found = Sha256Digest::of_file(&path).with_context(|| format!("cannot use `{}`", path.display()))?;
            if found != shard.file {
                return Err(anyhow!(
                    "`{}` is not the adapter that `{}` names",
                    path.display(),
                    manifest.display()
                ))
                .hint("`assent audit` of the manifest says what was changed");
            }
            files.push((path, strengths.map(|strength| strength * weight)));
        }
    }
    let read = |(path, [weight, clip]): (PathBuf, [f64; 2])| {
        let unusable = || format!("cannot use `{}`", path.display());
        let (container, listing) = adapter::open(&path).with_context(unusable)?;
        let file = listing
            .known(&path.display().to_string())
            .with_context(unusable)?
            .adapter;
        let sealed = receipt::open(&container)?;
        let mut roots = sealed
            .as_ref()
            .map(|s| s.receipt.claims.trained_on())
            .unwrap_or_default()
            .into_iter()
            .map(|set| set.root);
        let used = UsedAdapter {
            sha256: Sha256Digest::of_file(&path)?,
            receipt: sealed.as_ref().map(|s| s.digest),
            snapshot: roots.next(),
            further: roots.collect(),
            weight,
            clip_weight: (clip != weight).then_some(clip),
        };
        Ok(Adapter { path, file, used })
    };
    files.into_iter().map(read).collect()
}

/// The path, and the strengths on the U-Net and on the text encoders. A path may hold colons itself: the longest one
/// that there is counts.
pub fn path_and_strengths(argument: &OsStr) -> Result<(PathBuf, [f64; 2])> {
    let whole = Path::new(argument);
    if whole.exists() {
        return Ok((whole.to_owned(), [1.0; 2]));
    }
    if !argument.as_bytes().contains(&b':') {
        return Err(anyhow!("there is no adapter at `{}`", whole.display()))
            .hint("give the path of a .safetensors file");
    }
    match behind(argument) {
        Some((path, last)) => match behind(path).filter(|_| !Path::new(path).exists()) {
            Some((path, first)) => Ok((path.into(), [first, last])),
            None => Ok((path.into(), [last; 2])),
        },
        None => bail!(
            "--adapter: expected FILE, FILE:WEIGHT or FILE:WEIGHT:CLIP, found `{}`",
            argument.to_string_lossy()
        ),
    }
}

/// What stands before the last colon, and the number behind it.
pub fn behind(argument: &OsStr) -> Option<(&OsStr, f64)> {
    let bytes = argument.as_bytes();
    let colon = bytes.iter().rposition(|&b| b == b':')?;
    let number: f64 = std::str::from_utf8(&bytes[colon + 1..]).ok()?.parse().ok()?;
    number.is_finite().then(|| (OsStr::from_bytes(&bytes[..colon]), number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_stand_behind_colons() {
        for (argument, path, strengths) in [
            ("a:0.5", "a", [0.5, 0.5]),
            ("a:0.5:0.25", "a", [0.5, 0.25]),
            ("a:b:-1", "a:b", [-1.0, -1.0]),
            ("a:b:1:0", "a:b", [1.0, 0.0]),
        ] {
            let found = path_and_strengths(OsStr::new(argument)).unwrap();
            assert_eq!(found, (PathBuf::from(path), strengths), "{argument}");
        }
        for bad in ["nothing", "a:x", "a:1:x", "a:inf", "a:"] {
            assert!(path_and_strengths(OsStr::new(bad)).is_err(), "{bad}");
        }
    }
}
