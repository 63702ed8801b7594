//! `assent document`: a training set or an adapter in the forms that others read.

mod signing;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::key::PassphraseArgs;
use super::{Context, Exit, HintExt};
use crate::adapter::Container;
use crate::digest::{Sha256Digest, write_atomic};
use crate::documents::{self, Model, Page, Picture, Set, Subject, Told, Whole};
use crate::receipt::{self, RunRecord, Sealed};
use crate::registry::Registry;
use crate::snapshot::{Document, Role, attributions, check_name};

/// A longer `run.json` is not read, in bytes.
const MAX_RECORD: u64 = 16 << 20;

/// Options of `assent document`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which kind
    #[arg(value_enum)]
    pub kind: Kind,
    /// The name of a snapshot, an adapter, or the folder of a run; `model-signing` signs every file of a folder
    #[arg(value_name = "SNAPSHOT|ADAPTER")]
    pub subject: OsString,
    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Name artists, titles and sources, and give captions: they may name people too
    #[arg(long)]
    pub names: bool,
    /// Who publishes it
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Its address
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The licence that the adapter is given under
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,
    /// The base model by the name under which others find it
    #[arg(long, value_name = "NAME")]
    pub base: Option<String>,
    /// The private key of a signature: ECDSA on P-256, as PEM
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// What opens the key
    #[command(flatten)]
    passphrase: PassphraseArgs,
    /// How to write the public summary
    #[arg(long, value_enum, default_value_t)]
    pub format: Written,
}

/// The kinds by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Croissant 1.1 with RAI: a training set
    Croissant,
    /// CycloneDX 1.7: a bill of materials
    #[value(name = "cyclonedx")]
    CycloneDx,
    /// SPDX 3.0.1 with its profiles for AI and datasets
    Spdx,
    /// A signature that OpenSSF's `model_signing verify key` checks
    ModelSigning,
    /// The European Union's public summary of training content
    EuSummary,
    /// A README.md as the Hugging Face hub reads it
    ModelCard,
}

/// The formats of the public summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Written {
    /// Markdown
    #[default]
    Markdown,
    /// A page that needs nothing else
    Html,
}

/// Writes it.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let told = Told {
        provider: args.provider,
        url: args.url,
        license: args.license,
        base: args.base,
        names: args.names,
    };
    let page = match args.format {
        Written::Markdown => Page::Markdown,
        Written::Html => Page::Html,
    };
    let (now, output) = (context.now, args.output.as_deref());
    let subject = || subject_of(context, &args.subject);
    let text = match args.kind {
        Kind::Croissant => documents::croissant(&subject()?, &told, now)?,
        Kind::CycloneDx => documents::cyclonedx(&subject()?, &told, now)?,
        Kind::Spdx => documents::spdx(&subject()?, &told, now)?,
        Kind::ModelSigning => {
            let key = args.key.as_deref().map(|key| (key, &args.passphrase));
            signing::bundle(context, Path::new(&args.subject), key, output)?
        }
        Kind::EuSummary => documents::eu_summary(&subject()?, &told, now, page)?,
        Kind::ModelCard => documents::model_card(&subject()?, &told)?,
    };
    write(context, &text, output)?;
    Ok(Exit::Done)
}

