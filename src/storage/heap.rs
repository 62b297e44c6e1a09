//! The version heap of one tablet: where row versions live.
//!
//! A version is a 24-byte header and the row's bytes. Versions are packed into 64 KiB pages, one size class a page, so that a
//! row costs its bytes rounded up to 16 plus the header and nothing else: no allocator header, no pointer of its own. A
//! [`VersionRef`] is 32 bits (page, slot offset), which is what the index stores. A page whose last version goes is returned
//! to the operating system.
//!
//! Rows above [`MAX_SMALL`] get a page of their own size.
//!
//! Header layout, little-endian: `begin` u64 (commit timestamp, or [`INTENT`] | transaction slot), `prev` u32 (next older
//! version), `len` u32 (row bytes), `command` u32 (the writing command within its transaction), `flags` u32.

use std::fmt;

/// Bytes of a page.
const PAGE_BYTES: usize = 64 * 1024;
/// Bytes of a version header.
pub const HEADER_BYTES: usize = 24;
/// Slot offsets are multiples of this.
const GRANULE: usize = 16;
/// The largest version (with header) that shares a page.
const MAX_SMALL: usize = 16 * 1024;
/// Pages a heap may have: 20 bits of a `VersionRef`.
const MAX_PAGES: usize = (1 << 20) - 1;

/// Set in `begin` of a version whose transaction has not been stamped onto it yet; the rest is the transaction's slot.
pub const INTENT: u64 = 1 << 63;

/// Header flag: the row is deleted as of this version.
const TOMBSTONE: u32 = 1;
/// Header flag: superseded, and known to be kept by an old snapshot.
const HELD: u32 = 2;

/// A version's address within its heap.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VersionRef(u32);

impl VersionRef {
    /// No version.
    pub const NONE: VersionRef = VersionRef(u32::MAX);

    fn new(page: usize, offset: usize) -> Self {
        debug_assert!(page <= MAX_PAGES && offset < PAGE_BYTES && offset.is_multiple_of(GRANULE));
        Self((page as u32) << 12 | (offset / GRANULE) as u32)
    }

    fn page(self) -> usize {
        (self.0 >> 12) as usize
    }

    fn offset(self) -> usize {
        (self.0 & 0xfff) as usize * GRANULE
    }

    /// Whether this is [`VersionRef::NONE`].
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

impl fmt::Debug for VersionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() { f.write_str("none") } else { write!(f, "{}:{}", self.page(), self.offset()) }
    }
}

/// A version's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Commit timestamp, or [`INTENT`] | slot.
    pub begin: u64,
    /// The next older version.
    pub prev: VersionRef,
    /// Row bytes.
    pub len: u32,
    /// The command that wrote it.
    pub command: u32,
    /// Whether the row is deleted as of this version.
    pub tombstone: bool,
    /// Whether it is superseded and known to be kept by an old snapshot.
    pub held: bool,
}

impl Header {
    /// The transaction slot if this is an intent.
    pub fn intent(&self) -> Option<u32> {
        (self.begin & INTENT != 0).then_some((self.begin & !INTENT) as u32)
    }
}

/// A page: slots of one size.
struct Page {
    data: Box<[u8]>,
    /// Size class, or `LARGE`.
    class: u16,
    /// Whether the class's list of pages with room names this page.
    listed: bool,
    /// Versions in it.
    live: u32,
    /// First offset never used.
    fresh: u32,
    /// Head of the list of freed slots (offset / GRANULE + 1; 0 ends it), threaded through the slots' first bytes.
    free: u32,
}

const LARGE: u16 = u16::MAX;
const FREED: u16 = u16::MAX - 1;

/// The versions of one tablet.
#[derive(Default)]
pub struct Heap {
    pages: Vec<Page>,
    /// Indexes of pages that were returned.
    vacant: Vec<u32>,
    /// For each size class, pages that may have room.
    roomy: Vec<Vec<u32>>,
    /// Bytes of all pages.
    page_bytes: usize,
    /// Bytes of live versions, headers included.
    live_bytes: usize,
    versions: usize,
}

/// The heap is full: 2^20 pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeapFull;

/// The size class of a version of `bytes` bytes: steps of 16 up to 512, then eight steps an octave.
fn class_of(bytes: usize) -> (u16, usize) {
    debug_assert!((HEADER_BYTES..=MAX_SMALL).contains(&bytes));
    if bytes <= 512 {
        let class = bytes.div_ceil(GRANULE);
        return (class as u16, class * GRANULE);
    }
    let octave = usize::BITS - 1 - (bytes - 1).leading_zeros();
    let step = 1usize << (octave - 3);
    let size = bytes.div_ceil(step) * step;
    // Octave 9 is 513..=1024; eight classes each after the 33 linear ones.
    let within = (size - (1 << octave)) / step;
    ((33 + (octave as usize - 9) * 8 + within) as u16, size)
}

