//! One connection, from its first byte to its last, or to its move to another core.
//!
//! The task that runs it holds the session by a box, so that [`Exit::Hop`] can hand stream, session and unused input to
//! whoever moves them. A panic in here is caught by whoever spawned the task.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use crate::auth::hba::Origin;
use crate::base::CoreId;
use crate::catalog::RoleDef;
use crate::error::{SqlError, SqlResult, SqlState};
use crate::runtime;
use crate::session::backend::Backend;
use crate::session::interrupt::{Interruption, SessionRegistry};
use crate::session::response::{Client, Failure, Gone, Response, Severity, TransactionStatus};
use crate::session::{Identity, Session, interrupted};
use crate::wire::authentication::{self, Gate};
use crate::wire::dialogue::{Dialogue, Step};
use crate::wire::framer::{Cut, cut_startup};
use crate::wire::input::InputBuffer;
use crate::wire::peer::Peer;
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
    /// What connections are encrypted with; `None` if they are not.
    pub tls: Option<Arc<Door>>,
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

/// Serves a new connection.
pub async fn serve<S: ByteStream, B: Backend>(stream: S, backend: B, services: &Services, admission: Admission) -> Exit<S, B> {
    let mut peer = Peer::new(Secured::clear(stream), InputBuffer::default(), services.message_bytes_max);
    let started = match services.startup_timeout {
        Some(limit) => runtime::timeout(limit, start(&mut peer, &backend, services, admission)).await.unwrap_or(Err(Gone)),
        None => start(&mut peer, &backend, services, admission).await,
    };
    match started {
        Ok(session) => converse(peer, session, backend, services).await,
        Err(Gone) => {
            peer.close().await;
            Exit::Closed
        }
    }
}

/// Goes on with a connection that comes from another core.
pub async fn resume<S: ByteStream, B: Backend>(moving: Moving<S, B>, backend: B, services: &Services) -> Exit<S, B> {
    let peer = Peer::new(moving.stream, InputBuffer::holding(moving.input), services.message_bytes_max);
    converse(peer, moving.session, backend, services).await
}

/// Everything up to the first ReadyForQuery. `Gone` when there is nothing more to say.
async fn start<S: ByteStream, B: Backend>(
    peer: &mut Peer<Secured<S>>,
    backend: &B,
    services: &Services,
    admission: Admission,
) -> Result<Box<Session<B>>, Gone> {
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
    let session = match services.gate.authenticate(peer, &request, origin, &catalog, failures).await? {
        Ok(role) => new_session(backend, services, request, &role),
        Err(error) => Err(error),
    };
    let session = match session {
        Ok(session) => Box::new(session),
        Err(error) => {
            peer.farewell(&error).await;
            return Err(Gone);
        }
    };
    session.set_client(peer.stream.client(), peer.stream.tls().map(|tls| Arc::clone(tls.encryption())));
    session.audit_login(origin);
    startup::welcome(&mut peer.output, session.reported_settings(), session.cancel_key());
    peer.output.response(Response::Ready(TransactionStatus::Idle));
    peer.flush().await?;
    Ok(session)
}

