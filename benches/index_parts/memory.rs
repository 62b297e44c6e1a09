//! Counts what every peer really takes from the allocator, its overhead and rounding included.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The system allocator, counting.
pub struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
/// What glibc keeps in front of a block.
const HEADER_BYTES: usize = 8;

fn held_by(pointer: *mut u8) -> usize {
    // SAFETY: called with live blocks of the system allocator only.
    unsafe { libc::malloc_usable_size(pointer.cast()) + HEADER_BYTES }
}

// SAFETY: everything is handed to the system allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        let pointer = unsafe { System.alloc(layout) };
        HELD.fetch_add(held_by(pointer), Relaxed);
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(held_by(pointer), Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Bytes held now: of the allocator, and of the index's pool.
pub fn held() -> usize {
    HELD.load(Relaxed) + omendb::index::pool_bytes()
}

/// Writes to as much memory as a run needs, and gives it back. In a virtual machine the host provides a page when it is first written to, which
/// takes some twenty times as long as the kernel's clearing of it; whichever map came first would pay for all.
pub fn touch(bytes: usize) {
    // SAFETY: a mapping of our own, written to within its length, and unmapped before anyone else knows of it.
    unsafe {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let place = libc::mmap(std::ptr::null_mut(), bytes, access, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1, 0);
        assert!(place != libc::MAP_FAILED, "{bytes} bytes cannot be mapped");
        libc::madvise(place, bytes, libc::MADV_HUGEPAGE);
        for page in (0..bytes).step_by(4096) {
            place.cast::<u8>().add(page).write_volatile(1);
        }
        libc::munmap(place, bytes);
    }
}

/// Has the allocator tidy up what was freed, which would otherwise fall to whoever allocates next, and give it back, so that every map
/// takes its memory from the kernel.
pub fn settle() {
    // SAFETY: it takes no pointers.
    unsafe { libc::malloc_trim(0) };
}
