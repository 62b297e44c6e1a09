//! Clocks and timers.
//!
//! Timers of a core live in one ordered map driven by one reactor timer ([`TimerQueue`]): glommio's own timers are walked on
//! every turn of its loop and re-registered on every poll, which thousands of connection timeouts would make expensive.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::ops::{Add, Sub};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use super::clock;
use super::context::{self, Backend};

/// A point of the monotonic clock, in nanoseconds since the process (or the simulation) started. Comparable across cores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime(u64);

impl MonoTime {
    /// The point `nanos` nanoseconds after the start.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it was later.
    pub fn since(self, earlier: MonoTime) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// How long it has been until now.
    pub fn elapsed(self) -> Duration {
        now().since(self)
    }
}

impl Add<Duration> for MonoTime {
    type Output = MonoTime;

    /// Saturates: a timeout of `Duration::MAX` means never.
    fn add(self, duration: Duration) -> MonoTime {
        MonoTime(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl Sub<MonoTime> for MonoTime {
    type Output = Duration;

    fn sub(self, earlier: MonoTime) -> Duration {
        self.since(earlier)
    }
}

/// The monotonic clock. Works on any thread; on a simulated core it is virtual.
#[inline]
pub fn now() -> MonoTime {
    context::with_simulated(|core| MonoTime(core.world().time_nanos())).unwrap_or_else(|| MonoTime(clock::nanos()))
}

/// Microseconds since the Unix epoch, by the wall clock (virtual on a simulated core).
pub fn wall_clock_micros() -> i64 {
    context::with_simulated(|core| core.world().wall_clock_micros()).unwrap_or_else(machine_wall_clock_micros)
}

fn machine_wall_clock_micros() -> i64 {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

/// Nanoseconds since `start`.
pub fn nanos_since(start: MonoTime) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for `duration`.
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(now() + duration)
}

/// Waits until `deadline`; ready at once if it has passed.
pub fn sleep_until(deadline: MonoTime) -> Sleep {
    Sleep { deadline, registered: None }
}

/// The future of [`sleep`]. Costs nothing before its first poll and leaves nothing behind when dropped.
#[must_use = "a sleep does nothing unless awaited"]
pub struct Sleep {
    deadline: MonoTime,
    registered: Option<(Rc<TimerQueue>, u64)>,
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> MonoTime {
        self.deadline
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if now() >= self.deadline {
            if let Some((timers, id)) = self.registered.take() {
                timers.remove(self.deadline, id);
            }
            return Poll::Ready(());
        }
        match &self.registered {
            Some((timers, id)) => timers.update(self.deadline, *id, cx.waker()),
            None => {
                let timers = context::with_backend(|backend| match backend {
                    Backend::Glommio(core) => Rc::clone(core.timers()),
                    Backend::Sim(core) => Rc::clone(core.timers()),
                });
                let id = timers.insert(self.deadline, cx.waker().clone());
                self.registered = Some((timers, id));
            }
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some((timers, id)) = self.registered.take() {
            timers.remove(self.deadline, id);
        }
    }
}

/// The time given to [`timeout`] ran out first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time ran out")
    }
}

impl std::error::Error for Elapsed {}

/// Awaits `future` for at most `duration`; what is not finished then is dropped.
pub async fn timeout<T>(duration: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut future = pin!(future);
    let mut limit = pin!(sleep(duration));
    poll_fn(|cx| {
        if let Poll::Ready(value) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        limit.as_mut().poll(cx).map(|()| Err(Elapsed))
    })
    .await
}

/// The timers of one core, earliest first. Whoever drives it is woken when a new earliest deadline appears.
#[derive(Default)]
pub(super) struct TimerQueue {
    waiting: RefCell<BTreeMap<(MonoTime, u64), Waker>>,
    last_id: Cell<u64>,
    driver: RefCell<Option<Waker>>,
}

impl TimerQueue {
    /// Adds a timer; its id tells it from others of the same deadline.
    pub(super) fn insert(&self, deadline: MonoTime, waker: Waker) -> u64 {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let earliest = {
            let mut waiting = self.waiting.borrow_mut();
            waiting.insert((deadline, id), waker);
            waiting.first_key_value().is_some_and(|(key, _)| *key == (deadline, id))
        };
        if earliest && let Some(driver) = self.driver.borrow_mut().take() {
            driver.wake();
        }
        id
    }

    /// The task that waits for the timer has another waker now.
    fn update(&self, deadline: MonoTime, id: u64, waker: &Waker) {
        if let Some(entry) = self.waiting.borrow_mut().get_mut(&(deadline, id)) {
            entry.clone_from(waker);
        }
    }

    /// Removes a timer that may have fired already.
    fn remove(&self, deadline: MonoTime, id: u64) {
        self.waiting.borrow_mut().remove(&(deadline, id));
    }

    /// The earliest deadline.
    pub(super) fn next_deadline(&self) -> Option<MonoTime> {
        self.waiting.borrow().first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Removes the earliest timer if it is due.
    pub(super) fn pop_due(&self, now: MonoTime) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let entry = waiting.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Wakes `waker` at the next change of the earliest deadline.
    pub(super) fn watch(&self, waker: Waker) {
        *self.driver.borrow_mut() = Some(waker);
    }
}
