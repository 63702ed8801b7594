//! REUSE 3.3: `NAME.license` and `REUSE.toml`.

use toml::{Table, Value};

use super::glob::Glob;
use super::notice::{COPYRIGHT_TAG, holder};
use crate::signals::claims::shortened;
use crate::signals::license::expression;

const LICENSE_TAG: &str = concat!("SPDX-", "License-Identifier:");
/// Annotations of one file, and patterns of one annotation.
const MOST: usize = 10_000;

/// What one source says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Terms {
    /// The notices as they stand there.
    pub notices: Vec<String>,
    /// SPDX expressions.
    pub licenses: Vec<String>,
    /// What is not understood.
    pub problems: Vec<String>,
}

impl Terms {
    /// Whether a licence is named, understood or not.
    pub fn licensed(&self) -> bool {
        !(self.licenses.is_empty() && self.problems.is_empty())
    }

    fn add_notice(&mut self, text: &str) {
        let text = shortened(text.trim());
        if holder(&text).is_some() && !self.notices.contains(&text) {
            self.notices.push(text);
        }
    }

    fn add_license(&mut self, text: &str) {
        match expression(text) {
            Some(license) if !self.licenses.contains(&license) => self.licenses.push(license),
            Some(_) => {}
            None => self
                .problems
                .push(format!("`{}` is no SPDX expression", shortened(text))),
        }
    }
}

/// Reads `NAME.license`: tags, and plain notices, in comments or not; nothing between `REUSE-IgnoreStart` and
/// `REUSE-IgnoreEnd`.
pub(super) fn sidecar(bytes: &[u8]) -> Terms {
    let mut terms = Terms::default();
    let mut ignoring = false;
    for line in String::from_utf8_lossy(bytes).lines().take(MOST) {
        if line.contains(concat!("REUSE-", "IgnoreStart")) {
            ignoring = true;
        } else if line.contains(concat!("REUSE-", "IgnoreEnd")) {
            ignoring = false;
            continue;
        }
        if ignoring {
            continue;
        }
        let text = line.trim_end_matches("-->").trim_end_matches("*/");
        if let Some((_, text)) = text.split_once(COPYRIGHT_TAG) {
            terms.add_notice(text);
        } else if let Some((_, text)) = text.split_once(LICENSE_TAG) {
            terms.add_license(text.trim());
        } else {
            let text = text.trim_start_matches(|c: char| c.is_whitespace() || "#/*;<!-".contains(c));
            let lower = text.to_lowercase();
            if text.starts_with('©') || lower.starts_with("copyright ©") || lower.starts_with("copyright (c)") {
                terms.add_notice(text);
            }
        }
    }
    terms
}

/// How an annotation stands to what lies closer to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Precedence {
    /// It counts where nothing closer speaks.
    Closest,
    /// It counts in any case.
    Aggregate,
    /// It counts instead of what is closer.
    Override,
}

/// One `[[annotations]]` table.
#[derive(Debug)]
pub(super) struct Annotation {
    globs: Vec<Glob>,
    pub precedence: Precedence,
    pub terms: Terms,
}

/// A parsed `REUSE.toml`.
#[derive(Debug, Default)]
pub(super) struct ReuseToml {
    annotations: Vec<Annotation>,
    /// What is wrong with the file as a whole.
    pub problems: Vec<String>,
}

impl ReuseToml {
    /// Reads the file; a table that is not understood costs a problem and leaves the others.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = ReuseToml::default();
        let text = String::from_utf8_lossy(bytes);
        let table: Table = match text.trim_start_matches('\u{feff}').parse() {
            Ok(table) => table,
            Err(error) => {
                let error = shortened(toml::de::Error::message(&error));
                file.problems.push(format!("`REUSE.toml` does not parse: {error}"));
                return file;
            }
        };
        if table.get("version").and_then(Value::as_integer) != Some(1) {
            file.problems.push("`REUSE.toml` is not of version 1".to_string());
        }
        let tables = match table.get("annotations") {
            Some(Value::Array(tables)) => tables.as_slice(),
            None => &[],
            Some(_) => {
                file.problems
                    .push("`annotations` of `REUSE.toml` is no list of tables".to_string());
                &[]
            }
        };
        if tables.len() > MOST {
            file.problems
                .push(format!("`REUSE.toml` has more than {MOST} annotations"));
        }
        for (number, table) in (1..).zip(tables.iter().take(MOST)) {
            match annotation(table) {
                Ok(annotation) => file.annotations.push(annotation),
                Err(problem) => file
                    .problems
                    .push(format!("annotation {number} of `REUSE.toml` {problem}")),
            }
        }
        file
    }

    /// The annotation for a path below the file's folder: the last that matches.
    pub fn annotation(&self, path: &str) -> Option<&Annotation> {
        self.annotations
            .iter()
            .rfind(|annotation| annotation.globs.iter().any(|glob| glob.matches(path)))
    }
}

fn annotation(table: &Value) -> Result<Annotation, String> {
    let texts = |key: &str| -> Result<Vec<&str>, String> {
        match table.get(key) {
            None => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![text]),
            Some(Value::Array(texts)) if texts.len() <= MOST => texts
                .iter()
                .map(|text| text.as_str().ok_or(format!("has a `{key}` that is not text")))
                .collect(),
            Some(_) => Err(format!("has a `{key}` that is neither text nor a list of texts")),
        }
    };
    let globs = texts("path")?;
    if globs.is_empty() {
        return Err("names no `path`".to_string());
    }
    let globs = globs
        .into_iter()
        .map(|glob| Glob::reuse(glob).ok_or("has a `path` that is too long".to_string()))
        .collect::<Result<_, _>>()?;
    let precedence = match table.get("precedence").map(Value::as_str) {
        None | Some(Some("closest")) => Precedence::Closest,
        Some(Some("aggregate")) => Precedence::Aggregate,
        Some(Some("override")) => Precedence::Override,
        Some(_) => return Err("has a `precedence` other than `closest`, `aggregate` and `override`".to_string()),
    };
    let mut terms = Terms::default();
    for notice in texts("SPDX-FileCopyrightText")? {
        terms.add_notice(notice);
    }
    for license in texts(LICENSE_TAG.trim_end_matches(':'))? {
        terms.add_license(license);
    }
    Ok(Annotation {
        globs,
        precedence,
        terms,
    })
}
