//! One connection, from its first byte to its last, or to its move to another core.
//!
//! The task that runs it holds the session by a box, so that [`Exit::Hop`] can hand stream, session and unused input to
//! whoever moves them. A panic in here is caught by whoever spawned the task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::auth::hba::Origin;
use crate::base::CoreId;
use crate::catalog::RoleDef;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::metrics::{Awaited, ClientState};
use crate::runtime;
use crate::session::backend::Backend;
use crate::session::interrupt::SessionRegistry;
use crate::session::pool::Pool;
use crate::session::response::{Client, Gone, Response, Severity, TransactionStatus};
use crate::session::{Identity, Session};
use crate::wire::authentication::{self, Gate};
use crate::wire::conversation::Conversation;
use crate::wire::door::{Class, Entrance, Entry, Guest, Slot};
use crate::wire::framer::{Cut, cut_startup};
use crate::wire::input::InputBuffer;
use crate::wire::peer::Peer;
use crate::wire::seat::Standing;
use crate::wire::startup::{self, StartupPacket, StartupRequest};
use crate::wire::stream::ByteStream;
use crate::wire::tls::{Door, Secured, negotiation};

/// Encryption requests that a client may make before it starts: one of each kind.
const NEGOTIATIONS_MAX: usize = 2;

/// What all connections of a server share.
#[derive(Clone, Debug)]
pub struct Services {
    /// Where sessions are found by cancel requests and by shutdown.
    pub registry: Arc<SessionRegistry>,
    /// The longest packet of a client that has not started yet.
    pub startup_bytes_max: usize,
    /// The longest message of a client.
    pub message_bytes_max: usize,
    /// How long a client may take to start (authentication_timeout); `None` for ever.
    pub startup_timeout: Option<Duration>,
    /// Who is let in.
    pub gate: Arc<Gate>,
    /// Sessions follow their data to other cores.
    pub hop: bool,
    /// How many may come in.
    pub door: Arc<Entrance>,
    /// After how long a connection that says nothing gives back what it does not need to wait; `None`: never.
    pub linger: Option<Duration>,
    /// `idle_session_timeout` of those who are no superusers; `None`: none.
    pub idle_timeout: Option<Duration>,
    /// `client_connection_check_interval`; `None`: never.
    pub check_interval: Option<Duration>,
    /// What connections are encrypted with; `None` if they are not.
    pub tls: Option<Arc<Door>>,
}

impl Services {
    /// What settings are for a role before its startup packet says otherwise.
    fn session_defaults(&self, role: &RoleDef) -> Vec<(String, String)> {
        let idle = self.idle_timeout.filter(|_| !role.superuser).map(|timeout| ("idle_session_timeout", timeout));
        let check = self.check_interval.map(|interval| ("client_connection_check_interval", interval));
        let settings = idle.into_iter().chain(check);
        settings.map(|(name, time)| (name.to_owned(), time.as_millis().to_string())).collect()
    }
}

/// Whether a new connection may start a session.
#[derive(Clone, Debug)]
pub enum Admission {
    /// If it can prove who it is, as far as that is asked of whoever comes from there.
    From(Origin),
    /// Not: its startup packet is answered with this, as FATAL.
    Refuse(SqlError),
}

/// A session between two cores.
pub struct Moving<S, B: Backend> {
    /// The transport, still of the core it leaves.
    pub stream: Secured<S>,
    /// The session.
    pub session: Box<Session<B>>,
    /// What the client has sent and nobody has used yet.
    pub input: Vec<u8>,
    /// Its place among the connections.
    pub slot: Slot,
}

/// How a connection ended on this core.
pub enum Exit<S, B: Backend> {
    /// For good.
    Closed,
    /// It is to go on on another core.
    Hop {
        /// Which.
        core: CoreId,
        /// What is to be moved.
        moving: Moving<S, B>,
    },
}

/// Serves a new connection. With a pool, its client has a session of it for each of its transactions.
pub async fn serve<S: ByteStream, B: Backend>(
    stream: S,
    backend: B,
    services: &Services,
    admission: Admission,
    pool: Option<Rc<Pool>>,
) -> Exit<S, B> {
    let mut standing = Standing::new(&backend);
    let mut peer = Peer::new(Secured::clear(stream), InputBuffer::default(), services.message_bytes_max);
    let started = Box::pin(start(&mut peer, &backend, services, admission, &mut standing)).await;
    let Ok((session, slot)) = started else {
        Box::pin(peer.close()).await;
        return Exit::Closed;
    };
    let mut conversation = Conversation::new((&backend, services), peer, (session, pool), standing, slot).quiet();
    let end = conversation.run().await;
    Box::pin(conversation.finish(end)).await
}

