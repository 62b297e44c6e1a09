//! Making and taking back room in a leaf: blocks are split, evened out with a neighbour, merged, dropped, and handed over.

use super::block::{Block, SLOTS};
use super::fill::Fill;
use super::key::IndexKey;
use super::lanes::{Lanes, Plain};
use super::leaf::{BLOCKS, Frame, Leaf, Part, Place, QUANTUM_MAX};
use super::pool::Pooled;

/// A neighbour with at most this many entries takes some over from a full block.
const NEIGHBOUR_LEN_MAX: usize = SLOTS * 7 / 8;
/// A block left with fewer entries joins a neighbour when both together have at most [`MERGED_LEN_MAX`].
const BLOCK_LEN_MIN: usize = SLOTS / 4;
/// See [`BLOCK_LEN_MIN`]: leaves room, so that a merge is not undone by the next insert.
const MERGED_LEN_MAX: usize = SLOTS * 5 / 8;

/// What came of making room in a full block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// There is room now; the key must be searched again.
    Made,
    /// The leaf holds as many blocks as it may.
    LeafFull,
    /// All keys that a bound could fall between have the same quantum.
    Tied,
}

impl<K: IndexKey, V: Copy + Send> Leaf<K, V> {
    /// Removes an entry; whether the leaf is empty now, in which case it must be dropped.
    #[inline]
    pub(super) fn remove<L: Lanes>(&mut self, place: Place) -> (V, bool) {
        let at = place.at;
        let len = self.len_of(at);
        // First, because it has all it needs from the search.
        let (start, density) = self.scale(at);
        self.fill_mut(at).removed(place.quantum, start, density);
        let value = self.blocks[at].remove::<L>(place.start_below(), place.slot, len);
        if len == 1 {
            self.drop_block(at);
            if at > 0 {
                self.measure(at - 1, self.len_of(at - 1));
            }
        } else if len - 1 < BLOCK_LEN_MIN {
            self.merge_block(at);
        }
        (value, self.blocks.len() == 0)
    }

    /// Takes a block out. What routed to it routes to the one before, or for the first to the one behind.
    fn drop_block(&mut self, at: usize) -> Pooled<Block<K, V>> {
        let block = self.blocks.remove(at);
        let count = self.blocks.len();
        for at in at..count {
            self.set_bound(at, self.bound(at + 1));
            *self.fill_mut(at) = self.fill(at + 1);
        }
        self.set_bound(count, i32::MAX);
        *self.fill_mut(count) = Fill::default();
        self.bounds_changed();
        block
    }

    /// Puts a block in; its entries must be [measured](Self::measure) then.
    fn put_block(&mut self, at: usize, block: Pooled<Block<K, V>>, bound: i32) {
        for at in (at..self.blocks.len()).rev() {
            self.set_bound(at + 1, self.bound(at));
            *self.fill_mut(at + 1) = self.fill(at);
        }
        self.blocks.insert(at, block);
        self.set_bound(at, bound);
        self.bounds_changed();
    }

    fn merge_block(&mut self, at: usize) {
        let fits = |left: usize| left + 1 < self.blocks.len() && self.len_of(left) + self.len_of(left + 1) <= MERGED_LEN_MAX;
        let left = if fits(at) {
            at
        } else if at > 0 && fits(at - 1) {
            at - 1
        } else {
            return;
        };
        let (left_len, right_len) = (self.len_of(left), self.len_of(left + 1));
        let mut right = self.drop_block(left + 1);
        right.move_to_previous(right_len, right_len, &mut self.blocks[left], left_len);
        self.measure(left, left_len + right_len);
    }

    /// The slot nearest to `wanted`, within `range`, at which a bound can fall: its quantum differs from the one before.
    fn boundary_near(&self, block: usize, wanted: usize, range: std::ops::Range<usize>) -> Option<usize> {
        let digests = self.blocks[block].digests();
        let splits = |slot: &usize| range.contains(slot) && self.quantum(digests[*slot - 1]) != self.quantum(digests[*slot]);
        (0..SLOTS).flat_map(|away| [wanted.wrapping_sub(away), wanted + away]).find(splits)
    }

    /// Makes room in a full block: neighbours take some entries over, or it is split.
    pub(super) fn make_room(&mut self, at: usize) -> Room {
        assert_eq!(self.len_of(at), SLOTS);
        if at < 2 {
            self.lower_first_bound();
        }
        let right = if at + 1 < self.blocks.len() { self.len_of(at + 1) } else { SLOTS };
        let left = if at > 0 { self.len_of(at - 1) } else { SLOTS };
        let helped = match left.min(right) {
            len if len > NEIGHBOUR_LEN_MAX => false,
            len if len == right => self.shift_right(at, (SLOTS - len).div_ceil(2)),
            len => self.shift_left(at, (SLOTS - len).div_ceil(2)),
        };
        if helped {
            return Room::Made;
        }
        if self.blocks.len() == BLOCKS {
            return Room::LeafFull;
        }
        let Some(slot) = self.boundary_near(at, SLOTS / 2, 1..SLOTS) else {
            return Room::Tied;
        };
        let bound = self.quantum(self.blocks[at].digest(slot));
        let mut fresh = Block::new(self.blocks[at].value(0));
        self.blocks[at].move_to_next(slot, SLOTS, &mut fresh, 0);
        self.put_block(at + 1, fresh, bound);
        self.measure(at + 1, SLOTS - slot);
        self.measure(at, slot);
        Room::Made
    }

