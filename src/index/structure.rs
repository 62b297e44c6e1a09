//! Inserting and removing at a position, and the changes of structure this brings about.
//!
//! Every step is bounded: a block has 64 slots, a leaf 64 blocks, a node a few thousand leaves, and one insert goes through
//! [`ROUNDS_MAX`] of them at most.

use std::cmp::Ordering;
use std::ops::Range;

use super::key::IndexKey;
use super::lanes::Plain;
use super::leaf::{BLOCKS, Leaf, Place};
use super::map::LearnedIndex;
use super::node::{Node, leaves_max, separator};
use super::pool::Pooled;
use super::room::Room;
use super::seek::Position;
use super::stats::Change;

/// Changes of structure that one insert may need: hand the key to another leaf, isolate a block there, let it give up some
/// of its prefix, fit it to its keys, split it.
const ROUNDS_MAX: usize = 16;
/// A byte string without the shared prefix makes a leaf of at most so many blocks give up some of the prefix.
const REDIGESTED_BLOCKS_MAX: usize = 4;
/// Leaves of at most so many blocks together become one when blocks were removed.
const MERGED_BLOCKS_MAX: usize = BLOCKS / 2;

impl<K: IndexKey, V: Copy + Send> LearnedIndex<K, V> {
    /// Inserts a key at the position [`find`](Self::find) gave and returns where the entry ended.
    pub(super) fn insert_at(&mut self, mut position: Position, key: K, value: V) -> Position {
        self.version += 1;
        self.len += 1;
        if self.nodes.is_empty() {
            return self.insert_first(key, value);
        }
        if K::EXACT && K::digest(key.view(), 0) > self.tail {
            self.tail = K::digest(key.view(), 0);
        }
        for _ in 0..ROUNDS_MAX {
            let leaf = &mut self.nodes[position.node as usize].leaves[position.leaf as usize];
            match leaf.compare_prefix(key.view()) {
                Ordering::Equal if leaf.has_room(position.block as usize) => {
                    let digest = leaf.digest_of(key.view());
                    leaf.insert::<Plain>(
                        Place { at: position.block as usize, slot: position.slot as usize, ..Place::default() },
                        digest,
                        key.into_rest(),
                        value,
                    );
                    return position;
                }
                Ordering::Equal => {
                    if self.is_behind_all(position) {
                        self.append_behind(position, key, value);
                        return self.upper_position(std::ops::Bound::Unbounded).expect("just inserted");
                    }
                    self.make_room(position, key.view());
                }
                side => {
                    if side.is_gt() && self.is_behind_all(position) && leaf_is_wide(self.leaf_at(position)) {
                        self.append_behind(position, key, value);
                        return self.upper_position(std::ops::Bound::Unbounded).expect("just inserted");
                    }
                    self.widen_prefix(position, key.view(), side);
                }
            }
            position = self.find(key.view()).expect_err("the key is not there yet");
        }
        unreachable!("an insert needs at most {ROUNDS_MAX} changes of structure")
    }

    fn insert_first(&mut self, key: K, value: V) -> Position {
        let low = separator::<K>(key.view());
        self.tail = K::digest(key.view(), 0);
        self.nodes.push(Node::new(vec![(low.clone(), Leaf::of_one(key, value))]));
        self.lows.push(low);
        Position::default()
    }

    /// Appends a key greater than all others.
    #[inline]
    pub(super) fn append_entry(&mut self, key: K, value: V) {
        let digest = K::digest(key.view(), 0);
        let last_node = self.nodes.len() - 1;
        let last_leaf = self.nodes[last_node].leaves.len() - 1;
        let leaf = &mut self.nodes[last_node].leaves[last_leaf];
        let end = leaf.end();
        self.len += 1;
        self.version += 1;
        self.tail = digest;
        if leaf.has_room(end.0) {
            leaf.insert::<Plain>(Place { at: end.0, slot: end.1, ..Place::default() }, digest, key.into_rest(), value);
        } else {
            self.append_behind(Position::new(last_node, last_leaf, end), key, value);
        }
    }

    fn is_behind_all(&self, position: Position) -> bool {
        let node = position.node as usize;
        let leaf = position.leaf as usize;
        node + 1 == self.nodes.len()
            && leaf + 1 == self.nodes[node].leaves.len()
            && position.place() == self.nodes[node].leaves[leaf].end()
    }

