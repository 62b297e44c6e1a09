//! Writes as sessions ask for them: split by owner, run here or sent there, waiting where a row is held.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::{CommitTs, CoreId, StorageId};
use crate::runtime::signal::Receiver;
use crate::runtime::{self, nanos_since};
use crate::shard::api::{ReadView, RowBatch, RowFilter, RowUpdate};
use crate::shard::engine::{Engine, REDIRECTS_MAX, join_calls};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Inserted, Modified, OnExisting, Request, WriteJob, WriteOutcome, WriteReply, Writer};
use crate::shard::txn_handle::Txn;
use crate::shard::write::{Step, WriteTask};
use crate::storage::Key;
use crate::txn::row_locks::Wake;
use crate::txn::{Asker, Isolation, LockStrength, LockWait};

/// The shortest time between two looks for a deadlock by one who waits: a look asks every core.
const NEXT_LOOK_MIN: std::time::Duration = std::time::Duration::from_millis(10);

/// A task being driven: gives its place in a queue up if it is dropped half way.
struct Driving<'a> {
    engine: &'a Engine,
    task: Option<WriteTask>,
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        if let (Some(task), Ok(mut shard)) = (&mut self.task, self.engine.0.shard.try_borrow_mut()) {
            task.leave_queue(&mut shard);
        }
    }
}

/// The keys of a write, by owner.
type Groups = SmallVec<[(CoreId, Vec<u32>); 4]>;

impl Engine {
    /// Inserts rows, all or none: a key that exists is [`EngineError::DuplicateKey`].
    pub async fn insert(
        &self,
        txn: &mut Txn,
        view: &ReadView,
        storage: StorageId,
        rows: Vec<(Key, Vec<u8>)>,
    ) -> EngineResult<()> {
        self.insert_rows(txn, view, storage, rows, OnExisting::Fail).await.map(drop)
    }

    /// Inserts rows, doing what `on_existing` says where a key exists.
    pub async fn insert_rows(
        &self,
        txn: &mut Txn,
        view: &ReadView,
        storage: StorageId,
        rows: Vec<(Key, Vec<u8>)>,
        on_existing: OnExisting,
    ) -> EngineResult<Vec<Inserted>> {
        let mut results: Vec<Option<Inserted>> = vec![None; rows.len()];
        let rows = Arc::new(rows);
        let everything: Vec<u32> = (0..rows.len() as u32).collect();
        self.write_all(
            txn,
            view,
            storage,
            everything,
            |i| &rows[i as usize].0,
            |selection| WriteJob::Insert { rows: rows.clone(), selection, on_existing: on_existing.clone() },
            |positions, outcome| {
                let WriteOutcome::Inserted(done) = outcome else { unreachable!("an insert's outcome") };
                for (position, inserted) in positions.iter().zip(done) {
                    results[*position as usize] = Some(inserted);
                }
            },
        )
        .await?;
        Ok(results.into_iter().map(|result| result.expect("every row was dealt with")).collect())
    }

    /// Updates or deletes the row of one key.
    pub async fn modify(
        &self,
        txn: &mut Txn,
        view: &ReadView,
        storage: StorageId,
        key: Key,
        program: Arc<dyn RowUpdate>,
    ) -> EngineResult<Modified> {
        let done = self.modify_many(txn, view, storage, vec![key], program).await?;
        Ok(done.into_iter().next().expect("one key, one result"))
    }

    /// Updates or deletes the rows of some keys, with one message an owner.
    pub async fn modify_many(
        &self,
        txn: &mut Txn,
        view: &ReadView,
        storage: StorageId,
        keys: Vec<Key>,
        program: Arc<dyn RowUpdate>,
    ) -> EngineResult<Vec<Modified>> {
        let mut results: Vec<Option<Modified>> = vec![None; keys.len()];
        let everything: Vec<u32> = (0..keys.len() as u32).collect();
        self.write_all(
            txn,
            view,
            storage,
            everything,
            |i| &keys[i as usize],
            |selection| WriteJob::Modify {
                keys: selection.iter().map(|i| keys[*i as usize].clone()).collect(),
                program: program.clone(),
                alone: keys.len() == 1,
            },
            |positions, outcome| {
                let WriteOutcome::Modified(done) = outcome else { unreachable!("an update's outcome") };
                for (position, modified) in positions.iter().zip(done) {
                    results[*position as usize] = Some(modified);
                }
            },
        )
        .await?;
        Ok(results.into_iter().map(|result| result.expect("every key was dealt with")).collect())
    }

