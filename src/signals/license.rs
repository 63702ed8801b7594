//! What says under which licence → an SPDX expression: identifiers and Creative Commons addresses.

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
