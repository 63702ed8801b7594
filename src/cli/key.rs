//! `assent key`: keys that sign what is said, and the list of keys that are trusted.

mod passphrase;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Context, Exit, HintExt, Style, Table};
use crate::digest::write_atomic;
use crate::keys::{KeyError, Lock, PublicKey, SecretKey};

pub(super) use passphrase::{NewPassphrase, PassphraseArgs, opened};

/// Options of `assent key`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Make a private key, in a new file that only you may read
    New {
        /// The file; keep it to yourself, and keep a copy
        file: PathBuf,
        /// Write the public key to this file, which is for everybody
        #[arg(long, value_name = "FILE")]
        public: Option<PathBuf>,
        /// What opens it
        #[command(flatten)]
        passphrase: NewPassphrase,
    },
    /// Put a private key under a passphrase, under another one, or under none
    Passphrase {
        /// The private key
        file: PathBuf,
        /// What opens it now
        #[command(flatten)]
        now: PassphraseArgs,
        /// What is to open it: a file whose first line it is, or `-`; asked for on the terminal if left out
        #[arg(long, value_name = "FILE", conflicts_with = "remove")]
        new_passphrase_file: Option<PathBuf>,
        /// Take the passphrase away
        #[arg(long)]
        remove: bool,
    },
    /// Show the public half of a private key, or a public key
    Show {
        /// The file
        file: PathBuf,
        /// What opens it
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Print the certificate of a private key, for the trust lists of readers of Content Credentials (C2PA)
    Certificate {
        /// The private key
        file: PathBuf,
        /// What opens it
        #[command(flatten)]
        passphrase: PassphraseArgs,
    },
    /// Trust what a key signs: policies may ask for it
    Trust {
        /// The public key
        public: PathBuf,
        /// Whose it is
        #[arg(long, value_name = "NAME")]
        name: Option<String>,
    },
    /// Trust a key no longer; what it signed stays signed
    Distrust {
        /// The public key
        public: PathBuf,
    },
    /// List the trusted keys
    List,
}

