//! What the tools that make an adapter of others share: reading the sources, writing the file, recording it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use indicatif::{ProgressBar, ProgressStyle};

use crate::adapter::{self, AdapterFile, Dtype, Format, Listing, Source, encode};
use crate::cli::export::DtypeArg;
use crate::cli::{Context, HintExt, audit};
use crate::digest::Sha256Digest;
use crate::receipt;
use crate::registry::{AdapterRow, NewAdapter, TrainedOn};

/// What to do about an adapter that a tool refuses.
pub const HINT: &str = "`assent -v adapter inspect FILE` lists the modules with their forms and ranks";

/// The file to write.
#[derive(Debug, clap::Args)]
pub struct Output {
    /// The type of the weights [default: the source's]
    #[arg(long, value_enum)]
    pub dtype: Option<DtypeArg>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
}

/// A file that an adapter is made from.
pub struct Read {
    /// Its content.
    pub listing: Listing,
    /// How the result names it.
    pub from: Source,
}

/// Opens a source; entries that no layout explains are refused.
pub fn open(path: &Path, weight: f64) -> Result<Read> {
    let path = audit::adapter_at(path)
        .ok_or_else(|| anyhow!("`{}` is no adapter and no folder of a run", path.display()))
        .hint("name a `.safetensors` file, or a folder that holds an `adapter.safetensors`")?;
    let unusable = || format!("cannot use `{}`", path.display());
    let (container, listing) = adapter::open(&path).with_context(unusable)?;
    let listing = listing.known(&path.display().to_string()).with_context(unusable)?;
    let file = Sha256Digest::of_file(&path).with_context(unusable)?;
    // A receipt that does not parse is none that could be named.
    let receipt = receipt::open(&container).ok().flatten().map(|sealed| sealed.digest);
    Ok(Read {
        listing,
        from: Source {
            receipt,
            ..Source::of(file, &container, weight)
        },
    })
}

/// This program and its version, for the header.
pub fn program() -> String {
    format!("assent {}", env!("CARGO_PKG_VERSION"))
}

/// A bar over modules or tensors, where one may be drawn.
pub fn bar(context: &Context, what: &'static str, count: usize) -> ProgressBar {
    if !context.progress() {
        return ProgressBar::hidden();
    }
    let form = "{prefix:>9} {wide_bar} {pos}/{len} {eta} left";
    let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(count as u64).with_style(style).with_prefix(what)
}

/// A share of a length, for people.
pub fn figure(share: f64) -> String {
    match share {
        0.0 => "0".into(),
        _ if share.abs() < 0.01 => format!("{share:.1e}"),
        _ => format!("{share:.4}"),
    }
}

/// What a module is to the U-Net or the text encoder, by its path.
pub fn kind(path: &str) -> &'static str {
    const KINDS: &[(&str, &str)] = &[
        (".attn1.", "attn1"),
        (".attn2.", "attn2"),
        (".ff.", "ff"),
        (".proj_in", "proj"),
        (".proj_out", "proj"),
        (".time_emb_proj", "time"),
        ("time_embedding.", "time"),
        ("conv", "conv"),
    ];
    match path.split('.').next() {
        Some("text_encoder") => "text encoder",
        Some("text_encoder_2") => "text encoder 2",
        _ => KINDS
            .iter()
            .find(|(part, _)| path.contains(part))
            .map_or("other", |(_, kind)| kind),
    }
}

impl Output {
    /// The type that was asked for, or that of all sources, or f32 where they differ.
    pub fn dtype(&self, sources: &[&Read]) -> Dtype {
        let mut types = sources.iter().map(|s| s.listing.dtype);
        let first = types.next().flatten();
        match self.dtype {
            Some(DtypeArg::F16) => Dtype::F16,
            Some(DtypeArg::Bf16) => Dtype::Bf16,
            Some(DtypeArg::F32) => Dtype::F32,
            None => first.filter(|_| types.all(|t| t == first)).unwrap_or(Dtype::F32),
        }
    }

    /// Writes the adapter in the layout of its first source, and records it with what trained those of its sources that
    /// are on record. Returns what `--json` says of the file.
    pub fn write(
        &self,
        context: &Context,
        adapter: &AdapterFile,
        dtype: Dtype,
        sources: &[Read],
    ) -> Result<serde_json::Value> {
        let format = sources.first().map_or(Format::Kohya, |s| s.listing.format);
        let written = encode(adapter, format, dtype)?.write(&self.output)?;
        for source in sources {
            if source.from.receipt.is_some() {
                context.message(format_args!(
                    "the receipt of {} stays with it: the new header names that file, not what trained it",
                    source.from.sha256.short()
                ));
            }
        }
        let sources: Vec<&Source> = sources.iter().map(|source| &source.from).collect();
        record(context, [written.file, written.tensors], &self.output, &sources)?;
        context.message(format_args!(
            "{}: {format}, {dtype}, {} modules, {} bytes",
            self.output.display(),
            adapter.modules.len(),
            written.bytes
        ));
        Ok(serde_json::json!({
            "path": self.output.display().to_string(),
            "format": format,
            "dtype": dtype,
            "sha256": written.file,
            "tensor_sha256": written.tensors,
            "bytes": written.bytes,
        }))
    }
}

/// Records what was made, by the digests of the file and of its tensors, with every snapshot that trained one of its sources, so that an opt-out reaches it too. It has
/// a run where that is the same for all.
pub fn record(context: &Context, [sha256, tensors]: [Sha256Digest; 2], path: &Path, sources: &[&Source]) -> Result<()> {
    if !context.registry.exists() {
        return Ok(());
    }
    let mut registry = context.open_registry()?;
    let mut rows: Vec<AdapterRow> = Vec::new();
    for source in sources {
        match registry.adapter(&source.sha256)? {
            Some(row) => rows.push(row),
            None => context.warn(format_args!(
                "{} is not on record: what trained it is not recorded for the new file",
                source.sha256.short()
            )),
        }
    }
    let Some(first) = rows.first() else { return Ok(()) };
    let one = rows.len() == sources.len() && rows.iter().all(|row| row.run == first.run);
    let mut trained_on: Vec<TrainedOn> = Vec::new();
    for set in rows.iter().flat_map(|row| &row.trained_on) {
        if !trained_on.contains(set) {
            trained_on.push(*set);
        }
    }
    let new = NewAdapter {
        sha256,
        tensors,
        run: first.run.filter(|_| one),
        trained_on,
        path: context.absolute(path)?,
    };
    registry.add_adapter(&new, context.now)?;
    Ok(())
}
