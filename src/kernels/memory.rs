//! Memory for tensors, in pages as large as the system has: a fresh tensor of some megabytes otherwise costs a fault for
//! each of its pages of 4 KiB, which is up to half of the time of a fast kernel.

/// From this many bytes on it is worth asking.
const LARGE: usize = 4 << 20;

/// So many zeros.
pub fn zeros(count: usize) -> Vec<f32> {
    let values = vec![0.0; count];
    ask(&values);
    values
}

/// An empty vector with room for so many numbers.
pub fn room(count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count);
    ask(values.spare_capacity_mut());
    values
}

/// Asks the system for large pages under `values`, which changes nothing else.
#[cfg(target_os = "linux")]
fn ask<T>(values: &[T]) {
    const PAGE: usize = 2 << 20;
    let bytes = size_of_val(values);
    if bytes < LARGE {
        return;
    }
    let start = values.as_ptr().cast::<u8>();
    let skipped = start.align_offset(PAGE);
    let length = bytes.saturating_sub(skipped) / PAGE * PAGE;
    if length > 0 {
        // SAFETY: whole pages inside memory that is borrowed here. The advice keeps their content, and where the system
        // does not take it, nothing happens.
        unsafe { libc::madvise(start.add(skipped).cast_mut().cast(), length, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn ask<T>(_values: &[T]) {}

/// Lets all threads take memory from one place, from now on; for threads that took some before, nothing changes.
///
/// glibc gives each thread a place of its own and keeps there what is freed for that thread alone. A micro-batch runs now
/// on one thread and now on another, and each of them would keep as much as a micro-batch takes. Tensors are few and
/// large, so that threads seldom wait for each other.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn share() {
    // SAFETY: a setting of the allocator, which it takes at any time and under its own lock.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

/// Other allocators divide memory as they see fit.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn share() {}
