//! The keys of a section, taken from its own type, so that they are named once.

use std::collections::BTreeMap;

use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::{Serialize, forward_to_deserialize_any};
use toml::de::DeTable;
use toml::{Table, Value};

/// The names of a struct's fields as they stand in a file.
pub(super) fn of<T: DeserializeOwned>() -> Vec<&'static str> {
    let mut names = Vec::new();
    // Always an error: only what the type asks for is of interest.
    drop(T::deserialize(Names(&mut names)));
    names
}

/// A deserializer that has no data and notes which fields it is asked for.
struct Names<'a>(&'a mut Vec<&'static str>);

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = serde::de::value::Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.0.extend(fields);
        Err(Self::Error::custom("no data"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
        Err(Self::Error::custom("no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// A section of the configuration; keys of others are passed over.
pub(super) fn section<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|e| e.to_string())
}

/// The keys of a section whose values are other than those it has when a file says `least` and nothing else.
pub(super) fn differing<T: DeserializeOwned + Serialize>(section: &T, least: &str) -> BTreeMap<String, String> {
    let table = |section: &T| Table::try_from(section).unwrap_or_default();
    let usual = self::section::<T>(least)
        .map(|section| table(&section))
        .unwrap_or_default();
    let own = table(section);
    own.into_iter()
        .filter(|(key, value)| usual.get(key) != Some(value))
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
}

/// Refuses the first key of the table that is not known, with its line and the nearest that is.
pub(super) fn check(text: &str, known: &[&str]) -> Result<(), String> {
    let table = DeTable::parse(text).map_err(|e| e.to_string())?;
    let unknown = table
        .get_ref()
        .keys()
        .filter(|key| !known.contains(&key.get_ref().as_ref()));
    let Some(first) = unknown.min_by_key(|key| key.span().start) else {
        return Ok(());
    };
    let key = first.get_ref().as_ref();
    let line = text.get(..first.span().start).unwrap_or(text).matches('\n').count() + 1;
    let hint = near(key, known);
    Err(format!("line {line}: unknown key `{key}`; hint: {hint}"))
}

/// The nearest name to one that is not known, as a hint.
pub(super) fn near(key: &str, known: &[&str]) -> String {
    match known.iter().map(|name| (distance(key, name), name)).min() {
        Some((away, name)) if away <= name.len() / 3 => format!("did you mean `{name}`?"),
        _ => "the README lists the options".to_owned(),
    }
}

/// Letters to add, drop or replace (Levenshtein 1966); two long words are as far apart as can be.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST || b.len() > LONGEST {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("seed", "seed", 0),
            ("sed", "seed", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
