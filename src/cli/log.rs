//! `assent log`: the transparency log of snapshots and adapters.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::key::{KeyArgs, public_key};
use super::{Context, Exit, HintExt, Style, Table};
use crate::digest::{Sha256Digest, write_atomic};
use crate::keys::{PublicKey, SecretKey};
use crate::log::{Checkpoint, Consistency, Inclusion, MAX_PROOF_BYTES, Note, Tree, verifier_key};
use crate::registry::{LogReport, Registry};

/// Options of `assent log`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the entries
    List,
    /// Recompute the log and compare it with the registry and with heads that were signed; exit code 1 when it does not hold
    Verify {
        /// A head that you kept; may be repeated
        #[arg(long = "head", value_name = "FILE")]
        heads: Vec<PathBuf>,
        /// The log's public key, to see that it signed those heads
        #[arg(long, value_name = "PUBLIC")]
        key: Option<PathBuf>,
    },
    /// Sign the head of the log: a checkpoint, for whoever wants to keep it
    Head {
        #[command(flatten)]
        signer: Signer,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a proof that a snapshot or an adapter is in the log, under a head that is signed for it
    Prove {
        /// A snapshot's name or root, an adapter's file or its SHA-256
        #[arg(value_name = "NAME|PATH|SHA")]
        subject: OsString,
        #[command(flatten)]
        signer: Signer,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write a proof that the log continues a head that somebody kept
    Continue {
        /// The earlier head
        #[arg(value_name = "HEAD")]
        kept: PathBuf,
        #[command(flatten)]
        signer: Signer,
        /// Write to this file instead of stdout
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a proof with the log's public key; needs no registry
    Check {
        /// What `prove` or `continue` wrote
        file: PathBuf,
        /// The log's public key
        #[arg(long, value_name = "PUBLIC")]
        key: PathBuf,
        /// What the entry must be about: an adapter's file, or the SHA-256 of a file or a root
        #[arg(long, value_name = "PATH|SHA")]
        about: Option<OsString>,
        /// The earlier head that a proof by `continue` is about
        #[arg(long, value_name = "FILE")]
        head: Option<PathBuf>,
    },
    /// Write the log as static tiles and a checkpoint, for any file server (c2sp.org/tlog-tiles)
    Export {
        /// The folder; one that holds the log already gets what is new
        folder: PathBuf,
        #[command(flatten)]
        signer: Signer,
    },
}

/// Who signs a head, and for which log.
#[derive(Debug, clap::Args)]
struct Signer {
    #[command(flatten)]
    key: KeyArgs,
    /// What names the log, for good: best the address it is published at, without scheme [default: that of the last head,
    /// or one made of the key]
    #[arg(long, value_name = "NAME")]
    origin: Option<String>,
}

/// Does what is asked.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    match args.action {
        Action::List => list(context),
        Action::Verify { heads, key } => verify(context, &heads, key.as_deref()),
        Action::Head { signer, output } => {
            let Some(signed) = Signed::new(context, &signer)? else {
                return Ok(Exit::Findings);
            };
            give(context, output, signed.note.bytes())?;
            signed.tell(context);
            Ok(Exit::Done)
        }
        Action::Prove {
            subject,
            signer,
            output,
        } => prove(context, &subject, &signer, output),
        Action::Continue { kept, signer, output } => {
            let earlier = checkpoint(&kept, None)?;
            let Some(signed) = Signed::new(context, &signer)? else {
                return Ok(Exit::Findings);
            };
            let path = signed.tree.consistency(earlier.size, signed.head.size);
            let Some(path) = path.filter(|_| signed.tree.root(earlier.size) == Some(earlier.root)) else {
                context.line(not_continued(context, &kept, &earlier))?;
                return Ok(Exit::Findings);
            };
            let proof = Consistency {
                old: earlier.size,
                path,
                checkpoint: signed.note.clone(),
            };
            give(context, output, proof.bytes())?;
            signed.tell(context);
            Ok(Exit::Done)
        }
        Action::Check { file, key, about, head } => check(context, &file, &key, about.as_ref(), head.as_deref()),
        Action::Export { folder, signer } => export(context, &folder, &signer),
    }
}

