//! The European Union's public summary of training content: the questions of the Commission's template for Article 53(1)(d)
//! of Regulation (EU) 2024/1689, under the template's own labels, answered as far as registry and receipt know, and beside
//! them what registry and receipt know more. As Markdown or HTML.

mod page;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::model::Model;
use super::set::{Set, counted, is_refusal};
use super::{DocumentError, Subject, Told, text};
use crate::receipt::{self, SetClaims, SetFacts};
use crate::snapshot::Document;

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
pub fn eu_summary(subject: &Subject, told: &Told, at: Timestamp, form: Page) -> Result<String, DocumentError> {
    told.check()?;
    let claims = &united(subject);
    let mut parts = general(subject, claims, told, at);
    parts.extend(sources(subject, claims, told));
    parts.extend(processing(subject, claims));
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = match form {
        Page::Markdown => page::markdown(&mut out, &parts),
        Page::Html => page::html(&mut out, &parts),
    };
    Ok(text::ended(out))
}

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

/// The counts of all sets as one, so that no picture counts twice; those of each where a set's members are not known.
fn united(subject: &Subject) -> Vec<SetClaims> {
    let wholes: Option<Vec<&Document>> = subject
        .sets
        .iter()
        .map(|set| Some(&set.whole.as_ref()?.document))
        .collect();
    match (wholes.as_deref(), subject.sets.first()) {
        (Some([first, others @ ..]), Some(set)) if !others.is_empty() => {
            let mut all = (*first).clone();
            for document in others {
                all.members.extend(document.members.iter().cloned());
                all.excluded.extend(document.excluded.iter().cloned());
            }
            let mut seen = BTreeSet::new();
            all.members.retain(|member| seen.insert(member.image));
            // What one set left out and another took was kept out of neither training.
            let mut left = BTreeSet::new();
            all.excluded
                .retain(|one| !seen.contains(&one.image) && left.insert(one.image));
            vec![SetFacts::of(set.claims.role, &all).claims()]
        }
        _ => subject.sets.iter().map(|set| set.claims.clone()).collect(),
    }
}

/// The sum of each set's counts.
fn total<'a>(
    claims: &'a [SetClaims],
    of: impl Fn(&'a SetClaims) -> &'a BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    let mut sum = BTreeMap::new();
    for (what, count) in claims.iter().flat_map(of) {
        *sum.entry(what.clone()).or_insert(0) += count;
    }
    sum
}

fn general(subject: &Subject, claims: &[SetClaims], told: &Told, at: Timestamp) -> Vec<Part> {
    let model = subject.model.as_ref();
    let members: u64 = claims.iter().map(|set| set.members).sum();
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
    let provider: Vec<&str> = [&told.provider, &told.url]
        .into_iter()
        .filter_map(|t| t.as_deref())
        .collect();
    let provider = Some(provider.join(", ")).filter(|text| !text.is_empty());
    let named = model.map(|model| format!("{}, SHA-256 {}", model.title(), model.sha256));
    vec![
        Part {
            number: "",
            title: "This summary",
            questions: vec![
                known("Last update", text::seconds(at)),
                known("Made by", concat!("assent ", env!("CARGO_PKG_VERSION")).to_string()),
                open("Version of the Summary"),
            ],
        },
        Part {
            number: "1.1",
            title: "Provider identification",
            questions: vec![
                maybe("Provider name and contact details", provider),
                open("Authorised representative name and contact details"),
            ],
        },
        Part {
            number: "1.2",
            title: "Model identification",
            questions: vec![
                maybe("Versioned model name(s)", named),
                maybe("Model dependencies", dependencies),
                maybe(
                    "Training receipt",
                    model.map(|model| format!("SHA-256 {}", model.sealed.digest)),
                ),
                open("Date of placement of the model on the Union market"),
            ],
        },
        Part {
            number: "1.3",
            title: "Modalities, overall training data size and other characteristics",
            questions: vec![
                known("Modality", "Text, Image".to_string()),
                known("Training data size", format!("{range}: {members}{}", captions(subject))),
                open("Types of content"),
                maybe(
                    "Latest date of data acquisition/collection for model training",
                    frozen.map(|at| format!("No later than {}, when the training set was frozen", text::seconds(at))),
                ),
                open("Description of the linguistic characteristics of the overall training data"),
                known(
                    "Other relevant characteristics of the overall training data",
                    characteristics(subject),
                ),
            ],
        },
    ]
}

