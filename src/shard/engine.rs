//! The engine of one core, as sessions use it.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, StorageId, TxnId};
use crate::mesh::Mesh;
use crate::metrics::{CoreMetrics, PeerMetrics, RECORDED};
use crate::runtime::{self, MonoTime};
use crate::shard::api::{ReadView, RowBatch};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Reply, Request, ScanNext};
use crate::shard::state::{Shard, Shared};
use crate::shard::txn_handle::{Savepoint, Txn};
use crate::storage::Key;
use crate::txn::Isolation;
use crate::txn::snapshots::SnapshotSlot;

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// How often a transaction that waits for visibility looks, before it sleeps in between.
const VISIBILITY_LOOKS: u32 = 64;
/// How long it sleeps then.
const VISIBILITY_LOOK: Duration = Duration::from_micros(100);

/// How often a request is sent again because the range map had moved on, before giving up. A tablet is between two owners for
/// a few milliseconds at most.
pub(super) const REDIRECTS_MAX: u32 = 10_000;

/// What stops the server when it cannot go on.
pub(super) type FailureHook = Rc<dyn Fn(&str)>;
/// What looks at each flush.
pub(super) type FlushHook = Rc<dyn Fn(&crate::wal::FlushReport)>;

/// One core's engine.
pub struct EngineInner {
    pub(super) core: CoreId,
    pub(super) shared: Arc<Shared>,
    pub(super) shard: RefCell<Shard>,
    pub(super) metrics: Rc<CoreMetrics>,
    pub(super) mesh: Mesh<Request, Reply>,
    next_txn: std::cell::Cell<u64>,
    pub(super) on_failure: RefCell<Option<FailureHook>>,
    pub(super) on_flush: RefCell<Option<FlushHook>>,
    /// Whether a checkpoint is under way (core 0).
    pub(super) checkpointing: std::cell::Cell<bool>,
    /// Whether the balancer is moving a tablet (core 0).
    pub(super) moving: std::cell::Cell<bool>,
    pub(super) boot: RefCell<crate::shard::recovery::BootState>,
}

/// A handle to the current core's engine. Cheap to clone; it never leaves its core.
#[derive(Clone)]
pub struct Engine(pub(super) Rc<EngineInner>);

thread_local! {
    /// Engines by core: one on a real core's thread, several in the simulator.
    static ENGINES: RefCell<Vec<Option<Engine>>> = const { RefCell::new(Vec::new()) };
}

/// The current core's engine.
#[inline]
pub fn engine() -> Engine {
    engine_of(runtime::current_core()).expect("the engine is installed before sessions run")
}

/// The current core's engine, if this is a core and has one yet, or still.
pub fn try_engine() -> Option<Engine> {
    runtime::try_current_core().and_then(engine_of)
}

#[inline]
fn engine_of(core: CoreId) -> Option<Engine> {
    ENGINES.with_borrow(|engines| engines.get(core.index()).and_then(Clone::clone))
}

/// Keeps the versions a snapshot sees from being collected.
#[must_use = "a pin protects its snapshot only while it lives"]
pub struct SnapshotPin {
    core: CoreId,
    slot: Option<SnapshotSlot>,
}

impl Drop for SnapshotPin {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        debug_assert!(runtime::try_current_core().is_none_or(|core| core == self.core), "a pin is dropped on its own core");
        if let Some(engine) = engine_of(self.core) {
            engine.0.shard.borrow_mut().snapshots.release(slot);
        }
    }
}

/// Takes away every engine of this thread: the simulated machine they belonged to is gone.
#[cfg(test)]
pub(crate) fn uninstall_all() {
    let engines = ENGINES.with_borrow_mut(std::mem::take);
    for engine in engines.iter().flatten() {
        // The log's callbacks hold the engine, which holds the log.
        *engine.0.on_failure.borrow_mut() = None;
        *engine.0.on_flush.borrow_mut() = None;
        engine.0.shard.borrow_mut().wal = None;
    }
}

impl Engine {
    /// Makes the engine of the current core.
    pub fn install(shared: Arc<Shared>, mesh: Mesh<Request, Reply>) -> Engine {
        let core = runtime::current_core();
        let shard = Shard::new(core, shared.clone());
        let metrics = shard.metrics.clone();
        let shard = RefCell::new(shard);
        let engine = Engine(Rc::new(EngineInner {
            core,
            shared,
            shard,
            metrics,
            mesh,
            next_txn: std::cell::Cell::new(1),
            on_failure: RefCell::new(None),
            on_flush: RefCell::new(None),
            checkpointing: std::cell::Cell::new(false),
            moving: std::cell::Cell::new(false),
            boot: RefCell::default(),
        }));
        ENGINES.with_borrow_mut(|engines| {
            if engines.len() <= core.index() {
                engines.resize_with(core.index() + 1, || None);
            }
            engines[core.index()] = Some(engine.clone());
        });
        engine
    }

