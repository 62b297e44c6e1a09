//! Places for clients that are known, given out in the order of asking.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use atomic_waker::AtomicWaker;

use crate::error::{SqlError, SqlResult, SqlState};

/// What is bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsLimits {
    /// Clients at once.
    pub slots: usize,
    /// Slots that only superusers may have: others have to leave so many free.
    pub reserved: usize,
    /// Clients that wait.
    pub queued: usize,
}

/// Which slots a client may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// All but the reserved ones.
    Ordinary,
    /// All.
    Superuser,
}

const WAITS: u8 = 0;
const GRANTED: u8 = 1;
const CLOSED: u8 = 2;

#[derive(Debug, Default)]
struct Waiter {
    state: AtomicU8,
    waker: AtomicWaker,
}

impl Waiter {
    fn tell(&self, state: u8) {
        self.state.store(state, Ordering::Release);
        self.waker.wake();
    }
}

/// The slots of a server.
#[derive(Debug)]
pub struct Slots {
    limits: SlotsLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Slots that somebody has, or has been granted and not noticed yet.
    used: usize,
    /// Who waits, by class and then by number: the order of asking.
    queues: [BTreeMap<u64, Arc<Waiter>>; 2],
    next: u64,
    /// Why nobody gets one any more.
    closed: Option<SqlError>,
}

/// A slot, until it is dropped.
#[derive(Debug)]
pub struct Slot {
    slots: Arc<Slots>,
}

/// The answer to whoever asks.
#[derive(Debug)]
pub enum Entry {
    /// There was one.
    Slot(Slot),
    /// It is to wait.
    Wait(Waiting),
}

/// A client in the queue. Dropped, it leaves; a slot that it had been granted goes to the next.
#[derive(Debug)]
#[must_use = "waiting does nothing unless awaited"]
pub struct Waiting {
    slots: Arc<Slots>,
    class: Class,
    number: u64,
    waiter: Arc<Waiter>,
    ended: bool,
}

impl Inner {
    /// Whether a client of this class may have a slot, whoever else waits.
    fn has_room(&self, class: Class, limits: &SlotsLimits) -> bool {
        match class {
            Class::Ordinary => self.used + limits.reserved < limits.slots,
            Class::Superuser => self.used < limits.slots,
        }
    }

    /// Gives free slots to those who wait, first come, first served among those that may have them.
    fn grant(&mut self, limits: &SlotsLimits) {
        loop {
            let first = |class: Class| {
                let front = self.queues[class as usize].first_key_value().map(|(number, _)| (*number, class));
                front.filter(|_| self.has_room(class, limits))
            };
            let Some((_, class)) = [Class::Ordinary, Class::Superuser].into_iter().filter_map(first).min_by_key(|(n, _)| *n)
            else {
                return;
            };
            let (_, waiter) = self.queues[class as usize].pop_first().expect("it was just seen");
            self.used += 1;
            waiter.tell(GRANTED);
        }
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(BTreeMap::len).sum()
    }
}

impl Slots {
    /// With these limits.
    pub fn new(limits: SlotsLimits) -> Arc<Self> {
        assert!(limits.reserved < limits.slots, "somebody besides superusers may come in");
        Arc::new(Self { limits, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a slot.
    ///
    /// Errors: 53300 if the queue is full as well, and what [`close`](Self::close) was told.
    pub fn enter(self: &Arc<Self>, class: Class) -> SqlResult<Entry> {
        let mut inner = self.lock();
        if let Some(closed) = &inner.closed {
            return Err(closed.clone());
        }
        // Nobody overtakes those of its own class.
        if inner.queues[class as usize].is_empty() && inner.has_room(class, &self.limits) {
            inner.used += 1;
            return Ok(Entry::Slot(Slot { slots: Arc::clone(self) }));
        }
        if inner.waiting() >= self.limits.queued {
            return Err(refusal(&inner, class, &self.limits));
        }
        let (number, waiter) = (inner.next, Arc::<Waiter>::default());
        inner.next += 1;
        inner.queues[class as usize].insert(number, Arc::clone(&waiter));
        Ok(Entry::Wait(Waiting { slots: Arc::clone(self), class, number, waiter, ended: false }))
    }

    /// A slot at once, or none.
    ///
    /// Errors: 53300, and what [`close`](Self::close) was told.
    pub fn enter_now(self: &Arc<Self>, class: Class) -> SqlResult<Slot> {
        match self.enter(class)? {
            Entry::Slot(slot) => Ok(slot),
            Entry::Wait(_) => Err(self.refusal(class)),
        }
    }

    /// What a client is told that has waited in vain.
    pub fn refusal(&self, class: Class) -> SqlError {
        refusal(&self.lock(), class, &self.limits)
    }

    /// Ends the waiting of all, and refuses whoever comes from now on.
    pub fn close(&self, error: &SqlError) {
        let mut inner = self.lock();
        inner.closed = Some(error.clone());
        for queue in &mut inner.queues {
            std::mem::take(queue).into_values().for_each(|waiter| waiter.tell(CLOSED));
        }
    }

    /// Slots in use, and clients that wait.
    pub fn figures(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.used, inner.waiting())
    }

    fn give_back(&self) {
        let mut inner = self.lock();
        assert!(inner.used > 0, "only what was given can be given back");
        inner.used -= 1;
        inner.grant(&self.limits);
    }
}

fn refusal(inner: &Inner, class: Class, limits: &SlotsLimits) -> SqlError {
    let message = if class == Class::Ordinary && inner.used < limits.slots {
        "remaining connection slots are reserved for non-replication superuser connections"
    } else {
        "sorry, too many clients already"
    };
    SqlError::new(SqlState::TOO_MANY_CONNECTIONS, message)
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back();
    }
}

impl Future for Waiting {
    type Output = SqlResult<Slot>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.waiter.waker.register(cx.waker());
        match self.waiter.state.load(Ordering::Acquire) {
            WAITS => Poll::Pending,
            GRANTED => {
                self.ended = true;
                Poll::Ready(Ok(Slot { slots: Arc::clone(&self.slots) }))
            }
            _ => {
                self.ended = true;
                let closed = self.slots.lock().closed.clone();
                Poll::Ready(Err(closed.expect("the queue ends when it is closed")))
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let mut inner = self.slots.lock();
        let queued = inner.queues[self.class as usize].remove(&self.number).is_some();
        // Granted meanwhile, under the same lock.
        if !queued && self.waiter.state.load(Ordering::Acquire) == GRANTED {
            inner.used -= 1;
            inner.grant(&self.slots.limits);
        }
    }
}
