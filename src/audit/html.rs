//! A report as one self-contained HTML page: no script, no font, no picture from anywhere else.

mod measured;

use std::fmt::{Display, Write};

use super::finding::Finding;
use super::report::{ExcludedLine, ImageLine, Place, Report, Verdict};
use crate::receipt::counted;
use crate::sheet::Escaped as Safe;

const STYLE: &str = "
:root{--ink:#1d2430;--soft:#5d6878;--line:#dde2ea;--paper:#fff;--wash:#f5f7fa;--good:#1a7f4b;--warn:#a86400;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa6b6;--line:#333c48;--paper:#161b22;--wash:#1e252e;
--good:#4cc38a;--warn:#e0a84a;--bad:#ff7b72}}
*{box-sizing:border-box}body{margin:0;background:var(--wash);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:2rem 1.25rem 4rem}h1{font-size:1.6rem;margin:0 0 .25rem}
h2{font-size:1.1rem;margin:2.25rem 0 .75rem}p{margin:.25rem 0}.soft{color:var(--soft)}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:1rem 1.25rem}
.verdict{border-left:6px solid var(--c);margin-top:1rem}.verdict b{color:var(--c);font-size:1.25rem}
.clean{--c:var(--good)}.findings{--c:var(--warn)}.invalid{--c:var(--bad)}
ul.list{list-style:none;margin:0;padding:0}ul.list li{padding:.6rem 0;border-top:1px solid var(--line)}
ul.list li:first-child{border-top:0}.tag{display:inline-block;border:1px solid currentColor;border-radius:99px;
padding:0 .55rem;font-size:.8rem;margin-right:.5rem}.tag.invalid,.tag.error{color:var(--bad)}.tag.warning{color:var(--warn)}
.tag.ok{color:var(--good)}code{font:.82rem ui-monospace,monospace;overflow-wrap:anywhere}
ol.chain{list-style:none;margin:0;padding:0}ol.chain li{position:relative;padding:0 0 1.1rem 1.5rem}
ol.chain li::before{content:'';position:absolute;left:.2rem;top:.45rem;width:.65rem;height:.65rem;border-radius:50%;
background:var(--good)}ol.chain li.broken::before{background:var(--bad)}
ol.chain li::after{content:'';position:absolute;left:.48rem;top:1.2rem;bottom:-.3rem;border-left:2px solid var(--line)}
ol.chain li:last-child::after{display:none}.scroll{overflow-x:auto;padding:0}
table{border-collapse:collapse;width:100%;font-size:.92rem}th,td{text-align:left;padding:.45rem .75rem;
border-top:1px solid var(--line);vertical-align:top}th{color:var(--soft);font-weight:600;border-top:0}
";

/// The whole page. `subject` is what was audited, as the user named it; `version` the program's.
pub fn page(report: &Report, subject: &str, version: &str) -> String {
    let mut out = String::new();
    // Writing to a string never fails.
    let _ = write(&mut out, report, subject, version);
    out
}

fn write(out: &mut String, report: &Report, subject: &str, version: &str) -> std::fmt::Result {
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
    chain(out, report)?;
    if !report.images.is_empty() {
        images(out, &report.images_heading(), &report.images)?;
    }
    if !report.excluded.is_empty() {
        excluded(out, &report.excluded_heading(), &report.excluded)?;
    }
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

fn findings(out: &mut String, findings: &[Finding]) -> std::fmt::Result {
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "<h2>Findings</h2><div class=\"card\"><ul class=\"list\">")?;
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
    writeln!(out, "</ul></div>")
}

