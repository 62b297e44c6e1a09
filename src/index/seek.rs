//! Positions, and how keys, ranks and neighbours are found.

use std::ops::Bound;

use super::key::IndexKey;
use super::lanes::{Lanes, Plain};
use super::leaf::{Leaf, Place};
use super::map::LearnedIndex;
use super::node::Node;
use super::search::STEPS_MAX;

/// Keys whose memory is fetched together.
const BATCH: usize = 64;

/// Where an entry is: valid until the next change of the index. Ordered as the entries are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) node: u32,
    pub(super) leaf: u32,
    pub(super) block: u32,
    pub(super) slot: u32,
}

impl Position {
    pub(super) fn new(node: usize, leaf: usize, (block, slot): (usize, usize)) -> Self {
        Self { node: node as u32, leaf: leaf as u32, block: block as u32, slot: slot as u32 }
    }

    /// Block and slot within the leaf.
    pub(super) fn place(self) -> (usize, usize) {
        (self.block as usize, self.slot as usize)
    }
}

impl<K: IndexKey, V: Copy + Send> LearnedIndex<K, V> {
    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn leaf_at(&self, position: Position) -> &Leaf<K, V> {
        &self.nodes[position.node as usize].leaves[position.leaf as usize]
    }

    pub(super) fn leaf_mut_at(&mut self, position: Position) -> &mut Leaf<K, V> {
        &mut self.nodes[position.node as usize].leaves[position.leaf as usize]
    }

    /// The place of a position in its leaf, on an entry.
    pub(super) fn place_of(&self, position: Position) -> Place {
        let (at, slot) = position.place();
        let leaf = self.leaf_at(position);
        Place { at, slot, start: 0, quantum: leaf.quantum(leaf.blocks[at].digest(slot)) }
    }

    pub(super) fn value_at(&self, position: Position) -> V {
        self.leaf_at(position).blocks[position.block as usize].value(position.slot as usize)
    }

    pub(super) fn value_mut_at(&mut self, position: Position) -> &mut V {
        let (block, slot) = position.place();
        self.leaf_mut_at(position).blocks[block].value_mut(slot)
    }

    pub(super) fn entry_at(&self, position: Position) -> (K::Ref<'_>, V) {
        self.leaf_at(position).blocks[position.block as usize].entry(position.slot as usize)
    }

    /// The node that holds `key` if any does, and which one it is; none when the index is empty.
    #[inline(always)]
    pub(super) fn node_for(&self, key: &K::View) -> Option<(usize, &Node<K, V>)> {
        if let [only] = &self.nodes[..] {
            return Some((0, only));
        }
        let at = self.node_among(key);
        Some((at, self.nodes.get(at)?))
    }

    /// Which of several nodes holds `key` if any does.
    #[inline(always)]
    fn node_among(&self, key: &K::View) -> usize {
        if self.nodes.is_empty() {
            return 0;
        }
        let digest = K::digest(key, 0);
        self.lows[1..]
            .partition_point(|(low, rest)| *low < digest || (*low == digest && (K::EXACT || K::compare_rest(rest, key).is_le())))
    }

    /// The leaf that holds `key` if any does; none when the index is empty.
    #[inline(always)]
    pub(super) fn leaf_for<L: Lanes>(&self, key: &K::View) -> Option<&Leaf<K, V>> {
        let (_, node) = self.node_for(key)?;
        Some(&node.leaves[node.route::<L>(key)])
    }

    /// The position of `key`, or the one at which it would be inserted.
    #[inline]
    pub(super) fn find(&self, key: &K::View) -> Result<Position, Position> {
        self.find_by(key, false)
    }

    /// [`find`](Self::find), to read on from there: what lies behind in the block is fetched too.
    #[inline]
    fn find_ahead(&self, key: &K::View) -> Result<Position, Position> {
        self.find_by(key, true)
    }

    /// In the plain version, because that is inlined where positions are used: they would come back in memory otherwise.
    #[inline(always)]
    fn find_by(&self, key: &K::View, ahead: bool) -> Result<Position, Position> {
        let Some((at, node)) = self.node_for(key) else {
            return Err(Position::default());
        };
        let leaf = node.route::<Plain>(key);
        match node.leaves[leaf].find::<Plain>(key, ahead) {
            Ok(place) => Ok(Position::new(at, leaf, (place.at, place.slot))),
            Err(place) => Err(Position::new(at, leaf, (place.at, place.slot))),
        }
    }

    /// `position`, or the first entry behind it when it lies behind the last of its block.
    fn settle(&self, position: Position) -> Option<Position> {
        let node = self.nodes.get(position.node as usize)?;
        let leaf = &node.leaves[position.leaf as usize];
        if (position.slot as usize) < leaf.len_of(position.block as usize) {
            return Some(position);
        }
        self.next_block(position)
    }

    /// The first entry of the next block.
    pub(super) fn next_block(&self, position: Position) -> Option<Position> {
        let node = &self.nodes[position.node as usize];
        if position.block as usize + 1 < node.leaves[position.leaf as usize].blocks.len() {
            Some(Position { block: position.block + 1, slot: 0, ..position })
        } else if position.leaf as usize + 1 < node.leaves.len() {
            Some(Position { leaf: position.leaf + 1, block: 0, slot: 0, ..position })
        } else if position.node as usize + 1 < self.nodes.len() {
            Some(Position { node: position.node + 1, leaf: 0, block: 0, slot: 0 })
        } else {
            None
        }
    }

