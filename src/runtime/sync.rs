//! Waiting for other tasks of the same core.
//!
//! Nothing here is `Send`: between cores there is the mesh. All of it is cancel-safe: a dropped wait leaves no entry behind
//! and loses no wake-up that was meant for another waiter.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A first-in, first-out queue of waiting tasks: a condition variable for one core.
///
/// ```ignore
/// queue.wait_until(|| state.borrow().is_free()).await;   // waiter
/// queue.wake_one();                                      // after changing the state
/// ```
#[derive(Default)]
pub struct WaitQueue {
    /// By ticket, so that the order is that of arrival. `None`: granted, not yet polled.
    waiters: RefCell<BTreeMap<u64, Option<Waker>>>,
    next_ticket: Cell<u64>,
}

impl WaitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many tasks wait.
    pub fn len(&self) -> usize {
        self.waiters.borrow().len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiters.borrow().is_empty()
    }

    /// Waits for one wake-up: [`wake_one`](Self::wake_one) in the order of arrival, or [`wake_all`](Self::wake_all).
    ///
    /// A granted wake-up whose task is dropped before it runs passes to the next waiter.
    pub fn wait(&self) -> Wait<'_> {
        Wait { queue: self, ticket: None }
    }

    /// Waits until `condition` holds, asking first and then after every wake-up.
    pub async fn wait_until(&self, mut condition: impl FnMut() -> bool) {
        while !condition() {
            self.wait().await;
        }
    }

    /// Wakes the task that has waited longest; false if nobody waits.
    pub fn wake_one(&self) -> bool {
        let waker = {
            let mut waiters = self.waiters.borrow_mut();
            waiters.values_mut().find_map(Option::take)
        };
        match waker {
            Some(waker) => {
                waker.wake();
                true
            }
            None => false,
        }
    }

    /// Wakes every task that waits now.
    pub fn wake_all(&self) {
        let wakers: Vec<Waker> = self.waiters.borrow_mut().values_mut().filter_map(Option::take).collect();
        for waker in wakers {
            waker.wake();
        }
    }
}

/// The future of [`WaitQueue::wait`]. Joins the queue at its first poll.
#[must_use = "waiting does nothing unless awaited"]
pub struct Wait<'a> {
    queue: &'a WaitQueue,
    ticket: Option<u64>,
}

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let queue = self.queue;
        let mut waiters = queue.waiters.borrow_mut();
        match self.ticket {
            None => {
                let ticket = queue.next_ticket.get();
                queue.next_ticket.set(ticket + 1);
                waiters.insert(ticket, Some(cx.waker().clone()));
                self.ticket = Some(ticket);
                Poll::Pending
            }
            Some(ticket) => match waiters.get_mut(&ticket).expect("a polled wait is in its queue until it is granted") {
                Some(waker) => {
                    waker.clone_from(cx.waker());
                    Poll::Pending
                }
                None => {
                    waiters.remove(&ticket);
                    self.ticket = None;
                    Poll::Ready(())
                }
            },
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let granted = self.queue.waiters.borrow_mut().remove(&ticket).is_some_and(|waker| waker.is_none());
            if granted {
                self.queue.wake_one();
            }
        }
    }
}

/// Permits for the tasks of one core, given out strictly in the order of asking.
///
/// Acquiring does not tie a permit to a value: whoever took one gives it back with [`release`](Self::release), possibly from
/// another task.
pub struct Semaphore {
    /// Permits nobody has. More than zero only if nobody waits ungranted.
    available: Cell<u32>,
    /// By ticket. `None`: the permit is theirs, they have not been polled since.
    waiters: RefCell<BTreeMap<u64, Option<Waker>>>,
    next_ticket: Cell<u64>,
}

impl Semaphore {
    /// A semaphore with so many permits.
    pub fn new(permits: u32) -> Self {
        Self { available: Cell::new(permits), waiters: RefCell::default(), next_ticket: Cell::new(0) }
    }

    /// Takes a permit if there is one and nobody waits for it.
    pub fn try_acquire(&self) -> bool {
        let available = self.available.get();
        if available > 0 {
            self.available.set(available - 1);
        }
        available > 0
    }

    /// Takes a permit, waiting in line. A wait that is dropped after it got its permit passes it on.
    pub fn acquire(&self) -> Acquire<'_> {
        Acquire { semaphore: self, ticket: None }
    }

    /// Gives permits back: to those who wait, in order, or to whoever asks next.
    pub fn release(&self, permits: u32) {
        for _ in 0..permits {
            let next = self.waiters.borrow_mut().values_mut().find_map(Option::take);
            match next {
                Some(waker) => waker.wake(),
                None => self.available.set(self.available.get() + 1),
            }
        }
    }

    /// Permits nobody has.
    pub fn available(&self) -> u32 {
        self.available.get()
    }
}

