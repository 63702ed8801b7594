//! The graph that both formats come to.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::source::limit;
use super::{MOST_NODES, WorkflowError, shown};

/// Nodes by id.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: BTreeMap<String, Node>,
}

/// What one node is.
#[derive(Debug)]
pub(super) struct Node {
    pub class: String,
    pub title: Option<String>,
    pub inputs: BTreeMap<String, Input>,
}

/// What an input holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Input {
    Link(Link),
    Value(Value),
}

/// An output of another node.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Link {
    pub node: String,
    pub slot: usize,
}

impl Graph {
    pub fn add(&mut self, id: String, node: Node) -> Result<(), WorkflowError> {
        limit("inputs of one node", node.inputs.len(), MOST_NODES)?;
        if self.nodes.insert(id.clone(), node).is_some() {
            return Err(WorkflowError::Format(format!(
                "expected each id once, found {} twice",
                shown(&id)
            )));
        }
        limit("nodes", self.nodes.len(), MOST_NODES)
    }

    pub fn get(&self, id: &str) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The ids, those of fewer digits first.
    pub fn ids(&self) -> Vec<&str> {
        sorted(self.nodes.keys().map(String::as_str))
    }

    /// A node in a message: class, id and, where it was given one, title.
    pub fn name(&self, id: &str) -> String {
        let Some(node) = self.nodes.get(id) else {
            return format!("node {}", shown(id));
        };
        let (class, id) = (shown(&node.class), shown(id));
        match &node.title {
            Some(title) if *title != node.class => format!("{class} {id} (\"{}\")", shown(title)),
            _ => format!("{class} {id}"),
        }
    }

    /// The nodes that these need, themselves among them.
    ///
    /// # Errors
    /// A link to a node that is not there, or a circle.
    pub fn behind(&self, roots: &[&str]) -> Result<BTreeSet<&str>, WorkflowError> {
        enum Visit<'a> {
            Enter(&'a str),
            Leave(&'a str),
        }
        let (mut done, mut open) = (BTreeSet::new(), BTreeSet::new());
        let roots = self.nodes.keys().filter(|id| roots.contains(&id.as_str()));
        let mut stack: Vec<Visit<'_>> = roots.map(|id| Visit::Enter(id)).collect();
        while let Some(visit) = stack.pop() {
            let id = match visit {
                Visit::Leave(id) => {
                    open.remove(id);
                    done.insert(id);
                    continue;
                }
                Visit::Enter(id) if open.contains(id) => return Err(WorkflowError::Circle(self.name(id))),
                Visit::Enter(id) if done.contains(id) => continue,
                Visit::Enter(id) => id,
            };
            open.insert(id);
            stack.push(Visit::Leave(id));
            let Some(node) = self.nodes.get(id) else { continue };
            for (input, link) in &node.inputs {
                let Input::Link(link) = link else { continue };
                if !self.nodes.contains_key(&link.node) {
                    return Err(WorkflowError::Dangling {
                        node: self.name(id),
                        input: shown(input),
                        to: shown(&link.node),
                    });
                }
                stack.push(Visit::Enter(&link.node));
            }
        }
        Ok(done)
    }
}

/// Ids as people count: 9 before 10.
pub(super) fn sorted<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_by_key(|id| (id.len(), *id));
    ids
}

/// The API's format: what the server is sent.
pub(super) fn of_api(nodes: &Map<String, Value>) -> Result<Graph, WorkflowError> {
    let mut graph = Graph::default();
    for (id, node) in nodes {
        let Some(class) = node.get("class_type").and_then(Value::as_str) else {
            return Err(WorkflowError::Format(format!(
                "node {}: expected a `class_type`",
                shown(id)
            )));
        };
        let title = node.get("_meta").and_then(|meta| meta.get("title"));
        let inputs = node.get("inputs").and_then(Value::as_object);
        let inputs = inputs.into_iter().flatten();
        let inputs = inputs.map(|(name, value)| (name.clone(), input(value))).collect();
        graph.add(
            id.clone(),
            Node {
                class: class.to_owned(),
                title: title.and_then(Value::as_str).map(str::to_owned),
                inputs,
            },
        )?;
    }
    Ok(graph)
}

/// A list of a node's id and a number is a link.
fn input(value: &Value) -> Input {
    let link = value.as_array().and_then(|pair| match pair.as_slice() {
        [node, slot] => Some(Link {
            node: id(node)?,
            slot: usize::try_from(slot.as_u64()?).ok()?,
        }),
        _ => None,
    });
    link.map_or_else(|| Input::Value(value.clone()), Input::Link)
}

/// An id, which is a text or a whole number.
pub(super) fn id(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => number.as_i64().map(|n| n.to_string()),
        _ => None,
    }
}
