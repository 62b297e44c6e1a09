//! The locks of all cores, for those who look at them.

use rustc_hash::FxHashMap;

use crate::base::{CoreId, StorageId, TxnId};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::messages::{Reply, Request};
use crate::shard::state::Shard;
use crate::storage::{Head, Key};
use crate::txn::lock_view::{LockTarget, LockView};
use crate::txn::{TableLock, TxnState};

impl Shard {
    /// The transaction whose intent is on a row.
    pub(super) fn intent_holder(&self, storage: StorageId, key: &Key) -> Option<TxnId> {
        let tablet = self.tablet(storage, key)?;
        match tablet.head(key, &self.txns, |slot| self.txns.get(slot).state == TxnState::Aborted) {
            Head::Intent { slot, .. } => Some(self.txns.get(slot).id),
            Head::Absent | Head::Committed(..) => None,
        }
    }
}

impl Engine {
    /// The locks held and awaited on this core. What transactions hold of rows is with the rows, and is not listed; each that has written
    /// or locked any holds itself.
    pub(super) fn locks_here(&self) -> Vec<LockView> {
        let shard = self.0.shard.borrow();
        let mut locks = shard.row_locks.views(|storage, key| shard.intent_holder(storage, key));
        locks.extend(shard.table_locks.views());
        locks.extend(shard.advisory_locks.views());
        let own = |txn| LockView::held(txn, 0, LockTarget::Transaction(txn), TableLock::Exclusive);
        locks.extend(shard.txns.undecided().map(own));
        locks
    }

    /// The locks held and awaited on any core. Cores are asked one by one and go on meanwhile, so it is no snapshot.
    pub async fn locks(&self) -> Vec<LockView> {
        let mut locks = self.locks_here();
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::Locks)));
        }
        for (_, reply) in join_calls(calls).await {
            if let Reply::Locks(there) = reply {
                locks.extend(there);
            }
        }
        // A prepared transaction is nobody's, whoever has prepared it.
        let prepared = self.0.shared.prepared.txns();
        let is_prepared = |lock: &LockView| prepared.iter().any(|(txn, _)| lock.txn == Some(*txn));
        locks.iter_mut().filter(|lock| is_prepared(lock)).for_each(|lock| lock.pid = 0);
        merge(locks)
    }
}

/// What a transaction has on several cores, a strong table lock or itself, is one lock: awaited as long as a part of it is.
fn merge(locks: Vec<LockView>) -> Vec<LockView> {
    // Whoever has written has locked a table, so its session is known by that.
    let known = locks.iter().filter(|lock| lock.pid != 0);
    let pids: FxHashMap<TxnId, i32> = known.filter_map(|lock| Some((lock.txn?, lock.pid))).collect();
    let mut merged: Vec<LockView> = Vec::with_capacity(locks.len());
    let mut places = FxHashMap::default();
    for mut lock in locks {
        if lock.pid == 0 {
            lock.pid = lock.txn.and_then(|txn| pids.get(&txn)).copied().unwrap_or(0);
        }
        let place = *places.entry((lock.txn, lock.pid, lock.target, lock.mode)).or_insert(merged.len());
        match merged.get_mut(place) {
            None => merged.push(lock),
            Some(known) => known.waits_since = known.waits_since.or(lock.waits_since),
        }
    }
    merged.sort_by_key(|lock| (lock.pid, lock.txn, lock.target, lock.mode));
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Oid;

    #[test]
    fn parts_of_a_lock_on_several_cores_are_one() {
        let txn = TxnId(7);
        let table = LockView::held(txn, 3, LockTarget::Relation(Oid(1)), TableLock::AccessExclusive);
        let own = LockView::held(txn, 0, LockTarget::Transaction(txn), TableLock::Exclusive);
        let awaited = LockView { waits_since: Some(5), ..table };
        assert_eq!(merge(vec![own, table, own, awaited, table]), [awaited, LockView { pid: 3, ..own }]);
        assert_eq!(merge(vec![own]), [own], "one that nobody's session has is prepared");
    }
}
