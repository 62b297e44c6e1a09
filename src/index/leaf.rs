//! Leaves hold blocks and route among them.
//!
//! A leaf maps a digest to a *quantum*, `(digest − base) ÷ 2^shift` in 31 bits, and block `i` holds exactly the entries with
//! `bounds[i] <= quantum < bounds[i + 1]`. So four bytes a block route exactly, whatever the distribution of the keys, and
//! the routing of ten million keys stays in a core's own cache. The price is that a bound cannot fall between two keys of
//! the same quantum; [`fit`](super::fit) re-bases leaves so that it never has to.
//!
//! Invariants: no block is empty; `bounds` strictly ascends from 0, `i32::MAX` behind the blocks; for byte strings all keys
//! of a leaf share their first `skip` bytes, which are also those of `sample`.

use std::cell::Cell;
use std::cmp::Ordering;

use smallvec::SmallVec;

use super::block::{Block, SLOTS};
use super::digest::Digest;
use super::key::IndexKey;
use super::search;

/// Blocks a leaf holds at most: some 2,600 entries when bulk-loaded.
pub(super) const BLOCKS: usize = 64;
/// The greatest quantum; whatever lies beyond has it too.
pub(super) const QUANTUM_MAX: i32 = i32::MAX - 1;
/// A neighbour with at most this many entries takes some over from a full block.
const NEIGHBOUR_LEN_MAX: usize = SLOTS * 7 / 8;
/// A block left with fewer entries joins a neighbour when both together have at most [`MERGED_LEN_MAX`].
const BLOCK_LEN_MIN: usize = SLOTS / 4;
/// See [`BLOCK_LEN_MIN`]: leaves room, so that a merge is not undone by the next insert.
const MERGED_LEN_MAX: usize = SLOTS * 5 / 8;
/// Every how many bounds one is repeated in [`Leaf::coarse`].
const COARSE_STEP: usize = 8;

