//! `assent adapter extract`: an adapter of what a tuned model changed.

use std::path::PathBuf;

use anyhow::{Result, anyhow};
use rayon::prelude::*;

use super::made::{self, Output};
use super::report;
use crate::adapter::{Cut, Derived, Difference, Format, encode, extract, extracted};
use crate::cli::{Context, Exit, HintExt};
use crate::lora::Targets;
use crate::model::base::{Base, Family, Network};
use crate::model::weights::Named;
use crate::train::facts::base_facts;

/// Options of `assent adapter extract`.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("cut").required(true).args(["rank", "energy"])))]
pub struct Args {
    /// The tuned model: a diffusers folder, or a checkpoint in one safetensors file
    #[arg(value_name = "DIR|FILE")]
    pub tuned: PathBuf,
    /// The base that it was tuned from, in either layout
    #[arg(long, value_name = "DIR|FILE")]
    pub base: PathBuf,
    /// A diffusers folder whose configurations describe single files
    #[arg(long, value_name = "DIR")]
    pub base_config: Option<PathBuf>,
    /// The rank
    #[arg(long, value_name = "N")]
    pub rank: Option<usize>,
    /// The lowest rank of each module that keeps this share of the sum of its squared singular values, 0 to 1
    #[arg(long, value_name = "SHARE")]
    pub energy: Option<f64>,
    /// Convolutions too, in this rank [default: attention and feed-forward only, as kohya's networks.lora]
    #[arg(long, value_name = "N", requires = "rank")]
    pub conv_rank: Option<usize>,
    /// Convolutions too, by the same share
    #[arg(long, requires = "energy")]
    pub conv: bool,
    /// Leave out modules none of whose weights changed by more than this
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub min_diff: f32,
    /// The file to write, and how
    #[command(flatten)]
    pub output: Output,
}

/// Whether a tensor is extracted, and from convolutions of more than one place.
fn wanted(network: Network, path: &str, convolutions: bool) -> bool {
    match network {
        Network::UNet if convolutions => Targets::Convolutions.covers(path),
        Network::UNet => Targets::Attention.covers(path),
        Network::Text | Network::Text2 => Targets::Text.covers(path),
    }
}

