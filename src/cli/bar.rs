//! The progress bar of a training or a drawing: step, loss, steps a second, time left.

use indicatif::{ProgressBar, ProgressStyle};

use super::{Context, Style, plan};
use crate::train::watch::{Event, Watch};

/// Shows a training's events on stderr.
pub struct Bar<'a> {
    context: &'a Context,
    bar: ProgressBar,
}

impl<'a> Bar<'a> {
    /// A bar that shows nothing yet.
    pub fn new(context: &'a Context) -> Self {
        Self {
            context,
            bar: ProgressBar::hidden(),
        }
    }

    fn line(&self, text: &str) {
        if !self.context.quiet {
            self.bar.suspend(|| eprintln!("{text}"));
        }
    }
}

impl Watch for Bar<'_> {
    fn event(&mut self, event: &Event) {
        match event {
            Event::Phase { name, total, done } => {
                self.bar.finish_and_clear();
                if self.context.quiet {
                    return;
                }
                let form = "{prefix:>9} {wide_bar} {pos}/{len} {per_sec} {eta} left {msg}";
                let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
                self.bar = ProgressBar::new(*total)
                    .with_style(style)
                    .with_prefix(name.clone())
                    .with_position(*done);
                // What was done before a resume says nothing about today's speed.
                self.bar.reset_eta();
            }
            Event::Plan(plan) => {
                let lines = plan::lines(self.context, plan, true);
                lines.iter().for_each(|line| self.line(line));
            }
            Event::Step { step, loss, .. } => {
                self.bar.set_position(*step);
                self.bar.set_message(format!("loss {loss:.4}"));
            }
            Event::Validation { step, set, loss } => {
                let what = self.context.paint_err(Style::Faint, format!("step {step:>5}"));
                self.line(&format!("{what}  {set} {loss:.4}"));
            }
            Event::Norms { .. } | Event::MaxNorm { .. } => {}
            Event::Warning { text } => self.bar.suspend(|| self.context.warn(text)),
            Event::Tick => self.bar.inc(1),
            Event::Wrote { file } => {
                let what = self.context.paint_err(Style::Faint, "wrote");
                self.line(&format!("{what}  {file}"));
            }
        }
    }
}

impl Drop for Bar<'_> {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
