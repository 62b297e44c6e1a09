//! A core on a pinned glommio executor.
//!
//! What is not obvious about glommio 0.12, and shapes this module (all from its source):
//!
//! - Its loop runs the task queues until they are empty and looks at the kernel only then, or when the preemption timer
//!   (100 ms) fires. A task that wakes itself keeps sockets and files waiting that long. So a yield here waits for a pipe
//!   that is always readable: it is answered in the next turn of the reactor, after everything else that is ready.
//! - If the preemption timer fires between being armed and the first look at the queues (a descheduled thread is enough),
//!   the loop believes that nothing is runnable and sleeps. A short preemption timer makes that likely, which is what hangs
//!   queues with `Latency::Matters`. With the default of 100 ms it takes a 100 ms stall at one point of the loop; the timer
//!   driver's heartbeat ([`HEARTBEAT`]) ends such a sleep in any case.
//! - It makes several system calls a turn, and one turn for each socket that becomes readable is common. So sockets and the log
//!   have a ring of their own ([`ring`]), which a task drives ([`driver`]); glommio's reactor keeps what is rare.
//! - Its timers are walked on every turn and registered anew on every poll, so a core has exactly one of them, which drives
//!   the core's own timer map.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{PipeReader, Write};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use glommio::io::PollableFd;
use glommio::timer::Timer;
use glommio::{Latency, Shares, TaskQueueHandle};

use super::context::{self, SplitMix64};
use super::task::QueueClass;
use super::time::{MonoTime, TimerQueue, nanos_since, now};
use super::turn::{CoreTimes, TurnSource};
use driver::{Idle, Sources};
use ring::Ring;

mod driver;
pub(super) mod file;
pub(super) mod net;
mod ring;
pub(super) mod start;

/// The longest a core sleeps, so that a turn of glommio's loop that went wrong cannot become a hang.
const HEARTBEAT: Duration = Duration::from_millis(50);

/// One core of the server on a glommio executor. Lives on its executor's thread.
pub(in crate::runtime) struct GlommioCore {
    queues: [TaskQueueHandle; 3],
    timers: Rc<TimerQueue>,
    random: SplitMix64,
    /// A pipe with a byte in it, never read: readable in every turn of the reactor.
    always_ready: PollableFd<PipeReader>,
    ring: Rc<Ring>,
    sources: Sources,
    idle: Idle,
    /// Whether an idle core first waits in its own ring.
    naps: bool,
    /// Tasks that wait for glommio's reactor now.
    reactor_waits: Cell<u32>,
    started: MonoTime,
    /// What the driver counts: all but the time not parked and the polls.
    times: Cell<CoreTimes>,
}

/// Counts a task that waits for the reactor.
struct ReactorWait<'a>(&'a Cell<u32>);

impl<'a> ReactorWait<'a> {
    fn new(waits: &'a Cell<u32>) -> Self {
        waits.set(waits.get() + 1);
        Self(waits)
    }
}

impl Drop for ReactorWait<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl GlommioCore {
    /// Sets up the current executor: task queues, timers.
    fn new(naps: bool) -> std::io::Result<Rc<Self>> {
        let executor = glommio::executor();
        let queue = |shares, name| executor.create_task_queue(Shares::Static(shares), Latency::NotImportant, name);
        let (reader, mut writer) = std::io::pipe()?;
        writer.write_all(&[1])?;
        Ok(Rc::new(Self {
            queues: [queue(1000, "interactive"), queue(1000, "log"), queue(100, "background")],
            timers: Rc::new(TimerQueue::default()),
            random: SplitMix64::new(RandomState::new().build_hasher().finish()),
            always_ready: PollableFd::new(reader)?,
            ring: Ring::new()?,
            sources: Sources::default(),
            idle: Idle::default(),
            naps,
            reactor_waits: Cell::new(0),
            started: now(),
            times: Cell::default(),
        }))
    }

