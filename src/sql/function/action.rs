//! Functions that do something outside of the data, and may wait for it: advisory locks, `pg_sleep`.
//!
//! They are called for one row and are not evaluated as expressions are, which is at once and possibly more often or on another
//! core than the statement says: the binder puts each under a join, as it does with set-returning functions.

use crate::txn::advisory::{AdvisoryLevel, AdvisoryMode};

/// What such a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Take an advisory lock, or say that it cannot be had at once.
    Lock {
        /// How.
        mode: AdvisoryMode,
        /// Until when.
        level: AdvisoryLevel,
        /// Whether to wait for it.
        wait: bool,
    },
    /// Undo one lock of the session.
    Unlock {
        /// Of which mode.
        mode: AdvisoryMode,
    },
    /// Undo all locks of the session.
    UnlockAll,
    /// Wait for some seconds.
    Sleep,
}