    /// The last entry of the block before.
    pub(super) fn previous_block(&self, position: Position) -> Option<Position> {
        let (mut node, mut leaf) = (position.node as usize, position.leaf as usize);
        if position.block > 0 {
            let block = position.block as usize - 1;
            let slot = self.leaf_at(position).len_of(block) - 1;
            return Some(Position::new(node, leaf, (block, slot)));
        }
        if leaf == 0 {
            node = node.checked_sub(1)?;
            leaf = self.nodes[node].leaves.len();
        }
        let (block, len) = self.nodes[node].leaves[leaf - 1].end();
        Some(Position::new(node, leaf - 1, (block, len - 1)))
    }

    pub(super) fn next_position(&self, position: Position) -> Option<Position> {
        self.settle(Position { slot: position.slot + 1, ..position })
    }

    pub(super) fn previous_position(&self, position: Position) -> Option<Position> {
        if position.slot > 0 {
            return Some(Position { slot: position.slot - 1, ..position });
        }
        if self.nodes.is_empty() { None } else { self.previous_block(position) }
    }

    pub(super) fn lower_position(&self, bound: Bound<&K::View>) -> Option<Position> {
        match bound {
            Bound::Unbounded => self.settle(Position::default()),
            Bound::Included(key) => self.settle(self.find_ahead(key).unwrap_or_else(|position| position)),
            Bound::Excluded(key) => match self.find_ahead(key) {
                Ok(position) => self.next_position(position),
                Err(position) => self.settle(position),
            },
        }
    }

    pub(super) fn upper_position(&self, bound: Bound<&K::View>) -> Option<Position> {
        match bound {
            Bound::Unbounded => {
                let node = self.nodes.len().checked_sub(1)?;
                let leaf = self.nodes[node].leaves.len() - 1;
                let (block, len) = self.nodes[node].leaves[leaf].end();
                Some(Position::new(node, leaf, (block, len - 1)))
            }
            Bound::Included(key) => match self.find(key) {
                Ok(position) => Some(position),
                Err(position) => self.previous_position(position),
            },
            Bound::Excluded(key) => self.previous_position(self.find(key).unwrap_or_else(|position| position)),
        }
    }

    pub(super) fn position_of_rank(&self, rank: usize) -> Option<Position> {
        let mut left = rank;
        for (node, held) in self.nodes.iter().enumerate() {
            for (leaf, held) in held.leaves.iter().enumerate() {
                let entries = held.entries();
                if left >= entries {
                    left -= entries;
                    continue;
                }
                for (block, (_, len)) in held.parts().enumerate() {
                    if left < len {
                        return Some(Position::new(node, leaf, (block, left)));
                    }
                    left -= len;
                }
            }
        }
        None
    }

    /// Looks keys up in groups, one step of all before the next step of any, so that their fetches overlap.
    #[inline(always)]
    pub(super) fn get_batch_by<L: Lanes, Q>(&self, keys: &[Q], view: impl Fn(&Q) -> &K::View, values: &mut [Option<V>]) {
        assert_eq!(keys.len(), values.len(), "one place a key");
        if self.nodes.is_empty() {
            values.fill(None);
            return;
        }
        for (keys, values) in keys.chunks(BATCH).zip(values.chunks_mut(BATCH)) {
            let first = &*self.nodes[0].leaves[0];
            let mut leaves = [first; BATCH];
            let mut groups = [0; BATCH];
            let mut places = [(0, 0); BATCH];
            for (leaf, key) in leaves.iter_mut().zip(keys) {
                *leaf = self.leaf_for::<L>(view(key)).expect("the index is not empty");
                leaf.prefetch();
            }
            self.counters.looked_up_batch(keys.len(), leaves[0], view(&keys[0]));
            for ((group, leaf), key) in groups.iter_mut().zip(leaves).zip(keys) {
                *group = leaf.approach::<L>(view(key));
            }
            for (((place, group), leaf), key) in places.iter_mut().zip(groups).zip(leaves).zip(keys) {
                *place = leaf.expect_in::<L>(group, view(key));
            }
            // Keys that are not where they were expected are sought anew when all have had their turn, and so are values read.
            let mut found: [Option<&V>; BATCH] = [None; BATCH];
            let mut open: [u8; BATCH] = std::array::from_fn(|at| at as u8);
            let mut left = keys.len();
            for _ in 0..if K::EXACT { STEPS_MAX } else { 0 } {
                let mut still = 0;
                for turn in 0..left {
                    let at = usize::from(open[turn]) % BATCH;
                    match leaves[at].find_or_step::<L>(&mut places[at], view(&keys[at])) {
                        Some(value) => found[at] = value,
                        None => {
                            open[still] = at as u8;
                            still += 1;
                        }
                    }
                }
                left = still;
            }
            for (value, found) in values.iter_mut().zip(found) {
                *value = found.copied();
            }
            for at in open[..left].iter().map(|at| usize::from(*at)) {
                values[at] = leaves[at].get_expected::<L>(places[at], view(&keys[at]));
            }
        }
    }
}