/// The future of [`Semaphore::acquire`].
#[must_use = "acquiring does nothing unless awaited"]
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    ticket: Option<u64>,
}

impl Future for Acquire<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let semaphore = self.semaphore;
        let Some(ticket) = self.ticket else {
            if semaphore.try_acquire() {
                return Poll::Ready(());
            }
            let ticket = semaphore.next_ticket.get();
            semaphore.next_ticket.set(ticket + 1);
            semaphore.waiters.borrow_mut().insert(ticket, Some(cx.waker().clone()));
            self.ticket = Some(ticket);
            return Poll::Pending;
        };
        let mut waiters = semaphore.waiters.borrow_mut();
        match waiters.get_mut(&ticket).expect("a polled wait is in line until it is granted") {
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
            None => {
                waiters.remove(&ticket);
                self.ticket = None;
                Poll::Ready(())
            }
        }
    }
}

impl Drop for Acquire<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let granted = self.semaphore.waiters.borrow_mut().remove(&ticket).is_some_and(|waker| waker.is_none());
            if granted {
                self.semaphore.release(1);
            }
        }
    }
}

/// A flag that tasks can wait for: set once, it stays set until it is cleared.
#[derive(Default)]
pub struct Event {
    set: Cell<bool>,
    waiters: WaitQueue,
}

impl Event {
    /// An event that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets it and wakes everybody who waits.
    pub fn set(&self) {
        self.set.set(true);
        self.waiters.wake_all();
    }

    /// Clears it.
    pub fn clear(&self) {
        self.set.set(false);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        self.set.get()
    }

    /// Waits until it is set.
    pub async fn wait(&self) {
        self.waiters.wait_until(|| self.set.get()).await;
    }
}

/// A permit for one waiter: [`notify`](Self::notify) before or after the wait, several before one wait count once.
///
/// For a worker task that sleeps until there may be work (`loop { drain(); work.notified().await }`).
#[derive(Default)]
pub struct Notify {
    notified: Cell<bool>,
    waiter: Cell<Option<Waker>>,
}

impl Notify {
    /// A notify without a permit.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves a permit and wakes the waiter.
    pub fn notify(&self) {
        self.notified.set(true);
        if let Some(waiter) = self.waiter.take() {
            waiter.wake();
        }
    }

    /// Takes the permit, waiting for it if there is none. One waiter at a time.
    pub async fn notified(&self) {
        poll_fn(|cx| {
            if self.notified.take() {
                return Poll::Ready(());
            }
            self.waiter.set(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Duration;

    use crate::runtime::sim::Sim;
    use crate::runtime::{QueueClass, random_u64, sleep, spawn_joinable, timeout};

    use super::*;

    /// Fifty tasks that use a permit for a while, or give up waiting for one.
    async fn contend(semaphore: Rc<Semaphore>) {
        let handles: Vec<_> = (0..50)
            .map(|_| {
                let semaphore = Rc::clone(&semaphore);
                spawn_joinable(QueueClass::Interactive, async move {
                    for _ in 0..10 {
                        let patience = Duration::from_micros(random_u64() % 400);
                        if timeout(patience, semaphore.acquire()).await.is_ok() {
                            sleep(Duration::from_micros(random_u64() % 50)).await;
                            semaphore.release(1);
                        }
                    }
                })
            })
            .collect();
        for handle in handles {
            handle.await.expect("waiting does not panic");
        }
        assert_eq!(semaphore.available(), 3, "every permit has come back");
        assert!(semaphore.waiters.borrow().is_empty());
    }

    #[test]
    fn permits_survive_waiters_that_give_up() {
        for seed in 0..50 {
            Sim::new(seed).run(1, |_| contend(Rc::new(Semaphore::new(3)))).expect_completed();
        }
    }

    #[test]
    fn a_granted_wake_up_passes_on_when_its_waiter_is_dropped() {
        Sim::new(1)
            .run(1, |_| async {
                let queue = WaitQueue::new();
                let (mut first, mut second) = (Box::pin(queue.wait()), Box::pin(queue.wait()));
                assert!(futures_lite::future::poll_once(&mut first).await.is_none());
                assert!(futures_lite::future::poll_once(&mut second).await.is_none());
                assert!(queue.wake_one());
                drop(first);
                second.await;
                assert!(queue.is_empty());
                assert!(!queue.wake_one(), "nobody is left to wake");
            })
            .expect_completed();
    }
}
