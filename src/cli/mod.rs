//! The command line: global options, one file a command, and what every command shares (see [`Context`]).
//!
//! Only this room reads the clock and the environment, prints, and decides exit codes: 0 done, 1 findings or refusals
//! that the command exists to report, 2 could not run. Results go to stdout, everything else to stderr. The library
//! never uses this room.

mod adapter;
mod affected;
mod attributions;
mod audit;
mod bar;
mod computer;
mod context;
mod demo;
mod device;
mod document;
mod duplicates;
mod error;
mod event;
mod exchange;
mod explain;
mod export;
mod generate;
mod images;
mod import_config;
mod ingest;
mod key;
mod ledger;
mod log;
mod names;
mod opt_out_list;
mod plan;
mod pledge;
mod policy;
mod policy_count;
mod proof;
mod recorded;
mod replay;
mod retrain;
mod review;
mod sheet;
mod snapshot;
mod subject;
mod table;
mod train;
mod train_base;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::kernels::memory;

pub use context::{Context, Style};
pub use error::{HintExt, Hinted};
pub use table::Table;

/// How a command that could run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything is done and nothing is wrong: exit code 0.
    Done,
    /// The command found what it exists to report: exit code 1.
    Findings,
}

/// When to colour what people read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Color {
    /// When it goes to a terminal and `NO_COLOR` is not set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Curates the images a model may be trained on, trains LoRA adapters on exactly those, and proves which images
/// trained which adapter.
#[derive(Debug, Parser)]
#[command(
    name = "assent",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_help = "Exit codes: 0 done, 1 findings or refusals to report, 2 could not run."
)]
pub struct Cli {
    /// The registry: one SQLite file
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "ASSENT_REGISTRY",
        default_value = "assent.db"
    )]
    pub registry: PathBuf,
    /// Write JSON to stdout, one object a line for lists
    #[arg(long, global = true)]
    pub json: bool,
    /// Say less: no progress, no messages
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more: causes of errors, evidence in full
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to colour the output
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    pub color: Color,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, one file each.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Tools on adapter files
    Adapter(adapter::Args),
    /// List every snapshot, adapter and picture downstream of an artist, an image or a source
    Affected(affected::Args),
    /// Write whom to name for everything that a training set holds
    Attributions(attributions::Args),
    /// Say which images trained an adapter, under which consent, and what has changed since
    Audit(audit::Args),
    /// Do the whole job on sample art: register, refuse, freeze, train, draw, audit
    Demo(demo::Args),
    /// Write a training set or an adapter as Croissant, CycloneDX, SPDX, model card or the EU's public summary
    Document(document::Args),
    /// List groups of pictures that show the same thing
    Duplicates(duplicates::Args),
    /// Say why a picture may be used, or may not; exit code 1 when it may not
    Explain(explain::Args),
    /// Convert an adapter to another layout or type, with its receipt
    Export(export::Args),
    /// Record a permission in the consent ledger
    Grant(event::Grant),
    /// List the registered images with what is known about consent
    Images(images::Args),
    /// Translate settings of sd-scripts, kohya_ss or OneTrainer into a configuration for `train`
    ImportConfig(import_config::Args),
    /// Register pictures, their signals, licences and fingerprints
    Ingest(ingest::Args),
    /// Make keys that sign events, and say which are trusted
    Key(key::Args),
    /// List, verify, export, import or check the consent ledger
    Ledger(ledger::Args),
    /// Sign, verify, prove and publish the transparency log of snapshots and adapters
    Log(log::Args),
    /// Record an artist's refusal in the consent ledger
    OptOut(event::OptOut),
    /// List, show, check and test policies
    Policy(policy::Args),
    /// Train an adapter again without what is refused today, or without what is named
    Retrain(retrain::Args),
    /// List the pictures that a person should look at, and record what they say
    Review(review::Args),
    /// End an opt-out or a grant
    Revoke(event::Revoke),
    /// Freeze, show, verify, compare and prove training sets
    Snapshot(snapshot::Args),
    /// Draw pictures from prompts, labelled as made by a machine and by what
    Generate(Box<generate::Args>),
    /// Train a LoRA adapter on a verified snapshot
    Train(train::Args),
    /// Train a small base model from nothing on a snapshot
    TrainBase(train_base::Args),
}

/// Reads the process's arguments, runs the command and reports its error, if any.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs the program with these arguments (the first is its own name).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` come this way too, and succeed. A closed pipe is not worth a message.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let context = Context::new(&cli);
    match dispatch(&context, cli.command) {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Findings) => ExitCode::from(1),
        Err(error) => error::report(&context, &error),
    }
}

/// Hands over to the command.
fn dispatch(context: &Context, command: Command) -> anyhow::Result<Exit> {
    // Before there is any other thread.
    if matches!(
        command,
        Command::Demo(_) | Command::Retrain(_) | Command::Train(_) | Command::TrainBase(_)
    ) {
        memory::share();
    }
    match command {
        Command::Adapter(args) => adapter::run(context, args),
        Command::Affected(args) => affected::run(context, args),
        Command::Attributions(args) => attributions::run(context, args),
        Command::Audit(args) => audit::run(context, args),
        Command::Demo(args) => demo::run(context, args),
        Command::Document(args) => document::run(context, args),
        Command::Duplicates(args) => duplicates::run(context, args),
        Command::Explain(args) => explain::run(context, args),
        Command::Export(args) => export::run(context, args),
        Command::Grant(args) => event::grant(context, args),
        Command::Images(args) => images::run(context, args),
        Command::ImportConfig(args) => import_config::run(context, args),
        Command::Ingest(args) => ingest::run(context, args),
        Command::Key(args) => key::run(context, args),
        Command::Ledger(args) => ledger::run(context, args),
        Command::Log(args) => log::run(context, args),
        Command::OptOut(args) => event::opt_out(context, args),
        Command::Policy(args) => policy::run(context, args),
        Command::Retrain(args) => retrain::run(context, args),
        Command::Review(args) => review::run(context, args),
        Command::Revoke(args) => event::revoke(context, args),
        Command::Snapshot(args) => snapshot::run(context, args),
        Command::Generate(args) => generate::run(context, *args),
        Command::Train(args) => train::run(context, args),
        Command::TrainBase(args) => train_base::run(context, args),
    }
}
