//! One core's end of the mesh: calls, one-way messages, credits.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use rtrb::{Consumer, Producer};

use crate::base::CoreId;
use crate::runtime::now;
use crate::runtime::sync::Semaphore;

use super::fabric::{Link, MeshConfig, ReplyMessage, RequestMessage, Signal, Signals};
use super::slots::{Arrival, Slots};
use super::{MeshError, MeshStats};

/// What this core keeps about one peer.
pub(super) struct Peer<Q, R> {
    requests_out: RefCell<Producer<RequestMessage<Q, R>>>,
    pub(super) requests_in: RefCell<Consumer<RequestMessage<Q, R>>>,
    replies_out: RefCell<Producer<ReplyMessage<R>>>,
    pub(super) replies_in: RefCell<Consumer<ReplyMessage<R>>>,
    /// Messages that may still be sent to the peer.
    credits: Semaphore,
    /// Messages sent whose credits have not come back.
    outstanding: Cell<u32>,
    slots: RefCell<Slots<R>>,
    /// Late replies to the peer that found no credit. At most one for each of its tasks that awaits a deferred call.
    late_replies: RefCell<VecDeque<(u32, Result<R, MeshError>)>>,
    /// One-way messages of the peer handled since its credits were last given back.
    pub(super) handled_sends: Cell<u32>,
}

type LatencyHook = Box<dyn FnMut(Duration)>;

pub(super) struct Inner<Q, R> {
    pub(super) core: CoreId,
    pub(super) peers: Vec<Peer<Q, R>>,
    pub(super) signals: Signals<Q, R>,
    pub(super) config: MeshConfig,
    stats: Cell<MeshStats>,
    pub(super) hooks: RefCell<Vec<Box<dyn FnMut()>>>,
    latency_hook: RefCell<Option<LatencyHook>>,
    pub(super) serving: Cell<bool>,
}

/// One core's end of the mesh. Cheap to clone; belongs to the core that joined.
pub struct Mesh<Q, R> {
    pub(super) inner: Rc<Inner<Q, R>>,
}

impl<Q, R> Clone for Mesh<Q, R> {
    fn clone(&self) -> Self {
        Self { inner: Rc::clone(&self.inner) }
    }
}

impl<Q, R> Inner<Q, R> {
    /// Whether any call or message of this core is unanswered.
    pub(super) fn awaits_replies(&self) -> bool {
        self.peers.iter().any(|peer| peer.outstanding.get() > 0)
    }

    /// This core's own signal.
    pub(super) fn signal(&self) -> &Signal<Q, R> {
        &self.signals[self.core.index()]
    }

