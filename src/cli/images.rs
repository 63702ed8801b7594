//! `assent images`: what is registered, and what signals and ledger say about it before any policy.

use anyhow::Result;
use serde::Serialize;

use super::{Context, Exit, Style, Table};
use crate::consent::{self, Evidence, Purpose, State};
use crate::digest::Sha256Digest;
use crate::registry::{ImageFilter, ImageRecord, Known, RegistryError};

/// Options of `assent images`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only the pictures of this artist, under any of their names
    #[arg(long, value_name = "NAME")]
    pub artist: Option<String>,
    /// Only those under this licence (SPDX)
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,
}

/// The states of the four purposes, as `images` and `explain` print them.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct States {
    ai_training: State,
    ai_generative_training: State,
    data_mining: State,
    ai_inference: State,
}

impl States {
    /// What signals and ledger say at a time.
    pub(super) fn of(evidence: &Evidence, context: &Context) -> Self {
        let state = |purpose| consent::state(evidence, purpose, context.now);
        States {
            ai_training: state(Purpose::AiTraining),
            ai_generative_training: state(Purpose::AiGenerativeTraining),
            data_mining: state(Purpose::DataMining),
            ai_inference: state(Purpose::AiInference),
        }
    }

    /// The state of one purpose.
    pub(super) fn get(&self, purpose: Purpose) -> State {
        match purpose {
            Purpose::AiTraining => self.ai_training,
            Purpose::AiGenerativeTraining => self.ai_generative_training,
            Purpose::DataMining => self.data_mining,
            Purpose::AiInference => self.ai_inference,
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    sha256: Sha256Digest,
    paths: Vec<String>,
    width: u32,
    height: u32,
    format: &'a str,
    artist: Option<&'a str>,
    license: Option<String>,
    ai_generated: bool,
    needs_review: bool,
    consent: States,
    review: &'a [String],
    artists: &'a [String],
    sources: &'a [String],
    collections: &'a [String],
    notices: &'a [String],
    title: Option<&'a str>,
    caption: Option<&'a str>,
    pixels: String,
    bytes: u64,
}

/// Lists the images.
pub fn run(context: &Context, args: Args) -> Result<Exit> {
    let registry = context.open_registry()?;
    let filter = ImageFilter {
        sha256: None,
        artist: args.artist,
        license: args.license,
    };
    let mut table = Table::new(
        context,
        ["image", "size", "artist", "licence", "training", "generative", "notes"],
    );
    let mut shown = 0;
    let reader = registry.reader()?;
    for known in reader.pages(filter).flat_map(each) {
        let Known { image, evidence } = known?;
        shown += 1;
        let states = States::of(&evidence, context);
        if context.json {
            context.json_line(&listed(&image, states))?;
            continue;
        }
        let state = |purpose| (Some(style(states.get(purpose))), states.get(purpose).to_string());
        table.styled_row([
            (None, format!("{}  {}", image.sha256.short(), name(&image))),
            (None, format!("{}x{} {}", image.width, image.height, image.format)),
            (None, image.artists.first().cloned().unwrap_or_else(|| "-".into())),
            (None, image.license().unwrap_or_else(|| "-".into())),
            state(Purpose::AiTraining),
            state(Purpose::AiGenerativeTraining),
            (Some(Style::Warn), notes(&image)),
        ]);
    }
    if !context.json && shown > 0 {
        context.line(table)?;
    }
    context.message(format_args!("{shown} of {} images", registry.image_count()?));
    Ok(Exit::Done)
}

/// The images of a page one by one, or its error.
fn each(page: Result<Vec<Known>, RegistryError>) -> Vec<Result<Known, RegistryError>> {
    match page {
        Ok(known) => known.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }
}

/// The colour of a state.
pub(super) fn style(state: State) -> Style {
    match state {
        State::Granted => Style::Good,
        State::Denied => Style::Bad,
        State::Constrained => Style::Warn,
        State::Unspecified => Style::Faint,
    }
}

/// The name of the first file that holds an image.
pub(super) fn name(image: &ImageRecord) -> String {
    let file = image.paths.first().and_then(|path| path.file_name());
    file.map_or_else(|| "-".to_string(), |name| name.to_string_lossy().into_owned())
}

fn notes(image: &ImageRecord) -> String {
    let mut notes = Vec::new();
    if image.ai_generated {
        notes.push("made by a machine".to_string());
    }
    if !image.needs_review.is_empty() {
        notes.push("needs review".to_string());
    }
    if image.paths.len() > 1 {
        notes.push(format!("{} files", image.paths.len()));
    }
    notes.join(", ")
}

fn listed(image: &ImageRecord, consent: States) -> Listed<'_> {
    Listed {
        sha256: image.sha256,
        paths: image
            .paths
            .iter()
            .map(|path| path.to_string_lossy().into_owned())
            .collect(),
        width: image.width,
        height: image.height,
        format: &image.format,
        artist: image.artists.first().map(String::as_str),
        license: image.license(),
        ai_generated: image.ai_generated,
        needs_review: !image.needs_review.is_empty(),
        consent,
        review: &image.needs_review,
        artists: &image.artists,
        sources: &image.sources,
        collections: &image.collections,
        notices: &image.notices,
        title: image.title.as_deref(),
        caption: image.caption.as_deref(),
        pixels: image.pixels.to_string(),
        bytes: image.bytes,
    }
}
