//! Reading a policy's tables, with the line of every key: an error and a decision both point at it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::PolicyError;
use crate::consent::UnknownWord;

/// Where every key of a policy stands: its path (`refuse.ai_generated`) and its line, from 1.
pub(in crate::consent) type Lines = BTreeMap<String, usize>;

/// A policy's text, parsed, with the line of every key.
pub(super) fn parse(text: &str) -> Result<(Spanned<DeTable<'_>>, Lines), PolicyError> {
    let table = DeTable::parse(text).map_err(|error| PolicyError::Syntax {
        line: error.span().map_or(1, |span| line_of(text, span.start)),
        message: error.message().to_string(),
    })?;
    let mut lines = Lines::new();
    collect(text, "", table.get_ref(), &mut lines);
    Ok((table, lines))
}

/// The line of a byte of the text, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

fn collect(text: &str, above: &str, table: &DeTable<'_>, lines: &mut Lines) {
    for (key, value) in table {
        let path = joined(above, key.get_ref());
        lines.insert(path.clone(), line_of(text, key.span().start));
        if let DeValue::Table(inner) = value.get_ref() {
            collect(text, &path, inner, lines);
        }
    }
}

fn joined(above: &str, key: &str) -> String {
    match above {
        "" => key.to_string(),
        above => format!("{above}.{key}"),
    }
}

