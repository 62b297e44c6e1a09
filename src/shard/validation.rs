//! SERIALIZABLE on a participant: recording reads, guarding them, and validating that nothing has changed them.
//!
//! Architecture Invariant: GUARD, THEN LOOK. A participant guards what was read before it validates, and until the decision. Whoever
//! wants to promise a change of something guarded waits for the decision, so that change is drawn a later timestamp; what was
//! promised before is seen by the validation. A validation never waits for a promise, and a guarding transaction never waits for
//! a guard (it fails instead), so nobody waits in a circle. The promise comes last, because it holds back visibility.

use std::ops::{Bound, ControlFlow};

use crate::base::{CommitTs, StorageId, TxnId};
use crate::runtime;
use crate::shard::api::{KeyRange, ReadView, ScanSpec};
use crate::shard::engine::Engine;
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{ScanNext, Writer};
use crate::shard::state::Shard;
use crate::storage::{Key, Tablet, VersionState};
use crate::txn::reads::{ReadRange, ReadSet};
use crate::txn::{Isolation, TxnState};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// Keys validated between two looks at the clock.
const SLICE: usize = 512;

impl Shard {
    /// Remembers that a row was looked for, if the view asks for that.
    #[inline]
    pub(super) fn track_point(&mut self, view: &ReadView, storage: StorageId, key: &Key) {
        if view.tracked {
            self.read_set(view.txn, view.snapshot).add_point(storage, key);
        }
    }

    /// Remembers that a writer has looked at a key, if its level asks for that.
    #[inline]
    pub(super) fn track_write(&mut self, writer: &Writer, storage: StorageId, key: &Key) {
        if writer.isolation == Isolation::Serializable {
            self.read_set(Some(writer.asker.txn), writer.view.snapshot).add_point(storage, key);
        }
    }

    /// Remembers a piece of a scan, from its start to where it goes on.
    pub(super) fn track_scan(&mut self, view: &ReadView, spec: &ScanSpec, next: &ScanNext, last: Option<&Key>) {
        if !view.tracked {
            return;
        }
        let KeyRange { mut lower, mut upper } = spec.range.clone();
        let end = match next {
            ScanNext::Moved => return,
            // Ended by its limit, or at the end of the range.
            ScanNext::Done => last.map(|last| Bound::Included(last.clone())),
            ScanNext::Rest(rest) => Some(if spec.reverse { opposite(&rest.upper) } else { opposite(&rest.lower) }),
        };
        if let Some(end) = end {
            *(if spec.reverse { &mut lower } else { &mut upper }) = end;
        }
        self.read_set(view.txn, view.snapshot).add_range(ReadRange { storage: spec.storage, lower, upper });
    }

    fn read_set(&mut self, txn: Option<TxnId>, snapshot: CommitTs) -> &mut ReadSet {
        let slot = self.txns.slot_of(txn.expect("a tracked view names its transaction"));
        self.txns.get_mut(slot).reads.get_or_insert_with(|| Box::new(ReadSet::new(snapshot)))
    }

    /// Whether a transaction cannot promise within one poll: it has reads to validate, or guards to mind.
    pub(super) fn has_to_validate(&self, slot: u32) -> bool {
        self.txns.get(slot).reads.is_some() || !self.guards.is_empty()
    }

    /// Guards what a transaction has read here: its snapshot, and what.
    fn guard(&mut self, slot: u32) -> Option<(CommitTs, Vec<ReadRange>)> {
        let reads = self.txns.get_mut(slot).reads.as_mut()?;
        reads.guard();
        self.guards.push(slot);
        Some((reads.snapshot(), reads.ranges()))
    }

    /// Whether a transaction has written what another one guards.
    fn is_guarded_from(&self, slot: u32) -> bool {
        #[cfg(test)]
        if sabotage::is(Sabotage::SkipGuard) {
            return false;
        }
        let writes = &self.txns.get(slot).writes;
        let guards =
            self.guards.iter().filter(|guard| **guard != slot).filter_map(|guard| self.txns.get(*guard).reads.as_deref());
        guards.into_iter().any(|reads| writes.iter().any(|write| reads.covers(write.storage, &write.key)))
    }

    /// Ends a decided transaction's guard.
    pub(super) fn unguard(&mut self, slot: u32) {
        if self.txns.get(slot).reads.as_ref().is_some_and(|reads| reads.is_guarding()) {
            self.guards.retain(|guard| *guard != slot);
            self.guards_freed.wake_all();
        }
    }

