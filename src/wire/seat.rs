//! Whose session a client talks to, and what it counts as meanwhile.

use std::rc::Rc;
use std::sync::Arc;

use crate::error::SqlResult;
use crate::metrics::ClientState;
use crate::runtime::MonoTime;
use crate::session::backend::Backend;
use crate::session::interrupt::Interrupt;
use crate::session::pool::{Parked, Permit, Pool};
use crate::session::{Session, Silence};

/// Where a client sits.
pub(super) enum Seat<B: Backend> {
    /// On a session of its own.
    Own(Box<Session<B>>),
    /// On one of a pool, while it is in a transaction.
    Pooled {
        /// The pool.
        pool: Rc<Pool>,
        /// What it has at the moment.
        place: Place<B>,
    },
}

/// What a client of a pool has.
pub(super) enum Place<B: Backend> {
    /// A session of the pool.
    Seated(Box<Session<B>>, Permit),
    /// None.
    Parked(Box<Parked>),
    /// It is on its way from one to the other.
    Moving,
}

impl<B: Backend> Seat<B> {
    /// Of a client that has been greeted by this session.
    pub fn new(session: Box<Session<B>>, pool: Option<Rc<Pool>>, standing: &mut Standing<'_, B>) -> Self {
        match pool {
            Some(pool) => {
                // What has greeted the client has worked out nothing that anybody could want.
                let (parked, _empty) = session.park();
                standing.parked(&parked);
                Seat::Pooled { pool, place: Place::Parked(parked) }
            }
            None => {
                standing.own_session();
                Seat::Own(session)
            }
        }
    }

    /// The session, if there is one.
    pub fn session(&mut self) -> Option<&mut Session<B>> {
        match self {
            Seat::Own(session) | Seat::Pooled { place: Place::Seated(session, _), .. } => Some(session),
            Seat::Pooled { place: Place::Parked(_) | Place::Moving, .. } => None,
        }
    }

    /// The client's ear.
    pub fn interrupt(&self) -> &Arc<Interrupt> {
        match self {
            Seat::Own(session) | Seat::Pooled { place: Place::Seated(session, _), .. } => session.interrupt(),
            Seat::Pooled { place: Place::Parked(parked), .. } => parked.interrupt(),
            Seat::Pooled { place: Place::Moving, .. } => unreachable!("nobody asks on the way"),
        }
    }

    /// When the client is sent away if it says nothing from `since` on, and why.
    pub fn idle_limit(&self, since: MonoTime) -> Option<(MonoTime, Silence)> {
        match self {
            Seat::Own(session) | Seat::Pooled { place: Place::Seated(session, _), .. } => session.idle_limit(since),
            Seat::Pooled { place: Place::Parked(parked), .. } => parked.idle_limit(since),
            Seat::Pooled { place: Place::Moving, .. } => None,
        }
    }

    /// The client had sent something by then; `more` if a message that had begun goes on with it.
    pub fn received(&mut self, more: bool, at: MonoTime) {
        match self {
            Seat::Pooled { place: Place::Parked(parked), .. } => parked.received(more, at),
            seated => {
                if let Some(session) = seated.session() {
                    session.received(more, at);
                }
            }
        }
    }

    /// The client is to be waited for: gives a session of the pool back unless a transaction goes on. Whether none does.
    pub fn stand_up(&mut self, standing: &mut Standing<'_, B>) -> bool {
        let between = match self.session() {
            Some(session) => session.is_between_transactions(),
            None => true,
        };
        if !between {
            return false;
        }
        standing.set(ClientState::Idle);
        let Seat::Pooled { place, .. } = self else { return true };
        *place = match std::mem::replace(place, Place::Moving) {
            Place::Seated(session, permit) => {
                let (parked, workspace) = session.park();
                permit.give_back(workspace);
                standing.parked(&parked);
                Place::Parked(parked)
            }
            parked => parked,
        };
        true
    }

