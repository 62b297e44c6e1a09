//! Ending transactions: commit over one or several cores, abort, and what becomes of one whose session went away.
//!
//! A commit over several cores is one parallel flush. Prepare asks every participant to reserve log space and publish a
//! bound; then the clock is drawn, and there is no way back; then every participant installs and logs at that timestamp. The
//! client is told when D has reached it, which is when all participants' logs have it.
//!
//! From the draw on the work runs in a task of its own: a session that disappears must not leave a drawn timestamp that
//! nobody logs, for it would hold back visibility for ever.

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, TxnId};
use crate::runtime::signal::signal;
use crate::runtime::{self, QueueClass};
use crate::shard::durable::DurableWaiter;
use crate::shard::engine::{Engine, engine, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::Request;
use crate::shard::txn_handle::Txn;
use crate::txn::TxnState;
use crate::txn::row_locks::Wake;
use crate::wal::{Body, Reservation};

#[cfg(test)]
use crate::shard::sim::sabotage::{self, Sabotage};

/// What a transaction that ends leaves to do, taken out of its handle so that a task can do it.
struct Ending {
    id: TxnId,
    touched: SmallVec<[CoreId; 4]>,
    durable: bool,
    /// Several cores have put additions off: participants prepare in the order of the cores, so that commits do not wait for each
    /// other in a circle.
    in_order: bool,
}

impl Engine {
    /// Commits. When it returns, the transaction is durable on every core (unless `durable` is off). An error means that
    /// nothing of it is or ever will be visible, but for [`EngineError::LogFailed`], which ends the server.
    pub async fn commit(&self, mut txn: Txn) -> EngineResult<CommitTs> {
        let ts = self.commit_in_place(&mut txn).await;
        match ts {
            Ok(_) => self.give_back_advisory(&mut txn, 0).await,
            Err(_) => self.abort(txn).await,
        }
        ts
    }

    pub(super) async fn commit_in_place(&self, txn: &mut Txn) -> EngineResult<CommitTs> {
        let seen = self.seen_by(txn);
        let durable = txn.durable;
        let ts = self.commit_writes(txn).await?;
        // Nobody may be told of a commit that a crash could still take away, not even by one who only saw it.
        let waits = ts == Self::NOTHING_COMMITTED && durable;
        #[cfg(test)]
        let waits = waits && !sabotage::is(Sabotage::TellOfUndurable);
        if waits {
            self.wait_durable(seen).await?;
        }
        Ok(ts)
    }

    /// The highest commit that a transaction may have seen without knowing that it is durable.
    fn seen_by(&self, txn: &Txn) -> CommitTs {
        if txn.writing || txn.locks_held_until > CommitTs(0) {
            // What it has locked it has seen as of then.
            return self.0.shared.clock.now();
        }
        txn.snapshot.filter(|_| !txn.read_only).unwrap_or(CommitTs(0))
    }

    async fn commit_writes(&self, txn: &mut Txn) -> EngineResult<CommitTs> {
        if !txn.writing {
            // Its reads are those of a snapshot, which needs no validation.
            self.abort_on(txn.id, &txn.touched).await;
            self.finish(txn);
            return Ok(Self::NOTHING_COMMITTED);
        }
        // Somebody may have gone ahead of it, and may wait for whatever it would hold back while it waits to commit.
        if txn.is_settling {
            self.settle_additions(txn).await?;
        }
        let mut ending =
            Ending { id: txn.id, touched: txn.touched.clone(), durable: txn.durable, in_order: txn.put_off_on.len() > 1 };
        if ending.in_order {
            ending.touched.sort_unstable();
        }
        let ts = match ending.touched[..] {
            [core] if core == self.0.core => self.commit_alone_here(ending.id, ending.durable).await?,
            [core] => {
                let request = Request::CommitAlone { txn: ending.id, durable: ending.durable };
                self.ask(core, request).await.committed()?
            }
            _ => {
                let engine = self.clone();
                let task = runtime::spawn_joinable(QueueClass::Interactive, async move { engine.commit_across(ending).await });
                task.await.unwrap_or(Err(EngineError::LogFailed))?
            }
        };
        self.finish(txn);
        Ok(ts)
    }

    /// Commits a transaction that has touched no core but this one.
    pub(super) async fn commit_alone_here(&self, txn: TxnId, durable: bool) -> EngineResult<CommitTs> {
        let Some(slot) = self.0.shard.borrow().writing_slot(txn) else {
            // Row locks at most.
            self.0.shard.borrow_mut().abort(txn, Wake::Aborted);
            return Ok(Self::NOTHING_COMMITTED);
        };
        let at_once = {
            let mut shard = self.0.shard.borrow_mut();
            shard.try_reserve(slot)?.map(|reservation| shard.commit_alone(slot, reservation, 0))
        };
        let ts = match at_once {
            Some(ts) => ts,
            None => {
                self.promise_slowly(slot).await?;
                self.0.shard.borrow_mut().install_alone(slot)
            }
        };
        if durable {
            self.wait_durable(ts).await?;
        }
        Ok(ts)
    }

    /// Waits for log space, and logs the writes of a large transaction in chunks.
    pub(super) async fn reserve_and_log_chunks(&self, slot: u32) -> EngineResult<(Reservation, u32)> {
        let wal = self.0.shard.borrow().wal.clone().ok_or(EngineError::LogFailed)?;
        let mut chunks = 0;
        if self.0.shard.borrow().needs_chunks(slot) {
            let (txn, bytes_max) = {
                let shard = self.0.shard.borrow();
                (shard.txns.get(slot).id, shard.chunk_bytes())
            };
            let (mut from, mut set) = (0, crate::wal::WriteSet::default());
            loop {
                set.clear();
                let total = {
                    let shard = self.0.shard.borrow();
                    from = shard.collect_writes(slot, from, bytes_max, &mut set);
                    shard.txns.get(slot).writes.len()
                };
                let body = Body::Chunk { txn, sequence: chunks, writes: &set };
                let reservation = wal.reserve_wait(body.encoded_bytes()).await?;
                wal.append(reservation, &body);
                chunks += 1;
                if from >= total {
                    break;
                }
                runtime::yield_now().await;
            }
        }
        let bytes = self.0.shard.borrow().commit_record_bytes(slot, chunks);
        Ok((wal.reserve_wait(bytes).await?, chunks))
    }

    /// Promises to commit on this core. False if there is nothing to commit here.
    pub(super) async fn prepare_here(&self, txn: TxnId) -> EngineResult<bool> {
        let Some(slot) = self.0.shard.borrow().participating_slot(txn) else { return Ok(false) };
        if self.0.shard.borrow().txns.get(slot).state != TxnState::Active {
            return Err(EngineError::Aborted);
        }
        let at_once = self.0.shard.borrow_mut().try_reserve(slot)?;
        match at_once {
            Some(reservation) => self.0.shard.borrow_mut().promise(slot, reservation, 0),
            None => self.promise_slowly(slot).await?,
        }
        Ok(self.0.shard.borrow().writing_slot(txn).is_some())
    }

    /// Commits on several cores.
    async fn commit_across(self, ending: Ending) -> EngineResult<CommitTs> {
        let mut calls = Vec::with_capacity(ending.touched.len());
        let mut votes = Vec::with_capacity(ending.touched.len());
        for &core in &ending.touched {
            let call = self.prepare_on(core, ending.id);
            if ending.in_order {
                votes.push((core, call.await));
            } else {
                calls.push((core, call));
            }
        }
        votes.extend(join_calls(calls).await);
        let mut writers: SmallVec<[CoreId; 4]> = SmallVec::new();
        for (core, prepared) in votes {
            if prepared? {
                writers.push(core);
            }
        }
        writers.sort_unstable();
        let ts = if writers.is_empty() { Self::NOTHING_COMMITTED } else { self.install_on(&ending, &writers).await };
        let readers: Vec<_> = ending.touched.iter().copied().filter(|core| !writers.contains(core)).collect();
        self.abort_on(ending.id, &readers).await;
        if ending.durable && !writers.is_empty() {
            self.wait_durable(ts).await?;
        }
        Ok(ts)
    }

    async fn prepare_on(&self, core: CoreId, txn: TxnId) -> EngineResult<bool> {
        if core == self.0.core {
            return self.prepare_here(txn).await;
        }
        self.ask(core, Request::Prepare { txn }).await.prepared()
    }

    /// Draws the clock and has every writer install. Nothing here can fail.
    async fn install_on(&self, ending: &Ending, writers: &SmallVec<[CoreId; 4]>) -> CommitTs {
        let ts = self.0.shared.clock.draw();
        // A single participant's record names nobody: it decides alone.
        let participants = if writers.len() == 1 { SmallVec::new() } else { writers.clone() };
        let mut calls = Vec::with_capacity(writers.len());
        for &core in writers {
            #[cfg(test)]
            if sabotage::is(Sabotage::SkipParticipant) && writers.len() > 1 && core == writers[writers.len() - 1] {
                self.abort_on(ending.id, &[core]).await;
                continue;
            }
            if core == self.0.core {
                self.install_here(ending.id, ts, &participants);
            } else {
                let request = Request::Commit { txn: ending.id, ts, participants: participants.clone() };
                calls.push((core, self.ask(core, request)));
            }
        }
        join_calls(calls).await;
        ts
    }

    /// Installs a prepared transaction on this core.
    pub(super) fn install_here(&self, txn: TxnId, ts: CommitTs, participants: &[CoreId]) {
        let mut shard = self.0.shard.borrow_mut();
        let slot = shard.txns.find(txn).expect("a promised transaction stays until it is decided");
        shard.install(slot, ts, participants);
    }

    /// Waits until a timestamp is durable on every core.
    pub(super) async fn wait_durable(&self, ts: CommitTs) -> EngineResult<()> {
        #[cfg(test)]
        if sabotage::is(Sabotage::AcknowledgeBeforeFlush) {
            return Ok(());
        }
        if self.0.shared.clock.durable() >= ts {
            return Ok(());
        }
        let (sender, receiver) = signal();
        self.add_durable_waiter(ts, DurableWaiter::Local(sender));
        receiver.await
    }

    /// Registers somebody who waits for a timestamp.
    pub(super) fn add_durable_waiter(&self, ts: CommitTs, waiter: DurableWaiter) {
        {
            let mut shard = self.0.shard.borrow_mut();
            shard.durable_waiters.add(ts, waiter);
            let lowest = shard.durable_waiters.lowest();
            self.0.shared.clock.set_waiting(self.0.core, lowest);
        }
        // Once more, now that others can see the wait.
        self.wake_durable();
    }

    /// Wakes those of this core whose timestamps have become durable.
    pub(super) fn wake_durable(&self) {
        let ready = {
            let Ok(mut shard) = self.0.shard.try_borrow_mut() else { return };
            let Some(lowest) = shard.durable_waiters.lowest() else { return };
            let durable = self.0.shared.clock.durable();
            if durable < lowest {
                return;
            }
            let ready = shard.durable_waiters.take_through(durable);
            self.0.shared.clock.set_waiting(self.0.core, shard.durable_waiters.lowest());
            ready
        };
        for waiter in ready {
            waiter.resolve();
        }
    }

    /// After this core's log has grown durable, or an install has let visibility rise: wakes whom that lets go, here and on
    /// other cores.
    pub(super) fn durability_advanced(&self) {
        self.wake_durable();
        let durable = self.0.shared.clock.durable();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            if self.0.shared.clock.has_waiter(core, durable) {
                self.0.mesh.nudge(core);
            }
        }
    }

    /// Aborts: when it returns, nothing of the transaction is left on any core.
    pub async fn abort(&self, mut txn: Txn) {
        if txn.writing {
            self.0.metrics.txn.rollbacks.inc();
        }
        let touched = txn.touched.clone();
        let id = txn.id;
        self.abort_on(id, &touched).await;
        let created = std::mem::take(&mut txn.created_storages);
        txn.dropped_storages.clear();
        self.finish(&mut txn);
        for (_, storage) in created {
            self.forget_storage(storage);
        }
        self.give_back_advisory(&mut txn, 0).await;
    }

    pub(super) async fn abort_on(&self, txn: TxnId, cores: &[CoreId]) {
        let mut calls = Vec::new();
        for &core in cores {
            if core == self.0.core {
                self.0.shard.borrow_mut().abort(txn, Wake::Aborted);
            } else {
                calls.push((core, self.ask(core, Request::Abort { txn })));
            }
        }
        join_calls(calls).await;
    }

    /// Releases what a finished transaction holds beyond its participants: its snapshot, its table locks, dropped storages.
    pub(super) fn finish(&self, txn: &mut Txn) {
        txn.finished = true;
        txn.pin = None;
        for (_, storage) in std::mem::take(&mut txn.dropped_storages) {
            self.forget_storage(storage);
        }
        self.release_table_locks(txn);
    }
}

/// A transaction's handle was dropped with the transaction open: its session panicked or was cut off.
pub(super) fn abandon(txn: &mut Txn) {
    if runtime::try_current_core().is_none() {
        return;
    }
    let mut orphan = Txn::new(txn.id, txn.isolation, txn.read_only);
    // Should the task below be dropped unfinished, the core has ended and nothing is left to abort.
    orphan.finished = true;
    orphan.touched = std::mem::take(&mut txn.touched);
    orphan.table_locks = std::mem::take(&mut txn.table_locks);
    orphan.advisory_locks = std::mem::take(&mut txn.advisory_locks);
    orphan.pid = txn.pid;
    orphan.created_storages = std::mem::take(&mut txn.created_storages);
    orphan.pin = txn.pin.take();
    if !orphan.has_effects() && orphan.table_locks.is_empty() && orphan.advisory_locks.is_empty() {
        return;
    }
    let engine = engine();
    runtime::spawn(QueueClass::Interactive, async move { engine.abort(orphan).await });
}
