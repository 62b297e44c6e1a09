//! Iteration over a range, from both ends, while the index is borrowed.

use super::key::IndexKey;
use super::map::{LearnedIndex, Position};

/// The entries of a range in key order. Double-ended: `rev()` walks it backwards.
#[derive(Clone, Debug)]
pub struct Range<'a, K: IndexKey, V: Copy + Send> {
    index: &'a LearnedIndex<K, V>,
    /// First and last entry not yet yielded; `None` when nothing is left.
    ends: Option<(Position, Position)>,
}

impl<'a, K: IndexKey, V: Copy + Send> Range<'a, K, V> {
    pub(super) fn new(index: &'a LearnedIndex<K, V>, ends: Option<(Position, Position)>) -> Self {
        Self { index, ends }
    }
}

impl<'a, K: IndexKey, V: Copy + Send> Iterator for Range<'a, K, V> {
    type Item = (K::Ref<'a>, V);

    fn next(&mut self) -> Option<Self::Item> {
        let (front, back) = self.ends?;
        self.ends =
            if front == back { None } else { Some((self.index.next_position(front).expect("the back entry lies ahead"), back)) };
        Some(self.index.entry_at(front))
    }
}

impl<K: IndexKey, V: Copy + Send> DoubleEndedIterator for Range<'_, K, V> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (front, back) = self.ends?;
        self.ends = if front == back {
            None
        } else {
            Some((front, self.index.previous_position(back).expect("the front entry lies behind")))
        };
        Some(self.index.entry_at(back))
    }
}

impl<K: IndexKey, V: Copy + Send> std::iter::FusedIterator for Range<'_, K, V> {}
