//! The files beside a picture that speak about it.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Options;
use super::folders::{Folder, stamp_of};
use super::walk::Listing;
use crate::digest::Sha256Digest;

/// Bytes of one sidecar; real ones have a few thousand.
const MOST: u64 = 1 << 20;

/// The sidecars of one picture that exist.
pub(super) struct Sidecars {
    reuse: Option<PathBuf>,
    xmp: Option<PathBuf>,
    caption: Option<PathBuf>,
    headers: Option<PathBuf>,
    page: Option<PathBuf>,
    drawing: Option<PathBuf>,
    /// Digest of what would make them, or the options, another reading.
    pub context: Sha256Digest,
}

/// Their contents.
#[derive(Default)]
pub(super) struct Contents {
    pub reuse: Option<Vec<u8>>,
    pub xmp: Option<Vec<u8>>,
    pub caption: Option<Vec<u8>>,
    pub headers: Option<Vec<u8>>,
    pub page: Option<Vec<u8>>,
    pub drawing: Option<Vec<u8>>,
    pub problems: Vec<String>,
}

impl Sidecars {
    /// Finds the sidecars of the picture at `path`: `a.png.license`, `a.png.xmp` or `a.xmp`, `a.png.txt` or `a.txt`,
    /// `a.png.headers`, `a.png.html` or `a.html`, `a.svg`. What is not among the files `beside` it is not looked for.
    pub fn of(path: &Path, inode: u64, options: &Options, folder: &Folder, beside: Option<&Listing>) -> Self {
        let mut context = Sha256::new();
        // Every part with its length: two different lists never make the same bytes.
        let mut add = |part: &[u8]| {
            context.update((part.len() as u64).to_le_bytes());
            context.update(part);
        };
        // A reading by a version that finds other things is another reading; the number goes up with it.
        add(b"assent ingest 5");
        add(&inode.to_le_bytes());
        add(folder.context().as_bytes());
        for option in [&options.artist, &options.license, &options.source, &options.collection] {
            add(&[u8::from(option.is_some())]);
            add(option.as_deref().unwrap_or_default().as_bytes());
        }
        // With another trust list a signature may come to something else.
        let trust = options.trust.digest();
        add(trust.as_ref().map_or(&[], |digest| digest.as_bytes().as_slice()));
        let mut find = |candidates: Vec<PathBuf>| {
            let may_be = |candidate: &PathBuf| match (beside, candidate.file_name()) {
                (Some(listing), Some(name)) => listing.may_hold(name),
                _ => true,
            };
            let found = candidates.into_iter().filter(may_be).find_map(|candidate| {
                let stamp = stamp_of(&candidate)?;
                Some((candidate, stamp))
            });
            match found {
                Some((path, (size, modified, inode))) => {
                    add(path.as_os_str().as_encoded_bytes());
                    add(&[size.to_le_bytes(), modified.to_le_bytes(), inode.to_le_bytes()].concat());
                    Some(path)
                }
                None => {
                    add(b"");
                    None
                }
            }
        };
        let reuse = find(vec![appended(path, "license")]);
        let xmp = find(vec![appended(path, "xmp"), path.with_extension("xmp")]);
        let extensions = options.captions.iter();
        let caption = find(
            extensions
                .flat_map(|e| [appended(path, e), path.with_extension(e)])
                .collect(),
        );
        let headers = find(vec![appended(path, "headers")]);
        let page = find(vec![appended(path, "html"), path.with_extension("html")]);
        // The drawing it was made from; a picture that is called so itself is none.
        let drawing = path.with_extension("svg");
        let drawing = find(Some(drawing).into_iter().filter(|drawing| drawing != path).collect());
        Sidecars {
            reuse,
            xmp,
            caption,
            headers,
            page,
            drawing,
            context: Sha256Digest::from_bytes(context.finalize().into()),
        }
    }

    /// Reads them; one that cannot be read is a problem that a person should see, not an absence.
    pub fn read(&self) -> Contents {
        let mut contents = Contents::default();
        let mut read = |path: &Option<PathBuf>| match read_limited(path.as_deref()?) {
            Ok(bytes) => Some(bytes),
            Err(problem) => {
                contents.problems.push(problem);
                None
            }
        };
        let (reuse, xmp, caption) = (read(&self.reuse), read(&self.xmp), read(&self.caption));
        let (headers, page) = (read(&self.headers), read(&self.page));
        Contents {
            reuse,
            xmp,
            caption,
            headers,
            page,
            // Drawings can be large; what they say of themselves stands at their beginning.
            drawing: self.drawing.as_deref().and_then(|path| read_at_most(path, MOST).ok()),
            ..contents
        }
    }
}

/// The whole file, which may not be longer than sidecars are.
pub(super) fn read_limited(path: &Path) -> Result<Vec<u8>, String> {
    let bytes = read_at_most(path, MOST)?;
    if bytes.len() as u64 > MOST {
        let name = path.file_name().unwrap_or_default().display();
        return Err(format!("the sidecar `{name}` has more than {MOST} bytes"));
    }
    Ok(bytes)
}

/// The first `most` bytes of a file, and one more where there is one.
pub(super) fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    // Only the name: where it lies is the business of this machine.
    let name = path.file_name().unwrap_or_default().display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the sidecar `{name}` cannot be read: {error}"))?;
    Ok(bytes)
}

fn appended(path: &Path, extension: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(extension);
    PathBuf::from(name)
}
