//! Functions that wait, or that speak to other cores or the client: advisory locks, `pg_sleep`, signals to other sessions.
//!
//! Evaluation is synchronous, so it does not call them: it asks for their values, as for those of subqueries, and the executor
//! waits and evaluates again (`exec::waiting`).

use crate::sql::function::kinds::{BOOL, FLOAT8, INT4, INT8, VOID};
use crate::sql::function::{Entry, Function, Implementation, Kind};

/// What the executor does for such a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Take an advisory lock.
    AdvisoryLock {
        /// Shared instead of exclusive.
        shared: bool,
        /// Until the transaction ends, instead of the session.
        transaction: bool,
        /// Wait for it, instead of answering whether it was to be had.
        block: bool,
    },
    /// Give one of the session's back.
    AdvisoryUnlock {
        /// Shared instead of exclusive.
        shared: bool,
    },
    /// Give all of the session's back.
    AdvisoryUnlockAll,
    /// Wait.
    Sleep,
    /// End what another session runs.
    CancelBackend,
    /// End another session, and wait for its end if that is wanted.
    TerminateBackend,
    /// Let every core forget the latencies it shows.
    ResetLatencies,
}

/// The advisory locks, by name.
const LOCKS: [(&str, Waiting); 10] = [
    ("pg_advisory_lock", lock(false, false, true)),
    ("pg_advisory_lock_shared", lock(true, false, true)),
    ("pg_advisory_xact_lock", lock(false, true, true)),
    ("pg_advisory_xact_lock_shared", lock(true, true, true)),
    ("pg_try_advisory_lock", lock(false, false, false)),
    ("pg_try_advisory_lock_shared", lock(true, false, false)),
    ("pg_try_advisory_xact_lock", lock(false, true, false)),
    ("pg_try_advisory_xact_lock_shared", lock(true, true, false)),
    ("pg_advisory_unlock", Waiting::AdvisoryUnlock { shared: false }),
    ("pg_advisory_unlock_shared", Waiting::AdvisoryUnlock { shared: true }),
];

const fn lock(shared: bool, transaction: bool, block: bool) -> Waiting {
    Waiting::AdvisoryLock { shared, transaction, block }
}

/// Puts the functions into the table.
pub fn register(functions: &mut Vec<Function>) {
    for (name, waiting) in LOCKS {
        let result = if matches!(waiting, Waiting::AdvisoryLock { block: true, .. }) { VOID } else { BOOL };
        for args in [&[INT8][..], &[INT4, INT4]] {
            add(functions, name, args, result, waiting);
        }
    }
    add(functions, "pg_advisory_unlock_all", &[], VOID, Waiting::AdvisoryUnlockAll);
    add(functions, "pg_cancel_backend", &[INT4], BOOL, Waiting::CancelBackend);
    add(functions, "pg_terminate_backend", &[INT4], BOOL, Waiting::TerminateBackend);
    add(functions, "pg_terminate_backend", &[INT4, INT8], BOOL, Waiting::TerminateBackend);
    add(functions, "omendb_reset_latency", &[], VOID, Waiting::ResetLatencies);
    add(functions, "pg_sleep", &[FLOAT8], VOID, Waiting::Sleep);
}

fn add(functions: &mut Vec<Function>, name: &'static str, args: &'static [Kind], result: Kind, waiting: Waiting) {
    Entry::function(name, args, result, Implementation::Waits(waiting)).volatile().add(functions);
}
