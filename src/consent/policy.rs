//! Policies: what a project accepts, in TOML. A policy can only refuse more than the rules in `decide` do, or say which
//! grants and licences it accepts; none can switch a denial off.
//!
//! ```toml
//! name = "open-licences"
//! purpose = "ai_generative_training"
//! [refuse]
//! ai_generated = true        # pictures that say a machine made them
//! needs_review = true        # pictures with a signal that did not parse, or near to a denied one
//! duplicates = true          # a second file with the same pixels, in a snapshot
//! without_caption = false    # pictures without a caption, in a snapshot
//! [grants]
//! ledger = true              # grants recorded with `assent grant`
//! licensees = []             # … to these; empty: to anybody
//! signals = ["signed", "trusted"]  # how a grant in a file must be authenticated; empty: none counts
//! [licenses.accept]          # SPDX identifier = what it obliges to
//! "CC0-1.0" = []
//! "CC-BY-4.0" = ["attribution"]
//! ```

use std::str::FromStr;

use spdx::Licensee;
use toml::{Table, Value};

use super::types::{Authentication, Obligation, Purpose};
use crate::digest::Sha256Digest;

/// More entries than this are refused: the search for the least set of licences doubles with each.
const MAX_LICENSES: usize = 20;

/// A policy that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The text is no TOML.
    #[error("expected TOML, got an error at line {line}: {message}")]
    Syntax {
        /// The line, from 1.
        line: usize,
        /// What the parser says.
        message: String,
    },
    /// A key is missing or holds something else.
    #[error("at `{key}`: expected {expected}, got {found}")]
    Key {
        /// The key with the tables it is in.
        key: String,
        /// What should be there.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// An accepted licence with what it obliges to.
#[derive(Debug, Clone, PartialEq)]
pub struct AcceptedLicense {
    /// The licence.
    pub license: Licensee,
    /// What it obliges to, sorted.
    pub obligations: Vec<Obligation>,
}

/// What a project accepts.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What it is for, for people.
    pub description: String,
    /// The purpose that is decided on.
    pub purpose: Purpose,
    /// Refuse pictures that say a machine made them.
    pub refuse_ai_generated: bool,
    /// Refuse pictures that a person should look at first.
    pub refuse_needs_review: bool,
    /// Refuse a second file with the same pixels, in a snapshot.
    pub refuse_duplicates: bool,
    /// Refuse pictures without a caption, in a snapshot.
    pub refuse_without_caption: bool,
    /// Accept grants of the ledger.
    pub ledger_grants: bool,
    /// … only to these; empty: to anybody.
    pub licensees: Vec<String>,
    /// How a grant found with the picture must be authenticated.
    pub signal_grants: Vec<Authentication>,
    /// Licences that suffice, those with the fewest obligations first.
    pub licenses: Vec<AcceptedLicense>,
    /// The text it was read from.
    pub text: String,
}

impl Policy {
    /// Digest of the text: what a decision names as its policy.
    pub fn digest(&self) -> Sha256Digest {
        Sha256Digest::of_bytes(self.text.as_bytes())
    }

    /// Reads a policy. Unknown keys are errors: a misspelt refusal would otherwise allow.
    pub fn parse(text: &str) -> Result<Policy, PolicyError> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| PolicyError::Syntax {
            line: error
                .span()
                .map_or(1, |span| text[..span.start.min(text.len())].lines().count().max(1)),
            message: error.message().to_string(),
        })?;
        let top = Section {
            name: "",
            table: Some(&table),
        };
        top.only(&["name", "description", "purpose", "refuse", "grants", "licenses"])?;
        let refuse = top.section("refuse")?;
        refuse.only(&["ai_generated", "needs_review", "duplicates", "without_caption"])?;
        let grants = top.section("grants")?;
        grants.only(&["ledger", "licensees", "signals"])?;
        let licenses = top.section("licenses")?;
        licenses.only(&["accept"])?;
        Ok(Policy {
            name: top
                .text("name")?
                .ok_or_else(|| top.missing("name", "a name in quotes"))?,
            description: top.text("description")?.unwrap_or_default(),
            purpose: match top.text("purpose")? {
                Some(word) => parse_word(&top.path("purpose"), &word)?,
                None => return Err(top.missing("purpose", "a purpose, as in `\"ai_generative_training\"`")),
            },
            refuse_ai_generated: refuse.flag("ai_generated", true)?,
            refuse_needs_review: refuse.flag("needs_review", true)?,
            refuse_duplicates: refuse.flag("duplicates", true)?,
            refuse_without_caption: refuse.flag("without_caption", false)?,
            ledger_grants: grants.flag("ledger", true)?,
            licensees: grants.texts("licensees")?,
            signal_grants: grants.words("signals")?,
            licenses: accepted(&licenses.section("accept")?)?,
            text: text.to_string(),
        })
    }
}

/// The licences of the table, those with the fewest obligations first, so that a choice between two falls on it.
fn accepted(section: &Section<'_>) -> Result<Vec<AcceptedLicense>, PolicyError> {
    let mut accepted = Vec::new();
    for name in section.table.into_iter().flat_map(Table::keys) {
        let license = Licensee::parse(name).map_err(|error| PolicyError::Key {
            key: section.path(name),
            expected: "one SPDX identifier, as in `CC0-1.0`".to_string(),
            found: format!("`{name}` ({})", error.reason),
        })?;
        let mut obligations = section.words(name)?;
        obligations.sort_unstable();
        obligations.dedup();
        accepted.push(AcceptedLicense { license, obligations });
    }
    if accepted.len() > MAX_LICENSES {
        let (expected, found) = (format!("at most {MAX_LICENSES} licences"), accepted.len().to_string());
        return Err(PolicyError::Key {
            key: section.name.to_string(),
            expected,
            found,
        });
    }
    accepted.sort_by_key(|license| license.obligations.len());
    Ok(accepted)
}

