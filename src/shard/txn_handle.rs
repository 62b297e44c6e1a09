//! A transaction as its session holds it: `Send`, so that it moves between cores with the session.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, Oid, StorageId, TxnId};
use crate::catalog::Catalog;
use crate::shard::engine::SnapshotPin;
use crate::txn::{AdvisoryLock, Asker, Isolation, TableLock};

/// A transaction in progress. One that is dropped without being committed or aborted is aborted.
pub struct Txn {
    /// Identity.
    pub id: TxnId,
    /// Isolation level.
    pub isolation: Isolation,
    /// READ ONLY.
    pub read_only: bool,
    /// Whether COMMIT waits for the log (synchronous_commit).
    pub durable: bool,
    /// The process id of its session; 0 where there is none.
    pub pid: i32,
    /// lock_timeout in milliseconds, 0 for none.
    pub lock_timeout_ms: u32,
    /// deadlock_timeout in milliseconds.
    pub deadlock_timeout_ms: u32,
    /// The snapshot that all statements share, from the first one on, at REPEATABLE READ and SERIALIZABLE.
    pub(crate) snapshot: Option<CommitTs>,
    pub(crate) pin: Option<SnapshotPin>,
    /// Whether a statement has written or locked rows.
    pub(crate) writing: bool,
    /// Cores that have put updates off to its end: it is to be settled before it observes anything.
    pub(crate) put_off_on: SmallVec<[CoreId; 2]>,
    /// Whether settling was begun and did not succeed.
    pub(crate) is_settling: bool,
    /// Who had its locks before has committed no later.
    pub(crate) locks_held_until: CommitTs,
    /// The current command: one a statement. Its own writes are not visible to itself.
    pub(crate) command: u32,
    /// Cores that may hold intents, row locks or waits of it. A core is added before the first message that could make it one.
    pub(crate) touched: SmallVec<[CoreId; 4]>,
    /// Table locks held.
    pub(crate) table_locks: SmallVec<[(Oid, TableLock); 4]>,
    /// Advisory locks held until it ends, with the command that took each.
    pub(crate) advisory_locks: Vec<(u32, AdvisoryLock)>,
    /// Storages that exist only if it commits, with the command that made them.
    pub(crate) created_storages: Vec<(u32, StorageId)>,
    /// Storages that go when it commits, with the command that dropped them.
    pub(crate) dropped_storages: Vec<(u32, StorageId)>,
    /// The catalog as each of its DDL commands has left it.
    pub(crate) catalogs: Vec<(u32, Arc<Catalog>)>,
    /// Set by commit and abort.
    pub(crate) finished: bool,
}

/// A point to roll back to: everything a transaction wrote in commands at or after it is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Savepoint {
    /// First command that is undone.
    pub(crate) command: u32,
}

impl Txn {
    pub(crate) fn new(id: TxnId, isolation: Isolation, read_only: bool) -> Self {
        let Asker { pid, lock_timeout_ms, deadlock_timeout_ms, .. } = Asker::of(id);
        Self {
            id,
            isolation,
            read_only,
            durable: true,
            pid,
            lock_timeout_ms,
            deadlock_timeout_ms,
            snapshot: None,
            pin: None,
            writing: false,
            put_off_on: SmallVec::new(),
            is_settling: false,
            locks_held_until: CommitTs(0),
            command: 0,
            touched: SmallVec::new(),
            table_locks: SmallVec::new(),
            advisory_locks: Vec::new(),
            created_storages: Vec::new(),
            dropped_storages: Vec::new(),
            catalogs: Vec::new(),
            finished: false,
        }
    }

    /// Records that a core takes part, before it is told anything.
    pub(crate) fn touch(&mut self, core: CoreId) {
        if !self.touched.contains(&core) {
            self.touched.push(core);
        }
    }

    /// It as it asks for locks.
    pub(crate) fn asker(&self) -> Asker {
        let &Self { id: txn, pid, lock_timeout_ms, deadlock_timeout_ms, .. } = self;
        Asker { txn, pid, lock_timeout_ms, deadlock_timeout_ms }
    }

    /// The catalog as the transaction sees it, if it has changed it.
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        self.catalogs.last().map(|(_, catalog)| catalog)
    }

    /// Records what the current command has made of the catalog.
    pub fn set_catalog(&mut self, catalog: Arc<Catalog>) {
        self.catalogs.push((self.command, catalog));
    }

    /// Whether updates are put off to its end, so that it has to be settled before it observes anything
    /// ([`Engine::settle_additions`](super::Engine::settle_additions)).
    pub fn has_put_off(&self) -> bool {
        !self.put_off_on.is_empty()
    }

    /// Whether it has written, locked or changed anything.
    pub fn has_effects(&self) -> bool {
        !self.touched.is_empty() || !self.created_storages.is_empty() || !self.dropped_storages.is_empty()
    }
}

impl Drop for Txn {
    fn drop(&mut self) {
        if !self.finished {
            crate::shard::transactions::abandon(self);
        }
    }
}
