//! A translation on its way.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Group, Note, Source, Tool, Translation, Written, WrittenSubset, keys};

/// Most characters of a value that are shown.
const SHOWN: usize = 120;
/// Names whose values are nobody else's to see.
const SECRET: [&str; 3] = ["token", "api_key", "secrets"];

/// What the file says, and what became of it so far.
pub(super) struct Draft {
    pub tool: Tool,
    pub all: BTreeMap<String, Vec<Value>>,
    pub shown: BTreeMap<String, String>,
    pub subsets: Vec<(usize, Map<String, Value>)>,
    pub sets: Vec<WrittenSubset>,
    told: BTreeSet<String>,
    written: BTreeMap<&'static str, Written>,
    notes: Vec<Note>,
}

impl Draft {
    pub fn new(source: Source) -> Self {
        let mut draft = Self {
            tool: source.tool,
            all: source.all,
            shown: source.shown,
            subsets: source.subsets,
            sets: Vec::new(),
            told: BTreeSet::new(),
            written: BTreeMap::new(),
            notes: Vec::new(),
        };
        for (name, value) in source.replaced {
            draft.notes.push(Note {
                group: Group::NoEffect,
                value: displayed(&name, &[value]),
                name: clean(&name),
                why: "the dataset configuration counts before it".to_owned(),
            });
        }
        draft
    }

    /// The value of a name, where it has one that is the same in all places.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self.all.get(name).map(Vec::as_slice) {
            Some([Value::Null]) | None => None,
            Some([value]) => Some(value),
            Some(_) => None,
        }
    }

    /// The same, as a number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(number)
    }

    /// Whether it is switched on.
    pub fn on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !is_off(value))
    }

    /// The same, as text without regard to case.
    pub fn word(&self, name: &str) -> String {
        let text = self.get(name).and_then(Value::as_str).unwrap_or_default();
        text.to_ascii_lowercase()
    }

    /// Writes a value that was made from these names.
    pub fn write(&mut self, key: &'static str, value: impl Into<toml::Value>, from: &[&str]) {
        let there: Vec<String> = from
            .iter()
            .filter(|name| self.all.contains_key(**name))
            .map(|name| format!("{} = {}", self.name(name), self.value(name)))
            .collect();
        self.told.extend(from.iter().map(|name| (*name).to_owned()));
        let from = match there.is_empty() {
            true => "made from what is left out there".to_owned(),
            false => format!("from {}", there.join(", ")),
        };
        let value = value.into();
        self.written.insert(key, Written { key, value, from });
    }

    /// Writes what the tool takes where the file says nothing.
    pub fn default(&mut self, key: &'static str, value: impl Into<toml::Value>) {
        let from = format!("left out there, where {} takes this", self.tool.name());
        self.state(key, value, &from);
    }

    /// Writes a value with its own comment.
    pub fn state(&mut self, key: &'static str, value: impl Into<toml::Value>, from: &str) {
        let value = value.into();
        let from = from.to_owned();
        self.written.insert(key, Written { key, value, from });
    }

    /// What is written so far.
    pub fn ours(&self, key: &str) -> Option<&toml::Value> {
        self.written.get(key).map(|line| &line.value)
    }

    /// The same, as text.
    pub fn our_word(&self, key: &str) -> &str {
        self.ours(key).and_then(toml::Value::as_str).unwrap_or_default()
    }

    /// What counts in a set with these options of its own.
    pub fn view<'a>(&'a self, own: &'a [(&'static str, toml::Value)]) -> View<'a> {
        View {
            above: &self.written,
            own,
        }
    }

    /// Takes a line back that sets have for themselves.
    pub fn leave_to_sets(&mut self, key: &str) {
        self.written.remove(key);
    }

    /// Takes a line back: what it was made from has no effect.
    pub fn unwrite(&mut self, key: &str, why: &str) {
        if let Some(line) = self.written.remove(key) {
            self.notes.push(Note {
                group: Group::NoEffect,
                name: line.key.to_owned(),
                value: line.value.to_string(),
                why: why.to_owned(),
            });
        }
    }

    /// Says what becomes of a name.
    pub fn note(&mut self, group: Group, name: &str, why: &str) {
        self.told.insert(name.to_owned());
        let note = Note {
            group,
            name: self.name(name),
            value: self.value(name),
            why: why.to_owned(),
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Says what is asked for without a value there.
    pub fn ask(&mut self, name: &str, why: &str) {
        self.notes.push(Note {
            group: Group::NeedsAnswer,
            name: name.to_owned(),
            value: String::new(),
            why: why.to_owned(),
        });
    }

    /// A name that a line was made from, where [`Self::write`] cannot say it.
    pub fn told_of(&mut self, name: &str) {
        self.told.insert(name.to_owned());
    }

    /// Whether something was said of a name.
    pub fn told(&self, name: &str) -> bool {
        self.told.contains(name)
    }

    fn name(&self, name: &str) -> String {
        clean(self.shown.get(name).map_or(name, String::as_str))
    }

    fn value(&self, name: &str) -> String {
        displayed(name, self.all.get(name).map_or(&[], Vec::as_slice))
    }

    /// The translation; a name that nothing was said of is not known.
    pub fn end(mut self) -> Translation {
        let left: Vec<String> = self.all.keys().filter(|name| !self.told(name)).cloned().collect();
        for name in left {
            self.note(Group::NotOffered, &name, "this option is not known here");
        }
        let place = |key: &str| keys::ALL.iter().position(|known| *known == key);
        let mut written: Vec<Written> = self.written.into_values().collect();
        written.sort_by_key(|line| place(line.key));
        let mut notes = self.notes;
        notes.sort_by(|a, b| (a.group, &a.name, &a.why).cmp(&(b.group, &b.name, &b.why)));
        Translation {
            tool: self.tool,
            written,
            sets: self.sets,
            notes,
        }
    }
}

/// The options that count in one place.
pub(super) struct View<'a> {
    above: &'a BTreeMap<&'static str, Written>,
    own: &'a [(&'static str, toml::Value)],
}

