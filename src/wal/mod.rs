//! The write-ahead log of one core, and its recovery.

mod bytes;
pub mod cut;
mod error;
mod incarnation;
pub mod record;
#[cfg(test)]
mod record_tests;
mod write_set;

pub use error::{Corruption, WalError};
pub use incarnation::{INCARNATION_CUTS_MAX, Incarnation, IncarnationHistory};
pub use record::{Body, ChunkedTxn};
pub use stub::*;
pub use write_set::{KeyRef, WriteRef, WriteSet, Writes};
pub mod stub {
    use super::*;
    use crate::base::*;
    #[derive(Debug)]
    pub struct Reservation;
    #[derive(Clone)]
    pub struct Wal;
    pub struct WalOptions;
    #[derive(Clone, Default)]
    pub struct LogEnd;
    pub struct FlushReport {
        pub lowest_unflushed_ts: Option<CommitTs>,
    }
    impl Wal {
        pub async fn open(_: WalOptions, _: &LogEnd, _: CommitTs) -> Result<Wal, WalError> {
            todo!()
        }
        pub fn start(&self, _: impl Fn(&FlushReport) + 'static, _: impl Fn(&WalError) + 'static) {}
        pub fn reserve(&self, _: usize) -> Result<Reservation, WalError> {
            todo!()
        }
        pub async fn reserve_wait(&self, _: usize) -> Result<Reservation, WalError> {
            todo!()
        }
        pub fn append(&self, _: Reservation, _: &Body<'_>) -> Lsn {
            todo!()
        }
        pub fn abandon_chunks(&self, _: TxnId) {}
        pub fn lowest_unflushed_ts(&self) -> Option<CommitTs> {
            todo!()
        }
        pub async fn recycle(&self, _: CommitTs, _: Option<Lsn>) -> Result<usize, WalError> {
            todo!()
        }
        pub async fn shutdown(&self) {}
    }
}
pub mod reader {
    use super::stub::*;
    use super::*;
    use crate::base::*;
    #[derive(Clone)]
    pub struct LogDirectory {
        pub core: CoreId,
    }
    #[derive(Clone)]
    pub struct LogScan {
        pub core: CoreId,
        pub end: LogEnd,
    }
    pub struct ScanOptions<'a> {
        pub incarnations: &'a IncarnationHistory,
        pub checkpoint: CommitTs,
    }
    impl LogScan {
        pub fn commit_list(&self) -> cut::CommitList {
            todo!()
        }
    }
    pub async fn list_logs(_: &std::path::Path) -> Result<Vec<LogDirectory>, WalError> {
        todo!()
    }
    pub async fn scan_log(_: &LogDirectory, _: &ScanOptions<'_>, _: impl FnMut(u64)) -> Result<LogScan, WalError> {
        todo!()
    }
    pub async fn replay_log(
        _: &LogDirectory,
        _: &LogScan,
        _: CommitTs,
        _: CommitTs,
        _: impl FnMut(CommitTs, WriteRef<'_>),
    ) -> Result<(), WalError> {
        todo!()
    }
}
