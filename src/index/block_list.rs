//! The blocks of a leaf, in the leaf itself, so that their addresses are fetched together with what routes to them.

use std::ops::{Index, IndexMut};

use super::block::Block;
use super::key::IndexKey;
use super::pool::Pooled;

/// Up to `N` blocks in key order.
#[derive(Clone, Debug)]
pub(super) struct BlockList<K: IndexKey, V, const N: usize> {
    blocks: [Option<Pooled<Block<K, V>>>; N],
    len: usize,
}

/// Reads of the list stay within its length.
const PRESENT: &str = "a block at each place below the length";

impl<K: IndexKey, V: Copy + Send, const N: usize> BlockList<K, V, N> {
    pub(super) fn new() -> Self {
        Self { blocks: [const { None }; N], len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, at: usize) -> Option<&Block<K, V>> {
        self.blocks.get(at)?.as_deref()
    }

    /// The place of a block's address, to be fetched ahead.
    #[inline(always)]
    pub(super) fn place(&self, at: usize) -> &Option<Pooled<Block<K, V>>> {
        &self.blocks[at]
    }

    pub(super) fn push(&mut self, block: Pooled<Block<K, V>>) {
        self.insert(self.len, block);
    }

    pub(super) fn insert(&mut self, at: usize, block: Pooled<Block<K, V>>) {
        assert!(at <= self.len && self.len < N, "the leaf is split first");
        self.blocks[at..=self.len].rotate_right(1);
        self.blocks[at] = Some(block);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, at: usize) -> Pooled<Block<K, V>> {
        let block = self.blocks[at].take().expect(PRESENT);
        self.blocks[at..self.len].rotate_left(1);
        self.len -= 1;
        block
    }

    /// Keeps the blocks before `at` and yields the others.
    pub(super) fn split_off(&mut self, at: usize) -> impl Iterator<Item = Pooled<Block<K, V>>> {
        let len = std::mem::replace(&mut self.len, at);
        self.blocks[at..len].iter_mut().map(|block| block.take().expect(PRESENT))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Block<K, V>> + Clone {
        self.blocks[..self.len].iter().map(|block| &**block.as_ref().expect(PRESENT))
    }

    /// Two neighbours.
    pub(super) fn pair_mut(&mut self, left: usize) -> (&mut Block<K, V>, &mut Block<K, V>) {
        match &mut self.blocks[left..left + 2] {
            [Some(left), Some(right)] => (left, right),
            _ => unreachable!("{PRESENT}"),
        }
    }
}

impl<K: IndexKey, V, const N: usize> Index<usize> for BlockList<K, V, N> {
    type Output = Block<K, V>;

    #[inline(always)]
    fn index(&self, at: usize) -> &Block<K, V> {
        self.blocks[at].as_ref().expect(PRESENT)
    }
}

impl<K: IndexKey, V, const N: usize> IndexMut<usize> for BlockList<K, V, N> {
    #[inline(always)]
    fn index_mut(&mut self, at: usize) -> &mut Block<K, V> {
        self.blocks[at].as_mut().expect(PRESENT)
    }
}