/// A table of the file, or none, with the name it goes by in messages.
pub(super) struct Section<'a> {
    name: String,
    text: &'a str,
    lines: &'a Lines,
    table: Option<&'a DeTable<'a>>,
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn top(text: &'a str, table: &'a DeTable<'a>, lines: &'a Lines) -> Self {
        Section {
            name: String::new(),
            text,
            lines,
            table: Some(table),
        }
    }

    /// Whether the file holds this table.
    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    /// Its keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.table
            .into_iter()
            .flat_map(|table| table.keys())
            .map(|key| &**key.get_ref())
    }

    /// The error that a key holds, or should hold, something else.
    pub fn error(&self, key: &str, expected: impl Into<String>, found: impl Into<String>) -> PolicyError {
        let key = joined(&self.name, key);
        PolicyError::Key {
            line: self.lines.get(&key).copied(),
            key,
            expected: expected.into(),
            found: found.into(),
        }
    }

    /// The error about the table itself.
    pub fn error_here(&self, expected: impl Into<String>, found: impl Into<String>) -> PolicyError {
        PolicyError::Key {
            line: self.lines.get(&self.name).copied(),
            key: self.name.clone(),
            expected: expected.into(),
            found: found.into(),
        }
    }

    fn wrong(&self, key: &str, expected: &str, found: &Spanned<DeValue<'_>>) -> PolicyError {
        let written = self.text.get(found.span()).unwrap_or_default();
        let written: String = written.chars().take(60).collect();
        self.error(key, expected, format!("{} `{written}`", found.get_ref().type_str()))
    }

    /// The error that a key is not there.
    pub fn missing(&self, key: &str, expected: &str) -> PolicyError {
        self.error(key, expected, "nothing")
    }

    /// Refuses keys that are not among those known.
    pub fn only(&self, known: &[&str]) -> Result<(), PolicyError> {
        match self.keys().find(|key| !known.contains(key)) {
            None => Ok(()),
            Some(key) => Err(self.error(
                key,
                format!("one of {}", known.join(", ")),
                format!("the unknown key `{key}`"),
            )),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.and_then(|table| table.get(key))
    }

    /// The bytes of the text at which the value of a key stands.
    pub fn span(&self, key: &str) -> Option<Range<usize>> {
        self.get(key).map(Spanned::span)
    }

    /// The table of this key.
    pub fn section(&self, key: &str) -> Result<Section<'a>, PolicyError> {
        let table = match self.get(key).map(|found| (found, found.get_ref())) {
            None => None,
            Some((_, DeValue::Table(table))) => Some(table),
            Some((found, _)) => return Err(self.wrong(key, "a table", found)),
        };
        Ok(Section {
            name: joined(&self.name, key),
            text: self.text,
            lines: self.lines,
            table,
        })
    }

    /// True or false.
    pub fn flag(&self, key: &str, default: bool) -> Result<bool, PolicyError> {
        match self.get(key).map(|found| (found, found.get_ref())) {
            None => Ok(default),
            Some((_, DeValue::Boolean(flag))) => Ok(*flag),
            Some((found, _)) => Err(self.wrong(key, "true or false", found)),
        }
    }

    /// A whole number above 0.
    pub fn days(&self, key: &str) -> Result<Option<u32>, PolicyError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        match found.get_ref().as_integer().map(|number| number.as_str().parse()) {
            Some(Ok(days)) if days > 0 => Ok(Some(days)),
            _ => Err(self.wrong(key, "a number of days above 0", found)),
        }
    }

    /// Text that is not empty.
    pub fn text(&self, key: &str) -> Result<Option<String>, PolicyError> {
        match self.get(key).map(|found| (found, found.get_ref())) {
            None => Ok(None),
            Some((_, DeValue::String(text))) if !text.trim().is_empty() => Ok(Some(text.to_string())),
            Some((found, _)) => Err(self.wrong(key, "text in quotes", found)),
        }
    }

    /// One of the words of a kind.
    pub fn word<T: FromStr<Err = UnknownWord>>(&self, key: &str) -> Result<Option<T>, PolicyError> {
        self.text(key)?.map(|word| self.parse(key, &word)).transpose()
    }

    /// A list of texts; empty when it is not there.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, PolicyError> {
        let items = match self.get(key).map(|found| (found, found.get_ref())) {
            None => return Ok(Vec::new()),
            Some((_, DeValue::Array(items))) => items,
            Some((found, _)) => return Err(self.wrong(key, "a list of texts", found)),
        };
        let text = |item: &Spanned<DeValue<'_>>| match item.get_ref() {
            DeValue::String(text) => Ok(text.to_string()),
            _ => Err(self.wrong(key, "a list of texts", item)),
        };
        items.iter().map(text).collect()
    }

    /// A list of words of a kind; empty when it is not there.
    pub fn words<T: FromStr<Err = UnknownWord>>(&self, key: &str) -> Result<Vec<T>, PolicyError> {
        self.texts(key)?.iter().map(|word| self.parse(key, word)).collect()
    }

    fn parse<T: FromStr<Err = UnknownWord>>(&self, key: &str, word: &str) -> Result<T, PolicyError> {
        word.parse().map_err(|error: UnknownWord| {
            self.error(
                key,
                format!("{} ({})", error.what, error.expected),
                format!("`{}`", error.found),
            )
        })
    }

    /// A day or an instant. A day stands for its beginning in UTC, or, `through`, for its end.
    pub fn instant(&self, key: &str, through: bool) -> Result<Option<Timestamp>, PolicyError> {
        let Some(found) = self.get(key) else { return Ok(None) };
        let written = match found.get_ref() {
            DeValue::Datetime(value) => value.to_string(),
            DeValue::String(value) => value.to_string(),
            _ => return Err(self.wrong(key, "a day or a time, as in 2027-12-31", found)),
        };
        let day = |date: Date| {
            let date = if through { date.tomorrow() } else { Ok(date) };
            date.and_then(|date| date.to_zoned(TimeZone::UTC))
                .map(|zoned| zoned.timestamp())
        };
        // A date-time also parses as a date, which would drop its time.
        let instant = match written.len() {
            10 => written.parse::<Date>().and_then(day),
            _ => written.parse::<Timestamp>(),
        };
        let expected = "a day or a time with its zone, as in 2027-12-31 or 2027-12-31T12:00:00Z";
        instant.map(Some).map_err(|_| self.wrong(key, expected, found))
    }
}
