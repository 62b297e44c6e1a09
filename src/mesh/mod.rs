//! The mesh: typed messages between the cores of one server.
//!
//! Every ordered pair of cores has two bounded single-producer, single-consumer rings: requests one way, replies the other.
//! A core has one poller task that drains all its inbound rings and gives each request to the handler.
//!
//! ```text
//!   core a                                                    core b
//!   call(b, request) ── credit ─► request ring (C slots) ──►  poller ─► handler(from, request, replier)
//!   awaiting task  ◄── poller ◄── reply ring   (C slots) ◄──  replier.reply(..), now or from a task later
//! ```
//!
//! Invariants:
//!
//! - CREDITS. A core has at most C messages outstanding towards a peer: calls not yet answered and sends not yet handled.
//!   Whoever lacks a credit waits for one in its own task, never in a handler. Both rings have C slots, and every entry of
//!   either stands for a credit in use, so a push into a ring cannot fail and a reply never waits for anything. This is what
//!   rules out the deadlock of two cores with full queues: their pollers never wait for each other.
//! - DEFER WHAT WAITS. A request that cannot be answered without waiting for a lock, another core or a client gives its
//!   credit back first ([`Replier::defer`]); its reply comes later as a one-way message. Otherwise requests waiting for a
//!   lock could hold every credit and keep out the commit that releases it.
//! - NO LOST WAKE-UP. The consumer registers its waker, raises `parked`, and only then looks at its rings once more; a
//!   producer pushes first and then looks at `parked`, a sequentially consistent fence between the two on either side
//!   (Dekker's algorithm): at least one of them sees the other.
//! - NO WAKE-UP WITHOUT NEED. Only the producer that takes `parked` down wakes; a core whose poller runs or is about to run is
//!   never woken. A wake-up of a parked core costs a system call here and a context switch there.
//! - Handlers are synchronous. What takes time moves its [`Replier`], deferred, into a spawned task. A handler that panics, or drops its
//!   replier, answers [`MeshError::Abandoned`].
//!
//! The same code runs between glommio cores and between simulated ones; only the way a task is woken differs.
//!
//! Batches: [`Mesh::begin_call`] sends and returns what to await, so that a task can start calls to several cores (or several
//! to one) before it awaits the first reply. The first push wakes a parked peer, the others find it awake.

mod control;
mod endpoint;
mod fabric;
mod poller;
mod slots;

use std::fmt;

use crate::base::CoreId;

pub use control::{ControlError, ControlHandle, ControlReply};
pub use endpoint::{Mesh, PendingReply};
pub use fabric::{Fabric, MeshConfig};
pub use poller::Replier;

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A core of the server.
    Core(CoreId),
    /// A thread that is not a core, through a [`ControlHandle`].
    Control,
}

/// Why a call has no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshError {
    /// The handler dropped its replier: it panicked, or the task it handed the replier to did.
    Abandoned,
}

impl fmt::Display for MeshError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MeshError::Abandoned => f.write_str("the other core gave up on the request without answering it"),
        }
    }
}

impl std::error::Error for MeshError {}

/// What one core's end of the mesh has done since it started. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeshStats {
    /// Calls sent.
    pub calls: u64,
    /// One-way messages sent.
    pub sends: u64,
    /// Requests given to this core's handler.
    pub handled: u64,
    /// Replies received.
    pub replies: u64,
    /// Pushes that woke a parked peer.
    pub wakes_sent: u64,
    /// Pushes that found the peer awake.
    pub wakes_suppressed: u64,
    /// Messages that had to wait for a credit.
    pub credit_waits: u64,
    /// Times the poller parked.
    pub parks: u64,
    /// Most requests found in one inbound ring at once.
    pub queue_depth_max: u64,
}

#[cfg(test)]
mod tests;