impl View<'_> {
    /// What an option is set to.
    pub fn ours(&self, key: &str) -> Option<&toml::Value> {
        let own = self.own.iter().find(|(name, _)| *name == key).map(|(_, value)| value);
        own.or_else(|| self.above.get(key).map(|line| &line.value))
    }

    /// The same, as text.
    pub fn our_word(&self, key: &str) -> &str {
        self.ours(key).and_then(toml::Value::as_str).unwrap_or_default()
    }
}

/// Without control characters, shortened.
pub(super) fn clean(text: &str) -> String {
    let mut short = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN {
            short.push('…');
            break;
        }
        // Marks that turn the direction of writing would show another text than there is.
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns || matches!(c, '\u{2028}' | '\u{2029}') {
            short.extend(c.escape_default());
        } else {
            short.push(c);
        }
    }
    short
}

pub(super) fn displayed(name: &str, values: &[Value]) -> String {
    let name = name.to_ascii_lowercase();
    if SECRET
        .iter()
        .any(|secret| name.ends_with(secret) || name.starts_with(&format!("{secret}.")))
    {
        return match values.iter().all(is_off) {
            true => "\"\"".to_owned(),
            false => "(not shown)".to_owned(),
        };
    }
    let values: Vec<String> = values.iter().take(SHOWN).map(Value::to_string).collect();
    clean(&values.join(" and "))
}

/// Whether a value is how a tool says nothing.
pub(super) fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => {
            let text = text.trim().to_ascii_lowercase();
            matches!(text.as_str(), "" | "none" | "false" | "no") || text.parse() == Ok(0.0)
        }
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// A finite number, also in text.
pub(super) fn number(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}
