//! How a training is shown: its plan alone, or each event as a line of JSON.

use std::time::Instant;

use anyhow::Result;

use super::super::{Context, plan};
use crate::train::watch::{Event, Watch};

/// The plan alone, on stdout.
pub(super) struct Plans<'a>(pub &'a Context);

impl Watch for Plans<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Plan(plan) = event {
            for line in plan::lines(self.0, plan, false) {
                // A reader that went away has seen enough.
                let _ = self.0.line(line);
            }
        }
    }
}

/// Each event as a line of JSON on stdout; those of steps with the seconds that are left at the pace so far.
pub(super) struct Lines<'a> {
    context: &'a Context,
    start: Instant,
    done: u64,
    total: u64,
}

impl<'a> Lines<'a> {
    pub(super) fn new(context: &'a Context) -> Self {
        Self {
            context,
            start: Instant::now(),
            done: 0,
            total: 0,
        }
    }

    fn line(&self, event: &Event) -> Result<()> {
        let mut line = serde_json::to_value(event)?;
        if let (Event::Step { step, .. }, Some(line)) = (event, line.as_object_mut()) {
            let pace = self.start.elapsed().as_secs_f64() / step.saturating_sub(self.done).max(1) as f64;
            let left = pace * self.total.saturating_sub(*step) as f64;
            line.insert("seconds_left".to_owned(), ((left * 10.0).round() / 10.0).into());
        }
        self.context.json_line(&line)
    }
}

impl Watch for Lines<'_> {
    fn event(&mut self, event: &Event) {
        if let Event::Phase { total, done, .. } = event {
            (self.start, self.done, self.total) = (Instant::now(), *done, *total);
        }
        // A reader that went away does not end a training; the files are what counts.
        let _ = self.line(event);
    }
}