    /// Whether the client has no session, or one that is not enough to do more than to prepare statements.
    pub fn needs(&self, more: bool) -> bool {
        match self {
            Seat::Own(_) => false,
            Seat::Pooled { place: Place::Seated(_, permit), .. } => more && permit.is_guest(),
            Seat::Pooled { .. } => true,
        }
    }

    /// Takes a session of the pool, in its turn. Who does not want `more` than to prepare statements need not wait for one.
    ///
    /// Errors: 53300 if there is none in time.
    pub async fn sit_down(&mut self, more: bool, standing: &mut Standing<'_, B>) -> SqlResult<()> {
        let Seat::Pooled { pool, place } = self else { return Ok(()) };
        let identity = match &*place {
            Place::Parked(parked) => parked.identity(),
            Place::Seated(session, _) => session.identity(),
            Place::Moving => unreachable!("nobody asks on the way"),
        };
        let at_once = pool.take_now(identity).or_else(|| if more { None } else { pool.take_guest(identity) });
        let (workspace, permit) = match at_once {
            Some(taken) => taken,
            None => {
                standing.set(ClientState::Waiting);
                let taken = pool.take(identity).await?;
                standing.set(ClientState::Active);
                taken
            }
        };
        *place = match std::mem::replace(place, Place::Moving) {
            Place::Parked(parked) => {
                standing.seated();
                Place::Seated(Session::resume(parked, workspace), permit)
            }
            // Statements may be half prepared, so it goes on with what it has.
            Place::Seated(session, _guest) => Place::Seated(session, permit),
            Place::Moving => unreachable!("nobody else has moved it"),
        };
        Ok(())
    }

    /// The session, if it is the client's own.
    pub fn into_own(self) -> Option<Box<Session<B>>> {
        match self {
            Seat::Own(session) => Some(session),
            Seat::Pooled { .. } => None,
        }
    }

    /// The connection is over.
    pub async fn close(self, backend: &B) {
        match self {
            Seat::Own(mut session) | Seat::Pooled { place: Place::Seated(mut session, _), .. } => {
                session.close(backend).await;
                session.audit_goodbye();
            }
            Seat::Pooled { place: Place::Parked(parked), .. } => parked.close(backend).await,
            Seat::Pooled { place: Place::Moving, .. } => {}
        }
    }
}

/// What a client counts as in the figures of its core, until its connection ends in whatever way.
pub(super) struct Standing<'a, B: Backend> {
    backend: &'a B,
    state: ClientState,
    has_session: bool,
    statements: i64,
}

impl<'a, B: Backend> Standing<'a, B> {
    /// A client of whom nothing is known yet.
    pub fn new(backend: &'a B) -> Self {
        backend.metrics().pool.clients(ClientState::Starting).inc();
        Self { backend, state: ClientState::Starting, has_session: false, statements: 0 }
    }

    /// It does something else.
    #[inline]
    pub fn set(&mut self, state: ClientState) {
        if self.state != state {
            self.backend.metrics().pool.change(self.state, state);
            self.state = state;
        }
    }

    /// It has a session of its own, until it ends.
    fn own_session(&mut self) {
        let pool = &self.backend.metrics().pool;
        pool.created.inc();
        pool.sessions.inc();
        self.has_session = true;
    }

    fn parked(&mut self, parked: &Parked) {
        self.statements = i64::try_from(parked.statement_count()).unwrap_or(i64::MAX);
        self.backend.metrics().pool.statements.add(self.statements);
    }

    fn seated(&mut self) {
        self.backend.metrics().pool.statements.add(-std::mem::take(&mut self.statements));
    }
}

impl<B: Backend> Drop for Standing<'_, B> {
    fn drop(&mut self) {
        self.seated();
        let pool = &self.backend.metrics().pool;
        pool.clients(self.state).dec();
        if self.has_session {
            pool.closed.inc();
            pool.sessions.dec();
        }
    }
}
