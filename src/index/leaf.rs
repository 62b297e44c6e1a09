//! Leaves hold blocks and route among them.
//!
//! A leaf maps a digest to a *quantum*, `(digest − base) ÷ 2^shift` in 31 bits, and block `i` holds exactly the entries with
//! `bounds[i] <= quantum < bounds[i + 1]`, the first and the last block also what lies outside. So four bytes a block route
//! exactly, whatever the distribution of the keys, and eight more predict where in the block a key is: the routing of ten
//! million keys all but stays in a core's own cache. The price is that a bound cannot fall between two keys of the same
//! quantum; [`fit`](super::fit) re-bases leaves so that it never has to.
//!
//! A look-up reads four lines of a leaf: the header, and of the group that it leads to, at once, bounds, fills and addresses.
//!
//! Invariants: no block is empty; `bounds` strictly ascends, `i32::MAX` behind the blocks; for byte strings all keys of a
//! leaf share their first `skip` bytes, which are also those of `sample`.

use std::cell::Cell;
use std::cmp::Ordering;

use super::block::{Block, SLOTS};
use super::block_list::BlockList;
use super::digest::Digest;
use super::fill::{self, Fill};
use super::key::IndexKey;
use super::lanes::{Lanes, Plain};
use super::pool::Pooled;
use super::search;

/// Blocks a leaf holds at most: some 6,000 entries when bulk-loaded.
pub(super) const BLOCKS: usize = GROUP * GROUPS;
/// Blocks whose routing shares a cache line.
const GROUP: usize = search::LANES;
/// Groups of a leaf.
const GROUPS: usize = search::LANES;
/// The greatest quantum; whatever lies beyond has it too.
pub(super) const QUANTUM_MAX: i32 = i32::MAX - 1;

/// Up to [`BLOCKS`] blocks in key order.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Leaf<K: IndexKey, V> {
    /// The first bound behind each group.
    behind: [i32; GROUPS],
    pub(super) base: K::Digest,
    pub(super) shift: u32,
    /// Leading bytes all keys share, by which digests are taken.
    pub(super) skip: u32,
    /// Where the range of the last block is taken to end when a slot is predicted: above its bound.
    pub(super) limit: i32,
    /// Above 0 while sampled look-ups mostly end outside the predicted window: then blocks are searched without a prediction.
    pub(super) doubt: Cell<i8>,
    /// By groups, each in a cache line.
    routes: [Routes; GROUPS],
    /// By groups, each in a cache line.
    fills: [Fills; GROUPS],
    pub(super) blocks: BlockList<K, V, BLOCKS>,
    /// A key with the shared prefix; default where digests are exact.
    pub(super) sample: K::Rest,
}

/// Where in a leaf a key is, or would be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The block.
    pub(super) at: usize,
    pub(super) slot: usize,
    /// The window that the key was expected in begins here.
    pub(super) start: usize,
    /// The key's.
    pub(super) quantum: i32,
}

impl Place {
    /// The beginning of the window that the key was expected in, if it is not above the slot: known before the slot was.
    #[inline(always)]
    pub(super) fn start_below(self) -> usize {
        if self.start <= self.slot { self.start } else { 0 }
    }
}

/// What leads to one of neighbouring blocks, and to a part of its range, in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Routes {
    /// First quantum of each block.
    bounds: [i32; GROUP],
    /// Of each block, how many of a fill's positions a quantum is: a division that each look-up is spared.
    densities: [f32; GROUP],
}

impl Default for Routes {
    fn default() -> Self {
        Self { bounds: [i32::MAX; GROUP], densities: [0.0; GROUP] }
    }
}

/// What predicts slots in neighbouring blocks, in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Fills([Fill; GROUP]);

/// A block on its way from one leaf to another.
#[derive(Debug)]
pub(super) struct Part<K: IndexKey, V> {
    pub(super) block: Pooled<Block<K, V>>,
    pub(super) bound: i32,
    pub(super) fill: Fill,
}

/// How digests of a leaf become quanta, and what all keys share.
#[derive(Clone, Debug)]
pub(super) struct Frame<K: IndexKey> {
    pub(super) base: K::Digest,
    pub(super) shift: u32,
    pub(super) limit: i32,
    pub(super) skip: u32,
    pub(super) sample: K::Rest,
}

