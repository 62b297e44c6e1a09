//! How a session is told from outside to stop what it does: a cancel request, a shutdown. And the registry by which a cancel
//! request, which comes in on a connection of its own and on any core, finds the session it means.
//!
//! Source: PostgreSQL 15 documentation, 55.2.8 "Canceling Requests in Progress".

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use crate::base::Oid;
use crate::catalog::system::live::SessionActivity;
use crate::session::activity::Told;
use crate::sql::Sessions;

const CANCEL: u8 = 1;
const TERMINATE: u8 = 2;
/// The client has gone: nobody waits for what runs.
const ABANDON: u8 = 4;
/// The server drains: the connection ends with its transaction.
const DRAIN: u8 = 8;

/// What a session is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// End the statement that runs, if one does (57014).
    Cancel,
    /// End the connection (57P01).
    Terminate,
    /// The same, because its client has gone (08006).
    Abandon,
}

/// One session's ear. Set from any thread, heard by the core that the session is on.
#[derive(Debug, Default)]
pub struct Interrupt {
    asked: AtomicU8,
    waker: AtomicWaker,
}

impl Interrupt {
    /// Asks the running statement to end.
    pub fn cancel(&self) {
        self.ask(CANCEL);
    }

    /// Asks the connection to end.
    pub fn terminate(&self) {
        self.ask(TERMINATE);
    }

    /// Says that the client has gone.
    pub fn abandon(&self) {
        self.ask(ABANDON);
    }

    /// Asks the connection to end as soon as it is in no transaction.
    pub fn drain(&self) {
        self.ask(DRAIN);
    }

    fn ask(&self, what: u8) {
        self.asked.fetch_or(what, Ordering::AcqRel);
        self.waker.wake();
    }

    /// Forgets a cancel request that came between statements; it has no statement to end.
    #[inline]
    pub fn begin_statement(&self) {
        if self.asked.load(Ordering::Relaxed) & CANCEL != 0 {
            self.asked.fetch_and(!CANCEL, Ordering::AcqRel);
        }
    }

    /// What has been asked; the graver first.
    #[inline]
    pub fn asked(&self) -> Option<Interruption> {
        match self.asked.load(Ordering::Acquire) {
            asked if asked & TERMINATE != 0 => Some(Interruption::Terminate),
            asked if asked & ABANDON != 0 => Some(Interruption::Abandon),
            asked if asked & CANCEL != 0 => Some(Interruption::Cancel),
            _ => None,
        }
    }

    /// Ready when something is asked. One task at a time listens.
    pub fn poll_asked(&self, cx: &mut Context<'_>) -> Poll<Interruption> {
        if let Some(asked) = self.asked() {
            return Poll::Ready(asked);
        }
        self.waker.register(cx.waker());
        self.asked().map_or(Poll::Pending, Poll::Ready)
    }

    /// Waits until the connection is asked to end; cancel requests pass by.
    pub async fn terminated(&self) {
        poll_fn(|cx| self.poll_end(cx, false)).await;
    }

