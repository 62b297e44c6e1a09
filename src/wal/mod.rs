//! The write-ahead log of one core, and its recovery.
//!
//! Each core has a log of its own: a directory of preallocated segments, written block by block with direct I/O and never twice in
//! the same place while its contents count. A commit on several cores is one record on each of them, flushed in parallel; it
//! happened if all of them are there (invariant 5). Recovery reads every log, computes the cut (invariant 6) and replays up to it.
//!
//! | file | role |
//! |---|---|
//! | `record`, `write_set` | the bytes of a record, encoding and zero-copy decoding |
//! | `segment` | the bytes of a segment's header, file names |
//! | `incarnation`, `cut` | which records count after crashes: pure |
//! | `state`, `space` | the log in memory: groups, segments, reservations: pure but for file handles |
//! | `writer` | [`Wal`], what the engine calls |
//! | `flusher`, `supply` | its two tasks: group commit; segments made ahead and recycled |
//! | `copy` | what a backup takes of it |
//! | `cursor`, `reader`, `replay` | reading a log back: verify, collect, replay |
//! | `damage` | bytes that are not what was written: what is done, what is said |
//!
//! Sources: group commit and log positions after Mohan et al., ARIES (TODS 1992); the cut over per-core logs with a dense clock
//! follows from votes instead of decisions (docs/architecture.md). Byte layouts and the recovery case table: docs/storage-format.md.

mod bytes;
mod copy;
mod counters;
mod cursor;
pub mod cut;
mod damage;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod disk_tests;
mod error;
mod flusher;
mod incarnation;
pub mod reader;
pub mod record;
#[cfg(test)]
mod record_tests;
mod replay;
mod segment;
#[cfg(test)]
mod sim_tests;
mod space;
mod state;
mod supply;
mod write_set;
mod writer;

pub(crate) use bytes::{Fields, put_counted};
pub use counters::WalCounters;
pub use cursor::SegmentCursor;
pub use damage::{Damage, Dropped, OnDamage};
pub use error::{Corruption, WalError};
pub use incarnation::{INCARNATION_CUTS_MAX, Incarnation, IncarnationHistory};
pub use record::{Body, CHUNK_BYTES_MAX, ChunkedTxn};
pub use replay::LogReplay;
pub use segment::{LOG_FORMAT, SegmentHeader, log_directory, logs_directory, parse_segment_file_name, segment_file_name};
pub use supply::remove_logs_of_absent_cores;
pub use write_set::{WriteRef, WriteSet, Writes};
pub use writer::{FlushReport, Reservation, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, Wal, WalOptions};
