//! Advisory locks: locks on numbers that mean something to the clients only.
//!
//! They belong to sessions, which may take a lock several times, shared and exclusively, for the session or for its
//! transaction: each time counts, and each is given back on its own. A lock is free for others once all are.
//!
//! Queues are fair. Whoever gives a lock back grants it to those who are next in line, so a waiter that is woken has the lock.
//!
//! One core owns the table; a key's core follows from its hash. Waiting happens outside, on a [`signal`].
//!
//! Source: PostgreSQL 15 documentation, 13.3.5 "Advisory Locks" and 9.27.10 "Advisory Lock Functions".

use std::collections::VecDeque;
use std::hash::{BuildHasher, BuildHasherDefault};

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::base::CoreId;
use crate::runtime::signal::{Receiver, Sender, signal};
use crate::txn::asker::Asker;
use crate::txn::lock_view::{LockTarget, LockView, Since};
use crate::txn::modes::TableLock;
use crate::txn::row_locks::{Party, WaitEdge, Wake};
use crate::txn::table_locks::conflict;

/// What is locked. The two forms never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AdvisoryKey {
    /// One 64-bit number.
    Big(i64),
    /// Two 32-bit numbers.
    Pair(i32, i32),
}

impl AdvisoryKey {
    /// As PostgreSQL shows it: class, object, and which form it has.
    pub fn parts(self) -> (u32, u32, i16) {
        match self {
            AdvisoryKey::Big(key) => ((key >> 32) as u32, key as u32, 1),
            AdvisoryKey::Pair(class, object) => (class.cast_unsigned(), object.cast_unsigned(), 2),
        }
    }

    /// The core that has the key's lock.
    pub fn owner(self, cores: usize) -> CoreId {
        let hash = BuildHasherDefault::<FxHasher>::default().hash_one(self);
        // The high bits are the well mixed ones.
        CoreId(((hash >> 32) as usize % cores) as u16)
    }
}

/// A lock to be taken or given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AdvisoryLock {
    /// What.
    pub key: AdvisoryKey,
    /// Shared instead of exclusive.
    pub shared: bool,
    /// Until the transaction ends, instead of the session.
    pub transaction: bool,
}

impl AdvisoryLock {
    /// The mode, as PostgreSQL names those of tables.
    pub fn mode(&self) -> TableLock {
        if self.shared { TableLock::Share } else { TableLock::Exclusive }
    }

    fn count(&self) -> usize {
        usize::from(self.shared) * 2 + usize::from(self.transaction)
    }
}

/// A lock that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdvisoryRequest {
    /// By whom.
    pub asker: Asker,
    /// Which.
    pub lock: AdvisoryLock,
    /// Whether to wait for it.
    pub block: bool,
    /// The request's number among its session's.
    pub number: u64,
}

/// One session's hold on a key: how often it has it, by [`AdvisoryLock::count`].
#[derive(Debug)]
struct Holder {
    asker: Asker,
    counts: [u32; 4],
}

impl Holder {
    fn has(&self, mode: TableLock) -> bool {
        self.counts[if mode == TableLock::Share { 2 } else { 0 }] > 0 || self.has_for_transaction(mode)
    }

    fn has_for_transaction(&self, mode: TableLock) -> bool {
        self.counts[if mode == TableLock::Share { 3 } else { 1 }] > 0
    }

    fn modes(&self) -> impl Iterator<Item = TableLock> {
        [TableLock::Share, TableLock::Exclusive].into_iter().filter(|mode| self.has(*mode))
    }

    fn is_in_the_way_of(&self, asker: &Asker, mode: TableLock) -> bool {
        self.asker.pid != asker.pid && self.modes().any(|held| conflict(held, mode))
    }
}

#[derive(Debug)]
struct Waiter {
    asker: Asker,
    lock: AdvisoryLock,
    number: u64,
    since: Since,
    sender: Sender<Wake>,
}

#[derive(Debug, Default)]
struct Entry {
    holders: SmallVec<[Holder; 1]>,
    queue: VecDeque<Waiter>,
}

impl Entry {
    fn is_held_against(&self, asker: &Asker, mode: TableLock) -> bool {
        self.holders.iter().any(|holder| holder.is_in_the_way_of(asker, mode))
    }

    fn grant(&mut self, asker: Asker, lock: &AdvisoryLock) {
        let holder = match self.holders.iter_mut().position(|holder| holder.asker.pid == asker.pid) {
            Some(at) => &mut self.holders[at],
            None => {
                self.holders.push(Holder { asker, counts: [0; 4] });
                self.holders.last_mut().expect("it was just pushed")
            }
        };
        // Its transaction of now: that of an earlier time has nothing any more.
        holder.asker = asker;
        let count = &mut holder.counts[lock.count()];
        *count = count.checked_add(1).expect("a lock is taken fewer than 2^32 times");
    }