/// The digests from the file to the images, each link with what it says.
fn chain(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.picture.is_none() && report.adapter.is_none() {
        return Ok(());
    }
    let broken = |subjects: &[&str]| {
        let hit = report.findings.iter().any(|f| {
            f.severity == super::Severity::Invalid && subjects.iter().any(|subject| f.subject.starts_with(subject))
        });
        if hit { " class=\"broken\"" } else { "" }
    };
    writeln!(out, "<h2>The chain</h2><div class=\"card\"><ol class=\"chain\">")?;
    let mut link = |class: &str, name: &str, digest: &dyn Display, more: String| {
        writeln!(
            out,
            "<li{class}><b>{name}</b> <code>{digest}</code><p class=\"soft\">{}</p></li>",
            Safe(more)
        )
    };
    if let Some(picture) = &report.picture {
        let label = picture.label.as_ref();
        let drawn = label.map(|l| {
            format!(
                "; drawn {} by {}, seed {}: {}",
                l.created_at, l.program, l.seed, l.prompt
            )
        });
        let says = format!("Signed {}{}", picture.signed(), drawn.unwrap_or_default());
        link(broken(&["picture:"]), "Picture", &picture.sha256, says)?;
    }
    let Some(adapter) = &report.adapter else {
        return writeln!(out, "</ol></div>");
    };
    link(broken(&["adapter:"]), "Adapter file", &adapter.sha256, String::new())?;
    if let Some(digest) = &adapter.tensor_sha256 {
        let from = adapter
            .derived_from
            .map(|d| format!("converted from the adapter with the tensors {d}"));
        link(broken(&["adapter:"]), "Its tensors", digest, from.unwrap_or_default())?;
    }
    if let Some(digest) = &adapter.receipt_sha256 {
        link(broken(&["adapter:"]), "Its receipt", digest, String::new())?;
    }
    if let Some(run) = &report.run {
        let end = run.finished_at.map(|at| format!(", finished {at}")).unwrap_or_default();
        let says = format!("{}, {} steps, seed {}{end}", run.program, run.steps, run.seed);
        link(broken(&["run:"]), "Run", &run.id, says)?;
    }
    if let Some(base) = &report.base {
        link(
            "",
            "Base model",
            &base.sha256,
            format!("{} files named in the run record", base.files.len()),
        )?;
    }
    if let Some(measured) = report.run.as_ref().and_then(|run| run.measured.as_ref()) {
        let says = format!("“{}”, {} images that trained nothing", measured.name, measured.members);
        link("", "Only measured", &measured.root, says)?;
    }
    for s in report.sets() {
        let out_count: u64 = s.excluded.values().sum();
        let says = format!(
            "{}{} images for {}{}, {out_count} kept out; policy {}",
            s.name.as_ref().map(|name| format!("“{name}”, ")).unwrap_or_default(),
            s.members,
            s.purpose,
            s.served(),
            s.policy.clone().unwrap_or_else(|| s.policy_sha256.short()),
        );
        let link_class = broken(&["snapshot:", "registry", "ledger"]);
        writeln!(
            out,
            "<li{link_class}><b>Snapshot</b> <code>{}</code><p class=\"soft\">{}</p></li>",
            s.root,
            Safe(says)
        )?;
        for (what, counts) in [("Obliges to", &s.obligations), ("Rests on", &s.bases)] {
            if !counts.is_empty() {
                let says = Safe(counted(counts)).to_string();
                writeln!(out, "<li><b>{what}</b><p class=\"soft\">{says}</p></li>")?;
            }
        }
    }
    writeln!(out, "</ol></div>")
}

fn images(out: &mut String, heading: &str, images: &[ImageLine]) -> std::fmt::Result {
    let rows = images.iter().map(|i| {
        let tag = if i.allowed_now { "ok" } else { "error" };
        [
            Safe(i.artist.as_deref().unwrap_or("unknown")).to_string(),
            Safe(i.license.as_deref().unwrap_or("none")).to_string(),
            format!("{}<br><code>{}</code>", Safe(i.paths.join(", ")), i.sha256.short()),
            Safe(i.place.as_ref().map(Place::to_string).unwrap_or_default()).to_string(),
            Safe(&i.consent_then).to_string(),
            format!("<span class=\"tag {tag}\">{}</span>", Safe(&i.consent_now)),
        ]
    });
    table(out, heading, ["Artist", "Licence", "Image", "Set", "Then", "Now"], rows)
}

fn excluded(out: &mut String, heading: &str, lines: &[ExcludedLine]) -> std::fmt::Result {
    let rows = lines.iter().map(|e| {
        [
            Safe(&e.reason_code).to_string(),
            Safe(&e.place).to_string(),
            Safe(e.artist.as_deref().unwrap_or("unknown")).to_string(),
            Safe(e.license.as_deref().unwrap_or("none")).to_string(),
            format!("{}<br><code>{}</code>", Safe(e.paths.join(", ")), e.sha256.short()),
            Safe(&e.because).to_string(),
        ]
    });
    table(
        out,
        heading,
        ["Why", "Set", "Artist", "Licence", "Image", "What said so"],
        rows,
    )
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
