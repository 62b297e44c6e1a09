//! How much memory each storage takes, for whoever asks on whichever core.
//!
//! A core counts what it owns in its housekeeping, twice a second, and publishes the counts as one immutable map: writers are
//! never slowed down by it, and a reader adds up as many maps as there are cores. What it reads is at most a second old.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::base::{CoreId, StorageId};
use crate::storage::Tablet;

/// What a storage takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageSize {
    /// Keys, deleted ones that are not yet collected included.
    pub keys: u64,
    /// Bytes of rows and their older versions.
    pub heap_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
}

impl StorageSize {
    /// Of some tablets.
    pub fn of<'t>(tablets: impl IntoIterator<Item = &'t Tablet>) -> Self {
        let of_one = |tablet: &Tablet| Self {
            keys: tablet.keys() as u64,
            heap_bytes: tablet.heap_bytes() as u64,
            index_bytes: tablet.index_bytes() as u64,
        };
        tablets.into_iter().fold(Self::default(), |sum, tablet| sum.plus(of_one(tablet)))
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            heap_bytes: self.heap_bytes + other.heap_bytes,
            index_bytes: self.index_bytes + other.index_bytes,
        }
    }

    /// Rows and index.
    pub fn bytes(self) -> u64 {
        self.heap_bytes + self.index_bytes
    }
}

type Counts = FxHashMap<StorageId, StorageSize>;

/// The last counts of every core.
#[derive(Debug)]
pub struct Sizes(Box<[ArcSwap<Counts>]>);

impl Sizes {
    /// Nothing counted yet on `cores` cores.
    pub fn new(cores: usize) -> Self {
        Self((0..cores).map(|_| ArcSwap::default()).collect())
    }

    /// A core's new counts.
    pub(super) fn publish(&self, core: CoreId, counts: Counts) {
        self.0[core.index()].store(Arc::new(counts));
    }

    /// What a storage takes on all cores.
    pub fn of(&self, storage: StorageId) -> StorageSize {
        let on_core = |core: &ArcSwap<Counts>| core.load().get(&storage).copied().unwrap_or_default();
        self.0.iter().map(on_core).fold(StorageSize::default(), StorageSize::plus)
    }

    /// What all storages take together.
    pub fn total(&self) -> StorageSize {
        let on_core = |core: &ArcSwap<Counts>| core.load().values().copied().fold(StorageSize::default(), StorageSize::plus);
        self.0.iter().map(on_core).fold(StorageSize::default(), StorageSize::plus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_added_up_and_replace_their_own_counts() {
        let sizes = Sizes::new(2);
        let size = |keys| StorageSize { keys, heap_bytes: 100 * keys, index_bytes: 10 * keys };
        sizes.publish(CoreId(0), [(StorageId(7), size(1)), (StorageId(8), size(2))].into_iter().collect());
        sizes.publish(CoreId(1), [(StorageId(7), size(4))].into_iter().collect());
        assert_eq!((sizes.of(StorageId(7)), sizes.of(StorageId(9))), (size(5), StorageSize::default()));
        assert_eq!((sizes.total(), sizes.total().bytes()), (size(7), 770));
        sizes.publish(CoreId(0), Counts::default());
        assert_eq!((sizes.of(StorageId(7)), sizes.of(StorageId(8))), (size(4), StorageSize::default()));
    }
}
