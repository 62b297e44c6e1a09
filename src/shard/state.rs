//! What one core owns.
//!
//! [`Shard`] is plain data behind a `RefCell` in the engine: every method here runs to its end within one poll, and no borrow
//! of it is ever held across an await.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::base::{CommitTs, CoreId, StorageId, TabletId, TxnId};
use crate::metrics::CoreMetrics;
use crate::runtime;
use crate::runtime::sync::WaitQueue;
use crate::shard::additions::Additions;
use crate::shard::api::ReadView;
use crate::shard::durable::DurableWaiters;
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::lock_waits::LockWaits;
use crate::shard::range_map::{RangeMap, SharedRangeMap};
use crate::shard::sizes::{Sizes, StorageSize};
use crate::shard::stats::ShardStats;
use crate::storage::heap::HeapFull;
use crate::storage::{Horizon, IntentStatus, Key, Tablet, View};
use crate::txn::advisory_locks::AdvisoryLocks;
use crate::txn::clock::Clock;
use crate::txn::prepared::PreparedTransactions;
use crate::txn::row_locks::RowLocks;
use crate::txn::snapshots::ActiveSnapshots;
use crate::txn::table_locks::TableLocks;
use crate::txn::{TxnState, TxnTable};
use crate::wal::{Reservation, Wal, WriteSet};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// The storage that holds the catalog's objects.
pub const CATALOG_STORAGE: StorageId = StorageId(1);
/// The storage that describes prepared transactions.
pub const PREPARED_STORAGE: StorageId = StorageId(2);
/// User storages start here.
pub const FIRST_USER_STORAGE: u32 = 16;

/// The part of the memory limit that is kept beyond it for what makes room.
const RESERVE_SHARE: usize = 16;

/// What memory is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Data.
    Data,
    /// What makes room, or is a step on the way to that: deletions, row locks, and DDL such as TRUNCATE. At the limit it is the
    /// only way out.
    MakesRoom,
}

/// Limits of the engine.
#[derive(Clone, Debug)]
pub struct EngineLimits {
    /// Memory of all cores together, bytes.
    pub memory_bytes: usize,
    /// Keys above which a tablet splits.
    pub tablet_keys: usize,
    /// Log volume over all cores after which a checkpoint is taken.
    pub checkpoint_log_bytes: u64,
    /// Time after which a checkpoint is taken if anything was written.
    pub checkpoint_interval: std::time::Duration,
    /// Prepared transactions at once; 0 to refuse them.
    pub prepared_max: usize,
    /// How long a client's snapshot keeps what it sees from being collected; `None`: as long as it is in use.
    pub old_snapshot: Option<Duration>,
    /// Client connections at once: told here, enforced by whoever accepts them.
    pub connections_max: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            memory_bytes: 1 << 34,
            tablet_keys: 128 * 1024,
            checkpoint_log_bytes: 2 << 30,
            checkpoint_interval: std::time::Duration::from_secs(300),
            prepared_max: 64,
            old_snapshot: None,
            connections_max: 100,
        }
    }
}

/// Gets the catalog rows that a commit changed: object id, and its bytes or `None` where it is gone.
pub type CatalogHook = Box<dyn Fn(&[(i64, Option<Vec<u8>>)]) + Send + Sync>;