fn captions(subject: &Subject) -> String {
    let wholes = subject.sets.iter().filter_map(|set| set.whole.as_ref());
    let members: BTreeMap<_, _> = wholes
        .flat_map(|whole| &whole.document.members)
        .map(|member| (member.image, member))
        .collect();
    let mut texts = members.values().filter_map(|m| m.caption.as_ref()).peekable();
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

fn sources(subject: &Subject, claims: &[SetClaims], told: &Told) -> Vec<Part> {
    let licenses = total(claims, |set| &set.licenses);
    let bases = total(claims, |set| &set.bases);
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
    let excluded = total(claims, |set| &set.excluded);
    let machine = excluded.get("ai_generated").copied().unwrap_or(0);
    vec![
        Part {
            number: "2.1",
            title: "Publicly available datasets",
            questions: vec![open("Have you used publicly available datasets to train the model?")],
        },
        Part {
            number: "2.2.1",
            title: "Datasets commercially licensed by rightsholders or their representatives",
            questions: vec![
                open(
                    "Have you concluded transactional commercial licensing agreement(s) with rightsholder(s) or with their \
                     representatives?",
                ),
                maybe("Pictures that their makers permitted", granted.map(|n| n.to_string())),
            ],
        },
        Part {
            number: "2.2.2",
            title: "Private datasets obtained from other third parties",
            questions: vec![open(
                "Have you obtained private datasets from third parties that are not licensed as described in Section 2.2.1?",
            )],
        },
        Part {
            number: "2.3",
            title: "Data crawled and scraped from online sources",
            questions: vec![
                open("Were crawlers used by the provider or on behalf of?"),
                maybe(
                    "Domains that recorded source addresses name, with how many pictures",
                    told.names.then(|| domains(subject)).flatten(),
                ),
            ],
        },
        Part {
            number: "2.4",
            title: "User data",
            questions: vec![
                open(
                    "Was data from user interactions with the AI model (e.g. user input and prompts) used to train the model?",
                ),
                open(
                    "Was data collected from user interactions with the provider's other services or products used to \
                     train the model?",
                ),
            ],
        },
        Part {
            number: "2.5",
            title: "Synthetic data",
            questions: vec![
                known("Pictures kept out because a machine made them", machine.to_string()),
                open("Was synthetic AI-generated data created by the provider or on their behalf to train the model?"),
            ],
        },
        Part {
            number: "2.6",
            title: "Other sources of data",
            questions: vec![
                open(
                    "Have data sources other than those described in Sections 2.1 to 2.5 been used to train the model?",
                ),
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
    let granted = members.filter(|member| codes.contains(&member.consent.reason_code.as_str()));
    Some(granted.map(|member| member.image).collect::<BTreeSet<_>>().len())
}

/// The hosts of the recorded source addresses, the most frequent first.
fn domains(subject: &Subject) -> Option<String> {
    let mut hosts: BTreeMap<String, u64> = BTreeMap::new();
    let wholes = subject.sets.iter().filter_map(|set| set.whole.as_ref());
    let works = wholes.flat_map(|whole| &whole.attributions.works);
    let works: BTreeMap<_, _> = works.map(|work| (work.sha256, work)).collect();
    for work in works.values() {
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

fn processing(subject: &Subject, claims: &[SetClaims]) -> Vec<Part> {
    let mut refused = total(claims, |set| &set.excluded);
    refused.retain(|code, _| is_refusal(code));
    let obligations = total(claims, |set| &set.obligations);
    let chosen: Vec<String> = subject.sets.iter().map(Set::chosen).collect();
    vec![
        Part {
            number: "3.1",
            title: "Respect of reservation of rights from text and data mining exception or limitation",
            questions: vec![
                open(
                    "Are you a Signatory to the Code of Practice for general-purpose AI models that includes commitments \
                     to respect reservations of rights from the TDM exception or limitation?",
                ),
                known(
                    "Measures implemented before model training to respect reservations of rights from the TDM exception \
                     or limitation",
                    chosen.join(" "),
                ),
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
            questions: vec![open("General description of measures taken")],
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
