//! One search, then read, replace, remove or insert.

use super::key::IndexKey;
use super::map::LearnedIndex;
use super::seek::Position;

/// A key's place in the index, found by one search.
#[derive(Debug)]
pub enum Entry<'a, K: IndexKey, V: Copy + Send> {
    /// The key is there.
    Occupied(OccupiedEntry<'a, K, V>),
    /// The key is not there.
    Vacant(VacantEntry<'a, K, V>),
}

/// The place of a key that is in the index.
#[derive(Debug)]
pub struct OccupiedEntry<'a, K: IndexKey, V: Copy + Send> {
    pub(super) index: &'a mut LearnedIndex<K, V>,
    pub(super) position: Position,
}

/// The place a key that is not in the index would take.
#[derive(Debug)]
pub struct VacantEntry<'a, K: IndexKey, V: Copy + Send> {
    pub(super) index: &'a mut LearnedIndex<K, V>,
    pub(super) position: Position,
    pub(super) key: K,
}

impl<'a, K: IndexKey, V: Copy + Send> Entry<'a, K, V> {
    /// The value, inserted first when the key is new.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        match self {
            Self::Occupied(entry) => entry.into_mut(),
            Self::Vacant(entry) => entry.insert(make()),
        }
    }
}

impl<'a, K: IndexKey, V: Copy + Send> OccupiedEntry<'a, K, V> {
    /// The value.
    #[must_use]
    pub fn get(&self) -> V {
        self.index.value_at(self.position)
    }

    /// The value in place.
    #[must_use]
    pub fn into_mut(self) -> &'a mut V {
        self.index.value_mut_at(self.position)
    }

    /// Replaces the value and returns the old one.
    pub fn insert(&mut self, value: V) -> V {
        std::mem::replace(self.index.value_mut_at(self.position), value)
    }

    /// Removes the entry and returns its value.
    pub fn remove(self) -> V {
        self.index.remove_at(self.position)
    }
}

impl<'a, K: IndexKey, V: Copy + Send> VacantEntry<'a, K, V> {
    /// The key that would be inserted.
    #[must_use]
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Inserts the key with `value`.
    pub fn insert(self, value: V) -> &'a mut V {
        let position = self.index.insert_at(self.position, self.key, value);
        self.index.value_mut_at(position)
    }
}
