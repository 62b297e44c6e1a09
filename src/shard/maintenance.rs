//! A core's housekeeping, in slices that never hold the core for long: resolving the intents of large transactions, collecting
//! garbage, splitting tablets, publishing the snapshot floor.

use std::ops::{Bound, ControlFlow};

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, StorageId, TabletId};
use crate::shard::error::EngineResult;
use crate::shard::state::{Garbage, Held, Shard};
use crate::storage::{Horizon, Key, Tablet};

/// Keys handled in one slice.
const SLICE: usize = 256;
/// Keys moved from one tablet to its new neighbour in one slice.
const SHIFT: usize = 128;

/// A tablet taken out for a move, with its keys that have garbage.
pub(super) type TakenTablet = (Box<Tablet>, MovedGarbage);

/// Garbage on its way to another core.
#[derive(Default)]
pub struct MovedGarbage {
    /// Chains that have something to collect once the horizon reaches a timestamp.
    waiting: Vec<(CommitTs, Key)>,
    /// Versions that old snapshots keep, by snapshot: key and timestamp.
    held: Vec<(CommitTs, Key, CommitTs)>,
}

/// What a slice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// There may be more to do at once.
    More,
    /// Nothing is left for now.
    Idle,
}

impl Shard {
    /// Resolves some intents of decided transactions.
    pub(super) fn resolve_slice(&mut self) -> Slice {
        let Some(&slot) = self.unresolved.front() else { return Slice::Idle };
        let state = self.txns.get(slot).state;
        let writes = &mut self.txns.get_mut(slot).writes;
        let keep = writes.len().saturating_sub(SLICE);
        for write in writes.split_off(keep) {
            self.resolve_write(slot, state, &write);
        }
        if self.txns.get(slot).writes.is_empty() {
            self.unresolved.pop_front();
            self.txns.release(slot);
        }
        Slice::More
    }

    /// Collects garbage that the horizon has passed, and what old snapshots have kept that are gone. The queue is nearly in timestamp
    /// order: commits of several cores may be installed out of order by as much as a message takes.
    pub(super) fn collect_slice(&mut self) -> Slice {
        let horizon = self.shared.clock.horizon();
        for _ in 0..SLICE {
            if let Some(Held { storage, key, begin }) = self.next_released(&horizon) {
                self.collect_key(storage, key, &horizon, Some(begin));
                continue;
            }
            let Some(front) = self.garbage.front() else { return Slice::Idle };
            if front.ts > horizon.recent {
                return Slice::Idle;
            }
            let Garbage { storage, key, .. } = self.garbage.pop_front().expect("the front was there");
            self.collect_key(storage, key, &horizon, None);
        }
        Slice::More
    }

    /// A version kept by an old snapshot that is gone.
    fn next_released(&mut self, horizon: &Horizon) -> Option<Held> {
        let pin = *self.held.keys().find(|pin| !horizon.is_pinned(**pin))?;
        let held = self.held.get_mut(&pin).expect("it was found");
        let next = held.pop();
        if held.is_empty() {
            self.held.remove(&pin);
        }
        next
    }

    fn collect_key(&mut self, storage: StorageId, key: Key, horizon: &Horizon, again: Option<CommitTs>) {
        let mut held: SmallVec<[(CommitTs, CommitTs); 2]> = SmallVec::new();
        let Some(tablet) = self.tablet_mut(storage, &key) else { return };
        let collected = tablet.collect(&key, horizon, again, |pin, begin| held.push((pin, begin)));
        self.stats.collected += collected as u64;
        for (pin, begin) in held {
            self.held.entry(pin).or_default().push(Held { storage, key: key.clone(), begin });
        }
    }

