//! What there is of memory and disk, and a clock that only runs forward.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use crate::train::forecast::Computer;

/// This computer, for a run that writes into a folder.
pub struct Here {
    /// The output folder; it need not exist.
    pub out: PathBuf,
    /// Whether the run computes in the computer's own memory.
    pub on_processor: bool,
    /// When the command began.
    pub start: Instant,
}

impl Computer for Here {
    fn memory(&self) -> Option<u64> {
        if !self.on_processor {
            return None;
        }
        let kinds = RefreshKind::nothing().with_memory(MemoryRefreshKind::nothing().with_ram());
        let system = System::new_with_specifics(kinds);
        let available = Some(system.available_memory()).filter(|&bytes| bytes > 0)?;
        // In a container, what is left of its share; pages of files are given back when they are in the way.
        let limits = system.cgroup_limits();
        let share = limits.map(|limits| limits.total_memory.saturating_sub(limits.rss));
        Some(share.map_or(available, |share| share.min(available)))
    }

    fn disk(&self) -> Option<u64> {
        let folder = std::path::absolute(&self.out).ok()?;
        let there = folder.ancestors().find(|folder| folder.exists())?;
        fs4::available_space(there).ok()
    }

    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }
}
