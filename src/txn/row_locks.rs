//! Explicit row locks and the queues of those who wait for a row.
//!
//! An intent is a lock by itself (NO KEY UPDATE, or UPDATE for a deletion); this table holds only what SELECT … FOR … takes,
//! and, for a row that somebody waits for, its queue. Both are rare, so the table is usually empty and costs one check.
//!
//! Queues are fair: whoever asks for a row that others already wait for goes behind them, and a freed row is offered to the
//! first of the queue, which keeps its place until it has tried.
//!
//! One core owns the table; waiting happens outside, on a [`signal`].

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::base::{StorageId, TxnId};
use crate::runtime::signal::{Receiver, Sender, signal};
use crate::storage::Key;
use crate::txn::asker::Asker;
use crate::txn::lock_view::{LockTarget, LockView, Since};
use crate::txn::modes::{LockStrength, TableLock};

/// Whether two row locks exclude each other (PostgreSQL 15 documentation, table 13.3).
pub fn conflict(a: LockStrength, b: LockStrength) -> bool {
    use LockStrength::{Add, KeyShare, NoKeyUpdate, Share, Update};
    match (a, b) {
        (KeyShare, other) | (other, KeyShare) => other == Update,
        (Share, other) | (other, Share) => other >= Add,
        (Add, Add) => false,
        (Add | NoKeyUpdate | Update, Add | NoKeyUpdate | Update) => true,
    }
}

/// The mode in which the next for a row holds its place (heapam.c, `tupleLockExtraInfo`).
fn place_mode(strength: LockStrength) -> TableLock {
    match strength {
        LockStrength::KeyShare => TableLock::AccessShare,
        LockStrength::Share => TableLock::RowShare,
        LockStrength::Add | LockStrength::NoKeyUpdate => TableLock::Exclusive,
        LockStrength::Update => TableLock::AccessExclusive,
    }
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The row may be free: try again.
    Retry,
    /// The lock is had: whoever gave it back has handed it on.
    Granted,
    /// The waiting transaction was aborted from outside.
    Aborted,
}

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(u64);

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    asker: Asker,
    strength: LockStrength,
    /// It has the row already, by a lock or an intent, and wants more of it.
    has_row: bool,
    since: Since,
    /// `None` once woken.
    sender: Option<Sender<Wake>>,
}

#[derive(Debug)]
struct Holder {
    slot: u32,
    txn: TxnId,
    strength: LockStrength,
    command: u32,
}

#[derive(Debug, Default)]
struct Row {
    holders: SmallVec<[Holder; 1]>,
    queue: VecDeque<Waiter>,
}

impl Row {
    fn is_held_by(&self, txn: TxnId) -> bool {
        self.holders.iter().any(|holder| holder.txn == txn)
    }

    /// The locks that are in the way of a request at a place in the queue.
    ///
    /// Of several who add to the row and now want it for themselves, each waits for the others' ends, but for those who have asked
    /// later: they get no further before it has, and have not looked at the row. One that waits to commit is no such: it may hold
    /// visibility back meanwhile, so nobody may go ahead of it who does not commit.
    fn in_the_way(&self, txn: TxnId, strength: LockStrength, place: usize) -> impl Iterator<Item = &Holder> {
        let asks_later = move |holder: &Holder| {
            holder.strength == LockStrength::Add
                && self
                    .queue
                    .iter()
                    .skip(place + 1)
                    .any(|waiter| waiter.asker.txn == holder.txn && waiter.strength > LockStrength::Add)
        };
        let others = self.holders.iter().filter(move |holder| holder.txn != txn && conflict(holder.strength, strength));
        others.filter(move |holder| !asks_later(holder))
    }
}

/// Locks and queues of one core's rows.
#[derive(Debug, Default)]
pub struct RowLocks {
    rows: FxHashMap<(StorageId, Key), Row>,
    next_ticket: u64,
    waiting: usize,
}

/// Who waits or is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Party {
    /// A transaction.
    Txn(TxnId),
    /// A session, by its process id: what it holds outlives its transactions, and it can give it back only when the one it is in
    /// goes on.
    Session(i32),
}

/// Somebody waits for somebody: an edge of the wait-for graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WaitEdge {
    /// Who waits.
    pub waiter: Party,
    /// For whom.
    pub holder: Party,
    /// For what, and how.
    pub wanted: (TableLock, LockTarget),
    /// After how many milliseconds of waiting the waiter looks for a deadlock.
    pub deadlock_timeout_ms: u32,
}

