//! Figures of one core's engine, gathered by message.

use crate::base::{CommitTs, CoreId, StorageId};
use crate::shard::sizes::StorageSize;
use crate::storage::Tablet;

/// One core's engine figures.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// Core.
    pub core: CoreId,
    /// Tablets owned.
    pub tablets: usize,
    /// Keys in them.
    pub keys: usize,
    /// Row versions in them.
    pub versions: usize,
    /// Bytes of indexes.
    pub index_bytes: usize,
    /// Bytes of version heaps.
    pub heap_bytes: usize,
    /// Keys by storage.
    pub storages: Vec<(StorageId, usize)>,
    /// Chains waiting for collection.
    pub garbage: usize,
    /// Superseded versions that old snapshots keep.
    pub held: usize,
    /// Versions collected since start.
    pub collected: u64,
    /// Bytes of transactions' bookkeeping.
    pub transaction_bytes: usize,
    /// Transactions with intents or locks here.
    pub transactions: usize,
    /// Rows locked or waited for.
    pub locked_rows: usize,
    /// Requests waiting for a row.
    pub waiting: usize,
    /// Snapshots that were in use for longer than allowed, since start.
    pub snapshots_expired: u64,
    /// The oldest snapshot in use.
    pub oldest_snapshot: Option<CommitTs>,
    /// Tablet splits and moves since start.
    pub splits: u64,
    /// Tablets moved away since start.
    pub moves: u64,
}

impl ShardStats {
    /// Adds what the tablets of a storage hold.
    pub(super) fn add_storage(&mut self, storage: StorageId, tablets: &[Tablet]) {
        let size = StorageSize::of(tablets);
        self.tablets += tablets.len();
        self.keys += size.keys as usize;
        self.versions += tablets.iter().map(Tablet::versions).sum::<usize>();
        self.index_bytes += size.index_bytes as usize;
        self.heap_bytes += size.heap_bytes as usize;
        self.storages.push((storage, size.keys as usize));
    }
}
