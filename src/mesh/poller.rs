//! The receiving side: one task a core that drains every inbound ring.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use crate::base::CoreId;
use crate::runtime::{MonoTime, QueueClass, catch_panic, give_way, now, should_yield, spawn, yield_now};

use super::control::{ControlRequest, ControlSlot};
use super::endpoint::{Inner, Mesh};
use super::fabric::{ReplyMessage, RequestMessage};
use super::{MeshError, Origin};

/// After how many requests the poller looks at the clock.
const REQUESTS_PER_CLOCK: u32 = 16;
/// After how many busy passes the poller lets the reactor look at sockets and files.
const PASSES_PER_YIELD: u32 = 4;

/// What one pass over the rings found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Nothing.
    Idle,
    /// Messages, all handled.
    Worked,
    /// Messages, and the time slice is used up.
    TimeUp,
}

enum Route {
    /// A reply with a slot reserved in the reply ring.
    Core {
        peer: usize,
        slot: u32,
    },
    /// A deferred reply: a one-way message back.
    Late {
        peer: usize,
        slot: u32,
    },
    Control,
    OneWay,
}

/// Where a reply goes. Dropping it unused answers [`MeshError::Abandoned`].
pub struct Replier<Q, R> {
    inner: Rc<Inner<Q, R>>,
    route: Option<Route>,
    control: Option<Arc<ControlSlot<R>>>,
}

impl<Q, R> Replier<Q, R> {
    /// Sends the reply; a one-way message's is thrown away.
    pub fn reply(mut self, reply: R) {
        match self.route.take().expect("a replier is used once") {
            Route::Core { peer, slot } => self.inner.push_reply(peer, ReplyMessage::Reply { slot, reply }),
            Route::Late { peer, slot } => self.inner.send_late_reply(peer, slot, Ok(reply)),
            Route::Control => self.control.take().expect("control routes have their slot").fill(Ok(reply)),
            Route::OneWay => {}
        }
    }

    /// Gives the caller its credit back now, though the reply will take a while.
    ///
    /// For every request that waits for something that itself may need the mesh: a row lock whose holder commits through
    /// this core, a call to another core. Without it, as many waiting requests as there are credits would keep out the very
    /// message they wait for. Costs one more message; nothing if deferred already.
    #[must_use]
    pub fn defer(mut self) -> Self {
        if let Some(Route::Core { peer, slot }) = self.route {
            self.route = Some(Route::Late { peer, slot });
            self.inner.push_reply(peer, ReplyMessage::Deferred);
        }
        self
    }

    /// Whether nobody awaits a reply.
    pub fn is_one_way(&self) -> bool {
        matches!(self.route, Some(Route::OneWay))
    }
}

impl<Q, R> Drop for Replier<Q, R> {
    fn drop(&mut self) {
        match self.route.take() {
            None | Some(Route::OneWay) => {}
            Some(Route::Core { peer, slot }) => self.inner.push_reply(peer, ReplyMessage::Abandoned { slot }),
            Some(Route::Late { peer, slot }) => self.inner.send_late_reply(peer, slot, Err(MeshError::Abandoned)),
            Some(Route::Control) => {
                self.control.take().expect("control routes have their slot").fill(Err(MeshError::Abandoned));
            }
        }
    }
}

impl<Q: 'static, R: 'static> Mesh<Q, R> {
    /// Starts this core's poller with the handler of all its requests. Once a core; without it, calls of this core are
    /// never answered either.
    ///
    /// The handler answers at once (the fast path: nothing is allocated), or moves the replier into a task it spawns. It
    /// must not run long: it holds up every message to this core.
    pub fn serve(&self, handler: impl FnMut(Origin, Q, Replier<Q, R>) + 'static) {
        assert!(!self.inner.serving.replace(true), "a core has one poller");
        let poller = Poller { inner: Rc::clone(&self.inner), handler, first_peer: 0 };
        spawn(QueueClass::Interactive, poller.run());
    }
}

struct Poller<Q, R, H> {
    inner: Rc<Inner<Q, R>>,
    handler: H,
    /// Where the next pass starts, so that no peer is always last.
    first_peer: usize,
}

