//! The European Union's public summary of training content: the questions of the AI Office's template of 24 July 2025
//! (Article 53(1)(d) of Regulation (EU) 2024/1689), answered as far as registry and receipt know, as Markdown or HTML.

use std::collections::BTreeMap;
use std::fmt::Write;

use jiff::Timestamp;

use super::model::Model;
use super::set::{Set, counted};
use super::{DocumentError, Subject, Told, text};
use crate::receipt;
use crate::sheet::Escaped;
use crate::snapshot::{escape_markdown, plain};

/// What stands where only the provider can answer.
const UNKNOWN: &str = "not known to the registry: to be filled in by the provider";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}h2{margin-top:2.5rem}dt{font-weight:600;margin-top:.8rem}dd{margin:0 0 0 1rem}\
.open{color:#a40}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}.open{color:#fa6}}";

/// How the summary is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Markdown, as in CommonMark.
    Markdown,
    /// A page that needs nothing else.
    Html,
}

/// A question of the template; no answer where only the provider has one.
struct Question {
    asks: &'static str,
    answer: Option<String>,
}

/// A numbered part of the template.
struct Part {
    number: &'static str,
    title: &'static str,
    questions: Vec<Question>,
}

/// The summary, dated `at`.
///
/// # Errors
/// If the licence that was told is none.
pub fn eu_summary(subject: &Subject, told: &Told, at: Timestamp, page: Page) -> Result<String, DocumentError> {
    told.check()?;
    let mut parts = general(subject, told, at);
    parts.extend(sources(subject, told));
    parts.extend(processing(subject));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match page {
        Page::Markdown => markdown(&mut out, &parts),
        Page::Html => html(&mut out, &parts),
    };
    Ok(text::ended(out))
}

const TITLE: &str = "Public summary of training content";
const ABOUT: &str = "Follows the template of the European Commission's AI Office of 24 July 2025 for Article 53(1)(d) of \
                     Regulation (EU) 2024/1689. It covers the training of the adapter named below; its base model has \
                     a summary of its own.";

fn known(asks: &'static str, answer: String) -> Question {
    Question {
        asks,
        answer: Some(answer),
    }
}

fn open(asks: &'static str) -> Question {
    Question { asks, answer: None }
}

fn maybe(asks: &'static str, answer: Option<String>) -> Question {
    Question { asks, answer }
}

/// The sum of each set's counts.
fn total<'a>(subject: &'a Subject, of: impl Fn(&'a Set) -> &'a BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (what, count) in subject.sets.iter().flat_map(of) {
        *sum.entry(what.clone()).or_insert(0) += count;
    }
    sum
}

fn general(subject: &Subject, told: &Told, at: Timestamp) -> Vec<Part> {
    let model = subject.model.as_ref();
    let members: u64 = subject.sets.iter().map(|set| set.claims.members).sum();
    let frozen = subject.sets.iter().filter_map(Set::frozen_at).max();
    // The template's own ranges.
    let range = match members {
        0..1_000_000 => "less than 1 million images",
        1_000_000..=1_000_000_000 => "1 million to 1 billion images",
        _ => "more than 1 billion images",
    };
    let dependencies = model.map(|model| {
        let claims = &model.sealed.receipt.claims;
        format!(
            "An adapter of {}, SHA-256 over its files {}",
            model.base_name(told),
            claims.base
        )
    });
    let named = model.map(|model| format!("{}, SHA-256 {}", model.title(), model.sha256));
    vec![
        Part {
            number: "",
            title: "This summary",
            questions: vec![
                known("Date", text::seconds(at)),
                known("Made by", concat!("assent ", env!("CARGO_PKG_VERSION")).to_string()),
                open("Version of the summary, and links to earlier ones"),
            ],
        },
        Part {
            number: "1.1",
            title: "Provider identification",
            questions: vec![
                maybe("Provider's name", told.provider.clone()),
                maybe("Provider's address on the Web", told.url.clone()),
                open("Provider's contact details"),
                open("Authorised representative, where there is one"),
            ],
        },
        Part {
            number: "1.2",
            title: "Model identification",
            questions: vec![
                maybe("Versioned model name", named),
                maybe("Models it depends on", dependencies),
                maybe(
                    "Training receipt",
                    model.map(|model| format!("SHA-256 {}", model.sealed.digest)),
                ),
                open("Date of placement on the Union market"),
            ],
        },
        Part {
            number: "1.3",
            title: "Modalities, size and other characteristics of the training data",
            questions: vec![
                known("Modalities", "Images, and texts that describe them".to_string()),
                known("Training data size", format!("{range}: {members}{}", captions(subject))),
                open("Types of content"),
                maybe(
                    "Latest date of data acquisition",
                    frozen.map(|at| format!("No later than {}, when the training set was frozen", text::seconds(at))),
                ),
                open("Languages of the texts"),
                known("Other characteristics", characteristics(subject)),
            ],
        },
    ]
}

