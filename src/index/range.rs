//! Iteration over a range, from both ends, while the index is borrowed.

use super::block::Block;
use super::key::IndexKey;
use super::map::LearnedIndex;
use super::seek::Position;

/// The entries of a range in key order. Double-ended: `rev()` walks it backwards.
#[derive(Clone, Debug)]
pub struct Range<'a, K: IndexKey, V: Copy + Send> {
    index: &'a LearnedIndex<K, V>,
    /// The next entries to yield from the front are `front.slot..front_end` of this block; empty when nothing is left.
    front_block: Option<&'a Block<K, V>>,
    front: Position,
    front_end: u32,
    /// The last entry not yet yielded.
    back: Position,
}

impl<'a, K: IndexKey, V: Copy + Send> Range<'a, K, V> {
    pub(super) fn new(index: &'a LearnedIndex<K, V>, ends: Option<(Position, Position)>) -> Self {
        let (front, back) = ends.unwrap_or_default();
        let mut range = Self { index, front_block: None, front, front_end: 0, back };
        if ends.is_some() {
            range.enter(front);
        }
        range
    }

    /// Makes the block of `front` the one to yield from.
    fn enter(&mut self, front: Position) {
        let leaf = self.index.leaf_at(front);
        let at = front.block as usize;
        self.front = front;
        self.front_block = Some(&leaf.blocks[at]);
        self.front_end = leaf.len_of(at) as u32;
        self.limit();
        if let Some(next) = leaf.blocks.get(at + 1) {
            next.prefetch_entries();
        }
    }

    /// Lets the front end where the back does if they share a block.
    fn limit(&mut self) {
        let Position { node, leaf, block, slot } = self.back;
        if (node, leaf, block) == (self.front.node, self.front.leaf, self.front.block) {
            self.front_end = slot + 1;
        }
    }

    /// Whether the front is in the last block of the range.
    fn is_last_block(&self) -> bool {
        let Position { node, leaf, block, .. } = self.back;
        (node, leaf, block) == (self.front.node, self.front.leaf, self.front.block)
    }
}

impl<'a, K: IndexKey, V: Copy + Send> Iterator for Range<'a, K, V> {
    type Item = (K::Ref<'a>, V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let block = self.front_block?;
        let slot = self.front.slot;
        let entry = block.entry(slot as usize);
        self.front.slot = slot + 1;
        if slot + 1 == self.front_end {
            if self.is_last_block() {
                self.front_block = None;
            } else {
                let next = self.index.next_block(self.front).expect("the back entry lies ahead");
                self.enter(next);
            }
        }
        Some(entry)
    }

    /// Walks block by block.
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut each: F) -> B {
        let mut folded = init;
        while let Some(block) = self.front_block {
            for slot in self.front.slot..self.front_end {
                folded = each(folded, block.entry(slot as usize));
            }
            if self.is_last_block() {
                break;
            }
            let next = self.index.next_block(self.front).expect("the back entry lies ahead");
            self.enter(next);
        }
        folded
    }
}

impl<K: IndexKey, V: Copy + Send> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.front_block?;
        let entry = self.index.entry_at(self.back);
        if self.back == self.front {
            self.front_block = None;
        } else {
            self.back = self.index.previous_position(self.back).expect("the front entry lies behind");
            self.limit();
        }
        Some(entry)
    }
}

impl<K: IndexKey, V: Copy + Send> std::iter::FusedIterator for Range<'_, K, V> {}
