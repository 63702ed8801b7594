//! The images: how many of which licence and artist, each with its consent, and those that were kept out.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Safe, table};
use crate::audit::{ImageLine, Place, Report, Share, Thumb, Thumbnails};
use crate::sheet::Bars;

pub(super) fn write(out: &mut String, report: &Report, thumbnails: Option<&Thumbnails>) -> std::fmt::Result {
    if !report.artists.is_empty() {
        writeln!(
            out,
            "<h2>Whose they are, and under which licence</h2><div class=\"pair\">"
        )?;
        chart(out, "Images by licence", &report.licenses, "no licence")?;
        chart(out, "Images by artist", &report.artists, "nobody knows who")?;
        writeln!(out, "</div>")?;
    }
    if !report.images.is_empty() {
        if let Some(thumbnails) = thumbnails {
            pictures(out, report, thumbnails)?;
        }
        table(
            out,
            &report.images_heading(),
            ["Artist", "Licence", "Image", "Set", "Then", "Now"],
            report.images.iter().map(row),
        )?;
    }
    if report.excluded.is_empty() {
        return Ok(());
    }
    let rows = report.excluded.iter().map(|e| {
        [
            Safe(&e.reason_code).to_string(),
            Safe(&e.place).to_string(),
            Safe(e.artist.as_deref().unwrap_or("unknown")).to_string(),
            Safe(e.license.as_deref().unwrap_or("none")).to_string(),
            format!("{}<br><code>{}</code>", Safe(e.paths.join(", ")), e.sha256.short()),
            Safe(&e.because).to_string(),
        ]
    });
    let columns = ["Why", "Set", "Artist", "Licence", "Image", "What said so"];
    table(out, &report.excluded_heading(), columns, rows)
}

fn row(image: &ImageLine) -> [String; 6] {
    let tag = if image.allowed_now { "ok" } else { "error" };
    [
        Safe(image.artist.as_deref().unwrap_or("unknown")).to_string(),
        Safe(image.license.as_deref().unwrap_or("none")).to_string(),
        format!(
            "{}<br><code>{}</code>",
            Safe(image.paths.join(", ")),
            image.sha256.short()
        ),
        Safe(image.place.as_ref().map(Place::to_string).unwrap_or_default()).to_string(),
        Safe(&image.consent_then).to_string(),
        format!("<span class=\"tag {tag}\">{}</span>", Safe(&image.consent_now)),
    ]
}

fn chart(out: &mut String, title: &str, shares: &[Share], unknown: &str) -> std::fmt::Result {
    let bar = |share: &Share| (share.name.clone().unwrap_or_else(|| unknown.to_owned()), share.images);
    let svg = Bars {
        title: title.to_owned(),
        bars: shares.iter().map(bar).collect(),
    }
    .svg();
    writeln!(out, "<div class=\"card\"><h3>{title}</h3><figure>{svg}</figure></div>")
}

/// A small copy of each image, those that may not be used any more marked.
fn pictures(out: &mut String, report: &Report, thumbnails: &Thumbnails) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>How they look</h2><div class=\"card\" style=\"padding:0\"><div class=\"thumbs\">"
    )?;
    let mut images: Vec<&ImageLine> = report.images.iter().collect();
    images.sort_by_key(|image| image.allowed_now);
    let mut seen = BTreeSet::new();
    for image in images {
        let Some(thumb) = thumbnails.get(&image.sha256).filter(|_| seen.insert(image.sha256)) else {
            continue;
        };
        let name = image.caption.as_deref().unwrap_or("no caption");
        let frame = match thumb {
            Thumb::LeftOut => continue,
            Thumb::Picture(address) => format!("<img src=\"{address}\" alt=\"{}\" loading=\"lazy\">", Safe(name)),
            Thumb::Missing => "the file is gone".to_owned(),
            Thumb::Changed => "the file holds another picture now".to_owned(),
            Thumb::Refused(reason) => format!("not shown: {}", Safe(reason)),
        };
        let (class, refused) = match image.allowed_now || image.place.is_none() {
            true => ("", String::new()),
            false => (" refused", format!("<b>{}</b><br>", Safe(&image.consent_now))),
        };
        writeln!(
            out,
            "<figure class=\"thumb{class}\"><div class=\"frame\">{frame}</div><figcaption>{refused}{}<br><code>{}</code>\
             </figcaption></figure>",
            Safe(image.artist.as_deref().unwrap_or("unknown")),
            image.sha256.short()
        )?;
    }
    writeln!(out, "</div>")?;
    if thumbnails.left_out() > 0 {
        writeln!(
            out,
            "<p class=\"soft\" style=\"padding:0 1.25rem 1rem\">{} more are not shown here, to keep the page small.</p>",
            thumbnails.left_out()
        )?;
    }
    writeln!(out, "</div>")
}
