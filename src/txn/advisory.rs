//! Advisory locks: locks on numbers whose meaning only the applications know (PostgreSQL 15 documentation, 13.3.5).
//!
//! One table for all cores, under a mutex: a lock has no owner among the cores, a call touches one entry for well under a
//! microsecond, and a statement that calls none never comes here. A lock is handed over under the mutex, in the order of
//! asking, so nobody is overtaken and nothing is lost between a release and a wake-up.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::base::TxnId;
use crate::txn::row_locks::{WaitEdge, Wake};

/// What is locked: one 64-bit number or two of 32 bits, which never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum AdvisoryKey {
    One(i64),
    Two(i32, i32),
}

/// How it is locked. Exclusive excludes both, of other sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AdvisoryMode {
    Shared,
    Exclusive,
}

impl AdvisoryMode {
    fn conflicts(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }

    /// As `pg_locks` and the warning of an unlock name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shared => "ShareLock",
            Self::Exclusive => "ExclusiveLock",
        }
    }
}

/// Until when it is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdvisoryLevel {
    /// Until it is unlocked as often as it was locked, or the session ends.
    Session,
    /// Until the transaction ends.
    Transaction,
}

/// `None` of [`LockOwner::txn`]; transactions do not get so far.
const NO_TXN: u64 = u64::MAX;

/// Who holds advisory locks: a session, whatever transaction it is in. Known by its address.
#[derive(Debug)]
pub struct LockOwner {
    pid: i32,
    txn: AtomicU64,
}

impl LockOwner {
    /// The transaction that the session is in, under which it waits.
    fn txn(&self) -> Option<TxnId> {
        Some(self.txn.load(Ordering::Acquire)).filter(|txn| *txn != NO_TXN).map(TxnId)
    }
}

/// The advisory locks of one session. They are released when the session and its transaction have dropped this.
#[derive(Debug)]
pub struct SessionLocks {
    locks: Arc<AdvisoryLocks>,
    owner: Arc<LockOwner>,
}

impl SessionLocks {
    /// Of the session with this process id; none yet.
    pub fn new(locks: &Arc<AdvisoryLocks>, pid: i32) -> Self {
        Self { locks: Arc::clone(locks), owner: Arc::new(LockOwner { pid, txn: AtomicU64::new(NO_TXN) }) }
    }

    /// The session's transaction from here on.
    pub fn set_txn(&self, txn: Option<TxnId>) {
        self.owner.txn.store(txn.map_or(NO_TXN, |txn| txn.0), Ordering::Release);
    }

    /// Locks if nobody is in the way, neither a holder nor, for a new holder, somebody who waits already.
    pub fn try_lock(&self, key: AdvisoryKey, mode: AdvisoryMode, level: AdvisoryLevel) -> bool {
        self.locks.state().try_lock(&self.owner, key, mode, level)
    }

    /// Locks; what is returned is to be awaited, unless the lock was free.
    pub fn lock(&self, key: AdvisoryKey, mode: AdvisoryMode, level: AdvisoryLevel) -> Option<PendingLock<'_>> {
        let mut state = self.locks.state();
        if state.try_lock(&self.owner, key, mode, level) {
            return None;
        }
        let ticket = Arc::new(Ticket::default());
        let waiter = Waiter { owner: Arc::clone(&self.owner), mode, level, ticket: Arc::clone(&ticket) };
        state.entries.entry(key).or_default().queue.push_back(waiter);
        Some(PendingLock { session: self, key, mode, level, ticket, taken: false })
    }

    /// Undoes one [`lock`](Self::lock); false if there is none to undo.
    pub fn unlock(&self, key: AdvisoryKey, mode: AdvisoryMode, level: AdvisoryLevel) -> bool {
        self.locks.state().unlock(&self.owner, key, mode, level)
    }

    /// Undoes all of the session's locks that are not its transaction's.
    pub fn unlock_all(&self) {
        self.locks.state().release_all(&self.owner, &[AdvisoryLevel::Session]);
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        self.locks.state().release_all(&self.owner, &[AdvisoryLevel::Session, AdvisoryLevel::Transaction]);
    }
}