    /// Starts a block, or a leaf, behind the last one with a key that is greater than all.
    fn append_behind(&mut self, position: Position, key: K, value: V) {
        let watch = self.counters.begin(Change::Append);
        let leaf = &mut self.nodes[position.node as usize].leaves[position.leaf as usize];
        if leaf.blocks.len() < BLOCKS && leaf.compare_prefix(key.view()).is_eq() {
            let digest = leaf.digest_of(key.view());
            let Err(rest) = leaf.append_block(digest, key.clone().into_rest(), value) else {
                self.counters.end(watch);
                return;
            };
            if leaf.refit_with(key.view()) {
                let digest = leaf.digest_of(key.view());
                if leaf.append_block(digest, rest, value).is_ok() {
                    self.counters.end(watch);
                    return;
                }
            }
        }
        let fresh = Leaf::of_one(key.clone(), value);
        self.add_leaf_behind(position, key.view(), fresh);
        self.counters.end(watch);
    }

    /// Makes room for `key` in the full block at `position`, or takes a step towards it.
    fn make_room(&mut self, position: Position, key: &K::View) {
        let at = position.block as usize;
        let watch = self.counters.begin(Change::Block);
        match self.leaf_mut_at(position).make_room(at) {
            Room::Made => self.counters.end(watch),
            Room::LeafFull => {
                let watch = self.counters.begin(Change::Leaf);
                self.split_leaf(position, BLOCKS / 2);
                self.counters.end(watch);
            }
            Room::Tied => {
                let watch = self.counters.begin(Change::Fit);
                if !K::EXACT && self.leaf_at(position).blocks.len() > REDIGESTED_BLOCKS_MAX {
                    let first = at - at % REDIGESTED_BLOCKS_MAX;
                    self.isolate(position, first..first + REDIGESTED_BLOCKS_MAX);
                } else if !self.leaf_mut_at(position).refit_for(key) {
                    self.isolate(position, at..at + 1);
                }
                self.counters.end(watch);
            }
        }
    }

    /// Makes some blocks of a leaf a leaf of their own, whose quanta and digests can be as fine as their keys need.
    fn isolate(&mut self, position: Position, blocks: Range<usize>) {
        let count = self.leaf_at(position).blocks.len();
        assert!(blocks.len() < count, "a leaf of one block is fitted to it and never tied");
        if blocks.end < count {
            self.split_leaf(position, blocks.end);
        }
        if blocks.start > 0 {
            let position = self.position_again(position);
            self.split_leaf(position, blocks.start);
        }
    }

    /// The same leaf after a leaf was added behind it, which may have split the node.
    fn position_again(&self, position: Position) -> Position {
        let leaves = self.nodes[position.node as usize].leaves.len();
        let beyond = (position.leaf as usize).checked_sub(leaves);
        match beyond {
            Some(leaf) => Position { node: position.node + 1, leaf: leaf as u32, ..position },
            None => position,
        }
    }

    /// Makes the shared prefix of a leaf shorter so that `key` has it, or finds or makes another leaf for `key`.
    fn widen_prefix(&mut self, position: Position, key: &K::View, side: Ordering) {
        let watch = self.counters.begin(Change::Fit);
        let leaf = self.leaf_mut_at(position);
        let blocks = leaf.blocks.len();
        if blocks == 1 && !leaf.has_room(0) {
            self.turn_away(position, key, side);
        } else if blocks > REDIGESTED_BLOCKS_MAX || !leaf.refit_with(key) {
            assert!(blocks > 1, "a leaf of one block has no bounds that could be in the way");
            self.split_leaf(position, if side.is_lt() { 1 } else { blocks - 1 });
        }
        self.counters.end(watch);
    }

    /// Gives the range of `key`, which has not the prefix that a full leaf of one block shares, to another leaf. To take the
    /// key in, the leaf would have to give up the prefix, and could then not tell its own keys apart to be split.
    fn turn_away(&mut self, position: Position, key: &K::View, side: Ordering) {
        let (node, at) = (position.node as usize, position.leaf as usize);
        let value = self.value_at(Position { block: 0, slot: 0, ..position });
        if side.is_lt() {
            let own = std::mem::replace(&mut self.nodes[node].leaves[at], Leaf::empty(key, value));
            let low = K::from_view(K::ref_view(&own.ends().0));
            self.add_leaf_behind(position, low.view(), own);
        } else if at + 1 < self.nodes[node].leaves.len() {
            let next = self.nodes[node].remove(at + 1);
            self.nodes[node].insert(at + 1, key, next);
        } else {
            self.add_leaf_behind(position, key, Leaf::empty(key, value));
        }
    }

    /// Moves the blocks from `at` on into a leaf of their own.
    fn split_leaf(&mut self, position: Position, at: usize) {
        let right = self.leaf_mut_at(position).split_off_blocks(at);
        let low = K::from_view(K::ref_view(&right.ends().0));
        self.add_leaf_behind(position, low.view(), right);
    }