impl<K: IndexKey, V: Copy + Send> Leaf<K, V> {
    /// A leaf of blocks in key order.
    pub(super) fn from_parts(frame: Frame<K>, parts: impl IntoIterator<Item = Part<K, V>>) -> Pooled<Self> {
        let Frame { base, shift, limit, skip, sample } = frame;
        let (routes, fills) = ([Routes::default(); GROUPS], [Fills([Fill::default(); GROUP]); GROUPS]);
        let behind = [i32::MAX; GROUPS];
        let blocks = BlockList::new();
        let mut leaf = Pooled::new(Self { behind, base, shift, skip, limit, doubt: Cell::new(0), routes, fills, blocks, sample });
        for Part { block, bound, fill } in parts {
            let at = leaf.blocks.len();
            leaf.blocks.push(block);
            leaf.set_bound(at, bound);
            *leaf.fill_mut(at) = fill;
        }
        leaf.bounds_changed();
        leaf
    }

    /// A leaf of one block without entries, fitted to `key`, which must be inserted next. `filler` is never read.
    pub(super) fn empty(key: &K::View, filler: V) -> Pooled<Self> {
        let skip = K::shared_prefix(key, key);
        let sample = if K::EXACT { K::Rest::default() } else { K::from_view(key).into_rest() };
        let frame = Frame { base: K::digest(key, skip), shift: 0, limit: 1, skip: skip as u32, sample };
        Self::from_parts(frame, [Part { block: Block::new(filler), bound: 0, fill: Fill::default() }])
    }

    /// A leaf of one entry.
    pub(super) fn of_one(key: K, value: V) -> Pooled<Self> {
        let mut leaf = Self::empty(key.view(), value);
        let digest = leaf.base;
        leaf.insert::<Plain>(Place::default(), digest, key.into_rest(), value);
        leaf
    }

    /// To be called after any change of bounds, or of where the last range is taken to end.
    pub(super) fn bounds_changed(&mut self) {
        for (behind, routes) in self.behind.iter_mut().zip(&self.routes[1..]) {
            *behind = routes.bounds[0];
        }
        for (routes, behind) in self.routes.iter_mut().zip(self.behind) {
            for lane in 0..GROUP {
                let end = if lane + 1 < GROUP { routes.bounds[lane + 1] } else { behind };
                routes.densities[lane] = fill::density(routes.bounds[lane], end.min(self.limit));
            }
        }
    }

    pub(super) fn bound(&self, at: usize) -> i32 {
        self.routes[at / GROUP].bounds[at % GROUP]
    }

    /// Sets a bound; [`bounds_changed`](Self::bounds_changed) must follow.
    pub(super) fn set_bound(&mut self, at: usize, bound: i32) {
        self.routes[at / GROUP].bounds[at % GROUP] = bound;
    }

    pub(super) fn fill(&self, at: usize) -> Fill {
        self.fills[at / GROUP].0[at % GROUP]
    }

    pub(super) fn fill_mut(&mut self, at: usize) -> &mut Fill {
        &mut self.fills[at / GROUP].0[at % GROUP]
    }

    /// The quanta that a block's entries are expected in: from, and below.
    fn span(&self, at: usize) -> (i32, i32) {
        let end = if at + 1 < BLOCKS { self.bound(at + 1) } else { i32::MAX };
        (self.bound(at), end.min(self.limit))
    }

    /// The quantum that a block's entries are expected from, and how they are spread over its fill's positions.
    #[inline(always)]
    pub(super) fn scale(&self, at: usize) -> (i32, f32) {
        let routes = &self.routes[at / GROUP % GROUPS];
        (routes.bounds[at % GROUP], routes.densities[at % GROUP])
    }

    pub(super) fn len_of(&self, block: usize) -> usize {
        self.fill(block).len()
    }

    /// Blocks and their lengths.
    pub(super) fn parts(&self) -> impl Iterator<Item = (&Block<K, V>, usize)> + Clone {
        self.blocks.iter().enumerate().map(|(at, block)| (block, self.len_of(at)))
    }

    /// Entries in all blocks.
    pub(super) fn entries(&self) -> usize {
        (0..self.blocks.len()).map(|at| self.len_of(at)).sum()
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
        digest.distance(self.base).scale(self.shift, QUANTUM_MAX as u32) as i32
    }

