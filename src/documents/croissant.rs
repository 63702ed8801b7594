//! Croissant 1.1 (<https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html>) with its vocabulary for
//! responsible AI (RAI 1.0): a training set as JSON-LD.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::{Set, Whole, counted};
use super::text;
use super::{DocumentError, Subject, Told};
use crate::receipt;
use crate::snapshot::{Entry, Work, license_url};

/// The record set of the pictures.
const IMAGES: &str = "images";

/// A training set as Croissant. The pictures are no part of it: each is a record with its SHA-256, and the file set
/// names them by it.
///
/// # Errors
/// If only a receipt is known of the set, or the subject has several.
pub fn croissant(subject: &Subject, told: &Told, at: Timestamp) -> Result<String, DocumentError> {
    let wrong = |expected, found| DocumentError::Subject {
        kind: "a Croissant description",
        expected,
        found,
    };
    let [set] = subject.sets.as_slice() else {
        return Err(wrong("one snapshot", "several: name the one that is meant"));
    };
    let whole = set
        .whole
        .as_ref()
        .ok_or_else(|| wrong("a snapshot of this registry", "only the root of one, in a receipt"))?;
    let document = &whole.document;
    let mut out = Map::new();
    let mut put = |key: &str, value: Value| drop(out.insert(key.to_string(), value));
    put("@context", context());
    put("@type", json!("sc:Dataset"));
    put(
        "conformsTo",
        json!([
            "http://mlcommons.org/croissant/1.1",
            "http://mlcommons.org/croissant/RAI/1.0"
        ]),
    );
    put("name", json!(document.name));
    put("description", json!(description(set)));
    put("isLiveDataset", json!(false));
    put("dateCreated", json!(text::seconds(document.created_at)));
    put("datePublished", json!(text::seconds(at)));
    put(
        "identifier",
        json!({"@type": "sc:PropertyValue", "propertyID": "SHA-256 root of the snapshot", "value": set.claims.snapshot}),
    );
    let licenses = licenses(document.members.as_slice());
    if !licenses.is_empty() {
        put("license", json!(licenses));
    }
    if let Some(url) = &told.url {
        put("url", json!(url));
    }
    if let Some(provider) = told.provider() {
        let provider = json!([{"@type": "sc:Organization", "name": provider}]);
        put("creator", provider.clone());
        put("publisher", provider);
    }
    put("distribution", json!(distribution(set, whole)?));
    put("recordSet", json!([records(whole, told.names)]));
    for (key, value) in responsible(set, whole) {
        put(key, value);
    }
    Ok(text::json(Value::Object(out))?)
}

/// The context that the specification recommends in its first appendix.
fn context() -> Value {
    let own = [
        "annotation",
        "arrayShape",
        "citeAs",
        "column",
        "containedIn",
        "equivalentProperty",
        "excludes",
        "extract",
        "field",
        "fileObject",
        "fileProperty",
        "fileSet",
        "format",
        "includes",
        "isArray",
        "isLiveDataset",
        "jsonPath",
        "key",
        "md5",
        "parentField",
        "path",
        "readLines",
        "recordSet",
        "references",
        "regex",
        "repeated",
        "replace",
        "samplingRate",
        "sdVersion",
        "separator",
        "source",
        "subField",
        "transform",
        "unArchive",
        "value",
    ];
    let mut context = Map::new();
    for name in own {
        context.insert(name.to_string(), json!(format!("cr:{name}")));
    }
    let more = json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "description": {"@container": "@language"},
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "name": {"@container": "@language"},
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
    });
    if let Value::Object(more) = more {
        context.extend(more);
    }
    Value::Object(context)
}

fn description(set: &Set) -> String {
    format!(
        "{} pictures, frozen for the training of an adapter. The pictures are not distributed with this description: \
         each is named by the SHA-256 of its file. {}",
        set.claims.members,
        set.chosen()
    )
}

/// The addresses of the members' licences, each once; the identifier where a licence has none.
fn licenses(members: &[Entry]) -> BTreeSet<String> {
    let ids = members.iter().flat_map(|member| &member.consent.licenses);
    ids.map(|id| license_url(id).unwrap_or_else(|| id.clone())).collect()
}

/// The snapshot's own file, and the pictures by their formats.
fn distribution(set: &Set, whole: &Whole) -> Result<Vec<Value>, DocumentError> {
    let file = format!("{}.json", whole.document.name);
    let mut all = vec![json!({
        "@type": "cr:FileObject", "@id": "snapshot", "name": file, "contentUrl": file,
        "description": "The frozen set: members with the records of the consent they rest on, exclusions, policy, root.",
        "encodingFormat": "application/json", "sha256": set.file()?,
    })];
    let formats: BTreeSet<&str> = whole.pictures.values().map(|picture| picture.format.as_str()).collect();
    for format in formats {
        all.push(json!({
            "@type": "cr:FileSet", "@id": format!("{format}-files"), "name": format!("{format}-files"),
            "description": format!("The {format} pictures, each named by the SHA-256 of its file."),
            "encodingFormat": media_type(format), "includes": format!("{IMAGES}/*.{format}"),
        }));
    }
    Ok(all)
}

fn media_type(format: &str) -> String {
    format!("image/{format}")
}

