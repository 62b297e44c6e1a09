//! The core's loop within glommio's loop: the core's ring and whatever else wants to be looked at in every turn.
//!
//! While there is something to do, the driver gives way to the tasks it has woken and looks again, and glommio's reactor gets its
//! turn every [`REACTOR_INTERVAL`]. When there is nothing to do, every source promises to wake it, and it waits:
//!
//! - first by letting other threads have the CPU for a moment and looking again (it *lingers*), because the answer of a client on the
//!   same machine is often a few microseconds away, and falling asleep and being woken takes longer;
//! - then for a short while in the ring itself, which is one system call, because what a busy core waits for (a flush,
//!   another core, the next statement) comes soon: a *nap*. It stops the whole thread, so no task may be ready then;
//! - then in glommio's reactor like any task, which takes several system calls and a memory barrier on all of the machine's CPUs.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use glommio::io::PollState;

use super::GlommioCore;
use super::ring::Ring;
use crate::runtime::context;
use crate::runtime::sync::WaitQueue;
use crate::runtime::task::QueueClass;
use crate::runtime::time::{MonoTime, now};
use crate::runtime::turn::TurnSource;

/// How long a busy driver keeps the reactor, and with it timers, accepted connections and ordinary files, waiting.
const REACTOR_INTERVAL: Duration = Duration::from_millis(1);

/// A turn that takes longer than this has kept everybody else on the core waiting: it counts as a stall.
const STALL_MIN: Duration = Duration::from_millis(2);

/// How long the driver lingers. Longer does worse: the CPU belongs to the clients then, and a core that sleeps is put back at once
/// when its work arrives, while one that has only given way waits for its turn.
const LINGER_MAX: Duration = Duration::from_micros(20);

/// The longest nap. New connections wait that long; nothing else waits in the reactor meanwhile.
const NAP_MAX: Duration = Duration::from_micros(500);
/// A nap shorter than this is not worth its system call.
const NAP_MIN: Duration = Duration::from_micros(30);

/// Every wait for the ring's event leaves a waker with glommio until the event; after this many the wait is registered anew, so that
/// a driver that is woken by other things does not gather them.
const WAITS_PER_REGISTRATION_MAX: u32 = 32;

/// What a driver looks at besides the ring.
#[derive(Default)]
pub(super) struct Sources {
    running: RefCell<Vec<Box<dyn TurnSource>>>,
    /// Added since the last turn: a source may add another.
    added: RefCell<Vec<Box<dyn TurnSource>>>,
}

impl Sources {
    pub(super) fn add(&self, source: Box<dyn TurnSource>) {
        self.added.borrow_mut().push(source);
    }

    fn turn(&self) -> bool {
        let mut running = self.running.borrow_mut();
        running.append(&mut self.added.borrow_mut());
        // All of them, whatever the first says.
        running.iter_mut().fold(false, |worked, source| source.turn() | worked)
    }

    fn lingers(&self) -> bool {
        self.running.borrow_mut().iter_mut().any(|source| source.lingers())
    }

    /// Whether all of them have promised to wake the waker.
    fn fall_asleep(&self, waker: &Waker) -> bool {
        self.added.borrow().is_empty() && self.running.borrow_mut().iter_mut().all(|source| source.fall_asleep(waker))
    }

    fn wake_up(&self) {
        for source in self.running.borrow_mut().iter_mut() {
            source.wake_up();
        }
    }
}

/// Tasks that wait for the moment before the core parks.
#[derive(Default)]
pub(super) struct Idle {
    waits: WaitQueue,
    /// When the most impatient of them wants to go on in any case.
    deadline: Cell<Option<MonoTime>>,
}

impl Idle {
    pub(super) async fn wait(&self, patience: Duration) {
        let deadline = now() + patience;
        self.deadline.set(Some(self.deadline.get().map_or(deadline, |earliest| earliest.min(deadline))));
        self.waits.wait().await;
    }

    /// Whether a task has waited long enough.
    fn is_due(&self) -> bool {
        self.deadline.get().is_some_and(|deadline| now() >= deadline)
    }

    /// Ends all waits; whether there were any.
    fn end(&self) -> bool {
        let waited_for = self.deadline.take().is_some();
        if waited_for {
            self.waits.wake_all();
        }
        waited_for
    }
}

/// Runs the driver, forever.
pub(super) async fn run(core: Rc<GlommioCore>) {
    let mut driver = Driver::new(core);
    loop {
        if driver.turn() {
            driver.give_way(now()).await;
        } else if driver.tasks_run().await {
            // They may have woken others, and asked the ring for something.
        } else if driver.core.idle.end() {
            // Now they are ready.
        } else if !(driver.may_wait_here() && (driver.linger() || driver.nap())) {
            driver.sleep().await;
        }
    }
}

struct Driver {
    core: Rc<GlommioCore>,
    /// When the reactor had its last turn.
    reactor_turn: MonoTime,
    /// When the driver last gave way, or woke up.
    turn_began: MonoTime,
    /// For the ring's event.
    wait: Wait,
    /// One in each of the other classes.
    probes: [Rc<Probe>; 2],
}

impl Driver {
    fn new(core: Rc<GlommioCore>) -> Self {
        let probes = [QueueClass::Log, QueueClass::Background].map(|class| Probe::start(&core, class));
        Self { core, reactor_turn: now(), turn_began: now(), wait: Wait::default(), probes }
    }

