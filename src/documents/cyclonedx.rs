//! CycloneDX 1.7 (ECMA-424, <https://cyclonedx.org/docs/1.7/json/>): an adapter as a machine-learning model with its
//! card, the base it changes and the data it was trained on.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::model::Model;
use super::set::Set;
use super::{DocumentError, Subject, Told, text};
use crate::digest::canonical_digest;
use crate::receipt;

/// A bill of materials for an adapter, or for a training set alone. Its serial number is the digest of the rest.
///
/// # Errors
/// If a value has no canonical form.
pub fn cyclonedx(subject: &Subject, told: &Told, at: Timestamp) -> Result<String, DocumentError> {
    told.check()?;
    let sets = subject
        .sets
        .iter()
        .map(|set| data(set, told))
        .collect::<Result<Vec<_>, _>>()?;
    let mut bom = Map::new();
    let mut put = |key: &str, value: Value| drop(bom.insert(key.to_string(), value));
    let (main, components, dependencies) = match &subject.model {
        Some(model) => {
            let mut refs = vec![base_ref(model)];
            refs.extend(subject.sets.iter().map(set_ref));
            let mut components = vec![base(model, told)];
            components.extend(sets);
            let mut each = vec![json!({"ref": model_ref(model), "dependsOn": refs})];
            each.extend(refs.iter().map(|name| json!({"ref": name})));
            (adapter(model, subject, told), components, each)
        }
        None => {
            let mut sets = sets.into_iter();
            let each = subject.sets.iter().map(|set| json!({"ref": set_ref(set)})).collect();
            (sets.next().unwrap_or_default(), sets.collect(), each)
        }
    };
    put("$schema", json!("http://cyclonedx.org/schema/bom-1.7.schema.json"));
    put("bomFormat", json!("CycloneDX"));
    put("specVersion", json!("1.7"));
    put("version", json!(1));
    put(
        "metadata",
        json!({
            "timestamp": text::seconds(at), "component": main,
            "tools": {"components": [
                {"type": "application", "name": "assent", "version": env!("CARGO_PKG_VERSION")},
            ]},
        }),
    );
    if !components.is_empty() {
        put("components", json!(components));
    }
    put("dependencies", json!(dependencies));
    let serial = text::uuid(&canonical_digest(&bom)?);
    bom.insert("serialNumber".to_string(), json!(format!("urn:uuid:{serial}")));
    Ok(text::json(Value::Object(bom))?)
}

fn model_ref(model: &Model) -> String {
    format!("adapter:{}", model.sha256)
}

fn base_ref(model: &Model) -> String {
    format!("base:{}", model.sealed.receipt.claims.base)
}

fn set_ref(set: &Set) -> String {
    format!("snapshot:{}", set.claims.snapshot)
}

/// The adapter: its file, and as its card what its header, receipt and run record say.
fn adapter(model: &Model, subject: &Subject, told: &Told) -> Value {
    let claims = &model.sealed.receipt.claims;
    let mut out = component("machine-learning-model", &model_ref(model), &model.title(), told);
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_string(), value));
    if let Some(says) = model.entry("modelspec.description") {
        put("description", json!(says));
    }
    put("hashes", hashes(&model.sha256));
    if let Some(license) = model.license(told) {
        put("licenses", licenses(&[&license]));
    }
    put("modelCard", card(model, subject));
    let mut properties = vec![
        property("assent:adapter:tensors_sha256", &model.tensors),
        property("assent:receipt:sha256", &model.sealed.digest),
        property("assent:run", &claims.run),
        property("assent:run:program", &claims.program),
        property("assent:run:config_sha256", &claims.config),
        property("assent:run:seed", &claims.seed),
        property("assent:run:steps", &claims.steps),
    ];
    if let Some(from) = &claims.derived_from {
        properties.push(property("assent:adapter:converted_from_tensors_sha256", from));
    }
    let settings = claims.settings.iter();
    properties.extend(settings.map(|(name, value)| property(&format!("assent:setting:{name}"), value)));
    put("properties", json!(properties));
    Value::Object(out)
}