    /// After an insert: splits the key's tablet if it has grown too large, at once and for nothing where keys are appended,
    /// else in the background.
    pub(super) fn split_if_large(&mut self, storage: StorageId, key: &Key) {
        let limit = self.shared.limits.tablet_keys;
        let Some(position) = self.tablet_position(storage, key) else { return };
        let tablets = self.tablets.get_mut(&storage).expect("the position was found in it");
        let tablet = &mut tablets[position];
        if tablet.keys() < limit || self.splitting == Some(storage) {
            return;
        }
        if !tablet.is_appending() {
            // Asked for again as it grows on, should the split not have come yet.
            if (tablet.keys() - limit).is_multiple_of((limit / 8).max(1)) {
                self.to_split.push((storage, key.clone()));
            }
            return;
        }
        let id = self.shared.new_tablet_id();
        let Some(right) = tablet.split_end(id) else { return };
        let boundary = right.lower.clone().expect("a split-off tablet has a lower end");
        tablets.insert(position + 1, right);
        self.stats.splits += 1;
        self.shared.ranges.split(storage, &boundary, id, self.core);
    }

    /// The next tablet to split, if it is still too large: its storage and a key in it, and the new neighbour.
    pub(super) fn begin_split(&mut self) -> Option<(StorageId, Key, Tablet)> {
        while let Some((storage, key)) = self.to_split.pop() {
            let limit = self.shared.limits.tablet_keys;
            let id = self.shared.new_tablet_id();
            if let Some(tablet) = self.tablet(storage, &key)
                && tablet.keys() >= limit.max(2)
            {
                let inside = tablet.map().nth_key(0)?;
                let fresh = tablet.split_for_shift(id);
                self.splitting = Some(storage);
                return Some((storage, inside, fresh));
            }
        }
        None
    }

    /// Moves some keys to the new neighbour, which is registered with the first of them. Returns whether half is moved.
    pub(super) fn shift_slice(&mut self, storage: StorageId, inside: &Key, fresh: &mut Option<Tablet>) -> EngineResult<bool> {
        let Some(position) = self.tablet_position(storage, inside) else { return Ok(true) };
        let tablets = self.tablets.get_mut(&storage).expect("the position was found in it");
        // The lowest key stays, as it is what the tablet is found by.
        let count = |left: &Tablet| SHIFT.min(left.keys() / 2);
        if let Some(mut right) = fresh.take() {
            let count = count(&tablets[position]);
            if count == 0 {
                return Ok(true);
            }
            tablets[position].shift_up(&mut right, count)?;
            tablets.insert(position + 1, right);
            return Ok(false);
        }
        let (left, right) = tablets.split_at_mut(position + 1);
        let (left, right) = (&mut left[position], &mut right[0]);
        let count = count(left);
        if count == 0 || right.keys() >= left.keys() {
            return Ok(true);
        }
        left.shift_up(right, count)?;
        Ok(right.keys() >= left.keys())
    }

    /// Publishes a finished split.
    pub(super) fn finish_split(&mut self, storage: StorageId, inside: &Key, shifted: bool) {
        self.splitting = None;
        let Some(position) = self.tablet_position(storage, inside).filter(|_| shifted) else { return };
        let right = &self.tablets[&storage][position + 1];
        let boundary = right.lower.clone().expect("a split-off tablet has a lower end");
        self.stats.splits += 1;
        self.shared.ranges.split(storage, &boundary, right.id, self.core);
    }

    /// Takes a tablet out for a move, with its garbage, if nothing is in progress on it.
    pub(super) fn take_tablet(&mut self, storage: StorageId, id: TabletId) -> Option<TakenTablet> {
        if self.splitting == Some(storage) {
            return None;
        }
        let tracked = self.is_tracked(storage);
        let tablets = self.tablets.get_mut(&storage)?;
        let position = tablets.iter().position(|tablet| tablet.id == id)?;
        let busy =
            tablets[position].intents() > 0 || tracked || self.row_locks.any_in(storage, |key| tablets[position].covers(key));
        if busy {
            return None;
        }
        let tablet = tablets.remove(position);
        let mut garbage = MovedGarbage::default();
        self.garbage.retain(|entry| {
            let goes = entry.storage == storage && tablet.covers(&entry.key);
            if goes {
                garbage.waiting.push((entry.ts, entry.key.clone()));
            }
            !goes
        });
        for (pin, held) in &mut self.held {
            let goes = |held: &mut Held| held.storage == storage && tablet.covers(&held.key);
            garbage.held.extend(held.extract_if(.., goes).map(|held| (*pin, held.key, held.begin)));
        }
        self.held.retain(|_, held| !held.is_empty());
        self.stats.moves += 1;
        Some((Box::new(tablet), garbage))
    }

