//! A report as one self-contained HTML page: no script, no font, no picture from anywhere else.

mod chain;
mod images;
mod measured;
mod timeline;

use std::fmt::Write;

use super::finding::Finding;
use super::report::{Report, Verdict};
use super::thumbnails::Thumbnails;
use crate::sheet::Escaped as Safe;

const STYLE: &str = include_str!("html/style.css");

/// The whole page, with small copies of the images where there are any. `subject` is what was audited, as the user named
/// it; `version` the program's.
pub fn page(report: &Report, thumbnails: Option<&Thumbnails>, subject: &str, version: &str) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    let _ = write(&mut out, report, thumbnails, subject, version);
    out
}

fn write(
    out: &mut String,
    report: &Report,
    thumbnails: Option<&Thumbnails>,
    subject: &str,
    version: &str,
) -> std::fmt::Result {
    let subject = Safe(subject);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>Audit of {subject}</title>\
         <style>{STYLE}</style></head><body><main>\n<h1>Audit of {subject}</h1>\n"
    )?;
    let verdict = report.verdict.as_str();
    let says = match report.verdict {
        Verdict::Clean => "Everything that was looked at holds.",
        Verdict::Findings if report.is_derived() => {
            "No link of the proof is broken, and the adapter has none of its own."
        }
        Verdict::Findings => "Every link of the proof holds; something must be looked at.",
        Verdict::Invalid => "A link of the proof is broken: it cannot be shown to be what it claims.",
    };
    writeln!(
        out,
        "<div class=\"card verdict {verdict}\"><b>{verdict}</b><p>{says}</p></div>"
    )?;
    findings(out, &report.findings)?;
    chain::write(out, report)?;
    timeline::write(out, report)?;
    images::write(out, report, thumbnails)?;
    if !report.downstream.is_empty() {
        let rows = report.downstream.iter().map(|d| {
            let path = d.path.as_deref().unwrap_or_default();
            [
                Safe(d.kind).to_string(),
                format!("<code>{}</code>", Safe(&d.id)),
                Safe(path).to_string(),
            ]
        });
        table(out, "Made from it", ["Kind", "Name or digest", "Written to"], rows)?;
    }
    if let Some(found) = &report.measured {
        measured::write(out, found)?;
    }
    if !report.unchecked.is_empty() {
        writeln!(out, "<h2>Not checked</h2><div class=\"card\"><ul class=\"list\">")?;
        for what in &report.unchecked {
            writeln!(out, "<li>{}</li>", Safe(what))?;
        }
        writeln!(out, "</ul></div>")?;
    }
    writeln!(
        out,
        "<p class=\"soft\" style=\"margin-top:2rem\">assent {}</p></main></body></html>",
        Safe(version)
    )
}

/// Findings of one code that are shown before the others of it are folded away.
const SHOWN: usize = 4;

fn findings(out: &mut String, findings: &[Finding]) -> std::fmt::Result {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Findings ({})</h2><div class=\"card\">", findings.len())?;
    for alike in findings.chunk_by(|a, b| a.code == b.code) {
        let (shown, folded) = alike.split_at(alike.len().min(SHOWN));
        listed(out, shown)?;
        if let [one, ..] = folded {
            let (n, code) = (folded.len(), one.code.as_str());
            writeln!(out, "<details><summary>{n} more of <b>{code}</b></summary>")?;
            listed(out, folded)?;
            writeln!(out, "</details>")?;
        }
    }
    writeln!(out, "</div>")
}

fn listed(out: &mut String, findings: &[Finding]) -> std::fmt::Result {
    writeln!(out, "<ul class=\"list\">")?;
    for f in findings {
        writeln!(
            out,
            "<li><span class=\"tag {0}\">{0}</span><b>{1}</b> <code>{2}</code><p>{3}</p></li>",
            f.severity.as_str(),
            f.code.as_str(),
            Safe(&f.subject),
            Safe(&f.explanation)
        )?;
    }
    writeln!(out, "</ul>")
}

fn table<const N: usize>(
    out: &mut String,
    heading: &str,
    columns: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> std::fmt::Result {
    write!(
        out,
        "<h2>{}</h2><div class=\"card scroll\"><table><thead><tr>",
        Safe(heading)
    )?;
    for column in columns {
        write!(out, "<th>{column}</th>")?;
    }
    writeln!(out, "</tr></thead><tbody>")?;
    for row in rows {
        write!(out, "<tr>")?;
        for cell in row {
            write!(out, "<td>{cell}</td>")?;
        }
        writeln!(out, "</tr>")?;
    }
    writeln!(out, "</tbody></table></div>")
}
