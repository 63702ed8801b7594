//! What every command is given: the global options, the clock, and where to write.

use std::env;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::error::HintExt;
use super::{Cli, Color};
use crate::registry::Registry;

/// A meaning that a colour carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Allowed, whole, done.
    Good,
    /// Refused, broken.
    Bad,
    /// To be looked at.
    Warn,
    /// The words that matter.
    Strong,
    /// Detail.
    Faint,
}

/// The global options, the time at which the program started, and the two output streams.
#[derive(Debug, Clone)]
pub struct Context {
    /// The registry's file; it need not exist.
    pub registry: PathBuf,
    /// Results as JSON.
    pub json: bool,
    /// No progress, no messages.
    pub quiet: bool,
    /// Causes and evidence in full.
    pub verbose: bool,
    /// The time of this command; nothing else reads the clock. `ASSENT_NOW` (RFC 3339) sets it.
    pub now: Timestamp,
    /// Whether `ASSENT_NOW` set the time, which then stands still.
    still: bool,
    color_out: bool,
    color_err: bool,
}

impl Context {
    /// The context of these arguments.
    pub fn new(cli: &Cli) -> Self {
        let colored = |terminal: bool| match cli.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        let set = env::var("ASSENT_NOW").ok().and_then(|text| text.parse().ok());
        let now = set.unwrap_or_else(seconds);
        Context {
            registry: cli.registry.clone(),
            json: cli.json,
            quiet: cli.quiet,
            verbose: cli.verbose,
            now,
            still: set.is_some(),
            color_out: !cli.json && colored(io::stdout().is_terminal()),
            color_err: colored(io::stderr().is_terminal()),
        }
    }

    /// The time of this moment, for what begins and ends within a command; [`Context::now`] where `ASSENT_NOW` is set.
    pub fn clock(&self) -> Timestamp {
        if self.still { self.now } else { seconds() }
    }

    /// Opens the registry, which must exist.
    pub fn open_registry(&self) -> Result<Registry> {
        if !self.registry.exists() {
            return Err(anyhow::anyhow!("there is no registry at `{}`", self.registry.display()))
                .hint("run `assent ingest PATH` to make one, or name another with `--registry FILE`");
        }
        Ok(Registry::open(&self.registry)?)
    }

    /// Opens the registry, or makes an empty one.
    pub fn open_or_create_registry(&self) -> Result<Registry> {
        Ok(Registry::open(&self.registry)?)
    }

    /// Writes one line of the result to stdout.
    pub fn line(&self, line: impl Display) -> Result<()> {
        writeln!(io::stdout().lock(), "{line}")?;
        Ok(())
    }

    /// Writes one JSON object on a line of its own to stdout.
    pub fn json_line<T: Serialize + ?Sized>(&self, value: &T) -> Result<()> {
        let mut value = serde_json::to_value(value)?;
        // Sorted keys, whatever order the map of this build of serde_json keeps.
        value.sort_all_objects();
        let mut text = serde_json::to_vec(&value)?;
        text.push(b'\n');
        io::stdout().lock().write_all(&text)?;
        Ok(())
    }

    /// Tells the user something that is not the result, on stderr, unless quiet.
    pub fn message(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Warns the user on stderr, even when quiet.
    pub fn warn(&self, text: impl Display) {
        let _ = writeln!(
            io::stderr().lock(),
            "{} {text}",
            self.paint_err(Style::Warn, "warning:")
        );
    }

    /// Whether a progress bar may be drawn: on a terminal, not quiet, not JSON.
    pub fn progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Whether stdout is coloured.
    pub fn colored(&self) -> bool {
        self.color_out
    }

    /// The text in the colour of its meaning, for stdout.
    pub fn paint(&self, style: Style, text: impl Display) -> String {
        paint(self.color_out, style, text)
    }

    /// The text in the colour of its meaning, for stderr.
    pub fn paint_err(&self, style: Style, text: impl Display) -> String {
        paint(self.color_err, style, text)
    }

    /// The absolute form of a path, without following links: how the registry knows a file from any folder.
    pub fn absolute(&self, path: &Path) -> Result<PathBuf> {
        Ok(std::path::absolute(path)?)
    }
}

/// The time in whole seconds: it is read by people, and nothing here happens twice in one.
fn seconds() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn paint(colored: bool, style: Style, text: impl Display) -> String {
    if !colored {
        return text.to_string();
    }
    let code = match style {
        Style::Good => "32",
        Style::Bad => "31",
        Style::Warn => "33",
        Style::Strong => "1",
        Style::Faint => "2",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}
