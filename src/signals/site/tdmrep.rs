//! The W3C's TDM Reservation Protocol on a site: `tdmrep.json`, two response headers, two `<meta>` elements.

use serde_json::Value;

use super::pattern::Pattern;
use crate::consent::{Purpose, State};

/// Rules of one file that are read.
const MOST_RULES: usize = 10_000;

/// A declaration: reserved or not, and the address of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declaration {
    /// Whether rights are reserved.
    pub reserved: bool,
    /// Where the terms stand under which mining may be allowed.
    pub policy: Option<String>,
}

impl Declaration {
    /// The declaration of a header or a `<meta>`; `Err` when the value is none that the protocol knows.
    pub fn new(reservation: &str, policy: Option<&str>) -> Result<Self, String> {
        let reserved = match reservation.trim() {
            "1" => true,
            "0" => false,
            _ => return Err("`tdm-reservation` is neither 0 nor 1".to_string()),
        };
        Ok(Declaration {
            reserved,
            policy: policy.map(|policy| policy.trim().to_string()).filter(|p| !p.is_empty()),
        })
    }

    /// It as one line.
    pub fn raw(&self) -> String {
        let mut raw = format!("tdm-reservation: {}", u8::from(self.reserved));
        if let Some(policy) = &self.policy {
            raw.push_str(&format!("; tdm-policy: {policy}"));
        }
        raw
    }

    /// What it says: rights reserved without a policy is a refusal, with one a condition; not reserved frees mining
    /// alone.
    pub fn says(&self) -> (State, &'static [Purpose]) {
        const ALL: &[Purpose] = &[Purpose::DataMining, Purpose::AiTraining, Purpose::AiGenerativeTraining];
        match (self.reserved, &self.policy) {
            (true, None) => (State::Denied, ALL),
            (true, Some(_)) => (State::Constrained, ALL),
            (false, _) => (State::Granted, &[Purpose::DataMining]),
        }
    }
}

/// A parsed `tdmrep.json`: patterns in their order, each with a declaration unless its value is unknown.
#[derive(Debug, Default)]
pub(super) struct TdmFile {
    rules: Vec<(Pattern, Result<Declaration, String>)>,
    /// What does not parse.
    pub problems: Vec<String>,
}

impl TdmFile {
    /// Reads the file: a JSON array of objects with `location`, `tdm-reservation` and `tdm-policy`.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = TdmFile::default();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let rules = match serde_json::from_slice(bytes) {
            Ok(Value::Array(rules)) => rules,
            Ok(_) => {
                file.problems.push("`tdmrep.json` is not an array of rules".to_string());
                return file;
            }
            Err(error) => {
                file.problems.push(format!("`tdmrep.json` does not parse: {error}"));
                return file;
            }
        };
        if rules.len() > MOST_RULES {
            file.problems
                .push(format!("`tdmrep.json` has more than {MOST_RULES} rules"));
        }
        for (number, rule) in (1..).zip(rules.iter().take(MOST_RULES)) {
            let location = rule.get("location").and_then(Value::as_str);
            let Some(pattern) = location.and_then(|location| {
                let rooted = location.starts_with(['/', '*']) || location.contains("://");
                Pattern::new(&if rooted {
                    location.to_string()
                } else {
                    format!("/{location}")
                })
            }) else {
                file.problems.push(format!(
                    "rule {number} of `tdmrep.json` has no `location` that can be read"
                ));
                continue;
            };
            let reservation = match rule.get("tdm-reservation") {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            let declaration = Declaration::new(&reservation, rule.get("tdm-policy").and_then(Value::as_str));
            file.rules.push((pattern, declaration));
        }
        file
    }

    /// What the first matching rule says about a path in canonical form.
    pub fn declaration(&self, path: &[u8]) -> Option<&Result<Declaration, String>> {
        self.rules
            .iter()
            .find(|(pattern, _)| pattern.matches(path))
            .map(|(_, declaration)| declaration)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_location_that_matches_speaks() {
        let file = TdmFile::parse(
            br#"[
                {"location": "/in/directory-a/*.jpg$", "tdm-reservation": 1},
                {"location": "/in/directory-a/", "tdm-reservation": 0},
                {"location": "/in/directory-b/", "tdm-reservation": 1, "tdm-policy": "https://provider.com/policies/policy.json"},
                {"location": "odd", "tdm-reservation": 2},
                {"location": "/", "tdm-reservation": "1"}
            ]"#,
        );
        assert!(file.problems.is_empty());
        let says = |path: &str| {
            let found = file.declaration(path.as_bytes()).unwrap();
            found.as_ref().map(|found| found.says().0).ok()
        };
        assert_eq!(says("/in/directory-a/x.jpg"), Some(State::Denied));
        assert_eq!(says("/in/directory-a/x.png"), Some(State::Granted));
        assert_eq!(says("/in/directory-b/x.png"), Some(State::Constrained));
        assert_eq!(says("/odd.png"), None);
        assert_eq!(says("/else.png"), Some(State::Denied));
        assert!(TdmFile::parse(b"[]").declaration(b"/a").is_none());
    }

    #[test]
    fn what_is_no_list_of_rules_says_nothing() {
        for text in [
            "{\"location\": \"/\", \"tdm-reservation\": 0}",
            "[",
            "",
            "[{\"tdm-reservation\": 0}]",
            "[3]",
        ] {
            let file = TdmFile::parse(text.as_bytes());
            assert_eq!(
                (file.problems.len(), file.declaration(b"/a").is_some()),
                (1, false),
                "{text}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600), value in "[0-9a-z\"{}\\[\\]:,]{0,20}") {
            TdmFile::parse(&bytes).declaration(b"/a");
            let text = format!(r#"[{{"location": "/*a$", "tdm-reservation": {value}}}]"#);
            TdmFile::parse(text.as_bytes()).declaration(b"/a");
        }
    }
}
