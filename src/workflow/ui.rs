//! The editor's format: nodes with slots, links in a list, and the values of widgets without their names.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value};

use super::graph::{Graph, Input, Link, Node, id};
use super::source::limit;
use super::{MOST_NODES, WorkflowError, shown};

/// `LiteGraph`'s modes of nodes that do not run.
const MUTED: i64 = 2;
const BYPASSED: i64 = 4;

/// In the list of a class's widgets: what happens to the seed after a run. Older files do not have it.
const CONTROL: &str = "";

/// The widgets of a class in the order in which their values stand.
fn widgets(class: &str) -> &'static [&'static str] {
    match class {
        "CheckpointLoaderSimple" => &["ckpt_name"],
        "LoraLoader" => &["lora_name", "strength_model", "strength_clip"],
        "LoraLoaderModelOnly" => &["lora_name", "strength_model"],
        "VAELoader" => &["vae_name"],
        "CLIPSetLastLayer" => &["stop_at_clip_layer"],
        "CLIPTextEncode" => &["text"],
        "EmptyLatentImage" => &["width", "height", "batch_size"],
        "LoadImage" => &["image"],
        "LoadImageMask" => &["image", "channel"],
        "VAEEncodeForInpaint" => &["grow_mask_by"],
        "VAEDecodeTiled" | "VAEEncodeTiled" => &["tile_size", "overlap", "temporal_size", "temporal_overlap"],
        "KSampler" => &["seed", CONTROL, "steps", "cfg", "sampler_name", "scheduler", "denoise"],
        "KSamplerAdvanced" => &[
            "add_noise",
            "noise_seed",
            CONTROL,
            "steps",
            "cfg",
            "sampler_name",
            "scheduler",
            "start_at_step",
            "end_at_step",
            "return_with_leftover_noise",
        ],
        "SaveImage" => &["filename_prefix"],
        "PrimitiveInt" | "PrimitiveFloat" | "PrimitiveString" | "PrimitiveStringMultiline" => &["value"],
        _ => &[],
    }
}

/// A node as it stands in the file.
struct Raw<'a> {
    class: &'a str,
    title: Option<&'a str>,
    mode: i64,
    inputs: &'a [Value],
    outputs: &'a [Value],
    values: Option<&'a Value>,
}

/// Where a link comes from.
struct Origin {
    node: String,
    slot: usize,
}

pub(super) fn graph(document: &Map<String, Value>) -> Result<Graph, WorkflowError> {
    let mut nodes = BTreeMap::new();
    let list = list(document.get("nodes"));
    limit("nodes", list.len(), MOST_NODES)?;
    for node in list {
        let (Some(id), Some(class)) = (node.get("id").and_then(id), node.get("type").and_then(Value::as_str)) else {
            return Err(WorkflowError::Format(
                "expected `id` and `type` of each node".to_owned(),
            ));
        };
        let raw = Raw {
            class,
            title: node.get("title").and_then(Value::as_str),
            mode: node.get("mode").and_then(Value::as_i64).unwrap_or(0),
            inputs: self::list(node.get("inputs")),
            outputs: self::list(node.get("outputs")),
            values: node.get("widgets_values"),
        };
        limit("inputs of one node", raw.inputs.len(), MOST_NODES)?;
        if nodes.insert(id.clone(), raw).is_some() {
            return Err(WorkflowError::Format(format!(
                "expected each id once, found {} twice",
                shown(&id)
            )));
        }
    }
    let editor = Editor {
        nodes,
        links: links(document)?,
    };
    let mut graph = Graph::default();
    for (id, raw) in &editor.nodes {
        let runs = raw.mode != MUTED && raw.mode != BYPASSED;
        if runs && !matches!(raw.class, "Reroute" | "PrimitiveNode" | "Note" | "MarkdownNote") {
            graph.add(id.clone(), editor.node(raw)?)?;
        }
    }
    Ok(graph)
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Links by id: lists of id, node, slot, node, slot and type, or objects.
fn links(document: &Map<String, Value>) -> Result<HashMap<i64, Origin>, WorkflowError> {
    let list = list(document.get("links"));
    limit("links", list.len(), 8 * MOST_NODES)?;
    let read = |link: &Value| {
        let field = |at: usize, name: &str| link.get(at).or_else(|| link.get(name));
        let number = field(0, "id")?.as_i64()?;
        let node = id(field(1, "origin_id")?)?;
        let slot = usize::try_from(field(2, "origin_slot")?.as_u64()?).ok()?;
        Some((number, Origin { node, slot }))
    };
    list.iter()
        .filter(|link| !link.is_null())
        .map(|link| {
            read(link).ok_or_else(|| {
                let link = shown(&link.to_string());
                WorkflowError::Format(format!(
                    "expected a link as [id, from, slot, to, slot, type], found {link}"
                ))
            })
        })
        .collect()
}

struct Editor<'a> {
    nodes: BTreeMap<String, Raw<'a>>,
    links: HashMap<i64, Origin>,
}

