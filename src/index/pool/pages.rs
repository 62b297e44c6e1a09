//! Chunks of address space, and the pages beneath them.
//!
//! Address space is reserved in large pieces and never given up; memory comes when a chunk is used and goes when it is given
//! back. A thread of its own has [`READY_MAX`] huge pages cleared ahead of need once the first was wanted.

use std::ptr::NonNull;
use std::sync::{Condvar, Mutex, MutexGuard};

use super::Hurry;

/// Bytes of a chunk: those of a huge page.
pub(in crate::index) const CHUNK_BYTES: usize = 2 << 20;
/// Chunks by which the address space grows.
const RESERVED_CHUNKS: usize = 32;
/// Huge pages that are kept ready.
const READY_MAX: usize = 4;

/// An unused chunk: zeros or whatever was there before.
pub(super) struct Chunk {
    pub(super) start: NonNull<u8>,
    /// Whether it lies on a huge page that is in memory already.
    pub(super) huge: bool,
}

// SAFETY: whoever has a chunk has it alone.
unsafe impl Send for Chunk {}

/// What is not in use.
struct Unused {
    /// On huge pages.
    ready: Vec<Chunk>,
    /// Address space without memory.
    bare: Vec<Chunk>,
    /// Whether the thread that fills `ready` was started.
    started: bool,
}

static UNUSED: Mutex<Unused> = Mutex::new(Unused { ready: Vec::new(), bare: Vec::new(), started: false });
static TAKEN: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Unused> {
    UNUSED.lock().expect("nothing panics while it has the chunks")
}

/// A chunk on small pages.
pub(super) fn small() -> Chunk {
    lock().take_bare()
}

/// A chunk on a huge page, if one is ready or there is no hurry.
pub(super) fn huge(hurry: Hurry) -> Chunk {
    let mut unused = lock();
    if !unused.started && !cfg!(miri) {
        unused.started = true;
        // Without the thread chunks taken in a hurry lie on small pages, and the system may join them later.
        let _ = std::thread::Builder::new().name("omendb-pages".to_string()).spawn(make_ready);
    }
    TAKEN.notify_one();
    if let Some(chunk) = unused.ready.pop() {
        return chunk;
    }
    let chunk = unused.take_bare();
    drop(unused);
    match hurry {
        Hurry::Yes => chunk,
        Hurry::No => clear_huge(chunk),
    }
}

/// Puts a huge page beneath a chunk without memory.
fn clear_huge(chunk: Chunk) -> Chunk {
    system::want_huge(chunk.start);
    // SAFETY: the chunk is not in use, and its first byte may be anything.
    unsafe { chunk.start.write_volatile(0) };
    Chunk { huge: true, ..chunk }
}

/// Takes an unused chunk back.
pub(super) fn give_back(mut chunk: Chunk) {
    let mut unused = lock();
    if chunk.huge && unused.ready.len() < READY_MAX {
        unused.ready.push(chunk);
        return;
    }
    system::forget(chunk.start);
    chunk.huge = false;
    unused.bare.push(chunk);
}

/// Tells the system that small pages, all in use now, may become a huge one when it has time.
pub(super) fn suggest_huge(start: NonNull<u8>) {
    system::want_huge(start);
}

impl Unused {
    fn take_bare(&mut self) -> Chunk {
        if self.bare.is_empty() {
            self.bare.extend(system::reserve(RESERVED_CHUNKS).into_iter().rev().map(|start| Chunk { start, huge: false }));
        }
        self.bare.pop().expect("just reserved")
    }
}

/// Keeps huge pages ready, for as long as the process lives.
fn make_ready() {
    // The thread was started from a core's, and would have to share it.
    system::run_anywhere();
    let mut unused = lock();
    loop {
        while unused.ready.len() >= READY_MAX {
            unused = TAKEN.wait(unused).expect("nothing panics while it has the chunks");
        }
        let chunk = unused.take_bare();
        drop(unused);
        let chunk = clear_huge(chunk);
        unused = lock();
        unused.ready.push(chunk);
    }
}

#[cfg(not(miri))]
mod system {
    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::{NonNull, null_mut};

    use super::CHUNK_BYTES;

    /// Address space for so many chunks.
    pub(super) fn reserve(chunks: usize) -> Vec<NonNull<u8>> {
        let bytes = (chunks + 1) * CHUNK_BYTES;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping, wherever the system likes.
        let start = unsafe { libc::mmap(null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            handle_alloc_error(Layout::from_size_align(bytes, CHUNK_BYTES).expect("a few MiB"));
        }
        let skipped = start.addr().next_multiple_of(CHUNK_BYTES) - start.addr();
        let at = |chunk: usize| {
            // SAFETY: one more chunk was mapped than is cut out behind what alignment skips.
            unsafe { start.cast::<u8>().add(skipped + chunk * CHUNK_BYTES) }
        };
        (0..chunks).map(|chunk| NonNull::new(at(chunk)).expect("no mapping lies at address 0")).collect()
    }

    pub(super) fn want_huge(start: NonNull<u8>) {
        advise(start, libc::MADV_HUGEPAGE);
    }

    /// Returns the memory beneath a chunk and keeps its addresses; it reads as zeros on small pages then.
    pub(super) fn forget(start: NonNull<u8>) {
        advise(start, libc::MADV_DONTNEED);
        advise(start, libc::MADV_NOHUGEPAGE);
    }

    fn advise(start: NonNull<u8>, advice: libc::c_int) {
        // SAFETY: the whole chunk is mapped, and what is dropped is not in use. A kernel that knows no huge pages refuses the
        // advice, and chunks stay on small ones.
        let _ = unsafe { libc::madvise(start.as_ptr().cast(), CHUNK_BYTES, advice) };
    }

    /// Lets this thread run on every CPU that the process may use.
    pub(super) fn run_anywhere() {
        // SAFETY: all bits set are a valid set of CPUs, of which the system takes those that there are.
        unsafe {
            let mut all: libc::cpu_set_t = std::mem::zeroed();
            (0..libc::CPU_SETSIZE as usize).for_each(|cpu| libc::CPU_SET(cpu, &mut all));
            let _ = libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const all);
        }
    }
}

/// The interpreter knows no mappings: chunks come from the allocator and stay.
#[cfg(miri)]
mod system {
    use std::alloc::{Layout, alloc, handle_alloc_error};
    use std::ptr::NonNull;

    use super::CHUNK_BYTES;

    pub(super) fn reserve(_chunks: usize) -> Vec<NonNull<u8>> {
        let layout = Layout::from_size_align(CHUNK_BYTES, CHUNK_BYTES).expect("2 MiB");
        // SAFETY: the layout has a size.
        vec![NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))]
    }

    pub(super) fn want_huge(_start: NonNull<u8>) {}

    pub(super) fn forget(_start: NonNull<u8>) {}

    pub(super) fn run_anywhere() {}
}