/// The key that signs what a command records.
#[derive(Debug, clap::Args)]
pub(super) struct KeyArgs {
    /// Sign it with this private key, as `assent key new` makes them
    #[arg(long, value_name = "FILE", env = "ASSENT_KEY")]
    key: Option<PathBuf>,
    /// What opens it
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl KeyArgs {
    /// The key, when one is configured.
    pub(super) fn read(&self, context: &Context) -> Result<Option<SecretKey>> {
        let Some(path) = &self.key else { return Ok(None) };
        let read = |passphrase: Option<&[u8]>| SecretKey::read(path, passphrase);
        let (key, exposed) = opened(&self.passphrase, path, MAKE, read)?;
        if exposed {
            context.warn(format_args!(
                "others may read the private key `{0}`: run `chmod 600 {0}`",
                path.display()
            ));
        }
        Ok(Some(key))
    }
}

/// Does what is asked.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.action {
        Action::New {
            file,
            public,
            passphrase,
        } => {
            let key = SecretKey::from_random(&random()?);
            let (passphrase, random) = (passphrase.read()?, random()?);
            let lock = passphrase.as_ref().map(|passphrase| Lock {
                passphrase,
                random: &random,
            });
            key.write_new(&file, lock.as_ref()).hint("name a new file")?;
            if let Some(path) = public {
                let pem = key.public().to_pem()?;
                write_atomic(&path, pem.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
            }
            context.message(format_args!("wrote the private key to `{}`", file.display()));
            show(context, &key.public())?;
        }
        Action::Passphrase {
            file,
            now,
            new_passphrase_file,
            remove,
        } => {
            let (key, _) = opened(&now, &file, MAKE, |passphrase| SecretKey::read(&file, passphrase))?;
            let (passphrase, random) = (
                passphrase::replacing(new_passphrase_file.as_deref(), remove)?,
                random()?,
            );
            let lock = passphrase.as_ref().map(|passphrase| Lock {
                passphrase,
                random: &random,
            });
            key.rewrite(&file, lock.as_ref())?;
            let how = if remove {
                "under no passphrase"
            } else {
                "under the new passphrase"
            };
            context.message(format_args!("the private key `{}` is {how}", file.display()));
        }
        Action::Show { file, passphrase } => {
            let key = match PublicKey::read(&file) {
                Ok(key) => key,
                Err(KeyError::NotAKey { .. }) => {
                    let key = KeyArgs {
                        key: Some(file.clone()),
                        passphrase,
                    }
                    .read(context)?;
                    key.with_context(|| format!("`{}` holds no key", file.display()))?
                        .public()
                }
                Err(error) => return Err(error.into()),
            };
            show(context, &key)?;
        }
        Action::Certificate { file, passphrase } => {
            let named = KeyArgs {
                key: Some(file.clone()),
                passphrase,
            };
            let key = named
                .read(context)?
                .with_context(|| format!("`{}` holds no key", file.display()))?;
            let pem = key.certificate_pem()?;
            if context.json {
                context.json_line(&json!({"keyid": key.public().id(), "certificate": pem}))?;
            } else {
                context.line(pem.trim_end())?;
            }
        }
        Action::Trust { public, name } => {
            let key = public_key(&public)?;
            let mut registry = context.open_or_create_registry()?;
            registry.trust_key(&key, name.as_deref(), context.now)?;
            if context.json {
                context.json_line(&json!({"keyid": key.id(), "name": name}))?;
            } else {
                let whose = name.map(|name| format!(" of {name}")).unwrap_or_default();
                context.line(format_args!("the key {}{whose} is trusted", key.id().short()))?;
            }
        }
        Action::Distrust { public } => {
            let key = public_key(&public)?;
            if !context.open_registry()?.distrust_key(&key)? {
                return Err(anyhow::anyhow!("the key {} is not on the trust list", key.id().short()))
                    .hint("`assent key list` lists them");
            }
            context.line(format_args!("the key {} is trusted no longer", key.id().short()))?;
        }
        Action::List => list(context)?,
    }
    Ok(Exit::Done)
}

/// Where a key comes from.
const MAKE: &str = "`assent key new FILE` makes one";

/// Bytes that nobody can guess.
fn random() -> Result<[u8; 32]> {
    let mut random = [0; 32];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("the system gives no randomness: {error}"))?;
    Ok(random)
}

/// Reads a public key; a private one is named as what it is.
pub(super) fn public_key(path: &std::path::Path) -> Result<PublicKey> {
    PublicKey::read(path).hint("`assent key show PRIVATE.key` prints the public half of a key")
}

fn show(context: &Context, key: &PublicKey) -> Result<()> {
    let pem = key.to_pem()?;
    if context.json {
        let raw = hex::encode(key.as_bytes());
        return context.json_line(&json!({"keyid": key.id(), "public": raw, "pem": pem}));
    }
    context.message(format_args!("key {}", context.paint_err(Style::Strong, key.id())));
    context.line(pem.trim_end())
}

fn list(context: &Context) -> Result<()> {
    let keys = context.open_registry()?.trusted_keys()?;
    let mut table = Table::new(context, ["key", "name", "trusted since"]);
    for trusted in &keys {
        let (id, name) = (trusted.key.id(), trusted.name.clone());
        if context.json {
            let raw = hex::encode(trusted.key.as_bytes());
            context.json_line(&json!({"keyid": id, "public": raw, "name": name, "added_at": trusted.added_at}))?;
        } else {
            table.row([
                id.short(),
                name.unwrap_or_else(|| "-".into()),
                trusted.added_at.to_string(),
            ]);
        }
    }
    if !context.json && !keys.is_empty() {
        context.line(table)?;
    }
    context.message(format_args!("{} trusted keys", keys.len()));
    Ok(())
}