    /// Grants the lock to those next in line, up to the first who still has to wait.
    fn grant_next(&mut self) {
        while let Some(next) = self.queue.front() {
            if self.is_held_against(&next.asker, next.lock.mode()) {
                break;
            }
            let Waiter { asker, lock, sender, .. } = self.queue.pop_front().expect("there is a first one");
            self.grant(asker, &lock);
            sender.send(Wake::Granted);
        }
    }
}

/// Advisory locks held and awaited on one core.
#[derive(Debug, Default)]
pub struct AdvisoryLocks {
    entries: FxHashMap<AdvisoryKey, Entry>,
}

impl AdvisoryLocks {
    /// Takes a lock if nobody is in the way: no other holder and, unless this session has a hold on it already (those who wait then wait
    /// for it), nobody who waits.
    pub fn try_lock(&mut self, request: &AdvisoryRequest) -> bool {
        let AdvisoryRequest { asker, lock, .. } = request;
        let entry = self.entries.entry(lock.key).or_default();
        let mode = lock.mode();
        let holds = entry.holders.iter().any(|holder| holder.asker.pid == asker.pid);
        if entry.is_held_against(asker, mode) || (!holds && entry.queue.iter().any(|waiter| conflict(waiter.lock.mode(), mode))) {
            return false;
        }
        entry.grant(*asker, lock);
        true
    }

    /// Queues for a lock that [`Self::try_lock`] has refused; [`Wake::Granted`] when it is had.
    pub fn wait(&mut self, request: &AdvisoryRequest) -> Receiver<Wake> {
        let &AdvisoryRequest { asker, lock, number, .. } = request;
        let (sender, receiver) = signal();
        let entry = self.entries.entry(lock.key).or_default();
        let waiter = Waiter { asker, lock, number, since: Since::now(), sender };
        // Who has a hold on it already goes ahead of those who wait for that: else they would wait for each other.
        let holder = entry.holders.iter().find(|holder| holder.asker.pid == asker.pid);
        let before = holder
            .and_then(|own| entry.queue.iter().position(|waiter| own.modes().any(|held| conflict(held, waiter.lock.mode()))));
        entry.queue.insert(before.unwrap_or(entry.queue.len()), waiter);
        receiver
    }

    /// Leaves the queue; `false` if the request is not in it, as it was granted or turned away meanwhile.
    pub fn leave(&mut self, request: &AdvisoryRequest) -> bool {
        let key = request.lock.key;
        let Some(entry) = self.entries.get_mut(&key) else { return false };
        let own = |waiter: &Waiter| waiter.asker.pid == request.asker.pid && waiter.number == request.number;
        let Some(left) = entry.queue.iter().position(own).and_then(|at| entry.queue.remove(at)) else { return false };
        left.sender.send(Wake::Aborted);
        self.settle(key);
        true
    }

    /// Gives a lock back once; `false` if the session does not have it.
    pub fn unlock(&mut self, pid: i32, lock: &AdvisoryLock) -> bool {
        let Some(entry) = self.entries.get_mut(&lock.key) else { return false };
        let Some(holder) = entry.holders.iter_mut().find(|holder| holder.asker.pid == pid) else { return false };
        let count = &mut holder.counts[lock.count()];
        if *count == 0 {
            return false;
        }
        *count -= 1;
        self.settle(lock.key);
        true
    }

    /// After a change: who has nothing any more is no holder, and those who can have the lock get it.
    fn settle(&mut self, key: AdvisoryKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.holders.retain(|holder| holder.counts != [0; 4]);
        entry.grant_next();
        if entry.holders.is_empty() {
            assert!(entry.queue.is_empty(), "a lock that nobody holds is granted to whoever waits");
            self.entries.remove(&key);
        }
    }

    /// Who waits for whom: sessions hold these locks, through one transaction or the next.
    pub fn edges(&self) -> Vec<WaitEdge> {
        let mut edges = Vec::new();
        for (&key, entry) in &self.entries {
            for (i, waiter) in entry.queue.iter().enumerate() {
                let mode = waiter.lock.mode();
                let held = entry.holders.iter().filter(|holder| holder.is_in_the_way_of(&waiter.asker, mode));
                let ahead = entry.queue.iter().take(i).filter(|other| conflict(other.lock.mode(), mode));
                for pid in held.map(|holder| holder.asker.pid).chain(ahead.map(|other| other.asker.pid)) {
                    edges.extend(WaitEdge::of(&waiter.asker, Party::Session(pid), (mode, LockTarget::Advisory(key))));
                }
            }
        }
        edges
    }

    /// All that is held or awaited.
    pub fn views(&self) -> Vec<LockView> {
        let mut views = Vec::new();
        for (&key, entry) in &self.entries {
            let target = LockTarget::Advisory(key);
            for holder in &entry.holders {
                let view = |mode| LockView {
                    txn: holder.has_for_transaction(mode).then_some(holder.asker.txn),
                    ..LockView::held(holder.asker.txn, holder.asker.pid, target, mode)
                };
                views.extend(holder.modes().map(view));
            }
            for waiter in &entry.queue {
                views.push(LockView::awaited(&waiter.asker, target, waiter.lock.mode(), waiter.since));
            }
        }
        views
    }

    /// Keys that are locked.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is locked.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::TxnId;

