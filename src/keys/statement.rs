//! In-toto statements: what is said (the predicate) about what (the subjects), by the digests of these.
//! <https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{Envelope, SecretKey};
use crate::digest::{CanonicalError, Sha256Digest, canonical_json};

/// What a statement is called in an envelope.
pub const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// A statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Statement<P> {
    /// `https://in-toto.io/Statement/v1`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// What it is about.
    pub subject: Vec<Subject>,
    /// What kind of predicate it is: a URI.
    pub predicate_type: String,
    /// What is stated.
    pub predicate: P,
}

/// What a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its digest.
    pub digest: SubjectDigest,
}

/// A digest as in-toto writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// SHA-256.
    pub sha256: Sha256Digest,
}

impl<P: Serialize + DeserializeOwned> Statement<P> {
    /// A statement about one thing.
    pub fn about(name: &str, sha256: Sha256Digest, predicate_type: &str, predicate: P) -> Self {
        Statement {
            kind: STATEMENT.to_string(),
            subject: vec![Subject {
                name: name.to_string(),
                digest: SubjectDigest { sha256 },
            }],
            predicate_type: predicate_type.to_string(),
            predicate,
        }
    }

    /// The statement with this predicate in this JSON.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(json: &[u8], predicate_type: &str) -> Result<Self, String> {
        let statement: Self = serde_json::from_slice(json)
            .map_err(|error| format!("expected an in-toto statement with `{predicate_type}`: {error}"))?;
        match statement.kind == STATEMENT && statement.predicate_type == predicate_type {
            true => Ok(statement),
            false => Err(format!(
                "expected `{STATEMENT}` with `{predicate_type}`, got something else"
            )),
        }
    }

    /// Its canonical JSON: what a signature is made of.
    pub fn bytes(&self) -> Result<Vec<u8>, CanonicalError> {
        canonical_json(self)
    }

    /// It in an envelope that the key signs.
    pub fn sign(&self, key: &SecretKey) -> Result<Envelope, CanonicalError> {
        Ok(Envelope::sign(STATEMENT_PAYLOAD_TYPE, self.bytes()?, key))
    }

    /// Name and digest of the first thing that it is about.
    pub fn first(&self) -> Option<(&str, Sha256Digest)> {
        self.subject.first().map(|one| (one.name.as_str(), one.digest.sha256))
    }
}
