//! Advisory locks over cores: a key's core, found by its hash, has its holders and its queue.
//!
//! What a transaction has taken is listed in its handle, in the order of its commands, so that savepoints and its end give it
//! back; what a session has taken for itself is listed in [`SessionLocks`]. A lock that was granted to somebody who had given up waiting
//! is in neither list, and is given back by whoever learns of it; so each grant is undone once. Releases are awaited, because whoever is
//! told of one, or of a commit, may count on the lock being free.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;

use rustc_hash::FxHashMap;

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

/// Advisory locks that one session has, or its transaction.
const LOCKS_MAX: usize = 1 << 20;

/// The advisory locks that a session has for itself, outside its transactions, as far as it has been told. Given back when it is dropped.
#[derive(Debug)]
pub struct SessionLocks {
    pid: i32,
    held: RefCell<FxHashMap<AdvisoryLock, u32>>,
    /// How many locks it has asked for.
    asked: Cell<u64>,
}

impl SessionLocks {
    /// Of a new session.
    pub fn new(pid: i32) -> Self {
        Self { pid, held: RefCell::default(), asked: Cell::new(0) }
    }

    /// The session's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    fn add(&self, lock: AdvisoryLock) {
        *self.held.borrow_mut().entry(lock).or_default() += 1;
    }

    /// Takes a lock out once; `false` if it is not there.
    fn remove(&self, lock: &AdvisoryLock) -> bool {
        let mut held = self.held.borrow_mut();
        let Some(times) = held.get_mut(lock) else { return false };
        *times -= 1;
        if *times == 0 {
            held.remove(lock);
        }
        true
    }

    /// Takes out all, each as often as it was taken.
    fn remove_all(&self) -> Vec<AdvisoryLock> {
        let held = std::mem::take(&mut *self.held.borrow_mut());
        held.into_iter().flat_map(|(lock, times)| std::iter::repeat_n(lock, times as usize)).collect()
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        let (pid, locks) = (self.pid, self.remove_all());
        // Without an engine the core has ended, and the locks with it.
        if let (false, Some(engine)) = (locks.is_empty(), try_engine()) {
            runtime::spawn(QueueClass::Interactive, async move { engine.give_back(pid, locks).await });
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
        if session.held.borrow().len().max(txn.advisory_locks.len()) >= LOCKS_MAX {
            return Err(EngineError::Limit("too many advisory locks in one session"));
        }
        session.asked.set(session.asked.get() + 1);
        let request = AdvisoryRequest { asker: txn.asker(), lock, block, number: session.asked.get() };
        let core = lock.key.owner(self.0.shared.cores);
        let taken = if core == self.0.core {
            match self.try_advisory_here(&request) {
                Ok(taken) => taken,
                Err(receiver) => self.wait_advisory_here(request, receiver).await?,
            }
        } else {
            Asking::new(self.clone(), core, request).answer().await?
        };
        if taken {
            txn.locks_held_until = self.0.shared.clock.now();
        }
        match taken {
            true if lock.transaction => txn.advisory_locks.push((txn.command, lock)),
            true => session.add(lock),
            false => {}
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
    pub async fn advisory_unlock(&self, session: &SessionLocks, lock: AdvisoryLock) -> bool {
        assert!(!lock.transaction, "a transaction's locks are given back with it");
        let had = session.remove(&lock);
        if had {
            self.give_back(session.pid, vec![lock]).await;
        }
        had
    }

    /// Gives back all that a session has taken for itself.
    pub async fn advisory_unlock_all(&self, session: &SessionLocks) {
        let locks = session.remove_all();
        self.give_back(session.pid, locks).await;
    }

    /// Gives back what a transaction has taken in commands from `from_command` on.
    pub(super) async fn give_back_advisory(&self, txn: &mut Txn, from_command: u32) {
        if txn.advisory_locks.is_empty() {
            return;
        }
        let (kept, back): (_, Vec<_>) =
            std::mem::take(&mut txn.advisory_locks).into_iter().partition(|(taken, _)| *taken < from_command);
        txn.advisory_locks = kept;
        self.give_back(txn.pid, back.into_iter().map(|(_, lock)| lock).collect()).await;
    }

    /// Gives locks back that a session or its transaction has. When it returns, others can have them.
    async fn give_back(&self, pid: i32, locks: Vec<AdvisoryLock>) {
        let mut by_core: Vec<Vec<AdvisoryLock>> = vec![Vec::new(); self.0.shared.cores];
        for lock in locks {
            by_core[lock.key.owner(self.0.shared.cores).index()].push(lock);
        }
        self.unlock_advisory_here(pid, &std::mem::take(&mut by_core[self.0.core.index()]));
        if by_core.iter().all(Vec::is_empty) {
            return;
        }
        let engine = self.clone();
        // A task of its own: a session that goes away meanwhile leaves none of them behind.
        let task = runtime::spawn_joinable(QueueClass::Interactive, async move {
            let calls = by_core.into_iter().enumerate().filter(|(_, locks)| !locks.is_empty());
            let call = |(core, locks)| (core, engine.ask(CoreId(core as u16), Request::UnlockAdvisory { pid, locks }));
            join_calls(calls.map(call).collect()).await;
        });
        let _the_task_ends_with_the_core = task.await;
    }

    /// Gives locks of this core back.
    pub(super) fn unlock_advisory_here(&self, pid: i32, locks: &[AdvisoryLock]) {
        let mut shard = self.0.shard.borrow_mut();
        for lock in locks {
            assert!(shard.advisory_locks.unlock(pid, lock), "session {pid} gives back what it has taken: {lock:?}");
        }
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
                engine.give_back(request.asker.pid, vec![request.lock]).await;
            }
        });
    }
}
