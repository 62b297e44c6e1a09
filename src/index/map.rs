//! The map itself: leaves in key order, found by their first keys.

use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};

use super::entry::{Entry, OccupiedEntry, VacantEntry};
use super::key::IndexKey;
use super::range::Range;
use super::stats::IndexStats;

/// Entries a leaf holds at most.
const LEAF_LEN_MAX: usize = 256;
/// Entries below which a leaf joins a neighbour that has room.
const LEAF_LEN_MIN: usize = LEAF_LEN_MAX / 4;

/// Where an entry is: valid until the next change of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    leaf: usize,
    slot: usize,
}

#[derive(Clone, Debug)]
struct Leaf<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
}

/// An ordered map from `K` to `V`, owned by one core: `Send`, no locks.
///
/// Values are small copies (row handles). Every operation does a bounded amount of work.
#[derive(Clone, Debug)]
pub struct LearnedIndex<K: IndexKey, V: Copy + Send> {
    /// Never empty leaves, in key order.
    leaves: Vec<Leaf<K, V>>,
    len: usize,
    /// Raised by every insert and remove, so that positions are known to be stale.
    version: u64,
    stats: IndexStats,
}

impl<K: IndexKey, V: Copy + Send> Default for LearnedIndex<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: IndexKey, V: Copy + Send> LearnedIndex<K, V> {
    /// An empty index.
    #[must_use]
    pub fn new() -> Self {
        Self { leaves: Vec::new(), len: 0, version: 0, stats: IndexStats::default() }
    }

    /// An index of entries given in strictly ascending key order.
    ///
    /// # Panics
    /// When the keys are not strictly ascending.
    #[must_use]
    pub fn bulk_load(entries: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::bulk_load_with_progress(entries, |_| {})
    }

    /// [`bulk_load`](Self::bulk_load) that calls `progress` with the number of entries loaded so far, now and then and at
    /// the end.
    ///
    /// # Panics
    /// When the keys are not strictly ascending.
    #[must_use]
    pub fn bulk_load_with_progress(entries: impl IntoIterator<Item = (K, V)>, mut progress: impl FnMut(usize)) -> Self {
        let mut index = Self::new();
        for (key, value) in entries {
            if let Some(leaf) = index.leaves.last() {
                let last = leaf.keys.last().expect("leaves are never empty");
                assert!(*last < key, "bulk load needs strictly ascending keys");
            }
            match index.leaves.last_mut() {
                Some(leaf) if leaf.keys.len() < LEAF_LEN_MAX * 7 / 8 => {
                    leaf.keys.push(key);
                    leaf.values.push(value);
                }
                _ => {
                    progress(index.len);
                    index.leaves.push(Leaf { keys: vec![key], values: vec![value] });
                }
            }
            index.len += 1;
        }
        progress(index.len);
        index
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &K::View) -> Option<V> {
        self.find(key).ok().map(|position| self.value_at(position))
    }

    /// The value of `key`, in place.
    #[must_use]
    pub fn get_mut(&mut self, key: &K::View) -> Option<&mut V> {
        self.find(key).ok().map(|position| self.value_mut_at(position))
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains_key(&self, key: &K::View) -> bool {
        self.find(key).is_ok()
    }

    /// Looks up many keys, sorted or not: `values[i]` becomes the value of `keys[i]`.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn get_batch<Q: Borrow<K::View>>(&self, keys: &[Q], values: &mut [Option<V>]) {
        assert_eq!(keys.len(), values.len(), "one place a key");
        for (key, value) in keys.iter().zip(values) {
            *value = self.get(key.borrow());
        }
    }