    /// Takes the current core's engine away (end of a server or of a simulated one).
    pub fn uninstall() {
        let core = runtime::current_core().index();
        let engine = ENGINES.with_borrow_mut(|engines| engines.get_mut(core).and_then(Option::take));
        drop(engine);
    }

    /// This core.
    pub fn core(&self) -> CoreId {
        self.0.core
    }

    /// What this core counts.
    pub fn metrics(&self) -> &Rc<CoreMetrics> {
        &self.0.metrics
    }

    /// What all cores share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Starts a transaction: no message, nothing shared is touched.
    pub fn begin(&self, isolation: Isolation, read_only: bool) -> Txn {
        let sequence = self.0.next_txn.get();
        self.0.next_txn.set(sequence + 1);
        Txn::new(TxnId::new(self.0.core, sequence), isolation, read_only)
    }

    /// What the next statement sees. Read-only work sees what is durable; a transaction that writes sees the newest commits,
    /// durable or not, so that one flush can carry many updates of a hot row.
    pub fn read_view(&self, txn: Option<&mut Txn>) -> ReadView {
        let clock = &self.0.shared.clock;
        let Some(txn) = txn else { return ReadView { snapshot: clock.durable(), txn: None, command: 0, tracked: false } };
        let locks = txn.writing || txn.locks_held_until > CommitTs(0);
        let fresh = if txn.read_only || !locks { clock.durable() } else { clock.visible() };
        let snapshot = match txn.isolation {
            Isolation::ReadCommitted => fresh,
            Isolation::RepeatableRead | Isolation::Serializable => *txn.snapshot.get_or_insert_with(|| {
                let snapshot = if txn.read_only { clock.durable() } else { clock.visible() };
                txn.pin = Some(self.pin_for_client(snapshot));
                snapshot
            }),
        };
        // Only what writes has to be validated, and whether it will is not known yet.
        let tracked = txn.isolation == Isolation::Serializable && !txn.read_only;
        if tracked {
            (0..self.0.shared.cores).for_each(|core| txn.touch(CoreId(core as u16)));
        }
        let own = (!txn.touched.is_empty()).then_some(txn.id);
        // A statement that only reads sees all that the transaction has written so far.
        ReadView { snapshot, txn: own, command: txn.command + 1, tracked }
    }

    /// Whether a transaction may look around at once; else [`Engine::before_looking`] comes first.
    pub fn may_look(&self, txn: &Txn) -> bool {
        !txn.has_put_off() && (txn.snapshot.is_some() || self.0.shared.clock.visible() >= txn.locks_held_until)
    }

    /// Makes a transaction ready for a statement that observes anything: it has the rows for itself that it has added to, and the
    /// statement's snapshot shows what those have done who had its locks before.
    pub async fn before_looking(&self, txn: &mut Txn) -> EngineResult<()> {
        self.settle_additions(txn).await?;
        #[cfg(test)]
        if sabotage::is(Sabotage::LookBehindLock) {
            return Ok(());
        }
        // What holds visibility back is commits that are being installed, and mostly gone by now.
        for attempt in 0.. {
            if self.may_look(txn) {
                break;
            }
            if attempt < VISIBILITY_LOOKS {
                runtime::yield_now().await;
            } else {
                runtime::sleep(VISIBILITY_LOOK).await;
            }
        }
        Ok(())
    }

    /// What a statement that writes sees, and the command it writes as.
    pub fn write_view(&self, txn: &mut Txn) -> ReadView {
        txn.writing = true;
        self.next_command(txn);
        let view = self.read_view(Some(txn));
        ReadView { txn: Some(txn.id), command: txn.command, ..view }
    }

    /// Starts a new command: what the transaction wrote before becomes visible to it.
    pub fn next_command(&self, txn: &mut Txn) {
        txn.command = txn.command.checked_add(1).expect("a transaction has fewer than 2^32 commands");
    }

    /// Protects a view's snapshot until the pin is dropped. To be taken in the same poll as the view, by whatever keeps the
    /// view across an await.
    ///
    /// Where there is a limit to the age of snapshots, the pin ends with it, and what is read after that is refused.
    pub fn pin(&self, view: &ReadView) -> SnapshotPin {
        self.pin_for_client(view.snapshot)
    }

    fn pin_for_client(&self, snapshot: CommitTs) -> SnapshotPin {
        self.register(snapshot, self.0.shared.limits.old_snapshot.map(|_| runtime::now()))
    }

