//! Which core owns which key range: immutable, versioned, shared.
//!
//! Every core routes by its own cached `Arc` and notices a newer version by one atomic load. A stale map does no harm: an
//! owner that no longer covers a key says so, and the sender looks again.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;

use crate::base::{CoreId, StorageId, TabletId};
use crate::storage::{Key, KeyKind};

/// One tablet's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Inclusive lower end; the first tablet's is `None`.
    pub lower: Option<Key>,
    /// Tablet.
    pub tablet: TabletId,
    /// Owner.
    pub core: CoreId,
}

/// A storage's tablets in key order; together they cover every key.
#[derive(Clone, Debug)]
pub struct StorageMap {
    /// What its keys are.
    pub kind: KeyKind,
    routes: Vec<Route>,
    /// The lower ends of integer storages again, side by side for the search.
    int_lowers: Vec<i64>,
}

impl StorageMap {
    /// A map of routes in key order.
    pub fn new(kind: KeyKind, routes: Vec<Route>) -> Self {
        assert!(routes.first().is_some_and(|first| first.lower.is_none()), "the first tablet is open below");
        assert!(
            routes.windows(2).all(|pair| pair[0].lower < pair[1].lower && pair[1].lower.is_some()),
            "tablets are in key order"
        );
        let int_lowers = match kind {
            KeyKind::Bytes => Vec::new(),
            KeyKind::Int | KeyKind::RowId => routes
                .iter()
                .map(|route| match route.lower {
                    None => i64::MIN,
                    Some(Key::Int(lower)) => lower,
                    Some(Key::Bytes(_)) => panic!("an integer storage has integer boundaries"),
                })
                .collect(),
        };
        Self { kind, routes, int_lowers }
    }

    /// Routes in key order.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The index of the route that covers a key.
    #[inline]
    pub fn position(&self, key: &Key) -> usize {
        match key {
            Key::Int(key) => self.int_lowers.partition_point(|lower| lower <= key) - 1,
            Key::Bytes(_) => self.routes.partition_point(|route| route.lower.as_ref().is_none_or(|lower| lower <= key)) - 1,
        }
    }

    /// The owner of a key.
    #[inline]
    pub fn owner(&self, key: &Key) -> CoreId {
        self.routes[self.position(key)].core
    }
}

/// All storages.
#[derive(Clone, Debug, Default)]
pub struct RangeMap {
    storages: FxHashMap<StorageId, Arc<StorageMap>>,
}

impl RangeMap {
    /// A storage's map.
    #[inline]
    pub fn storage(&self, storage: StorageId) -> Option<&Arc<StorageMap>> {
        self.storages.get(&storage)
    }

    /// All storages.
    pub fn storages(&self) -> impl Iterator<Item = (StorageId, &Arc<StorageMap>)> {
        self.storages.iter().map(|(id, map)| (*id, map))
    }
}

/// The current map, and how to change it.
#[derive(Default)]
pub struct SharedRangeMap {
    current: ArcSwap<RangeMap>,
    version: AtomicU64,
    /// Changes are rare (splits, moves, DDL) and made one at a time.
    changing: Mutex<()>,
}

impl SharedRangeMap {
    /// The version of the current map.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// The current map.
    pub fn load(&self) -> Arc<RangeMap> {
        self.current.load_full()
    }

    fn change(&self, change: impl FnOnce(&mut RangeMap)) {
        let _one_at_a_time = self.changing.lock().expect("no change to the range map panics half way");
        let mut next = RangeMap::clone(&self.current.load());
        change(&mut next);
        self.current.store(Arc::new(next));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Adds or replaces a storage.
    pub fn put(&self, storage: StorageId, map: StorageMap) {
        self.change(|all| {
            all.storages.insert(storage, Arc::new(map));
        });
    }

    /// Removes a storage.
    pub fn remove(&self, storage: StorageId) {
        self.change(|all| {
            all.storages.remove(&storage);
        });
    }

    /// Records that the tablet that covers `boundary` was split there and its upper part is a tablet on `core`. False if the
    /// storage is gone.
    pub fn split(&self, storage: StorageId, boundary: &Key, tablet: TabletId, core: CoreId) -> bool {
        self.edit(storage, |routes| {
            let at = routes.partition_point(|route| route.lower.as_ref().is_none_or(|lower| lower <= boundary));
            routes.insert(at, Route { lower: Some(boundary.clone()), tablet, core });
        })
    }

    /// Records that a tablet now belongs to `core`. False if the storage or tablet is gone.
    pub fn move_tablet(&self, storage: StorageId, tablet: TabletId, core: CoreId) -> bool {
        let mut found = false;
        self.edit(storage, |routes| {
            if let Some(route) = routes.iter_mut().find(|route| route.tablet == tablet) {
                route.core = core;
                found = true;
            }
        }) && found
    }

    fn edit(&self, storage: StorageId, edit: impl FnOnce(&mut Vec<Route>)) -> bool {
        let mut done = false;
        self.change(|all| {
            if let Some(map) = all.storages.get_mut(&storage) {
                let mut routes = map.routes.clone();
                edit(&mut routes);
                *map = Arc::new(StorageMap::new(map.kind, routes));
                done = true;
            }
        });
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(lower: Option<i64>, tablet: u64, core: u16) -> Route {
        Route { lower: lower.map(Key::Int), tablet: TabletId(tablet), core: CoreId(core) }
    }

    #[test]
    fn keys_find_their_owner_across_splits_and_moves() {
        let shared = SharedRangeMap::default();
        let storage = StorageId(9);
        shared.put(storage, StorageMap::new(KeyKind::Int, vec![route(None, 1, 0)]));
        let before = shared.version();
        assert!(shared.split(storage, &Key::Int(100), TabletId(2), CoreId(1)));
        assert!(shared.split(storage, &Key::Int(50), TabletId(3), CoreId(0)));
        assert!(shared.version() > before);
        let owner = |key| shared.load().storage(storage).unwrap().owner(&Key::Int(key));
        assert_eq!(
            [owner(i64::MIN), owner(49), owner(50), owner(99), owner(100), owner(i64::MAX)].map(|c| c.0),
            [0, 0, 0, 0, 1, 1]
        );
        assert!(shared.move_tablet(storage, TabletId(3), CoreId(1)));
        assert_eq!(owner(75), CoreId(1));
        assert!(!shared.move_tablet(storage, TabletId(77), CoreId(1)));
        shared.remove(storage);
        assert!(!shared.split(storage, &Key::Int(7), TabletId(4), CoreId(0)));
    }
}
