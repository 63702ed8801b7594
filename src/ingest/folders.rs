//! The folders above the pictures: which of them is the root of a copy of a site, which pages and which licence files
//! lie in them. Each folder is looked at once an ingest, whichever worker comes first.
//!
//! The root of a picture's site is the nearest folder above it that holds `robots.txt`, `ai.txt` or `tdmrep.json`
//! (beside them or in `.well-known/`), whether or not the user named that folder: what a site refuses does not depend
//! on where in its copy the ingest begins. In the same way `REUSE.toml` and Debian's `debian/copyright` count up to the
//! root of the project, which is the nearest folder that holds `.reuse`, `.git`, `.hg` or `LICENSES`. Nothing is looked for in the boundaries of the options, such as the user's
//! home, or above them.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use super::file::stamp;
use super::sidecars::{read_at_most, read_limited};
use crate::digest::Sha256Digest;
use crate::signals::licensing::{Covering, LicenseFile, LicenseFileKind};
use crate::signals::site::{MOST_ROBOTS, Page, Site};

/// Folders above a picture that are looked at.
const MOST_DEPTH: usize = 64;
/// Pages of one folder that are read.
const MOST_PAGES: usize = 1000;

/// All folders that were looked at.
pub(super) struct Folders<'a> {
    boundaries: &'a [PathBuf],
    known: Mutex<HashMap<PathBuf, Arc<OnceLock<Arc<Folder>>>>>,
}

/// One folder.
#[derive(Default)]
pub(super) struct Folder {
    path: PathBuf,
    /// None for a boundary and for what lies too deep: nothing is read there.
    parent: Option<Arc<Folder>>,
    /// The site it is part of: its own, or that of the folder above.
    root: Option<Arc<Root>>,
    pages: OnceLock<Pages>,
    licenses: Vec<Licenses>,
    /// Whether licence files above speak of other projects.
    project: bool,
    context: OnceLock<Sha256Digest>,
}

/// The root of a site.
struct Root {
    path: PathBuf,
    site: Site,
    /// Digest of what would make its files another reading.
    stamp: Sha256Digest,
    problems: Vec<String>,
}

/// A licence file, read when a picture needs it.
struct Licenses {
    kind: LicenseFileKind,
    path: PathBuf,
    stamp: Stamp,
    parsed: OnceLock<Result<LicenseFile, String>>,
}

/// The pages of one folder, by name.
#[derive(Default)]
struct Pages {
    files: Vec<(PathBuf, Stamp)>,
    /// Whether there are more than are read.
    more: bool,
    /// Those that say something, and what stood in the way of reading others.
    parsed: OnceLock<(Vec<Page>, Vec<String>)>,
}

type Stamp = (u64, i64, u64);

impl<'a> Folders<'a> {
    /// No folder yet; nothing is looked for in `boundaries` or above them.
    pub fn new(boundaries: &'a [PathBuf]) -> Self {
        Folders {
            boundaries,
            known: Mutex::default(),
        }
    }

    /// The folder that holds the file at this absolute path.
    pub fn of(&self, file: &Path) -> Arc<Folder> {
        let Some(folder) = file.parent() else {
            return Arc::default();
        };
        // What `..` leads to is not what stands before it where links are in the way.
        let folder = match folder.components().any(|part| part == Component::ParentDir) {
            true => folder.canonicalize().unwrap_or_default(),
            false => folder.to_path_buf(),
        };
        self.at(&folder, 0)
    }

    fn at(&self, path: &Path, depth: usize) -> Arc<Folder> {
        let Some(parent) = path.parent() else {
            return Arc::default();
        };
        if depth > MOST_DEPTH || self.boundaries.iter().any(|boundary| boundary == path) {
            return Arc::default();
        }
        let cell = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(known.entry(path.to_path_buf()).or_default())
        };
        let folder = cell.get_or_init(|| Arc::new(Folder::look(path, self.at(parent, depth + 1))));
        Arc::clone(folder)
    }
}

