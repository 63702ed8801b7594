//! SPDX 3.0.1 (<https://spdx.github.io/spdx-spec/v3.0.1/>) in JSON-LD, with its profiles for AI and datasets.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::model::Model;
use super::set::{Set, counted};
use super::{DocumentError, Subject, Told, text};
use crate::digest::{Sha256Digest, canonical_digest};
use crate::receipt;

/// The id of the creation information, which every element names.
const CREATION: &str = "_:creation";

/// The elements of a document, each under the document's own prefix.
struct Graph {
    prefix: String,
    elements: Vec<Value>,
}

/// An adapter as an AI package with its base and its training sets, or a set alone. Every element's id begins with
/// the digest of what the document says.
///
/// # Errors
/// If a value has no canonical form.
pub fn spdx(subject: &Subject, told: &Told, at: Timestamp) -> Result<String, DocumentError> {
    told.check()?;
    // The same elements under no prefix say what the document is about; their digest names it.
    let content = graph(subject, told, at, String::new())?;
    let prefix = format!("urn:uuid:{}#", text::uuid(&canonical_digest(&content)?));
    let elements = graph(subject, told, at, prefix)?;
    Ok(text::json(json!({
        "@context": "https://spdx.org/rdf/3.0.1/spdx-context.jsonld",
        "@graph": elements,
    }))?)
}

fn graph(subject: &Subject, told: &Told, at: Timestamp, prefix: String) -> Result<Vec<Value>, DocumentError> {
    let mut graph = Graph {
        prefix,
        elements: Vec::new(),
    };
    graph.elements.push(json!({
        "type": "CreationInfo", "@id": CREATION, "specVersion": "3.0.1", "created": text::seconds(at),
        "createdBy": [graph.id("program")],
    }));
    let program = json!({"name": concat!("assent ", env!("CARGO_PKG_VERSION"))});
    graph.add("SoftwareAgent", "program", program);
    if let Some(provider) = told.provider() {
        graph.add("Agent", "provider", json!({"name": provider}));
    }
    let mut roots = Vec::new();
    for (index, set) in subject.sets.iter().enumerate() {
        let name = format!("dataset-{}", index + 1);
        graph.dataset(&name, set, told, at)?;
        if subject.model.is_none() {
            roots.push(graph.id(&name));
        }
    }
    if let Some(model) = &subject.model {
        graph.adapter(model, subject, told, at);
        roots.push(graph.id("adapter"));
    }
    let about: Vec<Value> = graph
        .elements
        .iter()
        .filter_map(|element| element.get("spdxId").cloned())
        .collect();
    let document = json!({
        "name": match &subject.model {
            Some(model) => model.title(),
            None => subject.sets.first().map(Set::name).unwrap_or_default(),
        },
        "rootElement": roots, "element": about,
        "profileConformance": ["core", "software", "simpleLicensing", "ai", "dataset"],
    });
    graph.add("SpdxDocument", "document", document);
    Ok(graph.elements)
}

impl Graph {
    fn id(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn add(&mut self, kind: &str, name: &str, mut body: Value) {
        body["type"] = json!(kind);
        body["spdxId"] = json!(self.id(name));
        body["creationInfo"] = json!(CREATION);
        self.elements.push(body);
    }

    fn relate(&mut self, from: &str, kind: &str, to: &[String]) {
        let body = json!({
            "from": self.id(from), "relationshipType": kind,
            "to": to.iter().map(|name| self.id(name)).collect::<Vec<_>>(),
        });
        self.add("Relationship", &format!("{from}-{kind}"), body);
    }

    /// A licence expression, and that it applies to an element.
    fn license(&mut self, of: &str, expression: &str) {
        let name = format!("{of}-license");
        let body = json!({"simplelicensing_licenseExpression": expression});
        self.add("simplelicensing_LicenseExpression", &name, body);
        self.relate(of, "hasDeclaredLicense", &[name]);
    }

    fn adapter(&mut self, model: &Model, subject: &Subject, told: &Told, at: Timestamp) {
        let claims = &model.sealed.receipt.claims;
        let mut body = package(&model.title(), "model", told, at, self);
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_string(), value));
        if let Some(says) = model.entry("modelspec.description") {
            put("description", json!(says));
        }
        put("software_packageVersion", json!(model.sha256));
        put("verifiedUsing", verified(&model.sha256));
        put(
            "externalIdentifier",
            json!([
                identifier(&model.sealed.digest, "SHA-256 of its training receipt"),
                identifier(&model.tensors, "SHA-256 of its tensor region"),
            ]),
        );
        put("ai_typeOfModel", json!(["low-rank adapter"]));
        put("ai_domain", json!(["text-to-image"]));
        put("ai_informationAboutTraining", json!(training(model)));
        put(
            "ai_hyperparameter",
            claims.settings.iter().map(|(key, value)| entry(key, value)).collect(),
        );
        let metrics: Vec<Value> = model
            .losses()
            .map(|(name, value)| entry(&format!("loss: {name}"), &value.to_string()))
            .collect();
        if !metrics.is_empty() {
            put("ai_metric", json!(metrics));
        }
        let limits: Vec<String> = subject
            .sets
            .iter()
            .filter(|set| !set.claims.obligations.is_empty())
            .map(|set| format!("Use obliges to: {}.", receipt::counted(&set.claims.obligations)))
            .collect();
        if !limits.is_empty() {
            put("ai_limitation", json!(limits.join(" ")));
        }
        self.add("ai_AIPackage", "adapter", Value::Object(body));
        if let Some(license) = model.license(told) {
            self.license("adapter", &license);
        }

