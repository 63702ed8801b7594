//! Files → names and their values, within limits.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{ImportError, Tool};

/// Largest file, in bytes.
pub const MOST_BYTES: usize = 1 << 20;
/// Most values in all.
const MOST_VALUES: usize = 10_000;
/// Deepest nesting.
const DEEPEST: usize = 12;

/// What a file says: each name with all the values that it has in several places.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub(super) tool: Tool,
    pub(super) all: BTreeMap<String, Vec<Value>>,
    /// Names that are shown under another.
    pub(super) shown: BTreeMap<String, String>,
    /// Names and values that another place replaces.
    pub(super) replaced: Vec<(String, Value)>,
    /// What a dataset configuration says of each subset in all, with the number of its dataset.
    pub(super) subsets: Vec<(usize, Map<String, Value>)>,
    count: usize,
}

impl Source {
    /// Reads settings: JSON if it begins with a brace, TOML otherwise.
    ///
    /// # Errors
    /// If the bytes are not of one of the kinds, or above a limit.
    pub fn read(bytes: &[u8]) -> Result<Self, ImportError> {
        let text = text(bytes)?;
        if !text.trim_start().starts_with('{') {
            let mut source = Self::new(Tool::SdScripts);
            for (name, value) in toml_table(text)? {
                source.entry(&name, value)?;
            }
            return Ok(source);
        }
        let wrong = |e: serde_json::Error| ImportError::Format(format!("expected settings in JSON: {e}"));
        let object: Map<String, Value> = serde_json::from_str(text).map_err(wrong)?;
        let has = |names: &[&str]| names.iter().any(|name| object.contains_key(*name));
        if has(&["LoRA_type", "max_resolution", "lora_network_weights"]) {
            let mut source = Self::new(Tool::KohyaGui);
            for (name, value) in object {
                source.put(name, value)?;
            }
            Ok(source)
        } else if has(&["training_method", "base_model_name", "model_type", "lora_rank"]) {
            let mut source = Self::new(Tool::OneTrainer);
            source.flatten("", Value::Object(object), 0)?;
            Ok(source)
        } else {
            Err(ImportError::Format(
                "expected the settings of kohya_ss (with `LoRA_type`) or of OneTrainer (with `training_method`), found \
                 other JSON"
                    .to_owned(),
            ))
        }
    }

    fn new(tool: Tool) -> Self {
        Self {
            tool,
            all: BTreeMap::new(),
            shown: BTreeMap::new(),
            replaced: Vec::new(),
            subsets: Vec::new(),
            count: 0,
        }
    }

    /// Adds a `--dataset_config` of sd-scripts, which comes before what the file itself says.
    ///
    /// # Errors
    /// As for [`Self::read`], or if the settings are not kohya's.
    pub fn with_datasets(mut self, bytes: &[u8]) -> Result<Self, ImportError> {
        if self.tool == Tool::OneTrainer {
            return Err(ImportError::Format(
                "expected settings of sd-scripts or kohya_ss beside a dataset configuration, found OneTrainer's"
                    .to_owned(),
            ));
        }
        let mut file = toml_table(text(bytes)?)?;
        let general = table(file.remove("general"));
        let mut found: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut subsets = Vec::new();
        for (number, dataset) in tables(file.remove("datasets"))?.into_iter().enumerate() {
            let mut outer = general.clone();
            let mut dataset = dataset;
            let inner = tables(dataset.remove("subsets"))?;
            outer.extend(dataset);
            if inner.is_empty() {
                subsets.push(outer.clone());
            }
            for subset in inner {
                let mut whole = outer.clone();
                whole.extend(subset);
                self.limit(outer.len())?;
                self.subsets.push((number, whole.clone()));
                subsets.push(whole);
            }
        }
        if subsets.is_empty() {
            subsets.push(general);
        }
        let names: std::collections::BTreeSet<String> = subsets.iter().flat_map(|s| s.keys().cloned()).collect();
        for name in names {
            for subset in &subsets {
                let value = subset.get(&name).cloned().unwrap_or(Value::Null);
                let values = found.entry(name.clone()).or_default();
                if !values.contains(&value) {
                    values.push(value);
                    self.limit(1)?;
                }
            }
        }
        // What else the file says is none of sd-scripts' words.
        for (name, value) in file {
            self.limit(1)?;
            found.insert(name, vec![value]);
        }
        for (name, values) in found {
            let key = match name.as_str() {
                "batch_size" => "train_batch_size",
                "num_repeats" => "dataset_repeats",
                other => other,
            };
            if let Some(old) = self.all.insert(key.to_owned(), values) {
                let old = old.into_iter().map(|value| (name.clone(), value));
                self.replaced.extend(old);
            }
            if key != name {
                self.shown.insert(key.to_owned(), name);
            }
        }
        self.all.remove("dataset_config");
        Ok(self)
    }