    /// Changes the counters.
    pub(super) fn count(&self, change: impl FnOnce(&mut MeshStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }

    fn wake_peer(&self, peer: usize) {
        let woken = self.signals[peer].wake_if_parked();
        self.count(|stats| if woken { stats.wakes_sent += 1 } else { stats.wakes_suppressed += 1 });
    }

    /// Pushes an answer. CREDITS: never fails, never waits.
    pub(super) fn push_reply(&self, peer: usize, message: ReplyMessage<R>) {
        let pushed = self.peers[peer].replies_out.borrow_mut().push(message);
        assert!(pushed.is_ok(), "CREDITS: every reply has a slot in its ring reserved");
        self.wake_peer(peer);
    }

    /// Takes in an answer of `peer`.
    pub(super) fn accept_reply(&self, peer: usize, message: ReplyMessage<R>) {
        let link = &self.peers[peer];
        let (returned, arrival) = match message {
            ReplyMessage::Reply { slot, reply } => (1, Some(link.slots.borrow_mut().fill(slot, Ok(reply)))),
            ReplyMessage::Abandoned { slot } => (1, Some(link.slots.borrow_mut().fill(slot, Err(MeshError::Abandoned)))),
            ReplyMessage::Deferred => (1, None),
            ReplyMessage::Handled(sends) => (sends, None),
        };
        let outstanding = link.outstanding.get();
        assert!(returned <= outstanding, "CREDITS: more came back than were given out");
        link.outstanding.set(outstanding - returned);
        self.give_back(peer, returned);
        if let Some(arrival) = arrival {
            self.announce(arrival);
        }
    }

    /// Takes in the answer to a deferred call to `peer`.
    pub(super) fn accept_late_reply(&self, peer: usize, slot: u32, reply: Result<R, MeshError>) {
        let arrival = self.peers[peer].slots.borrow_mut().fill(slot, reply);
        self.announce(arrival);
    }

    /// Tells who waits for a reply.
    fn announce(&self, arrival: Arrival) {
        self.count(|stats| stats.replies += 1);
        if let Some(waker) = arrival.waker {
            waker.wake();
        }
        if let Some(started) = arrival.started
            && let Some(hook) = self.latency_hook.borrow_mut().as_mut()
        {
            hook(started.elapsed());
        }
    }

    /// Answers a deferred call of `peer`: now if there is a credit, or as soon as one comes back. Never waits.
    pub(super) fn send_late_reply(&self, peer: usize, slot: u32, reply: Result<R, MeshError>) {
        let link = &self.peers[peer];
        if link.credits.try_acquire() {
            self.push_request(peer, RequestMessage::LateReply { slot, reply });
        } else {
            link.late_replies.borrow_mut().push_back((slot, reply));
        }
    }

    /// Credits have come back: to late replies first, which nobody else can send, then to the tasks in line.
    fn give_back(&self, peer: usize, mut credits: u32) {
        let link = &self.peers[peer];
        while credits > 0 {
            let Some((slot, reply)) = link.late_replies.borrow_mut().pop_front() else { break };
            credits -= 1;
            self.push_request(peer, RequestMessage::LateReply { slot, reply });
        }
        link.credits.release(credits);
    }

    /// Takes a credit towards a peer, waiting in line for it.
    async fn acquire_credit(&self, peer: usize) {
        let credits = &self.peers[peer].credits;
        if !credits.try_acquire() {
            self.count(|stats| stats.credit_waits += 1);
            credits.acquire().await;
        }
    }

    fn push_request(&self, peer: usize, message: RequestMessage<Q, R>) {
        let link = &self.peers[peer];
        link.outstanding.set(link.outstanding.get() + 1);
        assert!(link.outstanding.get() <= self.config.credits, "CREDITS: every message has taken one");
        let pushed = link.requests_out.borrow_mut().push(message);
        assert!(pushed.is_ok(), "CREDITS: a credit is a slot in the request ring");
        self.wake_peer(peer);
    }
}

impl<Q: 'static, R: 'static> Mesh<Q, R> {
    pub(super) fn new(core: CoreId, links: Vec<Link<Q, R>>, signals: Signals<Q, R>, config: MeshConfig) -> Self {
        let peers = links
            .into_iter()
            .map(|link| Peer {
                requests_out: RefCell::new(link.requests_out),
                requests_in: RefCell::new(link.requests_in),
                replies_out: RefCell::new(link.replies_out),
                replies_in: RefCell::new(link.replies_in),
                credits: Semaphore::new(config.credits),
                outstanding: Cell::new(0),
                slots: RefCell::new(Slots::new()),
                late_replies: RefCell::new(VecDeque::new()),
                handled_sends: Cell::new(0),
            })
            .collect();
        let inner = Inner {
            core,
            peers,
            signals,
            config,
            stats: Cell::new(MeshStats::default()),
            hooks: RefCell::new(Vec::new()),
            latency_hook: RefCell::new(None),
            serving: Cell::new(false),
        };
        Self { inner: Rc::new(inner) }
    }

    /// The core this end belongs to.
    pub fn core(&self) -> CoreId {
        self.inner.core
    }

    /// How many cores the mesh joins.
    pub fn core_count(&self) -> usize {
        self.inner.peers.len()
    }

    /// Sends a request and awaits its reply.
    ///
    /// Waits for a credit first; the request goes out in the first poll that has one. Dropped before that, nothing was sent;
    /// dropped later, the other core still handles the request and its reply is thrown away. A core may call itself: the
    /// request goes through its own poller.
    pub async fn call(&self, to: CoreId, request: Q) -> Result<R, MeshError> {
        self.begin_call(to, request).await.await
    }

