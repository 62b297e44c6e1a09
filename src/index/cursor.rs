//! A place in the key order that survives every change of the index between its steps.
//!
//! The cursor owns its last key. A step goes straight to the neighbour while the index has not changed since the last step,
//! and searches by the key otherwise.

use std::ops::Bound;

use super::key::IndexKey;
use super::map::LearnedIndex;
use super::seek::Position;

/// Where a cursor stands: at an end of the key order, between two keys, or on a key.
#[derive(Clone, Debug)]
enum Place<K> {
    Start,
    End,
    /// Just before where this key is or would be.
    Before(K),
    /// Just after where this key is or would be.
    After(K),
    /// On this key, which a step has yielded.
    On(K),
}

/// A position in the key order that outlives modifications of the index. Borrow-free: every step names the index.
#[derive(Clone, Debug)]
pub struct Cursor<K: IndexKey> {
    place: Place<K>,
    /// Version of the index at the last step and the position it ended on.
    hint: Option<(u64, Position)>,
}

impl<K: IndexKey> Cursor<K> {
    /// A cursor before the first key.
    #[must_use]
    pub fn start() -> Self {
        Self { place: Place::Start, hint: None }
    }

    /// A cursor after the last key.
    #[must_use]
    pub fn end() -> Self {
        Self { place: Place::End, hint: None }
    }

    /// A cursor whose `next` yields the first key within the lower `bound`.
    #[must_use]
    pub fn at_lower(bound: Bound<&K::View>) -> Self {
        let place = match bound {
            Bound::Unbounded => Place::Start,
            Bound::Included(key) => Place::Before(K::from_view(key)),
            Bound::Excluded(key) => Place::After(K::from_view(key)),
        };
        Self { place, hint: None }
    }

    /// A cursor whose `prev` yields the last key within the upper `bound`.
    #[must_use]
    pub fn at_upper(bound: Bound<&K::View>) -> Self {
        let place = match bound {
            Bound::Unbounded => Place::End,
            Bound::Included(key) => Place::After(K::from_view(key)),
            Bound::Excluded(key) => Place::Before(K::from_view(key)),
        };
        Self { place, hint: None }
    }

    /// The key of the last entry yielded, while the cursor stands on it. It may have been removed since.
    #[must_use]
    pub fn key(&self) -> Option<&K::View> {
        match &self.place {
            Place::On(key) => Some(key.view()),
            _ => None,
        }
    }

    /// Steps to the next key and returns its entry. At the end the cursor stays behind its last key, so that keys appended
    /// later are still found.
    pub fn next<'a, V: Copy + Send>(&mut self, index: &'a LearnedIndex<K, V>) -> Option<(K::Ref<'a>, V)> {
        let position = match (self.fresh_hint(index), &self.place) {
            (Some(position), _) => index.next_position(position),
            (None, Place::Start) => index.lower_position(Bound::Unbounded),
            (None, Place::End) => None,
            (None, Place::Before(key)) => index.lower_position(Bound::Included(key.view())),
            (None, Place::After(key) | Place::On(key)) => index.lower_position(Bound::Excluded(key.view())),
        };
        match position {
            Some(position) => Some(self.arrive(index, position)),
            None => {
                self.leave(true);
                None
            }
        }
    }

    /// Steps to the previous key and returns its entry. At the start the cursor stays before its last key.
    pub fn prev<'a, V: Copy + Send>(&mut self, index: &'a LearnedIndex<K, V>) -> Option<(K::Ref<'a>, V)> {
        let position = match (self.fresh_hint(index), &self.place) {
            (Some(position), _) => index.previous_position(position),
            (None, Place::Start) => None,
            (None, Place::End) => index.upper_position(Bound::Unbounded),
            (None, Place::Before(key) | Place::On(key)) => index.upper_position(Bound::Excluded(key.view())),
            (None, Place::After(key)) => index.upper_position(Bound::Included(key.view())),
        };
        match position {
            Some(position) => Some(self.arrive(index, position)),
            None => {
                self.leave(false);
                None
            }
        }
    }

    fn fresh_hint<V: Copy + Send>(&self, index: &LearnedIndex<K, V>) -> Option<Position> {
        match self.hint {
            Some((version, position)) if version == index.version() => Some(position),
            _ => None,
        }
    }

    fn arrive<'a, V: Copy + Send>(&mut self, index: &'a LearnedIndex<K, V>, position: Position) -> (K::Ref<'a>, V) {
        let (key, value) = index.entry_at(position);
        self.place = Place::On(K::from_view(K::ref_view(&key)));
        self.hint = Some((index.version(), position));
        (key, value)
    }

    /// Leaves the key it stands on, forwards or backwards, when there is no neighbour.
    fn leave(&mut self, forwards: bool) {
        self.hint = None;
        if let Place::On(_) = self.place {
            let Place::On(key) = std::mem::replace(&mut self.place, Place::Start) else { unreachable!("matched just above") };
            self.place = if forwards { Place::After(key) } else { Place::Before(key) };
        }
    }
}