    /// Protects a snapshot without a limit, for what is not asked for by clients.
    pub(super) fn pin_snapshot(&self, snapshot: CommitTs) -> SnapshotPin {
        self.register(snapshot, None)
    }

    fn register(&self, snapshot: CommitTs, since: Option<MonoTime>) -> SnapshotPin {
        let slot = self.0.shard.borrow_mut().snapshots.register(snapshot, since);
        SnapshotPin { core: self.0.core, slot: Some(slot) }
    }

    /// Refuses what was read at a snapshot that has expired meanwhile.
    #[inline]
    pub(super) fn check_age(&self, view: &ReadView) -> EngineResult<()> {
        if self.0.shard.borrow().snapshots.is_too_old(view.snapshot) { Err(EngineError::SnapshotTooOld) } else { Ok(()) }
    }

    /// The owner of a key, if the storage exists.
    #[inline]
    pub fn owner(&self, storage: StorageId, key: &Key) -> Option<CoreId> {
        self.0.shard.borrow_mut().ranges().storage(storage).map(|map| map.owner(key))
    }

    /// Reads a row without awaiting, if this core owns its key.
    #[inline]
    pub fn try_point_read<T>(
        &self,
        view: &ReadView,
        storage: StorageId,
        key: &Key,
        then: impl FnOnce(Option<&[u8]>) -> T,
    ) -> Option<T> {
        // The other way reports it.
        self.check_age(view).ok()?;
        let result = self.0.shard.borrow().point_read(view, storage, key, then);
        if view.tracked && result.is_some() {
            self.0.shard.borrow_mut().track_point(view, storage, key);
        }
        result
    }

    /// Reads rows of one storage by key; order is kept, `None` where there is no row.
    pub async fn get_many(&self, view: &ReadView, storage: StorageId, keys: Vec<Key>) -> EngineResult<RowBatch> {
        self.point_reads(view, keys.into_iter().map(|key| (storage, key)).collect()).await
    }

    /// Reads rows by key with one message a core; order is kept, `None` where there is no row.
    pub async fn point_reads(&self, view: &ReadView, reads: Vec<(StorageId, Key)>) -> EngineResult<RowBatch> {
        let _pin = self.pin(view);
        for attempt in 0..REDIRECTS_MAX {
            if let Some(batch) = self.try_point_reads(view, &reads).await? {
                self.check_age(view)?;
                return Ok(batch);
            }
            self.wait_for_move(attempt).await;
        }
        Err(EngineError::Limit("a tablet kept moving"))
    }

    /// One attempt at [`Engine::point_reads`]; `None` if a tablet has moved meanwhile.
    async fn try_point_reads(&self, view: &ReadView, reads: &[(StorageId, Key)]) -> EngineResult<Option<RowBatch>> {
        let mut by_core: SmallVec<[Vec<u32>; 8]> = SmallVec::new();
        by_core.resize(self.0.shared.cores, Vec::new());
        {
            let mut shard = self.0.shard.borrow_mut();
            for (i, (storage, key)) in reads.iter().enumerate() {
                let map = shard.ranges().storage(*storage).ok_or(EngineError::StorageGone(*storage))?;
                by_core[map.owner(key).index()].push(i as u32);
            }
        }
        let own = self.0.core.index();
        let mut calls = Vec::new();
        for (core, positions) in by_core.iter().enumerate().filter(|(core, positions)| *core != own && !positions.is_empty()) {
            let wanted = positions.iter().map(|i| reads[*i as usize].clone()).collect();
            let request = Request::PointReads { view: *view, reads: wanted };
            calls.push((core, self.ask(CoreId(core as u16), request)));
        }
        let mut answers: SmallVec<[Option<RowBatch>; 8]> = SmallVec::new();
        answers.resize(self.0.shared.cores, None);
        if !by_core[own].is_empty() {
            let wanted: Vec<_> = by_core[own].iter().map(|i| reads[*i as usize].clone()).collect();
            let mut batch = RowBatch::default();
            if !self.0.shard.borrow_mut().point_reads(view, &wanted, &mut batch) {
                return Ok(None);
            }
            answers[own] = Some(batch);
        }
        for (core, reply) in join_calls(calls).await {
            match reply.rows()? {
                (_, ScanNext::Moved) => return Ok(None),
                (batch, _) => answers[core] = Some(batch),
            }
        }
        Ok(Some(merge(reads.len(), &by_core, &answers)))
    }