    /// Sends a request and returns the reply to await: for several calls at once.
    pub async fn begin_call(&self, to: CoreId, request: Q) -> PendingReply<Q, R> {
        self.inner.acquire_credit(to.index()).await;
        self.push_call(to, request)
    }

    /// Sends a request if there is a credit for it right now; gives it back otherwise.
    pub fn try_begin_call(&self, to: CoreId, request: Q) -> Result<PendingReply<Q, R>, Q> {
        if !self.inner.peers[to.index()].credits.try_acquire() {
            return Err(request);
        }
        Ok(self.push_call(to, request))
    }

    fn push_call(&self, to: CoreId, request: Q) -> PendingReply<Q, R> {
        let inner = &self.inner;
        let sample = u64::from(inner.config.latency_sample);
        let calls = inner.stats.get().calls;
        let started = (sample > 0 && calls.is_multiple_of(sample)).then(now);
        inner.count(|stats| stats.calls += 1);
        let slot = inner.peers[to.index()].slots.borrow_mut().open(started);
        inner.push_request(to.index(), RequestMessage::Call { slot, request });
        PendingReply { inner: Rc::clone(inner), peer: to.index(), slot: Some(slot) }
    }

    /// Sends a message that has no reply, waiting for a credit. Returns when it is on its way.
    pub async fn send(&self, to: CoreId, message: Q) {
        self.inner.acquire_credit(to.index()).await;
        self.push_send(to, message);
    }

    /// Sends a message that has no reply if there is a credit for it right now; gives it back otherwise.
    pub fn try_send(&self, to: CoreId, message: Q) -> Result<(), Q> {
        if !self.inner.peers[to.index()].credits.try_acquire() {
            return Err(message);
        }
        self.push_send(to, message);
        Ok(())
    }

    fn push_send(&self, to: CoreId, message: Q) {
        self.inner.count(|stats| stats.sends += 1);
        self.inner.push_request(to.index(), RequestMessage::Send(message));
    }

    /// Makes a core run its pass hooks soon (this core too). Costs two atomic operations when that core is awake.
    pub fn nudge(&self, core: CoreId) {
        self.inner.signals[core.index()].nudged.store(true, Ordering::Release);
        self.inner.wake_peer(core.index());
    }

    /// Calls `hook` every time this core's poller has looked at its rings, which it does at least once after every
    /// [`nudge`](Self::nudge) of this core. Hooks must be quick and must not register hooks.
    pub fn add_pass_hook(&self, hook: impl FnMut() + 'static) {
        self.inner.hooks.borrow_mut().push(Box::new(hook));
    }

    /// Calls `hook` with the time between request and reply of every so many calls ([`MeshConfig::latency_sample`]).
    pub fn set_latency_hook(&self, hook: impl FnMut(Duration) + 'static) {
        *self.inner.latency_hook.borrow_mut() = Some(Box::new(hook));
    }

    /// This core's counters.
    pub fn stats(&self) -> MeshStats {
        self.inner.stats.get()
    }

    /// Messages outstanding from this core towards another: calls not yet answered or deferred, and sends not yet
    /// handled.
    pub fn outstanding(&self, to: CoreId) -> u32 {
        self.inner.peers[to.index()].outstanding.get()
    }
}

/// The reply of a call that is under way. Dropping it forgets the call; the other core still handles it.
#[must_use = "a reply nobody awaits should be a send"]
pub struct PendingReply<Q, R> {
    inner: Rc<Inner<Q, R>>,
    peer: usize,
    slot: Option<u32>,
}

impl<Q, R> Future for PendingReply<Q, R> {
    type Output = Result<R, MeshError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let slot = self.slot.expect("a reply is not polled again after it came");
        let reply = self.inner.peers[self.peer].slots.borrow_mut().poll(slot, cx.waker());
        match reply {
            Some(reply) => {
                self.slot = None;
                Poll::Ready(reply)
            }
            None => Poll::Pending,
        }
    }
}

impl<Q, R> Drop for PendingReply<Q, R> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.inner.peers[self.peer].slots.borrow_mut().forget(slot);
        }
    }
}
