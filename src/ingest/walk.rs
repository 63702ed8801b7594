//! Which files there are to read: pictures by content, or by a name that promises one.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use crate::pixels::Format;

/// Names that promise a picture: what they hold is read, or refused with a reason.
const PROMISES: [&str; 15] = [
    "png", "apng", "jpg", "jpeg", "jpe", "jfif", "webp", "gif", "tif", "tiff", "bmp", "avif", "heic", "heif", "jxl",
];

/// A file to read, or what stands in its way.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The path, beginning as the user named it.
    pub path: PathBuf,
    /// Why it cannot be read, when that is clear already.
    pub problem: Option<String>,
    /// What the walk saw of the file.
    pub(super) metadata: Option<Metadata>,
}

impl Entry {
    fn refused(path: PathBuf, problem: impl Into<String>) -> Self {
        Entry {
            path,
            problem: Some(problem.into()),
            metadata: None,
        }
    }
}

/// The files under `paths`, links followed, in the order of names; each path once. A file that is named itself counts
/// whatever its name; in folders, other files count when their first bytes are those of a picture.
pub fn walk(paths: &[PathBuf]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for path in paths {
        for found in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match found {
                Ok(found) => {
                    let depth = found.depth();
                    let metadata = found.metadata();
                    match metadata {
                        Ok(metadata) => entries.extend(entry(found.into_path(), metadata, depth == 0)),
                        Err(error) => entries.push(Entry::refused(found.into_path(), error.to_string())),
                    }
                }
                Err(error) => {
                    let at = error.path().unwrap_or(path).to_path_buf();
                    let problem = match (error.loop_ancestor(), error.io_error()) {
                        (Some(ancestor), _) => format!("a link in a circle: it leads back to `{}`", ancestor.display()),
                        (None, Some(error)) => format!("cannot be read: {error}"),
                        (None, None) => error.to_string(),
                    };
                    entries.push(Entry::refused(at, problem));
                }
            }
        }
    }
    let mut seen = std::collections::HashSet::new();
    entries.retain(|entry| seen.insert(entry.path.clone()));
    entries
}

fn entry(path: PathBuf, metadata: Metadata, named: bool) -> Option<Entry> {
    let promises = promises_picture(&path);
    if metadata.is_dir() {
        return (promises && !named).then(|| Entry::refused(path, "a folder with the name of a picture"));
    }
    if !metadata.is_file() {
        return (promises || named).then(|| Entry::refused(path, "not a regular file"));
    }
    (named || promises || starts_as_picture(&path)).then_some(Entry {
        path,
        problem: None,
        metadata: Some(metadata),
    })
}

fn promises_picture(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| PROMISES.iter().any(|promise| extension.eq_ignore_ascii_case(promise)))
}

/// A file that cannot be opened promises nothing: it is no more than its name.
fn starts_as_picture(path: &Path) -> bool {
    let mut start = Vec::with_capacity(16);
    let read = File::open(path).and_then(|file| file.take(16).read_to_end(&mut start));
    read.is_ok() && (Format::of_bytes(&start).is_some() || Format::unread(&start).is_some())
}
