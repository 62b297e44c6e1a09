//! Making and forgetting storages, and the hidden keys of those without a primary key.

use crate::base::{CoreId, StorageId};
use crate::runtime::{self, QueueClass};
use crate::shard::engine::{Engine, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::maintenance::MovedGarbage;
use crate::shard::messages::{Reply, Request};
use crate::shard::range_map::{Route, StorageMap};
use crate::shard::state::Shard;
use crate::shard::txn_handle::Txn;
use crate::storage::{Key, KeyKind, KeyMap, Tablet};

/// Each core appends hidden keys in a range of 2^40 of its own, so that inserts into a table without a primary key never leave
/// the session's core.
pub(super) const ROW_ID_RANGE_BITS: u32 = 40;

/// An empty map for a kind of keys.
pub(super) fn empty_map(kind: KeyKind) -> KeyMap {
    match kind {
        KeyKind::RowId | KeyKind::Int => KeyMap::for_ints(),
        KeyKind::Bytes => KeyMap::for_bytes(),
    }
}

impl Engine {
    /// Makes a storage that goes away if the transaction aborts.
    pub async fn create_storage(&self, txn: &mut Txn, kind: KeyKind) -> EngineResult<StorageId> {
        let storage = StorageId(self.0.shared.next_storage.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        txn.created_storages.push((txn.command, storage));
        self.make_storage(storage, kind, 0).await?;
        Ok(storage)
    }

    /// Makes a storage's empty tablets and publishes them. `first_range` is the first of the hidden key ranges to be given out.
    pub(super) async fn make_storage(&self, storage: StorageId, kind: KeyKind, first_range: i64) -> EngineResult<()> {
        let cores: Vec<CoreId> = match kind {
            KeyKind::RowId => (0..self.0.shared.cores).map(|core| CoreId(core as u16)).collect(),
            KeyKind::Int | KeyKind::Bytes => vec![self.0.shard.borrow().home_of(storage)],
        };
        let boundary = |i: usize| Key::Int((first_range + i as i64) << ROW_ID_RANGE_BITS);
        let mut routes = Vec::new();
        let mut calls = Vec::new();
        for (i, core) in cores.iter().copied().enumerate() {
            let lower = (i > 0).then(|| boundary(i));
            let upper = (i + 1 < cores.len()).then(|| boundary(i + 1));
            let id = self.0.shared.new_tablet_id();
            let tablet = Tablet::new(id, storage, lower.clone(), upper, empty_map(kind));
            routes.push(Route { lower, tablet: id, core });
            calls.push((core, self.adopt_on(core, Box::new(tablet))));
        }
        for (_, adopted) in join_calls(calls).await {
            adopted?;
        }
        self.0.shared.ranges.put(storage, StorageMap::new(kind, routes));
        Ok(())
    }

    pub(super) async fn adopt_on(&self, core: CoreId, tablet: Box<Tablet>) -> EngineResult<()> {
        if core == self.0.core {
            self.0.shard.borrow_mut().adopt(*tablet, MovedGarbage::default());
            return Ok(());
        }
        self.ask(core, Request::Adopt { tablet, garbage: MovedGarbage::default() }).await.done()
    }

    /// Ends the last tablet of a storage with hidden keys above every key given out; returns where.
    pub(super) async fn cut_row_ids_on(&self, core: CoreId, storage: StorageId) -> EngineResult<i64> {
        if core == self.0.core {
            return self.0.shard.borrow_mut().cut_row_ids(storage);
        }
        match self.ask(core, Request::CutRowIds(storage)).await {
            Reply::CutAt(result) => result,
            _ => Err(EngineError::Internal("a cut was not answered with its place")),
        }
    }

    /// The newest committed rows of a storage that this core owns whole, by integer key.
    pub(super) fn newest_rows_of(&self, storage: StorageId) -> Vec<(i64, Vec<u8>)> {
        let mut rows = Vec::new();
        let mut from = std::ops::Bound::Unbounded;
        loop {
            let snapshot = crate::base::CommitTs(u64::MAX >> 1);
            let next = self.0.shard.borrow().snapshot_slice(storage, from.as_ref(), snapshot, |key, _, row| {
                if let Key::Int(key) = key {
                    rows.push((*key, row.to_vec()));
                }
            });
            match next {
                Some(next) => from = next,
                None => return rows,
            }
        }
    }

    /// Has a storage go away when the transaction commits.
    pub fn drop_storage(&self, txn: &mut Txn, storage: StorageId) {
        txn.dropped_storages.push((txn.command, storage));
    }

    /// Takes a storage off the map and frees its memory everywhere, in the background.
    pub(super) fn forget_storage(&self, storage: StorageId) {
        self.0.shared.ranges.remove(storage);
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)) {
            let engine = self.clone();
            runtime::spawn(QueueClass::Background, async move {
                if core == engine.0.core {
                    engine.drop_storage_here(storage).await;
                } else {
                    engine.ask(core, Request::DropStorage(storage)).await;
                }
            });
        }
    }

    /// Frees a dropped storage's memory on this core, a tablet at a time.
    pub(super) async fn drop_storage_here(&self, storage: StorageId) {
        while !self.0.shard.borrow_mut().drop_tablet_of(storage) {
            runtime::yield_now().await;
        }
        self.0.shard.borrow_mut().count_memory();
    }
}

impl Shard {
    /// Hidden keys for new rows, in this core's own range of the storage.
    pub(super) fn next_row_ids(&mut self, storage: StorageId, count: usize) -> EngineResult<Vec<Key>> {
        let next = match self.next_row_ids.get(&storage) {
            Some(next) => *next,
            None => self.first_row_id(storage)?,
        };
        self.next_row_ids.insert(storage, next + count as i64);
        Ok((next..next + count as i64).map(Key::Int).collect())
    }

    /// Ends the last tablet of the storage at the next multiple of the range size above its keys.
    pub(super) fn cut_row_ids(&mut self, storage: StorageId) -> EngineResult<i64> {
        let tablet = self.tablets.get_mut(&storage).and_then(|tablets| tablets.last_mut());
        let tablet = tablet.filter(|tablet| tablet.upper.is_none()).ok_or(EngineError::StorageGone(storage))?;
        let last = match (tablet.map().last_key(), &tablet.lower) {
            (Some(Key::Int(last)), _) => last,
            (_, Some(Key::Int(lower))) => *lower,
            _ => 0,
        };
        let cut = ((last >> ROW_ID_RANGE_BITS) + 1) << ROW_ID_RANGE_BITS;
        tablet.upper = Some(Key::Int(cut));
        Ok(cut)
    }

    /// Where this core's appending starts: above everything in the highest range it owns.
    fn first_row_id(&mut self, storage: StorageId) -> EngineResult<i64> {
        let Some(tablet) = self.tablets.get(&storage).and_then(|tablets| tablets.last()) else {
            return Err(EngineError::StorageGone(storage));
        };
        let lower = match &tablet.lower {
            Some(Key::Int(lower)) => *lower,
            // Hidden keys start at 1; zero and below are never given out.
            _ => 1,
        };
        let last = match tablet.map().last_key() {
            Some(Key::Int(last)) => last + 1,
            _ => lower,
        };
        Ok(last.max(lower).max(1))
    }

    /// Whether a tablet is where this core appends hidden keys: it stays.
    pub(super) fn is_append_range(tablet: &Tablet) -> bool {
        match &tablet.upper {
            None => true,
            Some(Key::Int(upper)) => upper & ((1 << ROW_ID_RANGE_BITS) - 1) == 0,
            Some(Key::Bytes(_)) => false,
        }
    }
}
