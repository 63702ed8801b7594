//! What a run writes for those who watch it, besides its metrics: the page and TensorBoard's events.

use std::path::Path;

use crate::train::error::TrainError;
use crate::train::page::{Page, State};
use crate::train::tensorboard::EventFile;
use crate::train::watch::{Event, Watch};

/// Passes events on, and writes them down. What cannot be written is told once and does not end the run.
pub(super) struct Logs<'a> {
    pub next: &'a mut dyn Watch,
    pub out: &'a Path,
    pub page: Option<&'a Page>,
    pub events: Option<EventFile<'a>>,
}

impl Logs<'_> {
    fn warn(&mut self, what: &str, error: &TrainError) {
        self.next.event(&Event::Warning {
            text: format!("{what} is not written any more: {error}"),
        });
    }
}

impl Watch for Logs<'_> {
    fn event(&mut self, event: &Event) {
        self.next.event(event);
        if let Some(file) = &mut self.events
            && let Err(error) = file.event(event, self.out)
        {
            self.events = None;
            self.warn("the event file", &error);
        }
        let is_sample = matches!(event, Event::Wrote { file } if file.starts_with("samples/"));
        if (is_sample || matches!(event, Event::Validation { .. }))
            && let Some(page) = self.page
            && let Err(error) = page.write(self.out, State::Running)
        {
            self.page = None;
            self.warn("the page", &error);
        }
    }
}