    /// One look at everything; whether there was something to do, or is expected any moment.
    fn turn(&self) -> bool {
        context::begin_slice();
        let mut worked = self.core.sources.turn() | self.core.ring.turn();
        if self.core.idle.is_due() {
            worked |= self.core.idle.end();
        }
        worked || self.core.sources.lingers()
    }

    /// Lets the other tasks run, and the reactor if it is its turn.
    async fn give_way(&mut self, now: MonoTime) {
        let turn = now.since(self.turn_began);
        self.turn_began = now;
        context::begin_turn(now);
        if turn >= STALL_MIN {
            let nanos = u64::try_from(turn.as_nanos()).unwrap_or(u64::MAX);
            self.core.count(|times| {
                times.stalls += 1;
                times.stall_nanos_max = times.stall_nanos_max.max(nanos);
            });
        }
        if now.since(self.reactor_turn) >= REACTOR_INTERVAL {
            self.core.pass_reactor().await;
            self.reactor_turn = self.turn_began;
        } else {
            // Other classes get their share; then the tasks that were ready before this one.
            glommio::executor().yield_task_queue_now().await;
        }
    }

    /// Lets the other tasks run; whether any did, or may be ready now.
    async fn tasks_run(&mut self) -> bool {
        let now = now();
        if now.since(self.reactor_turn) >= REACTOR_INTERVAL {
            self.give_way(now).await;
            return true;
        }
        self.probes.iter().for_each(|probe| probe.ask());
        let before = context::polls();
        self.give_way(now).await;
        context::polls() != before
    }

    /// Whether the thread may wait outside of the reactor, after [`tasks_run`](Self::tasks_run) has said no: nobody needs it, and
    /// every class has had its turn. One that has not has something to run, and glommio's own order of the classes decides.
    fn may_wait_here(&self) -> bool {
        let core = &self.core;
        core.naps && core.reactor_waits.get() == 0 && self.probes.iter().all(|probe| probe.has_answered())
    }

    /// Gives the CPU to others for a moment. Whether there is something to do.
    ///
    /// If [`may_wait_here`](Self::may_wait_here).
    fn linger(&self) -> bool {
        let began = now();
        loop {
            std::thread::yield_now();
            if self.turn() {
                return true;
            }
            if now().since(began) >= LINGER_MAX {
                return false;
            }
        }
    }

    /// Waits for a short while without the reactor. Whether there is something to do.
    ///
    /// If [`may_wait_here`](Self::may_wait_here).
    fn nap(&mut self) -> bool {
        let core = &self.core;
        let began = now();
        let time = core.timers.next_deadline().map_or(NAP_MAX, |deadline| deadline.since(began).min(NAP_MAX));
        if time < NAP_MIN {
            return false;
        }
        let woken = !core.sources.fall_asleep(&core.ring.bell()) || core.ring.nap(time);
        core.sources.wake_up();
        self.was_parked(began);
        woken
    }

    /// The core has been parked until now.
    fn was_parked(&mut self, since: MonoTime) {
        self.turn_began = now();
        let nanos = u64::try_from(self.turn_began.since(since).as_nanos()).unwrap_or(u64::MAX);
        self.core.count(|times| {
            times.parks += 1;
            times.parked_nanos += nanos;
        });
    }

    async fn sleep(&mut self) {
        let began = now();
        let Self { core, wait, .. } = self;
        let mut asleep = false;
        poll_fn(|cx| {
            if !asleep {
                asleep = core.ring.fall_asleep(cx.waker()) && core.sources.fall_asleep(cx.waker()) && !wait.poll(&core.ring, cx);
                if asleep {
                    return Poll::Pending;
                }
            } else {
                // Woken by somebody who brings work, or by accident. Taking the event now saves the next sleep from it.
                wait.poll(&core.ring, cx);
            }
            core.sources.wake_up();
            core.ring.wake_up();
            Poll::Ready(())
        })
        .await;
        self.was_parked(began);
        self.reactor_turn = self.turn_began;
    }
}

/// The wait for the ring's event; it outlives the sleep that began it if something else ended that.
#[derive(Default)]
struct Wait {
    state: PollState,
    polls: u32,
}

impl Wait {
    /// Whether the event has come, which is then taken.
    fn poll(&mut self, ring: &Ring, cx: &mut Context<'_>) -> bool {
        if self.polls >= WAITS_PER_REGISTRATION_MAX {
            *self = Self::default();
        }
        self.polls += 1;
        let came = ring.poll_event(cx, &mut self.state).is_ready();
        if came {
            *self = Self::default();
        }
        came
    }
}

/// A task that tells whether its class has run everything that was ready: queues are first in, first out.
#[derive(Default)]
struct Probe {
    asked: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Probe {
    fn start(core: &GlommioCore, class: QueueClass) -> Rc<Self> {
        let probe = Rc::new(Self::default());
        let answering = Rc::clone(&probe);
        core.spawn(
            class,
            poll_fn(move |cx| {
                answering.asked.set(false);
                *answering.waker.borrow_mut() = Some(cx.waker().clone());
                Poll::Pending
            }),
        );
        probe
    }

    fn ask(&self) {
        self.asked.set(true);
        let waker = self.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn has_answered(&self) -> bool {
        !self.asked.get()
    }
}