fn list(context: &Context) -> Result<Exit> {
    let tree = context.open_registry()?.log()?;
    let mut table = Table::new(context, ["entry", "kind", "digest"]);
    for (place, entry) in tree.entries() {
        let entry = entry?;
        if context.json {
            context.json_line(&json!({"index": place, "entry": entry}))?;
        } else {
            table.row([place.to_string(), entry.kind().to_string(), entry.subject().to_string()]);
        }
    }
    if !context.json && tree.size() > 0 {
        context.line(table)?;
    }
    context.message(format_args!("{} entries", tree.size()));
    Ok(Exit::Done)
}

fn verify(context: &Context, heads: &[PathBuf], key: Option<&Path>) -> Result<Exit> {
    let key = key.map(public_key).transpose()?;
    let registry = context.open_registry()?;
    let tree = registry.log()?;
    let mut report = registry.verify_log()?;
    for path in heads {
        report.heads += 1;
        let head = match (key.as_ref(), checkpoint(path, None)?) {
            (None, head) => head,
            (Some(key), head) => match Checkpoint::open(&read(path)?, key) {
                Ok(head) => head,
                Err(error) => {
                    report.problems.push(format!("`{}`: {error}", path.display()));
                    head
                }
            },
        };
        if tree.root(head.size) != Some(head.root) {
            report.problems.push(not_continued(context, path, &head));
        }
    }
    if !heads.is_empty() && key.is_none() {
        context.message("whether the log's key signed those heads was not looked at: give it with `--key PUBLIC.pem`");
    }
    shown(context, &report)?;
    Ok(match report.problems.is_empty() {
        true => Exit::Done,
        false => Exit::Findings,
    })
}

fn shown(context: &Context, report: &LogReport) -> Result<()> {
    let ok = report.problems.is_empty();
    if context.json {
        let LogReport {
            size,
            root,
            heads,
            problems,
        } = report;
        return context.json_line(&json!({
            "ok": ok, "size": size, "root": root, "heads": heads, "problems": problems,
        }));
    }
    let (style, says) = match ok {
        true => (Style::Good, "the log holds"),
        false => (Style::Bad, "the log does not hold"),
    };
    context.line(format_args!(
        "{}: {} entries, {} heads compared",
        context.paint(style, says),
        report.size,
        report.heads
    ))?;
    report
        .problems
        .iter()
        .try_for_each(|problem| context.line(format_args!("  {problem}")))?;
    context.line(format_args!("root {}", report.root))
}

fn not_continued(context: &Context, path: &Path, head: &Checkpoint) -> String {
    let bad = context.paint(Style::Bad, "the log does not continue");
    format!(
        "{bad} the head of {} entries in `{}`: it was rewritten",
        head.size,
        path.display()
    )
}

/// A head that was just signed, with the log that it is of.
struct Signed {
    tree: Tree,
    head: Checkpoint,
    note: Note,
    key: PublicKey,
}

impl Signed {
    /// Signs the head and keeps it; none, with what is wrong said, when the log does not hold.
    fn new(context: &Context, signer: &Signer) -> Result<Option<Signed>> {
        let key = signer.key.read(context)?;
        let key: SecretKey = key
            .context("expected the key of the log, got none: a head that nobody signs is nobody's word")
            .hint("give it with `--key FILE` or `$ASSENT_KEY`; `assent key new FILE` makes one")?;
        let mut registry = context.open_registry()?;
        let report = registry.verify_log()?;
        if !report.problems.is_empty() {
            shown(context, &report)?;
            context.warn("nothing was signed: a log that does not hold is not vouched for");
            return Ok(None);
        }
        let origin = origin(&registry, signer.origin.as_deref(), &key.public())?;
        let tree = registry.log()?;
        let head = Checkpoint {
            origin,
            size: report.size,
            root: report.root,
        };
        let note = head.sign(&key)?;
        registry.add_log_head(&note)?;
        Ok(Some(Signed {
            tree,
            head,
            note,
            key: key.public(),
        }))
    }