impl Folder {
    fn look(path: &Path, parent: Arc<Folder>) -> Self {
        let root = Root::look(path).map(Arc::new).or_else(|| parent.root.clone());
        let kinds = [
            (LicenseFileKind::ReuseToml, "REUSE.toml"),
            (LicenseFileKind::Dep5, ".reuse/dep5"),
            (LicenseFileKind::Debian, "debian/copyright"),
        ];
        let licenses = kinds.into_iter().filter_map(|(kind, name)| {
            let path = path.join(name);
            Some(Licenses {
                kind,
                stamp: stamp_of(&path)?,
                path,
                parsed: OnceLock::new(),
            })
        });
        let marks = [".reuse", ".git", ".hg", "LICENSES"];
        Folder {
            path: path.to_path_buf(),
            parent: Some(parent),
            root,
            licenses: licenses.collect(),
            project: marks.iter().any(|mark| path.join(mark).exists()),
            ..Folder::default()
        }
    }

    /// The site, and what stood in the way of reading it.
    pub fn site(&self) -> (Option<&Site>, &[String]) {
        match &self.root {
            Some(root) => (Some(&root.site), &root.problems),
            None => (None, &[]),
        }
    }

    fn root_path(&self) -> Option<&Path> {
        self.root.as_ref().map(|root| root.path.as_path())
    }

    /// The path of a file in this folder below the root of its site, or below this folder where there is no site.
    pub fn path_in_site(&self, name: &OsStr) -> Vec<u8> {
        joined(self.root_path(), &self.path, Some(name))
    }

    /// This folder and those above it up to the root of the site.
    fn chain(&self) -> impl Iterator<Item = &Folder> {
        let end = self.root.as_ref().map_or(&self.path, |root| &root.path);
        let mut next = self.parent.is_some().then_some(self);
        std::iter::from_fn(move || {
            let folder = next?;
            next = folder.parent.as_deref().filter(|_| folder.path != *end);
            Some(folder)
        })
    }

    /// This folder and those above it up to the root of the project, nearest first.
    fn project(&self) -> impl Iterator<Item = &Folder> {
        let mut next = self.parent.is_some().then_some(self);
        std::iter::from_fn(move || {
            let folder = next?;
            let above = folder.parent.as_deref().filter(|above| above.parent.is_some());
            next = above.filter(|_| !folder.project);
            Some(folder)
        })
    }

    /// The licence files that may speak about a file in this folder, nearest first, and what stood in the way of
    /// reading others.
    pub fn licensing(&self, name: &OsStr) -> (Vec<Covering<'_>>, Vec<&String>) {
        let (mut covering, mut problems) = (Vec::new(), Vec::new());
        for folder in self.project() {
            for licenses in &folder.licenses {
                let parsed = licenses.parsed.get_or_init(|| {
                    let bytes = read_limited(&licenses.path)?;
                    Ok(LicenseFile::parse(licenses.kind, &bytes))
                });
                match parsed {
                    Ok(file) => covering.push(Covering {
                        file,
                        path: String::from_utf8_lossy(&joined(Some(&folder.path), &self.path, Some(name))).into_owned(),
                    }),
                    Err(problem) => problems.push(problem),
                }
            }
        }
        (covering, problems)
    }

    fn pages(&self) -> &Pages {
        self.pages.get_or_init(|| Pages::list(&self.path))
    }

    /// The pages of the site that lie in this folder and above it, and what stood in the way of reading them.
    pub fn parsed_pages(&self) -> (Vec<&Page>, Vec<&String>) {
        let (mut pages, mut problems) = (Vec::new(), Vec::new());
        for folder in self.chain() {
            let listed = folder.pages();
            let (parsed, wrong) = listed.parsed.get_or_init(|| {
                let place = joined(folder.root_path(), &folder.path, None);
                listed.read(&place)
            });
            pages.extend(parsed);
            problems.extend(wrong);
        }
        (pages, problems)
    }

    /// Digest of what would make anything that is read here or above another reading.
    pub fn context(&self) -> Sha256Digest {
        *self.context.get_or_init(|| {
            let mut context = Sha256::new();
            if let Some(root) = &self.root {
                add_path(&mut context, &root.path);
                context.update(root.stamp.as_bytes());
            }
            for folder in self.chain() {
                for (page, stamp) in &folder.pages().files {
                    add(&mut context, page, *stamp);
                }
            }
            for file in self.project().flat_map(|folder| &folder.licenses) {
                add(&mut context, &file.path, file.stamp);
            }
            Sha256Digest::from_bytes(context.finalize().into())
        })
    }
}

