//! `assent audit --measure`: what the adapter's weights say of the pictures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::audit::{Group, Measured, Report};
use crate::cli::device::DeviceArgs;
use crate::cli::error::HintExt;
use crate::cli::{Context, Style, Table};
use crate::digest::{Sha256Digest, write_atomic};
use crate::measure::{Options, Subject, measure};
use crate::model::base::Base;
use crate::model::pipeline::Pipeline;
use crate::pixels::Fit;
use crate::snapshot::Role;
use crate::train::facts::base_facts;
use crate::train::sets::held_out;
use crate::{adapter, lora};

/// What to measure with.
#[derive(Debug, clap::Args)]
pub struct MeasureArgs {
    /// Measure too: does the adapter tell the pictures that trained it from others, and does it draw them again?
    #[arg(long, requires = "base")]
    pub measure: bool,
    /// The base that it was trained on: a diffusers folder, or a checkpoint in one .safetensors file
    #[arg(long, value_name = "DIR|FILE", requires = "measure")]
    pub base: Option<PathBuf>,
    /// Pictures of each kind that are measured: trained on, held out, kept out
    #[arg(long, value_name = "N", default_value_t = 100, requires = "measure", value_parser = clap::value_parser!(u64).range(1..))]
    pub measure_images: u64,
    /// Noises at each of 8 timesteps
    #[arg(long, value_name = "N", default_value_t = 4, requires = "measure", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub measure_noises: u64,
    /// Captions that are drawn, four times each with the adapter and with the base, to see whether pictures come back; 0 for
    /// none
    #[arg(long, value_name = "N", default_value_t = 8, requires = "measure")]
    pub measure_captions: usize,
    /// The curves of true over false positives, as PNG
    #[arg(long, value_name = "FILE", requires = "measure")]
    pub roc: Option<PathBuf>,
    /// Where to compute
    #[command(flatten)]
    pub device: DeviceArgs,
}

