//! `ComfyUI` workflows: the graph in a file becomes a plan, which is what `assent generate` is asked for on the command
//! line: a checkpoint, adapters, prompts, a sampler and a picture to start from.
//!
//! Plain JSON → plain values. Reads no model and opens no file that a workflow names. Both of `ComfyUI`'s formats are
//! read, the API's (`{"3": {"class_type": …, "inputs": …}}`) and the editor's (`{"nodes": […], "links": […]}`), and
//! both out of the PNG files that it writes.

mod classes;
mod graph;
mod inputs;
mod plan;
mod source;
#[cfg(test)]
mod tests;
mod ui;
mod walk;

pub use plan::{Canvas, Channel, Lora, Mask, Plan};

/// Bytes of a workflow's JSON. The largest published ones have about one million.
const MOST_JSON: usize = 16 << 20;
/// Bytes of a picture that a workflow stands in.
const MOST_FILE: usize = 256 << 20;
/// Nodes, and inputs of a node.
const MOST_NODES: usize = 4096;
/// Characters of a stranger's name in a message.
const MOST_SHOWN: usize = 80;

/// Why a workflow is not followed.
#[derive(Debug, thiserror::Error)]
pub enum WorkflowError {
    /// Larger than anybody's.
    #[error("it has {found} {what}, expected at most {limit}")]
    Size {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A PNG file that cannot be read.
    #[error("it is not a whole PNG file: {0}")]
    Png(String),
    /// A PNG file of another program.
    #[error("the picture holds no workflow: expected the text `prompt` or `workflow`, which ComfyUI writes")]
    NoText,
    /// Not JSON.
    #[error("it is not JSON: {0}")]
    Json(String),
    /// JSON of another kind.
    #[error("{0}; hint: save the workflow in ComfyUI with Export or Export (API)")]
    Format(String),
    /// Nodes that are not followed.
    #[error("the picture needs nodes that are not known here: {}; known are {known}", .nodes.join(", "))]
    Unknown {
        /// Each with its class, id and title.
        nodes: Vec<String>,
        /// The classes there are.
        known: String,
    },
    /// Nothing that would show a picture.
    #[error("no SaveImage or PreviewImage is in it, so that no node makes its picture{0}")]
    NoOutput(String),
    /// More than one picture.
    #[error("{0} and {1} show different pictures; hint: mute all but one of them in ComfyUI")]
    Several(String, String),
    /// An input with nothing in it.
    #[error("{node} has no {input}: nothing is connected, or what is connected is muted")]
    Missing {
        /// The node.
        node: String,
        /// Its input.
        input: &'static str,
    },
    /// A link to a node that is not there.
    #[error("{node}: {input} is connected to node {to}, which is not in the workflow")]
    Dangling {
        /// The node.
        node: String,
        /// Its input.
        input: String,
        /// The id that it names.
        to: String,
    },
    /// A link from a node that does not fit.
    #[error("{node}: expected {input} from {expected}, found {found}")]
    Link {
        /// The node.
        node: String,
        /// Its input.
        input: &'static str,
        /// The classes that fit.
        expected: &'static str,
        /// The node that it comes from.
        found: String,
    },
    /// A value that does not fit.
    #[error("{node}: {input}: expected {expected}, found {found}")]
    Value {
        /// The node.
        node: String,
        /// Its input.
        input: &'static str,
        /// What fits.
        expected: &'static str,
        /// The value.
        found: String,
    },
    /// A circle of links.
    #[error("the links run in a circle through {0}")]
    Circle(String),
    /// Parts that are not of one model, or not arranged as here.
    #[error("{0}")]
    Unfit(String),
}

/// Reads a workflow's JSON, or the picture that it stands in, and follows it from the picture that is saved back to the
/// checkpoint.
///
/// # Errors
/// What is not known, does not fit or is missing; all unknown nodes together.
pub fn read(bytes: &[u8]) -> Result<Plan, WorkflowError> {
    walk::plan(&source::graph(bytes)?)
}

/// A stranger's word in a message: without control characters, and not too long.
fn shown(text: &str) -> String {
    let mut cut = String::new();
    for c in text.chars().take(MOST_SHOWN) {
        match c {
            '"' | '\'' | '\\' => cut.push(c),
            _ => cut.extend(c.escape_debug()),
        }
    }
    if text.chars().nth(MOST_SHOWN).is_some() {
        cut.push('…');
    }
    cut
}
