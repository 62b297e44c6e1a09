//! Who asks for a lock.

use crate::base::TxnId;

/// Who asks for a lock, and how patiently it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The transaction.
    pub txn: TxnId,
    /// The process id of its session; 0 where there is none.
    pub pid: i32,
    /// lock_timeout in milliseconds, 0 for none.
    pub lock_timeout_ms: u32,
    /// deadlock_timeout in milliseconds: how long a wait lasts before a deadlock is looked for.
    pub deadlock_timeout_ms: u32,
}

impl Asker {
    /// Of a transaction, with no session and the built-in patience.
    pub fn of(txn: TxnId) -> Self {
        Self { txn, pid: 0, lock_timeout_ms: 0, deadlock_timeout_ms: 1_000 }
    }
}
