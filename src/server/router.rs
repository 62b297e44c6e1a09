//! Accepting connections and placing them on cores.
//!
//! Core 0 accepts; a connection then lives on the least loaded core. SO_REUSEPORT would let the kernel spread them by a hash,
//! which balances long-lived PostgreSQL connections badly. A session may move later: its socket and its state go to the other
//! core, which answers the client itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::auth::hba::Origin;
use crate::base::CoreId;
use crate::error::SqlError;
use crate::runtime::net::{Listener, PeerAddress, Socket, Stream};
use crate::runtime::{self, QueueClass};
use crate::server::core::CoreServices;
use crate::session::native::NativeBackend;
use crate::shard::engine;
use crate::wire::connection::{self, Admission, Exit, Moving};
use crate::wire::door::Slot;
use crate::wire::tls::{Secured, Tls};

/// Connections by core.
#[derive(Debug)]
pub struct Loads {
    cores: Box<[AtomicUsize]>,
    /// Which core is looked at first: among equals each has its turn, so that clients that come one after the other do not all
    /// meet on the first.
    turn: AtomicUsize,
}

impl Loads {
    /// No connections.
    pub fn new(cores: usize) -> Self {
        Self { cores: (0..cores).map(|_| AtomicUsize::new(0)).collect(), turn: AtomicUsize::new(0) }
    }

    /// Takes a place on the least loaded core.
    pub(super) fn place(&self) -> CoreId {
        let load = |core: &usize| self.cores[*core].load(Ordering::Relaxed);
        let (count, turn) = (self.cores.len(), self.turn.fetch_add(1, Ordering::Relaxed));
        let core = (0..count).map(|step| turn.wrapping_add(step) % count).min_by_key(load).expect("there is a core");
        self.place_on(CoreId(core as u16))
    }

    /// Takes a place on this core.
    fn place_on(&self, core: CoreId) -> CoreId {
        self.enter(core);
        core
    }

    /// Connections in all.
    pub fn total(&self) -> usize {
        self.cores.iter().map(|core| core.load(Ordering::Relaxed)).sum()
    }

    fn leave(&self, core: CoreId) {
        self.cores[core.index()].fetch_sub(1, Ordering::Relaxed);
    }

    fn enter(&self, core: CoreId) {
        self.cores[core.index()].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts a connection out when its task ends, in whatever way.
pub(super) struct Place {
    services: Arc<CoreServices>,
    core: CoreId,
}

impl Place {
    /// The place that was taken on a core.
    pub(super) fn new(services: Arc<CoreServices>, core: CoreId) -> Self {
        Self { services, core }
    }

    /// Counts what has the place among those that are served, until what is returned is dropped.
    pub(super) fn serve(&self, backend: &NativeBackend) -> Served {
        backend.metrics_handle().connections.opened.inc();
        Served::new(backend)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.services.loads.leave(self.core);
    }
}

/// Counts a connection among those that are served, until its task ends on this core, in whatever way.
pub(super) struct Served(NativeBackend);

impl Served {
    fn new(backend: &NativeBackend) -> Self {
        backend.metrics_handle().connections.active.inc();
        Self(backend.clone())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.0.metrics_handle().connections.active.dec();
    }
}

/// A connection's state between two cores.
struct Move {
    socket: Socket,
    tls: Option<Box<Tls>>,
    session: Box<crate::session::Session<NativeBackend>>,
    input: Vec<u8>,
    slot: Slot,
}

/// Accepts connections on core 0 until the server stops. Until it has recovered, all are told to come back later.
pub async fn accept(listener: Listener, services: Arc<CoreServices>) {
    while !engine().is_stopping() {
        match runtime::timeout(Duration::from_millis(200), listener.accept()).await {
            Err(_elapsed) => {}
            Ok(Ok(socket)) => {
                if let Err(error) = socket.keep_alive(services.probes()) {
                    // It has gone again, or the kernel does not do that: nobody is worse off than without.
                    tracing::debug!(%error, "a connection is not probed");
                }
                let (core, refusal) = match services.phase_refusal() {
                    Some(refusal) => (services.loads.place_on(CoreId(0)), Some(refusal)),
                    None => (services.loads.place(), None),
                };
                let place = Place { services: services.clone(), core };
                let engine = engine();
                // Placing one must not keep the next waiting.
                runtime::spawn(QueueClass::Interactive, async move {
                    engine.run_on(core, move || start(socket, refusal, place)).await;
                });
                // A burst of them must not keep those waiting that are here.
                if runtime::should_yield() {
                    runtime::yield_now().await;
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "a connection could not be accepted");
                runtime::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

/// Starts serving a connection on the current core.
fn start(socket: Socket, refusal: Option<SqlError>, place: Place) {
    runtime::spawn(QueueClass::Interactive, async move {
        let services = place.services.clone();
        let stream = match Stream::from_socket(socket) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be served");
                return;
            }
        };
        let backend = services.backend();
        let connections = &backend.metrics_handle().connections;
        let admission = match refusal {
            None => {
                connections.opened.inc();
                match stream.peer_address() {
                    Ok(PeerAddress::Local) => Admission::From(Origin::Local),
                    Ok(PeerAddress::Tcp(address)) => Admission::From(Origin::of(address.ip())),
                    // It has gone again.
                    Err(_) => return,
                }
            }
            Some(error) => {
                connections.refused.inc();
                Admission::Refuse(error)
            }
        };
        let served = Served::new(&backend);
        let exit = connection::serve(stream, backend.clone(), &services.wire, admission, services.pool()).await;
        drop(served);
        go_on(exit, place).await;
    });
}

/// Serves a connection that has come from another core.
fn resume(moving: Move, place: Place) {
    runtime::spawn(QueueClass::Interactive, async move {
        let services = place.services.clone();
        let Ok(stream) = Stream::from_socket(moving.socket) else { return };
        let backend = services.backend();
        backend.metrics_handle().connections.hops_in.inc();
        let served = Served::new(&backend);
        let moving = Moving {
            stream: Secured::from_parts(stream, moving.tls),
            session: moving.session,
            input: moving.input,
            slot: moving.slot,
        };
        let exit = connection::resume(moving, backend.clone(), &services.wire).await;
        drop(served);
        go_on(exit, place).await;
    });
}

/// Sends a connection that wants to move on its way.
async fn go_on(exit: Exit<Stream, NativeBackend>, place: Place) {
    let Exit::Hop { core, moving } = exit else { return };
    let (stream, mut tls) = moving.stream.into_parts();
    // A connection that has broken is noticed here; there is nobody left to tell.
    let Ok((socket, received)) = stream.into_socket().await else { return };
    let mut input = moving.input;
    match &mut tls {
        Some(tls) => tls.receive(&received),
        None => input.extend(received),
    }
    let moving = Move { socket, tls, session: moving.session, input, slot: moving.slot };
    let services = place.services.clone();
    services.loads.enter(core);
    let there = Place { services, core };
    drop(place);
    engine().run_on(core, move || resume(moving, there)).await;
}