    /// Lets the first bound follow the keys that were inserted below it, so that new bounds are above it.
    fn lower_first_bound(&mut self) {
        let first = self.quantum(self.blocks[0].digest(0));
        self.set_bound(0, self.bound(0).min(first));
        self.bounds_changed();
    }

    /// Hands about `count` entries of a full block to the next one, which keeps room: else entries that no bound can part
    /// would go to and fro.
    fn shift_right(&mut self, at: usize, count: usize) -> bool {
        let right_len = self.len_of(at + 1);
        let Some(slot) = self.boundary_near(at, SLOTS - count, (right_len + 1).max(SLOTS / 2)..SLOTS) else {
            return false;
        };
        self.set_bound(at + 1, self.quantum(self.blocks[at].digest(slot)));
        let (left, right) = self.blocks.pair_mut(at);
        left.move_to_next(slot, SLOTS, right, right_len);
        self.bounds_changed();
        self.measure(at + 1, right_len + SLOTS - slot);
        self.measure(at, slot);
        true
    }

    /// Hands about `count` entries of a full block to the one before.
    fn shift_left(&mut self, at: usize, count: usize) -> bool {
        let left_len = self.len_of(at - 1);
        let Some(slot) = self.boundary_near(at, count, 1..(SLOTS - left_len).min(SLOTS / 2)) else {
            return false;
        };
        self.set_bound(at, self.quantum(self.blocks[at].digest(slot)));
        let (left, right) = self.blocks.pair_mut(at - 1);
        right.move_to_previous(slot, SLOTS, left, left_len);
        self.bounds_changed();
        self.measure(at, SLOTS - slot);
        self.measure(at - 1, left_len + slot);
        true
    }

    /// Starts a new block with a key behind the last one, if its quantum is beyond the last one's.
    pub(super) fn append_block(&mut self, digest: K::Digest, rest: K::Rest, value: V) -> Result<(), K::Rest> {
        let (last, len) = self.end();
        let bound = self.quantum(digest);
        if last == 0 {
            self.lower_first_bound();
        }
        if self.blocks.len() == BLOCKS || bound == QUANTUM_MAX || bound <= self.quantum(self.blocks[last].digest(len - 1)) {
            return Err(rest);
        }
        let mut fresh = Block::new(value);
        fresh.insert::<Plain>(0, 0, 0, digest, rest, value);
        self.put_block(last + 1, fresh, bound);
        self.measure(last + 1, 1);
        self.measure(last, len);
        Ok(())
    }

    /// What frames the keys of both halves when this leaf is split before a quantum.
    fn frame(&self, limit: i32) -> Frame<K> {
        Frame { base: self.base, shift: self.shift, limit, skip: self.skip, sample: self.sample.clone() }
    }

    /// Keeps the blocks before `at` and returns a leaf of the others. Both must keep some.
    pub(super) fn split_off_blocks(&mut self, at: usize) -> Pooled<Self> {
        let count = self.blocks.len();
        assert!(0 < at && at < count, "no leaf is empty");
        let bound = self.bound(at);
        let right = Self::from_parts(self.frame(self.limit), self.take_parts(at));
        self.limit = self.limit.min(bound);
        self.bounds_changed();
        right
    }

    /// Takes out the blocks from `at` on.
    fn take_parts(&mut self, at: usize) -> Vec<Part<K, V>> {
        let routes: Vec<_> = (at..self.blocks.len()).map(|at| (self.bound(at), self.fill(at))).collect();
        let parts =
            self.blocks.split_off(at).zip(&routes).map(|(block, (bound, fill))| Part { block, bound: *bound, fill: *fill });
        let parts = parts.collect();
        for taken in at..at + routes.len() {
            self.set_bound(taken, i32::MAX);
            *self.fill_mut(taken) = Fill::default();
        }
        self.bounds_changed();
        parts
    }

    /// Splits the leaf before an entry, which may be inside a block; nothing if it is the very first.
    pub(super) fn split_off_entries(&mut self, at: usize, slot: usize) -> Option<Pooled<Self>> {
        let len = self.len_of(at);
        assert!(slot < len);
        if slot == 0 {
            return (at > 0).then(|| self.split_off_blocks(at));
        }
        let bound = self.quantum(self.blocks[at].digest(slot));
        let mut fresh = Block::new(self.blocks[at].value(0));
        self.blocks[at].move_to_next(slot, len, &mut fresh, 0);
        let behind = self.take_parts(at + 1);
        // No other bound may be equal to this one, and the first has no meaning but for predictions.
        let first = Part {
            block: fresh,
            bound: bound.min(behind.first().map_or(bound, |part| part.bound - 1)),
            fill: Fill::even(len - slot),
        };
        let mut right = Self::from_parts(self.frame(self.limit), std::iter::once(first).chain(behind));
        right.measure(0, len - slot);
        self.limit = self.limit.min(bound);
        self.bounds_changed();
        self.measure(at, slot);
        Some(right)
    }

    /// Takes over blocks; bounds must be set then.
    pub(super) fn push_blocks(&mut self, mut right: Self) {
        for Part { block, fill, .. } in right.take_parts(0) {
            let at = self.blocks.len();
            self.blocks.push(block);
            *self.fill_mut(at) = fill;
        }
    }
}
