//! The part of the page on what happened and when.

use std::fmt::Write;

use super::{Safe, table};
use crate::audit::{Moment, MomentKind, Report};
use crate::sheet::{Lane, Lanes};

/// Lanes, top to bottom: name, class, and the kinds of moments in it.
const LANES: [(&str, &str, &[MomentKind]); 4] = [
    ("Sets frozen", "fixed", &[MomentKind::Frozen]),
    ("Training", "warn", &[MomentKind::TrainingBegan, MomentKind::Trained]),
    ("Permitted", "good", &[MomentKind::Grant, MomentKind::Accept]),
    (
        "Refused, ended",
        "bad",
        &[MomentKind::OptOut, MomentKind::Reject, MomentKind::Revoke],
    ),
];
/// Rows of the list: the latest of them.
const SHOWN: usize = 200;

pub(super) fn write(out: &mut String, report: &Report) -> std::fmt::Result {
    let (Some(first), Some(last)) = (report.timeline.first(), report.timeline.last()) else {
        return Ok(());
    };
    let seconds = |moment: &Moment| moment.at.as_second() as f64;
    let (begin, whole) = (seconds(first), seconds(last) - seconds(first));
    let place = |moment: &Moment| match whole > 0.0 {
        true => (seconds(moment) - begin) / whole,
        false => 0.5,
    };
    let lanes = LANES.iter().map(|(name, class, kinds)| {
        let of_lane = report.timeline.iter().filter(|moment| kinds.contains(&moment.kind));
        let marks = of_lane.map(|moment| (place(moment), format!("{}: {}", moment.at, moment.says)));
        Lane {
            name: (*name).to_owned(),
            class: (*class).to_owned(),
            marks: marks.collect(),
        }
    });
    let svg = Lanes {
        title: "What happened, in time".to_owned(),
        lanes: lanes.collect(),
        ends: [first.at.to_string(), last.at.to_string()],
    }
    .svg();
    writeln!(
        out,
        "<h2>Timeline of consent</h2><div class=\"card\"><figure>{svg}</figure>"
    )?;
    if let Some(log) = &report.log {
        let heads = match log.signed_heads {
            0 => "none of its heads was signed".to_owned(),
            1 => "one of its heads was signed".to_owned(),
            n => format!("{n} of its heads were signed"),
        };
        writeln!(
            out,
            "<p class=\"soft\">The transparency log has {} entries now under the root <code>{}</code>; {heads} here.</p>",
            log.size, log.root
        )?;
    }
    let (skipped, shown) = report.timeline.split_at(report.timeline.len().saturating_sub(SHOWN));
    if !skipped.is_empty() {
        writeln!(
            out,
            "<p class=\"soft\">The list leaves out the first {}.</p>",
            skipped.len()
        )?;
    }
    writeln!(out, "</div>")?;
    let rows = shown.iter().map(|moment| {
        let tag = match moment.kind {
            MomentKind::OptOut | MomentKind::Reject | MomentKind::Revoke => "error",
            MomentKind::Grant | MomentKind::Accept => "ok",
            MomentKind::Frozen | MomentKind::TrainingBegan | MomentKind::Trained => "",
        };
        [
            format!("<span class=\"when\">{}</span>", moment.at),
            format!("<span class=\"tag {tag}\">{}</span>", moment.kind.as_str()),
            Safe(&moment.says).to_string(),
            format!("<code>{}</code>", Safe(&moment.subject)),
        ]
    });
    table(
        out,
        "What happened",
        ["When", "What", "It says", "Where it stands"],
        rows,
    )
}
