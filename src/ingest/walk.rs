//! Which files there are to read: pictures by content, or by a name that promises one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
    /// The files beside it; none for a file that is named itself.
    pub(super) beside: Option<Arc<Listing>>,
}

impl Entry {
    fn refused(path: PathBuf, problem: impl Into<String>) -> Self {
        Entry {
            path,
            problem: Some(problem.into()),
            metadata: None,
            beside: None,
        }
    }
}

/// The names in one folder that are not those of pictures: where a sidecar has no name, nobody needs to look for it.
#[derive(Debug)]
pub(super) struct Listing(HashSet<Vec<u8>>);

impl Listing {
    /// None when the folder cannot be listed: then everything has to be looked for.
    fn of(folder: &Path) -> Option<Arc<Listing>> {
        let mut names = HashSet::new();
        for entry in std::fs::read_dir(folder).ok()? {
            let name = entry.ok()?.file_name();
            if !promises_picture(Path::new(&name)) {
                names.insert(folded(&name));
            }
        }
        Some(Arc::new(Listing(names)))
    }

    /// Whether a file of this name may be there, however the file system takes the case of letters.
    pub fn may_hold(&self, name: &OsStr) -> bool {
        promises_picture(Path::new(name)) || self.0.contains(&folded(name))
    }
}

fn folded(name: &OsStr) -> Vec<u8> {
    name.as_encoded_bytes().to_ascii_lowercase()
}

/// The files under `paths`, links followed, in the order of names; each path once. A file that is named itself counts
/// whatever its name; in folders, other files count when their first bytes are those of a picture.
///
/// They are found one by one, as they are asked for: only the names of the folders that the walk is in are held.
pub fn walk(paths: &[PathBuf]) -> impl Iterator<Item = Entry> + Send + use<> {
    let roots = paths.to_vec();
    let mut at = 0;
    let mut open: Option<walkdir::IntoIter> = None;
    let mut listings: Vec<(PathBuf, Option<Arc<Listing>>)> = Vec::new();
    std::iter::from_fn(move || {
        loop {
            let root = roots.get(at)?;
            let found =
                open.get_or_insert_with(|| WalkDir::new(root).follow_links(true).sort_by_file_name().into_iter());
            let Some(found) = found.next() else {
                (at, open) = (at + 1, None);
                listings.clear();
                continue;
            };
            let before = &roots[..at];
            if let Some(entry) = entry_of(found, root, before, &mut listings) {
                return Some(entry);
            }
        }
    })
}

/// The entry that a step of the walk found, unless the walk of a root `before` this one found it.
fn entry_of(
    found: walkdir::Result<walkdir::DirEntry>,
    root: &Path,
    before: &[PathBuf],
    listings: &mut Vec<(PathBuf, Option<Arc<Listing>>)>,
) -> Option<Entry> {
    let within = |path: &Path| before.iter().any(|earlier| path.starts_with(earlier));
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let at = error.path().unwrap_or(root).to_path_buf();
            let problem = match (error.loop_ancestor(), error.io_error()) {
                (Some(ancestor), _) => format!("a link in a circle: it leads back to `{}`", ancestor.display()),
                (None, Some(error)) => format!("cannot be read: {error}"),
                (None, None) => error.to_string(),
            };
            return (!within(&at)).then(|| Entry::refused(at, problem));
        }
    };
    let named = found.depth() == 0;
    let again = within(found.path());
    if again && (!named || before.iter().any(|earlier| earlier == found.path())) {
        return None;
    }
    let metadata = match found.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return Some(Entry::refused(found.into_path(), error.to_string())),
    };
    // In its folder a file that is no picture was passed over; named, it counts.
    if again && entry(found.path().to_path_buf(), metadata.clone(), false).is_some() {
        return None;
    }
    let mut entry = entry(found.into_path(), metadata, named)?;
    if !named && entry.problem.is_none() {
        entry.beside = listing(&entry.path, listings);
    }
    Some(entry)
}

/// The listing of the folder that holds a file; `known` are those of the folders that the walk is in.
fn listing(file: &Path, known: &mut Vec<(PathBuf, Option<Arc<Listing>>)>) -> Option<Arc<Listing>> {
    let folder = file.parent()?;
    while known.last().is_some_and(|(path, _)| !folder.starts_with(path)) {
        known.pop();
    }
    match known.last() {
        Some((path, listing)) if path == folder => listing.clone(),
        _ => {
            let listing = Listing::of(folder);
            known.push((folder.to_path_buf(), listing.clone()));
            listing
        }
    }
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
        beside: None,
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
