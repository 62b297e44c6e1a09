//! The ordered map of one tablet: key → newest version, over the learned index of the key's kind.

use std::ops::{Bound, ControlFlow};

use crate::index::{IndexStats, KeyBytes, LearnedIndex};
use crate::storage::heap::VersionRef;
use crate::storage::key::{Key, KeyRef};

/// Key → newest version.
pub enum KeyMap {
    /// Integer keys.
    Int(LearnedIndex<i64, VersionRef>),
    /// Memcomparable keys.
    Bytes(LearnedIndex<KeyBytes, VersionRef>),
}

/// A key of the other kind reached this map: the catalog and the rows disagree.
const KIND: &str = "a storage's keys are of one kind, fixed when it is created";

fn int_bound(bound: Bound<&Key>) -> Bound<&i64> {
    bound.map(|key| match key {
        Key::Int(value) => value,
        Key::Bytes(_) => panic!("{KIND}"),
    })
}

fn bytes_bound(bound: Bound<&Key>) -> Bound<&[u8]> {
    bound.map(|key| match key {
        Key::Bytes(bytes) => &bytes[..],
        Key::Int(_) => panic!("{KIND}"),
    })
}

impl KeyMap {
    /// An empty map of the kind of `key`.
    pub fn for_ints() -> Self {
        KeyMap::Int(LearnedIndex::new())
    }

    /// An empty map for memcomparable keys.
    pub fn for_bytes() -> Self {
        KeyMap::Bytes(LearnedIndex::new())
    }

    /// An empty map of the same kind.
    pub fn new_like(&self) -> Self {
        match self {
            KeyMap::Int(_) => Self::for_ints(),
            KeyMap::Bytes(_) => Self::for_bytes(),
        }
    }

    /// Whether keys of this kind belong here.
    pub fn accepts(&self, key: &Key) -> bool {
        matches!((self, key), (KeyMap::Int(_), Key::Int(_)) | (KeyMap::Bytes(_), Key::Bytes(_)))
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        match self {
            KeyMap::Int(map) => map.len(),
            KeyMap::Bytes(map) => map.len(),
        }
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory held.
    pub fn bytes(&self) -> usize {
        match self {
            KeyMap::Int(map) => map.bytes(),
            KeyMap::Bytes(map) => map.bytes(),
        }
    }

    /// Counters and shape of the index, but for the bytes that keys own.
    pub fn outline(&self) -> IndexStats {
        match self {
            KeyMap::Int(map) => map.outline(),
            KeyMap::Bytes(map) => map.outline(),
        }
    }

    /// About `points` entries, evenly spread: key, position, predicted position.
    pub fn curve(&self, points: usize) -> Vec<(Key, usize, usize)> {
        match self {
            KeyMap::Int(map) => {
                map.curve(points).into_iter().map(|(key, at, predicted)| (Key::Int(key), at, predicted)).collect()
            }
            KeyMap::Bytes(map) => {
                map.curve(points).into_iter().map(|(key, at, predicted)| (Key::Bytes(key.into()), at, predicted)).collect()
            }
        }
    }

    /// The newest version of a key.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<VersionRef> {
        match (self, key) {
            (KeyMap::Int(map), Key::Int(key)) => map.get(key),
            (KeyMap::Bytes(map), Key::Bytes(key)) => map.get(&key[..]),
            _ => panic!("{KIND}"),
        }
    }

    /// The newest versions of integer keys, looked up together so that their cache misses overlap.
    pub fn get_ints(&self, keys: &[i64], found: &mut [Option<VersionRef>]) {
        match self {
            KeyMap::Int(map) => map.get_batch(keys, found),
            KeyMap::Bytes(_) => panic!("{KIND}"),
        }
    }

    /// The place that holds a key's newest version.
    pub fn get_mut(&mut self, key: &Key) -> Option<&mut VersionRef> {
        match (self, key) {
            (KeyMap::Int(map), Key::Int(key)) => map.get_mut(key),
            (KeyMap::Bytes(map), Key::Bytes(key)) => map.get_mut(&key[..]),
            _ => panic!("{KIND}"),
        }
    }

    /// Inserts a key or replaces its newest version; returns the one before.
    pub fn insert(&mut self, key: KeyRef<'_>, at: VersionRef) -> Option<VersionRef> {
        match (self, key) {
            (KeyMap::Int(map), KeyRef::Int(key)) => map.insert(key, at),
            (KeyMap::Bytes(map), KeyRef::Bytes(key)) => map.insert(KeyBytes::new(key), at),
            _ => panic!("{KIND}"),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &Key) -> Option<VersionRef> {
        match (self, key) {
            (KeyMap::Int(map), Key::Int(key)) => map.remove(key),
            (KeyMap::Bytes(map), Key::Bytes(key)) => map.remove(&key[..]),
            _ => panic!("{KIND}"),
        }
    }

    /// What the index has counted since it was created.
    pub fn counts(&self) -> IndexStats {
        match self {
            KeyMap::Int(map) => map.counts(),
            KeyMap::Bytes(map) => map.counts(),
        }
    }

    /// Visits keys of a range in order (or in reverse) until told to stop.
    pub fn visit(
        &self,
        lower: Bound<&Key>,
        upper: Bound<&Key>,
        reverse: bool,
        mut visit: impl FnMut(KeyRef<'_>, VersionRef) -> ControlFlow<()>,
    ) {
        match self {
            KeyMap::Int(map) => {
                let mut range = map.range(int_bound(lower), int_bound(upper));
                while let Some((key, at)) = if reverse { range.next_back() } else { range.next() } {
                    if visit(KeyRef::Int(key), at).is_break() {
                        return;
                    }
                }
            }
            KeyMap::Bytes(map) => {
                let mut range = map.range(bytes_bound(lower), bytes_bound(upper));
                while let Some((key, at)) = if reverse { range.next_back() } else { range.next() } {
                    if visit(KeyRef::Bytes(key), at).is_break() {
                        return;
                    }
                }
            }
        }
    }

    /// The highest key.
    pub fn last_key(&self) -> Option<Key> {
        match self {
            KeyMap::Int(map) => map.last().map(|(key, _)| Key::Int(key)),
            KeyMap::Bytes(map) => map.last().map(|(key, _)| Key::Bytes(key.into())),
        }
    }

    /// The key of a rank (0 is the lowest).
    pub fn nth_key(&self, rank: usize) -> Option<Key> {
        match self {
            KeyMap::Int(map) => map.nth(rank).map(|(key, _)| Key::Int(key)),
            KeyMap::Bytes(map) => map.nth(rank).map(|(key, _)| Key::Bytes(key.into())),
        }
    }
}
