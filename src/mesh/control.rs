//! The way in for threads that are not cores: the control plane asks a core and awaits, or blocks for, the reply. Rare, so
//! locks do.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crate::base::CoreId;

use super::MeshError;
use super::fabric::Signals;

/// Requests a core may have waiting from the control plane.
const CONTROL_QUEUE_MAX: usize = 256;

/// A request of the control plane on its way to a core.
pub(super) struct ControlRequest<Q, R> {
    pub(super) request: Q,
    pub(super) slot: Arc<ControlSlot<R>>,
}

struct ControlState<R> {
    reply: Option<Result<R, MeshError>>,
    waker: Option<Waker>,
}

/// Where a control reply arrives.
pub(super) struct ControlSlot<R> {
    state: Mutex<ControlState<R>>,
    arrived: Condvar,
}

impl<R> ControlSlot<R> {
    fn lock(&self) -> MutexGuard<'_, ControlState<R>> {
        self.state.lock().expect("nothing panics while holding a control slot")
    }

    pub(super) fn fill(&self, reply: Result<R, MeshError>) {
        let waker = {
            let mut state = self.lock();
            assert!(state.reply.is_none(), "a control request is answered once");
            state.reply = Some(reply);
            state.waker.take()
        };
        self.arrived.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// Why the control plane has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlError {
    /// The core has too many control requests waiting.
    Busy,
    /// No reply within the time given.
    TimedOut,
    /// The core gave the request up.
    Abandoned,
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ControlError::Busy => "the core has too many control requests waiting",
            ControlError::TimedOut => "the core did not answer in time",
            ControlError::Abandoned => "the core gave up on the request without answering it",
        })
    }
}

impl std::error::Error for ControlError {}

/// Sends requests to cores from any thread.
pub struct ControlHandle<Q, R> {
    signals: Signals<Q, R>,
}

impl<Q, R> Clone for ControlHandle<Q, R> {
    fn clone(&self) -> Self {
        Self { signals: Arc::clone(&self.signals) }
    }
}

impl<Q: Send, R: Send> ControlHandle<Q, R> {
    pub(super) fn new(signals: Signals<Q, R>) -> Self {
        Self { signals }
    }

    /// How many cores there are.
    pub fn core_count(&self) -> usize {
        self.signals.len()
    }

    /// Sends a request; the reply is awaited or waited for. Refused if the core has too many waiting.
    pub fn submit(&self, core: CoreId, request: Q) -> Result<ControlReply<R>, ControlError> {
        let state = Mutex::new(ControlState { reply: None, waker: None });
        let slot = Arc::new(ControlSlot { state, arrived: Condvar::new() });
        let signal = &self.signals[core.index()];
        {
            let mut queue = signal.control.lock().expect("nothing panics while holding the control queue");
            if queue.len() >= CONTROL_QUEUE_MAX {
                return Err(ControlError::Busy);
            }
            queue.push_back(ControlRequest { request, slot: Arc::clone(&slot) });
            signal.control_len.store(queue.len(), Ordering::Relaxed);
        }
        signal.wake_if_parked();
        Ok(ControlReply { slot })
    }

    /// Makes a core run its pass hooks soon.
    pub fn nudge(&self, core: CoreId) {
        let signal = &self.signals[core.index()];
        signal.nudged.store(true, Ordering::Release);
        signal.wake_if_parked();
    }
}

/// The reply of a control request: await it (in any executor), or [`wait`](Self::wait) for it.
pub struct ControlReply<R> {
    slot: Arc<ControlSlot<R>>,
}

impl<R> ControlReply<R> {
    /// Blocks this thread until the reply comes, at most `limit`. Not on a core.
    pub fn wait(self, limit: Duration) -> Result<R, ControlError> {
        assert!(crate::runtime::try_current_core().is_none(), "a core never blocks");
        let deadline = Instant::now() + limit;
        let mut state = self.slot.lock();
        loop {
            if let Some(reply) = state.reply.take() {
                return reply.map_err(|MeshError::Abandoned| ControlError::Abandoned);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ControlError::TimedOut);
            }
            state = self.slot.arrived.wait_timeout(state, left).expect("nothing panics while holding a control slot").0;
        }
    }
}

impl<R> Future for ControlReply<R> {
    type Output = Result<R, ControlError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.slot.lock();
        match state.reply.take() {
            Some(reply) => Poll::Ready(reply.map_err(|MeshError::Abandoned| ControlError::Abandoned)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
