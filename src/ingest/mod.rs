//! Folders of files → registered images, with what was said about them.
//!
//! Reads files and fills the registry; decides nothing about consent and prints nothing. Files come from strangers: a
//! bad one is reported by name with a reason and the rest goes on; the memory of all workers together stays within a
//! budget; and what is written is written in batches, each whole or not at all, so that a run that was killed is
//! finished by running it again.

mod budget;
mod file;
mod folders;
mod sidecars;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use jiff::Timestamp;
use rayon::iter::{ParallelBridge, ParallelIterator};
use serde::Serialize;

use crate::digest::Sha256Digest;
use crate::pixels::Limits;
use crate::registry::{AddOutcome, KnownLocation, NewImage, Registry, RegistryError};
use crate::signals::Trust;
use budget::Budget;
use file::Looked;
pub use file::look;
use folders::Folders;
pub use walk::{Entry, walk};

/// Images a transaction: few enough that little is lost, many enough that the disk is not what takes the time.
const BATCH: usize = 256;
/// Files that are on their way at once.
const WINDOW: usize = 4 * BATCH;

/// What the user says about all the files, and what they may cost.
#[derive(Debug, Clone)]
pub struct Options {
    /// The artist, before whatever the files say.
    pub artist: Option<String>,
    /// The licence, a valid SPDX expression, before whatever the files say.
    pub license: Option<String>,
    /// Where the files come from, as an address.
    pub source: Option<String>,
    /// The collection that they are counted to.
    pub collection: Option<String>,
    /// Extensions of caption sidecars, without the dot; the first that exists counts.
    pub captions: Vec<String>,
    /// Whose signatures count as trusted.
    pub trust: Trust,
    /// What one picture may cost.
    pub limits: Limits,
    /// Bytes that the files and decoded pictures of all workers may hold together; one picture that needs more is
    /// decoded alone.
    pub memory: u64,
    /// Workers; 0 for one a core.
    pub jobs: usize,
    /// Absolute paths of folders in which, and above which, no site and no licence file is looked for.
    pub boundaries: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            artist: None,
            license: None,
            source: None,
            collection: None,
            captions: vec!["txt".to_string(), "caption".to_string()],
            trust: Trust::default(),
            limits: Limits::default(),
            memory: 2 << 30,
            jobs: 0,
            boundaries: Vec::new(),
        }
    }
}

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The image is new.
    Added,
    /// Nothing changed since it was read.
    Known,
    /// The image was known; the place, or what is said there, is new.
    Updated,
    /// It is not registered, and the reason says why.
    Refused,
}

/// The report on one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The file as it was named or found.
    pub path: PathBuf,
    /// What became of it.
    pub status: Status,
    /// The digest of its bytes, where they were read.
    pub sha256: Option<Sha256Digest>,
    /// Why it was refused.
    pub reason: Option<String>,
}

/// How many files there were of each status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// New images.
    pub added: usize,
    /// Unchanged files.
    pub known: usize,
    /// Known images with something new about them.
    pub updated: usize,
    /// Files that are not registered.
    pub refused: usize,
}

impl Summary {
    fn count(&mut self, status: Status) {
        *match status {
            Status::Added => &mut self.added,
            Status::Known => &mut self.known,
            Status::Updated => &mut self.updated,
            Status::Refused => &mut self.refused,
        } += 1;
    }
}

/// Why ingest stopped as a whole.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The workers could not be started.
    #[error("cannot start the workers: {0}")]
    Workers(#[from] rayon::ThreadPoolBuildError),
}

/// What became of one entry.
enum Outcome {
    Read(Box<NewImage>),
    Known(Sha256Digest),
    Refused(String),
}

/// A file in its place in the order of the walk, or why it is refused.
type Found = Result<Looked, (PathBuf, String)>;

/// Registers what [`walk`] finds, as of `at`, and calls `report` for every entry in its order.
///
/// Three stages run at once: one thread walks and looks at each file and around it, this one asks the registry whether
/// that is known, and the workers read what is not. At most [`WINDOW`] files are on their way, so memory does not grow
/// with the number of files, and an unchanged one costs little more than the look at it. New pictures wait to be
/// compared with the others: see [`Registry::pair`].
pub fn ingest(
    registry: &mut Registry,
    entries: impl Iterator<Item = Entry> + Send,
    options: &Options,
    at: Timestamp,
    mut report: impl FnMut(Report),
) -> Result<Summary, IngestError> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.jobs).build()?;
    let budget = Budget::new(options.memory);
    let folders = Folders::new(&options.boundaries);
    let stopped = AtomicBool::new(false);
    let (send_found, found) = mpsc::sync_channel::<Vec<Found>>(4);
    let (send_work, work) = mpsc::channel::<(usize, Looked)>();
    let (send_done, done) = mpsc::channel::<(usize, PathBuf, Outcome)>();
    let mut writer = Writer {
        registry,
        at,
        next: 0,
        early: BTreeMap::new(),
        waiting: Vec::new(),
        summary: Summary::default(),
    };
    std::thread::scope(|scope| {
        let (budget, folders, pool, stopped) = (&budget, &folders, &pool, &stopped);
        let walker = scope.spawn(move || {
            let mut batch = Vec::with_capacity(BATCH);
            for entry in entries {
                let path = entry.path.clone();
                let looked = catch_unwind(AssertUnwindSafe(|| Looked::at(entry, options, folders)));
                batch.push(
                    looked
                        .unwrap_or_else(|_| Err((path, "the reader broke down over what lies beside it".to_string()))),
                );
                // The receiver is gone only when the registry failed, and then nothing matters any more.
                if batch.len() == BATCH && send_found.send(std::mem::take(&mut batch)).is_err() {
                    return;
                }
            }
            let _ = send_found.send(batch);
        });
        let workers = scope.spawn(move || {
            let read = |(index, looked): (usize, Looked)| {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = catch_unwind(AssertUnwindSafe(|| looked.read(options, budget)))
                    .unwrap_or_else(|_| Outcome::Refused("the decoder broke down over it".to_string()));
                if send_done.send((index, looked.path().to_path_buf(), outcome)).is_err() {
                    stopped.store(true, Ordering::Relaxed);
                }
            };
            // The sender ends with this thread, and with it the list that the writer waits for.
            pool.install(|| work.into_iter().par_bridge().for_each(read));
        });
        let result = writer.run(found, send_work, &done, &mut report);
        stopped.store(true, Ordering::Relaxed);
        drop(done);
        // A panic here would be one of this module's own, not of a decoder.
        let _ = (walker.join(), workers.join());
        result
    })?;
    Ok(writer.summary)
}

