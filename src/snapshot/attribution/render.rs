//! Attributions as text, HTML and Markdown. What strangers wrote is escaped, and only web addresses become links.

use std::fmt::{Result, Write};

use super::{Attributions, Work, license_url};
use crate::consent::Obligation;
use crate::digest::Sha256Digest;

/// How attributions are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Plain text.
    Text,
    /// A page that needs nothing else.
    Html,
    /// Markdown, as in CommonMark.
    Markdown,
}

/// What was changed, as licences ask to say.
const CHANGES: &str = "The works were brought to one size and one shape for training, and are not distributed here.";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}h2{margin-top:2rem}.soft{color:#666}li{margin:.25rem 0}code{font-size:.85em}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.soft{color:#999}a{color:#8bf}}";

/// The whole, in a format.
pub(super) fn render(attributions: &Attributions, format: Format) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match format {
        Format::Text => text(&mut out, attributions),
        Format::Html => html(&mut out, attributions),
        Format::Markdown => markdown(&mut out, attributions),
    };
    out
}

/// The works in groups of one ground each.
fn groups(attributions: &Attributions) -> impl Iterator<Item = &[Work]> {
    attributions
        .works
        .chunk_by(|a, b| a.ground() == b.ground() && a.obligations == b.obligations)
}

/// Each licence of a group with its full name and address, where the list of SPDX knows it.
fn licenses(work: &Work) -> Vec<(&str, Option<&'static str>, Option<String>)> {
    let named = |id: &String| spdx::license_id(id.trim_end_matches('+')).map(|known| known.full_name);
    work.licenses
        .iter()
        .map(|id| (id.as_str(), named(id), license_url(id)))
        .collect()
}

/// What a group obliges to, beyond naming its authors, which this list does.
fn duties(work: &Work) -> Vec<&'static str> {
    let each = work.obligations.iter().filter_map(|duty| match duty {
        Obligation::Attribution => None,
        Obligation::ShareAlike => Some("What is made from them may be shared under the same terms only."),
        Obligation::NonCommercial => Some("No commercial use of what is made from them."),
        Obligation::NoDerivatives => Some("No changed version of them may be shared."),
        Obligation::Notice => Some("The notice of the licence stays with what is made from them."),
    });
    each.collect()
}

fn title(work: &Work) -> String {
    match &work.credit.title {
        Some(title) if !title.trim().is_empty() => plain(title),
        _ => format!("untitled ({})", work.sha256.short()),
    }
}

fn authors(work: &Work) -> String {
    match work.credit.authors.as_slice() {
        [] => "an unknown author".to_string(),
        several => several.iter().map(|name| plain(name)).collect::<Vec<_>>().join(", "),
    }
}

/// The authors, with the copyright notices that must stay with the work.
fn authors_and_notices(work: &Work) -> String {
    let notices: Vec<_> = work.credit.notices.iter().map(|notice| plain(notice)).collect();
    match notices.as_slice() {
        [] => authors(work),
        several => format!("{} (copyright: {})", authors(work), several.join("; ")),
    }
}

/// Text on one line: without control characters and without those that turn the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let turning = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let spaced: String = text
        .chars()
        .filter(|c| !turning(*c))
        .map(|c| if c.is_control() || c.is_whitespace() { ' ' } else { c })
        .collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The source, when it is a web address: with what could end a link written as bytes.
fn address(work: &Work) -> Option<String> {
    let source = work.credit.source.as_deref()?.trim();
    let lower = source.to_ascii_lowercase();
    if !lower.starts_with("https://") && !lower.starts_with("http://") {
        return None;
    }
    let mut safe = String::new();
    for c in source.chars() {
        match c {
            c if c.is_control() || c.is_whitespace() || "<>\"'`()[]\\{}|^".contains(c) => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    safe.push_str(&format!("%{byte:02X}"));
                }
            }
            c => safe.push(c),
        }
    }
    Some(safe)
}

fn heading(attributions: &Attributions) -> String {
    let works = match attributions.works.len() {
        1 => "1 work".to_string(),
        many => format!("{many} works"),
    };
    let sets: Vec<_> = names(attributions).map(|name| format!("`{name}`")).collect();
    let several = if sets.len() > 1 { "s" } else { "" };
    format!("{works} in the training set{several} {}", sets.join(", "))
}

fn names(attributions: &Attributions) -> impl Iterator<Item = &str> {
    attributions.snapshots.iter().map(|(name, _)| name.as_str())
}

/// The roots, each in its own marks.
fn roots(attributions: &Attributions, [before, after]: [&str; 2]) -> String {
    let mark = |(_, root): &(String, Sha256Digest)| format!("{before}{root}{after}");
    let each: Vec<_> = attributions.snapshots.iter().map(mark).collect();
    format!(
        "Merkle root{} {}",
        if each.len() > 1 { "s" } else { "" },
        each.join(", ")
    )
}

