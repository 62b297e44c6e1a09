//! Transaction pooling: many clients share few sessions.
//!
//! What a session holds falls into two parts. What is its client's (who it is, its settings, the names of its prepared statements, its
//! cancel key, its advisory locks) is small and stays with the client ([`Parked`]). What makes sessions large is what they have worked out:
//! the plans of the texts they have seen ([`Workspace`]). Between two transactions a client of a pool has only the first part. With its
//! next message it takes one of the core's `pool_size` workspaces, and a session is put together of both; when the transaction is over,
//! the session is taken apart again.
//!
//! **Invariant: NOTHING TO DISCARD.** Nothing of a client is ever in a workspace, so nothing has to be cleaned out of one, and nothing can be
//! forgotten to be. A session is made anew for each transaction; the compiler sees that every part of it is accounted for. Plans are
//! good for one identity, one state of the catalog and one fingerprint of the settings that binding depends on, and are checked against
//! all three when they are looked up; besides, a workspace that comes to another identity is emptied.
//!
//! So everything that works in a session of one's own works in a shared one: SET, PREPARE, session advisory locks. Names of prepared
//! statements keep the text, the types and the result's columns, which clients of the same program share with the plans; a statement
//! that is used again is planned from them, or found planned in the workspace.
//!
//! Sessions are handed out in the order of asking. They never leave their core: a pool is a core's own, like everything it works with.

mod parked;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::{Awaited, CoreMetrics};
use crate::runtime::sync::Semaphore;
use crate::runtime::{self, MonoTime};
use crate::session::Identity;
use crate::session::plan_cache::PlanCache;

pub use parked::Parked;

/// How long a workspace that nobody wants is kept.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// What a session has worked out and leaves to the next of the same identity.
#[derive(Debug)]
pub struct Workspace {
    /// Whose plans these are.
    pub(super) identity: Identity,
    pub(super) texts: PlanCache,
    pub(super) normal_forms: PlanCache,
    used: MonoTime,
}

impl Workspace {
    pub(super) fn new(identity: Identity, texts: PlanCache, normal_forms: PlanCache) -> Self {
        Self { identity, texts, normal_forms, used: runtime::now() }
    }

    fn empty(identity: &Identity) -> Self {
        Self::new(identity.clone(), PlanCache::default(), PlanCache::default())
    }
}

/// The sessions of one core.
pub struct Pool {
    size: u32,
    permits: Semaphore,
    /// Those that nobody has, in the order in which they came back.
    free: RefCell<Vec<Workspace>>,
    /// How long a session is waited for; `None`: it is not.
    patience: Option<Duration>,
    /// Free ones and those that somebody has.
    sessions: Cell<usize>,
    guests: Cell<u32>,
    metrics: Rc<CoreMetrics>,
}

/// The right to have a session, until it is dropped.
pub struct Permit {
    pool: Rc<Pool>,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// For a transaction.
    Full,
    /// The same, when the workspace has been given back.
    Spent,
    /// To prepare statements only.
    Guest,
}

impl Pool {
    /// With so many sessions, made when they are needed, on the core that counts here.
    pub fn new(size: usize, patience: Option<Duration>, metrics: Rc<CoreMetrics>) -> Rc<Self> {
        let size = u32::try_from(size).expect("a pool is far smaller than 2^32");
        assert!(size > 0, "somebody has to be served");
        metrics.pool.sessions_max.set(size.into());
        Rc::new(Self {
            size,
            permits: Semaphore::new(size),
            free: RefCell::default(),
            patience,
            sessions: Cell::new(0),
            guests: Cell::new(0),
            metrics,
        })
    }

    /// A session at once, if there is one and nobody waits for it.
    pub fn take_now(self: &Rc<Self>, identity: &Identity) -> Option<(Workspace, Permit)> {
        self.permits.try_acquire().then(|| self.hand_out(identity))
    }

    /// A session, in the order of asking.
    ///
    /// Errors: 53300 after `acquire_timeout`.
    pub async fn take(self: &Rc<Self>, identity: &Identity) -> SqlResult<(Workspace, Permit)> {
        if let Some(taken) = self.take_now(identity) {
            return Ok(taken);
        }
        let since = runtime::now();
        let granted = match self.patience {
            Some(patience) => runtime::timeout(patience, self.permits.acquire()).await.is_ok(),
            None => false,
        };
        if !granted {
            self.metrics.pool.gave_up(Awaited::Session);
            let message = "timed out waiting for a session of the pool";
            let hint = "All sessions are in transactions: raise pool_size or acquire_timeout, or end transactions sooner.";
            return Err(SqlError::new(SqlState::TOO_MANY_CONNECTIONS, message).hint(hint));
        }
        self.metrics.pool.waited(Awaited::Session, runtime::nanos_since(since));
        Ok(self.hand_out(identity))
    }

    /// A workspace for whoever only prepares statements, when all sessions are taken. Preparing holds nothing that others wait for, and
    /// programs wait for its end before they go on with the transactions that hold the sessions (as pgbench does). There are no more of these
    /// than sessions, and what they work out is not kept.
    pub fn take_guest(self: &Rc<Self>, identity: &Identity) -> Option<(Workspace, Permit)> {
        if self.guests.get() >= self.size {
            return None;
        }
        self.guests.set(self.guests.get() + 1);
        Some((Workspace::empty(identity), Permit { pool: Rc::clone(self), kind: Kind::Guest }))
    }

    /// The workspace that fits best: one of the same identity, else a new one, else the one that has not been used for the longest time.
    fn hand_out(self: &Rc<Self>, identity: &Identity) -> (Workspace, Permit) {
        let mut free = self.free.borrow_mut();
        let workspace = match free.iter().rposition(|workspace| workspace.identity == *identity) {
            Some(at) => free.remove(at),
            None => {
                if self.sessions.get() >= self.size as usize {
                    assert!(!free.is_empty(), "whoever has a permit finds a session or room for one");
                    free.remove(0);
                    self.forget_one();
                }
                self.sessions.set(self.sessions.get() + 1);
                self.metrics.pool.sessions.inc();
                self.metrics.pool.created.inc();
                Workspace::empty(identity)
            }
        };
        (workspace, Permit { pool: Rc::clone(self), kind: Kind::Full })
    }

    /// Ends sessions that nobody has wanted for a while.
    pub fn sweep(&self) {
        let mut free = self.free.borrow_mut();
        let before = free.len();
        free.retain(|workspace| workspace.used.elapsed() < UNUSED_MAX);
        (free.len()..before).for_each(|_| self.forget_one());
    }

    fn forget_one(&self) {
        self.sessions.set(self.sessions.get() - 1);
        self.metrics.pool.sessions.dec();
        self.metrics.pool.closed.inc();
    }

    /// Sessions that nobody has.
    #[cfg(test)]
    fn free(&self) -> usize {
        self.free.borrow().len()
    }
}

impl Permit {
    /// The transaction is over.
    pub fn give_back(mut self, mut workspace: Workspace) {
        if self.kind == Kind::Full {
            workspace.used = runtime::now();
            self.pool.free.borrow_mut().push(workspace);
            self.kind = Kind::Spent;
        }
    }

    /// Whether it is for preparing only.
    pub fn is_guest(&self) -> bool {
        self.kind == Kind::Guest
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match self.kind {
            Kind::Guest => return self.pool.guests.set(self.pool.guests.get() - 1),
            // Its connection ended in the middle, and the session with it.
            Kind::Full => self.pool.forget_one(),
            Kind::Spent => {}
        }
        self.pool.permits.release(1);
    }
}

#[cfg(test)]
mod tests;