    /// Becomes the owner of a tablet.
    pub(super) fn adopt(&mut self, tablet: Tablet, garbage: MovedGarbage) {
        let storage = tablet.storage;
        self.add_tablet(tablet);
        self.garbage.extend(garbage.waiting.into_iter().map(|(ts, key)| Garbage { ts, storage, key }));
        self.garbage.make_contiguous().sort_by_key(|entry| entry.ts);
        for (pin, key, begin) in garbage.held {
            self.held.entry(pin).or_default().push(Held { storage, key, begin });
        }
    }

    /// A tablet whose move would bring this core and one with `surplus` fewer keys of the storage closer together.
    pub(super) fn tablet_to_give(&self, storage: StorageId, surplus: usize, row_ids: bool) -> Option<TabletId> {
        self.tablets
            .get(&storage)?
            .iter()
            .filter(|tablet| !(row_ids && Self::is_append_range(tablet)))
            .filter(|tablet| tablet.keys() > 0 && tablet.keys() < surplus && tablet.intents() == 0)
            .max_by_key(|tablet| (tablet.keys().min(surplus / 2), std::cmp::Reverse(tablet.id)))
            .map(|tablet| tablet.id)
    }

    /// Forgets one tablet of a dropped storage; true when none is left.
    pub(super) fn drop_tablet_of(&mut self, storage: StorageId) -> bool {
        let Some(tablets) = self.tablets.get_mut(&storage) else { return true };
        tablets.pop();
        if tablets.is_empty() {
            self.tablets.remove(&storage);
            self.next_row_ids.remove(&storage);
            return true;
        }
        false
    }

    /// The next keys of a storage that a snapshot sees, with timestamp and row, from `from` on: a checkpoint's source. Returns
    /// where to go on, `None` at the end.
    pub(super) fn snapshot_slice(
        &self,
        storage: StorageId,
        from: Bound<&Key>,
        snapshot: CommitTs,
        mut each: impl FnMut(&Key, CommitTs, &[u8]),
    ) -> Option<Bound<Key>> {
        let tablets = self.tablets.get(&storage)?;
        let start = match from {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => {
                tablets.partition_point(|tablet| tablet.upper.as_ref().is_some_and(|upper| upper <= key))
            }
        };
        let tablet = tablets.get(start)?;
        let (mut visited, mut last) = (0, None);
        tablet.scan_committed(from, snapshot, &self.txns, |key, ts, row| {
            visited += 1;
            let key = key.to_key();
            if let Some(row) = row {
                each(&key, ts, row);
            }
            if visited < SLICE * 2 {
                return ControlFlow::Continue(());
            }
            last = Some(key);
            ControlFlow::Break(())
        });
        match last {
            Some(key) => Some(Bound::Excluded(key)),
            None => tablet.upper.clone().map(Bound::Included),
        }
    }

    /// The storages that have tablets here, in order.
    pub(super) fn storages(&self) -> Vec<StorageId> {
        let mut storages: Vec<_> = self.tablets.keys().copied().collect();
        storages.sort_unstable();
        storages
    }

    /// The core that a new storage starts on.
    pub(super) fn home_of(&self, storage: StorageId) -> CoreId {
        CoreId((storage.0 as usize % self.shared.cores) as u16)
    }
}
