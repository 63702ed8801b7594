//! The C2PA manifest of a picture: making and signing it, and checking one that is there.
//!
//! Its action is `c2pa.created` with IPTC's source type; base, adapters and the picture that was drawn over are
//! ingredients with the relation `inputTo`, each named by its digest; the label stands in the assertion
//! `assent.label`. It is signed with the certificate that a key makes for itself, so readers call the signature valid
//! and its signer unknown until they put that certificate on their list.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use c2pa::{Builder, Context, ManifestDefinition, Reader, Settings, Signer, SigningAlg};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Format, Label, LabelError, stable};
use crate::digest::Sha256Digest;
use crate::keys::{PublicKey, SecretKey};
use crate::signals::Trust;

/// The assertion that holds the label.
const ASSERTION: &str = "assent.label";
/// Bytes that the signature may take beyond its certificate.
const SIGNATURE: usize = 1024;
/// What a reader says of a signer whom nobody vouches for: expected of every local key.
const UNTRUSTED: &str = "signingCredential.untrusted";
/// What a reader says when the file's bytes are not those that were signed.
const CHANGED: &str = "assertion.dataHash.mismatch";

/// What does not hold in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// C2PA's status code.
    pub code: String,
    /// What the reader says of it.
    pub explanation: String,
}

/// A manifest that is in a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Signed {
    /// What does not hold; nothing where the signature and all hashes verify.
    pub problems: Vec<Problem>,
    /// The Ed25519 key that signed it; none for other kinds of keys.
    pub key: Option<PublicKey>,
    /// Who signed it, as the certificate says.
    pub signer: Option<String>,
    /// The label in it.
    pub label: Option<Label>,
}

impl Signed {
    /// Whether signature and hashes verify.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }

    /// Whether the file's bytes are not those that were signed.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.problems.iter().any(|problem| problem.code == CHANGED)
    }
}

/// A local key as C2PA's crate wants it.
struct Local<'a> {
    key: &'a SecretKey,
    certificate: Vec<u8>,
}

impl Signer for Local<'_> {
    fn sign(&self, data: &[u8]) -> c2pa::Result<Vec<u8>> {
        Ok(self.key.sign(data).to_vec())
    }

    fn alg(&self) -> SigningAlg {
        SigningAlg::Ed25519
    }

    fn certs(&self) -> c2pa::Result<Vec<Vec<u8>>> {
        Ok(vec![self.certificate.clone()])
    }

    fn reserve_size(&self) -> usize {
        self.certificate.len() + SIGNATURE
    }
}

/// Puts a signed manifest into a file.
pub(super) fn sign(file: Vec<u8>, format: Format, label: &Label, key: &SecretKey) -> Result<Vec<u8>, LabelError> {
    let refused = |error: c2pa::Error| LabelError::Sign(error.to_string());
    let signer = Local {
        key,
        certificate: key.certificate()?,
    };
    let mut settings = Settings::default();
    settings.core.allowed_network_hosts = Some(Vec::new());
    // Whoever calls this reads back and checks.
    settings.verify.verify_after_sign = false;
    let context = Context::new().with_settings(settings).map_err(refused)?;
    let definition: ManifestDefinition = serde_json::from_value(definition(&file, format, label, key)?)
        .map_err(|error| LabelError::Sign(error.to_string()))?;
    let mut builder = Builder::from_context(context);
    builder.definition = definition;
    let mut signed = Cursor::new(Vec::new());
    let store = builder
        .sign(&signer, format.media_type(), &mut Cursor::new(file), &mut signed)
        .map_err(refused)?;
    stable::settle(signed.into_inner(), &store, format, key)
}

