//! The settings of who is let in, how many at once, and for how long.

use std::time::Duration;

use super::typed::{Parser, number, one_of, unless_off};
use super::{CONNECTIONS_MAX, units};

/// The largest `max_client_connections`.
const CLIENTS_MAX: u64 = 100_000;

/// The largest `pool_size`.
const POOL_MAX: u64 = 10_000;

/// Clients: who is let in, how many at once, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Sessions at once of clients that keep theirs for as long as they are connected.
    pub max: usize,
    /// Places of those that only superusers may have.
    pub reserved: usize,
    /// How long a client waits for a place; `None`: it is refused at once.
    pub acquire_timeout: Option<Duration>,
    /// Clients that wait for a place.
    pub queued_max: usize,
    /// Clients that have not logged in yet.
    pub starting_max: usize,
    /// `idle_session_timeout` of those who are no superusers; `None`: none.
    pub idle_timeout: Option<Duration>,
    /// `client_connection_check_interval` of sessions that do not set it; `None`: nobody checks.
    pub check_interval: Option<Duration>,
    /// How long transactions may go on when the server is to stop; `None`: they are aborted.
    pub drain_timeout: Option<Duration>,
    /// Probes of connections that say nothing.
    pub keepalive: Keepalive,
    /// Who has a session.
    pub pool: PoolMode,
    /// Sessions of a core with [`PoolMode::Transaction`].
    pub pool_size: usize,
    /// Clients at once with [`PoolMode::Transaction`].
    pub clients_max: usize,
}

impl Connections {
    /// Clients that are let in at once.
    pub fn clients_max(&self) -> usize {
        match self.pool {
            PoolMode::Session => self.max,
            PoolMode::Transaction => self.clients_max,
        }
    }

    /// Sessions there may be on so many cores.
    pub fn sessions_max(&self, cores: usize) -> usize {
        match self.pool {
            PoolMode::Session => self.max,
            PoolMode::Transaction => self.pool_size * cores,
        }
    }
}

/// Who has a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolMode {
    /// A client, for as long as it is connected.
    Session,
    /// A transaction.
    Transaction,
}

/// When the kernel probes whether a client that says nothing is still there. 0 leaves a value to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keepalive {
    /// Seconds of silence before the first probe.
    pub idle_s: u32,
    /// Seconds between probes.
    pub interval_s: u32,
    /// Probes without an answer after which the connection is given up.
    pub count: u32,
}

/// All of them, or `None` with at least one refusal.
pub(super) fn parse(p: &mut Parser<'_>) -> Option<Connections> {
    let max = p.field("max_connections", |text| count(text, 1, CONNECTIONS_MAX as u64));
    let reserved = p.field("superuser_reserved_connections", |text| count(text, 0, CONNECTIONS_MAX as u64));
    let acquire_timeout = p.field("acquire_timeout", duration);
    let queued_max = p.field("max_queued_connections", |text| count(text, 0, CLIENTS_MAX));
    let starting_max = p.field("max_starting_connections", |text| count(text, 1, CLIENTS_MAX));
    let idle_timeout = p.field("idle_timeout", duration);
    let check_interval = p.field("client_connection_check_interval", duration);
    let drain_timeout = p.field("drain_timeout", duration);
    let idle_s = p.field("tcp_keepalives_idle", |text| probes(text, 32_767));
    let interval_s = p.field("tcp_keepalives_interval", |text| probes(text, 32_767));
    let probes_max = p.field("tcp_keepalives_count", |text| probes(text, 127));
    let pool = p.field("pool", |text| one_of(text, &[("session", PoolMode::Session), ("transaction", PoolMode::Transaction)]));
    let pool_size = p.field("pool_size", |text| count(text, 1, POOL_MAX));
    let clients_max = p.field("max_client_connections", |text| count(text, 1, CLIENTS_MAX));
    let connections = Connections {
        max: max?,
        reserved: reserved?,
        acquire_timeout: acquire_timeout?,
        queued_max: queued_max?,
        starting_max: starting_max?,
        idle_timeout: idle_timeout?,
        check_interval: check_interval?,
        drain_timeout: drain_timeout?,
        keepalive: Keepalive { idle_s: idle_s?, interval_s: interval_s?, count: probes_max? },
        pool: pool?,
        pool_size: pool_size?,
        clients_max: clients_max?,
    };
    if connections.reserved >= connections.clients_max() {
        let of = if connections.pool == PoolMode::Session { "max_connections" } else { "max_client_connections" };
        p.refuse("superuser_reserved_connections", format!("it must be less than {of} ({})", connections.clients_max()));
    }
    Some(connections)
}

fn count(text: &str, least: u64, most: u64) -> Result<usize, String> {
    number(text, least..=most).map(|number| usize::try_from(number).expect("limits are far below 2^64"))
}

fn probes(text: &str, most: u64) -> Result<u32, String> {
    number(text, 0..=most).map(|number| u32::try_from(number).expect("it was checked against a smaller limit"))
}

/// A time, `off` or 0; a bare number is seconds. Times of PostgreSQL's own settings are milliseconds in 31 bits.
fn duration(text: &str) -> Result<Option<Duration>, String> {
    let duration = unless_off(text, |text| units::duration(text, Duration::from_secs(1)))?;
    match duration.filter(|duration| !duration.is_zero()) {
        Some(duration) if duration < Duration::from_millis(1) => Err("it must be at least 1ms, or off".to_string()),
        Some(duration) if duration.as_millis() > i32::MAX as u128 => Err("it must be at most 24d, or off".to_string()),
        duration => Ok(duration),
    }
}
