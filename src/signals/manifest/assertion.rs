//! One assertion of a C2PA manifest → claims and facts.
//!
//! Labels are compared whole, without the instance that ends them (`__2`). The training and data-mining assertion is
//! `cawg.training-mining` of CAWG 1.1 or `c2pa.training-mining` of C2PA up to 1.4; writers mix the two prefixes.

use serde_json::{Map, Value};

use super::Place;
use crate::consent::{Purpose, State};
use crate::signals::claims::shortened;
use crate::signals::xmp::{Property, plain_namespace};
use crate::signals::{Claim, Metadata, SignalSource, facts, generated};

/// Properties that are taken from one metadata assertion, and how deep its lists go.
const MOST_PROPERTIES: usize = 1024;
const MOST_DEPTH: usize = 8;

/// Adds what an assertion says.
pub(super) fn add(label: &str, value: &Value, place: &Place, found: &mut Metadata) {
    match without_instance(label) {
        "cawg.training-mining" | "c2pa.training-mining" => add_training(value, place, found),
        "c2pa.actions" | "c2pa.actions.v2" => found.ai_generated |= made_by_ai(value),
        "stds.schema-org.CreativeWork" if place.ingredient.is_none() => add_creative_work(value, found),
        label if label.ends_with(".metadata") || label == "stds.iptc" || label == "stds.exif" => {
            let mut properties = properties(value, place.ingredient.is_none());
            properties.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            facts::add_properties(&properties, place.holder, place.authenticated, found);
        }
        _ => {}
    }
}

fn without_instance(label: &str) -> &str {
    match label.rsplit_once("__") {
        Some((base, instance)) if !instance.is_empty() && instance.bytes().all(|byte| byte.is_ascii_digit()) => base,
        _ => label,
    }
}

fn add_training(value: &Value, place: &Place, found: &mut Metadata) {
    let Some(entries) = value.get("entries").and_then(Value::as_object) else {
        return add_unknown(
            "the training and data-mining assertion has no `entries`",
            value,
            place,
            found,
        );
    };
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(name, _)| *name);
    for (name, entry) in entries {
        // Entries of others, `com.example.…`, are allowed and speak of none of our purposes.
        let Some(short) = name.strip_prefix("cawg.").or_else(|| name.strip_prefix("c2pa.")) else {
            continue;
        };
        let Some(purpose) = Purpose::parse(short) else {
            add_unknown(
                &format!("the training and data-mining entry `{name}` is unknown"),
                entry,
                place,
                found,
            );
            continue;
        };
        let Some(state) = state(entry) else {
            add_unknown(
                &format!("the training and data-mining entry `{name}` has no known `use`"),
                entry,
                place,
                found,
            );
            continue;
        };
        // What an ingredient allows is not allowed for the whole.
        if place.ingredient.is_some() && state == State::Granted {
            continue;
        }
        add_claim(format!("{name}: {entry}"), Some(purpose), state, place, found);
    }
}

/// What an entry's `use` comes to.
fn state(entry: &Value) -> Option<State> {
    let constraints = ["constraint_info", "constraints_info"];
    match entry.get("use")?.as_str()? {
        "allowed" => Some(State::Granted),
        "notAllowed" => Some(State::Denied),
        // A condition that nobody named cannot be met.
        "constrained" => Some(
            match constraints
                .iter()
                .filter_map(|name| entry.get(name)?.as_str())
                .any(|text| !text.trim().is_empty())
            {
                true => State::Constrained,
                false => State::Denied,
            },
        ),
        _ => None,
    }
}

fn add_unknown(problem: &str, value: &Value, place: &Place, found: &mut Metadata) {
    add_claim(value.to_string(), None, State::Unspecified, place, found);
    found.add_review(shortened(problem));
}

fn add_claim(raw: String, purpose: Option<Purpose>, state: State, place: &Place, found: &mut Metadata) {
    let raw = match &place.ingredient {
        Some(title) => format!("ingredient `{title}`: {raw}"),
        None => raw,
    };
    let claim = Claim {
        source: SignalSource::C2paTrainingMining,
        raw: shortened(&raw),
        purpose,
        state,
        authenticated: place.authenticated,
        holder: place.holder,
    };
    found.add_claim(claim);
}

/// Whether any action names a digital source type of trained models.
fn made_by_ai(value: &Value) -> bool {
    let actions = value.get("actions").and_then(Value::as_array).map(Vec::as_slice);
    actions.unwrap_or_default().iter().any(|action| {
        action
            .get("digitalSourceType")
            .and_then(Value::as_str)
            .is_some_and(generated::by_source_type)
    })
}

/// schema.org's CreativeWork: authors with a name, a licence's address, a notice.
fn add_creative_work(value: &Value, found: &mut Metadata) {
    let authors = match value.get("author") {
        Some(Value::Array(authors)) => authors.as_slice(),
        Some(author) => std::slice::from_ref(author),
        None => &[],
    };
    for author in authors {
        let name = author.as_str().or_else(|| author.get("name")?.as_str());
        name.into_iter().for_each(|name| found.add_artist(name));
    }
    for (key, adds) in [("license", true), ("copyrightNotice", true), ("name", false)] {
        match value.get(key).and_then(Value::as_str) {
            Some(text) if adds => found.add_named_license(text, "c2pa"),
            Some(text) => found.add_title(text),
            None => {}
        }
    }
}

/// A metadata assertion is XMP in JSON-LD: `prefix:name` by the namespaces of its `@context`.
fn properties(value: &Value, direct: bool) -> Vec<Property> {
    let none = Map::new();
    let fields = value.as_object().unwrap_or(&none);
    let context = value.get("@context").and_then(Value::as_object).unwrap_or(&none);
    let mut found = Vec::new();
    for (key, value) in fields {
        let Some((prefix, name)) = key.split_once(':') else {
            continue;
        };
        let Some(namespace) = context.get(prefix).and_then(Value::as_str) else {
            continue;
        };
        let mut texts = Vec::new();
        texts_of(value, 0, &mut texts);
        for text in texts {
            if found.len() < MOST_PROPERTIES {
                found.push(Property {
                    namespace: plain_namespace(namespace),
                    name: name.to_string(),
                    value: text,
                    direct,
                });
            }
        }
    }
    found
}

/// The texts of a value: itself, of a list, of `@list`, `@value`, `@id`, or of each language.
fn texts_of(value: &Value, depth: usize, texts: &mut Vec<String>) {
    match value {
        Value::String(text) if !text.trim().is_empty() => texts.push(text.trim().to_string()),
        Value::Bool(value) => texts.push(value.to_string()),
        Value::Number(number) => texts.push(number.to_string()),
        Value::Array(items) if depth < MOST_DEPTH => items.iter().for_each(|item| texts_of(item, depth + 1, texts)),
        Value::Object(items) if depth < MOST_DEPTH => items.values().for_each(|item| texts_of(item, depth + 1, texts)),
        _ => {}
    }
}
