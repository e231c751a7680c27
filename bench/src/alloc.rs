//! The allocator of the benchmarks: mimalloc, as in the stock gateway, with a counter that can be switched on.
//!
//! While it is off an allocation costs one relaxed load more. Figures of time are taken with it off, counts of
//! allocations in runs of their own.
#![expect(unsafe_code, reason = "an allocator cannot be written without: GlobalAlloc is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: Counting =
    Counting { on: AtomicBool::new(false), calls: AtomicU64::new(0), bytes: AtomicU64::new(0) };

/// Counts what is asked of mimalloc, by all threads together.
struct Counting {
    on: AtomicBool,
    calls: AtomicU64,
    bytes: AtomicU64,
}

/// What was allocated while counting was on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Allocated {
    /// Allocations, growing ones among them.
    pub(crate) calls: u64,
    /// Bytes asked for.
    pub(crate) bytes: u64,
}

/// Begins counting, from zero.
pub(crate) fn start_counting() {
    ALLOCATOR.calls.store(0, Relaxed);
    ALLOCATOR.bytes.store(0, Relaxed);
    ALLOCATOR.on.store(true, Relaxed);
}

/// Ends counting and says what was counted, over all threads.
pub(crate) fn stop_counting() -> Allocated {
    ALLOCATOR.on.store(false, Relaxed);
    Allocated { calls: ALLOCATOR.calls.load(Relaxed), bytes: ALLOCATOR.bytes.load(Relaxed) }
}

/// What `work` allocates, and every other thread meanwhile.
pub(crate) fn counted(work: impl FnOnce()) -> Allocated {
    start_counting();
    work();
    stop_counting()
}

impl Counting {
    fn note(&self, bytes: usize) {
        if self.on.load(Relaxed) {
            self.calls.fetch_add(1, Relaxed);
            self.bytes.fetch_add(bytes as u64, Relaxed);
        }
    }
}

// SAFETY: every call goes to mimalloc unchanged; counting touches no memory of the caller's and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size());
        // SAFETY: the caller's promise about `layout` is the one mimalloc asks for.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size());
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        self.note(new_size);
        // SAFETY: `ptr` came from mimalloc, since every allocation does; the rest is the caller's promise.
        unsafe { MiMalloc.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from mimalloc, since every allocation does.
        unsafe { MiMalloc.dealloc(ptr, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_is_counted() {
        // Other tests may allocate meanwhile, so only a bound from below is sure.
        let seen = counted(|| drop(std::hint::black_box(vec![0_u8; 4096])));
        assert!(seen.calls >= 1 && seen.bytes >= 4096, "{seen:?}");
    }
}
