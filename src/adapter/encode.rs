//! Adapter → container, in either layout.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::peft::PEFT_METADATA;
use super::{AdapterError, AdapterFile, Container, Dtype, Form, Format, Module, Weight};
use crate::names::kohya_name;

/// Lays out an adapter. Adds the hashes of the tensor region (`sshs_model_hash`, `modelspec.hash_sha256`) and, for
/// PEFT, the ranks and alphas; entries of the other layout's header are dropped.
pub fn encode(adapter: &AdapterFile, format: Format, dtype: Dtype) -> Result<Container, AdapterError> {
    if adapter.modules.is_empty() {
        return Err(AdapterError::Empty { path: "adapter".into() });
    }
    let xl = adapter.is_xl();
    let mut tensors = BTreeMap::new();
    for m in &adapter.modules {
        m.check()?;
        let prefix = match format {
            Format::Kohya => kohya_name(&m.path, xl).ok_or_else(|| AdapterError::Module {
                module: m.path.clone(),
                expected: "a module of SDXL's U-Net or text encoders".into(),
                found: "a path that has no name in kohya's layout".into(),
            })?,
            Format::Peft => peft_name(&m.path),
        };
        for (suffix, tensor, Weight { shape, values }) in parts(m, format)? {
            let bytes = dtype.narrow(&values).ok_or(AdapterError::NotFinite {
                module: m.path.clone(),
                tensor,
                dtype,
            })?;
            let key = format!("{prefix}.{suffix}");
            if tensors.insert(key.clone(), (dtype, shape, bytes)).is_some() {
                return Err(AdapterError::Module {
                    module: m.path.clone(),
                    expected: "each module once".into(),
                    found: format!("a second `{key}`"),
                });
            }
        }
        if let Form::Ia3 { on_input, .. } = &m.form {
            let flag = if *on_input { 1.0 } else { 0.0 };
            let bytes = dtype.narrow(&[flag]).unwrap_or_default();
            tensors.insert(format!("{prefix}.on_input"), (dtype, Vec::new(), bytes));
        }
    }
    let mut header = adapter.header.clone();
    header.remove(PEFT_METADATA);
    header.insert("format".into(), "pt".into());
    if format == Format::Peft {
        header.insert(PEFT_METADATA.into(), peft_metadata(&adapter.modules).to_string());
    }
    let mut container = Container::new(header, tensors);
    let digest = container.tensor_digest();
    container.metadata.insert("sshs_model_hash".into(), digest.to_string());
    container
        .metadata
        .insert("modelspec.hash_sha256".into(), format!("0x{digest}"));
    Ok(container)
}

/// Suffix, name for errors, and values of everything that a module keeps in a file of this layout.
fn parts(m: &Module, format: Format) -> Result<Vec<(&'static str, &'static str, Weight)>, AdapterError> {
    if format == Format::Peft {
        let Form::Lora { down, up, mid: None } = &m.form else {
            return Err(unwritable(m, m.form.name()));
        };
        if m.bias.is_some() || m.magnitude.as_ref().is_some_and(|m| m.on_input) {
            return Err(unwritable(m, "a change of the bias, or lengths of input channels"));
        }
        let mut parts = vec![
            ("lora_A.weight", "down", down.clone()),
            ("lora_B.weight", "up", up.clone()),
        ];
        if let Some(magnitude) = &m.magnitude {
            let n = magnitude.lengths.values.len();
            let shape = match down.shape.len() {
                4 => vec![1, n, 1, 1],
                _ => vec![n],
            };
            let weight = Weight::new(shape, magnitude.lengths.values.clone());
            parts.push(("lora_magnitude_vector", "lora_magnitude_vector", weight));
        }
        return Ok(parts);
    }
    let mut parts: Vec<_> = m
        .form
        .parts()
        .into_iter()
        .map(|(suffix, weight)| (suffix, suffix, weight.clone()))
        .collect();
    if let Some(magnitude) = &m.magnitude {
        parts.push(("dora_scale", "dora_scale", magnitude.lengths.clone()));
    }
    if let Some(bias) = &m.bias {
        let suffix = match m.form {
            Form::Norm { .. } => "b_norm",
            _ => "diff_b",
        };
        parts.push((suffix, suffix, bias.clone()));
    }
    // LyCORIS expects one of every LoKr, and does not look at it where both factors are whole.
    if m.form.has_rank() || matches!(m.form, Form::Lokr { .. }) {
        parts.push(("alpha", "alpha", Weight::new([], vec![m.alpha])));
    }
    Ok(parts)
}

fn unwritable(m: &Module, found: &str) -> AdapterError {
    AdapterError::Module {
        module: m.path.clone(),
        expected: "a LoRA update, the only kind that diffusers loads; hint: write kohya's layout".into(),
        found: found.to_owned(),
    }
}

fn peft_name(path: &str) -> String {
    match path.starts_with("text_encoder") {
        true => path.to_owned(),
        false => format!("unet.{path}"),
    }
}

/// PEFT's configuration of each part: the commonest rank and alpha, and patterns for the modules that differ.
fn peft_metadata(modules: &[Module]) -> Value {
    let mut parts: BTreeMap<&str, Vec<(&str, &Module)>> = BTreeMap::new();
    for m in modules {
        let (part, path) = match m.path.split_once('.') {
            Some((part @ ("text_encoder" | "text_encoder_2"), path)) => (part, path),
            _ => ("unet", m.path.as_str()),
        };
        parts.entry(part).or_default().push((path, m));
    }
    let mut out: BTreeMap<String, Value> = BTreeMap::new();
    for (part, members) in parts {
        let rank = commonest(members.iter().map(|(_, m)| m.rank() as u32)).unwrap_or(0);
        let alpha = f32::from_bits(commonest(members.iter().map(|(_, m)| m.alpha.to_bits())).unwrap_or(0));
        let ranks: BTreeMap<&str, usize> = members
            .iter()
            .filter(|(_, m)| m.rank() as u32 != rank)
            .map(|(p, m)| (*p, m.rank()))
            .collect();
        let alphas: BTreeMap<&str, f32> = members
            .iter()
            .filter(|(_, m)| m.alpha != alpha)
            .map(|(p, m)| (*p, m.alpha))
            .collect();
        let mut targets: Vec<&str> = members.iter().map(|(p, _)| *p).collect();
        targets.sort_unstable();
        for (key, value) in [
            ("alpha_pattern", json!(alphas)),
            ("bias", json!("none")),
            ("lora_alpha", json!(alpha)),
            ("lora_dropout", json!(0.0)),
            ("peft_type", json!("LORA")),
            ("r", json!(rank)),
            ("rank_pattern", json!(ranks)),
            ("target_modules", json!(targets)),
            ("use_dora", json!(members.iter().any(|(_, m)| m.magnitude.is_some()))),
            ("use_rslora", json!(false)),
        ] {
            out.insert(format!("{part}.{key}"), value);
        }
    }
    json!(out)
}

/// The commonest value, the smallest of those that are equally common.
fn commonest(values: impl Iterator<Item = u32>) -> Option<u32> {
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    values.for_each(|v| *counts.entry(v).or_default() += 1);
    counts
        .into_iter()
        .max_by_key(|(v, n)| (*n, std::cmp::Reverse(*v)))
        .map(|(v, _)| v)
}
