//! What can go wrong in the engine, and the one place where it becomes an SQLSTATE.

use crate::base::StorageId;
use crate::error::{SqlError, SqlState};
use crate::storage::Key;

/// An engine error. After any of them the statement has left no trace once its savepoint or transaction is rolled back.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineError {
    /// A live row with this key exists (23505; `exec` names the constraint and prints the key).
    DuplicateKey {
        /// Where.
        storage: StorageId,
        /// Which.
        key: Key,
    },
    /// REPEATABLE READ or SERIALIZABLE met a concurrent change (40001).
    SerializationFailure,
    /// What a SERIALIZABLE transaction has read was changed before it could commit (40001).
    ReadConflict,
    /// This transaction was chosen to break a cycle of waits (40P01).
    Deadlock {
        /// The cycle, as a DETAIL.
        detail: String,
    },
    /// What the snapshot sees may have been collected, because it is older than allowed (72000).
    SnapshotTooOld,
    /// NOWAIT or lock_timeout (55P03).
    LockNotAvailable,
    /// The server's memory limit is reached (53200).
    OutOfMemory,
    /// The log has no space (53100).
    DiskFull,
    /// The log has failed; the server is stopping (58030).
    LogFailed,
    /// The storage no longer exists: the table was dropped or truncated meanwhile.
    StorageGone(StorageId),
    /// A shipped row program failed.
    Program(SqlError),
    /// The transaction was aborted while the statement ran (cancel, terminate, shutdown).
    Aborted,
    /// The transaction has put off an update of the row, and this one has to see it: settle first. Sessions do not get this.
    MustSettle,
    /// What should not happen did (XX000).
    Internal(&'static str),
    /// A row that no log record can hold (54000).
    RowTooLarge {
        /// What it takes there.
        bytes: usize,
        /// What a record can hold.
        limit: usize,
    },
    /// A limit of the engine (54000), with what was exceeded.
    Limit(&'static str),
}

/// The engine's results.
pub type EngineResult<T> = Result<T, EngineError>;

impl From<SqlError> for EngineError {
    fn from(error: SqlError) -> Self {
        EngineError::Program(error)
    }
}

impl From<EngineError> for SqlError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::DuplicateKey { .. } => {
                SqlError::new(SqlState::UNIQUE_VIOLATION, "duplicate key value violates unique constraint")
            }
            EngineError::SerializationFailure => {
                SqlError::new(SqlState::SERIALIZATION_FAILURE, "could not serialize access due to concurrent update")
            }
            EngineError::ReadConflict => SqlError::new(
                SqlState::SERIALIZATION_FAILURE,
                "could not serialize access due to read/write dependencies among transactions",
            )
            .detail("What the transaction has read was changed before it could commit.")
            .hint("The transaction might succeed if retried."),
            EngineError::Deadlock { detail } => SqlError::new(SqlState::DEADLOCK_DETECTED, "deadlock detected").detail(detail),
            EngineError::SnapshotTooOld => SqlError::new(SqlState::SNAPSHOT_TOO_OLD, "snapshot too old")
                .hint("Increase old_snapshot_threshold, or read for a shorter time."),
            EngineError::LockNotAvailable => {
                SqlError::new(SqlState::LOCK_NOT_AVAILABLE, "canceling statement due to lock timeout")
            }
            EngineError::OutOfMemory => SqlError::new(SqlState::OUT_OF_MEMORY, "out of memory")
                .detail("The server's memory limit is reached; what is stored stays readable.")
                .hint("Delete rows and run VACUUM, or raise memory_limit."),
            EngineError::DiskFull => {
                SqlError::new(SqlState::DISK_FULL, "could not extend the write-ahead log: no space left on device")
            }
            EngineError::LogFailed => {
                SqlError::new(SqlState::IO_ERROR, "the write-ahead log has failed and the server is stopping")
            }
            EngineError::StorageGone(_) => {
                SqlError::new(SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE, "the table was rewritten or dropped concurrently")
            }
            EngineError::Program(error) => error,
            EngineError::Aborted => {
                SqlError::new(SqlState::QUERY_CANCELED, "canceling statement because its transaction was aborted")
            }
            EngineError::MustSettle => SqlError::internal("an update has to see one that was put off"),
            EngineError::Internal(what) => SqlError::internal(what),
            EngineError::RowTooLarge { bytes, limit } => {
                SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, format!("row is too big: size {bytes}, maximum size {limit}"))
            }
            EngineError::Limit(what) => SqlError::new(SqlState::PROGRAM_LIMIT_EXCEEDED, what),
        }
    }
}