fn write(context: &Context, text: &str, output: Option<&Path>) -> Result<()> {
    let Some(path) = output else {
        return context.line(text.trim_end());
    };
    write_atomic(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    context.message(format_args!("wrote `{}`", path.display()));
    if context.json {
        let sha256 = Sha256Digest::of_bytes(text.as_bytes());
        context.json_line(&json!({"path": path.display().to_string(), "sha256": sha256, "bytes": text.len()}))?;
    }
    Ok(())
}

/// The snapshot of this name, or an adapter with what it was trained on.
fn subject_of(context: &Context, subject: &OsString) -> Result<Subject> {
    let registry = context.registry.exists().then(|| context.open_registry()).transpose()?;
    let name = subject.to_string_lossy();
    if let Some(registry) = &registry
        && check_name(&name).is_ok()
        && registry.snapshot(&name)?.is_some()
    {
        let sets = vec![whole(registry, &name, Role::Training)?];
        return Ok(Subject { sets, model: None });
    }
    let Some(path) = super::audit::adapter_at(Path::new(subject)) else {
        return Err(anyhow!("expected a snapshot or an adapter, got `{name}`"))
            .hint("`assent snapshot list` lists the snapshots");
    };
    let model = model(registry.as_ref(), &path)?;
    let mut sets = Vec::new();
    for claims in model.sealed.receipt.claims.sets() {
        let known = match &registry {
            Some(registry) => registry
                .snapshot_of_root(&claims.snapshot)?
                .map(|row| (registry, row.name)),
            None => None,
        };
        sets.push(match known {
            Some((registry, name)) => whole(registry, &name, claims.role)?,
            None => {
                context.warn(format_args!(
                    "the registry has no snapshot with the root {}: what is said of it is the receipt's",
                    claims.snapshot
                ));
                Set { claims, whole: None }
            }
        });
    }
    Ok(Subject {
        sets,
        model: Some(model),
    })
}

/// A snapshot, member by member.
fn whole(registry: &Registry, name: &str, role: Role) -> Result<Set> {
    let document = Document::of(registry, name)?;
    let reader = registry.reader()?;
    let mut pictures = BTreeMap::new();
    for member in &document.members {
        if let Some(image) = reader.image(&member.image)? {
            let picture = Picture {
                format: image.format,
                width: image.width,
                height: image.height,
            };
            pictures.insert(member.image, picture);
        }
    }
    drop(reader);
    let attributions = attributions(registry, name)?;
    Ok(Set::of_snapshot(
        role,
        Whole {
            document,
            attributions,
            pictures,
        },
    ))
}

/// An adapter that is what its receipt says.
fn model(registry: Option<&Registry>, path: &Path) -> Result<Model> {
    let container = Container::read(path)?;
    let sealed = receipt::open(&container)?
        .ok_or_else(|| {
            anyhow!(
                "`{}` carries no receipt, so nothing says what trained it",
                path.display()
            )
        })
        .hint("a document is written for an adapter that `assent train` made, or a conversion of one")?;
    let changes = receipt::changes(&container, &sealed)?;
    if !changes.is_empty() {
        let changes: Vec<_> = changes.iter().map(|change| change.as_str()).collect();
        return Err(anyhow!(
            "`{}` is not what its receipt says: {}",
            path.display(),
            changes.join(", ")
        ))
        .hint("`assent audit` says more");
    }
    let sha256 = Sha256Digest::of_file(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let record = record(registry, path, &sha256, &sealed)?;
    Ok(Model {
        sha256,
        tensors: container.tensor_digest(),
        bytes: path
            .metadata()
            .with_context(|| format!("cannot read `{}`", path.display()))?
            .len(),
        header: container.metadata.clone(),
        sealed,
        record,
    })
}

/// The record of the run that the receipt names: from the registry, else from beside the adapter.
fn record(
    registry: Option<&Registry>,
    path: &Path,
    sha256: &Sha256Digest,
    sealed: &Sealed,
) -> Result<Option<RunRecord>> {
    let fits = |record: &RunRecord| record.run == sealed.receipt.claims.run;
    if let Some(registry) = registry
        && let Some(run) = registry.adapter(sha256)?.and_then(|row| row.run)
        && let Some(row) = registry.run(&run)?
    {
        return Ok(Some(RunRecord::parse(&row.run.record)?).filter(fits));
    }
    let beside = path.with_file_name("run.json");
    if beside
        .metadata()
        .is_ok_and(|file| file.is_file() && file.len() <= MAX_RECORD)
    {
        let text = std::fs::read_to_string(&beside).with_context(|| format!("cannot read `{}`", beside.display()))?;
        return Ok(RunRecord::parse(&text).ok().filter(fits));
    }
    Ok(None)
}
