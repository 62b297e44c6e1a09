//! The maps that are compared, behind one interface.

use std::collections::BTreeMap;
use std::ops::Bound;

use omendb::index::LearnedIndex;

/// An ordered map from `u64` to `u64`.
pub trait Peer: Sized {
    /// Whether it looks up several keys at once.
    const BATCHES: bool = false;
    /// From ascending entries.
    fn load(keys: &[u64]) -> Self;
    fn get(&self, key: u64) -> Option<u64>;
    fn insert(&mut self, key: u64, value: u64);
    fn remove(&mut self, key: u64) -> bool;
    /// Sum of up to `count` values from `key` on.
    fn scan(&self, key: u64, count: usize) -> u64;
    /// Sum of all values.
    fn sum(&self) -> u64;

    /// A sum over the values of at most 64 keys.
    fn get_batch(&self, keys: &[u64]) -> u64 {
        keys.iter().fold(0, |sum, key| sum ^ self.get(*key).unwrap_or(1))
    }

    /// The longest change of structure, if the map times them.
    fn longest_change_us(&self) -> Option<f64> {
        None
    }
}

/// The value stored with a key.
pub fn value_of(key: u64) -> u64 {
    key ^ 0x5555
}

impl Peer for LearnedIndex<u64, u64> {
    const BATCHES: bool = true;

    fn load(keys: &[u64]) -> Self {
        Self::bulk_load(keys.iter().map(|key| (*key, value_of(*key))))
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.get(&key)
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.insert(key, value);
    }

    fn remove(&mut self, key: u64) -> bool {
        self.remove(&key).is_some()
    }

    fn scan(&self, key: u64, count: usize) -> u64 {
        let range = self.range(Bound::Included(&key), Bound::Unbounded);
        range.take(count).fold(0, |sum, (_, value)| sum.wrapping_add(value))
    }

    fn sum(&self) -> u64 {
        self.iter().fold(0, |sum, (_, value)| sum.wrapping_add(value))
    }

    fn get_batch(&self, keys: &[u64]) -> u64 {
        let mut values = [None; 64];
        LearnedIndex::get_batch(self, keys, &mut values[..keys.len()]);
        values[..keys.len()].iter().fold(0, |sum, value| sum ^ value.unwrap_or(1))
    }

    fn longest_change_us(&self) -> Option<f64> {
        Some(self.counts().structural_time_max.as_nanos() as f64 / 1e3)
    }
}

macro_rules! map_peer {
    ($type:ty, |$key:ident| $in:expr) => {
        impl Peer for $type {
            fn load(keys: &[u64]) -> Self {
                keys.iter().map(|$key| ($in, value_of(*$key))).collect()
            }

            fn get(&self, key: u64) -> Option<u64> {
                let $key = &key;
                self.get(&$in).copied()
            }

            fn insert(&mut self, key: u64, value: u64) {
                let $key = &key;
                self.insert($in, value);
            }

            fn remove(&mut self, key: u64) -> bool {
                let $key = &key;
                self.remove(&$in).is_some()
            }

            fn scan(&self, key: u64, count: usize) -> u64 {
                let $key = &key;
                self.range($in..).take(count).fold(0, |sum, (_, value)| sum.wrapping_add(*value))
            }

            fn sum(&self) -> u64 {
                self.iter().fold(0, |sum, (_, value)| sum.wrapping_add(*value))
            }
        }
    };
}

map_peer!(BTreeMap<u64, u64>, |key| *key);
map_peer!(indexset::BTreeMap<u64, u64>, |key| *key);

/// blart's tree of big-endian bytes.
pub struct Blart(blart::TreeMap<[u8; 8], u64>);

impl Peer for Blart {
    fn load(keys: &[u64]) -> Self {
        let mut map = Self(blart::TreeMap::new());
        for key in keys {
            Peer::insert(&mut map, *key, value_of(*key));
        }
        map
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key.to_be_bytes()).copied()
    }

    fn insert(&mut self, key: u64, value: u64) {
        let _ = self.0.try_insert(key.to_be_bytes(), value);
    }

    fn remove(&mut self, key: u64) -> bool {
        self.0.remove(&key.to_be_bytes()).is_some()
    }

    fn scan(&self, key: u64, count: usize) -> u64 {
        self.0.range(key.to_be_bytes()..).take(count).fold(0, |sum, (_, value)| sum.wrapping_add(*value))
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, (_, value)| sum.wrapping_add(*value))
    }
}

/// crossbeam's concurrent skip list.
pub struct Skip(crossbeam_skiplist::SkipMap<u64, u64>);

impl Peer for Skip {
    fn load(keys: &[u64]) -> Self {
        Self(keys.iter().map(|key| (*key, value_of(*key))).collect())
    }

    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).map(|entry| *entry.value())
    }

    fn insert(&mut self, key: u64, value: u64) {
        self.0.insert(key, value);
    }

    fn remove(&mut self, key: u64) -> bool {
        self.0.remove(&key).is_some()
    }

    fn scan(&self, key: u64, count: usize) -> u64 {
        self.0.range(key..).take(count).fold(0, |sum, entry| sum.wrapping_add(*entry.value()))
    }

    fn sum(&self) -> u64 {
        self.0.iter().fold(0, |sum, entry| sum.wrapping_add(*entry.value()))
    }
}