fn definition(file: &[u8], format: Format, label: &Label, key: &SecretKey) -> Result<Value, LabelError> {
    let mut ingredients = vec![ingredient("base model", &label.base, true, None)];
    for adapter in &label.adapters {
        let receipt = adapter.receipt.map(|digest| format!("receipt sha256:{digest}"));
        let roots = adapter.snapshots().map(|root| format!("snapshot root {root}"));
        let says: Vec<String> = receipt.into_iter().chain(roots).collect();
        let says = (!says.is_empty()).then(|| says.join(", "));
        ingredients.push(ingredient("LoRA adapter", &adapter.sha256, true, says));
    }
    if let Some(vae) = &label.vae {
        ingredients.push(ingredient("VAE", vae, true, None));
    }
    if let Some(start) = &label.start {
        ingredients.push(ingredient("picture that was drawn over", start, false, None));
    }
    for (i, ingredient) in ingredients.iter_mut().enumerate() {
        ingredient["label"] = json!(format!("input-{i}"));
    }
    let ids: Vec<&Value> = ingredients.iter().map(|ingredient| &ingredient["label"]).collect();
    let (name, version) = label.program();
    let agent = json!({"name": name, "version": version});
    let created = json!({
        "action": "c2pa.created", "when": label.created_at, "softwareAgent": agent,
        "digitalSourceType": label.digital_source_type, "parameters": {"ingredientIds": ids},
    });
    let says = serde_json::to_value(label).map_err(|error| LabelError::Sign(error.to_string()))?;
    let id = identity(file, key);
    Ok(json!({
        "claim_generator_info": [agent], "format": format.media_type(),
        "label": format!("urn:c2pa:{id}"), "instance_id": format!("xmp:iid:{id}"),
        "ingredients": ingredients,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [created]}, "created": true},
            {"label": ASSERTION, "data": says, "kind": "Json", "created": true},
        ],
    }))
}

fn ingredient(title: &str, digest: &Sha256Digest, model: bool, says: Option<String>) -> Value {
    let mut ingredient = json!({
        "title": title, "relationship": "inputTo", "instance_id": format!("sha256:{digest}"),
    });
    if model {
        ingredient["data_types"] = json!([{"type": "c2pa.types.model"}]);
    }
    if let Some(says) = says {
        ingredient["description"] = json!(says);
    }
    ingredient
}

/// A name for the manifest that another file or another signer does not have: in the form of a random UUID (RFC 9562),
/// as C2PA wants it.
fn identity(file: &[u8], key: &SecretKey) -> String {
    let both = [
        Sha256Digest::of_bytes(file).as_bytes().as_slice(),
        key.public().as_bytes(),
    ]
    .concat();
    let mut id = [0; 16];
    id.copy_from_slice(&Sha256Digest::of_bytes(&both).as_bytes()[..16]);
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    let hex = hex::encode(id);
    format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}

/// Reads and verifies the manifest in a file of media type `kind`. The crate is large and the file may be a
/// stranger's: a panic in it is one more thing that does not hold.
pub(super) fn read(file: &[u8], kind: &str) -> Signed {
    let trust = Trust::default();
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Reader::from_shared_context(trust.context()).with_stream(kind, Cursor::new(file))
    }));
    let broken = |explanation: String| Signed {
        problems: vec![Problem {
            code: "claim.malformed".to_owned(),
            explanation,
        }],
        key: None,
        signer: None,
        label: None,
    };
    let reader = match opened {
        Ok(Ok(reader)) => reader,
        Ok(Err(error)) => return broken(error.to_string()),
        Err(_) => return broken("the reader of manifests broke down".to_owned()),
    };
    let Some(active) = reader.active_manifest() else {
        return broken("the store has no active manifest".to_owned());
    };
    let failed = reader.validation_status().unwrap_or_default().iter();
    let mut problems: Vec<Problem> = failed
        .filter(|status| status.code() != UNTRUSTED)
        .map(|status| Problem {
            code: status.code().to_owned(),
            explanation: status.explanation().unwrap_or_default().to_owned(),
        })
        .collect();
    if problems.is_empty() && reader.validation_state() == c2pa::ValidationState::Invalid {
        problems.extend(broken("the store does not verify".to_owned()).problems);
    }
    let chain = active.signature_info().map(|info| info.cert_chain().to_owned());
    let certificate = chain.and_then(|pem| x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).next()?.ok());
    let label = active
        .assertions()
        .iter()
        .find(|assertion| assertion.label() == ASSERTION)
        .and_then(|assertion| Label::parse(&assertion.value().ok()?.to_string()));
    Signed {
        problems,
        key: certificate.and_then(|pem| PublicKey::of_certificate(&pem.contents)),
        signer: active.common_name().or_else(|| active.issuer()),
        label,
    }
}