/// Goes on with a connection that comes from another core.
pub async fn resume<S: ByteStream, B: Backend>(moving: Moving<S, B>, backend: B, services: &Services) -> Exit<S, B> {
    let standing = Standing::new(&backend);
    let peer = Peer::new(moving.stream, InputBuffer::holding(moving.input), services.message_bytes_max);
    let mut conversation = Conversation::new((&backend, services), peer, (moving.session, None), standing, moving.slot);
    let end = conversation.run().await;
    Box::pin(conversation.finish(end)).await
}

/// A client that is who it says.
struct Known {
    request: StartupRequest,
    role: Arc<RoleDef>,
    origin: Origin,
}

/// Everything up to the first ReadyForQuery. `Gone` when there is nothing more to say.
async fn start<S: ByteStream, B: Backend>(
    peer: &mut Peer<Secured<S>>,
    backend: &B,
    services: &Services,
    admission: Admission,
    standing: &mut Standing<'_, B>,
) -> Result<(Box<Session<B>>, Slot), Gone> {
    let guest = services.door.lobby.enter();
    let known = {
        let identified = identify(peer, backend, services, admission);
        in_time(services.startup_timeout, &guest, identified).await
    };
    drop(guest);
    let known = match known {
        Identified::Known(known) => known,
        Identified::Gone => return Err(Gone),
        Identified::Late => {
            backend.metrics().connections.refused.inc();
            let error = SqlError::new(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
            peer.farewell(&error).await;
            return Err(Gone);
        }
    };
    let class = if known.role.superuser { Class::Superuser } else { Class::Ordinary };
    let slot = match place(peer, backend, services, class, standing).await? {
        Ok(slot) => slot,
        Err(error) => {
            backend.metrics().connections.refused.inc();
            peer.farewell(&error).await;
            return Err(Gone);
        }
    };
    let session = match new_session(backend, services, known.request, &known.role) {
        Ok(session) => Box::new(session),
        Err(error) => {
            peer.farewell(&error).await;
            return Err(Gone);
        }
    };
    session.set_client(peer.stream.client(), peer.stream.tls().map(|tls| Arc::clone(tls.encryption())));
    session.audit_login(known.origin);
    startup::welcome(&mut peer.output, session.reported_settings(), session.cancel_key());
    peer.output.response(Response::Ready(TransactionStatus::Idle));
    peer.flush().await?;
    Ok((session, slot))
}

/// Finds out who a client is. Whoever may not come in is told so here.
async fn identify<S: ByteStream, B: Backend>(
    peer: &mut Peer<Secured<S>>,
    backend: &B,
    services: &Services,
    admission: Admission,
) -> Result<Known, Gone> {
    let request = match first_request(peer, backend, services).await? {
        Ok(request) => request,
        Err(error) => {
            peer.farewell(&error).await;
            return Err(Gone);
        }
    };
    let origin = match admission {
        Admission::From(origin) => origin,
        Admission::Refuse(error) => {
            peer.farewell(&error).await;
            return Err(Gone);
        }
    };
    request.negotiate(&mut peer.output);
    let catalog = backend.catalog(None);
    let failures = &backend.metrics().connections.login_failures;
    match services.gate.authenticate(peer, &request, origin, &catalog, failures).await? {
        Ok(role) => Ok(Known { request, role, origin }),
        Err(error) => {
            peer.farewell(&error).await;
            Err(Gone)
        }
    }
}

/// What has become of a client that was to say who it is.
enum Identified {
    Known(Known),
    Gone,
    /// The room was needed for others.
    Late,
}

/// Awaits the login, for as long as it may take and as long as there is room.
async fn in_time(limit: Option<Duration>, guest: &Guest, login: impl Future<Output = Result<Known, Gone>>) -> Identified {
    let mut login = pin!(login);
    let mut must_leave = pin!(guest.must_leave());
    let mut timer = pin!(limit.map(runtime::sleep));
    poll_fn(|cx| {
        if let Poll::Ready(known) = login.as_mut().poll(cx) {
            return Poll::Ready(known.map_or(Identified::Gone, Identified::Known));
        }
        if must_leave.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Identified::Late);
        }
        match timer.as_mut().as_pin_mut() {
            Some(timer) => timer.poll(cx).map(|()| Identified::Gone),
            None => Poll::Pending,
        }
    })
    .await
}