/// What all cores share. Everything in it is either immutable, or changed rarely, or one padded word a core.
pub struct Shared {
    /// Number of cores.
    pub cores: usize,
    /// The clock.
    pub clock: Clock,
    /// Who owns what.
    pub ranges: SharedRangeMap,
    /// Limits.
    pub limits: EngineLimits,
    /// Bytes in use, one word a core, refreshed by each.
    pub memory: Box<[AtomicUsize]>,
    /// What of it each storage takes.
    pub sizes: Arc<Sizes>,
    /// Transactions that clients have prepared.
    pub prepared: PreparedTransactions,
    /// The next storage.
    pub next_storage: AtomicU32,
    /// The next tablet.
    pub next_tablet: AtomicU64,
    /// Called on the catalog's core with the changed objects when a transaction that changed them is installed.
    pub catalog_hook: std::sync::OnceLock<CatalogHook>,
    /// Set when the server stops: writes are refused.
    pub stopping: std::sync::atomic::AtomicBool,
    /// Bytes logged since the last checkpoint, one word a core.
    pub log_bytes: Box<[AtomicU64]>,
    /// The data directory, once recovered.
    pub root: std::sync::OnceLock<std::path::PathBuf>,
    /// Checkpoints freeze tablet moves while they run.
    pub moves_frozen: AtomicU32,
    /// How long sessions have waited for locks.
    pub lock_waits: LockWaits,
    /// When there began to be something to share.
    pub started: runtime::MonoTime,
    /// When the last checkpoint ended, or when the server started, in the nanoseconds of [`runtime::MonoTime`].
    pub checkpointed_at: AtomicU64,
}

impl Shared {
    /// State for `cores` cores.
    pub fn new(cores: usize, limits: EngineLimits) -> Arc<Self> {
        Arc::new(Self {
            cores,
            clock: Clock::new(cores, CommitTs(0)),
            ranges: SharedRangeMap::default(),
            prepared: PreparedTransactions::new(limits.prepared_max),
            limits,
            memory: (0..cores).map(|_| AtomicUsize::new(0)).collect(),
            sizes: Arc::new(Sizes::new(cores)),
            next_storage: AtomicU32::new(FIRST_USER_STORAGE),
            next_tablet: AtomicU64::new(1),
            catalog_hook: std::sync::OnceLock::new(),
            stopping: std::sync::atomic::AtomicBool::new(false),
            log_bytes: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            root: std::sync::OnceLock::new(),
            moves_frozen: AtomicU32::new(0),
            lock_waits: LockWaits::default(),
            started: runtime::now(),
            checkpointed_at: AtomicU64::new(runtime::now().as_nanos()),
        })
    }

    /// A tablet id that was never used in this process.
    pub fn new_tablet_id(&self) -> TabletId {
        TabletId(self.next_tablet.fetch_add(1, Ordering::Relaxed))
    }

    /// Bytes in use on all cores.
    pub fn memory_used(&self) -> usize {
        self.memory.iter().map(|core| core.load(Ordering::Relaxed)).sum()
    }
}

impl IntentStatus for TxnTable {
    fn committed(&self, slot: u32) -> Option<CommitTs> {
        match self.get(slot).state {
            TxnState::Committed(ts) => Some(ts),
            TxnState::Active | TxnState::Prepared | TxnState::Aborted => None,
        }
    }

    fn is_own(&self, slot: u32, txn: TxnId) -> bool {
        let slot = self.get(slot);
        slot.id == txn && matches!(slot.state, TxnState::Active | TxnState::Prepared)
    }
}

impl From<&ReadView> for View {
    fn from(view: &ReadView) -> Self {
        View { snapshot: view.snapshot, txn: view.txn, command: view.command }
    }
}

impl From<HeapFull> for EngineError {
    fn from(_: HeapFull) -> Self {
        EngineError::Limit("a tablet's heap has reached 64 GiB")
    }
}

/// A chain that has something to collect once the watermark reaches `ts`.
#[derive(Debug)]
pub(super) struct Garbage {
    pub ts: CommitTs,
    pub storage: StorageId,
    pub key: Key,
}

/// A superseded version that an old snapshot keeps.
#[derive(Debug)]
pub(super) struct Held {
    pub storage: StorageId,
    pub key: Key,
    /// The version's timestamp.
    pub begin: CommitTs,
}

/// A prepared transaction's promise.
pub(super) struct Promise {
    pub bound: CommitTs,
    pub reservation: Reservation,
    /// Chunks logged ahead of the commit record; 0 if the record carries the writes itself.
    pub chunks: u32,
}

