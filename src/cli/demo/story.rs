//! How the demo tells what it does: numbered chapters on stdout, progress bars on stderr.

use std::cell::Cell;
use std::fmt::Display;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::curate::CHOSEN;
use crate::cli::{Context, Style};

/// What the demo leaves behind.
const FILES: [(&str, &str); 7] = [
    (
        "before-after.png",
        "the same prompts, drawn without and with the adapter",
    ),
    ("adapter.safetensors", "the adapter in kohya's format, with its receipt"),
    ("run.json", "what went into it, by digests"),
    ("metrics.jsonl", "the loss at each step"),
    ("loss.png", "the same as a curve"),
    ("audit.html", "the audit as a page"),
    ("assent.db", "the registry: pictures, signals, ledger, snapshots"),
];

/// The demo's voice.
pub(super) struct Story<'a> {
    context: &'a Context,
    chapter: Cell<u32>,
}

impl<'a> Story<'a> {
    /// A story at its beginning.
    pub(super) fn new(context: &'a Context) -> Self {
        Story {
            context,
            chapter: Cell::new(0),
        }
    }

    /// Begins the next chapter.
    pub(super) fn chapter(&self, title: &str) -> Result<()> {
        self.chapter.set(self.chapter.get() + 1);
        self.context.line("")?;
        self.context.line(
            self.context
                .paint(Style::Strong, format!("{}. {title}", self.chapter.get())),
        )
    }

    /// One line of a chapter.
    pub(super) fn line(&self, text: impl Display) -> Result<()> {
        self.context.line(format!("   {text}"))
    }

    /// What lies where, and what to try next.
    pub(super) fn end(&self, out: &Path) -> Result<()> {
        self.context.line("")?;
        self.context
            .line(self.context.paint(Style::Strong, format!("In `{}`", out.display())))?;
        for (file, what) in FILES {
            self.line(format!("{file:<20} {what}"))?;
        }
        self.context.line("")?;
        self.context.line(self.context.paint(Style::Strong, "Try next"))?;
        let program = std::env::current_exe()?;
        let here = std::env::current_dir()?;
        let program = program
            .strip_prefix(&here)
            .map_or_else(|_| "assent".to_string(), |path| format!("./{}", path.display()));
        let registry = out.join("assent.db");
        let adapter = out.join("adapter.safetensors");
        self.line(format!(
            "{program} --registry {} opt-out --artist \"{CHOSEN}\"",
            registry.display()
        ))?;
        self.line(format!(
            "{program} --registry {} audit {}",
            registry.display(),
            adapter.display()
        ))
    }

    /// A progress bar, hidden where nobody would see it.
    pub(super) fn bar(&self, total: u64, unit: &str) -> ProgressBar {
        if !self.context.progress() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(total);
        if let Ok(style) =
            ProgressStyle::with_template(&format!("   {{bar:30}} {{pos}}/{{len}} {unit}  {{msg}}  {{eta}} left"))
        {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        bar
    }
}
