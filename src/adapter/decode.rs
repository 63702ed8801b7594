//! Container → adapter: recognises the layout by its keys and explains every entry, or lists it as unknown.

use std::collections::BTreeMap;

use serde_json::Value;

use super::encode::PEFT_METADATA;
use super::{AdapterError, AdapterFile, Container, Dtype, Entry, Format, LoraModule, unknown_keys};
use crate::names::path_of_kohya;

/// A file's content, explained.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The modules that could be explained, and the header.
    pub adapter: AdapterFile,
    /// The layout of the keys.
    pub format: Format,
    /// Type of the stored weights; none where they are mixed.
    pub dtype: Option<Dtype>,
    /// Entries that no layout explains, sorted.
    pub unknown: Vec<String>,
}

impl Listing {
    /// The same, refused where an entry is not explained; `name` is what the error calls the file.
    pub fn known(self, name: &str) -> Result<Self, AdapterError> {
        match self.unknown.as_slice() {
            [] => Ok(self),
            unknown => Err(unknown_keys(name, unknown)),
        }
    }
}

#[derive(Default)]
struct Parts<'a> {
    down: Option<&'a Entry>,
    up: Option<&'a Entry>,
    alpha: Option<&'a Entry>,
}

enum Role {
    Down,
    Up,
    Alpha,
}

/// Suffixes of the layouts; the older diffusers ones are read, never written.
const SUFFIXES: &[(&str, Role, Format)] = &[
    (".lora_down.weight", Role::Down, Format::Kohya),
    (".lora_up.weight", Role::Up, Format::Kohya),
    (".alpha", Role::Alpha, Format::Kohya),
    (".lora_A.weight", Role::Down, Format::Peft),
    (".lora_B.weight", Role::Up, Format::Peft),
    (".lora_linear_layer.down.weight", Role::Down, Format::Peft),
    (".lora_linear_layer.up.weight", Role::Up, Format::Peft),
    (".lora.down.weight", Role::Down, Format::Peft),
    (".lora.up.weight", Role::Up, Format::Peft),
];

/// Explains a container; `name` is what errors call it. Entries that no layout explains are listed in the result.
pub fn decode(container: &Container, name: &str) -> Result<Listing, AdapterError> {
    let mut unknown = Vec::new();
    let mut found: BTreeMap<String, Parts> = BTreeMap::new();
    let mut formats = [0usize; 2];
    for entry in container.entries() {
        let role = SUFFIXES
            .iter()
            .find_map(|(s, r, f)| Some((entry.name.strip_suffix(s)?, r, *f)));
        let path = role
            .as_ref()
            .and_then(|(key, _, format)| Some((path_of(key, *format)?, *format)));
        let (Some((path, format)), Some((_, role, _))) = (path, role) else {
            unknown.push(entry.name.clone());
            continue;
        };
        formats[usize::from(format == Format::Peft)] += 1;
        let parts = found.entry(path).or_default();
        let slot = match role {
            Role::Down => &mut parts.down,
            Role::Up => &mut parts.up,
            Role::Alpha => &mut parts.alpha,
        };
        if slot.replace(entry).is_some() {
            return Err(AdapterError::Module {
                module: entry.name.clone(),
                expected: "each module once".into(),
                found: "a second name for the same module".into(),
            });
        }
    }
    let format = match formats {
        [0, 0] if unknown.is_empty() => return Err(AdapterError::Empty { path: name.into() }),
        [0, 0] => return Err(unknown_keys(name, &unknown)),
        [_, 0] => Format::Kohya,
        [0, _] => Format::Peft,
        [kohya, peft] => {
            return Err(AdapterError::Malformed {
                path: name.into(),
                reason: format!("expected one layout, found {kohya} kohya entries and {peft} PEFT entries"),
            });
        }
    };
    let mut dtypes = Vec::new();
    let mut modules = Vec::with_capacity(found.len());
    for (path, parts) in found {
        let (Some(down), Some(up)) = (parts.down, parts.up) else {
            return Err(AdapterError::Module {
                module: path,
                expected: "both matrices".into(),
                found: "only one, or an alpha alone".into(),
            });
        };
        let mut values = |entry: &Entry| {
            let dtype = entry.float().ok_or_else(|| AdapterError::Module {
                module: entry.name.clone(),
                expected: "F32, F16 or BF16".into(),
                found: entry.dtype.clone(),
            })?;
            if !dtypes.contains(&dtype) {
                dtypes.push(dtype);
            }
            Ok::<_, AdapterError>(dtype.widen(container.bytes_of(entry)))
        };
        let alpha = match parts.alpha {
            None => None,
            Some(entry) => match values(entry)?.as_slice() {
                [alpha] => Some(*alpha).filter(|a| *a != 0.0),
                more => {
                    return Err(AdapterError::Module {
                        module: entry.name.clone(),
                        expected: "one value".into(),
                        found: format!("{} values", more.len()),
                    });
                }
            },
        };
        let rank = down.shape.first().copied().unwrap_or(0);
        modules.push(LoraModule {
            path,
            down: values(down)?,
            down_shape: down.shape.clone(),
            up: values(up)?,
            up_shape: up.shape.clone(),
            alpha: alpha.unwrap_or(rank as f32),
        });
    }
    if let Some(text) = container.metadata.get(PEFT_METADATA) {
        peft_alphas(text, &mut modules)?;
    }
    modules.iter().try_for_each(LoraModule::check)?;
    Ok(Listing {
        adapter: AdapterFile {
            modules,
            header: container.metadata.clone(),
        },
        format,
        dtype: Some(dtypes).filter(|d| d.len() == 1).and_then(|d| d.first().copied()),
        unknown,
    })
}

