//! `assent snapshot prove` and `assent snapshot check`: was my picture in it, or one like it?

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::key::{KeyArgs, public_key};
use super::{Context, Exit, HintExt, Style, pledge, subject};
use crate::digest::{Sha256Digest, write_atomic};
use crate::fingerprint::{DOUBTFUL, SAME};
use crate::ingest;
use crate::keys::{Envelope, MAX_ENVELOPE_BYTES, PublicKey};
use crate::pixels::{Limits, probe, read_file};
use crate::snapshot::{self, ANSWER_PREDICATE, Alike, Answer, Document, Pledge, Proof};

/// Options of `assent snapshot check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// The proof's or the pledge's file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The picture that a proof must be about: a file, or a SHA-256
    #[arg(value_name = "PATH|SHA")]
    image: Option<OsString>,
    /// The root it must lead to, as the receipt names it
    #[arg(long, value_name = "SHA")]
    root: Option<Sha256Digest>,
    /// The public key of whoever is said to have signed it
    #[arg(long, value_name = "PUBLIC")]
    key: Option<PathBuf>,
}

/// Writes a proof: bare, or within a statement when there is more to say or a key to say it with.
pub(super) fn prove(
    context: &Context,
    document: &Document,
    (image, alike): (&OsString, bool),
    output: Option<PathBuf>,
    key: &KeyArgs,
) -> Result<Exit> {
    let key = key.read(context)?;
    // Absence is proven of pictures that nobody registered, too.
    let digest = match digest(image)? {
        Some(digest) => digest,
        None => subject::registered(context, &context.open_registry()?, image)?,
    };
    let alike = alike
        .then(|| nearest(context, document, Path::new(image), &digest))
        .transpose()?;
    let name = &document.name;
    let proof = if key.is_some() || alike.is_some() {
        let answer = Answer::of(document, &digest, alike, context.now)?;
        pledge::write(context, &answer, key.as_ref(), output)?;
        answer.predicate.proof
    } else {
        let proof = snapshot::prove(document, &digest)?;
        let mut bytes = proof.bytes()?;
        match output {
            None => context.line(String::from_utf8_lossy(&bytes))?,
            Some(path) => {
                bytes.push(b'\n');
                write_atomic(&path, &bytes).with_context(|| format!("cannot write `{}`", path.display()))?;
            }
        }
        proof
    };
    let what = if proof.included() { "is in" } else { "is not in" };
    context.message(format_args!("proven: {} {what} `{name}`", digest.short()));
    pledge::signed(context, key.as_ref());
    Ok(Exit::Done)
}

/// The digest that is meant, or that of the file that is.
fn digest(image: &OsString) -> Result<Option<Sha256Digest>> {
    let path = Path::new(image);
    match image.to_string_lossy().parse() {
        Ok(digest) => Ok(Some(digest)),
        Err(_) if path.is_file() => {
            let digest = Sha256Digest::of_file(path).with_context(|| format!("cannot read `{}`", path.display()))?;
            Ok(Some(digest))
        }
        Err(_) => Ok(None),
    }
}

/// How near the members come to the picture in a file.
fn nearest(context: &Context, document: &Document, path: &Path, digest: &Sha256Digest) -> Result<Alike> {
    if !path.is_file() {
        return Err(anyhow!(
            "expected a picture's file to compare with, got `{}`",
            path.display()
        ))
        .hint("name the file instead of its digest, or leave `--alike` out");
    }
    let limits = Limits::default();
    let decoded = probe(&read_file(path, &limits)?, &limits)?.decode()?;
    let (pixels, look) = ingest::look(&decoded);
    let registry = context.open_registry()?;
    let nearest = registry.nearest_member(&document.name, digest, (&pixels, &look.print))?;
    Ok(Alike {
        distance: nearest.distance,
        same: SAME,
        limit: DOUBTFUL,
        compared: nearest.compared,
        not_compared: nearest.not_compared,
    })
}

/// What a file holds.
enum Held {
    Proof(Proof),
    /// With its file, when somebody signed it.
    Answer(Box<Answer>, Option<Vec<u8>>),
    Pledge(Pledge, Option<Envelope>),
}

