//! `assent adapter bake`: adapters into the weights of a base.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde_json::json;

use super::made;
use crate::adapter::{DERIVED_KEY, Derived, Source};
use crate::cli::export::DtypeArg;
use crate::cli::generate::path_and_strengths;
use crate::cli::{Context, Exit, HintExt};
use crate::digest::Sha256Digest;
use crate::lora::Baking;
use crate::model::base::Base;
use crate::model::copy::{self, Copy};
use crate::model::weights::Stored;
use crate::train::facts::base_facts;

/// Most adapters at once.
const SOURCES_LIMIT: usize = 64;

/// Options of `assent adapter bake`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Adapters, each with its strength on the U-Net and on the text encoders [default: 1]
    #[arg(value_name = "FILE[:WEIGHT[:CLIP]]", required = true)]
    pub sources: Vec<OsString>,
    /// The base: a diffusers folder, or a checkpoint in one safetensors file
    #[arg(long, value_name = "DIR|FILE")]
    pub base: PathBuf,
    /// A diffusers folder whose configurations describe a single file
    #[arg(long, value_name = "DIR")]
    pub base_config: Option<PathBuf>,
    /// The type of all weights [default: each as in the base]
    #[arg(long, value_enum)]
    pub dtype: Option<DtypeArg>,
    /// What to write: a folder for a folder, a file for a file
    #[arg(short, long, value_name = "DIR|FILE")]
    pub output: PathBuf,
}

/// Writes the base again, tensor by tensor, with the adapters added to its weights.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    if args.sources.len() > SOURCES_LIMIT {
        return Err(anyhow!(
            "expected at most {SOURCES_LIMIT} adapters, found {}",
            args.sources.len()
        ))
        .hint("merge some of them first with `assent adapter merge`");
    }
    let base = Base::open(&args.base, args.base_config.as_deref())?;
    let folder = args.base.is_dir();
    let full = || std::fs::read_dir(&args.output).is_ok_and(|mut entries| entries.next().is_some());
    if folder && (args.output.is_file() || full()) {
        return Err(anyhow!("`{}` is there already", args.output.display()))
            .hint("name a folder that is not there yet: the base is one");
    }
    let same = std::fs::canonicalize(&args.base)? == std::fs::canonicalize(&args.output).unwrap_or_default();
    if same || (!folder && args.output.is_dir()) {
        return Err(anyhow!("`{}` cannot be written there", args.output.display()))
            .hint("name a file other than the base: the base is one");
    }
    let mut sources = Vec::new();
    for argument in &args.sources {
        let (path, [weight, clip]) = path_and_strengths(argument)?;
        let mut read = made::open(&path, weight)?;
        read.from.clip_weight = (clip != weight).then_some(clip);
        sources.push((read, [weight, clip]));
    }
    let adapters: Vec<_> = sources
        .iter()
        .map(|(read, strengths)| (&read.listing.adapter, *strengths))
        .collect();
    let mut baking = Baking::new(base.family(), &adapters)?;
    let derived = Derived {
        by: "bake".into(),
        program: made::program(),
        base: Some(base_facts(&args.base)?.digest),
        tuned: None,
        from: sources.iter().map(|(read, _)| read.from.clone()).collect(),
    };
    let bar = made::bar(context, "tensors", copy::tensors(&base)?);
    let how = Copy {
        dtype: args.dtype.map(|dtype| match dtype {
            DtypeArg::F32 => Stored::F32,
            DtypeArg::F16 => Stored::F16,
            DtypeArg::Bf16 => Stored::Bf16,
        }),
        record: (DERIVED_KEY, derived.text()),
        done: &|| bar.inc(1),
    };
    copy::write(&base, &args.output, &mut baking, &how).hint(made::HINT)?;
    let modules = baking.modules();
    bar.finish_and_clear();
    let facts = base_facts(&args.output)?;
    // A single file is known by its own digest, as adapters are; a folder by that of its list of files.
    let sha256 = match folder {
        true => facts.digest,
        false => Sha256Digest::of_file(&args.output)?,
    };
    let named: Vec<&Source> = derived.from.iter().collect();
    made::record(context, [sha256, facts.digest], &args.output, &named)?;
    if context.json {
        context.json_line(&json!({
            "written": {
                "path": args.output.display().to_string(),
                "sha256": sha256,
                "base": facts.digest,
                "files": facts.files,
            },
            "modules": modules,
            "derived": derived,
        }))?;
        return Ok(Exit::Done);
    }
    context.line(format_args!(
        "{}: {}, {modules} modules of {} adapter{} added",
        args.output.display(),
        base.family(),
        sources.len(),
        if sources.len() == 1 { "" } else { "s" },
    ))?;
    context.line(format_args!("base     {}", facts.digest))?;
    Ok(Exit::Done)
}
