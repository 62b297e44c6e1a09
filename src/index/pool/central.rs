//! Deals slots out of chunks and takes them back.
//!
//! A chunk begins with a [`Header`] and has slots of one size. It is aligned to its size, so that a slot's address says
//! which chunk it belongs to. Free slots that were used before form a list through themselves; behind `fresh` they have
//! never been touched.

use std::ptr::NonNull;
use std::sync::{Mutex, MutexGuard};

use super::Hurry;
use super::pages::{self, Chunk};

pub(super) use super::pages::CHUNK_BYTES;

/// What a slot's address and size are multiples of: a cache line.
pub(super) const SLOT_ALIGN: usize = 64;
/// The largest slot: a chunk should hold several.
pub(super) const SLOT_BYTES_MAX: usize = CHUNK_BYTES / 16;

/// The beginning of a chunk in use.
struct Header {
    /// Free slots that were used before.
    free: Option<NonNull<FreeSlot>>,
    /// Slots that are not free.
    live: u32,
    /// Slots from here on were never used.
    fresh: u32,
    /// Where the chunk is in `Class::open`, if it has free slots.
    open_at: u32,
    /// Whether it lies on a huge page, all of which is in memory.
    huge: bool,
}

struct FreeSlot {
    next: Option<NonNull<FreeSlot>>,
}

/// Chunks with slots of one size.
struct Class {
    slot_bytes: usize,
    capacity: u32,
    /// Chunks with free slots; the last one is dealt from.
    open: Vec<ChunkInUse>,
    huge_chunks: usize,
    /// Slots that were ever touched in chunks on small pages.
    small_slots: usize,
    chunks: usize,
}

#[derive(Clone, Copy)]
struct ChunkInUse(NonNull<Header>);

// SAFETY: headers are only looked at under the lock.
unsafe impl Send for ChunkInUse {}

static CLASSES: Mutex<Vec<Class>> = Mutex::new(Vec::new());

fn lock() -> MutexGuard<'static, Vec<Class>> {
    CLASSES.lock().expect("nothing panics while it has the pool")
}

/// Adds `wanted` free slots for values of `size` bytes to `into`; the lowest address last.
pub(super) fn take(size: usize, wanted: usize, hurry: Hurry, into: &mut Vec<NonNull<u8>>) {
    let slot_bytes = size.next_multiple_of(SLOT_ALIGN);
    let begin = into.len();
    let mut classes = lock();
    while into.len() < begin + wanted {
        let class = class_of(&mut classes, slot_bytes);
        if class.take_slot(into) {
            continue;
        }
        // The first chunk of a class lies on small pages: a small server need not have a huge page for each.
        let first = class.chunks == 0;
        drop(classes);
        let chunk = if first { pages::small() } else { pages::huge(hurry) };
        classes = lock();
        class_of(&mut classes, slot_bytes).open(chunk);
    }
    into[begin..].reverse();
}

/// Takes slots of values of `size` bytes back.
pub(super) fn give(size: usize, slots: impl Iterator<Item = NonNull<u8>>) {
    let slot_bytes = size.next_multiple_of(SLOT_ALIGN);
    let mut emptied = Vec::new();
    let mut classes = lock();
    let class = class_of(&mut classes, slot_bytes);
    for slot in slots {
        emptied.extend(class.give_slot(slot));
    }
    drop(classes);
    emptied.into_iter().for_each(pages::give_back);
}

/// Memory that chunks in use hold, of all indexes of the process: whole huge pages, and what was touched of chunks on small
/// pages.
#[must_use]
pub fn pool_bytes() -> usize {
    lock().iter().map(Class::bytes).sum()
}

/// The same for slots of one size.
#[cfg(test)]
pub(super) fn bytes_of(size: usize) -> usize {
    class_of(&mut lock(), size.next_multiple_of(SLOT_ALIGN)).bytes()
}

