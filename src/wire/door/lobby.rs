//! Clients that have not proved who they are.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use atomic_waker::AtomicWaker;

/// The room. When it is full, whoever has been there longest has to leave for the next: a client that means to log in is done long
/// before its turn comes.
#[derive(Debug)]
pub struct Lobby {
    guests_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number, so in the order of arrival.
    guests: BTreeMap<u64, Arc<Seat>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Seat {
    must_leave: AtomicBool,
    waker: AtomicWaker,
}

/// A place in the lobby, until it is dropped.
#[derive(Debug)]
pub struct Guest {
    lobby: Arc<Lobby>,
    number: u64,
    seat: Arc<Seat>,
}

impl Lobby {
    /// A room for so many, at least one.
    pub fn new(guests_max: usize) -> Arc<Self> {
        assert!(guests_max > 0, "nobody could ever log in");
        Arc::new(Self { guests_max, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Comes in.
    pub fn enter(self: &Arc<Self>) -> Guest {
        let seat = Arc::new(Seat::default());
        let mut inner = self.lock();
        let oldest = if inner.guests.len() < self.guests_max { None } else { inner.guests.pop_first() };
        let number = inner.next;
        inner.next += 1;
        inner.guests.insert(number, Arc::clone(&seat));
        assert!(inner.guests.len() <= self.guests_max, "the lobby is bounded");
        drop(inner);
        if let Some((_, oldest)) = oldest {
            oldest.must_leave.store(true, Ordering::Release);
            oldest.waker.wake();
        }
        Guest { lobby: Arc::clone(self), number, seat }
    }

    /// How many are there.
    pub fn len(&self) -> usize {
        self.lock().guests.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Guest {
    /// Waits until it has to leave.
    pub async fn must_leave(&self) {
        poll_fn(|cx| {
            self.seat.waker.register(cx.waker());
            if self.seat.must_leave.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.lobby.lock().guests.remove(&self.number);
    }
}
