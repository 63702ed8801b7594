//! Container → adapter: recognises the layout by its keys and explains every entry, or lists it as unknown.
//!
//! No entry is passed over: a key that no form of update explains makes the file unusable, because what it would have
//! changed is then missing from every picture.

use std::collections::BTreeMap;

use super::peft::{PEFT_METADATA, Rules};
use super::{
    AdapterError, AdapterFile, Container, Dtype, Entry, Factor, Form, Format, Magnitude, Module, Product, Weight,
    unknown_keys,
};
use crate::names::{path_of_dotted, path_of_kohya};

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

/// Ends of keys, and the part of a module that they name. The first that fits counts.
const SUFFIXES: &[(&str, &str)] = &[
    (".lora_down.weight", "down"),
    (".lora_up.weight", "up"),
    (".lora_mid.weight", "mid"),
    (".lora_A.weight", "down"),
    (".lora_B.weight", "up"),
    (".lora_A.default.weight", "down"),
    (".lora_B.default.weight", "up"),
    (".lora_linear_layer.down.weight", "down"),
    (".lora_linear_layer.up.weight", "up"),
    (".lora.down.weight", "down"),
    (".lora.up.weight", "up"),
    // diffusers before 0.17, with the attention's processor as owner.
    ("_lora.down.weight", "down"),
    ("_lora.up.weight", "up"),
    (".alpha", "alpha"),
    (".dora_scale", "dora_scale"),
    (".lora_magnitude_vector.default.weight", "magnitude"),
    (".lora_magnitude_vector.weight", "magnitude"),
    (".lora_magnitude_vector", "magnitude"),
    (".hada_w1_a", "hada_w1_a"),
    (".hada_w1_b", "hada_w1_b"),
    (".hada_w2_a", "hada_w2_a"),
    (".hada_w2_b", "hada_w2_b"),
    (".hada_t1", "hada_t1"),
    (".hada_t2", "hada_t2"),
    (".lokr_w1", "lokr_w1"),
    (".lokr_w1_a", "lokr_w1_a"),
    (".lokr_w1_b", "lokr_w1_b"),
    (".lokr_w2", "lokr_w2"),
    (".lokr_w2_a", "lokr_w2_a"),
    (".lokr_w2_b", "lokr_w2_b"),
    (".lokr_t2", "lokr_t2"),
    (".diff", "diff"),
    (".diff_b", "bias"),
    (".w_norm", "w_norm"),
    (".b_norm", "bias"),
    (".on_input", "on_input"),
    (".weight", "gain"),
];

/// Explains a container; `name` is what errors call it. Entries that no layout explains are listed in the result.
pub fn decode(container: &Container, name: &str) -> Result<Listing, AdapterError> {
    decode_beside(container, name, None)
}