    /// Starts a task that runs by itself.
    pub(in crate::runtime) fn spawn(&self, class: QueueClass, future: impl Future<Output = ()> + 'static) {
        let queue = self.queues[class as usize];
        let task = glommio::spawn_local_into(future, queue).expect("the core's task queues are never removed");
        task.detach();
    }

    /// Starts what runs on every core.
    fn start(self: &Rc<Self>) {
        self.spawn(QueueClass::Interactive, Rc::clone(self).drive_timers());
        self.spawn(QueueClass::Interactive, driver::run(Rc::clone(self)));
    }

    /// Gives `source` a turn whenever the core's ring gets one.
    pub(in crate::runtime) fn every_turn(&self, source: Box<dyn TurnSource>) {
        self.sources.add(source);
        self.ring.wake_sleeper();
    }

    /// Waits until the driver finds nothing to do, or until a turn of it after `patience`.
    pub(in crate::runtime) async fn until_idle(&self, patience: Duration) {
        // A driver that sleeps has to come by once more.
        self.ring.wake_sleeper();
        self.idle.wait(patience).await;
    }

    /// The ring of this core.
    fn ring(&self) -> &Rc<Ring> {
        &self.ring
    }

    /// The timers of this core.
    pub(in crate::runtime) fn timers(&self) -> &Rc<TimerQueue> {
        &self.timers
    }

    /// A random number.
    pub(in crate::runtime) fn random_u64(&self) -> u64 {
        self.random.next()
    }

    /// What the core has done with its time.
    pub(in crate::runtime) fn times(&self) -> CoreTimes {
        let times = self.times.get();
        let busy_nanos = nanos_since(self.started).saturating_sub(times.parked_nanos);
        CoreTimes { busy_nanos, polls: context::polls(), ring: self.ring.counts(), ..times }
    }

    fn count(&self, change: impl FnOnce(&mut CoreTimes)) {
        let mut times = self.times.get();
        change(&mut times);
        self.times.set(times);
    }

    /// Awaits something that glommio's reactor brings, so that the core looks there.
    ///
    /// Everything but new connections goes through here: what does not comes up to a nap late.
    pub(in crate::runtime) async fn in_reactor<T>(&self, future: impl Future<Output = T>) -> T {
        let _counted = ReactorWait::new(&self.reactor_waits);
        future.await
    }

    /// Waits for one turn of the reactor.
    pub(in crate::runtime) async fn pass_reactor(&self) {
        let turn = self.in_reactor(self.always_ready.readable());
        turn.await.expect("polling a pipe of this process cannot fail");
    }

    /// Runs a blocking function on the executor's helper thread.
    pub(in crate::runtime) async fn run_blocking<T: Send + 'static>(&self, function: impl FnOnce() -> T + Send + 'static) -> T {
        self.in_reactor(glommio::executor().spawn_blocking(function)).await
    }

    /// Fires the core's timers, forever.
    async fn drive_timers(self: Rc<Self>) {
        let due = RefCell::new(Vec::new());
        loop {
            let now = now();
            while let Some(waker) = self.timers.pop_due(now) {
                due.borrow_mut().push(waker);
            }
            // Woken outside the map's borrow: a woken task may be polled at once and set a timer.
            for waker in due.borrow_mut().drain(..) {
                waker.wake();
            }
            let deadline = self.timers.next_deadline();
            let wait = deadline.map_or(HEARTBEAT, |deadline| deadline.since(now).min(HEARTBEAT));
            let mut timer = pin!(Timer::new(wait));
            let mut registered = false;
            poll_fn(|cx| {
                context::begin_slice();
                if registered {
                    // Either the timer fired or an earlier deadline appeared: look again.
                    return Poll::Ready(());
                }
                registered = true;
                self.timers.watch(cx.waker().clone());
                timer.as_mut().poll(cx).map(drop)
            })
            .await;
        }
    }
}
