//! A transaction as its session holds it: `Send`, so that it moves between cores with the session.

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, Oid, StorageId, TxnId};
use crate::txn::Isolation;

/// A transaction in progress.
#[derive(Debug)]
pub struct Txn {
    /// Identity.
    pub id: TxnId,
    /// Isolation level.
    pub isolation: Isolation,
    /// READ ONLY.
    pub read_only: bool,
    /// The snapshot that all statements share, from the first one on, at REPEATABLE READ and SERIALIZABLE.
    pub(crate) snapshot: Option<CommitTs>,
    /// The current command: one a statement. Its own writes are not visible to itself.
    pub(crate) command: u32,
    /// Cores that hold intents or row locks of it. A core is added before the first message that could make it one.
    pub(crate) participants: SmallVec<[CoreId; 4]>,
    /// Whether a participant may hold intents (as against row locks only).
    pub(crate) has_writes: bool,
    /// Table locks held: table and where.
    pub(crate) table_locks: Vec<Oid>,
    /// Storages that exist only if it commits.
    pub(crate) created_storages: Vec<StorageId>,
    /// Storages that go when it commits.
    pub(crate) dropped_storages: Vec<StorageId>,
}

/// A point to roll back to: everything a transaction wrote in commands at or after it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    /// First command that is undone.
    pub(crate) command: u32,
}
