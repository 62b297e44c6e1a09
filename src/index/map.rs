//! The map: reading, writing, and what it reports.

use std::borrow::Borrow;
use std::ops::{Bound, RangeBounds};

use super::digest::Digest;
use super::entry::{Entry, OccupiedEntry, VacantEntry};
use super::key::IndexKey;
use super::lanes::{Lanes, Level, Plain, at_best};
use super::node::{Node, Separator};
use super::range::Range;
use super::seek::Position;
use super::stats::{Counters, IndexStats};

/// An ordered map from `K` to `V`, owned by one core: `Send`, no locks.
///
/// Values are small copies (row handles). Every operation does a bounded amount of work.
#[derive(Clone, Debug)]
pub struct LearnedIndex<K: IndexKey, V: Copy + Send> {
    /// Inner nodes in key order; none is empty.
    pub(super) nodes: Vec<Node<K, V>>,
    /// Where each node begins; the first counts as minus infinity.
    pub(super) lows: Vec<Separator<K>>,
    pub(super) len: usize,
    /// Raised by every insert and remove, so that positions are known to be stale.
    pub(super) version: u64,
    /// No digest is greater, if digests are exact: greater keys are appended without a search.
    pub(super) tail: K::Digest,
    /// What the processor can do.
    pub(super) level: Level,
    pub(super) counters: Counters,
}

