//! What lies between the cores (the mesh) and beneath them (the executor).

use super::{Group, none};
use crate::base::CoreId;
use crate::metrics::cell::{Counter, Distribution, Gauge};
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

/// One core's dealings with one other core.
#[derive(Debug)]
pub struct PeerMetrics {
    /// Messages sent to it.
    pub messages: Counter,
    /// Of them, those that carried several operations.
    pub batches: Counter,
    /// Times it was parked and had to be woken.
    pub wakeups: Counter,
    /// Sends that waited for credit.
    pub credit_waits: Counter,
    /// Sent and not yet answered.
    pub outstanding: Gauge,
    /// Nanoseconds from sending to the reply.
    pub round_trip_ns: Distribution,
}

impl Default for PeerMetrics {
    fn default() -> Self {
        Self {
            messages: Counter::default(),
            batches: Counter::default(),
            wakeups: Counter::default(),
            credit_waits: Counter::default(),
            outstanding: Gauge::default(),
            round_trip_ns: Distribution::of_times_coarse(),
        }
    }
}

/// One core's dealings with all others.
#[derive(Debug)]
pub struct MeshMetrics {
    peers: Box<[PeerMetrics]>,
}

impl MeshMetrics {
    pub(in crate::metrics) fn new(cores: usize) -> Self {
        Self { peers: (0..cores).map(|_| PeerMetrics::default()).collect() }
    }

    /// The dealings with `peer` (with itself, for a core that sends itself messages).
    #[inline]
    pub fn peer(&self, peer: CoreId) -> &PeerMetrics {
        &self.peers[peer.index()]
    }
}

impl Group for MeshMetrics {
    fn collect(&self, out: &mut Collector) {
        for (number, peer) in self.peers.iter().enumerate() {
            // Cores that never exchanged a message would make cores² empty lines.
            if peer.messages.get() == 0 && peer.outstanding.get() == 0 {
                continue;
            }
            let labels = || vec![("peer", number.to_string().into())];
            out.counter(&families::MESH_MESSAGES, labels(), peer.messages.get());
            out.counter(&families::MESH_BATCHES, labels(), peer.batches.get());
            out.counter(&families::MESH_WAKEUPS, labels(), peer.wakeups.get());
            out.counter(&families::MESH_CREDIT_WAITS, labels(), peer.credit_waits.get());
            out.gauge(&families::MESH_DEPTH, labels(), peer.outstanding.get());
            out.distribution(&families::MESH_ROUND_TRIP, labels(), &peer.round_trip_ns);
        }
    }
}

/// Executor figures of one core. Whoever runs the executor feeds them, by adding or by `set_total`.
#[derive(Debug, Default)]
pub struct ExecutorMetrics {
    /// Nanoseconds running tasks.
    pub busy_ns: Counter,
    /// Nanoseconds looking for work before parking.
    pub spin_ns: Counter,
    /// Nanoseconds parked.
    pub parked_ns: Counter,
    /// Times parked.
    pub parks: Counter,
    /// Task polls.
    pub tasks: Counter,
    stalls: Counter,
    stall_max_ns: Gauge,
}

impl ExecutorMetrics {
    /// A poll held the core for `duration_ns`, longer than it should be held.
    pub fn stalled(&self, duration_ns: u64) {
        self.stalls.inc();
        self.stall_max_ns.raise_to(i64::try_from(duration_ns).unwrap_or(i64::MAX));
    }
}

impl Group for ExecutorMetrics {
    fn collect(&self, out: &mut Collector) {
        out.counter(&families::EXECUTOR_BUSY, none(), self.busy_ns.get());
        out.counter(&families::EXECUTOR_SPIN, none(), self.spin_ns.get());
        out.counter(&families::EXECUTOR_PARKED, none(), self.parked_ns.get());
        out.counter(&families::EXECUTOR_PARKS, none(), self.parks.get());
        out.counter(&families::EXECUTOR_TASKS, none(), self.tasks.get());
        out.counter(&families::EXECUTOR_STALLS, none(), self.stalls.get());
        out.gauge(&families::EXECUTOR_STALL_MAX, none(), self.stall_max_ns.get());
    }
}