/// Everything one core owns.
pub struct Shard {
    pub(super) core: CoreId,
    pub(super) shared: Arc<Shared>,
    /// Tablets by storage, in key order.
    pub(super) tablets: FxHashMap<StorageId, Vec<Tablet>>,
    pub(super) txns: TxnTable,
    pub(super) row_locks: RowLocks,
    pub(super) table_locks: TableLocks,
    pub(super) advisory_locks: AdvisoryLocks,
    pub(super) additions: Additions,
    /// The latest end of a transaction that had locked rows here, beyond those it has written.
    pub(super) locks_held_until: CommitTs,
    pub(super) snapshots: ActiveSnapshots,
    /// Promises by slot: their lowest bound is this core's `undecided`.
    pub(super) promises: BTreeMap<u32, Promise>,
    pub(super) garbage: VecDeque<Garbage>,
    /// By the old snapshot that keeps them; looked at again when it is gone.
    pub(super) held: BTreeMap<CommitTs, Vec<Held>>,
    /// Slots that guard what they have read.
    pub(super) guards: Vec<u32>,
    /// Those who wait for a guard to end.
    pub(super) guards_freed: Rc<WaitQueue>,
    /// Decided slots whose many intents are still being resolved, and how far.
    pub(super) unresolved: VecDeque<u32>,
    pub(super) ranges: (u64, Arc<RangeMap>),
    /// Bytes in use here as of the last count, plus what was written since.
    pub(super) bytes: usize,
    pub(super) next_row_ids: FxHashMap<StorageId, i64>,
    pub(super) stats: ShardStats,
    pub(super) metrics: Rc<CoreMetrics>,
    /// The log; absent until recovery is done.
    pub(super) wal: Option<Wal>,
    pub(super) write_set: WriteSet,
    pub(super) durable_waiters: DurableWaiters,
    /// Tablets that have grown past the limit, for the maintenance task.
    pub(super) to_split: Vec<(StorageId, Key)>,
    /// The storage one of whose tablets is being split: meanwhile none of its tablets moves or splits otherwise.
    pub(super) splitting: Option<StorageId>,
}

impl Shard {
    /// An empty shard.
    pub fn new(core: CoreId, shared: Arc<Shared>) -> Self {
        let metrics = Rc::new(CoreMetrics::new(core, shared.cores));
        Self {
            core,
            ranges: (shared.ranges.version(), shared.ranges.load()),
            shared,
            tablets: FxHashMap::default(),
            txns: TxnTable::default(),
            row_locks: RowLocks::default(),
            table_locks: TableLocks::default(),
            advisory_locks: AdvisoryLocks::default(),
            additions: Additions::default(),
            locks_held_until: CommitTs(0),
            snapshots: ActiveSnapshots::default(),
            promises: BTreeMap::new(),
            guards: Vec::new(),
            guards_freed: Rc::default(),
            garbage: VecDeque::new(),
            held: BTreeMap::new(),
            unresolved: VecDeque::new(),
            bytes: 0,
            next_row_ids: FxHashMap::default(),
            stats: ShardStats { core, ..ShardStats::default() },
            metrics,
            wal: None,
            write_set: WriteSet::default(),
            durable_waiters: DurableWaiters::default(),
            to_split: Vec::new(),
            splitting: None,
        }
    }

    /// The newest range map.
    #[inline]
    pub(super) fn ranges(&mut self) -> &Arc<RangeMap> {
        let version = self.shared.ranges.version();
        if version != self.ranges.0 {
            self.ranges = (version, self.shared.ranges.load());
        }
        &self.ranges.1
    }

    /// The position of the local tablet that covers a key.
    #[inline]
    pub(super) fn tablet_position(&self, storage: StorageId, key: &Key) -> Option<usize> {
        let tablets = self.tablets.get(&storage)?;
        let at = tablets.partition_point(|tablet| tablet.lower.as_ref().is_none_or(|lower| lower <= key)).checked_sub(1)?;
        tablets[at].covers(key).then_some(at)
    }

    /// The local tablet that covers a key.
    #[inline]
    pub(super) fn tablet(&self, storage: StorageId, key: &Key) -> Option<&Tablet> {
        let at = self.tablet_position(storage, key)?;
        self.tablets.get(&storage).map(|tablets| &tablets[at])
    }

