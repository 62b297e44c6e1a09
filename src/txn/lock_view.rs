//! Locks as those see them who look at them (`pg_locks`).

use crate::base::{Oid, StorageId, TxnId};
use crate::runtime;
use crate::txn::advisory_locks::AdvisoryKey;
use crate::txn::asker::Asker;
use crate::txn::modes::TableLock;

/// What is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockTarget {
    /// A table.
    Relation(Oid),
    /// A row of a storage, by whoever is next to have it, or wants to be.
    Row(StorageId),
    /// A transaction: held by itself, awaited by those who wait for a row that it has written or locked.
    Transaction(TxnId),
    /// What clients have agreed on.
    Advisory(AdvisoryKey),
}

/// A lock that is held or awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LockView {
    /// By which transaction; `None` for what a session has for itself.
    pub txn: Option<TxnId>,
    /// Of the session with this process id; 0 where there is none.
    pub pid: i32,
    /// What.
    pub target: LockTarget,
    /// How.
    pub mode: TableLock,
    /// Since when it is waited for, in microseconds since the Unix epoch; `None` if it is held.
    pub waits_since: Option<i64>,
}

impl LockView {
    /// One that is held.
    pub fn held(txn: TxnId, pid: i32, target: LockTarget, mode: TableLock) -> Self {
        Self { txn: Some(txn), pid, target, mode, waits_since: None }
    }

    /// One that is awaited.
    pub fn awaited(asker: &Asker, target: LockTarget, mode: TableLock, since: Since) -> Self {
        Self { txn: Some(asker.txn), pid: asker.pid, target, mode, waits_since: Some(since.0) }
    }
}

/// When a wait began.
#[derive(Clone, Copy, Debug)]
pub struct Since(i64);

impl Since {
    /// Now.
    pub fn now() -> Self {
        Self(runtime::wall_clock_micros())
    }
}