impl<Q: 'static, R: 'static, H: FnMut(Origin, Q, Replier<Q, R>) + 'static> Poller<Q, R, H> {
    async fn run(mut self) {
        let mut busy_passes = 0;
        let mut idle_since = None;
        loop {
            match self.pass() {
                Pass::Idle => {
                    busy_passes = 0;
                    if self.may_linger(&mut idle_since) {
                        give_way().await;
                    } else {
                        idle_since = None;
                        self.park().await;
                    }
                    continue;
                }
                Pass::Worked => busy_passes += 1,
                Pass::TimeUp => busy_passes = PASSES_PER_YIELD,
            }
            idle_since = None;
            if busy_passes >= PASSES_PER_YIELD {
                busy_passes = 0;
                yield_now().await;
            }
        }
    }

    /// Whether to look again before parking: see [`MeshConfig::linger`](super::MeshConfig::linger).
    fn may_linger(&self, idle_since: &mut Option<MonoTime>) -> bool {
        if self.inner.config.linger.is_zero() || !self.inner.awaits_replies() {
            return false;
        }
        let now = now();
        now.since(*idle_since.get_or_insert(now)) < self.inner.config.linger
    }

    /// Sleeps until somebody brings work.
    async fn park(&self) {
        let mut parked = false;
        poll_fn(|cx| {
            let signal = self.inner.signal();
            if parked {
                // Woken, by a producer or by accident: look at the rings in any case.
                signal.unpark();
                return Poll::Ready(());
            }
            signal.waker.register(cx.waker());
            signal.park();
            if self.has_work() {
                signal.unpark();
                return Poll::Ready(());
            }
            self.inner.count(|stats| stats.parks += 1);
            parked = true;
            Poll::Pending
        })
        .await;
    }

    fn has_work(&self) -> bool {
        self.inner.signal().has_work()
            || self.inner.peers.iter().any(|peer| !peer.requests_in.borrow().is_empty() || !peer.replies_in.borrow().is_empty())
    }

    /// Looks at every ring once.
    fn pass(&mut self) -> Pass {
        let nudged = self.inner.signal().nudged.swap(false, Ordering::AcqRel);
        let replies = self.drain_replies();
        let (requests, time_up) = self.drain_requests();
        let control = self.drain_control();
        for hook in self.inner.hooks.borrow_mut().iter_mut() {
            // A hook that panics is reported, and must not take the core's poller with it.
            catch_panic(QueueClass::Interactive, hook);
        }
        match (nudged || replies || requests || control, time_up) {
            (_, true) => Pass::TimeUp,
            (true, false) => Pass::Worked,
            (false, false) => Pass::Idle,
        }
    }

    fn drain_replies(&self) -> bool {
        let mut worked = false;
        for (peer, link) in self.inner.peers.iter().enumerate() {
            // As many as were there at first: bounded, whatever the peer adds meanwhile.
            let waiting = link.replies_in.borrow().slots();
            for _ in 0..waiting {
                let message = link.replies_in.borrow_mut().pop().expect("only this task takes from the ring");
                self.inner.accept_reply(peer, message);
            }
            worked |= waiting > 0;
        }
        worked
    }

    fn drain_requests(&mut self) -> (bool, bool) {
        let peers = self.inner.peers.len();
        let first = self.first_peer;
        self.first_peer = (first + 1) % peers;
        let (mut worked, mut handled, mut time_up) = (false, 0, false);
        for turn in 0..peers {
            let peer = (first + turn) % peers;
            let waiting = self.inner.peers[peer].requests_in.borrow().slots();
            if waiting == 0 {
                continue;
            }
            worked = true;
            self.inner.count(|stats| stats.queue_depth_max = stats.queue_depth_max.max(waiting as u64));
            for _ in 0..waiting {
                self.handle_next(peer);
                handled += 1;
                if handled % REQUESTS_PER_CLOCK == 0 && should_yield() {
                    time_up = true;
                    break;
                }
            }
            self.return_send_credits(peer);
            if time_up {
                break;
            }
        }
        (worked, time_up)
    }

    fn handle_next(&mut self, peer: usize) {
        let link = &self.inner.peers[peer];
        let message = link.requests_in.borrow_mut().pop().expect("only this task takes from the ring");
        let (request, route) = match message {
            RequestMessage::Call { slot, request } => (request, Route::Core { peer, slot }),
            RequestMessage::Send(request) => {
                link.handled_sends.set(link.handled_sends.get() + 1);
                (request, Route::OneWay)
            }
            RequestMessage::LateReply { slot, reply } => {
                link.handled_sends.set(link.handled_sends.get() + 1);
                self.inner.accept_late_reply(peer, slot, reply);
                return;
            }
        };
        let from = CoreId(u16::try_from(peer).expect("cores fit CoreId"));
        let replier = Replier { inner: Rc::clone(&self.inner), route: Some(route), control: None };
        self.handle(Origin::Core(from), request, replier);
    }

    fn handle(&mut self, from: Origin, request: Q, replier: Replier<Q, R>) {
        self.inner.count(|stats| stats.handled += 1);
        // A panic has dropped the replier, which answers the caller; it is counted and reported.
        let _reported = catch_panic(QueueClass::Interactive, || (self.handler)(from, request, replier));
    }

    /// Gives the peer back the credits of its one-way messages, in one message.
    fn return_send_credits(&self, peer: usize) {
        let handled = self.inner.peers[peer].handled_sends.take();
        if handled > 0 {
            self.inner.push_reply(peer, ReplyMessage::Handled(handled));
        }
    }

    fn drain_control(&mut self) -> bool {
        let signal = self.inner.signal();
        if signal.control_len.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let requests = {
            let mut queue = signal.control.lock().expect("nothing panics while holding the control queue");
            signal.control_len.store(0, Ordering::Relaxed);
            std::mem::take(&mut *queue)
        };
        let worked = !requests.is_empty();
        for ControlRequest { request, slot } in requests {
            let replier = Replier { inner: Rc::clone(&self.inner), route: Some(Route::Control), control: Some(slot) };
            self.handle(Origin::Control, request, replier);
        }
        worked
    }
}