/// Asks what is known, hands the rest to the workers, puts outcomes back in order and writes them in batches.
struct Writer<'a> {
    registry: &'a mut Registry,
    at: Timestamp,
    /// The place of the next outcome that is to be written.
    next: usize,
    early: BTreeMap<usize, (PathBuf, Outcome)>,
    waiting: Vec<(PathBuf, Outcome)>,
    summary: Summary,
}

impl Writer<'_> {
    fn run(
        &mut self,
        found: mpsc::Receiver<Vec<Found>>,
        work: mpsc::Sender<(usize, Looked)>,
        done: &mpsc::Receiver<(usize, PathBuf, Outcome)>,
        report: &mut impl FnMut(Report),
    ) -> Result<(), IngestError> {
        let mut index = 0;
        for batch in found {
            for (found, known) in self.with_known(batch)? {
                match (found, known) {
                    (Err((path, problem)), _) => drop(self.early.insert(index, (path, Outcome::Refused(problem)))),
                    (Ok(looked), Some(known)) if looked.is(&known) => {
                        let path = looked.path().to_path_buf();
                        self.early.insert(index, (path, Outcome::Known(known.sha256)));
                    }
                    (Ok(looked), _) => {
                        // The workers end only after this sender.
                        let _ = work.send((index, looked));
                    }
                }
                index += 1;
            }
            self.write(report)?;
            while index - self.next > WINDOW && self.take(done) {
                self.write(report)?;
            }
        }
        drop(work);
        while self.next < index && self.take(done) {
            self.write(report)?;
        }
        self.flush(report)
    }

    /// Waits for an outcome; says whether one came: none does when all work is done.
    fn take(&mut self, done: &mpsc::Receiver<(usize, PathBuf, Outcome)>) -> bool {
        match done.recv() {
            Ok((index, path, outcome)) => {
                self.early.insert(index, (path, outcome));
                true
            }
            Err(_) => false,
        }
    }

    /// What the registry knows of each file.
    fn with_known(&self, batch: Vec<Found>) -> Result<Vec<(Found, Option<KnownLocation>)>, IngestError> {
        let known = |found: Found| {
            let known = match &found {
                Ok(looked) => self.registry.known_location(&looked.absolute)?,
                Err(_) => None,
            };
            Ok((found, known))
        };
        batch.into_iter().map(known).collect()
    }

    /// Writes what has come to its turn, as soon as it is a batch.
    fn write(&mut self, report: &mut impl FnMut(Report)) -> Result<(), IngestError> {
        while let Some(outcome) = self.early.remove(&self.next) {
            self.waiting.push(outcome);
            self.next += 1;
            if self.waiting.len() >= BATCH {
                self.flush(report)?;
            }
        }
        Ok(())
    }

    fn flush(&mut self, report: &mut impl FnMut(Report)) -> Result<(), IngestError> {
        let mut batch = Vec::new();
        let mut lines = Vec::with_capacity(self.waiting.len());
        for (path, outcome) in self.waiting.drain(..) {
            lines.push(match outcome {
                Outcome::Read(image) => {
                    let sha256 = image.sha256;
                    batch.push(*image);
                    (path, None, Some(sha256), None)
                }
                Outcome::Known(sha256) => (path, Some(Status::Known), Some(sha256), None),
                Outcome::Refused(reason) => (path, Some(Status::Refused), None, Some(reason)),
            });
        }
        let added = match batch.as_slice() {
            [] => Vec::new(),
            images => self.registry.add_images(images, self.at)?,
        };
        let mut added = added.into_iter();
        for (path, status, sha256, reason) in lines {
            let status = status.unwrap_or_else(|| match added.next() {
                Some(AddOutcome::Added) => Status::Added,
                Some(AddOutcome::Updated) => Status::Updated,
                Some(AddOutcome::Known) | None => Status::Known,
            });
            self.summary.count(status);
            report(Report {
                path,
                status,
                sha256,
                reason,
            });
        }
        Ok(())
    }
}