    /// Puts a leaf behind the one at `position`, splitting the node when it is full.
    fn add_leaf_behind(&mut self, position: Position, low: &K::View, leaf: Pooled<Leaf<K, V>>) {
        let (mut node, mut at) = (position.node as usize, position.leaf as usize + 1);
        let count = self.nodes[node].leaves.len();
        if count == leaves_max::<K>() {
            let watch = self.counters.begin(Change::Node);
            let low = separator::<K>(low);
            if at == count && node + 1 == self.nodes.len() {
                self.lows.push(low.clone());
                self.nodes.push(Node::new(vec![(low, leaf)]));
                self.counters.end(watch);
                return;
            }
            self.lows.insert(node + 1, self.nodes[node].separator(count / 2));
            let right = self.nodes[node].split_off(count / 2);
            self.nodes.insert(node + 1, right);
            if at > count / 2 {
                node += 1;
                at -= count / 2;
            }
            self.counters.end(watch);
        }
        self.nodes[node].insert(at, low, leaf);
    }

    /// Removes the entry at `position`.
    pub(super) fn remove_at(&mut self, position: Position) -> V {
        let place = self.place_of(position);
        self.version += 1;
        self.len -= 1;
        let (node, at) = (position.node as usize, position.leaf as usize);
        let leaf = &mut self.nodes[node].leaves[at];
        let blocks = leaf.blocks.len();
        let (value, empty) = leaf.remove::<Plain>(place);
        if leaf.blocks.len() != blocks {
            self.after_fewer_blocks(node, at, empty);
        }
        value
    }

    /// Drops a leaf that lost blocks if it is empty, or joins it with a neighbour.
    #[cold]
    pub(super) fn after_fewer_blocks(&mut self, node: usize, at: usize, empty: bool) {
        let left = self.nodes[node].leaves[at].blocks.len();
        let watch = self.counters.begin(Change::Merge);
        if empty {
            self.nodes[node].remove(at);
            self.shrink_nodes(node);
        } else if left <= MERGED_BLOCKS_MAX / 2 && left.is_power_of_two() {
            self.merge_leaf(node, at);
        }
        self.counters.end(watch);
    }

    /// Joins a leaf that lost blocks with a neighbour, if they fit into one.
    fn merge_leaf(&mut self, node: usize, at: usize) {
        let inner = &mut self.nodes[node];
        let fits = |left: usize| {
            left + 1 < inner.leaves.len()
                && inner.leaves[left].blocks.len() + inner.leaves[left + 1].blocks.len() <= MERGED_BLOCKS_MAX
        };
        let left = if fits(at) {
            at
        } else if at > 0 && fits(at - 1) {
            at - 1
        } else {
            return;
        };
        if inner.join_leaves(left) {
            self.shrink_nodes(node);
        }
    }

    /// Drops a node without leaves, or joins a small one with a neighbour.
    fn shrink_nodes(&mut self, node: usize) {
        let count = self.nodes[node].leaves.len();
        if count == 0 {
            self.nodes.remove(node);
            self.lows.remove(node);
            if self.nodes.is_empty() {
                *self = Self { version: self.version, counters: std::mem::take(&mut self.counters), ..Self::new() };
            }
            return;
        }
        if count > leaves_max::<K>() / 8 {
            return;
        }
        let fits = |left: usize| {
            left + 1 < self.nodes.len()
                && self.nodes[left].leaves.len() + self.nodes[left + 1].leaves.len() <= leaves_max::<K>() / 2
        };
        let left = if fits(node) {
            node
        } else if node > 0 && fits(node - 1) {
            node - 1
        } else {
            return;
        };
        let right = self.nodes.remove(left + 1);
        let low = self.lows.remove(left + 1);
        self.nodes[left].append(low, right);
    }
}

fn leaf_is_wide<K: IndexKey, V: Copy + Send>(leaf: &Leaf<K, V>) -> bool {
    leaf.blocks.len() > REDIGESTED_BLOCKS_MAX
}

impl<K: IndexKey, V: Copy + Send> Node<K, V> {
    /// Makes one leaf of `left` and the one behind it, if one scale suits both.
    fn join_leaves(&mut self, left: usize) -> bool {
        let [first, second] = &mut self.leaves[left..left + 2] else { unreachable!("a slice of two") };
        let Some(plan) = first.plan_join(second) else {
            return false;
        };
        let right = self.remove(left + 1);
        self.leaves[left].join(right.into_inner(), &plan);
        true
    }
}
