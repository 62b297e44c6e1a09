//! What SERIALIZABLE transactions have read on one core.
//!
//! Snapshot isolation becomes serializable if nothing that a transaction has read is changed between its snapshot and its
//! commit (backward validation: Kung and Robinson, "On Optimistic Methods for Concurrency Control", 1981). Ranges are kept as
//! they were asked for, so that a row that appears in one is noticed, too. Transactions that write nothing need no
//! validation: those that write are equivalent to running one after the other at their commits, and a snapshot is a state between two of
//! them.

use std::ops::Bound;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::base::{CommitTs, StorageId};
use crate::storage::Key;

/// Keys remembered one by one; more of them count as all of their storages.
const POINTS_MAX: usize = 4096;
/// Ranges remembered; more of them count as all of their storages.
const RANGES_MAX: usize = 256;

/// A range of one storage's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// Where.
    pub storage: StorageId,
    /// Lower end.
    pub lower: Bound<Key>,
    /// Upper end.
    pub upper: Bound<Key>,
}

impl ReadRange {
    fn all(storage: StorageId) -> Self {
        Self { storage, lower: Bound::Unbounded, upper: Bound::Unbounded }
    }

    /// Whether a key lies in it.
    pub fn covers(&self, storage: StorageId, key: &Key) -> bool {
        let above = match &self.lower {
            Bound::Unbounded => true,
            Bound::Included(lower) => lower <= key,
            Bound::Excluded(lower) => lower < key,
        };
        let below = match &self.upper {
            Bound::Unbounded => true,
            Bound::Included(upper) => key <= upper,
            Bound::Excluded(upper) => key < upper,
        };
        self.storage == storage && above && below
    }

    /// Takes in a range that begins where this one ends, or ends where this one begins: the next piece of the same scan.
    fn extend(&mut self, next: &ReadRange) -> bool {
        if self.storage != next.storage {
            return false;
        }
        if touch(&self.upper, &next.lower) {
            self.upper = next.upper.clone();
            true
        } else if touch(&next.upper, &self.lower) {
            self.lower = next.lower.clone();
            true
        } else {
            false
        }
    }
}

/// Whether an upper and a lower end leave no key between them and share none.
fn touch(upper: &Bound<Key>, lower: &Bound<Key>) -> bool {
    match (upper, lower) {
        (Bound::Included(upper), Bound::Excluded(lower)) | (Bound::Excluded(upper), Bound::Included(lower)) => upper == lower,
        _ => false,
    }
}

/// What one transaction has read on one core.
#[derive(Debug)]
pub struct ReadSet {
    snapshot: CommitTs,
    points: FxHashMap<StorageId, FxHashSet<Key>>,
    ranges: Vec<ReadRange>,
    guarding: bool,
}

impl ReadSet {
    /// Nothing yet, as of a snapshot.
    pub fn new(snapshot: CommitTs) -> Self {
        Self { snapshot, points: FxHashMap::default(), ranges: Vec::new(), guarding: false }
    }

    /// The snapshot that everything was read at.
    pub fn snapshot(&self) -> CommitTs {
        self.snapshot
    }

    /// A row was read, or found missing.
    pub fn add_point(&mut self, storage: StorageId, key: &Key) {
        self.points.entry(storage).or_default().insert(key.clone());
        if self.points.values().map(FxHashSet::len).sum::<usize>() > POINTS_MAX {
            self.widen();
        }
    }

    /// A range was read.
    pub fn add_range(&mut self, range: ReadRange) {
        if self.ranges.last_mut().is_some_and(|last| last.extend(&range)) {
            return;
        }
        self.ranges.push(range);
        if self.ranges.len() > RANGES_MAX {
            self.widen();
        }
    }

    /// Remembers storages instead of keys and ranges.
    fn widen(&mut self) {
        let points = self.points.drain().map(|(storage, _keys)| storage);
        let storages: FxHashSet<StorageId> = points.chain(self.ranges.drain(..).map(|range| range.storage)).collect();
        self.ranges.extend(storages.into_iter().map(ReadRange::all));
    }

    /// Whether a key was read.
    pub fn covers(&self, storage: StorageId, key: &Key) -> bool {
        self.points.get(&storage).is_some_and(|keys| keys.contains(key))
            || self.ranges.iter().any(|range| range.covers(storage, key))
    }

    /// Whether anything of a storage was read.
    pub fn reads(&self, storage: StorageId) -> bool {
        self.points.contains_key(&storage) || self.ranges.iter().any(|range| range.storage == storage)
    }

    /// Everything, as ranges.
    pub fn ranges(&self) -> Vec<ReadRange> {
        let points = self.points.iter().flat_map(|(storage, keys)| keys.iter().map(|key| (*storage, key)));
        let points = points.map(|(storage, key)| ReadRange {
            storage,
            lower: Bound::Included(key.clone()),
            upper: Bound::Included(key.clone()),
        });
        points.chain(self.ranges.iter().cloned()).collect()
    }

    /// Whether it keeps others from promising to change what was read.
    pub fn is_guarding(&self) -> bool {
        self.guarding
    }

    /// From now on until the transaction is decided it does.
    pub fn guard(&mut self) {
        self.guarding = true;
    }

    /// Bytes of bookkeeping.
    pub fn bytes(&self) -> usize {
        let of_keys =
            |keys: &FxHashSet<Key>| keys.capacity() * size_of::<Key>() + keys.iter().map(Key::heap_bytes).sum::<usize>();
        self.points.values().map(of_keys).sum::<usize>() + self.ranges.capacity() * size_of::<ReadRange>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(lower: Bound<i64>, upper: Bound<i64>) -> ReadRange {
        ReadRange { storage: StorageId(1), lower: lower.map(Key::Int), upper: upper.map(Key::Int) }
    }

    #[test]
    fn pieces_of_a_scan_become_one_range() {
        let mut set = ReadSet::new(CommitTs(1));
        set.add_range(range(Bound::Unbounded, Bound::Included(10)));
        set.add_range(range(Bound::Excluded(10), Bound::Excluded(20)));
        set.add_range(range(Bound::Included(20), Bound::Included(25)));
        assert_eq!(set.ranges(), [range(Bound::Unbounded, Bound::Included(25))]);
        let mut backwards = ReadSet::new(CommitTs(1));
        backwards.add_range(range(Bound::Included(20), Bound::Unbounded));
        backwards.add_range(range(Bound::Included(10), Bound::Excluded(20)));
        assert_eq!(backwards.ranges(), [range(Bound::Included(10), Bound::Unbounded)]);
        // A gap stays a gap.
        set.add_range(range(Bound::Included(26), Bound::Included(30)));
        assert_eq!(set.ranges().len(), 2);
        assert!(set.covers(StorageId(1), &Key::Int(25)) && !set.covers(StorageId(2), &Key::Int(25)));
    }

    #[test]
    fn too_much_to_remember_counts_as_everything() {
        let mut set = ReadSet::new(CommitTs(1));
        for key in 0..=POINTS_MAX as i64 {
            assert!(!set.covers(StorageId(1), &Key::Int(-1)));
            set.add_point(StorageId(1), &Key::Int(key));
        }
        assert!(set.covers(StorageId(1), &Key::Int(-1)) && !set.reads(StorageId(2)));
        assert_eq!(set.ranges().len(), 1);
    }
}