/// Up to [`BLOCKS`] blocks in key order.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Leaf<K: IndexKey, V> {
    /// Every eighth bound, so that the first step of routing needs one line only.
    coarse: [i32; BLOCKS / COARSE_STEP],
    pub(super) shift: u32,
    /// Above 0 while sampled look-ups mostly end outside the predicted window: then blocks are searched without a prediction.
    pub(super) doubt: Cell<i8>,
    /// Leading bytes all keys share, by which digests are taken.
    pub(super) skip: u32,
    pub(super) base: K::Digest,
    /// First quantum of each block.
    bounds: [i32; BLOCKS],
    lens: [u8; BLOCKS],
    /// In the leaf itself, so that their addresses are fetched together with the bounds.
    pub(super) blocks: SmallVec<[Box<Block<K, V>>; BLOCKS]>,
    /// A key with the shared prefix; default where digests are exact.
    pub(super) sample: K::Rest,
}

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
    /// A leaf of blocks with the given bounds; the first bound is taken as 0.
    pub(super) fn from_parts(
        (base, shift): (K::Digest, u32),
        (skip, sample): (u32, K::Rest),
        blocks: Vec<Box<Block<K, V>>>,
        (bounds, lens): (&[i32], &[u8]),
    ) -> Box<Self> {
        assert!(blocks.len() <= BLOCKS && blocks.len() == bounds.len() && blocks.len() == lens.len());
        let mut leaf = Box::new(Self {
            coarse: [i32::MAX; BLOCKS / COARSE_STEP],
            shift,
            doubt: Cell::new(0),
            skip,
            blocks: blocks.into_iter().collect(),
            base,
            bounds: [i32::MAX; BLOCKS],
            lens: [0; BLOCKS],
            sample,
        });
        leaf.bounds[..bounds.len()].copy_from_slice(bounds);
        leaf.lens[..lens.len()].copy_from_slice(lens);
        leaf.bounds_changed();
        leaf
    }

    /// A leaf of one block without entries, fitted to `key`, which must be inserted next. `filler` is never read.
    pub(super) fn empty(key: &K::View, filler: V) -> Box<Self> {
        let skip = K::shared_prefix(key, key);
        let sample = if K::EXACT { K::Rest::default() } else { K::from_view(key).into_rest() };
        let base = K::digest(key, skip);
        Self::from_parts((base, 0), (skip as u32, sample), vec![Block::new(filler)], (&[0], &[0]))
    }

    /// A leaf of one entry.
    pub(super) fn of_one(key: K, value: V) -> Box<Self> {
        let mut leaf = Self::empty(key.view(), value);
        leaf.insert((0, 0), leaf.base, key.into_rest(), value);
        leaf
    }

    /// To be called after any change of `bounds`.
    fn bounds_changed(&mut self) {
        self.bounds[0] = 0;
        for (coarse, bound) in self.coarse.iter_mut().zip(self.bounds.iter().step_by(COARSE_STEP)) {
            *coarse = *bound;
        }
    }

    pub(super) fn set_bounds(&mut self, bounds: &[i32]) {
        assert_eq!(bounds.len(), self.blocks.len());
        self.bounds[..bounds.len()].copy_from_slice(bounds);
        self.bounds_changed();
    }

    pub(super) fn len_of(&self, block: usize) -> usize {
        usize::from(self.lens[block])
    }

    pub(super) fn lens(&self) -> &[u8] {
        &self.lens[..self.blocks.len()]
    }

    /// Entries in all blocks.
    pub(super) fn entries(&self) -> usize {
        self.lens().iter().map(|len| usize::from(*len)).sum()
    }

    #[inline(always)]
    pub(super) fn digest_of(&self, key: &K::View) -> K::Digest {
        K::digest(key, if K::EXACT { 0 } else { self.skip as usize })
    }

    /// How `key` compares with all keys that have the shared prefix, if it has not.
    #[inline(always)]
    pub(super) fn compare_prefix(&self, key: &K::View) -> Ordering {
        if K::EXACT {
            return Ordering::Equal;
        }
        let sample = K::key_ref(K::Digest::default(), &self.sample);
        K::compare_prefix(key, K::ref_view(&sample), self.skip as usize)
    }

    #[inline(always)]
    pub(super) fn quantum(&self, digest: K::Digest) -> i32 {
        digest.distance(self.base).scale(self.shift).min(QUANTUM_MAX as u32) as i32
    }

    /// The block that holds the keys of this quantum.
    #[inline(always)]
    pub(super) fn route(&self, quantum: i32) -> usize {
        let coarse: i32 = self.coarse.iter().map(|bound| i32::from(*bound <= quantum)).sum();
        let start = (coarse as usize - 1) * COARSE_STEP;
        if let Some(block) = self.blocks.get(start) {
            search::prefetch(block);
        }
        search::prefetch(&self.lens[start]);
        let fine: i32 = self.bounds[start..start + COARSE_STEP].iter().map(|bound| i32::from(*bound <= quantum)).sum();
        start + fine as usize - 1
    }

    /// Block and slot of `key`, or where it would be inserted.
    #[inline(always)]
    pub(super) fn find(&self, key: &K::View) -> Result<(usize, usize), (usize, usize)> {
        match self.compare_prefix(key) {
            Ordering::Less => return Err((0, 0)),
            Ordering::Greater => return Err(self.end()),
            Ordering::Equal => {}
        }
        let digest = self.digest_of(key);
        let at = self.route(self.quantum(digest));
        let block = &self.blocks[at];
        block.prefetch();
        match block.find(key, digest, self.len_of(at)) {
            Ok(slot) => Ok((at, slot)),
            Err(slot) => Err((at, slot)),
        }
    }

    /// The value of `key`.
    #[inline(always)]
    pub(super) fn get(&self, key: &K::View) -> Option<V> {
        if self.compare_prefix(key).is_ne() {
            return None;
        }
        let digest = self.digest_of(key);
        let at = self.route(self.quantum(digest));
        if self.doubt.get() > 0 {
            self.blocks[at].prefetch();
            return self.blocks[at].get(key, digest, self.len_of(at));
        }
        let predicted = self.predict_digest(at, digest);
        self.blocks[at].get_near(predicted, key, digest, self.len_of(at))
    }

    /// The slot of `block` that the model expects `key` in.
    pub(super) fn predict(&self, block: usize, key: &K::View) -> usize {
        self.predict_digest(block, self.digest_of(key))
    }

    /// The slot of `block` that the model expects a digest in: as far into the block as its quantum is into the block's.
    #[inline(always)]
    fn predict_digest(&self, block: usize, digest: K::Digest) -> usize {
        let start = self.bounds[block];
        let end = if block + 1 < BLOCKS { self.bounds[block + 1] } else { i32::MAX };
        let into = (self.quantum(digest) - start).max(0) as f32;
        let slot = into * f32::from(self.lens[block]) / (end - start) as f32;
        (slot as i32 as usize).min(SLOTS - 1)
    }

    /// The block that would hold `key` and the slot it is expected in, what is there being fetched.
    #[inline(always)]
    pub(super) fn prefetch_for(&self, key: &K::View) -> (usize, usize) {
        let digest = self.digest_of(key);
        let at = self.route(self.quantum(digest));
        if self.doubt.get() > 0 {
            self.blocks[at].prefetch();
            return (at, SLOTS);
        }
        let predicted = self.predict_digest(at, digest);
        self.blocks[at].prefetch_near(predicted);
        (at, predicted)
    }

    /// The value of `key` in the place that [`prefetch_for`](Self::prefetch_for) named.
    #[inline(always)]
    pub(super) fn get_in(&self, (at, predicted): (usize, usize), key: &K::View) -> Option<V> {
        if self.compare_prefix(key).is_ne() {
            return None;
        }
        if predicted == SLOTS {
            return self.blocks[at].get(key, self.digest_of(key), self.len_of(at));
        }
        self.blocks[at].get_near(predicted, key, self.digest_of(key), self.len_of(at))
    }

    /// Behind the last entry.
    pub(super) fn end(&self) -> (usize, usize) {
        let last = self.blocks.len() - 1;
        (last, self.len_of(last))
    }

    /// The first and the last key.
    pub(super) fn ends(&self) -> (K::Ref<'_>, K::Ref<'_>) {
        let (last, len) = self.end();
        (self.blocks[0].key(0), self.blocks[last].key(len - 1))
    }

    /// Whether the block has room for one more.
    pub(super) fn has_room(&self, block: usize) -> bool {
        self.len_of(block) < SLOTS
    }

    /// Inserts where [`find`](Self::find) said; the block must have room and the key the shared prefix.
    #[inline]
    pub(super) fn insert(&mut self, (block, slot): (usize, usize), digest: K::Digest, rest: K::Rest, value: V) {
        let len = self.len_of(block);
        self.blocks[block].insert(slot, len, digest, rest, value);
        self.lens[block] += 1;
    }

    /// Removes an entry; whether the leaf is empty now, in which case it must be dropped.
    pub(super) fn remove(&mut self, (at, slot): (usize, usize)) -> (V, bool) {
        let len = self.len_of(at);
        let value = self.blocks[at].remove(slot, len);
        self.lens[at] -= 1;
        if len == 1 {
            self.drop_block(at);
        } else if len - 1 < BLOCK_LEN_MIN {
            self.merge_block(at);
        }
        (value, self.blocks.is_empty())
    }

    /// Takes a block out. What routed to it routes to the one before, or for the first to the one behind.
    fn drop_block(&mut self, at: usize) -> Box<Block<K, V>> {
        let count = self.blocks.len();
        self.bounds.copy_within(at + 1..count, at);
        self.lens.copy_within(at + 1..count, at);
        self.bounds[count - 1] = i32::MAX;
        self.lens[count - 1] = 0;
        let block = self.blocks.remove(at);
        self.bounds_changed();
        block
    }

    fn put_block(&mut self, at: usize, block: Box<Block<K, V>>, bound: i32, len: usize) {
        let count = self.blocks.len();
        self.bounds.copy_within(at..count, at + 1);
        self.lens.copy_within(at..count, at + 1);
        self.bounds[at] = bound;
        self.lens[at] = len as u8;
        self.blocks.insert(at, block);
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
        self.lens[left] += right_len as u8;
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
        self.lens[at] = slot as u8;
        self.put_block(at + 1, fresh, bound, SLOTS - slot);
        Room::Made
    }

    /// Hands about `count` entries of a full block to the next one, which keeps room: else entries that no bound can part
    /// would go to and fro.
    fn shift_right(&mut self, at: usize, count: usize) -> bool {
        let right_len = self.len_of(at + 1);
        let Some(slot) = self.boundary_near(at, SLOTS - count, (right_len + 1).max(SLOTS / 2)..SLOTS) else {
            return false;
        };
        self.bounds[at + 1] = self.quantum(self.blocks[at].digest(slot));
        let [left, right] = &mut self.blocks[at..at + 2] else { unreachable!("a slice of two") };
        left.move_to_next(slot, SLOTS, right, right_len);
        self.lens[at] = slot as u8;
        self.lens[at + 1] += (SLOTS - slot) as u8;
        self.bounds_changed();
        true
    }

    /// Hands about `count` entries of a full block to the one before.
    fn shift_left(&mut self, at: usize, count: usize) -> bool {
        let left_len = self.len_of(at - 1);
        let Some(slot) = self.boundary_near(at, count, 1..(SLOTS - left_len).min(SLOTS / 2)) else {
            return false;
        };
        self.bounds[at] = self.quantum(self.blocks[at].digest(slot));
        let [left, right] = &mut self.blocks[at - 1..=at] else { unreachable!("a slice of two") };
        right.move_to_previous(slot, SLOTS, left, left_len);
        self.lens[at - 1] += slot as u8;
        self.lens[at] -= slot as u8;
        self.bounds_changed();
        true
    }

    /// Starts a new block with a key behind the last one, if its quantum is beyond the last one's.
    pub(super) fn append_block(&mut self, digest: K::Digest, rest: K::Rest, value: V) -> Result<(), K::Rest> {
        let (last, len) = self.end();
        let bound = self.quantum(digest);
        if self.blocks.len() == BLOCKS || bound == QUANTUM_MAX || bound <= self.quantum(self.blocks[last].digest(len - 1)) {
            return Err(rest);
        }
        let mut fresh = Block::new(value);
        fresh.insert(0, 0, digest, rest, value);
        self.put_block(last + 1, fresh, bound, 1);
        Ok(())
    }

    /// Keeps the blocks before `at` and returns a leaf of the others. Both must keep some.
    pub(super) fn split_off_blocks(&mut self, at: usize) -> Box<Self> {
        let count = self.blocks.len();
        assert!(0 < at && at < count, "no leaf is empty");
        let blocks = self.blocks.drain(at..).collect();
        let right = Self::from_parts(
            (self.base, self.shift),
            (self.skip, self.sample.clone()),
            blocks,
            (&self.bounds[at..count], &self.lens[at..count]),
        );
        self.bounds[at..].fill(i32::MAX);
        self.lens[at..].fill(0);
        self.bounds_changed();
        right
    }

    /// Splits one block at a slot into two of the same leaf-wise bounds, for a split of the leaf between them.
    pub(super) fn split_off_entries(&mut self, at: usize, slot: usize) -> Option<Box<Self>> {
        let len = self.len_of(at);
        assert!(slot < len);
        if slot == 0 {
            return (at > 0).then(|| self.split_off_blocks(at));
        }
        let mut fresh = Block::new(self.blocks[at].value(0));
        self.blocks[at].move_to_next(slot, len, &mut fresh, 0);
        self.lens[at] = slot as u8;
        let count = self.blocks.len();
        let mut blocks: Vec<_> = self.blocks.drain(at + 1..).collect();
        blocks.insert(0, fresh);
        let bounds: Vec<i32> = std::iter::once(0).chain(self.bounds[at + 1..count].iter().copied()).collect();
        let lens: Vec<u8> = std::iter::once((len - slot) as u8).chain(self.lens[at + 1..count].iter().copied()).collect();
        let sample = (self.skip, self.sample.clone());
        let right = Self::from_parts((self.base, self.shift), sample, blocks, (&bounds, &lens));
        self.bounds[at + 1..].fill(i32::MAX);
        self.lens[at + 1..].fill(0);
        self.bounds_changed();
        Some(right)
    }

    /// Takes over blocks; their bounds must be set then.
    pub(super) fn push_blocks(&mut self, right: Self) {
        let count = self.blocks.len();
        self.lens[count..count + right.blocks.len()].copy_from_slice(right.lens());
        self.blocks.extend(right.blocks);
    }

    /// Bytes of the leaf and its blocks, without what keys own on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.len() * size_of::<Block<K, V>>() + K::rest_heap_bytes(&self.sample)
    }

    pub(super) fn key_heap_bytes(&self) -> usize {
        self.blocks.iter().zip(self.lens()).map(|(block, len)| block.key_heap_bytes(usize::from(*len))).sum()
    }

    /// Fetches the routing of this leaf.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        search::prefetch(&self.coarse);
    }

    /// Asserts every invariant.
    pub(super) fn check(&self) {
        let count = self.blocks.len();
        assert!(0 < count && count <= BLOCKS);
        assert_eq!(self.bounds[0], 0);
        assert!(self.bounds[..count].is_sorted_by(|a, b| a < b));
        assert!(self.bounds[count..].iter().all(|bound| *bound == i32::MAX));
        for (coarse, bound) in self.coarse.iter().zip(self.bounds.iter().step_by(COARSE_STEP)) {
            assert_eq!(coarse, bound);
        }
        for (at, block) in self.blocks.iter().enumerate() {
            let len = self.len_of(at);
            block.check(len);
            let next = if at + 1 < count { self.bounds[at + 1] } else { i32::MAX };
            for slot in 0..len {
                let key = block.key(slot);
                assert_eq!(self.compare_prefix(K::ref_view(&key)), Ordering::Equal);
                assert_eq!(self.digest_of(K::ref_view(&key)), block.digest(slot));
                let quantum = self.quantum(block.digest(slot));
                assert!(self.bounds[at] <= quantum && quantum < next);
            }
        }
    }
}
