//! What the inputs of nodes hold, checked.

use serde_json::Value;

use super::graph::{Graph, Input, Link, Node};
use super::{WorkflowError, shown};

/// On the way through a graph.
pub(super) struct Walk<'a> {
    pub graph: &'a Graph,
}

/// A node, and which of its outputs led to it.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub id: &'a str,
    pub node: &'a Node,
    pub slot: usize,
}

impl<'a> Walk<'a> {
    pub fn node(&self, id: &'a str, slot: usize) -> Result<At<'a>, WorkflowError> {
        let node = self.graph.get(id);
        let node =
            node.ok_or_else(|| WorkflowError::Unfit(format!("{} is not in the workflow", self.graph.name(id))))?;
        Ok(At { id, node, slot })
    }

    /// The node that an input comes from, which has to be one of those, at that output of it.
    pub fn from(
        &self,
        at: At<'a>,
        input: &'static str,
        expected: &'static str,
        fit: &[(&str, usize)],
    ) -> Result<At<'a>, WorkflowError> {
        let link = match at.node.inputs.get(input) {
            Some(Input::Link(link)) => link,
            Some(Input::Value(Value::Null)) | None => {
                return Err(WorkflowError::Missing {
                    node: self.graph.name(at.id),
                    input,
                });
            }
            Some(Input::Value(value)) => {
                return Err(WorkflowError::Link {
                    node: self.graph.name(at.id),
                    input,
                    expected,
                    found: shown(&value.to_string()),
                });
            }
        };
        let found = self.node(&link.node, link.slot)?;
        if fit
            .iter()
            .any(|(class, slot)| *class == found.node.class && *slot == found.slot)
        {
            return Ok(found);
        }
        Err(WorkflowError::Link {
            node: self.graph.name(at.id),
            input,
            expected,
            found: format!("output {} of {}", found.slot, self.graph.name(found.id)),
        })
    }

    /// The value of an input, which may stand in a node of its own.
    pub fn value(&self, at: At<'a>, input: &'static str) -> Result<&'a Value, WorkflowError> {
        let missing = || WorkflowError::Missing {
            node: self.graph.name(at.id),
            input,
        };
        match at.node.inputs.get(input) {
            Some(Input::Value(value)) => Ok(value),
            Some(Input::Link(Link { node, .. })) => {
                let from = self.node(node, 0)?;
                match from.node.inputs.get("value") {
                    Some(Input::Value(value)) if from.node.class.starts_with("Primitive") => Ok(value),
                    _ => Err(WorkflowError::Link {
                        node: self.graph.name(at.id),
                        input,
                        expected: "a value, or a Primitive node",
                        found: self.graph.name(node),
                    }),
                }
            }
            None => Err(missing()),
        }
    }

    /// Whether an input is there; older files lack what their nodes did not have yet.
    pub fn has(&self, at: At<'a>, input: &str) -> bool {
        at.node.inputs.contains_key(input)
    }

    fn bad(&self, at: At<'a>, input: &'static str, expected: &'static str, found: &Value) -> WorkflowError {
        WorkflowError::Value {
            node: self.graph.name(at.id),
            input,
            expected,
            found: shown(&found.to_string()),
        }
    }

    pub fn text(&self, at: At<'a>, input: &'static str) -> Result<String, WorkflowError> {
        let value = self.value(at, input)?;
        let text = value.as_str().map(str::to_owned);
        text.ok_or_else(|| self.bad(at, input, "a text", value))
    }

    pub fn number(
        &self,
        at: At<'a>,
        input: &'static str,
        expected: &'static str,
        fits: impl Fn(f64) -> bool,
    ) -> Result<f64, WorkflowError> {
        let value = self.value(at, input)?;
        let number = value.as_f64().filter(|v| fits(*v));
        number.ok_or_else(|| self.bad(at, input, expected, value))
    }

    pub fn strength(&self, at: At<'a>, input: &'static str) -> Result<f64, WorkflowError> {
        self.number(at, input, "a number from -100 to 100", |v| v.abs() <= 100.0)
    }

    pub fn whole(&self, at: At<'a>, input: &'static str, least: usize, most: usize) -> Result<usize, WorkflowError> {
        let value = self.value(at, input)?;
        let number = value.as_u64().or_else(|| {
            value
                .as_f64()
                .filter(|v| v.fract() == 0.0 && (0.0..1e9).contains(v))
                .map(|v| v as u64)
        });
        let number = number.and_then(|n| usize::try_from(n).ok());
        let number = number.filter(|n| (least..=most).contains(n));
        number.ok_or_else(|| self.bad(at, input, "a whole number within its range", value))
    }

    pub fn seed(&self, at: At<'a>, input: &'static str) -> Result<u64, WorkflowError> {
        let value = self.value(at, input)?;
        let seed = value.as_u64();
        seed.ok_or_else(|| self.bad(at, input, "a whole number from 0 to 2^64 - 1", value))
    }
}
