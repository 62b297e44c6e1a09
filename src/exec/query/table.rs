//! A hash table of rows: the groups of an aggregation, distinct rows, the inner side of a hash join.

use std::cmp::Ordering;
use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

use crate::types::{Datum, SqlType, compare_as, hash_datum};

/// Keys in the order they were first seen. NULLs are equal, as GROUP BY and DISTINCT have it.
pub struct RowTable {
    types: Vec<SqlType>,
    keys: Vec<Vec<Datum>>,
    by_hash: FxHashMap<u64, SmallVec<[u32; 1]>>,
}

impl RowTable {
    /// For keys of these types.
    pub fn new(types: Vec<SqlType>) -> Self {
        Self { types, keys: Vec::new(), by_hash: FxHashMap::default() }
    }

    fn hash(&self, key: &[Datum]) -> u64 {
        let mut hasher = FxHasher::default();
        for (ty, value) in self.types.iter().zip(key) {
            hash_datum(*ty, value, &mut hasher);
        }
        hasher.finish()
    }

    fn same(&self, a: &[Datum], b: &[Datum]) -> bool {
        self.types.iter().zip(a.iter().zip(b)).all(|(ty, (a, b))| compare_as(*ty, a, b) == Ordering::Equal)
    }

    /// Where a key is.
    pub fn find(&self, key: &[Datum]) -> Option<usize> {
        let places = self.by_hash.get(&self.hash(key))?;
        places.iter().map(|place| *place as usize).find(|place| self.same(&self.keys[*place], key))
    }

    /// Puts a key in unless it is there; where it is, and whether it is new.
    pub fn insert(&mut self, key: Vec<Datum>) -> (usize, bool) {
        let hash = self.hash(&key);
        if let Some(places) = self.by_hash.get(&hash)
            && let Some(place) = places.iter().find(|place| self.same(&self.keys[**place as usize], &key))
        {
            return (*place as usize, false);
        }
        let place = u32::try_from(self.keys.len()).expect("memory is limited far below 2^32 rows");
        self.by_hash.entry(hash).or_default().push(place);
        self.keys.push(key);
        (place as usize, true)
    }

    /// The keys.
    pub fn into_keys(self) -> Vec<Vec<Datum>> {
        self.keys
    }
}
