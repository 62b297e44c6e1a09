//! Isolation levels and lock modes.

/// Isolation levels; READ UNCOMMITTED is READ COMMITTED, as in PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Isolation {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// Strength of a row lock, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LockStrength {
    KeyShare,
    Share,
    NoKeyUpdate,
    Update,
}

/// What to do about a locked row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockWait {
    /// Wait.
    Block,
    /// 55P03.
    NoWait,
    /// Leave it out.
    SkipLocked,
}

/// How long a transaction waits for locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitLimits {
    /// `lock_timeout` in milliseconds: 55P03 after so long. 0 for never.
    pub lock_timeout_ms: u32,
    /// `deadlock_timeout` in milliseconds: after so long a waiter first looks whether it waits for itself.
    pub deadlock_timeout_ms: u32,
}

impl Default for WaitLimits {
    fn default() -> Self {
        Self { lock_timeout_ms: 0, deadlock_timeout_ms: 1_000 }
    }
}

/// Table lock modes (PostgreSQL 15 documentation, 13.3.1), weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TableLock {
    AccessShare,
    RowShare,
    RowExclusive,
    ShareUpdateExclusive,
    Share,
    ShareRowExclusive,
    Exclusive,
    AccessExclusive,
}
