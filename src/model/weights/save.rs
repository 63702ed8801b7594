//! Writing tensors as a safetensors file.

use std::io::Write;
use std::path::Path;

use super::LoadError;

/// One tensor on its way into a file.
pub struct Saved {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values in row-major order.
    pub values: Vec<f32>,
}

/// Writes tensors as a safetensors file, through a temporary file beside it; the same tensors give the same bytes.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, tensors: &[Saved], f16: bool) -> Result<(), LoadError> {
    let io = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut sorted: Vec<&Saved> = tensors.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let width = if f16 { 2 } else { 4 };
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), serde_json::json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in &sorted {
        let end = offset + tensor.values.len() * width;
        let dtype = if f16 { "F16" } else { "F32" };
        header.insert(
            tensor.name.clone(),
            serde_json::json!({ "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end] }),
        );
        offset = end;
    }
    let mut text = serde_json::Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut out = beside(path).map_err(io)?;
    out.write_all(&(text.len() as u64).to_le_bytes()).map_err(io)?;
    out.write_all(&text).map_err(io)?;
    for tensor in &sorted {
        let bytes: Vec<u8> = if f16 {
            tensor
                .values
                .iter()
                .flat_map(|&v| half::f16::from_f32(v).to_le_bytes())
                .collect()
        } else {
            tensor.values.iter().flat_map(|v| v.to_le_bytes()).collect()
        };
        out.write_all(&bytes).map_err(io)?;
    }
    out.as_file().sync_all().map_err(io)?;
    out.persist(path).map_err(|e| io(e.error))?;
    Ok(())
}

/// A temporary file in the folder of `path`, which it is to become.
pub(super) fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    // A temporary file is private to its owner; a model's file is an ordinary one.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    builder.prefix(".assent-").tempfile_in(folder)
}