/// Path of the module whose key, without the suffix, is `key`.
fn path_of(key: &str, format: Format) -> Option<String> {
    match format {
        Format::Kohya => path_of_kohya(key),
        Format::Peft if key.starts_with("text_encoder.") || key.starts_with("text_encoder_2.") => Some(key.to_owned()),
        // PEFT's own files name the modules of the one model they wrap.
        Format::Peft => key
            .strip_prefix("unet.")
            .or_else(|| key.strip_prefix("base_model.model."))
            .filter(|path| !path.is_empty())
            .map(str::to_owned),
    }
}

/// Takes the alphas from diffusers' header entry: `PART.lora_alpha`, with exceptions in `PART.alpha_pattern`.
fn peft_alphas(text: &str, modules: &mut [LoraModule]) -> Result<(), AdapterError> {
    let wrong = |reason: String| AdapterError::Header {
        key: PEFT_METADATA.into(),
        reason,
    };
    let config: BTreeMap<String, Value> = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    for m in modules {
        let (part, path) = match m.path.split_once('.') {
            Some((part @ ("text_encoder" | "text_encoder_2"), path)) => (part, path),
            _ => ("unet", m.path.as_str()),
        };
        let of = |key: &str| config.get(&format!("{part}.{key}"));
        if of("use_dora").and_then(Value::as_bool) == Some(true) {
            return Err(wrong(format!("expected plain LoRA, found `{part}.use_dora` true")));
        }
        let exception = of("alpha_pattern").and_then(Value::as_object).and_then(|patterns| {
            patterns
                .iter()
                .find(|(p, _)| path == p.as_str() || path.ends_with(&format!(".{p}")))
                .map(|(_, v)| v)
        });
        let Some(value) = exception.or_else(|| of("lora_alpha")) else {
            continue;
        };
        let alpha = value
            .as_f64()
            .ok_or_else(|| wrong(format!("expected a number as alpha, found {value}")))? as f32;
        let rank = m.rank().max(1) as f32;
        // rsLoRA divides by the root of the rank; the module keeps the alpha that gives the same scale.
        let alpha = if of("use_rslora").and_then(Value::as_bool) == Some(true) {
            alpha * rank.sqrt()
        } else {
            alpha
        };
        m.alpha = if alpha == 0.0 { rank } else { alpha };
    }
    Ok(())
}