/// A place in a lock's queue, given up (and the lock with it, if it has come meanwhile) when this is dropped before its end.
pub struct PendingLock<'a> {
    session: &'a SessionLocks,
    key: AdvisoryKey,
    mode: AdvisoryMode,
    level: AdvisoryLevel,
    ticket: Arc<Ticket>,
    taken: bool,
}

impl Future for PendingLock<'_> {
    type Output = Wake;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Wake> {
        self.ticket.waker.register(cx.waker());
        if !self.ticket.granted.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.taken = true;
        Poll::Ready(Wake::Retry)
    }
}

impl Drop for PendingLock<'_> {
    fn drop(&mut self) {
        if self.taken {
            return;
        }
        let mut state = self.session.locks.state();
        if self.ticket.granted.load(Ordering::Acquire) {
            state.unlock(&self.session.owner, self.key, self.mode, self.level);
        } else if let Some(entry) = state.entries.get_mut(&self.key) {
            entry.queue.retain(|waiter| !Arc::ptr_eq(&waiter.ticket, &self.ticket));
            state.hand_over(self.key);
        }
    }
}

#[derive(Debug, Default)]
struct Ticket {
    granted: AtomicBool,
    waker: AtomicWaker,
}

#[derive(Debug)]
struct Holder {
    owner: Arc<LockOwner>,
    mode: AdvisoryMode,
    /// How often it was locked for the session, and for its transaction.
    session: u32,
    transaction: u32,
}

impl Holder {
    fn count(&mut self, level: AdvisoryLevel) -> &mut u32 {
        match level {
            AdvisoryLevel::Session => &mut self.session,
            AdvisoryLevel::Transaction => &mut self.transaction,
        }
    }
}

#[derive(Debug)]
struct Waiter {
    owner: Arc<LockOwner>,
    mode: AdvisoryMode,
    level: AdvisoryLevel,
    ticket: Arc<Ticket>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: SmallVec<[Holder; 1]>,
    queue: VecDeque<Waiter>,
}

impl Entry {
    /// Whether the lock may be had by somebody with `ahead` waiters before it.
    fn admits(&self, owner: &Arc<LockOwner>, mode: AdvisoryMode, ahead: usize) -> bool {
        let of_others = |other: &Arc<LockOwner>| !Arc::ptr_eq(other, owner);
        if self.holders.iter().any(|holder| of_others(&holder.owner) && holder.mode.conflicts(mode)) {
            return false;
        }
        // A holder that wants more does not wait behind those who wait for it.
        self.holders.iter().any(|holder| !of_others(&holder.owner))
            || !self.queue.iter().take(ahead).any(|waiter| of_others(&waiter.owner) && waiter.mode.conflicts(mode))
    }

    fn hold(&mut self, owner: &Arc<LockOwner>, mode: AdvisoryMode, level: AdvisoryLevel) {
        let held = self.holders.iter().position(|holder| Arc::ptr_eq(&holder.owner, owner) && holder.mode == mode);
        let held = held.unwrap_or_else(|| {
            self.holders.push(Holder { owner: Arc::clone(owner), mode, session: 0, transaction: 0 });
            self.holders.len() - 1
        });
        *self.holders[held].count(level) += 1;
    }
}

#[derive(Debug, Default)]
struct State {
    entries: FxHashMap<AdvisoryKey, Entry>,
    /// What each owner holds, by its address.
    held: FxHashMap<usize, FxHashSet<AdvisoryKey>>,
}

fn address(owner: &Arc<LockOwner>) -> usize {
    Arc::as_ptr(owner).addr()
}

impl State {
    fn try_lock(&mut self, owner: &Arc<LockOwner>, key: AdvisoryKey, mode: AdvisoryMode, level: AdvisoryLevel) -> bool {
        let entry = self.entries.entry(key).or_default();
        let admitted = entry.admits(owner, mode, usize::MAX);
        if admitted {
            entry.hold(owner, mode, level);
            self.held.entry(address(owner)).or_default().insert(key);
        }
        admitted
    }

