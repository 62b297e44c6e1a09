//! What can go wrong with the log.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use thiserror::Error;

use super::record::RecordError;

/// An error of the log. Cloneable, because everyone who waits for a flush learns of the same failure.
#[derive(Clone, Debug, Error)]
pub enum WalError {
    /// No prepared segment has room right now: wait with `reserve_wait`.
    #[error("the log is waiting for its next segment")]
    NoSpare,
    /// Too much is waiting for the disk: wait with `reserve_wait`.
    #[error("the log's backlog of unflushed bytes is full")]
    Backlog,
    /// The file system has no room for another segment (53100). Later attempts may succeed.
    #[error("could not extend the write-ahead log: {0}")]
    DiskFull(Rc<io::Error>),
    /// A record that no segment can hold (54000).
    #[error("a log record of {bytes} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// What was asked for.
        bytes: usize,
        /// What fits.
        limit: usize,
    },
    /// Invariant 7: a write or sync of the log failed and the server must stop.
    #[error("the write-ahead log failed while {doing} {} and is not usable any more: {cause}", path.display())]
    Poisoned {
        /// The operation.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: Rc<io::Error>,
    },
    /// The log was shut down.
    #[error("the write-ahead log is shut down")]
    Closed,
    /// Reading or preparing files failed (before serving, or in the background).
    #[error("{doing} {}: {cause}", path.display())]
    Io {
        /// The operation.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        cause: Rc<io::Error>,
    },
    /// Bytes in the middle of the log are not what was written.
    #[error("the write-ahead log is corrupt: {} at offset {offset}: {what}", path.display())]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// The offset in it.
        offset: u64,
        /// What is wrong.
        what: Corruption,
    },
}

/// What is wrong with a corrupt log.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Corruption {
    /// A segment's header.
    #[error("the segment header {0}")]
    Header(&'static str),
    /// A record that was durable, because a later flush follows it.
    #[error("{error}, although a later flush is valid at offset {later} of {}", later_path.display())]
    DurableRecord {
        /// What is wrong with it.
        error: RecordError,
        /// The file of the later flush.
        later_path: PathBuf,
        /// Its offset there.
        later: u64,
    },
    /// A record with a valid checksum that makes no sense.
    #[error("{0}")]
    Record(RecordError),
    /// A record that is valid but out of place.
    #[error("{0}")]
    OutOfPlace(&'static str),
    /// Segments before and after exist and one between them does not.
    #[error("segment {0} is missing")]
    MissingSegment(u64),
    /// A commit names chunks that are not in the log.
    #[error("commit {ts} names {expected} chunks of which {found} are in the log")]
    MissingChunks {
        /// The commit's timestamp.
        ts: u64,
        /// What it names.
        expected: u32,
        /// What there is.
        found: u32,
    },
    /// A segment of a start that the manifest knows nothing of.
    #[error("it was written by incarnation {found}, and the manifest knows none after {current}")]
    FutureIncarnation {
        /// What the segment says.
        found: u64,
        /// What the manifest says.
        current: u64,
    },
}

impl Corruption {
    /// Whether recovery may go on without what is damaged, if asked to. Not where a newer state than the manifest's lies
    /// beside it: nothing is damaged there, an old file was put back.
    pub(super) fn can_be_passed_over(&self) -> bool {
        !matches!(self, Corruption::FutureIncarnation { .. })
    }
}

impl WalError {
    /// Wraps a failed file operation.
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, cause: io::Error) -> Self {
        Self::Io { doing, path: path.into(), cause: Rc::new(cause) }
    }

    /// Whether it is about damage that recovery can pass over.
    pub fn is_damage(&self) -> bool {
        matches!(self, WalError::Corrupt { what, .. } if what.can_be_passed_over())
    }

    /// Whether waiting may help.
    pub fn is_transient(&self) -> bool {
        matches!(self, WalError::NoSpare | WalError::Backlog)
    }
}
