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

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use jiff::Timestamp;
use rayon::iter::{ParallelBridge, ParallelIterator};
use serde::Serialize;

use crate::digest::Sha256Digest;
use crate::pixels::Limits;
use crate::registry::{AddOutcome, NewImage, Registry, RegistryError};
use crate::signals::Trust;
use budget::Budget;
use folders::Folders;
pub use walk::{Entry, walk};

/// Images a transaction: few enough that little is lost, many enough that the disk is not what takes the time.
const BATCH: usize = 256;

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
    /// The current folder is gone, so that relative paths mean nothing.
    #[error("cannot make `{}` absolute: {source}", path.display())]
    Absolute {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a worker made of one entry.
enum Outcome {
    Read(Box<NewImage>),
    Known(Sha256Digest),
    Refused(String),
}

/// Registers what [`walk`] found, as of `at`, and calls `report` for every entry in the order of `entries`.
pub fn ingest(
    registry: &mut Registry,
    entries: Vec<Entry>,
    options: &Options,
    at: Timestamp,
    mut report: impl FnMut(Report),
) -> Result<Summary, IngestError> {
    let known = registry.known_locations()?;
    let paths: Vec<PathBuf> = entries.iter().map(|entry| entry.path.clone()).collect();
    let mut work = Vec::with_capacity(entries.len());
    for entry in entries {
        let absolute = std::path::absolute(&entry.path).map_err(|source| IngestError::Absolute {
            path: entry.path.clone(),
            source,
        })?;
        work.push((entry, absolute));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(options.jobs).build()?;
    let budget = Budget::new(options.memory);
    let folders = Folders::new(&options.boundaries);
    let stopped = AtomicBool::new(false);
    // Bounded, so that workers cannot run far ahead of the disk.
    let (sender, receiver) = mpsc::sync_channel(4 * BATCH);
    let mut writer = Writer {
        registry,
        at,
        paths: &paths,
        waiting: VecDeque::new(),
        summary: Summary::default(),
    };
    std::thread::scope(|scope| {
        let (work, known, budget, folders, pool, stopped) = (&work, &known, &budget, &folders, &pool, &stopped);
        let workers = scope.spawn(move || {
            let read = |(index, (entry, absolute)): (usize, &(Entry, PathBuf))| {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                let outcome = match &entry.problem {
                    Some(problem) => Outcome::Refused(problem.clone()),
                    None => catch_unwind(AssertUnwindSafe(|| {
                        file::read(entry, absolute, known, options, budget, folders)
                    }))
                    .unwrap_or_else(|_| Outcome::Refused("the decoder broke down over it".to_string())),
                };
                // The receiver is gone only when the registry failed, and then nothing matters any more.
                if sender.send((index, outcome)).is_err() {
                    stopped.store(true, Ordering::Relaxed);
                }
            };
            // The sender ends with this thread, and with it the list that the writer waits for.
            pool.install(|| work.iter().enumerate().par_bridge().for_each(read));
        });
        let result = writer.run(receiver, &mut report);
        // A panic here would be one of this module's own, not of a decoder.
        let _ = workers.join();
        result
    })?;
    let summary = writer.summary;
    registry.pair(|_| {})?;
    Ok(summary)
}

/// Puts outcomes back in order and writes them in batches.
struct Writer<'a> {
    registry: &'a mut Registry,
    at: Timestamp,
    paths: &'a [PathBuf],
    waiting: VecDeque<(usize, Outcome)>,
    summary: Summary,
}

impl Writer<'_> {
    fn run(
        &mut self,
        receiver: mpsc::Receiver<(usize, Outcome)>,
        report: &mut impl FnMut(Report),
    ) -> Result<(), IngestError> {
        let mut early = BTreeMap::new();
        let mut next = 0;
        for (index, outcome) in receiver {
            early.insert(index, outcome);
            while let Some(outcome) = early.remove(&next) {
                self.waiting.push_back((next, outcome));
                next += 1;
            }
            if self.waiting.len() >= BATCH {
                self.flush(report)?;
            }
        }
        self.flush(report)
    }

    fn flush(&mut self, report: &mut impl FnMut(Report)) -> Result<(), IngestError> {
        let mut batch = Vec::new();
        let mut lines = Vec::with_capacity(self.waiting.len());
        for (index, outcome) in self.waiting.drain(..) {
            lines.push(match outcome {
                Outcome::Read(image) => {
                    let sha256 = image.sha256;
                    batch.push(*image);
                    (index, None, Some(sha256), None)
                }
                Outcome::Known(sha256) => (index, Some(Status::Known), Some(sha256), None),
                Outcome::Refused(reason) => (index, Some(Status::Refused), None, Some(reason)),
            });
        }
        let mut added = self.registry.add_images(&batch, self.at)?.into_iter();
        for (index, status, sha256, reason) in lines {
            let status = status.unwrap_or_else(|| match added.next() {
                Some(AddOutcome::Added) => Status::Added,
                Some(AddOutcome::Updated) => Status::Updated,
                Some(AddOutcome::Known) | None => Status::Known,
            });
            self.summary.count(status);
            report(Report {
                path: self.paths[index].clone(),
                status,
                sha256,
                reason,
            });
        }
        Ok(())
    }
}
