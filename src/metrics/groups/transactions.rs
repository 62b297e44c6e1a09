//! Transactions, locks and garbage; connections and sessions.

use super::{Group, none, one};
use crate::metrics::cell::{Counter, Gauge};
use crate::metrics::distribution::Distribution;
use crate::metrics::families;
use crate::metrics::snapshot::Collector;

/// Transaction figures of one core. A commit counts on the lowest core that took part in it.
#[derive(Debug)]
pub struct TxnMetrics {
    /// Writing transactions that touched one core.
    pub commits_one_core: Counter,
    /// Writing transactions that touched several cores.
    pub commits_several_cores: Counter,
    /// Transactions rolled back, by the client or by an error.
    pub rollbacks: Counter,
    /// Statements evaluated again on a newer row version.
    pub retries: Counter,
    /// Updates put off to the end of their transaction.
    pub put_off: Counter,
    /// Transactions refused with 40001.
    pub serialization_failures: Counter,
    /// Transactions refused with 40P01.
    pub deadlocks: Counter,
    /// Transactions prepared and not decided, of the whole server: core 0 tells them.
    pub prepared: Gauge,
    /// Statements waiting for a row now.
    pub lock_waiters: Gauge,
    /// Rows locked or waited for.
    pub locked_rows: Gauge,
    /// Nanoseconds waited for rows; its count is the number of waits.
    pub lock_wait_ns: Distribution,
    /// Clock minus oldest snapshot.
    pub snapshot_age: Gauge,
    /// Snapshots that were in use for too long.
    pub snapshots_expired: Counter,
    /// Superseded row versions that wait to be collected.
    pub versions_waiting: Gauge,
    /// Superseded row versions that old snapshots keep.
    pub versions_held: Gauge,
    /// Row versions freed.
    pub versions_pruned: Counter,
}

impl Default for TxnMetrics {
    fn default() -> Self {
        Self {
            commits_one_core: Counter::default(),
            commits_several_cores: Counter::default(),
            rollbacks: Counter::default(),
            retries: Counter::default(),
            put_off: Counter::default(),
            serialization_failures: Counter::default(),
            deadlocks: Counter::default(),
            prepared: Gauge::default(),
            lock_waiters: Gauge::default(),
            locked_rows: Gauge::default(),
            lock_wait_ns: Distribution::of_times(),
            snapshot_age: Gauge::default(),
            snapshots_expired: Counter::default(),
            versions_waiting: Gauge::default(),
            versions_held: Gauge::default(),
            versions_pruned: Counter::default(),
        }
    }
}

impl Group for TxnMetrics {
    fn collect(&self, out: &mut Collector) {
        out.counter(&families::TXN_COMMITS, one("cores", "one"), self.commits_one_core.get());
        out.counter(&families::TXN_COMMITS, one("cores", "several"), self.commits_several_cores.get());
        out.counter(&families::TXN_ROLLBACKS, none(), self.rollbacks.get());
        out.counter(&families::TXN_RETRIES, none(), self.retries.get());
        out.counter(&families::TXN_PUT_OFF, none(), self.put_off.get());
        out.counter(&families::TXN_CONFLICTS, none(), self.serialization_failures.get());
        out.counter(&families::TXN_DEADLOCKS, none(), self.deadlocks.get());
        out.gauge(&families::TXN_PREPARED, none(), self.prepared.get());
        out.counter(&families::LOCK_WAITS, none(), self.lock_wait_ns.count());
        out.gauge(&families::LOCK_WAITERS, none(), self.lock_waiters.get());
        out.gauge(&families::LOCKED_ROWS, none(), self.locked_rows.get());
        out.distribution(&families::LOCK_WAIT_DURATION, none(), &self.lock_wait_ns);
        out.gauge(&families::SNAPSHOT_AGE, none(), self.snapshot_age.get());
        out.counter(&families::SNAPSHOTS_EXPIRED, none(), self.snapshots_expired.get());
        out.gauge(&families::GARBAGE_WAITING, none(), self.versions_waiting.get());
        out.gauge(&families::GARBAGE_HELD, none(), self.versions_held.get());
        out.counter(&families::GARBAGE_VERSIONS, none(), self.versions_pruned.get());
    }
}

/// Connection figures of one core.
#[derive(Debug, Default)]
pub struct ConnectionMetrics {
    /// Open now.
    pub active: Gauge,
    /// Ever accepted.
    pub opened: Counter,
    /// Turned away.
    pub refused: Counter,
    /// Clients that could not prove who they are.
    pub login_failures: Counter,
    /// Connections that were encrypted.
    pub tls_handshakes: Counter,
    /// Handshakes that failed.
    pub tls_failures: Counter,
    /// Sessions that hopped here.
    pub hops_in: Counter,
    /// Panics caught at a connection's edge.
    pub panics: Counter,
    /// Bytes from clients.
    pub received_bytes: Counter,
    /// Bytes to clients.
    pub sent_bytes: Counter,
}

impl Group for ConnectionMetrics {
    fn collect(&self, out: &mut Collector) {
        out.gauge(&families::CONNECTIONS_ACTIVE, none(), self.active.get());
        out.counter(&families::CONNECTIONS_OPENED, none(), self.opened.get());
        out.counter(&families::CONNECTIONS_REFUSED, none(), self.refused.get());
        out.counter(&families::LOGIN_FAILURES, none(), self.login_failures.get());
        out.counter(&families::TLS_HANDSHAKES, none(), self.tls_handshakes.get());
        out.counter(&families::TLS_FAILURES, none(), self.tls_failures.get());
        out.counter(&families::SESSION_HOPS, none(), self.hops_in.get());
        out.counter(&families::PANICS, none(), self.panics.get());
        out.counter(&families::RECEIVED_BYTES, none(), self.received_bytes.get());
        out.counter(&families::SENT_BYTES, none(), self.sent_bytes.get());
    }
}
