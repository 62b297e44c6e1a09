//! What each core counts and times, and how it becomes one page of Prometheus text.
//!
//! **Idea.** A core owns one [`CoreMetrics`] and nobody else touches it, so recording is a plain addition to a [`Counter`] (a
//! `Cell<u64>`) or to a bucket of a [`Distribution`], which has those of an HDR histogram: no atomics, no locks, a few nanoseconds. To read, somebody
//! sends the core a message; the core answers with a [`CoreSnapshot`], which is `Send`. The reader merges the snapshots of all
//! cores ([`merge`]) and encodes them ([`export`]).
//!
//! **Invariants.**
//! - ONE OWNER holds here too: `CoreMetrics` is neither `Send` nor `Sync` (the compiler checks it); it is shared within its core
//!   as `Rc<CoreMetrics>`, never through a thread-local, because in the simulator several cores live on one thread.
//! - Memory is bounded: histograms have fixed bounds, are allocated when first used, and values outside saturate.
//! - Nothing is borrowed across an await: every recording call borrows and returns.
//!
//! **Adding a metric.** A field in the group it belongs to (`groups/`), its [`Family`] in `families.rs`, one line in the group's
//! `collect`. A test checks that every family is collected and named by the Prometheus rules.
//!
//! Sources: HdrHistogram (Gil Tene); the Prometheus text exposition format 0.0.4.

mod cell;
mod counts;
mod distribution;
pub mod export;
pub mod families;
mod finished;
mod groups;
pub mod ladder;
mod latency;
mod process;
mod snapshot;

pub use cell::{Counter, Gauge, Log2Distribution, RECORDED};
pub use distribution::Distribution;
pub use families::{Family, Kind, Unit};
pub use finished::FinishedStatement;
pub use groups::{
    Awaited, CheckpointMetrics, ClientState, ConnectionMetrics, ErrorClass, ExecutorMetrics, IndexMetrics, MemoryKind,
    MeshMetrics, PeerMetrics, PoolFigure, PoolFigures, PoolMetrics, QueryPath, QueryType, SlowStatement, SqlMetrics, Stage,
    StageMetrics, StageTimes, StorageMetrics, TxnMetrics, WalMetrics,
};
pub use latency::{CoreLatencies, Latency, Timed};
pub use process::{ProcessFigures, process_figures};
pub(crate) use snapshot::add_each;
pub use snapshot::{Collector, CoreSnapshot, Merged, Sample, SampleValue, merge};

use std::cell::RefCell;

use crate::base::CoreId;
use crate::error::SqlState;

/// Everything one core counts. Owned by that core, shared inside it as `Rc<CoreMetrics>`; all methods take `&self` and are
/// never to be called from another thread (the type is not `Send`).
///
/// ```
/// use std::rc::Rc;
/// use omendb::base::CoreId;
/// use omendb::metrics::{CoreMetrics, FinishedStatement, QueryPath, QueryType, Stage};
///
/// let metrics = Rc::new(CoreMetrics::new(CoreId(0), 2));
/// // A session finishes a statement: what it was, which way it took, how long it and its stages lasted, the rows it returned.
/// let mut stages = [0; Stage::COUNT];
/// stages[Stage::Execute as usize] = 4_100;
/// let (query_type, path) = (QueryType::Select, QueryPath::PointLocal);
/// metrics.finished(FinishedStatement { query_type, path, duration_ns: 12_300, rows: 1, stages, count: 1 });
/// // The log finishes a flush.
/// metrics.wal.flushed(17, 8_192, 95_000);
/// // The owner answers the control thread.
/// let snapshot = metrics.snapshot();
/// assert_eq!(snapshot.total("omendb_sql_queries_total"), 1);
/// ```
#[derive(Debug)]
pub struct CoreMetrics {
    core: CoreId,
    baseline: RefCell<latency::Baseline>,
    waiting: finished::Waiting,
    /// Statements: counts, durations, rows, errors, which path they took.
    pub sql: SqlMetrics,
    /// Where a statement's time goes.
    pub stages: StageMetrics,
    /// Transactions: commits, rollbacks, conflicts, deadlocks, lock waits, snapshot age, garbage.
    pub txn: TxnMetrics,
    /// Connections and sessions on this core.
    pub connections: ConnectionMetrics,
    /// Who is served, and who waits for it.
    pub pool: PoolMetrics,
    /// This core's write-ahead log.
    pub wal: WalMetrics,
    /// Checkpoints, as seen by this core.
    pub checkpoint: CheckpointMetrics,
    /// The learned indexes of this core's tablets.
    pub index: IndexMetrics,
    /// Tablets, rows, bytes and memory.
    pub storage: StorageMetrics,
    /// Messages to and from the other cores.
    pub mesh: MeshMetrics,
    /// The executor: busy, idle, stalls; its io_uring.
    pub executor: ExecutorMetrics,
}

impl CoreMetrics {
    /// The metrics of `core` in a server of `cores` cores. Call it on the thread that will own it.
    pub fn new(core: CoreId, cores: usize) -> Self {
        assert!(core.index() < cores, "a core's number is below the number of cores");
        Self {
            core,
            baseline: RefCell::default(),
            waiting: finished::Waiting::default(),
            sql: SqlMetrics::default(),
            stages: StageMetrics::default(),
            txn: TxnMetrics::default(),
            connections: ConnectionMetrics::default(),
            pool: PoolMetrics::default(),
            wal: WalMetrics::default(),
            checkpoint: CheckpointMetrics::default(),
            index: IndexMetrics::default(),
            storage: StorageMetrics::default(),
            mesh: MeshMetrics::new(cores),
            executor: ExecutorMetrics::default(),
        }
    }

    /// The core that owns this.
    pub fn core(&self) -> CoreId {
        self.core
    }

    /// An error was sent to a client.
    pub fn failed(&self, state: SqlState) {
        self.sql.failed(state);
        match state {
            SqlState::SERIALIZATION_FAILURE => self.txn.serialization_failures.inc(),
            SqlState::DEADLOCK_DETECTED => self.txn.deadlocks.inc(),
            _ => {}
        }
    }

    /// Everything, to send away. Costs a pass over every histogram in use (some ten microseconds each); on a serving core prefer
    /// [`CoreMetrics::snapshot_paced`].
    pub fn snapshot(&self) -> CoreSnapshot {
        let mut out = Collector::new(self.core);
        self.count_finished();
        for group in self.groups() {
            group.collect(&mut out);
        }
        out.finish()
    }

    /// The same, with `pause` awaited between groups (give it the runtime's yield), so that a scrape never holds the core
    /// for long. Groups are each consistent in themselves, not with each other.
    pub async fn snapshot_paced(&self, mut pause: impl AsyncFnMut()) -> CoreSnapshot {
        let mut out = Collector::new(self.core);
        for group in self.groups() {
            self.count_finished();
            group.collect(&mut out);
            pause().await;
        }
        out.finish()
    }

    fn groups(&self) -> [&dyn groups::Group; 11] {
        [
            &self.sql,
            &self.stages,
            &self.txn,
            &self.connections,
            &self.pool,
            &self.wal,
            &self.checkpoint,
            &self.index,
            &self.storage,
            &self.mesh,
            &self.executor,
        ]
    }
}

#[cfg(test)]
mod tests;
