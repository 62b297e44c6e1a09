//! Advisory locks over cores: a key's core, found by its hash, has its holders and its queue.
//!
//! What a transaction has taken is listed in its handle, in the order of its commands, so that savepoints and its end give it
//! back; a release is awaited, because whoever is told of a commit may count on the locks being free. What a session has taken for
//! itself is listed nowhere: when it ends, each core is asked to forget what it has.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;

use crate::base::CoreId;
use crate::mesh::Replier;
use crate::runtime::signal::Receiver;
use crate::runtime::{self, QueueClass};
use crate::shard::engine::{Engine, join_calls, try_engine};
use crate::shard::error::{EngineError, EngineResult};
use crate::shard::messages::{Reply, Request};
use crate::shard::txn_handle::Txn;
use crate::txn::row_locks::Wake;
use crate::txn::{AdvisoryLock, AdvisoryRequest};

/// Whether a session may have advisory locks of its own, outside its transactions. Gives them back when it is dropped.
#[derive(Debug)]
pub struct SessionLocks {
    pid: i32,
    any: Cell<bool>,
    /// How many locks it has asked for.
    asked: Cell<u64>,
}

impl SessionLocks {
    /// Of a new session.
    pub fn new(pid: i32) -> Self {
        Self { pid, any: Cell::new(false), asked: Cell::new(0) }
    }

    /// The session's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        // Without an engine the core has ended, and the locks with it.
        if let (true, Some(engine)) = (self.any.get(), try_engine()) {
            let pid = self.pid;
            runtime::spawn(QueueClass::Interactive, async move { engine.forget_session(pid).await });
        }
    }
}

impl Engine {
    /// Takes an advisory lock for a transaction, or for the session that it is of; `false` if `block` is off and it would have to
    /// be waited for.
    pub async fn advisory_lock(
        &self,
        txn: &mut Txn,
        session: &SessionLocks,
        lock: AdvisoryLock,
        block: bool,
    ) -> EngineResult<bool> {
        session.asked.set(session.asked.get() + 1);
        let request = AdvisoryRequest { asker: txn.asker(), lock, block, number: session.asked.get() };
        let core = lock.key.owner(self.0.shared.cores);
        // Before it is taken: whatever becomes of the statement, it is given back with the session.
        session.any.set(session.any.get() || !lock.transaction);
        let taken = if core == self.0.core {
            match self.try_advisory_here(&request) {
                Ok(taken) => taken,
                Err(receiver) => self.wait_advisory_here(request, receiver).await?,
            }
        } else {
            Asking::new(self.clone(), core, request).answer().await?
        };
        if taken && lock.transaction {
            txn.advisory_locks.push((txn.command, lock));
        }
        Ok(taken)
    }

    /// Takes a lock of this core, or queues for it.
    fn try_advisory_here(&self, request: &AdvisoryRequest) -> Result<bool, Receiver<Wake>> {
        let locks = &mut self.0.shard.borrow_mut().advisory_locks;
        match locks.try_lock(request) {
            true => Ok(true),
            false if request.block => Err(locks.wait(request)),
            false => Ok(false),
        }
    }

    async fn wait_advisory_here(&self, request: AdvisoryRequest, receiver: Receiver<Wake>) -> EngineResult<bool> {
        let mut place = QueuePlace { engine: self, request, given_up: true };
        let outcome = self.wait_for_lock(&request.asker, receiver).await;
        // Who was told that it is out of the queue has no place in it to give up.
        place.given_up = !matches!(outcome, Ok(()) | Err(EngineError::Aborted));
        outcome.map(|()| true)
    }

    /// Takes a lock of this core for a session of another one.
    pub(super) fn handle_advisory(&self, request: AdvisoryRequest, answer: Replier<Request, Reply>) {
        match self.try_advisory_here(&request) {
            Ok(taken) => answer.reply(Reply::Held(Ok(taken))),
            Err(receiver) => {
                // The holder may need this very credit to give the lock back.
                let (engine, answer) = (self.clone(), answer.defer());
                runtime::spawn(QueueClass::Interactive, async move {
                    answer.reply(Reply::Held(engine.wait_advisory_here(request, receiver).await));
                });
            }
        }
    }

    /// Gives a lock back that the session has taken for itself, once; `false` if it has not.
    pub async fn advisory_unlock(&self, session: &SessionLocks, lock: AdvisoryLock) -> EngineResult<bool> {
        assert!(!lock.transaction, "a transaction's locks are given back with it");
        self.unlock_advisory(lock.key.owner(self.0.shared.cores), session.pid, vec![lock]).await
    }