    fn unlock(&mut self, owner: &Arc<LockOwner>, key: AdvisoryKey, mode: AdvisoryMode, level: AdvisoryLevel) -> bool {
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let held = entry.holders.iter_mut().find(|holder| Arc::ptr_eq(&holder.owner, owner) && holder.mode == mode);
        let Some(count) = held.map(|holder| holder.count(level)).filter(|count| **count > 0) else { return false };
        *count -= 1;
        self.forget_released(owner, key);
        true
    }

    fn release_all(&mut self, owner: &Arc<LockOwner>, levels: &[AdvisoryLevel]) {
        let keys: Vec<AdvisoryKey> = self.held.get(&address(owner)).into_iter().flatten().copied().collect();
        for key in keys {
            let entry = self.entries.get_mut(&key).expect("what is held has an entry");
            for holder in entry.holders.iter_mut().filter(|holder| Arc::ptr_eq(&holder.owner, owner)) {
                levels.iter().for_each(|level| *holder.count(*level) = 0);
            }
            self.forget_released(owner, key);
        }
    }

    /// After counts of the owner have been lowered.
    fn forget_released(&mut self, owner: &Arc<LockOwner>, key: AdvisoryKey) {
        let entry = self.entries.get_mut(&key).expect("what was held has an entry");
        entry.holders.retain(|holder| holder.session > 0 || holder.transaction > 0);
        if !entry.holders.iter().any(|holder| Arc::ptr_eq(&holder.owner, owner))
            && let Some(keys) = self.held.get_mut(&address(owner))
        {
            keys.remove(&key);
            if keys.is_empty() {
                self.held.remove(&address(owner));
            }
        }
        self.hand_over(key);
    }

    /// Gives a lock to the waiters that may have it now.
    fn hand_over(&mut self, key: AdvisoryKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let mut place = 0;
        while let Some(waiter) = entry.queue.get(place) {
            if !entry.admits(&waiter.owner, waiter.mode, place) {
                place += 1;
                continue;
            }
            let waiter = entry.queue.remove(place).expect("it was just looked at");
            entry.hold(&waiter.owner, waiter.mode, waiter.level);
            self.held.entry(address(&waiter.owner)).or_default().insert(key);
            waiter.ticket.granted.store(true, Ordering::Release);
            waiter.ticket.waker.wake();
        }
        if entry.holders.is_empty() && entry.queue.is_empty() {
            self.entries.remove(&key);
        }
    }
}

/// A lock held or awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvisoryRow {
    /// What.
    pub key: AdvisoryKey,
    /// How.
    pub mode: AdvisoryMode,
    /// By which session.
    pub pid: i32,
    /// Held, or awaited.
    pub granted: bool,
}

/// All advisory locks of a server.
#[derive(Debug, Default)]
pub struct AdvisoryLocks {
    state: Mutex<State>,
}