/// How often is looked whether a client that waits for its place is still there.
const QUEUE_CHECK: Duration = Duration::from_secs(1);

/// A place among the connections, in the order of asking; an error is for the client.
async fn place<S: ByteStream, B: Backend>(
    peer: &Peer<S>,
    backend: &B,
    services: &Services,
    class: Class,
    standing: &mut Standing<'_, B>,
) -> Result<SqlResult<Slot>, Gone> {
    let door = &services.door;
    let Some(patience) = door.patience else { return Ok(door.slots.enter_now(class)) };
    let mut waiting = match door.slots.enter(class) {
        Ok(Entry::Wait(waiting)) => waiting,
        Ok(Entry::Slot(slot)) => return Ok(Ok(slot)),
        Err(error) => return Ok(Err(error)),
    };
    standing.set(ClientState::Queued);
    let (since, pool) = (runtime::now(), &backend.metrics().pool);
    let is_gone = peer.stream.absence();
    loop {
        let left = patience.saturating_sub(since.elapsed());
        if left.is_zero() {
            pool.gave_up(Awaited::Place);
            return Ok(Err(door.slots.refusal(class)));
        }
        match runtime::timeout(left.min(QUEUE_CHECK), &mut waiting).await {
            Ok(granted) => {
                pool.waited(Awaited::Place, runtime::nanos_since(since));
                return Ok(granted);
            }
            Err(_elapsed) if is_gone.as_ref().is_some_and(|is_gone| is_gone()) => return Err(Gone),
            Err(_elapsed) => {}
        }
    }
}

/// The session of a client that is who it says.
///
/// Errors: 53300 for one session too many of its role, and those of SET.
fn new_session<B: Backend>(backend: &B, services: &Services, request: StartupRequest, role: &RoleDef) -> SqlResult<Session<B>> {
    let limit = authentication::session_limit(role);
    let ticket = services.registry.register(role.oid, limit).ok_or_else(|| authentication::too_many(role))?;
    let identity = Identity { user: request.user, role: role.oid, database: request.database };
    let mut settings = services.session_defaults(role);
    settings.extend(request.settings);
    Session::new(backend, identity, &settings, ticket)
}

/// Reads packets up to the startup packet, answering those that come before it.
async fn first_request<S: ByteStream, B: Backend>(
    peer: &mut Peer<Secured<S>>,
    backend: &B,
    services: &Services,
) -> Result<SqlResult<StartupRequest>, Gone> {
    let metrics = &backend.metrics().connections;
    let mut negotiations = 0;
    loop {
        if negotiations == 0 && negotiation::is_direct(peer, services) {
            if let Err(error) = negotiation::direct(peer, services, metrics).await? {
                return Ok(Err(error));
            }
            continue;
        }
        let (packet, length) = match cut_startup(peer.input.unread(), services.startup_bytes_max) {
            Ok(Cut::Whole(body)) => (startup::decode(body), body.len() + 4),
            Ok(Cut::Partial(wanted)) => {
                peer.receive(wanted).await?;
                continue;
            }
            Err(error) => return Ok(Err(error.into())),
        };
        peer.input.consume(length);
        match packet {
            Ok(asked @ (StartupPacket::Ssl | StartupPacket::GssEncryption))
                if negotiations < NEGOTIATIONS_MAX && peer.stream.tls().is_none() =>
            {
                negotiations += 1;
                if let Err(error) = negotiation::answer(peer, services, metrics, &asked).await? {
                    return Ok(Err(error));
                }
            }
            Ok(StartupPacket::Ssl | StartupPacket::GssEncryption) => {
                let error = SqlError::new(SqlState::PROTOCOL_VIOLATION, "too many encryption requests");
                return Ok(Err(error));
            }
            Ok(StartupPacket::Cancel(key)) => {
                if let Some(key) = key {
                    services.registry.cancel(key);
                }
                return Err(Gone);
            }
            Ok(StartupPacket::Startup(request)) => return Ok(Ok(request)),
            Err(error) => return Ok(Err(error)),
        }
    }
}

/// Tells a client that is turned away before it has said anything, as the last thing on its stream.
pub async fn refuse<S: ByteStream>(stream: S, error: &SqlError) {
    let mut peer = Peer::new(stream, InputBuffer::default(), 0);
    peer.output.response(Response::Message(Severity::Fatal, error));
    let _nobody_there = peer.flush().await;
}
