//! The plan of a run, as people read it.

use super::{Context, Style};
use crate::train::forecast::Forecast;

/// The plan's lines. `err` says whether they go to stderr.
pub(super) fn lines(context: &Context, plan: &Forecast, err: bool) -> Vec<String> {
    let faint = |text: &str| match err {
        true => context.paint_err(Style::Faint, format!("{text:<8}")),
        false => context.paint(Style::Faint, format!("{text:<8}")),
    };
    let line = |name: &str, text: String| format!("{}  {text}", faint(name));
    let mut pictures = format!("{} to train on", plan.pictures.trained);
    for (count, what) in [
        (plan.pictures.regularization, "for regularization"),
        (plan.pictures.held_out, "held out to measure"),
        (plan.pictures.others, "of another set to measure"),
    ] {
        if count > 0 {
            pictures += &format!(", {count} {what}");
        }
    }
    let mut all = vec![line("pictures", pictures)];
    let counted = |counts: &mut dyn Iterator<Item = (&String, &u64)>| {
        let each: Vec<String> = counts.map(|(what, count)| format!("{what} {count}")).collect();
        each.join(", ")
    };
    all.push(line("sizes", counted(&mut plan.sizes.iter())));
    if !plan.excluded.is_empty() {
        let sum: u64 = plan.excluded.values().sum();
        let reasons = counted(&mut plan.excluded.iter());
        all.push(line("kept out", format!("{sum}: {reasons}")));
    }
    all.push(line(
        "adapter",
        format!(
            "{} modules of {} expected, {} values",
            plan.modules, plan.modules_expected, plan.parameters
        ),
    ));
    let done = match plan.done {
        0 => String::new(),
        done => format!(", {done} of them done"),
    };
    all.push(line(
        "steps",
        format!(
            "{}{done}, of {} {}: {:.1} epochs",
            plan.steps,
            plan.pictures_per_step,
            if plan.pictures_per_step == 1 {
                "picture"
            } else {
                "pictures"
            },
            plan.epochs
        ),
    ));
    let there = |bytes: Option<u64>| bytes.map_or(String::new(), |bytes| format!(" of {} there are", size(bytes)));
    let memory = &plan.memory;
    all.push(line(
        "memory",
        format!(
            "about {}{} (base {}, adapter and optimizer {}, data {}, work {})",
            size(memory.total),
            there(plan.memory_available),
            size(memory.base),
            size(memory.adapter),
            size(memory.data),
            size(memory.work)
        ),
    ));
    all.push(line(
        "disk",
        format!("at most {}{}", size(plan.disk), there(plan.disk_available)),
    ));
    if let Some(time) = &plan.time {
        all.push(line(
            "time",
            format!(
                "about {}, {} a step as measured on a micro-batch; validation and samples come to it",
                span(time.left),
                span(time.step)
            ),
        ));
    }
    all
}

/// Bytes in the largest unit that is not below one.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)),
    }
}

/// Seconds, minutes or hours.
fn span(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.0} ms", (s * 1000.0).max(1.0)),
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_short() {
        let sizes: Vec<String> = [0, 1, 4096, 5 << 20, 3 << 29].into_iter().map(size).collect();
        assert_eq!(sizes, ["0 KiB", "1 KiB", "4 KiB", "5 MiB", "1.5 GiB"]);
        let spans: Vec<String> = [0.0, 0.25, 3.0, 600.0, 9000.0].into_iter().map(span).collect();
        assert_eq!(spans, ["1 ms", "250 ms", "3.0 s", "10 min", "2.5 h"]);
    }
}
