//! What the log counts, without atomics: the core that owns the log reads and writes.

use std::cell::Cell;

/// Totals since the log was opened.
#[derive(Debug, Default)]
pub struct WalCounters {
    /// Records appended.
    pub records: Cell<u64>,
    /// Bytes of the records appended.
    pub record_bytes: Cell<u64>,
    /// Flushes that are durable; each is one group of records and one sync.
    pub flushes: Cell<u64>,
    /// Bytes written to the device, padding and headers included.
    pub bytes_written: Cell<u64>,
    /// Records in the largest group so far.
    pub group_records_max: Cell<u64>,
    /// Nanoseconds that flushes took, in total.
    pub flush_nanos: Cell<u64>,
    /// Segments made from new files.
    pub segments_created: Cell<u64>,
    /// Segments made from files that were in use before.
    pub segments_reused: Cell<u64>,
    /// Segment files removed because enough spares exist.
    pub segments_removed: Cell<u64>,
    /// Attempts to make a segment for which the file system had no room.
    pub disk_full: Cell<u64>,
    /// Times a reservation had to wait.
    pub reserve_waits: Cell<u64>,
}

/// Adds to a counter.
pub(super) fn add(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get() + amount);
}