/// Extracts, and says by kinds of modules how much of the change is kept.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    if !(args.min_diff >= 0.0 && args.min_diff.is_finite()) {
        return Err(anyhow!("--min-diff: expected 0 or more, found {}", args.min_diff))
            .hint("0 leaves out what did not change at all");
    }
    let open = |path| -> Result<_> {
        let base = Base::open(path, args.base_config.as_deref().filter(|_| path.is_file()))?;
        let tensors = Named::of(&base)?;
        Ok((base, tensors))
    };
    let ((base, before), (tuned, after)) = (open(&args.base)?, open(&args.tuned)?);
    if base.family() != tuned.family() {
        return Err(anyhow!(
            "expected models of one kind, found {} and {}",
            base.family(),
            tuned.family()
        ))
        .hint("name the base that the model was tuned from");
    }
    let dtype = args.output.dtype(&[]);
    let convolutions = args.conv || args.conv_rank.is_some();
    let names: Vec<_> = before.names().collect();
    let bar = made::bar(context, "tensors", names.len());
    let each = |(network, name): &(Network, &str)| -> Result<Outcome> {
        let result = one(&args, (&before, &after), (*network, name), convolutions, dtype);
        bar.inc(1);
        result
    };
    let found = names.par_iter().map(each).collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    let (mut modules, mut changes, mut left) = (Vec::new(), Vec::new(), 0usize);
    for outcome in found {
        match outcome {
            Outcome::Module(made) => {
                modules.push(made.0);
                changes.push(made.1);
            }
            Outcome::Left => left += 1,
            Outcome::Same => {}
        }
    }
    if modules.is_empty() {
        return Err(anyhow!("the two models do not differ in what an adapter could hold"))
            .hint("a lower --min-diff, --conv or --conv-rank takes in more");
    }
    if left > 0 {
        context.warn(format_args!(
            "{left} other tensors differ too, such as norms, biases and embeddings{}: a LoRA does not hold them",
            if convolutions { "" } else { " and convolutions" }
        ));
    }
    let derived = Derived {
        by: "extract".into(),
        program: made::program(),
        base: Some(base_facts(&args.base)?.digest),
        tuned: Some(base_facts(&args.tuned)?.digest),
        from: Vec::new(),
    };
    let (version, architecture) = match base.family() {
        Family::Sd1 => ("sd_v1", "stable-diffusion-v1"),
        Family::Sd2 => ("sd_v2", "stable-diffusion-v2-512"),
        Family::Xl => ("sdxl_base_v1-0", "stable-diffusion-xl-v1-base"),
    };
    let header = [
        ("ss_base_model_version", version.to_owned()),
        ("modelspec.sai_model_spec", "1.0.0".to_owned()),
        ("modelspec.architecture", format!("{architecture}/lora")),
    ];
    let header = header.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let file = extracted(modules, header, &derived);
    let written = encode(&file, Format::Kohya, dtype)?.write(&args.output.output)?;
    context.message(format_args!(
        "{}: {}, {dtype}, {} modules, {} bytes",
        args.output.output.display(),
        Format::Kohya,
        file.modules.len(),
        written.bytes
    ));
    let says = serde_json::json!({
        "path": args.output.output.display().to_string(),
        "format": Format::Kohya,
        "dtype": dtype,
        "sha256": written.file,
        "tensor_sha256": written.tensors,
        "bytes": written.bytes,
        "left": left,
    });
    report::show(context, &says, &changes)?;
    Ok(Exit::Done)
}

/// What became of a tensor.
enum Outcome {
    /// An update.
    Module(Box<(crate::adapter::Module, crate::adapter::Resized)>),
    /// It differs, and is nothing that is extracted.
    Left,
    Same,
}

fn one(
    args: &Args,
    (before, after): (&Named, &Named),
    (network, name): (Network, &str),
    convolutions: bool,
    dtype: crate::adapter::Dtype,
) -> Result<Outcome> {
    let (Some(was), Some(is)) = (before.read(network, name)?, after.read(network, name)?) else {
        return Err(anyhow!("the tuned model has no `{name}`")).hint("name the base that the model was tuned from");
    };
    let (shape, other) = (was.shape, is.shape);
    let (was, mut is) = (was.values, is.values);
    if was.len() != is.len() || shape.first() != other.first() {
        return Err(anyhow!(
            "`{name}`: expected the shape {shape:?} of the base, found {other:?}"
        ))
        .hint("name the base that the model was tuned from");
    }
    is.iter_mut().zip(&was).for_each(|(is, was)| *is -= was);
    let most = is.iter().fold(0.0f32, |most, v| most.max(v.abs()));
    if most <= args.min_diff {
        return Ok(Outcome::Same);
    }
    let path = match name.strip_suffix(".weight") {
        Some(path) if shape.len() > 1 && wanted(network, path, convolutions) => path,
        _ => return Ok(Outcome::Left),
    };
    let large = shape.get(2).is_some_and(|k| *k > 1);
    let cut = match (args.rank, args.conv_rank) {
        (Some(_), Some(rank)) if large => Cut::Rank(rank),
        (Some(rank), _) => Cut::Rank(rank),
        (None, _) => Cut::Energy(args.energy.unwrap_or(1.0)),
    };
    let part = match network {
        Network::UNet => "",
        Network::Text => "text_encoder.",
        Network::Text2 => "text_encoder_2.",
    };
    let change = Difference {
        path: format!("{part}{path}"),
        shape,
        values: is,
    };
    Ok(Outcome::Module(Box::new(
        extract(&change, cut, dtype).hint(made::HINT)?,
    )))
}
