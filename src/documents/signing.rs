//! A signature of a model's files as OpenSSF's model signing makes it
//! (<https://github.com/sigstore/model-transparency>): an in-toto statement of their digests in a DSSE envelope, in a
//! bundle of Sigstore in its format 0.3.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{DocumentError, text};
use crate::digest::{Sha256Digest, canonical_json};
use crate::keys::EcdsaKey;

/// The kind of payload that the envelope holds.
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// What is in a model's folder and no part of it, as its tools leave it out.
pub const IGNORED: &[&str] = &[".git", ".gitattributes", ".github", ".gitignore"];

/// The files of a model.
#[derive(Debug, Clone, Default)]
pub struct Files {
    /// What the model is called.
    pub name: String,
    /// Each by its path in the model's folder, with slashes; a model of one file has the path `.`.
    pub digests: BTreeMap<String, Sha256Digest>,
    /// Paths in the folder that are left out.
    pub ignored: Vec<String>,
}

/// The bundle that `model_signing verify key` reads.
///
/// # Errors
/// If the key has no PEM form.
pub fn model_signing(files: &Files, key: &EcdsaKey) -> Result<String, DocumentError> {
    let envelope = key.seal(PAYLOAD_TYPE, canonical_json(&statement(files))?);
    // The hint is what its own signer gives: the SHA-256 of the public key's PEM file.
    let hint = Sha256Digest::of_bytes(key.public_pem()?.as_bytes());
    let mut envelope = serde_json::to_value(&envelope).map_err(crate::digest::CanonicalError::from)?;
    envelope["signatures"][0]["keyid"] = json!("");
    Ok(text::json(json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": hint}, "tlogEntries": []},
        "dsseEnvelope": envelope,
    }))?)
}

/// The statement: each file's digest, and as its subject the digest of them all, one after the other.
fn statement(files: &Files) -> Value {
    let all: Vec<u8> = files.digests.values().flat_map(|digest| *digest.as_bytes()).collect();
    let resources: Vec<Value> = files
        .digests
        .iter()
        .map(|(name, digest)| json!({"name": name, "algorithm": "sha256", "digest": digest}))
        .collect();
    let mut serialization = json!({"method": "files", "hash_type": "sha256", "allow_symlinks": false});
    if !files.ignored.is_empty() {
        serialization["ignore_paths"] = json!(files.ignored);
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": files.name, "digest": {"sha256": Sha256Digest::of_bytes(&all)}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": serialization, "resources": resources},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_names_every_file_and_the_digest_of_all() {
        let (one, two) = (Sha256Digest::from_bytes([1; 32]), Sha256Digest::from_bytes([2; 32]));
        let files = Files {
            name: "rings".into(),
            digests: [("b/c.json".to_string(), two), ("a.safetensors".to_string(), one)].into(),
            ignored: vec!["model.sig".into()],
        };
        let statement = statement(&files);
        assert_eq!(statement["predicate"]["resources"][0]["name"], "a.safetensors");
        assert_eq!(statement["predicate"]["resources"][1]["digest"], two.to_string());
        assert_eq!(statement["predicate"]["serialization"]["ignore_paths"][0], "model.sig");
        let all = Sha256Digest::of_bytes(&[[1; 32], [2; 32]].concat());
        assert_eq!(statement["subject"][0]["digest"]["sha256"], all.to_string());
    }
}
