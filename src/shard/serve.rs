//! What a core does with other cores' requests.
//!
//! The handler runs inside the mesh's poller and never awaits: what can be answered at once is, and what has to wait for a
//! row, for log space or for a flush goes on as a task, or as an entry among the durable waiters, and answers later.

use std::rc::Rc;

use crate::base::{CommitTs, StorageId, TxnId};
use crate::mesh::Replier;
use crate::runtime::{self, QueueClass};
use crate::shard::api::RowBatch;
use crate::shard::durable::DurableWaiter;
use crate::shard::engine::Engine;
use crate::shard::error::EngineResult;
use crate::shard::messages::{Reply, Request, ScanNext, WriteJob, Writer};
use crate::shard::write::{Step, WriteTask};
use crate::txn::row_locks::Wake;

type Answer = Replier<Request, Reply>;

impl Engine {
    /// Starts answering other cores.
    pub fn serve(&self) {
        let engine = self.clone();
        self.0.mesh.serve(move |_from, request, answer| engine.handle(request, answer));
        // The mesh belongs to the engine: it must not keep it alive.
        let engine = Rc::downgrade(&self.0);
        self.0.mesh.add_pass_hook(move || {
            if let Some(engine) = engine.upgrade() {
                Engine(engine).wake_durable();
            }
        });
    }