impl Page {
    fn u32_at(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.data[at..at + 4].try_into().expect("four bytes"))
    }

    fn put_u32(&mut self, at: usize, value: u32) {
        self.data[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
}

impl Heap {
    /// An empty heap.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes held from the system.
    pub fn bytes(&self) -> usize {
        self.page_bytes + self.pages.capacity() * size_of::<Page>()
    }

    /// Bytes of live versions, headers included.
    pub fn live_bytes(&self) -> usize {
        self.live_bytes
    }

    /// Number of versions.
    pub fn versions(&self) -> usize {
        self.versions
    }

    /// The header of a version.
    #[inline]
    pub fn header(&self, at: VersionRef) -> Header {
        let page = &self.pages[at.page()];
        let o = at.offset();
        let header = &page.data[o..o + HEADER_BYTES];
        let word = |i: usize| u32::from_le_bytes(header[i..i + 4].try_into().expect("four bytes"));
        Header {
            begin: u64::from_le_bytes(header[..8].try_into().expect("eight bytes")),
            prev: VersionRef(word(8)),
            len: word(12),
            command: word(16),
            tombstone: word(20) & TOMBSTONE != 0,
            held: word(20) & HELD != 0,
        }
    }

    /// A version's row bytes (a tombstone has none).
    #[inline]
    pub fn row(&self, at: VersionRef) -> &[u8] {
        let page = &self.pages[at.page()];
        let o = at.offset();
        let len = page.u32_at(o + 12) as usize;
        &page.data[o + HEADER_BYTES..o + HEADER_BYTES + len]
    }

    /// Adds a version; `row` is `None` for a tombstone.
    pub fn push(&mut self, begin: u64, prev: VersionRef, command: u32, row: Option<&[u8]>) -> Result<VersionRef, HeapFull> {
        let bytes = row.unwrap_or(&[]);
        let at = self.allocate(HEADER_BYTES + bytes.len())?;
        let page = &mut self.pages[at.page()];
        let o = at.offset();
        page.data[o..o + 8].copy_from_slice(&begin.to_le_bytes());
        page.put_u32(o + 8, prev.0);
        page.put_u32(o + 12, u32::try_from(bytes.len()).expect("rows are below 1 GiB"));
        page.put_u32(o + 16, command);
        page.put_u32(o + 20, if row.is_none() { TOMBSTONE } else { 0 });
        page.data[o + HEADER_BYTES..o + HEADER_BYTES + bytes.len()].copy_from_slice(bytes);
        Ok(at)
    }

    /// Sets a version's `begin`.
    pub fn set_begin(&mut self, at: VersionRef, begin: u64) {
        let o = at.offset();
        self.pages[at.page()].data[o..o + 8].copy_from_slice(&begin.to_le_bytes());
    }

    /// Notes that a superseded version is kept by an old snapshot.
    pub fn set_held(&mut self, at: VersionRef) {
        let flags = at.offset() + 20;
        let page = &mut self.pages[at.page()];
        page.put_u32(flags, page.u32_at(flags) | HELD);
    }

    /// Sets a version's `prev`.
    pub fn set_prev(&mut self, at: VersionRef, prev: VersionRef) {
        self.pages[at.page()].put_u32(at.offset() + 8, prev.0);
    }

    fn allocate(&mut self, bytes: usize) -> Result<VersionRef, HeapFull> {
        self.versions += 1;
        self.live_bytes += bytes;
        if bytes > MAX_SMALL {
            let page = self.add_page(LARGE, bytes.next_multiple_of(GRANULE))?;
            self.pages[page].live = 1;
            return Ok(VersionRef::new(page, 0));
        }
        let (class, size) = class_of(bytes);
        loop {
            let index = self.roomy_page(class)?;
            let page = &mut self.pages[index];
            if page.free != 0 {
                let offset = (page.free - 1) as usize * GRANULE;
                page.free = page.u32_at(offset);
                page.live += 1;
                return Ok(VersionRef::new(index, offset));
            }
            let offset = page.fresh as usize;
            if offset + size <= PAGE_BYTES {
                page.fresh += size as u32;
                page.live += 1;
                return Ok(VersionRef::new(index, offset));
            }
            page.listed = false;
            self.roomy[usize::from(class)].pop();
        }
    }

    /// A page of the class that may have room: the last listed one, or a new one.
    fn roomy_page(&mut self, class: u16) -> Result<usize, HeapFull> {
        let slot = usize::from(class);
        if self.roomy.len() <= slot {
            self.roomy.resize_with(slot + 1, Vec::new);
        }
        while let Some(&index) = self.roomy[slot].last() {
            if self.pages[index as usize].class == class {
                return Ok(index as usize);
            }
            // The page was returned, and perhaps reused for another class, since it was listed.
            self.roomy[slot].pop();
        }
        let index = self.add_page(class, PAGE_BYTES)?;
        self.pages[index].listed = true;
        self.roomy[slot].push(index as u32);
        Ok(index)
    }

    fn add_page(&mut self, class: u16, bytes: usize) -> Result<usize, HeapFull> {
        let page = Page { data: vec![0; bytes].into_boxed_slice(), class, listed: false, live: 0, fresh: 0, free: 0 };
        if let Some(index) = self.vacant.pop() {
            self.page_bytes += bytes;
            self.pages[index as usize] = page;
            return Ok(index as usize);
        }
        if self.pages.len() >= MAX_PAGES {
            return Err(HeapFull);
        }
        self.page_bytes += bytes;
        self.pages.push(page);
        Ok(self.pages.len() - 1)
    }

    /// Frees a version; its slot may be reused at once.
    pub fn free(&mut self, at: VersionRef) {
        let index = at.page();
        let offset = at.offset();
        let page = &mut self.pages[index];
        assert!(page.class != FREED && page.live > 0, "a version is freed once");
        let bytes = HEADER_BYTES + page.u32_at(offset + 12) as usize;
        self.versions -= 1;
        self.live_bytes -= bytes;
        page.live -= 1;
        if page.live == 0 {
            self.page_bytes -= page.data.len();
            page.data = Box::default();
            page.class = FREED;
            page.listed = false;
            self.vacant.push(index as u32);
            return;
        }
        let head = page.free;
        page.put_u32(offset, head);
        // A freed slot must never read as a live version: its length is what `free` trusts.
        page.put_u32(offset + 12, 0);
        page.free = (offset / GRANULE) as u32 + 1;
        if !page.listed {
            page.listed = true;
            let class = page.class;
            self.roomy[usize::from(class)].push(index as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn size_classes_cover_and_are_distinct() {
        let mut last = (0, 0);
        for bytes in HEADER_BYTES..=MAX_SMALL {
            let (class, size) = class_of(bytes);
            assert!(size >= bytes && size % GRANULE == 0, "{bytes} -> {size}");
            assert!(size - bytes <= GRANULE.max(bytes / 8), "waste is bounded: {bytes} -> {size}");
            if class != last.0 {
                assert!(class > last.0 && size > last.1, "classes grow: {bytes}");
            } else {
                assert_eq!(size, last.1, "one size a class: {bytes}");
            }
            last = (class, size);
        }
    }

    #[test]
    fn empty_pages_are_returned() {
        let mut heap = Heap::new();
        let refs: Vec<_> = (0..10_000).map(|i| heap.push(i, VersionRef::NONE, 0, Some(&[7; 100])).unwrap()).collect();
        assert!(heap.bytes() > 1 << 20);
        for at in refs {
            heap.free(at);
        }
        assert_eq!((heap.versions(), heap.live_bytes(), heap.page_bytes), (0, 0, 0));
    }

    proptest! {
        #[test]
        fn behaves_as_a_map_of_versions(ops in prop::collection::vec((any::<bool>(), 0usize..3000, any::<u64>()), 1..400)) {
            let mut heap = Heap::new();
            let mut model: Vec<(VersionRef, u64, Vec<u8>)> = Vec::new();
            for (add, size, seed) in ops {
                if add || model.is_empty() {
                    // Every so often a row with a page of its own.
                    let size = if seed % 17 == 0 { size * 20 } else { size };
                    let row: Vec<u8> = (0..size).map(|i| (i as u64 ^ seed) as u8).collect();
                    let at = heap.push(seed & !INTENT, VersionRef::NONE, 3, Some(&row)).unwrap();
                    prop_assert!(model.iter().all(|(other, ..)| *other != at));
                    model.push((at, seed & !INTENT, row));
                } else {
                    let (at, ..) = model.swap_remove(seed as usize % model.len());
                    heap.free(at);
                }
                for (at, begin, row) in &model {
                    let header = heap.header(*at);
                    prop_assert_eq!(header.begin, *begin);
                    prop_assert_eq!(heap.row(*at), &row[..]);
                }
                prop_assert_eq!(heap.versions(), model.len());
            }
        }
    }
}
