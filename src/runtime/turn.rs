//! What a core looks at in every turn of its loop, and what it does when it has nothing else to do.

use std::future::poll_fn;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::context::{self, Backend, random_u64};
use super::task::{QueueClass, give_way, spawn};

/// Something that brings work without the kernel's help, such as the rings between cores.
///
/// Lives on its core. None of its functions may wait.
pub trait TurnSource {
    /// Does what has arrived, for at most about half a millisecond; whether there was anything.
    fn turn(&mut self) -> bool;

    /// Whether to be asked again at once although there was nothing: something is expected any moment.
    fn lingers(&mut self) -> bool;

    /// From now on whoever brings work wakes the waker. False: there is work already.
    fn fall_asleep(&mut self, waker: &Waker) -> bool;

    /// Ends [`fall_asleep`](Self::fall_asleep), whatever it answered.
    fn wake_up(&mut self);
}

/// How many turns a simulated core may take until it counts as idle.
const SIM_IDLE_TURNS_MAX: u64 = 4;

/// What the current core has done with its time since it started. A simulated core has no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreTimes {
    /// Nanoseconds it was not parked.
    pub busy_nanos: u64,
    /// Nanoseconds it was parked.
    pub parked_nanos: u64,
    /// Times it parked.
    pub parks: u64,
    /// Polls of tasks.
    pub polls: u64,
    /// Turns of its loop that took too long.
    pub stalls: u64,
    /// Nanoseconds of the longest turn.
    pub stall_nanos_max: u64,
    /// What its own io_uring has done.
    pub ring: RingCounts,
}

/// What a core's own io_uring has done since it was set up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingCounts {
    /// Requests put in.
    pub submissions: u64,
    /// Requests answered.
    pub completions: u64,
    /// System calls.
    pub enters: u64,
    /// Requests not yet answered.
    pub in_flight: u64,
}

/// The times of the current core.
pub fn core_times() -> Option<CoreTimes> {
    context::with_backend(|backend| match backend {
        Backend::Glommio(core) => Some(core.times()),
        Backend::Sim(_) => None,
    })
}

/// Gives `source` its turns on the current core, for as long as the core runs.
pub fn every_turn(mut source: impl TurnSource + 'static) {
    let backend = context::with_backend(Backend::clone);
    match backend {
        Backend::Glommio(core) => core.every_turn(Box::new(source)),
        Backend::Sim(_) => spawn(QueueClass::Interactive, async move {
            loop {
                if source.turn() || source.lingers() {
                    give_way().await;
                } else {
                    sleep(&mut source).await;
                }
            }
        }),
    }
}

/// Waits until the current core is about to park because nothing else is ready, but not much longer than `patience`.
///
/// A simulated core has no such moment: there it is a few turns, so that every order comes up.
pub async fn until_idle(patience: Duration) {
    let backend = context::with_backend(Backend::clone);
    match backend {
        Backend::Glommio(core) => core.until_idle(patience).await,
        Backend::Sim(_) => {
            for _ in 0..random_u64() % SIM_IDLE_TURNS_MAX {
                give_way().await;
            }
        }
    }
}

async fn sleep(source: &mut impl TurnSource) {
    let mut asleep = false;
    poll_fn(|cx| {
        if !asleep && source.fall_asleep(cx.waker()) {
            asleep = true;
            return Poll::Pending;
        }
        source.wake_up();
        Poll::Ready(())
    })
    .await;
}