/// The same, with the text of the `adapter_config.json` that lies beside the file, where PEFT wrote it.
pub fn decode_beside(container: &Container, name: &str, config: Option<&str>) -> Result<Listing, AdapterError> {
    let mut unknown = Vec::new();
    let mut found: BTreeMap<String, Parts> = BTreeMap::new();
    let mut formats = [0usize; 2];
    for entry in container.entries() {
        let Some((path, part, format)) = explain(&entry.name) else {
            unknown.push(entry.name.clone());
            continue;
        };
        formats[usize::from(format == Format::Peft)] += 1;
        if found.entry(path).or_default().insert(part, entry).is_some() {
            return Err(AdapterError::Module {
                module: entry.name.clone(),
                expected: "each module once".into(),
                found: "a second name for the same module".into(),
            });
        }
    }
    // A bare `.weight` is a gain only beside the flag that says of which channels.
    found.retain(|_, parts| {
        let stray = parts.contains_key("gain") && !parts.contains_key("on_input");
        if stray {
            unknown.extend(parts.values().map(|entry| entry.name.clone()));
        }
        !stray
    });
    unknown.sort();
    let format = match formats {
        _ if found.is_empty() && unknown.is_empty() => return Err(AdapterError::Empty { path: name.into() }),
        _ if found.is_empty() => return Err(unknown_keys(name, &unknown)),
        [_, 0] => Format::Kohya,
        [0, _] => Format::Peft,
        [kohya, peft] => {
            return Err(AdapterError::Malformed {
                path: name.into(),
                reason: format!("expected one layout, found {kohya} kohya entries and {peft} PEFT entries"),
            });
        }
    };
    let mut reader = Reader {
        container,
        dtypes: Vec::new(),
    };
    let mut modules = found
        .into_iter()
        .map(|(path, parts)| reader.module(path, parts))
        .collect::<Result<Vec<_>, _>>()?;
    let rules = match (container.metadata.get(PEFT_METADATA), config) {
        (Some(text), _) => Some(Rules::of_header(text)?),
        (None, Some(text)) if format == Format::Peft => Some(Rules::of_file(text)?),
        (None, _) => None,
    };
    if let Some(rules) = rules {
        modules.iter_mut().try_for_each(|module| rules.apply(module))?;
    }
    modules.iter().try_for_each(Module::check)?;
    let dtypes = reader.dtypes;
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

/// Path of the module, part of it and layout that a key names.
fn explain(key: &str) -> Option<(String, &'static str, Format)> {
    SUFFIXES.iter().find_map(|(suffix, part)| {
        let stem = key.strip_suffix(suffix)?;
        let (path, format) = match path_of_kohya(stem) {
            Some(path) => (path, Format::Kohya),
            None => (path_of_dotted(stem)?, dotted_layout(stem)),
        };
        Some((path, *part, format))
    })
}

/// ComfyUI's own files have the suffixes of kohya's and names of the original code.
fn dotted_layout(stem: &str) -> Format {
    match stem.starts_with("diffusion_model.") || stem.starts_with("text_encoders.") {
        true => Format::Kohya,
        false => Format::Peft,
    }
}

/// The entries of one module by the parts they are.
type Parts<'a> = BTreeMap<&'static str, &'a Entry>;

struct Reader<'a> {
    container: &'a Container,
    dtypes: Vec<Dtype>,
}

