//! One file → one image for the registry.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::budget::Budget;
use super::folders::{Folder, Folders};
use super::sidecars::{Contents, Sidecars};
use super::{Entry, Options, Outcome};
use crate::digest::{PixelDigest, Sha256Digest};
use crate::fingerprint::Sketch;
use crate::pixels::{self, Decoded, PixelsError};
use crate::registry::{KnownLocation, NewImage, NewLocation};
use crate::signals::site::{self, Page, Place};
use crate::signals::{self, Metadata as Found, Sources};

/// A file and everything around it that a reading depends on, looked at but not read.
pub(super) struct Looked {
    path: PathBuf,
    /// The absolute path.
    pub absolute: PathBuf,
    metadata: Metadata,
    folder: Arc<Folder>,
    sidecars: Sidecars,
}

impl Looked {
    /// Looks at a file and around it, or says why it cannot be read.
    pub fn at(entry: Entry, options: &Options, folders: &Folders) -> Result<Looked, (PathBuf, String)> {
        let path = entry.path;
        let metadata = match (entry.problem, entry.metadata) {
            (Some(problem), _) => return Err((path, problem)),
            (None, None) => return Err((path, "not a regular file".to_string())),
            (None, Some(metadata)) => metadata,
        };
        let absolute = match std::path::absolute(&path) {
            Ok(absolute) => absolute,
            Err(error) => return Err((path, format!("cannot be made absolute: {error}"))),
        };
        let (_, _, inode) = stamp(&metadata);
        let folder = folders.of(&absolute);
        let sidecars = Sidecars::of(&absolute, inode, options, &folder, entry.beside.as_deref());
        Ok(Looked {
            path,
            absolute,
            metadata,
            folder,
            sidecars,
        })
    }

    /// Whether nothing changed since it was read.
    pub fn is(&self, known: &KnownLocation) -> bool {
        let (size, modified, _) = stamp(&self.metadata);
        (known.size, known.modified, known.context) == (size, modified, self.sidecars.context)
    }

    /// Its path as the user named it or the walk found it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it.
    pub fn read(&self, options: &Options, budget: &Budget) -> Outcome {
        image(self, options, budget).map_or_else(
            |error| Outcome::Refused(error.to_string()),
            |image| Outcome::Read(Box::new(image)),
        )
    }
}

fn image(looked: &Looked, options: &Options, budget: &Budget) -> Result<NewImage, PixelsError> {
    let Looked {
        path,
        absolute,
        metadata,
        folder,
        sidecars,
    } = looked;
    let (size, modified, _) = stamp(metadata);
    if size > options.limits.max_file_bytes {
        return Err(PixelsError::FileTooLarge {
            found: size,
            allowed: options.limits.max_file_bytes,
        });
    }
    let file = budget.file(size);
    let bytes = pixels::read_file(path, &options.limits)?;
    let probed = pixels::probe(&bytes, &options.limits)?;
    let taken = budget.picture(probed.memory_bytes(), &file);
    let decoded = probed.decode()?;
    let (pixels, fingerprint) = look(&decoded);
    let (width, height) = decoded.dimensions();
    let format = decoded.format();
    drop(decoded);
    drop(taken);

    let sha256 = Sha256Digest::of_bytes(&bytes);
    let contents = sidecars.read();
    let (licensing, unread) = folder.licensing(absolute.file_name().unwrap_or_default());
    let mut found = signals::read(&Sources {
        picture: &bytes,
        digest: sha256,
        reuse: contents.reuse.as_deref(),
        licensing: &licensing,
        xmp: contents.xmp.as_deref(),
        caption: contents.caption.as_deref(),
        drawing: contents.drawing.as_deref(),
        trust: &options.trust,
    });
    read_site(folder, absolute, &contents, &mut found);
    let mut artists: Vec<String> = options.artist.iter().cloned().collect();
    artists.extend(
        found
            .artists
            .into_iter()
            .filter(|artist| options.artist.as_ref() != Some(artist)),
    );
    let mut licenses: Vec<_> = options
        .license
        .iter()
        .map(|license| (license.clone(), "command_line".to_string()))
        .collect();
    licenses.extend(found.licenses);
    let mut needs_review = contents.problems;
    needs_review.extend(unread.into_iter().cloned());
    needs_review.extend(found.needs_review);
    Ok(NewImage {
        sha256,
        pixels,
        width,
        height,
        format: format.as_str().to_string(),
        bytes: bytes.len() as u64,
        fingerprint: Some(fingerprint),
        location: NewLocation {
            path: absolute.to_path_buf(),
            source: options.source.clone(),
            collection: options.collection.clone(),
            notices: found.notices,
            title: found.title,
            caption: found.caption,
            artists,
            licenses,
            ai_generated: found.ai_generated,
            needs_review,
            claims: found.claims,
            size,
            modified,
            context: sidecars.context,
        },
    })
}

/// Adds what the copy of the site around the picture says about it.
fn read_site(folder: &Folder, path: &Path, contents: &Contents, found: &mut Found) {
    let (site, problems) = folder.site();
    found.needs_review.extend_from_slice(problems);
    let (pages, problems) = folder.parsed_pages();
    found.needs_review.extend(problems.into_iter().cloned());
    let own_page = contents.page.as_ref().map(|bytes| Page::parse(bytes, b""));
    let place = Place {
        site,
        path: &folder.path_in_site(path.file_name().unwrap_or_default()),
        headers: contents.headers.as_deref(),
        own_page: own_page.as_ref(),
        pages: &pages,
    };
    site::read(&place, found);
}

/// The digest of the pixels and the fingerprint of a picture, in one pass.
pub fn look(decoded: &Decoded) -> (PixelDigest, crate::fingerprint::Look) {
    let (width, height) = decoded.dimensions();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&width.to_le_bytes()).update(&height.to_le_bytes());
    let mut sketch = Sketch::new(width, height);
    decoded.for_each_strip(|first, rgba| {
        hasher.update(rgba);
        sketch.rows(first, rgba);
    });
    (PixelDigest::from_bytes(*hasher.finalize().as_bytes()), sketch.finish())
}

/// Size, time of the last change in nanoseconds since 1970, and inode (0 where there are none).
pub(super) fn stamp(metadata: &Metadata) -> (u64, i64, u64) {
    let modified = metadata
        .modified()
        .map_or(0, |time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |nanos| -nanos),
        });
    #[cfg(unix)]
    let inode = std::os::unix::fs::MetadataExt::ino(metadata);
    #[cfg(not(unix))]
    let inode = 0;
    (metadata.len(), modified, inode)
}