impl AdvisoryLocks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who waits for whom.
    pub fn edges(&self) -> Vec<WaitEdge> {
        let state = self.state();
        let mut edges = Vec::new();
        for entry in state.entries.values() {
            for (place, waiter) in entry.queue.iter().enumerate() {
                let Some(waiting) = waiter.owner.txn() else { continue };
                let in_the_way = |owner: &Arc<LockOwner>, mode: AdvisoryMode| {
                    (!Arc::ptr_eq(owner, &waiter.owner) && mode.conflicts(waiter.mode)).then(|| owner.txn()).flatten()
                };
                let held = entry.holders.iter().filter_map(|holder| in_the_way(&holder.owner, holder.mode));
                let ahead = entry.queue.iter().take(place).filter_map(|other| in_the_way(&other.owner, other.mode));
                edges.extend(held.chain(ahead).map(|holder| WaitEdge { waiter: waiting, holder }));
            }
        }
        edges
    }

    /// All of them, in order of their keys.
    pub fn list(&self) -> Vec<AdvisoryRow> {
        let state = self.state();
        let mut rows = Vec::new();
        for (&key, entry) in &state.entries {
            let row = |owner: &Arc<LockOwner>, mode, granted| AdvisoryRow { key, mode, pid: owner.pid, granted };
            rows.extend(entry.holders.iter().map(|holder| row(&holder.owner, holder.mode, true)));
            rows.extend(entry.queue.iter().map(|waiter| row(&waiter.owner, waiter.mode, false)));
        }
        rows.sort_by_key(|row| (row.key, !row.granted, row.pid));
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::AdvisoryLevel::{Session, Transaction};
    use super::AdvisoryMode::{Exclusive, Shared};
    use super::*;

    const KEY: AdvisoryKey = AdvisoryKey::One(1);

    fn sessions<const N: usize>() -> (Arc<AdvisoryLocks>, [SessionLocks; N]) {
        let locks = Arc::new(AdvisoryLocks::default());
        let sessions = std::array::from_fn(|i| {
            let session = SessionLocks::new(&locks, i as i32);
            session.set_txn(Some(TxnId(i as u64)));
            session
        });
        (locks, sessions)
    }

    fn granted(pending: &Option<PendingLock<'_>>) -> bool {
        pending.as_ref().is_none_or(|pending| pending.ticket.granted.load(Ordering::Acquire))
    }

    #[test]
    fn locks_count_and_both_levels_are_one_session() {
        let (locks, [a, b]) = sessions();
        assert!(a.try_lock(KEY, Exclusive, Session) && a.try_lock(KEY, Exclusive, Session));
        assert!(a.try_lock(KEY, Shared, Transaction), "a session is not in its own way");
        assert!(!b.try_lock(KEY, Shared, Session));
        assert!(b.try_lock(AdvisoryKey::Two(0, 1), Exclusive, Session), "the two kinds of keys never meet");
        assert!(!b.unlock(KEY, Exclusive, Session) && !a.unlock(KEY, Shared, Session), "neither holds that");
        assert!(a.unlock(KEY, Exclusive, Session) && !b.try_lock(KEY, Shared, Session), "locked twice");
        assert!(a.unlock(KEY, Exclusive, Session) && b.try_lock(KEY, Shared, Session), "both share it now");
        assert!(!b.try_lock(KEY, Exclusive, Session));
        assert!(a.unlock(KEY, Shared, Transaction) && b.try_lock(KEY, Exclusive, Session));
        assert_eq!(locks.list().len(), 3);
        drop((a, b));
        assert!(locks.list().is_empty() && locks.state().held.is_empty(), "what ends leaves nothing");
    }

    #[test]
    fn waiters_get_it_in_order_and_give_it_back() {
        let (locks, [a, b, c, d]) = sessions();
        assert!(a.lock(KEY, Shared, Session).is_none());
        let second = b.lock(KEY, Exclusive, Transaction);
        let third = c.lock(KEY, Shared, Session);
        let fourth = d.lock(KEY, Shared, Session);
        assert!(!granted(&second) && !granted(&third), "a sharer does not overtake who waits to be alone");
        let edge = |waiter, holder| WaitEdge { waiter: TxnId(waiter), holder: TxnId(holder) };
        assert_eq!(locks.edges(), [edge(1, 0), edge(2, 1), edge(3, 1)]);
        a.unlock_all();
        assert!(granted(&second) && !granted(&third));
        // It came, but nobody looks any more.
        drop(second);
        assert!(granted(&third) && granted(&fourth), "all who can share it get it at once");
        drop((third, fourth));
        assert!(locks.list().is_empty());
    }

    #[test]
    fn who_gives_up_lets_those_behind_pass() {
        let (_, [a, b, c]) = sessions();
        assert!(a.lock(KEY, Shared, Session).is_none());
        let alone = b.lock(KEY, Exclusive, Session);
        let behind = c.lock(KEY, Shared, Session);
        assert!(!granted(&behind));
        drop(alone);
        assert!(granted(&behind));
        drop(behind);
        // A holder that wants more goes before those that wait for it.
        let other = b.lock(KEY, Exclusive, Session);
        assert!(a.lock(KEY, Exclusive, Session).is_none());
        assert!(!granted(&other));
    }
}
