//! The core's loop within glommio's loop: the core's ring and whatever else wants to be looked at in every turn.
//!
//! While there is something to do, the driver gives way to the tasks it has woken and looks again, and glommio's reactor gets its
//! turn every [`REACTOR_INTERVAL`]. When there is nothing to do, it sleeps in glommio's reactor like any task, after every
//! source has promised to wake it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use glommio::io::PollState;

use super::GlommioCore;
use super::ring::Ring;
use crate::runtime::context;
use crate::runtime::time::now;
use crate::runtime::turn::TurnSource;

/// How long a busy driver keeps the reactor, and with it timers, accepted connections and ordinary files, waiting.
const REACTOR_INTERVAL: Duration = Duration::from_millis(1);

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
}

/// Runs the driver, forever.
pub(super) async fn run(core: Rc<GlommioCore>) {
    let mut reactor_turn = now();
    let mut wait = Wait::default();
    loop {
        context::begin_slice();
        let worked = core.sources.turn() | core.ring.turn();
        if !worked && !core.sources.lingers() {
            core.sleep(&mut wait).await;
            reactor_turn = now();
        } else if now().since(reactor_turn) < REACTOR_INTERVAL {
            // Other classes get their share; then the tasks that were ready before this one.
            glommio::executor().yield_task_queue_now().await;
        } else {
            core.pass_reactor().await;
            reactor_turn = now();
        }
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

impl GlommioCore {
    async fn sleep(&self, wait: &mut Wait) {
        let mut asleep = false;
        poll_fn(|cx| {
            let mut running = self.sources.running.borrow_mut();
            if !asleep {
                asleep = self.sources.added.borrow().is_empty()
                    && self.ring.fall_asleep(cx.waker())
                    && running.iter_mut().all(|source| source.fall_asleep(cx.waker()))
                    && !wait.poll(&self.ring, cx);
                if asleep {
                    return Poll::Pending;
                }
            } else {
                // Woken by somebody who brings work, or by accident. Taking the event now saves the next sleep from it.
                wait.poll(&self.ring, cx);
            }
            for source in running.iter_mut() {
                source.wake_up();
            }
            self.ring.wake_up();
            Poll::Ready(())
        })
        .await;
    }
}
