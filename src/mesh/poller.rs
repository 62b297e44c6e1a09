//! The receiving side: drains every inbound ring of a core, in every turn of the core's loop.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use crate::base::CoreId;
use crate::runtime::{MonoTime, QueueClass, TurnSource, catch_panic, every_turn, now, should_yield};

use super::control::{ControlRequest, ControlSlot};
use super::endpoint::{Inner, Mesh};
use super::fabric::{ReplyMessage, RequestMessage};
use super::{MeshError, Origin};

/// After how many requests the poller looks at the clock.
const REQUESTS_PER_CLOCK: u32 = 16;
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
        every_turn(Poller { inner: Rc::clone(&self.inner), handler, idle_since: None, first_peer: 0 });
    }
}

struct Poller<Q, R, H> {
    inner: Rc<Inner<Q, R>>,
    handler: H,
    idle_since: Option<MonoTime>,
    /// Where the next pass starts, so that no peer is always last.
    first_peer: usize,
}

impl<Q: 'static, R: 'static, H: FnMut(Origin, Q, Replier<Q, R>) + 'static> TurnSource for Poller<Q, R, H> {
    /// Looks at every ring once.
    fn turn(&mut self) -> bool {
        let nudged = self.inner.signal().nudged.swap(false, Ordering::AcqRel);
        let replies = self.drain_replies();
        let requests = self.drain_requests();
        let control = self.drain_control();
        for hook in self.inner.hooks.borrow_mut().iter_mut() {
            // A hook that panics is reported, and must not take the core's loop with it.
            catch_panic(QueueClass::Interactive, hook);
        }
        let worked = nudged || replies || requests || control;
        if worked {
            self.idle_since = None;
        }
        worked
    }

    /// See [`MeshConfig::linger`](super::MeshConfig::linger).
    fn lingers(&mut self) -> bool {
        if self.inner.config.linger.is_zero() || !self.inner.awaits_replies() {
            return false;
        }
        let now = now();
        now.since(*self.idle_since.get_or_insert(now)) < self.inner.config.linger
    }

    fn fall_asleep(&mut self, waker: &Waker) -> bool {
        self.idle_since = None;
        let signal = self.inner.signal();
        signal.waker.register(waker);
        signal.park();
        let quiet = !self.has_work();
        if quiet {
            self.inner.count(|stats| stats.parks += 1);
        }
        quiet
    }

    fn wake_up(&mut self) {
        self.inner.signal().unpark();
    }
}

impl<Q: 'static, R: 'static, H: FnMut(Origin, Q, Replier<Q, R>) + 'static> Poller<Q, R, H> {
    fn has_work(&self) -> bool {
        self.inner.signal().has_work()
            || self.inner.peers.iter().any(|peer| !peer.requests_in.borrow().is_empty() || !peer.replies_in.borrow().is_empty())
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

    fn drain_requests(&mut self) -> bool {
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
        worked
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
