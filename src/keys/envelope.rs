//! DSSE envelopes: a payload, what kind it is, and signatures of both.
//! <https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{PublicKey, SecretKey};

/// A larger envelope is refused, in bytes of its JSON.
pub const MAX_ENVELOPE_BYTES: usize = 64 << 20;
/// An envelope with more signatures is refused.
const MAX_SIGNATURES: usize = 16;

/// An envelope, as its JSON holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// What is signed; base64 in JSON.
    #[serde(with = "Base64")]
    pub payload: Vec<u8>,
    /// What kind of payload it is; signed too.
    #[serde(rename = "payloadType")]
    pub payload_type: String,
    /// Signatures of the payload and its type.
    pub signatures: Vec<Signed>,
}

/// A signature in an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// Which key made it: a hint that is not signed, so nothing is decided by it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keyid: String,
    /// The signature; base64 in JSON.
    #[serde(with = "Base64")]
    pub sig: Vec<u8>,
}

/// Why a text is no envelope, or an envelope shows nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// It is too large.
    #[error("expected an envelope of at most {MAX_ENVELOPE_BYTES} bytes, got {0}")]
    TooLarge(usize),
    /// It is no envelope.
    #[error("expected a DSSE envelope (`payload`, `payloadType`, `signatures`), got something else: {0}")]
    Malformed(String),
    /// Too many signatures, or none.
    #[error("expected 1 to {MAX_SIGNATURES} signatures, got {0}")]
    Count(usize),
    /// The payload is of another kind.
    #[error("expected a payload of the type `{expected}`, got `{found}`")]
    Type {
        /// The kind that was asked for.
        expected: String,
        /// The kind there is.
        found: String,
    },
    /// No signature is by the key.
    #[error("no signature in the envelope verifies under the key {0}")]
    Unverified(String),
}

impl Envelope {
    /// An envelope with one signature.
    pub fn sign(payload_type: &str, payload: Vec<u8>, key: &SecretKey) -> Self {
        let sig = key.sign(&encoded(payload_type, &payload)).to_vec();
        Self::holding(payload_type, payload, &key.public(), sig)
    }

    /// An envelope with a signature that was made before.
    pub fn holding(payload_type: &str, payload: Vec<u8>, key: &PublicKey, sig: Vec<u8>) -> Self {
        Envelope {
            payload,
            payload_type: payload_type.to_string(),
            signatures: vec![Signed {
                keyid: key.id().to_string(),
                sig,
            }],
        }
    }

    /// The envelope in this JSON.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if json.len() > MAX_ENVELOPE_BYTES {
            return Err(EnvelopeError::TooLarge(json.len()));
        }
        serde_json::from_slice(json).map_err(|error| EnvelopeError::Malformed(error.to_string()))
    }

    /// The payload, when it is of this type and this key signed it.
    pub fn verify(&self, payload_type: &str, key: &PublicKey) -> Result<&[u8], EnvelopeError> {
        if self.payload_type != payload_type {
            return Err(EnvelopeError::Type {
                expected: payload_type.to_string(),
                found: self.payload_type.chars().take(120).collect(),
            });
        }
        if !(1..=MAX_SIGNATURES).contains(&self.signatures.len()) {
            return Err(EnvelopeError::Count(self.signatures.len()));
        }
        let signed = encoded(&self.payload_type, &self.payload);
        if self.signatures.iter().any(|one| key.verifies(&signed, &one.sig)) {
            Ok(&self.payload)
        } else {
            Err(EnvelopeError::Unverified(key.id().short()))
        }
    }
}

/// DSSE's pre-authentication encoding: what is signed, in which no two pairs of type and payload are the same.
pub(super) fn encoded(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// Bytes as base64: written in the standard alphabet, read in that and in the one for addresses.
struct Base64;

impl Base64 {
    fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = STANDARD.decode(&text).or_else(|_| URL_SAFE.decode(&text));
        read.map_err(|_| serde::de::Error::custom("expected base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_specification() {
        let bytes = encoded("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            bytes, b"DSSEv1 29 http://example.com/HelloWorld 11 hello world",
            "the test vector of protocol.md"
        );
    }
}