fn captions(subject: &Subject) -> String {
    let wholes = subject.sets.iter().filter_map(|set| set.whole.as_ref());
    let mut texts = wholes
        .flat_map(|whole| &whole.document.members)
        .filter_map(|m| m.caption.as_ref())
        .peekable();
    if texts.peek().is_none() {
        return String::new();
    }
    let (count, bytes) = texts.fold((0u64, 0u64), |(n, bytes), text| (n + 1, bytes + text.len() as u64));
    format!("; {count} of them with a text, {bytes} bytes in all")
}

fn characteristics(subject: &Subject) -> String {
    let each = subject.sets.iter().map(|set| {
        format!(
            "{}: {} pictures, root {}",
            set.name(),
            set.claims.members,
            set.claims.snapshot
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

fn sources(subject: &Subject, told: &Told) -> Vec<Part> {
    let licenses = total(subject, |set| &set.claims.licenses);
    let bases = total(subject, |set| &set.claims.bases);
    let granted = reasons(subject, &["granted_by_artist", "granted_by_signal"]);
    let own = reasons(subject, &["own_work"]);
    let mut licensed: Vec<String> = Vec::new();
    if !licenses.is_empty() {
        licensed.push(format!(
            "Pictures by licence (SPDX; none: no licence): {}",
            counted(&licenses)
        ));
    }
    if !bases.is_empty() {
        licensed.push(format!("By what else allows them: {}", counted(&bases)));
    }
    let licensed = Some(licensed.join(". ")).filter(|text| !text.is_empty());
    let excluded = total(subject, |set| &set.claims.excluded);
    let machine = excluded.get("ai_generated").copied().unwrap_or(0);
    vec![
        Part {
            number: "2.1",
            title: "Publicly available datasets",
            questions: vec![open("Whether public datasets were used, and which")],
        },
        Part {
            number: "2.2.1",
            title: "Datasets commercially licensed by rightsholders or their representatives",
            questions: vec![
                open("Whether licensing agreements were concluded"),
                maybe("Pictures that their makers permitted", granted.map(|n| n.to_string())),
            ],
        },
        Part {
            number: "2.2.2",
            title: "Private datasets obtained from other third parties",
            questions: vec![open("Whether any were used, and which")],
        },
        Part {
            number: "2.3",
            title: "Data crawled and scraped from online sources",
            questions: vec![
                open("Whether crawlers were used, which, when and how they behave"),
                maybe(
                    "Domains that recorded source addresses name, with how many pictures",
                    told.names.then(|| domains(subject)).flatten(),
                ),
            ],
        },
        Part {
            number: "2.4",
            title: "User data",
            questions: vec![open("Whether data of the provider's services were used")],
        },
        Part {
            number: "2.5",
            title: "Synthetic data",
            questions: vec![
                known("Pictures kept out because a machine made them", machine.to_string()),
                open("Whether models made data for this training, and which"),
            ],
        },
        Part {
            number: "2.6",
            title: "Other sources of data",
            questions: vec![
                maybe("What the pictures are used under", licensed),
                maybe("The provider's own works", own.map(|n| n.to_string())),
            ],
        },
    ]
}

/// How many members may be used for one of these reasons; none where the members are not known one by one.
fn reasons(subject: &Subject, codes: &[&str]) -> Option<usize> {
    let wholes: Option<Vec<_>> = subject.sets.iter().map(|set| set.whole.as_ref()).collect();
    let members = wholes?.into_iter().flat_map(|whole| &whole.document.members);
    Some(
        members
            .filter(|member| codes.contains(&member.consent.reason_code.as_str()))
            .count(),
    )
}

/// The hosts of the recorded source addresses, the most frequent first.
fn domains(subject: &Subject) -> Option<String> {
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    let wholes = subject.sets.iter().filter_map(|set| set.whole.as_ref());
    for work in wholes.flat_map(|whole| &whole.attributions.works) {
        let source = work.credit.source.as_deref().unwrap_or_default();
        let rest = source
            .strip_prefix("https://")
            .or_else(|| source.strip_prefix("http://"));
        let authority = rest
            .and_then(|rest| rest.split(['/', '?', '#']).next())
            .unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default().to_lowercase();
        if !host.is_empty() {
            *hosts.entry(host).or_insert(0) += 1;
        }
    }
    let mut sorted: Vec<_> = hosts.into_iter().collect();
    sorted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let each: Vec<String> = sorted.iter().map(|(host, count)| format!("{host} {count}")).collect();
    (!each.is_empty()).then(|| each.join(", "))
}

fn processing(subject: &Subject) -> Vec<Part> {
    let mut refused: BTreeMap<String, u64> = BTreeMap::new();
    for (code, count) in subject.sets.iter().flat_map(Set::refused) {
        *refused.entry(code.clone()).or_insert(0) += count;
    }
    let obligations = total(subject, |set| &set.claims.obligations);
    let chosen: Vec<String> = subject.sets.iter().map(Set::chosen).collect();
    vec![
        Part {
            number: "3.1",
            title: "Respect of reservation of rights from the text and data mining exception",
            questions: vec![
                open("Whether the provider signed the General-Purpose AI Code of Practice"),
                known("Measures before training", chosen.join(" ")),
                known(
                    "Signals that are read",
                    "robots.txt with AI preferences, ai.txt, TDMRep, RSL, HTTP headers and page metadata of a local \
                     copy of the site; C2PA and CAWG assertions, IPTC and XMP in the file; licence files; the ledger \
                     of refusals"
                        .to_string(),
                ),
                known(
                    "Pictures kept out because a reservation or a refusal stands against them",
                    match refused.is_empty() {
                        true => "0".to_string(),
                        false => counted(&refused),
                    },
                ),
                known(
                    "At training time",
                    "Before every training consent is decided again, from the registry".to_string(),
                ),
            ],
        },
        Part {
            number: "3.2",
            title: "Removal of illegal content",
            questions: vec![open("Measures taken")],
        },
        Part {
            number: "3.3",
            title: "Other information",
            questions: vec![
                known(
                    "Obligations that follow the model",
                    match obligations.is_empty() {
                        true => "none".to_string(),
                        false => receipt::counted(&obligations),
                    },
                ),
                maybe("Training", subject.model.as_ref().map(training)),
            ],
        },
    ]
}

fn training(model: &Model) -> String {
    let claims = &model.sealed.receipt.claims;
    format!(
        "{} steps by {}, seed {}, run {}",
        claims.steps, claims.program, claims.seed, claims.run
    )
}

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

fn markdown(out: &mut String, parts: &[Part]) -> std::fmt::Result {
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

fn html(out: &mut String, parts: &[Part]) -> std::fmt::Result {
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
