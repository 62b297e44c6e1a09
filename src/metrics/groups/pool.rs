//! Clients and the sessions they share: who is served, who waits and for how long.

use super::{Group, label_enum, none, one};
use crate::metrics::cell::{Counter, Gauge};
use crate::metrics::distribution::Distribution;
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

label_enum! {
    /// What a connected client is doing, as far as its pool is concerned.
    ClientState {
        /// It has not logged in yet.
        Starting = "starting",
        /// It has, and waits for a place.
        Queued = "queued",
        /// It has sent something and waits for a session.
        Waiting = "waiting",
        /// It is served, or in a transaction.
        Active = "active",
        /// It says nothing, outside a transaction.
        Idle = "idle",
    }
}

label_enum! {
    /// What is waited for.
    Awaited {
        /// A place among the connections.
        Place = "place",
        /// A session of the pool.
        Session = "session",
    }
}

/// The pool of one core.
#[derive(Debug)]
pub struct PoolMetrics {
    clients: [Gauge; ClientState::COUNT],
    waits_ns: [Distribution; Awaited::COUNT],
    /// Waits given up, by acquire_timeout.
    pub timeouts: [Counter; Awaited::COUNT],
    /// Sessions there may be; 0 where each client has one.
    pub sessions_max: Gauge,
    /// Sessions there are.
    pub sessions: Gauge,
    /// Sessions ever made.
    pub created: Counter,
    /// Sessions ever ended.
    pub closed: Counter,
    /// Prepared statements that clients have, while they have no session.
    pub statements: Gauge,
    /// What the sweep has found and should not have.
    pub swept: Counter,
}

impl Default for PoolMetrics {
    fn default() -> Self {
        Self {
            clients: std::array::from_fn(|_| Gauge::default()),
            waits_ns: std::array::from_fn(|_| Distribution::of_times_coarse()),
            timeouts: std::array::from_fn(|_| Counter::default()),
            sessions_max: Gauge::default(),
            sessions: Gauge::default(),
            created: Counter::default(),
            closed: Counter::default(),
            statements: Gauge::default(),
            swept: Counter::default(),
        }
    }
}

impl PoolMetrics {
    /// The clients in a state.
    #[inline]
    pub fn clients(&self, state: ClientState) -> &Gauge {
        &self.clients[state as usize]
    }

    /// A client goes from one state to another.
    #[inline]
    pub fn change(&self, from: ClientState, to: ClientState) {
        self.clients(from).dec();
        self.clients(to).inc();
    }

    /// Somebody has waited so long and got it.
    pub fn waited(&self, awaited: Awaited, nanos: u64) {
        self.waits_ns[awaited as usize].record(nanos);
    }

    /// Somebody has waited too long.
    pub fn gave_up(&self, awaited: Awaited) {
        self.timeouts[awaited as usize].inc();
    }

    /// All of it by name: the columns of `SHOW POOLS` and the members of `/pools`.
    pub fn figures(&self) -> PoolFigures {
        let mut figures: PoolFigures =
            ClientState::ALL.iter().map(|state| (state.label(), PoolFigure::Count(self.clients(*state).get()))).collect();
        let numbers = [
            ("sessions", self.sessions.get()),
            ("sessions_limit", self.sessions_max.get()),
            ("created", signed(self.created.get())),
            ("closed", signed(self.closed.get())),
            ("prepared_statements", self.statements.get()),
        ];
        figures.extend(numbers.map(|(name, number)| (name, PoolFigure::Count(number))));
        let names = [
            ["place_waits", "place_wait_p50_ms", "place_wait_p99_ms", "place_wait_max_ms", "place_timeouts"],
            ["session_waits", "session_wait_p50_ms", "session_wait_p99_ms", "session_wait_max_ms", "session_timeouts"],
        ];
        for (&awaited, [waits, p50, p99, max, timeouts]) in Awaited::ALL.iter().zip(names) {
            let histogram = self.waits_ns[awaited as usize].histogram();
            let wait =
                |percent| PoolFigure::Milliseconds(histogram.as_ref().map(|of| of.value_at_percentile(percent) as f64 / 1e6));
            figures.push((waits, PoolFigure::Count(signed(self.waits_ns[awaited as usize].count()))));
            figures.extend([(p50, wait(50.0)), (p99, wait(99.0)), (max, wait(100.0))]);
            figures.push((timeouts, PoolFigure::Count(signed(self.timeouts[awaited as usize].get()))));
        }
        figures
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Group for PoolMetrics {
    fn collect(&self, out: &mut Collector) {
        for &state in ClientState::ALL {
            out.gauge(&families::POOL_CLIENTS, one("state", state.label()), self.clients(state).get());
        }
        for &awaited in Awaited::ALL {
            out.counter(&families::POOL_TIMEOUTS, one("for", awaited.label()), self.timeouts[awaited as usize].get());
            out.distribution(&families::POOL_WAIT, one("for", awaited.label()), &self.waits_ns[awaited as usize]);
        }
        out.gauge(&families::POOL_SESSIONS_LIMIT, none(), self.sessions_max.get());
        out.gauge(&families::POOL_SESSIONS, none(), self.sessions.get());
        out.counter(&families::POOL_CREATED, none(), self.created.get());
        out.counter(&families::POOL_CLOSED, none(), self.closed.get());
        out.gauge(&families::POOL_STATEMENTS, none(), self.statements.get());
        out.counter(&families::POOL_SWEPT, none(), self.swept.get());
    }
}

/// A figure of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PoolFigure {
    /// How many.
    Count(i64),
    /// How long, in milliseconds; `None` if nobody has waited yet.
    Milliseconds(Option<f64>),
}

/// Figures of a pool by name.
pub type PoolFigures = Vec<(&'static str, PoolFigure)>;