impl Editor<'_> {
    fn node(&self, raw: &Raw<'_>) -> Result<Node, WorkflowError> {
        let mut inputs = values(raw);
        for slot in raw.inputs {
            let (Some(name), Some(link)) = (
                slot.get("name").and_then(Value::as_str),
                slot.get("link").and_then(Value::as_i64),
            ) else {
                continue;
            };
            match self.source(link)? {
                Some(input) => inputs.insert(name.to_owned(), input),
                None => inputs.remove(name),
            };
        }
        Ok(Node {
            class: raw.class.to_owned(),
            title: raw.title.map(str::to_owned),
            inputs,
        })
    }

    /// What a link brings, past what only stands in its way: reroutes, bypassed nodes, widgets of their own.
    fn source(&self, link: i64) -> Result<Option<Input>, WorkflowError> {
        let mut link = link;
        for _ in 0..=self.nodes.len() {
            let Some(from) = self.links.get(&link) else {
                return Ok(None);
            };
            let Some(raw) = self.nodes.get(&from.node) else {
                return Ok(Some(Input::Link(Link {
                    node: from.node.clone(),
                    slot: from.slot,
                })));
            };
            let next = match (raw.mode, raw.class) {
                (MUTED, _) => None,
                (BYPASSED, _) => raw.bypass(from.slot),
                (_, "Reroute") => raw.inputs.first(),
                (_, "PrimitiveNode") => {
                    let value = raw.values.and_then(|values| values.get(0));
                    return Ok(value.cloned().map(Input::Value));
                }
                _ => {
                    return Ok(Some(Input::Link(Link {
                        node: from.node.clone(),
                        slot: from.slot,
                    })));
                }
            };
            match next.and_then(|slot| slot.get("link")).and_then(Value::as_i64) {
                Some(further) => link = further,
                None => return Ok(None),
            }
        }
        Err(WorkflowError::Circle(format!("link {link}")))
    }
}

impl Raw<'_> {
    /// The input that takes an output's place where the node is bypassed: the one at the same place if it is of the
    /// output's type, or the first that is.
    fn bypass(&self, slot: usize) -> Option<&Value> {
        let kind = self.outputs.get(slot)?.get("type")?;
        let fits = |input: &&Value| input.get("type") == Some(kind);
        let same = self.inputs.get(slot).filter(fits);
        same.or_else(|| self.inputs.iter().find(fits))
    }
}

/// The values of the widgets, by name.
fn values(raw: &Raw<'_>) -> BTreeMap<String, Input> {
    let input = |(name, value): (&str, &Value)| (name.to_owned(), Input::Value(value.clone()));
    match raw.values {
        Some(Value::Object(values)) => {
            let known = widgets(raw.class).iter().filter(|name| **name != CONTROL);
            known
                .filter_map(|name| Some(input((name, values.get(*name)?))))
                .collect()
        }
        Some(Value::Array(values)) => {
            let names = widgets(raw.class);
            let old = values.len() < names.len();
            let names = names.iter().filter(|name| !(old && **name == CONTROL));
            let pairs = names.copied().zip(values);
            pairs.filter(|(name, _)| *name != CONTROL).map(input).collect()
        }
        _ => BTreeMap::new(),
    }
}