    /// The group that leads to the keys of this quantum.
    #[inline(always)]
    fn route_coarse<L: Lanes>(&self, quantum: i32) -> usize {
        // Behind the last group lies nothing.
        let group = search::count_but_last::<L>(&self.behind, quantum);
        search::prefetch(self.blocks.place(group * GROUP));
        search::prefetch(&self.fills[group]);
        group
    }

    /// The block of a group that leads to the keys of this quantum. Whatever lies before the first block is sought there.
    #[inline(always)]
    fn route_fine<L: Lanes>(&self, group: usize, quantum: i32) -> usize {
        search::count_but_first::<L>(&self.routes[group].bounds, quantum)
    }

    /// The block that holds the keys of this quantum.
    #[inline(always)]
    pub(super) fn route(&self, quantum: i32) -> usize {
        let group = self.route_coarse::<Plain>(quantum);
        group * GROUP + self.route_fine::<Plain>(group, quantum)
    }

    /// Where `key` is, or where it would be inserted. To change something there, what has to move is fetched too.
    #[inline(always)]
    pub(super) fn find<L: Lanes>(&self, key: &K::View, to_change: bool) -> Result<Place, Place> {
        match self.compare_prefix(key) {
            Ordering::Less => return Err(Place::default()),
            Ordering::Greater => {
                let (at, slot) = self.end();
                return Err(Place { at, slot, ..Place::default() });
            }
            Ordering::Equal => {}
        }
        let digest = self.digest_of(key);
        let quantum = self.quantum(digest);
        let group = self.route_coarse::<L>(quantum);
        let lane = self.route_fine::<L>(group, quantum);
        let at = group * GROUP + lane;
        let block = &self.blocks[at];
        let len = self.fills[group].0[lane].len();
        let mut start = 0;
        let found = if self.doubt.get() > 0 {
            block.prefetch();
            block.find(key, digest, len)
        } else {
            start = self.window(group, lane, quantum);
            if to_change {
                block.prefetch_behind(start, len);
            } else {
                block.prefetch_now::<L>(start);
            }
            block.find_near::<L>(start, key, digest, len)
        };
        match found {
            Ok(slot) => Ok(Place { at, slot, start, quantum }),
            Err(slot) => Err(Place { at, slot, start, quantum }),
        }
    }

    /// The value of `key`.
    #[inline(always)]
    pub(super) fn get<L: Lanes>(&self, key: &K::View) -> Option<V> {
        let quantum = self.quantum(self.digest_of(key));
        let group = self.route_coarse::<L>(quantum);
        let lane = self.route_fine::<L>(group, quantum);
        let at = group * GROUP + lane;
        let block = &self.blocks[at];
        let mut start = SLOTS;
        if self.doubt.get() > 0 {
            block.prefetch();
        } else {
            start = self.window(group, lane, quantum);
            block.prefetch_now::<L>(start);
        }
        self.get_expected::<L>((at, start), key)
    }

    /// The slot of `block` that the model expects `key` in.
    pub(super) fn predict(&self, block: usize, key: &K::View) -> usize {
        let (start, density) = self.scale(block);
        self.fill(block).predict(self.quantum(self.digest_of(key)), start, density)
    }

    /// Where the window begins in which a quantum is expected.
    #[inline(always)]
    fn window(&self, group: usize, lane: usize, quantum: i32) -> usize {
        let routes = &self.routes[group];
        self.fills[group].0[lane].window(quantum, routes.bounds[lane], routes.densities[lane])
    }

    /// Fetches what routes further to `key`.
    #[inline(always)]
    pub(super) fn approach<L: Lanes>(&self, key: &K::View) -> usize {
        let group = self.route_coarse::<L>(self.quantum(self.digest_of(key)));
        search::prefetch(&self.routes[group]);
        group
    }

    /// The block that would hold `key`, in the group that [`approach`](Self::approach) named, and the window it is expected in; what
    /// tells where it is there is being fetched.
    #[inline(always)]
    pub(super) fn expect_in<L: Lanes>(&self, group: usize, key: &K::View) -> (usize, usize) {
        let quantum = self.quantum(self.digest_of(key));
        let lane = self.route_fine::<L>(group, quantum);
        let at = group * GROUP + lane;
        let block = &self.blocks[at];
        if self.doubt.get() > 0 {
            block.prefetch();
            return (at, SLOTS);
        }
        let start = self.window(group, lane, quantum);
        if K::EXACT {
            block.prefetch_digests(start);
        } else {
            block.prefetch_near(start);
        }
        (at, start)
    }

