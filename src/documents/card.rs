//! A model card in the form of the Hugging Face hub (<https://huggingface.co/docs/hub/model-cards>): a README.md that
//! begins with YAML.

use std::fmt::Write;

use super::model::Model;
use super::set::{Set, counted};
use super::text::{ended, yaml};
use super::{DocumentError, Subject, Told};
use crate::receipt;
use crate::snapshot::{Format, escape_markdown, plain};

/// The hub's identifiers of licences that are SPDX's in small letters.
const HUB_LICENSES: &[&str] = &[
    "afl-3.0",
    "agpl-3.0",
    "apache-2.0",
    "artistic-2.0",
    "bsl-1.0",
    "bsd-2-clause",
    "bsd-3-clause",
    "bsd-3-clause-clear",
    "c-uda",
    "cc-by-2.0",
    "cc-by-2.5",
    "cc-by-3.0",
    "cc-by-4.0",
    "cc-by-nc-2.0",
    "cc-by-nc-3.0",
    "cc-by-nc-4.0",
    "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0",
    "cc-by-nc-sa-2.0",
    "cc-by-nc-sa-3.0",
    "cc-by-nc-sa-4.0",
    "cc-by-nd-4.0",
    "cc-by-sa-3.0",
    "cc-by-sa-4.0",
    "cc0-1.0",
    "cdla-permissive-1.0",
    "cdla-permissive-2.0",
    "cdla-sharing-1.0",
    "ecl-2.0",
    "epl-1.0",
    "epl-2.0",
    "eupl-1.1",
    "eupl-1.2",
    "gpl-2.0",
    "gpl-3.0",
    "isc",
    "lgpl-2.1",
    "lgpl-3.0",
    "lppl-1.3c",
    "mit",
    "mpl-2.0",
    "ms-pl",
    "ncsa",
    "ofl-1.1",
    "osl-3.0",
    "postgresql",
    "unlicense",
    "wtfpl",
    "zlib",
];

/// The card of an adapter: how it is used, what it was trained on, what that obliges to and whom to name.
///
/// # Errors
/// If the subject is a training set alone.
pub fn model_card(subject: &Subject, told: &Told) -> Result<String, DocumentError> {
    told.check()?;
    let model = subject.model.as_ref().ok_or(DocumentError::Subject {
        kind: "a model card",
        expected: "an adapter",
        found: "a training set alone",
    })?;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = front(&mut out, model, told);
    let _ = body(&mut out, model, subject, told);
    Ok(ended(out))
}

fn front(out: &mut String, model: &Model, told: &Told) -> std::fmt::Result {
    writeln!(out, "---")?;
    if let Some(base) = &told.base {
        writeln!(out, "base_model: {}", yaml(&plain(base)))?;
        writeln!(out, "base_model_relation: adapter")?;
    }
    if let Some(words) = model.entry("modelspec.trigger_phrase") {
        writeln!(out, "instance_prompt: {}", yaml(&words))?;
    }
    writeln!(out, "library_name: diffusers")?;
    if let Some(license) = model.license(told) {
        let id = license.to_lowercase();
        if HUB_LICENSES.contains(&id.as_str()) {
            writeln!(out, "license: {}", yaml(&id))?;
        } else {
            writeln!(out, "license: other\nlicense_name: {}", yaml(&license))?;
        }
    }
    writeln!(out, "pipeline_tag: text-to-image")?;
    writeln!(out, "tags:\n- diffusers\n- lora")?;
    if model
        .architecture()
        .is_some_and(|name| name.starts_with("stable-diffusion-xl"))
    {
        writeln!(out, "- stable-diffusion-xl\n- template:sd-lora")?;
    } else if model
        .architecture()
        .is_some_and(|name| name.starts_with("stable-diffusion"))
    {
        writeln!(out, "- stable-diffusion\n- template:sd-lora")?;
    }
    writeln!(out, "- text-to-image\n---\n")
}