        let mut base = package(&model.base_name(told), "model", &Told::default(), at, self);
        base.insert(
            "externalIdentifier".into(),
            json!([identifier(
                &claims.base,
                "SHA-256 over the names and digests of its files"
            )]),
        );
        self.add("ai_AIPackage", "base", Value::Object(base));
        self.relate("adapter", "dependsOn", &["base".to_string()]);
        let sets: Vec<String> = (1..=subject.sets.len())
            .map(|place| format!("dataset-{place}"))
            .collect();
        self.relate("adapter", "trainedOn", &sets);
        if let Some(record) = &model.record {
            let files: Vec<String> = (1..=record.inputs.base.files.len())
                .map(|place| format!("base-file-{place}"))
                .collect();
            for (name, (path, digest)) in files.iter().zip(&record.inputs.base.files) {
                let body = json!({"name": path, "verifiedUsing": verified(digest), "software_primaryPurpose": "model"});
                self.add("software_File", name, body);
            }
            if !files.is_empty() {
                self.relate("base", "contains", &files);
            }
        }
    }

    fn dataset(&mut self, name: &str, set: &Set, told: &Told, at: Timestamp) -> Result<(), DocumentError> {
        let mut body = package(&set.name(), "data", told, at, self);
        let mut put = |key: &str, value: Value| drop(body.insert(key.to_string(), value));
        put("dataset_datasetType", json!(["image", "text"]));
        put("dataset_datasetSize", json!(set.claims.members));
        put("dataset_dataCollectionProcess", json!(set.chosen()));
        put(
            "dataset_intendedUse",
            json!(format!(
                "Decided on for the purpose {}, and for no other.",
                set.claims.purpose
            )),
        );
        put(
            "dataset_dataPreprocessing",
            json!(["Of pictures with equal pixels one is kept."]),
        );
        // Nobody told the registry.
        put("dataset_hasSensitivePersonalInformation", json!("noAssertion"));
        let mut identifiers = vec![identifier(&set.claims.snapshot, "SHA-256 root of the snapshot")];
        identifiers.push(identifier(
            &set.claims.policy,
            "SHA-256 of the policy that cleared its members",
        ));
        put("externalIdentifier", json!(identifiers));
        if let Some(digest) = set.file()? {
            put("verifiedUsing", verified(&digest));
        }
        if let Some(at) = set.frozen_at() {
            put("builtTime", json!(text::seconds(at)));
        }
        if !set.claims.obligations.is_empty() {
            let says = format!("Use obliges to: {}.", receipt::counted(&set.claims.obligations));
            put("comment", json!(says));
        }
        self.add("dataset_DatasetPackage", name, Value::Object(body));
        let all = set.license_expressions();
        if !all.is_empty() {
            let part = |text: &&str| {
                if text.contains(' ') {
                    format!("({text})")
                } else {
                    text.to_string()
                }
            };
            let expression = match all.as_slice() {
                [one] => one.to_string(),
                several => several.iter().map(part).collect::<Vec<_>>().join(" AND "),
            };
            self.license(name, &expression);
        }
        Ok(())
    }
}

/// What every package has.
fn package(name: &str, purpose: &str, told: &Told, at: Timestamp, graph: &Graph) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("name".into(), json!(name));
    body.insert("software_primaryPurpose".into(), json!(purpose));
    if told.provider.is_some() {
        body.insert("suppliedBy".into(), json!(graph.id("provider")));
        body.insert("releaseTime".into(), json!(text::seconds(at)));
    }
    if let Some(url) = &told.url {
        body.insert("software_downloadLocation".into(), json!(url));
    }
    body
}

fn verified(digest: &Sha256Digest) -> Value {
    json!([{"type": "Hash", "algorithm": "sha256", "hashValue": digest}])
}

fn identifier(digest: &Sha256Digest, says: &str) -> Value {
    json!({
        "type": "ExternalIdentifier", "externalIdentifierType": "other", "identifier": format!("sha256:{digest}"),
        "comment": says,
    })
}

fn entry(key: &str, value: &str) -> Value {
    json!({"type": "DictionaryEntry", "key": key, "value": value})
}

fn training(model: &Model) -> String {
    let claims = &model.sealed.receipt.claims;
    let versions: Vec<String> = claims
        .versions
        .iter()
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    let mut says = format!(
        "{} steps by {} ({}), seed {}, run {}, configuration {}.",
        claims.steps,
        claims.program,
        versions.join(", "),
        claims.seed,
        claims.run,
        claims.config
    );
    if !claims.excluded.is_empty() {
        says.push_str(&format!(" Kept out of the training: {}.", counted(&claims.excluded)));
    }
    says
}