/// One record for each member, with the values in it.
fn records(whole: &Whole, names: bool) -> Value {
    let known = whole
        .document
        .members
        .iter()
        .all(|member| whole.pictures.contains_key(&member.image));
    let mut fields = vec![
        ("sha256", "sc:Text", "SHA-256 of the picture's file."),
        (
            "pixels",
            "sc:Text",
            "BLAKE3 of the decoded picture: its width, height and RGBA bytes.",
        ),
        (
            "license",
            "sc:Text",
            "The licence it is used under, as an SPDX expression; NONE where something else allows it.",
        ),
        ("reason", "sc:Text", "Why it may be used, as a reason code."),
        (
            "obligations",
            "sc:Text",
            "What must be done when it is used, separated by commas.",
        ),
    ];
    if known {
        fields.push(("encoding_format", "sc:Text", "Its media type."));
        fields.push(("width", "sc:Integer", "Its width in pixels."));
        fields.push(("height", "sc:Integer", "Its height in pixels."));
    }
    if names {
        fields.push(("title", "sc:Text", "Its title; empty where none is known."));
        fields.push((
            "authors",
            "sc:Text",
            "Who made it, separated by semicolons; empty where nobody is known.",
        ));
        fields.push((
            "source",
            "sc:Text",
            "The address it comes from; empty where none is known.",
        ));
        fields.push((
            "caption",
            "sc:Text",
            "The text it is trained with; empty where it has none.",
        ));
    }
    let works: std::collections::BTreeMap<_, _> = whole
        .attributions
        .works
        .iter()
        .map(|work| (work.sha256, work))
        .collect();
    let data = whole.document.members.iter().map(|member| {
        let mut row = Map::new();
        for (name, ..) in &fields {
            let value = value(name, member, whole, works.get(&member.image).copied());
            row.insert(format!("{IMAGES}/{name}"), value);
        }
        Value::Object(row)
    });
    let data: Vec<Value> = data.collect();
    let field = |(name, kind, says): &(&str, &str, &str)| {
        json!({
            "@type": "cr:Field", "@id": format!("{IMAGES}/{name}"), "name": format!("{IMAGES}/{name}"),
            "description": says, "dataType": kind,
        })
    };
    json!({
        "@type": "cr:RecordSet", "@id": IMAGES, "name": IMAGES, "description": "The pictures, one record each.",
        "key": {"@id": format!("{IMAGES}/sha256")},
        "field": fields.iter().map(field).collect::<Vec<_>>(),
        "data": data,
    })
}

fn value(name: &str, member: &Entry, whole: &Whole, work: Option<&Work>) -> Value {
    let picture = whole.pictures.get(&member.image);
    let credit = work.map(|work| &work.credit);
    let text = |text: Option<&String>| json!(text.map(String::as_str).unwrap_or_default());
    match name {
        "sha256" => json!(member.image),
        "pixels" => json!(member.pixels),
        "license" => match member.consent.licenses.as_slice() {
            [] => json!("NONE"),
            several => json!(several.join(" AND ")),
        },
        "reason" => json!(member.consent.reason_code),
        "obligations" => {
            let each: Vec<_> = member.consent.obligations.iter().map(|o| o.as_str()).collect();
            json!(each.join(", "))
        }
        "encoding_format" => json!(picture.map(|picture| media_type(&picture.format))),
        "width" => json!(picture.map(|picture| picture.width)),
        "height" => json!(picture.map(|picture| picture.height)),
        "title" => text(credit.and_then(|credit| credit.title.as_ref())),
        "authors" => json!(credit.map(|credit| credit.authors.join("; ")).unwrap_or_default()),
        "source" => text(credit.and_then(|credit| credit.source.as_ref())),
        _ => text(member.caption.as_ref()),
    }
}

/// What the registry knows of the questions of responsible AI. The others (bias, personal information, social impact)
/// are for whoever knows the pictures.
fn responsible(set: &Set, whole: &Whole) -> Vec<(&'static str, Value)> {
    let captions = whole
        .document
        .members
        .iter()
        .filter(|member| member.caption.is_some())
        .count();
    let mut all = vec![
        ("rai:dataCollection", json!(set.chosen())),
        (
            "rai:dataUseCases",
            json!([format!(
                "Decided on for the purpose {}, and for no other.",
                set.claims.purpose
            )]),
        ),
        (
            "rai:dataPreprocessingProtocol",
            json!([
                "Of pictures with equal pixels one is kept. Files are used as registered, and are hashed again before \
                    every training."
            ]),
        ),
        (
            "rai:dataAnnotationProtocol",
            json!([format!(
                "{captions} of {} pictures have a caption. Captions are those found with the pictures; none was written \
                 by the program that made this description.",
                set.claims.members
            )]),
        ),
        (
            "rai:dataReleaseMaintenancePlan",
            json!(
                "The set is frozen and never changed. Whether consent still stands is decided again, from the \
                   registry, before every training."
            ),
        ),
    ];
    let mut limits = Vec::new();
    if !set.claims.obligations.is_empty() {
        limits.push(format!(
            "Use obliges to: {}.",
            receipt::counted(&set.claims.obligations)
        ));
    }
    if !set.claims.bases.is_empty() {
        limits.push(format!(
            "Pictures that something else than a licence allows: {}.",
            counted(&set.claims.bases)
        ));
    }
    if !limits.is_empty() {
        all.push(("rai:dataLimitations", json!(limits)));
    }
    all
}