impl Reader<'_> {
    fn module(&mut self, path: String, mut parts: Parts<'_>) -> Result<Module, AdapterError> {
        let alpha = match self.take(&mut parts, "alpha")?.map(|w| w.values) {
            None => None,
            Some(values) => match values.as_slice() {
                [alpha] => Some(*alpha).filter(|a| *a != 0.0),
                more => {
                    return Err(AdapterError::Module {
                        module: path,
                        expected: "one value as alpha".into(),
                        found: format!("{} values", more.len()),
                    });
                }
            },
        };
        let bias = self.take(&mut parts, "bias")?;
        let magnitude = self.magnitude(&mut parts)?;
        let form = self.form(&path, &mut parts, bias.is_some())?;
        if let Some(entry) = parts.into_values().next() {
            return Err(AdapterError::Module {
                module: path,
                expected: format!("the parts of one {} update", form.name()),
                found: format!("`{}` besides", entry.name),
            });
        }
        let mut module = Module {
            path,
            form,
            alpha: 1.0,
            magnitude,
            bias,
        };
        // What has no rank has no scale either: LyCORIS and ComfyUI do not look at its alpha.
        if module.form.has_rank() {
            module.alpha = alpha.unwrap_or(module.rank() as f32);
        }
        Ok(module)
    }

    /// The form that the parts make, which it takes out of them.
    fn form(&mut self, path: &str, parts: &mut Parts<'_>, bias: bool) -> Result<Form, AdapterError> {
        let incomplete = |found: &Parts<'_>, expected: &str| AdapterError::Module {
            module: path.to_owned(),
            expected: expected.to_owned(),
            found: match found.keys().next() {
                None => "only one of them, or an alpha alone".to_owned(),
                Some(part) => format!("only one of them beside `{part}`"),
            },
        };
        let first = parts.keys().find(|part| **part != "mid").copied().unwrap_or("");
        if first.starts_with("hada_") {
            let mut product = |names: [&str; 3]| {
                let (a, b) = (self.take(parts, names[0])?, self.take(parts, names[1])?);
                let core = self.take(parts, names[2])?;
                Ok::<_, AdapterError>(a.zip(b).map(|(a, b)| Product { a, b, core }))
            };
            let first = product(["hada_w1_a", "hada_w1_b", "hada_t1"])?;
            let second = product(["hada_w2_a", "hada_w2_b", "hada_t2"])?;
            let (first, second) = first
                .zip(second)
                .ok_or_else(|| incomplete(parts, "the four matrices of a LoHa update"))?;
            return Ok(Form::Loha { first, second });
        }
        if first.starts_with("lokr_") {
            let mut factor = |whole: &str, names: [&str; 3]| {
                if let Some(w) = self.take(parts, whole)? {
                    return Ok::<_, AdapterError>(Some(Factor::Whole(w)));
                }
                let (a, b) = (self.take(parts, names[0])?, self.take(parts, names[1])?);
                let core = self.take(parts, names[2])?;
                Ok(a.zip(b).map(|(a, b)| Factor::Product(Product { a, b, core })))
            };
            let first = factor("lokr_w1", ["lokr_w1_a", "lokr_w1_b", "lokr_t1"])?;
            let second = factor("lokr_w2", ["lokr_w2_a", "lokr_w2_b", "lokr_t2"])?;
            let (first, second) = first
                .zip(second)
                .ok_or_else(|| incomplete(parts, "both factors of a LoKr update"))?;
            return Ok(Form::Lokr { first, second });
        }
        if let Some(gain) = self.take(parts, "gain")? {
            let on_input = parts.remove("on_input").is_some_and(|entry| {
                // One whole number or one truth value, of any width.
                self.container.bytes_of(entry).iter().any(|byte| *byte != 0)
            });
            return Ok(Form::Ia3 { gain, on_input });
        }
        if let Some(diff) = self.take(parts, "w_norm")? {
            return Ok(Form::Norm { diff });
        }
        let (down, up) = (self.take(parts, "down")?, self.take(parts, "up")?);
        match (down, up) {
            (Some(down), Some(up)) => Ok(Form::Lora {
                down,
                up,
                mid: self.take(parts, "mid")?,
            }),
            (None, None) => match self.take(parts, "diff")? {
                None if !bias => Err(incomplete(parts, "both matrices")),
                diff => Ok(Form::Full { diff }),
            },
            _ => Err(incomplete(parts, "both matrices")),
        }
    }

    fn magnitude(&mut self, parts: &mut Parts<'_>) -> Result<Option<Magnitude>, AdapterError> {
        // PEFT's is always one of the output's channels, whatever the shape it is kept in.
        if let Some(w) = self.take(parts, "magnitude")? {
            let tail = vec![1; w.shape.len().saturating_sub(1).max(1)];
            return Ok(Some(Magnitude {
                lengths: Weight::new([vec![w.values.len()], tail].concat(), w.values),
                on_input: false,
            }));
        }
        Ok(self.take(parts, "dora_scale")?.map(|w| Magnitude {
            on_input: w.shape.first() == Some(&1) && w.values.len() > 1,
            lengths: w,
        }))
    }

    fn take(&mut self, parts: &mut Parts<'_>, part: &str) -> Result<Option<Weight>, AdapterError> {
        let Some(entry) = parts.remove(part) else {
            return Ok(None);
        };
        let dtype = entry.float().ok_or_else(|| AdapterError::Module {
            module: entry.name.clone(),
            expected: "F32, F16 or BF16".into(),
            found: entry.dtype.clone(),
        })?;
        if !self.dtypes.contains(&dtype) {
            self.dtypes.push(dtype);
        }
        let values = dtype.widen(self.container.bytes_of(entry));
        Ok(Some(Weight::new(entry.shape.clone(), values)))
    }
}
