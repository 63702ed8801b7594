//! The part of the page on what was measured.

use std::fmt::Write;

use super::{Safe, table};
use crate::audit::{Group, Measured};

/// Pictures shown: those with the greatest gain.
const SHOWN: usize = 40;

pub(super) fn write(out: &mut String, found: &Measured) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>What the weights say</h2><div class=\"card\"><p>Each picture was asked about {} times, with the base and with the \
         adapter; its gain is ln(loss of the base ÷ loss with the adapter).</p>",
        found.questions
    )?;
    if let Ok(svg) = found.chart().svg() {
        writeln!(out, "{svg}")?;
    }
    writeln!(out, "<ul class=\"list\">")?;
    for limit in &found.limits {
        writeln!(out, "<li class=\"soft\">{}</li>", Safe(limit))?;
    }
    writeln!(out, "</ul></div>")?;
    let rows = found.separations.iter().map(|s| {
        [
            Safe(s.against.as_str()).to_string(),
            s.trained.to_string(),
            s.others.to_string(),
            format!("{:.3}", s.auc),
            format!("{:.0} %", s.true_positives * 100.0),
            s.p_value.map_or_else(|| "–".to_owned(), |p| format!("{p:.1e}")),
        ]
    });
    table(
        out,
        "Pictures that it was trained on, told from others",
        ["Against", "Trained on", "Others", "Area", "Found at 1 % false", "p"],
        rows,
    )?;
    let rows = found.likenesses.iter().map(|l| {
        [
            format!("<code>{}</code>", l.sha256.short()),
            Safe(l.group.as_str()).to_string(),
            format!("{:.2}", l.nearest),
            format!("{:.2}", l.base),
            if l.copied() { "drawn again" } else { "" }.to_owned(),
        ]
    });
    table(
        out,
        "Drawings of captions, and the picture each is nearest to",
        ["Picture", "It was", "Distance", "Of the base's", ""],
        rows,
    )?;
    let rows = found.artists.iter().map(|a| {
        let p = |p: Option<f64>| p.map_or_else(|| "–".to_owned(), |p| format!("{p:.1e}"));
        [
            Safe(&a.artist).to_string(),
            a.images.to_string(),
            format!("{:+.3}", a.gain),
            p(a.p_value),
            p(a.p_corrected),
        ]
    });
    table(
        out,
        "Artists whose pictures were kept out",
        ["Artist", "Images", "Mean gain", "p, against held out", "Corrected"],
        rows,
    )?;
    let rows = found.images.iter().take(SHOWN).map(|g| {
        let tag = match g.group {
            Group::Trained => "ok",
            Group::HeldOut => "warning",
            Group::Refused => "error",
        };
        [
            format!("<code>{}</code>", g.sha256.short()),
            Safe(g.artist.as_deref().unwrap_or("unknown")).to_string(),
            format!("<span class=\"tag {tag}\">{}</span>", g.group.as_str()),
            format!("{:+.3}", g.gain),
        ]
    });
    let heading = format!("Gains, the greatest of {}", found.images.len());
    table(out, &heading, ["Picture", "Artist", "It was", "Gain"], rows)
}