/// The session of a client that is who it says.
///
/// Errors: 53300 for one session too many of its role, and those of SET.
fn new_session<B: Backend>(backend: &B, services: &Services, request: StartupRequest, role: &RoleDef) -> SqlResult<Session<B>> {
    let limit = authentication::session_limit(role);
    let ticket = services.registry.register(role.oid, limit).ok_or_else(|| authentication::too_many(role))?;
    let identity = Identity { user: request.user, role: role.oid, database: request.database };
    Session::new(backend, identity, &request.settings, ticket)
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

/// The conversation of a session.
async fn converse<S: ByteStream, B: Backend>(
    mut peer: Peer<Secured<S>>,
    mut session: Box<Session<B>>,
    backend: B,
    services: &Services,
) -> Exit<S, B> {
    peer.interrupt = Some(Arc::clone(session.interrupt()));
    let mut dialogue = Dialogue { skipping: false, hop: services.hop };
    let end = loop {
        let mut input = std::mem::take(&mut peer.input);
        let step = dialogue.scan(&mut session, &backend, &mut input, &mut peer);
        peer.input = input;
        match take_step(&mut dialogue, &mut session, &backend, &mut peer, step).await {
            Ok(()) => {}
            Err(end) => break end,
        }
    };
    match end {
        End::Hop(core) if peer.flush().await.is_ok() => {
            count_bytes(&backend, &mut peer);
            let input = peer.input.unread().to_vec();
            return Exit::Hop { core, moving: Moving { stream: peer.stream, session, input } };
        }
        End::Fatal(error) => peer.farewell(&error).await,
        End::Hop(_) | End::Gone => {}
    }
    count_bytes(&backend, &mut peer);
    peer.close().await;
    session.close(&backend).await;
    session.audit_goodbye();
    Exit::Closed
}

/// Why a conversation ends here.
enum End {
    Gone,
    Fatal(SqlError),
    Hop(CoreId),
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

/// Does what a scan has come upon.
async fn take_step<S: ByteStream, B: Backend>(
    dialogue: &mut Dialogue,
    session: &mut Session<B>,
    backend: &B,
    peer: &mut Peer<S>,
    step: Step,
) -> Result<(), End> {
    match step {
        Step::Points => dialogue.skipping = flush_points(session, backend, peer).await?,
        Step::Receive(wanted) => {
            if session.has_points() {
                dialogue.skipping = flush_points(session, backend, peer).await?;
            }
            // Before the client can know: whoever asks after it has heard the answer sees it idle.
            session.tell_idle();
            peer.flush().await?;
            session.sent(backend);
            count_bytes(backend, peer);
            peer.input.shrink_if_idle();
            let more = !peer.input.unread().is_empty();
            receive(session, peer, wanted).await?;
            session.received(more);
            // While the client was waited for, there was nothing to cancel.
            session.interrupt().begin_statement();
        }
        Step::Write => {
            if session.has_points() {
                dialogue.skipping = flush_points(session, backend, peer).await?;
            }
            peer.flush().await?;
        }
        Step::Query(text) => {
            session.simple_query(backend, peer, &text).await?;
            peer.take_back();
        }
        Step::Execute(portal, rows_max) => {
            let outcome = session.execute(backend, peer, &portal, rows_max).await;
            peer.take_back();
            match outcome {
                Ok(()) => {}
                Err(Failure::Gone) => return Err(End::Gone),
                Err(Failure::Sql(error)) => {
                    session.extended_failed(backend, peer, &error).await;
                    dialogue.skipping = true;
                }
            }
        }
        Step::Sync => session.sync(backend, peer).await,
        Step::Flush => peer.flush().await?,
        Step::Failed(error) => {
            session.extended_failed(backend, peer, &error).await;
            dialogue.skipping = true;
        }
        Step::FailedQuery(error) => session.query_failed(backend, peer, &error).await,
        Step::Fatal(error) => return Err(End::Fatal(error)),
        Step::Terminate => return Err(End::Gone),
        Step::Hop(core) => return Err(End::Hop(core)),
    }
    match session.ending() {
        Some(error) => Err(End::Fatal(error)),
        None => Ok(()),
    }
}

/// Answers the lookups that wait; `true` if what follows up to Sync is to be dropped.
async fn flush_points<S: ByteStream, B: Backend>(
    session: &mut Session<B>,
    backend: &B,
    peer: &mut Peer<S>,
) -> Result<bool, Gone> {
    match session.flush_points(backend, peer).await {
        Ok(()) => Ok(false),
        Err(Failure::Sql(_)) => Ok(true),
        Err(Failure::Gone) => Err(Gone),
    }
}

/// Waits for the client, but not for ever, and not beyond the end of the server.
async fn receive<S: ByteStream, B: Backend>(session: &Session<B>, peer: &mut Peer<S>, wanted: usize) -> Result<(), End> {
    let interrupt = Arc::clone(session.interrupt());
    let limit = session.idle_limit();
    let mut received = pin!(peer.receive(wanted));
    let mut ended = pin!(interrupt.terminated());
    let mut timer = pin!(limit.as_ref().map(|(at, _)| runtime::sleep_until(*at)));
    poll_fn(|cx| {
        if let Poll::Ready(received) = received.as_mut().poll(cx) {
            return Poll::Ready(received.map_err(End::from));
        }
        if ended.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(End::Fatal(interrupted(Interruption::Terminate))));
        }
        match (timer.as_mut().as_pin_mut(), &limit) {
            (Some(timer), Some((_, error))) => timer.poll(cx).map(|()| Err(End::Fatal(error.clone()))),
            _ => Poll::Pending,
        }
    })
    .await
}

fn count_bytes<S, B: Backend>(backend: &B, peer: &mut Peer<S>) {
    let connections = &backend.metrics().connections;
    connections.received_bytes.add(std::mem::take(&mut peer.received_bytes));
    connections.sent_bytes.add(std::mem::take(&mut peer.sent_bytes));
}

/// Tells a client that is turned away before it has said anything, as the last thing on its stream.
pub async fn refuse<S: ByteStream>(stream: S, error: &SqlError) {
    let mut peer = Peer::new(stream, InputBuffer::default(), 0);
    peer.output.response(Response::Message(Severity::Fatal, error));
    let _nobody_there = peer.flush().await;
}