fn body(out: &mut String, model: &Model, subject: &Subject, told: &Told) -> std::fmt::Result {
    let claims = &model.sealed.receipt.claims;
    let text = |text: &str| escape_markdown(&plain(text));
    writeln!(out, "# {}\n", text(&model.title()))?;
    if let Some(says) = model.entry("modelspec.description") {
        writeln!(out, "{}.\n", text(says.trim_end_matches('.')))?;
    }
    writeln!(
        out,
        "- Base: {} (SHA-256 over its files `{}`)",
        text(&model.base_name(told)),
        claims.base
    )?;
    writeln!(out, "- File: SHA-256 `{}`, {} bytes", model.sha256, model.bytes)?;
    writeln!(
        out,
        "- Training receipt in its header: SHA-256 `{}`",
        model.sealed.digest
    )?;
    if let Some(words) = model.entry("modelspec.trigger_phrase") {
        writeln!(out, "- Prompts should hold the words: *{}*", escape_markdown(&words))?;
    }
    if let Some(provider) = &told.provider {
        writeln!(out, "- Provider: {}", text(provider))?;
    }

    writeln!(out, "\n## Use\n")?;
    writeln!(
        out,
        "With diffusers, `pipeline.load_lora_weights(FILE)`; in ComfyUI and A1111, from the folder of LoRAs."
    )?;
    writeln!(
        out,
        "`assent audit FILE` says which pictures trained it, under which consent, and what has changed since.\n"
    )?;

    writeln!(out, "## Training data\n")?;
    for set in &subject.sets {
        training_set(out, set)?;
    }
    writeln!(out, "## Obligations\n")?;
    obligations(out, subject)?;
    writeln!(out, "## Training\n")?;
    writeln!(
        out,
        "{} steps by {}, seed {}, run `{}`.\n",
        claims.steps,
        text(&claims.program),
        claims.seed,
        claims.run
    )?;
    writeln!(out, "| setting | value |\n| --- | --- |")?;
    for (key, value) in &claims.settings {
        writeln!(out, "| {} | {} |", text(key), text(value))?;
    }
    writeln!(out)?;
    let losses: Vec<_> = model.losses().collect();
    if !losses.is_empty() {
        writeln!(out, "## Evaluation\n\n| loss | value |\n| --- | --- |")?;
        for (name, value) in losses {
            writeln!(out, "| {} | {value} |", text(name))?;
        }
        writeln!(out)?;
    }
    attributions(out, subject, told)
}

fn training_set(out: &mut String, set: &Set) -> std::fmt::Result {
    let text = |text: &str| escape_markdown(&plain(text));
    writeln!(
        out,
        "{}: {} pictures, root `{}`.\n",
        text(&set.name()),
        set.claims.members,
        set.claims.snapshot
    )?;
    writeln!(out, "{}\n", text(&set.chosen()))?;
    writeln!(out, "| licence | pictures |\n| --- | --- |")?;
    for (license, count) in &set.claims.licenses {
        writeln!(out, "| {} | {count} |", text(license))?;
    }
    writeln!(out)?;
    if !set.claims.bases.is_empty() {
        writeln!(
            out,
            "Allowed by something else than a licence: {}.\n",
            text(&counted(&set.claims.bases))
        )?;
    }
    Ok(())
}

fn obligations(out: &mut String, subject: &Subject) -> std::fmt::Result {
    let mut any = false;
    for set in subject.sets.iter().filter(|set| !set.claims.obligations.is_empty()) {
        any = true;
        writeln!(out, "Use obliges to: {}.\n", receipt::counted(&set.claims.obligations))?;
    }
    if !any {
        writeln!(out, "The works oblige to nothing.\n")?;
    }
    Ok(())
}

/// Whom to name: the list itself where names are asked for, else where it comes from.
fn attributions(out: &mut String, subject: &Subject, told: &Told) -> std::fmt::Result {
    writeln!(out, "## Attributions\n")?;
    for set in &subject.sets {
        match (&set.whole, told.names) {
            (Some(whole), true) => {
                let list = whole.attributions.render(Format::Markdown);
                // Its own heading stands here already; the others are one level deeper.
                for line in list.lines().skip_while(|line| !line.is_empty()).skip(1) {
                    let deeper = if line.starts_with("## ") { "#" } else { "" };
                    writeln!(out, "{deeper}{line}")?;
                }
            }
            _ => match set.claims.obligations.get("attribution") {
                Some(count) => writeln!(
                    out,
                    "{count} of {} pictures oblige to name their authors: the list that `assent attributions` writes \
                     goes with this adapter.",
                    set.claims.members
                )?,
                None => writeln!(out, "No picture obliges to name its author.")?,
            },
        }
    }
    Ok(())
}
