//! What says under which licence → an SPDX expression: identifiers, Creative Commons addresses, REUSE sidecars.

/// What a REUSE sidecar says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reuse {
    /// Who holds the copyright, without years and addresses.
    pub holders: Vec<String>,
    /// SPDX expressions.
    pub licenses: Vec<String>,
    /// Lines that are not understood.
    pub problems: Vec<String>,
}

/// Reads `NAME.license`: lines with `SPDX-FileCopyrightText:` and `SPDX-License-Identifier:`, in comments or not.
pub(super) fn reuse(sidecar: &[u8]) -> Reuse {
    let mut found = Reuse::default();
    for line in String::from_utf8_lossy(sidecar).lines() {
        // The tags in parts: spelt out they would be taken for this file's own.
        if let Some(text) = after(line, concat!("SPDX-", "FileCopyrightText:")) {
            push_new(&mut found.holders, holder(text));
        } else if let Some(text) = after(line, concat!("SPDX-", "License-Identifier:")) {
            let text = text.trim_end_matches("-->").trim_end_matches("*/").trim();
            match expression(text) {
                Some(license) => push_new(&mut found.licenses, Some(license)),
                None => found
                    .problems
                    .push(format!("`{}` is no SPDX expression", super::claims::shortened(text))),
            }
        }
    }
    if found.licenses.is_empty() && found.problems.is_empty() {
        found.problems.push("the REUSE sidecar names no licence".to_string());
    }
    found
}

fn after<'a>(line: &'a str, tag: &str) -> Option<&'a str> {
    line.split_once(tag).map(|(_, text)| text.trim())
}

fn push_new(list: &mut Vec<String>, text: Option<String>) {
    if let Some(text) = text
        && !list.contains(&text)
    {
        list.push(text);
    }
}

/// `© 2019-2021 A. Name <a@example.org>` → `A. Name`.
fn holder(text: &str) -> Option<String> {
    let mut text = text.split('<').next().unwrap_or_default().trim();
    loop {
        let stripped = text.trim_start_matches(|c: char| {
            c.is_ascii_digit() || c.is_whitespace() || matches!(c, '©' | '-' | '–' | ',')
        });
        let lower = stripped.to_lowercase();
        let next = match ["copyright", "(c)", "spdx-filecopyrighttext:"]
            .iter()
            .find(|word| lower.starts_with(**word))
        {
            // The words are ASCII, so their length holds in either letter case.
            Some(word) => stripped.get(word.len()..).unwrap_or_default(),
            None => stripped,
        };
        if next == text {
            break;
        }
        text = next;
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    (!text.is_empty()).then_some(text)
}

/// The text as a valid SPDX expression, if it is one.
pub fn expression(text: &str) -> Option<String> {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    spdx::Expression::parse(&text).ok().map(|_| text)
}

/// The SPDX identifier that an address or an identifier in free text names, if it names one for certain.
pub(super) fn named(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(expression) = expression(text) {
        return Some(expression);
    }
    let lower = text.to_lowercase();
    if lower.contains("creativecommons.org/publicdomain/zero/1.0") {
        return Some("CC0-1.0".to_string());
    }
    if lower.contains("creativecommons.org/publicdomain/mark")
        || lower.contains("creativecommons.org/licenses/publicdomain")
    {
        return Some("LicenseRef-Public-Domain".to_string());
    }
    let (_, path) = lower.split_once("creativecommons.org/licenses/")?;
    let mut parts = path.split(|c: char| c == '/' || c.is_whitespace());
    let (terms, version) = (parts.next()?, parts.next()?);
    let version: String = version
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    let license = format!("CC-{}-{version}", terms.to_uppercase());
    spdx::license_id(&license).map(|id| id.name.to_string())
}