fn card(model: &Model, subject: &Subject) -> Value {
    let mut parameters = Map::new();
    let refs: Vec<Value> = subject.sets.iter().map(|set| json!({"ref": set_ref(set)})).collect();
    parameters.insert("task".into(), json!("text-to-image"));
    parameters.insert("datasets".into(), json!(refs));
    parameters.insert("inputs".into(), json!([{"format": "text"}]));
    parameters.insert("outputs".into(), json!([{"format": "image"}]));
    if let Some(architecture) = model.architecture() {
        parameters.insert("architectureFamily".into(), json!("latent diffusion"));
        parameters.insert("modelArchitecture".into(), json!(architecture));
    }
    let mut card = Map::new();
    card.insert("modelParameters".into(), Value::Object(parameters));
    let metrics: Vec<Value> = model
        .losses()
        .map(|(name, value)| json!({"type": format!("loss: {name}"), "value": value.to_string()}))
        .collect();
    if !metrics.is_empty() {
        card.insert("quantitativeAnalysis".into(), json!({"performanceMetrics": metrics}));
    }
    let mut considerations = Map::new();
    let duties: Vec<String> = subject
        .sets
        .iter()
        .filter(|set| !set.claims.obligations.is_empty())
        .map(|set| format!("Use obliges to: {}", receipt::counted(&set.claims.obligations)))
        .collect();
    if !duties.is_empty() {
        considerations.insert("technicalLimitations".into(), json!(duties));
    }
    let refused: u64 = subject.sets.iter().map(Set::refused).sum();
    if refused > 0 {
        let risk = json!([{
            "name": "Works whose use for this was refused",
            "mitigationStrategy": format!("Such pictures were kept out of the training set: {refused}"),
        }]);
        considerations.insert("ethicalConsiderations".into(), risk);
    }
    if !considerations.is_empty() {
        card.insert("considerations".into(), Value::Object(considerations));
    }
    Value::Object(card)
}

/// The base: by the files that the run's record names, else by its overall digest alone.
fn base(model: &Model, told: &Told) -> Value {
    let claims = &model.sealed.receipt.claims;
    let name = model.base_name(told);
    let mut out = component("machine-learning-model", &base_ref(model), &name, &Told::default());
    if let Some(record) = &model.record {
        let files = &record.inputs.base.files;
        let file = |(name, digest)| json!({"type": "file", "name": name, "hashes": hashes(digest)});
        out.insert("components".into(), files.iter().map(file).collect());
    }
    // Over names and digests of its files, so it is the hash of no file.
    out.insert(
        "properties".into(),
        json!([property("assent:base:sha256", &claims.base)]),
    );
    Value::Object(out)
}

/// A training set. Its hash is the root over its members, of which each is a picture, a caption and a consent record.
fn data(set: &Set, told: &Told) -> Result<Value, DocumentError> {
    let mut out = component("data", &set_ref(set), &set.name(), told);
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_string(), value));
    put(
        "description",
        json!(format!("{} pictures. {}", set.claims.members, set.chosen())),
    );
    put("hashes", hashes(&set.claims.snapshot));
    if !set.claims.licenses.is_empty() {
        let all = set.license_expressions();
        if !all.is_empty() {
            put("licenses", licenses(&all));
        }
    }
    put(
        "data",
        json!([{
            "type": "dataset", "name": set.name(),
            "description": format!("Training data: {} pictures", set.claims.members),
        }]),
    );
    let mut properties = vec![
        property("assent:snapshot:root", &set.claims.snapshot),
        property("assent:snapshot:members", &set.claims.members),
        property("assent:snapshot:policy_sha256", &set.claims.policy),
        property("assent:snapshot:purpose", &set.claims.purpose),
        property("assent:snapshot:role", &set.claims.role.as_str()),
    ];
    if let Some(digest) = set.file()? {
        properties.push(property("assent:snapshot:document_file_sha256", &digest));
    }
    if let Some(at) = set.frozen_at() {
        properties.push(property("assent:snapshot:created_at", &text::seconds(at)));
    }
    for (kind, counts) in [
        ("license", &set.claims.licenses),
        ("obligation", &set.claims.obligations),
        ("basis", &set.claims.bases),
        ("excluded", &set.claims.excluded),
    ] {
        let each = counts.iter();
        properties.extend(each.map(|(what, count)| property(&format!("assent:snapshot:{kind}:{what}"), count)));
    }
    put("properties", json!(properties));
    Ok(Value::Object(out))
}

fn component(kind: &str, name_in_bom: &str, name: &str, told: &Told) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("type".into(), json!(kind));
    out.insert("bom-ref".into(), json!(name_in_bom));
    out.insert("name".into(), json!(name));
    if let Some(provider) = told.provider() {
        let mut supplier = json!({"name": provider});
        if let Some(url) = &told.url {
            supplier["url"] = json!([url]);
        }
        out.insert("supplier".into(), supplier);
    }
    out
}

fn hashes(digest: &crate::digest::Sha256Digest) -> Value {
    json!([{"alg": "SHA-256", "content": digest}])
}

fn property(name: &str, value: &impl ToString) -> Value {
    json!({"name": name, "value": value.to_string()})
}

/// Licences by their SPDX identifiers; as expressions where there are several in one.
fn licenses(all: &[&str]) -> Value {
    let one = |text: &&str| match (::spdx::license_id(text), ::spdx::Expression::parse(text)) {
        (Some(id), _) => json!({"license": {"id": id.name}}),
        (None, Ok(_)) => json!({"expression": text}),
        (None, Err(_)) => json!({"license": {"name": text}}),
    };
    all.iter().map(one).collect()
}
