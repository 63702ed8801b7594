//! Passphrases of private keys: from a file or from the terminal, never from the arguments, which every user of a
//! computer can list.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use zeroize::Zeroizing;

use super::super::HintExt;
use crate::keys::{KeyError, MAX_PASSPHRASE};

/// A passphrase; it is wiped from memory when it is dropped.
type Passphrase = Zeroizing<Vec<u8>>;

/// What opens a private key.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct PassphraseArgs {
    /// Read the passphrase of the private key from the first line of this file, `-`: of stdin [default: ask]
    #[arg(long, value_name = "FILE", env = "ASSENT_KEY_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What is to open a new private key.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct NewPassphrase {
    /// Put it under the passphrase in the first line of this file, `-`: of stdin
    #[arg(long, value_name = "FILE", env = "ASSENT_KEY_PASSPHRASE_FILE")]
    passphrase_file: Option<PathBuf>,
    /// Ask on the terminal for a passphrase to put it under
    #[arg(long, conflicts_with = "passphrase_file")]
    passphrase: bool,
}

impl NewPassphrase {
    /// The passphrase, where there is to be one.
    pub(super) fn read(&self) -> Result<Option<Passphrase>> {
        match (&self.passphrase_file, self.passphrase) {
            (Some(path), _) => Ok(Some(from_file(path)?)),
            (None, true) => Ok(Some(twice()?)),
            (None, false) => Ok(None),
        }
    }
}

/// The passphrase that takes the place of another, or none.
pub(super) fn replacing(file: Option<&Path>, remove: bool) -> Result<Option<Passphrase>> {
    match (file, remove) {
        (_, true) => Ok(None),
        (Some(path), false) => Ok(Some(from_file(path)?)),
        (None, false) => Ok(Some(twice()?)),
    }
}

/// Reads a private key, and its passphrase where it is under one; `make` says how one is made.
pub(in crate::cli) fn opened<K>(
    args: &PassphraseArgs,
    path: &Path,
    make: &str,
    read: impl Fn(Option<&[u8]>) -> Result<K, KeyError>,
) -> Result<K> {
    match read(None) {
        Err(KeyError::Locked { .. }) => {}
        other => return other.hint(make),
    }
    let passphrase = match &args.passphrase_file {
        Some(file) => from_file(file)?,
        None if io::stdin().is_terminal() => asked(&format!("Passphrase of `{}`: ", path.display()))?,
        None => {
            return Err(KeyError::Locked { path: path.into() })
                .hint("write it into a file that only you may read, and give `--passphrase-file FILE`");
        }
    };
    read(Some(&passphrase)).hint("`assent key passphrase` changes it, for whoever knows the old one")
}

/// The first line of a file, without its end.
fn from_file(path: &Path) -> Result<Passphrase> {
    // One byte more than the longest with its line end shows that there is more.
    let most = MAX_PASSPHRASE + 3;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    // What follows the first line of stdin may be another passphrase.
    match path.as_os_str() == "-" {
        true => io::stdin().lock().take(most as u64).read_until(b'\n', &mut bytes),
        false => File::open(path).and_then(|file| BufReader::new(file).take(most as u64).read_until(b'\n', &mut bytes)),
    }
    .with_context(|| format!("cannot read the passphrase from `{}`", path.display()))?;
    for end in *b"\n\r" {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    checked(bytes).with_context(|| format!("in `{}`", path.display()))
}

fn asked(prompt: &str) -> Result<Passphrase> {
    let typed = rpassword::prompt_password(prompt).context("cannot ask for the passphrase")?;
    checked(Zeroizing::new(typed.into_bytes()))
}

/// A new passphrase, typed twice.
fn twice() -> Result<Passphrase> {
    if !io::stdin().is_terminal() {
        return Err(anyhow!("there is no terminal to ask for a passphrase"))
            .hint("write it into a file that only you may read, and name that file");
    }
    let first = asked("New passphrase: ")?;
    match asked("The same again: ")? == first {
        true => Ok(first),
        false => Err(anyhow!("the two passphrases differ")),
    }
}

fn checked(passphrase: Passphrase) -> Result<Passphrase> {
    match passphrase.len() {
        0 => Err(anyhow!("expected a passphrase, found an empty line")),
        n if n > MAX_PASSPHRASE => Err(anyhow!(
            "expected a passphrase of at most {MAX_PASSPHRASE} bytes, found a longer line"
        )),
        _ => Ok(passphrase),
    }
}
