//! JSON in one form, identifiers from digests, and text that is safe in YAML.

use jiff::Timestamp;
use serde_json::Value;

use crate::digest::{CanonicalError, Sha256Digest};

/// Indented JSON with sorted keys and a line end.
pub(super) fn json(mut value: Value) -> Result<String, CanonicalError> {
    value.sort_all_objects();
    let mut text = serde_json::to_string_pretty(&value)?;
    text.push('\n');
    Ok(text)
}

/// A text with one line end.
pub(super) fn ended(text: String) -> String {
    format!("{}\n", text.trim_end())
}

/// A UUID of version 8 (RFC 9562) from the first 128 bits of a digest.
pub(super) fn uuid(digest: &Sha256Digest) -> String {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
    format!(
        "{}-{}-{}-{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 16),
        part(16, 20),
        part(20, 32)
    )
}

/// A time in whole seconds of UTC, as SPDX asks for it.
pub(super) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A text as a double-quoted YAML scalar on one line: what YAML 1.1 does not call printable is escaped.
pub(super) fn yaml(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            ' '..='~' => out.push(c),
            '\u{2028}' | '\u{2029}' | '\u{feff}' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            '\u{a0}'..='\u{fffd}' | '\u{10000}'.. => out.push(c),
            c => out.push_str(&format!("\\u{:04X}", u32::from(c))),
        }
    }
    out.push('"');
    out
}