    fn tell(&self, context: &Context) {
        context.message(format_args!(
            "signed the head of {} entries; the log's key for other programs:\n{}",
            self.head.size,
            verifier_key(&self.head.origin, &self.key)
        ));
    }
}

/// What names the log: what is asked for or was used before, which must be the same.
fn origin(registry: &Registry, asked: Option<&str>, key: &PublicKey) -> Result<String> {
    let last = registry.log_heads()?.pop();
    let last = last
        .and_then(|note| Checkpoint::of(&Note::parse(&note).ok()?).ok())
        .map(|head| head.origin);
    match (asked, last) {
        (Some(asked), Some(last)) if asked != last => Err(anyhow!(
            "expected the origin `{last}` that this log was signed under before, got `{asked}`"
        ))
        .hint("leave `--origin` out"),
        (Some(asked), _) => Ok(asked.to_string()),
        (None, Some(last)) => Ok(last),
        (None, None) => Ok(format!("assent-log-{}", key.id().short())),
    }
}

fn prove(context: &Context, subject: &OsString, signer: &Signer, output: Option<PathBuf>) -> Result<Exit> {
    let named = context.open_registry()?.snapshot(&subject.to_string_lossy())?;
    let digest = match named {
        Some(row) => row.root,
        None => meant(subject)?,
    };
    let Some(signed) = Signed::new(context, signer)? else {
        return Ok(Exit::Findings);
    };
    let found = signed
        .tree
        .entries()
        .find(|(_, entry)| entry.as_ref().is_ok_and(|one| one.subject() == digest));
    let proof = found.and_then(|(index, _)| {
        Some(Inclusion {
            entry: signed.tree.entry(index)?.to_vec(),
            index,
            path: signed.tree.inclusion(index, signed.head.size)?.path,
            checkpoint: signed.note.clone(),
        })
    });
    let proof = proof.with_context(|| format!("no entry of the log is about {digest}"));
    give(context, output, proof.hint("`assent log list` lists them")?.bytes())?;
    signed.tell(context);
    Ok(Exit::Done)
}

/// The digest that is meant, or that of the file that is.
fn meant(subject: &OsString) -> Result<Sha256Digest> {
    if let Ok(digest) = subject.to_string_lossy().parse() {
        return Ok(digest);
    }
    let path = super::audit::adapter_at(Path::new(subject)).with_context(|| {
        format!(
            "expected a snapshot, an adapter or a SHA-256, got `{}`",
            subject.to_string_lossy()
        )
    })?;
    Sha256Digest::of_file(&path).with_context(|| format!("cannot read `{}`", path.display()))
}

