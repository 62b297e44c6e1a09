//! Building the mesh: all rings of all pairs, shared until every core has taken its seat.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atomic_waker::AtomicWaker;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::base::CoreId;

use super::MeshError;
use super::control::{ControlHandle, ControlRequest};
use super::endpoint::Mesh;

/// Limits of a mesh.
#[derive(Clone, Copy, Debug)]
pub struct MeshConfig {
    /// Messages one core may have outstanding towards another: the capacity of every ring.
    pub credits: u32,
    /// Every how many calls the latency hook is called; 0: never.
    pub latency_sample: u32,
    /// How long an idle poller keeps looking at its rings, between the other tasks of its core, before it parks, while
    /// calls of this core are unanswered. Saves a turn of the reactor and a wake-up on both sides; keeps sockets waiting so
    /// long at most.
    pub linger: Duration,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self { credits: 256, latency_sample: 16, linger: Duration::from_micros(10) }
    }
}

/// A request on its way.
pub(super) enum RequestMessage<Q, R> {
    /// To be answered into the sender's slot.
    Call { slot: u32, request: Q },
    /// One-way.
    Send(Q),
    /// The answer to a deferred call of the receiver. One-way.
    LateReply { slot: u32, reply: Result<R, MeshError> },
}

/// An answer on its way. Every message stands for at least one credit in use, so the ring cannot overflow.
pub(super) enum ReplyMessage<R> {
    /// The answer to a call; gives back its credit.
    Reply { slot: u32, reply: R },
    /// The handler gave a call up; gives back its credit.
    Abandoned { slot: u32 },
    /// The call will be answered by a [`RequestMessage::LateReply`]; gives back its credit.
    Deferred,
    /// So many one-way messages have been handled; gives back their credits.
    Handled(u32),
}

/// What other threads need to reach a core. Aligned so that two cores' flags never share a cache line (nor a pair of them,
/// which x86 prefetches together).
#[repr(align(128))]
pub(super) struct Signal<Q, R> {
    /// The poller sleeps and must be woken by whoever brings work.
    parked: AtomicBool,
    /// Somebody wants the pass hooks to run.
    pub(super) nudged: AtomicBool,
    pub(super) waker: AtomicWaker,
    /// Length of `control`, to look at without locking.
    pub(super) control_len: AtomicUsize,
    pub(super) control: Mutex<VecDeque<ControlRequest<Q, R>>>,
}

impl<Q, R> Signal<Q, R> {
    fn new() -> Self {
        Self {
            parked: AtomicBool::new(false),
            nudged: AtomicBool::new(false),
            waker: AtomicWaker::new(),
            control_len: AtomicUsize::new(0),
            control: Mutex::new(VecDeque::new()),
        }
    }

    /// After work was published for this core: wakes its poller if it is parked. True if it was.
    pub(super) fn wake_if_parked(&self) -> bool {
        // NO LOST WAKE-UP: pairs with the fence in `park`.
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.waker.wake();
            return true;
        }
        false
    }

    /// The poller, its waker registered, is about to sleep; it must look for work once more after this.
    pub(super) fn park(&self) {
        self.parked.store(true, Ordering::Release);
        // NO LOST WAKE-UP: pairs with the fence in `wake_if_parked`.
        fence(Ordering::SeqCst);
    }

    /// The poller runs.
    pub(super) fn unpark(&self) {
        self.parked.store(false, Ordering::Relaxed);
    }

    /// Whether something other than a ring asks for the poller.
    pub(super) fn has_work(&self) -> bool {
        self.nudged.load(Ordering::Relaxed) || self.control_len.load(Ordering::Relaxed) > 0
    }
}

/// One core's ends of the rings between it and a peer.
pub(super) struct Link<Q, R> {
    pub(super) requests_out: Producer<RequestMessage<Q, R>>,
    pub(super) requests_in: Consumer<RequestMessage<Q, R>>,
    pub(super) replies_out: Producer<ReplyMessage<R>>,
    pub(super) replies_in: Consumer<ReplyMessage<R>>,
}

/// The signals of all cores.
pub(super) type Signals<Q, R> = Arc<[Signal<Q, R>]>;

type Seats<Q, R> = Vec<Option<Vec<Link<Q, R>>>>;

/// The mesh before its cores run: shared by every thread, each core takes its end with [`join`](Self::join).
pub struct Fabric<Q, R> {
    seats: Arc<Mutex<Seats<Q, R>>>,
    signals: Signals<Q, R>,
    config: MeshConfig,
}

impl<Q, R> Clone for Fabric<Q, R> {
    fn clone(&self) -> Self {
        Self { seats: Arc::clone(&self.seats), signals: Arc::clone(&self.signals), config: self.config }
    }
}

impl<Q: Send + 'static, R: Send + 'static> Fabric<Q, R> {
    /// The rings for `cores` cores.
    pub fn new(cores: usize, config: MeshConfig) -> Self {
        assert!(cores > 0, "a server has cores");
        assert!(config.credits > 0, "without credits no message could ever be sent");
        let capacity = usize::try_from(config.credits).expect("a u32 fits usize here");
        // requests[from][to], replies[from][to]: both ends, to be dealt out.
        let mut requests = ring_matrix(cores, capacity);
        let mut replies = ring_matrix(cores, capacity);
        let mut take = |core: usize, peer: usize| Link {
            requests_out: requests[core][peer].0.take().expect("every end is dealt once"),
            requests_in: requests[peer][core].1.take().expect("every end is dealt once"),
            replies_out: replies[core][peer].0.take().expect("every end is dealt once"),
            replies_in: replies[peer][core].1.take().expect("every end is dealt once"),
        };
        let seats = (0..cores).map(|core| Some((0..cores).map(|peer| take(core, peer)).collect())).collect();
        let signals = (0..cores).map(|_| Signal::new()).collect();
        Self { seats: Arc::new(Mutex::new(seats)), signals, config }
    }

    /// Takes a core's end, on that core. Once a core.
    pub fn join(&self, core: CoreId) -> Mesh<Q, R> {
        let links = {
            let mut seats = self.seats.lock().expect("nothing panics while dealing seats");
            seats[core.index()].take().expect("a core joins the mesh once")
        };
        Mesh::new(core, links, Arc::clone(&self.signals), self.config)
    }

    /// A way in for threads that are not cores.
    pub fn control(&self) -> ControlHandle<Q, R> {
        ControlHandle::new(Arc::clone(&self.signals))
    }
}

type RingEnds<T> = (Option<Producer<T>>, Option<Consumer<T>>);

fn ring_matrix<T>(cores: usize, capacity: usize) -> Vec<Vec<RingEnds<T>>> {
    let ring = || {
        let (producer, consumer) = RingBuffer::new(capacity);
        (Some(producer), Some(consumer))
    };
    (0..cores).map(|_| (0..cores).map(|_| ring()).collect()).collect()
}