    /// Sends a request and awaits its answer. A request whose handler panicked on the other core is answered as failed.
    pub(super) async fn ask(&self, core: CoreId, request: Request) -> Reply {
        let asked = Asked::new(self.0.metrics.mesh.peer(core), &request);
        let reply = self.0.mesh.call(core, request).await;
        drop(asked);
        match reply {
            Ok(reply) => reply,
            Err(crate::mesh::MeshError::Abandoned) => Reply::Failed,
        }
    }

    /// Lets a tablet move end before trying again.
    pub(super) async fn wait_for_move(&self, attempt: u32) {
        if attempt < 8 {
            runtime::yield_now().await;
        } else {
            runtime::sleep(std::time::Duration::from_micros(200)).await;
        }
    }

    /// Hidden keys for new rows of a table without a primary key, in a range that this core owns.
    pub fn next_row_ids(&self, storage: StorageId, count: usize) -> EngineResult<Vec<Key>> {
        self.0.shard.borrow_mut().next_row_ids(storage, count)
    }

    /// Marks the current point of a transaction.
    pub fn savepoint(&self, txn: &mut Txn) -> Savepoint {
        self.next_command(txn);
        Savepoint { command: txn.command }
    }

    /// Undoes everything a transaction wrote and locked since a savepoint, which stays.
    pub async fn rollback_to(&self, txn: &mut Txn, savepoint: Savepoint) {
        let command = savepoint.command;
        for core in txn.touched.clone() {
            if core == self.0.core {
                self.0.shard.borrow_mut().rollback_to(txn.id, command);
            } else {
                self.ask(core, Request::RollbackTo { txn: txn.id, command }).await;
            }
        }
        txn.catalogs.retain(|(made, _)| *made < command);
        txn.dropped_storages.retain(|(dropped, _)| *dropped < command);
        let (kept, undone) = std::mem::take(&mut txn.created_storages).into_iter().partition(|(made, _)| *made < command);
        txn.created_storages = kept;
        let undone: Vec<(u32, StorageId)> = undone;
        for (_, storage) in undone {
            self.forget_storage(storage);
        }
        self.give_back_advisory(txn, command).await;
        self.next_command(txn);
    }

    /// This core's figures.
    pub fn stats(&self) -> crate::shard::stats::ShardStats {
        self.0.shard.borrow().stats()
    }

    /// Whether writes are refused because the server is stopping.
    pub fn is_stopping(&self) -> bool {
        self.0.shared.stopping.load(Ordering::Relaxed)
    }
}

/// A request that another core has not answered, as its asker counts it.
struct Asked<'a> {
    peer: &'a PeerMetrics,
    since: runtime::MonoTime,
}

impl<'a> Asked<'a> {
    fn new(peer: &'a PeerMetrics, request: &Request) -> Self {
        peer.messages.inc();
        if request.operations() > 1 {
            peer.batches.inc();
        }
        peer.outstanding.inc();
        Self { peer, since: if RECORDED { runtime::now() } else { runtime::MonoTime::default() } }
    }
}

impl Drop for Asked<'_> {
    /// Answered, or given up.
    fn drop(&mut self) {
        self.peer.outstanding.dec();
        if RECORDED {
            self.peer.round_trip_ns.record(runtime::nanos_since(self.since));
        }
    }
}

/// Awaits several calls at once.
pub(super) async fn join_calls<T, R>(calls: Vec<(T, impl Future<Output = R>)>) -> Vec<(T, R)> {
    let (tags, futures): (Vec<T>, Vec<_>) = calls.into_iter().unzip();
    let mut futures: Vec<_> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<R>> = futures.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (future, result) in futures.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(cx) {
                    std::task::Poll::Ready(value) => *result = Some(value),
                    std::task::Poll::Pending => pending = true,
                }
            }
        }
        if pending { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
    })
    .await;
    tags.into_iter().zip(results.into_iter().map(|result| result.expect("every call has ended"))).collect()
}

/// Puts the cores' answers into the order of the questions.
fn merge(total: usize, by_core: &[Vec<u32>], answers: &[Option<RowBatch>]) -> RowBatch {
    let asked = by_core.iter().filter(|positions| !positions.is_empty()).count();
    if asked == 1
        && let Some(batch) = answers.iter().flatten().next()
    {
        return batch.clone();
    }
    let mut rows: Vec<Option<&[u8]>> = vec![None; total];
    for (positions, answer) in by_core.iter().zip(answers) {
        let Some(answer) = answer else { continue };
        for (position, row) in positions.iter().zip(answer.iter()) {
            rows[*position as usize] = row;
        }
    }
    let mut merged = RowBatch::default();
    for row in rows {
        match row {
            Some(row) => merged.push(row),
            None => merged.push_missing(),
        }
    }
    merged
}
