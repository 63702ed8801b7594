//! The summary as Markdown and as a page.

use std::fmt::Write;

use super::Part;
use crate::sheet::Escaped;
use crate::snapshot::{escape_markdown, plain};

/// What stands where only the provider can answer.
const UNKNOWN: &str = "not known to the registry: to be filled in by the provider";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}h2{margin-top:2.5rem}dt{font-weight:600;margin-top:.8rem}dd{margin:0 0 0 1rem}\
.open{color:#a40}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.open{color:#fa6}}";

const TITLE: &str = "Public Summary of Training Content";
const ABOUT: &str = "Follows the template of the European Commission for Article 53(1)(d) of Regulation (EU) 2024/1689 \
                     (explanatory notice and template of 24 July 2025, C(2025) 8311 of 5 December 2025). It covers \
                     the training of the adapter named below; its base model has a summary of its own.";

/// The heading of a part of the first level, where one begins.
fn chapter(number: &str) -> Option<&'static str> {
    match number {
        "1.1" => Some("1. General information"),
        "2.1" => Some("2. List of data sources"),
        "3.1" => Some("3. Data processing aspects"),
        _ => None,
    }
}

fn heading(part: &Part) -> String {
    format!("{} {}", part.number, part.title).trim().to_string()
}

pub(super) fn markdown(out: &mut String, parts: &[Part]) -> std::fmt::Result {
    writeln!(out, "# {TITLE}\n\n{}\n", escape_markdown(ABOUT))?;
    for part in parts {
        if let Some(chapter) = chapter(part.number) {
            writeln!(out, "## {chapter}\n")?;
        }
        writeln!(out, "### {}\n", heading(part))?;
        for question in &part.questions {
            let answer = question.answer.as_deref().map(|text| escape_markdown(&plain(text)));
            let answer = answer.unwrap_or_else(|| format!("*{UNKNOWN}*"));
            writeln!(out, "- **{}:** {answer}", question.asks)?;
        }
        writeln!(out)?;
    }
    Ok(())
}

pub(super) fn html(out: &mut String, parts: &[Part]) -> std::fmt::Result {
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{TITLE}</title><style>{STYLE}</style></head><body>\n<h1>{TITLE}</h1>\n<p>{}</p>",
        Escaped(ABOUT)
    )?;
    for part in parts {
        if let Some(chapter) = chapter(part.number) {
            writeln!(out, "<h2>{chapter}</h2>")?;
        }
        writeln!(out, "<h3>{}</h3>\n<dl>", heading(part))?;
        for question in &part.questions {
            match &question.answer {
                Some(text) => writeln!(out, "<dt>{}</dt><dd>{}</dd>", question.asks, Escaped(plain(text)))?,
                None => writeln!(out, "<dt>{}</dt><dd class=\"open\">{UNKNOWN}</dd>", question.asks)?,
            }
        }
        writeln!(out, "</dl>")?;
    }
    writeln!(out, "</body></html>")
}
