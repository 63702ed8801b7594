//! Adapter → container, in either layout.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{AdapterError, AdapterFile, Container, Dtype, Format, LoraModule};
use crate::names::kohya_name;

/// Header key under which diffusers keeps rank and alpha.
pub(super) const PEFT_METADATA: &str = "lora_adapter_metadata";

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
        let (down, up, prefix) = match format {
            Format::Kohya => {
                let name = kohya_name(&m.path, xl).ok_or_else(|| AdapterError::Module {
                    module: m.path.clone(),
                    expected: "a module of SDXL's U-Net or text encoders".into(),
                    found: "a path that has no name in kohya's layout".into(),
                })?;
                (".lora_down.weight", ".lora_up.weight", name)
            }
            Format::Peft => (".lora_A.weight", ".lora_B.weight", peft_name(&m.path)),
        };
        let narrow = |tensor, values: &[f32]| {
            dtype.narrow(values).ok_or(AdapterError::NotFinite {
                module: m.path.clone(),
                tensor,
                dtype,
            })
        };
        let mut put = |suffix: &str, shape: &[usize], bytes: Vec<u8>| match tensors
            .insert(format!("{prefix}{suffix}"), (dtype, shape.to_vec(), bytes))
        {
            None => Ok(()),
            Some(_) => Err(AdapterError::Module {
                module: m.path.clone(),
                expected: "each module once".into(),
                found: format!("a second `{prefix}{suffix}`"),
            }),
        };
        put(down, &m.down_shape, narrow("down", &m.down)?)?;
        put(up, &m.up_shape, narrow("up", &m.up)?)?;
        if format == Format::Kohya {
            put(".alpha", &[], narrow("alpha", &[m.alpha])?)?;
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

fn peft_name(path: &str) -> String {
    match path.starts_with("text_encoder") {
        true => path.to_owned(),
        false => format!("unet.{path}"),
    }
}

/// PEFT's configuration of each part: the commonest rank and alpha, and patterns for the modules that differ.
fn peft_metadata(modules: &[LoraModule]) -> Value {
    let mut parts: BTreeMap<&str, Vec<(&str, &LoraModule)>> = BTreeMap::new();
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
            ("use_dora", json!(false)),
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