impl WaitEdge {
    /// The edges there are because a transaction waits for somebody: its session waits with it.
    pub fn of(waiter: &Asker, holder: Party, wanted: (TableLock, LockTarget)) -> impl Iterator<Item = WaitEdge> + use<> {
        let edge = WaitEdge { waiter: Party::Txn(waiter.txn), holder, wanted, deadlock_timeout_ms: waiter.deadlock_timeout_ms };
        let session = (waiter.pid != 0).then_some(Party::Session(waiter.pid));
        std::iter::once(edge).chain(session.map(|session| WaitEdge { waiter: session, holder: edge.waiter, ..edge }))
    }
}

impl RowLocks {
    /// Whether no row is locked or waited for.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Whether a request must wait: another transaction holds a conflicting lock, or others have been waiting with
    /// conflicting requests before (`ticket` is the request's own place, if it has one). `has_intent` says whether the transaction's own
    /// intent is on the row, and is asked only if that decides.
    pub fn must_wait(
        &self,
        storage: StorageId,
        key: &Key,
        txn: TxnId,
        strength: LockStrength,
        ticket: Option<Ticket>,
        has_intent: impl FnOnce() -> bool,
    ) -> bool {
        if self.rows.is_empty() {
            return false;
        }
        let Some(row) = self.rows.get(&(storage, key.clone())) else { return false };
        let place = row.queue.iter().position(|waiter| Some(waiter.ticket) == ticket).unwrap_or(row.queue.len());
        if row.in_the_way(txn, strength, place).next().is_some() {
            return true;
        }
        // Whoever holds the row already may take more of it ahead of the queue; else it would wait for itself.
        row.queue.iter().take(place).any(|waiter| waiter.asker.txn != txn && conflict(waiter.strength, strength))
            && !row.is_held_by(txn)
            && !has_intent()
    }

    /// How many add to a row, or wait for that; `ticket` is the asker's own place, which does not count.
    pub fn adders(&self, storage: StorageId, key: &Key, ticket: Option<Ticket>) -> usize {
        let Some(row) = self.rows.get(&(storage, key.clone())) else { return 0 };
        let holders = row.holders.iter().filter(|holder| holder.strength == LockStrength::Add).count();
        holders + row.queue.iter().filter(|waiter| waiter.strength == LockStrength::Add && Some(waiter.ticket) != ticket).count()
    }

    /// Takes a place in the row's queue, or, with a ticket, keeps it and waits on.
    pub fn wait(
        &mut self,
        storage: StorageId,
        key: &Key,
        asker: Asker,
        strength: LockStrength,
        ticket: Option<Ticket>,
        has_intent: bool,
    ) -> (Ticket, Receiver<Wake>) {
        let (sender, receiver) = signal();
        let row = self.rows.entry((storage, key.clone())).or_default();
        if let Some(waiter) = ticket.and_then(|ticket| row.queue.iter_mut().find(|waiter| waiter.ticket == ticket)) {
            waiter.sender = Some(sender);
            waiter.strength = strength;
            return (waiter.ticket, receiver);
        }
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if row.holders.iter().any(|holder| holder.txn == asker.txn && holder.strength == LockStrength::Add) {
            // It is no longer in the way of those who have asked before.
            wake(row.queue.iter_mut(), Wake::Retry);
        }
        let has_row = has_intent || row.is_held_by(asker.txn);
        row.queue.push_back(Waiter { ticket, asker, strength, has_row, since: Since::now(), sender: Some(sender) });
        self.waiting += 1;
        (ticket, receiver)
    }

    /// Gives a place up: the request succeeded, failed or went away. The next in line is woken, as the row may be free for it.
    pub fn leave(&mut self, storage: StorageId, key: &Key, ticket: Ticket) {
        let place = (storage, key.clone());
        let Some(row) = self.rows.get_mut(&place) else { return };
        let before = row.queue.len();
        row.queue.retain(|waiter| waiter.ticket != ticket);
        self.waiting -= before - row.queue.len();
        self.wake_first(&place);
    }

    /// Records a lock.
    pub fn grant(&mut self, storage: StorageId, key: &Key, holder: (u32, TxnId), strength: LockStrength, command: u32) {
        let row = self.rows.entry((storage, key.clone())).or_default();
        let (slot, txn) = holder;
        if let Some(own) = row.holders.iter_mut().find(|held| held.slot == slot && held.strength >= strength) {
            debug_assert_eq!(own.txn, txn);
            return;
        }
        row.holders.push(Holder { slot, txn, strength, command });
    }

