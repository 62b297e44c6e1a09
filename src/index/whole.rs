//! Operations on whole indexes: bulk loading, splitting, appending. Leaves change hands; only what routes to them is made
//! anew.

use super::block::{Block, SLOTS};
use super::digest::Digest;
use super::fit::fit;
use super::key::IndexKey;
use super::leaf::{BLOCKS, Leaf};
use super::map::LearnedIndex;
use super::node::{Node, Separated, Separator, leaves_max, separator};
use super::pool::{self, Pooled};
use super::seek::Position;

/// Entries a loaded block gets: room for some inserts, and not much memory for gaps.
const LOADED_LEN: usize = SLOTS * 29 / 32;
/// Blocks a loaded leaf gets.
const LOADED_BLOCKS: usize = BLOCKS * 7 / 8;

/// Blocks being filled in key order and the leaves made of them.
struct Loader<K: IndexKey, V: Copy + Send> {
    blocks: Vec<Pooled<Block<K, V>>>,
    lens: Vec<u8>,
    leaves: Vec<Separated<K, V>>,
}

impl<K: IndexKey, V: Copy + Send> Loader<K, V> {
    fn finish_leaf(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        let (blocks, lens) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.lens));
        let leaves = &mut self.leaves;
        pool::stock_up::<Leaf<K, V>>();
        fit(blocks, lens, &mut |leaf| leaves.push((low_of(&leaf), leaf)));
    }
}

fn low_of<K: IndexKey, V: Copy + Send>(leaf: &Leaf<K, V>) -> Separator<K> {
    separator::<K>(K::ref_view(&leaf.ends().0))
}

impl<K: IndexKey, V: Copy + Send> LearnedIndex<K, V> {
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
        let mut loader = Loader { blocks: vec![], lens: vec![], leaves: vec![] };
        let mut entries = entries.into_iter();
        let mut len = 0;
        let mut last: Option<K::Digest> = None;
        while let Some((key, value)) = entries.next() {
            pool::stock_up::<Block<K, V>>();
            let mut block = Block::new(value);
            let filled = block.fill(&mut last, (key, value), entries.by_ref().take(LOADED_LEN - 1));
            if let (false, Some(before), Some(held)) = (K::EXACT, loader.blocks.last(), loader.lens.last()) {
                let (before, after) = (before.key(usize::from(*held) - 1), block.key(0));
                assert!(K::ref_view(&before) < K::ref_view(&after), "bulk load needs strictly ascending keys");
            } else if let (false, Some((_, before))) = (K::EXACT, loader.leaves.last()) {
                let (before, after) = (before.ends().1, block.key(0));
                assert!(K::ref_view(&before) < K::ref_view(&after), "bulk load needs strictly ascending keys");
            }
            len += filled;
            loader.blocks.push(block);
            loader.lens.push(filled as u8);
            if loader.blocks.len() == LOADED_BLOCKS {
                loader.finish_leaf();
                progress(len);
            }
        }
        loader.finish_leaf();
        progress(len);
        let mut index = Self::from_leaves(loader.leaves);
        assert_eq!(index.len, len);
        if let Some(last) = last
            && K::EXACT
        {
            index.tail = last;
        }
        index
    }

    /// An index of leaves in key order.
    fn from_leaves(leaves: Vec<Separated<K, V>>) -> Self {
        let mut index = Self::new();
        // Nodes of one size, and as few as leave each some room: a second node costs every look-up a comparison.
        let nodes = leaves.len().div_ceil(leaves_max::<K>() * 7 / 8);
        let each = leaves.len().div_ceil(nodes.max(1));
        let mut leaves = leaves.into_iter().peekable();
        while leaves.peek().is_some() {
            let part: Vec<_> = leaves.by_ref().take(each).collect();
            index.len += part.iter().map(|(_, leaf)| leaf.entries()).sum::<usize>();
            index.lows.push(part[0].0.clone());
            index.nodes.push(Node::new(part));
        }
        index.set_tail();
        index
    }

    fn into_leaves(self) -> Vec<Separated<K, V>> {
        self.nodes.into_iter().flat_map(Node::into_leaves).collect()
    }

    /// Takes the greatest digest from the last entry.
    fn set_tail(&mut self) {
        let tail = match self.last() {
            Some((key, _)) if K::EXACT => K::digest(K::ref_view(&key), 0),
            _ => K::Digest::MAX,
        };
        self.tail = tail;
    }

    /// Keeps the keys below `key` and returns an index of the others. Whole leaves change hands.
    #[must_use]
    pub fn split_off(&mut self, key: &K::View) -> Self {
        match self.lower_position(std::ops::Bound::Included(key)) {
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

    fn split_off_position(&mut self, position: Position) -> Self {
        let (version, counters) = (self.version + 1, std::mem::take(&mut self.counters));
        let before: usize =
            self.nodes[..position.node as usize].iter().map(|node| node.leaves.len()).sum::<usize>() + position.leaf as usize;
        let mut low = std::mem::take(self).into_leaves();
        let mut high = low.split_off(before + 1);
        let (own_low, mut leaf) = low.pop().expect("the position is of an entry");
        match leaf.split_off_entries(position.block as usize, position.slot as usize) {
            Some(right) => {
                low.push((own_low, leaf));
                high.insert(0, (low_of(&right), right));
            }
            None => high.insert(0, (own_low, leaf)),
        }
        *self = Self { version, counters, ..Self::from_leaves(low) };
        Self::from_leaves(high)
    }

    /// Takes over all entries of `other`, whose keys must all be greater. Whole leaves change hands.
    ///
    /// # Panics
    /// When a key of `other` is not greater than every key here.
    pub fn append(&mut self, other: Self) {
        if let (Some((last, _)), Some((first, _))) = (self.last(), other.first()) {
            assert!(K::ref_view(&last) < K::ref_view(&first), "append needs greater keys");
        }
        let (version, counters) = (self.version + 1, std::mem::take(&mut self.counters));
        let mut leaves = std::mem::take(self).into_leaves();
        let mut others = other.into_leaves();
        if let Some((low, leaf)) = others.first_mut() {
            *low = low_of(leaf);
        }
        leaves.append(&mut others);
        *self = Self { version, counters, ..Self::from_leaves(leaves) };
    }
}