    /// [`get_batch`](Self::get_batch) for owned keys.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn get_batch_keys(&self, keys: &[K], values: &mut [Option<V>]) {
        assert_eq!(keys.len(), values.len(), "one place a key");
        for (key, value) in keys.iter().zip(values) {
            *value = self.get(key.view());
        }
    }

    /// Sets the value of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(key.view()) {
            Ok(position) => Some(std::mem::replace(self.value_mut_at(position), value)),
            Err(position) => {
                self.insert_at(position, key, value);
                None
            }
        }
    }

    /// The place of `key`, found by one search, to read, replace, remove or insert.
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        match self.find(key.view()) {
            Ok(position) => Entry::Occupied(OccupiedEntry { index: self, position }),
            Err(position) => Entry::Vacant(VacantEntry { index: self, position, key }),
        }
    }

    /// The value of `key`, inserted first if it is not there; whether it was inserted.
    pub fn get_or_insert_with(&mut self, key: K, make: impl FnOnce() -> V) -> (&mut V, bool) {
        match self.entry(key) {
            Entry::Occupied(entry) => (entry.into_mut(), false),
            Entry::Vacant(entry) => (entry.insert(make()), true),
        }
    }

    /// Removes `key` and returns its value.
    pub fn remove(&mut self, key: &K::View) -> Option<V> {
        self.find(key).ok().map(|position| self.remove_at(position))
    }

    /// Removes everything and returns the memory.
    pub fn clear(&mut self) {
        let version = self.version + 1;
        *self = Self { version, stats: std::mem::take(&mut self.stats), ..Self::new() };
    }

    /// The entry with the smallest key.
    #[must_use]
    pub fn first(&self) -> Option<(K::Ref<'_>, V)> {
        self.lower_bound(Bound::Unbounded)
    }

    /// The entry with the greatest key.
    #[must_use]
    pub fn last(&self) -> Option<(K::Ref<'_>, V)> {
        self.upper_bound(Bound::Unbounded)
    }

    /// The first entry whose key is within the lower `bound`.
    #[must_use]
    pub fn lower_bound(&self, bound: Bound<&K::View>) -> Option<(K::Ref<'_>, V)> {
        self.lower_position(bound).map(|position| self.entry_at(position))
    }

    /// The last entry whose key is within the upper `bound`.
    #[must_use]
    pub fn upper_bound(&self, bound: Bound<&K::View>) -> Option<(K::Ref<'_>, V)> {
        self.upper_position(bound).map(|position| self.entry_at(position))
    }

    /// Removes and returns the entry with the smallest key.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let position = self.lower_position(Bound::Unbounded)?;
        let key = K::from_view(K::ref_view(&self.entry_at(position).0));
        Some((key, self.remove_at(position)))
    }

    /// Removes and returns the entry with the greatest key.
    pub fn pop_last(&mut self) -> Option<(K, V)> {
        let position = self.upper_position(Bound::Unbounded)?;
        let key = K::from_view(K::ref_view(&self.entry_at(position).0));
        Some((key, self.remove_at(position)))
    }

    /// The entries between two bounds, double-ended. An empty or inverted range yields nothing.
    #[must_use]
    pub fn range(&self, lower: Bound<&K::View>, upper: Bound<&K::View>) -> Range<'_, K, V> {
        let ends = match (self.lower_position(lower), self.upper_position(upper)) {
            (Some(front), Some(back)) if (front.leaf, front.slot) <= (back.leaf, back.slot) => Some((front, back)),
            _ => None,
        };
        Range::new(self, ends)
    }

    /// All entries in key order, double-ended.
    #[must_use]
    pub fn iter(&self) -> Range<'_, K, V> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// The entry at `rank` (0 is the smallest key).
    #[must_use]
    pub fn nth(&self, rank: usize) -> Option<(K::Ref<'_>, V)> {
        self.position_of_rank(rank).map(|position| self.entry_at(position))
    }

    /// Keeps the keys below `key` and returns an index of the others. Whole leaves change hands.
    #[must_use]
    pub fn split_off(&mut self, key: &K::View) -> Self {
        match self.lower_position(Bound::Included(key)) {
            Some(position) => self.split_off_position(position),
            None => Self::new(),
        }
    }

    /// Keeps the first `rank` entries and returns an index of the others. Whole leaves change hands.
    #[must_use]
    pub fn split_off_rank(&mut self, rank: usize) -> Self {
        match self.position_of_rank(rank) {
            Some(position) => self.split_off_position(position),
            None => Self::new(),
        }
    }

    /// Takes over all entries of `other`, whose keys must all be greater. Whole leaves change hands.
    ///
    /// # Panics
    /// When a key of `other` is not greater than every key here.
    pub fn append(&mut self, other: Self) {
        if let (Some((last, _)), Some((first, _))) = (self.last(), other.first()) {
            assert!(K::ref_view(&last) < K::ref_view(&first), "append needs greater keys");
        }
        self.version += 1;
        self.len += other.len;
        self.leaves.extend(other.leaves);
    }

    /// Bytes held: the structure, gaps, and what keys own on the heap.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let slots: usize =
            self.leaves.iter().map(|leaf| leaf.keys.capacity() * size_of::<K>() + leaf.values.capacity() * size_of::<V>()).sum();
        size_of::<Self>() + self.leaves.capacity() * size_of::<Leaf<K, V>>() + slots + self.key_heap_bytes()
    }

    /// Counters and shape.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        let slots: usize = self.leaves.iter().map(|leaf| leaf.keys.capacity()).sum();
        IndexStats {
            depth: if self.leaves.is_empty() { 0 } else { 1 },
            leaves: self.leaves.len(),
            leaf_fill_per_mille: (self.len * 1000).checked_div(slots).unwrap_or(0) as u64,
            leaf_bytes: self.bytes() - self.key_heap_bytes(),
            key_heap_bytes: self.key_heap_bytes(),
            ..self.stats.clone()
        }
    }

    /// Asserts every invariant of the structure. For tests: it visits everything.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        assert_eq!(self.len, self.leaves.iter().map(|leaf| leaf.keys.len()).sum::<usize>());
        for leaf in &self.leaves {
            assert!(!leaf.keys.is_empty() && leaf.keys.len() == leaf.values.len());
        }
        assert!(self.leaves.iter().flat_map(|leaf| &leaf.keys).is_sorted_by(|a, b| a < b));
    }

    fn key_heap_bytes(&self) -> usize {
        self.leaves.iter().flat_map(|leaf| &leaf.keys).map(IndexKey::heap_bytes).sum()
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn value_at(&self, position: Position) -> V {
        self.leaves[position.leaf].values[position.slot]
    }

    pub(super) fn value_mut_at(&mut self, position: Position) -> &mut V {
        &mut self.leaves[position.leaf].values[position.slot]
    }

    pub(super) fn entry_at(&self, position: Position) -> (K::Ref<'_>, V) {
        let leaf = &self.leaves[position.leaf];
        (leaf.keys[position.slot].as_ref(), leaf.values[position.slot])
    }

    /// The position of `key`, or the one at which it would be inserted.
    fn find(&self, key: &K::View) -> Result<Position, Position> {
        let leaf = self.leaves.partition_point(|leaf| leaf.keys[0].view() <= key).saturating_sub(1);
        let Some(keys) = self.leaves.get(leaf).map(|leaf| &leaf.keys) else {
            return Err(Position { leaf: 0, slot: 0 });
        };
        match keys.binary_search_by(|probe| probe.view().cmp(key)) {
            Ok(slot) => Ok(Position { leaf, slot }),
            Err(slot) => Err(Position { leaf, slot }),
        }
    }

    /// `position`, or the first entry of the next leaf when it lies behind the last of its own.
    fn settle(&self, position: Position) -> Option<Position> {
        let leaf = self.leaves.get(position.leaf)?;
        if position.slot < leaf.keys.len() {
            Some(position)
        } else {
            (position.leaf + 1 < self.leaves.len()).then_some(Position { leaf: position.leaf + 1, slot: 0 })
        }
    }

    pub(super) fn next_position(&self, position: Position) -> Option<Position> {
        self.settle(Position { slot: position.slot + 1, ..position })
    }

    pub(super) fn previous_position(&self, position: Position) -> Option<Position> {
        if position.slot > 0 {
            return Some(Position { slot: position.slot - 1, ..position });
        }
        let leaf = position.leaf.checked_sub(1)?;
        Some(Position { leaf, slot: self.leaves[leaf].keys.len() - 1 })
    }

    pub(super) fn lower_position(&self, bound: Bound<&K::View>) -> Option<Position> {
        match bound {
            Bound::Unbounded => self.settle(Position { leaf: 0, slot: 0 }),
            Bound::Included(key) => self.settle(self.find(key).unwrap_or_else(|position| position)),
            Bound::Excluded(key) => match self.find(key) {
                Ok(position) => self.next_position(position),
                Err(position) => self.settle(position),
            },
        }
    }

    pub(super) fn upper_position(&self, bound: Bound<&K::View>) -> Option<Position> {
        match bound {
            Bound::Unbounded => {
                let leaf = self.leaves.len().checked_sub(1)?;
                Some(Position { leaf, slot: self.leaves[leaf].keys.len() - 1 })
            }
            Bound::Included(key) => match self.find(key) {
                Ok(position) => Some(position),
                Err(position) => self.previous_position(position),
            },
            Bound::Excluded(key) => self.previous_position(self.find(key).unwrap_or_else(|position| position)),
        }
    }

    fn position_of_rank(&self, rank: usize) -> Option<Position> {
        let mut slot = rank;
        for (leaf, held) in self.leaves.iter().enumerate() {
            if slot < held.keys.len() {
                return Some(Position { leaf, slot });
            }
            slot -= held.keys.len();
        }
        None
    }

    /// Inserts at the position `find` gave and returns where the entry ended.
    pub(super) fn insert_at(&mut self, mut position: Position, key: K, value: V) -> Position {
        if self.leaves.is_empty() {
            self.leaves.push(Leaf { keys: Vec::new(), values: Vec::new() });
        }
        if self.leaves[position.leaf].keys.len() == LEAF_LEN_MAX {
            let appends = position.leaf + 1 == self.leaves.len() && position.slot == LEAF_LEN_MAX;
            let at = if appends { LEAF_LEN_MAX } else { LEAF_LEN_MAX / 2 };
            let leaf = &mut self.leaves[position.leaf];
            let right = Leaf { keys: leaf.keys.split_off(at), values: leaf.values.split_off(at) };
            self.leaves.insert(position.leaf + 1, right);
            self.stats.splits += 1;
            if position.slot > at || appends {
                position = Position { leaf: position.leaf + 1, slot: position.slot - at };
            }
        }
        let leaf = &mut self.leaves[position.leaf];
        leaf.keys.insert(position.slot, key);
        leaf.values.insert(position.slot, value);
        self.len += 1;
        self.version += 1;
        position
    }

    pub(super) fn remove_at(&mut self, position: Position) -> V {
        let leaf = &mut self.leaves[position.leaf];
        leaf.keys.remove(position.slot);
        let value = leaf.values.remove(position.slot);
        self.len -= 1;
        self.version += 1;
        let left = leaf.keys.len();
        if left == 0 {
            self.leaves.remove(position.leaf);
            self.stats.merges += 1;
        } else if left < LEAF_LEN_MIN && position.leaf + 1 < self.leaves.len() {
            self.merge_with_next(position.leaf);
        } else if left < LEAF_LEN_MIN && position.leaf > 0 {
            self.merge_with_next(position.leaf - 1);
        }
        value
    }

    fn merge_with_next(&mut self, leaf: usize) {
        if self.leaves[leaf].keys.len() + self.leaves[leaf + 1].keys.len() > LEAF_LEN_MAX / 2 {
            return;
        }
        let right = self.leaves.remove(leaf + 1);
        self.leaves[leaf].keys.extend(right.keys);
        self.leaves[leaf].values.extend(right.values);
        self.stats.merges += 1;
    }

    fn split_off_position(&mut self, position: Position) -> Self {
        self.version += 1;
        let mut leaves = self.leaves.split_off(position.leaf);
        if position.slot > 0 {
            let first = &mut leaves[0];
            let keys = first.keys.split_off(position.slot);
            let values = first.values.split_off(position.slot);
            self.leaves.push(std::mem::replace(first, Leaf { keys, values }));
        }
        let len = leaves.iter().map(|leaf| leaf.keys.len()).sum();
        self.len -= len;
        Self { leaves, len, version: 0, stats: IndexStats::default() }
    }

    /// The same as [`range`](Self::range) for a Rust range of owned keys.
    #[must_use]
    pub fn range_of(&self, range: impl RangeBounds<K>) -> Range<'_, K, V> {
        self.range(range.start_bound().map(IndexKey::view), range.end_bound().map(IndexKey::view))
    }
}

impl<K: IndexKey, V: Copy + Send> FromIterator<(K, V)> for LearnedIndex<K, V> {
    /// Bulk-loads entries in strictly ascending key order.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::bulk_load(entries)
    }
}
