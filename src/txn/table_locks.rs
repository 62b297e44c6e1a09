//! Table locks in PostgreSQL's eight modes.
//!
//! Reads and writes take weak modes (up to ROW EXCLUSIVE), which never conflict with each other, on their session's own core
//! only; the strong modes of DDL and LOCK TABLE are taken on every core, in core order. So the common case crosses nothing,
//! and the rare one meets every holder wherever it is.
//!
//! One core owns its table of locks; waiting happens outside, on a [`signal`].

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::base::{Oid, TxnId};
use crate::runtime::signal::{Receiver, Sender, signal};
use crate::txn::asker::Asker;
use crate::txn::lock_view::{LockTarget, LockView, Since};
use crate::txn::modes::TableLock;
use crate::txn::row_locks::{Party, WaitEdge, Wake};

impl TableLock {
    /// All modes, weakest first.
    pub const ALL: [TableLock; 8] = [
        TableLock::AccessShare,
        TableLock::RowShare,
        TableLock::RowExclusive,
        TableLock::ShareUpdateExclusive,
        TableLock::Share,
        TableLock::ShareRowExclusive,
        TableLock::Exclusive,
        TableLock::AccessExclusive,
    ];

    /// Whether whoever holds this mode needs not take the other: it keeps out all that the other would. SHARE does not cover ROW
    /// EXCLUSIVE, because two transactions can hold it and only one may then write.
    pub fn covers(self, wanted: TableLock) -> bool {
        Self::ALL.into_iter().all(|mode| conflict(self, mode) || !conflict(wanted, mode))
    }

    /// What PostgreSQL calls the mode in messages and views.
    pub fn name(self) -> &'static str {
        match self {
            TableLock::AccessShare => "AccessShareLock",
            TableLock::RowShare => "RowShareLock",
            TableLock::RowExclusive => "RowExclusiveLock",
            TableLock::ShareUpdateExclusive => "ShareUpdateExclusiveLock",
            TableLock::Share => "ShareLock",
            TableLock::ShareRowExclusive => "ShareRowExclusiveLock",
            TableLock::Exclusive => "ExclusiveLock",
            TableLock::AccessExclusive => "AccessExclusiveLock",
        }
    }

    /// Whether the mode is taken on the session's core only.
    pub fn is_weak(self) -> bool {
        self <= TableLock::RowExclusive
    }
}

/// Whether two modes exclude each other (PostgreSQL 15 documentation, table 13.2).
pub fn conflict(a: TableLock, b: TableLock) -> bool {
    use TableLock::{
        AccessExclusive, AccessShare, Exclusive, RowExclusive, RowShare, Share, ShareRowExclusive, ShareUpdateExclusive,
    };
    let weakest_that_conflicts = |mode| match mode {
        AccessShare => AccessExclusive,
        RowShare => Exclusive,
        RowExclusive => Share,
        ShareUpdateExclusive => ShareUpdateExclusive,
        Share => RowExclusive,
        ShareRowExclusive => RowExclusive,
        Exclusive => RowShare,
        AccessExclusive => AccessShare,
    };
    // SHARE does not exclude itself; all other rows of the table are "everything from here up".
    if a == Share && b == Share {
        return false;
    }
    b >= weakest_that_conflicts(a)
}

#[derive(Debug)]
struct Holder {
    txn: TxnId,
    pid: i32,
    mode: TableLock,
}

#[derive(Debug)]
struct Waiter {
    asker: Asker,
    mode: TableLock,
    since: Since,
    sender: Option<Sender<Wake>>,
}

#[derive(Debug, Default)]
struct Table {
    holders: SmallVec<[Holder; 4]>,
    queue: VecDeque<Waiter>,
}

/// Table locks held and awaited on one core.
#[derive(Debug, Default)]
pub struct TableLocks {
    tables: FxHashMap<Oid, Table>,
}

impl TableLocks {
    /// Takes a lock if nobody is in the way, neither a holder nor, for a new holder, somebody who waits already.
    pub fn try_lock(&mut self, table: Oid, asker: &Asker, mode: TableLock) -> bool {
        let &Asker { txn, pid, .. } = asker;
        let entry = self.tables.entry(table).or_default();
        let mut holds_any = false;
        for holder in &entry.holders {
            if holder.txn == txn {
                if holder.mode.covers(mode) {
                    return true;
                }
                holds_any = true;
            } else if conflict(holder.mode, mode) {
                return false;
            }
        }
        // Only those who were there before are in the way of one who has a place in the queue.
        let mut ahead = entry.queue.iter().take_while(|waiter| waiter.asker.txn != txn);
        if !holds_any && ahead.any(|waiter| conflict(waiter.mode, mode)) {
            return false;
        }
        entry.holders.push(Holder { txn, pid, mode });
        true
    }

    /// Queues for a lock; on [`Wake::Retry`] try again.
    pub fn wait(&mut self, table: Oid, asker: Asker, mode: TableLock) -> Receiver<Wake> {
        let (sender, receiver) = signal();
        let entry = self.tables.entry(table).or_default();
        match entry.queue.iter_mut().find(|waiter| waiter.asker.txn == asker.txn) {
            Some(waiter) => waiter.sender = Some(sender),
            None => entry.queue.push_back(Waiter { asker, mode, since: Since::now(), sender: Some(sender) }),
        }
        receiver
    }