    /// The strongest lock of a transaction on a row.
    pub fn held(&self, storage: StorageId, key: &Key, slot: u32) -> Option<LockStrength> {
        let row = self.rows.get(&(storage, key.clone()))?;
        row.holders.iter().filter(|holder| holder.slot == slot).map(|holder| holder.strength).max()
    }

    /// Releases a transaction's locks on a row taken by commands from `from_command` on, and wakes the first who waits. Whether
    /// there was one that is no update's.
    pub fn release(&mut self, storage: StorageId, key: &Key, slot: u32, from_command: u32) -> bool {
        let place = (storage, key.clone());
        let Some(row) = self.rows.get_mut(&place) else { return false };
        let mut explicit = false;
        row.holders.retain(|holder| {
            let released = holder.slot == slot && holder.command >= from_command;
            explicit |= released && holder.strength != LockStrength::Add;
            !released
        });
        self.wake_first(&place);
        explicit
    }

    /// Releases a transaction's lock as one of those who add to a row, and wakes the first who waits.
    pub fn release_adder(&mut self, storage: StorageId, key: &Key, slot: u32) {
        let place = (storage, key.clone());
        let Some(row) = self.rows.get_mut(&place) else { return };
        row.holders.retain(|holder| holder.slot != slot || holder.strength != LockStrength::Add);
        self.wake_first(&place);
    }

    /// A row's intent is gone: wakes the first who waits.
    pub fn freed(&mut self, storage: StorageId, key: &Key) {
        if !self.rows.is_empty() {
            self.wake_first(&(storage, key.clone()));
        }
    }

    /// Wakes the first of every queue: after a decision about more rows than there are queues.
    pub fn all_freed(&mut self) {
        let places: Vec<_> = self.rows.keys().cloned().collect();
        for place in places {
            self.wake_first(&place);
        }
    }

    /// Wakes the first of the queue and, as long as they do not exclude each other, those behind it.
    fn wake_first(&mut self, place: &(StorageId, Key)) {
        let Some(row) = self.rows.get_mut(place) else { return };
        // Those who have the row go ahead of the queue.
        wake(row.queue.iter_mut().filter(|waiter| waiter.has_row), Wake::Retry);
        let mut strongest: Option<LockStrength> = None;
        for waiter in &mut row.queue {
            if strongest.is_some_and(|ahead| conflict(ahead, waiter.strength)) {
                break;
            }
            strongest = strongest.max(Some(waiter.strength));
            wake(std::iter::once(waiter), Wake::Retry);
        }
        if row.queue.is_empty() && row.holders.is_empty() {
            self.rows.remove(place);
        }
    }

    /// Ends every wait of a transaction.
    pub fn abort_waits(&mut self, txn: TxnId, why: Wake) {
        if self.waiting == 0 {
            return;
        }
        for row in self.rows.values_mut() {
            wake(row.queue.iter_mut().filter(|waiter| waiter.asker.txn == txn), why);
        }
    }

    /// Who waits for whom: each waiter for the conflicting holders and for the conflicting waiters ahead of it.
    /// `intent_holder` names the transaction whose intent is on a row.
    pub fn edges(&self, intent_holder: impl Fn(StorageId, &Key) -> Option<TxnId>) -> Vec<WaitEdge> {
        let mut edges = Vec::new();
        for ((storage, key), row) in &self.rows {
            let writer = if row.queue.is_empty() { None } else { intent_holder(*storage, key) };
            for (i, waiter) in row.queue.iter().enumerate() {
                let holders = row.in_the_way(waiter.asker.txn, waiter.strength, i).map(|held| held.txn);
                let ahead = row.queue.iter().take(if waiter.has_row { 0 } else { i });
                let ahead = ahead.filter(|other| conflict(other.strength, waiter.strength)).map(|w| w.asker.txn);
                let place = (place_mode(waiter.strength), LockTarget::Row(*storage));
                let ends = holders.chain(writer).map(|txn| (txn, (TableLock::Share, LockTarget::Transaction(txn))));
                for (holder, wanted) in ends.chain(ahead.map(|txn| (txn, place))) {
                    if holder != waiter.asker.txn {
                        edges.extend(WaitEdge::of(&waiter.asker, Party::Txn(holder), wanted));
                    }
                }
            }
        }
        edges
    }