    fn handle(&self, request: Request, answer: Answer) {
        match request {
            Request::PointReads { view, reads } => {
                let mut batch = RowBatch::default();
                let here = self.0.shard.borrow_mut().point_reads(&view, &reads, &mut batch);
                let next = if here { ScanNext::Done } else { ScanNext::Moved };
                answer.reply(Reply::Rows(Ok((batch, next))));
            }
            Request::Scan { view, spec } => {
                let result = self.0.shard.borrow_mut().scan(&view, &spec);
                answer.reply(Reply::Rows(result));
            }
            Request::Write { writer, storage, job } => self.handle_write(writer, storage, job, answer),
            Request::Prepare { txn } => self.handle_prepare(txn, answer),
            Request::Commit { txn, ts, participants } => {
                self.install_here(txn, ts, &participants);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::CommitAlone { txn, durable } => self.handle_commit_alone(txn, durable, answer),
            Request::Abort { txn } => {
                self.0.shard.borrow_mut().abort(txn, Wake::Aborted);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::Withdraw { txn } => {
                self.0.shard.borrow_mut().withdraw(txn);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::CollectEffects { txn, from } => {
                let effects = self.0.shard.borrow().effects_of(txn, from);
                answer.reply(Reply::Effects(Box::new(effects)));
            }
            Request::RestoreEffects { txn, effects } => {
                let result = self.0.shard.borrow_mut().restore_effects(txn, &effects);
                answer.reply(Reply::Done(result));
            }
            Request::RollbackTo { txn, command } => {
                self.0.shard.borrow_mut().rollback_to(txn, command);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::UnlockTables { txn, tables } => {
                self.unlock_tables_here(txn, &tables);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::LockAdvisory(request) => self.handle_advisory(request, answer),
            Request::LeaveAdvisory(request) => {
                self.0.shard.borrow_mut().advisory_locks.leave(&request);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::UnlockAdvisory { pid, locks } => {
                self.unlock_advisory_here(pid, &locks);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::Adopt { tablet, garbage } => {
                self.0.shard.borrow_mut().adopt(*tablet, garbage);
                answer.reply(Reply::Done(Ok(())));
            }
            Request::Locks => answer.reply(Reply::Locks(self.locks_here())),
            Request::WaitEdges => answer.reply(Reply::Edges(self.wait_edges_here())),
            Request::Replay(writes) => {
                let result = self.0.shard.borrow_mut().replay(&writes);
                answer.reply(Reply::Done(result));
            }
            Request::CutRowIds(storage) => {
                let result = self.0.shard.borrow_mut().cut_row_ids(storage);
                answer.reply(Reply::CutAt(result));
            }
            Request::Run(run) => answer.reply(Reply::Ran(run())),
            Request::Stats => {
                let stats = self.0.shard.borrow().stats();
                answer.reply(Reply::Stats(Box::new(stats)));
            }
            slow => self.handle_slow(slow, answer),
        }
    }

    /// Requests that are rare and take their time: each is a task.
    fn handle_slow(&self, request: Request, answer: Answer) {
        // Such a request may itself wait for something that needs the mesh: it must not hold one of the caller's credits.
        let answer = answer.defer();
        let engine = self.clone();
        let class = match request {
            Request::LockTable(_) | Request::Settle(_) => QueueClass::Interactive,
            _ => QueueClass::Background,
        };
        runtime::spawn(class, async move {
            let reply = match request {
                Request::LockTable(request) => Reply::Done(engine.lock_table_here(request).await),
                Request::Settle(writer) => Reply::Done(engine.settle_here(writer).await),
                Request::GiveTablet { storage, surplus, to } => Reply::Given(engine.give_tablet_here(storage, surplus, to).await),
                Request::DropStorage(storage) => {
                    engine.drop_storage_here(storage).await;
                    Reply::Done(Ok(()))
                }
                Request::CollectGarbage => {
                    engine.collect_garbage_here().await;
                    Reply::Done(Ok(()))
                }
                Request::Sample { view, storage, rows_max } => {
                    Reply::Sampled(Box::new(engine.sample_here(&view, storage, rows_max).await))
                }
                Request::Look(look) => Reply::Figures(Box::new(engine.look_here(look).await)),
                Request::Boot(step) => engine.boot_step(step).await,
                Request::Checkpoint { id, through, root } => {
                    Reply::Checkpointed(engine.checkpoint_here(id, through, &root).await)
                }
                Request::CheckpointDone(through) => {
                    engine.recycle_log_here(through).await;
                    Reply::Done(Ok(()))
                }
                Request::TakeBackup(target) => Reply::BackedUp(engine.backup_in_turn(&target).await),
                Request::CopyLog(partial) => Reply::LogCopied(engine.copy_log_here(&partial).await),
                Request::TakeCheckpoint => Reply::CheckpointTaken(engine.checkpoint_in_turn().await),
                Request::Shutdown => {
                    engine.close_log_here().await;
                    Reply::Done(Ok(()))
                }
                _ => unreachable!("every other request is handled at once"),
            };
            answer.reply(reply);
        });
    }

    fn handle_write(&self, writer: Writer, storage: StorageId, job: WriteJob, answer: Answer) {
        let mut task = WriteTask::new(writer, storage, job);
        let step = task.step(&mut self.0.shard.borrow_mut());
        match step {
            Err(error) => answer.reply(Reply::Write(Err(error))),
            Ok(Step::Done) => answer.reply(Reply::Write(Ok(task.finish()))),
            Ok(Step::Wait(receiver)) => {
                // The row's holder may need this very credit to commit.
                let answer = answer.defer();
                let engine = self.clone();
                runtime::spawn(QueueClass::Interactive, async move {
                    answer.reply(Reply::Write(engine.drive_from(task, receiver).await));
                });
            }
        }
    }

    /// Commits within this poll, if log space is at hand.
    fn try_commit_alone(&self, txn: TxnId) -> EngineResult<Option<CommitTs>> {
        let mut shard = self.0.shard.borrow_mut();
        let Some(slot) = shard.writing_slot(txn) else {
            shard.abort(txn, Wake::Aborted);
            return Ok(Some(Self::NOTHING_COMMITTED));
        };
        let Some(reservation) = shard.try_reserve(slot)? else { return Ok(None) };
        Ok(Some(shard.commit_alone(slot, reservation, 0)))
    }

    fn answer_when_durable(&self, ts: CommitTs, durable: bool, answer: Answer, reply: Reply) {
        if durable && self.0.shared.clock.durable() < ts {
            self.add_durable_waiter(ts, DurableWaiter::Remote(answer, reply));
        } else {
            answer.reply(reply);
        }
    }

    fn handle_commit_alone(&self, txn: TxnId, durable: bool, answer: Answer) {
        match self.try_commit_alone(txn) {
            Err(error) => answer.reply(Reply::Committed(Err(error))),
            Ok(Some(ts)) => self.answer_when_durable(ts, durable, answer, Reply::Committed(Ok(ts))),
            Ok(None) => {
                let (engine, answer) = (self.clone(), answer.defer());
                runtime::spawn(QueueClass::Interactive, async move {
                    answer.reply(Reply::Committed(engine.commit_alone_here(txn, durable).await));
                });
            }
        }
    }

    fn handle_prepare(&self, txn: TxnId, answer: Answer) {
        let at_once = {
            let mut shard = self.0.shard.borrow_mut();
            match shard.participating_slot(txn) {
                None => Ok(Some(false)),
                Some(slot) => shard.try_reserve(slot).map(|reservation| {
                    reservation.map(|reservation| {
                        shard.promise(slot, reservation, 0);
                        true
                    })
                }),
            }
        };
        match at_once {
            Err(error) => answer.reply(Reply::Prepared(Err(error))),
            Ok(Some(writes)) => answer.reply(Reply::Prepared(Ok(writes))),
            Ok(None) => {
                let (engine, answer) = (self.clone(), answer.defer());
                runtime::spawn(QueueClass::Interactive, async move {
                    answer.reply(Reply::Prepared(engine.prepare_here(txn).await));
                });
            }
        }
    }
}
