//! Bugs planted on purpose, to show that the simulator would notice them. Compiled into tests only.

use std::cell::Cell;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A client is told of its commit before the log is flushed.
    AcknowledgeBeforeFlush,
    /// A commit over several cores leaves out one participant's record.
    SkipParticipant,
    /// A transaction that has written nothing ends before what it has seen is durable.
    TellOfUndurable,
    /// Recovery promises to keep what it has read, without making sure that it is on the disk.
    KeepUnsynced,
    /// Recovery keeps one timestamp more than it found.
    CutOffByOne,
    /// A core does not publish the bound that holds back visibility.
    NoUndecidedBound,
    /// A SERIALIZABLE transaction commits without looking whether what it has read was changed.
    SkipValidation,
    /// READ COMMITTED changes the version that the statement's snapshot saw, not the newest one.
    StaleUpdate,
    /// Nobody who waits for a row is told that it is free.
    LostWaiter,
    /// ROLLBACK TO SAVEPOINT undoes nothing on one core.
    ForgottenSavepoint,
    /// Tablets move while a checkpoint is taken.
    CheckpointDuringMoves,
    /// Versions are collected as if nobody read old ones.
    EarlyCollection,
    /// A checkpoint leaves out what describes prepared transactions.
    CheckpointForgetsPrepared,
    /// Recovery brings back a prepared transaction without its intents on one core.
    ForgottenIntents,
    /// Updates that are put off are forgotten when their transaction commits.
    LostAddition,
    /// A transaction that has added to a row looks around without having it for itself.
    LookWithoutTurn,
    /// A statement's snapshot is older than the locks that its transaction has got.
    LookBehindLock,
    /// Nobody minds what a SERIALIZABLE transaction guards while it commits.
    SkipGuard,
}

thread_local! {
    static ACTIVE: Cell<Option<Sabotage>> = const { Cell::new(None) };
}

/// The bug is planted while this lives.
pub(super) struct Active;

pub(super) fn activate(sabotage: Option<Sabotage>) -> Active {
    ACTIVE.set(sabotage);
    Active
}

impl Drop for Active {
    fn drop(&mut self) {
        ACTIVE.set(None);
    }
}

/// Whether a bug is planted.
pub(crate) fn is(sabotage: Sabotage) -> bool {
    ACTIVE.get() == Some(sabotage)
}