    /// Leaves the queue of a table.
    pub fn leave(&mut self, table: Oid, txn: TxnId) {
        let Some(entry) = self.tables.get_mut(&table) else { return };
        entry.queue.retain(|waiter| waiter.asker.txn != txn);
        self.wake(table);
    }

    /// Releases a transaction's locks on a table.
    pub fn release(&mut self, table: Oid, txn: TxnId) {
        let Some(entry) = self.tables.get_mut(&table) else { return };
        entry.holders.retain(|holder| holder.txn != txn);
        if entry.queue.is_empty() {
            // Tables in use keep their entry: the next statement wants it again.
            if entry.holders.is_empty() && self.tables.len() > 256 {
                self.tables.remove(&table);
            }
            return;
        }
        self.wake(table);
    }

    fn wake(&mut self, table: Oid) {
        let Some(entry) = self.tables.get_mut(&table) else { return };
        for waiter in &mut entry.queue {
            if let Some(sender) = waiter.sender.take() {
                sender.send(Wake::Retry);
            }
        }
    }

    /// Ends every wait of a transaction.
    pub fn abort_waits(&mut self, txn: TxnId, why: Wake) {
        for entry in self.tables.values_mut() {
            for waiter in entry.queue.iter_mut().filter(|waiter| waiter.asker.txn == txn) {
                if let Some(sender) = waiter.sender.take() {
                    sender.send(why);
                }
            }
        }
    }

    /// All that is held or awaited.
    pub fn views(&self) -> Vec<LockView> {
        let mut views = Vec::new();
        for (&table, entry) in &self.tables {
            let target = LockTarget::Relation(table);
            views.extend(entry.holders.iter().map(|held| LockView::held(held.txn, held.pid, target, held.mode)));
            views.extend(entry.queue.iter().map(|w| LockView::awaited(&w.asker, target, w.mode, w.since)));
        }
        views
    }

    /// Who waits for whom.
    pub fn edges(&self) -> Vec<WaitEdge> {
        let mut edges = Vec::new();
        for (&table, entry) in &self.tables {
            for (i, waiter) in entry.queue.iter().enumerate() {
                let held = entry.holders.iter().filter(|held| conflict(held.mode, waiter.mode)).map(|held| held.txn);
                let ahead = entry.queue.iter().take(i).filter(|other| conflict(other.mode, waiter.mode)).map(|w| w.asker.txn);
                edges.extend(held.chain(ahead).filter(|holder| *holder != waiter.asker.txn).flat_map(|holder| {
                    WaitEdge::of(&waiter.asker, Party::Txn(holder), (waiter.mode, LockTarget::Relation(table)))
                }));
            }
        }
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TableLock::{AccessExclusive, AccessShare, RowExclusive, Share, ShareUpdateExclusive};

    #[test]
    fn the_conflict_table_is_postgresqls() {
        // Table 13.2, X where they conflict.
        let expected = [".......X", "......XX", "....XXXX", "...XXXXX", "..XX.XXX", "..XXXXXX", ".XXXXXXX", "XXXXXXXX"];
        for (i, a) in TableLock::ALL.into_iter().enumerate() {
            for (j, b) in TableLock::ALL.into_iter().enumerate() {
                assert_eq!(conflict(a, b), expected[i].as_bytes()[j] == b'X', "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn two_who_share_a_table_cannot_both_write() {
        assert!(!Share.covers(RowExclusive) && AccessExclusive.covers(Share) && ShareUpdateExclusive.covers(RowExclusive));
        let mut locks = TableLocks::default();
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(1)), Share) && locks.try_lock(Oid(1), &Asker::of(TxnId(2)), Share));
        assert!(!locks.try_lock(Oid(1), &Asker::of(TxnId(1)), RowExclusive), "the other one shares it still");
        locks.release(Oid(1), TxnId(2));
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(1)), RowExclusive));
    }

    #[test]
    fn a_strong_request_is_not_starved_by_weak_ones() {
        let mut locks = TableLocks::default();
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(1)), RowExclusive));
        assert!(!locks.try_lock(Oid(1), &Asker::of(TxnId(2)), AccessExclusive));
        let _rx = locks.wait(Oid(1), Asker::of(TxnId(2)), AccessExclusive);
        assert!(!locks.try_lock(Oid(1), &Asker::of(TxnId(3)), AccessShare), "goes behind the waiter");
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(1)), AccessShare), "a holder does not wait behind its own waiter");
        locks.release(Oid(1), TxnId(1));
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(2)), AccessExclusive));
    }

    /// Two who waited for the same lock were each in the other's way once it was free, and waited for ever.
    #[test]
    fn the_first_of_several_who_wait_is_not_held_up_by_those_behind() {
        let mut locks = TableLocks::default();
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(1)), AccessExclusive));
        let _first = locks.wait(Oid(1), Asker::of(TxnId(2)), AccessExclusive);
        let _second = locks.wait(Oid(1), Asker::of(TxnId(3)), AccessExclusive);
        locks.release(Oid(1), TxnId(1));
        assert!(!locks.try_lock(Oid(1), &Asker::of(TxnId(3)), AccessExclusive), "the first in line has not tried yet");
        assert!(locks.try_lock(Oid(1), &Asker::of(TxnId(2)), AccessExclusive));
    }
}
