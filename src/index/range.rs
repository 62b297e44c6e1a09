//! Iteration over a range, from both ends, while the index is borrowed.

use std::iter::Zip;
use std::slice::Iter;

use super::key::IndexKey;
use super::map::LearnedIndex;
use super::seek::Position;

/// Digests, values and kept keys of entries side by side in a block.
type Run<'a, K, V> = Zip<Zip<Iter<'a, <K as IndexKey>::Digest>, Iter<'a, V>>, Iter<'a, <K as IndexKey>::Rest>>;

/// The entries of a range in key order. Double-ended: `rev()` walks it backwards.
#[derive(Clone, Debug)]
pub struct Range<'a, K: IndexKey, V: Copy + Send> {
    index: &'a LearnedIndex<K, V>,
    /// What is left of the block of `front`.
    run: Run<'a, K, V>,
    /// Behind the last entry of `run`.
    front: Position,
    /// The last entry not yet yielded, unless nothing is left.
    back: Position,
}

impl<'a, K: IndexKey, V: Copy + Send> Range<'a, K, V> {
    pub(super) fn new(index: &'a LearnedIndex<K, V>, ends: Option<(Position, Position)>) -> Self {
        let run = [].iter().zip(&[]).zip(&[]);
        let (front, back) = ends.unwrap_or_default();
        let mut range = Self { index, run, front, back };
        if ends.is_some() {
            range.enter(front);
        }
        range
    }

    /// Makes the entries from `front` to the end of its block, or of the range, the ones to yield next.
    fn enter(&mut self, front: Position) {
        let leaf = self.index.leaf_at(front);
        let (at, slot) = front.place();
        let end = if self.ends_in(front) { self.back.slot as usize + 1 } else { leaf.len_of(at) };
        let (digests, values, rests) = leaf.blocks[at].run(slot..end);
        self.run = digests.iter().zip(values).zip(rests);
        self.front = Position { slot: end as u32, ..front };
        if let Some(next) = leaf.blocks.get(at + 1) {
            next.prefetch_entries();
        }
    }

    /// Whether the range ends in the block of `position`.
    fn ends_in(&self, position: Position) -> bool {
        Position { slot: 0, ..position } == Position { slot: 0, ..self.back }
    }

    /// Goes on to the next block when this one has no more; whether there is an entry left.
    fn refill(&mut self) -> bool {
        if self.run.len() == 0 && !self.ends_in(self.front) {
            let next = self.index.next_block(self.front).expect("the back entry lies ahead");
            self.enter(next);
        }
        self.run.len() > 0
    }
}

impl<'a, K: IndexKey, V: Copy + Send> Iterator for Range<'a, K, V> {
    type Item = (K::Ref<'a>, V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.run.len() == 0 && !self.refill() {
            return None;
        }
        self.run.next().map(|((digest, value), rest)| (K::key_ref(*digest, rest), *value))
    }

    /// Walks block by block.
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut each: F) -> B {
        let mut folded = init;
        while self.refill() {
            let run = std::mem::replace(&mut self.run, [].iter().zip(&[]).zip(&[]));
            folded = run.fold(folded, |folded, ((digest, value), rest)| each(folded, (K::key_ref(*digest, rest), *value)));
        }
        folded
    }
}

impl<K: IndexKey, V: Copy + Send> DoubleEndedIterator for Range<'_, K, V> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        if !self.refill() {
            return None;
        }
        if self.ends_in(self.front) {
            return self.run.next_back().map(|((digest, value), rest)| (K::key_ref(*digest, rest), *value));
        }
        let entry = self.index.entry_at(self.back);
        self.back = self.index.previous_position(self.back).expect("the front entry lies behind");
        // Coming into the front's block, the back ends what it yields.
        if self.ends_in(self.front) {
            self.enter(Position { slot: self.front.slot - self.run.len() as u32, ..self.front });
        }
        Some(entry)
    }
}

impl<K: IndexKey, V: Copy + Send> std::iter::FusedIterator for Range<'_, K, V> {}
