//! Settings of other trainers → a configuration of this one, and everything about them that has no counterpart here.
//!
//! Read are the TOML files of sd-scripts (`--config_file`, `--dataset_config`), the JSON that kohya_ss saves, and the
//! JSON that OneTrainer saves. The tables ([`sd_scripts`], [`kohya_gui`], [`one_trainer`]) say of each option what
//! becomes of it; nothing that a file says is dropped without a word. Plain values: no files, no burn.

mod draft;
pub mod keys;
mod kohya_gui;
mod needs;
mod network;
mod one_trainer;
mod optimizer;
mod rates;
mod row;
mod rules;
mod sd_scripts;
mod source;
mod subsets;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::Serialize;
use toml::Value;

use draft::Draft;
pub use row::unoffered;
pub use source::{MOST_BYTES, Source};
pub use subsets::WrittenSubset;

/// Whose settings they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Tool {
    /// kohya-ss/sd-scripts
    #[serde(rename = "sd-scripts")]
    SdScripts,
    /// bmaltais/kohya_ss
    #[serde(rename = "kohya_ss")]
    KohyaGui,
    /// Nerogar/OneTrainer
    OneTrainer,
}

impl Tool {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SdScripts => "sd-scripts",
            Self::KohyaGui => "kohya_ss",
            Self::OneTrainer => "OneTrainer",
        }
    }
}

/// Why a file cannot be translated.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It is no TOML or JSON, or no settings.
    #[error("{0}")]
    Format(String),
    /// It is larger than settings are.
    #[error("expected at most {most} {what}, found more")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        most: usize,
    },
}

/// What becomes of a setting that is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The result would be the same with another value.
    NoEffect,
    /// The result would be another, and there is no such option here.
    NotOffered,
    /// Only the user knows what to put in its place.
    NeedsAnswer,
}

/// One setting that is not written, or not all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// What becomes of it.
    #[serde(skip)]
    pub group: Group,
    /// Its name there.
    pub name: String,
    /// Its value, shortened, without control characters; secrets are left out.
    pub value: String,
    /// Why, and what to do.
    pub why: String,
}

/// One line of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Written {
    /// The option here.
    pub key: &'static str,
    /// Its value.
    pub value: Value,
    /// What it was made from, for the comment above it.
    pub from: String,
}

/// A whole file in our words.
#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    /// Whose settings they were.
    pub tool: Tool,
    /// The configuration, in the order of [`keys::ALL`].
    pub written: Vec<Written>,
    /// The sets, where the subsets of a dataset configuration are not all alike.
    pub sets: Vec<WrittenSubset>,
    /// The rest, by group and name.
    pub notes: Vec<Note>,
}

impl Translation {
    /// Translates settings for a training on the snapshot of that name.
    #[must_use]
    pub fn of(source: Source, snapshot: Option<&str>) -> Self {
        let mut draft = Draft::new(source);
        match draft.tool {
            Tool::SdScripts => {}
            Tool::KohyaGui => kohya_gui::as_sd_scripts(&mut draft),
            Tool::OneTrainer => {}
        }
        let table = match draft.tool {
            Tool::OneTrainer => one_trainer::TABLE,
            _ => sd_scripts::TABLE,
        };
        row::apply(&mut draft, table);
        rates::finish(&mut draft);
        network::finish(&mut draft);
        optimizer::finish(&mut draft);
        subsets::finish(&mut draft, snapshot);
        rules::finish(&mut draft, snapshot);
        needs::finish(&mut draft);
        draft.end()
    }

    /// Adds what was found out outside.
    pub fn note(&mut self, group: Group, name: &str, value: &str, why: &str) {
        self.notes.push(Note {
            group,
            name: draft::clean(name),
            value: draft::clean(value),
            why: why.to_owned(),
        });
        self.notes
            .sort_by(|a, b| (a.group, &a.name, &a.why).cmp(&(b.group, &b.name, &b.why)));
    }

    /// The notes of a group.
    pub fn group(&self, group: Group) -> impl Iterator<Item = &Note> {
        self.notes.iter().filter(move |note| note.group == group)
    }

    /// A value of the configuration.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.written.iter().find(|line| line.key == key).map(|line| &line.value)
    }

    /// The configuration as a file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!("# Translated from settings of {}.\n", self.tool.name());
        for line in &self.written {
            text.push_str(&format!("\n# {}\n{} = {}\n", line.from, line.key, line.value));
        }
        text.push_str(&subsets::text(&self.sets));
        let mut seen = BTreeSet::new();
        for note in self.group(Group::NotOffered) {
            if seen.is_empty() {
                text.push_str("\n# Not offered here:\n");
            }
            if seen.insert(&note.name) {
                text.push_str(&format!("# - {} = {}\n", note.name, note.value));
            }
        }
        text
    }
}