    /// The waits, as PostgreSQL shows them: the next for a row holds its place there (a tuple lock) and waits for the end of the
    /// transaction that is in the way; the others wait for that place.
    pub fn views(&self, intent_holder: impl Fn(StorageId, &Key) -> Option<TxnId>) -> Vec<LockView> {
        let mut views = Vec::new();
        for ((storage, key), row) in &self.rows {
            let writer = if row.queue.is_empty() { None } else { intent_holder(*storage, key) };
            let target = LockTarget::Row(*storage);
            for (i, waiter) in row.queue.iter().enumerate() {
                let Waiter { asker, strength, since, .. } = waiter;
                if row.queue.iter().take(i).any(|other| conflict(other.strength, *strength)) {
                    views.push(LockView::awaited(asker, target, place_mode(*strength), *since));
                    continue;
                }
                views.push(LockView::held(asker.txn, asker.pid, target, place_mode(*strength)));
                let held = row.holders.iter().filter(|held| held.txn != asker.txn && conflict(held.strength, *strength));
                if let Some(holder) = writer.or(held.map(|held| held.txn).next()) {
                    views.push(LockView::awaited(asker, LockTarget::Transaction(holder), TableLock::Share, *since));
                }
            }
        }
        views
    }

    /// Whether any row of a storage's range is locked or waited for.
    pub fn any_in(&self, storage: StorageId, covers: impl Fn(&Key) -> bool) -> bool {
        self.rows.keys().any(|(other, key)| *other == storage && covers(key))
    }

    /// Locked or waited-for rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// Tells those who wait and were not told yet.
fn wake<'w>(waiters: impl Iterator<Item = &'w mut Waiter>, why: Wake) {
    for sender in waiters.filter_map(|waiter| waiter.sender.take()) {
        sender.send(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: StorageId = StorageId(7);

    #[test]
    fn the_conflict_table_is_postgresqls() {
        use LockStrength::{Add, KeyShare, NoKeyUpdate, Share, Update};
        let all = [KeyShare, Share, NoKeyUpdate, Update];
        let expected =
            [[false, false, false, true], [false, false, true, true], [false, true, true, true], [true, true, true, true]];
        for other in all {
            assert_eq!(conflict(Add, other), conflict(NoKeyUpdate, other), "to others, who adds is one who updates");
        }
        assert!(!conflict(Add, Add));
        for (i, a) in all.into_iter().enumerate() {
            for (j, b) in all.into_iter().enumerate() {
                assert_eq!(conflict(a, b), expected[i][j], "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn queues_are_fair_and_a_place_is_kept_until_tried() {
        let mut locks = RowLocks::default();
        let key = Key::Int(1);
        let (holder, first, second) = (TxnId(1), TxnId(2), TxnId(3));
        locks.grant(S, &key, (0, holder), LockStrength::Update, 0);
        assert!(locks.must_wait(S, &key, first, LockStrength::Update, None, || false));
        let (ticket, _rx) = locks.wait(S, &key, Asker::of(first), LockStrength::Update, None, false);
        locks.release(S, &key, 0, 0);
        assert!(locks.must_wait(S, &key, second, LockStrength::Update, None, || false), "the first in line has not tried yet");
        assert!(!locks.must_wait(S, &key, first, LockStrength::Update, Some(ticket), || false));
        locks.leave(S, &key, ticket);
        assert!(!locks.must_wait(S, &key, second, LockStrength::Update, None, || false));
        assert!(locks.is_empty() && locks.waiting() == 0);
    }

    #[test]
    fn edges_name_holders_writers_and_those_ahead() {
        let mut locks = RowLocks::default();
        let key = Key::Int(1);
        let _a = locks.wait(S, &key, Asker::of(TxnId(2)), LockStrength::Update, None, false);
        let _b = locks.wait(S, &key, Asker::of(TxnId(3)), LockStrength::Update, None, false);
        let mut edges = locks.edges(|_, _| Some(TxnId(1)));
        edges.sort_by_key(|edge| (edge.waiter, edge.holder));
        let pairs: Vec<_> = edges.iter().map(|edge| (edge.waiter, edge.holder)).collect();
        let txn = |number| Party::Txn(TxnId(number));
        assert_eq!(pairs, [(txn(2), txn(1)), (txn(3), txn(1)), (txn(3), txn(2))]);
        let views: Vec<_> =
            locks.views(|_, _| Some(TxnId(1))).iter().map(|view| (view.txn, view.target, view.waits_since.is_none())).collect();
        let (first, second, row) = (Some(TxnId(2)), Some(TxnId(3)), LockTarget::Row(S));
        assert_eq!(views, [(first, row, true), (first, LockTarget::Transaction(TxnId(1)), false), (second, row, false)]);
    }
}
