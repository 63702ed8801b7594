//! PEFT's configuration of an adapter, which the tensors alone do not tell: alphas, and how they scale.
//!
//! It stands in the header's `lora_adapter_metadata` (diffusers, one configuration for each part of the pipeline), or in
//! an `adapter_config.json` beside the file (PEFT itself).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{AdapterError, Factor, Form, Module};

/// Header key under which diffusers keeps the configurations.
pub(super) const PEFT_METADATA: &str = "lora_adapter_metadata";
/// What errors call PEFT's own file.
const PEFT_FILE: &str = "adapter_config.json";

/// Ways to start a LoRA that change the base's weights too, so that the adapter does not fit the base as it was.
const CHANGES_BASE: &[&str] = &["pissa", "olora", "corda", "loftq", "lora_ga", "orthogonal"];

/// The configurations of one file.
pub(super) struct Rules {
    key: &'static str,
    /// Of each part: `unet`, `text_encoder`, `text_encoder_2`; of all where the name is empty.
    parts: BTreeMap<String, Map<String, Value>>,
}

impl Rules {
    /// Parses diffusers' header entry, whose keys are `PART.OPTION`.
    pub fn of_header(text: &str) -> Result<Self, AdapterError> {
        let flat: BTreeMap<String, Value> = parse(PEFT_METADATA, text)?;
        let mut parts: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
        for (key, value) in flat {
            let (part, option) = key.split_once('.').unwrap_or(("", &key));
            parts
                .entry(part.to_owned())
                .or_default()
                .insert(option.to_owned(), value);
        }
        Ok(Self {
            key: PEFT_METADATA,
            parts,
        })
    }

    /// Parses PEFT's own file.
    pub fn of_file(text: &str) -> Result<Self, AdapterError> {
        Ok(Self {
            key: PEFT_FILE,
            parts: [(String::new(), parse(PEFT_FILE, text)?)].into(),
        })
    }

    /// Gives the module the alpha that its configuration says.
    pub fn apply(&self, module: &mut Module) -> Result<(), AdapterError> {
        let (part, path) = match module.path.split_once('.') {
            Some((part @ ("text_encoder" | "text_encoder_2"), path)) => (part, path),
            _ => ("unet", module.path.as_str()),
        };
        let Some(options) = self.parts.get(part).or_else(|| self.parts.get("")) else {
            return Ok(());
        };
        let flag = |option: &str| options.get(option).and_then(Value::as_bool) == Some(true);
        if flag("fan_in_fan_out") {
            return Err(self.wrong("expected matrices as [out, in], found `fan_in_fan_out` true".into()));
        }
        if flag("use_dora") && module.magnitude.is_none() {
            return Err(self.wrong(format!(
                "`use_dora` is true, but module `{}` has no `lora_magnitude_vector`",
                module.path
            )));
        }
        if let Some(start) = options.get("init_lora_weights").and_then(Value::as_str)
            && CHANGES_BASE.iter().any(|way| start.to_lowercase().starts_with(way))
        {
            return Err(self.wrong(format!(
                "it was started by `{start}`, which changes the base too, so it does not fit the base as it was; hint: \
                 save it again with PEFT's `path_initial_model_for_weight_conversion`"
            )));
        }
        let alpha = self.number(options, path, "alpha_pattern", &["lora_alpha", "alpha"])?;
        let Some(alpha) = alpha else { return Ok(()) };
        // LoKr with two whole factors has no rank of its own: the scale goes into the first of them.
        if let Form::Lokr {
            first: Factor::Whole(w1),
            second: Factor::Whole(_),
        } = &mut module.form
        {
            if let Some(rank) = self.number(options, path, "rank_pattern", &["r"])? {
                w1.values.iter_mut().for_each(|v| *v *= alpha / rank.max(1.0));
            }
            return Ok(());
        }
        let rank = module.rank().max(1) as f32;
        // rsLoRA divides by the root of the rank (Kalajdzievski 2023, arXiv:2312.03732); the module keeps the alpha that
        // gives the same scale.
        let alpha = if flag("use_rslora") { alpha * rank.sqrt() } else { alpha };
        module.alpha = if alpha == 0.0 { rank } else { alpha };
        Ok(())
    }

    /// The number that the first pattern for `path` says, or else the first of `options`.
    fn number(
        &self,
        config: &Map<String, Value>,
        path: &str,
        patterns: &str,
        options: &[&str],
    ) -> Result<Option<f32>, AdapterError> {
        let mut exception = None;
        for (pattern, value) in config.get(patterns).and_then(Value::as_object).into_iter().flatten() {
            let (whole, plain) = match pattern.strip_prefix('^') {
                Some(plain) => (true, plain),
                None => (false, pattern.as_str()),
            };
            if !plain
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.')
            {
                return Err(self.wrong(format!(
                    "`{patterns}`: expected names of modules, found the expression `{pattern}`"
                )));
            }
            if path == plain || !whole && path.strip_suffix(plain).is_some_and(|before| before.ends_with('.')) {
                exception = Some(value);
                break;
            }
        }
        let value = exception.or_else(|| options.iter().find_map(|option| config.get(*option)));
        let Some(value) = value.filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        let number = value.as_f64().map(|n| n as f32);
        match number.filter(|n| n.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(format!("expected a number as {}, found {value}", options.join(" or ")))),
        }
    }

    fn wrong(&self, reason: String) -> AdapterError {
        AdapterError::Header {
            key: self.key.into(),
            reason,
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(key: &str, text: &str) -> Result<T, AdapterError> {
    serde_json::from_str(text).map_err(|e| AdapterError::Header {
        key: key.into(),
        reason: e.to_string(),
    })
}
