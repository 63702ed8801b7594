//! What can go wrong in training.

use std::path::{Path, PathBuf};

use crate::adapter::AdapterError;
use crate::generate::GenerateError;
use crate::lora::LoraError;
use crate::model::pipeline::PipelineError;
use crate::model::scheduler::ScheduleError;
use crate::model::weights::LoadError;
use crate::pixels::PixelsError;
use crate::receipt::ReceiptError;
use crate::sheet::SheetError;

/// Why a training did not start or did not finish.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A file could not be read or written.
    #[error("cannot access `{path}`: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A configuration that does not parse.
    #[error("`{path}`: {message}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong and where.
        message: String,
    },
    /// A setting outside its range, or one that does not fit the data.
    #[error("{0}")]
    Setting(String),
    /// A picture of the snapshot that cannot be read.
    #[error("the picture `{path}` cannot be read: {source}")]
    Picture {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: PixelsError,
    },
    /// A picture that is no longer what was verified.
    #[error("the picture `{path}` was changed after its snapshot was verified: expected {expected}, found {found}")]
    Changed {
        /// Its file.
        path: PathBuf,
        /// The digest that was verified.
        expected: String,
        /// The digest of what is there now.
        found: String,
    },
    /// A picture that no bucket takes.
    #[error(
        "no bucket takes the picture `{path}` of {width}×{height} pixels: it is too small, or much longer on one side; \
         hint: leave it out of the snapshot, or lower bucket_reso_steps"
    )]
    NoBucket {
        /// Its file.
        path: PathBuf,
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
    },
    /// A mask that cannot be read.
    #[error(
        "the mask `{path}` of a picture cannot be read: {source}; hint: masks are PNG files named as the pictures, in the \
         folder `conditioning_data_dir`"
    )]
    Mask {
        /// The mask's file.
        path: PathBuf,
        /// Why.
        source: PixelsError,
    },
    /// A picture without a caption.
    #[error(
        "`{path}` has no caption; hint: write one beside it (`NAME.txt`), ingest it again and freeze a new snapshot, or set \
         class_tokens or allow_empty_captions"
    )]
    NoCaption {
        /// Its file.
        path: PathBuf,
    },
    /// The configuration says that the adapter may earn, and pictures of the snapshot may not.
    #[error(
        "`use = \"commercial\"`: expected a snapshot without obligation to non-commercial use, got {count} of {members} \
         pictures with it (the first is {first}); hint: freeze one under a policy with `use = \"commercial\"`"
    )]
    NotForCommercialUse {
        /// How many.
        count: usize,
        /// Of how many.
        members: usize,
        /// The digest of the first.
        first: String,
    },
    /// A checkpoint that is not of this run.
    #[error(
        "the checkpoint in `{path}` is not of this run: {what} is another; hint: train without --resume into a fresh folder"
    )]
    OtherRun {
        /// Where it lies.
        path: PathBuf,
        /// What differs.
        what: String,
    },
    /// Too little memory or disk.
    #[error("expected room for {needed} bytes {what}, found {found}; hint: {hint}")]
    Room {
        /// `of memory` or `in the output folder`.
        what: &'static str,
        /// Bytes that the run takes.
        needed: u64,
        /// Bytes there are.
        found: u64,
        /// What to do.
        hint: String,
    },
    /// A caption with more tokens than a text encoder takes.
    #[error(
        "the caption of {of} has {found} tokens, expected at most {room}: the rest would not be trained on; hint: shorten it, \
         or set `allow_long_captions`"
    )]
    LongCaption {
        /// Whose caption it is.
        of: String,
        /// Tokens.
        found: usize,
        /// Tokens there is room for.
        room: usize,
    },
    /// An output folder with another run in it.
    #[error("`{path}` holds a run already (`{trace}`); hint: --resume continues it, --out DIR names another folder")]
    Occupied {
        /// The folder.
        path: PathBuf,
        /// What shows it.
        trace: String,
    },
    /// A folder that cannot be written to.
    #[error("cannot write to `{path}`: {source}; hint: --out DIR names another folder")]
    Closed {
        /// The folder, or the first one above it that exists.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The loss is no longer a number.
    #[error("the loss at step {step} is {loss}; hint: lower the learning rate")]
    Diverged {
        /// The step.
        step: u64,
        /// The loss.
        loss: f64,
    },
    /// The base model.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The base as a whole.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    /// The base's noise schedule.
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// Drawing samples.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The adapter layers.
    #[error(transparent)]
    Lora(#[from] LoraError),
    /// The adapter file.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The receipt.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// A curve or a sheet.
    #[error(transparent)]
    Sheet(#[from] SheetError),
}

impl TrainError {
    /// An input or output error on a path.
    pub(crate) fn io(path: &Path) -> impl Fn(std::io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}
