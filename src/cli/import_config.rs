//! `assent import-config`: settings of other trainers, translated.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use super::{Context, Exit, HintExt, Style};
use crate::digest::write_atomic;
use crate::imports::{Group, MOST_BYTES, Note, Source, Translation};
use crate::train::config::AdapterConfig;

/// What to translate and where to.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code 1: something that would change the result is not offered here; the file is written all \
                        the same."
)]
pub struct Args {
    /// TOML of sd-scripts (--config_file), JSON of kohya_ss or of OneTrainer
    pub file: PathBuf,
    /// TOML of sd-scripts (--dataset_config) that belongs to it
    #[arg(long, value_name = "FILE")]
    pub dataset_config: Option<PathBuf>,
    /// The snapshot to train on
    #[arg(long, value_name = "NAME")]
    pub snapshot: Option<String>,
    /// Where the configuration goes [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// The groups with their headings.
const GROUPS: [(Group, &str); 3] = [
    (Group::NoEffect, "no effect on the result:"),
    (Group::NotOffered, "not offered here, and the result would be another:"),
    (Group::NeedsAnswer, "needs your answer:"),
];

/// Translates, writes and lists what is left.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let source = Source::read(&bytes(&args.file)?).with_context(|| format!("cannot read `{}`", args.file.display()))?;
    let source = match &args.dataset_config {
        Some(path) => source
            .with_datasets(&bytes(path)?)
            .with_context(|| format!("cannot read `{}`", path.display()))?,
        None => source,
    };
    let mut translation = Translation::of(source, args.snapshot.as_deref());
    let folder = args.output.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    check_base(&mut translation, folder);
    let text = translation.text();
    let refused = AdapterConfig::parse(&text).err();
    if let Some(path) = &args.output {
        write_atomic(path, text.as_bytes()).with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    if context.json {
        let notes = |group| translation.group(group).collect::<Vec<&Note>>();
        let written = translation
            .written
            .iter()
            .map(|line| json!({"key": line.key, "from": line.from}));
        let sets = translation
            .sets
            .iter()
            .map(|set| json!({"dataset": set.dataset, "snapshot": set.snapshot, "from": set.from}));
        context.json_line(&json!({
            "tool": translation.tool,
            "text": text,
            "written": written.collect::<Vec<_>>(),
            "sets": sets.collect::<Vec<_>>(),
            "no_effect": notes(Group::NoEffect),
            "not_offered": notes(Group::NotOffered),
            "needs_answer": notes(Group::NeedsAnswer),
            "refused": refused,
        }))?;
    } else if args.output.is_none() {
        context.line(text.trim_end())?;
    }
    list(context, &translation);
    if let Some(reason) = &refused {
        context.warn(format_args!(
            "`assent train` refuses it as it is: {}",
            reason.trim_end()
        ));
    }
    let whole = refused.is_none() && translation.group(Group::NotOffered).next().is_none();
    Ok(if whole { Exit::Done } else { Exit::Findings })
}

/// A file, but no more of it than settings have.
fn bytes(path: &Path) -> Result<Vec<u8>> {
    let about = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path)
        .with_context(about)
        .hint("give a file that sd-scripts, kohya_ss or OneTrainer saved")?;
    file.take(MOST_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(about)?;
    Ok(bytes)
}

/// Asks for the base where there is none under that name.
fn check_base(translation: &mut Translation, folder: &Path) {
    const KEY: &str = "pretrained_model_name_or_path";
    let Some(name) = translation.get(KEY).and_then(|value| value.as_str()).map(str::to_owned) else {
        return;
    };
    if translation.group(Group::NeedsAnswer).any(|note| note.name == KEY) {
        return;
    }
    let path = folder.join(&name);
    let fits = path.extension().is_some_and(|ending| ending == "safetensors") || path.is_dir();
    let why = match (path.exists(), fits) {
        (true, true) => return,
        (true, false) => "expected a diffusers folder or a safetensors file",
        _ => "there is no such base beside the configuration, and none is downloaded: name a folder or a file",
    };
    translation.note(Group::NeedsAnswer, KEY, &name, why);
}

/// Lists the groups; what has no effect by the reason, the rest one a line.
fn list(context: &Context, translation: &Translation) {
    for (group, heading) in GROUPS {
        let mut notes: Vec<&Note> = translation.group(group).collect();
        if notes.is_empty() {
            continue;
        }
        context.message(context.paint_err(Style::Strong, heading));
        if group != Group::NoEffect {
            for note in notes {
                context.message(format_args!("  {}: {}", named(note), note.why));
            }
            continue;
        }
        notes.sort_by_key(|note| &note.why);
        for alike in notes.chunk_by(|a, b| a.why == b.why) {
            let names: Vec<String> = alike.iter().map(|note| named(note)).collect();
            context.message(format_args!("  {}: {}", alike[0].why, names.join(", ")));
        }
    }
}

fn named(note: &Note) -> String {
    match note.value.is_empty() {
        true => note.name.clone(),
        false => format!("{} = {}", note.name, note.value),
    }
}
