//! The snapshots in use on one core, for garbage collection.
//!
//! A core's floor is published now and then as min(its registered snapshots, D at that time). D never falls, so a snapshot
//! taken later is at or above the published floor, and taking one needs no store that another core sees. A read that starts
//! and ends within one poll of its own core need not register at all: the floor is published by the same core, between polls.

use crate::base::CommitTs;

/// Registered snapshots: a slab, as there are few and the minimum is wanted rarely.
#[derive(Debug, Default)]
pub struct ActiveSnapshots {
    slots: Vec<Option<CommitTs>>,
    vacant: Vec<u32>,
}

/// A registration; it must be given back.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a snapshot that is not released holds back garbage collection for ever"]
pub struct SnapshotSlot(u32);

impl ActiveSnapshots {
    /// Registers a snapshot.
    pub fn register(&mut self, snapshot: CommitTs) -> SnapshotSlot {
        let slot = match self.vacant.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).expect("snapshots at once are bounded by connections")
            }
        };
        self.slots[slot as usize] = Some(snapshot);
        SnapshotSlot(slot)
    }

    /// Gives a registration back.
    pub fn release(&mut self, slot: SnapshotSlot) {
        let snapshot = self.slots[slot.0 as usize].take();
        assert!(snapshot.is_some(), "a snapshot is released once");
        self.vacant.push(slot.0);
    }

    /// The lowest registered snapshot.
    pub fn lowest(&self) -> Option<CommitTs> {
        self.slots.iter().flatten().min().copied()
    }

    /// The registered snapshots below a timestamp, ascending, each once.
    pub fn below(&self, recent: CommitTs) -> Vec<CommitTs> {
        let mut below: Vec<CommitTs> = self.slots.iter().flatten().filter(|snapshot| **snapshot < recent).copied().collect();
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