fn parse_word<T: FromStr<Err = super::UnknownWord>>(key: &str, word: &str) -> Result<T, PolicyError> {
    word.parse().map_err(|error: super::UnknownWord| PolicyError::Key {
        key: key.to_string(),
        expected: format!("{} ({})", error.what, error.expected),
        found: format!("`{}`", error.found),
    })
}

/// A table of the file, or none, with the name it goes by in messages.
struct Section<'a> {
    name: &'a str,
    table: Option<&'a Table>,
}

impl<'a> Section<'a> {
    fn path(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_string()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    fn wrong(&self, key: &str, expected: &str, found: &Value) -> PolicyError {
        let found = format!(
            "{} `{}`",
            found.type_str(),
            found.to_string().chars().take(60).collect::<String>()
        );
        PolicyError::Key {
            key: self.path(key),
            expected: expected.to_string(),
            found,
        }
    }

    fn missing(&self, key: &str, expected: &str) -> PolicyError {
        PolicyError::Key {
            key: self.path(key),
            expected: expected.to_string(),
            found: "nothing".to_string(),
        }
    }

    fn only(&self, known: &[&str]) -> Result<(), PolicyError> {
        match self
            .table
            .into_iter()
            .flat_map(Table::keys)
            .find(|key| !known.contains(&key.as_str()))
        {
            None => Ok(()),
            Some(key) => Err(PolicyError::Key {
                key: self.path(key),
                expected: format!("one of {}", known.join(", ")),
                found: format!("the unknown key `{key}`"),
            }),
        }
    }

    fn get(&self, key: &str) -> Option<&'a Value> {
        self.table.and_then(|table| table.get(key))
    }

    fn section(&self, key: &'static str) -> Result<Section<'a>, PolicyError> {
        // Only `licenses.accept` is deeper than one table.
        let name = if self.name.is_empty() { key } else { "licenses.accept" };
        match self.get(key) {
            None => Ok(Section { name, table: None }),
            Some(Value::Table(table)) => Ok(Section {
                name,
                table: Some(table),
            }),
            Some(other) => Err(self.wrong(key, "a table", other)),
        }
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, PolicyError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Boolean(flag)) => Ok(*flag),
            Some(other) => Err(self.wrong(key, "true or false", other)),
        }
    }

    fn text(&self, key: &str) -> Result<Option<String>, PolicyError> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong(key, "text in quotes", other)),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, PolicyError> {
        let items = match self.get(key) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(other) => return Err(self.wrong(key, "a list of texts", other)),
        };
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            other => Err(self.wrong(key, "a list of texts", other)),
        };
        items.iter().map(text).collect()
    }

    fn words<T: FromStr<Err = super::UnknownWord>>(&self, key: &str) -> Result<Vec<T>, PolicyError> {
        self.texts(key)?
            .iter()
            .map(|word| parse_word(&self.path(key), word))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_key_expected_and_found() {
        let head = "name = \"p\"\npurpose = \"ai_training\"\n";
        for (text, message) in [
            (
                "purpose = \"ai_training\"",
                "at `name`: expected a name in quotes, got nothing",
            ),
            (
                "name = \"p\"",
                "at `purpose`: expected a purpose, as in `\"ai_generative_training\"`, got nothing",
            ),
            (
                &format!("{head}[refuse]\nai_generated = \"yes\""),
                "at `refuse.ai_generated`: expected true or false, got string `\"yes\"`",
            ),
            (
                &format!("{head}[refuse]\nai_genrated = true"),
                "at `refuse.ai_genrated`: expected one of ai_generated, needs_review, duplicates, without_caption, \
                 got the unknown key `ai_genrated`",
            ),
            (
                &format!("{head}[grants]\nsignals = [\"sealed\"]"),
                "at `grants.signals`: expected an authentication (none, invalid, signed, trusted), got `sealed`",
            ),
            (
                &format!("{head}[licenses.accept]\n\"CC0\" = []"),
                "at `licenses.accept.CC0`: expected one SPDX identifier, as in `CC0-1.0`, got `CC0` (unknown term)",
            ),
            (
                &format!("{head}refuse = 3"),
                "at `refuse`: expected a table, got integer `3`",
            ),
        ] {
            assert_eq!(Policy::parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(
            Policy::parse(&format!("{head}[refuse\n")),
            Err(PolicyError::Syntax { line: 3, .. })
        ));
    }

    #[test]
    fn shipped_policies_refuse_what_nobody_spoke_of() {
        for (text, name) in [
            (include_str!("../../configs/policy-opt-in.toml"), "opt-in"),
            (include_str!("../../configs/policy-open-licences.toml"), "open-licences"),
        ] {
            let policy = Policy::parse(text).unwrap();
            assert_eq!(policy.name, name);
            assert!(policy.refuse_ai_generated && policy.refuse_needs_review && policy.refuse_duplicates);
            assert!(!policy.signal_grants.contains(&Authentication::None));
        }
    }
}
