//! Canonical JSON: sorted keys, no spaces, so that equal values are equal bytes and can be digested.
//!
//! Numbers with a fraction are refused: two programs may write the same one differently. Counts, digests, texts and
//! times (RFC 3339 in UTC) are all an artefact needs.

use serde::Serialize;
use serde_json::Value;

use super::Sha256Digest;

/// A value that has no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value does not serialise to JSON.
    #[error("the value does not serialise to JSON")]
    Serialize(#[from] serde_json::Error),
    /// A number is not a whole number.
    #[error("expected whole numbers, got `{found}` at `{key}`")]
    Fraction {
        /// Where it stands, as a path of keys.
        key: String,
        /// The number.
        found: String,
    },
}

/// The canonical JSON of a value: keys sorted by their bytes, no white space, UTF-8, one value.
pub fn canonical_json<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CanonicalError> {
    let value = serde_json::to_value(value)?;
    let mut bytes = Vec::new();
    write(&value, "$", &mut bytes)?;
    Ok(bytes)
}

/// The SHA-256 of the canonical JSON of a value.
pub fn canonical_digest<T: Serialize + ?Sized>(value: &T) -> Result<Sha256Digest, CanonicalError> {
    Ok(Sha256Digest::of_bytes(&canonical_json(value)?))
}

/// Writes one value; `key` is only for the message of an error.
fn write(value: &Value, key: &str, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) if number.is_f64() => {
            return Err(CanonicalError::Fraction {
                key: key.to_string(),
                found: number.to_string(),
            });
        }
        Value::Array(items) => {
            bytes.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                write(item, key, bytes)?;
            }
            bytes.push(b']');
        }
        Value::Object(fields) => {
            // Sorted here, whatever order the map of this build of serde_json keeps.
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by(|a, b| a.0.cmp(b.0));
            bytes.push(b'{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    bytes.push(b',');
                }
                serde_json::to_writer(&mut *bytes, name)?;
                bytes.push(b':');
                write(field, name, bytes)?;
            }
            bytes.push(b'}');
        }
        other => serde_json::to_writer(bytes, other)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth_and_nothing_is_spaced() {
        let bytes = canonical_json(&json!({"b": [1, {"z": null, "a": "é\n"}], "a": true})).unwrap();
        assert_eq!(
            String::from_utf8(bytes).unwrap(),
            r#"{"a":true,"b":[1,{"a":"é\n","z":null}]}"#
        );
    }

    #[test]
    fn a_fraction_is_refused_by_name() {
        let error = canonical_json(&json!({"rate": 0.5})).unwrap_err();
        assert_eq!(error.to_string(), "expected whole numbers, got `0.5` at `rate`");
    }
}