/// The report with what was measured.
pub fn measured(context: &Context, args: &MeasureArgs, path: &Path, report: Report) -> Result<Report> {
    let place = args.base.clone().unwrap_or_default();
    let device = args.device.get()?;
    let facts = base_facts(&place)?;
    if report.base.as_ref().is_some_and(|base| base.sha256 != facts.digest) {
        return Err(anyhow!(
            "`{}` is not the base that the adapter was trained on",
            place.display()
        ))
        .hint("give that one: its digest stands in the audit");
    }
    let settings = report
        .run
        .as_ref()
        .map(|run| run.settings.clone())
        .ok_or_else(|| anyhow!("it is not known how the adapter was trained"))
        .hint("only an adapter with a receipt can be measured")?;
    let subjects = subjects(context, &report, &settings, args.measure_images as usize)?;
    let base = Pipeline::load(&Base::open(&place, None)?, &device)?;
    if let Some((name, _)) = settings.iter().find(|(name, value)| {
        ["v_parameterization", "prediction_type", "zero_terminal_snr"].contains(&name.as_str()) && *value != "false"
    }) {
        return Err(anyhow!(
            "the adapter was trained with `{name}`, so that it answers another question than its base"
        ))
        .hint("only adapters with their base's own prediction type can be compared with it");
    }
    let (_, listing) = adapter::open(path)?;
    let file = listing.known(&path.display().to_string())?.adapter;
    let mut adapted = base.clone();
    lora::attach_pipeline(&mut adapted, &file, [1.0; 2])?;
    let size = settings.get("resolution").and_then(|text| text.parse().ok());
    let options = Options {
        size: size.unwrap_or(base.unet.config().sample_size * base.vae.factor()),
        fit: match settings.get("fit").map(String::as_str) {
            Some("crop_centre") => Fit::CropCentre,
            _ => Fit::PadWhite,
        },
        noises: args.measure_noises as usize,
        captions: args.measure_captions,
        drawings: 4,
        steps: 20,
    };
    let bar = bar(context);
    let found = measure(&base, &adapted, &subjects, &options, &device, &mut |what, done, of| {
        bar.set_prefix(what.to_owned());
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    base.check_files()?;
    if let Some(path) = &args.roc {
        write_atomic(path, &found.chart().png()?).with_context(|| format!("cannot write `{}`", path.display()))?;
        context.message(format_args!("wrote {}", path.display()));
    }
    Ok(report.with_measured(found))
}

/// The pictures of the report whose files are there: up to `most` of each group, chosen by their digests.
fn subjects(
    context: &Context,
    report: &Report,
    settings: &BTreeMap<String, String>,
    most: usize,
) -> Result<Vec<Subject>> {
    let registry = context.open_registry()?;
    let number = |key: &str| {
        settings
            .get(key)
            .and_then(|text| text.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    let mut all: BTreeMap<Sha256Digest, Subject> = BTreeMap::new();
    let there = |paths: &[String]| paths.iter().map(PathBuf::from).find(|path| path.is_file());
    for image in &report.excluded {
        let Some(path) = there(&image.paths) else { continue };
        let record = registry.image(&image.sha256)?;
        all.insert(
            image.sha256,
            Subject {
                sha256: image.sha256,
                path,
                caption: record.caption.unwrap_or_default(),
                artist: image.artist.clone(),
                group: Group::Refused,
            },
        );
    }
    // The training divided its sets by the same rule.
    let mut learned = Vec::new();
    for set in report.sets().filter(|set| set.role == Role::Training) {
        let Some(snapshot) = registry.snapshot_of_root(&set.root)? else {
            bail!("the registry does not know the training set {}", set.root.short());
        };
        let members = registry.snapshot_members(&snapshot.name)?;
        learned.extend(members.into_iter().map(|member| member.sha256));
    }
    let seed = report.run.as_ref().map_or(0, |run| run.seed);
    let held = held_out(learned.into_iter(), number("validation_split"), seed);
    let members: BTreeMap<Sha256Digest, _> = report.images.iter().map(|image| (image.sha256, image)).collect();
    for (sha256, image) in members {
        let Some(path) = there(&image.paths) else { continue };
        let subject = Subject {
            sha256,
            path,
            caption: image.caption.clone().unwrap_or_default(),
            artist: image.artist.clone(),
            group: if held.contains(&sha256) {
                Group::HeldOut
            } else {
                Group::Trained
            },
        };
        all.insert(sha256, subject);
    }
    if held.len() as f64 != number("images_held_out") {
        bail!(
            "the run held {} pictures out, and by its settings it would be {}: other pictures were in its sets then",
            number("images_held_out"),
            held.len()
        );
    }
    let mut counts: BTreeMap<Group, usize> = BTreeMap::new();
    Ok(all
        .into_values()
        .filter(|subject| {
            let count = counts.entry(subject.group).or_default();
            *count += 1;
            *count <= most
        })
        .collect())
}

fn bar(context: &Context) -> ProgressBar {
    let bar = match context.progress() {
        true => ProgressBar::new(1),
        false => ProgressBar::hidden(),
    };
    if let Ok(style) = ProgressStyle::with_template("{prefix:>9} {wide_bar} {pos}/{len} {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Writes what was measured as people read it.
pub fn show(context: &Context, found: &Measured) -> Result<()> {
    context.line(format_args!(
        "\n{}",
        context.paint(Style::Strong, "What the weights say")
    ))?;
    let mut table = Table::new(
        context,
        ["trained on, against", "pictures", "area", "found at 1 % false", "p"],
    );
    for s in &found.separations {
        table.styled_row([
            (None, s.against.as_str().to_owned()),
            (None, format!("{} and {}", s.trained, s.others)),
            (None, format!("{:.2}", s.auc)),
            (None, format!("{:.0} %", s.true_positives * 100.0)),
            (None, probability(s.p_value)),
        ]);
    }
    context.line(table)?;
    if !found.likenesses.is_empty() {
        let mut table = Table::new(context, ["nearest picture", "it was", "distance", "base's", ""]);
        for l in &found.likenesses {
            let (style, says) = match l.copied() {
                true => (Some(Style::Bad), "drawn again"),
                false => (None, ""),
            };
            table.styled_row([
                (None, l.sha256.short()),
                (None, l.group.as_str().to_owned()),
                (None, format!("{:.2}", l.nearest)),
                (None, format!("{:.2}", l.base)),
                (style, says.to_owned()),
            ]);
        }
        context.line(table)?;
    }
    if !found.artists.is_empty() {
        let mut table = Table::new(context, ["kept out", "pictures", "mean gain", "p", "corrected"]);
        for a in &found.artists {
            table.styled_row([
                (None, a.artist.clone()),
                (None, a.images.to_string()),
                (None, format!("{:+.3}", a.gain)),
                (None, probability(a.p_value)),
                (None, probability(a.p_corrected)),
            ]);
        }
        context.line(table)?;
    }
    for limit in &found.limits {
        context.line(context.paint(Style::Faint, limit))?;
    }
    Ok(())
}

fn probability(p: Option<f64>) -> String {
    match p {
        None => "–".to_owned(),
        Some(p) if p >= 0.001 => format!("{p:.3}"),
        Some(p) => format!("{p:.0e}"),
    }
}