    /// Ready when the connection is asked to end; `between` says that it is in no transaction.
    pub fn poll_end(&self, cx: &mut Context<'_>, between: bool) -> Poll<()> {
        let grave = if between { TERMINATE | ABANDON | DRAIN } else { TERMINATE | ABANDON };
        let asked = || self.asked.load(Ordering::Acquire) & grave != 0;
        if asked() {
            return Poll::Ready(());
        }
        self.waker.register(cx.waker());
        if asked() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What a client needs to cancel its statement from another connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CancelKey {
    /// The process id it was told.
    pub pid: i32,
    /// The secret that goes with it.
    pub secret: u32,
}

/// All sessions of the server by process id. Shared by all cores and touched when a connection starts, ends, is cancelled or looked
/// at; a statement touches only what its own session tells of itself.
#[derive(Debug, Default)]
pub struct SessionRegistry {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Registered {
    secret: u32,
    interrupt: Arc<Interrupt>,
    /// The role whose limit of sessions it counts for.
    role: Oid,
    told: Arc<Told>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: HashMap<i32, Registered>,
    last_pid: i32,
    terminating: bool,
    draining: bool,
}

impl SessionRegistry {
    /// Takes a session of a role in, unless the role has as many as it may. It leaves when the ticket is dropped.
    pub fn register(self: &Arc<Self>, role: Oid, limit: Option<usize>) -> Option<Ticket> {
        let interrupt = Arc::new(Interrupt::default());
        let secret = random_secret();
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(limit) = limit
            && inner.sessions.values().filter(|session| session.role == role).count() >= limit
        {
            return None;
        }
        loop {
            inner.last_pid = if inner.last_pid == i32::MAX { 1 } else { inner.last_pid + 1 };
            if !inner.sessions.contains_key(&inner.last_pid) {
                break;
            }
        }
        let key = CancelKey { pid: inner.last_pid, secret };
        let told = Arc::new(Told::default());
        let session = Registered { secret, interrupt: Arc::clone(&interrupt), role, told: Arc::clone(&told) };
        inner.sessions.insert(key.pid, session);
        if inner.terminating {
            interrupt.terminate();
        }
        if inner.draining {
            interrupt.drain();
        }
        drop(inner);
        Some(Ticket { registry: Arc::clone(self), key, interrupt, told })
    }

    /// Cancels what the session of this key runs. Says nothing about whether there is one, as the protocol demands.
    pub fn cancel(&self, key: CancelKey) {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = inner.sessions.get(&key.pid)
            && secrets_equal(session.secret, key.secret)
        {
            session.interrupt.cancel();
        }
    }

    fn signal(&self, pid: i32, signal: impl Fn(&Interrupt)) -> bool {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.get(&pid).map(|session| signal(&session.interrupt)).is_some()
    }

    /// Ends all connections, present and future (fast shutdown).
    pub fn terminate_all(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.terminating = true;
        inner.sessions.values().for_each(|session| session.interrupt.terminate());
    }

    /// Ends all connections, present and future, as soon as they are in no transaction.
    pub fn drain_all(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.draining = true;
        inner.sessions.values().for_each(|session| session.interrupt.drain());
    }

    /// Takes out sessions whose connections are gone without having left. There are none as long as every ticket is dropped; answers how
    /// many there were.
    pub fn sweep(&self) -> usize {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.sessions.len();
        // A ticket holds the second handle.
        inner.sessions.retain(|_, session| Arc::strong_count(&session.interrupt) > 1);
        before - inner.sessions.len()
    }

    /// Sessions at present.
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Sessions for SessionRegistry {
    fn cancel(&self, pid: i32) -> bool {
        self.signal(pid, Interrupt::cancel)
    }

    fn terminate(&self, pid: i32) -> bool {
        self.signal(pid, Interrupt::terminate)
    }

    fn role(&self, pid: i32) -> Option<Oid> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.sessions.get(&pid).map(|session| session.role)
    }

    fn activities(&self) -> Vec<SessionActivity> {
        let told: Vec<Arc<Told>> = {
            let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
            inner.sessions.values().map(|session| Arc::clone(&session.told)).collect()
        };
        let mut activities: Vec<_> = told.iter().filter_map(|told| told.get()).collect();
        activities.sort_by_key(|activity| activity.pid);
        activities
    }
}

/// 32 bits from the operating system's generator (a version 4 UUID has 122 of them).
fn random_secret() -> u32 {
    let bytes = uuid::Uuid::new_v4().into_bytes();
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Compares without telling by its duration where the first difference is.
fn secrets_equal(a: u32, b: u32) -> bool {
    std::hint::black_box(a ^ b) == 0
}

/// A session's place in the registry.
#[derive(Debug)]
pub struct Ticket {
    registry: Arc<SessionRegistry>,
    key: CancelKey,
    interrupt: Arc<Interrupt>,
    told: Arc<Told>,
}

impl Ticket {
    /// What the client is told.
    pub fn key(&self) -> CancelKey {
        self.key
    }

    /// The session's ear.
    pub fn interrupt(&self) -> &Arc<Interrupt> {
        &self.interrupt
    }

    /// What it tells others about itself.
    pub fn told(&self) -> &Arc<Told> {
        &self.told
    }

    /// Where it is one of many.
    pub fn registry(&self) -> &Arc<SessionRegistry> {
        &self.registry
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.registry.inner.lock().unwrap_or_else(PoisonError::into_inner).sessions.remove(&self.key.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_secret_cancels() {
        let registry = Arc::new(SessionRegistry::default());
        let (first, second) = (
            registry.register(Oid(10), None).expect("there is no limit"),
            registry.register(Oid(10), None).expect("there is no limit"),
        );
        let wrong = CancelKey { secret: first.key().secret ^ 1, ..first.key() };
        registry.cancel(wrong);
        assert_eq!(first.interrupt().asked(), None);
        registry.cancel(first.key());
        assert_eq!(first.interrupt().asked(), Some(Interruption::Cancel));
        assert_eq!(second.interrupt().asked(), None);
        first.interrupt().begin_statement();
        assert_eq!(first.interrupt().asked(), None);
        let gone = first.key();
        drop(first);
        registry.cancel(gone);
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_shutdown_reaches_those_who_come_too_late() {
        let registry = Arc::new(SessionRegistry::default());
        let early = registry.register(Oid(10), None).expect("there is no limit");
        registry.terminate_all();
        let late = registry.register(Oid(10), None).expect("there is no limit");
        for ticket in [&early, &late] {
            ticket.interrupt().begin_statement();
            assert_eq!(ticket.interrupt().asked(), Some(Interruption::Terminate));
        }
    }

    #[test]
    fn who_drains_ends_between_transactions_only() {
        let registry = Arc::new(SessionRegistry::default());
        let early = registry.register(Oid(10), None).expect("there is no limit");
        registry.drain_all();
        let late = registry.register(Oid(10), None).expect("there is no limit");
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for ticket in [&early, &late] {
            assert!(ticket.interrupt().poll_end(&mut cx, false).is_pending());
            assert!(ticket.interrupt().poll_end(&mut cx, true).is_ready());
            assert_eq!(ticket.interrupt().asked(), None, "a statement is let finish");
        }
        registry.terminate_all();
        assert!(early.interrupt().poll_end(&mut cx, false).is_ready());
    }

    #[test]
    fn a_role_has_as_many_sessions_as_it_may() {
        let registry = Arc::new(SessionRegistry::default());
        let limited = |role| registry.register(Oid(role), Some(2));
        let (first, second) = (limited(1), limited(1));
        assert!(first.is_some() && second.is_some() && limited(1).is_none());
        assert!(limited(2).is_some() && registry.register(Oid(1), None).is_some());
        drop(first);
        assert!(limited(1).is_some());
    }
}