    const KEY: AdvisoryKey = AdvisoryKey::Big(1);
    const EXCLUSIVE: AdvisoryLock = AdvisoryLock { key: KEY, shared: false, transaction: false };
    const SHARED: AdvisoryLock = AdvisoryLock { shared: true, ..EXCLUSIVE };
    const FOR_TRANSACTION: AdvisoryLock = AdvisoryLock { transaction: true, ..EXCLUSIVE };

    fn of(pid: i32, lock: AdvisoryLock) -> AdvisoryRequest {
        let asker = Asker { pid, ..Asker::of(TxnId(u64::try_from(pid).expect("pids are positive"))) };
        AdvisoryRequest { asker, lock, block: true, number: 1 }
    }

    /// Who holds and who waits, by pid.
    fn seen(locks: &AdvisoryLocks) -> (Vec<i32>, Vec<i32>) {
        let (held, awaited): (Vec<_>, Vec<_>) = locks.views().into_iter().partition(|view| view.waits_since.is_none());
        let pids = |views: Vec<LockView>| views.iter().map(|view| view.pid).collect();
        (pids(held), pids(awaited))
    }

    #[test]
    fn each_time_counts_and_levels_are_apart() {
        let mut locks = AdvisoryLocks::default();
        for lock in [EXCLUSIVE, EXCLUSIVE, SHARED, FOR_TRANSACTION] {
            assert!(locks.try_lock(&of(1, lock)), "it has the lock already");
        }
        assert!(!locks.try_lock(&of(2, SHARED)));
        assert!(locks.unlock(1, &EXCLUSIVE) && locks.unlock(1, &EXCLUSIVE) && !locks.unlock(1, &EXCLUSIVE));
        assert!(!locks.unlock(2, &EXCLUSIVE), "it is another's");
        assert!(!locks.try_lock(&of(2, SHARED)), "the transaction has it still");
        assert!(locks.unlock(1, &SHARED) && !locks.unlock(1, &SHARED));
        assert!(locks.unlock(1, &FOR_TRANSACTION) && locks.is_empty());
    }

    #[test]
    fn forms_of_keys_are_apart() {
        let mut locks = AdvisoryLocks::default();
        assert!(locks.try_lock(&of(1, EXCLUSIVE)));
        assert!(locks.try_lock(&of(2, AdvisoryLock { key: AdvisoryKey::Pair(0, 1), ..EXCLUSIVE })));
    }

    #[test]
    fn queues_are_fair_and_those_who_can_share_get_it_together() {
        let mut locks = AdvisoryLocks::default();
        assert!(locks.try_lock(&of(1, SHARED)) && locks.try_lock(&of(2, SHARED)));
        let _waits = [(3, EXCLUSIVE), (4, SHARED), (5, SHARED), (6, EXCLUSIVE)].map(|(pid, lock)| {
            assert!(!locks.try_lock(&of(pid, lock)), "{pid} goes behind those who wait");
            locks.wait(&of(pid, lock))
        });
        assert!(locks.unlock(1, &SHARED));
        assert_eq!(seen(&locks), (vec![2], vec![3, 4, 5, 6]));
        assert!(locks.unlock(2, &SHARED));
        assert_eq!(seen(&locks), (vec![3], vec![4, 5, 6]));
        assert!(locks.unlock(3, &EXCLUSIVE));
        assert_eq!(seen(&locks), (vec![4, 5], vec![6]));
        assert!(locks.leave(&of(6, EXCLUSIVE)) && !locks.leave(&of(6, EXCLUSIVE)));
        assert_eq!(seen(&locks), (vec![4, 5], vec![]));
    }

    #[test]
    fn who_leaves_the_queue_holds_nobody_up() {
        let mut locks = AdvisoryLocks::default();
        assert!(locks.try_lock(&of(1, SHARED)));
        let _first = locks.wait(&of(2, EXCLUSIVE));
        let _second = locks.wait(&of(3, SHARED));
        assert!(locks.leave(&of(2, EXCLUSIVE)));
        assert_eq!(seen(&locks), (vec![1, 3], vec![]));
        let _again = locks.wait(&of(2, EXCLUSIVE));
        assert!(!locks.leave(&AdvisoryRequest { number: 2, ..of(2, EXCLUSIVE) }), "that is another request");
    }

    #[test]
    fn a_holder_that_wants_more_goes_ahead_of_those_who_wait_for_it() {
        let mut locks = AdvisoryLocks::default();
        assert!(locks.try_lock(&of(1, SHARED)) && locks.try_lock(&of(2, SHARED)));
        let _first = locks.wait(&of(3, EXCLUSIVE));
        assert!(locks.try_lock(&of(1, SHARED)), "they wait for it, so it does not wait for them");
        let _upgrade = locks.wait(&of(1, EXCLUSIVE));
        assert!(locks.unlock(2, &SHARED));
        let (held, awaited) = seen(&locks);
        assert!(held.iter().all(|pid| *pid == 1) && awaited == [3], "{held:?} {awaited:?}");
    }
}
