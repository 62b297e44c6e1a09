//! What lies between the cores (the mesh) and beneath them (the executor).

use super::{Group, none};
use crate::base::CoreId;
use crate::metrics::cell::{Counter, Gauge};
use crate::metrics::distribution::Distribution;
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

/// One core's dealings with one other core.
#[derive(Debug)]
pub struct PeerMetrics {
    /// Requests sent to it.
    pub messages: Counter,
    /// Of them, those that carried several operations.
    pub batches: Counter,
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
            outstanding: Gauge::default(),
            round_trip_ns: Distribution::of_times_coarse(),
        }
    }
}

/// One core's dealings with all others.
#[derive(Debug)]
pub struct MeshMetrics {
    peers: Box<[PeerMetrics]>,
    /// Times another core was parked and had to be woken.
    pub wakeups: Counter,
    /// Sends that waited for credit.
    pub credit_waits: Counter,
}

impl MeshMetrics {
    pub(in crate::metrics) fn new(cores: usize) -> Self {
        let peers = (0..cores).map(|_| PeerMetrics::default()).collect();
        Self { peers, wakeups: Counter::default(), credit_waits: Counter::default() }
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
            out.gauge(&families::MESH_DEPTH, labels(), peer.outstanding.get());
            out.distribution(&families::MESH_ROUND_TRIP, labels(), &peer.round_trip_ns);
        }
        out.counter(&families::MESH_WAKEUPS, none(), self.wakeups.get());
        out.counter(&families::MESH_CREDIT_WAITS, none(), self.credit_waits.get());
    }
}

/// Executor figures of one core. Whoever runs the executor counts; the totals are taken over.
#[derive(Debug, Default)]
pub struct ExecutorMetrics {
    /// Nanoseconds not parked.
    pub busy_ns: Counter,
    /// Nanoseconds parked.
    pub parked_ns: Counter,
    /// Times parked.
    pub parks: Counter,
    /// Task polls.
    pub tasks: Counter,
    /// Turns that took too long.
    pub stalls: Counter,
    /// Nanoseconds of the longest turn.
    pub stall_max_ns: Gauge,
    /// Requests put into the core's io_uring.
    pub ring_submissions: Counter,
    /// Requests that it has answered.
    pub ring_completions: Counter,
    /// System calls for it.
    pub ring_enters: Counter,
    /// Requests not yet answered.
    pub ring_in_flight: Gauge,
}

impl Group for ExecutorMetrics {
    fn collect(&self, out: &mut Collector) {
        out.counter(&families::EXECUTOR_BUSY, none(), self.busy_ns.get());
        out.counter(&families::EXECUTOR_PARKED, none(), self.parked_ns.get());
        out.counter(&families::EXECUTOR_PARKS, none(), self.parks.get());
        out.counter(&families::EXECUTOR_TASKS, none(), self.tasks.get());
        out.counter(&families::EXECUTOR_STALLS, none(), self.stalls.get());
        out.gauge(&families::EXECUTOR_STALL_MAX, none(), self.stall_max_ns.get());
        out.counter(&families::RING_SUBMISSIONS, none(), self.ring_submissions.get());
        out.counter(&families::RING_COMPLETIONS, none(), self.ring_completions.get());
        out.counter(&families::RING_ENTERS, none(), self.ring_enters.get());
        out.gauge(&families::RING_IN_FLIGHT, none(), self.ring_in_flight.get());
    }
}