    /// Locks rows and returns their newest versions, in order; `None` where a row is gone, no longer qualifies, or was
    /// skipped.
    #[allow(clippy::too_many_arguments)]
    pub async fn lock_rows(
        &self,
        txn: &mut Txn,
        view: &ReadView,
        storage: StorageId,
        keys: Vec<Key>,
        strength: LockStrength,
        wait: LockWait,
        filter: Option<Arc<dyn RowFilter>>,
    ) -> EngineResult<RowBatch> {
        let mut rows: Vec<Option<Vec<u8>>> = vec![None; keys.len()];
        let everything: Vec<u32> = (0..keys.len() as u32).collect();
        self.write_all(
            txn,
            view,
            storage,
            everything,
            |i| &keys[i as usize],
            |selection| WriteJob::Lock {
                keys: selection.iter().map(|i| keys[*i as usize].clone()).collect(),
                strength,
                wait,
                filter: filter.clone(),
            },
            |positions, outcome| {
                let WriteOutcome::Locked(batch) = outcome else { unreachable!("a lock's outcome") };
                for (position, row) in positions.iter().zip(batch.iter()) {
                    rows[*position as usize] = row.map(<[u8]>::to_vec);
                }
            },
        )
        .await?;
        let mut batch = RowBatch::default();
        for row in rows {
            match row {
                Some(row) => batch.push(&row),
                None => batch.push_missing(),
            }
        }
        Ok(batch)
    }

    pub(super) fn writer(&self, txn: &Txn, view: &ReadView) -> Writer {
        Writer { asker: txn.asker(), isolation: txn.isolation, command: txn.command, view: *view }
    }