/// What a reader must know of the list itself.
fn notes(attributions: &Attributions) -> Vec<String> {
    let mut notes = vec![CHANGES.to_string()];
    let (not_frozen, unnamed) = (attributions.not_frozen(), attributions.unnamed());
    if not_frozen > 0 {
        notes.push(format!(
            "Names of {not_frozen} of {} works are those known now: none were frozen with the set.",
            attributions.works.len()
        ));
    }
    if unnamed > 0 {
        notes.push(format!(
            "{unnamed} works should name an author and none is known: look for one."
        ));
    }
    notes
}

fn text(out: &mut String, attributions: &Attributions) -> Result {
    writeln!(out, "Attributions\n\n{}", heading(attributions))?;
    writeln!(out, "{}\n", roots(attributions, ["", ""]))?;
    for note in notes(attributions) {
        writeln!(out, "{note}")?;
    }
    for group in groups(attributions) {
        let [first, ..] = group else { continue };
        writeln!(out, "\n{} ({})", plain(&first.ground()), group.len())?;
        for (id, name, url) in licenses(first) {
            let url = url.map(|url| format!("  {url}")).unwrap_or_default();
            writeln!(out, "  {}{url}", name.unwrap_or(id))?;
        }
        for duty in duties(first) {
            writeln!(out, "  {duty}")?;
        }
        for work in group {
            let source = address(work).map(|url| format!("  {url}")).unwrap_or_default();
            writeln!(out, "  - \"{}\" by {}{source}", title(work), authors_and_notices(work))?;
        }
    }
    Ok(())
}

fn escape_html(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

fn html(out: &mut String, attributions: &Attributions) -> Result {
    writeln!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Attributions: {}</title><style>{STYLE}</style></head><body>",
        escape_html(&names(attributions).collect::<Vec<_>>().join(", "))
    )?;
    writeln!(out, "<h1>Attributions</h1>")?;
    let heading = heading(attributions).replace('`', "");
    writeln!(out, "<p>{}</p>", escape_html(&heading))?;
    writeln!(
        out,
        "<p class=\"soft\">{}</p>",
        roots(attributions, ["<code>", "</code>"])
    )?;
    for note in notes(attributions) {
        writeln!(out, "<p>{}</p>", escape_html(&note))?;
    }
    for group in groups(attributions) {
        let [first, ..] = group else { continue };
        writeln!(
            out,
            "<h2>{} ({})</h2>",
            escape_html(&plain(&first.ground())),
            group.len()
        )?;
        for (id, name, url) in licenses(first) {
            let name = escape_html(name.unwrap_or(id));
            match url {
                Some(url) => writeln!(out, "<p><a rel=\"license\" href=\"{url}\">{name}</a></p>")?,
                None => writeln!(out, "<p>{name}</p>")?,
            }
        }
        for duty in duties(first) {
            writeln!(out, "<p><strong>{duty}</strong></p>")?;
        }
        writeln!(out, "<ul>")?;
        for work in group {
            let title = escape_html(&title(work));
            let title = match address(work) {
                Some(url) => format!("<a href=\"{}\">{title}</a>", escape_html(&url)),
                None => title,
            };
            writeln!(
                out,
                "<li><cite>{title}</cite> by {}</li>",
                escape_html(&authors_and_notices(work))
            )?;
        }
        writeln!(out, "</ul>")?;
    }
    writeln!(out, "</body></html>")
}

/// Text that Markdown shows as it is: every ASCII punctuation mark may be escaped.
pub(crate) fn escape_markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_{}[]<>()#+-.!|~&:@\"'=$^".contains(c) && !matches!(c, '.' | '-' | ':' | '\'' | '(' | ')') {
            safe.push('\\');
        }
        safe.push(c);
    }
    safe
}

fn markdown(out: &mut String, attributions: &Attributions) -> Result {
    writeln!(out, "# Attributions\n\n{}.\n", heading(attributions))?;
    writeln!(out, "{}\n", roots(attributions, ["`", "`"]))?;
    for note in notes(attributions) {
        writeln!(out, "{}\n", escape_markdown(&note))?;
    }
    for group in groups(attributions) {
        let [first, ..] = group else { continue };
        writeln!(
            out,
            "## {} ({})\n",
            escape_markdown(&plain(&first.ground())),
            group.len()
        )?;
        for (id, name, url) in licenses(first) {
            let name = escape_markdown(name.unwrap_or(id));
            match url {
                Some(url) => writeln!(out, "[{name}](<{url}>)\n")?,
                None => writeln!(out, "{name}\n")?,
            }
        }
        for duty in duties(first) {
            writeln!(out, "**{duty}**\n")?;
        }
        for work in group {
            // In emphasis, so that no title begins a block.
            let title = format!("*{}*", escape_markdown(&title(work)));
            let title = match address(work) {
                Some(url) => format!("[{title}](<{url}>)"),
                None => title,
            };
            writeln!(out, "- {title} by {}", escape_markdown(&authors_and_notices(work)))?;
        }
        writeln!(out)?;
    }
    Ok(())
}