impl<K: IndexKey, V: Copy + Send> Default for LearnedIndex<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: IndexKey, V: Copy + Send> LearnedIndex<K, V> {
    /// An empty index. Allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: Vec::new(),
            lows: Vec::new(),
            len: 0,
            version: 0,
            tail: K::Digest::MAX,
            level: Level::detect(),
            counters: Counters::default(),
        }
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
    #[inline]
    pub fn get(&self, key: &K::View) -> Option<V> {
        at_best!(self, get(key), self.get_by::<Plain>(key))
    }

    #[inline(always)]
    pub(super) fn get_by<L: Lanes>(&self, key: &K::View) -> Option<V> {
        let (_, node) = self.node_for(key)?;
        if self.counters.looked_up() {
            return self.get_examined(key);
        }
        node.leaves[node.route::<L>(key)].get::<L>(key)
    }

    /// [`get`](Self::get) of a key whose look-up stands for others in the statistics. That function calls nothing else, and so saves no
    /// registers.
    #[cold]
    #[inline(never)]
    fn get_examined(&self, key: &K::View) -> Option<V> {
        let leaf = self.leaf_for::<Plain>(key)?;
        self.counters.examine(leaf, key);
        leaf.get::<Plain>(key)
    }

    /// The value of `key`, in place.
    #[must_use]
    pub fn get_mut(&mut self, key: &K::View) -> Option<&mut V> {
        self.find(key).ok().map(|position| self.value_mut_at(position))
    }

    /// Whether `key` is there.
    #[must_use]
    pub fn contains_key(&self, key: &K::View) -> bool {
        self.get(key).is_some()
    }

    /// Looks up many keys, sorted or not: `values[i]` becomes the value of `keys[i]`. Their memory is fetched together, so
    /// that a batch of 64 costs little more than a few look-ups one after another.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn get_batch<Q: Borrow<K::View>>(&self, keys: &[Q], values: &mut [Option<V>]) {
        at_best!(self, get_batch(keys, values), self.get_batch_by::<Plain, Q>(keys, Borrow::borrow, values));
    }

    /// [`get_batch`](Self::get_batch) for owned keys.
    ///
    /// # Panics
    /// When the slices differ in length.
    pub fn get_batch_keys(&self, keys: &[K], values: &mut [Option<V>]) {
        at_best!(self, get_batch_keys(keys, values), self.get_batch_by::<Plain, K>(keys, IndexKey::view, values));
    }

    /// Sets the value of `key` and returns the one it replaces.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if K::EXACT && K::digest(key.view(), 0) > self.tail {
            self.append_entry(key, value);
            return None;
        }
        at_best!(self, insert(key, value), self.insert_by::<Plain>(key, value))
    }

    #[inline(always)]
    pub(super) fn insert_by<L: Lanes>(&mut self, key: K, value: V) -> Option<V> {
        let Some((node, _)) = self.node_for(key.view()) else {
            self.insert_at(Position::default(), key, value);
            return None;
        };
        let inner = &mut self.nodes[node];
        let at = inner.route::<L>(key.view());
        let leaf = &mut inner.leaves[at];
        match leaf.find::<L>(key.view(), true) {
            Ok(place) => Some(std::mem::replace(leaf.blocks[place.at].value_mut(place.slot), value)),
            Err(place) if leaf.has_room(place.at) && leaf.compare_prefix(key.view()).is_eq() => {
                let digest = leaf.digest_of(key.view());
                leaf.insert::<L>(place, digest, key.into_rest(), value);
                self.version += 1;
                self.len += 1;
                None
            }
            Err(place) => {
                self.insert_at(Position::new(node, at, (place.at, place.slot)), key, value);
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
        at_best!(self, remove(key), self.remove_by::<Plain>(key))
    }

    #[inline(always)]
    pub(super) fn remove_by<L: Lanes>(&mut self, key: &K::View) -> Option<V> {
        let (node, _) = self.node_for(key)?;
        let inner = &mut self.nodes[node];
        let at = inner.route::<L>(key);
        let leaf = &mut inner.leaves[at];
        let place = leaf.find::<L>(key, true).ok()?;
        let blocks = leaf.blocks.len();
        let (value, empty) = leaf.remove::<L>(place);
        let fewer = leaf.blocks.len() != blocks;
        self.version += 1;
        self.len -= 1;
        if fewer {
            self.after_fewer_blocks(node, at, empty);
        }
        Some(value)
    }

    /// Removes everything and returns the memory.
    pub fn clear(&mut self) {
        let version = self.version + 1;
        *self = Self { version, counters: std::mem::take(&mut self.counters), ..Self::new() };
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
            (Some(front), Some(back)) if front <= back => Some((front, back)),
            _ => None,
        };
        Range::new(self, ends)
    }

    /// The same as [`range`](Self::range) for a Rust range of owned keys.
    #[must_use]
    pub fn range_of(&self, range: impl RangeBounds<K>) -> Range<'_, K, V> {
        self.range(range.start_bound().map(IndexKey::view), range.end_bound().map(IndexKey::view))
    }

    /// All entries in key order, double-ended.
    #[must_use]
    pub fn iter(&self) -> Range<'_, K, V> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// The entry at `rank` (0 is the smallest key). Visits every leaf before it, not every entry.
    #[must_use]
    pub fn nth(&self, rank: usize) -> Option<(K::Ref<'_>, V)> {
        self.position_of_rank(rank).map(|position| self.entry_at(position))
    }

    /// Bytes held: the structure, gaps, and what keys own on the heap. Visits every leaf, and for byte strings every key.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let stats = self.shape(true);
        stats.leaf_bytes + stats.inner_bytes + stats.key_heap_bytes
    }

    /// The counters alone: what describes the shape is left at 0. Costs nothing.
    #[must_use]
    pub fn counts(&self) -> IndexStats {
        self.counters.add_to(IndexStats::default())
    }

    /// Counters and shape. Visits every leaf, and for byte strings every key.
    #[must_use]
    pub fn stats(&self) -> IndexStats {
        self.counters.add_to(self.shape(true))
    }

    /// The same without [`key_heap_bytes`](IndexStats::key_heap_bytes), for which every key would be visited.
    #[must_use]
    pub fn outline(&self) -> IndexStats {
        self.counters.add_to(self.shape(false))
    }

    /// About `points` entries, evenly spread: key, position among all entries, and the position that the models predict. Visits every
    /// leaf, and the entries that are told.
    #[must_use]
    pub fn curve(&self, points: usize) -> Vec<(K::Ref<'_>, usize, usize)> {
        let step = self.len.div_ceil(points.max(1)).max(1);
        let mut found = Vec::with_capacity(self.len / step + 1);
        let (mut before, mut next) = (0, 0);
        for leaf in self.nodes.iter().flat_map(|node| &node.leaves) {
            for (at, (block, len)) in leaf.parts().enumerate() {
                while next < before + len {
                    let key = block.key(next - before);
                    let predicted = before + leaf.predict(at, K::ref_view(&key));
                    found.push((key, next, predicted));
                    next += step;
                }
                before += len;
            }
        }
        found
    }

    fn shape(&self, visit_keys: bool) -> IndexStats {
        let mut stats = IndexStats {
            depth: if self.nodes.is_empty() { 0 } else { 3 },
            inner_nodes: self.nodes.len(),
            inner_bytes: size_of::<Self>()
                + (self.nodes.capacity() - self.nodes.len()) * size_of::<Node<K, V>>()
                + self.lows.capacity() * size_of::<Separator<K>>(),
            ..IndexStats::default()
        };
        for node in &self.nodes {
            stats.inner_bytes += node.bytes();
            stats.leaves += node.leaves.len();
            for leaf in &node.leaves {
                stats.blocks += leaf.blocks.len();
                stats.leaf_bytes += leaf.bytes();
                stats.key_heap_bytes += if K::EXACT || !visit_keys { 0 } else { leaf.key_heap_bytes() };
            }
        }
        let slots = stats.blocks * super::block::SLOTS;
        stats.leaf_fill_per_mille = (self.len * 1000).checked_div(slots).unwrap_or(0) as u64;
        stats
    }

    /// Asserts every invariant of the structure. For tests: it visits everything.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn check(&self) {
        assert_eq!(self.nodes.len(), self.lows.len());
        let mut len = 0;
        for node in &self.nodes {
            node.check();
            len += node.leaves.iter().map(|leaf| leaf.entries()).sum::<usize>();
        }
        assert_eq!(self.len, len);
        assert!(self.iter().map(|(key, _)| key).is_sorted_by(|a, b| a < b));
        if K::EXACT
            && let Some((last, _)) = self.last()
        {
            assert!(K::digest(K::ref_view(&last), 0) <= self.tail);
        }
        for (key, value) in self.iter() {
            let _ = value;
            assert!(self.find(K::ref_view(&key)).is_ok());
        }
    }
}

impl<K: IndexKey, V: Copy + Send> FromIterator<(K, V)> for LearnedIndex<K, V> {
    /// Bulk-loads entries in strictly ascending key order.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::bulk_load(entries)
    }
}

impl<'a, K: IndexKey, V: Copy + Send> IntoIterator for &'a LearnedIndex<K, V> {
    type Item = (K::Ref<'a>, V);
    type IntoIter = Range<'a, K, V>;

    fn into_iter(self) -> Range<'a, K, V> {
        self.iter()
    }
}