    /// Gives locks of one core back; whether the session has had all of them.
    async fn unlock_advisory(&self, core: CoreId, pid: i32, locks: Vec<AdvisoryLock>) -> EngineResult<bool> {
        if core == self.0.core {
            return Ok(self.unlock_advisory_here(pid, &locks));
        }
        self.ask(core, Request::UnlockAdvisory { pid, locks }).await.held()
    }

    /// Gives locks of this core back.
    pub(super) fn unlock_advisory_here(&self, pid: i32, locks: &[AdvisoryLock]) -> bool {
        let mut shard = self.0.shard.borrow_mut();
        // Each of them, whatever became of those before.
        let had = locks.iter().filter(|lock| shard.advisory_locks.unlock(pid, lock)).count();
        had == locks.len()
    }

    /// Gives back all that a session has taken for itself.
    pub async fn advisory_unlock_all(&self, session: &SessionLocks) {
        if session.any.get() {
            self.forget_session(session.pid).await;
            session.any.set(false);
        }
    }

    async fn forget_session(&self, pid: i32) {
        self.0.shard.borrow_mut().advisory_locks.unlock_session(pid);
        let mut calls = Vec::new();
        for core in (0..self.0.shared.cores).map(|core| CoreId(core as u16)).filter(|core| *core != self.0.core) {
            calls.push((core, self.ask(core, Request::UnlockSession { pid })));
        }
        join_calls(calls).await;
    }

    /// Gives back what a transaction has taken in commands from `from_command` on.
    pub(super) async fn give_back_advisory(&self, txn: &mut Txn, from_command: u32) {
        if txn.advisory_locks.is_empty() {
            return;
        }
        let (kept, back) = std::mem::take(&mut txn.advisory_locks).into_iter().partition(|(taken, _)| *taken < from_command);
        txn.advisory_locks = kept;
        let (pid, back): (i32, Vec<(u32, AdvisoryLock)>) = (txn.pid, back);
        let mut by_core: Vec<Vec<AdvisoryLock>> = vec![Vec::new(); self.0.shared.cores];
        for (_, lock) in back {
            by_core[lock.key.owner(self.0.shared.cores).index()].push(lock);
        }
        let engine = self.clone();
        // A task of its own: a session that goes away meanwhile leaves none of them behind.
        let task = runtime::spawn_joinable(QueueClass::Interactive, async move {
            let calls = by_core.into_iter().enumerate().filter(|(_, locks)| !locks.is_empty());
            let calls = calls.map(|(core, locks)| (core, engine.unlock_advisory(CoreId(core as u16), pid, locks))).collect();
            for (_, all) in join_calls(calls).await {
                assert_eq!(all, Ok(true), "a transaction gives back what it has taken");
            }
        });
        let _the_task_ends_with_the_core = task.await;
    }
}

/// A place in a queue of this core, given up when the wait ends without the lock.
struct QueuePlace<'a> {
    engine: &'a Engine,
    request: AdvisoryRequest,
    given_up: bool,
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        if self.given_up
            && let Ok(mut shard) = self.engine.0.shard.try_borrow_mut()
            && !shard.advisory_locks.leave(&self.request)
        {
            // It was granted between the end of the wait and now.
            shard.advisory_locks.unlock(self.request.asker.pid, &self.request.lock);
        }
    }
}

/// A lock that another core was asked for. Dropped before the answer, it leaves the queue there, and gives the lock back if that
/// came too late.
struct Asking {
    engine: Engine,
    core: CoreId,
    request: AdvisoryRequest,
    call: Option<Pin<Box<dyn Future<Output = Reply>>>>,
    /// The request has left.
    sent: bool,
}

impl Asking {
    fn new(engine: Engine, core: CoreId, request: AdvisoryRequest) -> Self {
        let asked = engine.clone();
        let call: Pin<Box<dyn Future<Output = Reply>>> =
            Box::pin(async move { asked.ask(core, Request::LockAdvisory(request)).await });
        Self { engine, core, request, call: Some(call), sent: false }
    }

    async fn answer(mut self) -> EngineResult<bool> {
        self.sent = true;
        let reply = poll_fn(|cx| self.call.as_mut().expect("the answer is awaited once").as_mut().poll(cx)).await;
        self.call = None;
        reply.held()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let Some(call) = self.call.take().filter(|_| self.sent && runtime::try_current_core().is_some()) else { return };
        let (engine, core, request) = (self.engine.clone(), self.core, self.request);
        runtime::spawn(QueueClass::Interactive, async move {
            // Behind the request, on the same ring.
            engine.ask(core, Request::LeaveAdvisory(request)).await;
            if call.await.held() == Ok(true) {
                let _had = engine.unlock_advisory(core, request.asker.pid, vec![request.lock]).await;
            }
        });
    }
}