    /// Whether a tablet is in what undecided transactions have read: it stays where it is, so that they can be validated.
    pub(super) fn is_tracked(&self, storage: StorageId) -> bool {
        self.txns.read_sets().any(|reads| reads.reads(storage))
    }

    /// Looks at some keys of a range for changes that a transaction has not seen; what is left of the range, `None` at its end.
    fn validate_slice(&self, slot: u32, snapshot: CommitTs, range: ReadRange) -> EngineResult<Option<ReadRange>> {
        let Some(tablet) = self.first_tablet_of(&range) else { return Ok(None) };
        let (mut visited, mut changed, mut last) = (0, false, None);
        tablet.visit_states(range.lower.as_ref(), range.upper.as_ref(), |key, states| {
            changed = states.into_iter().find_map(|state| self.changes(slot, snapshot, state)).unwrap_or(false);
            visited += 1;
            if changed || visited >= SLICE {
                last = Some(key.to_key());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if changed {
            return Err(EngineError::ReadConflict);
        }
        let lower = match (last, &tablet.upper) {
            (Some(last), _) => Bound::Excluded(last),
            (None, Some(edge)) => Bound::Included(edge.clone()),
            (None, None) => return Ok(None),
        };
        Ok(Some(ReadRange { lower, ..range }))
    }

    /// Whether the version is a change since the snapshot; `None`: the version below it decides.
    fn changes(&self, own: u32, snapshot: CommitTs, version: VersionState) -> Option<bool> {
        match version {
            VersionState::Committed(ts) => Some(ts > snapshot),
            VersionState::Intent(slot) if slot == own => None,
            VersionState::Intent(slot) => match self.txns.get(slot).state {
                TxnState::Prepared => Some(true),
                TxnState::Committed(ts) => Some(ts > snapshot),
                // It has not promised: it will meet the guard.
                TxnState::Active | TxnState::Aborted => None,
            },
        }
    }

    /// The lowest local tablet that a range reaches into.
    fn first_tablet_of(&self, range: &ReadRange) -> Option<&Tablet> {
        let reaches_above = |tablet: &&Tablet| match (&range.lower, &tablet.upper) {
            (Bound::Unbounded, _) | (_, None) => true,
            (Bound::Included(lower) | Bound::Excluded(lower), Some(edge)) => lower < edge,
        };
        let tablet = self.tablets.get(&range.storage)?.iter().find(reaches_above)?;
        let begins_below = match (&tablet.lower, &range.upper) {
            (None, _) | (_, Bound::Unbounded) => true,
            (Some(edge), Bound::Included(upper)) => edge <= upper,
            (Some(edge), Bound::Excluded(upper)) => edge < upper,
        };
        begins_below.then_some(tablet)
    }
}

/// The end of what lies before a start.
fn opposite(start: &Bound<Key>) -> Bound<Key> {
    match start {
        Bound::Included(key) => Bound::Excluded(key.clone()),
        Bound::Excluded(key) => Bound::Included(key.clone()),
        Bound::Unbounded => Bound::Unbounded,
    }
}

impl Engine {
    /// Validates what a transaction has read here and, if it has written here, promises to commit, waiting for whatever that takes.
    pub(super) async fn promise_slowly(&self, slot: u32) -> EngineResult<()> {
        self.carry_out_here(slot).await?;
        let reads = self.0.shard.borrow_mut().guard(slot);
        let guarding = reads.is_some();
        if let Some((snapshot, ranges)) = reads {
            self.validate_reads(slot, snapshot, ranges).await?;
        }
        if self.0.shard.borrow().txns.get(slot).writes.is_empty() {
            return Ok(());
        }
        let (reservation, chunks) = self.reserve_and_log_chunks(slot).await?;
        loop {
            let freed = {
                let mut shard = self.0.shard.borrow_mut();
                if !shard.is_guarded_from(slot) {
                    shard.promise(slot, reservation, chunks);
                    return Ok(());
                }
                shard.guards_freed.clone()
            };
            if guarding {
                return Err(EngineError::ReadConflict);
            }
            freed.wait().await;
        }
    }

    async fn validate_reads(&self, slot: u32, snapshot: CommitTs, ranges: Vec<ReadRange>) -> EngineResult<()> {
        #[cfg(test)]
        if sabotage::is(Sabotage::SkipValidation) {
            return Ok(());
        }
        for range in ranges {
            let mut rest = Some(range);
            while let Some(range) = rest {
                rest = self.0.shard.borrow().validate_slice(slot, snapshot, range)?;
                if runtime::should_yield() {
                    runtime::yield_now().await;
                }
            }
        }
        Ok(())
    }
}
