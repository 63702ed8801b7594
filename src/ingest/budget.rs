//! The memory that all workers share: files and decoded pictures take their bytes from it and give them back.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A fair counting semaphore over bytes. Who comes first is served first, so a large picture is not kept waiting for
/// ever by small ones.
struct Semaphore {
    capacity: u64,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    free: u64,
    next_ticket: u64,
    serving: u64,
}

/// Bytes taken; dropping gives them back.
pub(super) struct Taken<'a> {
    semaphore: &'a Semaphore,
    bytes: u64,
}

impl Semaphore {
    fn new(capacity: u64) -> Self {
        let capacity = capacity.max(1);
        let state = State {
            free: capacity,
            next_ticket: 0,
            serving: 0,
        };
        Semaphore {
            capacity,
            state: Mutex::new(state),
            changed: Condvar::new(),
        }
    }

    /// Numbers stay right even when a worker panicked, so poison means nothing here.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, bytes: u64) -> Taken<'_> {
        // More than there is waits for everything and then runs alone.
        let bytes = bytes.min(self.capacity);
        let mut state = self.state();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        while state.serving != ticket || state.free < bytes {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.free -= bytes;
        state.serving += 1;
        drop(state);
        self.changed.notify_all();
        Taken { semaphore: self, bytes }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.semaphore.state().free += self.bytes;
        self.semaphore.changed.notify_all();
    }
}

/// The two parts of the budget. A worker takes from `files` first and holds it while it waits for `pictures`; nobody
/// who holds `pictures` waits for anything, so there is no deadlock.
pub(super) struct Budget {
    files: Semaphore,
    pictures: Semaphore,
}

impl Budget {
    /// A budget of `bytes`: a quarter for files, the rest for what they decode to.
    pub fn new(bytes: u64) -> Self {
        Budget {
            files: Semaphore::new(bytes / 4),
            pictures: Semaphore::new(bytes - bytes / 4),
        }
    }

    /// Waits until a file of `bytes` may be read.
    pub fn file(&self, bytes: u64) -> Taken<'_> {
        self.files.take(bytes)
    }

    /// Waits until `bytes` may be decoded; the caller holds its file.
    pub fn picture(&self, bytes: u64, _file: &Taken<'_>) -> Taken<'_> {
        self.pictures.take(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn workers_never_hold_more_than_there_is() {
        let budget = Budget::new(400);
        let (held, most) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for worker in 0..8u64 {
                let (budget, held, most) = (&budget, &held, &most);
                scope.spawn(move || {
                    for round in 0..200u64 {
                        // Some ask for more than the whole.
                        let bytes = (worker * 37 + round * 13) % 420 + 1;
                        let file = budget.file(bytes);
                        let picture = budget.picture(bytes, &file);
                        most.fetch_max(
                            held.fetch_add(picture.bytes, Ordering::SeqCst) + picture.bytes,
                            Ordering::SeqCst,
                        );
                        std::thread::yield_now();
                        held.fetch_sub(picture.bytes, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 300);
        assert_eq!(budget.pictures.state().free, 300);
        assert_eq!(budget.files.state().free, 100);
    }
}