fn check(context: &Context, file: &Path, key: &Path, about: Option<&OsString>, head: Option<&Path>) -> Result<Exit> {
    let key = public_key(key)?;
    let bytes = read(file)?;
    let about = about.map(meant).transpose()?;
    let (result, entry) = if bytes.starts_with(b"old ") {
        let kept = head
            .context("expected the earlier head that this proof is about, got none")
            .hint("give it with `--head FILE`")?;
        let proof = Consistency::parse(&bytes).with_context(|| format!("`{}`", file.display()))?;
        // Both must be the log's own words.
        let kept = checkpoint(kept, Some(&key));
        (kept.and_then(|kept| Ok(proof.verify(&kept, &key)?)), None)
    } else {
        let proof = Inclusion::parse(&bytes).with_context(|| format!("`{}`", file.display()))?;
        match proof.verify(&key) {
            Err(error) => (Err(error.into()), None),
            Ok((entry, _)) if about.is_some_and(|about| about != entry.subject()) => {
                let found = entry.subject();
                (
                    Err(anyhow!("it is about another {}: {found}", entry.kind())),
                    Some(entry),
                )
            }
            Ok((entry, head)) => (Ok(head), Some(entry)),
        }
    };
    let ok = result.is_ok();
    if context.json {
        let (size, root, origin) = match &result {
            Ok(head) => (Some(head.size), Some(head.root), Some(&head.origin)),
            Err(_) => (None, None, None),
        };
        let problem = result.as_ref().err().map(|error| format!("{error:#}"));
        context.json_line(&json!({
            "ok": ok, "problem": problem, "entry": entry, "size": size, "root": root, "origin": origin,
        }))?;
    } else {
        match (&result, &entry) {
            (Err(error), _) => {
                let bad = context.paint(Style::Bad, "the proof shows nothing");
                context.line(format_args!("{bad}: {error:#}"))?;
            }
            (Ok(head), Some(entry)) => {
                let good = context.paint(Style::Good, "the proof holds");
                let (kind, subject, size) = (entry.kind(), entry.subject(), head.size);
                context.line(format_args!(
                    "{good}: the {kind} {subject} is in the log `{}` of {size} entries",
                    head.origin
                ))?;
            }
            (Ok(head), None) => {
                let good = context.paint(Style::Good, "the proof holds");
                let (size, origin) = (head.size, &head.origin);
                context.line(format_args!(
                    "{good}: the log `{origin}` of {size} entries continues the earlier head"
                ))?;
            }
        }
    }
    Ok(if ok { Exit::Done } else { Exit::Findings })
}

/// Writes what is new. A tile never changes, so one that is there and holds something else was published of another log.
fn export(context: &Context, folder: &Path, signer: &Signer) -> Result<Exit> {
    let Some(signed) = Signed::new(context, signer)? else {
        return Ok(Exit::Findings);
    };
    let published = folder.join("checkpoint");
    if published.exists() {
        let earlier = checkpoint(&published, None)?;
        if signed.tree.root(earlier.size) != Some(earlier.root) {
            context.line(not_continued(context, &published, &earlier))?;
            return Ok(Exit::Findings);
        }
    }
    let (mut new, mut kept) = (0, 0);
    for (name, bytes) in signed.tree.tiles() {
        let path = folder.join(&name);
        if path.exists() {
            let there = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
            if there != bytes {
                context.line(format_args!("`{}` holds another log's tile", path.display()))?;
                return Ok(Exit::Findings);
            }
            kept += 1;
            continue;
        }
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("cannot make `{}`", parent.display()))?;
        write_atomic(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
        new += 1;
    }
    fs::create_dir_all(folder).with_context(|| format!("cannot make `{}`", folder.display()))?;
    // Last: a reader of the checkpoint finds every tile that it needs.
    write_atomic(&published, &signed.note.bytes())
        .with_context(|| format!("cannot write `{}`", published.display()))?;
    let vkey = verifier_key(&signed.head.origin, &signed.key);
    if context.json {
        context.json_line(&json!({
            "size": signed.head.size, "root": signed.head.root, "origin": signed.head.origin, "written": new,
            "kept": kept, "verifier_key": vkey,
        }))?;
    } else {
        context.line(format_args!(
            "{} entries, {new} files written, {kept} kept",
            signed.head.size
        ))?;
        signed.tell(context);
    }
    Ok(Exit::Done)
}

/// The head in a file; with a key, one that it signed.
fn checkpoint(path: &Path, key: Option<&PublicKey>) -> Result<Checkpoint> {
    let bytes = read(path)?;
    let about = || format!("`{}`", path.display());
    match key {
        Some(key) => Checkpoint::open(&bytes, key).with_context(about),
        None => Checkpoint::of(&Note::parse(&bytes).with_context(about)?).with_context(about),
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let about = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(about)?;
    file.take(MAX_PROOF_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(about)?;
    Ok(bytes)
}

fn give(context: &Context, output: Option<PathBuf>, bytes: Vec<u8>) -> Result<()> {
    match output {
        None => context.line(String::from_utf8_lossy(&bytes).trim_end_matches('\n')),
        Some(path) => write_atomic(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display())),
    }
}
