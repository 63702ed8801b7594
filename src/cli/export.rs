//! `assent export`: an adapter in another layout or type, with its receipt.

use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow};
use serde_json::json;

use super::key::KeyArgs;
use super::{Context, Exit, HintExt, pledge};
use crate::adapter::{self, Dtype, Format, Listing, encode};
use crate::digest::Sha256Digest;
use crate::receipt;
use crate::registry::NewAdapter;

/// Options of `assent export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// An adapter, or the folder of a run
    #[arg(value_name = "RUN|ADAPTER")]
    pub source: PathBuf,
    /// The layout
    #[arg(long, value_enum)]
    pub format: FormatArg,
    /// The type of the weights [default: the source's]
    #[arg(long, value_enum)]
    pub dtype: Option<DtypeArg>,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    #[command(flatten)]
    pub(super) key: KeyArgs,
}

/// The layouts by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FormatArg {
    /// sd-scripts, ComfyUI, A1111
    Kohya,
    /// diffusers and PEFT
    Peft,
}

/// The types by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DtypeArg {
    /// 16 bits, IEEE
    F16,
    /// 16 bits, bfloat
    Bf16,
    /// 32 bits
    F32,
}

/// Converts, and records the result where the source is on record.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let path = super::audit::adapter_at(&args.source)
        .ok_or_else(|| anyhow!("`{}` is no adapter and no folder of a run", args.source.display()))
        .hint("name a `.safetensors` file, or a folder that holds an `adapter.safetensors`")?;
    let name = path.display().to_string();
    let (source, listing) = adapter::open(&path)?;
    let listing = listing.known(&name)?;
    let format = match args.format {
        FormatArg::Kohya => Format::Kohya,
        FormatArg::Peft => Format::Peft,
    };
    let dtype = match args.dtype {
        Some(DtypeArg::F16) => Dtype::F16,
        Some(DtypeArg::Bf16) => Dtype::Bf16,
        Some(DtypeArg::F32) => Dtype::F32,
        None => listing.dtype.unwrap_or(Dtype::F32),
    };
    let mut converted = encode(&listing.adapter, format, dtype)?;
    let sealed = receipt::reseal(&source, &mut converted)
        .hint("the file was changed after training: run `assent audit` on it")?;
    if sealed.is_none() {
        context.warn("the adapter carries no receipt, so neither does the result");
    }
    if format == Format::Kohya && uneven(&listing) {
        context.warn("the attention modules have several alphas; diffusers will use only the commonest of them");
    }
    let key = args.key.read(context)?.filter(|_| sealed.is_some());
    if let Some((sealed, key)) = sealed.as_ref().zip(key.as_ref()) {
        receipt::sign(&mut converted, sealed, key)?;
    }
    let written = converted.write(&args.output)?;
    let name = args.output.file_name().unwrap_or_default().to_string_lossy();
    let signed = sealed.as_ref().zip(key.as_ref());
    let bundle = signed.map(|(sealed, key)| receipt::bundle(sealed, &name, written.file, key));
    receipt::lay_beside(&args.output, bundle.transpose()?.as_deref())
        .with_context(|| format!("cannot write beside `{}`", args.output.display()))?;
    if sealed.is_some() {
        pledge::signed(context, key.as_ref());
    }
    record(context, &path, &args.output, &written)?;
    if context.json {
        context.json_line(&json!({
            "path": args.output.display().to_string(),
            "format": format,
            "dtype": dtype,
            "modules": listing.adapter.modules.len(),
            "sha256": written.file,
            "tensor_sha256": written.tensors,
            "receipt_sha256": sealed.map(|s| s.digest),
            "bytes": written.bytes,
        }))?;
    } else {
        let (count, file) = (listing.adapter.modules.len(), args.output.display());
        context.line(format_args!(
            "{file}: {format}, {dtype}, {count} modules, {} bytes",
            written.bytes
        ))?;
    }
    Ok(Exit::Done)
}

/// Whether attention modules differ in alpha.
fn uneven(listing: &Listing) -> bool {
    let mut alphas = listing
        .adapter
        .modules
        .iter()
        .filter(|m| m.path.contains(".attn"))
        .map(|m| m.alpha);
    let first = alphas.next();
    alphas.any(|alpha| Some(alpha) != first)
}

/// A conversion of an adapter on record is recorded as made by the same run.
fn record(
    context: &Context,
    source: &std::path::Path,
    output: &std::path::Path,
    written: &crate::adapter::Written,
) -> Result<()> {
    if !context.registry.exists() {
        return Ok(());
    }
    let mut registry = context.open_registry()?;
    if let Some(row) = registry.adapter(&Sha256Digest::of_file(source)?)? {
        let new = NewAdapter {
            sha256: written.file,
            tensors: written.tensors,
            run: row.run,
            trained_on: row.trained_on,
            path: context.absolute(output)?,
        };
        registry.add_adapter(&new, context.now)?;
    }
    Ok(())
}
