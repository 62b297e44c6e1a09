//! The snapshots in use on one core, for garbage collection.
//!
//! A core's floor is published now and then as min(its registered snapshots, D at that time). D never falls, so a snapshot
//! taken later is at or above the published floor, and taking one needs no store that another core sees. A read that starts
//! and ends within one poll of its own core need not register at all: the floor is published by the same core, between polls.

use std::time::Duration;

use crate::base::CommitTs;
use crate::runtime::MonoTime;

/// Registered snapshots: a slab, as there are few and the minimum is wanted rarely.
#[derive(Debug, Default)]
pub struct ActiveSnapshots {
    slots: Vec<Option<Active>>,
    vacant: Vec<u32>,
    /// The highest snapshot that has expired: nothing may be read at it or below any more.
    expired_through: Option<CommitTs>,
    expired: u64,
}

#[derive(Clone, Copy, Debug)]
struct Active {
    snapshot: CommitTs,
    /// Since when, if it may expire.
    since: Option<MonoTime>,
    /// It protects nothing any more.
    expired: bool,
}

/// A registration; it must be given back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a snapshot that is not released holds back garbage collection for ever"]
pub struct SnapshotSlot(u32);

impl ActiveSnapshots {
    /// Registers a snapshot, which may expire if it says since when it is in use.
    pub fn register(&mut self, snapshot: CommitTs, since: Option<MonoTime>) -> SnapshotSlot {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("snapshots at once are bounded by connections")
            }
        };
        self.slots[slot as usize] = Some(Active { snapshot, since, expired: false });
        SnapshotSlot(slot)
    }

    /// Gives a registration back.
    pub fn release(&mut self, slot: SnapshotSlot) {
        let snapshot = self.slots[slot.0 as usize].take();
        assert!(snapshot.is_some(), "a snapshot is released once");
        self.vacant.push(slot.0);
    }

    /// Lets go of the snapshots below `recent` that have been in use for `age` or longer. At and above it nothing has been superseded
    /// yet, and new ones may have the same timestamp.
    pub fn expire(&mut self, now: MonoTime, age: Duration, recent: CommitTs) {
        for active in self.slots.iter_mut().flatten() {
            let is_old = active.since.is_some_and(|since| now >= since + age);
            if is_old && active.snapshot < recent && !active.expired {
                active.expired = true;
                self.expired += 1;
                self.expired_through = self.expired_through.max(Some(active.snapshot));
            }
        }
    }

    /// Whether versions that a snapshot sees may be gone, because it has expired.
    pub fn is_too_old(&self, snapshot: CommitTs) -> bool {
        self.expired_through.is_some_and(|expired| snapshot <= expired)
    }

    /// How many have expired so far.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// The snapshots that protect something.
    fn protecting(&self) -> impl Iterator<Item = CommitTs> {
        self.slots.iter().flatten().filter(|active| !active.expired).map(|active| active.snapshot)
    }

    /// The lowest registered snapshot.
    pub fn lowest(&self) -> Option<CommitTs> {
        self.protecting().min()
    }

    /// The registered snapshots below a timestamp, ascending, each once.
    pub fn below(&self, recent: CommitTs) -> Vec<CommitTs> {
        let mut below: Vec<CommitTs> = self.protecting().filter(|snapshot| *snapshot < recent).collect();
        below.sort_unstable();
        below.dedup();
        below
    }

    /// How many are registered.
    pub fn len(&self) -> usize {
        self.slots.len() - self.vacant.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_old_and_not_the_newest_expires() {
        let mut active = ActiveSnapshots::default();
        let begin = MonoTime::from_nanos(0);
        let old = active.register(CommitTs(5), Some(begin));
        let kept = active.register(CommitTs(4), None);
        let newest = active.register(CommitTs(9), Some(begin));
        let later = begin + Duration::from_secs(60);
        let young = active.register(CommitTs(8), Some(later));
        active.expire(later, Duration::from_secs(60), CommitTs(9));
        assert_eq!((active.expired(), active.below(CommitTs(100))), (1, vec![CommitTs(4), CommitTs(8), CommitTs(9)]));
        assert!(active.is_too_old(CommitTs(5)) && !active.is_too_old(CommitTs(6)));
        for slot in [old, kept, newest, young] {
            active.release(slot);
        }
        assert!(active.is_empty() && active.is_too_old(CommitTs(5)), "what has been collected does not come back");
    }
}
