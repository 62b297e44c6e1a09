//! Receive buffers that the kernel picks from when data arrives, so that a waiting connection holds none.
//!
//! Source: io_uring_register_buf_ring(3). The ring's entries and the buffers lie in one allocation; the kernel takes buffers
//! from the head, this side appends at the tail.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::Submitter;
use io_uring::types::BufRingEntry;

/// The group that receives name.
pub(super) const GROUP: u16 = 0;
/// Buffers of a core: those of receives that have completed and whose session has not run yet.
const COUNT: u16 = 256;
/// Size of a buffer; a statement and its parameters seldom need more.
pub(in crate::runtime::glommio) const BUFFER_BYTES: usize = 4 << 10;
/// What the kernel wants the entries aligned to.
const PAGE_BYTES: usize = 4 << 10;
const ENTRIES_BYTES: usize = (COUNT as usize * size_of::<BufRingEntry>()).next_multiple_of(PAGE_BYTES);

/// Buffers provided to one ring.
pub(super) struct ProvidedBuffers {
    memory: NonNull<u8>,
    tail: u16,
}

fn layout() -> Layout {
    Layout::from_size_align(ENTRIES_BYTES + usize::from(COUNT) * BUFFER_BYTES, PAGE_BYTES).expect("constants")
}

impl ProvidedBuffers {
    /// Allocates the buffers and registers them. The ring must be dropped before they are.
    pub(super) fn register(submitter: &Submitter<'_>) -> io::Result<Self> {
        // SAFETY: the layout is not empty.
        let memory = unsafe { alloc_zeroed(layout()) };
        let Some(memory) = NonNull::new(memory) else { handle_alloc_error(layout()) };
        let mut buffers = Self { memory, tail: 0 };
        // SAFETY: the entries are aligned to a page, and live as long as `Self`, which outlives the ring.
        unsafe { submitter.register_buf_ring_with_flags(memory.as_ptr() as u64, COUNT, GROUP, 0)? };
        for id in 0..COUNT {
            buffers.append(id);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The first bytes of a buffer that a completion named and that has not been given back.
    pub(super) fn bytes(&self, id: u16, len: usize) -> &[u8] {
        assert!(id < COUNT && len <= BUFFER_BYTES, "the kernel names one of the {COUNT} buffers and fills no more than it");
        // SAFETY: within the allocation; the kernel has written it before its completion and leaves it alone until it is
        // given back, which takes `&mut self`.
        unsafe { std::slice::from_raw_parts(self.buffer(id), len) }
    }

    /// Lets the kernel have a buffer again.
    pub(super) fn give_back(&mut self, id: u16) {
        assert!(id < COUNT, "the kernel names one of the {COUNT} buffers");
        self.append(id);
        self.publish();
    }

    fn buffer(&self, id: u16) -> *mut u8 {
        // SAFETY: callers have checked that `id` is below COUNT, so this is within the allocation.
        unsafe { self.memory.as_ptr().add(ENTRIES_BYTES + usize::from(id) * BUFFER_BYTES) }
    }

    fn append(&mut self, id: u16) {
        let entries = self.memory.as_ptr().cast::<BufRingEntry>();
        let address = self.buffer(id) as u64;
        // SAFETY: the index is below COUNT; the kernel does not read an entry at or after the tail it has been told. The fields
        // are written one by one because the first entry also holds the tail.
        let entry = unsafe { &mut *entries.add(usize::from(self.tail % COUNT)) };
        entry.set_addr(address);
        entry.set_len(u32::try_from(BUFFER_BYTES).expect("a constant"));
        entry.set_bid(id);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&self) {
        let entries = self.memory.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `entries` is the address of the first entry; the tail within it is aligned and shared with the kernel, which is
        // why it is stored atomically, after the entries.
        unsafe { AtomicU16::from_ptr(BufRingEntry::tail(entries).cast_mut()).store(self.tail, Ordering::Release) };
    }
}

impl Drop for ProvidedBuffers {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout. The ring, and with it the kernel's use of the memory, is gone.
        unsafe { dealloc(self.memory.as_ptr(), layout()) };
    }
}