fn class_of(classes: &mut Vec<Class>, slot_bytes: usize) -> &mut Class {
    let at = match classes.iter().position(|class| class.slot_bytes == slot_bytes) {
        Some(at) => at,
        None => {
            let capacity = ((CHUNK_BYTES - SLOT_ALIGN) / slot_bytes) as u32;
            classes.push(Class { slot_bytes, capacity, open: Vec::new(), huge_chunks: 0, small_slots: 0, chunks: 0 });
            classes.len() - 1
        }
    };
    &mut classes[at]
}

impl Class {
    fn bytes(&self) -> usize {
        self.huge_chunks * CHUNK_BYTES + self.small_slots * self.slot_bytes
    }

    /// Begins to deal from a chunk.
    fn open(&mut self, chunk: Chunk) {
        const { assert!(size_of::<Header>() <= SLOT_ALIGN) };
        let header = chunk.start.cast::<Header>();
        let open_at = self.open.len() as u32;
        // SAFETY: the chunk is not in use, and aligned to its size.
        unsafe { header.write(Header { free: None, live: 0, fresh: 0, open_at, huge: chunk.huge }) };
        self.open.push(ChunkInUse(header));
        self.chunks += 1;
        self.huge_chunks += usize::from(chunk.huge);
    }

    /// Adds one free slot to `into`; whether there was one.
    fn take_slot(&mut self, into: &mut Vec<NonNull<u8>>) -> bool {
        let Some(ChunkInUse(mut at)) = self.open.last().copied() else {
            return false;
        };
        // SAFETY: a chunk in `open` has a header, which nobody else refers to while the pool is locked.
        let header = unsafe { at.as_mut() };
        let slot = match header.free {
            Some(free) => {
                // SAFETY: a free slot that was used before holds a `FreeSlot`.
                header.free = unsafe { free.read() }.next;
                free.cast::<u8>()
            }
            None => {
                let offset = SLOT_ALIGN + header.fresh as usize * self.slot_bytes;
                header.fresh += 1;
                self.small_slots += usize::from(!header.huge);
                // SAFETY: `fresh` was below the capacity, so the slot lies inside the chunk.
                unsafe { at.cast::<u8>().add(offset) }
            }
        };
        header.live += 1;
        let (full, touched, huge) = (header.live == self.capacity, header.fresh == self.capacity, header.huge);
        if full {
            self.open.pop();
            if touched && !huge {
                pages::suggest_huge(at.cast());
            }
        }
        into.push(slot);
        true
    }

    /// Takes one slot back; the chunk, if none of its slots is in use any more and another one can be dealt from.
    fn give_slot(&mut self, slot: NonNull<u8>) -> Option<Chunk> {
        let start = slot.as_ptr().map_addr(|address| address & !(CHUNK_BYTES - 1));
        let mut at = NonNull::new(start).expect("no chunk lies at address 0").cast::<Header>();
        let free = slot.cast::<FreeSlot>();
        // SAFETY: slots come from chunks, which begin with a header that nobody else refers to while the pool is locked; the
        // slot is not used any more.
        let header = unsafe {
            free.write(FreeSlot { next: at.as_ref().free });
            at.as_mut()
        };
        header.free = Some(free);
        assert!(header.live > 0, "a slot is given back once");
        if header.live == self.capacity {
            header.open_at = self.open.len() as u32;
            self.open.push(ChunkInUse(at));
        }
        header.live -= 1;
        if header.live > 0 || self.open.len() == 1 {
            return None;
        }
        let Header { open_at, huge, fresh, .. } = *header;
        self.open.swap_remove(open_at as usize);
        if let Some(ChunkInUse(mut moved)) = self.open.get(open_at as usize).copied() {
            // SAFETY: as above; it is another chunk's.
            unsafe { moved.as_mut() }.open_at = open_at;
        }
        self.chunks -= 1;
        if huge {
            self.huge_chunks -= 1;
        } else {
            self.small_slots -= fresh as usize;
        }
        Some(Chunk { start: at.cast(), huge })
    }
}