    /// The value of `key` in the place that [`expect_in`](Self::expect_in) named.
    #[inline(always)]
    pub(super) fn get_expected<L: Lanes>(&self, (at, start): (usize, usize), key: &K::View) -> Option<V> {
        if self.compare_prefix(key).is_ne() {
            return None;
        }
        let (block, digest) = (&self.blocks[at], self.digest_of(key));
        if start == SLOTS {
            return block.get(key, digest, self.len_of(at));
        }
        block.get_near::<L>(start, key, digest, || self.len_of(at))
    }

    /// Where the value of `key` is, which is being fetched, unless the key is not in the window of `place`: then it is in the one that
    /// `place` names now, which is being fetched.
    #[inline(always)]
    pub(super) fn find_or_step<L: Lanes>(&self, place: &mut (usize, usize), key: &K::View) -> Option<Option<&V>> {
        let digest = self.digest_of(key);
        if place.1 == SLOTS || digest == K::Digest::MAX {
            return None;
        }
        match self.blocks[place.0].find_in_window::<L>(place.1, digest) {
            Ok(value) => Some(value),
            Err(beside) => {
                place.1 = beside;
                None
            }
        }
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
    pub(super) fn insert<L: Lanes>(&mut self, place: Place, digest: K::Digest, rest: K::Rest, value: V) {
        let at = place.at;
        let len = self.len_of(at);
        // First, because it has all it needs from the search.
        let (start, density) = self.scale(at);
        let quantum = self.quantum(digest);
        self.fill_mut(at).inserted(quantum, start, density);
        self.blocks[at].insert::<L>(place.start_below(), place.slot, len, digest, rest, value);
    }

    /// Counts anew where in its range a block of `len` has its entries. Of several blocks the last comes first: its range
    /// bounds those of the others.
    pub(super) fn measure(&mut self, at: usize, len: usize) {
        if at + 1 == self.blocks.len() {
            let last = self.quantum(self.blocks[at].digest(len - 1));
            self.limit = last.max(self.bound(at)) + 1;
            self.bounds_changed();
        }
        let (start, end) = self.span(at);
        let digests = self.blocks[at].digests();
        let below = |boundary| search::lower(digests, self.base.beyond(boundary as u32, self.shift)).min(len);
        let counts = fill::boundaries(start, end).map(below);
        *self.fill_mut(at) = Fill::new(counts, len);
    }

    /// Bytes of the leaf and its blocks, without what keys own on the heap.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.blocks.len() * size_of::<Block<K, V>>() + K::rest_heap_bytes(&self.sample)
    }

    pub(super) fn key_heap_bytes(&self) -> usize {
        self.parts().map(|(block, len)| block.key_heap_bytes(len)).sum()
    }

    /// Fetches the header of this leaf.
    #[inline(always)]
    pub(super) fn prefetch(&self) {
        search::prefetch(&self.behind);
    }

    /// Asserts every invariant.
    pub(super) fn check(&self) {
        let count = self.blocks.len();
        assert!(0 < count && count <= BLOCKS);
        let bounds: Vec<i32> = self.routes.iter().flat_map(|routes| routes.bounds).collect();
        assert!(bounds[..count].is_sorted_by(|a, b| a < b));
        assert!(bounds[count..].iter().all(|bound| *bound == i32::MAX));
        assert!(self.bound(count - 1) < self.limit);
        let behind = bounds.iter().step_by(GROUP).skip(1).chain([&i32::MAX]);
        assert!(self.behind.iter().eq(behind));
        for at in 0..count {
            let (start, end) = self.span(at);
            assert!(self.scale(at) == (start, fill::density(start, end)));
        }
        for (at, (block, len)) in self.parts().enumerate() {
            block.check(len);
            for slot in 0..len {
                let key = block.key(slot);
                assert_eq!(self.compare_prefix(K::ref_view(&key)), Ordering::Equal);
                assert_eq!(self.digest_of(K::ref_view(&key)), block.digest(slot));
                assert_eq!(self.route(self.quantum(block.digest(slot))), at);
            }
        }
    }
}