    /// The local tablet that covers a key, to change.
    #[inline]
    pub(super) fn tablet_mut(&mut self, storage: StorageId, key: &Key) -> Option<&mut Tablet> {
        let at = self.tablet_position(storage, key)?;
        self.tablets.get_mut(&storage).map(|tablets| &mut tablets[at])
    }

    /// Adds a tablet.
    pub(super) fn add_tablet(&mut self, tablet: Tablet) {
        let tablets = self.tablets.entry(tablet.storage).or_default();
        let at = tablets.partition_point(|other| other.lower < tablet.lower);
        assert!(tablets.get(at).is_none_or(|next| next.lower != tablet.lower), "a key range has one tablet");
        tablets.insert(at, tablet);
    }

    /// Refuses writes when memory is used up.
    pub(super) fn check_memory(&mut self, bytes: usize, need: Need) -> EngineResult<()> {
        let own = &self.shared.memory[self.core.index()];
        own.store(self.bytes + bytes, Ordering::Relaxed);
        let limit = self.shared.limits.memory_bytes;
        let reserve = if need == Need::MakesRoom { limit / RESERVE_SHARE } else { 0 };
        if self.shared.memory_used() > limit.saturating_add(reserve) {
            own.store(self.bytes, Ordering::Relaxed);
            return Err(EngineError::OutOfMemory);
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Counts the memory in use anew, and publishes it.
    pub(super) fn count_memory(&mut self) {
        let sizes: FxHashMap<StorageId, StorageSize> =
            self.tablets.iter().map(|(storage, tablets)| (*storage, StorageSize::of(tablets))).collect();
        let tablets: u64 = sizes.values().map(|size| size.bytes()).sum();
        let tablets = usize::try_from(tablets).expect("what lies in memory can be counted in a word");
        self.shared.sizes.publish(self.core, sizes);
        let held: usize = self.held.values().map(Vec::capacity).sum();
        let garbage = self.garbage.capacity() * size_of::<Garbage>() + held * size_of::<Held>();
        let transactions: usize = self.txns.bytes();
        self.bytes = tablets + garbage + transactions;
        self.shared.memory[self.core.index()].store(self.bytes, Ordering::Relaxed);
    }

    /// Publishes the lowest timestamp this core may still install.
    pub(super) fn publish_undecided(&self) {
        let lowest = self.promises.values().map(|promise| promise.bound).min();
        #[cfg(test)]
        let lowest = lowest.filter(|_| !sabotage::is(Sabotage::NoUndecidedBound));
        self.shared.clock.set_undecided(self.core, lowest);
    }

    /// Publishes the bound below this core's snapshots.
    pub(super) fn publish_floor(&mut self) {
        let durable = self.shared.clock.durable();
        if let Some(age) = self.shared.limits.old_snapshot {
            self.snapshots.expire(runtime::now(), age, durable);
        }
        let lowest = self.snapshots.lowest();
        #[cfg(test)]
        let lowest = lowest.filter(|_| !sabotage::is(Sabotage::EarlyCollection));
        let floor = lowest.map_or(durable, |lowest| lowest.min(durable));
        self.shared.clock.set_floor(self.core, floor);
        let pins = if floor < durable { self.snapshots.below(durable) } else { Vec::new() };
        self.shared.clock.set_horizon(self.core, Horizon { recent: durable, pins });
    }

    /// The figures of this core.
    pub fn stats(&self) -> ShardStats {
        let mut stats = self.stats_without_tablets();
        for (storage, tablets) in &self.tablets {
            stats.add_storage(*storage, tablets);
        }
        stats
    }

    /// The same but for what tablets hold.
    pub(super) fn stats_without_tablets(&self) -> ShardStats {
        ShardStats {
            transaction_bytes: self.txns.bytes(),
            garbage: self.garbage.len(),
            held: self.held.values().map(Vec::len).sum(),
            transactions: self.txns.len(),
            locked_rows: self.row_locks.len(),
            waiting: self.row_locks.waiting(),
            oldest_snapshot: self.snapshots.lowest(),
            snapshots_expired: self.snapshots.expired(),
            ..self.stats.clone()
        }
    }
}
