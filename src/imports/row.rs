//! The tables' rows, and how they are followed.

use serde_json::Value;

use super::draft::{Draft, is_off, number};
use super::{Group, one_trainer, sd_scripts, subsets};

/// The form of a value here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A whole number from 0.
    Whole,
    /// A number.
    Number,
    /// Yes or no.
    Flag,
    /// Any text.
    Text,
}

/// What becomes of an option.
#[derive(Clone, Copy)]
pub(super) enum How {
    /// The same option under this name.
    Same(&'static str, Kind),
    /// The same where it is switched on.
    Given(&'static str, Kind),
    /// The option of this name, by a list of words; an empty word writes nothing.
    Words(&'static str, &'static [(&'static str, &'static str)]),
    /// No effect on the result.
    Idle,
    /// Not offered, but for values that mean nothing: those that are off, and these.
    Missing(&'static [&'static str]),
    /// Only the user knows.
    Ask,
    /// Read together with others.
    Rule(fn(&mut Draft, &str)),
    /// Read together with others once all rows are followed.
    Later,
}

/// Name, what becomes of it, and why. A name that ends with `*` stands for all that begin like it and have no row.
pub(super) type Row = (&'static str, How, &'static str);

/// Follows a table for all that a file says.
pub(super) fn apply(draft: &mut Draft, table: &[Row]) {
    let names: Vec<String> = draft.all.keys().cloned().collect();
    for name in names
        .iter()
        .filter(|name| !draft.told(name))
        .cloned()
        .collect::<Vec<_>>()
    {
        let exact = table.iter().find(|(known, ..)| *known == name);
        let family = || {
            let fits = |known: &str| known.strip_suffix('*').is_some_and(|start| name.starts_with(start));
            table.iter().find(|(known, ..)| fits(known))
        };
        if let Some((_, how, why)) = exact.or_else(family) {
            follow(draft, &name, *how, why);
        }
    }
}

fn follow(draft: &mut Draft, name: &str, how: How, why: &str) {
    let values = draft.all.get(name).cloned().unwrap_or_default();
    let off = values.iter().all(is_off);
    let differ = values.len() > 1;
    match how {
        How::Idle => draft.note(Group::NoEffect, name, why),
        How::Ask if off => draft.note(Group::NoEffect, name, "empty"),
        How::Ask => draft.note(Group::NeedsAnswer, name, why),
        How::Missing(nothing) => {
            let means_nothing = |value: &Value| is_off(value) || nothing.iter().any(|word| same(value, word));
            match values.iter().all(means_nothing) {
                true => draft.note(Group::NoEffect, name, "switched off or as usual"),
                false => draft.note(Group::NotOffered, name, why),
            }
        }
        How::Rule(rule) => rule(draft, name),
        How::Later => {}
        How::Given(..) | How::Words(..) if off => draft.note(Group::NoEffect, name, "switched off or as usual"),
        How::Same(..) if values.iter().all(|v| v.is_null() || v.as_str() == Some("")) => {
            draft.note(Group::NoEffect, name, "empty");
        }
        How::Same(key, _) | How::Given(key, _) if differ && subsets::may_differ(draft, key) => draft.told_of(name),
        How::Same(..) | How::Given(..) | How::Words(..) if differ => {
            draft.note(
                Group::NotOffered,
                name,
                "one value for all pictures, but the datasets differ",
            );
        }
        How::Same(key, kind) | How::Given(key, kind) => match values.first().and_then(|value| of_kind(value, kind)) {
            Some(value) => draft.write(key, value, &[name]),
            None => draft.note(Group::NotOffered, name, "a value that the option does not have"),
        },
        How::Words(key, words) => {
            let ours = words
                .iter()
                .find(|(word, _)| values.iter().all(|value| same(value, word)));
            match ours {
                Some((_, "")) => draft.note(Group::NoEffect, name, "as usual"),
                Some((_, ours)) => draft.write(key, *ours, &[name]),
                None => draft.note(Group::NotOffered, name, why),
            }
        }
    }
}

/// Whether a value is this word or number, without regard to case.
fn same(value: &Value, word: &str) -> bool {
    match value {
        Value::String(text) if text.trim().eq_ignore_ascii_case(word) => true,
        Value::Bool(flag) => word == if *flag { "true" } else { "false" },
        other => number(other).is_some_and(|number| word.parse() == Ok(number)),
    }
}

/// A value as TOML has it.
pub(super) fn of_kind(value: &Value, kind: Kind) -> Option<toml::Value> {
    const MOST: f64 = 9e15;
    match kind {
        Kind::Number => number(value).map(toml::Value::Float),
        Kind::Whole => {
            let whole = number(value).filter(|n| n.fract() == 0.0 && (0.0..MOST).contains(n));
            whole.map(|n| toml::Value::Integer(n as i64))
        }
        Kind::Flag => match value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            Value::Number(n) => Some(n.as_f64() != Some(0.0)),
            _ => None,
        }
        .map(toml::Value::Boolean),
        Kind::Text => value.as_str().map(|text| toml::Value::String(text.to_owned())),
    }
}

/// The options that the tables say are not offered here.
pub fn unoffered() -> impl Iterator<Item = &'static str> {
    let rows = sd_scripts::TABLE.iter().chain(one_trainer::TABLE);
    rows.filter(|(_, how, _)| matches!(how, How::Missing(_)))
        .map(|(name, ..)| *name)
}

/// The options here that the rows of the tables write.
#[cfg(test)]
pub(super) fn written() -> impl Iterator<Item = &'static str> {
    let rows = sd_scripts::TABLE.iter().chain(one_trainer::TABLE);
    rows.filter_map(|(_, how, _)| match how {
        How::Same(key, _) | How::Given(key, _) | How::Words(key, _) => Some(*key),
        _ => None,
    })
}
