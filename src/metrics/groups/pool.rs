//! Clients and the sessions they share: who is served, who waits and for how long.

use super::{Group, label_enum, none, one};
use crate::metrics::cell::{Counter, Distribution, Gauge};
use crate::metrics::families::{self, Family};
use crate::metrics::snapshot::{Collector, CoreSnapshot, Sample, SampleValue};

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

/// What a core's snapshot says about its pool, by name: the columns of `SHOW POOLS` and the members of `/pools`.
pub fn pool_figures(snapshot: &CoreSnapshot) -> Vec<(&'static str, PoolFigure)> {
    let find = |family: &Family, label: &str| {
        let of_label = |sample: &&Sample| sample.labels.is_empty() || sample.labels.iter().any(|(_, text)| text == label);
        snapshot.samples.iter().filter(|sample| sample.family == family).find(of_label).map(|sample| &sample.value)
    };
    let count = |family, label: &str| match find(family, label) {
        Some(SampleValue::Gauge(value)) => PoolFigure::Count(*value),
        Some(SampleValue::Counter(value)) => PoolFigure::Count(i64::try_from(*value).unwrap_or(i64::MAX)),
        Some(SampleValue::Times { histogram, .. }) => PoolFigure::Count(i64::try_from(histogram.len()).unwrap_or(i64::MAX)),
        _ => PoolFigure::Count(0),
    };
    let wait = |label: &str, percent: f64| match find(&families::POOL_WAIT, label) {
        Some(SampleValue::Times { histogram, .. }) => {
            PoolFigure::Milliseconds(Some(histogram.value_at_percentile(percent) as f64 / 1e6))
        }
        _ => PoolFigure::Milliseconds(None),
    };
    let mut figures: Vec<_> =
        ClientState::ALL.iter().map(|state| (state.label(), count(&families::POOL_CLIENTS, state.label()))).collect();
    figures.extend([
        ("sessions", count(&families::POOL_SESSIONS, "")),
        ("sessions_limit", count(&families::POOL_SESSIONS_LIMIT, "")),
        ("created", count(&families::POOL_CREATED, "")),
        ("closed", count(&families::POOL_CLOSED, "")),
        ("prepared_statements", count(&families::POOL_STATEMENTS, "")),
        ("place_waits", count(&families::POOL_WAIT, "place")),
        ("place_wait_p50_ms", wait("place", 50.0)),
        ("place_wait_p99_ms", wait("place", 99.0)),
        ("place_wait_max_ms", wait("place", 100.0)),
        ("place_timeouts", count(&families::POOL_TIMEOUTS, "place")),
        ("session_waits", count(&families::POOL_WAIT, "session")),
        ("session_wait_p50_ms", wait("session", 50.0)),
        ("session_wait_p99_ms", wait("session", 99.0)),
        ("session_wait_max_ms", wait("session", 100.0)),
        ("session_timeouts", count(&families::POOL_TIMEOUTS, "session")),
    ]);
    figures
}