/// Reads a proof, an answer or a pledge.
fn held(path: &Path) -> Result<Held> {
    let about = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(about)?;
    file.take(MAX_ENVELOPE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(about)?;
    let fields = match serde_json::from_slice(&bytes) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let statement = |json: &[u8]| -> Result<Option<Answer>> {
        let kind = serde_json::from_slice::<Value>(json).ok();
        let kind = kind.and_then(|value| Some(value.get("predicateType")?.as_str()? == ANSWER_PREDICATE));
        match kind {
            Some(true) => Ok(Some(Answer::parse(json).map_err(|problem| anyhow!(problem))?)),
            _ => Ok(None),
        }
    };
    let pledge = |json: &[u8]| Pledge::parse(json).map_err(|problem| anyhow!(problem));
    if fields.contains_key("payload") {
        let envelope = Envelope::parse(&bytes).with_context(about)?;
        return Ok(match statement(&envelope.payload).with_context(about)? {
            Some(answer) => Held::Answer(Box::new(answer), Some(bytes)),
            None => Held::Pledge(pledge(&envelope.payload).with_context(about)?, Some(envelope)),
        });
    }
    if fields.contains_key("_type") {
        return Ok(match statement(&bytes).with_context(about)? {
            Some(answer) => Held::Answer(Box::new(answer), None),
            None => Held::Pledge(pledge(&bytes).with_context(about)?, None),
        });
    }
    Ok(Held::Proof(Proof::parse(&bytes).with_context(about)?))
}

/// Checks a file with what is given: picture, root, public key.
pub(super) fn check(context: &Context, args: &CheckArgs) -> Result<Exit> {
    let key = args.key.as_deref().map(public_key).transpose()?;
    let (proof, answer, problem) = match held(&args.file)? {
        Held::Pledge(pledge, envelope) => {
            return pledge::check(context, (&pledge, envelope.as_ref()), args.root, args.key.as_deref());
        }
        Held::Proof(proof) => {
            let unsigned = key
                .as_ref()
                .map(|_| "nobody signed it, so the key shows nothing".to_string());
            (proof, None, unsigned)
        }
        Held::Answer(answer, signed) => {
            let problem = match (&signed, &key) {
                (Some(bytes), Some(key)) => Answer::verify(bytes, key).err(),
                (Some(_), None) => return Err(anyhow!(pledge::NO_KEY)).hint(pledge::GIVE_KEY),
                (None, _) => Some(pledge::NOBODY.to_string()),
            };
            (answer.predicate.proof.clone(), Some(answer), problem)
        }
    };
    let asked = match &args.image {
        None => None,
        Some(image) => Some(digest(image)?.with_context(|| {
            format!(
                "expected a picture's file or SHA-256, got `{}`",
                image.to_string_lossy()
            )
        })?),
    };
    let problem = problem.or_else(|| proof.check().err().map(|error| error.to_string()));
    let problem = problem.or_else(|| match args.root {
        Some(root) if root != proof.root() => Some(format!("expected the root {root}, got {}", proof.root())),
        _ => None,
    });
    let problem = problem.or_else(|| match asked {
        Some(asked) if asked != proof.image() => Some(format!(
            "it is about another picture: expected {asked}, got {}",
            proof.image()
        )),
        _ => None,
    });
    report(
        context,
        args,
        (&proof, answer.as_deref(), key.as_ref()),
        problem.as_deref(),
    )?;
    Ok(if problem.is_none() { Exit::Done } else { Exit::Findings })
}

fn report(
    context: &Context,
    args: &CheckArgs,
    (proof, answer, key): (&Proof, Option<&Answer>, Option<&PublicKey>),
    problem: Option<&str>,
) -> Result<()> {
    let alike = answer.and_then(|answer| answer.predicate.alike.as_ref());
    if context.json {
        return context.json_line(&json!({
            "ok": problem.is_none(), "included": proof.included(), "sha256": proof.image(), "root": proof.root(),
            "snapshot": name(proof, answer), "problem": problem, "alike": alike,
            "stated_at": answer.map(|answer| answer.predicate.stated_at), "keyid": key.map(PublicKey::id),
            "shown_bits": proof.shown_bits(), "named": proof.named(),
        }));
    }
    if let Some(problem) = problem {
        let bad = context.paint(Style::Bad, "the proof shows nothing");
        return context.line(format_args!("{bad}: {problem}"));
    }
    let what = if proof.included() { "is in" } else { "is not in" };
    let signed = answer.map_or("", |_| ", and its signature verifies");
    let good = context.paint(Style::Good, format!("the proof holds{signed}"));
    context.line(format_args!(
        "{good}: {} {what} the snapshot with the root\n{}",
        proof.image(),
        proof.root()
    ))?;
    if let Some(answer) = answer {
        context.line(format_args!("stated {}", answer.predicate.stated_at))?;
    }
    if let Some(alike) = alike {
        context.line(alike.sentence())?;
    }
    match (proof.named(), proof.shown_bits()) {
        (0, None) => {}
        (0, Some(bits)) => context.message(format_args!(
            "it names no other picture: of some member it shows the first {bits} of 256 bits of its digest"
        )),
        (named, _) => context.message(format_args!("it names {named} other pictures, by their digests")),
    }
    if args.image.is_none() {
        context.message("give the picture's file behind it to see that it is the one");
    }
    if args.root.is_none() && answer.is_none() {
        context.message("compare the root with the one in the receipt, or give it with `--root`");
    }
    Ok(())
}

/// Name of the snapshot, where it is said.
fn name<'a>(proof: &'a Proof, answer: Option<&'a Answer>) -> Option<&'a str> {
    match (answer, proof) {
        (Some(answer), _) => answer.first().map(|(name, _)| name),
        (None, Proof::Neighbours(proof)) => Some(&proof.snapshot),
        (None, Proof::Places(_)) => None,
    }
}