impl Root {
    /// The root at this path, if it is one.
    fn look(path: &Path) -> Option<Self> {
        let file = |names: &[&str]| {
            names.iter().find_map(|name| {
                let path = path.join(name);
                Some((stamp_of(&path)?, path))
            })
        };
        let robots = file(&["robots.txt"]);
        let ai_txt = file(&["ai.txt"]);
        let tdmrep = file(&[".well-known/tdmrep.json", "tdmrep.json"]);
        if robots.is_none() && ai_txt.is_none() && tdmrep.is_none() {
            return None;
        }
        let mut context = Sha256::new();
        let mut problems = Vec::new();
        let mut read = |found: &Option<(Stamp, PathBuf)>, most: Option<u64>| {
            let (stamp, path) = found.as_ref()?;
            add(&mut context, path, *stamp);
            match most.map_or_else(|| read_limited(path), |most| read_at_most(path, most)) {
                Ok(bytes) => Some(bytes),
                Err(problem) => {
                    problems.push(problem);
                    None
                }
            }
        };
        let robots = read(&robots, Some(MOST_ROBOTS));
        let ai_txt = read(&ai_txt, None);
        let tdmrep = read(&tdmrep, None);
        let site = Site::parse(robots.as_deref(), ai_txt.as_deref(), tdmrep.as_deref(), |address| {
            let path = path.join(address);
            let found = stamp_of(&path).map(|stamp| (stamp, path));
            read(&found, None)
        });
        Some(Root {
            path: path.to_path_buf(),
            site,
            stamp: Sha256Digest::from_bytes(context.finalize().into()),
            problems,
        })
    }
}

impl Pages {
    fn list(folder: &Path) -> Self {
        let Ok(entries) = fs::read_dir(folder) else {
            return Pages::default();
        };
        let mut files: Vec<(PathBuf, Stamp)> = entries
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let extension = Path::new(&name).extension().and_then(OsStr::to_str).unwrap_or_default();
                ["html", "htm", "xhtml"]
                    .iter()
                    .any(|known| extension.eq_ignore_ascii_case(known))
            })
            .filter_map(|entry| Some((entry.path(), stamp_of(&entry.path())?)))
            .collect();
        files.sort();
        let more = files.len() > MOST_PAGES;
        files.truncate(MOST_PAGES);
        Pages {
            files,
            more,
            parsed: OnceLock::new(),
        }
    }

    fn read(&self, folder: &[u8]) -> (Vec<Page>, Vec<String>) {
        let (mut pages, mut problems) = (Vec::new(), Vec::new());
        if self.more {
            problems.push(format!(
                "its folder holds more than {MOST_PAGES} pages; the rest is not read"
            ));
        }
        for (path, _) in &self.files {
            match read_limited(path) {
                Ok(bytes) => pages.push(Page::parse(&bytes, folder)),
                Err(problem) => problems.push(problem),
            }
        }
        pages.retain(Page::speaks);
        (pages, problems)
    }
}

/// The path of a folder, or of a file in it, below `root`, with `/` between the parts.
fn joined(root: Option<&Path>, folder: &Path, name: Option<&OsStr>) -> Vec<u8> {
    let below = root.and_then(|root| folder.strip_prefix(root).ok());
    let parts = below.into_iter().flat_map(Path::iter).chain(name);
    parts.map(OsStr::as_encoded_bytes).collect::<Vec<_>>().join(&b'/')
}

/// The stamp of a regular file, if there is one.
pub(super) fn stamp_of(path: &Path) -> Option<Stamp> {
    fs::metadata(path)
        .ok()
        .filter(fs::Metadata::is_file)
        .map(|metadata| stamp(&metadata))
}

fn add_path(context: &mut Sha256, path: &Path) {
    let path = path.as_os_str().as_encoded_bytes();
    context.update((path.len() as u64).to_le_bytes());
    context.update(path);
}

fn add(context: &mut Sha256, path: &Path, (size, modified, inode): Stamp) {
    add_path(context, path);
    context.update([size.to_le_bytes(), modified.to_le_bytes(), inode.to_le_bytes()].concat());
}