    /// Sends each owner its part of a write and sends again what has moved meanwhile.
    #[allow(clippy::too_many_arguments)]
    async fn write_all<'k>(
        &self,
        txn: &mut Txn,
        view: &ReadView,
        storage: StorageId,
        mut todo: Vec<u32>,
        key: impl Fn(u32) -> &'k Key,
        job: impl Fn(Vec<u32>) -> WriteJob,
        mut done: impl FnMut(&[u32], WriteOutcome),
    ) -> EngineResult<()> {
        let _pin = self.pin(view);
        for attempt in 0..REDIRECTS_MAX {
            let groups = self.group(storage, &todo, &key)?;
            todo.clear();
            let writer = self.writer(txn, view);
            let mut calls = Vec::with_capacity(groups.len());
            for (core, positions) in groups {
                txn.touch(core);
                let job = job(positions.clone());
                calls.push(((core, positions), self.write_on(core, writer, storage, job)));
            }
            // All parts are awaited even if one fails, so that nothing of the statement runs on after its error.
            let (mut failed, mut must_settle) = (None, None);
            for ((core, positions), reply) in join_calls(calls).await {
                match reply {
                    Ok(reply) => {
                        txn.locks_held_until = txn.locks_held_until.max(reply.held_until);
                        todo.extend(reply.moved_at.map_or(&[][..], |at| &positions[at..]));
                        if let WriteOutcome::Modified(modified) = &reply.outcome
                            && modified.iter().any(|modified| modified.put_off)
                            && !txn.put_off_on.contains(&core)
                        {
                            txn.put_off_on.push(core);
                        }
                        done(&positions, reply.outcome);
                    }
                    // Only an update of a single row is told so.
                    Err(EngineError::MustSettle) => must_settle = Some(positions),
                    Err(error) => failed = failed.or(Some(error)),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            if let Some(positions) = must_settle {
                self.settle_additions(txn).await?;
                todo.extend(positions);
                continue;
            }
            if todo.is_empty() {
                // At READ COMMITTED the newest versions count, however old the snapshot is.
                return if txn.isolation == Isolation::ReadCommitted { Ok(()) } else { self.check_age(view) };
            }
            self.wait_for_move(attempt).await;
        }
        Err(EngineError::Limit("a tablet kept moving"))
    }

    fn group<'k>(&self, storage: StorageId, todo: &[u32], key: &impl Fn(u32) -> &'k Key) -> EngineResult<Groups> {
        let mut shard = self.0.shard.borrow_mut();
        let map = shard.ranges().storage(storage).ok_or(EngineError::StorageGone(storage))?;
        let mut groups = Groups::new();
        for &position in todo {
            let owner = map.owner(key(position));
            match groups.iter_mut().find(|(core, _)| *core == owner) {
                Some((_, positions)) => positions.push(position),
                None => groups.push((owner, vec![position])),
            }
        }
        Ok(groups)
    }

    /// Runs a write on its owner.
    async fn write_on(&self, core: CoreId, writer: Writer, storage: StorageId, job: WriteJob) -> EngineResult<WriteReply> {
        if core != self.0.core {
            return self.ask(core, Request::Write { writer, storage, job }).await.write();
        }
        self.drive(WriteTask::new(writer, storage, job)).await
    }

    /// Steps a task to its end, awaiting rows that others hold.
    pub(super) async fn drive(&self, mut task: WriteTask) -> EngineResult<WriteReply> {
        let step = task.step(&mut self.0.shard.borrow_mut())?;
        match step {
            Step::Done => Ok(task.finish()),
            Step::Wait(receiver) => self.drive_from(task, receiver).await,
        }
    }

    /// Goes on with a task that waits for a row.
    pub(super) async fn drive_from(&self, task: WriteTask, mut receiver: Receiver<Wake>) -> EngineResult<WriteReply> {
        let asker = *task.asker();
        let mut driving = Driving { engine: self, task: Some(task) };
        loop {
            self.wait_for_lock(&asker, receiver).await?;
            let task = driving.task.as_mut().expect("the task is taken only at its end");
            let step = task.step(&mut self.0.shard.borrow_mut())?;
            match step {
                Step::Done => return Ok(driving.task.take().expect("the task is taken only at its end").finish()),
                Step::Wait(next) => receiver = next,
            }
        }
    }

    /// Awaits a row or table lock's signal, looking for deadlocks now and then.
    pub(super) async fn wait_for_lock(&self, asker: &Asker, receiver: Receiver<Wake>) -> EngineResult<()> {
        let started = runtime::now();
        let outcome = self.wait_for_signal(asker, receiver, started).await;
        let waited = nanos_since(started);
        self.0.metrics.txn.lock_wait_ns.record(waited);
        self.0.shared.lock_waits.add(asker.pid, waited);
        outcome
    }

    async fn wait_for_signal(&self, asker: &Asker, mut receiver: Receiver<Wake>, started: runtime::MonoTime) -> EngineResult<()> {
        let lock_timeout = std::time::Duration::from_millis(u64::from(asker.lock_timeout_ms));
        let deadlock_timeout = std::time::Duration::from_millis(u64::from(asker.deadlock_timeout_ms));
        let mut next_look = deadlock_timeout;
        loop {
            let mut patience = next_look;
            if asker.lock_timeout_ms > 0 {
                let left = lock_timeout.saturating_sub(started.elapsed());
                if left.is_zero() {
                    return Err(EngineError::LockNotAvailable);
                }
                patience = patience.min(left);
            }
            match runtime::timeout(patience, &mut receiver).await {
                Ok(Wake::Retry | Wake::Granted) => return Ok(()),
                Ok(Wake::Aborted) => return Err(EngineError::Aborted),
                Err(_elapsed) => {
                    if let Some(detail) = self.find_deadlock(asker.txn).await {
                        return Err(EngineError::Deadlock { detail });
                    }
                    // A cycle may close later, and only its youngest breaks it: soon again, then less and less often.
                    let grown = if next_look == deadlock_timeout { deadlock_timeout / 16 } else { next_look * 2 };
                    next_look = grown.min(deadlock_timeout / 2).max(NEXT_LOOK_MIN);
                }
            }
        }
    }

    /// The timestamp of a commit that had nothing to commit.
    pub(super) const NOTHING_COMMITTED: CommitTs = CommitTs(0);
}