    /// An entry of sd-scripts' file: a value, or a section whose name does not matter.
    fn entry(&mut self, name: &str, value: Value) -> Result<(), ImportError> {
        match value {
            Value::Object(section) => section.into_iter().try_for_each(|(name, value)| match value {
                value @ Value::Object(_) => self.flatten(&name, value, 1),
                value => self.option(name, value),
            }),
            value => self.option(name.to_owned(), value),
        }
    }

    /// An option; lists of `name=value` are taken apart.
    fn option(&mut self, name: String, value: Value) -> Result<(), ImportError> {
        let (true, Value::Array(items)) = (name.ends_with("_args"), &value) else {
            return self.put(name, value);
        };
        for item in items {
            let text = item.as_str().unwrap_or_default();
            match text.split_once('=') {
                Some((inner, value)) => {
                    let whole = format!("{name}.{}", inner.trim());
                    self.put(whole, Value::String(value.trim().trim_matches('"').to_owned()))?;
                }
                None => self.put(name.clone(), item.clone())?,
            }
        }
        Ok(())
    }

    /// Names within names, with dots; lists of objects are one beside the other.
    fn flatten(&mut self, name: &str, value: Value, depth: usize) -> Result<(), ImportError> {
        if depth > DEEPEST {
            return Err(ImportError::TooMuch {
                what: "levels of nesting",
                most: DEEPEST,
            });
        }
        match value {
            Value::Object(fields) => fields.into_iter().try_for_each(|(field, value)| {
                let inner = if name.is_empty() {
                    field
                } else {
                    format!("{name}.{field}")
                };
                self.flatten(&inner, value, depth + 1)
            }),
            Value::Array(items) if items.iter().any(Value::is_object) => items
                .into_iter()
                .try_for_each(|item| self.flatten(name, item, depth + 1)),
            value => self.put(name.to_owned(), value),
        }
    }

    pub(super) fn put(&mut self, name: String, value: Value) -> Result<(), ImportError> {
        self.limit(1)?;
        let values = self.all.entry(name).or_default();
        if !values.contains(&value) {
            values.push(value);
        }
        Ok(())
    }

    fn limit(&mut self, more: usize) -> Result<(), ImportError> {
        self.count += more;
        if self.count > MOST_VALUES {
            return Err(ImportError::TooMuch {
                what: "values",
                most: MOST_VALUES,
            });
        }
        Ok(())
    }
}

/// The text of a file, without a byte order mark.
fn text(bytes: &[u8]) -> Result<&str, ImportError> {
    if bytes.len() > MOST_BYTES {
        return Err(ImportError::TooMuch {
            what: "bytes",
            most: MOST_BYTES,
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|e| ImportError::Format(format!("expected UTF-8: {e}")))?;
    Ok(text.trim_start_matches('\u{feff}'))
}

fn toml_table(text: &str) -> Result<Map<String, Value>, ImportError> {
    let parsed: toml::Table =
        toml::from_str(text).map_err(|e| ImportError::Format(format!("expected settings in TOML: {e}")))?;
    Ok(parsed.into_iter().map(|(name, value)| (name, plain(value))).collect())
}

/// TOML's values as JSON's; dates and what is no number as text.
fn plain(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(whole) => Value::from(whole),
        toml::Value::Float(number) => {
            serde_json::Number::from_f64(number).map_or_else(|| Value::String(number.to_string()), Value::Number)
        }
        toml::Value::Boolean(flag) => Value::Bool(flag),
        toml::Value::Datetime(date) => Value::String(date.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(plain).collect()),
        toml::Value::Table(fields) => {
            Value::Object(fields.into_iter().map(|(name, value)| (name, plain(value))).collect())
        }
    }
}

fn table(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// A list of tables, or none.
fn tables(value: Option<Value>) -> Result<Vec<Map<String, Value>>, ImportError> {
    match value {
        None => Ok(Vec::new()),
        Some(Value::Array(items)) if items.iter().all(Value::is_object) => {
            Ok(items.into_iter().map(|item| table(Some(item))).collect())
        }
        Some(_) => Err(ImportError::Format(
            "expected `[[datasets]]` and `[[datasets.subsets]]` as lists of tables, found another value".to_owned(),
        )),
    }
}
