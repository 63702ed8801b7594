//! `optimizer_type` and `optimizer_args`: names without regard to case and arguments as kohya's command line takes them.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

use crate::train::optimizer::{
    AdafactorConfig, AdamW8bitConfig, AdamWConfig, LionConfig, Method, ProdigyConfig, ScheduleFreeConfig,
};

/// The optimizers there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub enum OptimizerType {
    /// Adam with decoupled weight decay.
    #[default]
    AdamW,
    /// The same with states of eight bits.
    AdamW8bit,
    /// The same without a schedule.
    AdamWScheduleFree,
    /// Second moments by rows and columns.
    Adafactor,
    /// The sign of a momentum.
    Lion,
    /// Adam that finds its step size.
    Prodigy,
}

/// The optimizers by their names.
const TYPES: [OptimizerType; 6] = [
    OptimizerType::AdamW,
    OptimizerType::AdamW8bit,
    OptimizerType::AdamWScheduleFree,
    OptimizerType::Adafactor,
    OptimizerType::Lion,
    OptimizerType::Prodigy,
];

impl<'de> Deserialize<'de> for OptimizerType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = String::deserialize(deserializer)?;
        let named = |one: &OptimizerType| format!("{one:?}").eq_ignore_ascii_case(&found);
        TYPES.into_iter().find(named).ok_or_else(|| {
            let names: Vec<String> = TYPES.iter().map(|one| format!("{one:?}")).collect();
            D::Error::custom(format!("expected one of {}, found {found}", names.join(", ")))
        })
    }
}

/// `optimizer_args`: a table, or a list of `"name=value"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Arguments {
    /// `{ weight_decay = 0.01, betas = [0.9, 0.99] }`
    Table(Table),
    /// `["weight_decay=0.01", "betas=0.9,0.99"]`
    List(Vec<String>),
}

impl Default for Arguments {
    fn default() -> Self {
        Self::Table(Table::new())
    }
}

impl Arguments {
    /// Most characters of a list's entry.
    const LONGEST: usize = 200;

    /// The arguments as a table.
    fn table(&self) -> Result<Table, String> {
        let list = match self {
            Self::Table(table) => return Ok(table.clone()),
            Self::List(list) => list,
        };
        let mut table = Table::new();
        for entry in list {
            let wrong = || format!("optimizer_args: expected `name=value`, found `{entry}`");
            let (name, value) = entry.split_once('=').ok_or_else(wrong)?;
            if entry.len() > Self::LONGEST {
                return Err(wrong());
            }
            if let Some(value) = literal(value.trim()).ok_or_else(wrong)?
                && table.insert(name.trim().to_owned(), value).is_some()
            {
                return Err(format!("optimizer_args: `{}` is given twice", name.trim()));
            }
        }
        Ok(table)
    }
}

/// A literal of Python: a number, `True`, `False`, a tuple of numbers; `None` is no value.
fn literal(text: &str) -> Option<Option<Value>> {
    let one = |text: &str| match text {
        "True" | "true" => Some(Value::Boolean(true)),
        "False" | "false" => Some(Value::Boolean(false)),
        number => number
            .parse::<i64>()
            .map(Value::Integer)
            .or_else(|_| number.parse::<f64>().map(Value::Float))
            .ok(),
    };
    if text == "None" {
        return Some(None);
    }
    let bare = text
        .strip_prefix(['(', '['])
        .and_then(|rest| rest.strip_suffix([')', ']']));
    let inner = bare.unwrap_or(text);
    if bare.is_none() && !inner.contains(',') {
        return one(inner).map(Some);
    }
    let items = inner.split(',').map(str::trim).filter(|item| !item.is_empty());
    let items: Option<Vec<Value>> = items.map(one).collect();
    items.map(|items| Some(Value::Array(items)))
}

/// Arguments and the ranges of their values, ends included.
const RANGES: [(&str, f64, f64); 12] = [
    ("betas", 0.0, 1.0),
    ("beta1", 0.0, 1.0),
    ("beta3", 0.0, 1.0),
    ("eps", 0.0, 1.0),
    ("weight_decay", 0.0, 1e3),
    ("clip_threshold", 1e-9, 1e9),
    ("decay_rate", -1.0, 0.0),
    ("d0", 1e-30, 1e3),
    ("d_coef", 1e-9, 1e9),
    ("growth_rate", 1.0, f64::INFINITY),
    ("r", 0.0, 1e3),
    ("weight_lr_power", 0.0, 1e3),
];

/// The rule that a type and its arguments describe; `weight_decay` stands for the argument of that name.
///
/// # Errors
/// If the optimizer has no such argument or not with such a value.
pub(super) fn method(
    optimizer: OptimizerType,
    arguments: &Arguments,
    weight_decay: Option<f64>,
) -> Result<Method, String> {
    let mut table = arguments.table()?;
    if let Some(decay) = weight_decay
        && table.insert("weight_decay".to_owned(), Value::Float(decay)).is_some()
    {
        return Err("weight_decay is given twice; hint: leave it out of optimizer_args".to_owned());
    }
    for (name, low, high) in RANGES {
        let values = match table.get(name) {
            Some(Value::Array(values)) => values.as_slice(),
            Some(value) => std::slice::from_ref(value),
            None => continue,
        };
        let number = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|i| i as f64));
        for value in values {
            let within = number(value).is_none_or(|v| (low..=high).contains(&v));
            // A beta of one forgets nothing: the averages would stay what they were.
            let is_beta = name.starts_with("beta") && number(value) == Some(1.0);
            if !within || is_beta {
                let up_to = if name.starts_with("beta") {
                    "below 1".to_owned()
                } else {
                    format!("{high}")
                };
                return Err(format!(
                    "optimizer_args: {name}: expected {low} to {up_to}, found {value}"
                ));
            }
        }
    }
    fn read<T: DeserializeOwned>(table: Table, optimizer: OptimizerType) -> Result<T, String> {
        T::deserialize(table).map_err(|e| format!("optimizer_args of {optimizer:?}: {}", e.message()))
    }
    Ok(match optimizer {
        OptimizerType::AdamW => Method::AdamW(read::<AdamWConfig>(table, optimizer)?),
        OptimizerType::AdamW8bit => Method::AdamW8bit(read::<AdamW8bitConfig>(table, optimizer)?),
        OptimizerType::AdamWScheduleFree => {
            let config = read::<ScheduleFreeConfig>(table, optimizer)?;
            if config.betas[0] <= 0.0 {
                return Err("optimizer_args: betas: expected a first number above 0, found 0".to_owned());
            }
            Method::ScheduleFree(config)
        }
        OptimizerType::Adafactor => {
            let config = read::<AdafactorConfig>(table, optimizer)?;
            if config.warmup_init && !config.relative_step {
                return Err("optimizer_args: warmup_init needs relative_step; hint: leave one of them out".to_owned());
            }
            Method::Adafactor(config)
        }
        OptimizerType::Lion => Method::Lion(read::<LionConfig>(table, optimizer)?),
        OptimizerType::Prodigy => Method::Prodigy(read::<ProdigyConfig>(table, optimizer)?),
    })
}
