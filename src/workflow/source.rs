//! From bytes to a graph: which of the formats it is.

use std::borrow::Cow;
use std::io::Cursor;

use serde_json::{Map, Value};

use super::graph::Graph;
use super::{MOST_FILE, MOST_JSON, WorkflowError, graph, ui};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// The graph in a file. Of a picture's two texts the prompt is taken: it is what was run.
pub(super) fn graph(bytes: &[u8]) -> Result<Graph, WorkflowError> {
    if !bytes.starts_with(PNG) {
        return of_json(bytes);
    }
    let [prompt, workflow] = texts(bytes)?;
    match (prompt, workflow) {
        (Some(text), _) | (None, Some(text)) => of_json(text.as_bytes()),
        (None, None) => Err(WorkflowError::NoText),
    }
}

/// The texts `prompt` and `workflow` before a PNG file's pixels.
fn texts(bytes: &[u8]) -> Result<[Option<String>; 2], WorkflowError> {
    limit("bytes", bytes.len(), MOST_FILE)?;
    let error = |e: png::DecodingError| WorkflowError::Png(e.to_string());
    let limits = png::Limits { bytes: 2 * MOST_JSON };
    let reader = png::Decoder::new_with_limits(Cursor::new(bytes), limits)
        .read_info()
        .map_err(error)?;
    let info = reader.info();
    let find = |keyword: &str| -> Result<Option<String>, WorkflowError> {
        let plain = info.uncompressed_latin1_text.iter().find(|t| t.keyword == keyword);
        if let Some(chunk) = plain {
            return Ok(Some(chunk.text.clone()));
        }
        let packed = info.compressed_latin1_text.iter().find(|t| t.keyword == keyword);
        if let Some(chunk) = packed {
            let mut chunk = chunk.clone();
            chunk.decompress_text_with_limit(MOST_JSON).map_err(error)?;
            return chunk.get_text().map(Some).map_err(error);
        }
        let Some(chunk) = info.utf8_text.iter().find(|t| t.keyword == keyword) else {
            return Ok(None);
        };
        let mut chunk = chunk.clone();
        chunk.decompress_text_with_limit(MOST_JSON).map_err(error)?;
        chunk.get_text().map(Some).map_err(error)
    };
    Ok([find("prompt")?, find("workflow")?])
}

fn of_json(bytes: &[u8]) -> Result<Graph, WorkflowError> {
    limit("bytes of JSON", bytes.len(), MOST_JSON)?;
    let document: Value =
        serde_json::from_slice(&without_nan(bytes)).map_err(|e| WorkflowError::Json(e.to_string()))?;
    let Value::Object(document) = document else {
        return Err(WorkflowError::Format("expected a JSON object".to_owned()));
    };
    of_object(&document)
}

fn of_object(document: &Map<String, Value>) -> Result<Graph, WorkflowError> {
    if document.get("nodes").is_some_and(Value::is_array) {
        return ui::graph(document);
    }
    // As it is sent to the server.
    if let Some(Value::Object(prompt)) = document.get("prompt") {
        return graph::of_api(prompt);
    }
    if document
        .values()
        .any(|node| node.get("class_type").is_some_and(Value::is_string))
    {
        return graph::of_api(document);
    }
    let keys: Vec<String> = document.keys().take(5).map(|key| super::shown(key)).collect();
    Err(WorkflowError::Format(format!(
        "expected `nodes` and `links`, or nodes with `class_type`, found the keys: {}",
        keys.join(", ")
    )))
}

pub(super) fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), WorkflowError> {
    if found > limit {
        return Err(WorkflowError::Size { what, found, limit });
    }
    Ok(())
}

/// JSON as Python writes it may hold `NaN` and `Infinity`, which no JSON has; they become `null`.
fn without_nan(bytes: &[u8]) -> Cow<'_, [u8]> {
    const WORDS: [&[u8]; 3] = [b"NaN", b"-Infinity", b"Infinity"];
    let mut out: Option<Vec<u8>> = None;
    let (mut at, mut inside) = (0, false);
    while at < bytes.len() {
        let word = WORDS.iter().find(|word| !inside && bytes[at..].starts_with(word));
        if let Some(word) = word {
            out.get_or_insert_with(|| bytes[..at].to_vec()).extend(b"null");
            at += word.len();
            continue;
        }
        let length = if inside && bytes[at] == b'\\' { 2 } else { 1 };
        inside ^= bytes[at] == b'"';
        let end = (at + length).min(bytes.len());
        if let Some(out) = &mut out {
            out.extend(&bytes[at..end]);
        }
        at = end;
    }
    out.map_or(Cow::Borrowed(bytes), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_becomes_null_outside_of_texts() {
        for (json, expected) in [
            (r#"{"a": [NaN], "b": -Infinity}"#, r#"{"a": [null], "b": null}"#),
            (r#"["NaN", "\"NaN", "\\", Infinity]"#, r#"["NaN", "\"NaN", "\\", null]"#),
            (r#"["a\"#, r#"["a\"#),
        ] {
            assert_eq!(without_nan(json.as_bytes()), expected.as_bytes());
        }
    }
}
